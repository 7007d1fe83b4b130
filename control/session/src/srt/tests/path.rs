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
struct Outcome {
    arrived: Vec<u32>,
    stats: Stats,
    /// From enqueueing to release.
    waits_ms: Vec<u64>,
}

/// A datagram to us, or from us.
enum Way {
    In(Vec<u8>),
    Out(Vec<u8>),
}

impl Path {
    fn run(&self) -> Outcome {
        println!("seed {}", self.seed);
        let mut rng = StdRng::seed_from_u64(self.seed);
        let base = Instant::now();
        let seed = std::array::from_fn(|_| rng.random());
        let config = Config {
            latency: self.latency,
            ..Config::default()
        };
        let mut ingest = SrtIngest::new(config, NOW, base, &seed);
        let mut caller = self.caller(base, &mut rng);
        let mut air: BTreeMap<(u64, u32), Way> = BTreeMap::new();
        let (mut serial, mut queued, mut born) = (0, 0, Vec::new());
        let (mut arrived, mut waits_ms, mut stats, mut id) = (vec![], vec![], None, None);
        // The caller's pacing lets one packet go at a time: ask four times a millisecond.
        for tick in 0..4 * (u64::from(self.packets) + 4000) {
            let ms = tick / 4;
            let now = NOW + Span::micros(tick * 250);
            let instant = base + Duration::from_micros(tick * 250);
            while let Some(entry) = air.first_entry().filter(|e| e.key().0 <= ms) {
                match entry.remove() {
                    Way::In(bytes) => ingest.datagram(now, peer(9), &bytes),
                    Way::Out(bytes) => caller.handle_datagram(instant, SERVER.into(), &bytes),
                }
            }
            if tick % 4 == 0 && caller.is_connected() && queued < self.packets {
                let mut payload = vec![0x47; 1316];
                payload[..4].copy_from_slice(&queued.to_be_bytes());
                if caller.enqueue(instant, payload).is_ok() {
                    born.push(ms);
                    queued += 1;
                }
            } else if tick == 4 * (u64::from(self.packets) + 3000) {
                caller.stop(instant);
            }
            if ingest.deadline().is_some_and(|at| at <= now) {
                ingest.handle_timeout(now);
            }
            while let Some(event) = ingest.poll_event() {
                match event {
                    Event::Connect { id: who, .. } => {
                        let secret = self.key.is_some().then_some(SECRET);
                        assert!(ingest.answer(now, who, accept(secret)));
                        id = Some(who);
                    }
                    Event::Data { payload, .. } => {
                        assert_eq!(payload[4..], [0x47; 1312]);
                        let n = u32::from_be_bytes(*payload.first_chunk().unwrap());
                        waits_ms.push(ms - born[n as usize]);
                        arrived.push(n);
                    }
                    Event::Closed {
                        reason,
                        stats: last,
                        ..
                    } => {
                        assert_eq!(reason, CloseReason::Shutdown);
                        stats = Some(last);
                    }
                    Event::Refused { refusal, .. } => panic!("{refusal}"),
                }
            }
            let sent = std::iter::from_fn(|| caller.poll_transmit(instant));
            let mut flights: Vec<Way> = sent.map(|(_, bytes)| Way::In(bytes)).collect();
            flights.extend(std::iter::from_fn(|| ingest.poll_transmit()).map(|t| Way::Out(t.1)));
            for way in flights {
                // The goodbye is sent once and must arrive for the test's sake.
                if ms < u64::from(self.packets) + 2900 && rng.random_bool(self.loss) {
                    continue;
                }
                serial += 1;
                let delay = self.delay_ms + rng.random_range(0..=self.jitter_ms);
                air.insert((ms + delay.max(1), serial), way);
            }
        }
        assert!(arrived.windows(2).all(|w| w[0] < w[1]), "order");
        assert!(id.is_some());
        Outcome {
            arrived,
            stats: stats.expect("closed"),
            waits_ms,
        }
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
    assert_eq!(outcome.arrived.len(), 2000);
    assert_eq!((outcome.stats.lost, outcome.stats.skipped), (0, 0));
    assert!(
        outcome.waits_ms.iter().all(|ms| *ms <= 13),
        "{:?}",
        outcome.waits_ms.iter().max()
    );
    assert!((Span::millis(19)..=Span::millis(25)).contains(&outcome.stats.rtt));
    assert_eq!(outcome.stats.latency, Span::millis(500));
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
            packets: 6000,
        };
        let outcome = path.run();
        assert_eq!(
            outcome.arrived.len(),
            6000,
            "seed {seed}: {:?}",
            outcome.stats
        );
        assert!(outcome.stats.lost > 150, "{:?}", outcome.stats);
        assert_eq!((outcome.stats.skipped, outcome.stats.undecryptable), (0, 0));
        let quick = outcome.waits_ms.iter().filter(|ms| **ms <= 20).count();
        assert!(quick > 2000, "seed {seed}: most are not held: {quick}");
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
    assert!(outcome.stats.skipped > 100, "{:?}", outcome.stats);
    let last = u64::from(*outcome.arrived.last().unwrap());
    assert_eq!(
        outcome.arrived.len() as u64 + outcome.stats.skipped,
        last + 1
    );
    let longest = outcome.waits_ms.iter().max().unwrap();
    assert!(
        *longest <= 40 + 60 + 10,
        "nothing waits beyond the latency: {longest}"
    );
}
