//! The ends of a region, both sides in one process.

use super::*;
use crate::command::{AUDIO, AddPublisher, COMMAND_BYTES, Command, Origin, TrackIn, VIDEO};
use crate::event::Event;
use crate::ids::StreamId;
use crate::keys::SrtpKeys;
use crate::lanes::{LANES_MAX, Lanes};
use crate::limits::LOG_PACKETS_MIN;
use crate::log::{Flags, Record};
use crate::stats::Counter;
use crate::stream::{Description, Format};
use crate::viewer::{KEEPSAKE_BYTES, Lease, ViewerCounters};
use wire::peer::{Ip, Peer};
use wire::time::Time;

impl Region {
    /// The words of the first log, to spoil them.
    pub(crate) fn log_memory_for_test(&self) -> crate::log::LogMemory {
        self.log_memory(0)
    }
}

fn tiny() -> Region {
    let limits = Limits {
        cores: 2,
        streams_max: 3,
        viewers_max: 5,
        log_packets: LOG_PACKETS_MIN,
        commands_max: 4,
        events_max: 2,
        punts_max: 2,
    };
    Region::create(&limits).unwrap()
}

fn packet(track: usize, flags: Flags) -> Record {
    Record {
        lane: u8::try_from(track).unwrap(),
        flags,
        ..Record::default()
    }
}

/// Keys pass through this memory: no core dump has it, and nothing of them stays in it.
#[test]
fn keys_leave_nothing_behind() {
    use std::os::unix::fs::FileExt;
    let region = tiny();
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let ours = maps.split("memfd:freshet-link").skip(1);
    let flags: Vec<_> = ours
        .filter_map(|map| map.lines().find(|line| line.starts_with("VmFlags:")))
        .collect();
    assert!(!flags.is_empty());
    assert!(flags.iter().all(|flags| flags.contains(" dd")), "{flags:?}");

    let stream = region.open_stream(0, "s").unwrap();
    let file = std::fs::File::from(region.0.map.file.try_clone().unwrap());
    let holds_key = || {
        let mut all = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut all, 0).unwrap();
        all.windows(16).any(|piece| piece == [0xa5; 16])
    };
    let mut add = AddPublisher {
        stream,
        ..publisher()
    };
    add.keys.receive.key = [0xa5; 32];
    let mut give = region.commands_producer(CoreId(0)).unwrap();
    let mut take = region.commands_consumer(CoreId(0)).unwrap();
    assert!(!holds_key());
    give.push(&Command::AddPublisher(add)).unwrap();
    assert!(holds_key(), "on its way");
    drop(take.pop().unwrap());
    assert!(!holds_key());
}

/// A publisher of nothing.
fn publisher() -> AddPublisher {
    AddPublisher {
        stream: StreamId::default(),
        viewer: None,
        peer: Peer::default(),
        keys: SrtpKeys::default(),
        audio: Origin::default(),
        lanes: [TrackIn::default(); LANES_MAX],
        rid_id: 0,
        repaired_rid_id: 0,
        transport_cc_id: 0,
        remb_bps: 0,
    }
}

#[test]
fn an_end_is_held_once() {
    let region = tiny();
    let first = region.commands_producer(CoreId(1)).unwrap();
    assert!(matches!(
        region.commands_producer(CoreId(1)),
        Err(LinkError::Taken)
    ));
    drop(region.commands_producer(CoreId(0)).unwrap());
    drop(first);
    drop(region.commands_producer(CoreId(1)).unwrap());
    assert!(matches!(
        region.events_consumer(CoreId(2)),
        Err(LinkError::NoSuchCore)
    ));
}

#[test]
fn commands_go_down_numbered_and_leave_no_trace() {
    let region = tiny();
    let mut down = region.commands_producer(CoreId(0)).unwrap();
    let mut out = region.commands_consumer(CoreId(0)).unwrap();
    let viewer = ViewerId {
        index: 7,
        generation: 9,
    };
    for number in 0..10 {
        assert_eq!(down.push(&Command::RemoveViewer(viewer)), Ok(number));
        let taken = out.pop().unwrap();
        assert_eq!(taken.number, number);
        assert!(matches!(taken.command, Some(Command::RemoveViewer(v)) if v == viewer));
    }
    drop(down);
    let mut peek = region
        .producer::<COMMAND_BYTES>(Part::Commands, CoreId(0), 4)
        .unwrap();
    for _ in 0..4 {
        peek.push_with(|slot| assert!(slot.iter().all(|byte| *byte == 0)))
            .unwrap();
    }
}

