//! Owns the sum of products of the digest, four of them in a register. Hot.

use core::arch::x86_64::*;

use crate::backend::gcm_vaes::field::{halves, reduced};

/// A sum of products before it is reduced, four products at a time. With three operands an addition
/// is free, so that Karatsuba's multiplication, which saves one of four, would save nothing.
pub(super) struct QuadSum {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl QuadSum {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new() -> Self {
        let zero = _mm512_setzero_si512();
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub(super) fn add(&mut self, blocks: __m512i, powers: __m512i) {
        let low = _mm512_clmulepi64_epi128::<0x00>(blocks, powers);
        let one = _mm512_clmulepi64_epi128::<0x01>(blocks, powers);
        let other = _mm512_clmulepi64_epi128::<0x10>(blocks, powers);
        let high = _mm512_clmulepi64_epi128::<0x11>(blocks, powers);
        self.low = _mm512_xor_si512(self.low, low);
        self.middle = _mm512_ternarylogic_epi64::<0x96>(self.middle, one, other);
        self.high = _mm512_xor_si512(self.high, high);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,pclmulqdq")]
    pub(super) fn reduced(&self) -> __m128i {
        let [low, middle, high] = [self.low, self.middle, self.high].map(|quad| {
            let upper = _mm512_extracti64x4_epi64::<1>(quad);
            halves(_mm256_xor_si256(_mm512_castsi512_si256(quad), upper))
        });
        reduced(low, middle, high)
    }
}

/// Keeps the compiler from taking apart what comes before from what comes behind: it would put all
/// rounds of AES together and all products together. No instruction comes of it.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn stay_here([a, b, c, d]: &mut [__m512i; 4], sum: &mut QuadSum) {
    // SAFETY: nothing is done to the registers.
    // JUSTIFICATION: there is no other barrier that leaves values in registers.
    unsafe {
        core::arch::asm!(
            "/* {} {} {} {} {} {} {} */",
            inout(zmm_reg) *a,
            inout(zmm_reg) *b,
            inout(zmm_reg) *c,
            inout(zmm_reg) *d,
            inout(zmm_reg) sum.low,
            inout(zmm_reg) sum.middle,
            inout(zmm_reg) sum.high,
            options(nomem, nostack, preserves_flags),
        );
    }
}
