//! Owns the two cursors by which fixed-size messages are written and read, little-endian.

/// Writes fields one after another; what does not fit is a programmer error.
pub(crate) struct Put<'a> {
    rest: &'a mut [u8],
}

impl<'a> Put<'a> {
    /// Starts at the first byte; everything is zeroed first.
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        bytes.fill(0);
        Self { rest: bytes }
    }

    /// Appends bytes as they are.
    pub(crate) fn bytes(&mut self, field: &[u8]) -> &mut Self {
        debug_assert!(
            field.len() <= self.rest.len(),
            "the message has room for its fields"
        );
        let bytes = field.len().min(self.rest.len());
        let (now, later) = core::mem::take(&mut self.rest).split_at_mut(bytes);
        now.copy_from_slice(&field[..bytes]);
        self.rest = later;
        self
    }

    pub(crate) fn u8(&mut self, field: u8) -> &mut Self {
        self.bytes(&[field])
    }

    pub(crate) fn u16(&mut self, field: u16) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }

    pub(crate) fn u32(&mut self, field: u32) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, field: u64) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }
}

/// Reads fields one after another; `None` when the message is too short.
pub struct Take<'a> {
    rest: &'a [u8],
}

impl<'a> Take<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` bytes as they are.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (now, later) = self.rest.split_at_checked(count)?;
        self.rest = later;
        Some(now)
    }

    /// The next `N` bytes as they are.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (now, later) = self.rest.split_first_chunk::<N>()?;
        self.rest = later;
        Some(*now)
    }

    /// Everything that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
