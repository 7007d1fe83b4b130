//! Owns the text of the answer to a push: where to send, and in what.

use super::crypto;
use super::elements;
use super::offer::OfferedMedia;
use super::publish::PublishTrack;
use super::publish_answer::{answered_fmtp, encodings, redundancy};
use super::push::PushPlan;
use super::text::{self, line};
use link::command::TRACKS_MAX;
use std::net::SocketAddr;

/// Our side of it.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'a> {
    /// Where we receive; not empty.
    pub candidates: &'a [SocketAddr],
    /// Identifier of the description, below 2^63.
    pub session_number: u64,
}

impl PushPlan<'_> {
    /// The text of the answer. A section with a key is answered with one of ours, as RFC 4568
    /// section 5.1.2 wants it; nothing is sent with it.
    #[must_use]
    pub fn write(
        &self,
        receiver: &Receiver<'_>,
        keys: &[[u8; crypto::KEY_BYTES_MAX]; TRACKS_MAX],
    ) -> String {
        let mut out = String::with_capacity(1024);
        let number = receiver.session_number;
        line(&mut out, format_args!("v=0"));
        line(&mut out, format_args!("o=- {number} 1 IN IP4 127.0.0.1"));
        line(&mut out, format_args!("s=-"));
        line(&mut out, format_args!("t=0 0"));
        self.write_group(&mut out);
        for (section, media) in self.offer.medias.iter().enumerate() {
            let of_it = |track: &Option<PublishTrack<'_>>| {
                track.as_ref().is_some_and(|track| track.section == section)
            };
            match self.tracks.iter().position(of_it) {
                Some(track) => self.accept(&mut out, media, track, receiver, &keys[track]),
                None => text::reject(&mut out, media),
            }
        }
        out
    }

    /// One transport, if it was offered as one and is one.
    fn write_group(&self, out: &mut String) {
        let accepted = self.tracks.iter().flatten().map(|track| track.section);
        let mut accepted: Vec<usize> = accepted.collect();
        accepted.sort_unstable();
        let bundled = accepted.iter().all(|section| self.offer.bundles(*section));
        if !bundled || !self.has_one_sender() {
            return;
        }
        let media = |section: &usize| self.offer.medias.get(*section)?.mid.as_deref();
        let mids: Vec<&str> = accepted.iter().filter_map(media).collect();
        line(out, format_args!("a=group:BUNDLE {}", mids.join(" ")));
    }

    fn accept(
        &self,
        out: &mut String,
        media: &OfferedMedia,
        track: usize,
        receiver: &Receiver<'_>,
        key: &[u8; crypto::KEY_BYTES_MAX],
    ) {
        let (Some(found), Some(way)) = (&self.tracks[track], &self.ways[track]) else {
            return text::reject(out, media);
        };
        let (kind, proto) = (&media.kind, &media.proto);
        let to = nearest(receiver.candidates, way.from);
        let (ip, port) = (to.ip(), to.port());
        let red = found.red.map(|red| format!("{} ", red.payload_type));
        let (red, payload_type) = (red.unwrap_or_default(), found.codec.payload_type);
        line(
            out,
            format_args!("m={kind} {port} {proto} {red}{payload_type}"),
        );
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        line(out, format_args!("c=IN {family} {ip}"));
        if let Some(mid) = &media.mid {
            line(out, format_args!("a=mid:{mid}"));
        }
        line(out, format_args!("a=recvonly"));
        if media.rtcp_mux {
            line(out, format_args!("a=rtcp-mux"));
        }
        text::codec(out, found.codec, &answered_fmtp(found.codec), &[], None);
        redundancy(out, found);
        elements::write(out, &found.elements, "/recvonly");
        if let Some(crypto) = &way.crypto {
            let answer = crypto::answer(crypto, key);
            line(out, format_args!("a=crypto:{answer}"));
        }
        if kind == "video"
            && let Some(simulcast) = &self.simulcast
        {
            encodings(out, simulcast);
        }
    }
}

/// The address of ours that a sender reaches best: its own family, and on this host the loopback
/// one.
fn nearest(candidates: &[SocketAddr], from: SocketAddr) -> SocketAddr {
    let distance = |to: &&SocketAddr| {
        let is_near = to.ip().is_loopback() == from.ip().is_loopback();
        (to.is_ipv4() != from.is_ipv4(), !is_near)
    };
    // The first of equals, and so the order of the configuration.
    let best = candidates.iter().min_by_key(distance);
    best.copied()
        .unwrap_or_else(|| SocketAddr::new([0, 0, 0, 0].into(), 9))
}
