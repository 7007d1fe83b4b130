//! Scenarios over a bottleneck in virtual time, a hundred paths by seed, and feedback that lies.

mod world;

use proptest::prelude::*;
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::{Arrivals, Came, Message, TransportCc, write_arrivals};

use super::arrivals::MESSAGE_STATUSES;
use super::*;
use crate::random::Random;
use world::{Answers, LAYERS, Path, World};

const SEEDS: core::ops::Range<u64> = 1..7;

/// Runs a scenario under some seeds and says which one failed.
fn seeds(scenario: impl Fn(u64) -> Result<(), String>) {
    let run = |seed| {
        scenario(seed)
            .err()
            .map(|fault| format!("seed {seed}: {fault}"))
    };
    let faults: Vec<String> = SEEDS.filter_map(run).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}

impl World {
    fn free(seed: u64) -> Self {
        Self::new(seed, Path::default(), Answers::Transport)
    }

    fn is_on(&self, layer: usize) -> Result<(), String> {
        ensure(self.layer() == layer, || {
            let bps = self.estimator.bps();
            format!("on {} at {} ms, not {layer}: {bps}", self.layer(), self.ms)
        })
    }

    /// Nothing but `layer` was sent from a time on.
    fn stayed(&self, from_ms: u64, layer: usize) -> Result<(), String> {
        let from = usize::try_from(from_ms / 50).unwrap();
        let other = self.log.layers[from..].iter().position(|one| *one != layer);
        ensure(other.is_none(), || {
            format!(
                "left {layer} at {} ms",
                from_ms + other.unwrap() as u64 * 50
            )
        })
    }
}

fn at(ms: u64) -> Time {
    Time::ZERO + Span::millis(ms)
}

/// Runs of three packets every 10 ms, of the video and of repairs in turn, whose numbers are far
/// apart; all but the last come after 20 ms.
fn sent_by_source(estimator: &mut Estimator) -> Vec<(u32, u16, Vec<Came>)> {
    let mut told = [(7, 65_530_u16, Vec::new()), (8, 100, Vec::new())];
    for nth in 0..20_u16 {
        let (place, source) = match nth % 2 {
            0 => (0, Source::Media),
            _ => (1, Source::Repairs),
        };
        let (_, first, came) = &mut told[place];
        let run = Run {
            first: 500 + 3 * nth,
            packets: 3,
            bytes: 3_000,
            source,
            rtp: first.wrapping_add(u16::try_from(came.len()).unwrap()),
        };
        estimator.on_sent(at(1_000 + 10 * u64::from(nth)), &run);
        // The report is made at 1,220 ms: 1,024ths of a second before that.
        let before = u16::try_from((200 - 10 * u32::from(nth)) * 1_024 / 1_000).unwrap();
        came.extend([Came::Before(before); 3]);
    }
    told[1].2.pop();
    told[1].2.push(Came::No);
    told.to_vec()
}

fn arrivals(estimator: &mut Estimator, told: &[(u32, u16, Vec<Came>)], reported: u32) {
    arrivals_at(estimator, at(1_230), told, reported);
}

fn arrivals_at(
    estimator: &mut Estimator,
    now: Time,
    told: &[(u32, u16, Vec<Came>)],
    reported: u32,
) {
    let lent: Vec<_> = told.iter().map(|one| (one.0, one.1, &one.2[..])).collect();
    let mut out = [0; 2_048];
    let used = write_arrivals(1, &lent, reported, &mut out);
    let Some(Item::Feedback(feedback)) = compound(&out[..used]).next() else {
        panic!("what we write is feedback");
    };
    let Message::Arrivals(fci) = feedback.message else {
        panic!("{feedback:?}");
    };
    estimator.on_arrivals(now, &Arrivals::parse(fci).unwrap(), [7, 8]);
}

#[test]
fn arrivals_by_source_are_told_apart() {
    let mut estimator = Estimator::new(at(0), 1_000_000);
    let mut told = sent_by_source(&mut estimator);
    // Sound is none of its business.
    told.push((9, 500, vec![Came::Before(3); 10]));
    arrivals(&mut estimator, &told, 77);
    let state = estimator.state();
    // The last but one came, sent 1,180 ms after the start.
    assert_eq!(estimator.newest_round_trip(), Span::millis(40));
    // 59 of 60 packets in 200 ms: 2.4 Mbit/s, and delays that differ by rounding alone.
    assert!(
        (2_000_000..2_600_000).contains(&state.acked_bps),
        "{state:?}"
    );
    assert!(state.queue < Span::millis(3), "{state:?}");
    // The same once more tells nothing.
    let before = estimator.bps();
    arrivals(&mut estimator, &told, 77);
    assert_eq!((estimator.state(), estimator.bps()), (state, before));
}

