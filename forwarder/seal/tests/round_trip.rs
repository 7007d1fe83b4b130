//! What the sealer writes, the opener reads, and nothing else; loss, reordering and replay.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod common;

use common::{PROFILES, Rng, header, rtcp, secret};
use freshet_seal::{
    Opener, Profile, RTCP_SOURCES_MAX, RTP_SOURCES_MAX, Refusal, RtcpOpener, Sealer, Secret,
};
use proptest::prelude::*;

const SSRC: u32 = 0x0102_0304;

fn pair(profile: Profile, seed: u64) -> (Sealer, Opener, Rng) {
    let mut rng = Rng::new(seed);
    let secret = secret(profile, &mut rng);
    (
        Sealer::new(&secret).unwrap(),
        Opener::new(&secret).unwrap(),
        rng,
    )
}

fn sealed(sealer: &Sealer, rng: &mut Rng, ssrc: u32, index: u64) -> Vec<u8> {
    let header = header(rng, ssrc, index, 0, None);
    let mut out = vec![0; 200];
    let bytes = sealer.rtp(index, &header, &[0x5a; 100], &mut out).unwrap();
    out.truncate(bytes);
    out
}

fn sealed_rtcp(sealer: &Sealer, rng: &mut Rng, ssrc: u32, index: u32) -> Vec<u8> {
    let mut out = vec![0; 200];
    let bytes = sealer.rtcp(index, &rtcp(rng, ssrc, 56), &mut out).unwrap();
    out.truncate(bytes);
    out
}

/// A state of half a kilobyte more for each of thousands of viewers would leave the cache.
#[test]
fn states_stay_small() {
    // 608 by itself, 848 where another crate switches on more features of the cipher crates.
    assert!(size_of::<Sealer>() <= 848, "Sealer {}", size_of::<Sealer>());
    assert!(
        size_of::<RtcpOpener>() <= 448,
        "RtcpOpener {}",
        size_of::<RtcpOpener>()
    );
    assert!(
        size_of::<Opener>() <= 6144,
        "Opener {}",
        size_of::<Opener>()
    );
    println!(
        "Sealer {}, RtcpOpener {}, Opener {} bytes",
        size_of::<Sealer>(),
        size_of::<RtcpOpener>(),
        size_of::<Opener>()
    );
}

#[test]
fn parts_are_one_payload() {
    for profile in PROFILES.into_iter().chain([Profile::Plain]) {
        let (sealer, mut opener, mut rng) = pair(profile, 1);
        let header = header(&mut rng, SSRC, 7, 2, Some(3));
        let payload = rng.bytes(333);
        let (mut whole, mut cut) = ([0; 500], [0; 500]);
        let bytes = sealer.rtp(7, &header, &payload, &mut whole).unwrap();
        assert_eq!(bytes, header.len() + payload.len() + sealer.rtp_overhead());
        let parts = [&payload[..2], &payload[2..]];
        assert_eq!(sealer.rtp_parts(7, &header, parts, &mut cut), Some(bytes));
        assert_eq!(whole, cut);
        let opened = opener.rtp(&mut cut[..bytes]).unwrap();
        assert_eq!(opened.index, 7);
        assert_eq!(opened.packet, [header, payload].concat());
    }
}

#[test]
fn the_sealer_declines() {
    for profile in PROFILES {
        let (sealer, _, mut rng) = pair(profile, 2);
        let first = header(&mut rng, SSRC, 0xffff, 0, None);
        let mut out = vec![0; 200];
        let bytes = 112 + sealer.rtp_overhead();
        let last = (1 << 48) - 1;
        assert_eq!(sealer.rtp(last, &first, &[0; 100], &mut out), Some(bytes));
        // The key is used up.
        assert_eq!(
            sealer.rtp(last + (1 << 16), &first, &[0; 100], &mut out),
            None
        );
        // The index of another packet.
        assert_eq!(sealer.rtp(last - 1, &first, &[0; 100], &mut out), None);
        assert_eq!(
            sealer.rtp(last, &first, &[0; 100], &mut out[..bytes - 1]),
            None
        );
        assert_eq!(sealer.rtp(0, &first[..3], &[], &mut out), None);
        assert_eq!(sealer.rtp(0, &[], &[], &mut out), None);
        assert_eq!(
            sealer.rtp(last, &first, &[0; 65_536], &mut vec![0; 70_000]),
            None
        );

        let report = rtcp(&mut rng, SSRC, 32);
        let bytes = 32 + sealer.rtcp_overhead();
        let last = (1 << 31) - 1;
        assert_eq!(sealer.rtcp(last, &report, &mut out), Some(bytes));
        assert_eq!(sealer.rtcp(last + 1, &report, &mut out), None);
        assert_eq!(sealer.rtcp(last, &report, &mut out[..bytes - 1]), None);
        assert_eq!(sealer.rtcp(last, &report[..7], &mut out), None);
    }
}

