//! What only an attacker sends: hellos in the midst of a session, fragments that lie, certificates
//! without measure, records that came before.

use super::super::dimpl::AnyCurve;
use super::*;
use crate::dtls::testing::self_signed;
use ::dimpl::crypto::{HashAlgorithm, SignatureAlgorithm, SignatureVerifier};

const KINDS: [PeerKind; 2] = [
    PeerKind::Client12(CertificateKind::P256),
    PeerKind::Client13,
];

const NULL_WITH_NULL: u16 = 0x0000;
const ECDHE_ECDSA_AES128_GCM: u16 = 0xc02b;
const SHA1_80: u16 = 0x0001;
/// The profiles of RFC 5764 that hide nothing.
const NULL_SHA1_80: u16 = 0x0005;
const NULL_SHA1_32: u16 = 0x0006;

fn record(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [
        &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 7][..],
        &length,
        message,
    ]
    .concat()
}

/// A fragment of a handshake message in a record of its own.
fn fragment(kind: u8, total: usize, sequence: u16, start: usize, bytes: &[u8]) -> Vec<u8> {
    let be24 = |n: usize| n.to_be_bytes()[5..].to_vec();
    let header = [
        vec![kind],
        be24(total),
        sequence.to_be_bytes().to_vec(),
        be24(start),
        be24(bytes.len()),
    ];
    record(&[header.concat(), bytes.to_vec()].concat())
}

/// A whole ClientHello of DTLS 1.2 with these, as a browser of some years ago would send it.
fn hello(ciphers: &[u16], profiles: &[u16]) -> Vec<u8> {
    let list = |ids: &[u16]| -> Vec<u8> {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
        let length = u16::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes()[..], &bytes].concat()
    };
    let extension = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap();
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
    };
    let mut extensions = [
        extension(10, &list(&[23])),     // groups: P-256
        extension(11, &[1, 0]),          // its points uncompressed
        extension(13, &list(&[0x0403])), // ECDSA with SHA-256
    ]
    .concat();
    if !profiles.is_empty() {
        extensions.extend(extension(14, &[list(profiles), vec![0]].concat()));
    }
    let body = [
        &[0xfe, 0xfd][..],
        &[7; 32],
        &[0, 0],
        &list(ciphers),
        &[1, 0],
        &u16::try_from(extensions.len()).unwrap().to_be_bytes(),
        &extensions,
    ]
    .concat();
    fragment(1, body.len(), 0, 0, &body)
}

/// A server with its peer, after the first flight of the peer: an engine is at work.
fn begun(context: &Context, kind: PeerKind, now: Time) -> (Dtls, DtlsPeer, Vec<Vec<u8>>) {
    let mut peer = DtlsPeer::new(kind, &ALL, now);
    let mut dtls = Dtls::server(fingerprint_of(&peer));
    let mut answers = Vec::new();
    for datagram in peer.handle_timeout(now) {
        dtls.handle(context, now, &datagram, &mut answers);
    }
    assert!(matches!(dtls.state, State::Running(_)) && !answers.is_empty());
    (dtls, peer, answers)
}

/// Connected, and what the peer has sent for it.
fn connected(context: &Context, kind: PeerKind, now: Time) -> (Dtls, DtlsPeer, Vec<Vec<u8>>) {
    let mut peer = DtlsPeer::new(kind, &ALL, now);
    let mut dtls = Dtls::server(fingerprint_of(&peer));
    let (mut sent, mut to_us, mut is_established) = (Vec::new(), peer.handle_timeout(now), false);
    while !to_us.is_empty() {
        let mut answers = Vec::new();
        for datagram in &to_us {
            let progress = dtls.handle(context, now, datagram, &mut answers);
            is_established |= matches!(progress, Progress::Established(_));
        }
        sent.append(&mut to_us);
        to_us = answers.iter().flat_map(|a| peer.handle(now, a)).collect();
    }
    assert!(is_established, "{kind:?}");
    (dtls, peer, sent)
}

