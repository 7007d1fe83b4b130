//! Owns the program tables of MPEG-TS: sections, PAT, PMT, and what a stream type means.

/// Most bytes of a PAT or PMT section (ISO/IEC 13818-1 section 2.4.4: section_length <= 1021).
const SECTION_BYTES_MAX: usize = 1024;

/// Most elementary streams of a program that we look at. Real programs have a handful.
const STREAMS_MAX: usize = 32;

/// Collects one table's sections.
#[derive(Default)]
pub(crate) struct Sections {
    held: Vec<u8>,
    open: bool,
}

impl Sections {
    /// Takes the payload of one packet; gives each whole section with a good checksum to `sink`.
    pub(crate) fn push(&mut self, payload: &[u8], start: bool, mut sink: impl FnMut(&[u8])) {
        let mut payload = payload;
        if start {
            let Some((&pointer, rest)) = payload.split_first() else {
                return;
            };
            let pointer = usize::from(pointer).min(rest.len());
            if self.open {
                self.held.extend_from_slice(&rest[..pointer]);
                self.drain(&mut sink);
            }
            self.held.clear();
            self.open = true;
            payload = &rest[pointer..];
        }
        if self.open {
            self.held.extend_from_slice(payload);
            self.drain(&mut sink);
        }
    }

    /// Hands out whole sections; stops at stuffing.
    fn drain(&mut self, sink: &mut impl FnMut(&[u8])) {
        let mut at = 0;
        while let Some(head) = self.held.get(at..at + 3) {
            let bytes = 3 + (usize::from(head[1] & 0x0f) << 8 | usize::from(head[2]));
            if head[0] == 0xff || bytes > SECTION_BYTES_MAX {
                self.open = false;
                self.held.clear();
                return;
            }
            let Some(section) = self.held.get(at..at + bytes) else {
                break;
            };
            if crc32(section) == 0 {
                sink(section);
            }
            at += bytes;
        }
        self.held.drain(..at);
    }
}

/// The first program of a PAT section as the PID of its PMT, and how many programs there are.
pub(crate) fn read_pat(section: &[u8]) -> Option<(u16, usize)> {
    if section[0] != 0 || !is_current(section) {
        return None;
    }
    let entries = section.get(8..section.len().checked_sub(4)?)?;
    let mut programs = entries
        .chunks_exact(4)
        .filter(|entry| entry[..2] != [0, 0]) // number 0 is the network table
        .map(|entry| u16::from_be_bytes([entry[2] & 0x1f, entry[3]]));
    let first = programs.next()?;
    Some((first, 1 + programs.count()))
}

/// What an elementary stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    H264,
    H265,
    AacAdts,
    AacLatm,
    /// With the channel configuration code of its descriptor, if there is one.
    Opus {
        channels: Option<u8>,
    },
    /// Something else, by its stream type.
    Other {
        stream_type: u8,
        registration: [u8; 4],
    },
}

/// One elementary stream of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elementary {
    pub(crate) pid: u16,
    pub(crate) kind: Kind,
}

/// The streams of a PMT section.
pub(crate) fn read_pmt(section: &[u8]) -> Option<Vec<Elementary>> {
    if section[0] != 2 || !is_current(section) {
        return None;
    }
    let body = section.get(..section.len().checked_sub(4)?)?;
    let info = body.get(10..12)?;
    let mut at = 12 + (usize::from(info[0] & 0x0f) << 8 | usize::from(info[1]));
    let mut streams = Vec::new();
    while let Some(head) = body.get(at..at + 5) {
        let info = usize::from(head[3] & 0x0f) << 8 | usize::from(head[4]);
        let descriptors = body.get(at + 5..at + 5 + info)?;
        if streams.len() < STREAMS_MAX {
            streams.push(Elementary {
                pid: u16::from_be_bytes([head[1] & 0x1f, head[2]]),
                kind: kind_of(head[0], descriptors),
            });
        }
        at += 5 + info;
    }
    Some(streams)
}

fn is_current(section: &[u8]) -> bool {
    section.get(5).is_some_and(|byte| byte & 1 == 1)
}

