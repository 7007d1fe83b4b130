//! Owns the decision about a publisher's offer: which section brings which track, in which codec.
//!
//! One codec a track is answered, so that it is known what the stream is before its first packet.

use super::codec::{OfferedCodec, audio_of, match_rtx, video_of};
use super::elements::{self, Agreed, redundant};
use super::offer::{Direction, Extension, Offer, OfferedMedia};
use super::terms::{Reader, Terms};
use crate::description::StreamDescription;
use crate::refusal::SignalError;
use link::command::{AUDIO, Rid, TRACKS_MAX, VIDEO};
use link::lanes::LAYERS_MAX;

/// The header extension of transport-wide sequence numbers.
pub const TRANSPORT_CC_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// The header extension of the section's identification tag (RFC 9143 section 15.1). Browsers send
/// the name of an encoding only together with it.
pub(super) const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// The header extensions of the name of an encoding, and of the one that is repaired (RFC 8852).
pub(super) const RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
pub(super) const REPAIRED_RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";

/// Most codecs that a refusal lists.
const NAMES_MAX: usize = 16;

/// What is decided about an offer to publish. Nothing has been allocated for the peer yet.
#[derive(Clone, Debug)]
pub struct PublishPlan<'a> {
    /// What each track comes in as.
    pub tracks: [Option<PublishTrack<'a>>; TRACKS_MAX],
    /// What the stream will consist of.
    pub description: StreamDescription,
    /// Identifier of the transport-wide sequence numbers, 1 to 14, if a track has them.
    pub transport_cc: Option<u8>,
    /// The encodings of the video, if there are several (RFC 8853).
    pub simulcast: Option<Simulcast<'a>>,
    /// The peer's side of the transport.
    pub terms: Terms,
    pub(super) offer: &'a Offer,
}

/// How the encodings of the video are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulcast<'a> {
    /// Names of the encodings, in the order of the offer: two or three.
    pub rids: Vec<(&'a str, Rid)>,
    /// Identifier of the extension with the name, 1 to 14.
    pub rid_id: u8,
    /// The same of repairs, if offered.
    pub repaired_rid_id: Option<u8>,
    /// The extensions as they are answered: identifier and URI.
    pub(super) extensions: Vec<(u8, &'static str)>,
}

/// How one track is received.
#[derive(Clone, Copy, Debug)]
pub struct PublishTrack<'a> {
    /// Index of the media section.
    pub section: usize,
    /// The chosen codec.
    pub codec: &'a OfferedCodec,
    /// Payload type of retransmissions, if offered.
    pub rtx: Option<u8>,
    /// SSRC of the media; 0: not known before its first packet.
    pub ssrc: u32,
    /// SSRC of the retransmissions; 0: likewise.
    pub rtx_ssrc: u32,
    /// What it may be told.
    pub feedback: Feedback,
    /// The offerer only sends the extension of transport-wide sequence numbers.
    pub(super) extension_sendonly: bool,
    /// Header-extension elements that are kept.
    pub elements: Agreed,
    /// The same sound with redundancy, if the offerer would rather send that.
    pub red: Option<&'a OfferedCodec>,
}

/// What a publisher has offered to hear, and we may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Packets are missing.
    pub nack: bool,
    /// A keyframe is wanted.
    pub pli: bool,
    /// The same, by its command.
    pub fir: bool,
    /// When each packet came.
    pub transport_cc: bool,
    /// How much may be sent at most. Not for whom transport-wide feedback serves better.
    pub remb: bool,
}

/// Decides how an offer to publish is answered.
///
/// # Errors
/// 406 if a section has no codec that can be passed on, 422 if the offer asks for what we cannot
/// do. An offer is taken as a whole or not at all (RFC 9725 section 4.4 discourages the rest).
pub fn plan(offer: &Offer) -> Result<PublishPlan<'_>, SignalError> {
    plan_with(offer, Terms::read)
}

/// Decides what is taken of the answer to an offer of ours: what it sends, in the first codec of
/// each section. Redundancy is taken wherever it stands: we offer it behind the codec.
///
/// # Errors
/// As of [`plan`], of an answer.
pub fn plan_answer(answer: &Offer) -> Result<PublishPlan<'_>, SignalError> {
    plan_pull(answer, Terms::of_answer)
}

/// Decides how the counter-offer of a server is answered that sends us a stream.
///
/// # Errors
/// As of [`plan`].
pub fn plan_counter(offer: &Offer) -> Result<PublishPlan<'_>, SignalError> {
    plan_pull(offer, Terms::of_counter)
}

fn plan_pull(answer: &Offer, read: Reader) -> Result<PublishPlan<'_>, SignalError> {
    let mut plan = plan_with(answer, read)?;
    if let Some(track) = &mut plan.tracks[AUDIO]
        && let Some(media) = answer.medias.get(track.section)
    {
        let red = redundant(media, track.codec).map(|(red, _)| red);
        track.red = red.filter(|red| shares_a_port(red.payload_type));
    }
    check_payload_types(&plan.tracks)?;
    Ok(plan)
}

