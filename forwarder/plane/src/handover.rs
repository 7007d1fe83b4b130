//! Owns what one worker leaves to the one that takes its place while both are well: all that its
//! peers would notice if it were forgotten.
//!
//! It is written as CBOR (RFC 8949) with the names of its fields, so that two releases understand
//! each other: what one does not know it passes over, and what is new has a default. A field that
//! is there keeps its name and its meaning.

mod publisher;
mod viewer;

pub use publisher::PublisherState;
pub use viewer::ViewerState;

use link::command::Command;
use link::event::Event;
use link::ids::StreamId;
use link::lanes::Lanes;
use link::stats::Counter;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wire::time::Time;

use crate::Plane;
use crate::hearing::Hearing;

/// What a plane leaves to the next one of its core.
#[derive(Debug, Serialize, Deserialize)]
pub struct Handover {
    streams: Vec<StreamState>,
    /// Those that stand for others before these.
    viewers: Vec<ViewerState>,
    publishers: Vec<PublisherState>,
    /// Commands by which this core hands on what comes from the publishers of others.
    passed: Vec<ByteBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StreamState {
    index: u32,
    generation: u32,
    seen: u64,
    met_at: u64,
    wants_key: u8,
    key_wanted_at: Time,
    hearing: Hearing,
}

/// Why a handover cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// It is damaged, or of a release that is too far away.
    #[error("what the worker before left cannot be read: {0}")]
    Unreadable(#[from] ciborium::de::Error<std::io::Error>),
    /// There is no memory for it.
    #[error("what is left to the next worker cannot be written: {0}")]
    Unwritable(#[from] ciborium::ser::Error<std::io::Error>),
}

impl Handover {
    /// Writes it. There are keys in it.
    ///
    /// # Errors
    /// No memory.
    pub fn encode(&self) -> Result<Vec<u8>, HandoverError> {
        let mut bytes = Vec::with_capacity(self.viewers.len() * VIEWER_BYTES);
        ciborium::into_writer(self, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Not a handover, or not one that this release understands.
    pub fn decode(bytes: &[u8]) -> Result<Self, HandoverError> {
        Ok(ciborium::from_reader(bytes)?)
    }
}

/// About what is written of a viewer.
const VIEWER_BYTES: usize = 8192;

/// A command as it is kept in a handover.
fn kept(command: &Command) -> ByteBuf {
    let mut bytes = [0; link::command::COMMAND_BYTES];
    command.encode(&mut bytes);
    ByteBuf::from(bytes)
}

/// The command that was kept. `None`: this release does not know it.
fn command(kept: &ByteBuf) -> Option<Command> {
    Command::decode(kept.as_slice().try_into().ok()?)
}

impl Plane {
    /// Lets everything be sent by the next [`Plane::fan_out`] that would be forgotten.
    pub fn settle(&mut self) {
        let (publishers, _) = self.publishers.all_mut();
        publishers.for_each(|publisher| publisher.upstream.settle());
    }

    /// What the plane that takes the place of this one goes on with. This one is done: whatever it
    /// did from here on would be done twice.
    pub fn hand_over(&mut self) -> Handover {
        let streams = self.tables.streams.active().iter();
        let streams = streams.filter_map(|&index| self.tables.streams.at(index));
        let streams = streams.map(|stream| StreamState {
            index: stream.id.index,
            generation: stream.id.generation,
            seen: stream.seen,
            met_at: stream.met_at,
            wants_key: stream.wants_key.0,
            key_wanted_at: stream.key_wanted_at,
            hearing: stream.hearing,
        });
        Handover {
            streams: streams.collect(),
            viewers: self.viewer_states(),
            publishers: self.publisher_states(),
            passed: self.passed_states(),
        }
    }

    fn passed_states(&self) -> Vec<ByteBuf> {
        let passed = self.passed.iter().map(Command::PassPublisher);
        passed.map(|command| kept(&command)).collect()
    }

    /// Goes on where the plane before was; this one knows nobody yet. What cannot be taken up is
    /// counted, and control is told.
    pub fn go_on(&mut self, now: Time, before: &Handover) {
        self.begin(now);
        for stream in &before.streams {
            self.go_on_with_stream(stream);
        }
        for viewer in &before.viewers {
            let add = viewer.add();
            if add
                .and_then(|add| self.take_viewer(&add, Some(viewer)))
                .is_none()
            {
                self.outlets.stats.add(Counter::ViewerRefused, 1);
                if let Some(add) = add {
                    self.tell(&Event::ViewerRefused(add.viewer));
                }
            }
        }
        for publisher in &before.publishers {
            let add = publisher.add();
            if add
                .and_then(|add| self.take_publisher(&add, Some(publisher)))
                .is_none()
            {
                self.outlets.stats.add(Counter::PublisherRefused, 1);
                if let Some(add) = add {
                    self.tell(&Event::PublisherRefused(add.stream));
                }
            }
        }
        for pass in before.passed.iter().filter_map(command) {
            self.apply(now, &pass);
        }
    }

    fn go_on_with_stream(&mut self, before: &StreamState) {
        let id = StreamId {
            index: before.index,
            generation: before.generation,
        };
        // Closed meanwhile: its viewers will not find it either.
        if !self.open_stream(id) {
            return;
        }
        if let Some(stream) = self.tables.streams.at_mut(id.index) {
            stream.seen = before.seen.min(stream.seen);
            stream.met_at = before.met_at.min(stream.met_at);
            stream.wants_key = Lanes(before.wants_key).and(Lanes::VIDEO);
            stream.key_wanted_at = before.key_wanted_at;
            stream.hearing = before.hearing;
        }
    }
}
