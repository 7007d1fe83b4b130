//! Tests of the ClientHello: real ones, cut and shuffled, and made-up ones.

use super::*;
use proptest::prelude::*;

const CHROMIUM: [&[u8]; 2] = [
    include_bytes!("../../../../../tests/corpus/dtls/chromium156_client_hello_1.bin"),
    include_bytes!("../../../../../tests/corpus/dtls/chromium156_client_hello_2.bin"),
];

fn chromium() -> Hello {
    Hello {
        dtls13: true,
        dtls12: true,
        profiles: vec![
            Profile::Aes128CmSha1_80,
            Profile::AeadAes256Gcm,
            Profile::AeadAes128Gcm,
        ],
        gnutls_groups: false,
    }
}

/// A datagram with one fragment of a ClientHello.
fn fragment(body: &[u8], start: usize, end: usize) -> Vec<u8> {
    let be24 = |n: usize| n.to_be_bytes()[5..].to_vec();
    let message = [
        vec![CLIENT_HELLO],
        be24(body.len()),
        vec![0, 0],
        be24(start),
        be24(end - start),
        body[start..end].to_vec(),
    ]
    .concat();
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [
        &[HANDSHAKE, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &length,
        &message,
    ]
    .concat()
}

fn body() -> Vec<u8> {
    let part = |datagram: &[u8]| datagram[RECORD_HEADER_BYTES + MESSAGE_HEADER_BYTES..].to_vec();
    CHROMIUM.map(part).concat()
}

#[test]
fn both_orders_of_the_fragments_will_do() {
    for order in [[0, 1], [1, 0]] {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.push(CHROMIUM[order[0]]), None);
        assert_eq!(assembly.push(CHROMIUM[order[0]]), None);
        let (hello, datagrams) = assembly.push(CHROMIUM[order[1]]).unwrap();
        assert_eq!(hello, chromium());
        assert_eq!(datagrams, [CHROMIUM[order[0]], CHROMIUM[order[1]]]);
    }
}

#[test]
fn ffmpeg_with_gnutls_hides_the_curve_of_its_certificate() {
    let ffmpeg =
        include_bytes!("../../../../../tests/corpus/dtls/ffmpeg81_gnutls_client_hello.bin");
    let (hello, _) = Assembly::default().push(ffmpeg).unwrap();
    assert!(hello.dtls12 && !hello.dtls13);
    assert_eq!(hello.profiles, [Profile::Aes128CmSha1_80]);
    assert!(hello.hides_its_curve());
    assert!(!chromium().hides_its_curve());
    // Another program with GnuTLS has a certificate that anybody takes.
    let other = Hello {
        profiles: vec![Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80],
        ..hello
    };
    assert!(!other.hides_its_curve());
}

#[test]
fn lies_about_lengths_change_nothing() {
    let body = body();
    let good = fragment(&body, 0, 700);
    let mut assembly = Assembly::default();
    assert_eq!(assembly.push(&good), None);
    let lie = |at: usize, bytes: &[u8]| {
        let mut datagram = fragment(&body, 700, body.len());
        datagram[at..at + bytes.len()].copy_from_slice(bytes);
        datagram
    };
    for bad in [
        lie(0, &[21]),                // not a handshake
        lie(3, &[0, 1]),              // not in the clear
        lie(11, &[0xff, 0xff]),       // a record beyond the datagram
        lie(11, &[0, 5]),             // a record too short for a message
        lie(13, &[2]),                // not a ClientHello
        lie(17, &[0, 1]),             // not the first message
        lie(19, &[0xff, 0xff, 0xff]), // beyond the message
        lie(22, &[0xff, 0xff, 0xff]), // longer than the record
        fragment(&[0; HELLO_BYTES_MAX + 1], 0, 1),
        fragment(&body, 5, 5), // zero bytes
        Vec::new(),
    ] {
        assert_eq!(assembly.push(&bad), None);
    }
    assert!(assembly.push(&fragment(&body, 700, body.len())).is_some());
}

#[test]
fn a_message_of_another_length_begins_anew() {
    let body = body();
    let mut assembly = Assembly::default();
    assert_eq!(assembly.push(&fragment(&body, 0, 700)), None);
    assert_eq!(assembly.push(&fragment(&body[..900], 700, 900)), None);
    assert_eq!(assembly.push(&fragment(&body, 700, body.len())), None);
    assert!(assembly.push(&fragment(&body, 0, 700)).is_some());
}

#[test]
fn crumbs_do_not_pile_up() {
    let body = vec![0; HELLO_BYTES_MAX];
    let mut assembly = Assembly::default();
    for start in 0..HELLO_BYTES_MAX {
        assert_eq!(assembly.push(&fragment(&body, start, start + 1)), None);
        assert!(assembly.datagrams.len() <= DATAGRAMS_MAX);
        assert!(assembly.body.len() <= HELLO_BYTES_MAX);
    }
}

proptest! {
    #[test]
    fn any_cut_in_any_order_comes_together(
        cuts in proptest::collection::btree_set(1..1400_usize, 0..6),
        seed: u64,
    ) {
        let body = body();
        let mut ends: Vec<usize> = cuts.into_iter().collect();
        ends.push(body.len());
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let mut parts: Vec<_> =
            starts.zip(ends.iter().copied()).map(|(s, e)| fragment(&body, s, e)).collect();
        let rotation = usize::try_from(seed % 97).unwrap() % parts.len();
        parts.rotate_left(rotation);
        if seed % 2 == 0 {
            parts.reverse();
        }
        let mut assembly = Assembly::default();
        let last = parts.pop().unwrap();
        for part in &parts {
            prop_assert_eq!(assembly.push(part), None);
        }
        prop_assert_eq!(assembly.push(&last).unwrap().0, chromium());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut assembly = Assembly::default();
        assembly.push(&bytes);
        let _hello = read(&bytes);
        prop_assert!(records(&bytes).count() <= bytes.len());
    }

    #[test]
    fn any_damage_is_survived(at in 0..1400_usize, value: u8) {
        let mut damaged = body();
        damaged[at] = value;
        let _hello = read(&damaged);
        let _cut = read(&damaged[..at]);
    }
}
