//! Owns sending again what viewers have lost: as RTX, or as the very same packet. Hot.

use wire::datagram::Egress;

use crate::burst::Piece;
use crate::fanout::{Tables, Turn};
use crate::nack::Repair;
use crate::outbox::single;
use crate::pace::{REPAIR_BURST_BYTES, REPAIR_BYTES_PER_S, REPAIR_SHARE};
use crate::stream::Stream;
use crate::viewer::Viewer;

/// Bytes that RFC 4588 section 4 puts before the payload: the original sequence number.
const OSN_BYTES: usize = 2;

/// What became of a repair.
enum Repaired {
    Sent(usize),
    TooOld,
    OverBudget,
    Worn,
    Full,
}

impl Tables {
    /// Sends what was asked for again, in the order of asking, while there is room.
    pub fn repair<E: Egress>(&mut self, turn: &mut Turn<'_, E>) {
        while let Some(repair) = self.repairs.first() {
            let slot = self.viewers.slot_of(repair.viewer);
            if let Some(viewer) = slot.and_then(|slot| self.viewers.at_mut(slot))
                && let Some(stream) = self.streams.at_mut(viewer.stream)
            {
                match send_again(turn, viewer, stream, &repair) {
                    Repaired::Sent(bytes) => {
                        turn.done.runs += 1;
                        turn.done.datagrams += 1;
                        turn.done.resent += 1;
                        turn.done.bytes += bytes as u64;
                        viewer.sent.packets += 1;
                        viewer.sent.retransmitted += 1;
                        viewer.sent.bytes += bytes as u64;
                    }
                    Repaired::TooOld => turn.done.too_old += 1,
                    Repaired::OverBudget => turn.done.over_budget += 1,
                    Repaired::Worn => viewer.is_worn = true,
                    Repaired::Full => {
                        turn.done.fulls += 1;
                        return;
                    }
                }
            }
            self.repairs.pop();
        }
    }
}

fn send_again<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    stream: &mut Stream,
    repair: &Repair,
) -> Repaired {
    let lane = usize::from(repair.track);
    let rate = stream.rate.bytes_per_s();
    let log = stream.reader.pin();
    let piece = viewer.tracks[lane]
        .sent(repair.index)
        .and_then(|seq| log.locate(lane, seq))
        .and_then(|position| Piece::read(&log, position));
    let Some(piece) = piece else {
        return Repaired::TooOld;
    };
    let is_rtx = viewer.tracks[lane].out.rtx_ssrc != 0;
    let bytes = viewer.tracks[lane].header_bytes()
        + piece.payload.len()
        + viewer.sealer.rtp_overhead()
        + if is_rtx { OSN_BYTES } else { 0 };
    let budget = REPAIR_BYTES_PER_S.max(rate / REPAIR_SHARE);
    let bucket = &mut viewer.cold.repair;
    bucket.refill(turn.now, budget, REPAIR_BURST_BYTES);
    if bucket.tokens() < bytes as u64 {
        return Repaired::OverBudget;
    }
    if is_rtx && !viewer.lease_rtx(lane) {
        return Repaired::Worn;
    }
    let Some(out) = turn.egress.claim(single(viewer.to, bytes)) else {
        return Repaired::Full;
    };
    let track = &mut viewer.tracks[lane];
    let sealed = if is_rtx {
        let osn = low(repair.index).to_be_bytes();
        track.stamp_rtx(repair.index, &piece).and_then(|stamped| {
            let parts = [&osn[..], piece.payload];
            viewer
                .sealer
                .rtp_parts(stamped.index, stamped.header(), parts, out)
        })
    } else {
        track.stamp_again(repair.index, &piece).and_then(|stamped| {
            viewer
                .sealer
                .rtp(stamped.index, stamped.header(), piece.payload, out)
        })
    };
    let used = sealed.unwrap_or(0);
    turn.egress.commit(used);
    if used == 0 {
        return Repaired::TooOld;
    }
    viewer.cold.repair.take(used as u64);
    Repaired::Sent(used)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are the sequence number"
)]
const fn low(index: u64) -> u16 {
    index as u16
}