/// True if the association still heeds its peer.
fn heeds(context: &Context, dtls: &mut Dtls, peer: &mut DtlsPeer, now: Time) -> bool {
    let goodbye = peer.close(now);
    goodbye.iter().any(|datagram| {
        let progress = dtls.handle(context, now, datagram, &mut Vec::new());
        matches!(progress, Progress::Closed)
    })
}

#[test]
fn hellos_in_the_midst_of_a_session_change_nothing() {
    let context = Context::new(false).unwrap();
    for kind in KINDS {
        let now = Time(5);
        let (mut dtls, mut peer, _) = connected(&context, kind, now);
        let mut out = Vec::new();
        for ciphers in [
            &[NULL_WITH_NULL][..],
            &[0xfefe, 0x1337],
            &[ECDHE_ECDSA_AES128_GCM],
        ] {
            let hello = hello(ciphers, &[SHA1_80]);
            for _ in 0..100 {
                let progress = dtls.handle(&context, now, &hello, &mut out);
                assert!(matches!(progress, Progress::Going), "{kind:?} {ciphers:?}");
            }
        }
        assert!(out.is_empty(), "{kind:?}");
        assert!(heeds(&context, &mut dtls, &mut peer, now), "{kind:?}");
    }
}

#[test]
fn without_an_srtp_profile_that_hides_there_is_no_session() {
    let context = Context::new(false).unwrap();
    let answer = |profiles: &[u16]| {
        let mut out = Vec::new();
        let mut dtls = Dtls::server(Vec::new());
        let hello = hello(&[ECDHE_ECDSA_AES128_GCM], profiles);
        let progress = dtls.handle(&context, Time(5), &hello, &mut out);
        (progress, out.len())
    };
    for profiles in [
        &[][..],
        &[NULL_SHA1_80],
        &[NULL_SHA1_32, NULL_SHA1_80],
        &[0xffff],
    ] {
        let (progress, answers) = answer(profiles);
        assert!(
            matches!(progress, Progress::Failed(Failure::Profile)),
            "{profiles:?} {progress:?}"
        );
        assert_eq!(answers, 0);
    }
    // The same with one that does.
    let (progress, answers) = answer(&[NULL_SHA1_80, SHA1_80]);
    assert!(
        matches!(progress, Progress::Going) && answers > 0,
        "{progress:?}"
    );
}

#[test]
fn fragments_that_lie_are_not_kept_for_ever() {
    let context = Context::new(false).unwrap();
    const CERTIFICATE: u8 = 11;
    let lies: [fn(u16) -> Vec<u8>; 4] = [
        // No bytes; one byte of 16 MiB; two that overlap; the same message with another length.
        |_| fragment(CERTIFICATE, 9, 1, 0, &[]),
        |_| fragment(CERTIFICATE, 0xff_ffff, 1, 0, &[7]),
        |n| fragment(CERTIFICATE, 4000, 1, usize::from(n % 100), &[9; 200]),
        |n| fragment(CERTIFICATE, 1000 + usize::from(n), 1, 0, &[1; 4]),
    ];
    for kind in KINDS {
        for (nth, lie) in lies.into_iter().enumerate() {
            let (mut dtls, mut peer, answers) = begun(&context, kind, Time(5));
            let mut out = Vec::new();
            let ended = dtls.handle(&context, Time(5), &lie(0), &mut out);
            // Some engines end it at once: who can write into a handshake can end it. If not, the
            // one lie does not keep the peer from being heard.
            if matches!(ended, Progress::Failed(_)) {
                assert!(matches!(dtls.state, State::Over), "{kind:?} {nth}");
                continue;
            }
            let progress = talk_from(&context, &mut dtls, &mut peer, Time(5), answers);
            assert!(
                !matches!(progress[..], [Progress::Closed]),
                "{kind:?} {nth}"
            );
        }
        // Messages without number that are all begun and none finished.
        let (mut dtls, ..) = begun(&context, kind, Time(5));
        let mut given = 0;
        let failed = (1..10_000).any(|sequence| {
            let bytes = fragment(CERTIFICATE, 1000, sequence, 0, &[3; 50]);
            given += bytes.len();
            let progress = dtls.handle(&context, Time(5), &bytes, &mut Vec::new());
            matches!(progress, Progress::Failed(Failure::Handshake))
        });
        assert!(
            failed && given <= HANDSHAKE_BYTES_MAX + 100,
            "{kind:?} {given}"
        );
        assert_eq!(dtls.deadline(), None);
    }
}

