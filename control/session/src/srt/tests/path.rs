//! Losses, reordering and delay on a simulated path.

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sapflow_srt::crypto::{CryptoConfig, KeySize};
use sapflow_srt::{Caller, CallerConfig, SendConfig};
use std::collections::BTreeMap;
use std::time::Duration;

/// A path that loses, delays, doubles and reorders, with a caller at the other end.
struct Path {
    seed: u64,
    loss: f64,
    jitter_ms: u64,
    delay_ms: u64,
    latency: Span,
    key: Option<KeySize>,
    packets: u32,
}

/// What came out.
#[derive(Default)]
struct Outcome {
    arrived: Vec<u32>,
    stats: Option<Stats>,
    /// From enqueueing to release.
    waits_ms: Vec<u64>,
}

/// A datagram to us, or from us.
enum Way {
    In(Vec<u8>),
    Out(Vec<u8>),
}

/// A run of a [`Path`].
struct World<'a> {
    path: &'a Path,
    rng: StdRng,
    ingest: SrtIngest,
    caller: Caller,
    /// What is under way, by the time of arrival.
    air: BTreeMap<(u64, u32), Way>,
    serial: u32,
    /// When each packet was enqueued.
    born_ms: Vec<u64>,
    outcome: Outcome,
}

impl World<'_> {
    fn deliver(&mut self, ms: u64, now: Time, instant: Instant) {
        while let Some(entry) = self.air.first_entry().filter(|e| e.key().0 <= ms) {
            match entry.remove() {
                Way::In(bytes) => self.ingest.datagram(now, peer(9), &bytes),
                Way::Out(bytes) => self.caller.handle_datagram(instant, SERVER.into(), &bytes),
            }
        }
        if self.ingest.deadline().is_some_and(|at| at <= now) {
            self.ingest.handle_timeout(now);
        }
    }

    fn enqueue(&mut self, ms: u64, instant: Instant) {
        let n = u32::try_from(self.born_ms.len()).unwrap();
        let mut payload = vec![0x47; 1316];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        if self.caller.is_connected()
            && n < self.path.packets
            && self.caller.enqueue(instant, payload).is_ok()
        {
            self.born_ms.push(ms);
        }
    }

    fn listen(&mut self, ms: u64, now: Time) {
        for event in events(&mut self.ingest) {
            match event {
                Event::Connect { id, .. } => {
                    let secret = self.path.key.is_some().then_some(SECRET);
                    assert!(self.ingest.answer(now, id, accept(secret)));
                }
                Event::Data { payload, .. } => {
                    assert_eq!(payload[4..], [0x47; 1312]);
                    let n = u32::from_be_bytes(*payload.first_chunk().unwrap());
                    assert!(
                        self.outcome.arrived.last().is_none_or(|last| *last < n),
                        "order"
                    );
                    self.outcome.waits_ms.push(ms - self.born_ms[n as usize]);
                    self.outcome.arrived.push(n);
                }
                Event::Closed { reason, stats, .. } => {
                    assert_eq!(reason, CloseReason::Shutdown);
                    self.outcome.stats = Some(stats);
                }
                Event::Refused { refusal, .. } => panic!("{refusal}"),
            }
        }
    }

    /// `loss` is for this time: the goodbye is sent once and has to arrive.
    fn launch(&mut self, ms: u64, instant: Instant, loss: f64) {
        let sent = std::iter::from_fn(|| self.caller.poll_transmit(instant));
        let mut launched: Vec<Way> = sent.map(|(_, bytes)| Way::In(bytes)).collect();
        launched.extend(super::sent(&mut self.ingest).into_iter().map(Way::Out));
        for way in launched {
            if !self.rng.random_bool(loss) {
                self.serial += 1;
                let delay = self.path.delay_ms + self.rng.random_range(0..=self.path.jitter_ms);
                self.air.insert((ms + delay.max(1), self.serial), way);
            }
        }
    }
}

