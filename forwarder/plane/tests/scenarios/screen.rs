//! What a browser makes of the packets of VP9 that come: as libwebrtc does, it asks for what is
//! missing, puts pictures together, and shows those all of whose frames are there with all that
//! they refer to. A picture ends with its marker: one that has lost a packet of its highest layer
//! is not shown, and nothing that refers to any of its frames.

use std::collections::{BTreeMap, BTreeSet};

use wire::payload::vp9::Vp9Descriptor;
use wire::time::{Span, Time};

use crate::viewer::Got;

/// A missing packet is asked for again after this, ...
const ASK_AGAIN: Span = Span::millis(40);
/// ... so many times in all.
const ASKED_MAX: u32 = 10;

/// Nothing to show for so long: it calls for a keyframe.
const PATIENCE: Span = Span::secs(3);

#[derive(Clone, Copy)]
struct Asked {
    at: Time,
    times: u32,
}

/// The receiving half of a browser.
pub struct Screen {
    /// What has come, by SRTP index.
    came: BTreeMap<u64, Vp9Descriptor>,
    markers: BTreeSet<u64>,
    newest: Option<u64>,
    missing: BTreeMap<u64, Asked>,
    /// Frames that were decoded: picture and spatial layer.
    decoded: BTreeSet<(u16, u8)>,
    /// The index after the last packet of the picture that was shown last.
    done: u64,
    /// When pictures were shown, and how many spatial layers of them.
    pub shown: Vec<(Time, u8)>,
    called_at: Time,
    pub calls: u32,
}

impl Screen {
    pub fn new(now: Time) -> Self {
        Self {
            came: BTreeMap::new(),
            markers: BTreeSet::new(),
            newest: None,
            missing: BTreeMap::new(),
            decoded: BTreeSet::new(),
            done: 0,
            shown: Vec::new(),
            called_at: now,
            calls: 0,
        }
    }

    /// A packet has come, by itself or as a repair.
    pub fn take(&mut self, now: Time, got: &Got) {
        let from = self.newest.map_or(got.index, |newest| newest + 1);
        for index in from..got.index {
            let asked = Asked {
                at: Time::ZERO,
                times: 0,
            };
            self.missing.insert(index, asked);
        }
        self.newest = self.newest.max(Some(got.index));
        self.missing.remove(&got.index);
        if got.index < self.done {
            return;
        }
        let read = Vp9Descriptor::parse(&got.payload).unwrap();
        self.came.insert(got.index, read);
        if got.header.marker {
            self.markers.insert(got.index);
        }
        self.show(now);
    }

    /// Shows what can be shown now, in order; what is older is given up.
    fn show(&mut self, now: Time) {
        while let Some((last, frames)) = self.next() {
            self.done = last + 1;
            let layers = frames.iter().map(|(_, spatial)| spatial + 1).max();
            self.decoded.extend(frames);
            self.came = self.came.split_off(&self.done);
            self.markers = self.markers.split_off(&self.done);
            self.missing = self.missing.split_off(&self.done);
            self.shown.push((now, layers.unwrap()));
        }
    }

    /// The oldest picture that can be shown: its last packet, and its frames.
    fn next(&self) -> Option<(u64, BTreeSet<(u16, u8)>)> {
        let ends = self.markers.iter();
        ends.copied()
            .find_map(|last| Some((last, self.picture(last)?)))
    }

    /// The frames of the picture that ends here, if all of it is there.
    fn picture(&self, last: u64) -> Option<BTreeSet<(u16, u8)>> {
        let number = |read: &Vp9Descriptor| read.picture_id.unwrap().value;
        let picture = number(self.came.get(&last)?);
        let mut frames = BTreeSet::new();
        let mut ends = true;
        for index in (0..=last).rev() {
            let read = self.came.get(&index)?;
            assert_eq!(number(read), picture, "it has no beginning");
            assert_eq!(read.ends, ends, "a frame ends where the next begins");
            ends = read.begins;
            if !read.begins {
                continue;
            }
            frames.insert((picture, read.spatial));
            let mut refers = read.references.iter().filter(|back| **back > 0);
            let has = |back: &u8| {
                let from = picture.wrapping_sub(u16::from(*back));
                self.decoded.contains(&(from, read.spatial))
            };
            if !read.is_key() && !refers.all(has) {
                return None;
            }
            if read.spatial == 0 {
                return Some(frames);
            }
        }
        None
    }

    /// What is to be asked for now.
    pub fn lost(&mut self, now: Time) -> Vec<u16> {
        let mut lost = Vec::new();
        for (index, asked) in &mut self.missing {
            if asked.times < ASKED_MAX && now.since(asked.at) >= ASK_AGAIN {
                (asked.at, asked.times) = (now, asked.times + 1);
                lost.push(u16::try_from(index & 0xffff).unwrap());
            }
        }
        lost
    }

    /// True if a keyframe is to be called for.
    pub fn calls(&mut self, now: Time) -> bool {
        let shown_at = self.shown.last().map_or(Time::ZERO, |shown| shown.0);
        let is_due = now.since(shown_at.max(self.called_at)) >= PATIENCE;
        if is_due {
            self.called_at = now;
            self.calls += 1;
        }
        is_due
    }

    /// The longest time without a new picture from a time on.
    pub fn longest_freeze_ms(&self, from: Time) -> u64 {
        let late = self.shown.windows(2).filter(|pair| pair[1].0 >= from);
        late.map(|pair| pair[1].0.since(pair[0].0).as_millis())
            .max()
            .unwrap_or(0)
    }
}
