//! Owns the streams of a sidecar: opened, described, found again, and the writing into their logs.

use std::collections::BTreeSet;

use link::Region;
use link::command::VIDEO;
use link::ids::StreamId;
use link::log::{AppendError, Flags, LogWriter, Record};
use link::stream::{Description, Format};
use session::{AudioCodec, SessionId, Sessions, StreamDescription, VideoCodec};
use wire::time::Time;

use super::plan::Plan;
use super::source::{NAMES, Shot};

/// What streams of the simulation consist of.
pub(super) const DESCRIPTION: StreamDescription = StreamDescription {
    video: Some(VideoCodec::H264 {
        profile_level_id: [0x42, 0xe0, 0x1f],
    }),
    audio: Some(AudioCodec::Opus { channels: 2 }),
};

/// Under these a publisher names its encodings, and those of which it repeats packets.
pub(super) const RID_ID: u8 = 10;
pub(super) const REPAIRED_RID_ID: u8 = 11;

/// A publisher's offer with so many encodings of its video.
pub(super) fn with_encodings(offer: &str, encodings: usize) -> String {
    if encodings < 2 {
        return offer.to_owned();
    }
    let names = &NAMES[..encodings];
    let rids: String = names
        .iter()
        .map(|name| format!("a=rid:{name} send\r\n"))
        .collect();
    let sdes = "urn:ietf:params:rtp-hdrext:sdes";
    let first = "a=rtpmap:102";
    let lines = format!(
        "a=extmap:{RID_ID} {sdes}:rtp-stream-id\r\n\
         a=extmap:{REPAIRED_RID_ID} {sdes}:repaired-rtp-stream-id\r\n\
         {rids}a=simulcast:send {}\r\n{first}",
        names.join(";")
    );
    offer.replacen(first, &lines, 1)
}

/// A stream of the sidecar.
pub(super) struct Stream {
    pub id: StreamId,
    pub name: String,
    /// `None`: a worker has it, or has let go of it a moment ago.
    pub writer: Option<LogWriter>,
    pub is_by_whip: bool,
    /// That its publisher offers.
    pub encodings: usize,
    pub publisher: Option<SessionId>,
    pub is_over: bool,
}

/// Puts a packet of an encoder into a log; nobody sees it before it is published.
///
/// # Errors
/// The log does not take it.
pub(super) fn append(writer: &mut LogWriter, now: Time, shot: &Shot) -> Result<(), AppendError> {
    let place = &shot.place;
    let mut flags = Flags::NONE;
    for (set, flag) in [
        (place.nth == 0, Flags::FIRST),
        (place.is_last, Flags::LAST),
        (place.is_key, Flags::KEY),
    ] {
        if set {
            flags |= flag;
        }
    }
    let record = Record {
        lane: u8::try_from(place.lane()).unwrap_or(0),
        flags,
        timestamp: shot.timestamp,
        capture: now,
        arrival: now,
        ..Record::default()
    };
    writer.append(&record, &[&shot.payload]).map(|_| ())
}

/// The streams of the memory, opened by the first sidecar of a run.
pub(super) fn streams(
    region: &Region,
    plan: &Plan,
    now: Time,
    sessions: &mut Sessions,
) -> Vec<Stream> {
    let known: BTreeSet<u32> = region.streams().iter().map(|(id, _)| id.index).collect();
    for index in (0..plan.limits.streams_max).filter(|index| !known.contains(index)) {
        let opened = region.open_stream(index, &format!("sim/{index}"));
        let id = opened.expect("streams below the limit");
        if !plan.streams[usize::try_from(index).unwrap_or(0)].by_whip {
            describe(region, id);
        }
    }
    let all = region.streams().into_iter().map(|(id, name)| {
        sessions.stream_opened(&name, id);
        if region.description(id, VIDEO).is_some() {
            sessions.stream_described(now, id, DESCRIPTION);
        }
        Stream {
            id,
            name,
            writer: region.log_writer(id).ok(),
            is_by_whip: plan.streams[usize::try_from(id.index).unwrap_or(0)].by_whip,
            encodings: plan.streams[usize::try_from(id.index).unwrap_or(0)].encodings,
            publisher: None,
            is_over: false,
        }
    });
    all.collect()
}

/// Tells the next life of control that the stream can be watched.
pub(super) fn describe(region: &Region, id: StreamId) {
    let description = Description {
        format: Format::H264,
        clock_hz: VideoCodec::CLOCK_HZ,
        channels: 0,
        width: 640,
        height: 360,
        frame_rate_milli: 25_000,
        fmtp: String::new(),
    };
    let described = region.describe(id, VIDEO, Some(&description));
    described.expect("a short description of an open stream");
}
