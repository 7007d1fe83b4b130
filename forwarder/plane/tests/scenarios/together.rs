//! Tags that are computed together change nothing: two worlds to which the same happens, one of
//! which can park runs, send every viewer the same datagrams in the same turns.

use std::collections::BTreeMap;

use link::command::VIDEO;
use link::ids::StreamId;
use link::lanes::LAYERS;
use link::limits::Limits;
use link::stats::Counter;
use proptest::prelude::*;
use seal::{Cipher, Profile};
use wire::peer::{Ip, Peer};
use wire::rtcp_feedback::write_nack;

use crate::layers::{Simulcast, pin};
use crate::world::{LIMITS, Refusals, Source, World};

/// Most viewers here can share; some pass by.
const PROFILES: [Profile; 6] = [
    Profile::Aes128CmSha1_80,
    Profile::Aes128CmSha1_80,
    Profile::AeadAes128Gcm,
    Profile::Aes128CmSha1_80,
    Profile::Aes128CmSha1_32,
    Profile::Plain,
];

/// A world that parks runs, and its twin, which does not.
struct Twins([World; 2]);

impl Twins {
    fn new(limits: &Limits, cipher: Cipher) -> Self {
        let twin = |parks| {
            let mut world = World::with(limits);
            world.sink.parks = parks;
            world.delivered = Some(Vec::new());
            world.plane().seal_with(cipher);
            world
        };
        Self([true, false].map(twin))
    }

    fn each(&mut self, mut act: impl FnMut(usize, &mut World)) {
        for (nth, world) in self.0.iter_mut().enumerate() {
            act(nth, world);
        }
    }

    fn refuse(&mut self, seed: u64) {
        self.each(|_, world| world.sink.refusals = Some(Refusals::new(seed)));
    }

    /// What has been delivered is the same, run for run of each peer.
    fn compare(&mut self) {
        let [one, other] = self.0.each_mut().map(|world| {
            let mut runs = BTreeMap::<[u8; 18], Vec<_>>::new();
            for (run, bytes) in world.delivered.replace(Vec::new()).unwrap() {
                let Peer { ip: Ip(ip), port } = run.peer;
                let mut peer = [0; 18];
                peer[..16].copy_from_slice(&ip);
                peer[16..].copy_from_slice(&port.to_be_bytes());
                runs.entry(peer).or_default().push((run, bytes));
            }
            runs
        });
        assert!(one == other, "a viewer was sent something else");
        for counter in [
            Counter::DatagramSent,
            Counter::RunSent,
            Counter::ByteSent,
            Counter::EgressFull,
            Counter::ViewerSkipped,
        ] {
            assert_eq!(self.0[0].count(counter), self.0[1].count(counter));
        }
    }

    fn join(&mut self, stream: StreamId, profile: Profile) {
        self.each(|_, world| {
            let viewer = world.viewer_with(stream, profile);
            let viewer = match world.viewers.len() % 4 {
                1 => viewer.with_extension(),
                2 => viewer.without_rtx(),
                _ => viewer,
            };
            world.add(viewer);
        });
    }
}

