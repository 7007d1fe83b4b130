//! Packets of several peers whose tags are computed together are what each of them is by itself,
//! by every cipher that this machine can run.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod common;

use common::{Rng, header, secret};
use freshet_seal::{Cipher, Group, Packet, Profile, Run, Sealer};
use proptest::prelude::*;
use wire::datagram::{Egress, Parked, RunMeta, Slot};

/// The profiles whose tags can be computed together.
const SHARED: [Profile; 2] = [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32];

/// An egress that only keeps what is parked.
#[derive(Default)]
struct Lot {
    runs: Vec<Vec<u8>>,
}

impl Egress for Lot {
    fn segments_max(&self) -> u8 {
        64
    }
    fn claim(&mut self, _: RunMeta) -> Option<Slot<'_>> {
        None
    }
    fn commit(&mut self, _: usize) {}
    fn parked(&self, Parked(run): Parked) -> &[u8] {
        &self.runs[usize::try_from(run).unwrap()]
    }
    fn parked_mut(&mut self, Parked(run): Parked) -> &mut [u8] {
        &mut self.runs[usize::try_from(run).unwrap()]
    }
}

/// A peer with what it is sent: packets with header and payload.
struct Peer {
    sealer: Sealer,
    reference: Sealer,
    first: u64,
    packets: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes before the first packet.
    before: usize,
}

impl Peer {
    fn new(rng: &mut Rng, cipher: Cipher, profile: Profile, first: u64, lengths: &[usize]) -> Self {
        let secret = secret(profile, rng);
        let mut packet = |(index, &bytes): (u64, &usize)| {
            let words = (bytes % 3 > 0).then_some(u16::try_from(bytes % 5).unwrap());
            let header = header(rng, 7, index, u8::try_from(bytes % 4).unwrap(), words);
            (header, rng.bytes(bytes))
        };
        Self {
            sealer: Sealer::with(&secret, cipher).unwrap(),
            reference: Sealer::with(&secret, Cipher::Ring).unwrap(),
            packets: (first..).zip(lengths).map(&mut packet).collect(),
            before: usize::try_from(first % 100).unwrap(),
            first,
        }
    }

    fn alone(&self) -> Vec<u8> {
        let mut all = vec![0x77; self.before];
        for (index, (header, payload)) in (self.first..).zip(&self.packets) {
            let mut out = vec![0; 4096];
            let sealed = self.reference.rtp(index, header, payload, &mut out);
            all.extend(&out[..sealed.unwrap()]);
        }
        all.extend([0x77; 9]);
        all
    }

    /// Encrypts all packets, and leaves their tags to the group.
    fn join(&self, group: &mut Group, lot: &mut Lot) {
        let mut memory = vec![0x77; self.alone().len()];
        let mut run = Run::default();
        let mut at = self.before;
        for (index, (header, payload)) in (self.first..).zip(&self.packets) {
            let packet = Packet {
                index,
                header,
                parts: payload.split_at(payload.len() / 3).into(),
            };
            let room = at..memory.len();
            let sealed = self.sealer.rtp_of_run(&mut run, &packet, &mut memory, room);
            at += sealed.unwrap();
        }
        assert_eq!(run.is_finished(), self.packets.is_empty());
        let parked = Parked(u32::try_from(lot.runs.len()).unwrap());
        lot.runs.push(memory);
        group.add(&self.sealer, &mut run, parked);
        assert!(run.is_finished());
    }
}

/// Seals runs of these lengths for as many peers, all of them together.
fn check(seed: u64, cipher: Cipher, runs: &[(Profile, u64, Vec<usize>)]) {
    let mut rng = Rng::new(seed);
    let (mut group, mut lot) = (Group::default(), Lot::default());
    let mut expected = Vec::new();
    for (profile, first, lengths) in runs {
        let peer = Peer::new(&mut rng, cipher, *profile, *first, lengths);
        if !peer.sealer.shares_tags() {
            return;
        }
        if lengths.len() > group.room() {
            group.tag(&mut lot);
        }
        peer.join(&mut group, &mut lot);
        expected.push(peer.alone());
    }
    group.tag(&mut lot);
    assert!(group.is_empty());
    assert_eq!(lot.runs, expected, "{cipher}");
}

fn ciphers() -> impl Iterator<Item = Cipher> {
    let ciphers = Cipher::ALL.into_iter();
    ciphers.filter(|cipher| cipher.is_available())
}

#[test]
fn a_packet_each_of_every_number_of_peers_at_every_length() {
    for cipher in ciphers() {
        for bytes in 0..=1460_usize {
            let peers = 1 + bytes % Group::PACKETS_MAX;
            let run = |peer| {
                let length = if peer % 3 == 2 { bytes / 2 } else { bytes };
                (SHARED[peer % 2], 0xffff * peer as u64, vec![length])
            };
            let runs: Vec<_> = (0..peers).map(run).collect();
            check(bytes as u64, cipher, &runs);
        }
    }
}

#[test]
fn only_what_gains_shares() {
    let mut rng = Rng::new(1);
    for (profile, cipher, shares) in [
        (Profile::AeadAes128Gcm, Cipher::best(), false),
        (Profile::Plain, Cipher::best(), false),
        (Profile::Aes128CmSha1_80, Cipher::Ring, false),
        (
            Profile::Aes128CmSha1_80,
            Cipher::best(),
            Cipher::best().name_for_cm() != "rustcrypto",
        ),
    ] {
        let sealer = Sealer::with(&secret(profile, &mut rng), cipher).unwrap();
        assert_eq!(sealer.shares_tags(), shares, "{profile:?} by {cipher}");
    }
}

proptest! {
    /// Runs of any numbers of packets of any lengths, for peers with any keys and indexes.
    #[test]
    fn any_group(
        seed in any::<u64>(),
        runs in prop::collection::vec(
            (
                prop::sample::select(SHARED.to_vec()),
                0..(1_u64 << 48) - 8,
                prop::collection::vec(0..1600_usize, 0..=Group::RUN_PACKETS_MAX),
            ),
            1..=20,
        ),
    ) {
        for cipher in ciphers() {
            check(seed, cipher, &runs);
        }
    }
}
