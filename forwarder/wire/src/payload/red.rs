//! Owns the payload of sound with redundancy (RFC 2198): where in it the sound of the packet itself
//! is. Hot.

/// Bytes of the header of a redundant block: follows, payload type, timestamp offset, length.
const BLOCK_HEADER_BYTES: usize = 4;

/// "Follows": another block comes after this one (RFC 2198 section 3).
const FOLLOWS: u8 = 0x80;

/// Where in `payload` the primary block begins, which goes to the end. `None`: it is cut short, it
/// is empty, or it is of another payload type than `primary`.
#[inline]
#[must_use]
pub fn primary_at(payload: &[u8], primary: u8) -> Option<usize> {
    let mut headers = 0;
    let mut redundant = 0;
    loop {
        let first = *payload.get(headers)?;
        if first & FOLLOWS == 0 {
            let at = headers + 1 + redundant;
            return (first == primary && at < payload.len()).then_some(at);
        }
        let header = payload.get(headers..headers + BLOCK_HEADER_BYTES)?;
        redundant += usize::from(header[2] & 0x03) << 8 | usize::from(header[3]);
        headers += BLOCK_HEADER_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn the_primary_comes_last() {
        assert_eq!(primary_at(&[111, 1, 2], 111), Some(1));
        // One redundant block of two bytes, 960 ticks earlier.
        let one = [0x80 | 111, 0x0f, 0x00, 2, 111, 8, 9, 1, 2, 3];
        assert_eq!(primary_at(&one, 111), Some(7));
        assert_eq!(primary_at(&one, 110), None);
        assert_eq!(primary_at(&one[..7], 111), None);
        assert_eq!(primary_at(&one[..4], 111), None);
        // Ten bits of length.
        assert_eq!(primary_at(&[0x80 | 111, 0, 0x03, 0xff, 111, 1], 111), None);
        assert_eq!(primary_at(&[111], 111), None);
        assert_eq!(primary_at(&[], 111), None);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_found(
            blocks in vec(vec(any::<u8>(), 0..40), 0..4),
            primary in vec(any::<u8>(), 1..80),
        ) {
            let mut payload = Vec::new();
            for block in &blocks {
                payload.extend([0x80 | 111, 3, 0, u8::try_from(block.len()).unwrap()]);
            }
            payload.push(111);
            blocks.iter().for_each(|block| payload.extend(block));
            payload.extend(&primary);
            let at = primary_at(&payload, 111).unwrap();
            prop_assert_eq!(&payload[at..], &primary[..]);
        }

        #[test]
        fn any_bytes_are_survived(payload: Vec<u8>, primary in 0..128_u8) {
            if let Some(at) = primary_at(&payload, primary) {
                prop_assert!(at > 0 && at < payload.len());
            }
        }
    }
}
