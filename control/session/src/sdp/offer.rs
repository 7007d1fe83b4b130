//! Owns the reading of an offer: from text to what the answer needs to know, limits included.

use super::candidate::{Candidate, candidates};
use super::codec::OfferedCodec;
use super::crypto::Cryptos;
use super::source::{Source, source};
use super::{PWD_BYTES_MIN, SDP_MEDIAS_MAX, UFRAG_BYTES_MIN, check_text, is_ice_string};
use crate::refusal::SignalError;
use sdp_types::{Attribute, Connection, Media, Session};
use std::net::IpAddr;

/// An offer, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The media sections, in order.
    pub medias: Vec<OfferedMedia>,
    /// Identification tags of the first BUNDLE group; `None` if the offer has no such group.
    pub bundle: Option<Vec<String>>,
    /// The peer calls itself an ICE lite agent.
    pub ice_lite: bool,
}

/// One media section of an offer. Transport values of the session level are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedMedia {
    /// `video`, `audio` or what else was offered, as offered.
    pub kind: String,
    /// The transport protocol, as offered.
    pub proto: String,
    /// The format list, as offered.
    pub formats: String,
    /// The port, as offered.
    pub port: u16,
    /// The connection address, if it is an IP address.
    pub address: Option<IpAddr>,
    /// Keys of `a=crypto` (RFC 4568).
    pub cryptos: Cryptos,
    /// Port 0 without `bundle-only`: the offerer does not want this section.
    pub disabled: bool,
    /// The identification tag.
    pub mid: Option<String>,
    /// The offerer is ready to receive (`recvonly` or `sendrecv`).
    pub receives: bool,
    /// The offerer wants to send (`sendonly` or `sendrecv`).
    pub sends: bool,
    /// What it says of the packets that it sends.
    pub source: Source,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize`.
    pub rtcp_rsize: bool,
    /// `a=rtcp-xr:rcvr-rtt=...`, the whole value, if offered.
    pub rcvr_rtt: Option<String>,
    /// Codecs in the order of the format list.
    pub codecs: Vec<OfferedCodec>,
    /// Header extensions.
    pub extensions: Vec<Extension>,
    /// Both forms of elements may come in one stream (RFC 8285 section 6).
    pub allows_mixed: bool,
    /// ICE and DTLS of this section.
    pub transport: Transport,
}

/// `a=extmap` (RFC 8285 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The identifier on the wire.
    pub id: u16,
    /// Which way it is offered.
    pub direction: Direction,
    /// What it is.
    pub uri: String,
}

/// Who sends, as the offerer says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// The offerer.
    SendOnly,
    /// We.
    RecvOnly,
    /// Nobody.
    Inactive,
}

/// ICE and DTLS parameters of a media section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// The peer's username fragment, valid by its grammar.
    pub ufrag: Option<String>,
    /// The peer's password, valid by its grammar.
    pub pwd: Option<String>,
    /// `a=setup`, as offered.
    pub setup: Option<String>,
    /// `a=fingerprint` values, as offered.
    pub fingerprints: Vec<String>,
    /// Where the peer says that it is, best first: for those who send checks.
    pub candidates: Vec<Candidate>,
}

const MIXED: &str = "extmap-allow-mixed";

impl Offer {
    /// True if a section is in the first BUNDLE group.
    #[must_use]
    pub fn bundles(&self, section: usize) -> bool {
        let mid = self.medias.get(section).and_then(|m| m.mid.as_ref());
        let tags = self.bundle.as_deref().unwrap_or_default();
        mid.is_some_and(|mid| tags.contains(mid))
    }

    /// Reads an offer.
    ///
    /// # Errors
    /// 413 for one that is too large, 400 for one that cannot be read.
    pub fn parse(text: &str) -> Result<Self, SignalError> {
        check_text(text)?;
        if text.lines().filter(|line| line.starts_with("m=")).count() > SDP_MEDIAS_MAX {
            return Err(SignalError::malformed(format!(
                "More than {SDP_MEDIAS_MAX} media."
            )));
        }
        let session = Session::parse(text.as_bytes()).map_err(|error| {
            SignalError::malformed(format!("Not a session description: {error}."))
        })?;
        let session_level = transport(&session.attributes, &Transport::default())?;
        let medias = session
            .medias
            .iter()
            .map(|media| OfferedMedia::read(media, &session, &session_level))
            .collect::<Result<Vec<_>, _>>()?;
        if medias.is_empty() {
            return Err(SignalError::malformed("The offer has no media."));
        }
        check_mids(&medias)?;
        let bundle = values(&session.attributes, "group")
            .find_map(|group| group.strip_prefix("BUNDLE"))
            .map(|tags| tags.split_ascii_whitespace().map(str::to_owned).collect());
        let ice_lite = has(&session.attributes, "ice-lite");
        Ok(Self {
            medias,
            bundle,
            ice_lite,
        })
    }
}

impl OfferedMedia {
    fn read(media: &Media, session: &Session, inherited: &Transport) -> Result<Self, SignalError> {
        let attributes = &media.attributes;
        let mid = values(attributes, "mid").next().map(str::to_owned);
        if mid.as_deref().is_some_and(|mid| !is_token(mid)) {
            return Err(SignalError::malformed(
                "A mid is not a token of 1 to 32 characters.",
            ));
        }
        let direction = direction(attributes)
            .or_else(|| direction(&session.attributes))
            .unwrap_or_default();
        Ok(Self {
            kind: media.media.clone(),
            proto: media.proto.clone(),
            formats: media.fmt.clone(),
            port: media.port,
            address: media
                .connections
                .first()
                .or(session.connection.as_ref())
                .and_then(address),
            cryptos: Cryptos::new(values(attributes, "crypto")),
            disabled: media.port == 0 && !has(attributes, "bundle-only"),
            mid,
            receives: matches!(direction, Direction::SendRecv | Direction::RecvOnly),
            sends: matches!(direction, Direction::SendRecv | Direction::SendOnly),
            source: source(attributes),
            rtcp_mux: has(attributes, "rtcp-mux"),
            rtcp_rsize: has(attributes, "rtcp-rsize"),
            rcvr_rtt: values(attributes, "rtcp-xr")
                .chain(values(&session.attributes, "rtcp-xr"))
                .flat_map(str::split_ascii_whitespace)
                .find(|format| matches!(*format, "rcvr-rtt=all" | "rcvr-rtt=sender"))
                .map(str::to_owned),
            codecs: codecs(media),
            extensions: values(attributes, "extmap").filter_map(extension).collect(),
            allows_mixed: has(attributes, MIXED) || has(&session.attributes, MIXED),
            transport: transport(attributes, inherited)?,
        })
    }

    /// Whether this is RTP over DTLS-SRTP, by whatever name (RFC 5764, RFC 8842 section 9).
    #[must_use]
    pub fn is_secure_rtp(&self) -> bool {
        [
            "UDP/TLS/RTP/SAVPF",
            "UDP/TLS/RTP/SAVP",
            "RTP/SAVPF",
            "RTP/SAVP",
        ]
        .contains(&self.proto.as_str())
    }

    /// Arrivals of all of its formats are told by source and sequence number (RFC 8888).
    #[must_use]
    pub fn tells_by_source(&self) -> bool {
        self.codecs.iter().all(|codec| codec.ccfb)
    }
}

impl Extension {
    /// The identifier, if an extension of that kind is offered which we may use: one-byte headers
    /// are what everybody understands, and in those 15 is reserved and 0 is padding (RFC 8285
    /// section 4.2).
    pub(super) fn find<'a>(all: &'a [Self], uri: &str) -> Option<(u8, &'a Self)> {
        let found = all.iter().find(|extension| extension.uri == uri)?;
        let id = u8::try_from(found.id).ok()?;
        (1..=14).contains(&id).then_some((id, found))
    }
}

impl Direction {
    fn of(name: &str) -> Option<Self> {
        match name {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

/// What comes after a slash is of multicast (RFC 8866 section 5.7).
fn address(connection: &Connection) -> Option<IpAddr> {
    let text = connection.connection_address.split('/').next()?;
    text.parse().ok()
}

fn codecs(media: &Media) -> Vec<OfferedCodec> {
    // RFC 8866 section 6.6: payload types are 7 bits, so there can be 128 and no more.
    let types = media
        .fmt
        .split_ascii_whitespace()
        .filter_map(|text| text.parse::<u8>().ok());
    let mut codecs: Vec<OfferedCodec> = types
        .filter(|payload_type| *payload_type < 128)
        .take(128)
        .map(|payload_type| OfferedCodec {
            payload_type,
            channels: 1,
            ..Default::default()
        })
        .collect();
    for attribute in &media.attributes {
        let Some((subject, rest)) = attribute.value.as_deref().and_then(|v| v.split_once(' '))
        else {
            continue;
        };
        let wanted = subject.parse::<u8>().ok();
        let rest = rest.trim();
        for codec in &mut codecs {
            let named = Some(codec.payload_type) == wanted;
            match attribute.attribute.as_str() {
                "rtpmap" if named => codec_of_rtpmap(codec, rest),
                "fmtp" if named => codec.fmtp = Some(rest.to_owned()),
                "rtcp-fb" if named || subject == "*" => match rest {
                    "nack" => codec.nack = true,
                    "nack pli" => codec.pli = true,
                    "ccm fir" => codec.fir = true,
                    "transport-cc" => codec.transport_cc = true,
                    "goog-remb" => codec.remb = true,
                    "ack ccfb" => codec.ccfb = true,
                    _ => {}
                },
                _ => {}
            }
        }
    }
    codecs.retain(|codec| !codec.name.is_empty());
    codecs
}

fn codec_of_rtpmap(codec: &mut OfferedCodec, rtpmap: &str) {
    let mut parts = rtpmap.split('/');
    let (name, clock) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    if let (true, Ok(clock_hz)) = (is_token(name), clock.parse()) {
        codec.name = name.to_owned();
        codec.clock_hz = clock_hz;
        codec.channels = parts.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    }
}

fn extension(value: &str) -> Option<Extension> {
    let mut words = value.split_ascii_whitespace();
    let (id, uri) = (words.next()?, words.next()?);
    let (id, direction) = id.split_once('/').unwrap_or((id, "sendrecv"));
    Some(Extension {
        id: id.parse().ok()?,
        direction: Direction::of(direction)?,
        uri: uri.to_owned(),
    })
}

fn transport(attributes: &[Attribute], inherited: &Transport) -> Result<Transport, SignalError> {
    let mut transport = inherited.clone();
    if let Some(ufrag) = values(attributes, "ice-ufrag").next() {
        if !is_ice_string(ufrag, UFRAG_BYTES_MIN) {
            return Err(SignalError::malformed(
                "ice-ufrag is not 4 to 256 ICE characters.",
            ));
        }
        transport.ufrag = Some(ufrag.to_owned());
    }
    if let Some(pwd) = values(attributes, "ice-pwd").next() {
        if !is_ice_string(pwd, PWD_BYTES_MIN) {
            return Err(SignalError::malformed(
                "ice-pwd is not 22 to 256 ICE characters.",
            ));
        }
        transport.pwd = Some(pwd.to_owned());
    }
    if let Some(setup) = values(attributes, "setup").next() {
        transport.setup = Some(setup.to_owned());
    }
    if has(attributes, "candidate") {
        transport.candidates = candidates(attributes);
    }
    if has(attributes, "fingerprint") {
        transport.fingerprints = values(attributes, "fingerprint")
            .map(str::to_owned)
            .collect();
    }
    Ok(transport)
}

fn check_mids(medias: &[OfferedMedia]) -> Result<(), SignalError> {
    for (position, media) in medias.iter().enumerate() {
        let taken = medias
            .iter()
            .take(position)
            .any(|other| other.mid == media.mid);
        if media.mid.is_some() && taken {
            return Err(SignalError::malformed("Two media have the same mid."));
        }
    }
    Ok(())
}

/// `Some` if a direction is given at this level.
fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes
        .iter()
        .find_map(|attribute| Direction::of(&attribute.attribute))
}

/// RFC 8866 section 9 `token`, less the characters that would need care in other places.
fn is_token(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&c))
}

fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.attribute == name)
}

pub(super) fn values<'a>(attributes: &'a [Attribute], name: &str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name)
        .filter_map(|attribute| attribute.value.as_deref())
        .map(str::trim)
}
