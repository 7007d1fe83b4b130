//! Owns the cell of each viewer: who serves it, which packet numbers are spoken for, how it fares.

use crate::ids::{CoreId, ViewerId};
use crate::life::{generation_of, life_of, next_generation};
use crate::sync::Shared;
use crate::text::Text;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use wire::time::Time;

/// Most bytes of what control keeps with a viewer: see [`Viewer::save`].
pub const KEEPSAKE_BYTES: usize = Text::<KEEPSAKE_WORDS>::BYTES_MAX;

/// Makes the keepsake 1,536 bytes with its head: the commands that made the viewer, and the longest
/// credentials of a peer (RFC 8839 section 5.4), fit.
const KEEPSAKE_WORDS: usize = 191;

/// No worker.
const NO_CORE: u32 = u32::MAX;

/// The packet numbers of a viewer that are leased in blocks, so that none is used twice after a
/// crash (RFC 3711 section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Lease {
    /// SRTP index of the video track.
    Video = 0,
    /// SRTP index of the retransmissions of video.
    VideoRtx = 1,
    /// SRTP index of the audio track.
    Audio = 2,
    /// SRTP index of the retransmissions of audio.
    AudioRtx = 3,
    /// SRTCP index.
    Rtcp = 4,
}

/// How many kinds of [`Lease`] there are.
pub const LEASES: usize = 5;

/// What a worker tells about a viewer, about once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewerCounters {
    /// Media packets sent, retransmissions included.
    pub packets: u64,
    /// Bytes of UDP payload sent.
    pub bytes: u64,
    /// Bytes of UDP payload received.
    pub bytes_received: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// NACK messages received.
    pub nacks: u64,
    /// PLI and FIR messages received.
    pub plis: u64,
    /// Last activity that was verified: a check, or RTCP that opened.
    pub active: Time,
    /// Fraction lost of the last receiver report, in 1/256.
    pub fraction_lost: u32,
    /// Cumulative packets lost by the last receiver report, video.
    pub lost: u32,
    /// Interarrival jitter of the last receiver report, in units of the RTP clock.
    pub jitter: u32,
    /// Round trip in microseconds; 0: not known.
    pub rtt_us: u32,
    /// What its path is thought to carry, in bits a second; 0: nobody has asked, as its stream has
    /// one layer.
    pub estimate_bps: u64,
    /// The lane that its video comes from.
    pub lane: u32,
    /// The lane that was chosen for it; another one than `lane` while its keyframe is waited for.
    pub lane_chosen: u32,
    /// The highest spatial layer of the lane that it is sent; 0: the lane has one.
    pub spatial: u32,
    /// The highest temporal layer of the lane that it is sent; 0: the lane has one.
    pub temporal: u32,
}

/// One viewer in shared memory; each line has one writer.
#[derive(zerocopy::FromBytes)]
#[repr(C, align(64))]
pub(crate) struct ViewerCell {
    /// Generation << 1 | open. Control.
    pub(crate) life: AtomicU64,
    /// The worker that serves it. The worker.
    owner: AtomicU32,
    reserved: u32,
    /// First number that is not leased yet. The worker.
    leases: [AtomicU64; LEASES],
    /// The fields of [`ViewerCounters`] in their order. The worker.
    wide: [AtomicU64; 8],
    narrow: [AtomicU32; 8],
    /// Which of the keepsakes holds. Control.
    kept: AtomicU32,
    spare: [u32; 7],
    /// Two, so that one is whole when control dies while it writes the other. Control.
    keepsakes: [Text<KEEPSAKE_WORDS>; 2],
}

/// One viewer's cell. Whoever holds the handle of an earlier viewer of the same index reads
/// nothing and writes nothing.
#[derive(Clone)]
pub struct Viewer {
    cell: Shared<ViewerCell>,
    id: ViewerId,
}

impl ViewerCell {
    /// Begins the next generation. The worker must have forgotten the last one.
    pub(crate) fn open(&self) -> u32 {
        let generation = next_generation(self.life.load(Ordering::Acquire));
        self.open_as(generation);
        generation
    }

    /// The same with a generation of the caller's choice.
    pub(crate) fn open_as(&self, generation: u32) {
        self.owner.store(NO_CORE, Ordering::Relaxed);
        self.forget_keepsakes();
        let words = self.leases.iter().chain(&self.wide);
        words.for_each(|word| word.store(0, Ordering::Relaxed));
        self.narrow
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        self.life.store(life_of(generation), Ordering::Release);
    }

    fn forget_keepsakes(&self) {
        self.keepsakes.iter().for_each(Text::wipe);
    }

    /// The generation, open or closed; 0: never used.
    pub(crate) fn generation(&self) -> u32 {
        generation_of(self.life.load(Ordering::Acquire))
    }

    /// The generation if it is open.
    pub(crate) fn open_generation(&self) -> Option<u32> {
        let life = self.life.load(Ordering::Acquire);
        (life & 1 == 1).then_some(generation_of(life))
    }
}

impl Viewer {
    pub(crate) fn new(cell: Shared<ViewerCell>, id: ViewerId) -> Self {
        Self { cell, id }
    }

    /// Whose cell it is.
    #[must_use]
    pub fn id(&self) -> ViewerId {
        self.id
    }