fn plan_with(offer: &Offer, read: Reader) -> Result<PublishPlan<'_>, SignalError> {
    let sections = sending_sections(offer)?;
    let of = |track: usize| Some((sections[track]?, offer.medias.get(sections[track]?)?));
    let (mut video, mut audio) = (None, None);
    let mut description = StreamDescription::default();
    if let Some((section, media)) = of(VIDEO) {
        let (codec, found) = choose(media, video_of)?;
        description.video = Some(found);
        video = Some(track(section, media, codec));
    }
    if let Some((section, media)) = of(AUDIO) {
        let (codec, found) = choose(media, audio_of)?;
        description.audio = Some(found);
        audio = Some(track(section, media, codec));
    }
    let chosen = of(VIDEO).zip(video);
    let simulcast =
        chosen.and_then(|((_, media), track)| simulcast(media, track.codec.payload_type));
    let mut tracks = [None; TRACKS_MAX];
    (tracks[VIDEO], tracks[AUDIO]) = (video, audio);
    check_payload_types(&tracks)?;
    forget_shared_ssrcs(&mut tracks);
    let transport_cc = agree_on_transport_cc(offer, &mut tracks);
    let first = sections.iter().flatten().min().copied().unwrap_or_default();
    Ok(PublishPlan {
        tracks,
        description,
        transport_cc,
        simulcast,
        terms: read(offer, first)?,
        offer,
    })
}

/// The sections that send video and audio, by track index. There is at least one.
fn sending_sections(offer: &Offer) -> Result<[Option<usize>; TRACKS_MAX], SignalError> {
    let mut sections = [None; TRACKS_MAX];
    for (section, media) in offer.medias.iter().enumerate() {
        let track = match media.kind.as_str() {
            "video" => VIDEO,
            "audio" => AUDIO,
            _ => continue,
        };
        if media.disabled || !media.sends {
            continue;
        }
        if !media.is_secure_rtp() {
            return Err(insecure());
        }
        if sections[track].replace(section).is_some() {
            return Err(second(&media.kind));
        }
    }
    match sections {
        [None, None] => Err(nothing_sent()),
        [Some(a), Some(b)] if !(offer.bundles(a) && offer.bundles(b)) => Err(not_bundled()),
        _ => Ok(sections),
    }
}

/// The first codec of the offer that packets can be passed on in, and what it makes of the stream.
pub(super) fn choose<T>(
    media: &OfferedMedia,
    passes: impl Fn(&OfferedCodec) -> Option<T>,
) -> Result<(&OfferedCodec, T), SignalError> {
    media
        .codecs
        .iter()
        .filter(|codec| shares_a_port(codec.payload_type))
        .find_map(|codec| Some((codec, passes(codec)?)))
        .ok_or_else(|| no_common_codec(media))
}

/// The encodings that are taken: all that there are lanes for, and that may be sent in the format
/// that was chosen. One alone needs no name.
pub(super) fn simulcast(media: &OfferedMedia, payload_type: u8) -> Option<Simulcast<'_>> {
    let find = |uri: &'static str| {
        Extension::find(&media.extensions, uri)
            .filter(|(_, found)| {
                matches!(found.direction, Direction::SendRecv | Direction::SendOnly)
            })
            .map(|(id, _)| (id, uri))
    };
    let rid = find(RID_URI)?;
    let repaired = find(REPAIRED_RID_URI);
    let mut rids: Vec<(&str, Rid)> = Vec::new();
    let may_be = |rid: &&String| media.source.allows(rid, payload_type);
    for name in media.source.rids.iter().filter(may_be) {
        let is_new = !rids.iter().any(|(known, _)| known == name);
        if let (true, Some(rid)) = (is_new && rids.len() < LAYERS_MAX, Rid::new(name.as_bytes())) {
            rids.push((name, rid));
        }
    }
    (rids.len() > 1).then(|| Simulcast {
        rids,
        rid_id: rid.0,
        repaired_rid_id: repaired.map(|(id, _)| id),
        extensions: [find(MID_URI), Some(rid), repaired]
            .into_iter()
            .flatten()
            .collect(),
    })
}

/// With its marker bit, a payload type of 64 to 95 looks like RTCP (RFC 5761 section 4).
fn shares_a_port(payload_type: u8) -> bool {
    !(64..=95).contains(&payload_type)
}

pub(super) fn track<'a>(
    section: usize,
    media: &'a OfferedMedia,
    codec: &'a OfferedCodec,
) -> PublishTrack<'a> {
    let is_video = media.kind == "video";
    // 0 stands for none, and no retransmissions are wanted that cannot be asked for.
    let rtx = match_rtx(media, codec.payload_type)
        .map(|rtx| rtx.payload_type)
        .filter(|rtx| codec.nack && *rtx != 0 && shares_a_port(*rtx));
    // Which of its layers a publisher sends when simulcast is not answered is for it to say.
    let source = Some(&media.source).filter(|source| source.rids.is_empty());
    let ssrc = source.and_then(|source| source.ssrc).unwrap_or(0);
    let rtx_ssrc = source.and_then(|source| source.rtx_ssrc);
    PublishTrack {
        section,
        codec,
        rtx,
        ssrc,
        rtx_ssrc: rtx_ssrc.filter(|_| rtx.is_some()).unwrap_or(0),
        feedback: Feedback {
            nack: codec.nack,
            pli: codec.pli && is_video,
            fir: codec.fir && is_video,
            transport_cc: codec.transport_cc,
            remb: codec.remb,
        },
        extension_sendonly: false,
        elements: elements::agree(media, codec, Direction::SendOnly),
        red: redundant(media, codec)
            .filter(|(red, is_first)| *is_first && shares_a_port(red.payload_type))
            .map(|(red, _)| red),
    }
}

