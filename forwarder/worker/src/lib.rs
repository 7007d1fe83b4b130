//! One core of the data plane: it drives [`plane`] over an [`io`] port and the [`link`] to control.
//!
//! [`spawn`] starts a thread for each core. [`Seat`] is one core without a thread, for whoever
//! brings the clock along: a simulation, a bench.

#![forbid(unsafe_code)]

mod ahead;
mod cpu;
mod error;
mod handoff;
mod housekeep;
mod idle;
pub mod left;
mod load_limit;
mod meter;
mod run;
mod seat;
mod spawn;
pub mod standalone;
mod thread;
mod watch;

pub use ::io::uring::Settings as UringSettings;
pub use ::io::{PortConfig, Socket, SocketConfig, XdpConfig, probe};
pub use cpu::{Pin, spare};
pub use error::Error;
pub use handoff::Exchange;
pub use idle::Idle;
pub use load_limit::LoadLimit;
pub use plane::{Blank, Cipher};
pub use seat::{Seat, SeatConfig, Turn};
pub use spawn::{Config, Prepared, Workers, prepare, spawn};
pub use watch::Watch;
