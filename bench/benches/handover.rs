//! Owns how long a core stands while another worker takes its place: what is written and what is
//! read, by viewer. The rest (threads, the keeper) is the same for any number of viewers.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freshet_bench::null::Null;
use freshet_bench::rig::{Audience, Pace, Rig};
use link::command::VIDEO;
use seal::{Cipher, Profile};
use wire::datagram::SEGMENTS_MAX;
use wire::peer::Ip;

const VIEWERS: u32 = 2000;

fn handover(criterion: &mut Criterion) {
    let audience = Audience {
        cipher: Cipher::best(),
        viewers: VIEWERS,
        first: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 9),
        local: Ip::UNKNOWN,
        profile: Profile::AeadAes128Gcm,
        track: VIDEO,
        pace: Pace::Still,
    };
    let port = |_| Ok::<_, Infallible>(Null::new(SEGMENTS_MAX));
    let mut rig = Rig::new(&audience, port);
    let mut group = criterion.benchmark_group("handover");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(2))
        .throughput(Throughput::Elements(u64::from(VIEWERS)));
    for (told, ahead) in [("whole", false), ("told_ahead", true)] {
        for (part, name) in ["leave", "let_go", "go_on"].into_iter().enumerate() {
            group.bench_function(format!("{name}/{told}"), |bencher| {
                bencher.iter_custom(|rounds| {
                    let mut stood = Duration::ZERO;
                    for _ in 0..rounds {
                        rig.burst(9);
                        let parts = rig.hand_over(ahead, port);
                        stood += parts.expect("there is memory for it")[part];
                    }
                    stood
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, handover);
criterion_main!(benches);
