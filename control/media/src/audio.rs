//! Owns the audio track: AAC transcoded or Opus passed through, in Opus packets with their times.

use crate::aac::{AacConfig, AacFrame, AacFraming, FRAME_SAMPLES, Unsupported};
use crate::clock;
use crate::context::Context;
use crate::notice::Notice;
use crate::num::{signed_len, wrap32};
use crate::opus_ts;
use crate::output::{Audio, AudioSource, Mark, Track};
use crate::pes::Pes;
use crate::psi::Kind;
use crate::sbr::SbrWatch;
use crate::transcode::Transcoder;

/// Audio of more than this in one PES packet makes lip sync cost as much: told to the publisher.
const BUNCH_MILLIS_MAX: i64 = 100;

/// A stamp of Opus nearer than this to where the last packet ended does not break the count.
const JITTER_SAMPLES: i64 = clock::SAMPLES_HZ / 100;

/// Most bytes of an Opus packet (RFC 6716 section 3.2.1, code 0).
const OPUS_BYTES_MAX: usize = 1275;

/// The audio track of one ingest.
#[derive(Debug)]
pub(crate) struct AudioTrack {
    kind: Kind,
    form: Form,
    description: Option<Audio>,
    next_frame: u32,
    last_mark: Option<Mark>,
}

#[derive(Debug)]
enum Form {
    Aac {
        framing: AacFraming,
        transcoder: Option<Box<Transcoder>>,
        sbr: SbrWatch,
    },
    Opus {
        next: Option<i64>,
    },
}

impl AudioTrack {
    pub(crate) fn new(kind: Kind, next_frame: u32) -> Self {
        let form = match kind {
            Kind::Opus { .. } => Form::Opus { next: None },
            _ => Form::Aac {
                framing: AacFraming::new(kind),
                transcoder: None,
                sbr: SbrWatch::default(),
            },
        };
        Self {
            kind,
            form,
            description: None,
            next_frame,
            last_mark: None,
        }
    }

