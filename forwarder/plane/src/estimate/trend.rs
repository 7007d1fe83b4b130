//! Owns the slope of the last delays by least squares. Hot.

/// Points that a slope is taken of (draft-ietf-rmcat-gcc-02 leaves the filter open; this is the
/// window of browsers).
const POINTS: usize = 20;

/// Points without which there is no slope.
const POINTS_MIN: usize = 8;

pub(super) struct Trend {
    /// When, in microseconds modulo 2^32, and the delay in milliseconds.
    points: [(u32, f32); POINTS],
    len: usize,
    next: usize,
}

impl Trend {
    pub const fn new() -> Self {
        Self {
            points: [(0, 0.0); POINTS],
            len: 0,
            next: 0,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a window is far shorter than 71 minutes"
    )]
    pub const fn push(&mut self, at_us: i64, delay_ms: f32) {
        self.points[self.next] = (at_us as u32, delay_ms);
        self.next = (self.next + 1) % POINTS;
        if self.len < POINTS {
            self.len += 1;
        }
    }

    /// Milliseconds of delay per millisecond. `None`: too few points, or all of one time.
    pub fn slope(&self) -> Option<f32> {
        if self.len < POINTS_MIN {
            return None;
        }
        let points = self.points.get(..self.len)?;
        // Times are told from the newest one back, or the squares would eat up all digits.
        let (newest_us, newest_ms) = self.points[(self.next + POINTS - 1) % POINTS];
        let near = |(us, ms): (u32, f32)| {
            let x = us.wrapping_sub(newest_us).cast_signed();
            #[expect(clippy::cast_precision_loss, reason = "a window is below 2^24 us")]
            let x = x as f32 / 1_000.0;
            (x, ms - newest_ms)
        };
        let (mut sum_x, mut sum_y, mut count) = (0.0, 0.0, 0.0_f32);
        for (x, y) in points.iter().copied().map(near) {
            sum_x += x;
            sum_y += y;
            count += 1.0;
        }
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let (mut above, mut below) = (0.0, 0.0);
        for (x, y) in points.iter().copied().map(near) {
            above += (x - mean_x) * (y - mean_y);
            below += (x - mean_x) * (x - mean_x);
        }
        (below > 0.0).then(|| above / below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_has_its_slope() {
        let mut trend = Trend::new();
        // The time's 32 bits wrap within the window.
        let base = i64::from(u32::MAX) - 300_000;
        for nth in 0..50_u16 {
            assert_eq!(trend.slope().is_some(), nth >= 8);
            trend.push(base + i64::from(nth) * 20_000, 500.0 + f32::from(nth) * 5.0);
        }
        let slope = trend.slope().unwrap();
        assert!((slope - 0.25).abs() < 1e-3, "{slope}");
    }

    #[test]
    fn points_of_one_time_have_none() {
        let mut trend = Trend::new();
        for nth in 0..50_u8 {
            trend.push(7, f32::from(nth));
        }
        assert_eq!(trend.slope(), None);
    }
}
