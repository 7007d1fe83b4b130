//! Owns going on with what an earlier life of control has left in the memory: sessions, who
//! publishes, and viewers of whom nothing is known.

use super::lines::Lines;
use super::stream::{Active, Encoding};
use super::streams::Streams;
use super::{Driver, newcomer};
use crate::control::{PublisherKind, StreamName};
use link::ids::ViewerId;
use link::region::{LinkError, Region};
use link::viewer::Viewer;
use session::{Holder, Kind, SessionView, Sessions};
use wire::time::Time;
use zeroize::Zeroizing;

/// Viewers whose cells are open and that no session knows: those of calls, which are made anew, and
/// those that another build has kept. They end with their peers.
#[derive(Default)]
pub(super) struct Strays(Vec<ViewerId>);

/// Gives sessions what was kept of each, once their streams are known. The indexes of viewers that
/// were in use come back either way, in later generations.
pub(super) fn adopt(
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
            tracing::warn!(viewer = index, %why, "a session cannot be gone on with");
        }
        if sessions.adopt_stray(viewer) {
            strays.0.push(viewer);
        }
    }
    let (adopted, others) = (sessions.session_count(), strays.0.len());
    if adopted > 0 || others > 0 {
        tracing::info!(adopted, others, "sessions go on after a restart");
    }
    Ok(strays)
}

impl Driver {
    /// The cell of a viewer, opened if it is not.
    pub(super) fn cell(&self, viewer: ViewerId) -> Option<Viewer> {
        let cell = self.region.viewer(viewer);
        let cell = cell.or_else(|_| self.region.open_viewer_as(viewer));
        let said = |error: &LinkError| {
            tracing::error!(viewer = viewer.index, %error, "no cell for the viewer");
        };
        cell.inspect_err(said).ok()
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

    /// Closes the cells of strays that no worker serves any more.
    pub(super) fn release_strays(&mut self, now: Time) {
        let (region, lines, sessions) = (&self.region, &self.lines, &mut self.sessions);
        self.strays.0.retain(|viewer| {
            // A new forwarder is not told of it.
            let is_served = matches!(lines.holder(*viewer), Holder::Core(_));
            if !is_served {
                if let Ok(cell) = region.viewer(*viewer) {
                    cell.close();
                }
                sessions.release_stray(now, *viewer);
            }
            is_served
        });
    }
}

impl Streams {
    /// Knows those again who publish by sessions that were adopted.
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
            let epoch = self.next_epoch();
            let found = stream_name.parse::<StreamName>().ok();
            let Some(known) = found.and_then(|name| self.table.get_mut(&name)) else {
                continue;
            };
            // Its worker writes the log, or is about to.
            known.remains = None;
            let named = sessions.encodings(stream).into_iter();
            known.start(Active {
                epoch,
                encodings: named
                    .map(|(lane, name)| Encoding::new(lane, name))
                    .collect(),
                session: Some(id),
                since: created,
                ..newcomer(PublisherKind::Whip)
            });
            known.negotiated = description;
            known.described = true;
        }
    }
}
