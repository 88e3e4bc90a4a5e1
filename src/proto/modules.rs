//! `modules.dep` and `modules.alias`: which kernel modules a device needs, in order.
