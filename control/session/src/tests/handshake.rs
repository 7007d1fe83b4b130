//! From the POST to keys: every kind of viewer, every kind of network.

use super::world::{ALL, Network, STREAM, World, config};
use crate::dtls::testing::{CertificateKind, PeerKind};
use crate::{Cause, Config, EngineKind, Failure, Output, SessionState};
use link::command::{AUDIO, Command, VIDEO};
use link::keys::Profile;
use wire::stun::Role;
use wire::time::Span;

#[test]
fn a_viewer_gets_what_its_answer_said() {
    let mut world = World::new(1);
    let viewer = world.join(PeerKind::Client12(CertificateKind::P256), &ALL);
    let view = world.sessions.session_views().next().unwrap();
    assert_eq!((view.state, view.peer), (SessionState::New, None));
    world.run(Span::millis(100));
    let answer = &world.viewers[viewer].created.as_ref().unwrap().answer;
    let (core, add) = world.added(viewer).unwrap();
    assert_eq!(core, world.core);
    assert_eq!(add.peer, world.viewers[viewer].peer);
    assert_eq!(add.local, super::world::local());
    assert_eq!(add.stream, STREAM);
    let [video, audio] = [add.tracks[VIDEO], add.tracks[AUDIO]];
    assert_eq!(
        (video.payload_type, video.rtx_payload_type, video.clock_hz),
        (108, 109, 90_000)
    );
    assert_eq!(
        (audio.payload_type, audio.rtx_ssrc, audio.clock_hz),
        (111, 0, 48_000)
    );
    assert!(answer.contains(&format!(
        "a=ssrc-group:FID {} {}\r\n",
        video.ssrc, video.rtx_ssrc
    )));
    assert!(answer.contains(&format!("a=ssrc:{} cname:freshet\r\n", audio.ssrc)));
    for index in [video.first_index, video.rtx_first_index, audio.first_index] {
        assert!(index < 1 << 15);
    }
    let theirs = world.viewers[viewer].dtls.keys.as_ref().unwrap();
    assert_eq!(add.keys.profile, Profile::AeadAes128Gcm);
    assert_eq!(add.keys.send.key, theirs.receive.key);
    assert_eq!(add.keys.receive.salt, theirs.send.salt);
    assert!(
        world
            .outputs
            .iter()
            .any(|output| matches!(output, Output::Established { .. }))
    );
    let view = world.sessions.session_views().next().unwrap();
    assert_eq!(view.state, SessionState::Starting);
    assert_eq!(view.engine, Some(EngineKind::Dtls12));
    assert_eq!(view.stream_name, "live/demo");
    assert_eq!(world.sessions.handshake_count(), 0);
}

#[test]
fn every_kind_of_viewer_gets_keys_over_every_kind_of_network() {
    // OpenSSL's clients repeat by a clock of their own, so they see no loss here.
    let robust = [
        PeerKind::Dimpl12,
        PeerKind::Client13,
        PeerKind::ClientEither,
    ];
    let others = [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client12(CertificateKind::Rsa2048),
        PeerKind::Client12(CertificateKind::P224),
        PeerKind::Server12(CertificateKind::P256),
        PeerKind::Server12(CertificateKind::P224),
    ];
    for seed in 0..64 {
        let mut world = World::new(seed);
        let lossy = seed % 3 != 0;
        let place = usize::try_from(seed).unwrap();
        let kind = if lossy {
            robust[place % 3]
        } else {
            others[place % 5]
        };
        let loss = if lossy { 200 } else { 0 };
        world.network = Network {
            loss,
            delay_ms_max: seed % 7 * 20,
            duplicate: 100,
        };
        let viewer = world.join(kind, &ALL);
        world.run(Span::secs(25));
        let name = format!("seed {seed} {kind:?} {:?}", world.network);
        assert_eq!(world.closed(viewer), None, "{name}");
        let (_, add) = world
            .added(viewer)
            .unwrap_or_else(|| panic!("no keys: {name}"));
        let theirs = world.viewers[viewer].dtls.keys.as_ref();
        let theirs = theirs.unwrap_or_else(|| panic!("no keys at the viewer: {name}"));
        assert_eq!(add.keys.send.key, theirs.receive.key, "{name}");
        assert_eq!(add.keys.send.salt, theirs.receive.salt, "{name}");
        assert_eq!(add.keys.receive.key, theirs.send.key, "{name}");
    }
}

