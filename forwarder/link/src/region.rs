//! Owns the memory file that both planes share: making it, adopting it, handing out its ends.

pub(crate) mod build;
mod cells;
mod ends;
mod header;
mod layout;
mod map;
pub(crate) mod pass;
mod reap;
pub(crate) mod shared;
mod streams;
#[cfg(test)]
mod tests;

pub use build::{BUILD, LAYOUT_OLDEST, LAYOUT_VERSION};
#[cfg(test)]
pub(crate) use header::{frozen as frozen_header, reads as reads_header};

use crate::ids::{CoreId, ViewerId};
use crate::limits::Limits;
use crate::stats::Stats;
use crate::sync::Shared;
use crate::viewer::{Viewer, ViewerCell};
use crate::wake::{Sleeper, Waker, Wakers};
use cells::Roles;
use core::sync::atomic::Ordering;
use layout::{HEADER_BYTES, Layout, Part};
use map::Mapping;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The plane that a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Role {
    /// The data plane.
    Forwarder = 1,
    /// The sidecar.
    Control = 2,
}

/// Both planes in one process: whoever made the memory.
const BOTH: u32 = 3;

/// Whether a plane is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// How often a process of this role has joined: a change means a restart.
    pub joins: u32,
    /// One is there now.
    pub alive: bool,
}

/// Why an end or a stream cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Beyond `Limits::cores`.
    #[error("no such worker")]
    NoSuchCore,
    /// Beyond `Limits::streams_max`.
    #[error("no such stream")]
    NoSuchStream,
    /// Neither video nor audio.
    #[error("no such track")]
    NoSuchTrack,
    /// Beyond `Limits::viewers_max`.
    #[error("no such viewer")]
    NoSuchViewer,
    /// The generation is not the one of now, or it is closed.
    #[error("of the past: closed or reused")]
    Stale,
    /// Somebody holds this end, here or in the other process.
    #[error("somebody else holds this end")]
    Taken,
    /// Still open, or still held by a writer or a reader: try again later.
    #[error("still in use")]
    Busy,
    /// A name or text beyond its maximum.
    #[error("too long")]
    TooLong,
    /// The system has no memory for it.
    #[error("no memory for the log: lower streams_max or log_packets, or add memory: {0}")]
    Memory(io::Error),
}

/// The memory that both planes share. Cheap to clone; every end keeps it alive.
#[derive(Clone)]
pub struct Region(Arc<Inner>);

struct Inner {
    map: Arc<Mapping>,
    layout: Layout,
    limits: Limits,
    /// What claims of this process say.
    role: u32,
    wakers: Wakers,
    control: Waker,
    /// By core, control last: for passing on.
    bells: Vec<Arc<OwnedFd>>,
}

impl Region {
    /// Makes new memory for both planes in this process, or to be kept by a
    /// [`crate::keeper::Keeper`]. Takes everything from the system but the logs.
    ///
    /// # Errors
    /// Limits that cannot be (`InvalidInput`), or no memory or descriptors left.
    pub fn create(limits: &Limits) -> io::Result<Self> {
        let layout = Layout::new(limits)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = memfd_create("freshet-link", flags)?;
        let size = i64::try_from(layout.bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        nix::unistd::ftruncate(&file, size)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(sealed()))?;
        let header = header::encode(limits, &layout);
        let written = nix::sys::uio::pwrite(&file, &header, 0)?;
        if written != HEADER_BYTES {
            return Err(io::Error::other(
                "the memory file took only a part of its header",
            ));
        }
        let bells = (0..=limits.cores)
            .map(|_| bell())
            .collect::<io::Result<Vec<_>>>()?;
        let region = Self::map(file, bells, None, BOTH, *limits, layout)?;
        let map = &region.0.map;
        let (index, logs) = (region.part(Part::Index), region.part(Part::Logs));
        map.prefer_huge_pages(logs.0, logs.1);
        map.populate(0, index.0)?;
        Ok(region)
    }