#[test]
fn a_certificate_without_measure_ends_the_handshake() {
    let context = Context::new(false).unwrap();
    for (kind, is_taken) in [
        (CertificateKind::Long(20_000), true),
        (CertificateKind::Long(70_000), false),
    ] {
        let mut peer = DtlsPeer::new(PeerKind::Client12(kind), &ALL, Time(5));
        let mut dtls = Dtls::server(fingerprint_of(&peer));
        let progress = talk(&context, &mut dtls, &mut peer, Time(5));
        match is_taken {
            true => assert!(
                matches!(progress[..], [Progress::Established(_)]),
                "{progress:?}"
            ),
            false => assert!(
                matches!(progress[..], [Progress::Failed(Failure::Handshake)]),
                "{progress:?}"
            ),
        }
    }
}

#[test]
fn what_counts_of_a_certificate_is_its_fingerprint() {
    let context = Context::new(false).unwrap();
    for kind in [CertificateKind::Expired, CertificateKind::Ed25519] {
        for is_offered in [true, false] {
            let mut peer = DtlsPeer::new(PeerKind::Client12(kind), &ALL, Time(5));
            let other = DtlsPeer::new(PeerKind::Client12(kind), &ALL, Time(5));
            let offered = if is_offered { &peer } else { &other };
            let mut dtls = Dtls::server(fingerprint_of(offered));
            let progress = talk(&context, &mut dtls, &mut peer, Time(5));
            let is_right = match progress[..] {
                [Progress::Established(_)] => is_offered,
                [Progress::Failed(Failure::FingerprintMismatch)] => !is_offered,
                _ => false,
            };
            assert!(is_right, "{kind:?} {is_offered} {progress:?}");
        }
    }
}

#[test]
fn a_certificate_is_worth_nothing_without_its_key() {
    let mine = self_signed(CertificateKind::P224);
    let (data, hash) = (b"what was said so far", HashAlgorithm::SHA256);
    let sign = |key: &[u8]| {
        let key = ::openssl::pkey::PKey::private_key_from_pkcs8(key).unwrap();
        let digest = ::openssl::hash::MessageDigest::sha256();
        let mut signer = ::openssl::sign::Signer::new(digest, &key).unwrap();
        signer.sign_oneshot_to_vec(data).unwrap()
    };
    let verify = |data: &[u8], signature: &[u8]| {
        let ecdsa = SignatureAlgorithm::ECDSA;
        AnyCurve.verify_signature(&mine.certificate, data, signature, hash, ecdsa)
    };
    let signature = sign(&mine.private_key);
    assert!(verify(data, &signature).is_ok());
    assert!(verify(b"what was never said", &signature).is_err());
    let other = self_signed(CertificateKind::P224);
    assert!(verify(data, &sign(&other.private_key)).is_err());
    assert!(verify(data, &[]).is_err());
}

#[test]
fn what_came_before_and_comes_again_changes_nothing() {
    let context = Context::new(false).unwrap();
    for kind in KINDS {
        let now = Time(5);
        let (mut dtls, mut peer, sent) = connected(&context, kind, now);
        let again = [sent.clone(), sent.iter().rev().cloned().collect()].concat();
        let lies = again.iter().flat_map(|datagram| {
            // Another version, another epoch, lengths beyond the datagram and within the record.
            [(1, 0x01), (4, 0x05), (11, 0xff), (12, 0x01)].map(|(at, value)| {
                let mut lie = datagram.clone();
                lie[at] ^= value;
                lie
            })
        });
        let mut out = Vec::new();
        for datagram in again.iter().cloned().chain(lies) {
            let progress = dtls.handle(&context, now, &datagram, &mut out);
            assert!(matches!(progress, Progress::Going), "{kind:?} {progress:?}");
        }
        let (asked, answered) = (
            again.iter().map(Vec::len).sum::<usize>(),
            out.iter().map(Vec::len).sum::<usize>(),
        );
        assert!(answered <= asked / 4, "{kind:?} {answered} for {asked}");
        assert!(heeds(&context, &mut dtls, &mut peer, now), "{kind:?}");
    }
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[tag, 0x82][..], &length, &body].concat()
}

