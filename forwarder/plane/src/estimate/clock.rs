//! Owns the receiver's clock as its feedback tells it: 24 bits of 64 ms, extended. Hot.

/// A tick of arrival times, and ticks of the reference time's unit.
const TICK_US: i64 = 250;
const REFERENCE_TICKS: i64 = 256;

/// Extended reference times are taken back to their 24 bits here: far from any overflow.
const REFERENCE_MAX: i64 = 1 << 50;

/// Units of a report's time in a second, and of the offsets before it.
const REPORT_HZ: i64 = 65_536;
const OFFSET_HZ: i64 = 1_024;

/// The receiver's clock as reports of arrivals by source tell it: 32 bits of 65,536ths of a second,
/// extended.
#[derive(Clone, Copy, Default)]
pub(super) struct ReportClock {
    /// Of the last message; `None`: there was none.
    reported: Option<u32>,
    /// The same, extended.
    units: i64,
}

impl ReportClock {
    /// The clock at a message that was made at this time; messages may come out of order.
    pub fn after(self, reported: u32) -> Self {
        let last = self.reported.unwrap_or(reported);
        let step = i64::from(reported.wrapping_sub(last).cast_signed());
        let units = self.units + step;
        Self {
            reported: Some(reported),
            // Taken back to its 32 bits far from any overflow, once in millions of years.
            units: if units.abs() > REFERENCE_MAX {
                0
            } else {
                units
            },
        }
    }

    /// Microseconds of what came so many 1,024ths of a second before the report.
    #[inline]
    pub fn micros(self, before: u16) -> i64 {
        let units = self.units - i64::from(before) * (REPORT_HZ / OFFSET_HZ);
        // 1,000,000 / 65,536 in lowest terms.
        units * 15_625 / 1_024
    }
}

/// The receiver's clock.
#[derive(Clone, Copy, Default)]
pub(super) struct Clock {
    /// Of the last message, 24 bits; `None`: there was none.
    reference: Option<u32>,
    /// The same, extended, in ticks.
    ticks: i64,
    /// Arrival less send of the last packet.
    pub delay_us: Option<i64>,
}

impl Clock {
    /// The clock at a message with this reference time; messages may come out of order.
    pub fn after(self, reference: u32) -> Self {
        let step = self.reference.map_or(0, |last| {
            // 24 bits, with their sign.
            i64::from((reference.wrapping_sub(last) << 8).cast_signed() >> 8)
        });
        let ticks = self.ticks + step * REFERENCE_TICKS;
        let ticks = if self.reference.is_none() || ticks.abs() > REFERENCE_MAX {
            i64::from(reference) * REFERENCE_TICKS
        } else {
            ticks
        };
        Self {
            reference: Some(reference),
            ticks,
            delay_us: self.delay_us,
        }
    }
    /// Microseconds of a time that the message tells, in ticks after its reference.
    #[inline]
    pub const fn micros(self, ticks: i64) -> i64 {
        (self.ticks + ticks) * TICK_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_wrap_and_go_back() {
        let mut clock = ReportClock::default().after(u32::MAX - 65_535);
        let base = clock.micros(0);
        assert_eq!(base - clock.micros(512), 500_000);
        for (reported, after_us) in [
            (0, 1_000_000),
            (u32::MAX - 32_767, 500_000),
            (0x8000, 1_500_000),
        ] {
            clock = clock.after(reported);
            assert_eq!(clock.micros(0) - base, after_us);
        }
    }

    #[test]
    fn references_wrap_and_go_back() {
        let mut clock = Clock::default().after(0xff_fffe);
        let base = clock.micros(0);
        for (reference, steps) in [(0xff_ffff, 1), (1, 3), (0, 2), (0x40_0000, 0x40_0002)] {
            clock = clock.after(reference);
            assert_eq!(clock.micros(0) - base, steps * 64_000);
        }
        // A clock that runs forth for ever stays in bounds.
        for nth in 0..1_200_000_u32 {
            clock = clock.after(nth.wrapping_mul(0x7f_ffff) & 0xff_ffff);
            assert!(clock.ticks.abs() <= REFERENCE_MAX + (1 << 32));
        }
    }
}
