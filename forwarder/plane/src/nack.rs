//! Owns how viewers' requests to send something again are bounded, and what was sent just now.

use wire::time::{Span, Time};

/// Packets looked at in one NACK. More than this lost at once is repaired by a keyframe.
pub const LOST_MAX: usize = 256;

/// The same packet is not sent again sooner than this while the round-trip time is not known.
pub const RESEND_AFTER_DEFAULT: Span = Span::millis(20);

/// Bounds of the round-trip time as told by the peer, for the same purpose.
pub const RESEND_AFTER_MIN: Span = Span::millis(5);
/// Browsers repeat a NACK every 100 ms and more.
pub const RESEND_AFTER_MAX: Span = Span::millis(100);

/// How many resent packets a viewer's memory tells apart.
const RESENT_SLOTS: usize = 64;

/// Which packets a viewer was sent again a moment ago.
#[derive(Clone, Copy)]
pub struct Resent {
    /// Track and SRTP index, with the time in milliseconds; a later packet may take the place.
    slots: [(u32, u32); RESENT_SLOTS],
}

impl Resent {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self {
            slots: [(0, 0); RESENT_SLOTS],
        }
    }

    /// True if the packet was not sent again within `after`; it counts as sent again from now.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "low bits of a key and of a time"
    )]
    pub fn may(&mut self, now: Time, after: Span, track: u8, index: u64) -> bool {
        let key = (index as u32) << 1 | u32::from(track & 1);
        // Never 0, which marks a slot that is empty.
        let at_ms = (now.0 / 1_000_000) as u32 | 1;
        let Some(slot) = self.slots.get_mut(index as usize % RESENT_SLOTS) else {
            return true;
        };
        let age_ms = at_ms.wrapping_sub(slot.1);
        if slot.1 != 0 && slot.0 == key && u64::from(age_ms) < after.as_millis() {
            return false;
        }
        *slot = (key, at_ms);
        true
    }
}

/// Most that is waited where we measure how long a packet takes: queues are rarely longer.
const QUEUED_MAX: Span = Span::millis(500);

/// How long to wait before the same packet is sent once more: a round trip as the viewer's reports
/// tell it, and as `queued` tells it, which is measured from feedback (zero: not). Behind a full
/// queue browsers ask three times for what is on its way, and would fill it again.
pub fn resend_after(rtt: Span, queued: Span) -> Span {
    let told = if rtt == Span::ZERO {
        RESEND_AFTER_DEFAULT
    } else {
        rtt.clamp(RESEND_AFTER_MIN, RESEND_AFTER_MAX)
    };
    told.max(queued.min(QUEUED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_sent_again_once_in_a_round_trip() {
        let mut resent = Resent::new();
        let start = Time(Span::secs(7).0);
        assert!(resent.may(start, Span::millis(20), 0, 77));
        assert!(!resent.may(start + Span::millis(10), Span::millis(20), 0, 77));
        assert!(resent.may(start + Span::millis(10), Span::millis(20), 1, 77));
        assert!(resent.may(start + Span::millis(30), Span::millis(20), 0, 77));
        assert!(resent.may(start + Span::millis(30), Span::millis(20), 0, 78));
    }

    #[test]
    fn behind_a_queue_it_is_not_sent_twice_while_it_waits_there() {
        let after = |rtt, queued| resend_after(Span::millis(rtt), Span::millis(queued));
        assert_eq!(after(0, 0), RESEND_AFTER_DEFAULT);
        assert_eq!(after(2, 0), RESEND_AFTER_MIN);
        assert_eq!(after(9_000, 40), RESEND_AFTER_MAX);
        assert_eq!(after(30, 340), Span::millis(340));
        assert_eq!(after(30, 9_000), QUEUED_MAX);
    }
}
