//! Opens what browsers and servers really sent: every capture in the corpus that has its keys.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::fs;
use std::path::{Path, PathBuf};

use freshet_seal::{Opener, Profile, Refusal, Sealer, Secret};
use wire::demux::{Class, classify};
use wire::rtp;

/// Where `name.pcap` and `name.srtp.json` lie.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/webrtc");

/// Bytes of the headers before a UDP payload: Ethernet, IPv4 without options, UDP.
const HEADERS_BYTES: usize = 14 + 20 + 8;

struct Capture {
    profile: Profile,
    /// Master key and salt of the DTLS client and of the server.
    keys: [Vec<u8>; 2],
    /// Whether the server sent it, and the UDP payload.
    datagrams: Vec<(bool, Vec<u8>)>,
}

impl Capture {
    fn secret(&self, from_server: bool) -> Secret {
        let keys = &self.keys[usize::from(from_server)];
        let (key, salt) = keys.split_at(self.profile.key_bytes());
        Secret::new(self.profile, key, salt).unwrap()
    }
}

fn captures() -> Vec<(PathBuf, Capture)> {
    let files = fs::read_dir(CORPUS)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let keys = files.filter(|path| path.to_string_lossy().ends_with(".srtp.json"));
    keys.map(|path| (path.clone(), read(&path))).collect()
}

fn read(keys: &Path) -> Capture {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(keys).unwrap()).unwrap();
    let text = |name: &str| json[name].as_str().unwrap();
    let profile = match text("profile") {
        "SRTP_AEAD_AES_128_GCM" => Profile::AeadAes128Gcm,
        "SRTP_AEAD_AES_256_GCM" => Profile::AeadAes256Gcm,
        "SRTP_AES128_CM_SHA1_80" => Profile::Aes128CmSha1_80,
        "SRTP_AES128_CM_SHA1_32" => Profile::Aes128CmSha1_32,
        other => panic!("{other}"),
    };
    let keys_of = ["client_write_key_salt", "server_write_key_salt"].map(|name| hex(text(name)));
    let pcap = fs::read(keys.with_extension("").with_extension("pcap")).unwrap();
    Capture {
        profile,
        keys: keys_of,
        datagrams: datagrams(&pcap),
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The UDP payloads of a pcap file: little-endian, Ethernet, IPv4. The server has the ports from
/// 8000 to 8999.
fn datagrams(pcap: &[u8]) -> Vec<(bool, Vec<u8>)> {
    assert_eq!(pcap[..4], [0xd4, 0xc3, 0xb2, 0xa1], "a little-endian pcap");
    assert_eq!(pcap[20], 1, "Ethernet");
    let (mut at, mut found) = (24, Vec::new());
    while at < pcap.len() {
        let bytes = u32::from_le_bytes(pcap[at + 8..at + 12].try_into().unwrap());
        let frame = &pcap[at + 16..][..usize::try_from(bytes).unwrap()];
        at += 16 + frame.len();
        // IPv4 with the shortest header, UDP.
        if frame[12..15] != [0x08, 0x00, 0x45] || frame[23] != 17 {
            continue;
        }
        let port = u16::from_be_bytes([frame[34], frame[35]]);
        let udp_bytes = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
        let payload = &frame[HEADERS_BYTES..][..udp_bytes - 8];
        found.push(((8000..9000).contains(&port), payload.to_vec()));
    }
    found
}

#[test]
fn every_packet_opens() {
    let captures = captures();
    assert!(!captures.is_empty(), "no capture in {CORPUS}");
    for (path, capture) in captures {
        let name = path.display();
        let mut openers =
            [false, true].map(|from_server| Opener::new(&capture.secret(from_server)).unwrap());
        let (mut rtp_packets, mut rtcp_packets) = ([0; 2], [0; 2]);
        for (n, (from_server, datagram)) in capture.datagrams.iter().enumerate() {
            let side = usize::from(*from_server);
            let (opener, mut packet) = (&mut openers[side], datagram.clone());
            match classify(datagram) {
                Class::Rtp => {
                    let opened = opener.rtp(&mut packet);
                    let opened = opened.unwrap_or_else(|e| panic!("{name} {n}: {e:?}"));
                    let view = rtp::Packet::parse(opened.packet);
                    assert!(view.is_ok(), "{name} {n}: {view:?}");
                    rtp_packets[side] += 1;
                    assert_eq!(opener.rtp(&mut datagram.clone()), Err(Refusal::Replay));
                }
                Class::Rtcp => {
                    let opened = opener.rtcp(&mut packet);
                    let opened = opened.unwrap_or_else(|e| panic!("{name} {n}: {e:?}"));
                    assert!(is_compound(opened), "{name} {n}: {opened:02x?}");
                    rtcp_packets[side] += 1;
                    assert_eq!(opener.rtcp(&mut datagram.clone()), Err(Refusal::Replay));
                }
                _ => {}
            }
        }
        println!("{name}: RTP {rtp_packets:?}, RTCP {rtcp_packets:?} of client and server");
        // The shortest one is of a second.
        assert!(rtp_packets.iter().sum::<i32>() > 200, "{name}");
        assert!(rtcp_packets.iter().all(|&packets| packets > 3), "{name}");
    }
}

/// Whether the lengths lead from packet to packet to the very end.
fn is_compound(mut rest: &[u8]) -> bool {
    while let [first, 192..=223, high, low, ..] = *rest {
        let bytes = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        let (2, Some(next)) = (first >> 6, rest.get(bytes..)) else {
            return false;
        };
        rest = next;
    }
    rest.is_empty()
}

/// Sealed again with the same key and index, each RTP packet is what was captured, bit by bit.
#[test]
fn every_rtp_packet_seals_to_itself() {
    for (path, capture) in captures() {
        for from_server in [false, true] {
            let secret = capture.secret(from_server);
            let mut opener = Opener::new(&secret).unwrap();
            let sealer = Sealer::new(&secret).unwrap();
            for (_, datagram) in capture
                .datagrams
                .iter()
                .filter(|(side, _)| *side == from_server)
            {
                if classify(datagram) != Class::Rtp {
                    continue;
                }
                let mut packet = datagram.clone();
                let opened = opener.rtp(&mut packet).unwrap();
                let clear = rtp::Packet::parse_sealed(datagram).unwrap().header_bytes();
                let (header, payload) = opened.packet.split_at(clear);
                let mut out = vec![0; datagram.len()];
                let sealed = sealer.rtp(opened.index, header, payload, &mut out);
                assert_eq!(sealed, Some(datagram.len()));
                assert_eq!(&out, datagram, "{}", path.display());
            }
        }
    }
}
