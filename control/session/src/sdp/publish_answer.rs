//! Owns the text of the answer to a publisher.

use super::codec::{OfferedCodec, join};
use super::elements;
use super::offer::OfferedMedia;
use super::publish::{PublishPlan, PublishTrack, Simulcast, TRANSPORT_CC_URI};
use super::text::{self, Local, line};

impl PublishPlan<'_> {
    /// The text of the answer. Several encodings are answered by their names; one alone is not, so
    /// that it is sent as if there were no layers (RFC 8853 section 5.3.2, RFC 9429 section 5.11).
    #[must_use]
    pub fn write(&self, local: &Local<'_>) -> String {
        let mut out = String::with_capacity(2048);
        let accepts = |section| self.track_of(section).is_some();
        text::head(&mut out, self.offer, accepts, local);
        for (section, media) in self.offer.medias.iter().enumerate() {
            match self.track_of(section) {
                Some(track) => self.accept(&mut out, media, track, local),
                None => text::reject(&mut out, media),
            }
        }
        out
    }

    fn track_of(&self, section: usize) -> Option<&PublishTrack<'_>> {
        self.tracks
            .iter()
            .flatten()
            .find(|track| track.section == section)
    }

    fn accept(
        &self,
        out: &mut String,
        media: &OfferedMedia,
        track: &PublishTrack<'_>,
        local: &Local<'_>,
    ) {
        let red = track.red.map(|red| red.payload_type);
        let formats: Vec<u8> = [red, Some(track.codec.payload_type), track.rtx]
            .into_iter()
            .flatten()
            .collect();
        text::accept(out, media, &formats, "recvonly", local);
        text::transport(out, media, &self.terms, local);
        let feedback = [
            (track.feedback.nack, "nack"),
            (track.feedback.pli, "nack pli"),
            (track.feedback.fir, "ccm fir"),
            (track.feedback.transport_cc, "transport-cc"),
            (track.feedback.remb, "goog-remb"),
        ];
        let fmtp = answered_fmtp(track.codec);
        text::codec(out, track.codec, &fmtp, &feedback, track.rtx);
        redundancy(out, track);
        if let Some(value) = &media.rcvr_rtt {
            line(out, format_args!("a=rtcp-xr:{value}"));
        }
        if let (true, Some(id)) = (track.feedback.transport_cc, self.transport_cc) {
            let direction = match track.extension_sendonly {
                true => "/recvonly",
                false => "",
            };
            line(
                out,
                format_args!("a=extmap:{id}{direction} {TRANSPORT_CC_URI}"),
            );
        }
        elements::write(out, &track.elements, "/recvonly");
        if media.kind == "video"
            && let Some(simulcast) = &self.simulcast
        {
            encodings(out, simulcast);
        }
    }
}

/// The codec with redundancy, as it was offered.
pub(super) fn redundancy(out: &mut String, track: &PublishTrack<'_>) {
    if let Some(red) = track.red {
        text::codec(out, red, red.fmtp.as_deref().unwrap_or_default(), &[], None);
    }
}

//= https://www.rfc-editor.org/rfc/rfc8853#section-5.3.2
//# An answerer MUST reverse the direction
pub(super) fn encodings(out: &mut String, simulcast: &Simulcast<'_>) {
    for (id, uri) in &simulcast.extensions {
        line(out, format_args!("a=extmap:{id} {uri}"));
    }
    for (name, _) in &simulcast.rids {
        line(out, format_args!("a=rid:{name} recv"));
    }
    let names: Vec<_> = simulcast.rids.iter().map(|(name, _)| *name).collect();
    line(out, format_args!("a=simulcast:recv {}", names.join(";")));
}

/// The offered parameters come back as they are, but for what the offerer says of its own decoder
/// and an encoder would take as ours: largest picture and frame rate of VP8 and VP9. Opus may have
/// both channels if the offer speaks of them, and repairs its own losses (RFC 7587 section 6.1).
pub(super) fn answered_fmtp(codec: &OfferedCodec) -> String {
    let is = |name: &str| codec.name.eq_ignore_ascii_case(name);
    let opus = is("opus");
    let ours = |key: &str| match key {
        "stereo" | "sprop-stereo" | "useinbandfec" => opus,
        "max-fs" | "max-fr" => is("VP8") || is("VP9"),
        _ => false,
    };
    let stereo = ["stereo", "sprop-stereo"]
        .iter()
        .any(|key| codec.parameter(key) == Some("1"));
    let kept = codec.parameters().filter(|(key, _)| !ours(key));
    let fec = [("useinbandfec", "1")].into_iter().filter(|_| opus);
    let both = [("stereo", "1"), ("sprop-stereo", "1")];
    let both = both.into_iter().filter(|_| opus && stereo);
    join(kept.chain(fec).chain(both))
}
