//! Owns what of a track is told to another worker at last, and what ahead.

use core::hash::{Hash, Hasher};

use super::OutTrack;
use crate::handover::Fields;

impl OutTrack {
    /// What changes with every packet.
    pub fn running(&mut self, fields: &mut impl Fields) {
        fields.field("next_index", &mut self.next_index);
        fields.field("next_seq", &mut self.next_seq);
        fields.field("newest_timestamp", &mut self.newest_timestamp);
        fields.field("newest_frame", &mut self.newest_frame);
        fields.field("packets", &mut self.packets);
        fields.field("octets", &mut self.octets);
        fields.field("transport_sequence", &mut self.transport_sequence);
        fields.field("newest_number", &mut self.newest_number);
        fields.field("has_number", &mut self.has_number);
        fields.field("cap_spatial", &mut self.cap.spatial);
        fields.field("cap_temporal", &mut self.cap.temporal);
        fields.field("keyframe_at", &mut self.keyframe_at);
        fields.field("rtx_next_index", &mut self.rtx_next_index);
    }

    /// What changes rarely, besides what was negotiated.
    pub fn standing(&self, hasher: &mut impl Hasher) {
        self.history.standing(hasher);
        self.names.hash(hasher);
    }
}