#[test]
fn events_and_punts_cross() {
    let region = tiny();
    let mut tell = region.events_producer(CoreId(0)).unwrap();
    let mut hear = region.events_consumer(CoreId(0)).unwrap();
    let stream = StreamId {
        index: 1,
        generation: 2,
    };
    let event = Event::KeyframeWanted(stream, Lanes::VIDEO);
    tell.push(&event).unwrap();
    tell.push(&event).unwrap();
    assert!(tell.push(&event).is_err());
    assert_eq!(
        (hear.pop(), hear.pop(), hear.pop()),
        (Some(event), Some(event), None)
    );

    let mut punt = region.punts_in_producer(CoreId(1)).unwrap();
    let mut take = region.punts_in_consumer(CoreId(1)).unwrap();
    let peer = "192.0.2.1:4000"
        .parse::<std::net::SocketAddr>()
        .unwrap()
        .into();
    let local = Ip::from("2001:db8::1".parse::<std::net::IpAddr>().unwrap());
    punt.push(CoreId(1), peer, local, b"hello").unwrap();
    assert!(punt.push(CoreId(1), peer, local, &[0; 1473]).is_err());
    let got = take.pop(|punt| {
        assert_eq!((punt.core, punt.peer, punt.local), (CoreId(1), peer, local));
        punt.bytes.to_vec()
    });
    assert_eq!(got.as_deref(), Some(&b"hello"[..]));
    assert!(take.is_empty());
}

#[test]
fn a_stream_is_written_read_closed_and_opened_again() {
    let region = tiny();
    let stream = region.open_stream(2, "live/one").unwrap();
    assert!(matches!(region.open_stream(2, "x"), Err(LinkError::Busy)));
    assert_eq!(region.streams(), [(stream, "live/one".into())]);
    let mut writer = region.log_writer(stream).unwrap();
    assert!(matches!(region.log_writer(stream), Err(LinkError::Taken)));
    let mut reader = region.log_reader(stream, CoreId(1)).unwrap();
    let key = packet(VIDEO, Flags::FIRST | Flags::KEY);
    writer.append(&key, &[b"ab", b"", b"cd"]).unwrap();
    writer
        .append(&packet(AUDIO, Flags::FIRST | Flags::LAST), &[b"x"])
        .unwrap();
    assert!(reader.pin().range().is_empty());
    writer.publish();
    {
        let pinned = reader.pin();
        assert_eq!(pinned.range(), 0..2);
        assert_eq!(pinned.payload(0), b"abcd");
        assert_eq!(
            (pinned.keyframe(VIDEO), pinned.newest(AUDIO)),
            (Some(0), Some(1))
        );
        assert_eq!(
            (pinned.locate(AUDIO, 0), pinned.locate(AUDIO, 1)),
            (Some(1), None)
        );
        assert!(matches!(region.close_stream(stream), Err(LinkError::Busy)));
    }
    drop(writer);
    region.close_stream(stream).unwrap();
    region.close_stream(stream).unwrap();
    assert!(reader.pin().range().is_empty());
    let next = region.open_stream(2, "live/two").unwrap();
    assert_eq!(next.generation, stream.generation + 1);
    assert!(matches!(region.close_stream(stream), Err(LinkError::Stale)));
    assert!(matches!(region.log_writer(stream), Err(LinkError::Stale)));
    let mut writer = region.log_writer(next).unwrap();
    assert_eq!(writer.append(&key, &[b"new"]), Ok(2));
    writer.publish();
    assert!(
        reader.pin().range().is_empty(),
        "a reader of the past sees nothing new"
    );
    drop(reader);
    let mut reader = region.log_reader(next, CoreId(1)).unwrap();
    let pinned = reader.pin();
    assert_eq!(pinned.range(), 2..3);
    assert_eq!(
        pinned.record(2).map(|r| (r.lane_seq, r.frame)),
        Some((0, 1))
    );
}

