//! The composition root of the `freshet` binary.

mod cli;
mod config;
mod control;
mod http;
mod metrics;
mod problem;

fn main() {}
