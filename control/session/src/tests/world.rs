//! Owns the simulated network and viewers that behave like browsers.

use crate::dtls::fingerprint::sha256_text;
use crate::dtls::testing::{DtlsPeer, PeerKind};
use crate::{
    AudioCodec, Config, Created, Holder, Output, Sessions, SignalError, StreamDescription,
    VideoCodec,
};
use link::command::{AddPublisher, AddViewer, Command};
use link::event::Event;
use link::ids::{CoreId, StreamId, ViewerId};
use link::keys::Profile;
use link::viewer::KEEPSAKE_BYTES;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use wire::peer::{Ip, Peer};
use wire::rtp_ext::PlayoutDelay;
use wire::stun::{Class, Message, Request, Role};
use wire::time::{Span, Time};

pub(super) const CHROMIUM: &str = include_str!("../../../../tests/corpus/sdp/chromium_whep.sdp");

pub(super) const CHROMIUM_WHIP: &str =
    include_str!("../../../../tests/corpus/sdp/chromium_whip_h264.sdp");

pub(super) const FFMPEG: &str = include_str!("../../../../tests/corpus/sdp/ffmpeg81_whip.sdp");

pub(super) const STREAM: StreamId = StreamId {
    index: 3,
    generation: 1,
};

pub(super) const ALL: [Profile; 4] = [
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
    Profile::Aes128CmSha1_80,
    Profile::Aes128CmSha1_32,
];

pub(super) const H264_AND_OPUS: StreamDescription = StreamDescription {
    video: Some(VideoCodec::H264 {
        profile_level_id: [0x42, 0xc0, 0x1f],
    }),
    audio: Some(AudioCodec::Opus { channels: 2 }),
};

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    /// Of a thousand datagrams this many are lost.
    pub(super) loss: u32,
    pub(super) delay_ms_max: u64,
    pub(super) duplicate: u32,
}

impl Network {
    pub(super) const PERFECT: Self = Self {
        loss: 0,
        delay_ms_max: 0,
        duplicate: 0,
    };
}

/// A viewer: its offer, its socket, its half of ICE and DTLS.
pub(super) struct Viewer {
    pub(super) peer: Peer,
    pub(super) dtls: DtlsPeer,
    pub(super) created: Option<Created>,
    pub(super) server_ice: (String, String),
    /// Checks go out at this time.
    pub(super) check_at: Option<Time>,
    checks: u8,
    /// Of the last check: each has another one.
    transaction: u32,
    pub(super) checks_answered: u32,
    started: bool,
    kind: PeerKind,
}

/// Everything: server, viewers, the network between them.
pub(super) struct World {
    pub(super) sessions: Sessions,
    pub(super) now: Time,
    pub(super) core: CoreId,
    pub(super) viewers: Vec<Viewer>,
    pub(super) outputs: Vec<Output>,
    pub(super) network: Network,
    /// What viewers are told of their jitter buffers.
    pub(super) playout_delay: Option<PlayoutDelay>,
    /// What is kept of each session, by viewer index.
    pub(super) kept: BTreeMap<u32, (ViewerId, Vec<u8>)>,
    rng: StdRng,
    /// By time and order of sending: true is towards us.
    flying: BTreeMap<(Time, u64), (bool, Peer, Vec<u8>)>,
    sent: u64,
    joined: u32,
}

pub(super) fn local() -> Ip {
    let addr: SocketAddr = "192.0.2.7:8000".parse().unwrap();
    addr.ip().into()
}

pub(super) fn config() -> Config {
    Config {
        candidates: vec!["192.0.2.7:8000".parse().unwrap()],
        cores: 4,
        ..Config::default()
    }
}

