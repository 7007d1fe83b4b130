//! Owns the arithmetic of GHASH: products without carry, their sums, and the remainder. Hot.

use core::arch::x86_64::*;

use super::BLOCK;
use super::block::{load, store};

/// The polynomial of GHASH in the form of POLYVAL (RFC 8452 appendix A), its upper half.
const POLYNOMIAL: i64 = 0xc200_0000_0000_0000_u64.cast_signed();

/// A sum of products before it is reduced.
pub(super) struct Sum {
    low: __m128i,
    middle: __m128i,
    high: __m128i,
}

impl Sum {
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn new() -> Self {
        let zero = _mm_setzero_si128();
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    pub(super) fn add(&mut self, block: __m128i, power: __m128i) {
        let low = _mm_clmulepi64_si128::<0x00>(block, power);
        let one = _mm_clmulepi64_si128::<0x01>(block, power);
        let other = _mm_clmulepi64_si128::<0x10>(block, power);
        let high = _mm_clmulepi64_si128::<0x11>(block, power);
        self.low = _mm_xor_si128(self.low, low);
        self.middle = _mm_xor_si128(self.middle, _mm_xor_si128(one, other));
        self.high = _mm_xor_si128(self.high, high);
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    pub(super) fn reduced(&self) -> __m128i {
        reduced(self.low, self.middle, self.high)
    }
}

/// The same, two products at a time, by Karatsuba: three multiplications instead of four. The
/// middle lacks the sum of the outer ones.
pub(super) struct PairSum {
    low: __m256i,
    middle: __m256i,
    high: __m256i,
}

impl PairSum {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new() -> Self {
        let zero = _mm256_setzero_si256();
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    /// `WHICH`: 0x00 takes the lower half of what is folded, 0x10 the upper.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn add<const WHICH: i32>(
        &mut self,
        blocks: __m256i,
        powers: __m256i,
        both: __m256i,
    ) {
        let low = _mm256_clmulepi64_epi128::<0x00>(blocks, powers);
        let high = _mm256_clmulepi64_epi128::<0x11>(blocks, powers);
        let middle = _mm256_clmulepi64_epi128::<WHICH>(folded(blocks), both);
        self.low = _mm256_xor_si256(self.low, low);
        self.middle = _mm256_xor_si256(self.middle, middle);
        self.high = _mm256_xor_si256(self.high, high);
    }

    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq")]
    pub(super) fn reduced(&self) -> __m128i {
        let outer = _mm256_xor_si256(self.low, self.high);
        let middle = _mm256_xor_si256(self.middle, outer);
        reduced(halves(self.low), halves(middle), halves(self.high))
    }
}

/// The powers of a hash key, `N` of them, the highest first, for messages in reversed blocks.
#[target_feature(enable = "pclmulqdq")]
pub(super) fn powers<const N: usize>(hash_key: __m128i) -> [[u8; BLOCK]; N] {
    let first = doubled(hash_key);
    let mut power = first;
    let mut powers = [[0; BLOCK]; N];
    for slot in powers.iter_mut().rev() {
        store(power, slot);
        let mut sum = Sum::new();
        sum.add(power, first);
        power = sum.reduced();
    }
    powers
}

/// Of each block the sum of its halves, in both halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn folded(blocks: __m256i) -> __m256i {
    _mm256_xor_si256(blocks, _mm256_shuffle_epi32::<0x4e>(blocks))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn halves(both: __m256i) -> __m128i {
    _mm_xor_si128(
        _mm256_castsi256_si128(both),
        _mm256_extracti128_si256::<1>(both),
    )
}

/// The remainder of a product, in the form of POLYVAL: two steps of Montgomery's reduction.
#[inline]
#[target_feature(enable = "pclmulqdq")]
pub(super) fn reduced(low: __m128i, middle: __m128i, high: __m128i) -> __m128i {
    let polynomial = _mm_set_epi64x(0, POLYNOMIAL);
    let low = _mm_xor_si128(low, _mm_bslli_si128::<8>(middle));
    let high = _mm_xor_si128(high, _mm_bsrli_si128::<8>(middle));
    let once = _mm_xor_si128(
        _mm_shuffle_epi32::<0x4e>(low),
        _mm_clmulepi64_si128::<0x00>(low, polynomial),
    );
    let twice = _mm_xor_si128(
        _mm_shuffle_epi32::<0x4e>(once),
        _mm_clmulepi64_si128::<0x00>(once, polynomial),
    );
    _mm_xor_si128(high, twice)
}

/// The hash key times x, as POLYVAL wants it (RFC 8452 appendix A).
#[inline]
#[target_feature(enable = "sse2")]
fn doubled(hash_key: __m128i) -> __m128i {
    let mut bytes = [0; BLOCK];
    store(hash_key, &mut bytes);
    let key = u128::from_be_bytes(bytes);
    let carry = 0_u128.wrapping_sub(key >> 127);
    let doubled = key << 1 ^ carry & 0xc200_0000_0000_0000_0000_0000_0000_0001;
    load(&doubled.to_le_bytes())
}
