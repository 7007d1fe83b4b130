//! Tests of associations without sessions around them.

use super::choice::choose;
use super::hello::Hello;
use super::testing::{CertificateKind, DtlsPeer, PeerKind};
use super::*;
use link::keys::Profile;
use link::keys::Profile::{AeadAes128Gcm, AeadAes256Gcm, Aes128CmSha1_32, Aes128CmSha1_80};
use wire::time::Span;

mod hostile;

const ALL: [Profile; 4] = [
    AeadAes128Gcm,
    AeadAes256Gcm,
    Aes128CmSha1_80,
    Aes128CmSha1_32,
];

fn fingerprint_of(peer: &DtlsPeer) -> Vec<Fingerprint> {
    let text = format!("sha-256 {}", fingerprint::sha256_text(&peer.certificate));
    vec![Fingerprint::parse(&text).unwrap()]
}

/// Lets both ends talk without loss until neither has anything to say.
fn talk(context: &Context, dtls: &mut Dtls, peer: &mut DtlsPeer, now: Time) -> Vec<Progress> {
    talk_from(context, dtls, peer, now, Vec::new())
}

fn talk_from(
    context: &Context,
    dtls: &mut Dtls,
    peer: &mut DtlsPeer,
    now: Time,
    first: Vec<Vec<u8>>,
) -> Vec<Progress> {
    let mut progress = Vec::new();
    let mut to_us = peer.handle_timeout(now);
    for datagram in first {
        to_us.extend(peer.handle(now, &datagram));
    }
    while !to_us.is_empty() {
        let mut to_peer = Vec::new();
        for datagram in std::mem::take(&mut to_us) {
            match dtls.handle(context, now, &datagram, &mut to_peer) {
                Progress::Going => {}
                other => progress.push(other),
            }
        }
        for datagram in to_peer {
            assert!(datagram.len() <= MTU_BYTES, "{} bytes", datagram.len());
            to_us.extend(peer.handle(now, &datagram));
        }
    }
    progress
}

fn same_keys(ours: &SrtpKeys, theirs: &SrtpKeys) -> bool {
    ours.profile == theirs.profile
        && ours.send.key == theirs.receive.key
        && ours.send.salt == theirs.receive.salt
        && ours.receive.key == theirs.send.key
        && ours.receive.salt == theirs.send.salt
        && ours.send.key != ours.receive.key
}

#[test]
fn every_kind_of_client_gets_the_same_keys_as_we_do() {
    let context = Context::new(false).unwrap();
    for (kind, profiles, expected) in [
        (
            PeerKind::Client12(CertificateKind::P256),
            &ALL[..],
            AeadAes128Gcm,
        ),
        (
            PeerKind::Client12(CertificateKind::Rsa2048),
            &ALL[1..],
            AeadAes256Gcm,
        ),
        (
            PeerKind::Client12(CertificateKind::P224),
            &ALL[2..],
            Aes128CmSha1_80,
        ),
        (
            PeerKind::Client12(CertificateKind::P256),
            &ALL[3..],
            Aes128CmSha1_32,
        ),
        // As Chromium orders them: ours is the choice.
        (
            PeerKind::Client12(CertificateKind::P256),
            &[Aes128CmSha1_80, AeadAes256Gcm, AeadAes128Gcm],
            AeadAes128Gcm,
        ),
        (PeerKind::Client13, &ALL, AeadAes256Gcm),
        (PeerKind::ClientEither, &ALL, AeadAes128Gcm),
    ] {
        let now = Time(5);
        let mut peer = DtlsPeer::new(kind, profiles, now);
        let mut dtls = Dtls::server(fingerprint_of(&peer));
        let progress = talk(&context, &mut dtls, &mut peer, now);
        let [Progress::Established(established)] = &progress[..] else {
            panic!("{kind:?}: {progress:?}");
        };
        assert_eq!(established.keys.profile, expected, "{kind:?}");
        let engine = if kind == PeerKind::Client13 {
            EngineKind::Dtls13
        } else {
            EngineKind::Dtls12
        };
        assert_eq!(established.engine, engine, "{kind:?}");
        assert!(
            same_keys(&established.keys, peer.keys.as_ref().unwrap()),
            "{kind:?}"
        );
    }
}

