//! Owns short answers on their way out: STUN responses and reports, in memory of fixed size.

use wire::datagram::{Egress, NOBODY, RunMeta, RxMeta};
use wire::peer::Peer;

/// Bytes of the longest answer: 1,200 of feedback to a publisher, sealed.
const REPLY_BYTES_MAX: usize = 1280;

/// Answers that wait at once. One turn brings at most a few hundred checks; checks and reports are
/// repeated by their nature, so that the rest may be dropped.
const REPLIES_MAX: usize = 1024;

#[derive(Clone, Copy)]
struct Reply {
    to: RxMeta,
    used: usize,
    bytes: [u8; REPLY_BYTES_MAX],
}

/// A queue of answers.
pub struct Outbox {
    ring: Box<[Reply]>,
    first: usize,
    waiting: usize,
}

impl Outbox {
    /// An empty queue. All allocation is here.
    pub fn new() -> Self {
        let empty = Reply {
            to: RxMeta {
                peer: Peer::default(),
                local: wire::peer::Ip::UNKNOWN,
            },
            used: 0,
            bytes: [0; REPLY_BYTES_MAX],
        };
        Self {
            ring: vec![empty; REPLIES_MAX].into_boxed_slice(),
            first: 0,
            waiting: 0,
        }
    }

    /// Lets `write` fill an answer to whoever sent a datagram with `to`; it returns the bytes
    /// written, 0 to send nothing. False: no room, or nothing written.
    pub fn push(&mut self, to: RxMeta, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.waiting == self.ring.len() {
            return false;
        }
        let at = (self.first + self.waiting) % self.ring.len();
        let reply = &mut self.ring[at];
        reply.used = write(&mut reply.bytes).min(REPLY_BYTES_MAX);
        reply.to = to;
        let written = reply.used > 0;
        self.waiting += usize::from(written);
        written
    }

    /// True if another answer may be queued.
    pub fn has_room(&self) -> bool {
        self.waiting < self.ring.len()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Hands over as many answers as `egress` takes; says how many, and their bytes.
    pub fn flush(&mut self, egress: &mut impl Egress) -> (usize, usize) {
        let mut datagrams = 0;
        let mut bytes = 0;
        while self.waiting > 0 {
            let reply = &self.ring[self.first];
            let Some(mut out) = egress.claim(single(reply.to, reply.used)) else {
                break;
            };
            out.put(&reply.bytes[..reply.used], reply.used);
            egress.commit(reply.used);
            bytes += reply.used;
            datagrams += 1;
            self.first = (self.first + 1) % self.ring.len();
            self.waiting -= 1;
        }
        (datagrams, bytes)
    }
}

/// A run of one datagram of `bytes`, below 64 KB.
pub fn single(to: RxMeta, bytes: usize) -> RunMeta {
    RunMeta {
        peer: to.peer,
        local: to.local,
        segment_bytes: u16::try_from(bytes).unwrap_or(u16::MAX),
        segments: 1,
        bytes,
        viewer: NOBODY,
    }
}