/// A viewer who is sent as little as can be tells of it as often as browsers do.
#[test]
fn feedback_on_little_is_read_for_ever() {
    let mut by_source = Estimator::new(at(0), 150_000);
    let mut transport_wide = Estimator::new(at(0), 150_000);
    for nth in 0..20_000_u16 {
        let now = at(30 * u64::from(nth));
        for estimator in [&mut by_source, &mut transport_wide] {
            estimator.on_sent(now, &Run::media(nth, 1, 600));
        }
        let now = now + Span::millis(20);
        let came = vec![Came::Before(0)];
        let told = [(7, nth, came.clone()), (8, 3, vec![]), (9, 5, came)];
        arrivals_at(&mut by_source, now, &told, u32::from(nth) * 1_966);
        let fci = message(nth, 1, u32::from(nth) * 30 / 64, &[0x2001], &[4]);
        transport_wide.on_transport(now, &TransportCc::parse(&fci).unwrap());
        for estimator in [&by_source, &transport_wide] {
            assert!(estimator.statuses_left > STATUSES_MAX / 2, "{nth}");
        }
    }
}

#[test]
fn packets_that_never_were_are_not_looked_for_for_ever() {
    let mut estimator = Estimator::new(at(0), 1_000_000);
    let told = sent_by_source(&mut estimator);
    let (most, each) = (STATUSES_MAX, 16 + 900 * (1 + 32));
    let lies = [(7, 30_000, vec![Came::Before(1); 900])];
    // One message uses up what there is, and what is true is not heard behind it.
    assert!(u32::from(most) < each);
    arrivals(&mut estimator, &lies, 77);
    arrivals(&mut estimator, &told, 77);
    assert_eq!(estimator.newest_round_trip(), Span::ZERO);
    // What is sent pays for more.
    for nth in 0..40_u16 {
        estimator.on_sent(at(1_200), &Run::media(600 + nth, 1, 1_000));
    }
    arrivals(&mut estimator, &told, 77);
    assert_ne!(estimator.newest_round_trip(), Span::ZERO);
}

#[test]
fn its_size_is_known() {
    assert_eq!(size_of::<Estimator>(), 3_696);
    assert!(size_of::<Choice>() <= 176, "{}", size_of::<Choice>());
}

#[test]
fn a_free_path_has_the_top_layer_within_five_seconds() {
    seeds(|seed| {
        let mut world = World::free(seed);
        world.run_until(5_000);
        world.is_on(2)?;
        world.run_until(60_000);
        world.stayed(5_000, 2)?;
        let padding = world.log.padding_bytes * 100 / world.log.media_bytes;
        ensure(padding <= 2, || format!("{padding} % of padding"))
    });
}

#[test]
fn a_limit_is_obeyed_within_three_seconds_and_left_within_twelve() {
    for limit_s in [8, 15, 30] {
        seeds(|seed| {
            let mut world = World::free(seed);
            world.run_until(10_000);
            world.is_on(2)?;
            world.path.bps = 600_000;
            world.run_until(13_000);
            ensure(world.layer() < 2, || "still on top".into())?;
            world.run_until(16_000);
            // A keyframe of 500 kbit/s takes 100 ms.
            let queue_ms: u64 = world.log.queues_ms[280..].iter().sum::<u64>() / 40;
            ensure(queue_ms < 80, || format!("{queue_ms} ms of queue"))?;
            world.run_until(10_000 + limit_s * 1_000);
            let most = world.log.layers[260..].iter().max();
            ensure(most < Some(&2), || "climbed back under the limit".into())?;
            world.path.bps = 5_000_000;
            world.run_until(22_000 + limit_s * 1_000);
            world.is_on(2)
        });
    }
}

#[test]
fn the_layer_under_a_limit_is_the_one_that_fits() {
    for (bps, layer) in [(300_000, 0), (700_000, 1), (1_300_000, 1), (2_300_000, 2)] {
        seeds(|seed| {
            let path = Path {
                bps,
                ..Path::default()
            };
            let mut world = World::new(seed, path, Answers::Transport);
            world.run_until(60_000);
            world.is_on(layer)?;
            world.stayed(40_000, layer)
        });
    }
}

