//! Owns the first page of the memory file: what it is, who made it, where things are.

use super::build::{LAYOUT_OLDEST, LAYOUT_VERSION, LINE_BYTES, compatible, line, printable};
use super::layout::{ALIGN, HEADER_BYTES, Layout, PARTS, Section};
use crate::codec::{Put, Take};
use crate::limits::Limits;

const MAGIC: [u8; 8] = *b"freshet\n";

/// Why a memory file is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("not a memory file of Freshet")]
    NotOurs,
    #[error(
        "made by '{build}' with layout {version} (readable from {oldest}), this build has layout \
         {LAYOUT_VERSION} (reads from {LAYOUT_OLDEST}): upgrade in smaller steps, or restart the \
         node"
    )]
    Version {
        build: String,
        version: u32,
        oldest: u32,
    },
    #[error("damaged: its places do not fit its size and limits")]
    Damaged,
}

/// The header's bytes.
pub(super) fn encode(limits: &Limits, layout: &Layout) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    let mut put = Put::new(&mut bytes);
    put.bytes(&MAGIC).u32(LAYOUT_VERSION).u32(LAYOUT_OLDEST);
    put.bytes(&line()).u64(layout.bytes as u64);
    put.u32(limits.cores.into())
        .u32(limits.streams_max)
        .u32(limits.viewers_max);
    put.u32(limits.log_packets)
        .u32(limits.commands_max)
        .u32(limits.events_max);
    put.u32(limits.punts_max)
        .u32(u32::try_from(PARTS).unwrap_or(0));
    for section in &layout.sections {
        put.u64(section.offset as u64)
            .u64(section.stride as u64)
            .u64(section.count as u64);
    }
    bytes
}

/// Reads a header and believes nothing: `file_bytes` is the size of the file.
pub(super) fn decode(bytes: &[u8], file_bytes: u64) -> Result<(Limits, Layout), HeaderError> {
    let mut take = Take::new(bytes);
    if take.array() != Some(MAGIC) {
        return Err(HeaderError::NotOurs);
    }
    let versions = take.u32().zip(take.u32()).ok_or(HeaderError::NotOurs)?;
    let build = take.array::<LINE_BYTES>().ok_or(HeaderError::NotOurs)?;
    if !compatible(versions.0, versions.1) {
        return Err(HeaderError::Version {
            build: printable(&build),
            version: versions.0,
            oldest: versions.1,
        });
    }
    places(&mut take, file_bytes).ok_or(HeaderError::Damaged)
}

fn places(take: &mut Take<'_>, file_bytes: u64) -> Option<(Limits, Layout)> {
    let bytes = usize::try_from(take.u64().filter(|bytes| *bytes == file_bytes)?).ok()?;
    let limits = Limits {
        cores: u16::try_from(take.u32()?).ok()?,
        streams_max: take.u32()?,
        viewers_max: take.u32()?,
        log_packets: take.u32()?,
        commands_max: take.u32()?,
        events_max: take.u32()?,
        punts_max: take.u32()?,
    };
    let wanted = Layout::new(&limits).ok()?;
    if usize::try_from(take.u32()?).ok()? < PARTS {
        return None;
    }
    // The places are those that the maker wrote; they must hold at least what we put there.
    let mut free_from = HEADER_BYTES;
    let mut sections = [Section::default(); PARTS];
    for (section, wanted) in sections.iter_mut().zip(&wanted.sections) {
        *section = Section {
            offset: usize::try_from(take.u64()?).ok()?,
            stride: usize::try_from(take.u64()?).ok()?,
            count: usize::try_from(take.u64()?).ok()?,
        };
        let aligned = section.offset.is_multiple_of(ALIGN) && section.stride.is_multiple_of(ALIGN);
        let enough = section.stride >= wanted.stride && section.count >= wanted.count;
        if !aligned || !enough || section.offset < free_from {
            return None;
        }
        free_from = section.end().filter(|end| *end <= bytes)?;
    }
    Some((limits, Layout { sections, bytes }))
}

/// Where the size of the file is.
#[cfg(test)]
const SIZE_AT: usize = MAGIC.len() + 2 * size_of::<u32>() + LINE_BYTES;

/// The header of a new file without the name of the build.
#[cfg(test)]
pub(crate) fn frozen(limits: &Limits) -> Vec<u8> {
    let layout = Layout::new(limits).unwrap();
    let mut bytes = encode(limits, &layout);
    bytes[SIZE_AT - LINE_BYTES..SIZE_AT].fill(0);
    bytes
}

/// The limits of a header whose file has the size that it says.
#[cfg(test)]
pub(crate) fn reads(bytes: &[u8]) -> Option<Limits> {
    let size = bytes[SIZE_AT..].first_chunk()?;
    Some(decode(bytes, u64::from_le_bytes(*size)).ok()?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::BUILD;
    use proptest::prelude::*;

    fn header() -> (Limits, Layout, Vec<u8>) {
        let limits = Limits::default();
        let layout = Layout::new(&limits).unwrap();
        let bytes = encode(&limits, &layout);
        (limits, layout, bytes)
    }

    #[test]
    fn a_header_survives_and_its_size_must_be_the_files() {
        let (limits, layout, bytes) = header();
        let size = layout.bytes as u64;
        assert_eq!(decode(&bytes, size).unwrap(), (limits, layout));
        assert_eq!(decode(&bytes, size - 1), Err(HeaderError::Damaged));
        assert_eq!(decode(&bytes[..100], size), Err(HeaderError::Damaged));
        assert_eq!(decode(&[0; HEADER_BYTES], size), Err(HeaderError::NotOurs));
    }

    #[test]
    fn another_layout_is_refused_in_words() {
        let (_, layout, mut bytes) = header();
        bytes[8..12].copy_from_slice(&(LAYOUT_VERSION + 7).to_le_bytes());
        bytes[12..16].copy_from_slice(&(LAYOUT_VERSION + 6).to_le_bytes());
        let text = decode(&bytes, layout.bytes as u64).unwrap_err().to_string();
        assert!(
            text.contains(BUILD) && text.contains("upgrade in smaller steps"),
            "{text}"
        );
    }

    #[test]
    fn the_next_version_may_say_that_we_can_read_it() {
        let (limits, layout, mut bytes) = header();
        bytes[8..12].copy_from_slice(&(LAYOUT_VERSION + 1).to_le_bytes());
        assert_eq!(decode(&bytes, layout.bytes as u64).unwrap().0, limits);
    }

    proptest! {
        #[test]
        fn a_damaged_header_is_refused_or_harmless(at in 16usize..1024, byte in any::<u8>()) {
            let (_, layout, mut bytes) = header();
            bytes[at] = byte;
            if let Ok((limits, got)) = decode(&bytes, layout.bytes as u64) {
                prop_assert!(limits.check().is_ok());
                for section in got.sections {
                    prop_assert!(section.end().unwrap() <= layout.bytes);
                }
            }
        }
    }
}