    /// Adopts memory that a keeper has passed. `passed` are its eventfds by core, control's last,
    /// and after them what the keeper lends, which is given back; `line` is kept open as long as
    /// any end of this memory lives.
    ///
    /// # Errors
    /// `InvalidData` with the reason: not ours, another layout, damaged, not sealed.
    pub(crate) fn from_fd(
        file: OwnedFd,
        passed: Vec<OwnedFd>,
        line: OwnedFd,
        role: Role,
    ) -> io::Result<(Self, Vec<OwnedFd>)> {
        Self::from_fd_as(file, passed, Some(line), role as u32)
    }

    /// Goes on with memory that the program before in this process has made. `passed` are its
    /// [`Region::descriptors`].
    ///
    /// # Errors
    /// As [`Region::from_fd`].
    pub fn resume(mut passed: Vec<OwnedFd>) -> io::Result<Self> {
        if passed.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = passed.remove(0);
        Self::from_fd_as(file, passed, None, BOTH).map(|(region, _)| region)
    }

    fn from_fd_as(
        file: OwnedFd,
        mut passed: Vec<OwnedFd>,
        line: Option<OwnedFd>,
        role: u32,
    ) -> io::Result<(Self, Vec<OwnedFd>)> {
        let refuse = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let seals = fcntl(&file, FcntlArg::F_GET_SEALS)?;
        if !SealFlag::from_bits_retain(seals).contains(sealed()) {
            return Err(refuse("memory file: its size is not sealed".into()));
        }
        let size = u64::try_from(nix::sys::stat::fstat(&file)?.st_size).unwrap_or(0);
        let mut bytes = vec![0; HEADER_BYTES];
        let read = nix::sys::uio::pread(&file, &mut bytes, 0)?;
        let (limits, layout) = header::decode(&bytes[..read], size)
            .map_err(|e| refuse(format!("memory file: {e}")))?;
        let bells = usize::from(limits.cores) + 1;
        if passed.len() < bells {
            return Err(refuse(format!(
                "{} bells for {} workers",
                passed.len(),
                limits.cores
            )));
        }
        let lent = passed.split_off(bells);
        let region = Self::map(file, passed, line, role, limits, layout)?;
        let logs = region.part(Part::Logs);
        region.0.map.prefer_huge_pages(logs.0, logs.1);
        Ok((region, lent))
    }

