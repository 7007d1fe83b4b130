//! Owns what is told of viewers ahead, while the worker before still serves them, so that only what
//! changes all the time is left for the end: keys are made and memory is touched by then.
//!
//! A viewer that has changed otherwise since then, and one that is not told of ahead at all, is
//! left as a whole. What stands is compared by a hash over all of it.

use core::hash::{Hash, Hasher};
use std::hash::DefaultHasher;

use link::Region;
use link::command::{AddViewer, COMMAND_BYTES, Command};
use link::event::Event;
use link::ids::{StreamId, ViewerId};
use link::stats::Counter;
use seal::Cipher;
use wire::datagram::RxMeta;
use wire::time::Time;

use super::fields::{Names, Read, Rows, SOURCES, Write, walk, word};
use super::viewer::{ViewerState, added};
use super::{HandoverError, ROWS, VIEWER, put, put_with, take};
use crate::viewer::{Viewer, is_sane};
use crate::{Blank, Plane};

/// What was told ahead, by slot of the viewer.
#[derive(Default)]
pub struct Told {
    viewers: Vec<Option<Entry>>,
    /// How many.
    count: u32,
    /// How far it has come in the list of viewers in use.
    at: usize,
}

struct Entry {
    /// Which it was, from 0.
    nth: u32,
    id: ViewerId,
    standing: u64,
}

/// A viewer that was told of ahead, and is not served here yet.
pub struct Staged {
    pub viewer: Viewer,
    pub stream: StreamId,
    pub rest: Rest,
}

/// What of a viewer that was somewhere else is not in it.
#[derive(Default)]
pub struct Rest {
    /// What its path is thought to carry; 0: nobody has asked.
    pub estimate_bps: u64,
    /// The pairs on which valid checks came, the oldest first.
    pub paths: Vec<RxMeta>,
}

/// A hash over all that stands in a viewer: what is not in its row.
fn standing(viewer: &Viewer, stream: StreamId) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut hash = |command: &Command| {
        let mut bytes = [0; COMMAND_BYTES];
        command.encode(&mut bytes);
        hasher.write(&bytes);
    };
    // The one number in it that is in the row as well.
    hash(&Command::AddViewer(AddViewer {
        rtcp_first_index: 0,
        ..added(viewer, stream)
    }));
    let cold = &viewer.cold;
    hash(&Command::ChooseLayer(viewer.id, cold.pin));
    if let Some(ice) = cold.ice_next {
        let viewer = viewer.id;
        hash(&Command::RestartIce { viewer, ice });
    }
    (cold.paths, cold.is_controlling).hash(&mut hasher);
    for (ssrc, _) in cold.opener.sources() {
        ssrc.hash(&mut hasher);
    }
    cold.quality.standing(&mut hasher);
    let tracks = viewer.tracks.iter();
    tracks.for_each(|track| track.standing(&mut hasher));
    hasher.finish()
}

/// True if all that changes in it fits into a row, and nobody else hangs on it.
fn can_be_told(viewer: &Viewer) -> bool {
    let is_alone = !viewer.is_part && viewer.cold.parts.iter().next().is_none();
    is_alone && !viewer.is_publisher && viewer.cold.opener.sources().count() <= SOURCES
}

impl Plane {
    /// Begins to tell of viewers ahead, from the first.
    pub fn begin_ahead(&mut self) {
        self.told = Told::default();
    }

    /// Tells of so many viewers more, in the form of a handover. True: there are no more, but for
    /// those that came meanwhile.
    ///
    /// # Errors
    /// It cannot be written: `out` holds a part of it.
    pub fn tell_ahead(&mut self, most: usize, out: &mut Vec<u8>) -> Result<bool, HandoverError> {
        let viewers = &self.tables.viewers;
        let told = &mut self.told;
        let slots = viewers.active().get(told.at..).unwrap_or_default();
        let slots = slots.get(..most).unwrap_or(slots);
        for &slot in slots {
            told.at += 1;
            let Some(viewer) = viewers.at(slot).filter(|viewer| can_be_told(viewer)) else {
                continue;
            };
            let Some(stream) = self.tables.streams.at(viewer.stream) else {
                continue;
            };
            let bps = self.adaptations.bps_of(viewer);
            put(out, VIEWER, &ViewerState::of(viewer, stream.id, bps))?;
            let slot = slot as usize;
            if told.viewers.len() <= slot {
                told.viewers.resize_with(slot + 1, || None);
            }
            told.viewers[slot] = Some(Entry {
                nth: told.count,
                id: viewer.id,
                standing: standing(viewer, stream.id),
            });
            told.count += 1;
        }
        Ok(told.at >= viewers.active().len())
    }

