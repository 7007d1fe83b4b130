//! What a browser really sent: every packet of its media ends in the log, in order.

use std::collections::BTreeMap;

use link::command::{AUDIO, Codec, TrackIn, VIDEO, Wants};
use link::ids::{CoreId, StreamId};
use link::keys::{MasterKey, SrtpKeys};
use link::stats::Counter;
use seal::{Opener, Profile, Secret};
use wire::datagram::RxMeta;
use wire::demux::{Class, classify};
use wire::rtp::Packet;
use wire::time::{Span, Time};

use crate::peer::Peer;
use crate::world::World;

const NAME: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/corpus/webrtc/whip_chromium156_h264"
);

/// The server's port.
const PORT: [u8; 2] = 8101_u16.to_be_bytes();

/// What Chromium's answer of that session negotiated.
const VIDEO_TYPE: u8 = 108;
const RTX_TYPE: u8 = 109;
const AUDIO_TYPE: u8 = 111;
const TRANSPORT_ID: u8 = 3;

/// Bytes of the headers before a UDP payload: Ethernet, IPv4 without options, UDP.
const HEADERS_BYTES: usize = 14 + 20 + 8;

/// Key and salt of the browser, who was the DTLS client.
fn key() -> MasterKey {
    let json = std::fs::read_to_string(format!("{NAME}.srtp.json")).unwrap();
    let (_, rest) = json.split_once("\"client_write_key_salt\": \"").unwrap();
    let byte = |at: usize| u8::from_str_radix(&rest[2 * at..2 * at + 2], 16).unwrap();
    let mut master = MasterKey::default();
    for at in 0..16 {
        master.key[at] = byte(at);
    }
    for at in 0..12 {
        master.salt[at] = byte(16 + at);
    }
    master
}

/// When the browser sent what.
fn datagrams() -> Vec<(Span, Vec<u8>)> {
    let pcap = std::fs::read(format!("{NAME}.pcap")).unwrap();
    let word = |at: usize| u32::from_le_bytes(pcap[at..at + 4].try_into().unwrap());
    let (mut at, mut found) = (24, Vec::new());
    while at < pcap.len() {
        let micros = u64::from(word(at)) * 1_000_000 + u64::from(word(at + 4));
        let frame = &pcap[at + 16..][..word(at + 8) as usize];
        at += 16 + frame.len();
        let is_udp = frame[12..15] == [0x08, 0x00, 0x45] && frame[23] == 17;
        if is_udp && frame[36..38] == PORT {
            let bytes = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
            found.push((
                Span::micros(micros),
                frame[HEADERS_BYTES..34 + bytes].to_vec(),
            ));
        }
    }
    found
}

/// The payloads of each track, as their numbers have them.
fn expected(datagrams: &[(Span, Vec<u8>)], master: &MasterKey) -> [Vec<Vec<u8>>; 2] {
    let profile = Profile::AeadAes128Gcm;
    let secret = Secret::new(profile, &master.key[..16], &master.salt[..12]).unwrap();
    let mut opener = Opener::new(&secret).unwrap();
    let mut tracks = [BTreeMap::new(), BTreeMap::new()];
    for (_, datagram) in datagrams {
        if classify(datagram) != Class::Rtp {
            continue;
        }
        let mut bytes = datagram.clone();
        let opened = opener.rtp(&mut bytes).unwrap();
        let packet = Packet::parse(opened.packet).unwrap();
        let lane = match packet.payload_type() {
            VIDEO_TYPE => VIDEO,
            AUDIO_TYPE => AUDIO,
            _ => continue,
        };
        if !packet.payload().is_empty() {
            tracks[lane].insert(opened.index, packet.payload().to_vec());
        }
    }
    tracks.map(|track| track.into_values().collect())
}

