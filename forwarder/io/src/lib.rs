//! How bytes come and go: sockets, `recvmmsg`/`sendmmsg`, `io_uring`, and a simulated network.
//!
//! The crate knows neither RTP nor keys. A worker sees a backend only through [`Port`].

#![deny(unsafe_code)]

pub mod clock;
pub mod error;
pub mod port;
pub mod probe;
pub mod route;
pub mod sim;
pub mod socket;
pub mod wake;

mod addr;
mod arena;
mod cmsg;
mod message;
#[allow(unsafe_code)]
pub mod mmsg;
mod stamp;
#[allow(unsafe_code)]
pub mod uring;
#[allow(unsafe_code)]
pub mod xdp;

pub use error::Error;
pub use mmsg::Mmsg;
pub use port::{FlushReport, Port, PortConfig};
pub use route::XdpConfig;
pub use socket::{Socket, SocketConfig};
pub use uring::Uring;
pub use xdp::Xdp;
