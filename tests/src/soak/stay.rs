//! Owns the viewers who stay: they open every packet, and ask again for some that they have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::LAYERS;
use crate::publish::RIDS;
use crate::random::Random;
use crate::viewer::{Crowd, Report};

/// Between two looks at whether there is something else to do.
const STEP: Duration = Duration::from_millis(100);

/// How far back the packets are that are asked for again.
const ASKED_BACK: u64 = 40;

/// How often, in a million steps of 100 ms: about every five seconds.
const ASKED_PPM: u32 = 20_000;

/// How often one of those who have a choice chooses another encoding, in a million steps: every
/// second.
const SWITCHED_PPM: u32 = 100_000;

/// How long all may take to be let in.
const JOIN: Duration = Duration::from_secs(30);

/// Clock of video.
const VIDEO_HZ: f64 = 90_000.0;

/// How far timestamps may be from what the clock says: an encoder that begins sends its first
/// second in less than one.
const MAPPED_WITHIN_S: f64 = 1.6;

/// Viewers of one stream who stay on a thread of their own.
pub struct Stayers {
    /// What they watch.
    pub stream: &'static str,
    /// How many they are.
    pub count: usize,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Crowd>>,
    clock: Option<(Instant, u32)>,
    dropped: u64,
}

/// What they have seen since the last look.
pub struct Seen {
    /// Of all of them together.
    pub report: Report,
    /// How far the timestamps of the first have gone, and the clock: seconds.
    pub clock: Option<(f64, f64)>,
    /// Datagrams that the kernel had no room for in their sockets.
    pub dropped: u64,
}

impl Stayers {
    /// All are let in.
    #[must_use]
    pub fn join(server: SocketAddr, stream: &'static str, count: usize, seed: u64) -> Self {
        let mut crowd = Crowd::joined(server, stream, count, JOIN);
        crowd.run(STEP);
        let mut this = Self {
            stream,
            count,
            stop: Arc::default(),
            thread: None,
            clock: None,
            dropped: 0,
        };
        this.go_on(crowd, seed);
        this
    }

    /// Looks at what they have seen, and counts from now on.
    ///
    /// # Panics
    /// When their thread has.
    #[must_use]
    pub fn look(&mut self, seed: u64) -> Seen {
        let mut crowd = self.halt();
        crowd.run(STEP);
        let report = crowd.report();
        let newest = crowd.sessions().first().and_then(|one| {
            let track = one.tracks().first()?;
            (track.packets > 0).then_some((Instant::now(), track.timestamp))
        });
        let clock = self.clock.zip(newest).map(|((at, was), (now, is))| {
            let ticks = is.wrapping_sub(was);
            (f64::from(ticks) / VIDEO_HZ, (now - at).as_secs_f64())
        });
        self.clock = newest;
        let dropped = crowd.dropped();
        let new = dropped - self.dropped;
        self.dropped = dropped;
        crowd.forget();
        self.go_on(crowd, seed);
        Seen {
            report,
            clock,
            dropped: new,
        }
    }

    /// Counts anew.
    pub fn forget(&mut self, seed: u64) {
        let mut crowd = self.halt();
        crowd.forget();
        self.go_on(crowd, seed);
    }

    /// Everybody leaves.
    pub fn leave(mut self) {
        self.halt().leave();
    }

    fn halt(&mut self) -> Crowd {
        self.stop.store(true, Relaxed);
        let thread = self.thread.take().expect("it runs between two looks");
        thread.join().expect("a crowd goes on until it is stopped")
    }

    fn go_on(&mut self, mut crowd: Crowd, seed: u64) {
        self.stop.store(false, Relaxed);
        let stop = self.stop.clone();
        let switches = self.stream == LAYERS;
        let mut random = Random::new(seed);
        self.thread = Some(std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                crowd.run(STEP);
                if switches && random.chance_ppm(SWITCHED_PPM) {
                    let nth = random.below(crowd.len());
                    let choice = RIDS.get(random.below(RIDS.len() + 1)).copied();
                    // While control is away nobody hears it.
                    let _ = crowd.choose(nth, choice);
                }
                for session in crowd.sessions() {
                    if random.chance_ppm(ASKED_PPM) {
                        ask_again(session, &mut random);
                    }
                }
            }
            crowd
        }));
    }
}

impl Drop for Stayers {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

impl Seen {
    /// What is wrong with the clock of the pictures, if something is.
    #[must_use]
    pub fn clock_is_wrong(&self) -> Option<String> {
        let (ticks, passed) = self.clock?;
        let is_off = (ticks - passed).abs() > MAPPED_WITHIN_S;
        is_off.then(|| format!("timestamps went on by {ticks:.2} s in {passed:.2} s"))
    }
}

/// Asks for a few packets that have come already, as one whose network has lost them.
pub fn ask_again(session: &mut crate::viewer::Session, random: &mut Random) {
    let newest = session.tracks().first().and_then(|track| track.span);
    if let Some((first, highest)) = newest.filter(|(first, highest)| first + ASKED_BACK < *highest)
    {
        debug_assert!(first < highest);
        let back = u64::try_from(random.below(20)).unwrap_or(0);
        let at = highest - ASKED_BACK + back;
        let low = |index: u64| u16::try_from(index & 0xffff).unwrap_or(0);
        session.nack(&[low(at), low(at + 1), low(at + 7)]);
    }
}
