//! Owns what a crew is told, and what it shows while it works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::options::Check;
use crate::tally::Now;

/// What a crew is told.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// So many more are to come: all at once, or with a rate a second and a number under way.
    Join {
        count: u64,
        per_second: f64,
        at_once: u64,
    },
    /// So many a second leave and are replaced from now on.
    Churn(f64),
    /// Everybody leaves; the crew ends.
    Leave,
}

/// How a crew stands, for others to look at.
#[derive(Debug, Default)]
pub struct Standing {
    /// Those who have come, and those who will not.
    pub joined: AtomicU64,
    pub failed: AtomicU64,
    /// Packets of media.
    pub packets: AtomicU64,
}

/// What a crew is made of.
pub struct Parts {
    pub http: SocketAddr,
    pub streams: Vec<String>,
    pub check: Check,
    pub connections: usize,
    pub is_fresh: bool,
    pub patience: Duration,
    pub now: Arc<Now>,
    pub standing: Arc<Standing>,
    pub orders: Receiver<Order>,
    /// Of all viewers of this process, the number of the first here: no two crews share any.
    pub first: u32,
}
