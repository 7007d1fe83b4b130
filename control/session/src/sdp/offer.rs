//! Owns the reading of an offer: from text to what the answer needs to know, limits included.

use super::codec::OfferedCodec;
use super::{PWD_BYTES_MIN, SDP_MEDIAS_MAX, UFRAG_BYTES_MIN, check_text, is_ice_string};
use crate::refusal::WhepError;
use sdp_types::{Attribute, Media, Session};

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
    /// Port 0 without `bundle-only`: the offerer does not want this section.
    pub disabled: bool,
    /// The identification tag.
    pub mid: Option<String>,
    /// The offerer is ready to receive (`recvonly` or `sendrecv`).
    pub receives: bool,
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
    /// ICE and DTLS of this section.
    pub transport: Transport,
}

/// `a=extmap` (RFC 8285 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The identifier on the wire.
    pub id: u16,
    /// True when the offerer only wants to receive it.
    pub recvonly: bool,
    /// What it is.
    pub uri: String,
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
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// 413 for one that is too large, 400 for one that cannot be read.
    pub fn parse(text: &str) -> Result<Self, WhepError> {
        check_text(text)?;
        if text.lines().filter(|line| line.starts_with("m=")).count() > SDP_MEDIAS_MAX {
            return Err(WhepError::malformed(format!(
                "More than {SDP_MEDIAS_MAX} media."
            )));
        }
        let session = Session::parse(text.as_bytes()).map_err(|error| {
            WhepError::malformed(format!("Not a session description: {error}."))
        })?;
        let session_level = transport(&session.attributes, &Transport::default())?;
        let medias = session
            .medias
            .iter()
            .map(|media| OfferedMedia::read(media, &session, &session_level))
            .collect::<Result<Vec<_>, _>>()?;
        if medias.is_empty() {
            return Err(WhepError::malformed("The offer has no media."));
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
    fn read(media: &Media, session: &Session, inherited: &Transport) -> Result<Self, WhepError> {
        let attributes = &media.attributes;
        let mid = values(attributes, "mid").next().map(str::to_owned);
        if mid.as_deref().is_some_and(|mid| !is_token(mid)) {
            return Err(WhepError::malformed(
                "A mid is not a token of 1 to 32 characters.",
            ));
        }
        Ok(Self {
            kind: media.media.clone(),
            proto: media.proto.clone(),
            formats: media.fmt.clone(),
            disabled: media.port == 0 && !has(attributes, "bundle-only"),
            mid,
            receives: receives(attributes)
                .or_else(|| receives(&session.attributes))
                .unwrap_or(true),
            rtcp_mux: has(attributes, "rtcp-mux"),
            rtcp_rsize: has(attributes, "rtcp-rsize"),
            rcvr_rtt: values(attributes, "rtcp-xr")
                .chain(values(&session.attributes, "rtcp-xr"))
                .flat_map(str::split_ascii_whitespace)
                .find(|format| matches!(*format, "rcvr-rtt=all" | "rcvr-rtt=sender"))
                .map(str::to_owned),
            codecs: codecs(media),
            extensions: values(attributes, "extmap").filter_map(extension).collect(),
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
    let recvonly = direction == "recvonly";
    let wanted = recvonly || direction == "sendrecv";
    wanted.then_some(Extension {
        id: id.parse().ok()?,
        recvonly,
        uri: uri.to_owned(),
    })
}

fn transport(attributes: &[Attribute], inherited: &Transport) -> Result<Transport, WhepError> {
    let mut transport = inherited.clone();
    if let Some(ufrag) = values(attributes, "ice-ufrag").next() {
        if !is_ice_string(ufrag, UFRAG_BYTES_MIN) {
            return Err(WhepError::malformed(
                "ice-ufrag is not 4 to 256 ICE characters.",
            ));
        }
        transport.ufrag = Some(ufrag.to_owned());
    }
    if let Some(pwd) = values(attributes, "ice-pwd").next() {
        if !is_ice_string(pwd, PWD_BYTES_MIN) {
            return Err(WhepError::malformed(
                "ice-pwd is not 22 to 256 ICE characters.",
            ));
        }
        transport.pwd = Some(pwd.to_owned());
    }
    if let Some(setup) = values(attributes, "setup").next() {
        transport.setup = Some(setup.to_owned());
    }
    if has(attributes, "fingerprint") {
        transport.fingerprints = values(attributes, "fingerprint")
            .map(str::to_owned)
            .collect();
    }
    Ok(transport)
}

fn check_mids(medias: &[OfferedMedia]) -> Result<(), WhepError> {
    for (position, media) in medias.iter().enumerate() {
        let taken = medias
            .iter()
            .take(position)
            .any(|other| other.mid == media.mid);
        if media.mid.is_some() && taken {
            return Err(WhepError::malformed("Two media have the same mid."));
        }
    }
    Ok(())
}

/// `Some` if a direction is given at this level.
fn receives(attributes: &[Attribute]) -> Option<bool> {
    attributes
        .iter()
        .find_map(|attribute| match attribute.attribute.as_str() {
            "recvonly" | "sendrecv" => Some(true),
            "sendonly" | "inactive" => Some(false),
            _ => None,
        })
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

fn values<'a>(attributes: &'a [Attribute], name: &str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name)
        .filter_map(|attribute| attribute.value.as_deref())
        .map(str::trim)
}
