//! Vectors of RFC 5769 and of a browser, round trips, lies, random bytes.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 section 2.1; the padding of its user name is spaces.
#[rustfmt::skip]
const RFC_REQUEST: [u8; 108] = [
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73,
    0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff,
    0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09,
    0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14,
    0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49,
    0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];

/// RFC 5769 section 2.2; the padding of its software name is a space.
#[rustfmt::skip]
const RFC_RESPONSE_V4: [u8; 80] = [
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63,
    0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43,
    0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9,
    0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
];

/// RFC 5769 section 2.3.
#[rustfmt::skip]
const RFC_RESPONSE_V6: [u8; 92] = [
    0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63,
    0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa,
    0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9, 0x00, 0x08, 0x00, 0x14,
    0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6, 0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75,
    0xbf, 0xe3, 0xed, 0x41, 0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
];

/// A nominating check that Chromium 156 sent on loopback, with GOOG-NETWORK-INFO.
#[rustfmt::skip]
const CHROMIUM_CHECK: [u8; 100] = [
    0x00, 0x01, 0x00, 0x50, 0x21, 0x12, 0xa4, 0x42, 0x54, 0x35, 0x61, 0x70, 0x70, 0x41, 0x36, 0x52,
    0x49, 0x35, 0x6d, 0x68, 0x00, 0x06, 0x00, 0x0b, 0x32, 0x65, 0x36, 0x32, 0x65, 0x38, 0x3a, 0x55,
    0x68, 0x54, 0x48, 0x00, 0xc0, 0x57, 0x00, 0x04, 0x00, 0x00, 0x03, 0xe7, 0x80, 0x2a, 0x00, 0x08,
    0xa9, 0x1a, 0x31, 0x86, 0xb7, 0xb6, 0xef, 0x17, 0x00, 0x25, 0x00, 0x00, 0x00, 0x24, 0x00, 0x04,
    0x6e, 0x00, 0x1e, 0xff, 0x00, 0x08, 0x00, 0x14, 0x9c, 0xdc, 0x5d, 0xb1, 0xa4, 0x81, 0x24, 0x83,
    0xcc, 0x6c, 0xe6, 0xc9, 0x2a, 0xc8, 0xb7, 0xce, 0x16, 0xd9, 0xe3, 0x03, 0x80, 0x28, 0x00, 0x04,
    0xff, 0x16, 0xf5, 0x49,
];

/// An answer to it which Chromium accepted.
#[rustfmt::skip]
const CHROMIUM_ANSWER: [u8; 64] = [
    0x01, 0x01, 0x00, 0x2c, 0x21, 0x12, 0xa4, 0x42, 0x54, 0x35, 0x61, 0x70, 0x70, 0x41, 0x36, 0x52,
    0x49, 0x35, 0x6d, 0x68, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xfe, 0xda, 0x2b, 0x5f, 0xa4, 0x40,
    0x00, 0x08, 0x00, 0x14, 0x7d, 0xab, 0xb5, 0xa8, 0xef, 0xfd, 0x3c, 0x00, 0x1b, 0x3b, 0x2c, 0x71,
    0xb6, 0x41, 0x6e, 0x27, 0xda, 0xb2, 0x6a, 0xab, 0x80, 0x28, 0x00, 0x04, 0x73, 0xa8, 0xa0, 0xb0,
];

/// The password that the answer above was given with.
const SERVER_PASSWORD: &[u8] = b"33a3553448f3ba7d183bdd05";

fn peer(text: &str) -> Peer {
    text.parse::<SocketAddr>().unwrap().into()
}

