//! Owns what a sequence parameter set says of a picture: profile, size, frame rate.

use crate::bits::Bits;
use crate::output::{Profile, VideoCodec};
use h264_reader::nal::sps::{ChromaFormat, SeqParameterSet};
use h264_reader::rbsp::{self, BitReader};

/// Largest side of a picture that is believed.
const SIDE_MAX: u32 = 16_384;

/// Bits before `sub_layer_flags` in profile_tier_level (H.265 section 7.3.3).
const GENERAL_PROFILE_BITS: usize = 88;

/// What a sequence parameter set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) profile: Profile,
    /// 0 by 0: not readable.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frames_per_1000_s: Option<u32>,
    /// Why browsers will not decode it, if so.
    pub(crate) undecodable: Option<&'static str>,
}

/// Reads a sequence parameter set. `None`: too short to even hold profile and level.
pub(crate) fn read(codec: VideoCodec, nal: &[u8]) -> Option<Picture> {
    match codec {
        VideoCodec::H264 => read_h264(nal),
        VideoCodec::H265 => read_h265(nal),
    }
}

fn read_h264(nal: &[u8]) -> Option<Picture> {
    let [_, profile, constraints, level, ..] = *nal else {
        return None;
    };
    let mut picture = Picture {
        profile: Profile::H264([profile, constraints, level]),
        width: 0,
        height: 0,
        frames_per_1000_s: None,
        undecodable: None,
    };
    let Ok(rbsp) = rbsp::decode_nal(nal) else {
        return Some(picture);
    };
    let Ok(sps) = SeqParameterSet::from_bits(BitReader::new(&*rbsp)) else {
        return Some(picture);
    };
    if let Ok((width, height)) = sps.pixel_dimensions() {
        (picture.width, picture.height) = believed(width, height);
    }
    picture.frames_per_1000_s = sps.fps().and_then(frame_rate);
    let chroma = &sps.chroma_info;
    picture.undecodable = if chroma.bit_depth_luma_minus8 > 0 {
        Some("more than 8 bits a sample")
    } else if matches!(
        chroma.chroma_format,
        ChromaFormat::YUV420 | ChromaFormat::Monochrome
    ) {
        None
    } else {
        Some("chroma format other than 4:2:0")
    };
    Some(picture)
}

/// Frames in 1,000 s of a rate that can be one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0.1 to 1000 * 1000"
)]
fn frame_rate(rate: f64) -> Option<u32> {
    (0.1..=1000.0)
        .contains(&rate)
        .then(|| (rate * 1000.0).round() as u32)
}

fn believed(width: u32, height: u32) -> (u32, u32) {
    let side = 1..=SIDE_MAX;
    if side.contains(&width) && side.contains(&height) {
        (width, height)
    } else {
        (0, 0)
    }
}

/// Passes over everything before the id of an H.265 sequence parameter set.
pub(crate) fn skip_h265_profile(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(4)?;
    let sub_layers = bits.uint(3)?;
    bits.skip(1)?;
    bits.skip(GENERAL_PROFILE_BITS + 8)?;
    let mut flags = [(false, false); 7];
    for flag in flags.iter_mut().take(usize::try_from(sub_layers).ok()?) {
        *flag = (bits.flag()?, bits.flag()?);
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - usize::try_from(sub_layers).ok()?))?;
    }
    for (profile, level) in flags {
        bits.skip(if profile { GENERAL_PROFILE_BITS } else { 0 })?;
        bits.skip(if level { 8 } else { 0 })?;
    }
    Some(())
}

/// H.265 section 7.3.2.2, as far as the bit depths.
fn read_h265(nal: &[u8]) -> Option<Picture> {
    let mut general = Bits::rbsp(nal.get(2..)?);
    general.skip(8 + 2)?;
    let tier = u8::from(general.flag()?);
    let profile = u8::try_from(general.uint(5)?).ok()?;
    general.skip(GENERAL_PROFILE_BITS - 8)?;
    let level = u8::try_from(general.uint(8)?).ok()?;
    let mut picture = Picture {
        profile: Profile::H265 {
            profile,
            tier,
            level,
        },
        width: 0,
        height: 0,
        frames_per_1000_s: None,
        undecodable: Some("H.265"),
    };
    if let Some((width, height)) = h265_size(Bits::rbsp(&nal[2..])) {
        (picture.width, picture.height) = believed(width, height);
    }
    Some(picture)
}

fn h265_size(mut bits: Bits<'_>) -> Option<(u32, u32)> {
    skip_h265_profile(&mut bits)?;
    bits.ue()?; // id
    let chroma = bits.ue()?;
    if chroma == 3 {
        bits.skip(1)?;
    }
    let (mut width, mut height) = (bits.ue()?, bits.ue()?);
    if bits.flag()? {
        let unit_x = if chroma == 1 || chroma == 2 { 2 } else { 1 };
        let unit_y = if chroma == 1 { 2 } else { 1 };
        let (left, right) = (bits.ue()?, bits.ue()?);
        let (top, bottom) = (bits.ue()?, bits.ue()?);
        width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
        height = height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
    }
    Some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 640x360, High, level 3.0, 30 frames a second, as x264 writes it.
    const X264: [u8; 25] = [
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03,
        0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2d,
    ];

    #[test]
    fn reads_h264() {
        let mut nal = X264.to_vec();
        nal.push(0x96);
        let picture = read(VideoCodec::H264, &nal).unwrap();
        assert_eq!(picture.profile, Profile::H264([0x64, 0, 0x1e]));
        assert_eq!((picture.width, picture.height), (640, 360));
        assert_eq!(picture.frames_per_1000_s, Some(30_000));
        assert_eq!(picture.undecodable, None);
    }

    proptest! {
        #[test]
        fn noise_is_read(mut nal in proptest::collection::vec(any::<u8>(), 1..80)) {
            nal[0] = 0x67;
            let _ = read(VideoCodec::H264, &nal);
            nal[0] = 0x42;
            let _ = read(VideoCodec::H265, &nal);
        }

        #[test]
        fn damage_is_read(at in 0usize..25, byte: u8) {
            let mut nal = X264;
            nal[at] = byte;
            let _ = read(VideoCodec::H264, &nal);
        }
    }
}
