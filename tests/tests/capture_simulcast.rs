//! What Chromium sends when it publishes VP8 in three layers at once, and how its layers relate.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::collections::BTreeMap;

use freshet_tests::place::corpus;
use seal::{Opener, Profile, Secret};
use wire::demux::{Class, classify};
use wire::payload::av1::{Descriptor, Structure};
use wire::payload::vp8::{self, Vp8Descriptor};
use wire::rtp::Packet;
use wire::rtp_ext::find;

const NAME: &str = "webrtc/whip_chromium156_vp8_simulcast";

/// The server's port.
const PORT: [u8; 2] = 8101_u16.to_be_bytes();

/// What the answer of that session negotiated.
const VIDEO_TYPE: u8 = 96;
const RID_ID: u8 = 10;
const DEPENDENCY_ID: u8 = 12;

/// Bytes of the headers before a UDP payload: Ethernet, IPv4 without options, UDP.
const HEADERS_BYTES: usize = 14 + 20 + 8;

/// A packet of a layer.
struct Seen {
    ssrc: u32,
    timestamp: u32,
    marker: bool,
    rid: Option<Vec<u8>>,
    descriptor: Vec<u8>,
    payload: Vec<u8>,
}

/// The browser's packets of video, without those that carry nothing.
fn packets() -> Vec<Seen> {
    let json = std::fs::read(corpus(&format!("{NAME}.srtp.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let hex = json["client_write_key_salt"].as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let key: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let secret = Secret::new(Profile::AeadAes128Gcm, &key[..16], &key[16..]).unwrap();
    let mut opener = Opener::new(&secret).unwrap();
    let pcap = std::fs::read(corpus(&format!("{NAME}.pcap"))).unwrap();
    let (mut at, mut found) = (24, Vec::new());
    while at < pcap.len() {
        let bytes = u32::from_le_bytes(pcap[at + 8..at + 12].try_into().unwrap());
        let frame = &pcap[at + 16..][..usize::try_from(bytes).unwrap()];
        at += 16 + frame.len();
        if frame[12..15] != [0x08, 0x00, 0x45] || frame[23] != 17 || frame[36..38] != PORT {
            continue;
        }
        let mut datagram = frame[HEADERS_BYTES..].to_vec();
        if classify(&datagram) != Class::Rtp {
            continue;
        }
        let opened = opener.rtp(&mut datagram).unwrap();
        let packet = Packet::parse(opened.packet).unwrap();
        if packet.payload_type() == VIDEO_TYPE && !packet.payload().is_empty() {
            let extension = packet.extension().unwrap();
            found.push(Seen {
                ssrc: packet.ssrc(),
                timestamp: packet.timestamp(),
                marker: packet.marker(),
                rid: find(extension, RID_ID).map(<[u8]>::to_vec),
                descriptor: find(extension, DEPENDENCY_ID).unwrap().to_vec(),
                payload: packet.payload().to_vec(),
            });
        }
    }
    found
}

/// A layer: what it has told of itself, and its frames, by the first packet of each.
#[derive(Default)]
struct Layer {
    rid: Vec<u8>,
    structure: Structure,
    /// The timestamp and the descriptor.
    frames: Vec<(u32, Descriptor)>,
    sizes: Vec<(u16, u16)>,
}

fn layers(packets: &[Seen]) -> BTreeMap<u32, Layer> {
    let mut layers: BTreeMap<u32, Layer> = BTreeMap::new();
    for seen in packets {
        let layer = layers.entry(seen.ssrc).or_default();
        if let Some(rid) = &seen.rid {
            layer.rid.clone_from(rid);
        }
        let frame = layer.structure.read(&seen.descriptor).unwrap();
        let read = Vp8Descriptor::parse(&seen.payload).unwrap();
        assert_eq!(frame.ends, seen.marker);
        assert_eq!(frame.begins, read.begins_frame());
        // What both tell, they tell alike.
        assert_eq!(read.is_key, frame.is_key());
        assert_eq!(read.is_non_reference, frame.is_discardable());
        if let Some(size) = read.size {
            assert_eq!(Some(size), frame.size);
            layer.sizes.push((size.width, size.height));
        }
        if frame.begins {
            layer.frames.push((seen.timestamp, frame));
        } else {
            let (timestamp, first) = layer.frames.last().unwrap();
            assert_eq!(
                (*timestamp, first.frame_number),
                (seen.timestamp, frame.frame_number)
            );
        }
    }
    layers
}

#[test]
fn the_dependency_descriptor_tells_what_the_payload_does_not() {
    let packets = packets();
    assert!(packets.len() > 100, "{}", packets.len());
    for seen in &packets {
        // With a dependency descriptor, VP8's own is as short as can be.
        let mut payload = seen.payload.clone();
        assert_eq!(Vp8Descriptor::parse(&payload).unwrap().len_bytes, 1);
        assert_eq!(vp8::minimize(&mut payload), 0);
        assert_eq!(payload, seen.payload);
    }
    let layers = layers(&packets);
    let mut by_rid: BTreeMap<&[u8], &Layer> = BTreeMap::new();
    for layer in layers.values() {
        by_rid.insert(&layer.rid, layer);
        assert_eq!(
            (layer.structure.targets(), layer.structure.spatial_layers()),
            (3, 1)
        );
        assert!(layer.frames[0].1.is_key());
        for (_, frame) in &layer.frames {
            assert_eq!(frame.is_discardable(), frame.temporal == 2);
        }
        let temporal = |wanted| {
            layer
                .frames
                .iter()
                .filter(move |(_, f)| f.temporal == wanted)
        };
        assert!(temporal(2).count() > temporal(1).count());
        assert!(temporal(1).count() > 2);
    }
    let sizes = [
        (&b"f"[..], (1280, 720)),
        (b"h", (640, 360)),
        (b"q", (320, 180)),
    ];
    assert_eq!(by_rid.len(), sizes.len());
    for (rid, size) in sizes {
        assert!(by_rid[rid].sizes.iter().all(|found| *found == size));
    }
}

#[test]
fn timestamps_of_the_layers_differ_by_a_constant_and_numbers_run_together() {
    let packets = packets();
    let layers: Vec<Layer> = layers(&packets).into_values().collect();
    // One counter for the frames of all layers.
    let mut numbers: Vec<u16> = layers
        .iter()
        .flat_map(|layer| layer.frames.iter().map(|(_, frame)| frame.frame_number))
        .collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    // Most frames of a layer have one of the other with the same time since the two began to count.
    for (one, other) in [(0, 1), (1, 2), (0, 2)] {
        let mut differences: BTreeMap<u32, usize> = BTreeMap::new();
        for (a, _) in &layers[one].frames {
            for (b, _) in &layers[other].frames {
                *differences.entry(a.wrapping_sub(*b)).or_default() += 1;
            }
        }
        let most = differences.into_values().max().unwrap();
        let frames = layers[one].frames.len().min(layers[other].frames.len());
        assert!(most + 3 >= frames, "{most} of {frames} frames");
    }
}