fn kind_of(stream_type: u8, descriptors: &[u8]) -> Kind {
    let (mut registration, mut channels) = ([0; 4], None);
    let mut rest = descriptors;
    while let [tag, bytes, after @ ..] = rest {
        let Some(value) = after.get(..usize::from(*bytes)) else {
            break;
        };
        match (tag, value) {
            (0x05, [a, b, c, d, ..]) => registration = [*a, *b, *c, *d],
            // Extension descriptor of Opus: tag 0x80, then the channel configuration code.
            (0x7f, [0x80, code, ..]) => channels = Some(*code),
            _ => {}
        }
        rest = &after[value.len()..];
    }
    match (stream_type, &registration) {
        (0x1b, _) => Kind::H264,
        (0x24, _) => Kind::H265,
        (0x0f, _) => Kind::AacAdts,
        (0x11, _) => Kind::AacLatm,
        (0x06, b"Opus") => Kind::Opus { channels },
        (0x06, b"HEVC") => Kind::H265,
        _ => Kind::Other {
            stream_type,
            registration,
        },
    }
}

/// The checksum of ISO/IEC 13818-1 annex A; over a whole good section it is 0.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc & 1 << 31 != 0 { 0x04c1_1db7 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn section(table: u8, body: &[u8]) -> Vec<u8> {
        let bytes = crate::num::len16(body.len() + 9);
        let mut section = vec![table];
        section.extend((0xb000 | bytes).to_be_bytes());
        section.extend([0, 1, 0xc1, 0, 0]);
        section.extend(body);
        section.extend(crc32(&section).to_be_bytes());
        section
    }

    #[test]
    fn reads_a_table_that_spans_packets() {
        let pmt = section(
            2,
            &[
                0xe1, 0x00, 0xf0, 0x00, // PCR PID, no program descriptors
                0x1b, 0xe1, 0x00, 0xf0, 0x00, // H.264 on 0x100
                0x06, 0xe1, 0x01, 0xf0, 0x0a, 0x05, 4, b'O', b'p', b'u', b's', 0x7f, 2, 0x80, 2,
            ],
        );
        let mut first = vec![0];
        first.extend(&pmt[..10]);
        let (mut sections, mut seen) = (Sections::default(), Vec::new());
        sections.push(&first, true, |section| {
            seen.push(read_pmt(section).unwrap())
        });
        sections.push(&pmt[10..], false, |section| {
            seen.push(read_pmt(section).unwrap())
        });
        let expected = vec![
            Elementary {
                pid: 0x100,
                kind: Kind::H264,
            },
            Elementary {
                pid: 0x101,
                kind: Kind::Opus { channels: Some(2) },
            },
        ];
        assert_eq!(seen, [expected]);
    }

    #[test]
    fn skips_the_network_table() {
        let pat = section(0, &[0, 0, 0xe0, 0x10, 0, 1, 0xf0, 0x00, 0, 2, 0xe0, 0x20]);
        assert_eq!(read_pat(&pat), Some((0x1000, 2)));
    }

    #[test]
    fn tables_that_lie_are_bounded() {
        // A section that never ends, one too long, one of nothing.
        for length in [[0xb3, 0xfc], [0xbf, 0xff], [0xb0, 0x00]] {
            let mut sections = Sections::default();
            let head = [0, 0, length[0], length[1]];
            sections.push(&head, true, |section| assert!(read_pat(section).is_none()));
            for _ in 0..1000 {
                sections.push(&[0; 184], false, |section| {
                    assert!(read_pat(section).is_none() && read_pmt(section).is_none());
                });
                assert!(sections.held.len() <= SECTION_BYTES_MAX);
            }
        }
        // As many streams as a section has room for, and descriptors beyond its end.
        let many: Vec<u8> = [0x1b, 0xe1, 0x00, 0xf0, 0x00].repeat(200);
        let pmt = section(2, &[&[0xe1, 0x00, 0xf0, 0x00], &many[..]].concat());
        assert_eq!(read_pmt(&pmt).unwrap().len(), STREAMS_MAX);
        let beyond = [0xe1, 0x00, 0xf0, 0x00, 0x1b, 0xe1, 0x00, 0xff, 0xff];
        assert_eq!(read_pmt(&section(2, &beyond)), None);
    }

    proptest! {
        #[test]
        fn survives_noise(payload in proptest::collection::vec(any::<u8>(), 0..184), start: bool) {
            let mut sections = Sections::default();
            sections.push(&payload, true, |_| {});
            sections.push(&payload, start, |_| {});
            prop_assert!(sections.held.len() <= SECTION_BYTES_MAX + 184);
            if payload.len() >= 3 {
                let _ = (read_pat(&payload), read_pmt(&payload));
            }
        }
    }
}