#[test]
fn tracks_are_described_for_the_next_control() {
    let region = tiny();
    let stream = region.open_stream(0, "s").unwrap();
    let description = Description {
        format: Format::H264,
        clock_hz: 90_000,
        channels: 0,
        width: 1920,
        height: 1080,
        frame_rate_milli: 59_940,
        fmtp: "profile-level-id=42e01f".into(),
    };
    assert_eq!(region.description(stream, VIDEO), None);
    region.describe(stream, VIDEO, Some(&description)).unwrap();
    assert_eq!(region.description(stream, VIDEO), Some(description));
    assert!(
        region
            .describe(stream, 2, region.description(stream, VIDEO).as_ref())
            .is_err()
    );
    region.describe(stream, VIDEO, None).unwrap();
    assert_eq!(region.description(stream, VIDEO), None);
}

#[test]
fn a_viewer_keeps_leases_until_it_is_closed() {
    let region = tiny();
    let viewer = region.open_viewer(4).unwrap();
    assert!(matches!(region.open_viewer(4), Err(LinkError::Busy)));
    assert!(matches!(
        region.open_viewer(5),
        Err(LinkError::NoSuchViewer)
    ));
    viewer.set_owner(Some(CoreId(1)));
    viewer.raise_lease(Lease::Audio, 4096);
    viewer.raise_lease(Lease::Audio, 100);
    assert_eq!(viewer.leases(), [0, 0, 4096, 0, 0]);
    let told = ViewerCounters {
        packets: 3,
        jitter: 9,
        active: Time(5),
        ..Default::default()
    };
    viewer.set_counters(&told);
    assert_eq!(viewer.load(), Some(vec![]));
    assert!(viewer.save(b"entity-tag"));
    assert!(viewer.save(b"etag"));
    assert!(!viewer.save(&[0; KEEPSAKE_BYTES + 1]));
    let again = region.viewer(viewer.id()).unwrap();
    assert_eq!((again.counters(), again.owner()), (told, Some(CoreId(1))));
    assert_eq!(again.load().as_deref(), Some(&b"etag"[..]));
    assert_eq!(region.viewers(), [viewer.id()]);
    viewer.close();
    assert!(matches!(region.viewer(viewer.id()), Err(LinkError::Stale)));
    let next = region.open_viewer(4).unwrap();
    viewer.raise_lease(Lease::Video, 1);
    viewer.close();
    assert!(next.is_open());
    assert_eq!((next.lease(Lease::Video), next.lease(Lease::Audio)), (0, 0));
    assert_eq!(next.load(), Some(vec![]));
}

#[test]
fn counters_add_up() {
    let region = tiny();
    let stats = region.stats(CoreId(1)).unwrap();
    stats.add(Counter::PacketSent, 2);
    stats.add(Counter::PacketSent, 3);
    stats.set(Counter::ViewerActive, 8);
    stats.beat(Time(11));
    stats.set_applied(4);
    let seen = region.stats(CoreId(1)).unwrap();
    assert_eq!(
        (
            seen.read(Counter::PacketSent),
            seen.read(Counter::ViewerActive)
        ),
        (5, 8)
    );
    assert_eq!((seen.heartbeat(), seen.applied()), (Time(11), 4));
    assert_eq!(
        region.stats(CoreId(0)).unwrap().read(Counter::PacketSent),
        0
    );
    let names: std::collections::HashSet<_> =
        crate::stats::COUNTERS.iter().map(|c| c.name()).collect();
    assert_eq!(names.len(), crate::stats::COUNTERS.len(), "every name once");
}

#[test]
fn a_sleeper_is_woken_by_packets_and_commands_only_when_it_sleeps() {
    let region = tiny();
    let stream = region.open_stream(0, "s").unwrap();
    let sleeper = region.sleeper(CoreId(0)).unwrap();
    let mut writer = region.log_writer(stream).unwrap();
    let _reader = region.log_reader(stream, CoreId(0)).unwrap();
    let mut send = || {
        writer.append(&packet(AUDIO, Flags::NONE), &[b"x"]).unwrap();
        writer.publish();
    };
    send();
    assert!(!readable(&sleeper));
    sleeper.prepare();
    send();
    assert!(readable(&sleeper));
    sleeper.clear();
    assert!(!readable(&sleeper));
    sleeper.prepare();
    let mut commands = region.commands_producer(CoreId(0)).unwrap();
    commands.push(&Command::RemovePublisher(stream)).unwrap();
    assert!(readable(&sleeper));
}

fn readable(sleeper: &Sleeper) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(sleeper.fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}
