//! Owns which layers of a stream's video a viewer wants.

use crate::refusal::SignalError;
use crate::session::Kind;
use crate::sessions::Sessions;
use crate::signalling::unknown_session;
use link::command::{Command, Pin};
use link::ids::StreamId;
use link::lanes::LAYERS;

impl Sessions {
    /// Lets a viewer have these layers, from now on and on whichever worker.
    ///
    /// # Errors
    /// 404: no such session, or it is a publisher's.
    pub fn choose_layer(&mut self, id: &str, pin: Pin) -> Result<(), SignalError> {
        let index = self.table.by_id(id).ok_or_else(unknown_session)?;
        let session = self.table.get_mut(index);
        let session = session.filter(|session| session.kind() == Kind::Viewer);
        let session = session.ok_or_else(unknown_session)?;
        session.pin = pin;
        let core = session.placed.as_ref().map(|placed| placed.core);
        let viewer = session.viewer;
        self.keep(index);
        if let Some(core) = core {
            self.command(core, Command::ChooseLayer(viewer, pin));
        }
        Ok(())
    }

    /// The encodings of a stream's video by lane, with their names, if its publisher sends several.
    #[must_use]
    pub fn encodings(&self, stream: StreamId) -> Vec<(usize, String)> {
        let publishing = self
            .publisher_of(stream)
            .and_then(|session| session.publishing.as_ref());
        let lanes = publishing.map_or(&[][..], |publishing| &publishing.lanes);
        let named = LAYERS.into_iter().filter_map(|lane| {
            let rid = lanes.get(lane)?.rid;
            let name = String::from_utf8_lossy(rid.name()).into_owned();
            (!rid.is_empty()).then_some((lane, name))
        });
        named.collect()
    }
}
