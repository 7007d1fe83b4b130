//! A core that serves allocates nothing, over any port: not for media, not for reports.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use freshet_bench::alloc::{Counting, counted, is_counting};
use freshet_bench::null::Null;
use freshet_bench::rig::{Audience, Pace, Rig};
use freshet_bench::sink;
use io::probe::Probe;
use io::{Mmsg, Port, PortConfig, Socket, SocketConfig, Uring};
use link::command::VIDEO;
use seal::{Cipher, Profile};
use wire::datagram::SEGMENTS_MAX;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bursts before counting begins and while it lasts: 14 s of the stream's time, so that every
/// viewer is sent a dozen reports.
const BURSTS: [u32; 2] = [40, 360];

fn audience(sink: &sink::Sink, profile: Profile) -> Audience {
    Audience {
        cipher: Cipher::best(),
        viewers: 30,
        first: sink.first,
        local: IpAddr::V4(sink.local).into(),
        profile,
        track: VIDEO,
        pace: Pace::Stream,
    }
}

fn socket() -> Result<Socket, io::Error> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Socket::bind(any, &SocketConfig::default())
}

fn steady<P: Port>(name: &str, mut rig: Rig<P>) {
    for _ in 0..BURSTS[0] {
        rig.burst(9);
    }
    let allocations = counted(|| {
        for nth in 0..BURSTS[1] {
            rig.burst(5 + nth % 9);
        }
    });
    assert_eq!(allocations, 0, "{name}");
    assert_eq!(rig.troubles(), [], "{name}");
    assert!(
        rig.reports() > 10 * rig.viewers(),
        "{name}: {} reports",
        rig.reports()
    );
}

#[test]
fn a_turn_allocates_nothing() {
    assert!(is_counting());
    let sink = sink::loopback().unwrap();
    let before = sink.bytes();
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
        let audience = audience(&sink, profile);
        let null = Rig::new(&audience, |_| Ok::<_, String>(Null::new(SEGMENTS_MAX)));
        steady("null", null);
        let config = PortConfig::default();
        let mmsg = Rig::new(&audience, |bell| Mmsg::new(socket()?, bell, &config));
        steady("mmsg", mmsg);
        match Probe::run().io_uring {
            Ok(()) => {
                let uring = Rig::new(&audience, |bell| Uring::new(socket()?, bell, &config));
                steady("uring", uring);
            }
            Err(why) => println!("skipped: uring: {why}"),
        }
    }
    assert!(sink.bytes() > before + 100_000_000, "packets went out");
}
