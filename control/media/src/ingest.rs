//! Owns one publisher's stream: from bytes to outputs.

use crate::audio::AudioTrack;
use crate::clock::{SAMPLES_HZ, TICKS_HZ, Timeline};
use crate::context::Context;
use crate::demux::{Demux, Program, Sink};
use crate::notice::{Notice, stream_name};
use crate::num::{len32, signed, wrap32};
use crate::outbox::{Event, Outbox};
use crate::output::{
    Config, Continuation, Counters, Description, Output, PAYLOAD_MAX_LEAST, Track, VideoCodec,
};
use crate::pes::Pes;
use crate::psi::Kind;
use crate::video::VideoTrack;
use wire::time::{Span, Time};

/// Most bytes of an RTP payload, whatever the settings say: a slot of the stream log.
const PAYLOAD_MAX_MOST: usize = 1344;

/// A publisher that sends nothing that can be carried is told after this time.
const MEDIA_WAIT: Span = Span::secs(5);

/// A track that the program announces and that shows nothing for this long is not waited for.
const TRACK_WAIT: Span = Span::secs(2);

/// RTP clocks run on by at least this between two publishers: a track's first packets may have
/// been captured before the moment that the timeline begins at, and must not go back.
const RESUME_MS_LEAST: i64 = 1000;

/// Turns one publisher's MPEG-TS into RTP payloads.
///
/// Give it bytes with [`Self::push`], call [`Self::handle_timeout`] when [`Self::deadline`] has
/// come, and after each of both call [`Self::poll`] until it gives nothing.
///
/// ```
/// use freshet_media::{Config, Ingest, Output};
/// use wire::time::Time;
///
/// let mut ingest = Ingest::new(Config::default(), None);
/// ingest.push(Time(0), &[0x47; 188]);
/// while let Some(output) = ingest.poll() {
///     match output {
///         Output::Tracks(tracks) => println!("offer {tracks:?} to viewers"),
///         Output::Packet(packet) => println!("append {} to the log", packet.payload.len()),
///         Output::Notice(notice) => println!("{}: {notice}", notice.code()),
///         Output::Refused(notice) => println!("drop the publisher: {notice}"),
///     }
/// }
/// ```
pub struct Ingest {
    demux: Demux,
    core: Core,
}

/// Everything behind the demultiplexer.
struct Core {
    config: Config,
    continuation: Continuation,
    timeline: Timeline,
    outbox: Outbox,
    counters: Counters,
    bases: Option<[u32; 2]>,
    video: Option<VideoTrack>,
    audio: Option<AudioTrack>,
    described: Description,
    dirty: bool,
    /// When the first bytes came.
    began: Option<Time>,
    /// When the program was first known.
    program_at: Option<Time>,
    /// Nothing came that can be carried, and the publisher was told.
    told_no_media: bool,
    refused: bool,
    now: Time,
}

impl Ingest {
    /// A new publisher; `continuation`: where the stream's last one stopped.
    #[must_use]
    pub fn new(config: Config, continuation: Option<Continuation>) -> Self {
        let payload_max = config
            .payload_max
            .clamp(PAYLOAD_MAX_LEAST, PAYLOAD_MAX_MOST);
        let core = Core {
            config: Config {
                payload_max,
                ..config
            },
            continuation: continuation.unwrap_or_default(),
            timeline: Timeline::default(),
            outbox: Outbox::default(),
            counters: Counters::default(),
            bases: None,
            video: None,
            audio: None,
            described: Description::default(),
            dirty: false,
            began: None,
            program_at: None,
            told_no_media: false,
            refused: false,
            now: Time::ZERO,
        };
        Self {
            demux: Demux::default(),
            core,
        }
    }

    /// Takes bytes in any chunking: what arrived by `now`.
    pub fn push(&mut self, now: Time, bytes: &[u8]) {
        if self.core.refused {
            return;
        }
        self.core.at(now);
        self.core.began.get_or_insert(now);
        self.demux.push(self.core.now, bytes, &mut self.core);
        self.core.describe();
    }