    fn map(
        file: OwnedFd,
        bells: Vec<OwnedFd>,
        line: Option<OwnedFd>,
        role: u32,
        limits: Limits,
        layout: Layout,
    ) -> io::Result<Self> {
        let map = Arc::new(Mapping::new(file, layout.bytes, line)?);
        let bells: Vec<Arc<OwnedFd>> = bells.into_iter().map(Arc::new).collect();
        let mut wakers: Vec<Waker> = bells
            .iter()
            .enumerate()
            .map(|(place, bell)| {
                Waker::new(map.value(layout.at(Part::Bells, place)), Arc::clone(bell))
            })
            .collect();
        let control = wakers.pop().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(Arc::new(Inner {
            map,
            layout,
            limits,
            role,
            wakers: Wakers(wakers.into()),
            control,
            bells,
        })))
    }

    /// What the memory was made for.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The counters of a worker.
    ///
    /// # Errors
    /// No such worker.
    pub fn stats(&self, core: CoreId) -> Result<Stats, LinkError> {
        let place = self.core_place(core)?;
        Ok(Stats::new(
            self.0.map.value(self.0.layout.at(Part::Stats, place)),
        ))
    }

    /// Begins the next generation of viewer `index`. Control alone, after the worker has
    /// forgotten the last one.
    ///
    /// # Errors
    /// No such viewer, or it is still open.
    pub fn open_viewer(&self, index: u32) -> Result<Viewer, LinkError> {
        let cell = self.viewer_cell(index)?;
        if cell.open_generation().is_some() {
            return Err(LinkError::Busy);
        }
        let generation = cell.open();
        Ok(Viewer::new(cell, ViewerId { index, generation }))
    }

    /// Begins the generation of a viewer that control has chosen itself. Control alone, after the
    /// worker has forgotten the last one.
    ///
    /// # Errors
    /// No such viewer, still open, or a generation that has been.
    pub fn open_viewer_as(&self, id: ViewerId) -> Result<Viewer, LinkError> {
        let cell = self.viewer_cell(id.index)?;
        if cell.open_generation().is_some() {
            return Err(LinkError::Busy);
        }
        if id.generation <= cell.generation() {
            return Err(LinkError::Stale);
        }
        cell.open_as(id.generation);
        Ok(Viewer::new(cell, id))
    }

    /// The last generation of a viewer index, open or closed; 0: never used.
    ///
    /// # Errors
    /// No such viewer.
    pub fn viewer_generation(&self, index: u32) -> Result<u32, LinkError> {
        Ok(self.viewer_cell(index)?.generation())
    }

    /// The cell of a viewer.
    ///
    /// # Errors
    /// No such viewer, or not the generation of now.
    pub fn viewer(&self, id: ViewerId) -> Result<Viewer, LinkError> {
        let viewer = Viewer::new(self.viewer_cell(id.index)?, id);
        viewer.is_open().then_some(viewer).ok_or(LinkError::Stale)
    }

    /// The viewer that has this index now, if any: for a check that names an index only.
    #[must_use]
    pub fn viewer_at(&self, index: u32) -> Option<Viewer> {
        let cell = self.viewer_cell(index).ok()?;
        let generation = cell.open_generation()?;
        Some(Viewer::new(cell, ViewerId { index, generation }))
    }

    /// The viewers that are open: what a restarted control goes on with.
    #[must_use]
    pub fn viewers(&self) -> Vec<ViewerId> {
        let open = (0..self.0.limits.viewers_max).filter_map(|index| self.viewer_at(index));
        open.map(|viewer| viewer.id()).collect()
    }

    /// Wakes a worker.
    ///
    /// # Errors
    /// No such worker.
    pub fn waker(&self, core: CoreId) -> Result<Waker, LinkError> {
        let place = self.core_place(core)?;
        self.0
            .wakers
            .0
            .get(place)
            .cloned()
            .ok_or(LinkError::NoSuchCore)
    }

    /// Wakes control.
    #[must_use]
    pub fn control_waker(&self) -> Waker {
        self.0.control.clone()
    }

    /// A worker's own side of its wake-ups.
    ///
    /// # Errors
    /// No such worker.
    pub fn sleeper(&self, core: CoreId) -> Result<Sleeper, LinkError> {
        Ok(self.waker(core)?.sleeper())
    }

    /// Control's own side of its wake-ups.
    #[must_use]
    pub fn control_sleeper(&self) -> Sleeper {
        self.0.control.sleeper()
    }

    /// Whether a plane is there, as the keeper knows it. In one process: never joined.
    #[must_use]
    pub fn presence(&self, role: Role) -> Presence {
        let word = self.roles().presence[role as usize].load(Ordering::Acquire);
        Presence {
            joins: word >> 1,
            alive: word & 1 == 1,
        }
    }

    /// The connection to the keeper: readable when the keeper is gone. `None` in one process.
    #[must_use]
    pub fn keeper_line(&self) -> Option<BorrowedFd<'_>> {
        self.0.map.line.as_ref().map(AsFd::as_fd)
    }

    /// The memory file and the bells: all that the memory is made of.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let bells = self.0.bells.iter().map(|bell| bell.as_fd());
        [self.0.map.file.as_fd()].into_iter().chain(bells)
    }

    fn roles(&self) -> Shared<Roles> {
        self.0.map.value(self.0.layout.at(Part::Roles, 0))
    }

    fn viewer_cell(&self, index: u32) -> Result<Shared<ViewerCell>, LinkError> {
        if index >= self.0.limits.viewers_max {
            return Err(LinkError::NoSuchViewer);
        }
        let place = usize::try_from(index).map_err(|_| LinkError::NoSuchViewer)?;
        Ok(self.0.map.value(self.0.layout.at(Part::Viewers, place)))
    }

    fn core_place(&self, core: CoreId) -> Result<usize, LinkError> {
        let known = core.0 < self.0.limits.cores;
        known
            .then_some(usize::from(core.0))
            .ok_or(LinkError::NoSuchCore)
    }

    fn part(&self, part: Part) -> (usize, usize) {
        let section = self.0.layout.section(part);
        (section.offset, section.stride * section.count)
    }
}

/// The size can never change again: no access inside it can fault.
fn sealed() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

fn bell() -> io::Result<OwnedFd> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    Ok(EventFd::from_value_and_flags(0, flags)?.into())
}
