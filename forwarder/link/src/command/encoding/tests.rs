//! Commands and events through their bytes.

use super::*;
use crate::command::TRACKS_MAX;
use crate::event::{EVENT_BYTES, Event, Gone};
use proptest::prelude::*;
use zeroize::Zeroize;

/// Any bytes under a kind that exists; with fields in range where there is a range.
fn plausible() -> impl Strategy<Value = [u8; COMMAND_BYTES]> {
    let noise = prop::collection::vec(any::<u8>(), COMMAND_BYTES);
    (0u32..11, noise, any::<bool>()).prop_map(|(kind, noise, tame)| {
        let mut bytes: [u8; COMMAND_BYTES] = noise.try_into().unwrap();
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        if tame {
            // Profile, then what `take_track` checks, by the offsets of AddViewer.
            bytes[94..98].copy_from_slice(&7u32.to_le_bytes());
            for track in [190, 252] {
                bytes[track + 12..track + 16].copy_from_slice(&[96, 97, 8, 0]);
                bytes[track + 43..track + 46].copy_from_slice(&[63, 4, 9]);
                bytes[track + 52..track + 54].fill(0);
                bytes[track + 60..track + 62].fill(0);
            }
            bytes[317..322].fill(0);
            bytes[330] = 3;
            // Profile, codecs and the extension of AddPublisher.
            if kind == ADD_PUBLISHER {
                bytes[38..42].copy_from_slice(&1u32.to_le_bytes());
                bytes[152..156].copy_from_slice(&8u32.to_le_bytes());
                for lane in [202, 234, 266, 298] {
                    bytes[lane + 12..lane + 16].copy_from_slice(&[96, 97, 5, 7]);
                }
                bytes[330..333].copy_from_slice(&[10, 11, 14]);
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn what_is_understood_is_written_back_the_same(bytes in plausible()) {
        if let Some(command) = Command::decode(&bytes) {
            let mut again = [0xff; COMMAND_BYTES];
            command.encode(&mut again);
            let used = again.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            prop_assert_eq!(&again[..used], &bytes[..used]);
            prop_assert!(Command::decode(&again).is_some());
        }
    }

    #[test]
    fn any_event_bytes_are_survived(bytes in prop::array::uniform32(any::<u8>())) {
        let mut slot = [0; EVENT_BYTES];
        slot[..32].copy_from_slice(&bytes);
        slot[1..4].fill(0);
        slot[0] %= 9;
        if let Some(event) = Event::decode(&slot) {
            let mut again = [0; EVENT_BYTES];
            event.encode(&mut again);
            prop_assert_eq!(Event::decode(&again), Some(event));
        }
    }
}

fn add_viewer() -> AddViewer {
    let track = |n: u8| TrackOut {
        ssrc: u32::from(n) + 1,
        rtx_ssrc: u32::from(n) + 2,
        clock_hz: 90_000,
        timestamp_offset: 0xdead_beef,
        payload_type: 96 + n,
        rtx_payload_type: 97 + n,
        ext_bytes: 24,
        transport_cc_at: 22,
        ext: [n + 3; EXT_BYTES_MAX],
        elements: [1, 2, 255],
        red_payload_type: 63,
        name_at: 23,
        repaired_rid_id: 14,
        hears: Hears::NACK.with(Hears::BY_SOURCE, n == 0),
        first_index: INDEX_MAX,
        rtx_first_index: 0x1234_5678_9abc,
    };
    AddViewer {
        viewer: ViewerId {
            index: 1,
            generation: 2,
        },
        stream: StreamId {
            index: 3,
            generation: 4,
        },
        peer: Peer {
            ip: Ip([5; 16]),
            port: 6,
        },
        local: Ip([7; 16]),
        ice: IceCredentials {
            ufrag: [8; 16],
            pwd: [9; 24],
        },
        keys: SrtpKeys {
            profile: Profile::AeadAes128Gcm,
            send: MasterKey {
                key: [10; 32],
                salt: [11; 14],
            },
            receive: MasterKey {
                key: [12; 32],
                salt: [13; 14],
            },
        },
        tracks: [track(0), track(1)],
        rtcp_first_index: RTCP_INDEX_MAX,
        encoding: Some(Encoding {
            leader: ViewerId {
                index: 14,
                generation: 15,
            },
            lane: 3,
        }),
    }
}

#[test]
fn a_viewer_arrives_field_by_field() {
    let sent = add_viewer();
    let mut bytes = [0xff; COMMAND_BYTES];
    Command::AddViewer(sent).encode(&mut bytes);
    let Some(Command::AddViewer(got)) = Command::decode(&bytes) else {
        panic!("not understood");
    };
    assert_eq!((got.viewer, got.stream), (sent.viewer, sent.stream));
    assert_eq!((got.peer, got.local), (sent.peer, sent.local));
    assert!(got.ice == sent.ice);
    assert_eq!(got.keys.profile, sent.keys.profile);
    assert_eq!(got.keys.send.key, sent.keys.send.key);
    assert_eq!(got.keys.receive.salt, sent.keys.receive.salt);
    assert_eq!(got.tracks, sent.tracks);
    assert_eq!(got.rtcp_first_index, sent.rtcp_first_index);
    assert_eq!(got.encoding, sent.encoding);
    let alone = AddViewer {
        encoding: None,
        ..sent
    };
    let Command::AddViewer(got) = through(Command::AddViewer(alone)) else {
        panic!("another kind");
    };
    assert_eq!(got.encoding, None);
}

/// Who does not know that feedback is negotiated leaves zeros.
#[test]
fn without_a_word_on_feedback_all_of_it_is_heard() {
    let mut bytes = [0; COMMAND_BYTES];
    let mut sent = add_viewer();
    for track in &mut sent.tracks {
        track.hears = Hears::NONE;
    }
    Command::AddViewer(sent).encode(&mut bytes);
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last - 1..=last].fill(0);
    let Some(Command::AddViewer(got)) = Command::decode(&bytes) else {
        panic!("not understood");
    };
    assert_eq!(
        got.tracks.map(|track| track.hears),
        [Hears::ALL; TRACKS_MAX]
    );
    bytes[last] = 64;
    assert!(Command::decode(&bytes).is_none(), "of no known kind");
}

#[test]
fn fields_out_of_range_are_refused() {
    let refused = |spoil: &dyn Fn(&mut AddViewer)| {
        let mut add = add_viewer();
        spoil(&mut add);
        let mut bytes = [0; COMMAND_BYTES];
        Command::AddViewer(add).encode(&mut bytes);
        Command::decode(&bytes).is_none()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|add| add.tracks[1].payload_type = 128));
    assert!(refused(&|add| add.tracks[0].ext_bytes = 28));
    assert!(refused(&|add| add.tracks[0].ext_bytes = 2));
    assert!(refused(&|add| add.tracks[0].transport_cc_at = 23));
    assert!(refused(&|add| add.tracks[0].name_at = 24));
    assert!(refused(&|add| add.tracks[1].repaired_rid_id = 15));
    assert!(refused(&|add| {
        add.encoding = add.encoding.map(|one| Encoding { lane: 4, ..one });
    }));
    assert!(refused(&|add| add.tracks[0].first_index = INDEX_MAX + 1));
    assert!(refused(&|add| add.rtcp_first_index = RTCP_INDEX_MAX + 1));
    assert!(Command::decode(&[0; COMMAND_BYTES]).is_none());
}

fn through(command: Command) -> Command {
    let mut bytes = [0; COMMAND_BYTES];
    command.encode(&mut bytes);
    Command::decode(&bytes).unwrap()
}

fn add_publisher(stream: StreamId, viewer: ViewerId) -> AddPublisher {
    AddPublisher {
        stream,
        viewer: Some(viewer),
        peer: Peer {
            ip: Ip([1; 16]),
            port: 2,
        },
        keys: SrtpKeys::default(),
        audio: Origin {
            peer: Peer {
                ip: Ip([3; 16]),
                port: 4,
            },
            profile: Profile::Aes128CmSha1_32,
            key: MasterKey {
                key: [5; 32],
                salt: [6; 14],
            },
        },
        lanes: [7, 8, 0, 12].map(|ssrc| TrackIn {
            ssrc,
            rtx_ssrc: ssrc + 2,
            clock_hz: 90_000,
            payload_type: 96,
            rtx_payload_type: 97,
            codec: Codec::Av1,
            wants: Wants::NACK.with(Wants::PLI),
            rid: Rid::new(b"high").unwrap(),
            elements: [14, 1, 2],
            red_payload_type: 127,
        }),
        rid_id: 10,
        repaired_rid_id: 11,
        transport_cc_id: 14,
        remb_bps: u64::MAX,
    }
}

#[test]
fn the_other_kinds_arrive() {
    let viewer = ViewerId {
        index: 1,
        generation: 2,
    };
    let stream = StreamId {
        index: 3,
        generation: 4,
    };
    let ice = IceCredentials {
        ufrag: [5; 16],
        pwd: [6; 24],
    };
    let publisher = add_publisher(stream, viewer);
    let removed = through(Command::RemoveViewer(viewer));
    assert!(matches!(removed, Command::RemoveViewer(v) if v == viewer));
    let restart = through(Command::RestartIce { viewer, ice });
    assert!(
        matches!(restart, Command::RestartIce { viewer: v, ice: i } if v == viewer && i == ice)
    );
    let gone = through(Command::RemovePublisher(stream));
    assert!(matches!(gone, Command::RemovePublisher(s) if s == stream));
    let closed = through(Command::CloseStream(stream));
    assert!(matches!(closed, Command::CloseStream(s) if s == stream));
    let Command::AddPublisher(got) = through(Command::AddPublisher(publisher)) else {
        panic!("another kind");
    };
    assert_eq!((got.stream, got.peer), (stream, publisher.peer));
    assert_eq!((got.viewer, got.lanes), (Some(viewer), publisher.lanes));
    assert_eq!(got.audio.peer, publisher.audio.peer);
    assert_eq!(got.audio.profile, publisher.audio.profile);
    assert_eq!(got.audio.key.key, publisher.audio.key.key);
    assert_eq!(got.audio.key.salt, publisher.audio.key.salt);
    assert_eq!((got.rid_id, got.repaired_rid_id), (10, 11));
    assert_eq!((got.transport_cc_id, got.remb_bps), (14, u64::MAX));
    let alone = AddPublisher {
        viewer: None,
        ..publisher
    };
    let Command::AddPublisher(got) = through(Command::AddPublisher(alone)) else {
        panic!("another kind");
    };
    assert_eq!(got.viewer, None);
    let pass = PassPublisher {
        stream,
        core: CoreId(7),
        peers: [publisher.peer, publisher.audio.peer],
    };
    let passed = through(Command::PassPublisher(pass));
    assert!(matches!(passed, Command::PassPublisher(p) if p == pass));
}

#[test]
fn wishes_arrive() {
    let viewer = ViewerId {
        index: 1,
        generation: 2,
    };
    let stream = StreamId {
        index: 3,
        generation: 4,
    };
    let asked = through(Command::AskKeyframe(stream, Lanes::VIDEO));
    assert!(
        matches!(asked, Command::AskKeyframe(s, lanes) if s == stream && lanes == Lanes::VIDEO)
    );
    for pin in [
        Pin::NONE,
        Pin {
            lane: Some(3),
            spatial_max: 1,
            temporal_max: 0,
        },
    ] {
        let chosen = through(Command::ChooseLayer(viewer, pin));
        assert!(matches!(chosen, Command::ChooseLayer(v, p) if v == viewer && p == pin));
        let consent = through(Command::Consent(viewer));
        assert!(matches!(consent, Command::Consent(v) if v == viewer));
    }
}

#[test]
fn every_event_arrives() {
    let viewer = ViewerId {
        index: 1,
        generation: 2,
    };
    let peer = Peer {
        ip: Ip([3; 16]),
        port: 4,
    };
    for event in [
        Event::ViewerAdded(viewer),
        Event::ViewerRefused(viewer),
        Event::ViewerGone(viewer, Gone::Consent),
        Event::ViewerGone(viewer, Gone::Bye),
        Event::ViewerGone(viewer, Gone::KeyWornOut),
        Event::ViewerMoved(viewer, peer),
        Event::PublisherAdded(StreamId {
            index: 7,
            generation: 8,
        }),
        Event::PublisherRefused(StreamId {
            index: 9,
            generation: 10,
        }),
        Event::KeyframeWanted(
            StreamId {
                index: 5,
                generation: 6,
            },
            Lanes::only(3),
        ),
    ] {
        let mut bytes = [0xff; EVENT_BYTES];
        event.encode(&mut bytes);
        assert_eq!(Event::decode(&bytes), Some(event));
    }
}

#[test]
fn wiped_commands_hold_no_key() {
    let mut command = Command::AddViewer(add_viewer());
    command.zeroize();
    let Command::AddViewer(wiped) = command else {
        panic!("another kind");
    };
    assert_eq!(wiped.keys.send.key, [0; 32]);
    assert_eq!(wiped.keys.receive.salt, [0; 14]);
    assert_eq!(wiped.ice.pwd, [0; 24]);
}