    /// Does what is due: releases paced packets, ends frames that nothing more comes for.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.core.refused {
            return;
        }
        self.core.at(now);
        self.demux.handle_timeout(self.core.now, &mut self.core);
        self.core.wait_for_media();
        self.core.describe();
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.core.refused {
            return None;
        }
        let due = self.core.outbox.due();
        let tracks = self.core.tracks_deadline();
        [due, tracks, self.demux.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next output that is due.
    pub fn poll(&mut self) -> Option<Output<'_>> {
        self.core.outbox.poll(self.core.now)
    }

    /// The publisher has gone: hands out what is unfinished, unpaced, and says where it stopped.
    /// Call [`Self::poll`] until it gives nothing, then drop it.
    pub fn finish(&mut self, now: Time) -> Continuation {
        self.core.at(now);
        if !self.core.refused {
            self.demux.finish(self.core.now, &mut self.core);
            self.core.describe();
        }
        self.core.outbox.hurry();
        let before = self.core.continuation.tracks;
        let video = self.core.video.as_ref().and_then(VideoTrack::mark);
        let audio = self.core.audio.as_ref().and_then(AudioTrack::mark);
        Continuation {
            tracks: [video.or(before[0]), audio.or(before[1])],
        }
    }

    /// Everything counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let seen = self.demux.seen();
        Counters {
            ts_packets: seen.packets,
            ts_broken: seen.broken,
            ts_losses: seen.losses,
            ts_resyncs: seen.resyncs,
            pes_given_up: seen.given_up,
            overflowed_frames: self.core.outbox.overflowed,
            ..self.core.counters
        }
    }
}

impl Core {
    /// Time never runs back here, whatever the caller says.
    fn at(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// RTP timestamps of timeline zero, which is now: the clocks of the publisher before run on.
    fn bases(&mut self) -> [u32; 2] {
        let (now, config, before) = (self.now, &self.config, &self.continuation);
        *self.bases.get_or_insert_with(|| {
            [(Track::Video, TICKS_HZ), (Track::Audio, SAMPLES_HZ)].map(|(track, clock_hz)| {
                let Some(mark) = before.tracks[track.index()] else {
                    return config.first_timestamps[track.index()];
                };
                let passed_ms = signed(now.since(mark.capture).as_millis()).max(RESUME_MS_LEAST);
                mark.timestamp
                    .wrapping_add(wrap32(passed_ms * (clock_hz / 1000)))
            })
        })
    }

    fn context(&mut self, bases: [u32; 2]) -> Parts<'_> {
        Parts {
            video: &mut self.video,
            audio: &mut self.audio,
            context: Context {
                now: self.now,
                config: &self.config,
                timeline: &mut self.timeline,
                outbox: &mut self.outbox,
                counters: &mut self.counters,
                bases,
                dirty: &mut self.dirty,
            },
            refused: &mut self.refused,
        }
    }

    /// Counter that a track's next frame gets.
    fn next_frame(&self, track: Track) -> u32 {
        let mark = match track {
            Track::Video => self.video.as_ref().and_then(VideoTrack::mark),
            Track::Audio => self.audio.as_ref().and_then(AudioTrack::mark),
        };
        mark.or(self.continuation.tracks[track.index()])
            .map_or(0, |mark| mark.next_frame)
    }

    /// Says what the tracks are, if that has changed.
    fn describe(&mut self) {
        let late = self
            .program_at
            .is_some_and(|at| self.now.since(at) >= TRACK_WAIT);
        if !self.dirty && (self.described.complete || !late) || self.refused {
            return;
        }
        self.dirty = false;
        let video = self.video.as_ref().and_then(VideoTrack::describe);
        let audio = self.audio.as_ref().and_then(AudioTrack::describe);
        let waits_video = self.video.is_some() && video.is_none();
        let waits_audio = self.audio.is_some() && audio.is_none();
        // Video is worth waiting for: without it nothing but sound would come.
        let complete = !waits_video && (!waits_audio || late);
        let complete = complete && (video.is_some() || audio.is_some());
        let description = Description {
            video,
            audio,
            complete,
        };
        if description != self.described
            && (description.video.is_some() || description.audio.is_some())
        {
            self.described = description.clone();
            self.outbox.push_event(Event::Tracks(description));
        }
    }

