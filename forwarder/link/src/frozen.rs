//! The link as bytes, kept in files: what one release writes the next one has to read. A change of
//! meaning or place shows here first.

use crate::command::{
    AddPublisher, AddViewer, COMMAND_BYTES, Codec, Command, Encoding, Hears, IceCredentials,
    Origin, PassPublisher, Pin, Rid, TrackIn, TrackOut, Wants,
};
use crate::event::{EVENT_BYTES, Event, Gone};
use crate::ids::{CoreId, StreamId, ViewerId};
use crate::keys::{MasterKey, Profile, SrtpKeys};
use crate::lanes::Lanes;
use crate::limits::Limits;
use crate::region::{LAYOUT_OLDEST, LAYOUT_VERSION, frozen_header, reads_header};
use std::fmt::Write;
use std::path::PathBuf;
use wire::peer::{Ip, Peer};

/// Longer than anything that is kept, zeros at the end included.
const PADDED_BYTES: usize = 1 << 16;

const VIEWER: ViewerId = ViewerId {
    index: 0x0102_0304,
    generation: 0x0506_0708,
};
const STREAM: StreamId = StreamId {
    index: 0x090a_0b0c,
    generation: 0x0d0e_0f10,
};
const ICE: IceCredentials = IceCredentials {
    ufrag: *b"ufragufragufrag0",
    pwd: *b"passwordpasswordpassword",
};

fn peer(n: u8) -> Peer {
    Peer {
        ip: Ip([n; 16]),
        port: 0x1100 + u16::from(n),
    }
}

fn keys(profile: Profile) -> SrtpKeys {
    let half = |n| MasterKey {
        key: [n; 32],
        salt: [n + 1; 14],
    };
    SrtpKeys {
        profile,
        send: half(0x20),
        receive: half(0x30),
    }
}

fn add_viewer() -> AddViewer {
    let track = |n: u8| TrackOut {
        ssrc: 0x4000 + u32::from(n),
        rtx_ssrc: 0x5000 + u32::from(n),
        clock_hz: 90_000,
        timestamp_offset: 0x6000,
        payload_type: 96 + n,
        rtx_payload_type: 98 + n,
        ext_bytes: 12,
        transport_cc_at: 6,
        ext: [0x70 + n; 24],
        elements: [1, 2, 200],
        red_payload_type: 63,
        name_at: 5,
        repaired_rid_id: 11,
        hears: Hears::NACK.with(Hears::REMB, true),
        first_index: 0x8000 + u64::from(n),
        rtx_first_index: 0x9000,
    };
    AddViewer {
        viewer: VIEWER,
        stream: STREAM,
        peer: peer(1),
        local: Ip([2; 16]),
        ice: ICE,
        keys: keys(Profile::AeadAes128Gcm),
        tracks: [track(0), track(1)],
        rtcp_first_index: 0xa000,
        encoding: Some(Encoding {
            leader: VIEWER,
            lane: 2,
        }),
    }
}

fn add_publisher() -> AddPublisher {
    AddPublisher {
        stream: STREAM,
        viewer: Some(VIEWER),
        peer: peer(3),
        keys: keys(Profile::Aes128CmSha1_80),
        audio: Origin {
            peer: peer(4),
            profile: Profile::AeadAes256Gcm,
            key: keys(Profile::Plain).receive,
        },
        lanes: [1, 2, 3, 4].map(|n| TrackIn {
            ssrc: n,
            rtx_ssrc: 0x10 + n,
            clock_hz: 48_000,
            payload_type: 100,
            rtx_payload_type: 101,
            codec: Codec::H264,
            wants: Wants::ALL,
            rid: Rid::new(b"hi").unwrap(),
            elements: [3, 4, 5],
            red_payload_type: 64,
        }),
        rid_id: 10,
        repaired_rid_id: 11,
        transport_cc_id: 12,
        remb_bps: 0xb000,
    }
}

