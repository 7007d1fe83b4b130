//! Owns the CRC-32 behind FINGERPRINT (RFC 8489 section 14.7).

/// The polynomial of ITU V.42, lowest power first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Told apart from a CRC-32 of the application's own.
const MASK: u32 = 0x5354_554e;

/// `TABLES[n]` advances a byte by `n` further bytes of zeros, so that four bytes are looked up at
/// once: every check costs a fingerprint, also those of a flood.
const TABLES: [[u32; 256]; 4] = tables();

/// The value of FINGERPRINT after `bytes`, whose header counts the attribute already.
pub(super) fn of(bytes: &[u8]) -> u32 {
    crc32(bytes) ^ MASK
}

fn crc32(bytes: &[u8]) -> u32 {
    let (words, tail) = bytes.as_chunks();
    let crc = words.iter().fold(u32::MAX, |crc, word| {
        let [a, b, c, d] = (crc ^ u32::from_le_bytes(*word)).to_le_bytes();
        look_up(3, a) ^ look_up(2, b) ^ look_up(1, c) ^ look_up(0, d)
    });
    !tail.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ look_up(0, low ^ byte)
    })
}

fn look_up(table: usize, byte: u8) -> u32 {
    TABLES[table][usize::from(byte)]
}

const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut table = 0;
        while table < 4 {
            let mut bit = 0;
            while bit < 8 {
                crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
                bit += 1;
            }
            tables[table][byte as usize] = crc;
            table += 1;
        }
        byte += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc_32_comes_out() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(
            crc32(b"The quick brown fox jumps over the lazy dog"),
            0x414f_a339
        );
    }
}
