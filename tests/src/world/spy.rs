//! Owns a port that looks at everything sent through it before the network can lose it.

use std::collections::HashMap;

use io::port::{FlushReport, Port};
use link::command::TRACKS_MAX;
use wire::datagram::{DATAGRAM_MAX, Egress, Parked, RUN_BYTES_MAX, RunMeta, RxSink, Slot};
use wire::demux::{Class, classify};
use wire::rtp::Packet;
use wire::time::Time;

use super::peer::{Client, Viewer};

/// A port and what was seen of each SSRC that went through it.
pub struct Spy<P> {
    port: P,
    run: Option<RunMeta>,
    buffer: Vec<u8>,
    /// Runs that the port has parked, and how they are cut.
    parked: Vec<(Parked, RunMeta)>,
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

impl<P: Port> Spy<P> {
    pub(super) fn new(port: P) -> Self {
        let (run, buffer) = (None, Vec::with_capacity(RUN_BYTES_MAX));
        Self {
            port,
            run,
            buffer,
            parked: Vec::new(),
            lanes: HashMap::new(),
            rtcp: HashMap::new(),
        }
    }

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

impl<P: Port> Egress for Spy<P> {
    fn segments_max(&self) -> u8 {
        self.port.segments_max()
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        self.port.claim(run)?;
        self.port.commit(0);
        self.run = Some(run);
        self.buffer.clear();
        self.buffer.resize(run.bytes, 0xee);
        Some(Slot::joined(&mut self.buffer))
    }

    fn commit(&mut self, bytes: usize) {
        let run = self.run.take().expect("claimed before");
        if bytes == 0 {
            return;
        }
        let filled = std::mem::take(&mut self.buffer);
        for datagram in filled[..bytes].chunks(usize::from(run.segment_bytes)) {
            self.look(datagram);
        }
        let mut slot = self.port.claim(run).expect("there was room a moment ago");
        slot.put(&filled, usize::from(run.segment_bytes));
        self.port.commit(bytes);
        self.buffer = filled;
    }

    fn parked_max(&self) -> u8 {
        self.port.parked_max()
    }

    fn park(&mut self, bytes: usize) -> Option<Parked> {
        let run = self.run.take().expect("claimed before");
        let mut slot = self.port.claim(run).expect("there was room a moment ago");
        slot.put(&self.buffer[..bytes], usize::from(run.segment_bytes));
        let parked = self.port.park(bytes)?;
        self.parked.push((parked, run));
        Some(parked)
    }

    fn parked(&self, run: Parked) -> &[u8] {
        self.port.parked(run)
    }

    fn parked_mut(&mut self, run: Parked) -> &mut [u8] {
        self.port.parked_mut(run)
    }

    fn commit_parked(&mut self) {
        for (parked, run) in std::mem::take(&mut self.parked) {
            let whole = self.port.parked(parked).to_vec();
            for datagram in whole.chunks(usize::from(run.segment_bytes)) {
                self.look(datagram);
            }
        }
        self.port.commit_parked();
    }
}

impl<P: Port> Port for Spy<P> {
    fn recv(&mut self, now: Time, sink: &mut impl RxSink) -> usize {
        self.port.recv(now, sink)
    }

    fn flush(&mut self, now: Time) -> FlushReport {
        self.port.flush(now)
    }

    fn wait(&mut self, until: Time) {
        self.port.wait(until);
    }

    fn leave(&mut self, now: Time, sink: &mut impl RxSink) -> usize {
        self.port.leave(now, sink)
    }
}
