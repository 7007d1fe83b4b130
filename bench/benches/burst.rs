//! Owns the cost of finding out what there is to do: a turn without work, and a turn that cuts a
//! burst into runs that nobody wants. The difference of the second and a turn, less what writing
//! the burst costs (bench `log`), is the cut, which is made once for all viewers.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freshet_bench::null::Null;
use freshet_bench::rig::{Audience, Pace, Rig};
use link::command::AUDIO;
use seal::{Cipher, Profile};
use wire::datagram::SEGMENTS_MAX;
use wire::peer::Ip;

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
    group.finish();
}

criterion_group!(benches, burst);
criterion_main!(benches);
