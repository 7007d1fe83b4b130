//! Owns the sight of a path that has become narrow while a few pictures were sent. Hot.
//!
//! Where packets come ever later, and evenly, one after the other, a queue grows and is never
//! empty: the path carries what came in that time and no more. Some packets tell that, within 60 to
//! 100 ms. The trend of delays shows it some pictures later, when the queue is full and whatever
//! is sent, a keyframe of a smaller picture too, waits behind it or is lost.

/// A path whose packets take no longer than the least time and this is free: watching begins anew.
const FREE_US: i64 = 10_000;

/// The least time is forgotten by a millisecond in a second: routes change.
const FORGOTTEN: i64 = 1_000;

/// Packets that come so much later than the first one that was watched, ...
const LATER_US: i64 = 45_000;

/// ... over so long a time, ...
const SPAN_US: i64 = 50_000;
/// ... but no longer, as old packets say what the path carried, ...
const SPAN_US_MAX: i64 = 400_000;

/// ... and so many of them; fewer come late by chance.
const PACKETS_MIN: u8 = 5;

/// After a pause they come together, late as well: watching begins anew behind one of this length.
/// A packet takes 48 ms where 200 kbit/s are carried.
const PAUSE_US: i64 = 50_000;

/// Packets come evenly if no two of them are further apart than the largest takes at the rate that
/// was measured, times this, ...
const UNEVEN_TIMES: f64 = 2.5;
/// ... and jitter.
const UNEVEN_US: f64 = 5_000.0;

/// What has come since watching began.
#[derive(Clone, Copy)]
struct Watch {
    delay_us: i64,
    first_us: i64,
    /// Bytes of all packets but the first.
    bytes: u32,
    largest: u32,
    packets: u8,
    gap_us: i64,
}

/// A path that is narrower than what is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Narrowed {
    /// Bits per second that it carries.
    pub bps: f64,
    /// How long a packet waited, ...
    pub queue_us: i64,
    /// ... and when that was sent.
    pub sent_us: i64,
}

/// Watches packets as they come.
#[derive(Clone, Copy)]
pub(super) struct Narrow {
    /// The least time that a packet took, with an offset that nobody knows.
    least_us: i64,
    last_us: i64,
    /// The packet that was sent last of those that have come: when, and how long it took.
    newest: (i64, i64),
    watch: Option<Watch>,
}

impl Narrow {
    pub const fn new() -> Self {
        Self {
            least_us: i64::MAX,
            last_us: i64::MIN,
            newest: (i64::MIN, 0),
            watch: None,
        }
    }

    /// A packet that was sent and came at these times, each of its own clock. What the path carries
    /// if a queue grows in front of it.
    pub fn on_arrival(&mut self, sent_us: i64, at_us: i64, bytes: u32) -> Option<Narrowed> {
        let delay_us = at_us - sent_us;
        let gap_us = at_us.saturating_sub(self.last_us);
        self.last_us = self.last_us.max(at_us);
        self.newest = self.newest.max((sent_us, delay_us));
        let forgotten_us = gap_us.clamp(0, FORGOTTEN * FORGOTTEN) / FORGOTTEN;
        self.least_us = self.least_us.saturating_add(forgotten_us).min(delay_us);
        let is_free = delay_us - self.least_us <= FREE_US;
        let Some(watch) = self
            .watch
            .as_mut()
            .filter(|watch| !is_free && gap_us < PAUSE_US && at_us - watch.first_us < SPAN_US_MAX)
        else {
            self.watch = Some(Watch::starting(delay_us, at_us, bytes));
            return None;
        };
        watch.gap_us = watch.gap_us.max(gap_us);
        watch.bytes = watch.bytes.saturating_add(bytes);
        watch.largest = watch.largest.max(bytes);
        watch.packets = watch.packets.saturating_add(1);
        let span_us = at_us - watch.first_us;
        let is_later = delay_us - watch.delay_us >= LATER_US && span_us >= SPAN_US;
        if !is_later || watch.packets < PACKETS_MIN {
            return None;
        }
        let bps = watch.carried_bps(span_us)?;
        self.watch = Some(Watch::starting(delay_us, at_us, bytes));
        Some(Narrowed {
            bps,
            queue_us: delay_us - self.least_us,
            sent_us,
        })
    }

