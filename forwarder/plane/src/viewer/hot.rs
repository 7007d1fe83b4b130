//! Says which bytes of a viewer a burst touches, and asks the processor for them. Hot.

use core::mem::offset_of;
use core::ops::Range;

use link::command::{AUDIO, TRACKS_MAX, VIDEO};
use link::lanes::Lanes;
use link::prefetch::lines;
use seal::Sealer;

use crate::rewrite::OutTrack;
use crate::viewer::Viewer;

/// What every burst touches, whatever it holds.
pub(super) const HOT: Range<usize> = 0..offset_of!(Viewer, tracks);

/// What it touches of each track, if it holds packets of that.
pub(super) const HOT_TRACKS: [Range<usize>; TRACKS_MAX] = {
    let tracks = offset_of!(Viewer, tracks);
    let audio = tracks + size_of::<OutTrack>();
    [
        tracks..tracks + OutTrack::HOT_BYTES,
        audio..audio + OutTrack::HOT_BYTES,
    ]
};

/// What sealing touches.
pub(super) const HOT_SEALER: Range<usize> = {
    let sealer = offset_of!(Viewer, sealer);
    sealer..sealer + Sealer::HOT_BYTES
};

/// In a table a viewer begins where its place begins.
const _: () = assert!(size_of::<Option<Viewer>>() == size_of::<Viewer>());
const _: () = assert!(VIDEO == 0 && AUDIO == 1);

/// Asks the processor for what a burst of `lanes` touches of a viewer. Whether there is one is not
/// looked at: that would wait for its first line.
#[inline]
pub fn prefetch(place: &Option<Viewer>, lanes: Lanes) {
    lines(place, HOT);
    for (track, of) in HOT_TRACKS
        .into_iter()
        .zip([Lanes::VIDEO, Lanes::only(AUDIO)])
    {
        if !lanes.and(of).is_empty() {
            lines(place, track);
        }
    }
    lines(place, HOT_SEALER);
}
