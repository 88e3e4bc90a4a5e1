//! OCI image layouts in a folder: `oci:DIR[:TAG]`.
