//! Two nodes of ours, of which one calls the other, over a network that loses and delays.

use crate::tests::world::{H264_AND_OPUS, STREAM, ice_of};
use crate::{Cause, Config, Output, SessionState, Sessions, StreamDescription, VideoCodec};
use link::command::{AddPublisher, AddViewer, Command};
use link::event::Event;
use link::ids::{CoreId, StreamId, ViewerId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use wire::demux::{self, Class};
use wire::peer::{Ip, Peer};
use wire::stun::{Message, Request, Role};
use wire::time::{Span, Time};

pub(super) const SERVER: usize = 0;
pub(super) const CLIENT: usize = 1;
pub(super) const CORE: CoreId = CoreId(2);

/// One node: its sessions, and what its worker was told.
pub(super) struct Node {
    pub(super) sessions: Sessions,
    pub(super) at: SocketAddr,
    pub(super) commands: Vec<Command>,
    pub(super) closed: Vec<(Option<ViewerId>, Cause)>,
    pub(super) is_dead: bool,
}

pub(super) struct World {
    pub(super) nodes: [Node; 2],
    pub(super) now: Time,
    rng: StdRng,
    loss: u32,
    delay_ms_max: u64,
    flying: BTreeMap<(Time, u64), (usize, Peer, Vec<u8>)>,
    sent: u64,
    /// How often a node said that consent is missed.
    pub(super) missed: u32,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut node = |at: &str| {
            let at: SocketAddr = at.parse().unwrap();
            let config = Config {
                // The first leads nowhere: it has to be passed by.
                candidates: vec!["203.0.113.1:8000".parse().unwrap(), at],
                cores: 4,
                ..Config::default()
            };
            Node {
                sessions: Sessions::new(config, rng.random()).unwrap(),
                at,
                commands: Vec::new(),
                closed: Vec::new(),
                is_dead: false,
            }
        };
        let nodes = [node("192.0.2.7:8000"), node("192.0.2.9:8000")];
        Self {
            nodes,
            now: Time::ZERO + Span::secs(1000),
            rng,
            loss: 0,
            delay_ms_max: 5,
            flying: BTreeMap::new(),
            sent: 0,
            missed: 0,
        }
    }

    /// Lets a node have a stream of this description.
    pub(super) fn open(&mut self, node: usize, description: StreamDescription) {
        let sessions = &mut self.nodes[node].sessions;
        sessions.stream_opened("live/demo", STREAM);
        sessions.stream_described(self.now, STREAM, description);
    }

    pub(super) fn run(&mut self, span: Span) {
        let end = self.now + span;
        self.drain();
        loop {
            let flying = self.flying.keys().next().map(|(at, _)| *at);
            let due = self.nodes.iter().filter_map(|n| n.sessions.deadline());
            let next = due.chain(flying).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flying.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (to, from, bytes) = entry.remove();
                let local = Ip::from(self.nodes[to].at.ip());
                let sessions = &mut self.nodes[to].sessions;
                sessions.punt(self.now, CORE, from, local, &bytes);
            }
            for node in &mut self.nodes {
                node.sessions.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    /// Seconds in which something comes of the server besides answers to checks.
    pub(super) fn run_heard(&mut self, seconds: u32) {
        for _ in 0..seconds {
            let now = self.now;
            self.nodes[CLIENT].sessions.calls_heard(|_| Some(now));
            self.run(Span::secs(1));
        }
    }

    fn drain(&mut self) {
        for from in [SERVER, CLIENT] {
            while let Some(output) = self.nodes[from].sessions.poll() {
                match output {
                    Output::Transmit { peer, bytes, .. } => self.send(from, peer, &bytes),
                    Output::Command { command, .. } => self.obey(from, *command),
                    Output::ConsentMissed { .. } => self.missed += 1,
                    Output::Closed { viewer, cause, .. } => {
                        self.nodes[from].closed.push((viewer, cause));
                    }
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: Peer, bytes: &[u8]) {
        let to = SocketAddr::from(to);
        let Some(node) = self.nodes.iter().position(|node| node.at == to) else {
            return;
        };
        // OpenSSL repeats by a clock of its own, so handshakes see no loss here.
        let may_lose = demux::classify(bytes) == Class::Stun;
        let lost = may_lose && self.rng.random_range(0..1000) < self.loss;
        if lost || self.nodes[node].is_dead || self.nodes[from].is_dead {
            return;
        }
        let delay = Span::millis(self.rng.random_range(1..=self.delay_ms_max));
        self.sent += 1;
        let at = Peer::from(self.nodes[from].at);
        let flies = (node, at, bytes.to_vec());
        self.flying.insert((self.now + delay, self.sent), flies);
    }

    /// The worker does what it is told, and says so.
    fn obey(&mut self, node: usize, command: Command) {
        let said = match &command {
            Command::AddViewer(add) => Some(Event::ViewerAdded(add.viewer)),
            Command::AddPublisher(add) => Some(Event::PublisherAdded(add.stream)),
            _ => None,
        };
        let node = &mut self.nodes[node];
        node.commands.push(command);
        if let Some(said) = said {
            node.sessions.event(self.now, CORE, said);
        }
    }

    pub(super) fn added(&self, node: usize) -> Option<&AddViewer> {
        let all = self.nodes[node].commands.iter().rev();
        all.filter_map(|command| match command {
            Command::AddViewer(add) => Some(add),
            _ => None,
        })
        .next()
    }

    pub(super) fn published(&self, node: usize) -> Option<&AddPublisher> {
        let all = self.nodes[node].commands.iter().rev();
        all.filter_map(|command| match command {
            Command::AddPublisher(add) => Some(add),
            _ => None,
        })
        .next()
    }

    pub(super) fn consents(&self, node: usize) -> usize {
        let all = self.nodes[node].commands.iter();
        all.filter(|command| matches!(command, Command::Consent(_)))
            .count()
    }

    /// The client asks the server for its stream.
    pub(super) fn pull(&mut self) -> String {
        let call = self.nodes[CLIENT].sessions.pull_offer(self.now).unwrap();
        let server = &mut self.nodes[SERVER].sessions;
        let created = server.whep_post(self.now, "live/demo", &call.offer, None);
        let answer = created.unwrap().answer;
        let client = &mut self.nodes[CLIENT].sessions;
        assert_eq!(client.session_views().count(), 0);
        let found = client.pull_check(&answer).unwrap();
        client.stream_opened("edge/demo", INTO);
        let id = call.id.as_str().to_owned();
        let pulled = client
            .pull_answered(self.now, &id, INTO, &answer, false)
            .unwrap();
        assert_eq!(pulled.description, found);
        assert!(found.audio.is_some());
        let kinds = [found.video, H264_AND_OPUS.video];
        assert!(matches!(
            kinds,
            [Some(VideoCodec::H264 { .. }), Some(VideoCodec::H264 { .. })]
        ));
        id
    }
}

/// Where a pulled stream goes.
pub(super) const INTO: StreamId = StreamId {
    index: 5,
    generation: 2,
};

#[test]
fn a_node_pulls_from_another_through_loss() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        world.loss = 200;
        world.delay_ms_max = 60;
        world.open(SERVER, H264_AND_OPUS);
        let id = world.pull();
        world.run_heard(9);
        let (out, into) = (world.added(SERVER).unwrap(), world.added(CLIENT).unwrap());
        assert_eq!(out.keys.send.key, into.keys.receive.key);
        assert_eq!(out.keys.receive.key, into.keys.send.key);
        // What one sends the other expects.
        let publisher = world.published(CLIENT).unwrap();
        assert_eq!(publisher.viewer, Some(into.viewer));
        for (track, lane) in out.tracks.iter().zip(&publisher.lanes) {
            assert_eq!(track.ssrc, lane.ssrc);
            assert_eq!(track.payload_type, lane.payload_type);
            assert_eq!(track.rtx_ssrc, lane.rtx_ssrc);
        }
        let view = world.nodes[CLIENT].sessions.session_view(&id).unwrap();
        assert_eq!(view.state, SessionState::Live);
        assert_eq!(view.stream_name, "edge/demo");
        // Both addresses of the other are what it has, and the chosen pair is nominated.
        assert_eq!(SocketAddr::from(into.peer), world.nodes[SERVER].at);
        assert_eq!(SocketAddr::from(out.peer), world.nodes[CLIENT].at);
        // Checks are lost as well; what comes of media shows that the server lives.
        world.loss = 50;
        world.run_heard(120);
        assert!(world.nodes[CLIENT].closed.is_empty(), "seed {seed}");
        assert!(world.consents(CLIENT) > 12, "{}", world.consents(CLIENT));
    }
}

#[test]
fn a_node_pushes_to_another() {
    let mut world = World::new(7);
    world.open(CLIENT, H264_AND_OPUS);
    world.nodes[SERVER].sessions.stream_opened("in", INTO);
    let client = &mut world.nodes[CLIENT].sessions;
    let call = client.push_offer(world.now, "live/demo").unwrap();
    assert!(!call.offer.contains("ice-lite") && call.offer.contains("a=setup:actpass"));
    let server = &mut world.nodes[SERVER].sessions;
    let published = server
        .whip_post(world.now, INTO, &call.offer, false)
        .unwrap();
    let client = &mut world.nodes[CLIENT].sessions;
    client
        .push_answered(world.now, call.id.as_str(), &published.created.answer)
        .unwrap();
    world.run(Span::secs(1));
    let (out, into) = (
        world.added(CLIENT).unwrap(),
        world.published(SERVER).unwrap(),
    );
    assert_eq!(out.keys.send.key, into.keys.receive.key);
    assert_eq!(out.stream, STREAM);
    for (track, lane) in out.tracks.iter().zip(&into.lanes) {
        assert!(track.ssrc != 0 && track.ssrc == lane.ssrc);
    }
    // The server ends it by DTLS, which is told at once.
    let id = published.created.id.as_str().to_owned();
    let server = &mut world.nodes[SERVER].sessions;
    server
        .close_session(world.now, &id, Cause::Operator)
        .unwrap();
    world.run(Span::millis(100));
    assert_eq!(
        world.nodes[CLIENT].closed,
        [(Some(call.viewer), Cause::PeerClosed)]
    );
    assert_eq!(world.nodes[CLIENT].sessions.session_count(), 0);
}

#[test]
fn the_death_of_a_silent_server_is_noticed_by_its_silence() {
    let mut world = World::new(3);
    world.open(SERVER, H264_AND_OPUS);
    world.pull();
    world.run(Span::secs(20));
    world.nodes[SERVER].is_dead = true;
    // Media would say that it lives, whatever becomes of checks.
    world.run_heard(20);
    assert!(world.nodes[CLIENT].closed.is_empty());
    world.run(Span::secs(12));
    assert!(world.missed == 1 && world.nodes[CLIENT].closed.is_empty());
    // Nobody restarts ICE.
    world.run(crate::RESTART_TIMEOUT);
    let [(_, cause)] = world.nodes[CLIENT].closed[..] else {
        panic!("still there, or more than one has ended");
    };
    assert_eq!(cause, Cause::Consent);
}

#[test]
fn a_full_agent_may_check_before_its_answer_comes() {
    let mut world = World::new(8);
    let now = world.now;
    let call = world.nodes[CLIENT].sessions.pull_offer(now).unwrap();
    let (ufrag, pwd) = ice_of(&call.offer);
    let early = Peer::from(world.nodes[SERVER].at);
    for (role, code) in [
        (Role::Controlled(1), None),
        (Role::Controlling(1), Some(487)),
    ] {
        let mut check = [0; 256];
        let used = Request {
            transaction: [9; 12],
            remote_ufrag: ufrag.as_bytes(),
            local_ufrag: b"peer",
            key: pwd.as_bytes(),
            priority: 1,
            role,
            use_candidate: false,
        }
        .write(&mut check);
        let local = Ip::from(world.nodes[CLIENT].at.ip());
        let client = &mut world.nodes[CLIENT].sessions;
        client.punt(world.now, CORE, early, local, &check[..used]);
        let Some(Output::Transmit { bytes, peer, .. }) = client.poll() else {
            panic!("no answer");
        };
        assert_eq!(peer, early);
        assert_eq!(Message::parse(&bytes).unwrap().error_code(), code);
    }
    // Nothing is due but the end of the wait for the answer.
    world.run(Span::secs(1));
    assert_eq!(world.sent, 0);
    let client = &mut world.nodes[CLIENT].sessions;
    assert!(client.deadline().unwrap() > world.now + Span::secs(10));
    client.delete(world.now, call.id.as_str()).unwrap();
}

#[test]
fn an_offer_without_answer_is_forgotten() {
    let mut world = World::new(4);
    let client = &mut world.nodes[CLIENT].sessions;
    let call = client.pull_offer(world.now).unwrap();
    assert_eq!(client.handshake_count(), 1);
    world.run(Span::secs(31));
    assert_eq!(
        world.nodes[CLIENT].closed,
        [(Some(call.viewer), Cause::Expired)]
    );
    let client = &mut world.nodes[CLIENT].sessions;
    assert_eq!((client.session_count(), client.handshake_count()), (0, 0));
    let late = client.pull_answered(world.now, call.id.as_str(), INTO, "v=0", false);
    assert_eq!(late.unwrap_err().status, 404);
}

#[test]
fn answers_that_cannot_be_used_end_the_call() {
    let mut world = World::new(5);
    world.open(SERVER, H264_AND_OPUS);
    let bad: [fn(&str) -> String; 4] = [
        |_| "hello".to_owned(),
        |answer| answer.replace("a=fingerprint:sha-256", "a=fingerprint:md5"),
        |answer| answer.replace("a=sendonly", "a=inactive"),
        |answer| answer.replace("a=setup:passive", "a=setup:actpass"),
    ];
    for spoil in bad {
        let now = world.now;
        let call = world.nodes[CLIENT].sessions.pull_offer(now).unwrap();
        let server = &mut world.nodes[SERVER].sessions;
        let created = server
            .whep_post(now, "live/demo", &call.offer, None)
            .unwrap();
        let answer = spoil(&created.answer);
        let client = &mut world.nodes[CLIENT].sessions;
        client.stream_opened("edge/demo", INTO);
        let refused = client.pull_answered(now, call.id.as_str(), INTO, &answer, false);
        let refused = refused.unwrap_err();
        assert!(refused.detail.contains("answer"), "{refused}");
        assert_eq!(client.session_count(), 0);
    }
    world.drain();
    let all = &world.nodes[CLIENT].closed;
    assert!(all.len() == 4 && all.iter().all(|(_, cause)| *cause == Cause::Answer));
}

#[test]
fn forged_answers_to_checks_make_no_pair() {
    let mut world = World::new(6);
    world.open(SERVER, H264_AND_OPUS);
    // The server does not hear us; somebody else answers in its place.
    world.nodes[SERVER].is_dead = true;
    world.pull();
    let mut forged = [0; 128];
    let peer = Peer::from(world.nodes[CLIENT].at);
    let used = wire::stun::write_success(&[0; 12], peer, b"guess", &mut forged);
    let (from, now) = (Peer::from(world.nodes[SERVER].at), world.now);
    let local = Ip::from(world.nodes[CLIENT].at.ip());
    let client = &mut world.nodes[CLIENT].sessions;
    client.punt(now, CORE, from, local, &forged[..used]);
    assert_eq!(client.counters().stun_unverified, 1);
    world.run(Span::secs(11));
    let closed: Vec<_> = world.nodes[CLIENT].closed.iter().map(|c| c.1).collect();
    assert_eq!(closed, [Cause::Expired]);
}
