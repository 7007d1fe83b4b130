//! Owns big-endian fields: reads and writes that cannot panic. Hot.
//!
//! Views check lengths once and then read with these. A read past the end gives zeros and a write
//! past the end does nothing, so that an oversight costs a wrong value, never the process.

/// The `N` bytes at `at`, or zeros if they are not all there.
#[inline]
#[must_use]
pub fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..)
        .and_then(|tail| tail.first_chunk())
        .copied()
        .unwrap_or([0; N])
}

/// The byte at `at`, or 0.
#[inline]
#[must_use]
pub fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// The 16-bit number at `at`, or 0.
#[inline]
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array_at(bytes, at))
}

/// The 24-bit number at `at`, or 0.
#[inline]
#[must_use]
pub fn u24_at(bytes: &[u8], at: usize) -> u32 {
    let [a, b, c] = array_at(bytes, at);
    u32::from_be_bytes([0, a, b, c])
}

/// The 32-bit number at `at`, or 0.
#[inline]
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, at))
}

/// The 64-bit number at `at`, or 0.
#[inline]
#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array_at(bytes, at))
}

/// Writes `value` at `at`; nothing is written unless all of it fits.
#[inline]
pub fn set<const N: usize>(out: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(chunk) = out.get_mut(at..).and_then(|tail| tail.first_chunk_mut()) {
        *chunk = value;
    }
}

/// Writes a 16-bit number at `at`.
#[inline]
pub fn set_u16(out: &mut [u8], at: usize, value: u16) {
    set(out, at, value.to_be_bytes());
}

/// Writes a 32-bit number at `at`.
#[inline]
pub fn set_u32(out: &mut [u8], at: usize, value: u32) {
    set(out, at, value.to_be_bytes());
}

/// Fills a buffer from the front. Once something did not fit, nothing more is written and
/// [`Writer::finish`] gives 0.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    full: bool,
}

impl<'a> Writer<'a> {
    /// A writer at the front of `out`.
    #[inline]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            at: 0,
            full: false,
        }
    }

    /// Bytes written so far.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.at
    }

    /// True if nothing was written so far.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// What was written so far.
    #[inline]
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.out.get(..self.at).unwrap_or_default()
    }

    /// Appends `bytes`.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        match self.out.get_mut(self.at..end) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.at = end;
            }
            _ => self.full = true,
        }
    }

    /// Appends a byte.
    #[inline]
    pub fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    /// Appends a 16-bit number.
    #[inline]
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends a 32-bit number.
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends a 64-bit number.
    #[inline]
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends zeros up to the next multiple of four bytes.
    #[inline]
    pub fn align4(&mut self) {
        while !self.full && !self.at.is_multiple_of(4) {
            self.u8(0);
        }
    }

    /// Overwrites a 16-bit number that was written before.
    #[inline]
    pub fn patch_u16(&mut self, at: usize, value: u16) {
        set_u16(self.out, at, value);
    }

    /// Declares the buffer unfit: something cannot be expressed in the format.
    #[inline]
    pub fn fail(&mut self) {
        self.full = true;
    }

    /// Bytes written, or 0 if not everything fitted.
    #[inline]
    #[must_use]
    pub fn finish(self) -> usize {
        if self.full { 0 } else { self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_beyond_the_end_are_zero_and_writes_vanish() {
        let mut bytes = [1, 2, 3, 4];
        assert_eq!(u16_at(&bytes, 2), 0x0304);
        assert_eq!(u24_at(&bytes, 1), 0x02_0304);
        assert_eq!(u32_at(&bytes, 0), 0x0102_0304);
        assert_eq!(u16_at(&bytes, 3), 0);
        assert_eq!(u64_at(&bytes, usize::MAX), 0);
        assert_eq!(u8_at(&bytes, 4), 0);
        set_u32(&mut bytes, 1, 0xffff_ffff);
        set_u16(&mut bytes, usize::MAX, 0xffff);
        assert_eq!(bytes, [1, 2, 3, 4]);
        set_u16(&mut bytes, 2, 0x0908);
        assert_eq!(bytes, [1, 2, 9, 8]);
    }

    #[test]
    fn a_writer_that_overflowed_stays_full() {
        let mut out = [0; 5];
        let mut writer = Writer::new(&mut out);
        writer.u32(7);
        writer.u16(1);
        writer.u8(1);
        assert_eq!(writer.written(), [0, 0, 0, 7]);
        assert_eq!(writer.finish(), 0);
        let mut writer = Writer::new(&mut out);
        writer.u8(1);
        writer.align4();
        assert_eq!(writer.finish(), 4);
    }
}