#[test]
fn one_changed_bit_is_noticed() {
    for profile in PROFILES {
        let (sealer, mut opener, mut rng) = pair(profile, 3);
        let packet = sealed(&sealer, &mut rng, SSRC, 5);
        let report = sealed_rtcp(&sealer, &mut rng, SSRC, 5);
        for bit in 0..8 * packet.len() {
            let mut forged = packet.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                opener.rtp(&mut forged).is_err(),
                "{profile:?} RTP bit {bit}"
            );
        }
        for bit in 0..8 * report.len() {
            let mut forged = report.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                opener.rtcp(&mut forged).is_err(),
                "{profile:?} RTCP bit {bit}"
            );
        }
        // And none of them got in the way of the true ones.
        assert!(opener.rtp(&mut packet.clone()).is_ok());
        assert!(opener.rtcp(&mut report.clone()).is_ok());
    }
}

#[test]
fn all_lengths_below_a_packet_are_short() {
    for profile in PROFILES {
        let (sealer, mut opener, mut rng) = pair(profile, 4);
        let packet = sealed(&sealer, &mut rng, SSRC, 5);
        for bytes in 0..12 + sealer.rtp_overhead() {
            assert_eq!(
                opener.rtp(&mut packet.clone()[..bytes]),
                Err(Refusal::Short)
            );
        }
        let report = sealed_rtcp(&sealer, &mut rng, SSRC, 5);
        for bytes in 0..8 + sealer.rtcp_overhead() {
            assert_eq!(
                opener.rtcp(&mut report.clone()[..bytes]),
                Err(Refusal::Short)
            );
        }
    }
}

#[test]
fn replays_are_refused() {
    for profile in PROFILES {
        let (sealer, mut opener, mut rng) = pair(profile, 5);
        let packets: Vec<_> = (70_000..72_000)
            .map(|index| sealed(&sealer, &mut rng, SSRC, index))
            .collect();
        assert!(opener.rtp_half().resume(SSRC, 69_999));
        let open = |opener: &mut Opener, at: usize| {
            opener
                .rtp(&mut packets[at].clone())
                .map(|opened| opened.index)
        };
        assert_eq!(open(&mut opener, 0), Ok(70_000));
        assert_eq!(open(&mut opener, 0), Err(Refusal::Replay));
        assert_eq!(open(&mut opener, 1999), Ok(71_999));
        assert_eq!(open(&mut opener, 975), Err(Refusal::Old));
        assert_eq!(open(&mut opener, 976), Ok(70_976));
        assert_eq!(open(&mut opener, 976), Err(Refusal::Replay));
        assert_eq!(open(&mut opener, 1998), Ok(71_998));
        assert_eq!(open(&mut opener, 1999), Err(Refusal::Replay));
        // A whole turn back: the number is one that came, or that of a packet which is awaited.
        for (index, refusal) in [(71_998, Refusal::Replay), (71_000, Refusal::Auth)] {
            let mut turn_back = sealed(&sealer, &mut rng, SSRC, index - (1 << 16));
            assert_eq!(opener.rtp(&mut turn_back), Err(refusal));
        }
        assert_eq!(open(&mut opener, 1000), Ok(71_000));

        let reports: Vec<_> = (0..200)
            .map(|index| sealed_rtcp(&sealer, &mut rng, SSRC, index))
            .collect();
        let open =
            |opener: &mut Opener, at: usize| opener.rtcp(&mut reports[at].clone()).map(<[u8]>::len);
        assert_eq!(open(&mut opener, 100), Ok(56));
        assert_eq!(open(&mut opener, 100), Err(Refusal::Replay));
        assert_eq!(open(&mut opener, 37), Ok(56));
        assert_eq!(open(&mut opener, 36), Err(Refusal::Old));
        assert_eq!(open(&mut opener, 199), Ok(56));
        assert_eq!(open(&mut opener, 100), Err(Refusal::Old));
    }
}