/// The browser as a publisher. What goes back is sealed by a key of the test's own.
fn browser(world: &mut World, stream: StreamId, master: MasterKey) -> Peer {
    let keys = SrtpKeys {
        profile: Profile::AeadAes128Gcm,
        receive: master,
        ..SrtpKeys::default()
    };
    Peer::join_with(world, stream, |add| {
        add.keys = keys;
        add.transport_cc_id = TRANSPORT_ID;
        add.lanes[VIDEO] = TrackIn {
            clock_hz: 90_000,
            payload_type: VIDEO_TYPE,
            rtx_payload_type: RTX_TYPE,
            codec: Codec::H264,
            wants: Wants::ALL,
            ..TrackIn::default()
        };
        add.lanes[AUDIO].payload_type = AUDIO_TYPE;
    })
}

/// Sends what was captured at its time: how many packets of RTP and of RTCP.
fn play(world: &mut World, at: RxMeta, datagrams: &[(Span, Vec<u8>)]) -> (usize, u64) {
    let began = world.now;
    let first = datagrams[0].0;
    let (mut rtp, mut rtcp) = (0, 0);
    for (when, datagram) in datagrams {
        match classify(datagram) {
            Class::Rtp => rtp += 1,
            Class::Rtcp => rtcp += 1,
            _ => continue,
        }
        let due = began + Span(when.0 - first.0);
        while world.now + Span::millis(1) < due {
            world.turn(1);
        }
        world.now = Time(due.0.max(world.now.0));
        world.send(0, at, datagram);
    }
    (rtp, rtcp)
}

#[test]
fn all_that_a_browser_sent_is_in_the_log() {
    let (datagrams, master) = (datagrams(), key());
    let expected = expected(&datagrams, &master);
    assert!(expected[VIDEO].len() > 400 && expected[AUDIO].len() > 200);
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/browser").unwrap();
    let mut peer = browser(&mut world, stream, master);
    let watcher = world.join(stream);
    let at = world.viewers[peer.viewer].at;
    let (rtp, rtcp) = play(&mut world, at, &datagrams);
    world.run(300, 1);
    let viewer = &world.viewers[watcher];
    viewer.assert_continuous();
    for lane in [VIDEO, AUDIO] {
        let got: Vec<&Vec<u8>> = viewer.got[lane].iter().map(|got| &got.payload).collect();
        assert_eq!(
            got,
            expected[lane].iter().collect::<Vec<_>>(),
            "track {lane}"
        );
    }
    let intake = world
        .region
        .stream_stats(stream, CoreId(0))
        .unwrap()
        .intake();
    assert_eq!(
        intake.packets,
        [
            expected[VIDEO].len() as u64,
            expected[AUDIO].len() as u64,
            0,
            0
        ]
    );
    assert!(
        intake.keyframes >= 1 && intake.frames[VIDEO] > 100,
        "{intake:?}"
    );
    assert_eq!((intake.lost, world.count(Counter::RtpUnknownSsrc)), (0, 0));
    // A frame leaves as one run, although the browser cuts it into packets of two sizes.
    let sound = expected[AUDIO].len() as u64;
    let told: usize = world.viewers.iter().map(|viewer| viewer.rtcp.len()).sum();
    let runs = world.count(Counter::RunSent) - sound - told as u64;
    assert!(
        runs <= intake.frames[VIDEO] * 23 / 20,
        "{runs} runs for {} frames",
        intake.frames[VIDEO]
    );
    // It probed with padding and with repairs of what had come.
    assert_eq!(world.count(Counter::RtpPadding), 6);
    assert_eq!(world.count(Counter::RtpDuplicate), 6);
    // All of its reports were understood, and so are ours: of both tracks it knows the delay.
    assert!(rtcp > 10);
    assert_eq!(world.count(Counter::ReportReceived), rtcp);
    let answers = peer.answers(&world);
    let echoed = |lane: usize| {
        let ssrc = [950_761_573, 1_936_359_539][lane];
        let mut blocks = answers.blocks.iter().filter(|block| block.ssrc == ssrc);
        blocks.any(|block| block.last_sr != 0)
    };
    assert!(echoed(VIDEO) && echoed(AUDIO));
    let came = answers.transport.iter().filter(|(_, at)| at.is_some());
    assert_eq!(came.count(), rtp);
    assert_eq!(
        (
            answers.nacks,
            answers.blocks.iter().map(|b| b.cumulative_lost).sum()
        ),
        (0, 0)
    );
}
