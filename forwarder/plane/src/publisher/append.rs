//! Owns how the packet that is due goes into the log: what readers need to know of it, and what of
//! it is stored. Hot.

use link::command::AUDIO;
use link::lanes::{LAYERS, SPATIAL_MAX, TEMPORAL_MAX};
use link::limits::PAYLOAD_MAX;
use link::log::{AppendError, Entry, Flags, Record};
use wire::payload::red::primary_at;
use wire::time::Time;

use super::Publisher;
use crate::coming::Coming;
use crate::lane::Useless;
use crate::verdict::Verdict;

impl Publisher {
    /// Appends the packet that is due.
    pub(super) fn append(&mut self, now: Time, lane: usize, packet: &Coming<'_>) -> Verdict {
        let (header, payload) = (&packet.header, packet.payload);
        if payload.is_empty() {
            return Verdict::Padding;
        }
        if payload.len() > PAYLOAD_MAX {
            self.lanes[lane].is_broken |= lane != AUDIO;
            return Verdict::RtpMalformed;
        }
        let track = &mut self.lanes[lane];
        let mut primary = 0;
        if track.is_red(header.payload_type) {
            match primary_at(payload, track.given.payload_type).map(u16::try_from) {
                Some(Ok(at)) => primary = at,
                _ => return Verdict::RtpMalformed,
            }
        }
        let mut flags = match track.judge(header, payload) {
            Ok(flags) => flags,
            Err(Useless { begins_frame }) => {
                if begins_frame {
                    if self.viewer.is_none() {
                        self.wants_key = self.wants_key.with(lane);
                    }
                    self.upstream.pleas[lane].wish();
                }
                return Verdict::Unusable;
            }
        };
        let place = track.place(packet);
        flags |= place.flags;
        let mut padding: &[u8] = &[];
        if track.is_padded(flags, place.bytes()) {
            flags |= Flags::PADDED;
            padding = &[1];
        }
        let (timestamp, capture) = self.times(now, lane, flags, header.timestamp);
        let record = Record {
            lane: u8::try_from(lane).unwrap_or_default(),
            flags,
            timestamp,
            capture,
            arrival: now,
            entry: self.came.map_or(Entry::Unknown, |_| Entry::Network),
            came: self.came.unwrap_or_default(),
            spatial: place.spatial,
            temporal: place.temporal,
            primary_at: primary,
            ..Record::default()
        };
        let front = place.front.as_ref().map_or(&[][..], |front| front);
        let parts = [front, place.rest, padding];
        match self.writer.append_with(&record, &parts, packet.elements) {
            Ok(_) => {
                if let Some(size) = place.size {
                    self.intake.sizes[lane] = (size.width, size.height);
                }
                if place.layer_sizes[0].width > 0 {
                    let sizes = place.layer_sizes.map(|size| (size.width, size.height));
                    self.intake.layer_sizes[lane] = sizes;
                }
                self.count(&record, payload.len());
                Verdict::Ingested
            }
            Err(AppendError::Stalled) => {
                self.lanes[lane].is_broken |= lane != AUDIO;
                Verdict::LogStalled
            }
            Err(AppendError::TooLong | AppendError::NoSuchLane) => Verdict::RtpMalformed,
        }
    }

    /// The log's timestamp for one of the publisher's, and when it was captured.
    fn times(&mut self, now: Time, lane: usize, flags: Flags, timestamp: u32) -> (u32, Time) {
        let Self { lanes, writer, .. } = self;
        let timeline = &mut lanes[lane].timeline;
        let capture = timeline.captured(now, timestamp);
        if self.is_layered && flags.starts_keyframe() && lane != AUDIO {
            writer.publish();
            let others = LAYERS.into_iter().filter(|other| *other != lane);
            let newest = others.filter_map(|other| writer.newest(other));
            if let Some(other) = newest.max_by_key(|record| record.arrival) {
                timeline.align(timestamp, capture, &other, || writer.newest(lane));
            }
        }
        let mapped = timeline.mapped(timestamp, capture, || {
            // What was appended in this turn counts as well.
            writer.publish();
            writer.newest(lane)
        });
        (mapped, capture)
    }

    fn count(&mut self, record: &Record, bytes: usize) {
        let intake = &mut self.intake;
        let (lane, flags) = (usize::from(record.lane), record.flags);
        intake.packets[lane] += 1;
        intake.bytes[lane] += bytes as u64;
        let spatial = usize::from(record.spatial).min(SPATIAL_MAX - 1);
        let temporal = usize::from(record.temporal).min(TEMPORAL_MAX - 1);
        intake.layer_bytes[lane][spatial][temporal] += bytes as u64;
        if lane == AUDIO || !flags.has(Flags::FIRST) {
            return;
        }
        intake.frames[lane] += 1;
        if flags.starts_keyframe() {
            intake.keyframes += 1;
            self.upstream.pleas[lane].on_keyframe();
        }
    }
}
