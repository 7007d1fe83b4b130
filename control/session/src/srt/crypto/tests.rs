//! Keys and payloads: vectors, key changes, refusals.

use super::*;
use proptest::prelude::*;

const NOW: Time = Time(5_000_000_000);
const SALT: [u8; 16] = [7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn passphrase() -> Passphrase {
    Passphrase::new(*b"freshetfreshet").unwrap()
}

/// A key material message as a caller makes it.
pub(in crate::srt) fn km_message(
    secret: &[u8],
    salt: &[u8; 16],
    kk: u8,
    keys: &[&[u8]],
) -> Vec<u8> {
    let len = keys[0].len();
    let mut kek = vec![0; len];
    pbkdf2::pbkdf2_hmac::<sha1::Sha1>(secret, &salt[8..], 2048, &mut kek);
    let plain = keys.concat();
    let mut wrapped = vec![0; plain.len() + 8];
    match len {
        16 => KwAes128::new_from_slice(&kek)
            .unwrap()
            .wrap_key(&plain, &mut wrapped)
            .unwrap(),
        24 => KwAes192::new_from_slice(&kek)
            .unwrap()
            .wrap_key(&plain, &mut wrapped)
            .unwrap(),
        _ => KwAes256::new_from_slice(&kek)
            .unwrap()
            .wrap_key(&plain, &mut wrapped)
            .unwrap(),
    };
    let klen = u8::try_from(len / 4).unwrap();
    let mut out = vec![0x12, 0x20, 0x29, kk, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 4, klen];
    out.extend_from_slice(salt);
    out.extend_from_slice(&wrapped);
    out
}

fn message(kk: u8, keys: &[&[u8]]) -> Vec<u8> {
    km_message(b"freshetfreshet", &SALT, kk, keys)
}

fn keystream(ring: &mut Keyring, kk: u8, seq: u32) -> Option<[u8; 20]> {
    let mut zeros = [0; 20];
    (ring.apply(kk, Seq::new(seq), &mut zeros) == Opened::Yes).then_some(zeros)
}

#[test]
fn all_key_lengths_and_slots_open() {
    for (len, field) in [(16, 2), (24, 3), (32, 4)] {
        let (a, b) = (vec![0x11; len], vec![0x22; len]);
        for (kk, keys) in [
            (1, vec![&a[..]]),
            (2, vec![&a[..]]),
            (3, vec![&a[..], &b[..]]),
        ] {
            let km = message(kk, &keys);
            let mut ring = Keyring::open(passphrase(), &km, NOW).expect("opens");
            assert_eq!((ring.encryption_field(), ring.km()), (field, &km[..]));
            assert_eq!(keystream(&mut ring, 1, 0).is_some(), kk & 1 != 0);
            assert_eq!(keystream(&mut ring, 2, 0).is_some(), kk & 2 != 0);
        }
    }
}

#[test]
fn the_counter_is_salt_and_sequence_number() {
    // The first block, by the block cipher alone: salt without its last 16 bits, the sequence
    // number on bytes 10 to 13, a block counter of 0.
    use aes::cipher::BlockCipherEncrypt;
    let mut block = [
        7,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10 ^ 0x12,
        11 ^ 0x34,
        12 ^ 0x56,
        13 ^ 0x78,
        0,
        0,
    ];
    let cipher = Aes128::new_from_slice(&[0x11; 16]).unwrap();
    cipher.encrypt_block((&mut block).into());
    let mut ring = Keyring::open(passphrase(), &message(1, &[&[0x11; 16]]), NOW).unwrap();
    assert_eq!(keystream(&mut ring, 1, 0x1234_5678).unwrap()[..16], block);
}

#[test]
fn lengths_of_known_attacks_are_malformed() {
    let good = message(3, &[&[1; 32], &[2; 32]]);
    for len in [0, 1, 15, 16, 31, 32, 40, 55, 56, 72, 103, 105, 1352, 1456] {
        let mut km = good.clone();
        km.resize(len, 0);
        assert_eq!(
            Keyring::open(passphrase(), &km, NOW).err(),
            Some(BadKm::Malformed),
            "{len}"
        );
    }
    // One key announced where there is room for two.
    let mut km = good.clone();
    km[3] = 1;
    assert_eq!(
        Keyring::open(passphrase(), &km, NOW).err(),
        Some(BadKm::Malformed)
    );
}

#[test]
fn every_changed_bit_is_refused() {
    let good = message(1, &[&[1; 16]]);
    for bit in 0..good.len() * 8 {
        let mut km = good.clone();
        km[bit / 8] ^= 1 << (bit % 8);
        // The first half of the salt only goes into the counter, the slot's name nowhere.
        let free = (16 * 8..24 * 8).contains(&bit) || km[3] == 2;
        assert_eq!(
            Keyring::open(passphrase(), &km, NOW).is_ok(),
            free,
            "bit {bit}"
        );
    }
    let mut gcm = good.clone();
    gcm[8..10].copy_from_slice(&[4, 1]);
    assert_eq!(
        Keyring::open(passphrase(), &gcm, NOW).err(),
        Some(BadKm::Cipher)
    );
    let other = Passphrase::new(*b"freshetfreshes").unwrap();
    assert_eq!(Keyring::open(other, &good, NOW).err(), Some(BadKm::Secret));
}

#[test]
fn a_refresh_takes_the_other_key_and_never_the_one_in_use() {
    let (a, b, c) = ([1; 16], [2; 16], [3; 16]);
    let mut ring = Keyring::open(passphrase(), &message(1, &[&a]), NOW).unwrap();
    let even = keystream(&mut ring, 1, 10).unwrap();
    // Both, then the same again because the answer was lost.
    assert_eq!(ring.refresh(&message(3, &[&a, &b]), NOW), Ok(()));
    assert_eq!(ring.refresh(&message(3, &[&a, &b]), NOW), Ok(()));
    assert!(keystream(&mut ring, 1, 11).is_some());
    let odd = keystream(&mut ring, 2, 12).unwrap();
    assert_ne!(even, odd);
    // Odd is in use now: a message that changes it is an old one, or none of the caller's.
    assert_eq!(
        ring.refresh(&message(3, &[&a, &c]), NOW),
        Err(BadKm::Replay)
    );
    assert_eq!(ring.refresh(&message(2, &[&c]), NOW), Err(BadKm::Replay));
    assert_eq!(ring.refresh(&[0; 104], NOW), Err(BadKm::Malformed));
    assert_eq!(
        keystream(&mut ring, 2, 12).unwrap(),
        odd,
        "keys are as they were"
    );
    // The old key retires; what it encrypted can still be repeated.
    assert_eq!(ring.refresh(&message(2, &[&b]), NOW), Ok(()));
    assert_eq!(keystream(&mut ring, 1, 10).unwrap(), even);
    // And the next one takes its place.
    assert_eq!(ring.refresh(&message(3, &[&c, &b]), NOW), Ok(()));
    assert_ne!(keystream(&mut ring, 1, 10).unwrap(), even);
    assert_eq!(ring.km(), message(3, &[&c, &b]));
}

#[test]
fn a_new_salt_costs_a_derivation_and_those_are_rationed() {
    let mut ring = Keyring::open(passphrase(), &message(1, &[&[1; 16]]), NOW).unwrap();
    let fresh = km_message(b"freshetfreshet", &[9; 16], 2, &[&[2; 16]]);
    assert_eq!(ring.refresh(&fresh, NOW), Err(BadKm::TooSoon));
    let later = NOW + DERIVE_INTERVAL;
    let foreign = km_message(b"somebody else's", &[8; 16], 2, &[&[2; 16]]);
    assert_eq!(ring.refresh(&foreign, later), Err(BadKm::Secret));
    assert_eq!(ring.refresh(&fresh, later), Err(BadKm::TooSoon));
    assert_eq!(ring.refresh(&fresh, later + DERIVE_INTERVAL), Ok(()));
    assert!(keystream(&mut ring, 2, 0).is_some());
}

#[test]
fn passphrases_have_ten_to_eighty_bytes_and_stay_secret() {
    for (len, good) in [(0, false), (9, false), (10, true), (80, true), (81, false)] {
        assert_eq!(Passphrase::new(vec![b'x'; len]).is_ok(), good, "{len}");
    }
    assert!(Passphrase::new(*b"0123456789\0").is_err());
    assert_eq!(format!("{:?}", passphrase()), "Passphrase { .. }");
}

proptest! {
    #[test]
    fn any_message_is_taken_or_refused_but_changes_nothing_by_halves(
        km in proptest::collection::vec(any::<u8>(), 0..200),
        head in any::<bool>(),
    ) {
        let good = message(1, &[&[1; 16]]);
        let mut ring = Keyring::open(passphrase(), &good, NOW).unwrap();
        let before = keystream(&mut ring, 1, 1);
        let mut km = km;
        if head && km.len() > 32 {
            km[..32].copy_from_slice(&good[..32]);
        }
        prop_assert!(ring.refresh(&km, NOW).is_err());
        prop_assert_eq!(keystream(&mut ring, 1, 1), before);
        prop_assert_eq!(ring.km(), &good[..]);
    }
}
