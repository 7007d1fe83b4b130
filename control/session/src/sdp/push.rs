//! Owns the decision about a description of plain RTP, or SRTP with the keys in it, that a server
//! is going to send: which section brings which track, in which codec, from where, under which key.

use super::codec::{audio_of, video_of};
use super::crypto::Crypto;
use super::offer::{Offer, OfferedMedia};
use super::publish::{
    Feedback, PublishTrack, Simulcast, check_payload_types, choose, forget_shared_ssrcs,
    nothing_sent, second, simulcast, track,
};
use crate::description::StreamDescription;
use crate::refusal::SignalError;
use link::command::{AUDIO, TRACKS_MAX, VIDEO};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The port that stands for none: descriptions have it where nobody listens (RFC 863).
const DISCARD: u16 = 9;

/// What a request says of where packets come from, beside its description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Where the request itself came from.
    pub asker: Option<IpAddr>,
    /// By track, where its packets come from, whatever the description says.
    pub given: [Option<Given>; TRACKS_MAX],
}

/// A sender's address as a request gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// `None`: that of the asker.
    pub ip: Option<IpAddr>,
    /// The port, not 0.
    pub port: u16,
}

/// What is decided about a push. Nothing has been allocated for it yet.
#[derive(Clone, Debug)]
pub struct PushPlan<'a> {
    /// What each track comes in as.
    pub tracks: [Option<PublishTrack<'a>>; TRACKS_MAX],
    /// Where each comes from, and under which key.
    pub ways: [Option<PushWay>; TRACKS_MAX],
    /// What the stream will consist of.
    pub description: StreamDescription,
    /// The encodings of the video, if there are several (RFC 8853).
    pub simulcast: Option<Simulcast<'a>>,
    pub(super) offer: &'a Offer,
}

/// How the packets of one track come.
#[derive(Clone)]
pub struct PushWay {
    /// Their sender.
    pub from: SocketAddr,
    /// Their key; `None`: they are in the clear.
    pub crypto: Option<Crypto>,
}

impl PushPlan<'_> {
    /// True if video and audio have one sender, or there is only one of them.
    #[must_use]
    pub fn has_one_sender(&self) -> bool {
        let [video, audio] = self.ways.each_ref().map(Option::as_ref);
        let apart = video.zip(audio).filter(|(v, a)| v.from != a.from);
        apart.is_none()
    }
}

/// Without the key.
impl fmt::Debug for PushWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suite = self.crypto.as_ref().map_or("none", Crypto::suite);
        write!(f, "PushWay({}, {suite})", self.from)
    }
}

/// Reads where packets come from: `PORT`, `:PORT`, `IP:PORT` or `[IPv6]:PORT`.
impl std::str::FromStr for Given {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let bare = text.strip_prefix(':').unwrap_or(text);
        let given = match bare.parse::<u16>() {
            Ok(port) => Self { ip: None, port },
            Err(_) => {
                let whole: SocketAddr = text.parse().map_err(|_| NoAddress)?;
                let ip = Some(whole.ip()).filter(|ip| !ip.is_unspecified());
                Self {
                    ip,
                    port: whole.port(),
                }
            }
        };
        if given.port == 0 {
            return Err(NoAddress);
        }
        Ok(given)
    }
}

/// It is not an address that packets can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not PORT, IP:PORT or [IPv6]:PORT")]
pub struct NoAddress;

/// Decides how a push is answered. `ours` are the addresses at which we receive.
///
/// # Errors
/// 406 if a section has no codec that can be passed on, 422 if we cannot do what it says.
pub fn plan<'a>(
    offer: &'a Offer,
    origins: &Origins,
    ours: &[SocketAddr],
) -> Result<PushPlan<'a>, SignalError> {
    let sections = sections(offer)?;
    let of = |track: usize| Some((sections[track]?, offer.medias.get(sections[track]?)?));
    let mut tracks = [None; TRACKS_MAX];
    let mut ways = [None, None];
    let mut description = StreamDescription::default();
    if let Some((section, media)) = of(VIDEO) {
        let (codec, found) = choose(media, video_of)?;
        description.video = Some(found);
        tracks[VIDEO] = Some(one_way(track(section, media, codec)));
        ways[VIDEO] = Some(way(media, origins.asker, origins.given[VIDEO], ours)?);
    }
    if let Some((section, media)) = of(AUDIO) {
        let (codec, found) = choose(media, audio_of)?;
        description.audio = Some(found);
        tracks[AUDIO] = Some(one_way(track(section, media, codec)));
        ways[AUDIO] = Some(way(media, origins.asker, origins.given[AUDIO], ours)?);
    }
    let simulcast = of(VIDEO)
        .zip(tracks[VIDEO])
        .and_then(|((_, media), video)| simulcast(media, video.codec.payload_type));
    let mut plan = PushPlan {
        tracks,
        ways,
        description,
        simulcast,
        offer,
    };
    if plan.has_one_sender() {
        check_payload_types(&plan.tracks)?;
        check_keys(&plan.ways)?;
        forget_shared_ssrcs(&mut plan.tracks);
    }
    Ok(plan)
}

