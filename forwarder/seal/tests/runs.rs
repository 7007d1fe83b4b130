//! Packets that are sealed together are what each of them is by itself, by every cipher that this
//! machine can run, at every length, wherever they lie.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod common;

use common::{PROFILES, Rng, header, secret};
use core::ops::Range;
use freshet_seal::{Cipher, Packet, Profile, Run, Sealer, Secret};
use proptest::prelude::*;

const SSRC: u32 = 0x0102_0304;

/// The profiles whose packets have their tags computed side by side.
const SHARED: [Profile; 2] = [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32];

/// One by each cipher that this machine can run; RustCrypto's last.
fn sealers(secret: &Secret) -> Vec<Sealer> {
    let ciphers = Cipher::ALL.into_iter();
    let ciphers = ciphers.filter(|cipher| cipher.is_available());
    ciphers
        .map(|cipher| Sealer::with(secret, cipher).unwrap())
        .collect()
}

/// A packet with an index of its own.
struct Plain {
    index: u64,
    header: Vec<u8>,
    payload: Vec<u8>,
    cut: usize,
}

impl Plain {
    fn new(rng: &mut Rng, index: u64, csrcs: u8, words: Option<u16>, bytes: usize) -> Self {
        Self {
            index,
            header: header(rng, SSRC, index, csrcs, words),
            payload: rng.bytes(bytes),
            cut: 0,
        }
    }

    fn packet(&self) -> Packet<'_> {
        Packet {
            index: self.index,
            header: &self.header,
            parts: self.payload.split_at(self.cut).into(),
        }
    }

    fn alone(&self, sealer: &Sealer) -> Vec<u8> {
        let mut out = vec![0; self.header.len() + self.payload.len() + sealer.rtp_overhead()];
        let sealed = sealer.rtp(self.index, &self.header, &self.payload, &mut out);
        assert_eq!(sealed, Some(out.len()));
        out
    }
}

/// Seals all of them into one memory, each where `place` says, given where the one before ended.
fn together(
    sealer: &Sealer,
    plain: &[Plain],
    memory: &mut [u8],
    place: impl Fn(usize, usize) -> Range<usize>,
) -> Vec<Vec<u8>> {
    let mut run = Run::default();
    let mut places = Vec::new();
    let mut end = 0;
    for (nth, one) in plain.iter().enumerate() {
        let room = place(nth, end);
        let sealed = sealer.rtp_of_run(&mut run, &one.packet(), memory, room.clone());
        end = room.start + sealed.unwrap();
        places.push(room.start..end);
    }
    sealer.finish_run(&mut run, memory);
    places
        .into_iter()
        .map(|place| memory[place].to_vec())
        .collect()
}

/// Every length of payload with every length of header up to 76 bytes: four packets of which each
/// is 511 bytes longer than the one before, but for what is beyond the longest, a shorter one, and
/// the same once more. All of them go side by side in the widest registers.
#[test]
fn every_length_with_every_header() {
    for profile in SHARED {
        let mut rng = Rng::new(300);
        let secret = secret(profile, &mut rng);
        let sealers = sealers(&secret);
        let (reference, ours) = sealers.split_last().unwrap();
        let text = rng.bytes(4096);
        let mut memory = vec![0; 10 * 2200];
        // The short tag differs in nothing but what is left out: some of the headers will do.
        let step = if profile == SHARED[0] { 1 } else { 13 };
        for longer in (0..=64).step_by(step) {
            // The sealer takes for a header what it is given as one, of any length.
            let wide = [header(&mut rng, SSRC, 7, 0, None), rng.bytes(longer)].concat();
            for bytes in 0..=2050_usize {
                let next = (bytes + 511) % 2051;
                let some = [bytes, next, (bytes + 1022) % 2051, bytes, bytes / 3];
                let lengths: [usize; 10] = std::array::from_fn(|nth| some[nth % 5]);
                let packet = |nth: usize, length: usize| Packet {
                    index: 7,
                    header: &wide,
                    parts: [&text[nth..][..length], &[]],
                };
                for sealer in ours {
                    let mut run = Run::default();
                    for (nth, length) in lengths.into_iter().enumerate() {
                        let room = 2200 * nth..2200 * (nth + 1);
                        let packet = packet(nth, length);
                        assert!(
                            sealer
                                .rtp_of_run(&mut run, &packet, &mut memory, room)
                                .is_some()
                        );
                    }
                    sealer.finish_run(&mut run, &mut memory);
                    for (nth, length) in lengths.into_iter().enumerate() {
                        let mut expected = [0; 2200];
                        let payload = &text[nth..][..length];
                        let sealed = reference.rtp(7, &wide, payload, &mut expected).unwrap();
                        assert!(
                            memory[2200 * nth..][..sealed] == expected[..sealed],
                            "{profile:?}: {length} bytes behind {}",
                            wide.len()
                        );
                    }
                }
            }
        }
    }
}