/// A certificate with a key on a curve that it describes itself: prime, coefficients, generator,
/// order. The key is the generator.
fn on_a_curve_of_its_own([p, a, b, generator, order]: [&[u8]; 5]) -> Vec<u8> {
    const ECDSA_WITH_SHA256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    const EC_PUBLIC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
    const PRIME_FIELD: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x01\x01";
    let (sequence, one) = (0x30, der(0x02, &[&[1]]));
    let positive = |bytes: &[u8]| der(0x02, &[&[0], bytes]);
    let curve = der(sequence, &[&der(0x04, &[a]), &der(0x04, &[b])]);
    let field = der(sequence, &[PRIME_FIELD, &positive(p)]);
    let generated = [der(0x04, &[generator]), positive(order)].concat();
    let curve = der(sequence, &[&one, &field, &curve, &generated]);
    let key = der(sequence, &[EC_PUBLIC_KEY, &curve]);
    let key = der(sequence, &[&key, &der(0x03, &[&[0], generator])]);
    let signed = der(sequence, &[ECDSA_WITH_SHA256]);
    let name = der(sequence, &[]);
    let time = |text: &[u8]| der(0x17, &[text]);
    let valid = der(
        sequence,
        &[&time(b"200101000000Z"), &time(b"491231235959Z")],
    );
    let body = der(sequence, &[&one, &signed, &name, &valid, &name, &key]);
    der(sequence, &[&body, &signed, &der(0x03, &[&[0]])])
}

/// Whether its key can be read, and a signature by it is taken; known within seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "who reads without end can only be left behind"
)]
fn is_read(certificate: Vec<u8>) -> (bool, bool) {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let parsed = ::openssl::x509::X509::from_der(&certificate).unwrap();
        let has_key = parsed.public_key().is_ok();
        let (hash, ecdsa) = (HashAlgorithm::SHA256, SignatureAlgorithm::ECDSA);
        let verified = AnyCurve.verify_signature(&certificate, b"said", b"signed", hash, ecdsa);
        let _ = tell.send((has_key, verified.is_ok()));
    });
    let patience = std::time::Duration::from_secs(20);
    told.recv_timeout(patience).expect("a loop without end")
}

/// The square root that is looked for to unpack the generator is none modulo what is no prime
/// (CVE-2022-0778).
#[test]
fn a_curve_without_a_prime_ends_no_later_than_others() {
    use ::openssl::bn::{BigNum, BigNumContext};
    use ::openssl::ec::{EcGroup, PointConversionForm};
    let mut context = BigNumContext::new().unwrap();
    let known = EcGroup::from_curve_name(::openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let [mut p, mut a, mut b, mut order] = [(); 4].map(|()| BigNum::new().unwrap());
    known
        .components_gfp(&mut p, &mut a, &mut b, &mut context)
        .unwrap();
    known.order(&mut order, &mut context).unwrap();
    let form = PointConversionForm::COMPRESSED;
    let generator = known.generator_opt().unwrap();
    let generator = generator.to_bytes(&known, form, &mut context);
    let [p, a, b, order] = [p, a, b, order].map(|number| number.to_vec());
    let sound = [&p[..], &a, &b, &generator.unwrap(), &order];
    assert_eq!(is_read(on_a_curve_of_its_own(sound)), (true, false));
    let (p, b) = (&[0x46, 0x02, 0x01], &[0x20, 0xa7, 0xee]);
    let endless: [&[u8]; 5] = [p, &[0; 3], b, &[2, 0, 0, 0], &[7]];
    assert_eq!(is_read(on_a_curve_of_its_own(endless)), (false, false));
}