#[test]
fn a_certificate_on_a_curve_that_the_hello_does_not_name_is_taken() {
    let context = Context::new(false).unwrap();
    for certificate in [CertificateKind::P224, CertificateKind::P256] {
        let now = Time(5);
        let mut peer = DtlsPeer::new(PeerKind::Client12(certificate), &ALL[2..], now);
        let mut dtls = Dtls::server(fingerprint_of(&peer));
        let engine = dimpl::Engine::server12(&context.dimpl, now);
        dtls.state = State::Running(Engine::Dimpl(Box::new(engine)));
        let progress = talk(&context, &mut dtls, &mut peer, now);
        let [Progress::Established(established)] = &progress[..] else {
            panic!("{certificate:?}: {progress:?}");
        };
        assert_eq!(established.engine, EngineKind::Dtls12);
        assert_eq!(established.keys.profile, Aes128CmSha1_80);
        assert!(same_keys(&established.keys, peer.keys.as_ref().unwrap()));
    }
}

#[test]
fn we_are_the_client_where_the_peer_wants_it() {
    let context = Context::new(false).unwrap();
    for certificate in [
        CertificateKind::P256,
        CertificateKind::P224,
        CertificateKind::Rsa2048,
    ] {
        let now = Time(5);
        let mut peer = DtlsPeer::new(PeerKind::Server12(certificate), &ALL[2..], now);
        let mut first = Vec::new();
        let mut dtls = Dtls::client(&context, now, fingerprint_of(&peer), &mut first);
        let progress = talk_from(&context, &mut dtls, &mut peer, now, first);
        let [Progress::Established(established)] = &progress[..] else {
            panic!("{certificate:?}: {progress:?}");
        };
        assert!(same_keys(&established.keys, peer.keys.as_ref().unwrap()));
        assert_eq!(established.keys.profile, Aes128CmSha1_80);
    }
}

#[test]
fn as_the_client_we_repeat_our_last_flight_with_new_record_numbers() {
    let context = Context::new(false).unwrap();
    let mut now = Time(5);
    let mut peer = DtlsPeer::new(PeerKind::Server12(CertificateKind::P256), &ALL, now);
    let mut first = Vec::new();
    let mut dtls = Dtls::client(&context, now, fingerprint_of(&peer), &mut first);
    let mut flight = Vec::new();
    for datagram in first.iter().flat_map(|datagram| peer.handle(now, datagram)) {
        dtls.handle(&context, now, &datagram, &mut flight);
    }
    let lost: Vec<_> = flight
        .iter()
        .flat_map(|datagram| peer.handle(now, datagram))
        .collect();
    assert!(!lost.is_empty() && peer.keys.is_some());
    // OpenSSL's clock is not ours to set: it repeats after a second of its own.
    std::thread::sleep(std::time::Duration::from_millis(1050));
    now = dtls.deadline().unwrap();
    let mut repeated = Vec::new();
    assert!(matches!(
        dtls.handle_timeout(now, &mut repeated),
        Progress::Going
    ));
    let progress = talk_from(&context, &mut dtls, &mut peer, now, repeated);
    assert!(
        matches!(progress[..], [Progress::Established(_)]),
        "{progress:?}"
    );
}

#[test]
fn another_certificate_than_the_offered_one_establishes_nothing() {
    let context = Context::new(false).unwrap();
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        let mut peer = DtlsPeer::new(kind, &ALL, Time(5));
        let other = DtlsPeer::new(kind, &ALL, Time(5));
        let mut dtls = Dtls::server(fingerprint_of(&other));
        let progress = talk(&context, &mut dtls, &mut peer, Time(5));
        assert!(
            matches!(
                progress[..],
                [Progress::Failed(Failure::FingerprintMismatch)]
            ),
            "{progress:?}"
        );
        assert_eq!(dtls.deadline(), None);
    }
}

#[test]
fn either_end_may_close() {
    let context = Context::new(false).unwrap();
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        for we_close in [true, false] {
            let now = Time(5);
            let mut peer = DtlsPeer::new(kind, &ALL, now);
            let mut dtls = Dtls::server(fingerprint_of(&peer));
            assert_eq!(talk(&context, &mut dtls, &mut peer, now).len(), 1);
            if we_close {
                let mut out = Vec::new();
                dtls.close(now, &mut out);
                assert!(!out.is_empty());
                for datagram in out {
                    peer.handle(now, &datagram);
                }
                assert!(peer.closed, "{kind:?}");
            } else {
                let mut closed = false;
                for datagram in peer.close(now) {
                    let progress = dtls.handle(&context, now, &datagram, &mut Vec::new());
                    closed |= matches!(progress, Progress::Closed);
                }
                assert!(closed, "{kind:?}");
            }
        }
    }
}