#[test]
fn the_roll_over_counter_follows() {
    for profile in PROFILES.into_iter().chain([Profile::Plain]) {
        let (sealer, mut opener, mut rng) = pair(profile, 6);
        // Three turns of the sequence number in steps, each step out of order.
        for base in (60_000..260_000_u64).step_by(701) {
            for index in [base + 3, base, base + 500, base + 2] {
                let mut packet = sealed(&sealer, &mut rng, SSRC, index);
                let opened = opener.rtp(&mut packet).map(|opened| opened.index);
                assert_eq!(opened, Ok(index), "{profile:?}");
            }
        }
    }
}

/// The first packets before the wrap are lost: the first one that comes has counter 1.
#[test]
fn a_wrap_before_the_first_packet() {
    for profile in PROFILES {
        let (sealer, mut opener, mut rng) = pair(profile, 7);
        for index in [65_539, 65_535, 65_536] {
            let mut packet = sealed(&sealer, &mut rng, SSRC, index);
            assert_eq!(
                opener.rtp(&mut packet).map(|opened| opened.index),
                Ok(index)
            );
        }
        // It is no way around the window.
        let mut packet = sealed(&sealer, &mut rng, SSRC, 65_539);
        assert_eq!(opener.rtp(&mut packet), Err(Refusal::Replay));
    }
}

/// An outage of any length up to the promised half million packets.
#[test]
fn an_outage_beyond_half_a_turn() {
    for profile in PROFILES {
        for lost in [
            32_000,
            33_000,
            65_000,
            65_536,
            66_000,
            100_000,
            300_000,
            520_000_u64,
        ] {
            let (sealer, mut opener, mut rng) = pair(profile, lost);
            let mut open = |index| {
                let mut packet = sealed(&sealer, &mut rng, SSRC, index);
                opener.rtp(&mut packet).map(|opened| opened.index)
            };
            assert_eq!(open(3000), Ok(3000));
            let back = (0..400).find(|n| open(3000 + lost + n) == Ok(3000 + lost + n));
            let back = back.unwrap_or_else(|| panic!("{profile:?} {lost}: never again"));
            assert!(back <= 200, "{profile:?} {lost}: {back} packets");
            for n in back + 1..back + 50 {
                assert_eq!(
                    open(3000 + lost + n),
                    Ok(3000 + lost + n),
                    "{profile:?} {lost}"
                );
            }
        }
    }
}

/// A flood of one packet must not move the roll-over counter, not even where no tag guards it.
#[test]
fn a_flood_of_replays_leaves_the_stream_alone() {
    for profile in PROFILES.into_iter().chain([Profile::Plain]) {
        let (sealer, mut opener, mut rng) = pair(profile, 14);
        let first = sealed(&sealer, &mut rng, SSRC, 1000);
        assert!(opener.rtp(&mut first.clone()).is_ok());
        for _ in 0..2000 {
            assert!(opener.rtp(&mut first.clone()).is_err(), "{profile:?}");
        }
        let mut next = sealed(&sealer, &mut rng, SSRC, 1001);
        assert_eq!(
            opener.rtp(&mut next).map(|opened| opened.index),
            Ok(1001),
            "{profile:?}"
        );
    }
}

/// Forgeries of the stream's own SSRC in between, many more than true packets.
#[test]
fn a_flood_of_forgeries_leaves_the_stream_alone() {
    for profile in PROFILES {
        let (sealer, mut opener, mut rng) = pair(profile, 8);
        for index in 1000..1050 {
            let mut packet = sealed(&sealer, &mut rng, SSRC, index);
            assert!(opener.rtp(&mut packet).is_ok(), "{profile:?} {index}");
            for _ in 0..150 {
                let index = rng.below(1 << 16);
                let mut forged = sealed(&sealer, &mut rng, SSRC, index);
                *forged.last_mut().unwrap() ^= 1;
                assert!(opener.rtp(&mut forged).is_err());
            }
        }
    }
}

#[test]
fn the_number_of_ssrcs_is_bounded() {
    for profile in PROFILES {
        let (sealer, mut opener, mut rng) = pair(profile, 9);
        let full = u32::try_from(RTP_SOURCES_MAX).unwrap();
        for ssrc in 0..full {
            let mut forged = sealed(&sealer, &mut rng, ssrc + 1000, 5);
            forged[20] ^= 1;
            assert_eq!(
                opener.rtp(&mut forged),
                Err(Refusal::Auth),
                "takes no place"
            );
            assert!(opener.rtp(&mut sealed(&sealer, &mut rng, ssrc, 5)).is_ok());
        }
        let mut packet = sealed(&sealer, &mut rng, full, 5);
        assert_eq!(opener.rtp(&mut packet), Err(Refusal::Unknown));
        assert!(opener.rtp(&mut sealed(&sealer, &mut rng, 0, 6)).is_ok());

        let full = u32::try_from(RTCP_SOURCES_MAX).unwrap();
        for ssrc in 0..full {
            assert!(
                opener
                    .rtcp(&mut sealed_rtcp(&sealer, &mut rng, ssrc, 5))
                    .is_ok()
            );
        }
        let mut report = sealed_rtcp(&sealer, &mut rng, full, 5);
        assert_eq!(opener.rtcp(&mut report), Err(Refusal::Unknown));
        assert!(
            opener
                .rtcp(&mut sealed_rtcp(&sealer, &mut rng, 0, 6))
                .is_ok()
        );
    }
}

