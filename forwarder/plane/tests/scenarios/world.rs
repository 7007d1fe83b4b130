//! The world of a scenario: memory, planes, a sink for runs that checks each one, virtual time.

use freshet_plane::{Blank, Cipher, Outlets, Plane};
use link::Region;
use link::channel::{EventConsumer, PuntConsumer};
use link::command::{AUDIO, COMMAND_BYTES, Command, VIDEO};
use link::event::Event;
use link::ids::{CoreId, StreamId};
use link::limits::Limits;
use link::log::{Flags, LogWriter, Record};
use link::stats::Counter;
use seal::Profile;
use wire::datagram::{
    DATAGRAM_MAX, Egress, PARKED_MAX, Parked, RUN_BYTES_MAX, RunMeta, RxMeta, RxSink, Slot,
};
use wire::time::{Span, Time};

use crate::viewer::TestViewer;

/// Takes runs, and checks that the kernel would take them as well.
pub struct Sink {
    pub segments_max: u8,
    /// Runs that there is room for in this turn.
    pub room: usize,
    pub runs: Vec<(RunMeta, Vec<u8>)>,
    /// Runs can be parked.
    pub parks: bool,
    /// Runs that were parked so far.
    pub parkings: usize,
    /// Claims are refused now and then.
    pub refusals: Option<Refusals>,
    claimed: Option<(RunMeta, Vec<u8>)>,
    parked: Vec<(RunMeta, Vec<u8>)>,
}

/// Refuses claims now and then, whether runs are parked or not: the same claims.
pub struct Refusals {
    random: u64,
    /// What is refused only until nothing is parked any more.
    passing: u64,
    /// The last claim, if it was refused, and whether what was parked has left since.
    last: Option<RunMeta>,
    has_left: bool,
}

impl Refusals {
    pub fn new(seed: u64) -> Self {
        Self {
            random: seed | 1,
            passing: !seed | 1,
            last: None,
            has_left: false,
        }
    }

    fn refuse(&mut self, run: RunMeta, is_parked: bool) -> bool {
        let is_again = core::mem::take(&mut self.has_left);
        if is_again && self.last.take() == Some(run) {
            return true;
        }
        self.last = None;
        if is_parked && one_of(6, &mut self.passing) {
            return true;
        }
        if one_of(9, &mut self.random) {
            self.last = Some(run);
            return true;
        }
        false
    }
}

fn one_of(many: u64, state: &mut u64) -> bool {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.is_multiple_of(many)
}

impl Egress for Sink {
    fn segments_max(&self) -> u8 {
        self.segments_max
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        assert!(run.segments >= 1 && run.segments <= self.segments_max);
        assert!(run.bytes > 0 && run.bytes <= RUN_BYTES_MAX);
        assert!(usize::from(run.segment_bytes) <= DATAGRAM_MAX);
        let full = usize::from(run.segment_bytes) * usize::from(run.segments);
        assert!(run.bytes <= full && run.bytes > full - usize::from(run.segment_bytes));
        let left = self.room.checked_sub(1)?;
        let is_parked = !self.parked.is_empty();
        let refusals = self.refusals.as_mut();
        if refusals.is_some_and(|refusals| refusals.refuse(run, is_parked)) {
            return None;
        }
        self.room = left;
        let claimed = self.claimed.insert((run, vec![0xee; run.bytes]));
        Some(Slot::joined(&mut claimed.1))
    }

    fn commit(&mut self, bytes: usize) {
        let (run, memory) = self.claimed.take().expect("claimed before");
        assert_eq!(bytes, run.bytes, "what is claimed is filled");
        self.runs.push((run, memory));
    }

    fn parked_max(&self) -> u8 {
        if self.parks { PARKED_MAX } else { 0 }
    }

    fn park(&mut self, bytes: usize) -> Option<Parked> {
        let (run, memory) = self.claimed.take().expect("claimed before");
        assert_eq!(bytes, run.bytes, "what is claimed is filled");
        let place = u32::try_from(self.parked.len()).unwrap();
        self.parked.push((run, memory));
        self.parkings += 1;
        let segments = self.parked.iter().map(|(run, _)| run.segments);
        assert!(segments.sum::<u8>() <= PARKED_MAX);
        Some(Parked(place))
    }

    fn parked(&self, Parked(place): Parked) -> &[u8] {
        &self.parked[usize::try_from(place).unwrap()].1
    }

