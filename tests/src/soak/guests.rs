//! Owns those who come and go: viewers, publishers, and whoever sends what makes no sense.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::stay::ask_again;
use crate::http;
use crate::publish::{Begin, Kind, Whip};
use crate::random::Random;
use crate::viewer::Crowd;

/// The stream whose publishers come and go.
pub const COMES: &str = "soak/comes";

/// How long a guest may take to be let in.
const JOIN: Duration = Duration::from_secs(10);

/// A guest looks this often at what else there is to do.
const STEP: Duration = Duration::from_millis(100);

/// After a process was killed or replaced, newcomers may fail for this long: their handshake was
/// cut, or the stream has to come back. Those who are in are not affected.
const TROUBLE: Duration = Duration::from_secs(15);

/// Datagrams of noise a second.
const NOISE_PER_S: u32 = 50;

/// What has been done so far.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Viewers who were let in.
    pub joined: AtomicU64,
    /// Viewers who said that they leave.
    pub left: AtomicU64,
    /// Viewers and publishers who did not.
    pub vanished: AtomicU64,
    /// Publishers who were let in.
    pub published: AtomicU64,
    /// Newcomers who failed while a process was away.
    pub excused: AtomicU64,
    /// Processes that were killed or replaced.
    pub faults: AtomicU64,
    /// Pieces of nonsense.
    pub noise: AtomicU64,
    /// When a process was killed or replaced last.
    trouble: Mutex<Option<Instant>>,
    /// Sessions of those who vanished.
    gone: Mutex<Vec<String>>,
    /// What has gone wrong without an excuse.
    wrong: Mutex<Vec<String>>,
}

/// Threads of guests; they end when they are sent home.
pub struct Guests {
    deeds: Arc<Deeds>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Where the server is.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTP.
    pub http: SocketAddr,
    /// Media.
    pub media: SocketAddr,
    /// SRT.
    pub srt: SocketAddr,
}

impl Deeds {
    /// From now on, for a while, newcomers may fail.
    pub fn trouble(&self) {
        *lock(&self.trouble) = Some(Instant::now());
    }

    /// What has gone wrong since it was asked for last.
    pub fn wrong(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.wrong))
    }

    /// The sessions of those who vanished since it was asked for last.
    pub fn gone(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.gone))
    }

    fn failed(&self, why: String) {
        let at = *lock(&self.trouble);
        if at.is_some_and(|at| at.elapsed() < TROUBLE) {
            self.excused.fetch_add(1, Relaxed);
            // It is not asked again at once.
            sleep(STEP);
        } else {
            lock(&self.wrong).push(why);
        }
    }

    fn vanished(&self, location: &str) {
        self.vanished.fetch_add(1, Relaxed);
        lock(&self.gone).push(location.to_owned());
    }
}

impl Guests {
    /// They come: `crowds` threads of viewers of these streams, one of publishers, one of noise.
    #[must_use]
    pub fn come(
        ports: Ports,
        deeds: &Arc<Deeds>,
        streams: &'static [&'static str],
        random: &mut Random,
    ) -> Self {
        /// Threads of viewers who come and go.
        const CROWDS: usize = 2;
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let mut begin = |run: fn(Ports, &Deeds, &AtomicBool, &[&str], Random)| {
            let (deeds, stop) = (deeds.clone(), stop.clone());
            let random = Random::new(random.next_u64());
            threads.push(std::thread::spawn(move || {
                run(ports, &deeds, &stop, streams, random);
            }));
        };
        (0..CROWDS).for_each(|_| begin(view));
        begin(publish);
        begin(disturb);
        Self {
            deeds: deeds.clone(),
            stop,
            threads,
        }
    }

    /// They go.
    pub fn go(self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                lock(&self.deeds.wrong).push("a guest panicked".to_owned());
            }
        }
    }
}

