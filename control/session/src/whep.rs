//! Owns the POST of WHEP (draft-ietf-wish-whep-03): a session that watches.

use crate::description::VideoCodec;
use crate::refusal::SignalError;
use crate::sdp::answer::Sending;
use crate::sdp::elements::{Passed, ids};
use crate::sdp::layers::Offered;
use crate::sdp::offer::Offer;
use crate::sdp::plan::{Plan, plan};
use crate::sessions::Sessions;
use crate::signalling::{Created, Newcomer, section_of};
use crate::streams::Stream;
use link::command::{AUDIO, TRACKS_MAX, TrackOut, VIDEO};
use link::ids::StreamId;
use link::lanes::LAYERS;
use wire::rtp_ext::{Block, PlayoutDelay};
use wire::time::Time;

impl Sessions {
    /// Makes a session that watches `stream`. The viewer is told `playout_delay` as the bounds of
    /// its jitter buffer, where it offers the extension; `None` leaves them to the browser.
    ///
    /// # Errors
    /// 400, 413, 422: the offer; 404: no such stream; 406: no codec in common; 409: the stream has
    /// no media yet; 503: full. Nothing was made.
    pub fn whep_post(
        &mut self,
        now: Time,
        stream: &str,
        offer: &str,
        playout_delay: Option<PlayoutDelay>,
    ) -> Result<Created, SignalError> {
        let stream = self.watchable(stream)?;
        self.must_have_room()?;
        let refused = &mut self.counters.offer_refused;
        let offer = Offer::parse(offer).inspect_err(|_| *refused += 1)?;
        let plan = plan(&offer, &stream.description).inspect_err(|_| *refused += 1)?;
        let viewer = self.admit(now)?;
        let layered = self.is_layered(stream.id);
        let ssrcs = self.ssrcs();
        let passed = self.passed(stream.id);
        let tracks = self.tracks(&plan, ssrcs, playout_delay, (layered, passed));
        let newcomer = Newcomer {
            viewer,
            stream: stream.id,
            terms: plan.terms.clone(),
            section: section_of(&offer, plan.tracks.iter().flatten().map(|t| t.section)),
            video_section: plan.tracks[VIDEO].map(|track| track.section),
            tracks,
            publishing: None,
            agent: None,
        };
        let created = self.create(now, newcomer, |local, config| {
            plan.write(
                local,
                &Sending {
                    cname: &config.cname,
                    ssrcs: tracks.map(|track| [track.ssrc, track.rtx_ssrc]),
                    playout_delay: playout_delay.is_some(),
                    layered,
                    passed,
                    offered: &Offered::NONE,
                },
            )
        });
        self.count_viewer(stream.id);
        Ok(created)
    }

    /// Whether the publisher of a stream sends layers: several encodings, or one that has some. As
    /// long as that is not known, one whose codec has a place for them may: its description never
    /// says, and what a viewer negotiates cannot be changed later.
    pub(crate) fn is_layered(&self, stream: StreamId) -> bool {
        self.expected_lanes(stream).is_some_and(|lanes| {
            let is_there = |lane: &usize| lanes[*lane].clock_hz != 0;
            let has_many = LAYERS.iter().filter(|lane| is_there(lane)).count() > 1;
            has_many || self.may_have_layers(stream)
        })
    }

    fn may_have_layers(&self, stream: StreamId) -> bool {
        let Some(stream) = self.streams.by_id(stream) else {
            return false;
        };
        stream.has_layers.unwrap_or(matches!(
            stream.description.video,
            Some(VideoCodec::Vp9 { .. } | VideoCodec::Av1 { .. })
        ))
    }

    /// Says whether an encoding of this stream's video has layers, as it was measured.
    pub fn stream_has_layers(&mut self, stream: StreamId, has_layers: bool) {
        if let Some(stream) = self.streams.by_id_mut(stream) {
            stream.has_layers = Some(has_layers);
        }
    }