    fn parked_mut(&mut self, Parked(place): Parked) -> &mut [u8] {
        &mut self.parked[usize::try_from(place).unwrap()].1
    }

    fn commit_parked(&mut self) {
        assert!(!self.parked.is_empty());
        self.runs.append(&mut self.parked);
        if let Some(refusals) = &mut self.refusals {
            refusals.has_left = true;
        }
    }
}

pub struct World {
    pub region: Region,
    pub now: Time,
    pub planes: Vec<Plane>,
    pub sink: Sink,
    pub viewers: Vec<TestViewer>,
    /// What went to none of them.
    pub strays: Vec<(RunMeta, Vec<u8>)>,
    /// What was delivered since somebody asked, if anybody wants to know.
    pub delivered: Option<Vec<(RunMeta, Vec<u8>)>>,
    events: Vec<EventConsumer>,
    punts: Vec<PuntConsumer>,
    ticked_at: Time,
    /// What the first core's plane has told ahead, if it was asked to.
    ahead: Option<Vec<u8>>,
}

/// A stream with the writer of its log.
pub struct Source {
    pub id: StreamId,
    pub writer: LogWriter,
    /// Frames so far, by track.
    pub frames: [u32; 2],
    /// Added to timestamps: another publisher counts from elsewhere.
    pub base: [u32; 2],
}

pub const LIMITS: Limits = Limits {
    cores: 1,
    streams_max: 4,
    viewers_max: 32,
    log_packets: 1024,
    commands_max: 16,
    events_max: 64,
    punts_max: 4,
};

impl World {
    pub fn new() -> Self {
        Self::with(&LIMITS)
    }

    pub fn with(limits: &Limits) -> Self {
        let region = Region::create(limits).unwrap();
        let cores = (0..limits.cores).map(CoreId);
        let planes = cores.clone().map(|core| {
            let outlets = Outlets::take(&region, core).unwrap();
            Plane::new(core, limits, outlets, 42 + u64::from(core.0))
        });
        Self {
            now: Time(Span::secs(1000).0),
            planes: planes.collect(),
            sink: Sink {
                segments_max: 64,
                room: usize::MAX,
                runs: Vec::new(),
                parks: true,
                parkings: 0,
                refusals: None,
                claimed: None,
                parked: Vec::new(),
            },
            viewers: Vec::new(),
            strays: Vec::new(),
            delivered: None,
            events: cores
                .clone()
                .map(|core| region.events_consumer(core).unwrap())
                .collect(),
            punts: cores
                .map(|core| region.punts_in_consumer(core).unwrap())
                .collect(),
            ticked_at: Time::ZERO,
            ahead: None,
            region,
        }
    }

    pub fn plane(&mut self) -> &mut Plane {
        &mut self.planes[0]
    }

    pub fn source(&self, index: u32) -> Source {
        let id = self.region.open_stream(index, "live/test").unwrap();
        Source {
            id,
            writer: self.region.log_writer(id).unwrap(),
            frames: [0; 2],
            base: [0x1234_5678, 0xfff0_0000],
        }
    }

    /// A viewer that the plane does not know yet; AES-128-GCM.
    pub fn viewer(&self, stream: StreamId) -> TestViewer {
        self.viewer_with(stream, Profile::AeadAes128Gcm)
    }

    pub fn viewer_with(&self, stream: StreamId, profile: Profile) -> TestViewer {
        let index = u32::try_from(self.viewers.len()).unwrap();
        let cell = self.region.open_viewer(index).unwrap();
        TestViewer::new(cell.id(), stream, profile)
    }

    /// Adds a viewer at the first core; gives its place.
    pub fn add(&mut self, viewer: TestViewer) -> usize {
        self.add_at(0, viewer)
    }

    pub fn add_at(&mut self, core: usize, viewer: TestViewer) -> usize {
        let now = self.now;
        self.planes[core].apply(now, &Command::AddViewer(viewer.add));
        self.viewers.push(viewer);
        self.viewers.len() - 1
    }

    pub fn join(&mut self, stream: StreamId) -> usize {
        let viewer = self.viewer(stream);
        self.add(viewer)
    }

    /// A turn of every core after `ms` more milliseconds; what was sent is delivered.
    pub fn turn(&mut self, ms: u64) {
        self.advance(ms);
        self.deliver();
    }

