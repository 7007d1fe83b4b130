//! Owns what may become of a datagram: every reason to drop one has a name and a counter.

use link::stats::Counter;
use seal::Refusal;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Media for the log.
    Ingested,
    /// RTCP that was understood.
    Heard,
    /// A valid check, answered.
    Answered,
    /// Passed to control.
    Punted,
    /// Passed to the core that serves the viewer.
    HandedOff,
    /// For control, but the ring is full.
    PuntFull,
    /// For another core, but the queue is full.
    HandoffFull,
    /// From nobody that is known.
    Unknown,
    /// Of no known kind.
    Malformed,
    /// STUN with a length that lies.
    StunMalformed,
    /// A check of a viewer without its password.
    StunUnverified,
    /// A valid check, but the queue of answers is full.
    ReplyFull,
    /// RTCP with a length that lies.
    RtcpMalformed,
    /// SRTCP that is not authentic.
    SrtcpAuth,
    /// SRTCP that came before.
    SrtcpReplay,
    /// RTP with a length that lies, or a payload too long for the log.
    RtpMalformed,
    /// RTP of no track of the publisher, by its source or its payload type, or from a viewer.
    RtpUnknownSsrc,
    /// SRTP that is not authentic.
    SrtpAuth,
    /// SRTP that came before.
    SrtpReplay,
    /// RTP whose place in the log has passed.
    Late,
    /// RTP that is in the log already, or waits for it.
    Duplicate,
    /// RTP without a payload: a probe for bandwidth.
    Padding,
    /// Video that follows a loss and precedes the next keyframe.
    Unusable,
    /// Media, but the log has no room.
    LogStalled,
}

impl Verdict {
    /// The counter of this verdict.
    pub const fn counter(self) -> Counter {
        match self {
            Self::Ingested => Counter::PacketIngested,
            Self::Heard => Counter::ReportReceived,
            Self::Answered => Counter::StunAnswered,
            Self::Punted => Counter::PuntSent,
            Self::HandedOff => Counter::HandoffSent,
            Self::PuntFull => Counter::PuntDroppedFull,
            Self::HandoffFull => Counter::HandoffDroppedFull,
            Self::Unknown => Counter::DatagramUnknownDropped,
            Self::Malformed => Counter::DatagramMalformed,
            Self::StunMalformed => Counter::StunMalformed,
            Self::StunUnverified => Counter::StunUnverified,
            Self::ReplyFull => Counter::ReplyDroppedFull,
            Self::RtcpMalformed => Counter::RtcpMalformed,
            Self::SrtcpAuth => Counter::SrtcpRefusedAuth,
            Self::SrtcpReplay => Counter::SrtcpRefusedReplay,
            Self::RtpMalformed => Counter::RtpMalformed,
            Self::RtpUnknownSsrc => Counter::RtpUnknownSsrc,
            Self::SrtpAuth => Counter::SrtpRefusedAuth,
            Self::SrtpReplay => Counter::SrtpRefusedReplay,
            Self::Late => Counter::RtpLate,
            Self::Duplicate => Counter::RtpDuplicate,
            Self::Padding => Counter::RtpPadding,
            Self::Unusable => Counter::RtpUnusable,
            Self::LogStalled => Counter::LogStalled,
        }
    }

    /// True if whoever sent this RTP has the keys, and it is of a track.
    pub const fn is_of_a_track(self) -> bool {
        matches!(
            self,
            Self::Ingested
                | Self::Late
                | Self::Duplicate
                | Self::Padding
                | Self::Unusable
                | Self::LogStalled
        )
    }

    /// True if it may be somebody else's who sends from the same port. What came before is told
    /// before whose it is.
    pub const fn is_of_another(self) -> bool {
        matches!(
            self,
            Self::Unknown
                | Self::RtpUnknownSsrc
                | Self::SrtpAuth
                | Self::SrtpReplay
                | Self::SrtcpAuth
                | Self::SrtcpReplay
        )
    }

    /// The verdict on SRTP that `seal` refused.
    pub const fn of_rtp(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Short | Refusal::Malformed => Self::RtpMalformed,
            Refusal::Unknown => Self::RtpUnknownSsrc,
            Refusal::Replay | Refusal::Old => Self::SrtpReplay,
            Refusal::Auth => Self::SrtpAuth,
        }
    }

    /// The verdict on SRTCP that `seal` refused.
    pub const fn of_rtcp(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Short | Refusal::Malformed => Self::RtcpMalformed,
            Refusal::Replay | Refusal::Old => Self::SrtcpReplay,
            // More sources than the window table holds: nobody we know.
            Refusal::Unknown => Self::Unknown,
            Refusal::Auth => Self::SrtcpAuth,
        }
    }
}
