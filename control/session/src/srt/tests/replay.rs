//! Recordings of real encoders.

use super::*;
use std::collections::BTreeMap;

/// A caller's side of a recorded conversation, played to us.
struct Recording {
    /// Time since the start in ns, and the caller's datagrams.
    datagrams: Vec<(u64, SocketAddr, Vec<u8>)>,
    /// Datagrams of the recorded listener.
    answers: Vec<Vec<u8>>,
}

impl Recording {
    fn load(name: &str) -> Self {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/srt/");
        let bytes = std::fs::read(format!("{dir}{name}.pcap")).unwrap();
        let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
        assert_eq!(
            (word(0), word(20)),
            (0xa1b2_c3d4, 1),
            "microseconds, Ethernet"
        );
        let (mut datagrams, mut answers) = (vec![], vec![]);
        let (mut at, mut start) = (24, None);
        while at < bytes.len() {
            let ns = u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4)) * 1000;
            let len = word(at + 8) as usize;
            let udp = &bytes[at + 16 + 14 + 20..at + 16 + len];
            let port = |at: usize| u16::from_be_bytes(*udp[at..].first_chunk().unwrap());
            if matches!(port(2), 9000 | 9001) {
                let since = ns - *start.get_or_insert(ns);
                datagrams.push((since, peer(port(0)), udp[8..].to_vec()));
            } else {
                answers.push(udp[8..].to_vec());
            }
            at += 16 + len;
        }
        Self { datagrams, answers }
    }

    /// Plays it, with our cookie and our socket id where the recorded listener's stood.
    fn play(&self, ingest: &mut SrtIngest, secret: Option<&[u8]>) -> Played {
        let mut played = Played::default();
        let (mut cookie, mut socket) = (None, None);
        for (ns, from, bytes) in &self.datagrams {
            let now = NOW + Span(*ns);
            while let Some(at) = ingest.deadline().filter(|at| *at <= now) {
                ingest.handle_timeout(at);
                played.take(ingest, at, secret);
            }
            let mut bytes = bytes.clone();
            let conclusion =
                handshake_in(&bytes).map(|hs| hs.kind) == Some(HandshakeKind::Conclusion);
            if let (Some(cookie), true) = (cookie, conclusion) {
                bytes[44..48].copy_from_slice(&u32::to_be_bytes(cookie));
            }
            if let Some(socket) = socket.filter(|_| bytes[12..16] != [0; 4]) {
                bytes[12..16].copy_from_slice(&u32::to_be_bytes(socket));
            }
            ingest.datagram(now, *from, &bytes);
            for hs in played.take(ingest, now, secret) {
                cookie = Some(hs.cookie).filter(|c| *c != 0).or(cookie);
                if hs.kind == HandshakeKind::Conclusion {
                    socket = Some(hs.socket_id);
                }
            }
        }
        played
    }
}

#[derive(Default)]
struct Played {
    stream_id: Option<StreamId>,
    payloads: Vec<Vec<u8>>,
    handshakes: Vec<Handshake>,
    naks: usize,
    stats: Stats,
}

impl Played {
    fn take(&mut self, ingest: &mut SrtIngest, now: Time, secret: Option<&[u8]>) -> Vec<Handshake> {
        while let Some(event) = ingest.poll_event() {
            match event {
                Event::Connect { id, stream_id, .. } => {
                    self.stream_id = Some(stream_id);
                    ingest.answer(now, id, accept(secret));
                }
                Event::Data { id, payload } => {
                    self.stats = ingest.stats(id).unwrap_or(self.stats);
                    self.payloads.push(payload);
                }
                Event::Closed { stats, .. } => self.stats = stats,
                Event::Refused { .. } => {}
            }
        }
        let mut fresh = Vec::new();
        for bytes in sent(ingest) {
            fresh.extend(handshake_in(&bytes));
            self.naks += usize::from(bytes.starts_with(&[0x80, 3]));
        }
        self.handshakes.extend(fresh.iter().cloned());
        fresh
    }

