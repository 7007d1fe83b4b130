//! Owns the queue of what viewers have asked to be sent again, and whose turn it is. Hot.
//!
//! Streams take turns, and so do the viewers of each stream: whoever asks for little does not wait
//! behind those who ask for much. A turn is one run, for that is what is paid for. Nobody may fill
//! the queue either: a stream may have as much waiting as is free, and a viewer an eighth of what
//! its stream may still have (dynamic thresholds of Choudhury and Hahne), so that there is always
//! room for another one.

use core::cell::Cell;

use link::ids::ViewerId;

use crate::nack::LOST_MAX;

/// Repairs that wait at once on a core. What there is no room for is dropped: the viewer asks
/// again.
const REPAIRS_MAX: usize = 4096;

/// A viewer may have so many waiting and no more: as much as one NACK may ask for.
const OF_VIEWER_MAX: u32 = 256;

const _: () = assert!(OF_VIEWER_MAX as usize == LOST_MAX);

/// Part of its stream's room that one viewer may have.
const OF_STREAM: u32 = 8;

/// No place.
pub const NONE: u32 = u32::MAX;

/// One packet to be sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Its track.
    pub track: u8,
    /// The SRTP index under which it left.
    pub index: u64,
}

#[derive(Clone, Copy)]
struct Node {
    repair: Repair,
    next: u32,
}

/// What one viewer has asked for, oldest first.
#[derive(Clone, Copy)]
struct Line {
    viewer: ViewerId,
    first: u32,
    last: u32,
    waiting: u32,
    /// The line of the same stream whose turn it is after this one, in a ring.
    next: u32,
}

/// The lines of one stream.
#[derive(Clone, Copy)]
struct Group {
    /// The line that had its turn last; the one after it is next. `NONE`: nothing waits.
    last: u32,
    waiting: u32,
    /// The stream whose turn it is after this one, in a ring.
    next: u32,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// The viewer; it may have left.
    pub viewer: ViewerId,
    /// What it has asked for first.
    pub first: Repair,
    line: u32,
}

/// A queue of repairs.
pub struct Repairs {
    nodes: Box<[Node]>,
    lines: Box<[Line]>,
    groups: Box<[Group]>,
    free_node: u32,
    free_line: u32,
    /// The stream that had its turn last; `NONE`: nothing waits.
    last: u32,
    waiting: u32,
}

impl Repairs {
    /// Bytes that a queue allocates for each stream.
    pub const STREAM_BYTES: usize = size_of::<Group>();

    /// An empty queue for streams with indexes below `streams_max`. All allocation is here.
    pub fn new(streams_max: u32) -> Self {
        let after = |at: u32| if at as usize == REPAIRS_MAX { NONE } else { at };
        let nodes = (1..).take(REPAIRS_MAX).map(|at| Node {
            repair: Repair::default(),
            next: after(at),
        });
        let lines = (1..).take(REPAIRS_MAX).map(|at| Line {
            viewer: ViewerId::default(),
            first: NONE,
            last: NONE,
            waiting: 0,
            next: after(at),
        });
        let group = Group {
            last: NONE,
            waiting: 0,
            next: NONE,
        };
        Self {
            nodes: nodes.collect(),
            lines: lines.collect(),
            groups: vec![group; streams_max as usize].into_boxed_slice(),
            free_node: 0,
            free_line: 0,
            last: NONE,
            waiting: 0,
        }
    }

    /// True if nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// True if this viewer of this stream may have another repair queued. `line` is where its
    /// repairs waited last.
    pub fn has_room(&self, stream: u32, viewer: ViewerId, line: u32) -> bool {
        let Some(group) = self.groups.get(stream as usize) else {
            return false;
        };
        let free = u32::try_from(self.nodes.len()).unwrap_or(NONE) - self.waiting;
        let room = free.saturating_sub(group.waiting);
        let has = self.line_of(viewer, line).map_or(0, |line| line.waiting);
        has < OF_VIEWER_MAX && has * OF_STREAM < room
    }

    /// Queues a repair for a viewer of this stream; `line` is where its repairs wait. False: no
    /// room.
    pub fn push(&mut self, stream: u32, viewer: ViewerId, line: &mut u32, repair: Repair) -> bool {
        if !self.has_room(stream, viewer, *line) {
            return false;
        }
        if self.line_of(viewer, *line).is_none() {
            *line = self.open(stream, viewer);
        }
        // There are as many lines as nodes, and room for both.
        let place = self.free_node;
        let (Some(node), Some(line)) = (
            self.nodes.get_mut(place as usize),
            self.lines.get_mut(*line as usize),
        ) else {
            return false;
        };
        self.free_node = core::mem::replace(&mut node.next, NONE);
        node.repair = repair;
        let before = core::mem::replace(&mut line.last, place);
        line.waiting += 1;
        match self.nodes.get_mut(before as usize) {
            Some(before) => before.next = place,
            None => line.first = place,
        }
        self.waiting += 1;
        self.groups[stream as usize].waiting += 1;
        true
    }

