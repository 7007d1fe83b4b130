//! Conclusions taken apart and put together.

use super::*;
use sapflow_srt::packet::ext_type;

fn request() -> SrtHandshake {
    SrtHandshake {
        version: 0x0001_0501,
        flags: 0xbf,
        receiver_delay: 120,
        sender_delay: 60_000,
    }
}

fn handshake(encryption: u16, extension: u16, extensions: Vec<Extension>) -> Handshake {
    Handshake {
        version: 5,
        encryption,
        extension,
        initial_seq: 0xffff_ffff,
        mtu: 1500,
        flow_window: 8192,
        kind: HandshakeKind::Conclusion,
        socket_id: 77,
        cookie: 1,
        peer_ip: [0; 16],
        extensions,
    }
}

fn offered(encryption: u16, extension: u16, extensions: Vec<Extension>) -> Offer {
    let hs = handshake(encryption, extension, extensions);
    Conclusion::new(0, 0, hs, Span::secs(5)).offer
}

#[test]
fn keys_are_taken_out_and_the_rest_stays() {
    let km = vec![4; 56];
    let id = Extension::StreamId(b"publish:cam".to_vec());
    let extensions = vec![
        Extension::HsReq(request()),
        Extension::KmReq(km.clone()),
        id.clone(),
    ];
    let hs = handshake(0, 7, extensions);
    let taken = Conclusion::new(9, 3, hs, Span::secs(5));
    assert!(matches!(&taken.offer, Offer::Km(bytes) if *bytes == km));
    assert_eq!((taken.socket, taken.first), (77, Seq::new(0x7fff_ffff)));
    assert_eq!(taken.latency, Span::secs(5), "a minute was asked for");
    let lowered = SrtHandshake {
        sender_delay: 5000,
        ..request()
    };
    let plain = handshake(0, 5, vec![Extension::HsReq(lowered), id]);
    let mut want = Vec::new();
    ControlPacket::new(9, 3, Control::Handshake(plain)).encode(&mut want);
    assert_eq!(taken.plain, want);
}

#[test]
fn contradictions_are_not_guessed_at() {
    let req = || Extension::HsReq(request());
    let km = |klen: u8| {
        let mut km = vec![0; 56];
        km[15] = klen;
        Extension::KmReq(km)
    };
    let id = || Extension::StreamId(b"a".to_vec());
    assert!(matches!(offered(0, 1, vec![req()]), Offer::Plain));
    assert!(matches!(offered(2, 3, vec![req(), km(4)]), Offer::Km(_)));
    assert!(matches!(offered(0, 3, vec![req(), km(8)]), Offer::Km(_)));
    assert!(matches!(
        offered(0, 3, vec![req(), Extension::KmReq(vec![])]),
        Offer::Km(_)
    ));
    for (name, offer) in [
        ("flag without keys", offered(0, 3, vec![req()])),
        ("keys without flag", offered(0, 1, vec![req(), km(4)])),
        ("length without keys", offered(2, 1, vec![req()])),
        ("another length", offered(4, 3, vec![req(), km(4)])),
        ("a huge length", offered(0xffff, 3, vec![req(), km(4)])),
        ("keys twice", offered(2, 3, vec![req(), km(4), km(4)])),
        (
            "an answer in a question",
            offered(0, 1, vec![req(), Extension::KmRsp(vec![0; 4])]),
        ),
        ("streamid twice", offered(0, 5, vec![req(), id(), id()])),
        ("no request", offered(0, 0, vec![])),
        ("request twice", offered(0, 1, vec![req(), req()])),
    ] {
        assert!(matches!(offer, Offer::Contradiction), "{name}");
    }
    assert_eq!(km(4).kind(), ext_type::KMREQ);
}

#[test]
fn what_goes_out_is_recognised() {
    for short in [&[][..], &[0x80], &[0x80, 0], &[0x80, 2, 0, 0, 0]] {
        assert_eq!(Outgoing::of(short), Outgoing::Other);
    }
    let mut bytes = Vec::new();
    ControlPacket::new(0, 1, Control::Handshake(handshake(0, 0, vec![]))).encode(&mut bytes);
    assert_eq!(Outgoing::of(&bytes), Outgoing::Conclusion(77));
    bytes[36..40].copy_from_slice(&1010u32.to_be_bytes());
    assert_eq!(Outgoing::of(&bytes), Outgoing::Rejection(1010));
    bytes[36..40].copy_from_slice(&1u32.to_be_bytes());
    assert_eq!(Outgoing::of(&bytes), Outgoing::Other, "an induction");
}
