//! Encrypted callers from the handshake to the last key change.

use super::*;
use crate::srt::crypto::Keyring;
use crate::srt::crypto::tests::km_message;
use crate::srt::seq::Seq;

const SALT: [u8; 16] = [9; 16];

fn km(kk: u8, keys: &[&[u8]]) -> Vec<u8> {
    km_message(SECRET, &SALT, kk, keys)
}

/// Encrypts as the caller does: the counter mode is its own inverse.
fn sealed(km: &[u8], caller: &RawCaller, n: u32, key: u8, payload: &[u8]) -> Vec<u8> {
    let secret = Passphrase::new(SECRET).unwrap();
    let mut ring = Keyring::open(secret, km, NOW).unwrap();
    let mut payload = payload.to_vec();
    ring.apply(
        key,
        Seq::new(RawCaller::FIRST.wrapping_add(n)),
        &mut payload,
    );
    caller.data(n, key, &payload)
}

#[test]
fn each_key_length_is_taken_and_echoed() {
    for (len, field) in [(16, 2), (24, 3), (32, 4)] {
        let mut ingest = ingest(Config::default());
        let km = km(1, &[&vec![3; len]]);
        let mut caller = RawCaller::new(1, "cam").with_km(km.clone());
        let (id, answer) = caller.connect(&mut ingest, Some(SECRET));
        assert_eq!((answer.encryption, answer.extension), (field, 3));
        assert_eq!(
            answer.extensions.last(),
            Some(&Extension::KmRsp(km.clone()))
        );
        // Our answer was lost: the same once more.
        ingest.datagram(
            NOW,
            caller.peer,
            &caller.handshake(HandshakeKind::Conclusion),
        );
        assert_eq!(handshake_in(&sent(&mut ingest)[0]), Some(answer));
        ingest.datagram(NOW, caller.peer, &sealed(&km, &caller, 0, 1, b"picture"));
        assert_eq!(payloads(&mut ingest), [b"picture"]);
        assert_eq!(ingest.stats(id).unwrap().undecryptable, 0);
    }
}

#[test]
fn a_secured_connection_never_takes_plaintext() {
    let mut ingest = ingest(Config::default());
    let km = km(1, &[&[3; 16]]);
    let mut caller = RawCaller::new(1, "cam").with_km(km.clone());
    let (id, answer) = caller.connect(&mut ingest, Some(SECRET));
    for key in [0, 2, 3] {
        ingest.datagram(NOW, caller.peer, &caller.data(0, key, b"injected"));
    }
    // A second conclusion without keys, and an answer nobody asked for, change nothing.
    let plain = RawCaller {
        km: None,
        ..RawCaller::new(1, "cam")
    };
    let plain = RawCaller {
        cookie: caller.cookie,
        ..plain
    };
    ingest.datagram(
        NOW,
        caller.peer,
        &plain.handshake(HandshakeKind::Conclusion),
    );
    assert_eq!(handshake_in(&sent(&mut ingest)[0]), Some(answer));
    for km in [
        vec![],
        vec![0; 4],
        vec![0; 104],
        vec![0; 105],
        vec![0; 1352],
        vec![0; 1456],
    ] {
        ingest.datagram(NOW, caller.peer, &caller.km_control(4, &km));
    }
    ingest.datagram(NOW, caller.peer, &caller.data(0, 0, b"injected"));
    assert!(events(&mut ingest).is_empty() && sent(&mut ingest).is_empty());
    assert_eq!(ingest.stats(id).unwrap().undecryptable, 4);
    assert_eq!(
        (ingest.counters().undecryptable, ingest.counters().stray),
        (4, 6)
    );
    ingest.datagram(NOW, caller.peer, &sealed(&km, &caller, 0, 1, b"picture"));
    assert_eq!(payloads(&mut ingest), [b"picture"]);
}

#[test]
fn a_connection_in_the_clear_never_takes_keys() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam");
    let (id, answer) = caller.connect(&mut ingest, None);
    assert_eq!((answer.encryption, answer.extension), (0, 1));
    ingest.datagram(NOW, caller.peer, &caller.km_control(3, &km(1, &[&[3; 16]])));
    for key in [1, 2, 3] {
        ingest.datagram(NOW, caller.peer, &caller.data(0, key, b"noise"));
    }
    assert!(events(&mut ingest).is_empty() && sent(&mut ingest).is_empty());
    let stats = ingest.stats(id).unwrap();
    assert_eq!((stats.undecryptable, stats.km_refused), (3, 1));
}

#[test]
fn keys_change_without_a_break() {
    let mut ingest = ingest(Config::default());
    let (first, both) = (km(1, &[&[3; 16]]), km(3, &[&[3; 16], &[4; 16]]));
    let mut caller = RawCaller::new(1, "cam").with_km(first.clone());
    let (id, _) = caller.connect(&mut ingest, Some(SECRET));
    ingest.datagram(NOW, caller.peer, &sealed(&first, &caller, 0, 1, b"a"));
    ingest.datagram(NOW, caller.peer, &caller.km_control(3, &both));
    let echo = sent(&mut ingest).pop().expect("an echo");
    let Ok(Packet::Control(ControlPacket {
        dest,
        body: Control::Other { subtype, cif, .. },
        ..
    })) = Packet::parse(&echo)
    else {
        panic!("{echo:?}")
    };
    assert_eq!((dest, subtype, cif), (caller.socket, 4, both.clone()));
    // A repeat that comes at once waits; one that comes later has its answer.
    ingest.datagram(NOW, caller.peer, &caller.km_control(3, &both));
    assert!(sent(&mut ingest).is_empty());
    let later = NOW + Span::millis(10);
    ingest.datagram(later, caller.peer, &caller.km_control(3, &both));
    assert_eq!(sent(&mut ingest).len(), 1);
    ingest.datagram(later, caller.peer, &sealed(&both, &caller, 2, 2, b"c"));
    ingest.datagram(later, caller.peer, &sealed(&first, &caller, 1, 1, b"b"));
    assert_eq!(payloads(&mut ingest), [b"a", b"b", b"c"]);
    sent(&mut ingest);
    // Refused, not answered, and nothing lost by it.
    let mut later = NOW;
    for bytes in [0, 4, 103, 104, 105, 1352, 1456] {
        later = later.max(NOW + Span::millis(10)) + Span::millis(10);
        let wrong = vec![0x12; usize::try_from(bytes).unwrap()];
        ingest.datagram(later, caller.peer, &caller.km_control(3, &wrong));
    }
    assert!(sent(&mut ingest).is_empty());
    ingest.datagram(later, caller.peer, &sealed(&both, &caller, 3, 2, b"d"));
    assert_eq!(payloads(&mut ingest), [b"d"]);
    let refused = (
        ingest.stats(id).unwrap().km_refused,
        ingest.counters().km_refused,
    );
    assert_eq!(refused, (7, 7));
}

#[test]
fn only_the_callers_own_address_counts() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(1, "cam");
    caller.connect(&mut ingest, None);
    ingest.datagram(NOW, peer(2), &caller.data(0, 0, b"not mine"));
    ingest.datagram(NOW, peer(2), &control(caller.id, Control::Shutdown));
    ingest.datagram(NOW, peer(2), &caller.km_control(3, &km(1, &[&[3; 16]])));
    assert!(events(&mut ingest).is_empty());
    assert_eq!((ingest.counters().stray, ingest.connections()), (3, 1));
}
