//! A viewer as a peer: opens what comes, keeps account of it, and sends feedback.

use std::collections::BTreeMap;

use link::command::{AUDIO, AddViewer, IceCredentials, TRACKS_MAX, TrackOut, VIDEO};
use link::elements::KINDS;
use link::ids::{StreamId, ViewerId, ufrag};
use link::keys::{MasterKey, SrtpKeys};
use seal::{Opener, Profile, Sealer, Secret};
use wire::datagram::RxMeta;
use wire::demux::{Class, classify};
use wire::peer::{Ip, Peer};
use wire::rtp::{Header, Packet};
use wire::rtp_ext::Elements;
use wire::stun::{Request, Role};

/// A media packet as the viewer got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// SRTP index.
    pub index: u64,
    pub header: Header,
    pub payload: Vec<u8>,
    /// Header-extension elements: identifier and value.
    pub elements: Vec<(u8, Vec<u8>)>,
}

pub struct TestViewer {
    pub add: AddViewer,
    pub at: RxMeta,
    pub got: [Vec<Got>; TRACKS_MAX],
    pub rtx: Vec<Got>,
    /// Packets that came again, byte for byte.
    pub repeated: Vec<Got>,
    pub rtcp: Vec<Vec<u8>>,
    pub stun: Vec<Vec<u8>>,
    /// Every (SSRC, index) that was ever sealed for this viewer, with the datagram.
    sealed: BTreeMap<(u32, u64), Vec<u8>>,
    sealed_rtcp: BTreeMap<u32, Vec<u8>>,
    opener: Opener,
    sealer: Sealer,
    rtcp_index: u32,
    checks: u64,
}

fn keys(profile: Profile, n: u8) -> SrtpKeys {
    let master = |salt: u8| {
        let mut master = MasterKey::default();
        master.key[..profile.key_bytes()].fill(n ^ salt);
        master.salt[..profile.salt_bytes()].fill(n.wrapping_add(salt));
        master
    };
    SrtpKeys {
        profile,
        send: master(0x11),
        receive: master(0x77),
    }
}

fn secret(profile: Profile, master: &MasterKey) -> Secret {
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    Secret::new(profile, &master.key[..key], &master.salt[..salt]).unwrap()
}

/// Addresses of the test network: 10.0.0.n, our end 10.0.0.1.
pub fn address(n: u8, port: u16) -> RxMeta {
    let ip = |last| Ip([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last]);
    RxMeta {
        peer: Peer { ip: ip(n), port },
        local: ip(1),
    }
}

impl TestViewer {
    pub fn new(id: ViewerId, stream: StreamId, profile: Profile) -> Self {
        // Crowds share addresses.
        let n = u8::try_from(id.index % 240).unwrap();
        let at = address(n + 10, 40_000 + u16::try_from(id.index / 240).unwrap());
        let mut ice = IceCredentials {
            ufrag: ufrag(id.index, [n; 12]),
            ..IceCredentials::default()
        };
        ice.pwd.fill(b'a' + n % 26);
        let base = 0x1000_0000 * (u32::from(n) % 15 + 1);
        let mut tracks = [TrackOut::default(); TRACKS_MAX];
        tracks[VIDEO] = TrackOut {
            timestamp_offset: 0x8765_4321,
            ssrc: base,
            rtx_ssrc: base + 1,
            clock_hz: 90_000,
            payload_type: 102,
            rtx_payload_type: 103,
            first_index: 0x7ffe - u64::from(n),
            rtx_first_index: 77,
            ..TrackOut::default()
        };
        tracks[AUDIO] = TrackOut {
            timestamp_offset: 0x8765_4321,
            ssrc: base + 2,
            clock_hz: 48_000,
            payload_type: 111,
            first_index: 500,
            ..TrackOut::default()
        };
        let keys = keys(profile, n);
        Self {
            add: AddViewer {
                viewer: id,
                stream,
                peer: at.peer,
                local: at.local,
                ice,
                keys,
                tracks,
                rtcp_first_index: 3,
                encoding: None,
            },
            at,
            got: [Vec::new(), Vec::new()],
            rtx: Vec::new(),
            repeated: Vec::new(),
            rtcp: Vec::new(),
            stun: Vec::new(),
            sealed: BTreeMap::new(),
            sealed_rtcp: BTreeMap::new(),
            opener: Opener::new(&secret(profile, &keys.send)).unwrap(),
            sealer: Sealer::new(&secret(profile, &keys.receive)).unwrap(),
            rtcp_index: 0,
            checks: u64::from(n) << 32,
        }
    }

    /// Its indexes begin here: of video, of its repairs, and of reports.
    pub fn beginning_at(mut self, video: u64, repairs: u64, report: u64) -> Self {
        let track = &mut self.add.tracks[VIDEO];
        (track.first_index, track.rtx_first_index) = (video, repairs);
        self.add.rtcp_first_index = report;
        // It knows how often the numbers have wrapped.
        let known = [(track.ssrc, video), (track.rtx_ssrc, repairs)];
        for (ssrc, index) in known {
            self.opener.rtp_half().resume(ssrc, index - 1);
        }
        self
    }

    /// Repair by sending the packet itself.
    pub fn without_rtx(mut self) -> Self {
        self.add.tracks[VIDEO].rtx_ssrc = 0;
        self
    }

