//! Owns the cost of knowing what a viewer's path carries: to note a run that was sent, and to hear
//! of the packets of one message of transport-wide feedback, of which a browser sends 17 a second,
//! or of one by source.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use plane::estimate::{Estimator, Run};
use wire::rtcp_feedback::{Arrivals, Came, write_arrivals};
use wire::rtcp_feedback::{TRANSPORT_BYTES_MAX, TransportCc, TransportRecorder};
use wire::time::{Span, Time};

/// Packets of a message: 60 ms of 2.5 Mbit/s, and of 15 Mbit/s.
const PACKETS: [u16; 2] = [20, 100];

/// Packets of a run: a frame of 2.5 Mbit/s is 9 of them.
const RUN: u8 = 9;

/// RTCP header and sources.
const HEAD_BYTES: usize = 12;

/// Viewers in turn, so that one is not in the first-level cache when its feedback comes.
const VIEWERS: usize = 1_000;

fn at(ms: u64) -> Time {
    Time::ZERO + Span::millis(10_000 + ms)
}

/// An estimator that has been sent `packets`, 2 ms apart or in runs.
fn sent(packets: u16) -> Estimator {
    let mut estimator = Estimator::new(at(0), 1_000_000);
    for first in (0..packets).step_by(RUN.into()) {
        let run = u8::try_from((packets - first).min(RUN.into())).expect("a run is short");
        let bytes = 1_200 * u32::from(run);
        estimator.on_sent(at(u64::from(first) / 2), &Run::media(first, run, bytes));
    }
    estimator
}

/// The message about them; one in 20 is missing.
fn told(packets: u16) -> Vec<u8> {
    let mut recorder = TransportRecorder::new();
    for packet in (0..packets).filter(|packet| packet % 20 != 7) {
        recorder.record(packet, at(30 + u64::from(packet) / 2));
    }
    let mut out = [0; TRANSPORT_BYTES_MAX];
    let used = recorder.write(1, 2, &mut out);
    out[HEAD_BYTES..used].to_vec()
}

/// Reads a message that `say` made of so many packets, by `read`.
fn feedback(
    criterion: &mut Criterion,
    name: &str,
    say: fn(u16) -> Vec<u8>,
    read: fn(&mut Estimator, &[u8]),
) {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500));
    for packets in PACKETS {
        let fci = say(packets);
        group.throughput(Throughput::Elements(packets.into()));
        group.bench_function(format!("{packets}_packets"), |bencher| {
            bencher.iter_batched_ref(
                || sent(packets),
                |estimator| {
                    read(estimator, black_box(&fci));
                    estimator.bps()
                },
                BatchSize::NumIterations(VIEWERS as u64),
            );
        });
    }
    group.finish();
}

fn transport_wide(criterion: &mut Criterion) {
    feedback(criterion, "on_transport", told, |estimator, fci| {
        let message = TransportCc::parse(fci).expect("it is well formed");
        estimator.on_transport(at(100), &message);
    });
}

/// The same as a message by source.
fn arrivals(packets: u16) -> Vec<u8> {
    let came = (0..packets).map(|packet| match packet % 20 {
        7 => Came::No,
        _ => Came::Before((packets - packet) / 2),
    });
    let came: Vec<_> = came.collect();
    let mut out = [0; 1_500];
    let used = write_arrivals(1, &[(7, 0, &came)], 5 << 16, &mut out);
    // The sources begin where others have theirs.
    out[HEAD_BYTES - 4..used].to_vec()
}

fn by_source(criterion: &mut Criterion) {
    feedback(criterion, "on_arrivals", arrivals, |estimator, fci| {
        let message = Arrivals::parse(fci).expect("it is well formed");
        estimator.on_arrivals(at(100), &message, [7, 8]);
    });
}

/// A figure is for a run.
fn runs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("on_sent");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000));
    for viewers in [1, VIEWERS] {
        group.bench_function(format!("{viewers}_viewers"), |bencher| {
            let mut estimators: Vec<Estimator> = (0..viewers).map(|_| sent(20)).collect();
            let (mut ms, mut number, mut nth) = (100, 20_u16, 0);
            bencher.iter(|| {
                estimators[nth].on_sent(at(ms), &Run::media(number, RUN, 10_800));
                nth += 1;
                if nth == viewers {
                    nth = 0;
                    ms += 33;
                    number = number.wrapping_add(RUN.into());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, transport_wide, by_source, runs);
criterion_main!(benches);