    /// When the wait for media or for the second track ends.
    fn tracks_deadline(&self) -> Option<Time> {
        let nothing = self.described.video.is_none() && self.described.audio.is_none();
        let media = self
            .began
            .filter(|_| nothing && !self.told_no_media)
            .map(|at| at + MEDIA_WAIT);
        let track = self.program_at.map(|at| at + TRACK_WAIT);
        let track = track.filter(|at| !self.described.complete && *at > self.now);
        media.into_iter().chain(track).min()
    }

    fn wait_for_media(&mut self) {
        let nothing = self.described.video.is_none() && self.described.audio.is_none();
        let waited = self.began.map_or(Span::ZERO, |began| self.now.since(began));
        if nothing && waited >= MEDIA_WAIT && !self.told_no_media {
            self.told_no_media = true;
            let seconds = u32::try_from(waited.as_millis() / 1000).unwrap_or(u32::MAX);
            self.outbox.tell(self.now, Notice::NoMedia { seconds });
        }
    }
}

/// The tracks and what they need, borrowed apart.
struct Parts<'a> {
    video: &'a mut Option<VideoTrack>,
    audio: &'a mut Option<AudioTrack>,
    context: Context<'a>,
    refused: &'a mut bool,
}

impl Sink for Core {
    fn on_program(&mut self, now: Time, program: &Program<'_>) {
        self.program_at = Some(now);
        self.dirty = true;
        let video = program.video.map(|stream| codec_of(stream.kind));
        if self.video.as_ref().map(VideoTrack::codec) != video {
            let next_frame = self.next_frame(Track::Video);
            let payload_max = self.config.payload_max;
            self.video = video.map(|codec| VideoTrack::new(codec, payload_max, next_frame));
        }
        let audio = program.audio.map(|stream| stream.kind);
        if self.audio.as_ref().map(AudioTrack::kind) != audio {
            let next_frame = self.next_frame(Track::Audio);
            self.audio = audio.map(|kind| AudioTrack::new(kind, next_frame));
        }
        let (mut carried, mut ignored) = (0, program.programs.saturating_sub(1));
        for stream in program.streams {
            match stream.kind {
                Kind::Other {
                    stream_type,
                    registration,
                } => {
                    let what = stream_name(stream_type, registration);
                    self.outbox
                        .tell(now, Notice::StreamIgnored { stream_type, what });
                }
                _ => carried += 1,
            }
        }
        let followed = usize::from(video.is_some()) + usize::from(audio.is_some());
        ignored += carried - followed;
        if ignored > 0 {
            self.outbox.tell(
                now,
                Notice::TracksIgnored {
                    ignored: len32(ignored),
                },
            );
        }
    }

    fn on_video(&mut self, _: Time, _: Kind, pes: Pes<'_>) {
        let bases = self.bases();
        let Parts {
            video: Some(video),
            mut context,
            refused,
            ..
        } = self.context(bases)
        else {
            return;
        };
        if !*refused {
            *refused = video.on_pes(pes, &mut context);
        }
    }

    fn on_audio(&mut self, _: Time, _: Kind, pes: Pes<'_>) {
        let bases = self.bases();
        let Parts {
            audio: Some(audio),
            mut context,
            refused,
            ..
        } = self.context(bases)
        else {
            return;
        };
        if !*refused {
            audio.on_pes(pes, &mut context);
        }
    }

    fn on_scrambled(&mut self, now: Time) {
        self.outbox.tell(now, Notice::Scrambled);
    }
}

const fn codec_of(kind: Kind) -> VideoCodec {
    match kind {
        Kind::H265 => VideoCodec::H265,
        _ => VideoCodec::H264,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn may_live_in_any_task() {
        fn is_send<T: Send>(_: &T) {}
        is_send(&Ingest::new(Config::default(), None));
    }

    #[test]
    fn silence_has_no_deadline_and_junk_is_told_of() {
        let mut ingest = Ingest::new(Config::default(), None);
        assert_eq!(ingest.deadline(), None);
        ingest.push(Time(1), &[0; 1000]);
        let deadline = ingest.deadline().unwrap();
        assert_eq!(deadline, Time(1) + MEDIA_WAIT);
        ingest.handle_timeout(deadline);
        let told = ingest.poll();
        assert!(
            matches!(told, Some(Output::Notice(Notice::NoMedia { seconds: 5 }))),
            "{told:?}"
        );
        assert!(ingest.poll().is_none());
        assert_eq!(ingest.deadline(), None);
    }
}
