//! Owns what a publisher's own reports say: when what was captured, how far away it is, who leaves.

use wire::rtcp::Item;
use wire::rtcp_report::{SenderInfo, XrBlock, rtt};
use wire::time::{Span, Time};

use crate::lane::Kind;
use crate::publisher::Publisher;
use crate::report::Wall;

/// The publisher's clock, by its reports, may be so far from ours; then it was set, or its report
/// is about something else. All lanes keep to each other meanwhile.
const CLOCK_SKEW_MAX: Span = Span::secs(10);

impl Publisher {
    /// One packet of its RTCP.
    pub fn on_item(&mut self, wall: Wall, item: &Item<'_>) {
        match item {
            Item::SenderReport(report) => self.on_sender_report(wall.now, &report.info),
            Item::ExtendedReport(report) => {
                let blocks = report.blocks().filter_map(|block| match block {
                    XrBlock::Dlrr(items) => Some(items),
                    _ => None,
                });
                for item in blocks.flatten() {
                    if item.ssrc == self.upstream.ssrc
                        && let Some(ntp) = wall.ntp()
                        && let Some(span) = rtt(ntp, item.last_rr, item.delay_since_last_rr)
                    {
                        self.upstream.rtt = Some(span);
                    }
                }
            }
            Item::Bye(bye) => {
                for ssrc in bye.ssrcs() {
                    self.lanes.iter_mut().for_each(|lane| lane.leave(ssrc));
                }
            }
            _ => {}
        }
    }

    /// When was what captured?
    fn on_sender_report(&mut self, now: Time, info: &SenderInfo) {
        let theirs = info.ntp.to_unix_ns();
        let offset = self.clock_offset_ns.unwrap_or(now.0.wrapping_sub(theirs));
        let by_offset = Time(theirs.wrapping_add(offset));
        let is_near = by_offset.0.abs_diff(now.0) <= CLOCK_SKEW_MAX.0;
        let captured = if is_near { by_offset } else { now };
        self.clock_offset_ns = Some(captured.0.wrapping_sub(theirs));
        for track in &mut self.lanes {
            match track.kind(info.ssrc) {
                Some(Kind::Media) => {
                    track.timeline.set_anchor(info.rtp_timestamp, captured);
                    track.media.reception.on_report(now, info.ntp);
                }
                Some(Kind::Rtx) => track.rtx.reception.on_report(now, info.ntp),
                None => {}
            }
        }
    }
}
