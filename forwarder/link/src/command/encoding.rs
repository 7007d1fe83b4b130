//! Owns the bytes of a command: 32-bit kind, then the fields in their order, little-endian.

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

use super::{
    AddPublisher, AddViewer, Codec, Command, EXT_BYTES_MAX, Encoding, Hears, IceCredentials,
    Origin, PassPublisher, Pin, Rid, TrackIn, TrackOut, Wants,
};
use crate::codec::{Put, Take};
use crate::elements::KINDS;
use crate::ids::{CoreId, StreamId, ViewerId};
use crate::keys::{MasterKey, Profile, SrtpKeys};
use crate::lanes::{LANES_MAX, Lanes};
use wire::peer::{Ip, Peer};

/// Bytes of an encoded command: the longest, [`AddPublisher`], takes 357; the rest is room to grow.
pub const COMMAND_BYTES: usize = 384;

/// Largest SRTP index: 32 bits of roll-over counter and 16 of sequence number (RFC 3711).
const INDEX_MAX: u64 = (1 << 48) - 1;

/// Largest SRTCP index (RFC 3711 section 3.4).
const RTCP_INDEX_MAX: u64 = (1 << 31) - 1;

const ADD_VIEWER: u32 = 1;
const REMOVE_VIEWER: u32 = 2;
const RESTART_ICE: u32 = 3;
const ADD_PUBLISHER: u32 = 4;
const REMOVE_PUBLISHER: u32 = 5;
const CLOSE_STREAM: u32 = 6;
const ASK_KEYFRAME: u32 = 7;
const CHOOSE_LAYER: u32 = 8;
const PASS_PUBLISHER: u32 = 9;
const CONSENT: u32 = 10;

/// Largest id of a one-byte header extension (RFC 8285 section 4.2).
const EXT_ID_MAX: u8 = 14;

/// No extension has this id, in whatever form.
const EXT_ID_RESERVED: u8 = 15;

/// Stands for no lane.
const NO_LANE: u8 = u8::MAX;

impl Command {
    /// Writes this command; bytes that it does not need are zero.
    pub fn encode(&self, bytes: &mut [u8; COMMAND_BYTES]) {
        let mut put = Put::new(bytes);
        match self {
            Self::AddViewer(add) => put_viewer(put.u32(ADD_VIEWER), add),
            Self::RemoveViewer(viewer) => put_id(put.u32(REMOVE_VIEWER), *viewer),
            Self::RestartIce { viewer, ice } => {
                put_id(put.u32(RESTART_ICE), *viewer);
                put_ice(&mut put, ice);
            }
            Self::AddPublisher(add) => put_publisher(put.u32(ADD_PUBLISHER), add),
            Self::PassPublisher(pass) => {
                put_stream(put.u32(PASS_PUBLISHER), pass.stream);
                put.u16(pass.core.0);
                for peer in pass.peers {
                    put_peer(&mut put, peer);
                }
            }
            Self::RemovePublisher(stream) => put_stream(put.u32(REMOVE_PUBLISHER), *stream),
            Self::CloseStream(stream) => put_stream(put.u32(CLOSE_STREAM), *stream),
            Self::AskKeyframe(stream, lanes) => {
                put_stream(put.u32(ASK_KEYFRAME), *stream);
                put.u8(lanes.0);
            }
            Self::ChooseLayer(viewer, pin) => {
                put_id(put.u32(CHOOSE_LAYER), *viewer);
                put.u8(pin.lane.unwrap_or(NO_LANE));
                put.u8(pin.spatial_max).u8(pin.temporal_max);
            }
            Self::Consent(viewer) => put_id(put.u32(CONSENT), *viewer),
        }
    }

    /// Reads a command. `None`: not one that this side knows, or a field is out of its range.
    #[must_use]
    pub fn decode(bytes: &[u8; COMMAND_BYTES]) -> Option<Self> {
        let mut take = Take::new(bytes);
        Some(match take.u32()? {
            ADD_VIEWER => Self::AddViewer(take_viewer(&mut take)?),
            REMOVE_VIEWER => Self::RemoveViewer(take_id(&mut take)?),
            RESTART_ICE => Self::RestartIce {
                viewer: take_id(&mut take)?,
                ice: take_ice(&mut take)?,
            },
            ADD_PUBLISHER => Self::AddPublisher(take_publisher(&mut take)?),
            PASS_PUBLISHER => Self::PassPublisher(PassPublisher {
                stream: take_stream(&mut take)?,
                core: CoreId(take.u16()?),
                peers: [take_peer(&mut take)?, take_peer(&mut take)?],
            }),
            REMOVE_PUBLISHER => Self::RemovePublisher(take_stream(&mut take)?),
            CLOSE_STREAM => Self::CloseStream(take_stream(&mut take)?),
            ASK_KEYFRAME => Self::AskKeyframe(take_stream(&mut take)?, take_lanes(&mut take)?),
            CHOOSE_LAYER => Self::ChooseLayer(take_id(&mut take)?, take_pin(&mut take)?),
            CONSENT => Self::Consent(take_id(&mut take)?),
            _ => return None,
        })
    }
}

