//! Owns connectivity checks of viewers (ICE lite): consent, nomination, moves to another address.
//! Where we are the controlling agent control sends checks of ours; the peer's are answered here.

use link::event::Event;
use link::ids::ufrag_index;
use link::stats::Counter;
use wire::datagram::RxMeta;
use wire::stun::{Fault, Message, Role, write_error, write_success};
use wire::time::{Span, Time};

use crate::Plane;
use crate::flow::{Flows, Target};
use crate::verdict::Verdict;
use crate::viewer::Viewer;

/// A viewer whose selected pair has been silent for so long follows a valid check on another pair
/// that does not nominate: Firefox nominates in its first check only, and then checks every 4 to
/// 6 s, so that a new port of its NAT shows itself this way.
const REBIND_AFTER: Span = Span::secs(8);

/// What a valid check changed.
enum Change {
    Nothing,
    Moved,
}

impl Plane {
    /// A STUN message. What is not a check of a viewer of ours is for another core, if it may be
    /// handed off, or for control.
    pub(crate) fn on_stun(&mut self, meta: RxMeta, bytes: &[u8], may_hand_off: bool) -> Verdict {
        let Ok(message) = Message::parse(bytes) else {
            return Verdict::StunMalformed;
        };
        let local = message.username().map(|(local, _)| local);
        let (true, Some(local)) = (message.is_binding_request(), local) else {
            return self.punt(meta, bytes);
        };
        let Some(index) = ufrag_index(local) else {
            return self.punt(meta, bytes);
        };
        let Some(slot) = self.tables.viewers.slot(index) else {
            return match self.owner(index) {
                Some(owner) if may_hand_off && owner != self.core => {
                    self.hand_off(owner, meta, bytes)
                }
                _ => self.punt(meta, bytes),
            };
        };
        let Some(viewer) = self.tables.viewers.at_mut(slot) else {
            return Verdict::Unknown;
        };
        let cold = &viewer.cold;
        let (ice, is_restart) = match cold.ice_next {
            Some(next) if next.ufrag == local => (next, true),
            _ if cold.ice.ufrag == local => (cold.ice, false),
            // A later session of the same index that is still shaking hands with control.
            _ => return self.punt(meta, bytes),
        };
        if !message.verify_integrity(&ice.pwd) {
            return Verdict::StunUnverified;
        }
        self.answer(slot, meta, &message, is_restart)
    }

    /// Answers an authentic check, and does what it says.
    fn answer(
        &mut self,
        slot: u32,
        meta: RxMeta,
        message: &Message<'_>,
        is_restart: bool,
    ) -> Verdict {
        let Some(viewer) = self.tables.viewers.at_mut(slot) else {
            return Verdict::Unknown;
        };
        let transaction = message.transaction();
        let pwd = match viewer.cold.ice_next {
            Some(next) if is_restart => next.pwd,
            _ => viewer.cold.ice.pwd,
        };
        let is_controlling = viewer.cold.is_controlling;
        let fault = match (message.unknown_required(), message.role()) {
            (Some(kind), _) => Some(Fault::UnknownAttribute(kind)),
            // We are controlled, being lite, but where we have made the offer.
            (None, Some(Role::Controlled(_))) if !is_controlling => Some(Fault::RoleConflict),
            (None, Some(Role::Controlling(_))) if is_controlling => Some(Fault::RoleConflict),
            _ => None,
        };
        let replied = self.outbox.push(meta, |out| match fault {
            Some(fault) => write_error(&transaction, fault, Some(&pwd), out),
            None => write_success(&transaction, meta.peer, &pwd, out),
        });
        // Consent to send is given by answers to our checks alone (RFC 7675 section 5.1), and
        // where to send is for the controlling agent to say.
        if fault.is_none() && !is_controlling {
            let change = accept(
                self.now,
                &mut self.flows,
                slot,
                viewer,
                meta,
                message,
                is_restart,
            );
            if let Change::Moved = change {
                let id = viewer.id;
                self.outlets.stats.add(Counter::ViewerMoved, 1);
                self.tell(&Event::ViewerMoved(id, meta.peer));
            }
        }
        if replied {
            Verdict::Answered
        } else {
            Verdict::ReplyFull
        }
    }
}

/// Takes an authentic check into the viewer's state.
fn accept(
    now: Time,
    flows: &mut Flows,
    slot: u32,
    viewer: &mut Viewer,
    meta: RxMeta,
    message: &Message<'_>,
    is_restart: bool,
) -> Change {
    let is_selected = viewer.to == meta;
    if !viewer.cold.checks.is_new(message.transaction()) {
        // Answered, as a lost answer may be the reason; but it renews nothing.
        return Change::Nothing;
    }
    let silent = now.since(viewer.cold.selected_at) > REBIND_AFTER;
    viewer.cold.checked_at = now;
    if is_restart {
        // The restarted session goes on where its first check comes from.
        if let Some(next) = viewer.cold.ice_next.take() {
            viewer.cold.ice = next;
        }
    }
    if is_selected {
        viewer.cold.selected_at = now;
        return Change::Nothing;
    }
    let is_known = learn(now, flows, slot, viewer, meta);
    if is_known && (message.use_candidate() || is_restart || silent) {
        viewer.to = meta;
        viewer.cold.selected_at = now;
        return Change::Moved;
    }
    Change::Nothing
}

/// Remembers a pair on which a valid check came. False: there is no room for it.
pub(crate) fn learn(
    now: Time,
    flows: &mut Flows,
    slot: u32,
    viewer: &mut Viewer,
    meta: RxMeta,
) -> bool {
    let selected = viewer.to;
    let paths = &mut viewer.cold.paths;
    if paths.contains(&Some(meta)) {
        return true;
    }
    if !flows.insert(now, meta, Target::Viewer(slot)) {
        return false;
    }
    // The oldest pair that is not selected makes room.
    let at = paths
        .iter()
        .position(Option::is_none)
        .or_else(|| paths.iter().position(|path| *path != Some(selected)))
        .unwrap_or(0);
    if let Some(old) = paths[at] {
        flows.remove(&old, Target::Viewer(slot));
    }
    paths[at..].rotate_left(1);
    let last = paths
        .iter()
        .rposition(Option::is_some)
        .map_or(0, |at| at + 1);
    let free = last.min(paths.len() - 1);
    paths[free] = Some(meta);
    true
}
