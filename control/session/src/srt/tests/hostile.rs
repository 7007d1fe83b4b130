//! Datagrams that no encoder sends.

use super::*;
use crate::srt::crypto::tests::km_message;
use proptest::prelude::*;
use sapflow_srt::packet::Ack;
use sapflow_srt::seq::Seq;

/// Sound datagrams of every kind, for an open connection with `caller`'s ids.
fn sound(caller: &RawCaller) -> Vec<Vec<u8>> {
    let seq = |n: u32| Seq::new(RawCaller::FIRST.wrapping_add(n));
    let km = km_message(SECRET, &[5; 16], 3, &[&[1; 16], &[2; 16]]);
    vec![
        caller.handshake(HandshakeKind::Induction),
        caller.handshake(HandshakeKind::Conclusion),
        caller.handshake(HandshakeKind::Waveahand),
        caller.handshake(HandshakeKind::Agreement),
        caller.data(0, 0, &[0x47; 188]),
        caller.data(40, 1, &[0x47; 1316]),
        caller.data(3, 2, &[]),
        caller.km_control(3, &km),
        caller.km_control(4, &km),
        control(
            caller.id,
            Control::DropRequest {
                message: 0,
                first: seq(1),
                last: seq(2),
            },
        ),
        control(
            caller.id,
            Control::DropRequest {
                message: 0,
                first: seq(9),
                last: seq(2),
            },
        ),
        control(
            caller.id,
            Control::Nak(vec![(seq(0), seq(0x3fff_ffff)), (seq(5), seq(1))]),
        ),
        control(
            caller.id,
            Control::Ack(Ack {
                number: 1,
                ack: seq(0x3fff_ffff),
                stats: None,
            }),
        ),
        control(caller.id, Control::AckAck { number: u32::MAX }),
        control(caller.id, Control::KeepAlive),
        control(caller.id, Control::PeerError { code: 1 }),
        control(caller.id, Control::CongestionWarning),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is done to sound datagrams: no panic, no plaintext on a secured connection, tables
    /// within their bounds, answers no more than a few times the questions.
    #[test]
    fn bent_datagrams_do_no_harm(
        secured in any::<bool>(),
        steps in proptest::collection::vec(
            (0usize..17, proptest::collection::vec((0usize..160, any::<u8>()), 0..4), 0usize..1600,
             0u64..50, 1u16..4),
            1..60,
        ),
    ) {
        let config = Config { connections_max: 4, window_packets: 64, ..Config::default() };
        let mut ingest = ingest(config);
        let km = km_message(SECRET, &[5; 16], 1, &[&[1; 16]]);
        let mut caller = RawCaller::new(1, "cam");
        if secured {
            caller = caller.with_km(km);
        }
        let (id, _) = caller.connect(&mut ingest, secured.then_some(SECRET));
        let sound = sound(&caller);
        let mut now = NOW;
        for (which, changes, cut, ms, port) in steps {
            let mut bytes = sound[which].clone();
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if cut < 200 {
                bytes.truncate(cut);
            } else if cut > 1400 {
                bytes.resize(cut, 0x55);
            }
            now = now + Span::millis(ms);
            ingest.datagram(now, peer(port), &bytes);
            if ingest.deadline().is_some_and(|at| at <= now) {
                ingest.handle_timeout(now);
            }
            for event in events(&mut ingest) {
                match event {
                    Event::Connect { id, .. } => {
                        ingest.answer(now, id, accept(None));
                    }
                    Event::Data { id: from, payload } if secured && from == id => {
                        prop_assert!(payload.len() < 4 || payload[..4] != [0x47; 4]);
                    }
                    _ => {}
                }
            }
            let answers: usize = sent(&mut ingest).iter().map(Vec::len).sum();
            prop_assert!(answers <= 4096, "{answers}");
            prop_assert!(ingest.connections() <= 4);
        }
    }

    #[test]
    fn noise_does_no_harm(
        datagrams in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..1600), 1..50),
    ) {
        let mut ingest = ingest(Config::default());
        let total = datagrams.len() as u64;
        for bytes in &datagrams {
            ingest.datagram(NOW, peer(1), bytes);
        }
        prop_assert!(events(&mut ingest).is_empty());
        prop_assert_eq!(ingest.connections(), 0);
        let c = ingest.counters();
        let answered = sent(&mut ingest).len() as u64;
        prop_assert_eq!(c.malformed + c.stray + c.bad_cookie + answered, total);
    }
}

#[test]
fn an_induction_flood_keeps_nothing_and_starves_nobody() {
    let mut ingest = ingest(Config::default());
    let mut out = 0;
    for n in 0..10_000u32 {
        let from = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 1));
        let induction = RawCaller::new(1, "cam").handshake(HandshakeKind::Induction);
        ingest.datagram(NOW, from, &induction);
        for answer in sent(&mut ingest) {
            assert!(answer.len() <= induction.len(), "no amplification");
            out += 1;
        }
    }
    assert_eq!(
        (out, ingest.connections(), ingest.deadline()),
        (10_000, 0, None)
    );
    let event = RawCaller::new(1, "cam").call(&mut ingest, NOW);
    assert!(matches!(event, Some(Event::Connect { .. })), "{event:?}");
}