/// Viewers who come for a few seconds.
fn view(ports: Ports, deeds: &Deeds, stop: &AtomicBool, streams: &[&str], mut random: Random) {
    while !stop.load(Relaxed) {
        let stream = streams[random.below(streams.len())];
        let mut crowd = Crowd::new(ports.http, stream);
        for _ in 0..1 + random.below(3) {
            match crowd.join() {
                Ok(()) => {}
                // Published, and not known yet as what.
                Err(why) if why.starts_with("409") => sleep(STEP),
                Err(why) => deeds.failed(format!("a viewer of {stream} was refused: {why}")),
            }
        }
        let start = Instant::now();
        while crowd.connected() < crowd.len() && start.elapsed() < JOIN {
            crowd.run(STEP);
        }
        if crowd.connected() < crowd.len() {
            deeds.failed(format!("a viewer of {stream} had no keys after {JOIN:?}"));
        }
        deeds.joined.fetch_add(crowd.connected() as u64, Relaxed);
        let mut steps = random.below(30);
        while steps > 0 && !stop.load(Relaxed) {
            steps -= 1;
            crowd.run(STEP);
            for session in crowd.sessions() {
                match random.below(12) {
                    0 => ask_again(session, &mut random),
                    1 => session.pli(),
                    _ => {}
                }
            }
        }
        if random.below(4) == 0 {
            let locations = crowd.sessions().iter();
            locations.for_each(|one| deeds.vanished(one.location()));
        } else {
            deeds.left.fetch_add(crowd.len() as u64, Relaxed);
            crowd.leave();
        }
    }
}

/// Publishers of one stream, who leave, vanish, or are replaced; each begins shortly before the
/// wraps of its numbers.
fn publish(ports: Ports, deeds: &Deeds, stop: &AtomicBool, _: &[&str], mut random: Random) {
    let mut last: Option<Whip> = None;
    while !stop.load(Relaxed) {
        let begin = shortly_before_the_wraps(&mut random);
        match Whip::start(ports.http, COMES, Kind::Video, begin) {
            Ok(next) => {
                deeds.published.fetch_add(1, Relaxed);
                // The one before, if it is still there, has been replaced by this one.
                last = Some(next);
            }
            Err(why) => deeds.failed(format!("a publisher was refused: {why}")),
        }
        let mut steps = 20 + random.below(40);
        while steps > 0 && !stop.load(Relaxed) {
            steps -= 1;
            sleep(STEP);
        }
        match random.below(3) {
            0 => last.take().into_iter().for_each(Whip::leave),
            1 => {
                let gone = last.take();
                gone.iter().for_each(|one| deeds.vanished(one.location()));
            }
            _ => {}
        }
    }
    last.into_iter().for_each(Whip::leave);
}

/// Numbers that wrap in the first seconds: 16 bits of a sequence, 32 of a timestamp.
#[must_use]
pub fn shortly_before_the_wraps(random: &mut Random) -> Begin {
    let below = |random: &mut Random, bound| u32::try_from(random.below(bound)).unwrap_or(0);
    Begin {
        sequence: u16::MAX - u16::try_from(random.below(1000)).unwrap_or(0),
        timestamp: u32::MAX - below(random, 3 * 90_000),
        ssrc: 0x5700_0000 + below(random, 0x00ff_ffff),
    }
}

/// Nonsense at every port, slowly.
fn disturb(ports: Ports, deeds: &Deeds, stop: &AtomicBool, _: &[&str], mut random: Random) {
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0") else {
        return;
    };
    while !stop.load(Relaxed) {
        sleep(Duration::from_secs(1) / NOISE_PER_S);
        let length = random.below(1400);
        let mut bytes = random.bytes(length);
        deeds.noise.fetch_add(1, Relaxed);
        match random.below(50) {
            0 => {
                let _ = http::raw(ports.http, &bytes, STEP);
            }
            1 => {
                let offer = [("content-type", "application/sdp")];
                let _ = http::request(ports.http, "POST", "/whep/demo", &offer, &bytes);
            }
            place => {
                // Half of it looks like what the port takes: RFC 7983, SRT's control packets.
                if let (true, Some(first)) = (place % 2 == 0, bytes.first_mut()) {
                    *first = [0, 1, 22, 128, 144, 200][random.below(6)];
                }
                let to = if place < 40 { ports.media } else { ports.srt };
                // An answer that is refused here comes back as an error of a later send.
                let _ = socket.send_to(&bytes, to);
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
