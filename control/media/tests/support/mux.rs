//! A small multiplexer for streams that no encoder at hand makes.

/// PIDs of the streams made here.
pub const VIDEO_PID: u16 = 0x100;
pub const AUDIO_PID: u16 = 0x101;

/// Makes transport packets.
#[derive(Default)]
pub struct Mux {
    pub bytes: Vec<u8>,
    counters: std::collections::HashMap<u16, u8>,
}

impl Mux {
    /// PAT and PMT of streams given as (stream type, PID, descriptors).
    pub fn tables(&mut self, streams: &[(u8, u16, &[u8])]) {
        let pat = section(0, &[0, 1, 0xf0, 0x00]);
        self.payload(0, &[&[0], pat.as_slice()].concat(), true);
        let mut body = vec![0xe1, 0x00, 0xf0, 0x00];
        for (stream_type, pid, descriptors) in streams {
            body.push(*stream_type);
            body.extend((0xe000 | pid).to_be_bytes());
            body.extend((0xf000 | u16::try_from(descriptors.len()).unwrap()).to_be_bytes());
            body.extend(*descriptors);
        }
        let pmt = section(2, &body);
        self.payload(0x1000, &[&[0], pmt.as_slice()].concat(), true);
    }

    /// A PES packet; its length is written for audio, left 0 for video.
    pub fn pes(&mut self, pid: u16, pts: u64, dts: u64, data: &[u8]) {
        let mut pes = vec![0, 0, 1, if pid == VIDEO_PID { 0xe0 } else { 0xc0 }];
        let length = if pid == VIDEO_PID { 0 } else { data.len() + 13 };
        pes.extend(u16::try_from(length).unwrap().to_be_bytes());
        pes.extend([0x80, 0xc0, 10]);
        pes.extend(stamp(3, pts));
        pes.extend(stamp(1, dts));
        pes.extend(data);
        self.payload(pid, &pes, true);
    }

    /// Transport packets with this payload, the last one stuffed.
    pub fn payload(&mut self, pid: u16, payload: &[u8], start: bool) {
        for (number, piece) in payload.chunks(184).enumerate() {
            let counter = self.counters.entry(pid).or_default();
            let begins = if start && number == 0 { 0x40 } else { 0 };
            let [high, low] = pid.to_be_bytes();
            let stuffing = 184 - piece.len();
            let adaptation = if stuffing > 0 { 0x30 } else { 0x10 };
            self.bytes
                .extend([0x47, begins | high, low, adaptation | *counter]);
            if stuffing > 0 {
                let field = stuffing - 1;
                self.bytes.push(u8::try_from(field).unwrap());
                self.bytes.extend(
                    [0xff; 184].iter().take(field).enumerate().map(
                        |(n, &byte)| {
                            if n == 0 { 0 } else { byte }
                        },
                    ),
                );
            }
            self.bytes.extend(piece);
            *counter = (*counter + 1) & 0x0f;
        }
    }
}

fn stamp(prefix: u8, time: u64) -> [u8; 5] {
    let byte = |shift: u32, mask: u64| u8::try_from(time >> shift & mask).unwrap();
    [
        prefix << 4 | byte(30, 7) << 1 | 1,
        byte(22, 255),
        byte(15, 127) << 1 | 1,
        byte(7, 255),
        byte(0, 127) << 1 | 1,
    ]
}

fn section(table: u8, body: &[u8]) -> Vec<u8> {
    let mut section = vec![table];
    section.extend((0xb000 | u16::try_from(body.len() + 9).unwrap()).to_be_bytes());
    section.extend([0, 1, 0xc1, 0, 0]);
    section.extend(body);
    let crc = section.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc & 1 << 31 != 0 { 0x04c1_1db7 } else { 0 }
        })
    });
    section.extend(crc.to_be_bytes());
    section
}

/// Changes every PTS, DTS and PCR of a recorded stream. The second argument of `change` is the
/// number of the transport packet.
pub fn restamp(bytes: &mut [u8], change: impl Fn(u64, usize) -> u64) {
    let mask = (1u64 << 33) - 1;
    for (number, packet) in bytes.chunks_exact_mut(188).enumerate() {
        let mut at = 4;
        if packet[3] & 0x20 != 0 {
            at = 5 + usize::from(packet[4]);
            if packet[4] >= 7 && packet[5] & 0x10 != 0 {
                let mut field = [0; 8];
                field[..6].copy_from_slice(&packet[6..12]);
                let field = u64::from_be_bytes(field);
                let base = change(field >> 31, number) & mask;
                let field = base << 31 | field & 0x7fff_ffff;
                packet[6..12].copy_from_slice(&field.to_be_bytes()[..6]);
            }
        }
        let Some([0, 0, 1, id, _, _, _, flags, _, stamps @ ..]) = packet.get_mut(at..) else {
            continue;
        };
        if !matches!(*id, 0xbd..=0xef) {
            continue;
        }
        let count = [0, 0, 1, 2][usize::from(*flags >> 6)];
        for bytes in stamps.chunks_exact_mut(5).take(count) {
            let b = |n: usize| u64::from(bytes[n]);
            let time =
                (b(0) >> 1 & 7) << 30 | b(1) << 22 | (b(2) >> 1) << 15 | b(3) << 7 | b(4) >> 1;
            let prefix = bytes[0] >> 4;
            bytes.copy_from_slice(&stamp(prefix, change(time, number) & mask));
        }
    }
}