#[test]
fn a_far_jump_costs_no_memory_and_goes_on() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam");
    let (id, _) = caller.connect(&mut ingest, None);
    ingest.datagram(NOW, caller.peer, &caller.data(0, 0, b"0"));
    for n in [8_000, 20_000, 1_000_000, 0x3000_0000] {
        ingest.datagram(NOW, caller.peer, &caller.data(n, 0, b"far"));
        let answers: usize = sent(&mut ingest).iter().map(Vec::len).sum();
        assert!(answers < 200, "{answers}");
    }
    assert!(payloads(&mut ingest).len() >= 4);
    ingest.datagram(NOW, caller.peer, &caller.data(0x3000_0001, 0, b"next"));
    assert_eq!(payloads(&mut ingest), [b"next"]);
    assert!(ingest.stats(id).unwrap().skipped > 0x2fff_0000);
}

#[test]
fn odd_sizes_in_the_handshake_are_taken_as_they_are() {
    let bends: [Bend; 4] = [
        |hs| hs.mtu = 0,
        |hs| hs.mtu = u32::MAX,
        |hs| hs.flow_window = 0,
        |hs| hs.initial_seq = u32::MAX,
    ];
    for bend in bends {
        let mut ingest = ingest(Config::default());
        let mut caller = RawCaller::new(1, "cam");
        caller.bend = bend;
        let (_, answer) = caller.connect(&mut ingest, None);
        assert!(answer.mtu <= 1500 && answer.flow_window <= 8192);
        ingest.datagram(NOW, caller.peer, &caller.data(2, 0, b"payload"));
        ingest.handle_timeout(NOW + Span::millis(200));
        assert_eq!(payloads(&mut ingest).concat(), b"payload");
    }
}

#[test]
fn conclusions_whose_lengths_lie_are_dropped() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam").with_km(vec![0; 104]);
    ingest.datagram(
        NOW,
        caller.peer,
        &caller.handshake(HandshakeKind::Induction),
    );
    caller.cookie = handshake_in(&sent(&mut ingest)[0]).unwrap().cookie;
    let good = caller.handshake(HandshakeKind::Conclusion);
    // Each extension has its length in words behind its kind: that of SRT, of keys, of the id.
    let first = HEADER + 48;
    let second = first + 4 + 12;
    let third = second + 4 + 104;
    assert_eq!(
        good[third..third + 4],
        [0, 5, 0, 1],
        "where the stream id begins"
    );
    for at in [first, second, third] {
        for words in [100_u16, 365, 0x7fff, 0xffff] {
            let mut lie = good.clone();
            lie[at + 2..at + 4].copy_from_slice(&words.to_be_bytes());
            let before = ingest.counters().malformed;
            ingest.datagram(NOW, caller.peer, &lie);
            assert_eq!(ingest.counters().malformed, before + 1, "{at} {words}");
        }
    }
    assert!(events(&mut ingest).is_empty() && sent(&mut ingest).is_empty());
    assert_eq!(ingest.connections(), 0);
}

#[test]
fn who_does_not_come_as_a_caller_is_not_answered() {
    let mut ingest = ingest(Config::default());
    let caller = RawCaller::new(1, "cam");
    // Rendezvous, and what only a listener says.
    let kinds = [
        HandshakeKind::Waveahand,
        HandshakeKind::Agreement,
        HandshakeKind::Done,
        HandshakeKind::Rejection(1002),
    ];
    for kind in kinds {
        ingest.datagram(NOW, caller.peer, &caller.handshake(kind));
    }
    assert!(sent(&mut ingest).is_empty() && events(&mut ingest).is_empty());
    assert_eq!((ingest.counters().stray, ingest.connections()), (4, 0));
}

#[test]
fn sockets_of_one_address_and_port_count_as_many() {
    let mut ingest = ingest(Config {
        connections_per_address_max: 3,
        ..Config::default()
    });
    for socket in 1..=10 {
        let mut caller = RawCaller::new(1, "cam");
        caller.socket = socket;
        let event = caller.call(&mut ingest, NOW);
        let is_asked = matches!(event, Some(Event::Connect { .. }));
        assert_eq!(is_asked, socket <= 3, "{event:?}");
        sent(&mut ingest);
    }
    assert_eq!(
        (ingest.connections(), ingest.counters().rate_limited),
        (3, 7)
    );
}

