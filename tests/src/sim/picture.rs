//! Owns what a viewer has got of its stream: that it is its own stream's, byte for byte, in order;
//! and what it asks for again.

use std::collections::BTreeMap;

use link::command::{AUDIO, VIDEO};
use seal::Opener;
use wire::rtp::Packet;
use wire::time::{Span, Time};

use super::journal::Journal;
use super::source::Place;

/// A packet that may only be late is not asked for.
const LATE: Span = Span::millis(20);

/// A missing packet is asked for again after so long.
const ASK_AGAIN: Span = Span::millis(60);

/// A missing packet is given up after so long, for a keyframe.
const GIVE_UP: Span = Span::millis(1000);

/// Most packets asked for at once.
const ASK_MAX: usize = 64;

/// A larger gap is a jump, as after a death: nothing of it is asked for. Browsers have such a bound
/// as well.
const GAP_MAX: u64 = 300;

/// Places that are remembered, to compare neighbours.
const KEPT_MAX: usize = 1200;

/// Between two calls for a keyframe.
const CALL_AGAIN: Span = Span::millis(500);

/// A packet that came.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Got {
    place: Place,
    timestamp: u32,
}

/// What a viewer has got.
pub struct Picture {
    name: String,
    stream: u8,
    /// SSRC of media and of its retransmissions, by track.
    ssrcs: Vec<[u32; 2]>,
    got: [BTreeMap<u64, Got>; 2],
    /// What a timestamp is ahead of its encoder's: of sound always the same; of video the least,
    /// as frames that come a second time are put behind those before them.
    shifts: [Option<u32>; 2],
    /// Nobody between the encoder and the log makes timestamps of his own.
    is_exact: bool,
    /// What the last packet of video was later than the first showing of its frame.
    pub late_ticks: u32,
    /// Of video: since when each is missing, and when it was asked for.
    missing: BTreeMap<u64, (Time, Time)>,
    wants_key: bool,
    called_at: Time,
    /// When the last packet of video came that was not there before.
    pub media_at: Option<Time>,
    /// Packets that came.
    pub packets: u64,
    /// Neighbours by number that are none to their encoder: something was left out between them.
    pub skips: u32,
    /// Changes from one encoding to another.
    pub switches: u32,
    /// What was not sent again in time.
    pub given_up: usize,
    journal: Journal,
}

impl Picture {
    /// Nothing has come; what comes must be of `stream`, and if that is exact, on its very clock.
    #[must_use]
    pub fn new(
        name: String,
        (stream, is_exact): (u8, bool),
        ssrcs: Vec<[u32; 2]>,
        journal: Journal,
    ) -> Self {
        Self {
            name,
            stream,
            ssrcs,
            got: [BTreeMap::new(), BTreeMap::new()],
            shifts: [None; 2],
            late_ticks: 0,
            is_exact,
            missing: BTreeMap::new(),
            wants_key: false,
            called_at: Time::ZERO,
            media_at: None,
            packets: 0,
            skips: 0,
            switches: 0,
            given_up: 0,
            journal,
        }
    }

    /// Takes a datagram of RTP. What does not open was damaged or repeated on the way.
    pub fn rtp(&mut self, now: Time, opener: &mut Opener, datagram: &mut [u8]) {
        let Ok(opened) = opener.rtp(datagram) else {
            return;
        };
        let index = opened.index;
        let Ok(packet) = Packet::parse(opened.packet) else {
            return self.fault("authentic, and not RTP".to_owned());
        };
        let (ssrc, payload) = (packet.ssrc(), packet.payload());
        let timestamp = packet.timestamp();
        let is = |track: usize, kind: usize| {
            self.ssrcs.get(track).is_some_and(|pair| pair[kind] == ssrc)
        };
        if is(VIDEO, 0) {
            self.take(now, VIDEO, index, timestamp, payload);
        } else if is(AUDIO, 0) {
            self.take(now, AUDIO, index, timestamp, payload);
        } else if is(VIDEO, 1) {
            self.repaired(now, timestamp, payload);
        } else {
            self.fault(format!("the SSRC {ssrc:#x} was not in the answer"));
        }
    }

    /// Sequence numbers to be asked for now.
    pub fn wanted(&mut self, now: Time) -> Vec<u16> {
        let given_up = |since: Time| now.since(since) >= GIVE_UP;
        let before = self.missing.len();
        self.missing.retain(|_, (since, _)| !given_up(*since));
        self.given_up += before - self.missing.len();
        self.wants_key |= self.missing.len() < before;
        let due = self.missing.iter_mut().filter(|(_, (since, asked))| {
            now.since(*since) >= LATE && now.since(*asked) >= ASK_AGAIN
        });
        let due = due.take(ASK_MAX).map(|(index, (_, asked))| {
            *asked = now;
            u16::try_from(index & 0xffff).unwrap_or(0)
        });
        due.collect()
    }

    /// SSRC to call for a keyframe of now, if one is wanted.
    pub fn call(&mut self, now: Time) -> Option<u32> {
        let is_due = self.wants_key && now.since(self.called_at) >= CALL_AGAIN;
        is_due.then(|| {
            (self.wants_key, self.called_at) = (false, now);
            self.ssrc()
        })
    }

