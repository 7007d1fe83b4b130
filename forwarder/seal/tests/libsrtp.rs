//! Byte for byte against libsrtp: all profiles, lengths and shapes of header, both directions.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![cfg(feature = "libsrtp")]

mod common;

use common::{PROFILES, Rng, header, rtcp, secret};
use freshet_seal::oracle::Session;
use freshet_seal::{Cipher, Opener, Sealer, Secret};

const SSRC: u32 = 0xdead_beef;

/// One by each cipher that this machine can run.
fn sealers(secret: &Secret) -> Vec<(Cipher, Sealer)> {
    let ciphers = Cipher::ALL
        .into_iter()
        .filter(|cipher| cipher.is_available());
    ciphers
        .map(|cipher| (cipher, Sealer::with(secret, cipher).unwrap()))
        .collect()
}

/// All lengths of payload, with all shapes of header in turn.
#[test]
fn rtp_of_all_lengths() {
    for profile in PROFILES {
        let mut rng = Rng::new(100);
        let secret = secret(profile, &mut rng);
        let sealers = sealers(&secret);
        let mut opener = Opener::new(&secret).unwrap();
        let [mut theirs, mut receiver] = [(); 2].map(|()| {
            let mut session = Session::new(&secret).unwrap();
            assert!(session.add(SSRC, 0));
            session
        });
        for (bytes, index) in (0..=2050).zip(65_000_u64..) {
            let csrcs = u8::try_from(rng.below(16)).unwrap();
            let words = u16::try_from(rng.below(40))
                .ok()
                .filter(|words| *words < 30);
            let header = header(&mut rng, SSRC, index, csrcs, words);
            let payload = rng.bytes(bytes);
            let mut expected = [header.as_slice(), &payload].concat();
            let plain = expected.clone();
            assert!(theirs.protect(&mut expected), "{profile:?} {bytes}");
            let mut out = Vec::new();
            for (cipher, sealer) in &sealers {
                out = vec![0; 2500];
                let sealed = sealer.rtp(index, &header, &payload, &mut out).unwrap();
                out.truncate(sealed);
                assert_eq!(
                    out, expected,
                    "{cipher}: {profile:?} {bytes} bytes, {csrcs} CSRCs, {words:?}"
                );
            }
            assert!(receiver.unprotect(&mut out), "{profile:?} {bytes}");
            assert_eq!(out, plain);
            let opened = opener.rtp(&mut expected).unwrap();
            assert_eq!((opened.index, opened.packet), (index, plain.as_slice()));
        }
    }
}

#[test]
fn rtcp_of_all_lengths() {
    for profile in PROFILES {
        let mut rng = Rng::new(101);
        let secret = secret(profile, &mut rng);
        let sealer = Sealer::new(&secret).unwrap();
        let mut opener = Opener::new(&secret).unwrap();
        let [mut theirs, mut receiver] = [(); 2].map(|()| {
            let mut session = Session::new(&secret).unwrap();
            assert!(session.add(SSRC, 0));
            session
        });
        for (bytes, index) in (8..=1500).step_by(4).zip(1_u32..) {
            let plain = rtcp(&mut rng, SSRC, bytes);
            let mut expected = plain.clone();
            assert!(theirs.protect_rtcp(&mut expected), "{profile:?} {bytes}");
            let mut out = vec![0; 2000];
            let sealed = sealer.rtcp(index, &plain, &mut out).unwrap();
            out.truncate(sealed);
            assert_eq!(out, expected, "{profile:?} {bytes} bytes");
            assert!(receiver.unprotect_rtcp(&mut out), "{profile:?} {bytes}");
            assert_eq!(out, plain);
            assert_eq!(opener.rtcp(&mut expected), Ok(plain.as_slice()));
        }
    }
}

/// High roll-over counters: bits that a short session never sets.
#[test]
fn any_roll_over_counter() {
    for profile in PROFILES {
        for seed in 0..64 {
            let mut rng = Rng::new(seed);
            let secret = secret(profile, &mut rng);
            let sealer = Sealer::new(&secret).unwrap();
            let (ssrc, index) = (
                u32::try_from(rng.below(1 << 32)).unwrap(),
                rng.below(1 << 48),
            );
            let roc = u32::try_from(index >> 16).unwrap();
            let mut theirs = Session::new(&secret).unwrap();
            assert!(theirs.add(ssrc, roc));
            let header = header(&mut rng, ssrc, index, 0, Some(2));
            let payload = rng.bytes(1000);
            let mut out = vec![0; 2000];
            let sealed = sealer.rtp(index, &header, &payload, &mut out).unwrap();
            out.truncate(sealed);
            assert!(
                theirs.unprotect(&mut out),
                "{profile:?} seed {seed} ROC {roc}"
            );
            assert_eq!(
                out,
                [header, payload].concat(),
                "{profile:?} seed {seed} ROC {roc}"
            );
        }
    }
}

/// Loss, reordering and duplicates around three wraps: both accept and refuse the same.
#[test]
fn the_same_packets_pass() {
    for profile in PROFILES {
        for seed in 200..206 {
            let mut rng = Rng::new(seed);
            let secret = secret(profile, &mut rng);
            let sealer = Sealer::new(&secret).unwrap();
            let mut opener = Opener::new(&secret).unwrap();
            let mut theirs = Session::new(&secret).unwrap();
            assert!(theirs.add(SSRC, 0));
            let (mut head, mut passed) = (30_000_u64, 0);
            for _ in 0..3000 {
                head += [1, 1, 1, 2, 5, 60, 300][usize::try_from(rng.below(7)).unwrap()];
                let index = head - rng.below(3) * rng.below(60);
                let header = header(&mut rng, SSRC, index, 0, None);
                let mut ours = vec![0; 200];
                let sealed = sealer.rtp(index, &header, &[7; 50], &mut ours).unwrap();
                ours.truncate(sealed);
                let mut same = ours.clone();
                let opened = opener.rtp(&mut ours);
                let accepted = theirs.unprotect(&mut same);
                assert_eq!(
                    opened.is_ok(),
                    accepted,
                    "{profile:?} seed {seed} index {index}"
                );
                if let Ok(opened) = opened {
                    assert_eq!((opened.index, opened.packet), (index, same.as_slice()));
                    passed += 1;
                }
            }
            assert!(passed > 1500, "seed {seed}: {passed}");
        }
    }
}
