//! Owns NAL units: splitting Annex B, telling what a unit is, keeping parameter sets.

use crate::bits::Bits;
use crate::output::VideoCodec;
use core::ops::Range;

/// Most bytes of one parameter set that is kept. Real ones have 10 to 100.
const SET_BYTES_MAX: usize = 1024;

/// Most parameter sets that are kept of each sort; the one that came longest ago goes. Real
/// streams have one, or a few PPS.
const SETS_MAX: usize = 4;

/// What a NAL unit is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Goes no further: filler, delimiters, what browsers do not read.
    Drop,
    /// Begins an access unit.
    Delimiter,
    /// A parameter set.
    Set(SetKind),
    /// Says that a decoder may start here although there is no IDR frame.
    Recovery,
    /// A slice.
    Slice {
        /// A decoder can start here.
        key: bool,
        /// Nothing refers to it.
        disposable: bool,
    },
}

/// Sorts of parameter sets, in the order they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SetKind {
    Vps,
    Sps,
    Pps,
}

/// Ranges of the NAL units in Annex B bytes, without start codes and trailing zeros.
pub(crate) fn split(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut next = find_start_code(bytes, 0);
    core::iter::from_fn(move || {
        let begin = next? + 3;
        next = find_start_code(bytes, begin);
        let end = next.unwrap_or(bytes.len());
        let used = bytes[begin..end]
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |at| at + 1);
        Some(begin..begin + used)
    })
    .filter(|range| !range.is_empty())
}

