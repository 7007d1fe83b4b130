//! The composition root of the `freshet` binary.

mod cli;
mod config;
mod control;
mod problem;

fn main() {}
