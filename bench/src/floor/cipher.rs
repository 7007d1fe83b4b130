//! Owns the cipher alone: each viewer's key seals each packet of a burst, and that is all.

use seal::{Cipher, Group, Packet, Profile, Run, Sealer};
use wire::datagram::{Egress, Parked, RunMeta, Slot};
use wire::rtp::{HEADER_BYTES, Header};

use super::{BURST_MAX, SEALED_BYTES};
use lab::PAYLOAD_BYTES;
use lab::rig::secret;

/// Runs that are written in turn, as many as a port has in use between two calls of the kernel.
const RUNS: usize = 16;

/// The keys of all viewers.
pub struct Ciphers {
    sealers: Vec<Sealer>,
    payload: Box<[u8]>,
    out: Out,
    group: Group,
    at: usize,
    index: u64,
}

impl Ciphers {
    /// Keys of so many viewers.
    ///
    /// # Panics
    /// The profile's keys cannot be had, or this machine can't run the cipher.
    #[must_use]
    pub fn new(viewers: u32, profile: Profile, cipher: Cipher) -> Self {
        let sealer =
            |n| Sealer::with(&secret(profile, n), cipher).expect("a cipher that runs here");
        Self {
            sealers: (0..viewers).map(sealer).collect(),
            payload: vec![0x5a; BURST_MAX * PAYLOAD_BYTES].into_boxed_slice(),
            out: Out(vec![0; RUNS * BURST_MAX * SEALED_BYTES].into_boxed_slice()),
            group: Group::default(),
            at: 0,
            index: 0,
        }
    }

    /// Seals `packets` for everybody.
    ///
    /// # Panics
    /// A packet is not sealed.
    pub fn burst(&mut self, packets: u32) {
        let run = packets as usize * SEALED_BYTES;
        let memory = self.out.0.len();
        for (ssrc, sealer) in (0x1000_0000..).zip(&self.sealers) {
            self.at = if self.at + 2 * run > memory {
                0
            } else {
                self.at + run
            };
            let shares = packets as usize <= Group::RUN_PACKETS_MAX && sealer.shares_tags();
            if shares && packets as usize > self.group.room() {
                self.group.tag(&mut self.out);
            }
            let mut sealing = Run::default();
            for nth in 0..packets {
                let index = self.index + u64::from(nth);
                let nth = nth as usize;
                let mut header = [0; HEADER_BYTES];
                let fields = Header {
                    payload_type: 102,
                    ssrc,
                    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
                    sequence: index as u16,
                    ..Header::default()
                };
                let _ = fields.write(&[], &mut header);
                let payload = &self.payload[nth * PAYLOAD_BYTES..][..PAYLOAD_BYTES];
                let packet = Packet {
                    index,
                    header: &header,
                    parts: [payload, &[]],
                };
                let from = self.at + nth * SEALED_BYTES;
                let room = from..from + SEALED_BYTES;
                let sealed = sealer.rtp_of_run(&mut sealing, &packet, &mut self.out.0, room);
                assert!(sealed.is_some(), "every packet is sealed");
            }
            if shares {
                self.group.add(sealer, &mut sealing, Parked(0));
            } else {
                sealer.finish_run(&mut sealing, &mut self.out.0);
            }
        }
        self.group.tag(&mut self.out);
        self.index += u64::from(packets);
    }
}

/// Memory in which everything is parked.
struct Out(Box<[u8]>);

impl Egress for Out {
    fn segments_max(&self) -> u8 {
        0
    }

    fn claim(&mut self, _: RunMeta) -> Option<Slot<'_>> {
        None
    }

    fn commit(&mut self, _: usize) {}

    fn parked(&self, _: Parked) -> &[u8] {
        &self.0
    }

    fn parked_mut(&mut self, _: Parked) -> &mut [u8] {
        &mut self.0
    }
}
