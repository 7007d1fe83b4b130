//! Owns a viewer of a world: opens what comes, asks again for what is missing, keeps account.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use link::command::{AUDIO, AddViewer, IceCredentials, TRACKS_MAX, TrackOut, VIDEO};
use link::ids::{StreamId, ViewerId, ufrag};
use link::keys::{MasterKey, SrtpKeys};
use seal::{Opener, Sealer, Secret};
use wire::demux::{Class, classify};
use wire::peer::Peer;
use wire::rtcp_feedback::write_nack;
use wire::rtp::Packet;
use wire::srtp::Profile;
use wire::stun::{Message, Request, Role};
use wire::time::{Span, Time};

use super::source::{Source, content};
use crate::random::Random;

/// A missing packet is asked for again after so long.
const ASK_AGAIN: Span = Span::millis(60);

/// Between two consent checks.
const CONSENT: Span = Span::millis(2500);

/// Most packets asked for at once.
const ASK_MAX: usize = 64;

/// How a viewer's datagrams come and go.
pub trait Client {
    /// Where it is.
    fn address(&self) -> SocketAddr;

    /// Sends a datagram.
    fn send(&mut self, now: Time, to: SocketAddr, bytes: &[u8]);

    /// The next that has arrived.
    fn recv(&mut self, now: Time) -> Option<Vec<u8>>;

    /// Goes on from another address, as behind a NAT that forgot the old one.
    fn rebind(&mut self);
}

/// A viewer and what it has got.
pub struct Viewer<C> {
    /// How it speaks.
    pub client: C,
    /// Payloads by track and index, whichever way they came.
    pub got: [BTreeMap<u64, Vec<u8>>; TRACKS_MAX],
    /// Packets that came as a retransmission.
    pub repaired: u64,
    /// Sender reports and the like.
    pub reports: u64,
    /// Checks that were answered.
    pub answers: u64,
    add: AddViewer,
    server: SocketAddr,
    stream: StreamId,
    opener: Opener,
    sealer: Sealer,
    rtcp_index: u32,
    missing: BTreeSet<u64>,
    asked_at: Time,
    checked_at: Time,
    random: Random,
}

impl<C: Client> Viewer<C> {
    pub(super) fn new(
        id: ViewerId,
        source: &Source,
        client: C,
        server: SocketAddr,
        seed: u64,
    ) -> Self {
        let mut random = Random::new(seed ^ u64::from(id.index) << 32);
        let profile = match id.index % 3 {
            0 => Profile::AeadAes128Gcm,
            1 => Profile::AeadAes256Gcm,
            _ => Profile::Aes128CmSha1_80,
        };
        let keys = keys(profile, &mut random);
        let mut characters = [0; 12];
        characters.copy_from_slice(&random.bytes(12));
        let mut ice = IceCredentials {
            ufrag: ufrag(id.index, characters),
            ..Default::default()
        };
        ice.pwd
            .fill(b'a' + u8::try_from(id.index % 26).expect("a letter"));
        let ssrc = (id.index + 1) << 8;
        let mut tracks = [TrackOut::default(); TRACKS_MAX];
        tracks[VIDEO] = TrackOut {
            timestamp_offset: 0x8765_4321,
            ssrc,
            rtx_ssrc: ssrc + 1,
            clock_hz: 90_000,
            payload_type: 102,
            rtx_payload_type: 103,
            // Soon wraps, as 16-bit numbers do after a minute or two.
            first_index: 0x7f00 + random.next_u64() % 0xff,
            rtx_first_index: 0x7fff,
            ..TrackOut::default()
        };
        tracks[AUDIO] = TrackOut {
            timestamp_offset: 0x8765_4321,
            ssrc: ssrc + 2,
            rtx_ssrc: 0,
            clock_hz: 48_000,
            payload_type: 111,
            first_index: 0x7fe0,
            ..TrackOut::default()
        };
        let add = AddViewer {
            viewer: id,
            stream: source.id,
            peer: Peer::from(client.address()),
            local: Peer::from(server).ip,
            ice,
            keys,
            tracks,
            rtcp_first_index: 1,
            encoding: None,
        };
        Self {
            client,
            got: [BTreeMap::new(), BTreeMap::new()],
            repaired: 0,
            reports: 0,
            answers: 0,
            add,
            server,
            stream: source.id,
            opener: Opener::new(&secret(profile, &keys.send)).expect("a good key"),
            sealer: Sealer::new(&secret(profile, &keys.receive)).expect("a good key"),
            rtcp_index: 0,
            missing: BTreeSet::new(),
            asked_at: Time::ZERO,
            checked_at: Time::ZERO,
            random,
        }
    }

    /// How the plane was told of this viewer.
    #[must_use]
    pub fn command(&self) -> &AddViewer {
        &self.add
    }

    /// Packets of video between the first and the newest that never came.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Fails unless it has every frame from its first one on, which is a keyframe, in order. Who
    /// came late in a group of pictures and was still catching up when the next keyframe came may
    /// lack what lies before that keyframe: it is the past.
    ///
    /// # Panics
    /// If it has not.
    pub fn must_have_everything(&self) {
        let who = self.add.viewer;
        let got = &self.got[VIDEO];
        assert!(
            got.len() > 100,
            "{who:?} has {} packets of video",
            got.len()
        );
        let places: Vec<(u32, u32)> = got.values().map(|payload| place(payload)).collect();
        assert_eq!(places[0].1, 0, "{who:?} begins within a frame");
        assert_eq!(
            places[0].0 % 45,
            0,
            "{who:?} begins with frame {}",
            places[0].0
        );
        let second_keyframe = (places[0].0 + 45, 0);
        for pair in places.windows(2) {
            let [(frame, nth), next] = pair else { continue };
            let follows = next == &(*frame, nth + 1) || next == &(frame + 1, 0);
            assert!(
                follows || next == &second_keyframe,
                "{who:?}: {next:?} after {:?}",
                (frame, nth)
            );
        }
        let indexes: Vec<u64> = got.keys().copied().collect();
        assert!(
            indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "{who:?} has a gap"
        );
        assert!(
            self.got[AUDIO].len() > 50,
            "{who:?} hears {} packets",
            self.got[AUDIO].len()
        );
        assert!(self.reports > 0, "{who:?} has no report");
    }

