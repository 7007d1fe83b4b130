//! Owns the video track: PES packets to frames, keyframes, B-frames, what SDP wants to know.

use crate::context::Context;
use crate::nal::{self, Class, ParameterSets, SetKind};
use crate::notice::Notice;
use crate::num::{signed, unsigned, wrap32};
use crate::output::{BframePolicy, Mark, Track, Video, VideoCodec};
use crate::packetise::Packetiser;
use crate::pes::Pes;
use crate::reorder::Reorder;
use crate::sps::{self, Picture};
use crate::{clock, outbox::Event};
use core::ops::Range;
use wire::time::Span;

/// Most NAL units of a PES packet that are looked at: slices of 1,200 bytes of a 600 kB frame.
const NALS_MAX: usize = 512;

/// Keyframes further apart are worth a notice: what is lost stays lost for as long.
const GOP_TICKS_MAX: i64 = 4 * clock::TICKS_HZ;

/// Without a keyframe for this long the publisher is told, and recovery points are taken instead.
const KEY_WAIT_TICKS: i64 = 3 * clock::TICKS_HZ;

/// Believable time between two frames, in ticks: 1000 to 0.5 frames a second.
const INTERVAL_TICKS: core::ops::RangeInclusive<i64> = 90..=180_000;

/// Time between frames until it is known: 30 a second.
const INTERVAL_DEFAULT: i64 = 3000;

/// Frames over which the rate is measured when the stream does not tell it.
const RATE_FRAMES: i64 = 60;

/// The video track of one ingest.
#[derive(Debug)]
pub(crate) struct VideoTrack {
    codec: VideoCodec,
    packetiser: Packetiser,
    sets: ParameterSets,
    picture: Option<Picture>,
    reorder: Reorder,
    next_frame: u32,
    /// A keyframe was sent.
    started: bool,
    /// Recovery points count as keyframes.
    recovery_keys: bool,
    first_ticks: Option<i64>,
    last_ticks: Option<i64>,
    last_key_ticks: Option<i64>,
    last_decode: Option<u64>,
    interval: i64,
    rate: Option<u32>,
    rate_begin: Option<(u64, i64)>,
    last_mark: Option<Mark>,
    refused: bool,
    ranges: Vec<Range<usize>>,
}

/// One access unit being collected.
#[derive(Default)]
struct Unit<'a> {
    nals: Vec<&'a [u8]>,
    slices: usize,
    key: bool,
    recovery: bool,
    disposable: bool,
    sets_changed: bool,
    damaged: bool,
}

impl VideoTrack {
    pub(crate) fn new(codec: VideoCodec, payload_max: usize, next_frame: u32) -> Self {
        Self {
            codec,
            packetiser: Packetiser::new(codec, payload_max),
            sets: ParameterSets::default(),
            picture: None,
            reorder: Reorder::default(),
            next_frame,
            started: false,
            recovery_keys: false,
            first_ticks: None,
            last_ticks: None,
            last_key_ticks: None,
            last_decode: None,
            interval: INTERVAL_DEFAULT,
            rate: None,
            rate_begin: None,
            last_mark: None,
            refused: false,
            ranges: Vec::new(),
        }
    }

    /// The codec that this track was made for.
    pub(crate) const fn codec(&self) -> VideoCodec {
        self.codec
    }

