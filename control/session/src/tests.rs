//! Scenarios of whole sessions over a simulated network, with the time and a seed given.

mod abuse;
mod calls;
mod counter;
mod handshake;
mod placement;
mod publishing;
mod push;
mod signalling;
mod world;
