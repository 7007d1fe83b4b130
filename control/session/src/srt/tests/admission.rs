//! Who is let in, and with which code the others are turned away.

use super::*;
use crate::srt::crypto::tests::km_message;

fn rejection(ingest: &mut SrtIngest) -> Option<u32> {
    let answers = sent(ingest);
    match handshake_in(answers.first()?)?.kind {
        HandshakeKind::Rejection(code) => Some(code),
        _ => None,
    }
}

#[test]
fn a_caller_is_asked_about_let_in_and_heard() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "#!::r=studio/cam1,u=ann,s=t0ken");
    let event = caller.call(&mut ingest, NOW);
    let Some(Event::Connect {
        id,
        peer,
        stream_id,
        encrypted,
        latency,
    }) = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(
        (stream_id.mode, stream_id.name.as_str()),
        (Mode::Publish, "studio/cam1")
    );
    assert_eq!(
        (peer, encrypted, latency),
        (caller.peer, false, Span::millis(120))
    );
    assert!(ingest.answer(NOW, id, accept(None)));
    assert!(!ingest.answer(NOW, id, accept(None)), "once is enough");
    let answer = handshake_in(&sent(&mut ingest)[0]).unwrap();
    assert_eq!((answer.encryption, answer.extension), (0, 1));
    caller.id = answer.socket_id;
    ingest.datagram(NOW, caller.peer, &caller.data(0, 0, b"one"));
    ingest.datagram(NOW, caller.peer, &caller.data(1, 0, b"two"));
    assert_eq!(payloads(&mut ingest), [b"one", b"two"], "at once");
    ingest.datagram(NOW, caller.peer, &control(caller.id, Control::Shutdown));
    let last = events(&mut ingest);
    let [
        Event::Closed {
            reason: CloseReason::Shutdown,
            stats,
            ..
        },
    ] = &last[..]
    else {
        panic!("{last:?}")
    };
    assert_eq!((stats.packets, stats.bytes, stats.skipped), (2, 6, 0));
    assert_eq!(ingest.stats(id), None);
    assert_eq!((ingest.connections(), ingest.deadline()), (0, None));
}

#[test]
fn the_servers_reasons_arrive_as_libsrt_knows_them() {
    let mut ingest = ingest(Config::default());
    for (port, reason) in (1..).zip(Reason::ALL) {
        let event = RawCaller::new(port, "cam").call(&mut ingest, NOW);
        let Some(Event::Connect { id, .. }) = event else {
            panic!("{event:?}")
        };
        assert!(!ingest.answer(NOW, id, Answer::Reject(reason)));
        assert_eq!(
            rejection(&mut ingest),
            Some(1000 + u32::from(reason.code()))
        );
        assert_eq!(ingest.counters().rejected.of(reason), 1);
        assert!(events(&mut ingest).is_empty(), "the server knows already");
    }
    assert_eq!(ingest.connections(), 0);
}

#[test]
fn a_bad_streamid_is_refused_and_the_operator_told() {
    let mut ingest = ingest(Config::default());
    for (streamid, want) in [
        ("", BadStreamId::Missing),
        ("../../etc/passwd", BadStreamId::Name),
        ("cam\n2026-01-01 all is well", BadStreamId::NotText),
    ] {
        let event = RawCaller::new(1, streamid).call(&mut ingest, NOW);
        let Some(Event::Refused {
            id: None, refusal, ..
        }) = event
        else {
            panic!("{event:?}")
        };
        assert_eq!(refusal, Refusal::StreamId(want));
        assert!(refusal.to_string().contains("publish:"), "{refusal}");
        assert_eq!(rejection(&mut ingest), Some(2400));
    }
    assert_eq!(ingest.counters().rejected.of(Reason::BadRequest), 3);
    assert_eq!(ingest.connections(), 0);
}

