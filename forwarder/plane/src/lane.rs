//! Owns one lane as its publisher sends it: which sources are its, what of them can be shown, and
//! how long is waited for what is missing. Hot.

use link::command::{Codec, TrackIn, Wants};
use link::limits::PAYLOAD_MAX;
use link::log::Flags;
use serde::{Deserialize, Serialize};
use wire::rtp::Header;
use wire::time::{Span, Time};

use crate::codec::{Key, Memory, Place, key, place};
use crate::coming::Coming;
use crate::reception::Reception;
use crate::reorder::{Order, Pool};
use crate::timeline::Timeline;

mod state;

pub use state::LaneState;

/// How long packets wait for one before them if it cannot be asked for: reordering on a path is
/// below this, and whoever waits longer freezes as if it were lost.
const HOLD_PLAIN: Span = Span::millis(30);

/// Bounds of the same where it is asked for again.
const HOLD_MIN: Span = Span::millis(60);
const HOLD_MAX: Span = Span::millis(250);

/// Two round trips, since the first request or its answer may be lost as well, and this for the
/// reordering that is waited for and the time between two requests.
const HOLD_SLACK: Span = Span::millis(40);

/// Sound that comes later than this is not played any more.
const HOLD_AUDIO_MAX: Span = Span::millis(60);

/// Round trip that is assumed as long as none is known.
const RTT_DEFAULT: Span = Span::millis(100);

/// A missing packet is asked for after this, if packets have overtaken each other before.
const ASK_AFTER: Span = Span::millis(5);

/// Bounds of the time between two requests for a packet.
const ASK_INTERVAL_MIN: Span = Span::millis(20);
const ASK_INTERVAL_MAX: Span = Span::secs(1);

/// Another source with the payload type of a track takes its place once the old one was silent for
/// so long: a publisher that changed its SSRC, or simulcast.
const SILENT_AFTER: Span = Span::secs(2);

/// One SSRC of a publisher.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Source {
    /// 0: not known yet.
    pub ssrc: u32,
    /// When it was heard last, or given to us.
    heard_at: Time,
    /// How it is received.
    pub reception: Reception,
}

impl Source {
    fn named(now: Time, ssrc: u32) -> Self {
        Self {
            ssrc,
            heard_at: now,
            reception: Reception::default(),
        }
    }
}

/// What a source carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The media itself.
    Media,
    /// Repairs of it (RFC 4588).
    Rtx,
}

/// What a packet says of the encoding that it is of (RFC 8852).
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// The encoding.
    pub rid: Option<&'a [u8]>,
    /// The encoding that it repairs.
    pub repaired_rid: Option<&'a [u8]>,
}

/// A packet that cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Useless {
    /// It is the first of its frame.
    pub begins_frame: bool,
}

/// One encoding as the publisher sends it.
pub struct InLane {
    /// What was negotiated.
    pub given: TrackIn,
    /// The source of the media.
    pub media: Source,
    /// The source of its repairs.
    pub rtx: Source,
    /// Its packets, out of order and missing.
    pub order: Order,
    /// Packets have overtaken each other.
    pub is_reordered: bool,
    /// Packets are missing: nothing is of use before the next keyframe.
    pub is_broken: bool,
    /// Timestamp of the last frame, and whether it is known to be a keyframe.
    frame: Option<(u32, bool)>,
    /// The packet before the next one is missing, so that a frame may have begun with it.
    pub is_torn: bool,
    is_video: bool,
    /// What its packets have told of its layers.
    memory: Memory,
    /// Its times.
    pub timeline: Timeline,
    /// Bytes of the packets of this frame, padding included; 0: none yet.
    body_bytes: usize,
}

impl InLane {
    /// A lane of which nothing has come.
    pub fn new(now: Time, given: &TrackIn, is_video: bool) -> Self {
        Self {
            given: *given,
            media: Source::named(now, given.ssrc),
            rtx: Source::named(now, given.rtx_ssrc),
            order: if given.clock_hz == 0 {
                Order::none()
            } else {
                Order::new()
            },
            is_reordered: false,
            // Nobody can start before the first keyframe.
            is_broken: is_video,
            frame: None,
            is_torn: true,
            is_video,
            memory: Memory::new(),
            timeline: Timeline::new(given.clock_hz),
            body_bytes: 0,
        }
    }

    /// True if the publisher has this lane.
    pub const fn is_there(&self) -> bool {
        self.given.clock_hz != 0
    }

    /// What a source of this track carries.
    #[inline]
    pub fn kind(&self, ssrc: u32) -> Option<Kind> {
        if ssrc == 0 || !self.is_there() {
            None
        } else if ssrc == self.media.ssrc {
            Some(Kind::Media)
        } else {
            (ssrc == self.rtx.ssrc).then_some(Kind::Rtx)
        }
    }

