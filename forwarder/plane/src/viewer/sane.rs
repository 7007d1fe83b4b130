//! Owns what a command must hold for a viewer to be taken.

use link::command::{AddViewer, TRACKS_MAX, TrackOut};

use super::{RTCP_INDEX_END, RTP_INDEX_END};

/// True if no two packets can leave under the same key, SSRC and index.
pub fn is_sane(add: &AddViewer) -> bool {
    let mut ssrcs = [0; 2 * TRACKS_MAX];
    let mut used = 0;
    let mut note = |ssrc: u32| {
        let is_new = ssrc != 0 && !ssrcs[..used].contains(&ssrc);
        ssrcs[used] = ssrc;
        used += 1;
        is_new
    };
    let taken = |out: &&TrackOut| out.clock_hz != 0;
    add.rtcp_first_index < RTCP_INDEX_END
        && add.tracks.iter().filter(taken).all(|out| {
            note(out.ssrc)
                && (out.rtx_ssrc == 0 || note(out.rtx_ssrc))
                && out.first_index < RTP_INDEX_END
                && out.rtx_first_index < RTP_INDEX_END
        })
}
