//! Owns the 188-byte packet of MPEG-TS: finding it in any chunking of bytes, and reading it.

/// Bytes of a transport packet (ISO/IEC 13818-1 section 2.4.3.2).
pub(crate) const PACKET_BYTES: usize = 188;

/// First byte of every transport packet.
const SYNC: u8 = 0x47;

/// Input is taken in pieces of at most this size, so that the carry-over stays small whatever the
/// caller hands in.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Cuts a byte stream into transport packets; finds the boundary again after garbage.
#[derive(Default)]
pub(crate) struct Framer {
    held: Vec<u8>,
    synced: bool,
    /// How often the boundary was lost.
    pub(crate) resyncs: u64,
}

impl Framer {
    /// Takes bytes in any chunking and gives each whole packet to `sink`.
    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8; PACKET_BYTES])) {
        for piece in bytes.chunks(PIECE_BYTES_MAX) {
            if self.held.is_empty() {
                let used = self.consume(piece, sink);
                self.held.extend_from_slice(&piece[used..]);
            } else {
                let mut held = core::mem::take(&mut self.held);
                held.extend_from_slice(piece);
                let used = self.consume(&held, sink);
                held.drain(..used);
                self.held = held;
            }
        }
    }

    /// Gives packets to `sink`; returns how many bytes are done with. What remains is less than
    /// two packets.
    fn consume(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8; PACKET_BYTES])) -> usize {
        let mut at = 0;
        loop {
            if self.synced {
                let Some(packet) = bytes[at..].first_chunk::<PACKET_BYTES>() else {
                    return at;
                };
                if packet[0] == SYNC {
                    sink(packet);
                    at += PACKET_BYTES;
                } else {
                    self.synced = false;
                    self.resyncs += 1;
                }
            } else {
                match find_boundary(&bytes[at..]) {
                    Some(skip) => {
                        at += skip;
                        self.synced = true;
                    }
                    None => return at.max(bytes.len().saturating_sub(PACKET_BYTES)),
                }
            }
        }
    }
}

/// Offset of the first sync byte that another one follows at the distance of one packet, and of
/// two where so much is at hand.
fn find_boundary(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(PACKET_BYTES + 1)?;
    (0..=last).find(|&at| {
        bytes[at] == SYNC
            && bytes[at + PACKET_BYTES] == SYNC
            && bytes
                .get(at + 2 * PACKET_BYTES)
                .is_none_or(|&byte| byte == SYNC)
    })
}

/// What a transport packet says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    /// Packet identifier, 13 bits.
    pub(crate) pid: u16,
    /// A PES packet or section begins in the payload.
    pub(crate) start: bool,
    /// Continuity counter, 4 bits.
    pub(crate) counter: u8,
    /// The sender says that counter and clock jump here.
    pub(crate) discontinuity: bool,
    /// The adaptation field holds bytes that mean nothing: the sender had no more payload.
    pub(crate) stuffed: bool,
    /// The payload cannot be read: it is encrypted.
    pub(crate) scrambled: bool,
    /// Empty when the packet carries none.
    pub(crate) payload: &'a [u8],
}

/// Reads a transport packet; `None` when it says of itself that it is broken, or contradicts
/// itself.
pub(crate) fn read(bytes: &[u8; PACKET_BYTES]) -> Option<Packet<'_>> {
    let error = bytes[1] & 0x80 != 0;
    if error {
        return None;
    }
    let mut packet = Packet {
        pid: u16::from_be_bytes([bytes[1] & 0x1f, bytes[2]]),
        start: bytes[1] & 0x40 != 0,
        counter: bytes[3] & 0x0f,
        discontinuity: false,
        stuffed: false,
        scrambled: bytes[3] & 0xc0 != 0,
        payload: &[],
    };
    let mut at = 4;
    if bytes[3] & 0x20 != 0 {
        let field = bytes.get(5..5 + usize::from(bytes[4]))?;
        at = 5 + field.len();
        // A field of length 0 is one byte of stuffing.
        packet.stuffed = adaptation_used(field)? < field.len() || field.is_empty();
        packet.discontinuity = field.first().is_some_and(|flags| flags & 0x80 != 0);
    }
    if bytes[3] & 0x10 != 0 {
        packet.payload = &bytes[at..];
    }
    Some(packet)
}

/// Bytes of an adaptation field that mean something (section 2.4.3.4).
fn adaptation_used(field: &[u8]) -> Option<usize> {
    let Some(&flags) = field.first() else {
        return Some(0);
    };
    let mut used = 1;
    used += if flags & 0x10 != 0 { 6 } else { 0 }; // PCR
    used += if flags & 0x08 != 0 { 6 } else { 0 }; // OPCR
    used += if flags & 0x04 != 0 { 1 } else { 0 }; // splice countdown
    if flags & 0x02 != 0 {
        used += 1 + usize::from(*field.get(used)?); // private data
    }
    if flags & 0x01 != 0 {
        used += 1 + usize::from(*field.get(used)?); // extension
    }
    (used <= field.len()).then_some(used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(packets: u8) -> Vec<u8> {
        (0..packets)
            .flat_map(|n| {
                let mut packet = [n; PACKET_BYTES];
                packet[0] = SYNC;
                packet
            })
            .collect()
    }

    fn cut(framer: &mut Framer, bytes: &[u8], seen: &mut Vec<u8>) {
        framer.push(bytes, &mut |packet| seen.push(packet[1]));
    }

    #[test]
    fn finds_the_boundary_after_garbage() {
        let mut bytes = vec![1, 2, SYNC, 3];
        bytes.extend(stream(4));
        bytes.extend([9; 77]);
        bytes.extend(stream(4));
        let (mut framer, mut seen) = (Framer::default(), Vec::new());
        cut(&mut framer, &bytes, &mut seen);
        assert_eq!(seen, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(framer.resyncs, 1);
    }

    #[test]
    fn tells_stuffing_from_a_clock_reference() {
        let mut bytes = [0xff; PACKET_BYTES];
        bytes[..6].copy_from_slice(&[SYNC, 0x41, 0x00, 0x30, 7, 0x10]);
        assert!(!read(&bytes).unwrap().stuffed);
        bytes[4] = 8;
        assert!(read(&bytes).unwrap().stuffed);
        bytes[4] = 0;
        assert!(read(&bytes).unwrap().stuffed);
        assert_eq!(read(&bytes).unwrap().payload.len(), 183);
        bytes[4] = 184;
        assert!(read(&bytes).is_none());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(sizes in proptest::collection::vec(1usize..700, 1..40)) {
            let bytes = stream(50);
            let (mut framer, mut seen, mut at) = (Framer::default(), Vec::new(), 0);
            for size in sizes.iter().cycle() {
                let end = (at + size).min(bytes.len());
                cut(&mut framer, &bytes[at..end], &mut seen);
                at = end;
                if at == bytes.len() {
                    break;
                }
            }
            prop_assert_eq!(seen, (0..50).collect::<Vec<u8>>());
        }

        #[test]
        fn noise_never_grows(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let (mut framer, mut seen) = (Framer::default(), Vec::new());
            cut(&mut framer, &bytes, &mut seen);
            prop_assert!(framer.held.len() <= 2 * PACKET_BYTES);
        }
    }
}