fn commands() -> [(&'static str, Command); 10] {
    let pin = Pin {
        lane: Some(1),
        spatial_max: 2,
        temporal_max: 1,
    };
    let pass = PassPublisher {
        stream: STREAM,
        core: CoreId(3),
        peers: [peer(5), peer(6)],
    };
    let restart = Command::RestartIce {
        viewer: VIEWER,
        ice: ICE,
    };
    [
        ("add_viewer", Command::AddViewer(add_viewer())),
        ("remove_viewer", Command::RemoveViewer(VIEWER)),
        ("restart_ice", restart),
        ("add_publisher", Command::AddPublisher(add_publisher())),
        ("pass_publisher", Command::PassPublisher(pass)),
        ("remove_publisher", Command::RemovePublisher(STREAM)),
        ("ask_keyframe", Command::AskKeyframe(STREAM, Lanes::only(2))),
        ("choose_layer", Command::ChooseLayer(VIEWER, pin)),
        ("consent", Command::Consent(VIEWER)),
        ("close_stream", Command::CloseStream(STREAM)),
    ]
}

fn events() -> [(&'static str, Event); 9] {
    let wanted = Event::KeyframeWanted(STREAM, Lanes::only(3));
    [
        ("viewer_added", Event::ViewerAdded(VIEWER)),
        ("viewer_refused", Event::ViewerRefused(VIEWER)),
        ("viewer_expired", Event::ViewerGone(VIEWER, Gone::Consent)),
        ("viewer_bye", Event::ViewerGone(VIEWER, Gone::Bye)),
        ("key_worn_out", Event::ViewerGone(VIEWER, Gone::KeyWornOut)),
        ("viewer_moved", Event::ViewerMoved(VIEWER, peer(7))),
        ("publisher_added", Event::PublisherAdded(STREAM)),
        ("publisher_refused", Event::PublisherRefused(STREAM)),
        ("keyframe_wanted", wanted),
    ]
}

fn command_bytes(command: &Command) -> Vec<u8> {
    let mut bytes = [0; COMMAND_BYTES];
    command.encode(&mut bytes);
    bytes.into()
}

fn event_bytes(event: &Event) -> Vec<u8> {
    let mut bytes = [0; EVENT_BYTES];
    event.encode(&mut bytes);
    bytes.into()
}

/// Name and hexadecimal of everything, a line for each; zeros at the end are left out.
fn written() -> String {
    let commands = commands().map(|(name, command)| (name, command_bytes(&command)));
    let events = events().map(|(name, event)| (name, event_bytes(&event)));
    let header = ("header", frozen_header(&Limits::default()));
    let mut text = String::new();
    for (name, bytes) in commands.into_iter().chain(events).chain([header]) {
        let used = bytes.iter().rposition(|byte| *byte != 0);
        text.push_str(name);
        text.push(' ');
        for byte in &bytes[..used.map_or(0, |last| last + 1)] {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn file(layout: u32) -> PathBuf {
    let name = format!("src/frozen/layout-{layout}.txt");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_link_is_what_it_was() {
    let now = written();
    if std::env::var_os("FRESHET_BLESS").is_some() {
        std::fs::write(file(LAYOUT_VERSION), &now).unwrap();
    }
    let was = std::fs::read_to_string(file(LAYOUT_VERSION)).unwrap_or_default();
    for (now, was) in now.lines().zip(was.lines()) {
        assert_eq!(
            now, was,
            "the other process may be of another release: what is only appended goes on with \
             FRESHET_BLESS=1; else count up LAYOUT_VERSION, and bless that"
        );
    }
    assert_eq!(now.lines().count(), was.lines().count());
}

#[test]
fn what_the_releases_before_wrote_is_read() {
    for layout in LAYOUT_OLDEST..=LAYOUT_VERSION {
        let text = std::fs::read_to_string(file(layout)).unwrap();
        for line in text.lines() {
            let (name, hex) = line.split_once(' ').unwrap();
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let mut bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            bytes.resize(PADDED_BYTES, 0);
            if name == "header" {
                assert_eq!(reads_header(&bytes), Some(Limits::default()), "{layout}");
            } else if let Some((_, wanted)) = commands().iter().find(|(other, _)| *other == name) {
                let read = Command::decode(bytes.first_chunk().unwrap());
                let read = read.unwrap_or_else(|| panic!("{layout}: {name} is not understood"));
                assert_eq!(
                    command_bytes(&read),
                    command_bytes(wanted),
                    "{layout}: {name}"
                );
            } else {
                let read = Event::decode(bytes.first_chunk().unwrap());
                let wanted = events().into_iter().find(|(other, _)| *other == name);
                assert_eq!(read, wanted.map(|(_, event)| event), "{layout}: {name}");
            }
        }
    }
}