    /// The same, but what was sent is not delivered yet.
    pub fn advance(&mut self, ms: u64) {
        self.now = self.now + Span::millis(ms);
        for core in 0..self.planes.len() {
            let plane = &mut self.planes[core];
            plane.begin(self.now);
            plane.fan_out(self.now, &mut self.sink);
            assert!(self.sink.parked.is_empty(), "everything leaves in its turn");
            if self.now.since(self.ticked_at) >= Span::millis(10) {
                plane.tick(self.now, self.now.0 + UNIX_OFFSET);
            }
        }
        if self.now.since(self.ticked_at) >= Span::millis(10) {
            self.ticked_at = self.now;
        }
    }

    /// Turns of `step` ms for `ms` in all.
    pub fn run(&mut self, ms: u64, step: u64) {
        for _ in 0..ms / step {
            self.turn(step);
        }
    }

    pub fn deliver(&mut self) {
        if let Some(delivered) = &mut self.delivered {
            delivered.extend(self.sink.runs.iter().cloned());
        }
        for (run, bytes) in std::mem::take(&mut self.sink.runs) {
            let at = RxMeta {
                peer: run.peer,
                local: run.local,
            };
            let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.at == at) else {
                self.strays.push((run, bytes));
                continue;
            };
            for datagram in bytes.chunks(usize::from(run.segment_bytes)) {
                viewer.receive(datagram);
            }
        }
    }

    /// A datagram for a core.
    pub fn send(&mut self, core: usize, from: RxMeta, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.planes[core].begin(self.now);
        self.planes[core].datagram(from, &mut bytes);
    }

    /// Feedback of a viewer from where it is.
    pub fn feedback(&mut self, viewer: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let bytes = self.viewers[viewer].rtcp(write);
        let at = self.viewers[viewer].at;
        self.send(0, at, &bytes);
    }

    /// The first core's plane dies without a word, and another one takes its place.
    pub fn restart(&mut self) {
        let core = CoreId(0);
        drop(self.planes.remove(0));
        let outlets = Outlets::take(&self.region, core).unwrap();
        let limits = *self.region.limits();
        self.planes
            .insert(0, Plane::new(core, &limits, outlets, 4711));
    }

    /// The first core's plane tells of so many viewers ahead, to the one that takes its place next.
    /// True: of all.
    pub fn tell_ahead(&mut self, most: usize) -> bool {
        if self.ahead.is_none() {
            self.planes[0].begin_ahead();
        }
        let ahead = self.ahead.get_or_insert_default();
        self.planes[0].tell_ahead(most, ahead).unwrap()
    }

    /// A core's plane leaves everything to another one, which takes its place; with what it left.
    pub fn hand_over(&mut self, core: usize) -> Vec<u8> {
        let number = CoreId(u16::try_from(core).unwrap());
        let ahead = match core {
            0 => self.ahead.take(),
            _ => None,
        };
        let limits = *self.region.limits();
        let mut blank = Blank::new(number, &limits, 4711);
        let mut learnt = ahead.as_deref().unwrap_or_default();
        while !learnt.is_empty() {
            let cipher = Cipher::best();
            let told = blank.learn(self.now, &self.region, cipher, &mut learnt, 2);
            told.unwrap();
        }
        let mut before = self.planes.remove(core);
        before.settle();
        before.fan_out(self.now, &mut self.sink);
        self.deliver();
        let (mut left, mut whole) = (Vec::new(), Vec::new());
        before.hand_over(ahead.is_some(), &mut left).unwrap();
        before.hand_over(false, &mut whole).unwrap();
        drop(before);
        let mut next = blank.with(Outlets::take(&self.region, number).unwrap());
        next.go_on(self.now, &left).unwrap();
        let mut again = Vec::new();
        next.hand_over(false, &mut again).unwrap();
        let (whole, again) = (viewers_left(&whole), viewers_left(&again));
        assert_eq!(whole, again, "of a viewer something was forgotten");
        self.planes.insert(core, next);
        left
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events[0].pop()).collect()
    }

    /// Datagrams punted to control.
    pub fn punted(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.punts[0].pop(|punt| punt.bytes.to_vec())).collect()
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.region.stats(CoreId(0)).unwrap().read(counter)
    }
}

