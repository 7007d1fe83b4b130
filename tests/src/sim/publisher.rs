//! Owns a publisher by WHIP: an encoder, its packets, what it sends again, and its coming back.

use std::collections::VecDeque;

use wire::demux::Class;
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::Message;
use wire::rtp::Header;
use wire::rtp_ext::Block;
use wire::time::{Span, Time};

use super::client::Client;
use super::plan::StreamPlan;
use super::sidecar::Sidecar;
use super::source::{Encoder, LAYERS_MAX, NAMES, Shot};
use super::stage::Stage;
use super::streams::{REPAIRED_RID_ID, RID_ID};

/// After a refusal or without an answer by HTTP, the next try.
const AGAIN: Span = Span::millis(300);

/// A handshake that takes longer is begun anew.
const HANDSHAKE: Span = Span::millis(4000);

/// Without a sign of the server for so long, the session is begun anew: two checks and a bit.
const SILENCE: Span = Span::millis(6000);

/// What the clocks of encodings are ahead.
const CLOCKS: [u32; LAYERS_MAX] = [0, 0xffff_f000, 0x8000_0000];

/// Packets that can be sent again.
const KEPT_MAX: usize = 512;

/// Sources of a publisher: the video and the sound, what is sent again of the video, and the same
/// of each further encoding.
const SOURCES: usize = 2 * LAYERS_MAX + 1;
const AUDIO_SOURCE: usize = 1;
const VIDEO_SOURCES: [usize; LAYERS_MAX] = [0, 3, 5];
const RTX_SOURCES: [usize; LAYERS_MAX] = [2, 4, 6];

/// Packets in which encodings are named after the server was heard: a second of them.
const NAMED: u32 = 250;

/// By the offer.
const VIDEO_TYPE: u8 = 102;
const RTX_TYPE: u8 = 103;
const AUDIO_TYPE: u8 = 111;

/// A publisher.
pub struct Publisher {
    stream: usize,
    encodings: usize,
    /// What it sends.
    pub encoder: Encoder,
    state: State,
    takes_over_at: Option<Time>,
}

enum State {
    Away(Time),
    Here(Box<Here>),
    Gone,
}

struct Here {
    id: String,
    client: Client,
    came: Time,
    heard_at: Time,
    /// See [`SOURCES`].
    ssrcs: [u32; SOURCES],
    indexes: [u64; SOURCES],
    kept: VecDeque<(usize, u16, Header, Vec<u8>)>,
    /// It has several encodings, which it names in so many packets more.
    named: Option<u32>,
    /// The server was heard to speak of media.
    is_known: bool,
}

impl Publisher {
    /// One that comes when its plan says so, from `now` on.
    #[must_use]
    pub fn new(stream: usize, plan: &StreamPlan, now: Time, seed: u64) -> Self {
        let number = u8::try_from(stream).unwrap_or(u8::MAX);
        Self {
            stream,
            encodings: plan.encodings,
            encoder: Encoder::new(number, plan, now, seed),
            state: State::Away(now + plan.comes),
            takes_over_at: plan.takes_over.map(|after| now + plan.comes + after),
        }
    }

    /// Does what is due. `desk`: whom its requests reach.
    pub fn turn(&mut self, stage: &mut Stage, desk: Option<&mut Sidecar>) {
        let now = stage.now;
        if stage.is_stormy && self.takes_over_at.is_some_and(|at| at <= now) {
            self.takes_over_at = None;
            self.state = State::Away(now);
        }
        match &mut self.state {
            State::Away(until) if *until <= now => self.come(stage, desk),
            State::Away(_) | State::Gone => {}
            State::Here(here) => {
                here.hear(stage, &mut self.encoder);
                if here.client.is_connected() {
                    loop {
                        let shots = self.encoder.turn(now);
                        if shots.is_empty() {
                            break;
                        }
                        shots.iter().for_each(|shot| here.send(now, shot));
                    }
                } else {
                    self.encoder.skip(now);
                }
                self.look(stage, desk);
            }
        }
    }

    /// Ends its session and does not come again.
    pub fn leave(&mut self, stage: &Stage, desk: Option<&mut Sidecar>) {
        if let (State::Here(here), Some(desk)) = (&self.state, desk) {
            desk.delete(stage.now, &here.id);
        }
        self.state = State::Gone;
    }

    /// The session that it believes to be in, if it has keys.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        match &self.state {
            State::Here(here) if here.client.is_connected() => Some(&here.id),
            _ => None,
        }
    }

    fn come(&mut self, stage: &mut Stage, desk: Option<&mut Sidecar>) {
        let (now, stream) = (stage.now, self.stream);
        self.state = State::Away(now + AGAIN);
        self.encoder.skip(now);
        let Some(desk) = desk else { return };
        let (id, answer) = match desk.whip_post(now, stream) {
            Ok(posted) => posted,
            Err(status) => {
                return stage
                    .journal
                    .note(format_args!("publisher {stream}: {status}"));
            }
        };
        let client = stage.client(answer);
        let at = client.address();
        stage
            .journal
            .note(format_args!("publisher {stream} has posted, from {at}"));
        let random = &mut stage.random;
        let ssrcs = [0; SOURCES].map(|_: u32| u32::try_from(random.next_u64() >> 32).unwrap_or(1));
        // Soon wraps, as 16-bit numbers do after a minute or two.
        let first = [0xff00, 7, 0xfff0, 0xff00, 0xfff0, 9, 0x8000];
        let indexes = first.map(|first| first + random.next_u64() % 0x100);
        let named = (self.encodings > 1).then_some(NAMED);
        self.state = State::Here(Box::new(Here {
            id,
            client,
            came: now,
            heard_at: now,
            ssrcs,
            indexes,
            kept: VecDeque::new(),
            named,
            is_known: false,
        }));
    }

    fn look(&mut self, stage: &mut Stage, desk: Option<&mut Sidecar>) {
        let (now, stream) = (stage.now, self.stream);
        let State::Here(here) = &mut self.state else {
            return;
        };
        let is_slow = !here.client.is_connected() && now.since(here.came) >= HANDSHAKE;
        let is_silent = now.since(here.heard_at) >= SILENCE;
        if !(here.client.is_over() || is_slow || is_silent) {
            return;
        }
        stage
            .journal
            .note(format_args!("publisher {stream} begins anew"));
        if let Some(desk) = desk {
            desk.delete(now, &here.id);
        }
        self.state = State::Away(now + AGAIN);
    }
}