    /// What the packet that was sent last, of those that have come, says of a path that carries
    /// `bps`. `None`: none has come.
    pub fn newest(&self, bps: f64) -> Option<Narrowed> {
        let (sent_us, delay_us) = self.newest;
        (sent_us != i64::MIN).then(|| Narrowed {
            bps,
            queue_us: delay_us - self.least_us,
            sent_us,
        })
    }
}

impl Watch {
    const fn starting(delay_us: i64, at_us: i64, bytes: u32) -> Self {
        Self {
            delay_us,
            first_us: at_us,
            bytes: 0,
            largest: bytes,
            packets: 0,
            gap_us: 0,
        }
    }

    /// Bits per second that came, if they came evenly.
    #[expect(clippy::cast_precision_loss, reason = "less than a second")]
    fn carried_bps(&self, span_us: i64) -> Option<f64> {
        let bps = f64::from(self.bytes) * 8e6 / span_us as f64;
        let largest_us = f64::from(self.largest) * 8e6 / bps;
        let is_even = self.gap_us as f64 <= UNEVEN_TIMES * largest_us + UNEVEN_US;
        is_even.then_some(bps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of eight packets every 33 ms over a path of so many bits per second that is free at
    /// first; when each comes is changed by `change`. The first finding and its frame.
    fn run(bps: i64, frames: i64, change: impl Fn(i64, i64) -> i64) -> Option<(i64, f64)> {
        let mut narrow = Narrow::new();
        let mut free_us = 0;
        for nth in 0..frames {
            let sent_us = nth * 33_333;
            for packet in 0..8 {
                free_us = sent_us.max(free_us) + 1_150 * 8_000_000 / bps;
                let at_us = 20_000 + change(nth, free_us) - 5_000_000_000;
                let found = narrow.on_arrival(sent_us + packet, at_us, 1_150);
                if let Some(found) = found {
                    assert!((45_000..250_000).contains(&found.queue_us), "{found:?}");
                    return Some((nth, found.bps));
                }
            }
        }
        None
    }

    #[test]
    fn a_narrow_path_is_seen_with_the_first_frames() {
        for (carried, frames) in [(300_000, 1), (600_000, 1), (1_200_000, 3), (1_800_000, 12)] {
            let (nth, bps) = run(carried, 20, |_, at_us| at_us).unwrap();
            let carried = f64::from(u32::try_from(carried).unwrap());
            assert!((0.97..1.03).contains(&(bps / carried)), "{bps}");
            assert!(nth < frames, "{carried}: {nth}");
        }
    }

    #[test]
    fn pictures_in_pieces_are_seen_as_well() {
        // Packets 7 ms apart, each of which takes 15.
        let mut narrow = Narrow::new();
        let found = (0..20).find_map(|nth| {
            let found = narrow.on_arrival(nth * 7_000, 100_000 + nth * 15_333, 1_150);
            found.map(|found| (nth, found.bps))
        });
        let (nth, bps) = found.unwrap();
        assert!(nth <= 8 && (590e3..610e3).contains(&bps), "{nth} {bps}");
    }

    #[test]
    fn a_path_that_carries_it_is_not_narrow() {
        assert_eq!(run(2_500_000, 100, |_, at_us| at_us), None);
    }

    #[test]
    fn a_pause_is_not_narrow() {
        // Nothing comes for 150 ms, then all at once.
        let pause = |_, at_us: i64| {
            if (400_000..550_000).contains(&at_us) {
                550_000
            } else {
                at_us
            }
        };
        assert_eq!(run(4_000_000, 100, pause), None);
    }

    #[test]
    fn jitter_of_whole_frames_is_not_narrow() {
        let jitter = |nth: i64, at_us: i64| at_us + nth * 7_919 % 40_000;
        assert_eq!(run(4_000_000, 200, jitter), None);
    }

    #[test]
    fn a_longer_way_is_not_narrow() {
        let longer = |nth: i64, at_us: i64| at_us + i64::from(nth >= 20) * 80_000;
        assert_eq!(run(4_000_000, 200, longer), None);
    }
}