#[test]
fn passphrases_must_be_on_both_sides_and_equal() {
    let mut ingest = ingest(Config::default());
    let km = km_message(SECRET, &[5; 16], 1, &[&[1; 16]]);
    let mut gcm = km.clone();
    gcm[8..10].copy_from_slice(&[4, 1]);
    let malformed = vec![0x12; 1352];
    for (km, secret, want, code) in [
        (
            Some(km.clone()),
            Some(&b"wrong wrong"[..]),
            Refusal::BadSecret,
            1010,
        ),
        (Some(km), None, Refusal::PassphraseUnexpected, 1011),
        (None, Some(SECRET), Refusal::PassphraseMissing, 1011),
        (Some(gcm), Some(SECRET), Refusal::Cipher, 1017),
        (Some(malformed), Some(SECRET), Refusal::Malformed, 1004),
        (Some(vec![]), Some(SECRET), Refusal::Malformed, 1004),
    ] {
        let mut caller = RawCaller::new(1, "cam");
        caller.km = km;
        let event = caller.call(&mut ingest, NOW);
        let Some(Event::Connect { id, encrypted, .. }) = event else {
            panic!("{event:?}")
        };
        assert_eq!(encrypted, caller.km.is_some());
        assert!(!ingest.answer(NOW, id, accept(secret)));
        assert_eq!(rejection(&mut ingest), Some(code), "{want:?}");
        let told = events(&mut ingest);
        let [
            Event::Refused {
                id: Some(who),
                refusal,
                ..
            },
        ] = &told[..]
        else {
            panic!("{told:?}")
        };
        assert_eq!((*who, *refusal), (id, want));
    }
    let counted = ingest.counters().rejected;
    assert_eq!(
        (counted.bad_secret, counted.unsecure, counted.protocol),
        (1, 2, 3)
    );
}

#[test]
fn what_the_engine_refuses_is_told_as_well() {
    let mut ingest = ingest(Config::default());
    let bends: [(Bend, u32); 4] = [
        (|hs| hs.version = 4, 1008),
        (
            |hs| hs.extensions.push(Extension::Filter(b"fec".to_vec())),
            1014,
        ),
        (|hs| hs.extensions.push(Extension::Group(vec![0; 8])), 1015),
        (|hs| hs.extensions.clear(), 1004),
    ];
    for (bend, code) in bends {
        let mut caller = RawCaller::new(1, "cam");
        caller.bend = bend;
        let event = caller.call(&mut ingest, NOW);
        let Some(Event::Refused {
            refusal: Refusal::Protocol(reason),
            ..
        }) = event
        else {
            panic!("{event:?}")
        };
        assert_eq!(1000 + u32::from(reason), code);
        assert_eq!(rejection(&mut ingest), Some(code));
    }
    assert_eq!(ingest.counters().rejected.protocol, 4);
}

#[test]
fn contradictions_are_refused_before_the_server_hears_of_them() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam");
    caller.bend = |hs| hs.encryption = 2;
    let event = caller.call(&mut ingest, NOW);
    assert!(
        matches!(
            event,
            Some(Event::Refused {
                refusal: Refusal::Malformed,
                ..
            })
        ),
        "{event:?}"
    );
    assert_eq!(rejection(&mut ingest), Some(1004));
}

#[test]
fn a_cookie_is_good_for_its_address_and_its_minute() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam");
    let now = NOW + Span::secs(1);
    ingest.datagram(
        now,
        caller.peer,
        &caller.handshake(HandshakeKind::Induction),
    );
    caller.cookie = handshake_in(&sent(&mut ingest)[0]).unwrap().cookie;
    let conclusion = caller.handshake(HandshakeKind::Conclusion);
    ingest.datagram(now, peer(2), &conclusion);
    ingest.datagram(now + Span::secs(130), caller.peer, &conclusion);
    assert_eq!(ingest.counters().bad_cookie, 2);
    assert!(sent(&mut ingest).is_empty() && events(&mut ingest).is_empty());
    assert_eq!(ingest.connections(), 0);
}

#[test]
fn one_address_gets_its_share_and_no_more() {
    let mut ingest = ingest(Config {
        connections_per_address_max: 3,
        ..Config::default()
    });
    for port in 1..=3 {
        let event = RawCaller::new(port, "cam").call(&mut ingest, NOW);
        assert!(matches!(event, Some(Event::Connect { .. })), "{event:?}");
    }
    let event = RawCaller::new(4, "cam").call(&mut ingest, NOW);
    assert!(
        matches!(
            event,
            Some(Event::Refused {
                refusal: Refusal::TooMany,
                ..
            })
        ),
        "{event:?}"
    );
    assert_eq!(rejection(&mut ingest), Some(2402));
    let mut other = RawCaller::new(5, "cam");
    other.peer = SocketAddr::from(([198, 51, 100, 1], 5));
    let event = other.call(&mut ingest, NOW);
    assert!(matches!(event, Some(Event::Connect { .. })), "{event:?}");
}

