//! Owns synthetic viewers: WHEP, ICE, DTLS and SRTP as browsers do them, a thousand in one thread.
//!
//! DTLS is OpenSSL's, so that not both ends are ours; what comes is opened by [`seal`], whose own
//! tests compare it with libsrtp. Nothing is decoded: packets, gaps and times are counted.

mod answer;
mod dtls;
mod session;
mod track;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::http;

pub use answer::{Answer, LEVEL_ID, OFFER_KINDS, TIME_ID, UFRAG, offer, unix_ns};
pub use dtls::{Handshake, Identity, Keys};
pub use session::{Beside, Session};
pub use track::{Report, Track};

/// Between two looks at what time alone brings: repeated flights, checks, reports.
const TICK: Duration = Duration::from_millis(50);

/// Handshakes of a crowd at once.
const HANDSHAKES_MAX: usize = 32;

/// Viewers of one stream that live in one thread.
pub struct Crowd {
    epoll: Epoll,
    sessions: Vec<Session>,
    identity: Identity,
    http: SocketAddr,
    stream: String,
    ticked: Instant,
}

impl Crowd {
    /// A crowd of nobody.
    ///
    /// # Panics
    /// When the system has no epoll or OpenSSL no keys.
    #[must_use]
    pub fn new(http: SocketAddr, stream: &str) -> Self {
        Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("Linux has epoll"),
            sessions: Vec::new(),
            identity: Identity::new().expect("OpenSSL makes a certificate"),
            http,
            stream: stream.to_owned(),
            ticked: Instant::now(),
        }
    }

    /// `count` viewers, all of them connected.
    ///
    /// # Panics
    /// When one is refused or they are not all connected after `limit`.
    #[must_use]
    pub fn joined(http: SocketAddr, stream: &str, count: usize, limit: Duration) -> Self {
        let mut crowd = Self::new(http, stream);
        let start = Instant::now();
        while crowd.len() < count {
            // At a rate that this machine carries: a handshake that waits too long is given up.
            if crowd.len() - crowd.connected() >= HANDSHAKES_MAX && start.elapsed() < limit {
                crowd.turn(TICK);
                continue;
            }
            match crowd.join() {
                Ok(()) => crowd.turn(Duration::ZERO),
                // Published, and not known yet as what: to be asked again, as the answer says.
                Err(problem) if problem.starts_with("409") && start.elapsed() < limit => {
                    crowd.turn(TICK);
                }
                Err(problem) => panic!("{problem}"),
            }
        }
        while crowd.connected() < count {
            assert!(
                start.elapsed() < limit,
                "{} of {count} connected after {limit:?}: {:?}",
                crowd.connected(),
                crowd.sessions.iter().find(|one| !one.is_connected()),
            );
            crowd.turn(TICK);
        }
        crowd
    }

    /// One more viewer: asks for an answer, sends the first check.
    ///
    /// # Errors
    /// What the server said, if it was not 201.
    ///
    /// # Panics
    /// When the answer makes no sense.
    pub fn join(&mut self) -> Result<(), String> {
        let offer = self.identity.offer();
        let path = format!("/whep/{}", self.stream);
        let headers = [("content-type", "application/sdp")];
        let posted = http::request(self.http, "POST", &path, &headers, offer.as_bytes())?;
        if posted.status != 201 {
            return Err(format!("{}: {}", posted.status, posted.text()));
        }
        let location = posted
            .header("location")
            .expect("201 has a Location")
            .to_owned();
        let answer = Answer::parse(&posted.text()).expect("an answer as we know them");
        let session = Session::start(&self.identity, answer, location)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, self.sessions.len() as u64);
        self.epoll
            .add(session.socket().as_fd(), event)
            .map_err(|error| error.to_string())?;
        self.sessions.push(session);
        Ok(())
    }

    /// How many have finished the handshake.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.sessions
            .iter()
            .filter(|one| one.is_connected())
            .count()
    }

    /// How many were asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// True for a crowd of nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The viewers, one by one.
    #[must_use]
    pub fn sessions(&mut self) -> &mut [Session] {
        &mut self.sessions
    }

    /// One of the viewers chooses an encoding by its name, or leaves the choice to the server.
    ///
    /// # Errors
    /// What the server said, if it does not take it.
    pub fn choose(&self, nth: usize, rid: Option<&str>) -> Result<(), String> {
        let path = format!("{}/layer", self.sessions[nth].location());
        let body = rid.map_or("{}".to_owned(), |rid| {
            format!("{{\"encodingId\":\"{rid}\"}}")
        });
        let kind = [("content-type", "application/json")];
        let chosen = http::request(self.http, "POST", &path, &kind, body.as_bytes())?;
        match chosen.status {
            200 => Ok(()),
            status => Err(format!("{status}: {}", chosen.text())),
        }
    }

    /// Watches for a while.
    pub fn run(&mut self, span: Duration) {
        let start = Instant::now();
        while let Some(left) = span.checked_sub(start.elapsed()) {
            self.turn(left.min(TICK));
        }
    }

    /// What all have seen since the last [`Crowd::forget`].
    #[must_use]
    pub fn report(&self) -> Report {
        let mut sum = Report::default();
        for session in &self.sessions {
            sum.add(session);
        }
        sum
    }

    /// Counts from now on: what was lost or late before is forgotten.
    pub fn forget(&mut self) {
        for session in &mut self.sessions {
            session.forget();
        }
    }

    /// Datagrams that the kernel had no room for in their sockets, ever (`proc_net_udp(5)`).
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let sessions = self.sessions.iter();
        let ports = sessions.filter_map(|one| one.socket().local_addr().ok());
        let ports: BTreeSet<String> = ports.map(|one| format!("{:04X}", one.port())).collect();
        let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
        let ours = table.lines().filter(|line| {
            let local = line.split_whitespace().nth(1);
            let port = local.and_then(|local| local.split(':').nth(1));
            port.is_some_and(|port| ports.contains(port))
        });
        ours.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
            .sum()
    }

    /// Watches on a thread of its own, while the test does something else.
    #[must_use]
    pub fn watch(mut self) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Relaxed) {
                self.turn(TICK);
            }
            self
        });
        Watch {
            stop,
            thread: Some(thread),
        }
    }

    /// Everybody leaves, as a page does that is closed.
    pub fn leave(self) {
        for session in &self.sessions {
            // A session that the server has ended already is as good as left.
            let _ = http::request(self.http, "DELETE", session.location(), &[], b"");
        }
    }

    fn turn(&mut self, wait: Duration) {
        let mut events = [EpollEvent::empty(); 256];
        let wait = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX);
        // An interrupted wait is a short wait.
        let count = self
            .epoll
            .wait(&mut events, EpollTimeout::from(wait))
            .unwrap_or(0);
        for event in &events[..count] {
            let place = usize::try_from(event.data()).unwrap_or(usize::MAX);
            if let Some(session) = self.sessions.get_mut(place) {
                session.receive();
            }
        }
        if self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            for session in &mut self.sessions {
                session.tick(self.ticked);
            }
        }
    }
}

/// A crowd that watches by itself.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Crowd>>,
}

impl Watch {
    /// Stops watching and gives the crowd back.
    ///
    /// # Panics
    /// When the crowd panicked.
    #[must_use]
    pub fn stop(mut self) -> Crowd {
        self.stop.store(true, Relaxed);
        let thread = self.thread.take().expect("stopped once");
        thread
            .join()
            .expect("the crowd goes on until it is stopped")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}
