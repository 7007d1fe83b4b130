//! Owns the send side of one viewer: what fan-out needs first, what comes rarely last. Hot.

use link::command::{AUDIO, AddViewer, Encoding, IceCredentials, Pin, TRACKS_MAX, TrackOut, VIDEO};
use link::ids::ViewerId;
use link::keys::{MasterKey, Profile, SrtpKeys};
use link::lanes::Lanes;
use link::viewer::{LEASES, Lease, Viewer as Cell};
use seal::{Cipher, KeyError, RtcpOpener, Sealer, Secret};
use serde::{Deserialize, Serialize};
use wire::datagram::RxMeta;
use wire::stun::Lately;
use wire::time::{Span, Time};
use zeroize::Zeroizing;

use crate::encodings::Parts;
use crate::feedback::Quality;
use crate::keyframe::Pleas;
use crate::ladder::Point;
use crate::nack::Resent;
use crate::pace::{Bucket, CATCH_UP_BURST_BYTES, REPAIR_BURST_BYTES};
use crate::random::Random;
use crate::report::Echo;
use crate::rewrite::{Cap, OutTrack};

mod hot;
mod sane;

pub use hot::prefetch;
pub use sane::is_sane;

/// Indexes are leased in blocks of so many packets: one store into shared memory for each block,
/// and a restart skips at most one, which is far from half a turn of the sequence number.
const LEASE_BLOCK: u64 = 4096;

/// The leases of a track: media and retransmission.
const TRACK_LEASES: [[Lease; 2]; TRACKS_MAX] = [
    [Lease::Video, Lease::VideoRtx],
    [Lease::Audio, Lease::AudioRtx],
];

/// The lane of streams with one layer, and the lowest of others.
const FIRST_LANE: u8 = 0;

/// Address pairs of a viewer that are answered to. Browsers check two or three.
pub const PATHS_MAX: usize = 4;

/// Where a viewer's video stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It gets the stream as it comes.
    Live,
    /// It is sent what lies between a keyframe and the present, faster than real time.
    CatchUp,
    /// It waits for a keyframe.
    Waiting,
}

/// One viewer. In this order in memory: what a burst touches lies together.
#[repr(C, align(64))]
pub struct Viewer {
    /// Which.
    pub id: ViewerId,
    /// The stream's index.
    pub stream: u32,
    /// Where its video stands; audio is always live.
    pub phase: Phase,
    /// It takes the video, the audio, or both.
    pub takes_video: bool,
    /// See `takes_video`.
    pub takes_audio: bool,
    /// The lane that its video comes from.
    pub lane: u8,
    /// The lane that it is to come from once that has a keyframe; the same: it stays.
    pub next_lane: u8,
    /// Its place among the adaptations, if it watches a stream with layers.
    pub adaptation: u32,
    /// What it is to be sent of layered frames, as soon as that can be.
    pub next_cap: Cap,
    /// It is in the list of viewers that the egress had no room for.
    pub is_blocked: bool,
    /// It is in the list of viewers that catch up.
    pub is_joining: bool,
    /// One of its indexes is used up: nothing more may be sealed.
    pub is_worn: bool,
    /// It takes nothing: it is the way to and from the publisher of its stream.
    pub is_publisher: bool,
    /// It is sent its lane whole, whatever its path carries: see [`link::command::Encoding`].
    pub is_fixed: bool,
    /// It has another viewer's keys, address and life.
    pub is_part: bool,
    /// The selected pair: where it is, and our address it talks to.
    pub to: RxMeta,
    /// Position in the log up to which it got all that is live.
    pub cursor: u64,
    /// While it catches up: position of the next video packet.
    pub replay: u64,
    /// What catching up may send now.
    pub bucket: Bucket,
    /// Neighbours in the ring of the stream's viewers.
    pub next: u32,
    /// See `next`.
    pub prev: u32,
    /// What it was sent since it came.
    pub sent: Sent,
    /// Its cell in shared memory.
    pub cell: Cell,
    /// First indexes not leased yet, as in the cell.
    pub leases: [u64; LEASES],
    /// Its tracks.
    pub tracks: [OutTrack; TRACKS_MAX],
    /// Seals what goes to it.
    pub sealer: Sealer,
    /// What comes rarely.
    pub cold: Cold,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// RTP packets, retransmissions too.
    pub packets: u64,
    /// Bytes of them, without UDP and IP.
    pub bytes: u64,
    /// Retransmitted packets.
    pub retransmitted: u64,
}

