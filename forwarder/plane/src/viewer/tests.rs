//! Counts the cache lines that a burst touches of a viewer, so that nobody puts a field between
//! them without noticing.

use core::mem::offset_of;
use core::ops::Range;

use super::hot::{HOT, HOT_SEALER, HOT_TRACKS};
use super::*;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Lines of a viewer's state that a burst of video may touch, but for its key.
const STATE_LINES: usize = 8;

/// Lines of its key: AES-128-GCM with powers of the hash key, and the salt.
const KEY_LINES: usize = 8;

fn lines_of(range: &Range<usize>) -> Range<usize> {
    range.start / LINE..range.end.div_ceil(LINE)
}

#[test]
fn a_burst_touches_few_lines_of_a_viewer() {
    assert!(align_of::<Viewer>().is_multiple_of(LINE));
    let mut state: Vec<usize> = lines_of(&HOT).chain(lines_of(&HOT_TRACKS[VIDEO])).collect();
    state.dedup();
    println!("state: {state:?}, key: {:?}", lines_of(&HOT_SEALER));
    assert!(state.len() <= STATE_LINES, "{} lines of state", state.len());
    assert!(lines_of(&HOT_SEALER).len() <= KEY_LINES);
    // Sound alone needs as many; together they are two lines more than video alone.
    assert!(lines_of(&HOT_TRACKS[AUDIO]).len() <= lines_of(&HOT_TRACKS[VIDEO]).len());
}

#[test]
fn what_a_burst_touches_lies_where_it_is_asked_for() {
    macro_rules! ends {
        ($kind:ty: $($field:ident: $of:ty),+) => {
            [$((stringify!($field), offset_of!($kind, $field) + size_of::<$of>())),+]
        };
    }
    let of_viewer = ends!(Viewer:
        id: ViewerId, phase: Phase, lane: u8, next_lane: u8, adaptation: u32, next_cap: Cap,
        is_worn: bool, to: RxMeta, cursor: u64, next: u32, sent: Sent, cell: Cell,
        leases: [u64; LEASES]);
    for (field, end) in of_viewer {
        assert!(
            end <= HOT.end,
            "{field} ends at {end}, the hot part at {}",
            HOT.end
        );
    }
    let of_track = ends!(OutTrack:
        next_index: u64, packets: u32, octets: u32, transport_sequence: u16, cap: Cap,
        out: TrackOut);
    for (field, end) in of_track {
        assert!(
            end <= OutTrack::HOT_BYTES,
            "{field} of a track ends at {end}"
        );
    }
}
