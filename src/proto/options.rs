//! The options of the dialect: one table, and the configuration they make.
