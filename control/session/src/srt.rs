//! SRT ingest, sans-IO: callers are admitted by streamid and passphrase, their payloads leave in
//! order as soon as they can.
//!
//! [`SrtIngest`] takes the datagrams of one UDP port and the time. After each call that takes
//! `now`, [`SrtIngest::poll_transmit`] and [`SrtIngest::poll_event`] until both give nothing; call
//! [`SrtIngest::handle_timeout`] when [`SrtIngest::deadline`] has come.
//!
//! Handshake, acknowledgements, loss reports and timed delivery are `sapflow-srt`'s (the engine).
//! Keys are ours: conclusions and data packets reach the engine in the clear, so every stream has
//! its own passphrase and any of the three key lengths. Order without a hold is ours too.
//!
//! SRT's AES-CTR hides payloads and does not authenticate them: who can write packets into the
//! path can change bits. What comes out is as untrusted as plaintext.

mod admit;
mod budget;
mod connection;
mod cookie;
mod crypto;
mod handshake;
mod ingest;
mod order;
mod refusal;
mod seq;
mod streamid;

pub use crypto::{BadPassphrase, Passphrase};
pub use ingest::SrtIngest;
pub use refusal::{Reason, Refusal, Rejections};
pub use streamid::{BadStreamId, Mode, StreamId, name_is_valid};

use std::fmt;
use std::net::SocketAddr;
use wire::time::Span;

/// How callers are treated. The default suits a few dozen encoders.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time for repairs, as far as we have a say: the larger of this and the caller's wish counts.
    /// 1 ms to 65 s. libsrt's default, good for round trips up to 30 ms.
    pub latency: Span,
    /// Wishes for more latency than this are lowered to it: a buffer has to hold it.
    pub latency_max: Span,
    /// Callers, connected or waiting for an answer. Each may cost
    /// `window_packets * 2 * 1.5` kB when its sender does its worst.
    pub connections_max: usize,
    /// Callers from one IP address, connected or waiting.
    pub connections_per_address_max: usize,
    /// Conclusions with a right cookie, a second; twice that at once. Each may cost a key
    /// derivation, most of a millisecond. One address has 5 a second, 20 at once.
    pub handshakes_per_s_max: u32,
    /// A caller that sends nothing for this long is gone.
    pub idle_max: Span,
    /// The server has this long to answer [`Event::Connect`]. libsrt's callers give up after 3 s.
    pub answer_max: Span,
    /// Packets held for repair, at least 32; also what callers are told they may have under way.
    pub window_packets: usize,
    /// The stream of callers that send no streamid; `None` turns them away.
    pub name_default: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            latency: Span::millis(120),
            latency_max: Span::secs(5),
            connections_max: 64,
            connections_per_address_max: 16,
            handshakes_per_s_max: 100,
            idle_max: Span::secs(5),
            answer_max: Span::secs(3),
            window_packets: 8192,
            name_default: None,
        }
    }
}

/// A caller; unique while it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub(in crate::srt) u32);

impl fmt::Display for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What the server has to know.
#[derive(Debug)]
pub enum Event {
    /// Somebody at an address that is truly theirs wants in: [`SrtIngest::answer`].
    Connect {
        /// Who.
        id: CallerId,
        /// From where.
        peer: SocketAddr,
        /// What it wants. It wrote this itself.
        stream_id: StreamId,
        /// Whether it encrypts. Whether with the right passphrase is found out on acceptance.
        encrypted: bool,
        /// The latency that will be in force.
        latency: Span,
    },
    /// The next payload of a stream, in order. Not empty, at most 1456 bytes.
    Data {
        /// Whose.
        id: CallerId,
        /// Plaintext.
        payload: Vec<u8>,
    },
    /// A caller was turned away, other than by [`Answer::Reject`]. Worth a log line.
    Refused {
        /// Who, if the server was asked about it; it is gone.
        id: Option<CallerId>,
        /// From where.
        peer: SocketAddr,
        /// Why, and what the encoder's operator must change.
        refusal: Refusal,
    },
    /// A caller is gone. Not sent after [`SrtIngest::close`] and [`Answer::Reject`].
    Closed {
        /// Who.
        id: CallerId,
        /// Why.
        reason: CloseReason,
        /// The last counts.
        stats: Stats,
    },
}

/// What becomes of a caller.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Let it in.
    Accept {
        /// The stream's passphrase. `Some` takes only callers that encrypt with it, `None` only
        /// callers that do not encrypt.
        passphrase: Option<Passphrase>,
        /// Hold payloads until their time has come by the sender's clock (timestamp-based packet
        /// delivery), instead of letting them go in order as soon as they can.
        tsbpd: bool,
    },
    /// Turn it away.
    Reject(Reason),
}

/// Why a caller is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It said goodbye.
    Shutdown,
    /// It sent nothing for [`Config::idle_max`].
    Timeout,
    /// The server did not answer within [`Config::answer_max`].
    Unanswered,
}

/// Counts of one caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Data packets received that could be read, every copy.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets found missing, each once.
    pub lost: u64,
    /// Retransmissions received.
    pub retransmitted: u64,
    /// Packets never delivered: not repaired in time, or given up by the sender.
    pub skipped: u64,
    /// Copies of what had been delivered, was held or had been skipped.
    pub late: u64,
    /// Packets dropped because of their key: in the clear on an encrypted connection, encrypted
    /// on one in the clear, or under a key we do not have.
    pub undecryptable: u64,
    /// Key refreshes refused.
    pub km_refused: u64,
    /// The smoothed round trip; zero until measured.
    pub rtt: Span,
    /// The latency in force.
    pub latency: Span,
}

/// Counts of the port since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that are no SRT, or no sound one.
    pub malformed: u64,
    /// For no connection, from an address that is not its own, or of a kind no caller sends.
    pub stray: u64,
    /// Conclusions with a wrong or stale cookie.
    pub bad_cookie: u64,
    /// Handshakes beyond the budget; those with a right cookie were rejected, others ignored.
    pub rate_limited: u64,
    /// Data packets dropped because of their key.
    pub undecryptable: u64,
    /// Key refreshes refused.
    pub km_refused: u64,
    /// Callers turned away.
    pub rejected: Rejections,
}

#[cfg(test)]
mod tests;