#[test]
fn a_caller_in_a_loop_is_slowed_down() {
    let mut ingest = ingest(Config::default());
    let mut let_in = 0;
    // Ten seconds of an attempt every 40 ms.
    for n in 0..250u16 {
        let now = NOW + Span::millis(40 * u64::from(n));
        let event = RawCaller::new(1000 + n, "cam").call(&mut ingest, now);
        if let Some(Event::Connect { id, .. }) = event {
            let_in += 1;
            ingest.answer(now, id, Answer::Reject(Reason::Conflict));
        }
        sent(&mut ingest);
    }
    assert!((60..=70).contains(&let_in), "20 and 5 a second: {let_in}");
    assert_eq!(ingest.counters().rate_limited, 250 - let_in);
}

#[test]
fn a_full_table_turns_newcomers_away() {
    let config = Config {
        connections_max: 2,
        connections_per_address_max: 100,
        ..Config::default()
    };
    let mut ingest = ingest(config);
    for port in 1..=5 {
        RawCaller::new(port, "cam").call(&mut ingest, NOW);
        sent(&mut ingest);
        events(&mut ingest);
    }
    assert_eq!(
        (ingest.connections(), ingest.counters().rejected.protocol),
        (2, 3)
    );
}

#[test]
fn the_unanswered_and_the_silent_are_forgotten() {
    let mut ingest = ingest(Config::default());
    let mut silent = RawCaller::new(1, "cam");
    silent.connect(&mut ingest, None);
    RawCaller::new(2, "cam").call(&mut ingest, NOW);
    let mut reasons = Vec::new();
    while let Some(at) = ingest.deadline() {
        assert!(at <= NOW + Span::secs(6), "still waiting");
        ingest.handle_timeout(at);
        sent(&mut ingest);
        for event in events(&mut ingest) {
            let Event::Closed { reason, .. } = event else {
                panic!("{event:?}")
            };
            reasons.push((reason, at.since(NOW)));
        }
    }
    let want = [
        (CloseReason::Unanswered, Span::secs(3)),
        (CloseReason::Timeout, Span::secs(5)),
    ];
    assert_eq!(reasons, want);
}

#[test]
fn closing_says_goodbye_and_no_more() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam");
    let (id, _) = caller.connect(&mut ingest, None);
    ingest.close(NOW, id);
    let goodbye = sent(&mut ingest);
    assert!(matches!(
        Packet::parse(&goodbye[0]),
        Ok(Packet::Control(ControlPacket {
            body: Control::Shutdown,
            ..
        }))
    ));
    ingest.datagram(NOW, caller.peer, &caller.data(0, 0, b"late"));
    assert!(events(&mut ingest).is_empty());
    assert_eq!((ingest.counters().stray, ingest.connections()), (1, 0));

    let event = RawCaller::new(2, "cam").call(&mut ingest, NOW);
    let Some(Event::Connect { id, .. }) = event else {
        panic!("{event:?}")
    };
    ingest.close(NOW, id);
    assert_eq!(rejection(&mut ingest), Some(2503));
}

#[test]
fn timed_delivery_is_there_for_those_who_want_it() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam");
    let Some(Event::Connect { id, .. }) = caller.call(&mut ingest, NOW) else {
        panic!()
    };
    ingest.answer(
        NOW,
        id,
        Answer::Accept {
            passphrase: None,
            tsbpd: true,
        },
    );
    caller.id = handshake_in(&sent(&mut ingest)[0]).unwrap().socket_id;
    ingest.datagram(NOW, caller.peer, &caller.data(0, 0, b"one"));
    assert!(payloads(&mut ingest).is_empty());
    ingest.handle_timeout(NOW + Span::millis(119));
    assert!(payloads(&mut ingest).is_empty());
    ingest.handle_timeout(NOW + Span::millis(120));
    assert_eq!(payloads(&mut ingest), [b"one"]);
}