    /// What of the packets of a stream's publisher viewers may be passed beside the media.
    pub(crate) fn passed(&self, stream: StreamId) -> Passed {
        let lanes = self.expected_lanes(stream);
        lanes.map(Passed::of).unwrap_or_default()
    }

    /// The stream of this name, if there is something to watch.
    pub(crate) fn watchable(&self, name: &str) -> Result<Stream, SignalError> {
        let found = self.streams.by_name(name).copied();
        let stream = found.ok_or_else(|| unknown_stream(name))?;
        match stream.description.is_empty() {
            true => Err(no_media()),
            false => Ok(stream),
        }
    }

    pub(crate) fn count_viewer(&mut self, stream: StreamId) {
        if let Some(stream) = self.streams.by_id_mut(stream) {
            stream.viewers += 1;
        }
    }

    /// New sources by track: of the media and of its retransmissions.
    pub(crate) fn ssrcs(&mut self) -> [[u32; 2]; TRACKS_MAX] {
        let [video, video_rtx, audio, audio_rtx] = self.random.ssrcs();
        let mut ssrcs = [[0; 2]; TRACKS_MAX];
        ssrcs[VIDEO] = [video, video_rtx];
        ssrcs[AUDIO] = [audio, audio_rtx];
        ssrcs
    }

    /// What goes out by this plan, from these sources.
    pub(crate) fn tracks(
        &mut self,
        plan: &Plan<'_>,
        ssrcs: [[u32; 2]; TRACKS_MAX],
        playout_delay: Option<PlayoutDelay>,
        (layered, passed): (bool, Passed),
    ) -> [TrackOut; TRACKS_MAX] {
        let mut tracks = [TrackOut::default(); TRACKS_MAX];
        for (index, [ssrc, rtx_ssrc]) in ssrcs.into_iter().enumerate() {
            let hears = plan.hears(index, layered);
            let Some(plan) = plan.tracks[index] else {
                continue;
            };
            let mut track = TrackOut {
                hears,
                ssrc,
                rtx_ssrc: if plan.rtx.is_some() { rtx_ssrc } else { 0 },
                clock_hz: plan.codec.clock_hz,
                payload_type: plan.codec.payload_type,
                rtx_payload_type: plan.rtx.unwrap_or(0),
                first_index: self.random.first_index(),
                rtx_first_index: self.random.first_index(),
                timestamp_offset: self.random.timestamp_offset(),
                elements: ids(&passed.filter(index, &plan.elements)),
                red_payload_type: match plan.red {
                    Some(red) if passed.red => red.payload_type,
                    _ => 0,
                },
                ..TrackOut::default()
            };
            let mut block = Block::new();
            if let Some((delay, (id, _))) = playout_delay.zip(plan.playout_delay) {
                block.push(id, &delay.to_bytes());
            }
            if let Some((id, _)) = plan.transport_cc.filter(|_| layered) {
                let at = block.push(id, &[0; 2]).unwrap_or(0);
                track.transport_cc_at = u8::try_from(at).unwrap_or(0);
            }
            set_extension(&mut track, &block);
            tracks[index] = track;
        }
        tracks
    }
}

pub(crate) fn set_extension(track: &mut TrackOut, block: &Block) {
    let bytes = block.as_bytes();
    if let (Some(place), Ok(len)) = (track.ext.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
        place.copy_from_slice(bytes);
        track.ext_bytes = len;
    }
}

fn unknown_stream(name: &str) -> SignalError {
    let name: String = name.chars().filter(|c| !c.is_control()).take(256).collect();
    SignalError::new(
        404,
        "stream-unknown",
        format!("There is no stream {name:?}."),
        "Check the name, or wait until it is published.",
    )
}

fn no_media() -> SignalError {
    SignalError::new(
        409,
        "stream-without-media",
        "The stream is being published, but its codecs are not known yet.",
        "Try again in a second.",
    )
    .retry_after(1)
}
