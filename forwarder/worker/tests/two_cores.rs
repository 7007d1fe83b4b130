//! Two cores in virtual time: a viewer's packets come to the core that does not serve it.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use freshet_worker::{Cipher, Exchange, Seat, SeatConfig};
use io::PortConfig;
use io::sim::{Link, SimNet, SimPeer, SimPort};
use link::Region;
use link::command::{AddViewer, Command, IceCredentials, TrackOut};
use link::event::Event;
use link::ids::{CoreId, ufrag};
use link::keys::SrtpKeys;
use link::limits::Limits;
use link::log::{Flags, LogWriter, Record};
use link::stats::Counter;
use std::net::SocketAddr;
use wire::stun::{Class, Message, Request, Role};
use wire::time::{Span, Time};

const SERVER: &str = "10.0.0.1:8000";

struct World {
    now: Time,
    net: SimNet,
    region: Region,
    seats: Vec<Seat<SimPort>>,
    log: LogWriter,
    peer: SimPeer,
    checks: u32,
    ice: IceCredentials,
}

impl World {
    /// A viewer that core 0 serves.
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let limits = Limits {
            cores: 2,
            streams_max: 1,
            viewers_max: 8,
            log_packets: 256,
            ..Limits::default()
        };
        let region = Region::create(&limits).unwrap();
        let link = Link {
            latency: Span::millis(3),
            ..Link::default()
        };
        let net = SimNet::new(seed, link);
        let exchange = Exchange::new(&region);
        let server: SocketAddr = SERVER.parse().unwrap();
        let seat = |core| {
            let config = SeatConfig {
                region: &region,
                core: CoreId(core),
                exchange: &exchange,
                cipher: Cipher::best(),
                seed: seed + u64::from(core),
            };
            Seat::new(&config, net.port(server, &PortConfig::default())).unwrap()
        };
        let seats = vec![seat(0), seat(1)];
        let stream = region.open_stream(0, "demo").unwrap();
        let viewer = region.open_viewer(0).unwrap().id();
        let peer = net.peer("10.0.9.9:1000".parse().unwrap());
        let ice = IceCredentials {
            ufrag: ufrag(0, [7; 12]),
            pwd: [b'p'; 24],
        };
        let mut add = AddViewer {
            viewer,
            stream,
            peer: peer.addr().into(),
            local: server.ip().into(),
            ice,
            keys: SrtpKeys::default(),
            tracks: [TrackOut::default(); 2],
            rtcp_first_index: 0,
            encoding: None,
        };
        add.tracks[0] = TrackOut {
            ssrc: 5,
            clock_hz: 90_000,
            payload_type: 96,
            ..TrackOut::default()
        };
        let mut commands = region.commands_producer(CoreId(0)).unwrap();
        commands.push(&Command::AddViewer(add)).unwrap();
        Self {
            now: Time::ZERO + Span::secs(1),
            log: region.log_writer(stream).unwrap(),
            net,
            region,
            seats,
            peer,
            checks: 0,
            ice,
        }
    }

    /// Lets `ms` pass, with a frame of two packets every 20.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = self.now + Span::millis(1);
            if self.now.0.is_multiple_of(20_000_000) {
                self.frame();
            }
            for seat in &mut self.seats {
                seat.turn(self.now, || self.now.0);
            }
        }
    }

    fn frame(&mut self) {
        let ticks = u32::try_from(self.now.0 / 11_111).unwrap();
        for flags in [Flags::FIRST | Flags::KEY, Flags::LAST | Flags::KEY] {
            let record = Record {
                flags,
                timestamp: ticks,
                capture: self.now,
                arrival: self.now,
                ..Record::default()
            };
            self.log.append(&record, &[&[0x65; 700]]).unwrap();
        }
        self.log.publish();
    }

    fn check(&mut self) {
        self.checks += 1;
        let mut transaction = [0; 12];
        transaction[..4].copy_from_slice(&self.checks.to_be_bytes());
        let request = Request {
            transaction,
            remote_ufrag: &self.ice.ufrag,
            local_ufrag: b"peer",
            key: &self.ice.pwd,
            priority: 1,
            role: Role::Controlling(1),
            use_candidate: true,
        };
        let mut bytes = [0; 256];
        let used = request.write(&mut bytes);
        self.peer
            .send(self.now, SERVER.parse().unwrap(), &bytes[..used]);
    }

    /// Media packets and answers to checks that have come to the peer.
    fn received(&mut self) -> (usize, usize) {
        let (mut media, mut answers) = (0, 0);
        while let Some((from, bytes)) = self.peer.recv(self.now) {
            assert_eq!(from, SERVER.parse().unwrap());
            if bytes[0] < 4 {
                let answer = Message::parse(&bytes).unwrap();
                assert_eq!(answer.class(), Class::Success);
                assert_eq!(answer.mapped_address(), Some(self.peer.addr().into()));
                answers += 1;
            } else if bytes[1] & 0x7f == 96 {
                media += 1;
            }
        }
        (media, answers)
    }

    fn count(&self, core: u16, counter: Counter) -> u64 {
        self.region.stats(CoreId(core)).unwrap().read(counter)
    }
}

