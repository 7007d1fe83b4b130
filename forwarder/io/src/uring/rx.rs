//! Owns received frames: how `recvmsg` with a provided buffer lays them out. Hot.
//!
//! A frame is: four numbers (bytes of name, control and payload; flags), room for the name, room
//! for control messages, the payload.

use super::buffers::{Buffers, FRAME_BYTES};
use crate::addr::{self, NAME_BYTES, NAME_LENGTH};
use crate::cmsg::{self, RX_CONTROL_BYTES};
use crate::message::EMPTY;
use crate::port::FlushReport;
use crate::stamp::{Clocks, Stamps};
use std::collections::VecDeque;
use wire::datagram::{DATAGRAM_MAX, RxMeta, RxSink};

const HEADER_BYTES: usize = 16;
const CONTROL_AT: usize = HEADER_BYTES + NAME_BYTES;
/// Where the payload begins: at a cache line.
const PAYLOAD_AT: usize = CONTROL_AT + RX_CONTROL_BYTES;
const _: () = assert!(PAYLOAD_AT.is_multiple_of(64));
const _: () = assert!(PAYLOAD_AT + DATAGRAM_MAX < FRAME_BYTES);

/// The shape of a receive request: room for name and control, no memory of its own.
pub(super) const SHAPE: libc::msghdr = libc::msghdr {
    msg_namelen: NAME_LENGTH,
    msg_controllen: RX_CONTROL_BYTES,
    ..EMPTY.msg_hdr
};

/// Frames that the kernel has filled and the sink has not seen.
pub(super) struct Ready {
    frames: VecDeque<(u16, usize)>,
    stamps: Stamps,
}

impl Ready {
    /// Room for all `buffers`; each can be here once only.
    pub(super) fn new(buffers: u16) -> Self {
        Self {
            frames: VecDeque::with_capacity(usize::from(buffers)),
            stamps: Stamps::default(),
        }
    }

    /// Frame `id` holds `bytes`.
    pub(super) fn push(&mut self, id: u16, bytes: usize) {
        self.frames.push_back((id, bytes));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Lends up to `max` datagrams to `sink` and gives their frames back to the kernel.
    pub(super) fn give(
        &mut self,
        max: usize,
        buffers: &mut Buffers,
        sink: &mut impl RxSink,
        report: &mut FlushReport,
    ) -> usize {
        self.stamps.look(Clocks::read);
        let mut given = 0;
        while given < max
            && let Some((id, bytes)) = self.frames.pop_front()
        {
            let frame = buffers.frame(id).and_then(|frame| frame.get_mut(..bytes));
            if let Some((meta, stamp_ns, payload)) = frame.and_then(parse) {
                sink.came(self.stamps.time(stamp_ns));
                sink.datagram(meta, payload);
                given += 1;
            } else {
                report.received_unusable += 1;
            }
            buffers.give_back(id);
        }
        buffers.publish();
        given
    }
}

/// The datagram in a frame and its stamp; `None` if it is too long or has no usable address.
fn parse(frame: &mut [u8]) -> Option<(RxMeta, Option<u64>, &mut [u8])> {
    let (head, payload) = frame.split_at_mut_checked(PAYLOAD_AT)?;
    let number = |at: usize| -> Option<usize> {
        let bytes = head.get(at..at + 4)?.first_chunk()?;
        usize::try_from(u32::from_ne_bytes(*bytes)).ok()
    };
    let name_bytes = number(0)?.min(NAME_BYTES);
    let control_bytes = number(4)?.min(RX_CONTROL_BYTES);
    let payload_bytes = number(8)?;
    if payload_bytes > DATAGRAM_MAX {
        return None;
    }
    let peer = addr::parse(head.get(HEADER_BYTES..HEADER_BYTES + name_bytes)?)?;
    let control = head.get(CONTROL_AT..CONTROL_AT + control_bytes)?;
    let came = cmsg::came(control);
    let local = came.local;
    let payload = payload.get_mut(..payload_bytes)?;
    Some((RxMeta { peer, local }, came.stamp_ns, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_frame_is_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..FRAME_BYTES),
            lengths in any::<[u8; 3]>(),
        ) {
            let mut bytes = bytes;
            let _ = parse(&mut bytes);
            for (at, length) in lengths.into_iter().enumerate() {
                if let Some(field) = bytes.get_mut(at * 4..at * 4 + 4) {
                    field.copy_from_slice(&u32::from(length).to_ne_bytes());
                }
            }
            if let Some((_, _, payload)) = parse(&mut bytes) {
                prop_assert_eq!(payload.len(), usize::from(lengths[2]));
            }
        }
    }
}