    /// SSRC of the video.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrcs.first().map_or(0, |pair| pair[0])
    }

    /// A retransmission (RFC 4588): the number that the packet had, and the packet.
    fn repaired(&mut self, now: Time, timestamp: u32, payload: &[u8]) {
        let Some((original, payload)) = payload.split_first_chunk() else {
            // A probe of the path: padding alone.
            return;
        };
        let newest = self.newest();
        let low = u16::try_from(newest & 0xffff).unwrap_or(0);
        let back = low.wrapping_sub(u16::from_be_bytes(*original));
        let back = i64::from(back.cast_signed());
        if let Some(index) = newest.checked_add_signed(-back) {
            self.take(now, VIDEO, index, timestamp, payload);
        }
    }

    fn newest(&self) -> u64 {
        self.got[VIDEO].keys().next_back().copied().unwrap_or(0)
    }

    fn take(&mut self, now: Time, track: usize, index: u64, timestamp: u32, payload: &[u8]) {
        if payload.is_empty() {
            // Padding alone: a probe.
            return;
        }
        self.packets += 1;
        let Some(place) = Place::of(payload) else {
            let bytes = payload.len();
            return self.fault(format!(
                "index {index}: {bytes} bytes that nobody published"
            ));
        };
        if place.stream != self.stream || place.lane() != track {
            return self.fault(format!("index {index} is of another stream: {place:?}"));
        }
        if track == VIDEO {
            self.gap(now, index);
        }
        self.clock(track, &place, timestamp);
        let one = Got { place, timestamp };
        let got = &mut self.got[track];
        let before = got.insert(index, one);
        let is_new = before.is_none();
        let previous = index
            .checked_sub(1)
            .and_then(|index| got.get(&index))
            .copied();
        let next = got.get(&(index + 1)).copied();
        if got.len() > KEPT_MAX {
            got.pop_first();
        }
        if before.is_some_and(|before| before != one) {
            self.fault(format!("index {index} has two contents"));
        }
        if track == VIDEO && is_new {
            self.media_at = Some(now);
        }
        let pairs = [(previous, Some(one)), (Some(one), next)];
        let both = |(a, b): (Option<Got>, Option<Got>)| Some((a?, b?));
        for (a, b) in pairs.into_iter().filter(|_| is_new).filter_map(both) {
            let is_switch = a.place.layer != b.place.layer;
            self.switches += u32::from(is_switch);
            self.skips += u32::from(!is_switch && !is_next(&a.place, &b.place));
            if !follows(&a, &b) {
                let ticks = b.timestamp.wrapping_sub(a.timestamp).cast_signed();
                let (a, b) = (a.place, b.place);
                self.fault(format!("{b:?} follows {a:?} by {ticks} ticks, at {index}"));
            }
        }
    }

    /// Timestamps go on as the encoder's, whoever dies.
    fn clock(&mut self, track: usize, place: &Place, timestamp: u32) {
        if !self.is_exact {
            return;
        }
        let shift = timestamp.wrapping_sub(place.timestamp());
        let known = *self.shifts[track].get_or_insert(shift);
        let more = shift.wrapping_sub(known).cast_signed();
        if track == VIDEO {
            self.late_ticks = u32::try_from(more).unwrap_or(0);
            self.shifts[track] = Some(if more < 0 { shift } else { known });
        } else if more != 0 {
            self.fault(format!("the clock of its sound has jumped by {more} ticks"));
        }
    }

    /// The encoding of the newest packet of video.
    #[must_use]
    pub fn layer(&self) -> Option<usize> {
        let newest = self.got[VIDEO].values().next_back();
        newest.map(|got| got.place.layer.into())
    }

    /// Packets of video that are missing, and since when.
    pub fn missing(&self) -> impl Iterator<Item = (u64, Time)> {
        self.missing
            .iter()
            .map(|(index, (since, _))| (*index, *since))
    }

    fn gap(&mut self, now: Time, index: u64) {
        self.missing.remove(&index);
        if self.got[VIDEO].is_empty() {
            return;
        }
        let from = self.newest() + 1;
        if index > from + GAP_MAX {
            self.missing.clear();
            self.wants_key = true;
        } else {
            self.missing
                .extend((from..index).map(|one| (one, (now, Time::ZERO))));
        }
    }

    fn fault(&self, what: String) {
        self.journal.fault(format_args!("{}: {what}", self.name));
    }
}

/// True if a viewer can show `b` after `a`: the next packet, or another keyframe.
fn follows(a: &Got, b: &Got) -> bool {
    let ticks = b.timestamp.wrapping_sub(a.timestamp).cast_signed();
    let (a, b) = (&a.place, &b.place);
    let is_one_frame = (a.layer, a.frame) == (b.layer, b.frame) && b.nth > 0;
    if ticks < 0 || is_one_frame != (ticks == 0) {
        return false;
    }
    if a.track != 0 {
        return b.frame > a.frame;
    }
    is_next(a, b) || b.is_key && b.nth == 0
}

/// True if an encoder has sent `b` right after `a`.
fn is_next(a: &Place, b: &Place) -> bool {
    if a.layer != b.layer {
        return false;
    }
    let in_frame = !a.is_last && (b.frame, b.nth) == (a.frame, a.nth + 1);
    let next_frame = a.is_last && (b.frame, b.nth) == (a.frame + 1, 0);
    in_frame || next_frame
}
