//! Owns the cost of finding out what there is to do: a turn without work, and a turn that cuts a
//! burst into runs that nobody wants. The difference of the second and a turn, less what writing
//! the burst costs (bench `log`), is the cut, which is made once for all viewers. And of counting
//! how long the packets of a burst were inside, once for all viewers too.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freshet_bench::null::Null;
use freshet_bench::rig::{Audience, Pace, Rig};
use link::Region;
use link::command::AUDIO;
use link::ids::CoreId;
use link::limits::Limits;
use link::log::Entry;
use link::stats::Stats;
use seal::{Cipher, Profile};
use wire::datagram::SEGMENTS_MAX;
use wire::peer::Ip;
use wire::time::Span;

/// A single packet, a frame of 2.5 Mbit/s, a keyframe.
const BURSTS: [u32; 3] = [1, 9, 64];

/// One viewer, who takes audio, of a stream that has none.
fn rig() -> Rig<Null> {
    let audience = Audience {
        cipher: Cipher::best(),
        viewers: 1,
        first: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 9),
        local: Ip::UNKNOWN,
        profile: Profile::AeadAes128Gcm,
        track: AUDIO,
        pace: Pace::Still,
    };
    Rig::new(&audience, |_| Ok::<_, Infallible>(Null::new(SEGMENTS_MAX)))
}

/// The counters of a worker.
fn counters() -> Stats {
    let limits = Limits {
        cores: 1,
        streams_max: 1,
        viewers_max: 1,
        ..Limits::default()
    };
    let region = Region::create(&limits).expect("memory for one stream");
    region.stats(CoreId(0)).expect("the first core")
}

fn burst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("burst");
    group
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000));
    let mut rig = rig();
    group.bench_function("turn_without_work", |bencher| {
        bencher.iter(|| black_box(rig.turn()));
    });
    for burst in BURSTS {
        group.throughput(Throughput::Elements(u64::from(burst)));
        group.bench_function(format!("write_and_cut/{burst}"), |bencher| {
            bencher.iter(|| black_box(rig.unwanted(burst)));
        });
    }
    let stats = counters();
    for burst in BURSTS {
        group.throughput(Throughput::Elements(u64::from(burst)));
        group.bench_function(format!("count_time_inside/{burst}"), |bencher| {
            bencher.iter(|| {
                for packet in 0..burst {
                    let time = Span::micros(u64::from(20 + packet));
                    stats.add_transit(Entry::Network, black_box(time));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, burst);
criterion_main!(benches);