/// The viewers of a handover, by what they are told by, in any order.
fn viewers_left(mut left: &[u8]) -> Vec<String> {
    let mut viewers = Vec::new();
    while let Some((kind, rest)) = left.split_first_chunk()
        && let Some((length, rest)) = rest.split_first_chunk()
    {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
        let (part, rest) = rest.split_at(length);
        if u32::from_le_bytes(*kind) == 2 {
            let mut tree: ciborium::Value = ciborium::from_reader(part).unwrap();
            for (name, value) in tree.as_map_mut().unwrap() {
                if name.as_text() == Some("add") {
                    *value = format!("{:?}", without_leases(value.as_bytes().unwrap())).into();
                }
            }
            viewers.push(format!("{tree:?}"));
        }
        left = rest;
    }
    viewers.sort();
    viewers
}

/// A command without the numbers that begin behind what is leased by then.
fn without_leases(bytes: &[u8]) -> [u8; COMMAND_BYTES] {
    let mut bytes = bytes.try_into().unwrap();
    if let Some(Command::AddViewer(mut add)) = Command::decode(&bytes) {
        for track in &mut add.tracks {
            (track.first_index, track.rtx_first_index) = (0, 0);
        }
        Command::AddViewer(add).encode(&mut bytes);
    }
    bytes
}

/// What the wall clock is ahead of the monotonic one.
pub const UNIX_OFFSET: u64 = 1_700_000_000_000_000_000;

/// Payload of a packet that tells what it is.
pub fn payload(track: usize, key: bool, frame: u32, nth: usize, bytes: usize) -> Vec<u8> {
    let mut payload = vec![u8::try_from(nth).unwrap(); bytes.max(8)];
    payload[0] = u8::try_from(track).unwrap();
    payload[1] = u8::from(key);
    payload[2..6].copy_from_slice(&frame.to_be_bytes());
    payload
}

/// Frame number and whether it is a keyframe, from such a payload.
pub fn frame_of(payload: &[u8]) -> (u32, bool) {
    let number = u32::from_be_bytes(payload[2..6].try_into().unwrap());
    (number, payload[1] == 1)
}

impl Source {
    /// A video frame of so many packets of so many bytes, the last one shorter.
    pub fn frame(&mut self, now: Time, key: bool, packets: usize, bytes: usize) {
        let mut sizes = vec![bytes; packets];
        sizes[packets - 1] = bytes / 2 + 4;
        self.video(now, key, &sizes);
    }

    /// Appends and publishes a video frame with packets of these sizes.
    pub fn video(&mut self, now: Time, key: bool, sizes: &[usize]) {
        let frame = self.frames[VIDEO];
        self.frames[VIDEO] += 1;
        for (nth, &bytes) in sizes.iter().enumerate() {
            let mut flags = Flags::NONE;
            if key {
                flags |= Flags::KEY;
            }
            if nth == 0 {
                flags |= Flags::FIRST;
            }
            if nth + 1 == sizes.len() {
                flags |= Flags::LAST;
            }
            let payload = payload(VIDEO, key, frame, nth, bytes);
            self.append(now, VIDEO, flags, 3000, frame, &payload);
        }
        self.writer.publish();
    }

    /// Appends and publishes 20 ms of audio.
    pub fn audio(&mut self, now: Time, bytes: usize) {
        let frame = self.frames[AUDIO];
        self.frames[AUDIO] += 1;
        let payload = payload(AUDIO, false, frame, 0, bytes);
        self.append(now, AUDIO, Flags::FIRST | Flags::LAST, 960, frame, &payload);
        self.writer.publish();
    }

    fn append(
        &mut self,
        now: Time,
        track: usize,
        flags: Flags,
        ticks: u32,
        frame: u32,
        payload: &[u8],
    ) {
        let record = Record {
            lane: u8::try_from(track).unwrap(),
            flags,
            timestamp: self.base[track].wrapping_add(ticks.wrapping_mul(frame)),
            capture: now,
            arrival: now,
            ..Record::default()
        };
        self.writer.append(&record, &[payload]).unwrap();
    }

    /// A second of 30 frames from a keyframe on, with turns of the world in between.
    pub fn second(&mut self, world: &mut World) {
        for nth in 0..30 {
            let now = world.now;
            self.video(now, nth == 0, if nth == 0 { &KEY } else { &DELTA });
            for _ in 0..33 {
                world.turn(1);
            }
        }
    }
}

/// Sizes of a keyframe's packets.
pub const KEY: [usize; 9] = [1100, 1100, 1100, 1100, 1100, 1100, 1100, 1100, 640];

/// Sizes of another frame's.
pub const DELTA: [usize; 3] = [1000, 1000, 999];
