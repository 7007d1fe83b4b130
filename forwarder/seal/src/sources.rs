//! Owns the table of the SSRCs that a peer sends, with a replay window for each. Hot.

use crate::window::Window;

mod replay;

pub use replay::Replay;

/// Most SSRCs of RTP that one peer may send.
///
/// A publisher has one for audio, and for each of three layers one for media, one for
/// retransmission and one for forward error correction: ten. The rest is for two tracks more and
/// for SSRCs that changed after a collision. The table has 4.5 KB a publisher.
pub const RTP_SOURCES_MAX: usize = 32;

/// Most SSRCs that one peer may send RTCP with.
///
/// The same ten, and one for reports when nothing is sent. The table has 328 bytes.
pub const RTCP_SOURCES_MAX: usize = 16;

/// Up to `N` SSRCs, each with a window of `64 * WORDS` packets. An SSRC stays until the key goes:
/// to forget one would be to accept its packets again.
pub(crate) struct Sources<const N: usize, const WORDS: usize> {
    used: usize,
    ssrcs: [u32; N],
    windows: [Window<WORDS>; N],
}

impl<const N: usize, const WORDS: usize> Sources<N, WORDS> {
    pub fn new() -> Self {
        Self {
            used: 0,
            ssrcs: [0; N],
            windows: [Window::starting_at(0); N],
        }
    }

    pub fn is_full(&self) -> bool {
        self.used == N
    }

    /// The place of an SSRC.
    pub fn find(&self, ssrc: u32) -> Option<usize> {
        self.ssrcs[..self.used.min(N)]
            .iter()
            .position(|&known| known == ssrc)
    }

    /// The window at a place that [`find`](Self::find) gave.
    pub fn window(&self, place: usize) -> &Window<WORDS> {
        &self.windows[place]
    }

    /// Notes a verified packet, of the SSRC at `place` or of a new one; gives its place. `None`: a
    /// new one, and the table [is full](Self::is_full).
    pub fn accept(&mut self, place: Option<usize>, ssrc: u32, index: u64) -> Option<usize> {
        let place = match place {
            Some(place) => place,
            None => self.insert(ssrc, Window::starting_at(index))?,
        };
        self.windows[place].accept(index);
        Some(place)
    }

    /// Makes `highest` the highest index that was seen of `ssrc`, and everything before it old.
    pub fn resume(&mut self, ssrc: u32, highest: u64) -> bool {
        self.take_up(ssrc, Window::resumed_at(highest))
    }

    fn take_up(&mut self, ssrc: u32, window: Window<WORDS>) -> bool {
        match self.find(ssrc) {
            Some(place) => {
                self.windows[place] = window;
                true
            }
            None => self.insert(ssrc, window).is_some(),
        }
    }

    /// The SSRCs and the highest index seen of each.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        let windows = self.windows.iter().map(Window::highest);
        self.ssrcs[..self.used.min(N)].iter().copied().zip(windows)
    }

    fn insert(&mut self, ssrc: u32, window: Window<WORDS>) -> Option<usize> {
        let place = self.used;
        *self.ssrcs.get_mut(place)? = ssrc;
        self.windows[place] = window;
        self.used += 1;
        Some(place)
    }
}