/// Packets of the one transport are told apart by payload type before anything else is known.
pub(super) fn check_payload_types(
    tracks: &[Option<PublishTrack<'_>>; TRACKS_MAX],
) -> Result<(), SignalError> {
    let types = |track: usize| {
        let track = tracks[track].as_ref();
        let media = track.map(|track| track.codec.payload_type);
        let red = track.and_then(|track| Some(track.red?.payload_type));
        [media, track.and_then(|track| track.rtx), red]
    };
    let shared = types(VIDEO)
        .into_iter()
        .flatten()
        .any(|payload_type| types(AUDIO).contains(&Some(payload_type)));
    match shared {
        true => Err(SignalError::unacceptable(
            "payload-type-shared",
            "Video and audio have the same payload type.",
            "Give every codec of a BUNDLE group a payload type of its own.",
        )),
        false => Ok(()),
    }
}

/// An SSRC that stands for two things says nothing of either.
pub(super) fn forget_shared_ssrcs(tracks: &mut [Option<PublishTrack<'_>>; TRACKS_MAX]) {
    let given = |track: &PublishTrack<'_>| [track.ssrc, track.rtx_ssrc];
    let all: Vec<u32> = tracks.iter().flatten().flat_map(given).collect();
    let is_shared = |ssrc: u32| all.iter().filter(|other| **other == ssrc).count() > 1;
    for track in tracks.iter_mut().flatten() {
        for ssrc in [&mut track.ssrc, &mut track.rtx_ssrc] {
            if *ssrc != 0 && is_shared(*ssrc) {
                *ssrc = 0;
            }
        }
    }
}

/// One identifier for the whole transport: video's, else audio's. Without the extension there is no
/// transport-wide feedback, and with it no REMB.
fn agree_on_transport_cc(
    offer: &Offer,
    tracks: &mut [Option<PublishTrack<'_>>; TRACKS_MAX],
) -> Option<u8> {
    let mut agreed = None;
    for track in tracks.iter_mut().flatten() {
        let extensions = offer.medias.get(track.section).map(|m| &m.extensions[..]);
        let found = extensions
            .and_then(|extensions| Extension::find(extensions, TRANSPORT_CC_URI))
            .filter(|_| track.feedback.transport_cc)
            .filter(|(id, _)| agreed.is_none_or(|agreed| agreed == *id));
        let offered = found.map(|(_, extension)| extension.direction);
        let (usable, sendonly) = match offered {
            Some(Direction::SendRecv) => (true, false),
            Some(Direction::SendOnly) => (true, true),
            Some(Direction::RecvOnly | Direction::Inactive) | None => (false, false),
        };
        track.feedback.transport_cc = usable;
        track.feedback.remb &= !usable;
        track.extension_sendonly = sendonly;
        agreed = agreed.or(found.map(|(id, _)| id).filter(|_| usable));
    }
    agreed
}

fn insecure() -> SignalError {
    SignalError::unacceptable(
        "no-secure-rtp",
        "A media section that sends is not RTP over DTLS-SRTP.",
        "Offer video and audio as UDP/TLS/RTP/SAVPF.",
    )
}

pub(super) fn second(kind: &str) -> SignalError {
    SignalError::unacceptable(
        "track-second",
        format!("The offer sends two tracks of {kind}; a stream has one."),
        "Offer one video and one audio section that send, and publish the rest as other streams.",
    )
}

pub(super) fn nothing_sent() -> SignalError {
    SignalError::unacceptable(
        "direction-unusable",
        "The offer does not want to send video or audio.",
        "Offer sendonly media; to watch, use another endpoint.",
    )
}

fn not_bundled() -> SignalError {
    SignalError::unacceptable(
        "bundle-missing",
        "Video and audio are not in the first BUNDLE group.",
        "Offer all media in one a=group:BUNDLE, with an a=mid each.",
    )
}

fn no_common_codec(media: &OfferedMedia) -> SignalError {
    let mut names: Vec<&str> = Vec::new();
    for codec in &media.codecs {
        let known = names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&codec.name));
        if !known && names.len() < NAMES_MAX {
            names.push(&codec.name);
        }
    }
    let offered = match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(", "),
    };
    let kind = &media.kind;
    let taken = match kind.as_str() {
        "video" => "H264 with packetization-mode=1, H265, VP8, VP9, AV1",
        _ => "opus/48000/2",
    };
    SignalError::new(
        406,
        "no-common-codec",
        format!("The offer has {offered} for {kind}; what is taken: {taken}."),
        "Set the encoder to a codec that is taken, with a payload type outside 64 to 95.",
    )
}
