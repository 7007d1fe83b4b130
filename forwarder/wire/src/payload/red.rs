//! Owns the payload of sound with redundancy (RFC 2198): where in it the sound of the packet itself
//! is, and what its blocks are called. Hot.

/// Bytes of the header of a redundant block: follows, payload type, timestamp offset, length.
const BLOCK_HEADER_BYTES: usize = 4;

/// Redundant blocks of one packet at most. Browsers send one, and up to nine when told to.
const BLOCKS_MAX: usize = 16;

/// Bytes of all headers of a packet at most: the last one is a payload type alone.
pub const HEADERS_BYTES_MAX: usize = BLOCKS_MAX * BLOCK_HEADER_BYTES + 1;

/// "Follows": another block comes after this one (RFC 2198 section 3).
const FOLLOWS: u8 = 0x80;

/// Where in `payload` the primary block begins, which goes to the end. `None`: it is cut short, it
/// is empty, a block is of another payload type than `primary`, or there are more than 16 others.
#[inline]
#[must_use]
pub fn primary_at(payload: &[u8], primary: u8) -> Option<usize> {
    let mut headers = 0;
    let mut redundant = 0;
    loop {
        let first = *payload.get(headers)?;
        if first & !FOLLOWS != primary || headers > BLOCKS_MAX * BLOCK_HEADER_BYTES {
            return None;
        }
        if first & FOLLOWS == 0 {
            let at = headers + 1 + redundant;
            return (at < payload.len()).then_some(at);
        }
        let header = payload.get(headers..headers + BLOCK_HEADER_BYTES)?;
        redundant += usize::from(header[2] & 0x03) << 8 | usize::from(header[3]);
        headers += BLOCK_HEADER_BYTES;
    }
}

/// How many bytes the headers of `payload` have, in which [`primary_at`] has found the primary
/// block.
#[inline]
#[must_use]
pub fn headers_bytes(payload: &[u8]) -> usize {
    let firsts = payload.iter().step_by(BLOCK_HEADER_BYTES);
    let others = firsts.take_while(|first| **first & FOLLOWS != 0).count();
    (others * BLOCK_HEADER_BYTES + 1).min(payload.len())
}

/// Names another payload type in all of `headers`: numbers are those of one session.
#[inline]
pub fn rename(headers: &mut [u8], payload_type: u8) {
    for first in headers.iter_mut().step_by(BLOCK_HEADER_BYTES) {
        *first = *first & FOLLOWS | payload_type & !FOLLOWS;
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
        // Every block is of the one type.
        let other = [0x80 | 110, 0x0f, 0x00, 2, 111, 8, 9, 1, 2, 3];
        assert_eq!(primary_at(&other, 111), None);
        let blocks = |count: usize| [[0x80 | 111, 0, 0, 0].repeat(count), vec![111, 1]].concat();
        assert_eq!(
            primary_at(&blocks(BLOCKS_MAX), 111),
            Some(HEADERS_BYTES_MAX)
        );
        assert_eq!(primary_at(&blocks(BLOCKS_MAX + 1), 111), None);
        assert_eq!(primary_at(&[], 111), None);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_found(
            blocks in vec(vec(any::<u8>(), 0..40), 0..=BLOCKS_MAX),
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
            let headers = headers_bytes(&payload);
            prop_assert_eq!(headers, 4 * blocks.len() + 1);
            let before = payload.clone();
            rename(&mut payload[..headers], 96);
            prop_assert_eq!(primary_at(&payload, 96), Some(at));
            rename(&mut payload[..headers], 111);
            prop_assert_eq!(payload, before);
        }

        #[test]
        fn any_bytes_are_survived(payload: Vec<u8>, primary in 0..128_u8) {
            if let Some(at) = primary_at(&payload, primary) {
                prop_assert!(at > 0 && at < payload.len());
            }
        }
    }
}
