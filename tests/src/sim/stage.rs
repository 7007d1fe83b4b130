//! Owns what everybody in a run shares: the time, the network, the journal.

use std::net::SocketAddr;

use io::sim::SimNet;
use wire::time::Time;

use super::client::Client;
use super::journal::Journal;
use crate::random::Random;
use crate::viewer::Answer;

/// What everybody shares.
pub struct Stage {
    /// Now, on the network's clock.
    pub now: Time,
    /// The network.
    pub net: SimNet,
    /// What is told of the run.
    pub journal: Journal,
    /// Chance, from the seed.
    pub random: Random,
    /// Reports that viewers and publishers got.
    pub reports: u64,
    /// Handshakes may go by DTLS 1.3, whose engine repeats at times that no seed decides.
    pub is_clean: bool,
    /// The storm is not over.
    pub is_stormy: bool,
    clients: u32,
}

impl Stage {
    /// An empty one.
    #[must_use]
    pub fn new(now: Time, net: SimNet, journal: Journal, seed: u64, is_clean: bool) -> Self {
        Self {
            now,
            net,
            journal,
            random: Random::new(seed ^ 0x57a6e),
            reports: 0,
            is_clean,
            is_stormy: true,
            clients: 0,
        }
    }

    /// A client at an address that nobody has had.
    pub fn client(&mut self, answer: Answer) -> Client {
        self.clients += 1;
        let [_, a, b, c] = self.clients.to_be_bytes();
        let address = SocketAddr::from(([10, a, b, c], 40_000));
        let version13 = self.is_clean && self.random.below(2) == 0;
        let seed = self.random.next_u64();
        Client::new(&self.net, address, answer, version13, self.now, seed)
    }
}
