//! Owns short texts and blobs in shared memory that are rewritten rarely and read without a lock.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// How often a reader tries again when it met a writer; a writer needs well under a microsecond.
const TRIES: usize = 64;

/// Up to `8 * WORDS` bytes under a version number: odd while they are being written. One writer.
#[derive(zerocopy::FromBytes)]
#[repr(C, align(64))]
pub(crate) struct Text<const WORDS: usize> {
    version: AtomicU32,
    bytes: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Text<WORDS> {
    /// Most bytes that fit.
    pub(crate) const BYTES_MAX: usize = 8 * WORDS;

    /// Replaces the text. False: too long, nothing changed.
    pub(crate) fn write(&self, text: &[u8]) -> bool {
        let Some(bytes) = u32::try_from(text.len())
            .ok()
            .filter(|_| text.len() <= 8 * WORDS)
        else {
            return false;
        };
        let odd = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        self.bytes.store(bytes, Ordering::Relaxed);
        for (word, chunk) in self.words.iter().zip(text.chunks(8)) {
            let mut filled = [0; 8];
            filled[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(filled), Ordering::Relaxed);
        }
        self.version.store(odd.wrapping_add(1), Ordering::Release);
        true
    }

    /// A copy of the text. `None`: its writer died in the middle, or never stops writing.
    pub(crate) fn read(&self) -> Option<Vec<u8>> {
        (0..TRIES).find_map(|_| {
            let copy = self.attempt();
            if copy.is_none() {
                core::hint::spin_loop();
            }
            copy
        })
    }

    fn attempt(&self) -> Option<Vec<u8>> {
        let version = self.version.load(Ordering::Acquire);
        if version & 1 == 1 {
            return None;
        }
        let bytes = usize::try_from(self.bytes.load(Ordering::Relaxed)).ok()?;
        let bytes = bytes.min(Self::BYTES_MAX);
        let words = self.words.iter().take(bytes.div_ceil(8));
        let mut copy: Vec<u8> = words
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        copy.truncate(bytes);
        fence(Ordering::Acquire);
        (self.version.load(Ordering::Relaxed) == version).then_some(copy)
    }
}
