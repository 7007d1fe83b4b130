//! Owns the readers of SRT: a whole conversation, and the names that callers ask for.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use ::session::srt::{Answer, Config, Event, Passphrase, SrtIngest, StreamId, name_is_valid};
use ::wire::time::{Span, Time};

use super::pieces;

/// Of the recorded conversations.
const SECRET: &[u8] = b"freshetfreshet";

/// Where a packet has its receiver's socket.
const TO: std::ops::Range<usize> = 12..16;
/// Where a handshake has its kind, its sender's socket, and the cookie.
const KIND: std::ops::Range<usize> = 36..40;
const SOCKET: std::ops::Range<usize> = 40..44;
const COOKIE: std::ops::Range<usize> = 44..48;

const CONCLUSION: [u8; 4] = [0xff; 4];

pub fn streamid(data: &[u8]) {
    if let Ok(id) = StreamId::parse(data, Some("fallback")) {
        assert!(name_is_valid(&id.name), "{:?}", id.name);
    }
    let _ = StreamId::parse(data, None);
}

/// A caller's datagrams, with our cookie and our socket where a handshake of ours has named them.
/// The first byte says whether the stream has a passphrase.
pub fn srt(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let config = Config {
        name_default: Some("fallback".to_owned()),
        window_packets: 64,
        connections_max: 4,
        ..Config::default()
    };
    let mut now = Time(1_000_000_000);
    let mut caller = Caller {
        ingest: SrtIngest::new(config, now, Instant::now(), &[7; 32]),
        passphrase: (first & 1 == 1).then(|| Passphrase::new(SECRET).expect("long enough")),
        tsbpd: first & 2 == 2,
        cookie: None,
        socket: None,
    };
    let peer = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 9), 4000));
    for piece in pieces(data) {
        let mut datagram = piece.to_vec();
        caller.patch(&mut datagram);
        caller.ingest.datagram(now, peer, &datagram);
        caller.take(now);
        now = now + Span::millis(5);
        caller.time(now);
    }
    caller.time(now + Span::secs(20));
    assert_eq!(caller.ingest.connections(), 0, "who is silent is gone");
}

struct Caller {
    ingest: SrtIngest,
    passphrase: Option<Passphrase>,
    tsbpd: bool,
    cookie: Option<[u8; 4]>,
    socket: Option<[u8; 4]>,
}

impl Caller {
    fn patch(&self, datagram: &mut [u8]) {
        if let (true, Some(cookie)) = (is_conclusion(datagram), self.cookie) {
            datagram[COOKIE].copy_from_slice(&cookie);
        }
        let Some(to) = datagram.get_mut(TO) else {
            return;
        };
        if let (true, Some(socket)) = (*to != [0; 4], self.socket) {
            to.copy_from_slice(&socket);
        }
    }

    fn time(&mut self, until: Time) {
        for _ in 0..20_000 {
            let Some(due) = self.ingest.deadline().filter(|due| *due <= until) else {
                return;
            };
            self.ingest.handle_timeout(due);
            self.take(due);
        }
        panic!("deadlines never end");
    }

    fn take(&mut self, now: Time) {
        while let Some(event) = self.ingest.poll_event() {
            match event {
                Event::Connect { id, stream_id, .. } => {
                    assert!(name_is_valid(&stream_id.name));
                    let answer = Answer::Accept {
                        passphrase: self.passphrase.clone(),
                        tsbpd: self.tsbpd,
                    };
                    self.ingest.answer(now, id, answer);
                }
                Event::Data { payload, .. } => {
                    assert!((1..=1456).contains(&payload.len()));
                }
                Event::Refused { .. } | Event::Closed { .. } => {}
            }
        }
        while let Some((_, sent)) = self.ingest.poll_transmit() {
            assert!(sent.len() <= 1500);
            if is_handshake(&sent) {
                let field = |range| {
                    sent.get(range)
                        .and_then(|bytes: &[u8]| bytes.try_into().ok())
                };
                if is_conclusion(&sent) {
                    self.socket = field(SOCKET);
                } else {
                    self.cookie = field(COOKIE);
                }
            }
        }
    }
}

fn is_handshake(datagram: &[u8]) -> bool {
    datagram.starts_with(&[0x80, 0]) && datagram.len() >= 64
}

fn is_conclusion(datagram: &[u8]) -> bool {
    is_handshake(datagram) && datagram[KIND] == CONCLUSION
}
