//! Owns the sight of a path that has become narrow from one frame to the next. Hot.
//!
//! A frame is sent at once. If its packets come apart, evenly, over more time than there is between
//! two frames, and the next frame has to wait for them, then the path carries what came in that
//! time and no more: the trend of delays would show it some frames later, when the queue is full.

/// Packets that were sent within this time are one frame.
const FRAME_US: i64 = 1_000;

/// Fewer packets come apart by chance.
const PACKETS_MIN: u8 = 4;

/// A frame that takes longer than this, which is one and a half times what there is between two
/// frames at 30 a second, ...
const SPREAD_US: i64 = 50_000;

/// ... no two packets of which are further apart than this part of it, as after a pause they come
/// together, ...
const GAP_PART: i64 = 2;

/// ... and the next one of which, sent so much later at the most, ...
const NEXT_US: i64 = 150_000;

/// ... waits so much longer than its own first packet.
const WAIT_US: i64 = 30_000;

#[derive(Clone, Copy)]
struct Frame {
    sent_us: i64,
    first_us: i64,
    last_us: i64,
    gap_us: i64,
    /// Bytes of all packets but the first.
    bytes: u32,
    packets: u8,
}

/// Watches frames as they come.
#[derive(Clone, Copy)]
pub(super) struct Narrow {
    frame: Option<Frame>,
}

impl Narrow {
    pub const fn new() -> Self {
        Self { frame: None }
    }

    /// A packet that was sent and came at these times, each of its own clock. What the path carries
    /// in bits per second, if it is narrower than what is sent.
    pub fn on_arrival(&mut self, sent_us: i64, at_us: i64, bytes: u32) -> Option<f64> {
        if let Some(frame) = &mut self.frame
            && (sent_us - frame.sent_us).abs() <= FRAME_US
        {
            frame.gap_us = frame.gap_us.max(at_us - frame.last_us);
            frame.last_us = frame.last_us.max(at_us);
            frame.bytes = frame.bytes.saturating_add(bytes);
            frame.packets = frame.packets.saturating_add(1);
            return None;
        }
        let before = self.frame.replace(Frame {
            sent_us,
            first_us: at_us,
            last_us: at_us,
            gap_us: 0,
            bytes: 0,
            packets: 1,
        })?;
        let spread_us = before.last_us - before.first_us;
        let is_spread = before.packets >= PACKETS_MIN
            && spread_us >= SPREAD_US
            && before.gap_us <= spread_us / GAP_PART;
        let later_us = sent_us - before.sent_us;
        let waits_us = (at_us - sent_us) - (before.first_us - before.sent_us);
        let is_held_up = (0..NEXT_US).contains(&later_us) && waits_us >= WAIT_US;
        #[expect(clippy::cast_precision_loss, reason = "times of frames are small")]
        let bps = f64::from(before.bytes) * 8e6 / spread_us as f64;
        (is_spread && is_held_up).then_some(bps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of eight packets every 33 ms over a path of so many bits per second that is free at
    /// first; when each comes is changed by `change`. The first finding.
    fn run(bps: i64, frames: i64, change: impl Fn(i64, i64) -> i64) -> Option<f64> {
        let mut narrow = Narrow::new();
        let mut free_us = 0;
        for nth in 0..frames {
            let sent_us = nth * 33_333;
            for packet in 0..8 {
                free_us = sent_us.max(free_us) + 1_150 * 8_000_000 / bps;
                let at_us = 20_000 + change(nth, free_us) - 5_000_000_000;
                let found = narrow.on_arrival(sent_us + packet, at_us, 1_150);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    #[test]
    fn a_narrow_path_is_seen_with_the_second_frame() {
        let bps = run(600_000, 2, |_, at_us| at_us).unwrap();
        assert!((590e3..610e3).contains(&bps), "{bps}");
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
}
