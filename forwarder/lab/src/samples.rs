//! Owns what is said of repeated measurements: median, least, spread.

/// One figure, measured in every round.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Notes the figure of another round.
    pub fn add(&mut self, value: f64) {
        let at = self.0.partition_point(|other| *other <= value);
        self.0.insert(at, value);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The one in the middle; 0 if there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The least; 0 if there is none.
    #[must_use]
    pub fn least(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The width of the middle half.
    #[must_use]
    pub fn spread(&self) -> f64 {
        self.quantile(0.75) - self.quantile(0.25)
    }

    /// Between two neighbours it lies on the line that joins them.
    fn quantile(&self, part: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else {
            return 0.0;
        };
        let place = part * f64::from(u32::try_from(last).unwrap_or(u32::MAX));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the number of samples"
        )]
        let below = place.floor() as usize;
        let above = (below + 1).min(last);
        self.0[below] + (self.0[above] - self.0[below]) * place.fract()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let mut samples = Samples::default();
        assert!(samples.median().abs() < 1e-9);
        for value in [9.0, 1.0, 5.0, 3.0, 7.0] {
            samples.add(value);
        }
        assert!((samples.median() - 5.0).abs() < 1e-9);
        assert!((samples.least() - 1.0).abs() < 1e-9);
        assert!((samples.spread() - 4.0).abs() < 1e-9);
        samples.add(11.0);
        assert!((samples.median() - 6.0).abs() < 1e-9);
    }
}
