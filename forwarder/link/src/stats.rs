//! Owns the counters: one block for each worker and one line for each stream and worker. One
//! writer each. Hot.

use crate::log::Entry;
use crate::sync::Shared;
use crate::transit::{Distribution, ENTRIES, TransitCells};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use intake::INTAKE_WORDS;
use wire::time::{Span, Time};

mod intake;

pub use intake::Intake;

/// Room for counters in a block. New ones go to the end of the table, so that both sides of an
/// upgrade read the same places.
pub(crate) const COUNTERS_ROOM: usize = 192;

/// What a counter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Sum,
    /// The value of now.
    Gauge,
}

macro_rules! counters {
    ($($kind:ident $variant:ident $name:literal $unit:literal $help:literal;)+) => {
        /// What a worker counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Counter {
            $(#[doc = $help] $variant,)+
        }

        /// Every counter, in its order in memory.
        pub const COUNTERS: &[Counter] = &[$(Counter::$variant),+];

        impl Counter {
            /// Its name in metrics: subject, action.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it counts in.
            #[must_use]
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit),+ }
            }

            /// One sentence for the operator.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),+ }
            }

            /// Sum or gauge.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),+ }
            }
        }
    };
}

counters! {
    Sum Turn "turn" "turns" "Turns of the worker's loop.";
    Sum DatagramReceived "datagram_received" "datagrams" "Datagrams taken from the network.";
    Sum ByteReceived "byte_received" "bytes" "Bytes of UDP payload taken from the network.";
    Sum DatagramSent "datagram_sent" "datagrams" "Datagrams given to the network.";
    Sum ByteSent "byte_sent" "bytes" "Bytes of UDP payload given to the network.";
    Sum PacketSent "packet_sent" "packets" "Media packets sent to viewers, repairs included.";
    Sum RunSent "run_sent" "runs" "Runs of segments given to the kernel.";
    Sum EgressFull "egress_full" "runs" "Runs put off because no slot was free.";
    Sum SendError "send_error" "errors" "Sends that the kernel refused.";
    Sum SendDropped "send_dropped" "datagrams" "Datagrams given up because they could not be sent.";
    Gauge ViewerActive "viewer_active" "viewers" "Viewers served now.";
    Sum ViewerAdded "viewer_added" "viewers" "Viewers taken.";
    Sum ViewerRefused "viewer_refused" "viewers" "Viewers that could not be taken.";
    Sum ViewerExpired "viewer_expired" "viewers" "Viewers let go because consent ran out.";
    Sum ViewerMoved "viewer_moved" "viewers" "Viewers that a valid check moved to another address.";
    Sum ViewerSkipped "viewer_skipped" "viewers" "Viewers too far behind, moved to a keyframe.";
    Sum NackReceived "nack_received" "packets" "Packets asked for again.";
    Sum RetransmissionSent "retransmission_sent" "packets" "Packets sent again.";
    Sum RetransmissionOverBudget "retransmission_over_budget" "packets"
        "Packets not sent again because the viewer's budget was spent.";
    Sum RetransmissionTooOld "retransmission_too_old" "packets"
        "Packets not sent again because the log has them no more.";
    Sum RetransmissionRepeated "retransmission_repeated" "packets"
        "Packets not sent again because they just had been.";
    Sum PliReceived "pli_received" "messages" "Keyframes asked for by PLI or FIR.";
    Sum KeyframeReplayed "keyframe_replayed" "keyframes" "Keyframes replayed from the log.";
    Sum KeyframeWanted "keyframe_wanted" "keyframes" "Keyframes asked of the publisher.";
    Sum ReportSent "report_sent" "messages" "Sender reports sent.";
    Sum ReportReceived "report_received" "messages" "Receiver reports received.";
    Sum StunAnswered "stun_answered" "messages" "Checks answered by the worker.";
    Sum StunUnverified "stun_unverified" "messages" "Checks dropped: wrong integrity.";
    Sum StunMalformed "stun_malformed" "messages" "STUN messages dropped: malformed.";
    Sum PuntSent "punt_sent" "datagrams" "Handshake datagrams passed to control.";
    Sum PuntDroppedFull "punt_dropped_full" "datagrams" "Handshake datagrams lost: ring full.";
    Sum PuntReceived "punt_received" "datagrams" "Handshake datagrams sent for control.";
    Sum HandoffSent "handoff_sent" "datagrams" "Datagrams passed to the worker that owns them.";
    Sum HandoffDroppedFull "handoff_dropped_full" "datagrams" "Datagrams lost between workers.";
    Sum DatagramUnknownDropped "datagram_unknown_dropped" "datagrams"
        "Datagrams dropped: from nobody that is known.";
    Sum DatagramMalformed "datagram_malformed" "datagrams" "Datagrams dropped: of no known kind.";
    Sum ReplyDroppedFull "reply_dropped_full" "datagrams" "Answers lost: no buffer free.";
    Sum RtcpMalformed "rtcp_malformed" "packets" "RTCP dropped: malformed.";
    Sum SrtcpRefusedAuth "srtcp_refused_auth" "packets" "SRTCP dropped: wrong tag.";
    Sum SrtcpRefusedReplay "srtcp_refused_replay" "packets" "SRTCP dropped: seen before.";
    Sum RtpMalformed "rtp_malformed" "packets" "RTP dropped: malformed.";
    Sum RtpUnknownSsrc "rtp_unknown_ssrc" "packets" "RTP dropped: SSRC of no track.";
    Sum SrtpRefusedAuth "srtp_refused_auth" "packets" "SRTP dropped: wrong tag.";
    Sum SrtpRefusedReplay "srtp_refused_replay" "packets" "SRTP dropped: seen before.";
    Sum PacketIngested "packet_ingested" "packets" "Media packets opened into a log.";
    Sum LogStalled "log_stalled" "packets" "Media packets lost: a reader held the log.";
    Sum LogReaderSkipped "log_reader_skipped" "packets" "Packets of a log overwritten unread.";
    Sum CommandApplied "command_applied" "commands" "Commands applied.";
    Sum CommandMalformed "command_malformed" "commands" "Commands not understood.";
    Sum CommandStale "command_stale" "commands" "Commands about a stream or viewer of the past.";
    Sum EventSent "event_sent" "events" "Events told to control.";
    Sum EventLostFull "event_lost_full" "events" "Events lost: ring full.";
    Sum KeyWornOut "key_worn_out" "viewers" "Viewers let go because their keys were used up.";
    Sum SleepBegun "sleep_begun" "sleeps" "Times the worker blocked.";
    Sum RtpLate "rtp_late" "packets" "RTP dropped: its place in the log has passed.";
    Sum RtpUnusable "rtp_unusable" "packets" "RTP dropped: between a loss and the next keyframe.";
    Sum NackSent "nack_sent" "packets" "Packets that publishers were asked for again.";
    Sum PliSent "pli_sent" "messages" "Keyframes that publishers were asked for.";
    Sum RtpRecovered "rtp_recovered" "packets"
        "Packets of publishers that came when asked for again.";
    Sum RtpLost "rtp_lost" "packets" "Packets of publishers that never came.";
    Sum RtpDuplicate "rtp_duplicate" "packets" "RTP dropped: its like is in the log already.";
    Sum ReceiverReportSent "receiver_report_sent" "messages" "Receiver reports sent to publishers.";
    Sum TransportFeedbackSent "transport_feedback_sent" "messages"
        "Transport-wide feedback messages sent to publishers.";
    Gauge PublisherActive "publisher_active" "publishers"
        "Publishers whose packets are opened now.";
    Sum PublisherRefused "publisher_refused" "publishers" "Publishers that could not be taken.";
    Sum RtpPadding "rtp_padding" "packets" "RTP dropped: padding alone, a probe for bandwidth.";
    Sum LayerChosen "layer_chosen" "changes" "Viewers for whom another layer was chosen.";
    Sum ProbeSent "probe_sent" "packets"
        "Packets sent once more to find out what a viewer's path carries.";
    Sum RtpElementDropped "rtp_element_dropped" "elements"
        "Header-extension elements left out: packet too full for them, or no legal ones.";
    Sum TransportFeedbackReceived "transport_feedback_received" "messages"
        "Transport-wide feedback messages received.";
    Sum SourceFeedbackReceived "source_feedback_received" "messages"
        "Messages received that tell arrivals by source (RFC 8888).";
    Sum TransitUnknown "transit_unknown" "packets"
        "Media packets whose time inside is not known: no stamp, or the clock was set meanwhile.";
    Sum XdpSent "xdp_sent" "datagrams" "Datagrams that left by AF_XDP.";
    Sum XdpCalled "xdp_called" "calls" "Calls that made the kernel send by AF_XDP.";
    Sum XdpFull "xdp_full" "runs" "Runs put off because no frame of AF_XDP was free.";
    Sum XdpPassedAsking "xdp_passed_asking" "datagrams" "By the socket: the way is not known yet.";
    Sum XdpPassedRoute "xdp_passed_route" "datagrams" "By the socket: their route is not Ethernet.";
    Sum XdpPassedNeighbour "xdp_passed_neighbour" "datagrams"
        "By the socket: the hardware address of their next hop is not known.";
    Sum XdpPassedDevice "xdp_passed_device" "datagrams"
        "By the socket: their device is down, or AF_XDP cannot be had of it.";
    Sum XdpPassedSize "xdp_passed_size" "datagrams" "By the socket: too long for their device.";
    Sum TimePassed "time_passed_ns" "nanoseconds" "Time since the worker's first turn.";
    Sum TimeBusy "time_busy_ns" "nanoseconds"
        "Time of that for turns that had work, and for looking once more before sleep.";
    Sum TimeCongested "time_congested_ns" "nanoseconds"
        "Time of that for which runs waited for a device that took no more.";
    Sum SendCopied "send_copied" "runs" "Runs that were copied though uring.zero_copy is on.";
    Gauge OverloadStage "overload_stage" "stage"
        "What the loaded worker gives up: 0 nothing, 1 old retransmissions, 2 upper layers as well.";
    Sum RetransmissionGivenUp "retransmission_given_up" "packets"
        "Packets not sent again because they were old and the worker was loaded.";
    Sum LayerGivenUp "layer_given_up" "changes"
        "Upper layers taken from a viewer with a narrow path because the worker was loaded.";
    Sum FeedbackRefused "feedback_refused" "messages"
        "Feedback of viewers dropped: of a kind that was not negotiated.";
}