impl Here {
    /// Takes what the server says of what it got.
    fn hear(&mut self, stage: &mut Stage, encoder: &mut Encoder) {
        let now = stage.now;
        let arrived = self.client.turn(now);
        self.heard_at = self.client.answered_at.unwrap_or(self.came).max(self.came);
        if arrived.is_connected {
            let at = self.client.address();
            stage.journal.note(format_args!("{at} has keys to publish"));
        }
        for (class, mut datagram) in arrived.media {
            let Some(opener) = self.client.opener() else {
                continue;
            };
            if class == Class::Rtp && opener.rtp(&mut datagram).is_ok() {
                stage
                    .journal
                    .fault(format_args!("a publisher was sent media"));
            }
            let Ok(plain) = opener.rtcp(&mut datagram) else {
                continue;
            };
            stage.reports += 1;
            self.is_known = true;
            let mut lost = Vec::new();
            for item in compound(plain) {
                let Item::Feedback(feedback) = item else {
                    continue;
                };
                match feedback.message {
                    Message::Nack(nack) => {
                        let ssrc = feedback.media_ssrc;
                        lost.extend(nack.lost().map(|sequence| (ssrc, sequence)));
                    }
                    Message::Pli => {
                        if let Some(layer) = self.layer_of(feedback.media_ssrc) {
                            encoder.force_key_of(layer);
                        }
                    }
                    Message::Fir(entries) => {
                        let layers = entries
                            .entries()
                            .filter_map(|entry| self.layer_of(entry.ssrc));
                        layers.for_each(|layer| encoder.force_key_of(layer));
                    }
                    _ => {}
                }
            }
            lost.iter()
                .for_each(|(ssrc, sequence)| self.send_again(now, *ssrc, *sequence));
        }
    }

    fn send(&mut self, now: Time, shot: &Shot) {
        let place = &shot.place;
        let is_video = place.track == 0;
        let header = Header {
            marker: is_video && place.is_last,
            payload_type: if is_video { VIDEO_TYPE } else { AUDIO_TYPE },
            timestamp: shot.timestamp,
            ..Header::default()
        };
        let layer = usize::from(place.layer);
        if !is_video {
            self.seal(now, AUDIO_SOURCE, header, &[], &shot.payload);
            return;
        }
        let mut names = Block::new();
        if let Some(left) = self.named.as_mut().filter(|left| **left > 0) {
            *left -= u32::from(self.is_known);
            names.push(RID_ID, NAMES[layer].as_bytes());
        }
        // Of each encoding on a clock of its own.
        let header = Header {
            timestamp: header.timestamp.wrapping_add(CLOCKS[layer]),
            ..header
        };
        let source = VIDEO_SOURCES[layer];
        let sequence = self.seal(now, source, header, names.as_bytes(), &shot.payload);
        self.kept
            .push_back((layer, sequence, header, shot.payload.clone()));
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }

    /// The encoding that goes by this source.
    fn layer_of(&self, ssrc: u32) -> Option<usize> {
        (0..LAYERS_MAX).find(|layer| self.ssrcs[VIDEO_SOURCES[*layer]] == ssrc)
    }

    fn send_again(&mut self, now: Time, ssrc: u32, sequence: u16) {
        let Some(layer) = self.layer_of(ssrc) else {
            return;
        };
        let is_it = |one: &&(usize, u16, _, _)| (one.0, one.1) == (layer, sequence);
        let Some((_, _, header, payload)) = self.kept.iter().find(is_it) else {
            return;
        };
        let mut names = Block::new();
        if self.named.is_some() {
            names.push(REPAIRED_RID_ID, NAMES[layer].as_bytes());
        }
        let header = Header {
            payload_type: RTX_TYPE,
            ..*header
        };
        let payload = [&sequence.to_be_bytes()[..], payload].concat();
        self.seal(now, RTX_SOURCES[layer], header, names.as_bytes(), &payload);
    }

    /// Seals a packet of a source and sends it; gives its sequence number.
    fn seal(
        &mut self,
        now: Time,
        source: usize,
        header: Header,
        names: &[u8],
        payload: &[u8],
    ) -> u16 {
        let index = self.indexes[source];
        self.indexes[source] += 1;
        let sequence = u16::try_from(index & 0xffff).unwrap_or(0);
        let header = Header {
            sequence,
            ssrc: self.ssrcs[source],
            ..header
        };
        let mut plain = [0; 64];
        let used = header.write(names, &mut plain);
        let mut out = vec![0; payload.len() + 64];
        let sealed = self
            .client
            .sealer()
            .and_then(|sealer| sealer.rtp(index, &plain[..used], payload, &mut out));
        if let Some(bytes) = sealed {
            self.client.send(now, &out[..bytes]);
        }
        sequence
    }
}
