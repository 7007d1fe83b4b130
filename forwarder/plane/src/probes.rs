//! Owns the probes of a core: packets that were sent just now, once more, to find out what a path
//! carries. Hot.

use wire::datagram::Egress;

use crate::fanout::{Tables, Turn};
use crate::repair::resend_newest;

impl Tables {
    /// Sends what probes need: packets that were sent just now, once more.
    pub fn probe<E: Egress>(&mut self, turn: &mut Turn<'_, E>) {
        let mut at = 0;
        while let Some(&slot) = turn.adaptations.probing.get(at) {
            if self.probe_one(turn, slot) {
                at += 1;
            } else {
                turn.adaptations.probing.swap_remove(at);
            }
        }
    }

    /// False: the probe is over.
    fn probe_one<E: Egress>(&mut self, turn: &mut Turn<'_, E>, slot: u32) -> bool {
        let Some(viewer) = self.viewers.at_mut(slot) else {
            return false;
        };
        let Some(known) = turn.adaptations.of(viewer) else {
            return false;
        };
        let bytes = known.estimator.probe_bytes(turn.now, known.wanted_bps);
        known.is_probing = known.estimator.is_probing();
        let goes_on = known.is_probing;
        if bytes > 0
            && let Some(stream) = self.streams.at_mut(viewer.stream)
        {
            resend_newest(turn, viewer, stream, bytes);
        }
        goes_on
    }
}