    /// Where the track stands, once something was sent.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.last_mark
    }

    /// What is known once the first keyframe came.
    pub(crate) fn describe(&self) -> Option<Video> {
        let picture = self.picture.filter(|_| self.started)?;
        Some(Video {
            codec: self.codec,
            profile: picture.profile,
            width: picture.width,
            height: picture.height,
            frames_per_1000_s: picture.frames_per_1000_s.or(self.rate),
            parameter_sets: self.sets.iter().map(<[u8]>::to_vec).collect(),
        })
    }

    /// Takes a whole PES packet. True: policy refuses the publisher.
    pub(crate) fn on_pes(&mut self, pes: Pes<'_>, context: &mut Context<'_>) -> bool {
        let mut ticks = match (pes.pts, self.last_ticks) {
            (Some(pts), _) => {
                let mapped = context.place(Track::Video, pts);
                if mapped.jumped.is_some() {
                    self.reorder.restart();
                }
                mapped.ticks
            }
            (None, Some(last)) => last + self.interval,
            (None, None) => return self.refused,
        };
        let rate = self.rate;
        self.measure(pes.dts);
        *context.dirty |= self.rate != rate;
        let mut ranges = core::mem::take(&mut self.ranges);
        ranges.clear();
        ranges.extend(nal::split(pes.data).take(NALS_MAX));
        let mut unit = Unit {
            disposable: true,
            ..Unit::default()
        };
        for (number, range) in ranges.iter().enumerate() {
            let next = ranges
                .get(number + 1)
                .map_or(pes.data.len() + 3, |next| next.start);
            // From the start code to the next one.
            let torn = |&hole: &usize| hole + 3 > range.start && hole + 3 <= next;
            if pes.holes.iter().any(torn) {
                unit.damaged = true;
                continue;
            }
            let nal = &pes.data[range.clone()];
            let class = nal::classify(self.codec, nal);
            if class == Class::Delimiter && unit.slices > 0 {
                self.send(&unit, ticks, context);
                unit = Unit {
                    disposable: true,
                    ..Unit::default()
                };
                ticks += self.interval;
            }
            self.collect(class, nal, &mut unit, context);
        }
        self.ranges = ranges;
        self.send(&unit, ticks, context);
        self.refused
    }

    fn collect<'a>(
        &mut self,
        class: Class,
        nal: &'a [u8],
        unit: &mut Unit<'a>,
        context: &mut Context<'_>,
    ) {
        match class {
            Class::Drop | Class::Delimiter => {}
            Class::Recovery => {
                unit.recovery = true;
                unit.nals.push(nal);
            }
            Class::Slice { key, disposable } => {
                unit.nals.push(nal);
                unit.slices += 1;
                unit.key |= key;
                unit.disposable &= disposable;
            }
            Class::Set(kind) => {
                if self.sets.keep(self.codec, kind, nal) {
                    unit.sets_changed = true;
                    if kind == SetKind::Sps {
                        self.on_sps(context);
                    }
                }
            }
        }
    }

    fn on_sps(&mut self, context: &mut Context<'_>) {
        let newest = self.sets.newest(SetKind::Sps);
        self.picture = newest.and_then(|nal| sps::read(self.codec, nal));
        *context.dirty = true;
        if let Some(what) = self.picture.and_then(|picture| picture.undecodable) {
            context.tell(Notice::VideoUndecodable { what });
        }
    }

    /// Sends an access unit, if it is to be sent.
    fn send(&mut self, unit: &Unit<'_>, ticks: i64, context: &mut Context<'_>) {
        if unit.damaged {
            context.counters.damaged_frames += 1;
            context.tell(Notice::Damaged);
        }
        if unit.slices == 0 || self.refused {
            return;
        }
        self.last_ticks = Some(ticks);
        let first_ticks = *self.first_ticks.get_or_insert(ticks);
        let waited = ticks - self.last_key_ticks.unwrap_or(first_ticks);
        let key = self.is_key(unit, waited, context);
        let reordered = self.reorder.on_frame(ticks, unit.disposable);
        if reordered.is_some_and(|pyramid| !self.on_bframe(pyramid, unit, context))
            || !self.may_send(key, waited, context)
        {
            context.counters.skipped_frames += 1;
            return;
        }
        let mut frame = context.outbox.take(Track::Video);
        if key || unit.sets_changed {
            let sets: Vec<_> = self.sets.iter().collect();
            self.packetiser.push_sets(&sets, &mut frame);
        }
        self.packetiser.push_nals(&unit.nals, &mut frame);
        frame.timestamp = clock::rtp_timestamp(context.bases[Track::Video.index()], ticks);
        frame.capture = context.timeline.capture(ticks);
        frame.counter = self.next_frame;
        frame.key = key;
        frame.discardable = unit.disposable;
        self.next_frame = self.next_frame.wrapping_add(1);
        self.last_mark = Some(Mark {
            timestamp: frame.timestamp,
            capture: frame.capture,
            next_frame: self.next_frame,
        });
        context.counters.video_frames += 1;
        context.counters.key_frames += u64::from(key);
        let interval = if context.config.pace {
            self.interval
        } else {
            0
        };
        let interval = Span(unsigned(interval) * 1_000_000 / 90);
        if !context.outbox.push_video(context.now, frame, interval) {
            context.tell(Notice::Overflowed);
        }
    }

    /// Is this a frame that a decoder can start at?
    fn is_key(&mut self, unit: &Unit<'_>, waited: i64, context: &mut Context<'_>) -> bool {
        if unit.recovery && !unit.key && waited > KEY_WAIT_TICKS && !self.recovery_keys {
            self.recovery_keys = true;
            context.tell(Notice::OpenGop);
        }
        unit.key || unit.recovery && self.recovery_keys
    }

    /// False: the frame is of no use to anybody yet.
    fn may_send(&mut self, key: bool, waited: i64, context: &mut Context<'_>) -> bool {
        if key && !self.sets.is_complete() {
            context.tell(Notice::MissingParameterSets);
            return false;
        }
        if key {
            self.last_key_ticks = self.last_ticks;
            if !self.started {
                self.started = true;
                *context.dirty = true;
            }
        } else if !self.started && waited > KEY_WAIT_TICKS {
            let seconds = wrap32(waited / clock::TICKS_HZ);
            context.tell(Notice::NoKeyframe { seconds });
        } else if self.started && waited > GOP_TICKS_MAX {
            let seconds = wrap32(waited / clock::TICKS_HZ);
            context.tell(Notice::LongGop { seconds });
        }
        self.started
    }

    /// Applies the policy to a frame that is shown before one already sent. False: leave it out.
    fn on_bframe(&mut self, pyramid: bool, unit: &Unit<'_>, context: &mut Context<'_>) -> bool {
        let notice = Notice::Bframes { pyramid };
        match context.config.bframes {
            BframePolicy::Report => context.tell(notice),
            BframePolicy::DropDisposable => {
                context.tell(notice);
                return !unit.disposable;
            }
            BframePolicy::Refuse => {
                self.refused = true;
                context.outbox.clear();
                context.outbox.push_event(Event::Refused(notice));
                return false;
            }
        }
        true
    }

    /// Learns the time between frames, in the order they are sent.
    fn measure(&mut self, decode: Option<u64>) {
        let Some(decode) = decode else {
            return;
        };
        let Some(last) = self.last_decode.replace(decode) else {
            return;
        };
        let step = signed(decode.wrapping_sub(last) & 0x1_ffff_ffff);
        if !INTERVAL_TICKS.contains(&step) {
            self.rate_begin = None;
            return;
        }
        self.interval += (step - self.interval) / 4;
        let (begin, frames) = self.rate_begin.get_or_insert((last, 0));
        *frames += 1;
        if *frames == RATE_FRAMES && self.rate.is_none() {
            let ticks = signed(decode.wrapping_sub(*begin) & 0x1_ffff_ffff);
            self.rate = u32::try_from(RATE_FRAMES * clock::TICKS_HZ * 1000 / ticks.max(1)).ok();
        }
    }
}
