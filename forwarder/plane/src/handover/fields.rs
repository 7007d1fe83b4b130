//! Owns what of a viewer changes all the time, as a row of words for each viewer and one list of
//! their names for all: two releases understand each other, and a row costs next to nothing.

use wire::stun::Lately;
use wire::time::{Span, Time};

use super::HandoverError;
use crate::report::Echo;
use crate::rewrite::Cap;
use crate::viewer::{Phase, Viewer};

/// Sources of SRTCP whose replay windows are in a row: browsers have one. Who has more is told of
/// at last as a whole.
pub const SOURCES: usize = 2;

/// Something that walks over the fields: names them, reads them, or puts them down.
pub trait Fields {
    /// Those that follow are of this part of the viewer.
    fn part(&mut self, _name: &'static str) {}

    /// A field. Several may have the same name: then their order counts.
    fn field(&mut self, name: &'static str, value: &mut impl Word);
}

/// What fits into a word.
pub trait Word {
    /// As a word.
    fn word(&self) -> u64;
    /// Becomes what had this word. What none of this kind has changes nothing.
    fn set(&mut self, word: u64);
}

/// Smaller whole numbers.
macro_rules! number {
    ($($number:ty),*) => {$(
        impl Word for $number {
            fn word(&self) -> u64 {
                u64::from(*self)
            }

            fn set(&mut self, word: u64) {
                if let Ok(number) = word.try_into() {
                    *self = number;
                }
            }
        }
    )*};
}

number!(u8, u16, u32);

impl Word for u64 {
    fn word(&self) -> u64 {
        *self
    }

    fn set(&mut self, word: u64) {
        *self = word;
    }
}

impl Word for usize {
    fn word(&self) -> u64 {
        *self as u64
    }

    fn set(&mut self, word: u64) {
        if let Ok(number) = word.try_into() {
            *self = number;
        }
    }
}

impl Word for i32 {
    fn word(&self) -> u64 {
        u64::from(self.cast_unsigned())
    }

    fn set(&mut self, word: u64) {
        if let Ok(number) = u32::try_from(word) {
            *self = number.cast_signed();
        }
    }
}

impl Word for bool {
    fn word(&self) -> u64 {
        u64::from(*self)
    }

    fn set(&mut self, word: u64) {
        *self = word != 0;
    }
}

impl Word for Time {
    fn word(&self) -> u64 {
        self.0
    }

    fn set(&mut self, word: u64) {
        self.0 = word;
    }
}

impl Word for Span {
    fn word(&self) -> u64 {
        self.0
    }

    fn set(&mut self, word: u64) {
        self.0 = word;
    }
}

impl Word for Phase {
    fn word(&self) -> u64 {
        match self {
            Self::Live => 0,
            Self::CatchUp => 1,
            Self::Waiting => 2,
        }
    }

    fn set(&mut self, word: u64) {
        match word {
            0 => *self = Self::Live,
            1 => *self = Self::CatchUp,
            2 => *self = Self::Waiting,
            _ => {}
        }
    }
}

/// Walks over all that changes with packets, reports and checks, which `ViewerState` has as well.
pub fn walk(viewer: &mut Viewer, estimate_bps: &mut u64, fields: &mut impl Fields) {
    fields.part("viewer");
    fields.field("phase", &mut viewer.phase);
    fields.field("lane", &mut viewer.lane);
    fields.field("next_lane", &mut viewer.next_lane);
    let Cap { spatial, temporal } = &mut viewer.next_cap;
    fields.field("next_spatial", spatial);
    fields.field("next_temporal", temporal);
    fields.field("is_worn", &mut viewer.is_worn);
    fields.field("cursor", &mut viewer.cursor);
    fields.field("replay", &mut viewer.replay);
    fields.field("sent_packets", &mut viewer.sent.packets);
    fields.field("sent_bytes", &mut viewer.sent.bytes);
    fields.field("retransmitted", &mut viewer.sent.retransmitted);
    fields.field("estimate_bps", estimate_bps);
    let cold = &mut viewer.cold;
    fields.field("rtcp_index", &mut cold.rtcp_index);
    fields.field("checked_at", &mut cold.checked_at);
    fields.field("selected_at", &mut cold.selected_at);
    fields.field("heard_at", &mut cold.heard_at);
    fields.field("bye_at", &mut cold.bye_at);
    fields.field("report_at", &mut cold.report_at);
    echo(&mut cold.echo, fields);
    cold.pleas.running(fields);
    cold.quality.running(fields);
    let (mut checks, mut next) = cold.checks.words();
    for check in &mut checks {
        fields.field("check", check);
    }
    fields.field("next_check", &mut next);
    cold.checks = Lately::of(checks, next);
    cold.opener
        .each_word(SOURCES, |word| fields.field("opened", word));
    for (track, name) in viewer.tracks.iter_mut().zip(["video", "audio"]) {
        fields.part(name);
        track.running(fields);
    }
}

fn echo(echo: &mut Option<Echo>, fields: &mut impl Fields) {
    let mut is_wanted = echo.is_some();
    let mut wanted = echo.unwrap_or(Echo {
        ssrc: 0,
        middle: 0,
        at: Time::ZERO,
    });
    fields.field("echo", &mut is_wanted);
    fields.field("echo_ssrc", &mut wanted.ssrc);
    fields.field("echo_middle", &mut wanted.middle);
    fields.field("echo_at", &mut wanted.at);
    *echo = is_wanted.then_some(wanted);
}

/// Names the fields.
#[derive(Default)]
pub struct Names {
    part: &'static str,
    names: Vec<String>,
}

impl Names {
    /// Of all fields of a viewer, in order.
    pub fn of(viewer: &mut Viewer) -> Vec<String> {
        let mut all = Self::default();
        walk(viewer, &mut 0, &mut all);
        all.names
    }
}

impl Fields for Names {
    fn part(&mut self, name: &'static str) {
        self.part = name;
    }

    fn field(&mut self, name: &'static str, _: &mut impl Word) {
        self.names.push(format!("{}.{name}", self.part));
    }
}

/// Writes a row.
pub struct Write<'a>(pub &'a mut Vec<u8>);

impl Fields for Write<'_> {
    fn field(&mut self, _: &'static str, value: &mut impl Word) {
        self.0.extend(value.word().to_le_bytes());
    }
}