impl Path {
    fn run(&self) -> Outcome {
        println!("seed {}", self.seed);
        let mut rng = StdRng::seed_from_u64(self.seed);
        let base = moment();
        let seed = std::array::from_fn(|_| rng.random());
        let config = Config {
            latency: self.latency,
            ..Config::default()
        };
        let mut world = World {
            path: self,
            ingest: SrtIngest::new(config, NOW, base, &seed),
            caller: self.caller(base, &mut rng),
            rng,
            air: BTreeMap::new(),
            serial: 0,
            born_ms: Vec::new(),
            outcome: Outcome::default(),
        };
        let stop_ms = u64::from(self.packets) + 3000;
        // The caller's pacing lets one packet go at a time: ask four times a millisecond.
        for tick in 0..4 * (stop_ms + 1000) {
            let ms = tick / 4;
            let now = NOW + Span::micros(tick * 250);
            let instant = base + Duration::from_micros(tick * 250);
            world.deliver(ms, now, instant);
            if tick % 4 == 0 {
                world.enqueue(ms, instant);
            }
            if tick == 4 * stop_ms {
                world.caller.stop(instant);
            }
            world.listen(ms, now);
            world.launch(ms, instant, if ms < stop_ms { self.loss } else { 0.0 });
        }
        world.outcome
    }

    fn caller(&self, base: Instant, rng: &mut StdRng) -> Caller {
        let crypto = self.key.map(|key| {
            let mut crypto = CryptoConfig::new(SECRET.to_vec(), key).unwrap();
            // Often, so that each run sees several changes of keys.
            crypto.refresh_packets = 1500;
            crypto.preannounce_packets = 400;
            crypto
        });
        let send = SendConfig {
            bandwidth: 20_000_000,
            max_age_us: 8_000_000,
            ..SendConfig::default()
        };
        let config = CallerConfig {
            stream_id: "#!::r=cam,m=publish".into(),
            latency: Duration::from_millis(20),
            crypto,
            send,
            ..CallerConfig::default()
        };
        let first = sapflow_srt::seq::Seq::new(0x7fff_ff00);
        let socket = rng.random_range(1..0x3fff_ffff);
        Caller::with_ids(config, SERVER.into(), socket, first, base).unwrap()
    }
}

const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 9000);

#[test]
fn a_clean_path_holds_nothing_back() {
    let path = Path {
        seed: 1,
        loss: 0.0,
        jitter_ms: 0,
        delay_ms: 10,
        latency: Span::millis(500),
        key: None,
        packets: 2000,
    };
    let outcome = path.run();
    let stats = outcome.stats.expect("closed");
    assert_eq!(outcome.arrived.len(), 2000);
    assert_eq!((stats.lost, stats.skipped), (0, 0));
    assert!(
        outcome.waits_ms.iter().all(|ms| *ms <= 13),
        "{:?}",
        outcome.waits_ms.iter().max()
    );
    assert!((Span::millis(19)..=Span::millis(25)).contains(&stats.rtt));
    assert_eq!(stats.latency, Span::millis(500));
}

#[test]
fn loss_is_repaired_when_latency_allows() {
    for (seed, key) in [
        (2, None),
        (3, Some(KeySize::Aes128)),
        (4, Some(KeySize::Aes256)),
    ] {
        let path = Path {
            seed,
            loss: 0.05,
            jitter_ms: 3,
            delay_ms: 10,
            latency: Span::millis(600),
            key,
            packets: 4000,
        };
        let outcome = path.run();
        let stats = outcome.stats.expect("closed");
        assert_eq!(outcome.arrived.len(), 4000, "seed {seed}: {:?}", stats);
        assert!(stats.lost > 150, "{:?}", stats);
        assert_eq!((stats.skipped, stats.undecryptable), (0, 0));
        let mut waits_ms = outcome.waits_ms;
        waits_ms.sort_unstable();
        let median = waits_ms[waits_ms.len() / 2];
        println!("median {median} ms");
        assert!(
            median <= 60,
            "seed {seed}: repairs take a round trip, not the latency: {median}"
        );
    }
}

#[test]
fn what_cannot_be_repaired_in_time_is_skipped_and_counted() {
    let path = Path {
        seed: 5,
        loss: 0.2,
        jitter_ms: 0,
        delay_ms: 40,
        latency: Span::millis(60),
        key: Some(KeySize::Aes128),
        packets: 2000,
    };
    let outcome = path.run();
    let stats = outcome.stats.expect("closed");
    assert!(stats.skipped > 100, "{:?}", stats);
    let last = u64::from(*outcome.arrived.last().unwrap());
    assert_eq!(outcome.arrived.len() as u64 + stats.skipped, last + 1);
    let longest = outcome.waits_ms.iter().max().unwrap();
    assert!(
        *longest <= 40 + 60 + 10,
        "nothing waits beyond the latency: {longest}"
    );
}