    /// True if packets of this type are what was negotiated.
    #[inline]
    pub const fn takes(&self, kind: Kind, payload_type: u8) -> bool {
        let given = match kind {
            Kind::Media => self.given.payload_type,
            Kind::Rtx => self.given.rtx_payload_type,
        };
        given == 0 || given == payload_type || self.is_red(payload_type)
    }

    /// True if packets of this type have redundancy (RFC 2198).
    #[inline]
    pub const fn is_red(&self, payload_type: u8) -> bool {
        self.given.red_payload_type != 0 && self.given.red_payload_type == payload_type
    }

    /// Takes an unknown source as one of this lane's: by the name of its encoding if it has one,
    /// otherwise by its payload type, if that is not taken.
    pub fn bind(
        &mut self,
        pool: &mut Pool,
        now: Time,
        header: &Header,
        names: Names<'_>,
    ) -> Option<Kind> {
        if header.payload_type == 0 || header.ssrc == 0 || !self.is_there() {
            return None;
        }
        let rid = self.given.rid;
        let is_named = |name: Option<&[u8]>| rid.is_empty() || name == Some(rid.name());
        let is_free = |source: &Source| {
            let is_silent = now.since(source.heard_at) >= SILENT_AFTER;
            source.ssrc == 0 || is_silent || !rid.is_empty()
        };
        let payload_type = header.payload_type;
        let is_media = payload_type == self.given.payload_type || self.is_red(payload_type);
        if is_media && is_named(names.rid) && is_free(&self.media) {
            if self.media.ssrc != 0 {
                self.restart(pool);
            }
            self.media = Source::named(now, header.ssrc);
            return Some(Kind::Media);
        }
        if payload_type == self.given.rtx_payload_type
            && is_named(names.repaired_rid)
            && is_free(&self.rtx)
        {
            self.rtx = Source::named(now, header.ssrc);
            return Some(Kind::Rtx);
        }
        None
    }

    /// A source that was heard before, by another worker.
    pub fn resume(&mut self, now: Time, is_rtx: bool, ssrc: u32) {
        match is_rtx {
            false => self.media = Source::named(now, ssrc),
            true => self.rtx = Source::named(now, ssrc),
        }
    }

    /// Counts an authentic packet of a source. True: it is the first one.
    #[inline]
    pub fn hear(&mut self, now: Time, kind: Kind, index: u64, timestamp: u32) -> bool {
        // Repairs carry the timestamps of what they repair.
        let (source, clock_hz) = match kind {
            Kind::Media => (&mut self.media, self.given.clock_hz),
            Kind::Rtx => (&mut self.rtx, 0),
        };
        let is_first = source.reception.is_empty();
        source.heard_at = now;
        source.reception.on_packet(now, index, timestamp, clock_hz);
        is_first
    }

    /// A source has said goodbye: another one may come at once.
    pub fn leave(&mut self, ssrc: u32) {
        match self.kind(ssrc) {
            Some(Kind::Media) => self.media.heard_at = Time::ZERO,
            Some(Kind::Rtx) => self.rtx.heard_at = Time::ZERO,
            None => {}
        }
    }

    /// Begins with another source.
    fn restart(&mut self, pool: &mut Pool) {
        self.order.clear(pool);
        self.is_broken = self.is_video;
        self.frame = None;
        self.is_torn = true;
        self.timeline = Timeline::new(self.given.clock_hz);
        self.memory = Memory::new();
        // Repairs of the old source would be taken for some of the new one.
        self.rtx = Source::default();
    }

    /// How long packets wait for a missing one.
    #[inline]
    pub fn hold(&self, rtt: Option<Span>) -> Span {
        if !self.given.wants.has(Wants::NACK) {
            return HOLD_PLAIN;
        }
        let most = if self.is_video {
            HOLD_MAX
        } else {
            HOLD_AUDIO_MAX
        };
        let rtt = rtt.unwrap_or(RTT_DEFAULT);
        (rtt + rtt + HOLD_SLACK).clamp(HOLD_MIN, most)
    }

    /// After what a missing packet is asked for; `None`: it cannot be.
    #[inline]
    pub fn ask_after(&self) -> Option<Span> {
        if !self.given.wants.has(Wants::NACK) {
            return None;
        }
        Some(if self.is_reordered {
            ASK_AFTER
        } else {
            Span::ZERO
        })
    }

    /// True if a packet that was asked for at `asked` and comes now may be the answer.
    pub fn answers(&self, now: Time, asked: Time, rtt: Option<Span>) -> bool {
        // Where there is a source of repairs, they come from there.
        let rtt = rtt.unwrap_or(RTT_DEFAULT);
        self.given.rtx_payload_type == 0 && now.since(asked) >= Span(rtt.0 / 2)
    }

    /// True if a keyframe begins with this payload, and says so.
    pub fn starts_key(&self, payload: &[u8]) -> bool {
        self.is_video && key(self.given.codec, payload) == Key::Start
    }