/// The sections that send video and audio, by track index. There is at least one.
fn sections(offer: &Offer) -> Result<[Option<usize>; TRACKS_MAX], SignalError> {
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
        if !PROTOCOLS.contains(&media.proto.as_str()) {
            return Err(not_plain());
        }
        if sections[track].replace(section).is_some() {
            return Err(second(&media.kind));
        }
    }
    match sections {
        [None, None] => Err(nothing_sent()),
        _ => Ok(sections),
    }
}

/// RTP without and with protection, without and with feedback.
const PROTOCOLS: [&str; 4] = ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"];

/// Nothing is asked for again, since nothing goes back.
fn one_way(track: PublishTrack<'_>) -> PublishTrack<'_> {
    PublishTrack {
        rtx: None,
        rtx_ssrc: 0,
        feedback: Feedback::default(),
        ..track
    }
}

fn way(
    media: &OfferedMedia,
    asker: Option<IpAddr>,
    given: Option<Given>,
    ours: &[SocketAddr],
) -> Result<PushWay, SignalError> {
    let from = sender(media, asker, given)?;
    if ours.contains(&from) {
        return Err(source_ours(from));
    }
    // FFmpeg writes RTP/AVP above its keys. Where there is a key, packets without it are not taken.
    let crypto = media.cryptos.choose().map_err(key_unusable)?;
    if crypto.is_none() && media.proto.contains("SAVP") {
        return Err(key_missing());
    }
    Ok(PushWay { from, crypto })
}

/// What was given besides goes before the description, in which encoders write where they send to.
fn sender(
    media: &OfferedMedia,
    asker: Option<IpAddr>,
    given: Option<Given>,
) -> Result<SocketAddr, SignalError> {
    let said = media.address.filter(|ip| !ip.is_unspecified());
    let (ip, port) = match given {
        Some(given) => (given.ip.or(asker), given.port),
        None => (said.or(asker), media.port),
    };
    let ip = ip.map(|ip| ip.to_canonical());
    let Some(ip) = ip.filter(|_| port != DISCARD && port != 0) else {
        return Err(source_missing(&media.kind));
    };
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_multicast() || is_broadcast {
        return Err(source_unusable(ip));
    }
    Ok(SocketAddr::new(ip, port))
}

/// The packets of one sender are opened before they are told apart.
fn check_keys(ways: &[Option<PushWay>; TRACKS_MAX]) -> Result<(), SignalError> {
    let [video, audio] = ways;
    let (Some(video), Some(audio)) = (video, audio) else {
        return Ok(());
    };
    let same = match (&video.crypto, &audio.crypto) {
        (None, None) => true,
        (Some(video), Some(audio)) => video.same_key(audio),
        _ => false,
    };
    match same {
        true => Ok(()),
        false => Err(SignalError::unacceptable(
            "key-differs",
            "Video and audio come from one address under different keys.",
            "Send them from two ports, or under one key.",
        )),
    }
}

fn not_plain() -> SignalError {
    SignalError::unacceptable(
        "not-plain-rtp",
        "A media section that sends is none of RTP/AVP, RTP/AVPF, RTP/SAVP and RTP/SAVPF.",
        "Describe plain RTP, or SRTP with a=crypto; what speaks DTLS publishes at /whip/STREAM.",
    )
}

fn key_missing() -> SignalError {
    SignalError::unacceptable(
        "key-missing",
        "A section is SRTP (RTP/SAVP) and has no a=crypto.",
        "Add a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY, or describe RTP/AVP.",
    )
}

fn key_unusable(fault: &'static str) -> SignalError {
    SignalError::unacceptable(
        "key-unusable",
        format!("No a=crypto of a section can be used; of the first: {fault}."),
        "Write a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY with base64 of 30 random bytes.",
    )
}

fn source_missing(kind: &str) -> SignalError {
    SignalError::unacceptable(
        "source-missing",
        format!("It is not said from which address and port {kind} comes."),
        "Add ?video_from=IP:PORT&audio_from=IP:PORT, or ?from=IP:PORT for both; PORT alone is of \
         the asker's address.",
    )
}

fn source_ours(from: SocketAddr) -> SignalError {
    SignalError::unacceptable(
        "source-ours",
        format!("{from} is where this node receives: it is asked where packets come from."),
        "Add ?video_from=IP:PORT&audio_from=IP:PORT with the ports that the sender has bound, as \
         with localrtpport of ffmpeg.",
    )
}

fn source_unusable(ip: IpAddr) -> SignalError {
    SignalError::unacceptable(
        "source-unusable",
        format!("Nothing is sent from {ip}, which stands for many hosts."),
        "Name the address of the one host that sends.",
    )
}
