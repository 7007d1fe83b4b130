//! Scenarios of whole sessions over a simulated network, with the time and a seed given.

mod abuse;
mod beside;
mod calls;
mod counter;
mod encodings;
mod handshake;
mod keepsake;
mod manners;
mod placement;
mod publishing;
mod push;
mod signalling;
mod world;
