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
        let words = text.chunks(8).map(|chunk| {
            let mut filled = [0; 8];
            filled[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(filled)
        });
        self.replace(bytes, words);
        true
    }

    /// Makes it empty, and leaves nothing of what it was.
    pub(crate) fn wipe(&self) {
        self.replace(0, core::iter::repeat(0));
    }

    fn replace(&self, bytes: u32, words: impl Iterator<Item = u64>) {
        let odd = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        self.bytes.store(bytes, Ordering::Relaxed);
        for (place, word) in self.words.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.version.store(odd.wrapping_add(1), Ordering::Release);
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

#[cfg(test)]
impl<const WORDS: usize> Text<WORDS> {
    /// As a writer leaves it that dies writing.
    pub(crate) fn tear(&self) {
        self.version.fetch_or(1, Ordering::Relaxed);
    }

    /// Every word, used or not.
    pub(crate) fn whole(&self) -> [u64; WORDS] {
        core::array::from_fn(|word| self.words[word].load(Ordering::Relaxed))
    }
}