fn put_viewer(put: &mut Put<'_>, add: &AddViewer) {
    put_id(put, add.viewer);
    put_stream(put, add.stream);
    put_peer(put, add.peer);
    put.bytes(&add.local.0);
    put_ice(put, &add.ice);
    put_keys(put, &add.keys);
    for track in &add.tracks {
        put_track(put, track);
    }
    put.u64(add.rtcp_first_index);
    // No generation is 0.
    put_id(put, add.encoding.map(|one| one.leader).unwrap_or_default());
    put.u8(add.encoding.map_or(0, |one| one.lane));
    for track in &add.tracks {
        put.u8(track.hears.encode());
    }
}

fn take_viewer(take: &mut Take<'_>) -> Option<AddViewer> {
    let mut add = AddViewer {
        viewer: take_id(take)?,
        stream: take_stream(take)?,
        peer: take_peer(take)?,
        local: Ip(take.array()?),
        ice: take_ice(take)?,
        keys: take_keys(take)?,
        tracks: [take_track(take)?, take_track(take)?],
        rtcp_first_index: take.u64().filter(|index| *index <= RTCP_INDEX_MAX)?,
        encoding: {
            let leader = take_id(take)?;
            let lane = take.u8().filter(|lane| usize::from(*lane) < LANES_MAX)?;
            (leader != ViewerId::default()).then_some(Encoding { leader, lane })
        },
    };
    for track in &mut add.tracks {
        track.hears = Hears::decode(take.u8()?)?;
    }
    Some(add)
}

fn put_publisher(put: &mut Put<'_>, add: &AddPublisher) {
    put_stream(put, add.stream);
    // No generation is 0.
    put_id(put, add.viewer.unwrap_or_default());
    put_peer(put, add.peer);
    put_keys(put, &add.keys);
    put_peer(put, add.audio.peer);
    put.u32(add.audio.profile as u32);
    put_key(put, &add.audio.key);
    for lane in &add.lanes {
        put.u32(lane.ssrc).u32(lane.rtx_ssrc).u32(lane.clock_hz);
        put.u8(lane.payload_type).u8(lane.rtx_payload_type);
        put.u8(lane.codec as u8).u8(lane.wants.0);
        put.bytes(&lane.rid.0);
        put.bytes(&lane.elements).u8(lane.red_payload_type);
    }
    put.u8(add.rid_id)
        .u8(add.repaired_rid_id)
        .u8(add.transport_cc_id)
        .u64(add.remb_bps);
}

fn take_publisher(take: &mut Take<'_>) -> Option<AddPublisher> {
    Some(AddPublisher {
        stream: take_stream(take)?,
        viewer: take_id(take).map(|id| (id != ViewerId::default()).then_some(id))?,
        peer: take_peer(take)?,
        keys: take_keys(take)?,
        audio: Origin {
            peer: take_peer(take)?,
            profile: take_profile(take)?,
            key: take_key(take)?,
        },
        lanes: {
            let mut lanes = [TrackIn::default(); LANES_MAX];
            for lane in &mut lanes {
                *lane = take_track_in(take)?;
            }
            lanes
        },
        rid_id: take_ext_id(take)?,
        repaired_rid_id: take_ext_id(take)?,
        transport_cc_id: take_ext_id(take)?,
        remb_bps: take.u64()?,
    })
}

fn take_ext_id(take: &mut Take<'_>) -> Option<u8> {
    take.u8().filter(|id| *id <= EXT_ID_MAX)
}

fn take_elements(take: &mut Take<'_>) -> Option<[u8; KINDS]> {
    let ids = take.array()?;
    // RFC 8285 section 4.2: 15 is reserved where elements have one byte.
    ids.iter().all(|id| *id != EXT_ID_RESERVED).then_some(ids)
}

pub(crate) fn take_lanes(take: &mut Take<'_>) -> Option<Lanes> {
    take.u8().filter(|lanes| *lanes <= Lanes::ALL.0).map(Lanes)
}

fn take_pin(take: &mut Take<'_>) -> Option<Pin> {
    let lane = take
        .u8()
        .filter(|lane| *lane == NO_LANE || usize::from(*lane) < LANES_MAX)?;
    Some(Pin {
        lane: (lane != NO_LANE).then_some(lane),
        spatial_max: take.u8()?,
        temporal_max: take.u8()?,
    })
}

