//! The kernels against known answers and against other libraries. Nothing to say where the machine
//! can't run them.

use super::*;
use crate::backend::{CM_LANES, RustCryptoSeal};

fn text(bytes: usize) -> Vec<u8> {
    let words = (0_u32..).map(|n| n.wrapping_mul(0x9e37_79b1).rotate_left(n % 31));
    words.take(bytes).map(|n| n.to_be_bytes()[1]).collect()
}

fn encrypted(cm: &impl CmSeal, iv: &[u8; 16], parts: [&[u8]; 2]) -> Vec<u8> {
    let mut out = vec![0x77; parts[0].len() + parts[1].len()];
    cm.encrypt(iv, parts, &mut out).unwrap();
    out
}

fn macs(cm: &impl CmSeal, messages: &[Message<'_>]) -> Vec<[u8; 20]> {
    let mut macs = vec![[0x77; 20]; messages.len()];
    cm.macs(messages, &mut macs);
    macs
}

/// A test of both kernels, as far as the machine can run them.
macro_rules! both {
    ($check:ident: $name:ident) => {
        #[test]
        fn $name() {
            if is_available() {
                $check::<VaesCm>();
            }
            if wide_is_available() {
                $check::<Vaes512Cm>();
            }
        }
    };
}

both!(check_b2: rfc3711_b2);
both!(check_rfc2202: rfc2202);
both!(check_macs: macs_agree_with_ring_at_every_length);
both!(check_encryption: encrypts_as_rustcrypto_at_every_length);

/// RFC 3711 appendix B.2. Its last blocks are beyond the longest packet.
fn check_b2<S: CmSeal>() {
    let key = 0x2B7E_1516_28AE_D2A6_ABF7_1588_09CF_4F3C_u128.to_be_bytes();
    let iv = 0xF0F1_F2F3_F4F5_F6F7_F8F9_FAFB_FCFD_0000_u128.to_be_bytes();
    let cm = S::new(&key, &[0; 20]).unwrap();
    let zeros = vec![0; ctr::BYTES_MAX];
    let stream = encrypted(&cm, &iv, [&zeros, &[]]);
    let expected: [u128; 3] = [
        0xE03E_AD09_35C9_5E80_E166_B16D_D92B_4EB4,
        0xD235_1316_2B02_D0F7_2A43_A2FE_4A5F_97AB,
        0x41E9_5B3B_B0A2_E8DD_4779_01E4_FCA8_94C0,
    ];
    for (block, expected) in stream.chunks(16).zip(expected) {
        assert_eq!(block, expected.to_be_bytes());
    }
    // The last blocks by starting the counter late.
    for (start, expected) in [
        (0xfeff, 0xEC8C_DF73_9860_7CB0_F2D2_1675_EA9E_A1E4_u128),
        (0xff00, 0x362B_7C3C_6773_5163_18A0_77D7_FC50_73AE),
        (0xff01, 0x6A2C_C378_7889_374F_BEB4_C81B_17BA_6C44),
    ] {
        let iv = (u128::from_be_bytes(iv) | start).to_be_bytes();
        let block = encrypted(&cm, &iv, [&[0; 16], &[]]);
        assert_eq!(block, expected.to_be_bytes());
    }
    let theirs = RustCryptoSeal::new(&key, &[0; 20]).unwrap();
    assert_eq!(stream, encrypted(&theirs, &iv, [&zeros, &[]]));
    let longer = vec![0; ctr::BYTES_MAX + 1];
    assert_eq!(cm.encrypt(&iv, [&longer, &[]], &mut longer.clone()), None);
    assert_eq!(cm.encrypt(&iv, [&[1; 5], &[]], &mut [0; 6]), None);
}

/// RFC 2202 section 3, test case 1: its last four bytes stand for the roll-over counter.
fn check_rfc2202<S: CmSeal>() {
    let cm = S::new(&[0; 16], &[0x0b; 20]).unwrap();
    let expected = [
        0xb6, 0x17, 0x31, 0x86, 0x55, 0x05, 0x72, 0x64, 0xe2, 0x8b, 0xc0, 0xb6, 0xfb, 0x37, 0x8c,
        0x8e, 0xf1, 0x46, 0xbe, 0x00,
    ];
    let message = Message {
        bytes: b"Hi T",
        roc: *b"here",
    };
    for lanes in 1..=CM_LANES {
        assert_eq!(macs(&cm, &vec![message; lanes]), vec![expected; lanes]);
    }
}

/// Every length, alone and beside others of every residue, against the HMAC of another library.
fn check_macs<S: CmSeal>() {
    let (text, key) = (text(2400), [0x5a; 20]);
    let cm = S::new(&[0; 16], &key).unwrap();
    let other = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let message = |bytes: usize| Message {
        bytes: &text[bytes % 7..][..bytes],
        roc: [1, 2, bytes.to_be_bytes()[7], 4],
    };
    let expected = |message: &Message<'_>| {
        let whole = [message.bytes, &message.roc].concat();
        let mut mac = [0; 20];
        mac.copy_from_slice(ring::hmac::sign(&other, &whole).as_ref());
        mac
    };
    for bytes in 0..=2140 {
        let lengths = [bytes, bytes * 31 % 2141, 2140 - bytes, bytes, bytes / 2];
        let messages = lengths.iter().cycle().take(CM_LANES + 3);
        let messages: Vec<_> = messages.map(|&bytes| message(bytes)).collect();
        let expected: Vec<_> = messages.iter().map(expected).collect();
        for lanes in [1, 2, 3, 4, 5, 5 + bytes % 11, CM_LANES, messages.len()] {
            let ours = macs(&cm, &messages[..lanes]);
            assert_eq!(ours, expected[..lanes], "{bytes} bytes");
        }
    }
    assert!(macs(&cm, &[]).is_empty());
}

/// Every length in one part and in two, against RustCrypto.
fn check_encryption<S: CmSeal>() {
    let text = text(2400);
    let mut key = [0; 16];
    key.copy_from_slice(&text[100..116]);
    let ours = S::new(&key, &[0; 20]).unwrap();
    let theirs = RustCryptoSeal::new(&key, &[0; 20]).unwrap();
    for bytes in 0..=2050 {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&text[bytes % 999..][..14]);
        let plain = &text[bytes % 33..][..bytes];
        let expected = encrypted(&theirs, &iv, [plain, &[]]);
        assert_eq!(encrypted(&ours, &iv, [plain, &[]]), expected, "{bytes}");
        let cut = plain.split_at(bytes % 41 * bytes / 41);
        assert_eq!(encrypted(&ours, &iv, cut.into()), expected, "{bytes} cut");
    }
}

#[test]
fn the_expanded_key_is_wiped() {
    if !is_available() {
        return;
    }
    let mut cm = VaesCm::new(&[0xa5; 16], &[0xa5; 20]).unwrap();
    assert_ne!(cm.round_keys[10], [0; 16]);
    cm.zeroize();
    assert_eq!(cm.round_keys, [[0; 16]; gcm_vaes::ROUND_KEYS_MAX]);
    assert_eq!((cm.mac.inner, cm.mac.outer), ([0; 5], [0; 5]));
}