#[test]
fn a_viewer_whose_packets_come_to_another_core_is_served_all_the_same() {
    let mut world = World::new(1);
    world.run(200);
    assert!(world.received().0 >= 10, "media flows");
    let mut events = world.region.events_consumer(CoreId(0)).unwrap();
    let mut moves = 0;
    // Sixteen new addresses: about half of them belong to core 1.
    for port in 2000..2016 {
        world
            .peer
            .rebind(format!("10.0.9.9:{port}").parse().unwrap());
        world.check();
        world.run(50);
        let (media, answers) = world.received();
        assert_eq!(answers, 1, "port {port}: the check is answered");
        assert!(media >= 3, "port {port}: {media} packets follow the move");
        while let Some(event) = events.pop() {
            if let Event::ViewerMoved(_, to) = event {
                assert_eq!(to, world.peer.addr().into());
                moves += 1;
            }
        }
    }
    assert_eq!(moves, 16);
    let handed = world.count(1, Counter::HandoffSent);
    assert!(
        (3..=13).contains(&handed),
        "{handed} of 16 came to the other core"
    );
    assert_eq!(world.count(0, Counter::StunAnswered), 16);
    assert_eq!(world.count(1, Counter::HandoffDroppedFull), 0);
    // Once told, core 1 hands on what is no check, too: reports of the viewer.
    let before = world.count(1, Counter::HandoffSent);
    for port in 2000..2016 {
        world
            .peer
            .rebind(format!("10.0.9.9:{port}").parse().unwrap());
        world.check();
        world.run(10);
        let report = [0x80, 201, 0, 1, 0, 0, 0, 5];
        world.peer.send(world.now, SERVER.parse().unwrap(), &report);
        world.run(10);
    }
    let after = world.count(1, Counter::HandoffSent);
    assert_eq!(after - before, 2 * handed, "checks and reports");
    assert_eq!(world.net.counts().overrun, 0);
}

#[test]
fn a_flood_of_parcels_is_bounded() {
    let mut world = World::new(2);
    world.run(40);
    // From an address of core 1, as many checks as it takes in a turn, and core 0 stands still.
    let mut port = 3000;
    while world.count(1, Counter::HandoffSent) == 0 {
        world
            .peer
            .rebind(format!("10.0.9.9:{port}").parse().unwrap());
        world.check();
        world.run(10);
        port += 1;
    }
    for _ in 0..20 {
        for _ in 0..50 {
            world.check();
        }
        world.now = world.now + Span::millis(5);
        world.seats[1].turn(world.now, || 0);
    }
    let lost = world.count(1, Counter::HandoffDroppedFull);
    assert!(lost >= 450, "{lost} lost: 1000 sent, 512 may wait");
    world.run(20);
    assert!(world.received().0 > 0, "and the viewer is served");
}