#[test]
fn a_viewer_on_a_perfect_network_has_keys_within_two_checks() {
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        let mut world = World::new(7);
        world.network.delay_ms_max = 0;
        let viewer = world.join(kind, &ALL);
        // No time passes on the network: before the second check nothing has been nominated.
        world.run(Span::millis(49));
        assert!(
            world.added(viewer).is_some(),
            "{kind:?} waited for a nomination"
        );
    }
}

#[test]
fn another_certificate_than_the_offered_one_ends_the_session() {
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        let mut world = World::new(2);
        let viewer = world.join(kind, &ALL);
        let other = crate::dtls::testing::DtlsPeer::new(kind, &ALL, world.now);
        world.viewers[viewer].dtls = other;
        world.run(Span::secs(1));
        let expected = Cause::Handshake(Failure::FingerprintMismatch);
        assert_eq!(world.closed(viewer), Some(expected));
        assert!(world.added(viewer).is_none());
        assert_eq!(world.sessions.table.census(), [0; 4]);
    }
}

#[test]
fn chromium_s_split_hello_is_answered_in_either_order_with_our_profile() {
    const HELLO: [&[u8]; 2] = [
        include_bytes!("../../../../tests/corpus/dtls/chromium156_client_hello_1.bin"),
        include_bytes!("../../../../tests/corpus/dtls/chromium156_client_hello_2.bin"),
    ];
    // use_srtp, 5 bytes: one profile, AEAD_AES_128_GCM, no MKI.
    const CHOSEN: [u8; 9] = [0, 14, 0, 5, 0, 2, 0, 7, 0];
    for order in [[0, 1], [1, 0]] {
        let mut world = World::new(8);
        let viewer = world.join(PeerKind::Client13, &ALL);
        let peer = world.viewers[viewer].peer;
        let (now, core, local) = (world.now, world.core, super::world::local());
        let request = world.viewers[viewer].request(false, 1, Role::Controlling(1));
        world.sessions.punt(now, core, peer, local, &request);
        while world.sessions.poll().is_some() {}
        world.sessions.punt(now, core, peer, local, HELLO[order[0]]);
        assert!(
            world.sessions.poll().is_none(),
            "half a ClientHello was answered"
        );
        world.sessions.punt(now, core, peer, local, HELLO[order[1]]);
        let Some(Output::Transmit { bytes, .. }) = world.sessions.poll() else {
            panic!("no answer in order {order:?}");
        };
        assert!(bytes.windows(CHOSEN.len()).any(|window| window == CHOSEN));
    }
}

#[test]
fn who_never_comes_expires() {
    let mut world = World::new(3);
    let viewer = world.join(PeerKind::Client13, &ALL);
    world.viewers[viewer].check_at = None;
    world.run(Span::secs(9));
    assert_eq!(world.closed(viewer), None);
    world.run(Span::secs(2));
    assert_eq!(world.closed(viewer), Some(Cause::Expired));
    assert_eq!(world.sessions.table.census(), [0; 4]);
    assert_eq!(world.sessions.deadline(), None);
}

#[test]
fn who_checks_and_does_not_shake_hands_expires_later() {
    let mut world = World::new(3);
    let viewer = world.join(PeerKind::Client13, &ALL);
    let request = world.viewers[viewer].request(true, 1, Role::Controlling(1));
    let peer = world.viewers[viewer].peer;
    world.viewers[viewer].check_at = None;
    world
        .sessions
        .punt(world.now, world.core, peer, super::world::local(), &request);
    while world.sessions.poll().is_some() {}
    world.run(Span::secs(29));
    assert_eq!(world.closed(viewer), None);
    assert_eq!(
        world.sessions.session_views().next().unwrap().state,
        SessionState::Connecting
    );
    world.run(Span::secs(2));
    assert_eq!(world.closed(viewer), Some(Cause::Expired));
    assert_eq!(world.sessions.table.census(), [0; 4]);
}

