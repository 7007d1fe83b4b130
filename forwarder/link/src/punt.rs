//! Owns handshake datagrams on their way between the planes: STUN and DTLS, both directions.

use crate::codec::{Put, Take};
use crate::command::encoding::{put_peer, take_peer};
use crate::ids::CoreId;
use wire::datagram::DATAGRAM_MAX;
use wire::peer::{Ip, Peer};

/// Bytes in front of the datagram: one cache line.
const PUNT_HEAD_BYTES: usize = 64;

/// Bytes of one punt slot.
pub const PUNT_BYTES: usize = PUNT_HEAD_BYTES + DATAGRAM_MAX;

/// A datagram that the other plane handles.
pub struct Punt<'a> {
    /// The worker that it came to, or that sends it.
    pub core: CoreId,
    /// Its sender, or receiver.
    pub peer: Peer,
    /// The address of ours that it was sent to, or leaves from.
    pub local: Ip,
    /// The UDP payload, at most [`DATAGRAM_MAX`] bytes; lent, may be decrypted in place.
    pub bytes: &'a mut [u8],
}

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PuntError {
    /// The other side has not kept up.
    #[error("the punt ring is full")]
    Full,
    /// Longer than [`DATAGRAM_MAX`].
    #[error("the datagram is longer than any that is sent or accepted")]
    TooLong,
}

pub(crate) fn encode(
    slot: &mut [u8; PUNT_BYTES],
    core: CoreId,
    peer: Peer,
    local: Ip,
    bytes: &[u8],
) {
    let (head, body) = slot.split_at_mut(PUNT_HEAD_BYTES);
    let mut put = Put::new(head);
    put.u16(core.0).u16(u16::try_from(bytes.len()).unwrap_or(0));
    put_peer(&mut put, peer);
    put.bytes(&local.0);
    body[..bytes.len()].copy_from_slice(bytes);
}

/// `None`: a length that no side of ours writes.
pub(crate) fn decode(slot: &mut [u8; PUNT_BYTES]) -> Option<Punt<'_>> {
    let (head, body) = slot.split_at_mut(PUNT_HEAD_BYTES);
    let mut take = Take::new(head);
    let (core, bytes) = (CoreId(take.u16()?), take.u16()?);
    Some(Punt {
        core,
        peer: take_peer(&mut take)?,
        local: Ip(take.array()?),
        bytes: body.get_mut(..usize::from(bytes))?,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever stands in a slot: what is read is written back as it was.
        #[test]
        fn any_slot_is_a_punt_or_none(
            head in any::<[u8; PUNT_HEAD_BYTES]>(),
            fits in any::<bool>(),
        ) {
            let mut slot = [7; PUNT_BYTES];
            slot[..PUNT_HEAD_BYTES].copy_from_slice(&head);
            if fits {
                slot[3] %= 4;
            }
            let mut written = [7; PUNT_BYTES];
            if let Some(read) = decode(&mut slot) {
                prop_assert!(read.bytes.len() <= PUNT_BYTES - PUNT_HEAD_BYTES);
                let bytes = read.bytes.to_vec();
                encode(&mut written, read.core, read.peer, read.local, &bytes);
                let again = decode(&mut written).expect("what we write can be read");
                prop_assert_eq!(
                    (again.core, again.peer, again.local, again.bytes.to_vec()),
                    (read.core, read.peer, read.local, bytes)
                );
            }
        }
    }
}