    /// What the program says that this is.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the track stands, once something was sent.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.last_mark
    }

    /// What is known once the first frame came.
    pub(crate) const fn describe(&self) -> Option<Audio> {
        self.description
    }

    /// Takes a whole PES packet.
    pub(crate) fn on_pes(&mut self, pes: Pes<'_>, context: &mut Context<'_>) {
        let at = pes
            .pts
            .map(|pts| clock::ticks_to_samples(context.place(Track::Audio, pts).ticks));
        let mut form = core::mem::replace(&mut self.form, Form::Opus { next: None });
        match &mut form {
            Form::Aac {
                framing,
                transcoder,
                sbr,
            } => {
                if !pes.holes.is_empty() {
                    framing.restart();
                }
                let mut frames = 0;
                framing.push(pes.data, |timed, frame| {
                    frames += 1;
                    let at = at.filter(|_| timed);
                    self.on_aac(frame, at, transcoder, sbr, context);
                });
                self.on_bunch(frames, context);
            }
            Form::Opus { next } => self.on_opus(pes.data, at, next, context),
        }
        self.form = form;
    }

    fn on_aac(
        &mut self,
        frame: Result<AacFrame, Unsupported>,
        at: Option<i64>,
        transcoder: &mut Option<Box<Transcoder>>,
        sbr: &mut SbrWatch,
        context: &mut Context<'_>,
    ) {
        let frame = match frame {
            Ok(frame) => frame,
            Err(Unsupported::Form(what)) => return context.tell(Notice::AudioUndecodable { what }),
            Err(Unsupported::Channels(channels)) => {
                return context.tell(Notice::AudioChannels { channels });
            }
        };
        if transcoder
            .as_ref()
            .is_none_or(|transcoder| transcoder.config() != frame.config)
        {
            // Without a stamp there is no place to begin at.
            if at.is_none() {
                return;
            }
            match Transcoder::new(frame.config, context.config.opus_bitrate) {
                Ok(made) => *transcoder = Some(Box::new(made)),
                Err(what) => return context.tell(Notice::AudioUndecodable { what }),
            }
        }
        let he_aac = sbr.on_frame(&frame) || frame.config.sbr;
        self.describe_aac(frame.config, he_aac, context);
        let Some(transcoder) = transcoder else {
            return;
        };
        if !transcoder.push(at, &frame.payload) {
            context.counters.audio_errors += 1;
        }
        let mut packet = [0; OPUS_BYTES_MAX];
        let budget = context.config.payload_max.min(OPUS_BYTES_MAX);
        while let Some((at, bytes)) = transcoder.poll(&mut packet[..budget]) {
            self.send(at, &packet[..bytes], context);
        }
    }

    fn describe_aac(&mut self, config: AacConfig, he_aac: bool, context: &mut Context<'_>) {
        let description = Audio {
            source: if he_aac {
                AudioSource::HeAac
            } else {
                AudioSource::Aac
            },
            source_rate: config.rate,
            source_channels: config.channels,
            channels: 2,
        };
        if he_aac {
            context.tell(Notice::HeAac);
        }
        self.describe_as(description, context);
    }

    fn describe_as(&mut self, description: Audio, context: &mut Context<'_>) {
        if self.description != Some(description) {
            self.description = Some(description);
            *context.dirty = true;
        }
    }

    /// Tells if so much audio comes at once that lip sync makes viewers wait.
    fn on_bunch(&self, frames: usize, context: &mut Context<'_>) {
        let rate = self
            .description
            .map_or(48_000, |audio| i64::from(audio.source_rate));
        let millis = signed_len(frames * FRAME_SAMPLES) * 1000 / rate;
        if millis > BUNCH_MILLIS_MAX {
            context.tell(Notice::AudioBunched {
                millis: wrap32(millis),
            });
        }
    }

    fn on_opus(
        &mut self,
        bytes: &[u8],
        at: Option<i64>,
        next: &mut Option<i64>,
        context: &mut Context<'_>,
    ) {
        match self.kind {
            Kind::Opus {
                channels: Some(1 | 2) | None,
            } => {}
            Kind::Opus {
                channels: Some(channels @ 3..=8),
            } => {
                return context.tell(Notice::AudioChannels { channels });
            }
            _ => {
                let what = "a channel configuration of Opus that is neither mono nor stereo";
                return context.tell(Notice::AudioUndecodable { what });
            }
        }
        let mut place = match (at, *next) {
            (Some(at), Some(next)) if (at - next).abs() <= JITTER_SAMPLES => next,
            (Some(at), _) => at,
            (None, Some(next)) => next,
            (None, None) => return,
        };
        let begin = place;
        for (packet, samples) in opus_ts::packets(bytes) {
            let channels = match self.kind {
                Kind::Opus {
                    channels: Some(code),
                } => code,
                _ => 1 + u8::from(opus_ts::is_stereo(packet)),
            };
            let description = Audio {
                source: AudioSource::Opus,
                source_rate: 48_000,
                source_channels: channels,
                channels,
            };
            if self.description.is_none() || self.kind != (Kind::Opus { channels: None }) {
                self.describe_as(description, context);
            }
            if packet.len() <= context.config.payload_max {
                self.send(place, packet, context);
            } else {
                context.counters.audio_errors += 1;
            }
            place += samples;
        }
        *next = Some(place);
        let millis = (place - begin) / 48;
        if millis > BUNCH_MILLIS_MAX {
            context.tell(Notice::AudioBunched {
                millis: wrap32(millis),
            });
        }
    }

    fn send(&mut self, at: i64, packet: &[u8], context: &mut Context<'_>) {
        let mut frame = context.outbox.take(Track::Audio);
        frame.push(&[packet]);
        frame.timestamp = clock::rtp_timestamp(context.bases[Track::Audio.index()], at);
        frame.capture = context.timeline.capture(clock::samples_to_ticks(at));
        frame.counter = self.next_frame;
        frame.key = true;
        self.next_frame = self.next_frame.wrapping_add(1);
        self.last_mark = Some(Mark {
            timestamp: frame.timestamp,
            capture: frame.capture,
            next_frame: self.next_frame,
        });
        context.counters.audio_frames += 1;
        if !context.outbox.push_audio(frame) {
            context.tell(Notice::Overflowed);
        }
    }
}
