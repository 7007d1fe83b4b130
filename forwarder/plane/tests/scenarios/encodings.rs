//! A peer that is sent every encoding of a stream: from which source, under which name, and as one.

use std::collections::{BTreeMap, BTreeSet};

use link::command::{AddViewer, Command, Encoding, TRACKS_MAX, TrackOut, VIDEO};
use link::event::{Event, Gone};
use link::ids::{CoreId, StreamId};
use link::lanes::LAYERS;
use link::stats::Counter;
use seal::{Opener, Secret};
use wire::datagram::RxMeta;
use wire::demux::{Class, classify};
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::{write_nack, write_pli};
use wire::rtcp_report::{ReportBlock, write_receiver_report};
use wire::rtp::Packet;
use wire::rtp_ext::{Block, Elements};

use crate::layers::{NAMES, Simulcast};
use crate::viewer::{TestViewer, address};
use crate::world::World;

const MID_ID: u8 = 6;
const NAME_ID: u8 = 7;
const REPAIRED_ID: u8 = 8;

/// A packet as the peer got it.
struct Packed {
    sequence: u16,
    payload: Vec<u8>,
    elements: Vec<(u8, Vec<u8>)>,
}

/// A server that takes all encodings.
struct Server {
    adds: Vec<AddViewer>,
    keys: TestViewer,
    at: RxMeta,
    opener: Opener,
    got: BTreeMap<u32, Vec<Packed>>,
    indexes: BTreeMap<u32, u64>,
    reported: BTreeSet<u32>,
}

fn ssrc_of(layer: usize) -> u32 {
    700 + 10 * u32::try_from(layer).unwrap()
}

impl Server {
    /// One for these layers; nobody is told of it yet.
    fn new(world: &World, stream: StreamId, layers: &[usize]) -> Self {
        let cells: Vec<_> = layers
            .iter()
            .map(|layer| {
                let index = 20 + u32::try_from(*layer).unwrap();
                world.region.open_viewer(index).unwrap().id()
            })
            .collect();
        let keys = TestViewer::new(cells[0], stream, seal::Profile::AeadAes128Gcm);
        let at = address(99, 5000);
        let add = |(&layer, &viewer)| {
            let mut tracks = [TrackOut::default(); TRACKS_MAX];
            let mut block = Block::new();
            block.push(MID_ID, b"0");
            let name_at = block.push(NAME_ID, NAMES[layer]).unwrap() - 1;
            tracks[VIDEO] = TrackOut {
                ssrc: ssrc_of(layer),
                rtx_ssrc: ssrc_of(layer) + 1,
                name_at: u8::try_from(name_at).unwrap(),
                repaired_rid_id: REPAIRED_ID,
                ext_bytes: u8::try_from(block.as_bytes().len()).unwrap(),
                ..keys.add.tracks[VIDEO]
            };
            tracks[VIDEO].ext[..block.as_bytes().len()].copy_from_slice(block.as_bytes());
            AddViewer {
                viewer,
                peer: at.peer,
                tracks,
                encoding: Some(Encoding {
                    leader: cells[0],
                    lane: u8::try_from(LAYERS[layer]).unwrap(),
                }),
                ..keys.add
            }
        };
        let adds = layers.iter().zip(&cells).map(add).collect();
        let master = &keys.add.keys.send;
        let profile = keys.add.keys.profile;
        let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
        let secret = Secret::new(profile, &master.key[..key], &master.salt[..salt]).unwrap();
        Self {
            adds,
            at,
            opener: Opener::new(&secret).unwrap(),
            got: BTreeMap::new(),
            indexes: BTreeMap::new(),
            reported: BTreeSet::new(),
            keys,
        }
    }

    fn join(world: &mut World, stream: StreamId, layers: &[usize]) -> Self {
        let server = Self::new(world, stream, layers);
        server.tell(world);
        server
    }

    fn tell(&self, world: &mut World) {
        let now = world.now;
        for add in &self.adds {
            world.plane().apply(now, &Command::AddViewer(*add));
        }
        let leader = self.adds[0].viewer;
        world.plane().apply(now, &Command::Consent(leader));
    }