#[test]
fn another_opener_takes_up_the_state() {
    for profile in PROFILES {
        let mut rng = Rng::new(10);
        let secret = secret(profile, &mut rng);
        let sealer = Sealer::new(&secret).unwrap();
        let (mut old, mut new) = (Opener::new(&secret).unwrap(), Opener::new(&secret).unwrap());
        for index in [65_530, 65_540] {
            old.rtp(&mut sealed(&sealer, &mut rng, SSRC, index))
                .unwrap();
        }
        old.rtcp(&mut sealed_rtcp(&sealer, &mut rng, SSRC, 41))
            .unwrap();
        for (ssrc, index) in old.rtp_half().sources() {
            assert!(new.rtp_half().resume(ssrc, index));
        }
        for (ssrc, index) in old.rtcp_half().sources() {
            assert!(new.rtcp_half().resume(ssrc, index));
        }
        let mut replayed = sealed(&sealer, &mut rng, SSRC, 65_540);
        assert_eq!(new.rtp(&mut replayed), Err(Refusal::Replay));
        let mut next = sealed(&sealer, &mut rng, SSRC, 65_541);
        assert_eq!(new.rtp(&mut next).map(|opened| opened.index), Ok(65_541));
        let mut replayed = sealed_rtcp(&sealer, &mut rng, SSRC, 41);
        assert_eq!(new.rtcp(&mut replayed), Err(Refusal::Replay));
        assert!(
            new.rtcp(&mut sealed_rtcp(&sealer, &mut rng, SSRC, 42))
                .is_ok()
        );
    }
}

#[test]
fn another_key_opens_nothing() {
    for profile in PROFILES {
        let (sealer, _, mut rng) = pair(profile, 11);
        let (_, mut opener, _) = pair(profile, 12);
        let mut packet = sealed(&sealer, &mut rng, SSRC, 5);
        assert_eq!(opener.rtp(&mut packet), Err(Refusal::Auth));
        let mut report = sealed_rtcp(&sealer, &mut rng, SSRC, 5);
        assert_eq!(opener.rtcp(&mut report), Err(Refusal::Auth));
    }
}

fn profiles() -> impl Strategy<Value = Profile> {
    prop::sample::select(vec![
        Profile::Plain,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
        Profile::Aes128CmSha1_80,
        Profile::Aes128CmSha1_32,
    ])
}

proptest! {
    /// Any bytes at all: a refusal, and never a panic.
    #[test]
    fn garbage_is_refused(
        profile in profiles(),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..40),
    ) {
        prop_assume!(profile != Profile::Plain);
        let (_, mut opener, _) = pair(profile, 13);
        for mut packet in packets {
            if let Some(first) = packet.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            prop_assert!(opener.rtp(&mut packet.clone()).is_err());
            prop_assert!(opener.rtcp(&mut packet).is_err());
        }
    }

    #[test]
    fn opens_what_was_sealed(
        profile in profiles(),
        seed in any::<u64>(),
        index in 0..1_u64 << 48,
        csrcs in 0..16_u8,
        words in prop::option::of(0..40_u16),
        bytes in 0..1500_usize,
    ) {
        let mut rng = Rng::new(seed);
        let secret: Secret = secret(profile, &mut rng);
        let sealer = Sealer::new(&secret).unwrap();
        let mut opener = Opener::new(&secret).unwrap();
        if index > 0 {
            opener.rtp_half().resume(SSRC, index - 1);
        }
        let header = header(&mut rng, SSRC, index, csrcs, words);
        let payload = rng.bytes(bytes);
        let mut out = vec![0; 2000];
        let sealed = sealer.rtp(index, &header, &payload, &mut out).unwrap();
        let opened = opener.rtp(&mut out[..sealed]).unwrap();
        prop_assert_eq!(opened.index, index);
        prop_assert_eq!(opened.packet, [header, payload].concat());
    }
}
