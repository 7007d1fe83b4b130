//! Owns what control may ask of a worker: fixed size, numbered by the ring, idempotent.

pub(crate) mod encoding;
mod hears;

pub use encoding::COMMAND_BYTES;
pub use hears::Hears;

use crate::elements::KINDS;
use crate::ids::{CoreId, StreamId, ViewerId};
use crate::keys::{MasterKey, Profile, SrtpKeys};
use crate::lanes::{LANES_MAX, Lanes};
use wire::peer::{Ip, Peer};
use zeroize::Zeroize;

/// Tracks of a stream that a viewer can be sent: at most one video and one audio.
pub const TRACKS_MAX: usize = 2;

/// Index of the video track in every per-track array, and of its first encoding among the lanes.
pub const VIDEO: usize = 0;

/// Index of the audio track in every per-track array, and among the lanes.
pub const AUDIO: usize = 1;

/// Most bytes of the fixed header-extension block of a track.
pub const EXT_BYTES_MAX: usize = 24;

/// Length of our ICE password in bytes (RFC 8445 section 5.3 wants 22 to 256 characters).
pub const ICE_PWD_BYTES: usize = 24;

/// Length of our ICE username fragment in bytes: see [`IceCredentials::ufrag`].
pub const ICE_UFRAG_BYTES: usize = 16;

/// Our side's ICE credentials of a viewer.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct IceCredentials {
    /// Our username fragment: four characters of the viewer's index (see `ufrag`), twelve random.
    pub ufrag: [u8; ICE_UFRAG_BYTES],
    /// Our password, the key of MESSAGE-INTEGRITY in checks that come to us.
    pub pwd: [u8; ICE_PWD_BYTES],
}

/// How a viewer wants one track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TrackOut {
    /// SSRC of the media; never changes while the viewer lives.
    pub ssrc: u32,
    /// SSRC of the retransmission stream (RFC 4588); 0: repair by resending the packet itself.
    pub rtx_ssrc: u32,
    /// RTP clock in Hz; 0: the viewer does not take this track.
    pub clock_hz: u32,
    /// Added to the stream's timestamps (RFC 3550 section 5.1: the initial value is random). It is
    /// the same for whichever worker serves the viewer.
    pub timestamp_offset: u32,
    /// Payload type of the media, 0 to 127.
    pub payload_type: u8,
    /// Payload type of the retransmission stream.
    pub rtx_payload_type: u8,
    /// Bytes used of `ext`, a multiple of 4; 0: no header extension.
    pub ext_bytes: u8,
    /// Where in `ext` the two bytes of the transport-wide sequence number are, which count the
    /// packets to this viewer (draft-holmer-rmcat-transport-wide-cc-extensions-01); 0: nowhere.
    /// Only where there is an RTX stream: what is sent again as it was cannot have a new number.
    pub transport_cc_at: u8,
    /// The whole extension block put on each packet (profile, length, elements, padding).
    pub ext: [u8; EXT_BYTES_MAX],
    /// Identifiers under which the elements of the log are passed on, by kind (see
    /// [`crate::elements`]), 1 to 255 but for 15; 0: not negotiated. A long one, and one above 14,
    /// makes the block of its packet one of two-byte elements (RFC 8285 section 4.1.2).
    pub elements: [u8; KINDS],
    /// Payload type of sound with redundancy (RFC 2198); 0: the viewer is sent the primary alone.
    pub red_payload_type: u8,
    /// Where in `ext` the element that names the encoding begins (RFC 8852), its one-byte header;
    /// 0: nowhere. `ext` holds names alone then, and goes out until the source was reported on.
    pub name_at: u8,
    /// Identifier that stands in its place on retransmissions, 1 to 14; 0: they have no name.
    pub repaired_rid_id: u8,
    /// What feedback on it was negotiated.
    pub hears: Hears,
    /// SRTP index (ROC << 16 | sequence number) of the first media packet. After a restart of the
    /// forwarder it is the lease of the viewer's cell, so that no index is used twice; as the
    /// command may be older than that, a worker begins behind the lease whatever this says.
    pub first_index: u64,
    /// The same for the retransmission stream.
    pub rtx_first_index: u64,
}