/// The part of a viewer that only feedback, checks and timers touch.
pub struct Cold {
    /// Opens its SRTCP.
    pub opener: RtcpOpener,
    /// Our credentials.
    pub ice: IceCredentials,
    /// Those of an ICE restart that has not moved it yet.
    pub ice_next: Option<IceCredentials>,
    /// The last valid check, on any pair.
    pub checked_at: Time,
    /// The last valid check on the selected pair.
    pub selected_at: Time,
    /// The last authentic RTCP; of a publisher, the last authentic packet.
    pub heard_at: Time,
    /// When the last source of a publisher said goodbye; `ZERO`: it goes on.
    pub bye_at: Time,
    /// Pairs on which valid checks came.
    pub paths: [Option<RxMeta>; PATHS_MAX],
    /// We send the checks and nominate: the peer is a server that we have called.
    pub is_controlling: bool,
    /// The checks that came last: one that was overheard and is repeated must not move it.
    pub checks: Lately,
    /// What repairs may cost now.
    pub repair: Bucket,
    /// What was sent again just now.
    pub resent: Resent,
    /// Where its repairs wait.
    pub repairs_line: u32,
    /// Its calls for keyframes.
    pub pleas: Pleas,
    /// When the next report is due.
    pub report_at: Time,
    /// The next SRTCP index.
    pub rtcp_index: u64,
    /// A clock of the peer that wants its echo.
    pub echo: Option<Echo>,
    /// What the viewer says of how it receives.
    pub quality: Quality,
    /// What it may be sent of the layers that there are.
    pub pin: Pin,
    /// Its place in the list of viewers in use.
    pub active_at: u32,
    /// Slots of the viewers that have their keys of this one.
    pub parts: Parts,
    /// The slot of the viewer whose keys it has.
    pub leader: u32,
    /// Its keys, for the worker that takes the place of this one.
    pub keys: Zeroizing<SrtpKeys>,
    /// Which of several encodings it is sent.
    pub encoding: Option<Encoding>,
}

impl Viewer {
    /// A viewer that has been sent nothing and is in no list.
    ///
    /// # Errors
    /// The keys cannot be used.
    pub fn new(
        now: Time,
        add: &AddViewer,
        cell: Cell,
        cipher: Cipher,
        random: &mut Random,
    ) -> Result<Self, KeyError> {
        let to = RxMeta {
            peer: add.peer,
            local: add.local,
        };
        let tracks = unleased(add, &cell).each_ref().map(OutTrack::new);
        let rtcp_index = add.rtcp_first_index.max(cell.lease(Lease::Rtcp));
        let lane = add.encoding.map_or(FIRST_LANE, |one| one.lane);
        let mut paths = [None; PATHS_MAX];
        paths[0] = Some(to);
        let viewer = Self {
            id: add.viewer,
            stream: add.stream.index,
            phase: Phase::Waiting,
            takes_video: tracks[VIDEO].is_taken(),
            takes_audio: tracks[AUDIO].is_taken(),
            lane,
            next_lane: lane,
            adaptation: crate::layers::NONE,
            next_cap: Cap::NONE,
            is_blocked: false,
            is_joining: false,
            is_worn: false,
            is_publisher: !tracks.iter().any(OutTrack::is_taken),
            is_fixed: add.encoding.is_some(),
            is_part: add.encoding.is_some_and(|one| one.leader != add.viewer),
            to,
            cursor: 0,
            replay: 0,
            bucket: Bucket::holding(CATCH_UP_BURST_BYTES, now),
            next: u32::MAX,
            prev: u32::MAX,
            sent: Sent::default(),
            leases: [0; LEASES],
            cell,
            tracks,
            sealer: Sealer::with(&secret(add.keys.profile, &add.keys.send)?, cipher)?,
            cold: Cold {
                opener: RtcpOpener::new(&secret(add.keys.profile, &add.keys.receive)?),
                ice: add.ice,
                ice_next: None,
                checked_at: now,
                selected_at: now,
                is_controlling: false,
                heard_at: now,
                bye_at: Time::ZERO,
                paths,
                checks: Lately::default(),
                repair: Bucket::holding(REPAIR_BURST_BYTES, now),
                resent: Resent::new(),
                repairs_line: crate::asked::NONE,
                pleas: Pleas::default(),
                // The first one soon: without it the peer cannot align audio and video. After
                // that the random start spreads the reports of all viewers over the second.
                report_at: now + Span::millis(u64::from(random.below(200))),
                rtcp_index,
                echo: None,
                quality: Quality::default(),
                pin: Pin::NONE,
                active_at: u32::MAX,
                parts: Parts::default(),
                leader: u32::MAX,
                keys: Zeroizing::new(add.keys),
                encoding: add.encoding,
            },
        };
        Ok(viewer)
    }