    /// With a header extension on video.
    pub fn with_extension(mut self) -> Self {
        let track = &mut self.add.tracks[VIDEO];
        track.ext[..8].copy_from_slice(&[0xbe, 0xde, 0, 1, 0x52, 0, 0, 0]);
        track.ext_bytes = 8;
        self
    }

    pub fn id(&self) -> ViewerId {
        self.add.viewer
    }

    pub fn video_ssrc(&self) -> u32 {
        self.add.tracks[VIDEO].ssrc
    }

    /// A datagram that was sent to one of this viewer's addresses.
    pub fn receive(&mut self, datagram: &[u8]) {
        match classify(datagram) {
            Class::Stun => self.stun.push(datagram.to_vec()),
            Class::Rtcp => self.receive_rtcp(datagram),
            Class::Rtp => self.receive_rtp(datagram),
            other => panic!("{other:?} sent to a viewer"),
        }
    }

    fn receive_rtcp(&mut self, datagram: &[u8]) {
        let mut bytes = datagram.to_vec();
        let plain = self.opener.rtcp(&mut bytes).expect("ours").to_vec();
        let tail = datagram.last_chunk::<4>().unwrap();
        let index = u32::from_be_bytes(*tail);
        if self.add.keys.profile != Profile::Plain {
            let again = self.sealed_rtcp.insert(index, datagram.to_vec());
            assert_eq!(again, None, "SRTCP index used twice");
        }
        self.rtcp.push(plain);
    }

    fn receive_rtp(&mut self, datagram: &[u8]) {
        let mut bytes = datagram.to_vec();
        let view = Packet::parse_sealed(datagram).unwrap();
        let ssrc = view.ssrc();
        let known = self.sealed.iter().find(|((other, index), bytes)| {
            *other == ssrc
                && *index & 0xffff == u64::from(view.sequence())
                && bytes[..] == *datagram
        });
        if let Some((&(_, index), _)) = known {
            let got = self.got[VIDEO].iter().find(|got| got.index == index);
            self.repeated.push(got.expect("sent before").clone());
            return;
        }
        let opened = self.opener.rtp(&mut bytes).expect("authentic and new");
        let again = self.sealed.insert((ssrc, opened.index), datagram.to_vec());
        assert_eq!(again, None, "a nonce was used twice with another packet");
        let packet = Packet::parse(opened.packet).unwrap();
        let got = Got {
            index: opened.index,
            header: packet.header(),
            payload: packet.payload().to_vec(),
            elements: packet
                .extension()
                .map(|extension| {
                    let all = Elements::new(extension);
                    all.map(|found| (found.id, found.data.to_vec())).collect()
                })
                .unwrap_or_default(),
        };
        let tracks = &self.add.tracks;
        if ssrc == tracks[VIDEO].ssrc {
            assert_eq!(got.header.payload_type, tracks[VIDEO].payload_type);
            let ext = usize::from(tracks[VIDEO].ext_bytes);
            if tracks[VIDEO].elements == [0; KINDS] && tracks[VIDEO].transport_cc_at == 0 {
                assert_eq!(datagram[12..12 + ext], tracks[VIDEO].ext[..ext]);
            }
            self.got[VIDEO].push(got);
        } else if ssrc == tracks[AUDIO].ssrc {
            let types = [tracks[AUDIO].payload_type, tracks[AUDIO].red_payload_type];
            assert!(types.contains(&got.header.payload_type));
            self.got[AUDIO].push(got);
        } else {
            assert_eq!(ssrc, tracks[VIDEO].rtx_ssrc, "another viewer's SSRC");
            assert_eq!(got.header.payload_type, tracks[VIDEO].rtx_payload_type);
            self.rtx.push(got);
        }
    }

    /// Sequence numbers run on by one, timestamps never run back, from the first index on.
    pub fn assert_continuous(&self) {
        for (lane, got) in self.got.iter().enumerate() {
            let first = self.add.tracks[lane].first_index;
            for (index, packet) in (first..).zip(got) {
                assert_eq!(packet.index, index, "track {lane}");
            }
            for pair in got.windows(2) {
                let step = pair[1]
                    .header
                    .timestamp
                    .wrapping_sub(pair[0].header.timestamp);
                assert!(step < 1 << 31, "track {lane} ran back: {pair:?}");
            }
        }
    }

    /// Seals feedback.
    pub fn rtcp(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
        let mut plain = [0; 1024];
        let used = write(&mut plain);
        assert!(used > 0);
        let mut out = vec![0; used + 64];
        let bytes = self
            .sealer
            .rtcp(self.rtcp_index, &plain[..used], &mut out)
            .unwrap();
        self.rtcp_index += 1;
        out.truncate(bytes);
        out
    }

    /// A connectivity check with these credentials.
    pub fn check(&mut self, ice: &IceCredentials, nominates: bool) -> Vec<u8> {
        self.check_as(ice, Role::Controlling(9), nominates)
    }

    /// The same in this role.
    pub fn check_as(&mut self, ice: &IceCredentials, role: Role, nominates: bool) -> Vec<u8> {
        self.checks += 1;
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&self.checks.rotate_left(32).to_be_bytes());
        let request = Request {
            transaction,
            remote_ufrag: &ice.ufrag,
            local_ufrag: b"peer",
            key: &ice.pwd,
            priority: 100,
            role,
            use_candidate: nominates,
        };
        let mut out = [0; 256];
        let used = request.write(&mut out);
        assert!(used > 0);
        out[..used].to_vec()
    }
}
