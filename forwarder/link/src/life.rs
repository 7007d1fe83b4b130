//! Owns how generation and openness share a word.

/// The word of an open stream or viewer: generation << 1 | open.
pub(crate) const fn life_of(generation: u32) -> u64 {
    (generation as u64) << 1 | 1
}

/// The generation after that of `life`; never 0, which is "never used".
#[cfg(not(loom))]
pub(crate) fn next_generation(life: u64) -> u32 {
    generation_of(life).wrapping_add(1).max(1)
}

/// The generation of this word, open or closed.
#[cfg(not(loom))]
pub(crate) fn generation_of(life: u64) -> u32 {
    u32::try_from(life >> 1).unwrap_or(0)
}
