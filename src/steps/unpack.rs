//! A layer's tar stream into its own directory, in-root.
