//! Owns the names that tell a receiver which encoding a source carries (RFC 8852), and until when
//! they go out: a receiver that has reported on a source knows it, as libwebrtc has it.

use link::command::TrackOut;
use serde::{Deserialize, Serialize};

use super::{NO_SEQ, OutTrack};

/// What is left to be named of a track.
#[derive(Clone, Copy, Debug, Default, Hash, Serialize, Deserialize)]
pub struct Names {
    /// Bytes of the block of names; 0: there is none.
    block_bytes: u8,
    /// The source of the media is known: the block of the track is 0 bytes long from then on.
    knows_media: bool,
    /// The source of retransmissions is known.
    knows_rtx: bool,
}

impl Names {
    /// Those of a track of which nothing has been sent.
    pub const fn of(out: &TrackOut) -> Self {
        Self {
            block_bytes: if out.name_at != 0 { out.ext_bytes } else { 0 },
            knows_media: false,
            knows_rtx: false,
        }
    }

    /// What was known of `before` stays known of what is negotiated anew.
    pub fn renew(&mut self, renewed: &mut TrackOut) {
        self.block_bytes = Self::of(renewed).block_bytes;
        self.apply(renewed);
    }

    /// Leaves the names out of a track whose source is known.
    pub fn apply(&self, out: &mut TrackOut) {
        if self.knows_media && self.block_bytes != 0 {
            out.ext_bytes = 0;
        }
    }

    /// A track as it was negotiated.
    pub fn negotiated(&self, out: &TrackOut) -> TrackOut {
        let mut given = *out;
        if self.knows_media && self.block_bytes != 0 {
            given.ext_bytes = self.block_bytes;
        }
        given
    }
}

impl OutTrack {
    /// The peer has reported on this source: it need not be told any more what that is.
    pub fn on_reported(&mut self, ssrc: u32) {
        if self.names.block_bytes == 0 {
            return;
        }
        if ssrc == self.out.rtx_ssrc {
            self.names.knows_rtx = true;
        }
        if ssrc == self.out.ssrc && !self.names.knows_media {
            self.names.knows_media = true;
            self.names.apply(&mut self.out);
            if self.out.rtx_ssrc == 0 {
                // What is sent again as it was would have another header under a used index.
                self.history.forget(self.next_index);
                self.next_seq = NO_SEQ;
            }
        }
    }

    /// How repairs leave: retransmissions have names of their own.
    pub fn repaired(&self) -> TrackOut {
        let mut out = self.out;
        if self.names.block_bytes == 0 || out.rtx_ssrc == 0 {
            return out;
        }
        out.ext_bytes = 0;
        if !self.names.knows_rtx && out.repaired_rid_id != 0 {
            out.ext_bytes = self.names.block_bytes;
            if let Some(head) = out.ext.get_mut(usize::from(out.name_at)) {
                *head = out.repaired_rid_id << 4 | *head & 0x0f;
            }
        }
        out
    }
}

/// Drops a place of the name that is none.
pub fn check(out: &mut TrackOut) {
    let at = usize::from(out.name_at);
    let head = out.ext.get(at).copied().unwrap_or_default();
    let end = at + 2 + usize::from(head & 0x0f);
    if at != 0 && end > usize::from(out.ext_bytes) {
        out.name_at = 0;
    }
}