#[test]
fn sessions_may_move_to_a_thread_of_their_own() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&World::new(1).sessions);
}

#[test]
fn handshakes_left_at_any_point_end_and_leave_nothing() {
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        for lost_after in 0..6 {
            let mut world = World::new(lost_after);
            let viewer = world.join(kind, &ALL);
            world.network.delay_ms_max = 10;
            world.run(Span::millis(4 * lost_after));
            world.network.loss = 1000;
            if world.added(viewer).is_some() {
                continue;
            }
            world.run(Span::secs(61));
            assert!(world.closed(viewer).is_some(), "{kind:?} {lost_after}");
            assert_eq!(world.sessions.table.census(), [0; 4]);
            assert_eq!(world.sessions.handshake_count(), 0);
        }
    }
}

#[test]
fn a_viewer_that_closes_its_association_is_gone() {
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        let mut world = World::new(4);
        let viewer = world.join(kind, &ALL);
        world.run(Span::secs(1));
        let now = world.now;
        let peer = world.viewers[viewer].peer;
        for datagram in world.viewers[viewer].dtls.close(now) {
            world.send(true, peer, datagram);
        }
        world.viewers[viewer].check_at = None;
        world.run(Span::secs(1));
        assert_eq!(world.closed(viewer), Some(Cause::PeerClosed));
        let removed = |(_, command): &(_, Command)| matches!(command, Command::RemoveViewer(_));
        assert!(world.take_commands().iter().any(removed));
        assert_eq!(world.sessions.table.census(), [0; 4]);
    }
}

#[test]
fn two_thousand_handshakes_leave_nothing_behind() {
    let mut world = World::with(
        Config {
            viewers_max: 64,
            ..config()
        },
        5,
    );
    let mut established = 0;
    for round in 0..40 {
        let kind = match round % 8 {
            0 => PeerKind::Client12(CertificateKind::P256),
            _ => PeerKind::Client13,
        };
        let first = world.viewers.len();
        for _ in 0..50 {
            world.join(kind, &ALL);
        }
        world.run(Span::millis(300));
        for viewer in first..world.viewers.len() {
            established += usize::from(world.added(viewer).is_some());
            world.viewers[viewer].check_at = None;
            let id = world.viewers[viewer].id();
            world.sessions.delete(world.now, &id).unwrap();
        }
        world.drain();
        assert_eq!(world.sessions.table.census(), [0; 4]);
        world.outputs.clear();
        world.viewers.clear();
        // Indexes rest before they are used again.
        world.run(Span::secs(3));
    }
    assert_eq!(established, 2000);
    assert_eq!(world.sessions.counters().session_established, 2000);
    assert_eq!(world.sessions.counters().session_closed, 2000);
}

#[test]
fn playout_delay_goes_into_the_answer_and_onto_the_packets() {
    let delay = wire::rtp_ext::PlayoutDelay::from_ms(0, 100);
    let mut world = World::new(6);
    world.playout_delay = Some(delay);
    let viewer = world.join(PeerKind::Client13, &ALL);
    world.run(Span::millis(200));
    let answer = &world.viewers[viewer].created.as_ref().unwrap().answer;
    let uri = crate::sdp::plan::PLAYOUT_DELAY_URI;
    assert!(
        answer.contains(&format!("a=extmap:5 {uri}\r\n")),
        "{answer}"
    );
    let (_, add) = world.added(viewer).unwrap();
    let video = add.tracks[VIDEO];
    assert_eq!(
        video.ext[..usize::from(video.ext_bytes)],
        [0xbe, 0xde, 0, 1, 0x52, 0, 0, 10]
    );
    // Chromium does not offer it for audio.
    assert_eq!(add.tracks[AUDIO].ext_bytes, 0);
}
