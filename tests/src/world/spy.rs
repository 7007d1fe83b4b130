//! Owns the checks of everything that a plane sends, before the network can lose it.

use std::collections::HashMap;

use link::command::TRACKS_MAX;
use wire::datagram::{DATAGRAM_MAX, RunMeta};
use wire::demux::{Class, classify};
use wire::rtp::Packet;

use super::peer::{Client, Viewer};
use crate::tap::Watch;

/// What was seen of each SSRC.
#[derive(Default)]
pub struct Spy {
    lanes: HashMap<u32, Lane>,
    rtcp: HashMap<(u32, u32), Vec<u8>>,
}

/// What was sent with one SSRC.
struct Lane {
    /// The index of the next packet that is new.
    next: u64,
    /// Every packet sent, by its index.
    sent: HashMap<u64, Vec<u8>>,
}

impl Spy {
    /// From now on the SSRCs of this viewer may come.
    pub(super) fn expect_viewer(&mut self, viewer: &Viewer<impl Client>) {
        for track in 0..TRACKS_MAX {
            let out = viewer.command().tracks[track];
            for (ssrc, next) in [
                (out.ssrc, out.first_index),
                (out.rtx_ssrc, out.rtx_first_index),
            ] {
                self.lanes.insert(
                    ssrc,
                    Lane {
                        next,
                        sent: HashMap::new(),
                    },
                );
            }
        }
    }

    /// Packets that were sent, repeated ones once.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.lanes.values().map(|lane| lane.sent.len()).sum()
    }

    /// Checks one datagram.
    fn look(&mut self, datagram: &[u8]) {
        assert!(
            datagram.len() <= DATAGRAM_MAX,
            "{} bytes in one datagram",
            datagram.len()
        );
        match classify(datagram) {
            Class::Rtp => self.look_at_rtp(datagram),
            Class::Rtcp => {
                let ssrc = u32::from_be_bytes(datagram[4..8].try_into().expect("four bytes"));
                let tail = datagram.last_chunk().expect("an SRTCP index");
                let index = u32::from_be_bytes(*tail);
                let again = self.rtcp.insert((ssrc, index), datagram.to_vec());
                assert_eq!(
                    again, None,
                    "SRTCP index {index:#x} of {ssrc:#x} was used twice"
                );
            }
            Class::Stun => {}
            other => panic!("{other:?} is sent: {datagram:?}"),
        }
    }

    fn look_at_rtp(&mut self, datagram: &[u8]) {
        let packet = Packet::parse_sealed(datagram).expect("we send RTP");
        let (ssrc, sequence) = (packet.ssrc(), packet.sequence());
        let lane = self
            .lanes
            .get_mut(&ssrc)
            .expect("an SSRC that somebody was given");
        let ahead = sequence.wrapping_sub(u16::try_from(lane.next & 0xffff).expect("16 bits"));
        if ahead == 0 {
            lane.sent.insert(lane.next, datagram.to_vec());
            lane.next += 1;
        } else {
            // Not the next: then one that was sent before, byte for byte.
            let index = lane.next + u64::from(ahead) - 0x1_0000;
            let before = lane.sent.get(&index);
            assert!(
                before.is_some(),
                "{ssrc:#x} jumps to {sequence:#x} from {:#x}",
                lane.next
            );
            assert_eq!(
                before.map(Vec::as_slice),
                Some(datagram),
                "a nonce was used twice"
            );
        }
    }
}

impl Watch for Spy {
    fn sent(&mut self, _: &RunMeta, datagram: &[u8]) {
        self.look(datagram);
    }
}