#[test]
fn the_request_of_rfc_5769_is_read() {
    let message = Message::parse(&RFC_REQUEST).unwrap();
    assert_eq!(message.class(), Class::Request);
    assert_eq!(message.method(), METHOD_BINDING);
    assert!(message.is_binding_request());
    assert_eq!(message.transaction(), RFC_REQUEST[8..20]);
    assert_eq!(message.username(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert_eq!(message.username_bytes(), Some(&b"evtj:h6vY"[..]));
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert_eq!(
        message.role(),
        Some(Role::Controlled(0x932f_f9b1_5126_3b36))
    );
    assert!(!message.use_candidate());
    assert!(message.has_fingerprint());
    assert_eq!(message.unknown_required(), None);
    assert!(message.verify_integrity(PASSWORD));
    assert!(!message.verify_integrity(b"VOkJxbRl1RmTxUk/WvJxBu"));
    assert!(!message.verify_integrity(b""));
}

#[test]
fn the_responses_of_rfc_5769_are_read() {
    for (bytes, address) in [
        (&RFC_RESPONSE_V4[..], "192.0.2.1:32853"),
        (
            &RFC_RESPONSE_V6[..],
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ),
    ] {
        let message = Message::parse(bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.mapped_address(), Some(peer(address)));
        assert!(message.verify_integrity(PASSWORD));
        assert_eq!(message.username(), None);
    }
}

#[test]
fn a_check_of_chromium_is_read_and_answered_as_it_was() {
    let check = Message::parse(&CHROMIUM_CHECK).unwrap();
    assert_eq!(check.username(), Some((&b"2e62e8"[..], &b"UhTH"[..])));
    assert!(check.use_candidate());
    assert_eq!(check.role(), Some(Role::Controlling(0xa91a_3186_b7b6_ef17)));
    assert!(check.verify_integrity(SERVER_PASSWORD));
    let mut out = [0; 100];
    let mapped = peer("10.77.0.2:57288");
    let bytes = write_success(&check.transaction(), mapped, SERVER_PASSWORD, &mut out);
    assert_eq!(out[..bytes], CHROMIUM_ANSWER);
}

#[test]
fn every_flipped_bit_of_an_authentic_request_is_noticed() {
    let authentic_bytes = RFC_REQUEST.len() - 8; // the fingerprint protects itself
    for bit in 0..8 * RFC_REQUEST.len() {
        let mut bytes = RFC_REQUEST;
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A longer attribute may swallow the fingerprint, but none survives.
        let survived = Message::parse(&bytes).is_ok_and(|message| message.has_fingerprint());
        assert!(!survived, "bit {bit} and the fingerprint");
        if bit / 8 < authentic_bytes {
            let mut bytes = bytes[..authentic_bytes].to_vec();
            let length = u16_at(&bytes, 2).wrapping_sub(8);
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            let authentic =
                Message::parse(&bytes).map(|message| message.verify_integrity(PASSWORD));
            assert_ne!(authentic, Ok(true), "bit {bit} without the fingerprint");
        }
    }
}

#[test]
fn lies_are_named() {
    let error = |bytes: &[u8]| Message::parse(bytes).err();
    assert_eq!(error(&[]), Some(StunError::Short));
    assert_eq!(error(&RFC_REQUEST[..19]), Some(StunError::Short));
    for end in 20..RFC_REQUEST.len() {
        assert_eq!(error(&RFC_REQUEST[..end]), Some(StunError::Length));
    }
    let mut bytes = RFC_REQUEST.to_vec();
    bytes.push(0);
    assert_eq!(error(&bytes), Some(StunError::Length));
    let mut bytes = RFC_REQUEST;
    bytes[0] = 0x40;
    assert_eq!(error(&bytes), Some(StunError::NotStun));
    bytes[0] = 0;
    bytes[4] = 0;
    assert_eq!(error(&bytes), Some(StunError::NotStun));
    assert_eq!(
        error(&request(&[(USERNAME, &[b'a'; 509])])),
        Some(StunError::Attribute)
    );
    for (kind, right) in [
        (PRIORITY, 4),
        (USE_CANDIDATE, 0),
        (ICE_CONTROLLED, 8),
        (ICE_CONTROLLING, 8),
        (MESSAGE_INTEGRITY, 20),
    ] {
        for bytes in 0..24 {
            let found = error(&request(&[(kind, &[1; 24][..bytes])]));
            assert_eq!(
                found,
                (bytes != right).then_some(StunError::Attribute),
                "{kind:x}"
            );
        }
    }
    for (family, bytes) in [(1, 20), (2, 8), (3, 8), (1, 4)] {
        let mut value = [0; 20];
        value[1] = family;
        let found = error(&request(&[(XOR_MAPPED_ADDRESS, &value[..bytes])]));
        assert_eq!(found, Some(StunError::Attribute));
    }
    let mut bytes = request(&[(PRIORITY, &[0; 4])]);
    bytes[23] = 5; // one byte beyond the end
    assert_eq!(error(&bytes), Some(StunError::Attribute));
    bytes[22..24].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(error(&bytes), Some(StunError::Attribute));
}

#[test]
fn attributes_are_bounded_in_number() {
    let one = (0x8022, &b""[..]);
    assert!(Message::parse(&request(&[one; ATTRIBUTES_MAX])).is_ok());
    let found = Message::parse(&request(&[one; ATTRIBUTES_MAX + 1])).err();
    assert_eq!(found, Some(StunError::TooMany));
}

#[test]
fn the_first_of_two_counts_and_nothing_after_the_integrity() {
    let message = request(&[
        (PRIORITY, &[0, 0, 0, 1]),
        (PRIORITY, &[0, 0, 0, 2]),
        (USERNAME, b"a:b:c"),
        (0x7777, b""),
        (0x7778, b""),
        (MESSAGE_INTEGRITY, &[0; 20]),
        (USE_CANDIDATE, b""),
        (ICE_CONTROLLING, &[0; 8]),
        (MESSAGE_INTEGRITY, &[1; 20]),
    ]);
    let message = Message::parse(&message).unwrap();
    assert_eq!(message.priority(), Some(1));
    assert_eq!(message.username(), Some((&b"a"[..], &b"b:c"[..])));
    assert_eq!(message.unknown_required(), Some(0x7777));
    assert!(!message.use_candidate());
    assert_eq!(message.role(), None);
    assert!(message.has_integrity() && !message.verify_integrity(b"key"));
}

#[test]
fn use_candidate_smuggled_behind_an_authentic_integrity_is_ignored() {
    let mut bytes = RFC_REQUEST[..RFC_REQUEST.len() - 8].to_vec();
    bytes.extend([0, 0x25, 0, 0]);
    let length = u16::try_from(bytes.len() - 20).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let message = Message::parse(&bytes).unwrap();
    assert!(message.verify_integrity(PASSWORD));
    assert!(!message.use_candidate());
}

#[test]
fn a_fingerprint_that_is_wrong_or_not_last_is_refused() {
    let mut bytes = RFC_REQUEST.to_vec();
    bytes[107] ^= 1;
    assert_eq!(Message::parse(&bytes).err(), Some(StunError::Fingerprint));
    bytes[107] ^= 1;
    bytes.extend([0x80, 0x22, 0, 0]);
    bytes[3] += 4;
    assert_eq!(Message::parse(&bytes).err(), Some(StunError::Fingerprint));
    let short = request(&[(FINGERPRINT, &[1; 3])]);
    assert_eq!(Message::parse(&short).err(), Some(StunError::Fingerprint));
    assert!(!Message::parse(&request(&[])).unwrap().has_fingerprint());
}

#[test]
fn refusals_carry_their_code_and_are_no_longer_than_the_question() {
    for (fault, key, bytes) in [
        (Fault::BadRequest, None, 36),
        (Fault::Unauthenticated, None, 36),
        (Fault::UnknownAttribute(0x7777), None, 44),
        (Fault::RoleConflict, Some(PASSWORD), 60),
    ] {
        let mut out = [0; 100];
        assert_eq!(
            write_error(&[7; 12], fault, key, &mut out),
            bytes,
            "{fault:?}"
        );
        let message = Message::parse(&out[..bytes]).unwrap();
        assert_eq!(message.class(), Class::Error);
        assert_eq!(message.method(), METHOD_BINDING);
        assert_eq!(message.error_code(), Some(fault.code()));
        assert_eq!(message.verify_integrity(PASSWORD), key.is_some());
        assert_eq!(message.transaction(), [7; 12]);
        assert_eq!(write_error(&[7; 12], fault, key, &mut out[..bytes - 1]), 0);
    }
    let question = request(&[]);
    let mut room = [0; 100];
    let room = &mut room[..question.len()];
    assert_eq!(write_error(&[7; 12], Fault::BadRequest, None, room), 0);
}

#[test]
fn classes_and_methods_are_sorted_out() {
    for (kind, class, method) in [
        (0x0001, Class::Request, 1),
        (0x0011, Class::Indication, 1),
        (0x0101, Class::Success, 1),
        (0x0111, Class::Error, 1),
        (0x0113, Class::Error, 3),
        (0x3eef, Class::Request, 0xfff),
    ] {
        let mut bytes = request(&[]);
        bytes[..2].copy_from_slice(&u16::to_be_bytes(kind));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (class, method));
    }
}

#[test]
fn a_user_name_too_long_is_not_written() {
    let mut request = Request {
        transaction: [1; 12],
        remote_ufrag: &[b'a'; 254],
        local_ufrag: &[b'b'; 253],
        key: PASSWORD,
        priority: 1,
        role: Role::Controlling(1),
        use_candidate: false,
    };
    let mut out = [0; 700];
    let bytes = request.write(&mut out);
    assert!(
        Message::parse(&out[..bytes])
            .unwrap()
            .verify_integrity(PASSWORD)
    );
    request.local_ufrag = &[b'b'; 254];
    assert_eq!(request.write(&mut out), 0);
}

/// A binding request of any attributes, however wrong.
fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut bytes = vec![0, 1];
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(MAGIC_COOKIE.to_be_bytes());
    bytes.extend([7; 12]);
    bytes.extend(body);
    bytes
}

