//! The composition root of the `freshet` binary.

fn main() {}
