//! Owns what a viewer says: checks, flights of its handshake, reports.

use wire::rtcp_report::{ReportBlock, write_receiver_report};

use super::Viewer;

impl Viewer {
    pub(super) fn check(&mut self, nominates: bool) {
        self.checks += 1;
        let mut out = [0; 256];
        let bytes = self.answer.check(self.checks, nominates, &mut out);
        self.send(&out[..bytes]);
    }

    pub(super) fn send_flight(&self) {
        for datagram in self.handshake.iter().flat_map(|one| one.flight()) {
            self.send(datagram);
        }
    }

    pub(super) fn report(&mut self) {
        let Some(sealer) = &self.sealer else { return };
        let blocks: Vec<ReportBlock> = self
            .tracks
            .iter()
            .filter_map(|track| {
                let highest_sequence = u32::try_from(track.highest? & 0xffff_ffff).unwrap_or(0);
                Some(ReportBlock {
                    ssrc: track.ssrc,
                    highest_sequence,
                    ..ReportBlock::default()
                })
            })
            .collect();
        let (mut packet, mut out) = ([0; 256], [0; 320]);
        let bytes = write_receiver_report(1, &blocks, b"swarm", &mut packet);
        if let Some(bytes) = sealer.rtcp(self.rtcp_index, &packet[..bytes], &mut out) {
            self.rtcp_index += 1;
            self.send(&out[..bytes]);
        }
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        // What does not leave is lost, as on any network, and repeated where it matters.
        let _ = self.socket.send(bytes);
    }
}