/// One thing that happens to both.
#[derive(Clone, Debug)]
enum Step {
    Video {
        key: bool,
        packets: usize,
        bytes: usize,
    },
    Audio(usize),
    Turn(u64, Option<usize>),
    Segments(u8),
    Join,
    Nack(usize, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let packets = prop_oneof![3 => 1..4_usize, 1 => 4..=16_usize];
    let video = (prop::bool::weighted(0.05), packets, 8..1300_usize);
    prop_oneof![
        8 => video.prop_map(|(key, packets, bytes)| Step::Video { key, packets, bytes }),
        6 => (8..400_usize).prop_map(Step::Audio),
        12 => (0..30_u64, prop::option::weighted(0.1, 0..20_usize))
            .prop_map(|(ms, room)| Step::Turn(ms, room)),
        1 => (1..=64_u8).prop_map(Step::Segments),
        1 => Just(Step::Join),
        2 => (0..24_usize, 0..30_u16).prop_map(|(viewer, back)| Step::Nack(viewer, back)),
    ]
}

fn act(twins: &mut Twins, sources: &mut [Source], step: &Step) {
    if let Step::Join = step {
        let joined = twins.0[0].viewers.len();
        if joined < LIMITS.viewers_max as usize {
            twins.join(sources[0].id, PROFILES[joined % PROFILES.len()]);
        }
        return;
    }
    twins.each(|nth, world| {
        let (source, now) = (&mut sources[nth], world.now);
        match *step {
            Step::Video {
                key,
                packets,
                bytes,
            } => {
                source.frame(now, key, packets, bytes);
            }
            Step::Audio(bytes) => source.audio(now, bytes),
            Step::Turn(ms, room) => {
                world.sink.room = room.unwrap_or(usize::MAX);
                world.turn(ms);
            }
            Step::Segments(max) => world.sink.segments_max = max,
            Step::Nack(viewer, back) if viewer < world.viewers.len() => {
                let ssrc = world.viewers[viewer].video_ssrc();
                let newest = world.viewers[viewer].got[VIDEO].last();
                let newest = newest.map_or(0, |got| got.header.sequence);
                let lost = [newest.wrapping_sub(back)];
                world.feedback(viewer, |out| write_nack(1, ssrc, &lost, out));
            }
            _ => {}
        }
    });
    twins.compare();
}

fn ciphers() -> impl Strategy<Value = Cipher> {
    let ciphers = Cipher::ALL.into_iter();
    let ciphers = ciphers.filter(|cipher| cipher.is_available());
    prop::sample::select(ciphers.collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nobody_can_tell(
        cipher in ciphers(),
        seed in prop::option::of(any::<u64>()),
        viewers in 1..24_usize,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut twins = Twins::new(&Limits { log_packets: 256, ..LIMITS }, cipher);
        let mut sources = twins.0.each_ref().map(|world| world.source(0));
        for nth in 0..viewers {
            twins.join(sources[0].id, PROFILES[nth % PROFILES.len()]);
        }
        twins.each(|nth, world| {
            sources[nth].video(world.now, true, &[500; 3]);
            world.run(300, 1);
        });
        if let Some(seed) = seed {
            twins.refuse(seed);
        }
        for step in &steps {
            act(&mut twins, &mut sources, step);
        }
        twins.each(|_, world| {
            world.sink.refusals = None;
            world.sink.room = usize::MAX;
            world.run(300, 1);
        });
        twins.compare();
        for viewer in &twins.0[0].viewers {
            viewer.assert_continuous();
        }
    }
}

/// A single packet for each of many viewers is parked where that gains something, and nowhere else.
#[test]
fn who_gains_is_parked() {
    for cipher in Cipher::ALL.into_iter().filter(|one| one.is_available()) {
        let mut twins = Twins::new(&LIMITS, cipher);
        let mut sources = twins.0.each_ref().map(|world| world.source(0));
        for nth in 0..20 {
            twins.join(sources[0].id, PROFILES[nth % PROFILES.len()]);
        }
        let gains = cipher.name_for_cm() != "rustcrypto";
        for packets in [1, 8, 9] {
            let before = twins.0[0].sink.parkings;
            twins.each(|nth, world| {
                sources[nth].video(world.now, packets == 1, &vec![900; packets]);
                // The first of them only joins.
                world.run(500, 1);
                sources[nth].video(world.now, false, &vec![900; packets]);
                world.turn(1);
            });
            twins.compare();
            let parked = twins.0[0].sink.parkings - before;
            assert_eq!(parked > 0, gains && packets < 9, "{cipher}, {packets}");
            assert_eq!(twins.0[1].sink.parkings, 0);
        }
    }
}

/// Viewers of several encodings, each with runs of its own, and a port that refuses now and then.
#[test]
fn of_several_encodings() {
    let mut twins = Twins::new(&LIMITS, Cipher::best());
    let mut cameras = twins.0.each_mut().map(|world| {
        let stream = world.region.open_stream(0, "live/cam").unwrap();
        (stream, Simulcast::join(world, stream))
    });
    for nth in 0..20 {
        twins.join(cameras[0].0, PROFILES[nth % PROFILES.len()]);
    }
    for second in 0..6 {
        if second > 0 {
            let seed = 4711 + second;
            println!("refusals from {seed}");
            twins.refuse(seed);
        }
        twins.each(|nth, world| {
            for viewer in 0..20 {
                let lane = LAYERS[(viewer + usize::try_from(second).unwrap()) % 3];
                pin(world, viewer, u8::try_from(lane).ok());
            }
            cameras[nth].1.run(world, 1000);
        });
        twins.compare();
    }
    let gains = Cipher::best().name_for_cm() != "rustcrypto";
    assert_eq!(twins.0[0].sink.parkings > 0, gains);
    for viewer in &twins.0[0].viewers {
        viewer.assert_continuous();
    }
}
