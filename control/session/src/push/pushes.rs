//! Owns the table of pushes, and what time wants of each.

use crate::session::SessionId;
use link::command::AddPublisher;
use link::ids::{CoreId, StreamId, ViewerId};
use std::collections::BTreeMap;
use wire::peer::Peer;
use wire::time::{Span, Time};
use zeroize::Zeroize;

/// First wait for a worker's answer before it is asked again; doubled every time.
pub(super) const RESEND_FIRST: Span = Span::millis(250);

/// Longest wait.
pub(super) const RESEND_LAST: Span = Span::secs(8);

/// How long a worker may go on refusing a push. Whoever wrote the log before it has ended long
/// before that.
const REFUSALS_MAX: Span = Span::secs(5);

/// All pushes, by the index of their stream: there is one for each at most.
#[derive(Default)]
pub(crate) struct Pushes(pub(crate) BTreeMap<u32, Push>);

/// One push.
pub(crate) struct Push {
    pub(crate) id: SessionId,
    /// A place among the viewers, beside which it is kept; no worker serves it.
    pub(crate) place: ViewerId,
    pub(crate) add: AddPublisher,
    pub(crate) core: CoreId,
    pub(crate) created: Time,
    /// It ends when nothing has come for so long.
    pub(crate) timeout: Span,
    /// When something came last, or it began.
    pub(crate) heard_at: Time,
    /// Something has come.
    pub(crate) is_heard: bool,
    /// Its worker has not said yet that it takes it.
    pub(crate) awaited: bool,
    pub(crate) refused_since: Option<Time>,
    pub(crate) resend_at: Time,
    pub(crate) resend_wait: Span,
}

impl Pushes {
    /// True if this stream is fed by a push.
    pub(crate) fn feeds(&self, stream: StreamId) -> bool {
        let push = self.0.get(&stream.index);
        push.is_some_and(|push| push.add.stream == stream)
    }

    /// The index of the stream that the push of this name feeds.
    pub(crate) fn by_id(&self, id: &str) -> Option<u32> {
        let mut all = self.0.iter();
        let found = all.find(|(_, push)| push.id.as_str() == id);
        found.map(|(index, _)| *index)
    }

    /// When the first of them wants to be looked at.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.0.values().map(Push::deadline).min()
    }

    pub(super) fn due(&self, now: Time) -> Option<u32> {
        let mut all = self.0.iter();
        let found = all.find(|(_, push)| push.deadline() <= now);
        found.map(|(index, _)| *index)
    }

    pub(super) fn at(&mut self, core: CoreId, stream: StreamId) -> Option<&mut Push> {
        let push = self.0.get_mut(&stream.index);
        push.filter(|push| push.add.stream == stream && push.core == core)
    }

    /// The worker that has the fewest of them.
    pub(super) fn emptiest(&self, cores: u16) -> CoreId {
        let load = |core: &CoreId| self.0.values().filter(|push| push.core == *core).count();
        let cores = (0..cores).map(CoreId);
        cores.min_by_key(load).unwrap_or_default()
    }
}

impl Push {
    /// One that begins now, of which its worker is about to be told.
    pub(super) fn new(
        now: Time,
        id: SessionId,
        place: ViewerId,
        add: AddPublisher,
        core: CoreId,
        timeout: Span,
    ) -> Self {
        Self {
            id,
            place,
            add,
            core,
            created: now,
            timeout,
            heard_at: now,
            is_heard: false,
            awaited: true,
            refused_since: None,
            resend_at: now + RESEND_FIRST,
            resend_wait: RESEND_FIRST,
        }
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = Peer> {
        let second = Some(self.add.audio.peer).filter(|peer| peer.port != 0);
        std::iter::once(self.add.peer).chain(second)
    }

    pub(super) fn expires(&self) -> Time {
        self.heard_at + self.timeout
    }

    pub(super) fn gives_up_at(&self) -> Option<Time> {
        self.refused_since.map(|since| since + REFUSALS_MAX)
    }

    pub(super) fn deadline(&self) -> Time {
        let resend_at = self.awaited.then_some(self.resend_at);
        let sooner = resend_at.into_iter().chain(self.gives_up_at()).min();
        sooner.map_or(self.expires(), |at| at.min(self.expires()))
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        self.add.keys.zeroize();
        self.add.audio.key.zeroize();
    }
}
