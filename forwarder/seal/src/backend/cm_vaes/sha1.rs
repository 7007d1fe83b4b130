//! Owns SHA-1 by the instructions for it, of up to four messages side by side (FIPS 180-4 section
//! 6.1). Hot.
//!
//! Four rounds of one message wait for the four before them, and one message leaves the unit idle
//! for half of the time: what belongs to other messages fills it.
//!
//! These instructions have no form that leaves the upper halves of AVX registers alone, and cost a
//! hundred times as much while there is something in them. So nothing here is compiled for AVX,
//! nothing is inlined into what is, and the compiler clears the upper halves before each call.

use core::arch::x86_64::*;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// Messages that go side by side.
///
/// Measured on Zen 3, each packet of 1,200 bytes: two take 0.60 of the time of one, three 0.52,
/// four 0.44; the words of five do not fit into the registers.
pub(super) const LANES: usize = 4;

/// Five words.
pub(super) type State = [u32; 5];

/// The initial state (FIPS 180-4 section 5.3.1).
pub(super) const INITIAL: State = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];

/// The digest that a state stands for.
pub(super) fn digested(state: &State) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (out, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *out = word.to_be_bytes();
    }
    bytes
}

/// Takes whole blocks into as many states. As many messages go side by side as have blocks left,
/// so that of messages of several lengths the longest ends alone.
///
/// # Safety
/// The processor has the instructions.
pub(super) unsafe fn digest(states: &mut [State], messages: &[&[u8]]) {
    let lanes = states.len().min(messages.len()).min(LANES);
    let mut done = 0;
    loop {
        let mut ids = [0; LANES];
        let mut active = 0;
        let mut bytes = usize::MAX;
        for (lane, message) in messages.iter().enumerate().take(lanes) {
            let left = (message.len() - message.len() % BLOCK).saturating_sub(done);
            if left > 0 {
                ids[active] = lane;
                active += 1;
                bytes = bytes.min(left);
            }
        }
        // SAFETY: the instructions are there by the contract; the active ones have so many bytes.
        unsafe {
            match active {
                0 => return,
                1 => together::<1>(states, messages, &ids, done, bytes),
                2 => together::<2>(states, messages, &ids, done, bytes),
                3 => together::<3>(states, messages, &ids, done, bytes),
                _ => together::<LANES>(states, messages, &ids, done, bytes),
            }
        }
        done += bytes;
    }
}

/// Takes the blocks from `at` on of the messages of the first `N` of `ids`.
///
/// # Safety
/// The processor has the instructions, and each of those messages `bytes` at `at`.
#[inline]
unsafe fn together<const N: usize>(
    states: &mut [State],
    messages: &[&[u8]],
    ids: &[usize; LANES],
    at: usize,
    bytes: usize,
) {
    let mut some = [[0; 5]; N];
    let mut from = [core::ptr::null(); N];
    for ((state, from), &id) in some.iter_mut().zip(&mut from).zip(ids) {
        *state = states[id];
        *from = messages[id][at..].as_ptr();
    }
    // SAFETY: by the contract.
    unsafe { compress(&mut some, from, bytes / BLOCK) };
    for (state, &id) in some.into_iter().zip(ids) {
        states[id] = state;
    }
}

/// Takes so many blocks at each of `from` into the state of the same place.
///
/// # Safety
/// The processor has the instructions; there are so many blocks.
#[inline(never)]
#[target_feature(enable = "sha,sse4.1")]
unsafe fn compress<const N: usize>(states: &mut [State; N], from: [*const u8; N], blocks: usize) {
    let zero = _mm_setzero_si128();
    let mut lanes = [Lane {
        abcd: zero,
        before: zero,
        e: zero,
        words: [zero; 4],
    }; N];
    for (lane, state) in lanes.iter_mut().zip(&*states) {
        let [a, b, c, d, e] = state.map(u32::cast_signed);
        lane.abcd = _mm_set_epi32(a, b, c, d);
        lane.e = _mm_set_epi32(e, 0, 0, 0);
    }
    for block in 0..blocks {
        let start = lanes;
        for (lane, from) in lanes.iter_mut().zip(from) {
            // SAFETY: by the contract.
            unsafe { lane.load(from.add(BLOCK * block)) };
        }
        macro_rules! quads {
            ($($nth:literal)*) => {$(
                for lane in &mut lanes {
                    lane.quad::<$nth, { $nth / 5 }>();
                }
            )*};
        }
        quads!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        for (lane, start) in lanes.iter_mut().zip(&start) {
            lane.e = _mm_sha1nexte_epu32(lane.before, start.e);
            lane.abcd = _mm_add_epi32(lane.abcd, start.abcd);
        }
    }
    for (lane, state) in lanes.iter().zip(states) {
        *state = [
            _mm_extract_epi32::<3>(lane.abcd),
            _mm_extract_epi32::<2>(lane.abcd),
            _mm_extract_epi32::<1>(lane.abcd),
            _mm_extract_epi32::<0>(lane.abcd),
            _mm_extract_epi32::<3>(lane.e),
        ]
        .map(i32::cast_unsigned);
    }
}

/// One message on its way.
#[derive(Clone, Copy)]
struct Lane {
    /// The first four words of the state, the first one on top.
    abcd: __m128i,
    /// The same four rounds ago: the fifth word is made of its first.
    before: __m128i,
    /// The fifth word on top, before the first rounds of a block.
    e: __m128i,
    /// The last sixteen words of the schedule.
    words: [__m128i; 4],
}

impl Lane {
    /// The sixteen words of a block, in the order of this machine.
    ///
    /// # Safety
    /// There are 64 bytes.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    unsafe fn load(&mut self, from: *const u8) {
        let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (nth, words) in self.words.iter_mut().enumerate() {
            // SAFETY: four times sixteen bytes, at any alignment.
            let bytes = unsafe { _mm_loadu_si128(from.add(16 * nth).cast()) };
            *words = _mm_shuffle_epi8(bytes, order);
        }
    }

    /// Four rounds, and the words of four later ones.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn quad<const NTH: usize, const KIND: i32>(&mut self) {
        let words = self.words[NTH % 4];
        let e = if NTH == 0 {
            _mm_add_epi32(self.e, words)
        } else {
            _mm_sha1nexte_epu32(self.before, words)
        };
        self.before = self.abcd;
        self.abcd = _mm_sha1rnds4_epu32::<KIND>(self.abcd, e);
        if NTH >= 3 && NTH < 19 {
            let oldest = self.words[(NTH + 1) % 4];
            let next = _mm_sha1msg1_epu32(oldest, self.words[(NTH + 2) % 4]);
            let next = _mm_xor_si128(next, self.words[(NTH + 3) % 4]);
            self.words[(NTH + 1) % 4] = _mm_sha1msg2_epu32(next, words);
        }
    }
}
