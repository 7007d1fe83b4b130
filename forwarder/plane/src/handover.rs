//! Owns what one worker leaves to the one that takes its place while both are well: all that its
//! peers would notice if it were forgotten.
//!
//! It is a row of parts, each with its kind and length and then as CBOR (RFC 8949) with the names
//! of its fields, so that two releases understand each other: what one does not know it passes
//! over, and what is new has a default. A field that is there keeps its name and its meaning. One
//! part after the other is made and written, or read and taken up: little memory is touched that
//! was not before. Of viewers most can be told ahead, while this worker still serves: see `ahead`.

mod ahead;
mod fields;
mod publisher;
mod viewer;

pub use ahead::{Rest, Staged, Told};
pub use fields::Fields;
pub use publisher::PublisherState;
pub use viewer::ViewerState;

use link::command::Command;
use link::event::Event;
use link::ids::{CoreId, StreamId};
use link::lanes::Lanes;
use link::stats::Counter;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wire::datagram::RxMeta;
use wire::time::Time;

use crate::Plane;
use crate::flow::Target;
use crate::hearing::Hearing;
use crate::stream::Stream;
use fields::Rows;

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

impl StreamState {
    fn of(stream: &Stream) -> Self {
        Self {
            index: stream.id.index,
            generation: stream.id.generation,
            seen: stream.seen,
            met_at: stream.met_at,
            wants_key: stream.wants_key.0,
            key_wanted_at: stream.key_wanted_at,
            hearing: stream.hearing,
        }
    }
}

/// A flow of a peer that another core serves: one that has moved, and whose packets come here. Its
/// next check would teach it anew, seconds later.
#[derive(Debug, Serialize, Deserialize)]
struct HintState {
    meta: RxMeta,
    core: u16,
}

/// Why a handover cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// It is damaged, or of a release that is too far away.
    #[error("what the worker before left cannot be read: {0}")]
    Unreadable(#[from] ciborium::de::Error<std::io::Error>),
    /// It is damaged.
    #[error("what the worker before left is damaged")]
    Damaged,
    /// There is no memory for it.
    #[error("what is left to the next worker cannot be written: {0}")]
    Unwritable(#[from] ciborium::ser::Error<std::io::Error>),
}

/// What a part of a handover is of. In this order: a viewer needs its stream, one that counts with
/// another needs that, and a publisher needs the viewer by which it comes.
type Kind = u32;
const STREAM: Kind = 1;
const VIEWER: Kind = 2;
const PUBLISHER: Kind = 3;
const PASSED: Kind = 4;
const HINTS: Kind = 5;
/// Of viewers who were told of ahead: see [`fields::Rows`].
const ROWS: Kind = 6;

/// Bytes before each part: its kind and its length.
const HEAD_BYTES: usize = 8;

/// Writes a part.
fn put(out: &mut Vec<u8>, kind: Kind, part: &impl Serialize) -> Result<(), HandoverError> {
    put_with(out, kind, |out| Ok(ciborium::into_writer(part, out)?))
}

/// The same with what `write` writes.
fn put_with(
    out: &mut Vec<u8>,
    kind: Kind,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), HandoverError>,
) -> Result<(), HandoverError> {
    let head = out.len();
    out.extend(kind.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    write(out)?;
    let length = out.len() - head - HEAD_BYTES;
    let length = u32::try_from(length).map_err(|_| HandoverError::Damaged)?;
    if let Some(place) = out.get_mut(head + 4..head + HEAD_BYTES) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    Ok(())
}

/// The next part: its kind, and what it is.
fn take<'a>(bytes: &mut &'a [u8]) -> Result<(Kind, &'a [u8]), HandoverError> {
    let (kind, rest) = bytes.split_first_chunk().ok_or(HandoverError::Damaged)?;
    let (length, rest) = rest.split_first_chunk().ok_or(HandoverError::Damaged)?;
    let length = usize::try_from(u32::from_le_bytes(*length));
    let length = length.map_err(|_| HandoverError::Damaged)?;
    let (part, rest) = rest
        .split_at_checked(length)
        .ok_or(HandoverError::Damaged)?;
    *bytes = rest;
    Ok((u32::from_le_bytes(*kind), part))
}

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

    /// Writes what the plane that takes the place of this one goes on with; there are keys in it.
    /// `knows`: that one knows what was told ahead since [`Plane::begin_ahead`], and gets the rest.
    /// This one is done: whatever it did from here on would be done twice.
    ///
    /// # Errors
    /// It cannot be written: `out` holds a part of it.
    pub fn hand_over(&mut self, knows: bool, out: &mut Vec<u8>) -> Result<(), HandoverError> {
        let streams = self.tables.streams.active().iter();
        for stream in streams.filter_map(|&index| self.tables.streams.at(index)) {
            put(out, STREAM, &StreamState::of(stream))?;
        }
        if !knows {
            self.begin_ahead();
        }
        self.put_viewers(out)?;
        let (publishers, pool) = self.publishers.all_mut();
        for publisher in publishers {
            put(out, PUBLISHER, &publisher.state(pool))?;
        }
        for passed in self.passed.iter().map(Command::PassPublisher) {
            put(out, PASSED, &kept(&passed))?;
        }
        let hints = self
            .flows
            .hints()
            .map(|(meta, core)| HintState { meta, core: core.0 });
        let hints: Vec<_> = hints.collect();
        if !hints.is_empty() {
            put(out, HINTS, &hints)?;
        }
        Ok(())
    }

    /// Goes on where the plane before was; this one knows nobody yet. What cannot be taken up is
    /// counted, and control is told.
    ///
    /// # Errors
    /// It is no handover, or of a release that is too far away. What came before that is taken up.
    pub fn go_on(&mut self, now: Time, mut before: &[u8]) -> Result<(), HandoverError> {
        self.begin(now);
        while !before.is_empty() {
            let (kind, part) = take(&mut before)?;
            match kind {
                STREAM => self.go_on_with_stream(&ciborium::from_reader(part)?),
                VIEWER => self.go_on_with_viewer(&ciborium::from_reader(part)?),
                ROWS => self.go_on_with_rows(&Rows::read(part)?),
                PUBLISHER => self.go_on_with_publisher(&ciborium::from_reader(part)?),
                PASSED => {
                    if let Some(pass) = command(&ciborium::from_reader(part)?) {
                        self.apply(now, &pass);
                    }
                }
                HINTS => self.go_on_with_hints(&ciborium::from_reader::<Vec<_>, _>(part)?),
                // Nothing that this release knows.
                _ => {}
            }
        }
        // Those who have gone since they were told of.
        self.staged = Vec::new();
        Ok(())
    }

    fn go_on_with_viewer(&mut self, viewer: &ViewerState) {
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

    fn go_on_with_publisher(&mut self, publisher: &PublisherState) {
        let add = publisher.add();
        let taken = add.and_then(|add| self.take_publisher(&add, Some(publisher)));
        if taken.is_none() {
            self.outlets.stats.add(Counter::PublisherRefused, 1);
            if let Some(add) = add {
                self.tell(&Event::PublisherRefused(add.stream));
            }
        }
    }

    fn go_on_with_hints(&mut self, hints: &[HintState]) {
        for hint in hints {
            // Our own knowledge goes before a hint.
            if self.flows.target(&hint.meta).is_none() {
                let target = Target::Remote(CoreId(hint.core));
                self.flows.insert(self.now, hint.meta, target);
            }
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
