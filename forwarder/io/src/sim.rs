//! Owns the simulated network: ports and peers on one virtual wire, with faults from a seed.
//!
//! Time is whatever the caller says. The same seed and the same calls give the same world.

mod net;
mod pcap;
mod port;
mod random;

pub use net::{Counts, Link};
pub use port::SimPort;

use crate::port::PortConfig;
use net::Net;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wire::peer::{Ip, Peer};
use wire::time::Time;

/// A network. Clones are handles to the same one.
#[derive(Clone)]
pub struct SimNet {
    net: Arc<Mutex<Net>>,
}

impl SimNet {
    /// An empty network whose every path is `link`.
    #[must_use]
    pub fn new(seed: u64, link: Link) -> Self {
        Self {
            net: Arc::new(Mutex::new(Net::new(seed, link))),
        }
    }

    /// A server's port at `local`; an unspecified address takes what is sent to any address.
    /// Several ports may have the same `local`: each peer is then given to one of them by a hash.
    #[must_use]
    pub fn port(&self, local: SocketAddr, config: &PortConfig) -> SimPort {
        SimPort::new(self.socket(local), config)
    }

    /// What is below a port: see [`SimNet::port`].
    #[must_use]
    pub fn socket(&self, local: SocketAddr) -> SimSocket {
        SimSocket(Arc::new(Bound {
            net: self.clone(),
            id: self.lock().bind(local),
            addr: local,
        }))
    }

    /// A client at `addr`.
    #[must_use]
    pub fn peer(&self, addr: SocketAddr) -> SimPeer {
        let id = self.lock().bind(addr);
        SimPeer {
            net: self.clone(),
            id,
            addr,
        }
    }

    /// Changes every path that has no rule of its own.
    pub fn set_link(&self, link: Link) {
        self.lock().default_link = link;
    }

    /// Changes the paths to and from the address `ip`.
    pub fn set_link_of(&self, ip: Ip, link: Link) {
        self.lock().links.insert(ip, link);
    }

    /// Sends a datagram from any address, bound or not: a forged sender.
    pub fn forge(&self, now: Time, from: Peer, to: Peer, bytes: &[u8]) {
        self.lock().send(now, from, to, bytes);
    }

    /// When the next datagram arrives somewhere, if one is on its way.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Time> {
        self.lock().next_arrival()
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Writes all that is sent from now on to a capture file (pcap, raw IP).
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn capture(&self, path: &Path) -> io::Result<()> {
        self.lock().capture = Some(pcap::Pcap::create(path)?);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Net> {
        // A test that panicked elsewhere says more than this would.
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server's socket, open while anybody has a handle to it. Clones are handles to the same one:
/// what comes waits in it from one port to the next.
#[derive(Clone)]
pub struct SimSocket(Arc<Bound>);

struct Bound {
    net: SimNet,
    id: usize,
    addr: SocketAddr,
}

impl SimSocket {
    /// A port that receives and sends by it. One at a time.
    #[must_use]
    pub fn port(&self, config: &PortConfig) -> SimPort {
        SimPort::new(self.clone(), config)
    }

    /// Datagrams that have come and wait to be received.
    #[must_use]
    pub fn waiting(&self, now: Time) -> usize {
        let mut net = self.0.net.lock();
        net.deliver(now);
        net.waiting(self.0.id)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.net.lock().close(self.id);
    }
}

/// A client of the network: sends and receives datagram by datagram.
pub struct SimPeer {
    net: SimNet,
    id: usize,
    addr: SocketAddr,
}

impl SimPeer {
    /// Where it is.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends one datagram.
    pub fn send(&self, now: Time, to: SocketAddr, bytes: &[u8]) {
        let from = self.addr.into();
        self.net.lock().send(now, from, to.into(), bytes);
    }

    /// The next datagram that has arrived: its sender and its bytes.
    pub fn recv(&self, now: Time) -> Option<(SocketAddr, Vec<u8>)> {
        let mut net = self.net.lock();
        net.deliver(now);
        let letter = net.pop(self.id)?;
        Some((letter.meta.peer.into(), letter.bytes))
    }

    /// Moves to another address, as behind a NAT that has forgotten it: what is on its way to the
    /// old one is lost.
    pub fn rebind(&mut self, addr: SocketAddr) {
        let mut net = self.net.lock();
        net.close(self.id);
        self.id = net.bind(addr);
        self.addr = addr;
    }
}

impl Drop for SimPeer {
    fn drop(&mut self) {
        self.net.lock().close(self.id);
    }
}

#[cfg(test)]
mod tests;
