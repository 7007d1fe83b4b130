//! Owns what is said of the sessions that an earlier life of control has left in the memory, what
//! is kept there for the next one, and who publishes.

use super::stream::{Active, Encoding};
use super::streams::Streams;
use super::{Driver, newcomer};
use crate::control::{PublisherKind, StreamName};
use link::ids::ViewerId;
use link::region::LinkError;
use link::viewer::Viewer;
use session::adopt::Strays;
use session::{Kind, SessionView, Sessions, StreamDescription};

/// Says what became of the sessions of an earlier life.
pub(super) fn tell(strays: &Strays, sessions: &Sessions) {
    for (viewer, why) in &strays.unusable {
        tracing::warn!(viewer = viewer.index, %why, "a session cannot be gone on with");
    }
    let (adopted, pushes) = (sessions.session_count(), sessions.push_views().count());
    let others = strays.len();
    if adopted > 0 || pushes > 0 || others > 0 {
        tracing::info!(adopted, pushes, others, "sessions go on after a restart");
    }
}

impl Driver {
    /// The cell of a viewer, opened if it is not.
    pub(super) fn cell(&self, viewer: ViewerId) -> Option<Viewer> {
        let said = |error: &LinkError| {
            tracing::error!(viewer = viewer.index, %error, "no cell for the viewer");
        };
        self.lines.cell(viewer).inspect_err(said).ok()
    }

    /// Keeps what the next life of control needs to go on with a session.
    pub(super) fn keep(&self, viewer: ViewerId, keepsake: &[u8]) {
        let is_kept = self.cell(viewer).is_some_and(|cell| cell.save(keepsake));
        if !is_kept {
            tracing::error!(
                viewer = viewer.index,
                "the session would not outlive control"
            );
        }
    }
}

impl Streams {
    /// Knows those again who publish by sessions and pushes that were adopted.
    pub(super) fn adopt_publishers(&mut self, sessions: &Sessions) {
        let publishers = sessions
            .session_views()
            .filter(|view| view.kind == Kind::Publisher);
        for SessionView {
            id,
            stream,
            stream_name,
            created,
            description,
            ..
        } in publishers
        {
            let named = sessions.encodings(stream).into_iter();
            let active = Active {
                epoch: self.next_epoch(),
                encodings: named
                    .map(|(lane, name)| Encoding::new(lane, name))
                    .collect(),
                session: Some(id),
                since: created,
                ..newcomer(PublisherKind::Whip)
            };
            self.adopt_publisher(&stream_name, active, description);
        }
        for push in sessions.push_views() {
            let active = Active {
                epoch: self.next_epoch(),
                session: Some(push.id),
                remote: push.sources.first().copied(),
                sources: push.sources,
                since: push.created,
                ..newcomer(PublisherKind::Push)
            };
            self.adopt_publisher(&push.stream_name, active, push.description);
        }
    }

    fn adopt_publisher(&mut self, name: &str, active: Active, description: StreamDescription) {
        let found = name.parse::<StreamName>().ok();
        let Some(known) = found.and_then(|name| self.table.get_mut(&name)) else {
            return;
        };
        // Its worker writes the log, or is about to.
        known.remains = None;
        known.start(active);
        known.negotiated = description;
        known.described = true;
    }
}