/// A node with a stream.
pub(super) fn sessions(config: Config, seed: [u8; 32]) -> Sessions {
    let mut sessions = Sessions::new(config, seed).unwrap();
    sessions.stream_opened("live/demo", STREAM);
    sessions.stream_described(Time(1), STREAM, H264_AND_OPUS);
    sessions
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(config(), seed)
    }

    pub(super) fn with(config: Config, seed: u64) -> Self {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            sessions: sessions(config, rng.random()),
            now: Time::ZERO + Span::secs(1000),
            core: CoreId(1),
            viewers: Vec::new(),
            outputs: Vec::new(),
            network: Network::PERFECT,
            playout_delay: None,
            kept: BTreeMap::new(),
            rng,
            flying: BTreeMap::new(),
            sent: 0,
            joined: 0,
        }
    }

    /// A viewer that has posted its offer and is about to check.
    pub(super) fn join(&mut self, kind: PeerKind, profiles: &[Profile]) -> usize {
        let delay = self.playout_delay;
        let post = |sessions: &mut Sessions, now, offer: &str| {
            sessions.whep_post(now, "live/demo", offer, delay)
        };
        self.come(kind, profiles, CHROMIUM, post).unwrap()
    }

    /// A publisher that has posted such an offer and is about to check.
    pub(super) fn publish(
        &mut self,
        kind: PeerKind,
        base: &str,
        takeover: bool,
    ) -> Result<usize, SignalError> {
        self.come(kind, &ALL, base, |sessions, now, offer| {
            let published = sessions.whip_post(now, STREAM, offer, takeover)?;
            Ok(published.created)
        })
    }

    pub(super) fn come(
        &mut self,
        kind: PeerKind,
        profiles: &[Profile],
        base: &str,
        post: impl FnOnce(&mut Sessions, Time, &str) -> Result<Created, SignalError>,
    ) -> Result<usize, SignalError> {
        self.joined += 1;
        let [_, a, b, c] = self.joined.to_be_bytes();
        let peer = SocketAddr::from(([10, a, b, c], 40_000)).into();
        let dtls = DtlsPeer::new(kind, profiles, self.now);
        let offer = offer(base, &dtls.certificate, kind);
        let created = post(&mut self.sessions, self.now, &offer)?;
        let server_ice = ice_of(&created.answer);
        self.viewers.push(Viewer {
            peer,
            dtls,
            created: Some(created),
            server_ice,
            check_at: Some(self.now),
            checks: 0,
            transaction: 0,
            checks_answered: 0,
            started: false,
            kind,
        });
        Ok(self.viewers.len() - 1)
    }

    /// Lets time pass until nothing happens any more, but for `span` at most.
    pub(super) fn run(&mut self, span: Span) {
        let end = self.now + span;
        self.drain();
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    fn next(&self) -> Option<Time> {
        let viewers = self.viewers.iter().flat_map(|viewer| {
            let dtls = viewer
                .dtls
                .deadline()
                .filter(|_| viewer.started && !viewer.dtls.failed);
            [viewer.check_at, dtls]
        });
        let flying = self.flying.keys().next().map(|(time, _)| *time);
        viewers
            .chain([flying, self.sessions.deadline()])
            .flatten()
            .min()
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(entry) = self
            .flying
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let (to_us, peer, bytes) = entry.remove();
            if to_us {
                self.sessions.punt(now, self.core, peer, local(), &bytes);
                self.drain();
            } else {
                self.deliver(peer, &bytes);
            }
        }
        for index in 0..self.viewers.len() {
            let viewer = &mut self.viewers[index];
            if viewer.check_at.is_some_and(|at| at <= now) {
                let request = viewer.check(now);
                let peer = viewer.peer;
                self.send(true, peer, request);
            }
            let viewer = &mut self.viewers[index];
            if viewer.started && viewer.dtls.deadline().is_some_and(|at| at <= now) {
                let datagrams = viewer.dtls.handle_timeout(now);
                let peer = viewer.peer;
                datagrams
                    .into_iter()
                    .for_each(|datagram| self.send(true, peer, datagram));
            }
        }
        self.sessions.handle_timeout(now);
        self.drain();
    }

    /// Takes what the sessions want done; datagrams fly, the rest is kept for the test.
    pub(super) fn drain(&mut self) {
        while let Some(output) = self.sessions.poll() {
            match output {
                Output::Transmit {
                    core,
                    peer,
                    local: from,
                    bytes,
                } => {
                    assert!(from == local() && core.0 < 4);
                    assert!(bytes.len() <= crate::dtls::MTU_BYTES);
                    self.send(false, peer, bytes);
                    continue;
                }
                Output::Keep { viewer, keepsake } => {
                    assert!(keepsake.len() <= KEEPSAKE_BYTES, "{}", keepsake.len());
                    self.kept.insert(viewer.index, (viewer, keepsake.to_vec()));
                    continue;
                }
                Output::Closed { viewer, .. } => {
                    viewer.and_then(|viewer| self.kept.remove(&viewer.index));
                }
                _ => {}
            }
            self.outputs.push(output);
        }
    }

    /// Control dies, and the next one goes on with what was kept.
    pub(super) fn restart(&mut self, holder: Holder, leases: [u64; 5]) {
        self.sessions = sessions(config(), self.rng.random());
        for (viewer, keepsake) in self.kept.values() {
            let adopted = self
                .sessions
                .adopt(self.now, *viewer, keepsake, holder, leases);
            assert_eq!(adopted, Ok(()));
        }
        self.outputs.clear();
        self.drain();
    }

    pub(super) fn send(&mut self, to_us: bool, peer: Peer, bytes: Vec<u8>) {
        let copies = 1 + u32::from(self.rng.random_range(0..1000) < self.network.duplicate);
        for _ in 0..copies {
            if self.rng.random_range(0..1000) < self.network.loss {
                continue;
            }
            let delay = Span::millis(self.rng.random_range(0..=self.network.delay_ms_max));
            self.sent += 1;
            self.flying
                .insert((self.now + delay, self.sent), (to_us, peer, bytes.clone()));
        }
    }

    fn deliver(&mut self, peer: Peer, bytes: &[u8]) {
        let now = self.now;
        let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.peer == peer) else {
            return;
        };
        let datagrams = match Message::parse(bytes) {
            Ok(message) => {
                assert_eq!(message.class(), Class::Success);
                assert!(message.verify_integrity(viewer.server_ice.1.as_bytes()));
                assert_eq!(message.mapped_address(), Some(peer));
                viewer.checks_answered += 1;
                let is_client = !matches!(viewer.kind, PeerKind::Server12(_));
                let begins = !std::mem::replace(&mut viewer.started, true) && is_client;
                if begins {
                    viewer.dtls.handle_timeout(now)
                } else {
                    Vec::new()
                }
            }
            Err(_) => viewer.dtls.handle(now, bytes),
        };
        datagrams
            .into_iter()
            .for_each(|datagram| self.send(true, peer, datagram));
    }

    /// The command that made a worker serve a viewer, the newest of them.
    pub(super) fn added(&self, viewer: usize) -> Option<(CoreId, &AddViewer)> {
        let id = self.viewers[viewer].created.as_ref()?.viewer;
        self.outputs.iter().rev().find_map(|output| match output {
            Output::Command { core, command } => match &**command {
                Command::AddViewer(add) if add.viewer == id => Some((*core, add)),
                _ => None,
            },
            _ => None,
        })
    }

    /// The command that made a worker take what a publisher sends, the newest of them.
    pub(super) fn published(&self, publisher: usize) -> Option<(CoreId, &AddPublisher)> {
        let id = self.viewers[publisher].created.as_ref()?.viewer;
        self.outputs.iter().rev().find_map(|output| match output {
            Output::Command { core, command } => match &**command {
                Command::AddPublisher(add) if add.viewer == Some(id) => Some((*core, add)),
                _ => None,
            },
            _ => None,
        })
    }

    /// Why a viewer's session ended, if it did.
    pub(super) fn closed(&self, viewer: usize) -> Option<crate::Cause> {
        let id = self.viewers[viewer].created.as_ref()?.viewer;
        self.outputs.iter().find_map(|output| match output {
            Output::Closed { viewer, cause, .. } if *viewer == Some(id) => Some(*cause),
            _ => None,
        })
    }

    /// The commands of the outputs so far, by name, and forgets the outputs.
    pub(super) fn take_commands(&mut self) -> Vec<(CoreId, Command)> {
        std::mem::take(&mut self.outputs)
            .into_iter()
            .filter_map(|output| match output {
                Output::Command { core, command } => Some((core, *command)),
                _ => None,
            })
            .collect()
    }

    /// A viewer with keys, on a perfect network, acknowledged by its worker.
    pub(super) fn live_viewer(&mut self) -> usize {
        let viewer = self.join(PeerKind::Client13, &ALL);
        self.run(Span::millis(200));
        let id = self
            .added(viewer)
            .expect("a viewer on a perfect network")
            .1
            .viewer;
        self.sessions
            .event(self.now, self.core, Event::ViewerAdded(id));
        viewer
    }

    /// A publisher with keys, on a perfect network, acknowledged by its worker.
    pub(super) fn live_publisher(&mut self) -> usize {
        let publisher = self
            .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
            .unwrap();
        self.run(Span::millis(200));
        self.acknowledge(publisher);
        publisher
    }

    /// The worker of this publisher says that it has both.
    pub(super) fn acknowledge(&mut self, publisher: usize) {
        let (core, add) = self.published(publisher).expect("a publisher with keys");
        let events = [
            Event::ViewerAdded(add.viewer.unwrap()),
            Event::PublisherAdded(add.stream),
        ];
        for event in events {
            self.sessions.event(self.now, core, event);
        }
        self.drain();
    }
}