const _: () = assert!(
    COUNTERS.len() <= COUNTERS_ROOM,
    "make room: this changes the layout"
);

/// The counters of one worker in shared memory.
#[derive(zerocopy::FromBytes)]
#[repr(C, align(128))]
pub(crate) struct StatsBlock {
    heartbeat: AtomicU64,
    applied: AtomicU64,
    counters: [AtomicU64; COUNTERS_ROOM],
    /// By the places of [`Entry`].
    transits: [TransitCells; ENTRIES.len()],
}

/// The counters of one worker. That worker writes; everybody may read.
#[derive(Clone)]
pub struct Stats {
    block: Shared<StatsBlock>,
}

impl Stats {
    pub(crate) fn new(block: Shared<StatsBlock>) -> Self {
        Self { block }
    }

    /// Adds to a counter. The worker alone: no atomic addition is paid for.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        let word = &self.block.counters[counter as usize];
        word.store(
            word.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// Sets a gauge. The worker alone.
    #[inline]
    pub fn set(&self, counter: Counter, n: u64) {
        self.block.counters[counter as usize].store(n, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn read(&self, counter: Counter) -> u64 {
        self.block.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// Counts a media packet that was inside for so long. The worker alone.
    #[inline]
    pub fn add_transit(&self, entry: Entry, time: Span) {
        match entry.place() {
            Some(place) => self.block.transits[place].add(time),
            None => self.add(Counter::TransitUnknown, 1),
        }
    }

    /// How long media packets of this entry were inside; of [`Entry::Unknown`] nothing.
    #[must_use]
    pub fn transit(&self, entry: Entry) -> Distribution {
        let cells = entry.place().map(|place| &self.block.transits[place]);
        cells.map_or_else(Distribution::default, TransitCells::read)
    }

    /// Says that the worker's loop turned round at this time.
    #[inline]
    pub fn beat(&self, now: Time) {
        self.block.heartbeat.store(now.0, Ordering::Relaxed);
    }

    /// When the worker's loop last turned round; [`Time::ZERO`]: never.
    #[must_use]
    pub fn heartbeat(&self) -> Time {
        Time(self.block.heartbeat.load(Ordering::Relaxed))
    }

    /// Says that all commands with numbers below `number` are applied. Call after what they did is
    /// in the tables.
    #[inline]
    pub fn set_applied(&self, number: u64) {
        self.block.applied.store(number, Ordering::Release);
    }

    /// Commands with numbers below this are applied.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.block.applied.load(Ordering::Acquire)
    }
}

/// One stream on one worker, in shared memory.
#[derive(zerocopy::FromBytes)]
#[repr(C, align(64))]
pub(crate) struct StreamLine {
    packets: AtomicU64,
    bytes: AtomicU64,
    viewers: AtomicU32,
    reserved: u32,
    /// The fields of [`Intake`] in their order.
    intake: [AtomicU64; INTAKE_WORDS],
}

/// The counters of one stream on one worker. That worker writes; everybody may read.
#[derive(Clone)]
pub struct StreamStats {
    line: Shared<StreamLine>,
}

impl StreamStats {
    pub(crate) fn new(line: Shared<StreamLine>) -> Self {
        Self { line }
    }

    /// Adds packets and bytes sent to viewers of the stream.
    #[inline]
    pub fn add(&self, packets: u64, bytes: u64) {
        let line = &*self.line;
        let add = |word: &AtomicU64, n: u64| {
            word.store(
                word.load(Ordering::Relaxed).wrapping_add(n),
                Ordering::Relaxed,
            );
        };
        add(&line.packets, packets);
        add(&line.bytes, bytes);
    }

    /// Says how many viewers the worker serves of this stream.
    #[inline]
    pub fn set_viewers(&self, viewers: u32) {
        self.line.viewers.store(viewers, Ordering::Relaxed);
    }

    /// Tells what has been taken in. The worker that has the publisher alone.
    pub fn set_intake(&self, now: &Intake) {
        for (word, value) in self.line.intake.iter().zip(now.words()) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// What has been taken in, as last told; each value is right for itself.
    #[must_use]
    pub fn intake(&self) -> Intake {
        let line = &*self.line;
        let words = line.intake.each_ref();
        Intake::of_words(words.map(|word| word.load(Ordering::Relaxed)))
    }

    /// Packets sent to viewers, over all generations of the stream.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.line.packets.load(Ordering::Relaxed)
    }

    /// Bytes sent to viewers, over all generations of the stream.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.line.bytes.load(Ordering::Relaxed)
    }

    /// Viewers now.
    #[must_use]
    pub fn viewers(&self) -> u32 {
        self.line.viewers.load(Ordering::Relaxed)
    }
}
