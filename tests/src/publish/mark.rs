//! Owns the mark in the payloads of synthetic publishers, by which a viewer knows what it was sent.

/// Where it begins: after what a payload of H.264 says of itself.
const AT: usize = 2;

/// What it begins with.
const MAGIC: [u8; 3] = *b"fsh";

/// Bytes up to its end, the number of the packet: the shortest payload that has one.
pub const MARKED_BYTES: usize = AT + MAGIC.len() + 1 + 4;

/// Encodings of a stream at most.
pub const ENCODINGS: usize = 3;

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The encoding, the least first; 0 where there is one.
    pub encoding: u8,
    /// Counts the marked packets of its source: unlike sequence numbers these are not made anew by
    /// the server, and tell what it has left out.
    pub number: u32,
}

impl Mark {
    /// Puts it into a payload.
    pub fn write(self, payload: &mut [u8]) {
        let (number, encoding) = (self.number.to_be_bytes(), [self.encoding]);
        let mark = [&MAGIC[..], &encoding, &number].concat();
        payload[AT..MARKED_BYTES].copy_from_slice(&mark);
    }

    /// That of a payload, if a publisher of ours has marked it.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mark = payload.get(AT..MARKED_BYTES)?.strip_prefix(&MAGIC)?;
        let (encoding, number) = mark.split_first()?;
        let number = u32::from_be_bytes(number.try_into().ok()?);
        let encoding = Some(*encoding).filter(|one| usize::from(*one) < ENCODINGS)?;
        Some(Self { encoding, number })
    }
}