    /// The lanes that it gets as they come.
    #[inline]
    pub fn live(&self) -> Lanes {
        let mut lanes = Lanes::default();
        if self.takes_audio {
            lanes = lanes.with(AUDIO);
        }
        if self.takes_video && self.phase == Phase::Live {
            lanes = lanes.with(usize::from(self.lane));
        }
        lanes
    }

    /// What was chosen for it.
    pub fn next_point(&self) -> Point {
        Point {
            lane: self.next_lane,
            cap: self.next_cap,
        }
    }

    /// What of layered frames is to be sent from now on, as soon as that can be: what was chosen
    /// together with another lane waits for that.
    #[inline]
    pub fn wanted_cap(&self) -> Cap {
        if self.lane == self.next_lane {
            self.next_cap
        } else {
            self.tracks[VIDEO].cap
        }
    }

    /// The lane of its video alone.
    #[inline]
    pub fn video(&self) -> Lanes {
        Lanes::only(usize::from(self.lane))
    }

    /// Takes over what was negotiated anew.
    pub fn renegotiate(&mut self, add: &AddViewer) {
        if self.is_publisher {
            return;
        }
        for (track, out) in self.tracks.iter_mut().zip(&add.tracks) {
            track.renegotiate(out);
        }
        self.takes_video = self.tracks[VIDEO].is_taken();
        self.takes_audio = self.tracks[AUDIO].is_taken();
    }

    /// Leases the indexes of `packets` more of this track before they are used.
    /// False: the key has none left.
    #[inline]
    pub fn lease(&mut self, track: usize, packets: u64) -> bool {
        let end = self.tracks[track].next_index + packets;
        self.cover(TRACK_LEASES[track][0], end);
        end <= RTP_INDEX_END
    }

    /// The same for retransmissions.
    pub fn lease_rtx(&mut self, track: usize, packets: u64) -> bool {
        let end = self.tracks[track].rtx_next_index + packets;
        self.cover(TRACK_LEASES[track][1], end);
        end <= RTP_INDEX_END
    }

    /// The same for one SRTCP packet: its index.
    pub fn lease_rtcp(&mut self) -> Option<u32> {
        let index = self.cold.rtcp_index;
        if index >= RTCP_INDEX_END {
            return None;
        }
        self.cover(Lease::Rtcp, index + 1);
        self.cold.rtcp_index = index + 1;
        u32::try_from(index).ok()
    }

    #[inline]
    fn cover(&mut self, lease: Lease, end: u64) {
        let leased = &mut self.leases[lease as usize];
        if end > *leased {
            *leased = end + LEASE_BLOCK;
            self.cell.raise_lease(lease, *leased);
        }
    }

    /// Writes the first leases of a viewer that is new here.
    pub fn begin_leases(&mut self) {
        for (track, [media, rtx]) in TRACK_LEASES.into_iter().enumerate() {
            self.cover(media, self.tracks[track].next_index + 1);
            self.cover(rtx, self.tracks[track].rtx_next_index + 1);
        }
        self.cover(Lease::Rtcp, self.cold.rtcp_index + 1);
    }
}

/// The tracks of a viewer, behind all that was leased for them whatever the command says: it may
/// have been on its way since before another worker died.
fn unleased(add: &AddViewer, cell: &Cell) -> [TrackOut; TRACKS_MAX] {
    let mut tracks = add.tracks;
    for (out, [media, rtx]) in tracks.iter_mut().zip(TRACK_LEASES) {
        out.first_index = out.first_index.max(cell.lease(media));
        out.rtx_first_index = out.rtx_first_index.max(cell.lease(rtx));
    }
    tracks
}

/// One after the last index of SRTP: 48 bits (RFC 3711 section 9.2).
const RTP_INDEX_END: u64 = 1 << 48;

/// One after the last index of SRTCP: 31 bits.
const RTCP_INDEX_END: u64 = 1 << 31;

/// The secret of one direction.
pub fn secret(profile: Profile, master: &MasterKey) -> Result<Secret, KeyError> {
    Secret::new(
        profile,
        &master.key[..profile.key_bytes()],
        &master.salt[..profile.salt_bytes()],
    )
}

#[cfg(test)]
mod tests;