/// Asks everything, as a caller might.
fn exhaust(message: &Message<'_>) {
    let _ = (message.class(), message.method(), message.username());
    let _ = (message.mapped_address(), message.error_code());
    let _ = message.verify_integrity(PASSWORD);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&bytes).map(|message| exhaust(&message));
    }

    /// Kinds that are known with lengths that often fit, so that every arm is reached.
    #[test]
    fn any_attributes_are_survived(
        attributes in proptest::collection::vec(
            (0..17_usize, any::<u16>(), proptest::collection::vec(any::<u8>(), 0..26)), 0..10),
    ) {
        const KINDS: [u16; 16] = [
            MAPPED_ADDRESS, USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, UNKNOWN_ATTRIBUTES, REALM,
            NONCE, MESSAGE_INTEGRITY_SHA256, XOR_MAPPED_ADDRESS, PRIORITY, USE_CANDIDATE,
            FINGERPRINT, ICE_CONTROLLED, ICE_CONTROLLING, 0x8022, 0xc057,
        ];
        let attributes: Vec<_> = attributes
            .iter()
            .map(|(index, other, value)| (*KINDS.get(*index).unwrap_or(other), &value[..]))
            .collect();
        let _ = Message::parse(&request(&attributes)).map(|message| exhaust(&message));
    }

    #[test]
    fn requests_survive_the_round_trip(
        transaction: [u8; 12],
        remote in "[A-Za-z0-9+/]{4,40}",
        local in "[A-Za-z0-9+/]{4,40}",
        key in proptest::collection::vec(any::<u8>(), 1..200),
        priority: u32,
        tie_breaker: u64,
        controlling: bool,
        use_candidate: bool,
    ) {
        let role = if controlling {
            Role::Controlling(tie_breaker)
        } else {
            Role::Controlled(tie_breaker)
        };
        let request = Request {
            transaction,
            remote_ufrag: remote.as_bytes(),
            local_ufrag: local.as_bytes(),
            key: &key,
            priority,
            role,
            use_candidate,
        };
        let mut out = [0xee; 200];
        let bytes = request.write(&mut out);
        let read = Message::parse(&out[..bytes]).unwrap();
        prop_assert!(read.is_binding_request() && read.has_fingerprint());
        prop_assert_eq!(read.transaction(), transaction);
        prop_assert_eq!(read.username(), Some((remote.as_bytes(), local.as_bytes())));
        prop_assert_eq!(read.priority(), Some(priority));
        prop_assert_eq!(read.role(), Some(role));
        prop_assert_eq!(read.use_candidate(), use_candidate);
        prop_assert!(read.verify_integrity(&key));
        prop_assert_eq!(request.write(&mut out[..bytes - 1]), 0);
    }

    #[test]
    fn responses_survive_the_round_trip(
        transaction: [u8; 12],
        ip: std::net::IpAddr,
        port: u16,
        key in proptest::collection::vec(any::<u8>(), 1..200),
    ) {
        let mapped = Peer::from(SocketAddr::new(ip, port));
        let mut out = [0xee; 76];
        let bytes = write_success(&transaction, mapped, &key, &mut out);
        prop_assert_eq!(bytes, if mapped.ip.is_v4() { 64 } else { 76 });
        let read = Message::parse(&out[..bytes]).unwrap();
        prop_assert_eq!(read.class(), Class::Success);
        prop_assert_eq!(read.mapped_address(), Some(mapped));
        prop_assert!(read.verify_integrity(&key) && read.has_fingerprint());
        prop_assert_eq!(write_success(&transaction, mapped, &key, &mut out[..bytes - 1]), 0);
    }
}