    /// Takes what came; a packet of another source than ours, or an index that comes again, fails.
    fn hear(&mut self, world: &mut World) {
        for (run, bytes) in std::mem::take(&mut world.strays) {
            assert_eq!((run.peer, run.local), (self.at.peer, self.at.local));
            for datagram in bytes.chunks(usize::from(run.segment_bytes)) {
                let mut bytes = datagram.to_vec();
                match classify(datagram) {
                    Class::Rtp => self.media(&mut bytes),
                    Class::Rtcp => {
                        // One replay window for each source that sends: none is used twice.
                        let plain = self.opener.rtcp(&mut bytes).expect("new and ours");
                        for item in compound(plain) {
                            if let Item::SenderReport(report) = item {
                                self.reported.insert(report.info.ssrc);
                            }
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn media(&mut self, bytes: &mut [u8]) {
        let opened = self.opener.rtp(bytes).expect("authentic and new");
        let packet = Packet::parse(opened.packet).unwrap();
        let ssrc = packet.ssrc();
        let known = self
            .adds
            .iter()
            .flat_map(|add| [add.tracks[VIDEO].ssrc, add.tracks[VIDEO].rtx_ssrc]);
        assert!(known.into_iter().any(|one| one == ssrc), "{ssrc}");
        if let Some(before) = self.indexes.insert(ssrc, opened.index) {
            assert_eq!(opened.index, before + 1, "{ssrc}");
        }
        let elements = packet.extension().map(|extension| {
            let all = Elements::new(extension);
            all.map(|found| (found.id, found.data.to_vec())).collect()
        });
        self.got.entry(ssrc).or_default().push(Packed {
            sequence: packet.sequence(),
            payload: packet.payload().to_vec(),
            elements: elements.unwrap_or_default(),
        });
    }

    fn say(&mut self, world: &mut World, write: impl FnOnce(&mut [u8]) -> usize) {
        let bytes = self.keys.rtcp(write);
        world.send(0, self.at, &bytes);
    }

    fn report(&mut self, world: &mut World, ssrcs: &[u32]) {
        let blocks: Vec<ReportBlock> = ssrcs
            .iter()
            .map(|ssrc| ReportBlock {
                ssrc: *ssrc,
                ..ReportBlock::default()
            })
            .collect();
        self.say(world, |out| {
            write_receiver_report(1, &blocks, b"server", out)
        });
    }

    fn take(&mut self, ssrc: u32) -> Vec<Packed> {
        self.got.remove(&ssrc).unwrap_or_default()
    }
}

fn started(on: [bool; 3]) -> (World, StreamId, Simulcast) {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/cam").unwrap();
    let mut camera = Simulcast::join(&mut world, stream);
    camera.is_on = on;
    camera.run(&mut world, 1500);
    (world, stream, camera)
}

fn run(world: &mut World, camera: &mut Simulcast, server: &mut Server, ms: u64) {
    camera.run(world, ms);
    server.hear(world);
}

#[test]
fn each_encoding_goes_by_its_source_and_is_named_until_it_was_reported_on() {
    let (mut world, stream, mut camera) = started([true; 3]);
    let mut server = Server::join(&mut world, stream, &[0, 1, 2]);
    run(&mut world, &mut camera, &mut server, 1500);
    for (layer, name) in NAMES.iter().enumerate() {
        let got = server.take(ssrc_of(layer));
        assert!(got.len() > 40, "{layer}: {}", got.len());
        assert_eq!((got[0].payload[0], got[0].payload[6]), (0x67, 1));
        for packet in &got {
            assert_eq!(usize::from(packet.payload[1]), layer);
            let names = [(MID_ID, b"0".to_vec()), (NAME_ID, name.to_vec())];
            assert_eq!(packet.elements, names);
        }
    }
    assert_eq!(server.reported, [700, 710, 720].into());
    // One of them is known now: the others go on being named.
    server.report(&mut world, &[ssrc_of(1)]);
    run(&mut world, &mut camera, &mut server, 300);
    for (layer, name) in NAMES.iter().enumerate() {
        let got = server.take(ssrc_of(layer));
        assert!(got.len() > 8);
        assert!(got.iter().all(|p| p.elements.is_empty() == (layer == 1)));
        // Its retransmissions are still strangers.
        let lost = got.last().unwrap().sequence;
        server.say(&mut world, |out| {
            write_nack(1, ssrc_of(layer), &[lost], out)
        });
        world.turn(1);
        server.hear(&mut world);
        let again = server.take(ssrc_of(layer) + 1);
        assert_eq!(again.len(), 1, "{layer}");
        assert_eq!(again[0].payload[..2], lost.to_be_bytes());
        assert_eq!(again[0].payload[2..], got.last().unwrap().payload);
        let names = [(MID_ID, b"0".to_vec()), (REPAIRED_ID, name.to_vec())];
        assert_eq!(again[0].elements, names);
    }
    server.report(&mut world, &[700, 701, 720, 721, 711]);
    // The command may come again: what is known stays known.
    server.tell(&mut world);
    run(&mut world, &mut camera, &mut server, 300);
    for layer in 0..3 {
        let got = server.take(ssrc_of(layer));
        assert!(got.len() > 8 && got.iter().all(|p| p.elements.is_empty()));
        let lost = got[0].sequence;
        server.say(&mut world, |out| {
            write_nack(1, ssrc_of(layer), &[lost], out)
        });
        world.turn(1);
        server.hear(&mut world);
        let again = server.take(ssrc_of(layer) + 1);
        assert!(again.len() == 1 && again[0].elements.is_empty());
    }
}

#[test]
fn what_cannot_be_retransmitted_is_not_sent_again_under_another_header() {
    let (mut world, stream, mut camera) = started([true; 3]);
    let mut server = Server::new(&world, stream, &[0, 1]);
    for add in &mut server.adds {
        add.tracks[VIDEO].rtx_ssrc = 0;
    }
    server.tell(&mut world);
    run(&mut world, &mut camera, &mut server, 600);
    let named = server.take(ssrc_of(1)).last().unwrap().sequence;
    server.report(&mut world, &[ssrc_of(1)]);
    let before = world.count(Counter::RetransmissionSent);
    // The very nonce of a packet that had names would seal one without.
    server.say(&mut world, |out| write_nack(1, 710, &[named], out));
    run(&mut world, &mut camera, &mut server, 100);
    assert_eq!(world.count(Counter::RetransmissionSent), before);
    assert!(
        server
            .take(710)
            .iter()
            .all(|packet| packet.elements.is_empty())
    );
}

#[test]
fn a_call_for_a_keyframe_is_for_its_encoding_alone() {
    let (mut world, stream, mut camera) = started([true; 3]);
    let mut server = Server::join(&mut world, stream, &[2, 0, 1]);
    run(&mut world, &mut camera, &mut server, 1000);
    for layer in [0, 2, 1] {
        // What the log has is sent again first; then the publisher is asked.
        camera.run(&mut world, 4000);
        server.hear(&mut world);
        let before = camera.pleas;
        server.got.clear();
        server.say(&mut world, |out| write_pli(1, ssrc_of(layer), out));
        run(&mut world, &mut camera, &mut server, 2500);
        for (other, before) in before.iter().enumerate() {
            let keys = server.take(ssrc_of(other));
            let keys = keys.iter().filter(|packet| packet.payload[6] == 1).count();
            assert_eq!(keys > 0, other == layer, "{layer}, {other}: {keys}");
            assert!(other == layer || camera.pleas[other] == *before);
        }
    }
}

#[test]
fn an_encoding_that_pauses_or_comes_late_is_taken_up_where_it_was() {
    let (mut world, stream, mut camera) = started([true, true, false]);
    let mut server = Server::join(&mut world, stream, &[0, 1, 2]);
    run(&mut world, &mut camera, &mut server, 1000);
    assert!(server.take(ssrc_of(2)).is_empty());
    // It has never been there.
    camera.is_on[2] = true;
    run(&mut world, &mut camera, &mut server, 1000);
    let got = server.take(ssrc_of(2));
    assert!(got.len() > 100 && got[0].payload[6] == 1);
    for _ in 0..3 {
        camera.is_on[2] = false;
        run(&mut world, &mut camera, &mut server, 3000);
        server.got.clear();
        run(&mut world, &mut camera, &mut server, 300);
        assert!(server.take(ssrc_of(2)).is_empty());
        assert!(server.take(ssrc_of(0)).len() > 8 && server.take(ssrc_of(1)).len() > 20);
        (camera.is_on[2], camera.keys[2]) = (true, true);
        run(&mut world, &mut camera, &mut server, 600);
        // Numbers go on (`media` fails otherwise), and it begins with its keyframe.
        let got = server.take(ssrc_of(2));
        assert!(got.len() > 100 && got[0].payload[6] == 1, "{}", got.len());
        assert!(got.iter().all(|packet| packet.payload[1] == 2));
    }
}

#[test]
fn they_count_as_one_and_end_as_one() {
    let (mut world, stream, mut camera) = started([true; 3]);
    let mut server = Server::join(&mut world, stream, &[0, 1, 2]);
    run(&mut world, &mut camera, &mut server, 500);
    let viewers = |world: &World| {
        let stats = world.region.stream_stats(stream, CoreId(0)).unwrap();
        (stats.viewers(), world.count(Counter::ViewerActive))
    };
    assert_eq!(viewers(&world), (1, 1));
    let other = world.join(stream);
    camera.run(&mut world, 100);
    assert_eq!(viewers(&world), (2, 2));
    let now = world.now;
    let gone = Command::RemoveViewer(world.viewers[other].id());
    world.plane().apply(now, &gone);
    // One part alone goes, and comes again.
    let part = server.adds[2].viewer;
    world.plane().apply(now, &Command::RemoveViewer(part));
    run(&mut world, &mut camera, &mut server, 300);
    server.got.clear();
    run(&mut world, &mut camera, &mut server, 300);
    assert!(server.take(720).is_empty() && server.take(710).len() > 20);
    assert_eq!(viewers(&world), (1, 1));
    world.events();
    // Nobody consents any more: with the leader all of them end, and control hears of each.
    world.run(31_000, 10);
    let gone: BTreeSet<u32> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::ViewerGone(viewer, Gone::Consent) => Some(viewer.index),
            _ => None,
        })
        .collect();
    assert!(gone.is_superset(&[20, 21].into()), "{gone:?}");
    assert_eq!(viewers(&world), (0, 0));
    server.tell(&mut world);
    let now = world.now;
    let leader = server.adds[0].viewer;
    world.plane().apply(now, &Command::RemoveViewer(leader));
    world.run(100, 10);
    assert_eq!(viewers(&world), (0, 0));
    world.plane().apply(now, &Command::CloseStream(stream));
}

#[test]
fn a_part_needs_its_leader_and_sources_of_its_own() {
    let (mut world, stream, _camera) = started([true; 3]);
    let server = Server::new(&world, stream, &[0, 1, 2]);
    let refused = |world: &mut World, add: AddViewer| {
        let now = world.now;
        world.events();
        world.plane().apply(now, &Command::AddViewer(add));
        world.events().contains(&Event::ViewerRefused(add.viewer))
    };
    let [leader, part, other] = server.adds[..] else {
        panic!("three");
    };
    assert!(refused(&mut world, part), "there is no leader");
    assert!(!refused(&mut world, leader));
    let mut same = part;
    same.tracks[VIDEO].rtx_ssrc = leader.tracks[VIDEO].ssrc;
    assert!(refused(&mut world, same), "a nonce would be used twice");
    assert!(!refused(&mut world, part));
    let mut same = other;
    same.tracks[VIDEO].ssrc = part.tracks[VIDEO].rtx_ssrc;
    assert!(refused(&mut world, same), "a nonce would be used twice");
    let mut nested = other;
    nested.encoding = Some(Encoding {
        leader: part.viewer,
        lane: 3,
    });
    assert!(refused(&mut world, nested), "a part leads nobody");
    assert!(!refused(&mut world, other));
    assert_eq!(world.count(Counter::ViewerRefused), 4);
}

#[test]
fn a_new_plane_goes_on_beyond_what_was_leased() {
    let (mut world, stream, mut camera) = started([true; 3]);
    let mut server = Server::join(&mut world, stream, &[0, 1, 2]);
    run(&mut world, &mut camera, &mut server, 1000);
    world.restart();
    for add in &mut server.adds {
        let leases = world.region.viewer(add.viewer).unwrap().leases();
        add.tracks[VIDEO].first_index = leases[0];
        add.tracks[VIDEO].rtx_first_index = leases[1];
        add.rtcp_first_index = leases[4];
    }
    server.tell(&mut world);
    server.indexes.clear();
    server.got.clear();
    let now = world.now;
    let mut way = world.viewers[camera.peer.viewer].add;
    way.rtcp_first_index = world.region.viewer(way.viewer).unwrap().leases()[4];
    world.plane().apply(now, &Command::AddViewer(way));
    let publisher = Command::AddPublisher(camera.peer.add);
    world.plane().apply(now, &publisher);
    // It does not say once more which source is which.
    assert!(camera.sent.iter().all(|sent| *sent > 0));
    camera.keys = [true; 3];
    run(&mut world, &mut camera, &mut server, 1500);
    for layer in 0..3 {
        let got = server.take(ssrc_of(layer));
        assert!(got.len() > 30 && got[0].payload[6] == 1, "{layer}");
    }
}
