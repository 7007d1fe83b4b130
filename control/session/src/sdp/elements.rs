//! Owns which header-extension elements go on from publishers to viewers, and sound with
//! redundancy: what of them an offer and its answer agree on.

use super::codec::OfferedCodec;
use super::offer::{Direction, OfferedMedia};
use super::text::line;
use crate::description::AudioCodec;
use link::command::{AUDIO, TRACKS_MAX, TrackIn, VIDEO};
use link::elements::{AUDIO_LEVEL, CAPTURE_TIME, DESCRIPTOR, KINDS};
use link::lanes::LANES_MAX;
use wire::payload::av1::DEPENDENCY_DESCRIPTOR_URI;

/// The header extensions, by kind.
pub(super) const URIS: [&str; KINDS] = {
    let mut uris = [""; KINDS];
    uris[DESCRIPTOR] = DEPENDENCY_DESCRIPTOR_URI;
    // RFC 6464 section 4.
    uris[AUDIO_LEVEL] = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    uris[CAPTURE_TIME] = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
    uris
};

/// Ends a block of one-byte elements (RFC 8285 section 4.2).
const RESERVED_ID: u8 = 15;

/// By kind: the identifier, 1 to 255 but for 15, and whether the offer has it for one way only.
pub type Agreed = [Option<(u8, bool)>; KINDS];

/// What the publisher of a stream sends that viewers may be passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// By track and kind.
    pub elements: [[bool; KINDS]; TRACKS_MAX],
    /// The sound has redundancy.
    pub red: bool,
}

impl Passed {
    /// What comes on these lanes.
    #[must_use]
    pub fn of(lanes: &[TrackIn; LANES_MAX]) -> Self {
        let kinds = |lane: usize| lanes[lane].elements.map(|id| id != 0);
        let mut elements = [[false; KINDS]; TRACKS_MAX];
        (elements[VIDEO], elements[AUDIO]) = (kinds(VIDEO), kinds(AUDIO));
        Self {
            elements,
            red: lanes[AUDIO].red_payload_type != 0,
        }
    }

    /// What of `agreed` there is.
    #[must_use]
    pub fn filter(&self, track: usize, agreed: &Agreed) -> Agreed {
        let mut kept = *agreed;
        for (kept, passed) in kept.iter_mut().zip(self.elements[track]) {
            *kept = kept.filter(|_| passed);
        }
        kept
    }
}

/// What an offerer may send, or may be sent: `one_way` is the direction that says only that.
///
/// The descriptor is AV1's alone. It comes with structures of more than 16 bytes, so both forms of
/// elements must be allowed in one stream (RFC 8285 section 4.1.2).
pub(super) fn agree(media: &OfferedMedia, codec: &OfferedCodec, one_way: Direction) -> Agreed {
    let is_video = media.kind == "video";
    let is_av1 = codec.name.eq_ignore_ascii_case("AV1");
    let mut wanted = [false; KINDS];
    wanted[DESCRIPTOR] = is_video && is_av1 && media.allows_mixed;
    wanted[AUDIO_LEVEL] = !is_video;
    wanted[CAPTURE_TIME] = true;
    core::array::from_fn(|kind| {
        let mut extensions = media.extensions.iter();
        let offered = extensions.find(|extension| extension.uri == URIS[kind])?;
        let id = u8::try_from(offered.id).ok().filter(|id| match *id {
            1..=14 => true,
            // Of two-byte elements: browsers run out of the others where video is offered first.
            id => media.allows_mixed && id > RESERVED_ID,
        })?;
        let is_one_way = offered.direction == one_way;
        let is_usable = is_one_way || offered.direction == Direction::SendRecv;
        (wanted[kind] && is_usable).then_some((id, is_one_way))
    })
}

/// What an offer of ours asks for in a section, under identifiers from `first` on.
pub(super) fn wanted(is_video: bool, first: u8) -> Agreed {
    let mut ids = first..;
    let mut all: Agreed = core::array::from_fn(|_| ids.next().map(|id| (id, false)));
    all[if is_video { AUDIO_LEVEL } else { DESCRIPTOR }] = None;
    all
}

/// Sound with redundancy under this payload type, of the codec under that one.
pub(super) fn redundancy(payload_type: u8, of: u8) -> OfferedCodec {
    OfferedCodec {
        payload_type,
        name: "red".to_owned(),
        clock_hz: AudioCodec::CLOCK_HZ,
        channels: 2,
        // The packet itself, and the one before it.
        fmtp: Some(format!("{of}/{of}")),
        ..OfferedCodec::default()
    }
}

/// The identifiers as commands have them.
#[must_use]
pub fn ids(agreed: &Agreed) -> [u8; KINDS] {
    agreed.map(|found| found.map_or(0, |(id, _)| id))
}

/// Says in an answer what is agreed. `reversed` is the direction that answers a single one.
pub(super) fn write(out: &mut String, agreed: &Agreed, reversed: &str) {
    let is_wide = |(id, _): (u8, bool)| id > RESERVED_ID;
    if agreed[DESCRIPTOR].is_some() || agreed.iter().flatten().copied().any(is_wide) {
        line(out, format_args!("a=extmap-allow-mixed"));
    }
    for (found, uri) in agreed.iter().zip(URIS) {
        if let Some((id, is_one_way)) = found {
            let direction = if *is_one_way { reversed } else { "" };
            line(out, format_args!("a=extmap:{id}{direction} {uri}"));
        }
    }
}

/// The codec of `codec` with redundancy (RFC 2198 section 5), all of whose blocks are of that one,
/// and whether the offerer would rather have it. Payload type 0 stands for none.
pub(super) fn redundant<'a>(
    media: &'a OfferedMedia,
    codec: &OfferedCodec,
) -> Option<(&'a OfferedCodec, bool)> {
    let is_red = |red: &OfferedCodec| {
        let blocks = red.fmtp.as_deref().unwrap_or_default().split('/');
        let mut types = blocks.map(|block| block.trim().parse::<u8>().ok());
        red.name.eq_ignore_ascii_case("red")
            && (red.clock_hz, red.channels) == (codec.clock_hz, codec.channels)
            && red.payload_type != 0
            && types.all(|payload_type| payload_type == Some(codec.payload_type))
    };
    let at = media.codecs.iter().position(is_red)?;
    let of_codec = media
        .codecs
        .iter()
        .position(|other| other.payload_type == codec.payload_type)?;
    Some((&media.codecs[at], at < of_codec))
}