    /// True while this viewer is not closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.cell.life.load(Ordering::Acquire) == life_of(self.id.generation)
    }

    /// The worker that serves it.
    #[must_use]
    pub fn owner(&self) -> Option<CoreId> {
        let owner = self.cell.owner.load(Ordering::Acquire);
        u16::try_from(owner)
            .ok()
            .filter(|_| self.is_open())
            .map(CoreId)
    }

    /// Says which worker serves it from now on.
    pub fn set_owner(&self, core: Option<CoreId>) {
        if self.is_open() {
            let owner = core.map_or(NO_CORE, |core| u32::from(core.0));
            self.cell.owner.store(owner, Ordering::Release);
        }
    }

    /// The first number of this kind that was never leased: where a worker starts that does not
    /// know the viewer. 0: none was.
    #[must_use]
    pub fn lease(&self, kind: Lease) -> u64 {
        self.cell.leases[kind as usize].load(Ordering::Acquire)
    }

    /// All leases, by [`Lease`].
    #[must_use]
    pub fn leases(&self) -> [u64; LEASES] {
        core::array::from_fn(|kind| self.cell.leases[kind].load(Ordering::Acquire))
    }

    /// Leases all numbers below `index`. Call before the first of them is used. Never lowers.
    pub fn raise_lease(&self, kind: Lease, index: u64) {
        if self.is_open() {
            self.cell.leases[kind as usize].fetch_max(index, Ordering::AcqRel);
        }
    }

    /// The counters as the worker last told; each is right for itself.
    #[must_use]
    pub fn counters(&self) -> ViewerCounters {
        let wide = |place: usize| self.cell.wide[place].load(Ordering::Relaxed);
        let narrow = |place: usize| self.cell.narrow[place].load(Ordering::Relaxed);
        ViewerCounters {
            packets: wide(0),
            bytes: wide(1),
            bytes_received: wide(2),
            retransmitted: wide(3),
            nacks: wide(4),
            plis: wide(5),
            active: Time(wide(6)),
            fraction_lost: narrow(0),
            lost: narrow(1),
            jitter: narrow(2),
            rtt_us: narrow(3),
            estimate_bps: wide(7),
            lane: narrow(4),
            lane_chosen: narrow(5),
            spatial: narrow(6),
            temporal: narrow(7),
        }
    }

    /// Tells the counters.
    pub fn set_counters(&self, now: &ViewerCounters) {
        if !self.is_open() {
            return;
        }
        let wide = [
            now.packets,
            now.bytes,
            now.bytes_received,
            now.retransmitted,
            now.nacks,
            now.plis,
            now.active.0,
            now.estimate_bps,
        ];
        for (word, value) in self.cell.wide.iter().zip(wide) {
            word.store(value, Ordering::Relaxed);
        }
        let narrow = [
            now.fraction_lost,
            now.lost,
            now.jitter,
            now.rtt_us,
            now.lane,
            now.lane_chosen,
            now.spatial,
            now.temporal,
        ];
        for (word, value) in self.cell.narrow.iter().zip(narrow) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Keeps up to [`KEEPSAKE_BYTES`] bytes with the viewer, for the next life of control: what it
    /// needs to go on with this session, keys included. Control alone; if it dies here, what was
    /// kept before holds. False: too long, or the viewer is closed.
    #[must_use]
    pub fn save(&self, keepsake: &[u8]) -> bool {
        let other = 1 - self.cell.kept.load(Ordering::Relaxed).min(1);
        let written = self.is_open() && self.keepsake(other).write(keepsake);
        if written {
            self.cell.kept.store(other, Ordering::Release);
        }
        written
    }

    /// What was kept, empty if nothing was. `None`: the viewer is closed.
    #[must_use]
    pub fn load(&self) -> Option<Vec<u8>> {
        let kept = self.cell.kept.load(Ordering::Acquire);
        self.keepsake(kept).read().filter(|_| self.is_open())
    }

    fn keepsake(&self, place: u32) -> &Text<KEEPSAKE_WORDS> {
        let [first, second] = &self.cell.keepsakes;
        if place == 0 { first } else { second }
    }

    /// Ends this generation, and wipes what was kept; the index may be opened again once the worker
    /// has forgotten it. Control alone.
    pub fn close(&self) {
        let open = life_of(self.id.generation);
        let life = &self.cell.life;
        let closed = life.compare_exchange(open, open & !1, Ordering::AcqRel, Ordering::Relaxed);
        // Else it is not ours any more: nothing to close.
        if closed.is_ok() {
            self.cell.forget_keepsakes();
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::region::Region;

    #[test]
    fn what_was_kept_before_outlives_a_control_that_dies_keeping() {
        let region = Region::create(&Limits::default()).unwrap();
        let viewer = region.open_viewer(3).unwrap();
        for (kept, torn) in [("one", 0), ("two", 1), ("three", 0)] {
            assert!(viewer.save(kept.as_bytes()));
            viewer.keepsake(torn).tear();
            assert_eq!(viewer.load().as_deref(), Some(kept.as_bytes()));
        }
    }

    #[test]
    fn nothing_is_left_of_what_was_kept() {
        let region = Region::create(&Limits::default()).unwrap();
        let viewer = region.open_viewer(3).unwrap();
        assert!(viewer.save(&[7; KEEPSAKE_BYTES]) && viewer.save(&[8; 100]));
        viewer.close();
        let all = [0, 1].map(|place| viewer.keepsake(place).whole());
        assert_eq!(all, [[0; KEEPSAKE_WORDS]; 2]);
    }
}
