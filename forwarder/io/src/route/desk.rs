//! Owns who wants to know which way, what they were told, and the lanes that were opened for them.

use super::kernel::Kernel;
use super::message::Neighbour;
use super::resolve::{Hop, Resolver};
use super::{Ask, Told};
use crate::error::Error;
use crate::xdp::{Fallback, LANES_MAX, Lane, Mapping, Target, Way, open};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use wire::frame::{Header, Path};
use wire::peer::{Ip, Peer};
use wire::time::{Span, Time};

/// A lane that could not be opened, or has broken, is opened again after this.
const REOPEN: Span = Span::secs(1);

/// Addresses are remembered for so many times the viewers that there are.
const REMEMBERED: usize = 4;

/// Answers questions.
pub(crate) struct Desk<K> {
    resolver: Resolver<K>,
    port: u16,
    checksum: bool,
    note: fn(&str),
    cores: Vec<Core>,
    /// The device of each lane, the same for all cores; 0: none.
    devices: [u32; LANES_MAX],
    /// The last that was said about a device.
    noted: HashMap<u32, String>,
}

/// What concerns one worker.
struct Core {
    told: SyncSender<Told>,
    /// What there was no room for: at most a few for each viewer, as all that is older is pumped
    /// before ways are looked at again.
    pending: VecDeque<Told>,
    memory: Arc<Mapping>,
    lanes: [State; LANES_MAX],
    wants: HashMap<u32, Want>,
}

/// A lane of a worker.
enum State {
    Closed,
    /// With the worker; our handle of its socket, to share its memory.
    Open(OwnedFd),
    /// The worker has been told to give it back.
    Closing,
    /// Not before this.
    Failed(Time),
}

/// What a worker wants to know for a viewer.
#[derive(Clone, Copy)]
struct Want {
    peer: Peer,
    local: Ip,
    said: Option<Way>,
}

impl<K: Kernel> Desk<K> {
    pub(crate) fn new(resolver: Resolver<K>, port: u16, checksum: bool, note: fn(&str)) -> Self {
        Self {
            resolver,
            port,
            checksum,
            note,
            cores: Vec::new(),
            devices: [0; LANES_MAX],
            noted: HashMap::new(),
        }
    }

    /// Another worker, the next in order.
    pub(crate) fn add(&mut self, told: SyncSender<Told>, memory: Arc<Mapping>) {
        self.cores.push(Core {
            told,
            pending: VecDeque::new(),
            memory,
            lanes: [const { State::Closed }; LANES_MAX],
            wants: HashMap::new(),
        });
    }

    /// Takes what a worker says; true if the ways of all are to be looked at again.
    pub(crate) fn on_ask(&mut self, now: Time, ask: Ask) -> bool {
        match ask {
            Ask::Way {
                core,
                viewer,
                peer,
                local,
            } => {
                let want = Want {
                    peer,
                    local,
                    said: None,
                };
                let index = usize::from(core);
                if let Some(core) = self.cores.get_mut(index) {
                    core.wants.insert(viewer, want);
                    self.answer(now, index, viewer);
                }
                false
            }
            Ask::Forget { core, viewer } => {
                if let Some(core) = self.cores.get_mut(usize::from(core)) {
                    core.wants.remove(&viewer);
                }
                false
            }
            Ask::Closed { core, number, lane } => {
                let device = lane.target().device;
                drop(lane);
                let core = self.cores.get_mut(usize::from(core));
                let state = core.and_then(|core| core.lanes.get_mut(usize::from(number)));
                let Some(state) = state else { return false };
                if matches!(state, State::Closing) {
                    *state = State::Closed;
                } else {
                    *state = State::Failed(now + REOPEN);
                    self.say(
                        device,
                        "a lane has broken: the device is down, gone or hangs",
                    );
                }
                true
            }
        }
    }

    /// News of a neighbour; true if ways are to be looked at again.
    pub(crate) fn on_neighbour(&mut self, neighbour: Neighbour) -> bool {
        self.resolver.on_neighbour(neighbour)
    }

    /// Once in a while: true if ways are to be looked at again.
    pub(crate) fn tick(&mut self, now: Time) -> bool {
        self.resolver.use_stale();
        let states = self.cores.iter().flat_map(|core| &core.lanes);
        let mut failed = states.filter_map(|state| match state {
            State::Failed(until) => Some(*until),
            _ => None,
        });
        failed.any(|until| until <= now)
    }

    /// Asks the kernel anew, and tells what has changed.
    pub(crate) fn refresh(&mut self, now: Time) {
        if let Err(error) = self.resolver.refresh() {
            self.say(0, &format!("the kernel does not tell its routes: {error}"));
        }
        self.close_dead();
        self.revisit(now);
        // A lane's place is for another device once nobody has been told of it any more.
        for (number, device) in self.devices.iter_mut().enumerate() {
            let mut states = self.cores.iter().map(|core| &core.lanes[number]);
            let unused = states.all(|state| matches!(state, State::Closed | State::Failed(_)));
            if *device != 0 && unused && self.resolver.link(*device).is_none() {
                self.noted.remove(device);
                *device = 0;
            }
        }
    }

