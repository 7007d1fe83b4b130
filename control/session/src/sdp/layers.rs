//! Owns the encodings of an offer of ours (RFC 8853), under names of their own (RFC 8851), and what
//! an answer takes of them.

use super::offer::{Direction, Extension, OfferedMedia};
use super::publish::{MID_URI, REPAIRED_RID_URI, RID_URI};
use super::text::line;
use link::command::{Rid, TrackIn};
use link::lanes::{LANES_MAX, LAYERS};

/// Identifiers of the extensions that name them, after those of elements that are passed on.
const MID_ID: u8 = 6;
const RID_ID: u8 = 7;
const REPAIRED_RID_ID: u8 = 8;

/// The encodings of a stream: lane and name of each, none if there are not several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered(Vec<(u8, String)>);

/// What an answer takes of them; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Lane and name, in the order of the answer.
    pub encodings: Vec<(u8, String)>,
    /// Identifier of the extension with the section's tag, and that tag.
    pub mid: Option<(u8, String)>,
    /// The same of the name.
    pub rid_id: u8,
    /// The same of the name on retransmissions.
    pub repaired_rid_id: Option<u8>,
}

impl Offered {
    /// None: the stream is sent as one.
    pub const NONE: Self = Self(Vec::new());

    /// Those of a publisher with these lanes.
    #[must_use]
    pub fn of(lanes: &[TrackIn; LANES_MAX]) -> Self {
        let name = |rid: Rid| String::from_utf8(rid.name().to_vec()).ok();
        let is_there = |lane: &usize| lanes[*lane].clock_hz != 0 && !lanes[*lane].rid.is_empty();
        let all = LAYERS.into_iter().filter(is_there).filter_map(|lane| {
            let rid = name(lanes[lane].rid)?;
            Some((u8::try_from(lane).ok()?, rid))
        });
        let all: Vec<_> = all.collect();
        Self(if all.len() > 1 { all } else { Vec::new() })
    }

    /// True if the stream is sent as one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says in an offer what they are.
    pub(super) fn write(&self, out: &mut String) {
        if self.is_empty() {
            return;
        }
        for (id, uri) in [
            (MID_ID, MID_URI),
            (RID_ID, RID_URI),
            (REPAIRED_RID_ID, REPAIRED_RID_URI),
        ] {
            line(out, format_args!("a=extmap:{id} {uri}"));
        }
        for (_, rid) in &self.0 {
            line(out, format_args!("a=rid:{rid} send"));
        }
        let names: Vec<_> = self.0.iter().map(|(_, rid)| rid.as_str()).collect();
        line(out, format_args!("a=simulcast:send {}", names.join(";")));
    }

    /// What is taken by the video section of an answer. `None`: nothing by its name, which servers
    /// answer that know nothing of several encodings.
    #[must_use]
    pub fn accepted(&self, media: &OfferedMedia) -> Option<Accepted> {
        let find = |uri| {
            let (id, found) = Extension::find(&media.extensions, uri)?;
            let may_be_sent = !matches!(found.direction, Direction::SendOnly | Direction::Inactive);
            may_be_sent.then_some(id)
        };
        let rid_id = find(RID_URI)?;
        let mut encodings: Vec<(u8, String)> = Vec::new();
        for name in &media.source.received {
            let known = self.0.iter().find(|(_, rid)| rid == name);
            if let Some(one) = known.filter(|one| !encodings.contains(one)) {
                encodings.push(one.clone());
            }
        }
        let mid = media.mid.clone();
        (!encodings.is_empty()).then(|| Accepted {
            encodings,
            mid: find(MID_URI).zip(mid),
            rid_id,
            repaired_rid_id: find(REPAIRED_RID_URI),
        })
    }
}
