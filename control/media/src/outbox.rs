//! Owns what waits to be fetched: events first, then audio, then video at its pace.
//!
//! A frame that came whole is released in chunks over part of the frame interval. Every viewer's
//! packets leave as they are released here, so that one plan paces all of them.

use crate::frame::{Frame, Spares};
use crate::notice::Notice;
use crate::output::{Description, Output, Track};
use core::mem::{Discriminant, discriminant};
use std::collections::VecDeque;
use wire::time::{Span, Time};

/// Packets released at once. The data plane sends a chunk to a viewer in one go; home routers'
/// queues take as much.
pub const CHUNK_PACKETS: usize = 16;

/// A frame other than a keyframe is spread over at most this share of the interval: one over ...
const SHARE: u64 = 4;

/// The same for keyframes, which are ten times as big and queue longest.
const KEY_SHARE: u64 = 2;

/// Most that pacing delays the end of a frame.
pub const SPREAD_MAX: Span = Span::millis(4);

/// Most that pacing delays the end of a keyframe.
pub const KEY_SPREAD_MAX: Span = Span::millis(10);

/// Frames waiting beyond this many bytes are dropped: a second of 128 Mbit/s.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Frames waiting beyond this number are dropped.
pub const QUEUE_FRAMES_MAX: usize = 4096;

/// Events waiting beyond this number are dropped; each kind of notice comes at most once in
/// [`TELL_AGAIN`].
const EVENTS_MAX: usize = 64;

/// The same kind of notice is not told again before this time has passed.
const TELL_AGAIN: Span = Span::secs(60);

/// What is not a packet.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Tracks(Description),
    Notice(Notice),
    Refused(Notice),
}

#[derive(Debug)]
struct Paced {
    frame: Frame,
    begin: Time,
    /// Time between two chunks.
    step: Span,
    /// Packets handed out.
    sent: usize,
}

impl Paced {
    /// When the next packet is due.
    fn due(&self) -> Time {
        let chunk = u64::try_from(self.sent / CHUNK_PACKETS).unwrap_or(u64::MAX);
        self.begin + Span(self.step.0.saturating_mul(chunk))
    }
}

/// Everything waiting to be fetched.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    events: VecDeque<Event>,
    audio: VecDeque<Frame>,
    video: VecDeque<Paced>,
    bytes: usize,
    /// When each kind of notice was last told. As long as there are kinds.
    told: Vec<(Discriminant<Notice>, Time)>,
    /// What was lent last; its memory is used again at the next call.
    lent: Option<Frame>,
    pub(crate) spares: Spares,
    /// Frames dropped for want of room.
    pub(crate) overflowed: u64,
}

impl Outbox {
    pub(crate) fn push_event(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    /// Queues a notice, unless its kind was told lately.
    pub(crate) fn tell(&mut self, now: Time, notice: Notice) {
        let kind = discriminant(&notice);
        match self.told.iter_mut().find(|(told, _)| *told == kind) {
            Some((_, at)) if now.since(*at) < TELL_AGAIN => return,
            Some((_, at)) => *at = now,
            None => self.told.push((kind, now)),
        }
        self.push_event(Event::Notice(notice));
    }

    /// Queues a frame of audio: it never waits. False: there is no room.
    pub(crate) fn push_audio(&mut self, frame: Frame) -> bool {
        debug_assert!(frame.packets() == 1, "one Opus packet is one payload");
        if !self.has_room(&frame) {
            return self.overflow(frame);
        }
        self.bytes += frame.bytes();
        self.audio.push_back(frame);
        true
    }

    /// Queues a frame of video to be released from `now` on; `interval` is the time to the next.
    /// What still waits of earlier frames is due at once, so that delays never add up.
    /// False: there is no room.
    pub(crate) fn push_video(&mut self, now: Time, frame: Frame, interval: Span) -> bool {
        debug_assert!(frame.packets() > 0, "a frame has a slice");
        if !self.has_room(&frame) {
            return self.overflow(frame);
        }
        self.hurry();
        let spread = if frame.key {
            Span(interval.0 / KEY_SHARE).min(KEY_SPREAD_MAX)
        } else {
            Span(interval.0 / SHARE).min(SPREAD_MAX)
        };
        let chunks = frame.packets().div_ceil(CHUNK_PACKETS).max(1);
        let step = Span(spread.0 / u64::try_from(chunks).unwrap_or(u64::MAX));
        self.bytes += frame.bytes();
        self.video.push_back(Paced {
            frame,
            begin: now,
            step,
            sent: 0,
        });
        true
    }

    /// When the next packet is due, if one waits.
    pub(crate) fn due(&self) -> Option<Time> {
        if self.audio.is_empty() && self.events.is_empty() {
            self.video.front().map(Paced::due)
        } else {
            Some(Time::ZERO)
        }
    }

    /// What is due by `now`.
    pub(crate) fn poll(&mut self, now: Time) -> Option<Output<'_>> {
        if let Some(frame) = self.lent.take() {
            self.spares.give(frame);
        }
        if let Some(event) = self.events.pop_front() {
            return Some(match event {
                Event::Tracks(description) => Output::Tracks(description),
                Event::Notice(notice) => Output::Notice(notice),
                Event::Refused(notice) => Output::Refused(notice),
            });
        }
        if let Some(frame) = self.audio.pop_front() {
            self.bytes -= frame.bytes();
            let frame = self.lent.insert(frame);
            return Some(Output::Packet(frame.packet(0)));
        }
        let paced = self.video.front_mut().filter(|paced| paced.due() <= now)?;
        let index = paced.sent;
        paced.sent += 1;
        if paced.sent < paced.frame.packets() {
            let frame = &self.video.front()?.frame;
            return Some(Output::Packet(frame.packet(index)));
        }
        let frame = self.video.pop_front()?.frame;
        self.bytes -= frame.bytes();
        let frame = self.lent.insert(frame);
        Some(Output::Packet(frame.packet(index)))
    }

