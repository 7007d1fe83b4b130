//! Owns finding B-frames: frames that are sent after, and shown before, another one.
//!
//! Order of presentation is what browsers fail at, not the type of slices: slices of type B that
//! look back only (as some hardware makes) play everywhere.

/// Watches the presentation times of frames in the order they are sent.
#[derive(Debug, Default)]
pub(crate) struct Reorder {
    newest: Option<i64>,
    pyramid: bool,
}

impl Reorder {
    /// Takes the next frame. `Some`: it is shown before an earlier one; true within: others refer
    /// to such frames, so that leaving out disposable ones does not restore the order.
    pub(crate) fn on_frame(&mut self, ticks: i64, disposable: bool) -> Option<bool> {
        match self.newest {
            Some(newest) if ticks < newest => {
                self.pyramid |= !disposable;
                Some(self.pyramid)
            }
            _ => {
                self.newest = Some(ticks);
                None
            }
        }
    }

    /// The stamps jumped: nothing can be said of the order across.
    pub(crate) fn restart(&mut self) {
        self.newest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::Reorder;

    #[test]
    fn tells_simple_b_frames_from_a_pyramid() {
        let order = |frames: &[(i64, bool)]| {
            let mut reorder = Reorder::default();
            frames
                .iter()
                .filter_map(|&(at, free)| reorder.on_frame(at, free))
                .last()
        };
        assert_eq!(order(&[(0, false), (1, false), (2, true)]), None);
        assert_eq!(
            order(&[(0, false), (3, false), (1, true), (2, true)]),
            Some(false)
        );
        assert_eq!(
            order(&[(0, false), (4, false), (2, false), (1, true), (3, true)]),
            Some(true)
        );
    }
}