#[test]
fn random_loss_of_a_twentieth_leaves_the_top_layer() {
    seeds(|seed| {
        let mut world = World::free(seed);
        world.run_until(10_000);
        world.path.loss = 50;
        world.run_until(120_000);
        world.stayed(10_000, 2)?;
        // And it does not hinder the way up.
        let path = Path {
            loss: 50,
            ..Path::default()
        };
        let mut world = World::new(seed, path, Answers::Transport);
        world.run_until(20_000);
        world.is_on(2)?;
        world.run_until(60_000);
        world.stayed(20_000, 2)
    });
}

#[test]
fn loss_of_a_fifth_lowers_and_its_end_raises() {
    seeds(|seed| {
        let mut world = World::free(seed);
        world.run_until(10_000);
        world.path.loss = 200;
        world.run_until(14_000);
        ensure(world.layer() < 2, || "still on top".into())?;
        world.run_until(40_000);
        let most = world.log.layers[300..].iter().max();
        ensure(most < Some(&2), || "climbed back".into())?;
        world.path.loss = 0;
        world.run_until(55_000);
        world.is_on(2)
    });
}

#[test]
fn jitter_without_a_limit_lowers_nothing() {
    seeds(|seed| {
        let mut world = World::free(seed);
        world.run_until(10_000);
        world.path.jitter_ms = 30;
        world.run_until(90_000);
        world.stayed(10_000, 2)?;
        let path = Path {
            jitter_ms: 30,
            ..Path::default()
        };
        let mut world = World::new(seed, path, Answers::Transport);
        world.run_until(30_000);
        world.is_on(2)
    });
}

#[test]
fn silence_lowers_and_its_end_raises() {
    seeds(|seed| {
        let mut world = World::free(seed);
        world.run_until(10_000);
        world.path.is_mute = true;
        world.run_until(30_000);
        world.is_on(0)?;
        let bps = world.estimator.bps();
        ensure(bps == BPS_MIN, || format!("{bps}"))?;
        world.path.is_mute = false;
        world.run_until(42_000);
        world.is_on(2)
    });
}

#[test]
fn a_longer_path_is_no_full_path() {
    seeds(|seed| {
        let mut world = World::free(seed);
        world.run_until(10_000);
        world.path.base_ms = 170;
        world.run_until(30_000);
        world.is_on(2)?;
        world.path.base_ms = 20;
        world.run_until(60_000);
        world.stayed(30_000, 2)
    });
}

#[test]
fn a_small_buffer_is_known_by_its_losses() {
    seeds(|seed| {
        let mut world = World::free(seed);
        world.run_until(10_000);
        (world.path.bps, world.path.queue_ms) = (700_000, 5);
        world.run_until(14_000);
        ensure(world.layer() < 2, || "still on top".into())
    });
}

#[test]
fn what_is_little_because_little_is_sent_is_not_believed() {
    seeds(|seed| {
        let mut world = World::free(seed);
        world.run_until(10_000);
        // The page asks for the thumbnail for a while.
        world.cap = Some(0);
        world.run_until(20_000);
        world.is_on(0)?;
        let bps = world.estimator.bps();
        ensure(bps > 1_955_000, || format!("{bps}"))?;
        world.cap = None;
        world.run_until(22_000);
        world.is_on(2)?;
        world.is_live[2] = false;
        world.run_until(22_100);
        world.is_on(1)
    });
}

#[test]
fn a_viewer_with_remb_alone_climbs_and_falls() {
    seeds(|seed| {
        let mut world = World::new(seed, Path::default(), Answers::Remb);
        world.run_until(30_000);
        world.is_on(2)?;
        world.path.bps = 600_000;
        world.run_until(36_000);
        ensure(world.layer() < 2, || "still on top".into())?;
        world.path.bps = 5_000_000;
        world.run_until(90_000);
        world.is_on(2)
    });
}

#[test]
fn a_viewer_with_reports_alone_climbs_and_falls() {
    seeds(|seed| {
        let mut world = World::new(seed, Path::default(), Answers::Reports);
        world.run_until(30_000);
        world.is_on(2)?;
        world.path.bps = 600_000;
        world.run_until(36_000);
        ensure(world.layer() < 2, || "still on top".into())?;
        world.path.bps = 5_000_000;
        world.run_until(110_000);
        world.is_on(2)
    });
}