    /// How many viewers were told of ahead, at most.
    pub(super) fn told_len(&self) -> usize {
        self.told.viewers.len()
    }

    /// The number under which the viewer in this slot was told of, if nothing but what is in its
    /// row has changed since.
    pub(super) fn told(&self, slot: u32, viewer: &Viewer, stream: StreamId) -> Option<u32> {
        let told = self.told.viewers.get(slot as usize)?.as_ref()?;
        let is_same = told.id == viewer.id
            && can_be_told(viewer)
            && told.standing == standing(viewer, stream);
        is_same.then_some(told.nth)
    }

    /// Writes the rows of viewers who were told of ahead, by slot and number.
    pub(super) fn put_rows(
        &mut self,
        told: &[(u32, u32)],
        out: &mut Vec<u8>,
    ) -> Result<(), HandoverError> {
        let Some(&(first, _)) = told.first() else {
            return Ok(());
        };
        let names = self.tables.viewers.at_mut(first).map(Names::of);
        put_with(out, ROWS, |out| {
            ciborium::into_writer(&names.unwrap_or_default(), &mut *out)?;
            for &(slot, nth) in told {
                let Some(viewer) = self.tables.viewers.at_mut(slot) else {
                    continue;
                };
                let head = [nth, viewer.id.index, viewer.id.generation];
                out.extend(
                    head.into_iter()
                        .flat_map(|word| u64::from(word).to_le_bytes()),
                );
                let mut bps = self.adaptations.bps_of(viewer);
                walk(viewer, &mut bps, &mut Write(out));
            }
            Ok(())
        })
    }

    /// Goes on with viewers who were told of ahead.
    pub(super) fn go_on_with_rows(&mut self, rows: &Rows<'_>) {
        let mut places = None;
        for row in rows.each() {
            let head = [0, 1, 2].map(|place| word(row, place));
            let [Some(nth), Some(index), Some(generation)] = head.map(|word| word?.try_into().ok())
            else {
                continue;
            };
            let id = ViewerId { index, generation };
            let staged = usize::try_from(nth).ok();
            let staged = staged.and_then(|nth: usize| self.staged.get_mut(nth)?.take());
            let taken = staged.filter(|staged| staged.viewer.id == id);
            let taken = taken.and_then(|mut staged| {
                let viewer = &mut staged.viewer;
                let places = places.get_or_insert_with(|| rows.places(&Names::of(viewer)));
                let bps = &mut staged.rest.estimate_bps;
                walk(viewer, bps, &mut Read::new(row, places));
                // What it leases was raised since.
                viewer.leases = viewer.cell.leases();
                self.take_staged(*staged)
            });
            if taken.is_none() {
                self.outlets.stats.add(Counter::ViewerRefused, 1);
                self.tell(&Event::ViewerRefused(id));
            }
        }
    }
}

impl Blank {
    /// Makes so many viewers ready that are told of `ahead`, and leaves the others in it: keys are
    /// made here, and memory is touched. Nobody is served before [`Plane::go_on`] says so.
    ///
    /// # Errors
    /// It is no handover, or of a release that is too far away.
    pub fn learn(
        &mut self,
        now: Time,
        region: &Region,
        cipher: Cipher,
        ahead: &mut &[u8],
        most: usize,
    ) -> Result<(), HandoverError> {
        for _ in 0..most {
            if ahead.is_empty() {
                break;
            }
            let (kind, part) = take(ahead)?;
            if kind == VIEWER {
                let state: ViewerState = ciborium::from_reader(part)?;
                // One that cannot be made has its number as well.
                let staged = self.stage(now, region, cipher, &state);
                self.staged.push(staged.map(Box::new));
            }
        }
        Ok(())
    }

    fn stage(
        &mut self,
        now: Time,
        region: &Region,
        cipher: Cipher,
        state: &ViewerState,
    ) -> Option<Staged> {
        let add = state.add().filter(is_sane)?;
        let cell = region.viewer(add.viewer).ok()?;
        let mut viewer = Viewer::new(now, &add, cell, cipher, &mut self.random).ok()?;
        viewer.go_on(state);
        Some(Staged {
            viewer,
            stream: add.stream,
            rest: state.rest(),
        })
    }
}
