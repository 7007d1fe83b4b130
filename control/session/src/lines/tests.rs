//! Tests of what waits for a worker that takes nothing.

use super::*;
use crate::Config;
use link::limits::Limits;

/// Room in each ring.
const PUNTS: usize = 4;

fn region() -> Region {
    let limits = Limits {
        cores: 1,
        streams_max: 1,
        viewers_max: 4,
        log_packets: 64,
        punts_max: u32::try_from(PUNTS).unwrap(),
        ..Limits::default()
    };
    Region::create(&limits).unwrap()
}

fn sessions() -> Sessions {
    let config = Config {
        candidates: vec!["127.0.0.1:8000".parse().unwrap()],
        ..Config::default()
    };
    Sessions::new(config, [7; 32]).unwrap()
}

#[test]
fn answers_wait_for_room_in_their_order_and_hold_up_what_would_bring_more() {
    let region = region();
    let mut lines = Lines::open(region.clone()).unwrap();
    let mut up = region.punts_in_producer(CoreId(0)).unwrap();
    let mut down = region.punts_out_consumer(CoreId(0)).unwrap();
    let (peer, local) = (Peer::default(), Ip::UNKNOWN);
    let count = u8::try_from(2 * PUNTS + 1).unwrap();
    for number in 0..count {
        lines.transmit(CoreId(0), peer, local, vec![number]);
    }
    assert!(lines.retry(), "five of nine wait");
    up.push(CoreId(0), peer, local, &[22, 254, 253]).unwrap();
    let mut sessions = sessions();
    assert!(lines.is_quiet(), "nothing is to be taken now");
    lines.receive(Time::ZERO, &mut sessions);
    assert_eq!(sessions.counters().dtls_unverified, 0, "nor was it");
    let mut got = Vec::new();
    while got.len() < usize::from(count) {
        let before = got.len();
        while let Some(first) = down.pop(|punt| punt.bytes[0]) {
            got.push(first);
        }
        assert!(got.len() > before, "{got:?}");
        lines.retry();
    }
    assert_eq!(got, (0..count).collect::<Vec<_>>());
    assert!(!lines.retry() && !lines.is_quiet());
    lines.receive(Time::ZERO, &mut sessions);
    assert_eq!(sessions.counters().dtls_unverified, 1);
    assert_eq!(lines.punt_lost(), 0);
}

#[test]
fn a_worker_that_takes_nothing_costs_bounded_memory() {
    let region = region();
    let mut lines = Lines::open(region).unwrap();
    let all = PUNTS + OUTGOING_MAX + 10;
    for _ in 0..all {
        lines.transmit(CoreId(0), Peer::default(), Ip::UNKNOWN, vec![0]);
    }
    assert_eq!(lines.punt_lost(), 10);
    // What is too long for any ring is lost at once, and holds nothing up.
    let mut lines = Lines::open(self::region()).unwrap();
    let long = vec![0; wire::datagram::DATAGRAM_MAX + 1];
    lines.transmit(CoreId(0), Peer::default(), Ip::UNKNOWN, long);
    assert!(!lines.retry());
    assert_eq!(lines.punt_lost(), 1);
}