fn random_path(random: &mut Random) -> Path {
    let mut below = |bound| u64::from(random.below(bound));
    Path {
        // From 200 kbit/s to 12.8 Mbit/s, every octave alike.
        bps: (200_000 << below(6)) * (100 + below(100)) / 100,
        queue_ms: 50 + below(450),
        base_ms: 5 + below(145),
        jitter_ms: u32::try_from(below(15)).unwrap(),
        loss: u32::try_from(below(2) * below(30)).unwrap(),
        feedback_ms: 50 + below(50),
        feedback_loss: 50,
        is_mute: false,
    }
}

#[test]
fn a_hundred_paths_by_seed() {
    let mut faults = Vec::new();
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let mut world = World::new(seed, random_path(&mut random), Answers::Transport);
        for change in 1..=3 {
            world.run_until(change * 15_000);
            world.path = random_path(&mut random);
        }
        world.run_until(80_000);
        let log = &world.log;
        for bps in &log.estimates {
            assert!((BPS_MIN..=BPS_MAX).contains(bps), "seed {seed}: {bps}");
        }
        // What is below the lowest layer has no remedy, and layers are 2 % below their name.
        let capacity = world.path.bps.max(u64::from(LAYERS[0])) * 51 / 50;
        let tail = &log.layers[1_400..];
        let above = tail
            .iter()
            .filter(|layer| u64::from(LAYERS[**layer]) > capacity)
            .count();
        if above > 0 {
            faults.push(format!(
                "seed {seed}: {above} of {} above {capacity}",
                tail.len()
            ));
        }
        let late = log.switches.iter().filter(|ms| **ms >= 50_000).count();
        if late > 10 {
            faults.push(format!(
                "seed {seed}: {late} switches in the last half minute"
            ));
        }
        // With room to spare the top layer is reached: within a hold of 20 s, a wait and a step.
        let has_room = world.path.bps >= 3_000_000;
        if has_room && world.layer() < 2 {
            faults.push(format!("seed {seed}: {} of {capacity}", world.layer()));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn message(base: u16, count: u16, reference: u32, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
    let mut fci = Vec::new();
    fci.extend(base.to_be_bytes());
    fci.extend(count.to_be_bytes());
    fci.extend(&reference.to_be_bytes()[1..]);
    fci.push(0);
    fci.extend(chunks.iter().flat_map(|chunk| chunk.to_be_bytes()));
    fci.extend(deltas);
    fci
}

#[test]
fn work_for_a_peer_that_lies_is_bounded() {
    let mut estimator = Estimator::new(Time(1), 300_000);
    // 65,535 that did not come, in nine chunks.
    let chunks = [0x1fff; 9];
    let fci = message(0, 65_535, 1, &chunks, &[]);
    let long = TransportCc::parse(&fci).unwrap();
    estimator.on_transport(Time(2), &long);
    assert_eq!(estimator.statuses_left, STATUSES_MAX);
    let fci = message(0, 4_000, 1, &chunks, &[]);
    let most = TransportCc::parse(&fci).unwrap();
    estimator.on_transport(Time(2), &most);
    estimator.on_transport(Time(2), &most);
    assert_eq!(
        estimator.statuses_left,
        STATUSES_MAX - 4_000 - MESSAGE_STATUSES
    );
    for nth in 0..1_000 {
        estimator.on_sent(Time(3), &Run::media(nth, 1, 1_000));
    }
    assert!(estimator.statuses_left >= 4_000);
}

#[test]
fn a_message_seen_twice_tells_nothing() {
    let mut estimator = Estimator::new(Time(1), 300_000);
    let at = |ms| Time(1) + Span::millis(ms);
    estimator.on_sent(at(0), &Run::media(10, 3, 3_000));
    let fci = message(10, 3, 5, &[0x2003], &[1, 1, 1]);
    let told = TransportCc::parse(&fci).unwrap();
    estimator.on_transport(at(50), &told);
    let rtt = estimator.state().rtt;
    assert_eq!(rtt, Span::millis(50));
    for ms in (100..9_000).step_by(100) {
        let number = u16::try_from(ms / 100 + 20).unwrap();
        estimator.on_sent(at(ms), &Run::media(number, 1, 1_000));
        estimator.on_transport(at(ms), &told);
    }
    assert_eq!(estimator.state().rtt, rtt);
    // So it keeps no silence from being heard.
    assert!(estimator.bps() < 50_001, "{}", estimator.bps());
}

#[derive(Clone, Debug)]
enum Deed {
    Send(u8, u16),
    Jump(u16),
    Wait(u32),
    Tell {
        base: u16,
        count: u16,
        reference: u32,
        chunks: Vec<u16>,
        deltas: Vec<u8>,
    },
    Remb(u64),
    Loss(u8),
    Probe(Option<u64>),
}

fn deed() -> impl Strategy<Value = Deed> {
    let tell = (
        prop_oneof![any::<u16>(), 0..300_u16],
        prop_oneof![any::<u16>(), 0..40_u16],
        prop_oneof![any::<u32>(), 0..100_u32],
        proptest::collection::vec(
            prop_oneof![any::<u16>(), Just(0x2010), Just(0x4008), Just(0x1fff)],
            0..12,
        ),
        proptest::collection::vec(any::<u8>(), 0..64),
    );
    prop_oneof![
        4 => (any::<u8>(), any::<u16>()).prop_map(|(packets, bytes)| Deed::Send(packets, bytes)),
        1 => any::<u16>().prop_map(Deed::Jump),
        2 => prop_oneof![0..100_000_u32, any::<u32>()].prop_map(Deed::Wait),
        6 => tell.prop_map(|(base, count, reference, chunks, deltas)| Deed::Tell {
            base, count, reference: reference & 0xff_ffff, chunks, deltas,
        }),
        1 => any::<u64>().prop_map(Deed::Remb),
        1 => any::<u8>().prop_map(Deed::Loss),
        2 => any::<Option<u64>>().prop_map(Deed::Probe),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_feedback_leads_out_of_bounds(deeds in proptest::collection::vec(deed(), 1..200)) {
        let mut now = Time::ZERO;
        let mut sequence = 0_u16;
        let mut estimator = Estimator::new(now, 1_000_000);
        let mut choice = Choice::new();
        for deed in deeds {
            match deed {
                Deed::Send(packets, bytes) => {
                    estimator.on_sent(now, &Run::media(sequence, packets, u32::from(bytes) * 8));
                    sequence = sequence.wrapping_add(packets.into());
                }
                Deed::Jump(by) => sequence = sequence.wrapping_add(by),
                Deed::Wait(us) => now = now + Span::micros(us.into()),
                Deed::Tell { base, count, reference, mut chunks, deltas } => {
                    // Some of them are near what was sent, some long enough to be read.
                    let base = if base < 300 { sequence.wrapping_sub(base) } else { base };
                    if count < 40 {
                        chunks.extend([0x2fff, 0x2fff]);
                    }
                    let fci = message(base, count, reference, &chunks, &deltas);
                    if let Some(message) = TransportCc::parse(&fci) {
                        estimator.on_transport(now, &message);
                    }
                }
                Deed::Remb(bps) => estimator.on_remb(now, bps),
                Deed::Loss(fraction) => estimator.on_loss(now, fraction),
                Deed::Probe(wanted) => {
                    let bytes = estimator.probe_bytes(now, wanted);
                    prop_assert!(bytes <= 150_000, "{bytes}");
                }
            }
            prop_assert!((BPS_MIN..=BPS_MAX).contains(&estimator.bps()));
            let layer = |bps| LayerRate { bps, is_live: true, picture: 0 };
            let layers = LAYERS.map(layer);
            let chosen = choice.choose(now, estimator.outlook(now), &layers, 1, None);
            prop_assert!(chosen < 3);
            let _ = estimator.state();
        }
    }

    #[test]
    fn a_choice_is_always_live(
        live in any::<[bool; 4]>(), rates in any::<[u32; 4]>(), current in 0..9_usize,
        cap in any::<Option<u8>>(), bps in any::<[u64; 8]>(), is_limited in any::<[bool; 8]>(),
    ) {
        let mut choice = Choice::new();
        let layers: Vec<LayerRate> = rates.iter().zip(live)
            .map(|(bps, is_live)| LayerRate { bps: *bps, is_live, picture: u8::from(is_live) })
            .collect();
        let mut chosen = current;
        for (nth, (bps, is_limited)) in bps.into_iter().zip(is_limited).enumerate() {
            let now = Time::ZERO + Span::secs(nth as u64);
            let queue = Span::millis(bps % 500);
            let outlook = Outlook { bps, is_limited, queue };
            chosen = choice.choose(now, outlook, &layers, chosen, cap.map(usize::from));
            let is_good = layers.iter().take(POINTS_MAX).nth(chosen).is_some_and(|one| one.is_live);
            prop_assert!(is_good || live == [false; 4]);
            let _ = choice.wanted(now, outlook, &layers, chosen, None);
        }
    }
}