fn take_track_in(take: &mut Take<'_>) -> Option<TrackIn> {
    let track = TrackIn {
        ssrc: take.u32()?,
        rtx_ssrc: take.u32()?,
        clock_hz: take.u32()?,
        payload_type: take.u8()?,
        rtx_payload_type: take.u8()?,
        codec: match take.u8()? {
            0 => Codec::Unknown,
            1 => Codec::H264,
            2 => Codec::H265,
            3 => Codec::Vp8,
            4 => Codec::Vp9,
            5 => Codec::Av1,
            _ => return None,
        },
        wants: take
            .u8()
            .filter(|wants| *wants <= Wants::ALL.0)
            .map(Wants)?,
        rid: Rid(take.array()?),
        elements: take_elements(take)?,
        red_payload_type: take.u8()?,
    };
    let types = [
        track.payload_type,
        track.rtx_payload_type,
        track.red_payload_type,
    ];
    types.iter().all(|id| *id < 128).then_some(track)
}

fn put_track(put: &mut Put<'_>, track: &TrackOut) {
    put.u32(track.ssrc).u32(track.rtx_ssrc).u32(track.clock_hz);
    put.u32(track.timestamp_offset);
    put.u8(track.payload_type).u8(track.rtx_payload_type);
    put.u8(track.ext_bytes)
        .u8(track.transport_cc_at)
        .bytes(&track.ext);
    put.bytes(&track.elements).u8(track.red_payload_type);
    put.u8(track.name_at).u8(track.repaired_rid_id);
    put.u64(track.first_index).u64(track.rtx_first_index);
}

fn take_track(take: &mut Take<'_>) -> Option<TrackOut> {
    let track = TrackOut {
        ssrc: take.u32()?,
        rtx_ssrc: take.u32()?,
        clock_hz: take.u32()?,
        timestamp_offset: take.u32()?,
        payload_type: take.u8()?,
        rtx_payload_type: take.u8()?,
        ext_bytes: take.u8()?,
        transport_cc_at: take.u8()?,
        ext: take.array()?,
        elements: take_elements(take)?,
        red_payload_type: take.u8()?,
        name_at: take.u8()?,
        repaired_rid_id: take_ext_id(take)?,
        // It is behind both tracks.
        hears: Hears::ALL,
        first_index: take.u64()?,
        rtx_first_index: take.u64()?,
    };
    let legal = track.payload_type < 128
        && track.rtx_payload_type < 128
        && track.red_payload_type < 128
        && usize::from(track.ext_bytes) <= EXT_BYTES_MAX
        && track.ext_bytes.is_multiple_of(4)
        && (track.transport_cc_at == 0
            || u16::from(track.transport_cc_at) + 2 <= u16::from(track.ext_bytes))
        && (track.name_at == 0 || track.name_at < track.ext_bytes)
        && track.first_index <= INDEX_MAX
        && track.rtx_first_index <= INDEX_MAX;
    legal.then_some(track)
}

fn put_keys(put: &mut Put<'_>, keys: &SrtpKeys) {
    put.u32(keys.profile as u32);
    for key in [&keys.send, &keys.receive] {
        put_key(put, key);
    }
}

fn take_keys(take: &mut Take<'_>) -> Option<SrtpKeys> {
    Some(SrtpKeys {
        profile: take_profile(take)?,
        send: take_key(take)?,
        receive: take_key(take)?,
    })
}

fn take_profile(take: &mut Take<'_>) -> Option<Profile> {
    match u16::try_from(take.u32()?).ok()? {
        0 => Some(Profile::Plain),
        id => Profile::from_id(id),
    }
}

fn put_key(put: &mut Put<'_>, key: &MasterKey) {
    put.bytes(&key.key).bytes(&key.salt);
}

fn take_key(take: &mut Take<'_>) -> Option<MasterKey> {
    Some(MasterKey {
        key: take.array()?,
        salt: take.array()?,
    })
}

fn put_ice(put: &mut Put<'_>, ice: &IceCredentials) {
    put.bytes(&ice.ufrag).bytes(&ice.pwd);
}

fn take_ice(take: &mut Take<'_>) -> Option<IceCredentials> {
    Some(IceCredentials {
        ufrag: take.array()?,
        pwd: take.array()?,
    })
}

pub(crate) fn put_peer(put: &mut Put<'_>, peer: Peer) {
    put.bytes(&peer.ip.0).u16(peer.port);
}

pub(crate) fn take_peer(take: &mut Take<'_>) -> Option<Peer> {
    Some(Peer {
        ip: Ip(take.array()?),
        port: take.u16()?,
    })
}

pub(crate) fn put_id(put: &mut Put<'_>, viewer: ViewerId) {
    put.u32(viewer.index).u32(viewer.generation);
}

pub(crate) fn take_id(take: &mut Take<'_>) -> Option<ViewerId> {
    Some(ViewerId {
        index: take.u32()?,
        generation: take.u32()?,
    })
}

pub(crate) fn put_stream(put: &mut Put<'_>, stream: StreamId) {
    put.u32(stream.index).u32(stream.generation);
}

pub(crate) fn take_stream(take: &mut Take<'_>) -> Option<StreamId> {
    Some(StreamId {
        index: take.u32()?,
        generation: take.u32()?,
    })
}
