//! Owns how often the log repeats what strangers cause: whoever can make lines without end can fill
//! a disk, and hides the line that matters.

use std::fmt;
use wire::time::{Span, Time};

/// Lines of one kind in a minute. An encoder with a wrong passphrase that tries once a second is
/// seen at once and named ten times.
const LINES_MAX: u32 = 10;

/// What is counted together.
const MINUTE: Span = Span::secs(60);

/// Lines of one kind.
#[derive(Debug, Default)]
pub struct Hush {
    until: Time,
    said: u32,
    left_out: u64,
}

/// That lines were left out before this one; says nothing if none were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut(u64);

impl Hush {
    /// Whether a line may be written now, and what it has to add.
    pub fn may_say(&mut self, now: Time) -> Option<LeftOut> {
        if now >= self.until {
            self.until = now + MINUTE;
            self.said = 0;
        }
        if self.said == LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.said += 1;
        Some(LeftOut(std::mem::take(&mut self.left_out)))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            lines => write!(f, " ({lines} more like it before this were not written)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_end_are_a_few_and_a_count() {
        let mut hush = Hush::default();
        let mut lines = Vec::new();
        // An hour of 1,000 a second.
        for ms in 0..3_600_000_u64 {
            let now = Time::ZERO + Span::secs(5) + Span::millis(ms);
            lines.extend(hush.may_say(now));
        }
        assert_eq!(lines.len(), 60 * 10);
        let left_out: u64 = lines.iter().map(|line| line.0).sum();
        assert_eq!(
            left_out,
            59 * (60_000 - 10),
            "all but those of the last minute"
        );
        assert_eq!(lines[0].to_string(), "");
        assert!(lines[10].to_string().contains("59990 more"));
    }

    #[test]
    fn who_is_seldom_is_always_heard() {
        let mut hush = Hush::default();
        for minute in 0..100 {
            let now = Time::ZERO + Span::secs(60 * minute);
            assert_eq!(hush.may_say(now), Some(LeftOut(0)));
        }
    }
}