#[test]
fn nothing_unprotected_disturbs_an_association() {
    let context = Context::new(false).unwrap();
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        let now = Time(5);
        let mut peer = DtlsPeer::new(kind, &ALL, now);
        let mut dtls = Dtls::server(fingerprint_of(&peer));
        assert_eq!(talk(&context, &mut dtls, &mut peer, now).len(), 1);
        let alert = |level, description| {
            vec![
                21,
                0xfe,
                0xfd,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                99,
                0,
                2,
                level,
                description,
            ]
        };
        let hello = DtlsPeer::new(kind, &ALL, now).handle_timeout(now);
        let mut out = Vec::new();
        for datagram in [
            alert(1, 0),
            alert(2, 40),
            alert(2, 0),
            vec![23; 40],
            vec![22; 13],
        ]
        .into_iter()
        .chain(hello)
        .chain((20..64).map(|first| vec![first; 60]))
        {
            let progress = dtls.handle(&context, now, &datagram, &mut out);
            assert!(matches!(progress, Progress::Going), "{kind:?} {datagram:?}");
        }
        assert!(out.is_empty(), "{kind:?}");
        let closed = peer.close(now).into_iter().any(|datagram| {
            matches!(
                dtls.handle(&context, now, &datagram, &mut out),
                Progress::Closed
            )
        });
        assert!(closed, "{kind:?} does not listen any more");
    }
}

#[test]
fn an_alert_before_the_end_of_a_handshake_does_not_stop_it() {
    let context = Context::new(false).unwrap();
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        let now = Time(5);
        let mut peer = DtlsPeer::new(kind, &ALL, now);
        let mut dtls = Dtls::server(fingerprint_of(&peer));
        let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40];
        let mut answers = Vec::new();
        for hello in peer.handle_timeout(now) {
            dtls.handle(&context, now, &alert, &mut answers);
            // Also behind a record that counts.
            let both = [&hello[..], &alert[..]].concat();
            dtls.handle(&context, now, &both, &mut answers);
            dtls.handle(&context, now, &alert, &mut answers);
        }
        let progress = talk_from(&context, &mut dtls, &mut peer, now, answers);
        assert!(
            matches!(progress[..], [Progress::Established(_)]),
            "{kind:?} {progress:?}"
        );
    }
}

#[test]
fn a_lost_flight_is_sent_again_and_in_the_end_given_up() {
    let context = Context::new(false).unwrap();
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        let mut now = Time(5);
        let mut peer = DtlsPeer::new(kind, &ALL, now);
        let mut dtls = Dtls::server(fingerprint_of(&peer));
        let mut out = Vec::new();
        for hello in peer.handle_timeout(now) {
            dtls.handle(&context, now, &hello, &mut out);
        }
        let flight_bytes: usize = out.iter().map(Vec::len).sum();
        assert!(flight_bytes > 300);
        let mut resent = 0;
        let failed = loop {
            let Some(due) = dtls.deadline() else {
                break false;
            };
            assert!(
                due > now && due.since(now) < Span::secs(60),
                "{kind:?} {due:?}"
            );
            now = due;
            out.clear();
            let progress = dtls.handle_timeout(now, &mut out);
            resent += usize::from(!out.is_empty());
            if matches!(progress, Progress::Failed(Failure::Handshake)) {
                break true;
            }
        };
        assert!(failed && (4..12).contains(&resent), "{kind:?} {resent}");
        assert!(now < Time::ZERO + Span::secs(60));
    }
}

#[test]
fn the_engine_is_the_one_with_the_cheaper_profile() {
    let hello = |dtls13, dtls12, profiles: &[Profile]| Hello {
        dtls13,
        dtls12,
        profiles: profiles.to_vec(),
        ..Hello::default()
    };
    let chromium = [Aes128CmSha1_80, AeadAes256Gcm, AeadAes128Gcm];
    let firefox = [
        AeadAes128Gcm,
        AeadAes256Gcm,
        Aes128CmSha1_80,
        Aes128CmSha1_32,
    ];
    use EngineKind::{Dtls12, Dtls13};
    assert_eq!(choose(&hello(true, true, &chromium), false), Ok(Dtls12));
    assert_eq!(choose(&hello(true, true, &chromium), true), Ok(Dtls13));
    assert_eq!(choose(&hello(true, false, &chromium), false), Ok(Dtls13));
    assert_eq!(choose(&hello(true, true, &firefox), false), Ok(Dtls13));
    assert_eq!(choose(&hello(false, true, &firefox), true), Ok(Dtls12));
    assert_eq!(
        choose(&hello(true, true, &[Aes128CmSha1_32]), true),
        Ok(Dtls12)
    );
    assert_eq!(
        choose(&hello(true, false, &[Aes128CmSha1_32]), false),
        Err(Failure::Version)
    );
    assert_eq!(
        choose(&hello(false, false, &firefox), false),
        Err(Failure::Version)
    );
    assert_eq!(
        choose(&hello(true, true, &[]), false),
        Err(Failure::Profile)
    );
}