#[test]
fn a_wish_for_latency_is_lowered_to_what_a_buffer_holds() {
    let mut ingest = ingest(Config::default());
    for (wish, latency) in [(0, Span::millis(120)), (u16::MAX, Span::secs(5))] {
        let mut caller = RawCaller::new(1, "cam");
        caller.bend = match wish {
            0 => |_| {},
            _ => |hs| {
                let Some(Extension::HsReq(request)) = hs.extensions.first_mut() else {
                    panic!("no request")
                };
                request.sender_delay = u16::MAX;
            },
        };
        let Some(Event::Connect {
            id, latency: given, ..
        }) = caller.call(&mut ingest, NOW)
        else {
            panic!("not asked")
        };
        assert_eq!(given, latency);
        ingest.close(NOW, id);
        sent(&mut ingest);
    }
}

#[test]
fn reports_about_what_we_never_sent_get_nothing() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam");
    let (id, _) = caller.connect(&mut ingest, None);
    ingest.datagram(NOW, caller.peer, &caller.data(0, 0, b"one"));
    ingest.handle_timeout(NOW + Span::millis(20));
    sent(&mut ingest);
    let seq = |n: u32| Seq::new(RawCaller::FIRST.wrapping_add(n));
    let ack = |number, ack| {
        Control::Ack(Ack {
            number,
            ack,
            stats: None,
        })
    };
    // All of a buffer asked for again, ranges turned round, acknowledgements of the future.
    let reports = [
        Control::Nak(vec![(seq(0), seq(0x3fff_ffff))]),
        Control::Nak(vec![(seq(5), seq(1))]),
        Control::Nak((0..180).map(|n| (seq(2 * n), seq(2 * n))).collect()),
        ack(1, seq(0x3fff_ffff)),
        ack(u32::MAX, seq(0)),
        Control::AckAck { number: u32::MAX },
        Control::CongestionWarning,
    ];
    for _ in 0..100 {
        for report in &reports {
            let report = control(caller.id, report.clone());
            ingest.datagram(NOW + Span::millis(20), caller.peer, &report);
        }
    }
    assert!(
        sent(&mut ingest).is_empty(),
        "there is nothing to send again"
    );
    assert_eq!(payloads(&mut ingest), [b"one"]);
    // Nor do packets vanish that are still to come.
    for (first, last) in [
        (seq(9), seq(2)),
        (seq(1), seq(0x3fff_ffff)),
        (seq(1), seq(8)),
    ] {
        let drop = Control::DropRequest {
            message: 0,
            first,
            last,
        };
        ingest.datagram(
            NOW + Span::millis(20),
            caller.peer,
            &control(caller.id, drop),
        );
    }
    ingest.datagram(
        NOW + Span::millis(20),
        caller.peer,
        &caller.data(1, 0, b"two"),
    );
    assert_eq!(payloads(&mut ingest), [b"two"]);
    assert_eq!(ingest.stats(id).unwrap().skipped, 0);
}

#[test]
fn numbers_of_messages_mean_nothing() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam");
    caller.connect(&mut ingest, None);
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for (n, message) in (0..).zip([1_u32, 0x03ff_ffff, 0, 1, 1, 7]) {
        let payload = vec![n; 3];
        let mut packet = caller.data(u32::from(n), 0, &payload);
        let flags = u32::from(packet[4] & 0xfc) << 24;
        packet[4..8].copy_from_slice(&(flags | message).to_be_bytes());
        ingest.datagram(NOW, caller.peer, &packet);
        expected.push(payload);
    }
    assert_eq!(payloads(&mut ingest), expected);
}

/// AES-CTR hides payloads and does not prove them: what whoever can write into the path changes
/// comes out changed, and nothing else does.
#[test]
fn a_flipped_bit_stays_where_it_is() {
    let mut ingest = ingest(Config::default());
    let km = km_message(SECRET, &[5; 16], 1, &[&[1; 16]]);
    let mut caller = RawCaller::new(1, "cam").with_km(km);
    let (id, _) = caller.connect(&mut ingest, Some(SECRET));
    for n in 0..8 {
        let mut packet = caller.data(n, 1, &[0x47; 188]);
        ingest.datagram(NOW, caller.peer, &packet);
        let whole = payloads(&mut ingest).concat();
        let mut other = super::ingest(Config::default());
        let mut caller = RawCaller::new(1, "cam").with_km(caller.km.clone().unwrap());
        caller.connect(&mut other, Some(SECRET));
        let bit = usize::try_from(n).unwrap();
        packet[HEADER + 20 * bit] ^= 1 << bit;
        packet[12..16].copy_from_slice(&caller.id.to_be_bytes());
        for before in 0..n {
            other.datagram(NOW, caller.peer, &caller.data(before, 1, &[]));
        }
        other.datagram(NOW, caller.peer, &packet);
        let bent = payloads(&mut other).concat();
        let mut expected = whole;
        expected[20 * bit] ^= 1 << bit;
        assert_eq!(bent, expected);
    }
    assert_eq!(ingest.stats(id).unwrap().undecryptable, 0);
}

const HEADER: usize = handshake::HEADER_BYTES;