/// Everything that the data plane needs to serve one viewer.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct AddViewer {
    /// The viewer.
    pub viewer: ViewerId,
    /// What it watches.
    pub stream: StreamId,
    /// Where it is, as the valid check told.
    pub peer: Peer,
    /// The address of ours that it talks to.
    pub local: Ip,
    /// Our credentials, for the checks that follow (RFC 7675).
    pub ice: IceCredentials,
    /// SRTP keys both ways.
    pub keys: SrtpKeys,
    /// What it takes, by track index. Nothing: it is the way back to a publisher, see
    /// [`AddPublisher::viewer`], and no viewer of the stream.
    pub tracks: [TrackOut; TRACKS_MAX],
    /// First SRTCP index that we may send, 0 to 2^31 - 1; behind the lease, like the others.
    pub rtcp_first_index: u64,
    /// It is sent one encoding of several, all of which go to the same peer (RFC 8853).
    pub encoding: Option<Encoding>,
}

/// What makes a viewer one of those by which a peer is sent several encodings. They have keys,
/// addresses and life in common, and sources and numbers of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The viewer that stands for all of them: what comes from the peer comes to it, and with it
    /// all of them end. Its own name: it is this one, and is to be told of first.
    pub leader: ViewerId,
    /// The lane that it is sent whole, and no other.
    pub lane: u8,
}

/// How a publisher sends one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackIn {
    /// SSRC of the media; 0: it is learnt from the first packet of this payload type.
    pub ssrc: u32,
    /// SSRC of the retransmissions (RFC 4588); 0: it is learnt likewise.
    pub rtx_ssrc: u32,
    /// RTP clock in Hz; 0: there is no such lane.
    pub clock_hz: u32,
    /// Payload type of the media, 1 to 127; 0: whatever has the SSRC.
    pub payload_type: u8,
    /// Payload type of the retransmissions; 0: there are none.
    pub rtx_payload_type: u8,
    /// How keyframes are told.
    pub codec: Codec,
    /// What the publisher may be asked for.
    pub wants: Wants,
    /// The name of this encoding if there are several (RFC 8851): its sources are told by it, as
    /// they have the payload type in common.
    pub rid: Rid,
    /// Identifiers of the header-extension elements that are kept, by kind (see
    /// [`crate::elements`]), 1 to 255 but for 15; 0: not negotiated.
    pub elements: [u8; KINDS],
    /// Payload type of sound with redundancy whose primary is of `payload_type` (RFC 2198); 0:
    /// there is none.
    pub red_payload_type: u8,
}

/// Most characters of the name of an encoding. Browsers take what the page gives them, which is
/// one letter or a word; RFC 8852 allows 255.
pub const RID_BYTES_MAX: usize = 16;

/// The name of an encoding (RFC 8852 section 3), zeros after it; all zeros: it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rid(pub [u8; RID_BYTES_MAX]);

impl Rid {
    /// `None`: it is empty, or too long.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        if name.is_empty() || name.contains(&0) {
            return None;
        }
        let mut rid = [0; RID_BYTES_MAX];
        rid.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self(rid))
    }

    /// True if there is no name.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0[0] == 0
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        &self.0[..end.unwrap_or(RID_BYTES_MAX)]
    }
}

/// What may be asked of a publisher of one track, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants(pub u8);

impl Wants {
    /// Packets again (RFC 4585 section 6.2.1).
    pub const NACK: Self = Self(1);
    /// Keyframes by PLI (RFC 4585 section 6.3.1).
    pub const PLI: Self = Self(2);
    /// Keyframes by FIR (RFC 5104 section 4.3.1).
    pub const FIR: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if all of `other` are among them.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A publisher whose SRTP (or plain RTP, with [`crate::keys::Profile::Plain`]) a worker opens
/// straight into the log.
#[derive(Clone, Copy)]
pub struct AddPublisher {
    /// The stream that it feeds; the worker becomes the one writer of its log.
    pub stream: StreamId,
    /// The viewer without tracks through which it is reached: its packets come on that viewer's
    /// flows, reports and requests go back by its keys, and it ends with that viewer. `None`: its
    /// packets come from `peer`, and nothing goes back.
    pub viewer: Option<ViewerId>,
    /// Where its packets come from, without a viewer.
    pub peer: Peer,
    /// SRTP keys; only `receive` is used.
    pub keys: SrtpKeys,
    /// Where its audio comes from, without a viewer, if not from `peer` like the rest.
    pub audio: Origin,
    /// What it sends, by lane: see [`crate::lanes`].
    pub lanes: [TrackIn; LANES_MAX],
    /// Identifiers of the header extensions that name an encoding and what a repair is of
    /// (RFC 8852), 1 to 14; 0: not negotiated.
    pub rid_id: u8,
    /// See `rid_id`.
    pub repaired_rid_id: u8,
    /// Identifier of the transport-wide sequence number extension
    /// (draft-holmer-rmcat-transport-wide-cc-extensions-01), 1 to 14; 0: not negotiated.
    pub transport_cc_id: u8,
    /// What it is told that it may send at most (REMB), in bits a second; 0: it is not told.
    pub remb_bps: u64,
}

/// A sender's address, and what it protects its packets with.
#[derive(Clone, Copy, Default)]
pub struct Origin {
    /// Where packets come from; port 0: there is no such sender.
    pub peer: Peer,
    /// The SRTP profile.
    pub profile: Profile,
    /// The sender's master key.
    pub key: MasterKey,
}

/// A publisher without a viewer whose packets another worker opens. The kernel chooses by a hash of
/// addresses which worker gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassPublisher {
    /// The stream that it feeds.
    pub stream: StreamId,
    /// The worker that opens its packets.
    pub core: CoreId,
    /// Where they come from, as in [`AddPublisher`]; the second with port 0: from the first alone.
    pub peers: [Peer; TRACKS_MAX],
}

