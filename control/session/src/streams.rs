//! Owns the streams that can be watched: name, id, description, who publishes, how many watch.

use crate::description::StreamDescription;
use link::command::TrackIn;
use link::ids::{StreamId, ViewerId};
use link::lanes::LANES_MAX;
use std::collections::BTreeMap;

/// One stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) description: StreamDescription,
    pub(crate) viewers: u32,
    /// The publisher's session, if it is one of ours.
    pub(crate) publisher: Option<ViewerId>,
    /// Whether there are layers within an encoding of its video; `None`: not known yet.
    pub(crate) has_layers: Option<bool>,
    /// What the last publisher by a session sent, by lane: what one who comes while there is none
    /// negotiates for the next, as it cannot be changed later.
    pub(crate) lanes_before: Option<[TrackIn; LANES_MAX]>,
}

/// All streams, by name. Their number is bounded by who opens them, with one log for each.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    by_name: BTreeMap<String, Stream>,
    names: BTreeMap<u32, String>,
}

impl Streams {
    /// Opens a stream; one of that name or index is replaced.
    pub(crate) fn open(&mut self, name: &str, id: StreamId) {
        if let Some(old_name) = self.names.remove(&id.index) {
            self.by_name.remove(&old_name);
        }
        let stream = Stream {
            id,
            description: StreamDescription::default(),
            viewers: 0,
            publisher: None,
            has_layers: None,
            lanes_before: None,
        };
        if let Some(old) = self.by_name.insert(name.to_owned(), stream) {
            self.names.remove(&old.id.index);
        }
        self.names.insert(id.index, name.to_owned());
    }

    /// Forgets a stream. `None` if this generation of it is not there.
    pub(crate) fn close(&mut self, id: StreamId) -> Option<Stream> {
        self.by_id(id)?;
        let name = self.names.remove(&id.index)?;
        self.by_name.remove(&name)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Stream> {
        self.by_name.get(name)
    }

    pub(crate) fn by_id(&self, id: StreamId) -> Option<&Stream> {
        let stream = self.by_name.get(self.names.get(&id.index)?)?;
        (stream.id == id).then_some(stream)
    }

    pub(crate) fn by_id_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let stream = self.by_name.get_mut(self.names.get(&id.index)?)?;
        (stream.id == id).then_some(stream)
    }

    pub(crate) fn name(&self, id: StreamId) -> Option<&str> {
        self.by_id(id)?;
        self.names.get(&id.index).map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Stream)> {
        self.by_name
            .iter()
            .map(|(name, stream)| (name.as_str(), stream))
    }
}
