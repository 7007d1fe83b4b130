//! Owns the way of a stream's bursts through the ring of its viewers, a portion in each turn. Hot.
//!
//! With 10,000 viewers a packet keeps a core busy for many milliseconds. What comes meanwhile, for
//! viewers of other streams, is not to wait so long: after a portion the others have their turn,
//! and the burst goes on where it was.

use core::ops::Range;

use link::command::AUDIO;
use link::lanes::{LAYERS, LAYERS_MAX, Lanes};
use link::log::Pinned;
use wire::datagram::Egress;

use crate::burst::Burst;
use crate::fanout::{Lists, Turn, live_viewer};
use crate::stream::{Round, Stream};
use crate::viewer::Viewer;
use crate::viewers::Viewers;

/// Bursts cut for one stream in one turn. More than 512 packets at once come only after a pause;
/// the rest is for the next turn, so that feedback and other streams are not kept waiting.
const BURSTS_PER_TURN: usize = 8;

/// Viewers of one stream that are served in one turn, each with a burst: half a millisecond or one,
/// so that a core with several large streams still hears from each within a few. A turn by itself
/// costs as much as one or two of them.
const VIEWERS_PER_TURN: u32 = 128;

/// Gives what is new to viewers who have kept up, from where the last turn stopped.
pub fn live_stream<E: Egress>(
    turn: &mut Turn<'_, E>,
    stream: &mut Stream,
    viewers: &mut Viewers,
    lists: &mut Lists,
) {
    // No more than is read: a worker that is held up here for long makes no writer wait.
    let from = stream.round.map_or(stream.seen, |round| round.start);
    let log = stream.reader.pin_from(from);
    let range = log.range();
    if range.is_empty() {
        drop(log);
        stream.round = None;
        stream.barren_head = Some(stream.reader.head());
        return;
    }
    if stream.seen < range.start {
        turn.done.overtaken += range.start - stream.seen;
    }
    stream.seen = stream.seen.clamp(range.start, range.end);
    // Those who were not reached before the writer came round are behind: they are left over.
    let mut round = stream.round.take().filter(|it| it.start >= range.start);
    let before = turn.done;
    let mut bursts = Bursts::new();
    let mut portion = VIEWERS_PER_TURN;
    for _ in 0..BURSTS_PER_TURN {
        let from = round.map_or(stream.first_viewer, |round| round.next);
        match round {
            Some(round) => bursts.cut(&log, round.start..stream.seen, turn.segments_max),
            None => bursts.cut(&log, stream.seen..range.end, turn.segments_max),
        }
        if bursts.whole.is_empty() {
            round = None;
            break;
        }
        if round.is_none() {
            stream.seen = bursts.whole.range.end;
            stream.hearing.note(turn.now, &bursts.whole);
        }
        let ring = (stream.first_viewer, from);
        round = serve(turn, &bursts, ring, viewers, lists, &mut portion);
        if round.is_some() {
            break;
        }
        if let Some(first) = viewers.at(stream.first_viewer) {
            turn.transits.note(&log, bursts.whole.range.clone());
            // Another viewer is first every time.
            stream.first_viewer = first.next;
        }
    }
    turn.is_midway |= round.is_some();
    stream.round = round;
    stream.stats.add(
        turn.done.datagrams - before.datagrams,
        turn.done.bytes - before.bytes,
    );
}

/// Serves viewers from `slot` on until the ring is round at `first` or the portion is used up: then
/// what is left is given back.
fn serve<E: Egress>(
    turn: &mut Turn<'_, E>,
    bursts: &Bursts<'_>,
    (first, mut slot): (u32, u32),
    viewers: &mut Viewers,
    lists: &mut Lists,
    portion: &mut u32,
) -> Option<Round> {
    let lanes = bursts.whole.lanes;
    while let Some(next) = viewers.at(slot).map(|viewer| viewer.next) {
        if *portion == 0 {
            let start = bursts.whole.range.start;
            return Some(Round { start, next: slot });
        }
        *portion -= 1;
        viewers.prefetch(next, lanes);
        if let Some(viewer) = viewers.at_mut(slot) {
            live_viewer(turn, slot, viewer, bursts.of(viewer), lists);
        }
        if next == first {
            break;
        }
        slot = next;
    }
    None
}

/// A burst as the viewers of a stream get it.
struct Bursts<'a> {
    /// All lanes.
    whole: Burst<'a>,
    /// With several layers: audio and one of them, by layer. Runs that are cut for all would end
    /// wherever packets of another layer lie between.
    layers: [Burst<'a>; LAYERS_MAX],
    /// The layers that were cut; the others are of an earlier burst.
    cut: Lanes,
}

impl<'a> Bursts<'a> {
    #[inline]
    fn new() -> Self {
        Self {
            whole: Burst::new(),
            layers: [(); LAYERS_MAX].map(|()| Burst::new()),
            cut: Lanes::default(),
        }
    }

    fn cut(&mut self, log: &'a Pinned<'_>, range: Range<u64>, segments_max: u8) {
        self.whole.cut(log, range, Lanes::ALL, segments_max);
        let video = self.whole.lanes.and(Lanes::VIDEO);
        self.cut = Lanes::default();
        if video.count() < 2 {
            return;
        }
        for (burst, lane) in self.layers.iter_mut().zip(LAYERS) {
            if video.has(lane) {
                let lanes = Lanes::only(lane).with(AUDIO);
                burst.cut(log, self.whole.range.clone(), lanes, segments_max);
                self.cut = self.cut.with(lane);
            }
        }
    }

    /// What this viewer takes its packets from.
    #[inline]
    fn of(&self, viewer: &Viewer) -> &Burst<'a> {
        let lane = usize::from(viewer.lane);
        let layer = LAYERS
            .iter()
            .position(|one| *one == lane && self.cut.has(lane));
        let layer = layer.and_then(|layer| self.layers.get(layer));
        layer.unwrap_or(&self.whole)
    }
}