/// A run of seventeen, in all profiles, one behind the other and each in a frame of its own, the
/// last one first.
#[test]
fn places_in_any_order() {
    for profile in PROFILES.into_iter().chain([Profile::Plain]) {
        let mut rng = Rng::new(301);
        let secret = secret(profile, &mut rng);
        for sealer in sealers(&secret) {
            let plain: Vec<_> = (65_530..65_547_u64)
                .map(|index| Plain::new(&mut rng, index, 0, Some(2), 900))
                .collect();
            let expected: Vec<_> = plain.iter().map(|one| one.alone(&sealer)).collect();
            let mut memory = vec![0; 17 * 2048];
            let whole = memory.len();
            let behind = together(&sealer, &plain, &mut memory, |_, end| end..whole);
            assert_eq!(behind, expected, "{profile:?}");
            let apart = together(&sealer, &plain, &mut memory, |nth, _| {
                let start = 2048 * (16 - nth);
                start..start + 1472
            });
            assert_eq!(apart, expected, "{profile:?}");
        }
    }
}

/// What can't be sealed takes nothing from the others of its run.
#[test]
fn a_refused_packet_leaves_the_run_alone() {
    for profile in PROFILES {
        let mut rng = Rng::new(302);
        let secret = secret(profile, &mut rng);
        for sealer in sealers(&secret) {
            let plain: Vec<_> = (1..=6)
                .map(|index| Plain::new(&mut rng, index, 0, None, 700))
                .collect();
            let mut memory = vec![0; 8192];
            let mut run = Run::default();
            let mut used = 0;
            for one in &plain {
                let packet = one.packet();
                let another = Packet {
                    index: one.index + 1,
                    ..packet
                };
                let short = Packet {
                    header: &one.header[..8],
                    ..packet
                };
                let bytes = one.alone(&sealer).len();
                for (refused, room) in [
                    (another, used..8192),
                    (short, used..8192),
                    (packet, used..used + bytes - 1),
                    (packet, 8192 - bytes..8193),
                    (packet, 9000..9900),
                ] {
                    let sealed = sealer.rtp_of_run(&mut run, &refused, &mut memory, room);
                    assert_eq!(sealed, None, "{profile:?}");
                }
                let sealed = sealer.rtp_of_run(&mut run, &packet, &mut memory, used..used + bytes);
                assert_eq!(sealed, Some(bytes));
                used += bytes;
            }
            sealer.finish_run(&mut run, &mut memory);
            let expected: Vec<_> = plain.iter().map(|one| one.alone(&sealer)).collect();
            assert_eq!(memory[..used], expected.concat(), "{profile:?}");
        }
    }
}

proptest! {
    /// Runs of one to seventeen packets of any lengths, headers, cuts and indexes.
    #[test]
    fn any_run(
        profile in prop::sample::select(PROFILES.to_vec()),
        seed in any::<u64>(),
        first in 0..(1_u64 << 48) - 17,
        shapes in prop::collection::vec(
            (0..=15_u8, prop::option::of(0..40_u16), 0..1600_usize, any::<u16>()),
            1..=17,
        ),
    ) {
        let mut rng = Rng::new(seed);
        let secret = secret(profile, &mut rng);
        let sealers = sealers(&secret);
        let plain: Vec<_> = (first..).zip(&shapes).map(|(index, &(csrcs, words, bytes, cut))| {
            let mut plain = Plain::new(&mut rng, index, csrcs, words, bytes);
            plain.cut = usize::from(cut) % (bytes + 1);
            plain
        }).collect();
        let reference = sealers.last().unwrap();
        let expected: Vec<_> = plain.iter().map(|one| one.alone(reference)).collect();
        for sealer in &sealers {
            let mut memory = vec![0x77; 17 * 2048];
            let whole = memory.len();
            let sealed = together(sealer, &plain, &mut memory, |_, end| end..whole);
            prop_assert_eq!(&sealed, &expected);
            prop_assert!(memory[expected.concat().len()..].iter().all(|byte| *byte == 0x77));
        }
    }
}
