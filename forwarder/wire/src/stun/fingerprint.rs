//! Owns the CRC-32 behind FINGERPRINT (RFC 8489 section 14.7).

/// The polynomial of ITU V.42, lowest power first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Told apart from a CRC-32 of the application's own.
const MASK: u32 = 0x5354_554e;

const TABLE: [u32; 256] = table();

/// The value of FINGERPRINT after `bytes`, whose header counts the attribute already.
pub(super) fn of(bytes: &[u8]) -> u32 {
    crc32(bytes) ^ MASK
}

fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
    });
    !crc
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc_32_comes_out() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
