//! OCI image layouts made from files: the demo image, test images.