    /// Everything that waits is due at once.
    pub(crate) fn hurry(&mut self) {
        self.video
            .iter_mut()
            .for_each(|paced| paced.step = Span::ZERO);
    }

    /// Drops everything but events.
    pub(crate) fn clear(&mut self) {
        self.audio.clear();
        self.video.clear();
        self.bytes = 0;
    }

    fn has_room(&self, frame: &Frame) -> bool {
        self.bytes + frame.bytes() <= QUEUE_BYTES_MAX
            && self.audio.len() + self.video.len() < QUEUE_FRAMES_MAX
    }

    fn overflow(&mut self, frame: Frame) -> bool {
        self.overflowed += 1;
        self.spares.give(frame);
        false
    }

    /// An empty frame to fill.
    pub(crate) fn take(&mut self, track: Track) -> Frame {
        self.spares.take(track)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Span = Span::millis(33);

    fn frame(outbox: &mut Outbox, packets: u8, key: bool) -> Frame {
        let mut frame = outbox.take(Track::Video);
        frame.key = key;
        (0..packets).for_each(|n| frame.push(&[&[n]]));
        frame
    }

    fn drain(outbox: &mut Outbox, now: Time) -> usize {
        let mut packets = 0;
        while let Some(output) = outbox.poll(now) {
            assert!(matches!(output, Output::Packet(_)));
            packets += 1;
        }
        packets
    }

    #[test]
    fn small_frames_go_at_once() {
        let mut outbox = Outbox::default();
        let small = frame(&mut outbox, 16, false);
        assert!(outbox.push_video(Time(5), small, INTERVAL));
        assert_eq!(drain(&mut outbox, Time(5)), 16);
        assert_eq!(outbox.due(), None);
    }

    #[test]
    fn keyframes_are_spread_and_bounded() {
        let mut outbox = Outbox::default();
        let begin = Time(1_000_000_000);
        let key = frame(&mut outbox, 100, true);
        assert!(outbox.push_video(begin, key, Span::secs(5)));
        let mut now = begin;
        let mut released = Vec::new();
        while let Some(due) = outbox.due() {
            assert!(due.since(now) <= Span::millis(2));
            now = due;
            released.push(drain(&mut outbox, now));
        }
        assert_eq!(released, [16, 16, 16, 16, 16, 16, 4]);
        assert!(now.since(begin) <= KEY_SPREAD_MAX);
        assert!(now.since(begin) >= Span::millis(8));
    }

    #[test]
    fn audio_never_waits_and_frames_never_pile_up() {
        let mut outbox = Outbox::default();
        let key = frame(&mut outbox, 60, true);
        outbox.push_video(Time(0), key, INTERVAL);
        assert_eq!(drain(&mut outbox, Time(0)), 16);
        let mut audio = outbox.take(Track::Audio);
        audio.push(&[&[9]]);
        outbox.push_audio(audio);
        assert_eq!(outbox.due(), Some(Time::ZERO));
        assert_eq!(drain(&mut outbox, Time(1)), 1);
        let next = frame(&mut outbox, 3, false);
        outbox.push_video(Time(2), next, INTERVAL);
        assert_eq!(drain(&mut outbox, Time(2)), 44 + 3);
    }

    #[test]
    fn queue_is_bounded() {
        let mut outbox = Outbox::default();
        for n in 0..QUEUE_FRAMES_MAX + 10 {
            let more = frame(&mut outbox, 1, false);
            assert_eq!(
                outbox.push_video(Time(0), more, INTERVAL),
                n < QUEUE_FRAMES_MAX
            );
        }
        assert_eq!(outbox.overflowed, 10);
    }

    #[test]
    fn queue_is_bounded_in_bytes() {
        const MEGABYTE: usize = 1 << 20;
        let mut outbox = Outbox::default();
        for n in 0..20 {
            let mut more = frame(&mut outbox, 0, false);
            more.push(&[&vec![7; MEGABYTE]]);
            let has_room = (n + 1) * MEGABYTE <= QUEUE_BYTES_MAX;
            assert_eq!(outbox.push_video(Time(0), more, INTERVAL), has_room);
        }
        assert_eq!(outbox.overflowed, 4);
    }
}
