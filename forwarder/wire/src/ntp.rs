//! Owns NTP timestamps as RTCP carries them (RFC 3550 section 4).

use crate::time::Span;

/// Seconds from 1900, where NTP starts, to 1970, where Unix time starts.
const UNIX_EPOCH_S: u64 = 2_208_988_800;
const NS_PER_S: u64 = 1_000_000_000;

/// Wall-clock time: seconds since 1900 in the upper 32 bits, their fraction in the lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Ntp(pub u64);

impl Ntp {
    /// From nanoseconds since 1970. The seconds wrap in 2036, as the format has it.
    #[inline]
    #[must_use]
    pub const fn from_unix_ns(unix_ns: u64) -> Self {
        let seconds = unix_ns / NS_PER_S + UNIX_EPOCH_S;
        let fraction = ((unix_ns % NS_PER_S) << 32) / NS_PER_S;
        Self((seconds << 32) | fraction)
    }

    /// Nanoseconds since 1970. Times before 1970 do not occur, so that seconds below the Unix
    /// epoch are of the era that starts in 2036.
    #[inline]
    #[must_use]
    pub const fn to_unix_ns(self) -> u64 {
        let seconds = self.0 >> 32;
        let since_1970 = if seconds >= UNIX_EPOCH_S {
            seconds - UNIX_EPOCH_S
        } else {
            seconds + (1 << 32) - UNIX_EPOCH_S
        };
        let fraction = self.0 & 0xffff_ffff;
        since_1970 * NS_PER_S + ((fraction * NS_PER_S + (1 << 31)) >> 32)
    }

    /// The middle 32 bits: 16.16 seconds, as reports refer to a time.
    #[inline]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the middle bits are wanted"
    )]
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// A span in units of 1/65,536 s, as DLSR and DLRR carry it; 18 hours at most.
#[inline]
#[must_use]
pub fn short_from_span(span: Span) -> u32 {
    u32::try_from((u128::from(span.0) << 16) / u128::from(NS_PER_S)).unwrap_or(u32::MAX)
}

/// The span of so many units of 1/65,536 s, rounded to nanoseconds.
#[inline]
#[must_use]
pub const fn span_from_short(short: u32) -> Span {
    Span((short as u64 * NS_PER_S + (1 << 15)) >> 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_convert() {
        assert_eq!(Ntp::from_unix_ns(0).0, 0x83aa_7e80_0000_0000);
        assert_eq!(Ntp::from_unix_ns(1_500_000_000).0, 0x83aa_7e81_8000_0000);
        assert_eq!(Ntp::from_unix_ns(1_500_000_000).middle(), 0x7e81_8000);
        // 2036-02-07 06:28:16 UTC, the first second of the next era.
        assert_eq!(Ntp::from_unix_ns(2_085_978_496 * NS_PER_S).0, 0);
        assert_eq!(Ntp(0).to_unix_ns(), 2_085_978_496 * NS_PER_S);
        assert_eq!(short_from_span(Span::millis(500)), 0x8000);
        assert_eq!(short_from_span(Span(u64::MAX)), u32::MAX);
        assert_eq!(span_from_short(0x1_8000), Span::millis(1500));
    }

    proptest! {
        #[test]
        fn times_survive_the_round_trip(unix_ns in 0..u64::from(u32::MAX) * NS_PER_S) {
            prop_assert_eq!(Ntp::from_unix_ns(unix_ns).to_unix_ns(), unix_ns);
        }

        #[test]
        fn spans_survive_the_round_trip(short: u32, ntp: u64) {
            let back = short_from_span(span_from_short(short));
            prop_assert!(back.abs_diff(short) <= 1);
            let _ = Ntp(ntp).to_unix_ns(); // any bits will do
        }
    }
}
