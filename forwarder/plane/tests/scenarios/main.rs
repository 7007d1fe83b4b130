//! Scenarios: planes with a log, viewers that open what they get, virtual time and a seed.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod abuse;
mod av1;
mod beside;
mod capture;
mod checks;
mod cores;
#[path = "../counting/mod.rs"]
mod counting;
mod crowd;
mod encodings;
mod handover;
mod join;
mod layers;
mod narrow;
mod overload;
mod peer;
mod publish;
mod push;
mod random;
mod repair;
mod reports;
mod screen;
mod storm;
mod svc;
mod together;
mod transit;
mod upstream;
mod viewer;
mod whip;
mod world;
mod wraps;