    /// Whose turn it is.
    pub fn due(&self) -> Option<Due> {
        let stream = self.groups.get(self.last as usize)?.next;
        let at = self
            .lines
            .get(self.groups[stream as usize].last as usize)?
            .next;
        let line = &self.lines[at as usize];
        Some(Due {
            viewer: line.viewer,
            first: self.nodes.get(line.first as usize)?.repair,
            line: at,
        })
    }

    /// Reads what the viewer whose turn it is has asked for, by its place in its line. Cheapest if
    /// asked for one after another.
    pub fn of<'a>(&'a self, due: &Due) -> impl Fn(usize) -> Option<Repair> + 'a {
        let first = self.lines[due.line as usize].first;
        let cursor = Cell::new((0, first));
        move |nth| {
            let (mut at, mut node) = cursor.get();
            if nth < at {
                (at, node) = (0, first);
            }
            while at < nth {
                node = self.nodes.get(node as usize)?.next;
                at += 1;
            }
            cursor.set((at, node));
            Some(self.nodes.get(node as usize)?.repair)
        }
    }

    /// Ends the turn: its viewer is done with the first `looked` of what it has asked for.
    pub fn pass(&mut self, looked: u32) {
        let Some(last) = self.groups.get(self.last as usize) else {
            return;
        };
        let stream = last.next;
        let group = self.groups[stream as usize];
        let at = self.lines[group.last as usize].next;
        let done = looked.min(self.lines[at as usize].waiting);
        for _ in 0..done {
            self.drop_first(at);
        }
        self.waiting -= done;
        self.groups[stream as usize].waiting -= done;
        if self.lines[at as usize].waiting > 0 {
            self.groups[stream as usize].last = at;
        } else {
            self.close(stream, at);
        }
        if self.groups[stream as usize].waiting > 0 {
            self.last = stream;
        } else {
            self.leave(stream);
        }
    }

    fn line_of(&self, viewer: ViewerId, line: u32) -> Option<&Line> {
        let line = self.lines.get(line as usize)?;
        (line.waiting > 0 && line.viewer == viewer).then_some(line)
    }

    /// Puts a viewer behind all others of its stream, and the stream behind all others if it is
    /// new.
    fn open(&mut self, stream: u32, viewer: ViewerId) -> u32 {
        let at = self.free_line;
        let Some(line) = self.lines.get_mut(at as usize) else {
            return NONE;
        };
        self.free_line = line.next;
        *line = Line {
            viewer,
            first: NONE,
            last: NONE,
            waiting: 0,
            next: at,
        };
        let last = core::mem::replace(&mut self.groups[stream as usize].last, at);
        if let Some(before) = self.lines.get_mut(last as usize) {
            let first = core::mem::replace(&mut before.next, at);
            self.lines[at as usize].next = first;
            return at;
        }
        let last = core::mem::replace(&mut self.last, stream);
        let first = match self.groups.get_mut(last as usize) {
            Some(before) => core::mem::replace(&mut before.next, stream),
            None => stream,
        };
        self.groups[stream as usize].next = first;
        at
    }

    fn drop_first(&mut self, line: u32) {
        let line = &mut self.lines[line as usize];
        let place = line.first;
        let node = &mut self.nodes[place as usize];
        line.first = core::mem::replace(&mut node.next, self.free_node);
        self.free_node = place;
        line.waiting -= 1;
    }

    /// Takes out the line whose turn it was.
    fn close(&mut self, stream: u32, line: u32) {
        let last = self.groups[stream as usize].last;
        if last == line {
            self.groups[stream as usize].last = NONE;
        } else {
            self.lines[last as usize].next = self.lines[line as usize].next;
        }
        self.lines[line as usize].next = self.free_line;
        self.free_line = line;
    }

    /// Takes out the stream whose turn it was.
    fn leave(&mut self, stream: u32) {
        if self.last == stream {
            self.last = NONE;
        } else {
            self.groups[self.last as usize].next = self.groups[stream as usize].next;
        }
    }
}

#[cfg(test)]
mod tests;
