//! Owns the cost of making one viewer's packet but for the cipher: the header alone, and all that
//! fan-out does for a packet when nothing is encrypted: numbers, header, copy, slot.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freshet_bench::null::Null;
use freshet_bench::rig::{Audience, Pace, Rig};
use link::command::VIDEO;
use seal::{Cipher, Profile};
use wire::datagram::SEGMENTS_MAX;
use wire::peer::Ip;
use wire::rtp::Header;

/// Header extensions: none, and a block with one element.
const EXTENSIONS: [(&str, &[u8]); 2] = [
    ("plain", &[]),
    ("extended", &[0xbe, 0xde, 0, 1, 0x12, 1, 2, 3]),
];

fn header(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    group
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    for (name, extension) in EXTENSIONS {
        group.bench_function(name, |bencher| {
            let mut fields = Header {
                payload_type: 102,
                ssrc: 7,
                ..Header::default()
            };
            let mut out = [0; 64];
            bencher.iter(|| {
                fields.sequence = fields.sequence.wrapping_add(1);
                black_box(black_box(&fields).write(black_box(extension), &mut out))
            });
        });
    }
    group.finish();
}

/// A figure is for a whole burst and all viewers; the rate is in packets.
fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500));
    for (name, profile) in [
        ("copied", Profile::Plain),
        ("gcm128", Profile::AeadAes128Gcm),
        ("cm80", Profile::Aes128CmSha1_80),
    ] {
        for (viewers, burst) in [(100, 1), (100, 9), (1000, 1), (1000, 9)] {
            let audience = Audience {
                cipher: Cipher::best(),
                viewers,
                first: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 9),
                local: Ip::UNKNOWN,
                profile,
                track: VIDEO,
                pace: Pace::Still,
            };
            let port = |_| Ok::<_, Infallible>(Null::new(SEGMENTS_MAX));
            let mut rig = Rig::new(&audience, port);
            group.throughput(Throughput::Elements(u64::from(viewers * burst)));
            group.bench_function(
                format!("{name}/{viewers}_viewers/burst_{burst}"),
                |bencher| {
                    bencher.iter(|| rig.burst(burst));
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, header, fan_out);
criterion_main!(benches);