    /// Tells what has changed for those who have asked.
    pub(crate) fn revisit(&mut self, now: Time) {
        let wants: usize = self.cores.iter().map(|core| core.wants.len()).sum();
        if self.resolver.len() > wants * REMEMBERED + REMEMBERED && self.resolver.refresh().is_err()
        {
            self.say(0, "the kernel does not tell its routes");
        }
        for index in 0..self.cores.len() {
            let viewers: Vec<u32> = self.cores[index].wants.keys().copied().collect();
            for viewer in viewers {
                self.answer(now, index, viewer);
            }
        }
    }

    /// Passes on what waits; false if something still does.
    pub(crate) fn pump(&mut self) -> bool {
        let mut all = true;
        for core in &mut self.cores {
            while let Some(told) = core.pending.pop_front() {
                match core.told.try_send(told) {
                    Ok(()) => {}
                    Err(TrySendError::Full(told)) => {
                        core.pending.push_front(told);
                        all = false;
                        break;
                    }
                    Err(TrySendError::Disconnected(_)) => core.pending.clear(),
                }
            }
        }
        all
    }

    /// Tells a worker the way to a viewer, if that is not what it was told before.
    fn answer(&mut self, now: Time, core: usize, viewer: u32) {
        let Some(want) = self.cores[core].wants.get(&viewer).copied() else {
            return;
        };
        let way = match self.resolver.hop(want.peer.ip, want.local) {
            Ok(hop) => self.way(now, core, &want, &hop),
            Err(why) => Way::Socket(why),
        };
        if want.said == Some(way) {
            return;
        }
        let core = &mut self.cores[core];
        if let Some(want) = core.wants.get_mut(&viewer) {
            want.said = Some(way);
        }
        core.pending.push_back(Told::Way {
            viewer,
            peer: want.peer,
            local: want.local,
            way,
        });
    }

    fn way(&mut self, now: Time, core: usize, want: &Want, hop: &Hop) -> Way {
        let header = Header::new(&Path {
            source_mac: hop.source_mac,
            target_mac: hop.target_mac,
            vlan: hop.vlan,
            source: Peer {
                ip: hop.source,
                port: self.port,
            },
            target: want.peer,
            hop_limit: hop.hop_limit,
            checksum: self.checksum,
        });
        let Some(header) = header else {
            return Way::Socket(Fallback::Route);
        };
        match self.lane(now, core, hop.device) {
            Some(lane) => Way::Lane {
                lane,
                mtu: hop.mtu,
                header,
            },
            None => Way::Socket(Fallback::Device),
        }
    }

    /// The number of the lane of a worker to a device, opened if it is not open.
    fn lane(&mut self, now: Time, core: usize, device: u32) -> Option<u8> {
        let is = |wanted: u32| self.devices.iter().position(|device| *device == wanted);
        let number = is(device).or_else(|| is(0))?;
        self.devices[number] = device;
        match &self.cores[core].lanes[number] {
            State::Open(_) => return u8::try_from(number).ok(),
            State::Closing => return None,
            State::Failed(until) if *until > now => return None,
            State::Failed(_) | State::Closed => {}
        }
        let queue = u32::try_from(core).unwrap_or(u32::MAX);
        let target = Target { device, queue };
        let worker = &mut self.cores[core];
        let shared = worker.lanes.iter().find_map(|state| match state {
            State::Open(socket) => Some(socket.as_fd()),
            _ => None,
        });
        match open_lane(target, &worker.memory, shared) {
            Ok((lane, socket)) => {
                worker.lanes[number] = State::Open(socket);
                let number = u8::try_from(number).ok()?;
                worker.pending.push_back(Told::Open { number, lane });
                self.noted.remove(&device);
                Some(number)
            }
            Err(error) => {
                worker.lanes[number] = State::Failed(now + REOPEN);
                self.say(device, &error.to_string());
                None
            }
        }
    }

    /// Has the lanes given back whose device is down or gone.
    fn close_dead(&mut self) {
        for (number, device) in self.devices.iter().enumerate() {
            if self.resolver.link(*device).is_some_and(|link| link.is_up) {
                continue;
            }
            for core in &mut self.cores {
                let state = &mut core.lanes[number];
                if matches!(state, State::Open(_)) {
                    *state = State::Closing;
                    let number = u8::try_from(number).unwrap_or(u8::MAX);
                    core.pending.push_back(Told::Close { number });
                }
            }
        }
    }

    /// Notes something about a device, unless that was the last that was noted about it.
    fn say(&mut self, device: u32, what: &str) {
        if self.noted.get(&device).is_some_and(|last| last == what) {
            return;
        }
        let name = self.resolver.link(device).map(|link| link.name.as_str());
        let name = name.unwrap_or("AF_XDP");
        (self.note)(&format!(
            "{name}: {what}; its viewers are sent to by the socket"
        ));
        self.noted.insert(device, what.to_owned());
    }
}

fn open_lane(
    target: Target,
    memory: &Mapping,
    shared: Option<BorrowedFd<'_>>,
) -> Result<(Lane, OwnedFd), Error> {
    let lane = open(target, memory, shared)?;
    let socket = lane.fd().try_clone_to_owned();
    let socket =
        socket.map_err(|e| Error::new("duplicate a socket", e, "raise the limit on open files"))?;
    Ok((lane, socket))
}
