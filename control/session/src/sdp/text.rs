//! Owns what the answers to viewers and to publishers have in common: head, transport, refusals.

use super::codec::OfferedCodec;
use super::offer::{Offer, OfferedMedia};
use super::terms::Terms;
use std::fmt::{Arguments, Write as _};
use std::net::SocketAddr;

/// Our side of the one transport.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// Our username fragment.
    pub ufrag: &'a str,
    /// Our password.
    pub pwd: &'a str,
    /// SHA-256 of our certificate, `AA:BB:...`.
    pub fingerprint: &'a str,
    /// Where we can be reached; not empty.
    pub candidates: &'a [SocketAddr],
    /// Identifier of the description, below 2^63.
    pub session_number: u64,
    /// We are a full agent, which sends checks: the peer is a server that we call.
    pub is_full: bool,
}

/// The session level of an answer that takes the sections that `accepts` picks.
pub(super) fn head(
    out: &mut String,
    offer: &Offer,
    accepts: impl Fn(usize) -> bool,
    local: &Local<'_>,
) {
    let sections = offer.medias.iter().enumerate();
    let bundled = sections.filter(|(section, _)| accepts(*section) && offer.bundles(*section));
    let mids: Vec<_> = bundled.filter_map(|(_, m)| m.mid.as_deref()).collect();
    session(out, &mids, local);
}

/// The session level of a description with these sections in one group.
pub(super) fn session(out: &mut String, mids: &[&str], local: &Local<'_>) {
    let number = local.session_number;
    line(out, format_args!("v=0"));
    line(out, format_args!("o=- {number} 1 IN IP4 127.0.0.1"));
    line(out, format_args!("s=-"));
    line(out, format_args!("t=0 0"));
    if !mids.is_empty() {
        line(out, format_args!("a=group:BUNDLE {}", mids.join(" ")));
    }
    if !local.is_full {
        line(out, format_args!("a=ice-lite"));
    }
    line(out, format_args!("a=ice-options:trickle ice2"));
}

/// The first lines of a section that is taken, with these payload types and in this direction.
pub(super) fn accept(
    out: &mut String,
    media: &OfferedMedia,
    formats: &[u8],
    direction: &str,
    local: &Local<'_>,
) {
    begin(out, &media.kind, &media.proto, formats, local);
    if let Some(mid) = &media.mid {
        line(out, format_args!("a=mid:{mid}"));
    }
    line(out, format_args!("a={direction}"));
}

/// What a section that is used begins with.
pub(super) fn begin(out: &mut String, kind: &str, proto: &str, formats: &[u8], local: &Local<'_>) {
    let port = local.candidates.first().map_or(9, SocketAddr::port);
    let formats: Vec<String> = formats.iter().map(u8::to_string).collect();
    let formats = formats.join(" ");
    line(out, format_args!("m={kind} {port} {proto} {formats}"));
    address(out, local);
}

/// ICE and DTLS of a section of an answer.
pub(super) fn transport(out: &mut String, media: &OfferedMedia, terms: &Terms, local: &Local<'_>) {
    let setup = match terms.dtls_client {
        true => "active",
        false => "passive",
    };
    ice_and_dtls(out, media.rtcp_rsize, setup, local);
}

/// ICE and DTLS of a section, with our role in the handshake.
pub(super) fn ice_and_dtls(out: &mut String, rtcp_rsize: bool, setup: &str, local: &Local<'_>) {
    let (ufrag, pwd, fingerprint) = (local.ufrag, local.pwd, local.fingerprint);
    line(out, format_args!("a=ice-ufrag:{ufrag}"));
    line(out, format_args!("a=ice-pwd:{pwd}"));
    line(out, format_args!("a=fingerprint:sha-256 {fingerprint}"));
    line(out, format_args!("a=setup:{setup}"));
    line(out, format_args!("a=rtcp-mux"));
    if rtcp_rsize {
        line(out, format_args!("a=rtcp-rsize"));
    }
    for (position, candidate) in local.candidates.iter().enumerate() {
        let (ip, port) = (candidate.ip(), candidate.port());
        let (foundation, priority) = (position + 1, host_priority(position));
        line(
            out,
            format_args!("a=candidate:{foundation} 1 udp {priority} {ip} {port} typ host"),
        );
    }
    line(out, format_args!("a=end-of-candidates"));
}

/// A codec with its parameters and feedback, and the payload type of its retransmissions.
pub(super) fn codec(
    out: &mut String,
    codec: &OfferedCodec,
    fmtp: &str,
    feedback: &[(bool, &str)],
    rtx: Option<u8>,
) {
    let (payload_type, name, clock) = (codec.payload_type, &codec.name, codec.clock_hz);
    let channels = match codec.channels {
        0 | 1 => String::new(),
        channels => format!("/{channels}"),
    };
    line(
        out,
        format_args!("a=rtpmap:{payload_type} {name}/{clock}{channels}"),
    );
    if !fmtp.is_empty() {
        line(out, format_args!("a=fmtp:{payload_type} {fmtp}"));
    }
    for (_, name) in feedback.iter().filter(|(wanted, _)| *wanted) {
        line(out, format_args!("a=rtcp-fb:{payload_type} {name}"));
    }
    if let Some(rtx) = rtx {
        line(out, format_args!("a=rtpmap:{rtx} rtx/{clock}"));
        line(out, format_args!("a=fmtp:{rtx} apt={payload_type}"));
    }
}

/// A section that we do not want: port 0, and a `c=` line, without which Firefox refuses the whole
/// answer.
pub(super) fn reject(out: &mut String, media: &OfferedMedia) {
    line(
        out,
        format_args!("m={} 0 {} {}", media.kind, media.proto, media.formats),
    );
    line(out, format_args!("c=IN IP4 0.0.0.0"));
    if let Some(mid) = &media.mid {
        line(out, format_args!("a=mid:{mid}"));
    }
    line(out, format_args!("a=inactive"));
}

//= https://www.rfc-editor.org/rfc/rfc8445#section-5.1.2.1
//# priority = (2^24)*(type preference) +
//# (2^8)*(local preference) +
//# (2^0)*(256 - component ID)
pub(crate) fn host_priority(position: usize) -> u32 {
    const HOST: u32 = 126;
    let local = 65_535_u32.saturating_sub(u32::try_from(position).unwrap_or(u32::MAX));
    (HOST << 24) | (local << 8) | 255
}

fn address(out: &mut String, local: &Local<'_>) {
    match local.candidates.first() {
        Some(SocketAddr::V4(addr)) => line(out, format_args!("c=IN IP4 {}", addr.ip())),
        Some(SocketAddr::V6(addr)) => line(out, format_args!("c=IN IP6 {}", addr.ip())),
        None => line(out, format_args!("c=IN IP4 0.0.0.0")),
    }
}

pub(super) fn line(out: &mut String, text: Arguments<'_>) {
    out.write_fmt(text)
        .expect("a string takes whatever is written");
    out.push_str("\r\n");
}
