//! Owns going on with the sessions that an earlier life of control has left in the memory, and the
//! viewers there of whom nothing is known.

use crate::lines::Lines;
use crate::{Holder, NotAdopted, Sessions};
use link::ids::ViewerId;
use link::region::{LinkError, Region};
use wire::time::Time;
use zeroize::Zeroizing;

/// Viewers whose cells are open and that no session knows: those of calls, which are made anew, and
/// those that another build has kept. They end with their peers.
#[derive(Debug, Default)]
pub struct Strays {
    viewers: Vec<ViewerId>,
    /// Those of whom something was kept that is of no use, and why: to be told to the operator.
    pub unusable: Vec<(ViewerId, NotAdopted)>,
}

/// Gives sessions what was kept of each, once their streams are known. The indexes of viewers that
/// were in use come back either way, in later generations.
///
/// # Errors
/// The region has no such viewers: it is not the one that `lines` are of.
pub fn adopt(
    now: Time,
    region: &Region,
    lines: &Lines,
    sessions: &mut Sessions,
) -> Result<Strays, LinkError> {
    let mut strays = Strays::default();
    for index in 0..region.limits().viewers_max {
        let generation = region.viewer_generation(index)?;
        if generation > 0 {
            sessions.adopt_generation(index, generation);
        }
        let Some(cell) = region.viewer_at(index) else {
            continue;
        };
        let (viewer, holder) = (cell.id(), lines.holder(cell.id()));
        let kept = Zeroizing::new(cell.load().unwrap_or_default());
        let Err(why) = sessions.adopt(now, viewer, &kept, holder, cell.leases()) else {
            continue;
        };
        if !kept.is_empty() {
            strays.unusable.push((viewer, why));
        }
        if sessions.adopt_stray(viewer) {
            strays.viewers.push(viewer);
        }
    }
    Ok(strays)
}

impl Strays {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.viewers.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.viewers.is_empty()
    }

    /// Closes the cells of those that no worker serves any more.
    pub fn release(&mut self, now: Time, lines: &Lines, sessions: &mut Sessions) {
        self.viewers.retain(|viewer| {
            // A new forwarder is not told of it.
            let is_served = matches!(lines.holder(*viewer), Holder::Core(_));
            if !is_served {
                lines.close(*viewer);
                sessions.release_stray(now, *viewer);
            }
            is_served
        });
    }
}
