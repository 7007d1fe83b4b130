//! What `valgrind --tool=callgrind` counts instructions of: the packet path without the kernel, in
//! one function, as many times as it is told. See `tests/tests/instructions.rs`.

use std::env::args;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;

use freshet_lab::null::Null;
use freshet_lab::rig::{Audience, Pace, Rig};
use link::command::{AUDIO, VIDEO};
use seal::{Cipher, Profile};
use wire::datagram::SEGMENTS_MAX;
use wire::peer::Ip;

/// Who watches.
const VIEWERS: u32 = 100;

/// Times that are not counted, and times that are: everybody has joined, all was touched before.
const BEFORE: u32 = 10;
const TIMES: u32 = 10;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// A burst of so many packets to everybody, protected so.
    Burst(Profile, u32),
    /// A burst that nobody takes.
    Unwanted,
    /// A turn in which nothing happens.
    Idle,
}

impl Work {
    fn parse(words: &[String]) -> Option<Self> {
        let profile = match words.first()?.as_str() {
            "gcm" => Profile::AeadAes128Gcm,
            "cm" => Profile::Aes128CmSha1_80,
            "plain" => Profile::Plain,
            "unwanted" => return Some(Self::Unwanted),
            "idle" => return Some(Self::Idle),
            _ => return None,
        };
        let packets = words.get(1)?.parse().ok()?;
        (1..=64)
            .contains(&packets)
            .then_some(Self::Burst(profile, packets))
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = args().skip(1).collect();
    let Some(work) = Work::parse(&words) else {
        eprintln!("count: gcm, cm or plain and the packets of a burst; unwanted; or idle");
        return ExitCode::FAILURE;
    };
    let audience = Audience {
        // The processor that valgrind shows has none of the newer instructions.
        cipher: Cipher::Ring,
        viewers: VIEWERS,
        first: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 40_000),
        local: Ip::UNKNOWN,
        profile: match work {
            Work::Burst(profile, _) => profile,
            Work::Unwanted | Work::Idle => Profile::Plain,
        },
        track: if work == Work::Unwanted { AUDIO } else { VIDEO },
        pace: Pace::Still,
    };
    let mut rig = Rig::new(&audience, |_| Ok::<_, String>(Null::new(SEGMENTS_MAX)));
    for _ in 0..BEFORE {
        counted(&mut rig, work);
    }
    for _ in 0..TIMES {
        measured(&mut rig, work);
    }
    println!("{}", VIEWERS * TIMES);
    ExitCode::SUCCESS
}

/// What is counted. Its name is known outside.
#[inline(never)]
fn measured(rig: &mut Rig<Null>, work: Work) {
    counted(rig, work);
}

fn counted(rig: &mut Rig<Null>, work: Work) {
    match work {
        Work::Burst(_, packets) => rig.burst(packets),
        Work::Unwanted => {
            rig.unwanted(9);
        }
        Work::Idle => {
            rig.turn();
        }
    }
}
