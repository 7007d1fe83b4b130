//! Owns the estimate of a packet's 48-bit index from its 16-bit sequence number. Hot.

/// The highest index of RTP: 48 bits (RFC 3711 section 3.3.1).
pub(crate) const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

/// The highest index of RTCP: 31 bits (RFC 3711 section 3.4).
pub(crate) const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;

/// One step of the roll-over counter.
pub(crate) const ROC_STEP: u64 = 1 << 16;

/// The index of a packet with this sequence number when `highest` was the highest so far.
/// `None`: before the first or behind the last index there can be.
//= https://www.rfc-editor.org/rfc/rfc3711#section-3.3.1
//# The receiver SHOULD set i = 2^16 * v + SEQ, where v is chosen from the set { ROC-1, ROC, ROC+1 }
//# (modulo 2^32) such that i is closest (in modulo 2^48 sense) to the value 2^16 * ROC + s_l
pub(crate) fn estimate(highest: u64, sequence: u16) -> Option<u64> {
    const HALF: u64 = 1 << 15;
    let last = highest % ROC_STEP;
    let sequence = u64::from(sequence);
    // At a distance of exactly one half the counter stays, as in the RFC's pseudocode.
    let index = highest - last + sequence;
    if last < HALF && sequence > last + HALF {
        index.checked_sub(ROC_STEP)
    } else if last >= HALF && sequence < last - HALF {
        Some(index + ROC_STEP).filter(|&index| index <= RTP_INDEX_MAX)
    } else {
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rolls_over_both_ways() {
        assert_eq!(estimate(0xffff, 0), Some(0x1_0000));
        assert_eq!(estimate(0x1_0000, 0xffff), Some(0xffff));
        assert_eq!(estimate(0x5_0003, 0xfff0), Some(0x4_fff0));
        assert_eq!(estimate(0x5_fff0, 0x0003), Some(0x6_0003));
        assert_eq!(estimate(0x5_1000, 0x2000), Some(0x5_2000));
        // One half exactly.
        assert_eq!(estimate(0x5_1000, 0x9000), Some(0x5_9000));
        assert_eq!(estimate(0x5_9000, 0x1000), Some(0x5_1000));
    }

    #[test]
    fn stays_within_48_bits() {
        assert_eq!(estimate(3, 0xfff0), None);
        assert_eq!(estimate(RTP_INDEX_MAX, 0), None);
        assert_eq!(estimate(RTP_INDEX_MAX, 0xffff), Some(RTP_INDEX_MAX));
    }

    proptest! {
        #[test]
        fn finds_what_is_near(highest in 0x1_0000..RTP_INDEX_MAX, step in -0x7fff..0x8000_i64) {
            let Some(index) = highest.checked_add_signed(step) else { return Ok(()) };
            prop_assume!(index <= RTP_INDEX_MAX);
            let sequence = u16::try_from(index % ROC_STEP).unwrap();
            prop_assert_eq!(estimate(highest, sequence), Some(index));
        }
    }
}