    /// Breaks of the continuity counters, and TS packets seen.
    fn continuity(&self) -> (usize, usize) {
        let (mut last, mut breaks, mut packets) = (BTreeMap::new(), 0, 0);
        for packet in self.payloads.iter().flat_map(|p| p.chunks(188)) {
            assert_eq!((packet.len(), packet[0]), (188, 0x47), "no TS packet");
            packets += 1;
            let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
            let (counter, has_payload) = (packet[3] & 0xf, packet[3] & 0x10 != 0);
            if pid == 0x1fff || !has_payload {
                continue;
            }
            if last
                .insert(pid, counter)
                .is_some_and(|before| (before + 1) & 0xf != counter)
            {
                breaks += 1;
            }
        }
        (breaks, packets)
    }
}

#[test]
fn ffmpeg_with_aes_128() {
    let played =
        Recording::load("ffmpeg_aes128").play(&mut ingest(Config::default()), Some(SECRET));
    assert_eq!(played.stream_id.as_ref().unwrap().mode, Mode::Publish);
    let (breaks, packets) = played.continuity();
    assert_eq!(breaks, 0);
    assert!(packets > 500, "{packets}");
    assert_eq!(
        (
            played.stats.lost,
            played.stats.skipped,
            played.stats.undecryptable
        ),
        (0, 0, 0)
    );
    assert_eq!(played.stats.latency, Span::millis(200));
}

#[test]
fn our_answer_to_ffmpeg_is_the_recorded_listeners() {
    let recording = Recording::load("ffmpeg_aes128");
    let played = recording.play(&mut ingest(Config::default()), Some(SECRET));
    let ours = played
        .handshakes
        .iter()
        .find(|hs| hs.kind == HandshakeKind::Conclusion)
        .unwrap();
    let recorded: Vec<_> = recording
        .answers
        .iter()
        .filter_map(|b| handshake_in(b))
        .collect();
    let theirs = recorded
        .iter()
        .find(|hs| hs.kind == HandshakeKind::Conclusion)
        .unwrap();
    let km = |hs: &Handshake| hs.extensions.iter().find(|e| e.kind() == 4).cloned();
    assert!(km(ours).is_some());
    assert_eq!(km(ours), km(theirs));
    let rest = |hs: &Handshake| (hs.extension, hs.initial_seq, hs.mtu, hs.flow_window);
    assert_eq!(rest(ours), rest(theirs));
}

#[test]
fn ffmpeg_whose_losses_are_repaired() {
    let recording = Recording::load("ffmpeg_aes128_nak_rexmit");
    let played = recording.play(&mut ingest(Config::default()), Some(SECRET));
    assert_eq!(played.continuity().0, 0);
    let stats = played.stats;
    assert_eq!(
        (stats.lost, stats.retransmitted, stats.skipped),
        (13, 13, 0),
        "{stats:?}"
    );
    assert!(played.naks >= 10, "{}", played.naks);
}

#[test]
fn gstreamer_whose_messages_hold_one_ts_packet() {
    let recording = Recording::load("gstreamer_188byte_messages");
    let played = recording.play(&mut ingest(named("x")), None);
    assert!(played.payloads.iter().all(|p| p.len() == 188));
    let (breaks, packets) = played.continuity();
    assert_eq!(breaks, 0);
    assert!(packets > 400, "{packets}");
}

#[test]
fn the_recorded_wrong_and_missing_passphrases_are_refused() {
    for (name, code) in [
        ("reject_wrong_passphrase", 1010),
        ("reject_no_passphrase", 1011),
    ] {
        let recording = Recording::load(name);
        let played = recording.play(&mut ingest(named("x")), Some(SECRET));
        let last = played.handshakes.last().unwrap();
        assert_eq!(last.kind, HandshakeKind::Rejection(code), "{name}");
        let recorded: Vec<_> = recording
            .answers
            .iter()
            .filter_map(|b| handshake_in(b))
            .collect();
        assert_eq!(
            recorded.last().unwrap().kind,
            last.kind,
            "{name}: as libsrt has it"
        );
    }
}

#[test]
fn a_wrong_passphrase_gives_no_picture() {
    let recording = Recording::load("ffmpeg_aes128");
    let played = recording.play(&mut ingest(Config::default()), Some(b"freshetfreshex"));
    assert!(played.payloads.is_empty());
}

/// Callers without a streamid publish `name`.
fn named(name: &str) -> Config {
    Config {
        name_default: Some(name.into()),
        ..Config::default()
    }
}