/// Words of a row before its fields: the number under which the viewer was told of, its index and
/// its generation.
pub const HEAD_WORDS: usize = 3;

/// Rows of words, as they come from another worker: the names of the fields in CBOR, and then row
/// by row words of 8 bytes, little-endian.
pub struct Rows<'a> {
    names: Vec<String>,
    rows: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Finds the rows in a part of a handover.
    pub fn read(mut part: &'a [u8]) -> Result<Self, HandoverError> {
        let names = ciborium::from_reader(&mut part)?;
        Ok(Self { names, rows: part })
    }

    /// Where in a row of theirs each field of ours is.
    pub fn places(&self, ours: &[String]) -> Vec<Option<usize>> {
        let mut theirs: Vec<Option<&String>> = self.names.iter().map(Some).collect();
        let place = |name: &String| {
            let at = theirs.iter().position(|one| *one == Some(name))?;
            // The next of the same name is another field.
            theirs[at] = None;
            Some(HEAD_WORDS + at)
        };
        ours.iter().map(place).collect()
    }

    /// The rows.
    pub fn each(&self) -> impl Iterator<Item = &'a [u8]> {
        let words = HEAD_WORDS + self.names.len();
        self.rows.chunks_exact(words * size_of::<u64>())
    }
}

/// The word at a place of a row.
pub fn word(row: &[u8], place: usize) -> Option<u64> {
    let bytes = row.get(place * size_of::<u64>()..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// Puts down a row. What the other worker does not know stays as it was told ahead.
pub struct Read<'a> {
    row: &'a [u8],
    places: core::slice::Iter<'a, Option<usize>>,
}

impl<'a> Read<'a> {
    /// With the places of our fields in it.
    pub fn new(row: &'a [u8], places: &'a [Option<usize>]) -> Self {
        Self {
            row,
            places: places.iter(),
        }
    }
}

impl Fields for Read<'_> {
    fn field(&mut self, _: &'static str, value: &mut impl Word) {
        let place = self.places.next().copied().flatten();
        if let Some(word) = place.and_then(|place| word(self.row, place)) {
            value.set(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Fields of another release come in another order, with some more and some less.
    #[test]
    fn fields_are_found_by_their_names() {
        let mut part = Vec::new();
        let theirs = ["b.same", "new.one", "a.x", "b.same"];
        ciborium::into_writer(&theirs, &mut part).unwrap();
        part.extend(row(&[0, 8, 9, 10, 11, 12, 13]));
        part.extend(row(&[1, 8, 9, 20, 21, 1 << 40, 23]));
        part.extend(row(&[2, 8]));
        let rows = Rows::read(&part).unwrap();
        let ours = ["a.x", "a.old", "b.same", "b.same"].map(str::to_owned);
        let places = rows.places(&ours);
        assert_eq!(places, [Some(5), None, Some(3), Some(6)]);
        let read = |row| {
            let (mut x, mut old, mut same) = (1_u8, 2_u32, [0_u64; 2]);
            let mut fields = Read::new(row, &places);
            fields.field("x", &mut x);
            fields.field("old", &mut old);
            for same in &mut same {
                fields.field("same", same);
            }
            (word(row, 0), x, old, same)
        };
        let read: Vec<_> = rows.each().map(read).collect();
        // What does not fit, and what was not told, stays; half a row is none.
        let expected = [(Some(0), 12, 2, [10, 13]), (Some(1), 1, 2, [20, 23])];
        assert_eq!(read, expected);
        assert!(Rows::read(&[0xff]).is_err());
    }

    #[test]
    fn words_come_back_as_what_they_were() {
        fn back<T: Word + Default + PartialEq + core::fmt::Debug>(value: T) {
            let mut again = T::default();
            again.set(value.word());
            assert_eq!(again, value);
        }
        back(-7_i32);
        back(i32::MIN);
        back(u64::MAX);
        back(u16::MAX);
        back(true);
        back(Time(3));
        back(Span(4));
        for phase in [Phase::Live, Phase::CatchUp, Phase::Waiting] {
            let mut again = Phase::Live;
            again.set(phase.word());
            again.set(9);
            assert_eq!(again, phase);
        }
    }
}