impl Viewer {
    /// The next check, as Chromium does it: at 0, 50 and 100 ms, then every 2.5 s; nominates from
    /// the second on.
    fn check(&mut self, now: Time) -> Vec<u8> {
        let nominates = self.checks > 0;
        self.checks = self.checks.saturating_add(1);
        let wait = if self.checks < 10 {
            Span::millis(50)
        } else {
            Span::millis(2500)
        };
        self.check_at = Some(now + wait);
        self.request(nominates, 1_853_817_087, Role::Controlling(77))
    }

    pub(super) fn request(&mut self, use_candidate: bool, priority: u32, role: Role) -> Vec<u8> {
        self.transaction += 1;
        let mut transaction = [0; 12];
        transaction[..4].copy_from_slice(&self.transaction.to_be_bytes());
        let (ufrag, pwd) = &self.server_ice;
        let mut bytes = [0; 256];
        let written = Request {
            transaction,
            remote_ufrag: ufrag.as_bytes(),
            local_ufrag: b"UhTH",
            key: pwd.as_bytes(),
            priority,
            role,
            use_candidate,
        }
        .write(&mut bytes);
        bytes[..written].to_vec()
    }

    pub(super) fn id(&self) -> String {
        self.created.as_ref().unwrap().id.as_str().to_owned()
    }
}

/// An offer with another certificate, and the role the peer can play.
pub(super) fn offer(base: &str, certificate: &[u8], kind: PeerKind) -> String {
    let fingerprint = sha256_text(certificate);
    let setup = if matches!(kind, PeerKind::Server12(_)) {
        "passive"
    } else {
        "actpass"
    };
    base.lines()
        .map(|line| match line.split_once(':') {
            Some(("a=fingerprint", _)) => format!("a=fingerprint:sha-256 {fingerprint}\r\n"),
            Some(("a=setup", _)) => format!("a=setup:{setup}\r\n"),
            _ => format!("{line}\r\n"),
        })
        .collect()
}

/// Username fragment and password of an answer or a fragment.
pub(super) fn ice_of(text: &str) -> (String, String) {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .to_owned()
    };
    (value("a=ice-ufrag:"), value("a=ice-pwd:"))
}
