//! Owns what a viewer has seen of one track, and the sum over many.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Session;
use crate::publish::{ENCODINGS, Mark};

/// One track as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of its retransmissions; 0: none.
    pub rtx_ssrc: u32,
    /// Packets.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Retransmissions (RFC 4588).
    pub retransmissions: u64,
    /// First and highest index since counting began.
    pub span: Option<(u64, u64)>,
    /// Timestamp of the newest packet.
    pub timestamp: u32,
    /// Longest time between two packets.
    pub longest_silence: Duration,
    /// Wall-clock nanoseconds since 1970 and RTP time of the newest sender report.
    pub report: Option<(u64, u32)>,
    /// Packets of each encoding, the least first, as synthetic publishers mark them.
    pub encodings: [u64; ENCODINGS],
    /// Packets of an encoding that the server left out while it sent that encoding: what is lost on
    /// the way counts as well.
    pub left_out: u64,
    /// Changes from one encoding to another.
    pub switches: u64,
    mark: Option<Mark>,
    first_at: Option<Instant>,
    last_at: Option<Instant>,
}

impl Track {
    pub(super) fn new([ssrc, rtx_ssrc]: [u32; 2]) -> Self {
        Self {
            ssrc,
            rtx_ssrc,
            ..Self::default()
        }
    }

    pub(super) fn take(&mut self, now: Instant, index: u64, timestamp: u32, payload: &[u8]) {
        self.packets += 1;
        self.bytes += payload.len() as u64;
        self.first_at.get_or_insert(now);
        let (first, highest) = self.span.unwrap_or((index, index));
        self.span = Some((first.min(index), highest.max(index)));
        if index >= highest {
            self.timestamp = timestamp;
            self.note(payload);
        }
        if let Some(last) = self.last_at {
            self.longest_silence = self.longest_silence.max(now - last);
        }
        self.last_at = Some(now);
    }

    fn note(&mut self, payload: &[u8]) {
        let Some(mark) = Mark::read(payload) else {
            return;
        };
        let encoding = usize::from(mark.encoding);
        self.encodings[encoding] += 1;
        match self.mark.replace(mark) {
            Some(before) if before.encoding == mark.encoding => {
                // Fewer than before: a picture that is shown again from its keyframe, or a source
                // that has come anew.
                let ahead = mark.number.wrapping_sub(before.number).cast_signed();
                self.left_out += u64::try_from(i64::from(ahead) - 1).unwrap_or(0);
            }
            Some(_) => self.switches += 1,
            None => {}
        }
    }

    /// The encoding of the newest packet, if it was marked.
    #[must_use]
    pub fn encoding(&self) -> Option<usize> {
        self.mark.map(|mark| mark.encoding.into())
    }

    /// Bytes a second of payload since counting began.
    #[must_use]
    pub fn bytes_per_s(&self) -> f64 {
        let span = self.first_at.zip(self.last_at).map(|(from, to)| to - from);
        let span = span.unwrap_or_default().as_secs_f64();
        if span > 0.0 {
            self.bytes as f64 / span
        } else {
            0.0
        }
    }

    /// Packets that were sent, by their sequence, and never came.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let sent = self.span.map_or(0, |(first, highest)| highest - first + 1);
        sent.saturating_sub(self.packets)
    }

    /// The next packet begins a new count; times and totals start anew.
    pub(super) fn forget(&mut self) {
        let this = Self::new([self.ssrc, self.rtx_ssrc]);
        *self = Self {
            report: self.report,
            mark: self.mark,
            ..this
        };
    }

    /// How long ago what has this timestamp was captured, by the newest report; clock in Hz.
    pub(super) fn age_us(&self, now_unix_ns: u64, timestamp: u32, clock_hz: i64) -> Option<i64> {
        let (at, rtp) = self.report?;
        let ticks = i64::from(timestamp.wrapping_sub(rtp).cast_signed());
        let since_report = i64::try_from(now_unix_ns).ok()? - i64::try_from(at).ok()?;
        Some(since_report / 1000 - ticks * 1_000_000 / clock_hz)
    }
}

/// What viewers have seen together.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Viewers.
    pub viewers: usize,
    /// Viewers that received at least one packet.
    pub served: usize,
    /// Packets of media.
    pub packets: u64,
    /// Packets of media that never came.
    pub lost: u64,
    /// Retransmissions.
    pub retransmissions: u64,
    /// See [`Track::left_out`] and [`Track::switches`].
    pub left_out: u64,
    /// See [`Report::left_out`].
    pub switches: u64,
    /// Payload bytes of media.
    pub bytes: u64,
    /// Datagrams that SRTP refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The longest time in which some viewer got no packet of a track that it gets.
    pub longest_silence: Duration,
    /// From capture, by the server's reports, to arrival: microseconds of a sample of packets.
    pub ages_us: Vec<i64>,
}

impl Report {
    pub(super) fn add(&mut self, session: &Session) {
        self.viewers += 1;
        let before = self.packets;
        for track in session.tracks() {
            self.packets += track.packets;
            self.lost += track.lost();
            self.retransmissions += track.retransmissions;
            self.left_out += track.left_out;
            self.switches += track.switches;
            self.bytes += track.bytes;
            self.longest_silence = self.longest_silence.max(track.longest_silence);
        }
        self.served += usize::from(self.packets > before);
        for (reason, count) in session.refused() {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
        self.ages_us.extend(session.ages_us());
    }

    /// The age of packets that so many hundredths of them did not exceed, in microseconds.
    #[must_use]
    pub fn age_us(&self, percentile: usize) -> Option<i64> {
        let mut ages = self.ages_us.clone();
        ages.sort_unstable();
        let at = (ages.len() * percentile / 100).min(ages.len().checked_sub(1)?);
        ages.get(at).copied()
    }
}
