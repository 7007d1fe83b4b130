//! The composition root of the `freshet` binary.

mod control;
mod problem;

fn main() {}
