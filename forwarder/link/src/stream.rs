//! Owns what is said about a stream beside its packets: its name and what its tracks are.

use crate::codec::{Put, Take};
use crate::command::TRACKS_MAX;
use crate::heard::HeardCell;
use crate::log::LogHead;
use crate::text::Text;

/// Most bytes of a stream's name.
pub const NAME_BYTES: usize = Text::<NAME_WORDS>::BYTES_MAX;

/// Most bytes of a track's format parameters.
pub const FMTP_BYTES: usize = Text::<TRACK_WORDS>::BYTES_MAX - TRACK_HEAD_BYTES;

const NAME_WORDS: usize = 32;
const TRACK_WORDS: usize = 64;
const TRACK_HEAD_BYTES: usize = 20;

/// What a track is coded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Format {
    /// RFC 6184.
    H264 = 1,
    /// RFC 7798.
    H265 = 2,
    /// RFC 7587.
    Opus = 3,
    /// RFC 7741.
    Vp8 = 4,
    /// RFC 9628.
    Vp9 = 5,
    /// RTP payload format for AV1, version 1.0.0.
    Av1 = 6,
}

/// What has to be known of a track to offer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// What it is coded with.
    pub format: Format,
    /// RTP clock in Hz.
    pub clock_hz: u32,
    /// Audio channels; 0 for video.
    pub channels: u8,
    /// Pixels across; 0: audio, or not known.
    pub width: u16,
    /// Pixels down; 0: audio, or not known.
    pub height: u16,
    /// Frames in 1,000 seconds; 0: audio, or not known.
    pub frame_rate_milli: u32,
    /// Format parameters as in SDP, without payload type; at most [`FMTP_BYTES`] bytes.
    pub fmtp: String,
}

/// One stream in shared memory.
#[derive(zerocopy::FromBytes)]
#[repr(C, align(64))]
pub(crate) struct StreamCell {
    pub(crate) log: LogHead,
    pub(crate) name: Text<NAME_WORDS>,
    pub(crate) tracks: [Text<TRACK_WORDS>; TRACKS_MAX],
    pub(crate) heard: HeardCell,
}

impl Description {
    /// `None`: the format parameters are too long.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        if self.fmtp.len() > FMTP_BYTES {
            return None;
        }
        let mut bytes = vec![0; TRACK_HEAD_BYTES + self.fmtp.len()];
        let mut put = Put::new(&mut bytes);
        put.u32(self.format as u32)
            .u32(self.clock_hz)
            .u32(self.frame_rate_milli);
        put.u16(self.width)
            .u16(self.height)
            .u32(self.channels.into());
        put.bytes(self.fmtp.as_bytes());
        Some(bytes)
    }

    /// `None`: no description, or one of a format that this build does not know.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take::new(bytes);
        let format = match take.u32()? {
            1 => Format::H264,
            2 => Format::H265,
            3 => Format::Opus,
            4 => Format::Vp8,
            5 => Format::Vp9,
            6 => Format::Av1,
            _ => return None,
        };
        Some(Self {
            format,
            clock_hz: take.u32()?,
            frame_rate_milli: take.u32()?,
            width: take.u16()?,
            height: take.u16()?,
            channels: u8::try_from(take.u32()?).ok()?,
            fmtp: String::from_utf8(take.rest().to_vec()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What another release has written: what is read is written back as it was.
        #[test]
        fn any_bytes_are_a_description_or_none(
            format in 0..8_u32,
            channels in 0..512_u32,
            head in any::<[u8; 12]>(),
            fmtp in "[ -~]{0,40}",
            cut in 0..80_usize,
        ) {
            let mut bytes = [&format.to_le_bytes()[..], &head, &channels.to_le_bytes()].concat();
            bytes.extend(fmtp.as_bytes());
            let read = Description::decode(&bytes);
            prop_assert_eq!(read.is_some(), (1..=6).contains(&format) && channels < 256);
            if let Some(read) = read {
                prop_assert_eq!(read.encode(), Some(bytes.clone()));
            }
            let _ = Description::decode(&bytes[..cut.min(bytes.len())]);
        }
    }
}
