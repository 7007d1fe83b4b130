//! Owns arithmetic on numbers that wrap: sequence numbers and RTP timestamps. Hot.

/// How far `a` is ahead of `b`, negative if behind; exactly half the circle counts as behind.
#[inline]
#[must_use]
pub const fn diff16(a: u16, b: u16) -> i16 {
    a.wrapping_sub(b).cast_signed()
}

/// How far `a` is ahead of `b`, negative if behind; exactly half the circle counts as behind.
#[inline]
#[must_use]
pub const fn diff32(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

/// True if `a` comes after `b`. Of two different numbers exactly one is newer: half the circle
/// apart, it is the greater.
#[inline]
#[must_use]
pub const fn newer16(a: u16, b: u16) -> bool {
    let ahead = a.wrapping_sub(b);
    (ahead != 0 && ahead < 0x8000) || (ahead == 0x8000 && a > b)
}

/// True if `a` comes after `b`. Of two different numbers exactly one is newer: half the circle
/// apart, it is the greater.
#[inline]
#[must_use]
pub const fn newer32(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    (ahead != 0 && ahead < 0x8000_0000) || (ahead == 0x8000_0000 && a > b)
}

/// The number closest to `reference` whose low 16 bits are `low`; never below 0. Where two are as
/// close, the one with the reference's upper bits, as RFC 3711 section 3.3.1 and appendix A
/// estimate the packet index.
#[inline]
#[must_use]
pub const fn extend(reference: u64, low: u16) -> u64 {
    nearest(reference, low as u64, 1 << 16)
}

/// As [`extend`], for 32-bit numbers such as RTP timestamps and SRTCP indices.
#[inline]
#[must_use]
pub const fn extend32(reference: u64, low: u32) -> u64 {
    nearest(reference, low as u64, 1 << 32)
}

/// The number closest to `reference` that is `low` modulo `circle`, a power of two above `low`.
#[inline]
const fn nearest(reference: u64, low: u64, circle: u64) -> u64 {
    let same_turn = (reference & !(circle - 1)) | low;
    let half = circle / 2;
    if same_turn > reference && same_turn - reference > half && same_turn >= circle {
        same_turn - circle
    } else if reference > same_turn && reference - same_turn > half {
        // At the very end of the range there is no next turn.
        match same_turn.checked_add(circle) {
            Some(next_turn) => next_turn,
            None => same_turn,
        }
    } else {
        same_turn
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_wrap_where_rfc_3711_says() {
        assert_eq!(extend(0, 0xffff), 0xffff); // never below 0
        assert_eq!(extend(0x1_0000, 0xffff), 0xffff);
        assert_eq!(extend(0xfffe, 1), 0x1_0001);
        assert_eq!(extend(0x1_0000, 0x8000), 0x1_8000); // a tie keeps the roll-over counter
        assert_eq!(extend(0x1_8000, 0), 0x1_0000);
        assert_eq!(extend(u64::MAX, 0), 0xffff_ffff_ffff_0000);
        assert_eq!(extend32(0xffff_fffe, 1), 0x1_0000_0001);
        assert_eq!(extend32(0x1_0000_0000, 0xffff_ffff), 0xffff_ffff);
    }

    #[test]
    fn differences_are_signed() {
        assert_eq!(diff16(1, 0xffff), 2);
        assert_eq!(diff16(0xffff, 1), -2);
        assert_eq!(diff32(0, u32::MAX), 1);
        assert_eq!(diff16(0x8000, 0), i16::MIN);
    }

    proptest! {
        #[test]
        fn extending_is_nearest(reference in 0x1_0000_u64..1 << 60, low: u16) {
            let extended = extend(reference, low);
            prop_assert_eq!(extended & 0xffff, u64::from(low));
            prop_assert!(extended.abs_diff(reference) <= 0x8000);
        }

        #[test]
        fn extending_follows_a_walk(start in 0x8000_u64..1 << 48, steps: [i16; 16]) {
            let mut at = start;
            for step in steps {
                let next = at.saturating_add_signed(i64::from(step / 2));
                let low = u16::try_from(next & 0xffff).unwrap();
                prop_assert_eq!(extend(at, low), next);
                let low = u32::try_from(next & 0xffff_ffff).unwrap();
                prop_assert_eq!(extend32(at, low), next);
                at = next;
            }
        }

        #[test]
        fn exactly_one_of_two_is_newer(a: u16, b: u16, c: u32, d: u32) {
            prop_assert_eq!(newer16(a, b) ^ newer16(b, a), a != b);
            prop_assert_eq!(newer32(c, d) ^ newer32(d, c), c != d);
        }
    }
}
