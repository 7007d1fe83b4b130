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