/// Offset of the next `00 00 01` from `from` on.
fn find_start_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(&third) = bytes.get(at + 2) {
        match third {
            0 => at += 1,
            1 if bytes[at] == 0 && bytes[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}

/// What this NAL unit is.
pub(crate) fn classify(codec: VideoCodec, nal: &[u8]) -> Class {
    match codec {
        VideoCodec::H264 => classify_h264(nal),
        VideoCodec::H265 => classify_h265(nal),
    }
}

/// Table 7-1 of H.264.
fn classify_h264(nal: &[u8]) -> Class {
    let disposable = nal[0] & 0x60 == 0;
    match nal[0] & 0x1f {
        1..=4 => Class::Slice {
            key: false,
            disposable,
        },
        5 => Class::Slice {
            key: true,
            disposable: false,
        },
        6 if has_recovery_point(&nal[1..]) => Class::Recovery,
        7 => Class::Set(SetKind::Sps),
        8 => Class::Set(SetKind::Pps),
        9 => Class::Delimiter,
        // Other SEI, end of sequence, filler, and the types of SVC and MVC.
        _ => Class::Drop,
    }
}

/// Table 7-1 of H.265.
fn classify_h265(nal: &[u8]) -> Class {
    let (Some(&second), kind) = (nal.get(1), nal[0] >> 1 & 0x3f) else {
        return Class::Drop;
    };
    // Only the base layer, as RFC 7798 without its scalable extensions.
    if nal[0] & 1 != 0 || second & 0xf8 != 0 || second & 7 == 0 {
        return Class::Drop;
    }
    match kind {
        // Even types below 16 are not referred to within their sub-layer.
        0..=15 => Class::Slice {
            key: false,
            disposable: kind % 2 == 0,
        },
        16..=21 => Class::Slice {
            key: true,
            disposable: false,
        },
        32 => Class::Set(SetKind::Vps),
        33 => Class::Set(SetKind::Sps),
        34 => Class::Set(SetKind::Pps),
        35 => Class::Delimiter,
        39 if has_recovery_point(&nal[2..]) => Class::Recovery,
        _ => Class::Drop,
    }
}

/// True if the first messages of an SEI hold a recovery point (payload type 6 in both codecs).
fn has_recovery_point(payload: &[u8]) -> bool {
    const MESSAGES_MAX: usize = 8;
    let mut rest = payload;
    for _ in 0..MESSAGES_MAX {
        let (Some(kind), Some(bytes)) = (sei_number(&mut rest), sei_number(&mut rest)) else {
            return false;
        };
        if kind == 6 {
            return true;
        }
        let Some(after) = rest.get(bytes..) else {
            return false;
        };
        rest = after;
    }
    false
}

/// A number in SEI: bytes of 255 and one less are summed.
fn sei_number(rest: &mut &[u8]) -> Option<usize> {
    let mut sum = 0;
    loop {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        sum += usize::from(byte);
        if byte != 255 {
            return Some(sum);
        }
    }
}

/// The newest parameter set of each id.
#[derive(Debug, Default)]
pub(crate) struct ParameterSets {
    sets: Vec<Set>,
    /// Sets that came so far.
    came: u64,
}

#[derive(Debug)]
struct Set {
    kind: SetKind,
    id: u32,
    /// The value of `came` when this one last came.
    age: u64,
    nal: Vec<u8>,
}

impl ParameterSets {
    /// Keeps this set. True: it is new or differs from the one kept so far.
    pub(crate) fn keep(&mut self, codec: VideoCodec, kind: SetKind, nal: &[u8]) -> bool {
        if nal.len() > SET_BYTES_MAX {
            return false;
        }
        let Some(id) = set_id(codec, kind, nal) else {
            return false;
        };
        self.came += 1;
        let age = self.came;
        let known = |set: &&mut Set| set.kind == kind && set.id == id;
        if let Some(set) = self.sets.iter_mut().find(known) {
            set.age = age;
            let changed = set.nal != nal;
            if changed {
                set.nal.clear();
                set.nal.extend_from_slice(nal);
            }
            return changed;
        }
        let same_kind = self.sets.iter().filter(|set| set.kind == kind);
        if same_kind.clone().count() >= SETS_MAX {
            let oldest = same_kind.map(|set| set.age).min();
            self.sets.retain(|set| Some(set.age) != oldest);
        }
        let nal = nal.to_vec();
        self.sets.push(Set { kind, id, age, nal });
        self.sets.sort_by_key(|set| (set.kind, set.id));
        true
    }

    /// All sets, in the order they are to be sent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.sets.iter().map(|set| set.nal.as_slice())
    }

    /// The set of this sort that came last.
    pub(crate) fn newest(&self, kind: SetKind) -> Option<&[u8]> {
        let sets = self.sets.iter().filter(|set| set.kind == kind);
        sets.max_by_key(|set| set.age).map(|set| set.nal.as_slice())
    }

    /// True if a decoder can be set up with these.
    pub(crate) fn is_complete(&self) -> bool {
        self.newest(SetKind::Sps).is_some() && self.newest(SetKind::Pps).is_some()
    }
}

/// The id that a parameter set is referred to by.
fn set_id(codec: VideoCodec, kind: SetKind, nal: &[u8]) -> Option<u32> {
    let mut bits = match codec {
        VideoCodec::H264 => Bits::rbsp(nal.get(1..)?),
        VideoCodec::H265 => Bits::rbsp(nal.get(2..)?),
    };
    match (codec, kind) {
        (VideoCodec::H264, SetKind::Sps) => bits.skip(24)?,
        (VideoCodec::H265, SetKind::Vps) => return bits.uint(4),
        (VideoCodec::H265, SetKind::Sps) => crate::sps::skip_h265_profile(&mut bits)?,
        _ => {}
    }
    bits.ue()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits_both_start_codes_and_trailing_zeros() {
        let bytes = [
            0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x65, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0x41, 2,
        ];
        let units: Vec<_> = split(&bytes).map(|range| bytes[range].to_vec()).collect();
        assert_eq!(units, [vec![9, 0xf0], vec![0x65, 1], vec![0x41, 2]]);
    }

    #[test]
    fn finds_a_recovery_point_behind_other_messages() {
        let nal = [6, 5, 255, 0, 6, 1, 0x80];
        assert_eq!(classify(VideoCodec::H264, &nal), Class::Drop);
        let mut nal = vec![6, 5, 3, 1, 2, 3, 6, 1, 0x80];
        assert_eq!(classify(VideoCodec::H264, &nal), Class::Recovery);
        nal[6] = 4;
        assert_eq!(classify(VideoCodec::H264, &nal), Class::Drop);
    }

    #[test]
    fn sets_are_bounded() {
        let mut sets = ParameterSets::default();
        for id in 0..200u32 {
            // A PPS whose id is an Exp-Golomb code of 15 bits.
            let code = (128 + id).to_be_bytes();
            let nal = [8, code[2] << 1, code[3], 0x80, 1];
            sets.keep(VideoCodec::H264, SetKind::Pps, &nal);
        }
        assert_eq!(sets.iter().count(), SETS_MAX);
        assert_eq!(
            sets.newest(SetKind::Pps).unwrap()[1..3],
            [0x02, 0x47],
            "the newest stays"
        );
        assert!(!sets.keep(VideoCodec::H264, SetKind::Pps, &[8; SET_BYTES_MAX + 1]));
    }

    proptest! {
        #[test]
        fn splits_what_was_joined(
            units in proptest::collection::vec(
                proptest::collection::vec(1u8..=255, 1..50), 1..20),
            long: bool,
        ) {
            let mut bytes = Vec::new();
            for unit in &units {
                let code: &[u8] = if long { &[0, 0, 0, 1] } else { &[0, 0, 1] };
                bytes.extend_from_slice(code);
                bytes.extend(unit);
            }
            let seen: Vec<_> = split(&bytes).map(|range| bytes[range].to_vec()).collect();
            prop_assert_eq!(seen, units);
        }

        #[test]
        fn noise_is_classified(bytes in proptest::collection::vec(0u8..40, 1..200)) {
            let mut sets = ParameterSets::default();
            for codec in [VideoCodec::H264, VideoCodec::H265] {
                for range in split(&bytes) {
                    if let Class::Set(kind) = classify(codec, &bytes[range.clone()]) {
                        sets.keep(codec, kind, &bytes[range]);
                    }
                }
            }
        }
    }
}