/// Video codecs whose keyframes the data plane can tell from the RTP payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// None: every packet counts as one that a viewer may start at.
    #[default]
    Unknown = 0,
    /// RFC 6184.
    H264 = 1,
    /// RFC 7798.
    H265 = 2,
    /// RFC 7741.
    Vp8 = 3,
    /// RFC 9628.
    Vp9 = 4,
    /// RTP payload format for AV1, version 1.0.0.
    Av1 = 5,
}

/// What a viewer may be sent of the video of a stream that has layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// This lane; `None`: the best that its path carries.
    pub lane: Option<u8>,
    /// No spatial layer above this one within the lane; 255: all.
    pub spatial_max: u8,
    /// No temporal layer above this one; 255: all.
    pub temporal_max: u8,
}

impl Pin {
    /// The best that the path carries.
    pub const NONE: Self = Self {
        lane: None,
        spatial_max: u8::MAX,
        temporal_max: u8::MAX,
    };
}

/// What control asks of a worker. Every command may be given twice without harm.
#[derive(Clone, Copy)]
pub enum Command {
    /// Serve this viewer from the last keyframe on. Known already: addresses, credentials and
    /// tracks are brought up to date, keys and indexes are kept if the generation is the same.
    AddViewer(AddViewer),
    /// Forget this viewer and its keys. Unknown: nothing.
    RemoveViewer(ViewerId),
    /// Credentials of an ICE restart: valid besides the old ones until a check with the new ones
    /// has moved the viewer (RFC 8445 section 2.4).
    RestartIce {
        /// The viewer.
        viewer: ViewerId,
        /// Its new credentials.
        ice: IceCredentials,
    },
    /// Open this publisher's packets into the log of its stream. Known already: its address and
    /// what it may send are brought up to date. One that came by another viewer makes room for it,
    /// while that viewer stays until it is removed.
    AddPublisher(AddPublisher),
    /// Hand what comes from a publisher without a viewer to the worker that has it, until
    /// [`Command::RemovePublisher`] or [`Command::CloseStream`]. Known already: brought up to date.
    PassPublisher(PassPublisher),
    /// Forget the publisher of this stream, whichever it is; its viewer stays.
    RemovePublisher(StreamId),
    /// Ask the publisher of this stream for a keyframe of these lanes: viewers of another core want
    /// one.
    AskKeyframe(StreamId, Lanes),
    /// Let this viewer have one layer, or choose for it.
    ChooseLayer(ViewerId, Pin),
    /// The peer of this viewer has answered a check of ours: it consents for another 30 s
    /// (RFC 7675 section 5.1). From the first of them on we are the controlling agent of the
    /// session (RFC 8445 section 6.1.1): the peer's own checks are answered as those of a
    /// controlled agent, and neither renew consent nor move the viewer.
    Consent(ViewerId),
    /// The log of this stream is about to be reused: forget its viewers, publisher and readers.
    CloseStream(StreamId),
}

/// Wipes keys; names and addresses stay.
impl Zeroize for AddPublisher {
    fn zeroize(&mut self) {
        self.keys.zeroize();
        self.audio.key.zeroize();
    }
}

/// Wipes keys and passwords; names and addresses stay.
impl Zeroize for Command {
    fn zeroize(&mut self) {
        match self {
            Self::AddViewer(add) => {
                add.keys.zeroize();
                add.ice.pwd.zeroize();
            }
            Self::RestartIce { ice, .. } => ice.pwd.zeroize(),
            Self::AddPublisher(add) => add.zeroize(),
            Self::RemoveViewer(_)
            | Self::PassPublisher(_)
            | Self::RemovePublisher(_)
            | Self::AskKeyframe(..)
            | Self::ChooseLayer(..)
            | Self::Consent(_)
            | Self::CloseStream(_) => {}
        }
    }
}