    pub(super) fn turn(&mut self, now: Time) {
        while let Some(mut datagram) = self.client.recv(now) {
            match classify(&datagram) {
                Class::Rtp => self.rtp(&mut datagram),
                Class::Rtcp => {
                    // One that came twice is refused, and was counted before.
                    self.reports += u64::from(self.opener.rtcp(&mut datagram).is_ok());
                }
                Class::Stun => {
                    let message = Message::parse(&datagram).expect("our answers are well formed");
                    assert!(message.verify_integrity(&self.add.ice.pwd));
                    self.answers += 1;
                }
                other => panic!("{other:?} for a viewer"),
            }
        }
        if !self.missing.is_empty() && now.since(self.asked_at) >= ASK_AGAIN {
            self.asked_at = now;
            self.ask(now);
        }
        if now.since(self.checked_at) >= CONSENT {
            self.check(now);
        }
    }

    /// A check from where it is now, which also tells the server a new address.
    ///
    /// # Panics
    /// When it does not fit its buffer.
    pub fn check(&mut self, now: Time) {
        self.checked_at = now;
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&self.random.bytes(12));
        let request = Request {
            transaction,
            remote_ufrag: &self.add.ice.ufrag,
            local_ufrag: b"peer",
            key: &self.add.ice.pwd,
            priority: 100,
            role: Role::Controlling(9),
            use_candidate: true,
        };
        let mut out = [0; 256];
        let bytes = request.write(&mut out);
        self.client.send(now, self.server, &out[..bytes]);
    }

    fn rtp(&mut self, datagram: &mut [u8]) {
        // What came twice is refused here as it is in every browser.
        let Ok(opened) = self.opener.rtp(datagram) else {
            return;
        };
        let index = opened.index;
        let packet = Packet::parse(opened.packet).expect("we send RTP");
        let tracks = &self.add.tracks;
        let ssrc = packet.ssrc();
        if ssrc == tracks[AUDIO].ssrc {
            self.got[AUDIO].insert(index, packet.payload().to_vec());
            verify(self.stream, AUDIO, packet.payload());
        } else if ssrc == tracks[VIDEO].ssrc {
            let payload = packet.payload().to_vec();
            self.video(index, payload);
        } else {
            assert_eq!(ssrc, tracks[VIDEO].rtx_ssrc, "the SSRC of somebody else");
            let (original, payload) = packet.payload().split_first_chunk().expect("RFC 4588");
            let payload = payload.to_vec();
            self.repaired += 1;
            let newest = self.got[VIDEO].keys().next_back().copied().unwrap_or(0);
            let low = u16::try_from(newest & 0xffff).expect("16 bits");
            let back = low.wrapping_sub(u16::from_be_bytes(*original));
            if let Some(index) = newest.checked_sub(u64::from(back)) {
                self.video(index, payload);
            }
        }
    }

    fn video(&mut self, index: u64, payload: Vec<u8>) {
        verify(self.stream, VIDEO, &payload);
        let first = self.add.tracks[VIDEO].first_index;
        let newest = self.got[VIDEO].keys().next_back().copied();
        let from = newest.map_or(first, |newest| newest + 1);
        self.missing.extend(from..index);
        self.missing.remove(&index);
        let before = self.got[VIDEO].insert(index, payload.clone());
        assert!(
            before.is_none_or(|before| before == payload),
            "index {index} has two contents"
        );
    }

    fn ask(&mut self, now: Time) {
        let wanted: Vec<u16> = self
            .missing
            .iter()
            .take(ASK_MAX)
            .filter_map(|index| u16::try_from(index & 0xffff).ok())
            .collect();
        let mut plain = [0; 512];
        let bytes = write_nack(1, self.add.tracks[VIDEO].ssrc, &wanted, &mut plain);
        let mut out = [0; 640];
        let sealed = self.sealer.rtcp(self.rtcp_index, &plain[..bytes], &mut out);
        self.rtcp_index += 1;
        let sealed = sealed.expect("room for a tag");
        self.client.send(now, self.server, &out[..sealed]);
    }
}

/// Frame and packet that a payload says it is.
fn place(payload: &[u8]) -> (u32, u32) {
    let part = |at| u32::from_be_bytes(*payload[at..].first_chunk().expect("a place"));
    (part(8), part(12))
}

/// Fails unless the payload is one that this stream sent.
fn verify(stream: StreamId, track: usize, payload: &[u8]) {
    let (frame, nth) = place(payload);
    let truth = content(stream.index, track, frame, nth, payload.len());
    assert!(
        payload == truth,
        "not what was published: frame {frame}, packet {nth}"
    );
}

fn keys(profile: Profile, random: &mut Random) -> SrtpKeys {
    let mut master = || {
        let mut master = MasterKey::default();
        let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
        master.key[..key].copy_from_slice(&random.bytes(key));
        master.salt[..salt].copy_from_slice(&random.bytes(salt));
        master
    };
    SrtpKeys {
        profile,
        send: master(),
        receive: master(),
    }
}

fn secret(profile: Profile, master: &MasterKey) -> Secret {
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    Secret::new(profile, &master.key[..key], &master.salt[..salt]).expect("the profile's lengths")
}
