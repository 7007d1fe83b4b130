//! A publisher's MPEG-TS in, RTP payloads with all that is known of them out. Sans-IO.
//!
//! [`Ingest`] is the whole of it: bytes and time go in, [`Output`]s come out. [`clip::Looper`]
//! plays a recorded clip for ever, for a page that shows a picture at once.
//!
//! The way of a byte: `ts` (packets) - `psi`, `demux` (which of them) - `pes` (whole) - `video`
//! (`nal`, `sps`, `reorder`, `packetise`) or `audio` (`aac`, `sbr`, `transcode`, `opus_ts`) -
//! `clock` (when) - `outbox` (in which order, at which pace).
#![forbid(unsafe_code)]

mod aac;
mod audio;
mod bits;
pub mod clip;
mod clock;
mod context;
mod demux;
mod frame;
mod ingest;
mod nal;
mod notice;
mod num;
mod opus_ts;
mod outbox;
mod output;
mod packetise;
mod pes;
mod psi;
mod reorder;
mod sbr;
mod sps;
mod transcode;
mod ts;
mod video;

pub use ingest::Ingest;
pub use notice::{Notice, Severity};
pub use outbox::{CHUNK_PACKETS, KEY_SPREAD_MAX, QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX, SPREAD_MAX};
pub use output::{
    Audio, AudioSource, BframePolicy, Config, Continuation, Counters, Description, Mark,
    OPUS_BITRATE_DEFAULT, Output, PAYLOAD_MAX_DEFAULT, PAYLOAD_MAX_LEAST, Packet, Profile, Track,
    Video, VideoCodec,
};