    /// Where a packet of video stands among the layers of this lane.
    pub fn place<'a>(&mut self, packet: &Coming<'a>) -> Place<'a> {
        let codec = if self.is_video {
            self.given.codec
        } else {
            Codec::Unknown
        };
        let is_one_of_many = !self.given.rid.is_empty();
        place(&mut self.memory, codec, packet, is_one_of_many)
    }

    /// What readers need to know of the packet that comes next in the log.
    ///
    /// # Errors
    /// It follows a loss and precedes the next keyframe.
    pub fn judge(&mut self, header: &Header, payload: &[u8]) -> Result<Flags, Useless> {
        let (same_frame, was_key) = match self.frame {
            Some((timestamp, key)) if timestamp == header.timestamp => (true, key),
            _ => (false, false),
        };
        let said = if self.is_video {
            key(self.given.codec, payload)
        } else {
            Key::No
        };
        let is_torn = core::mem::take(&mut self.is_torn);
        let is_key = was_key || said > Key::No;
        let starts_key = is_key && !was_key;
        // A picture alone may be the rest of one whose beginning was lost.
        let is_whole = said == Key::Start || !same_frame && !is_torn;
        if self.is_broken && !(starts_key && is_whole) {
            self.frame = Some((header.timestamp, false));
            return Err(Useless {
                begins_frame: !same_frame,
            });
        }
        self.is_broken = false;
        self.frame = Some((header.timestamp, is_key));
        let mut flags = Flags::NONE;
        // Where the parameter sets follow something else, the frame starts with them.
        if !same_frame || starts_key {
            flags |= Flags::FIRST;
        }
        if is_key {
            flags |= Flags::KEY;
        }
        if header.marker {
            flags |= Flags::LAST;
        }
        Ok(flags)
    }

    /// True if a byte of padding is to be added to this packet, so that the packets of its frame
    /// are of one size and each viewer gets them by one send: browsers cut a frame into packets of
    /// two sizes that differ by one byte, the smaller ones first.
    #[inline]
    pub fn is_padded(&mut self, flags: Flags, payload_bytes: usize) -> bool {
        if !self.is_video {
            return false;
        }
        if flags.has(Flags::FIRST) {
            self.body_bytes = 0;
        }
        // What is shorter, or alone, is the last of a run anyway.
        let is_new = payload_bytes > self.body_bytes && !flags.has(Flags::LAST);
        if is_new {
            self.body_bytes = payload_bytes + 1;
        }
        payload_bytes + 1 == self.body_bytes && payload_bytes < PAYLOAD_MAX
    }
}

/// The round trip, or what is assumed, as the time between two requests.
pub fn ask_interval(rtt: Option<Span>) -> Span {
    rtt.unwrap_or(RTT_DEFAULT)
        .clamp(ASK_INTERVAL_MIN, ASK_INTERVAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_frame_get_one_size() {
        let mut track = InLane::new(Time::ZERO, &TrackIn::default(), true);
        let mut sizes = |frame: &[usize]| {
            let last = frame.len() - 1;
            let packet = |(at, &bytes): (usize, &usize)| {
                let mut flags = Flags::NONE;
                if at == 0 {
                    flags |= Flags::FIRST;
                }
                if at == last {
                    flags |= Flags::LAST;
                }
                bytes + usize::from(track.is_padded(flags, bytes))
            };
            frame.iter().enumerate().map(packet).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[1103, 1104, 1104, 1104]), [1104; 4]);
        assert_eq!(sizes(&[1150, 1150, 1151]), [1151; 3]);
        assert_eq!(sizes(&[1200, 1200, 700]), [1201, 1201, 700]);
        assert_eq!(sizes(&[900]), [900]);
        // Parameter sets before a keyframe are a run of their own.
        assert_eq!(sizes(&[24, 1103, 1104, 1104]), [25, 1104, 1104, 1104]);
        let mut longest = InLane::new(Time::ZERO, &TrackIn::default(), true);
        assert!(!longest.is_padded(Flags::FIRST, PAYLOAD_MAX));
        let mut audio = InLane::new(Time::ZERO, &TrackIn::default(), false);
        assert!(!audio.is_padded(Flags::FIRST, 100));
    }

    #[test]
    fn waiting_is_as_long_as_a_repair_takes() {
        let given = TrackIn {
            clock_hz: 90_000,
            wants: Wants::NACK,
            ..TrackIn::default()
        };
        let video = InLane::new(Time::ZERO, &given, true);
        assert_eq!(video.hold(Some(Span::millis(5))), Span::millis(60));
        assert_eq!(video.hold(Some(Span::millis(50))), Span::millis(140));
        assert_eq!(video.hold(None), Span::millis(240));
        assert_eq!(video.hold(Some(Span::secs(9))), Span::millis(250));
        let audio = InLane::new(Time::ZERO, &given, false);
        assert_eq!(audio.hold(Some(Span::secs(9))), Span::millis(60));
        let plain = InLane::new(Time::ZERO, &TrackIn::default(), true);
        assert_eq!(plain.hold(Some(Span::secs(9))), Span::millis(30));
    }
}
