//! Owns a bad network: a UDP relay that loses, delays, reorders and repeats, with a seed.
//!
//! Clients send to the relay's one address; the relay talks to the server from a socket of its own
//! for each client, so that the server sees different peers and answers come from where they were
//! asked for.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::random::Random;

/// Room for the bursts of a browser and of the server.
const SOCKET_BYTES: usize = 4 << 20;

/// What happens to datagrams of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impairment {
    /// Share that is lost, in millionths.
    pub loss_ppm: u32,
    /// Share that comes twice, in millionths.
    pub repeat_ppm: u32,
    /// Time that each takes.
    pub delay: Duration,
    /// Up to so much more, at random: what is later than its successor is reordered.
    pub jitter: Duration,
    /// What one client's way carries, in bits a second; 0: anything. What is too much waits for
    /// [`QUEUE`] at the most, and is lost otherwise.
    pub rate_bps: u64,
}

/// What waits in front of a narrow way: as long as routers at home let it.
pub const QUEUE: Duration = Duration::from_millis(300);

/// What went through, for one direction.
#[derive(Debug, Default)]
pub struct Counts {
    passed: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    /// Datagrams delivered.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }

    /// Datagrams lost on purpose.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

/// A running relay. Dropped: stopped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    rules: Mutex<[Impairment; 2]>,
    counts: [Counts; 2],
}

impl Relay {
    /// A relay to `server` that does no harm yet. The seed decides what is lost later.
    ///
    /// # Panics
    /// When no socket can be had.
    #[must_use]
    pub fn start(server: SocketAddr, seed: u64) -> Self {
        let socket = open().expect("a UDP socket of loopback");
        let address = socket.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        eprintln!("relay {address} -> {server}, seed {seed}");
        let mut work = Work {
            front: socket,
            server,
            backs: Vec::new(),
            places: HashMap::new(),
            free_at: Vec::new(),
            due: BinaryHeap::new(),
            flights: HashMap::new(),
            launched: 0,
            random: Random::new(seed),
            shared: shared.clone(),
        };
        let thread = thread::spawn(move || work.run());
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Where clients send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on: what happens to the server, and what happens from it.
    pub fn set(&self, to_server: Impairment, from_server: Impairment) {
        let mut rules = self
            .shared
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *rules = [to_server, from_server];
    }

    /// What went to the server.
    #[must_use]
    pub fn to_server(&self) -> &Counts {
        &self.shared.counts[0]
    }

    /// What came from the server.
    #[must_use]
    pub fn from_server(&self) -> &Counts {
        &self.shared.counts[1]
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A relay that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

struct Work {
    front: UdpSocket,
    server: SocketAddr,
    /// A socket and the client that it speaks for.
    backs: Vec<(UdpSocket, SocketAddr)>,
    places: HashMap<SocketAddr, usize>,
    /// By client and direction: when its way is free again.
    free_at: Vec<[Instant; 2]>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    flights: HashMap<u64, (usize, usize, Vec<u8>)>,
    launched: u64,
    random: Random,
    shared: Arc<Shared>,
}

impl Work {
    fn run(&mut self) {
        while !self.shared.stop.load(Relaxed) {
            self.wait();
            self.receive();
            self.deliver();
        }
    }

    /// Sleeps until something arrives or is due.
    fn wait(&self) {
        let now = Instant::now();
        let due = self
            .due
            .peek()
            .map(|Reverse((at, _))| at.saturating_duration_since(now));
        let pause = due
            .unwrap_or(Duration::from_millis(20))
            .min(Duration::from_millis(20));
        let pause = u16::try_from(pause.as_millis()).unwrap_or(20);
        let sockets = self.backs.iter().map(|(socket, _)| socket);
        let mut all: Vec<PollFd<'_>> = std::iter::once(&self.front)
            .chain(sockets)
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        // An interrupted wait is a short wait.
        let _ = poll(&mut all, PollTimeout::from(pause));
    }

    fn receive(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((bytes, client)) = self.front.recv_from(&mut buffer) {
            if let Some(place) = self.place(client) {
                self.launch(0, place, &buffer[..bytes]);
            }
        }
        for place in 0..self.backs.len() {
            while let Ok(bytes) = self.backs[place].0.recv(&mut buffer) {
                self.launch(1, place, &buffer[..bytes]);
            }
        }
    }

    fn place(&mut self, client: SocketAddr) -> Option<usize> {
        if let Some(place) = self.places.get(&client) {
            return Some(*place);
        }
        let socket = open().ok()?;
        socket.connect(self.server).ok()?;
        self.backs.push((socket, client));
        self.free_at.push([Instant::now(); 2]);
        self.places.insert(client, self.backs.len() - 1);
        Some(self.backs.len() - 1)
    }

    fn launch(&mut self, direction: usize, place: usize, bytes: &[u8]) {
        let rule = self
            .shared
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)[direction];
        if self.random.chance_ppm(rule.loss_ppm) {
            self.shared.counts[direction].lost.fetch_add(1, Relaxed);
            return;
        }
        let Some(waits) = self.queue(direction, place, bytes.len(), rule.rate_bps) else {
            self.shared.counts[direction].lost.fetch_add(1, Relaxed);
            return;
        };
        let copies = 1 + usize::from(self.random.chance_ppm(rule.repeat_ppm));
        for _ in 0..copies {
            let jitter = usize::try_from(rule.jitter.as_micros()).unwrap_or(0);
            let late = self.random.below(jitter + 1);
            let late = Duration::from_micros(u64::try_from(late).unwrap_or(0));
            self.launched += 1;
            self.due
                .push(Reverse((waits + rule.delay + late, self.launched)));
            self.flights
                .insert(self.launched, (direction, place, bytes.to_vec()));
        }
    }

    /// When a datagram has passed the narrow place. `None`: the queue is full.
    fn queue(
        &mut self,
        direction: usize,
        place: usize,
        bytes: usize,
        rate_bps: u64,
    ) -> Option<Instant> {
        let now = Instant::now();
        if rate_bps == 0 {
            return Some(now);
        }
        let free_at = &mut self.free_at[place][direction];
        let begins = now.max(*free_at);
        if begins - now > QUEUE {
            return None;
        }
        // With the headers of UDP and IP.
        let bits = 8 * (bytes as u64 + 28);
        *free_at = begins + Duration::from_nanos(bits * 1_000_000_000 / rate_bps);
        Some(*free_at)
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, number))) = self.due.peek()
            && at <= now
        {
            self.due.pop();
            let Some((direction, place, bytes)) = self.flights.remove(&number) else {
                continue;
            };
            let (socket, client) = &self.backs[place];
            let sent = if direction == 0 {
                socket.send(&bytes)
            } else {
                self.front.send_to(&bytes, client)
            };
            // A peer that is gone is as good as one that hears nothing.
            let counts = &self.shared.counts[direction];
            let counter = if sent.is_ok() {
                &counts.passed
            } else {
                &counts.lost
            };
            counter.fetch_add(1, Relaxed);
        }
    }
}

fn open() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    // Smaller buffers do for tests without privilege.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BYTES);
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BYTES);
    Ok(socket)
}
