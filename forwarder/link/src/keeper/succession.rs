//! Owns how a process comes to its place at the memory, and how it leaves that to another one while
//! both are well.
//!
//! Whoever is to take the place says so in its greeting, gets the memory, and makes itself ready.
//! It may ask what the one that has the place can tell ahead, while that still works.
//! Then the one that has the place is asked to leave, and gives the keeper what it leaves. When it
//! has let go of all its ends, the place is the other's. If it dies on the way, it is buried like
//! any other, and the other finds the place of a dead one.

use super::{ANSWER_BYTES, Holder, Keeper, Notice, STANDBY, hello, read_answer};
use crate::region::{Region, Role, pass};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{
    self,
    ErrorKind::{Interrupted, WouldBlock},
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Said on the line after the greeting, 8 bytes each: by the one that waits, to the keeper, and
/// from there to the one that has the place; its answers go the same way back. Who does not know
/// a word passes over it.
const TELL: &[u8] = b"tell....";
const TOLD: &[u8] = b"told....";
const READY: &[u8] = b"ready...";
const LEAVE: &[u8] = b"leave...";
/// The same by and for one that knows what was told.
const READY_KNOWING: &[u8] = b"ready+..";
const LEAVE_KNOWING: &[u8] = b"leave+..";
const LEFT: &[u8] = b"left....";
const YOURS: &[u8] = b"yours...";

/// What the keeper wants of the process that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    None,
    /// That it tells ahead what it can, and goes on: see [`tell`].
    Tell,
    /// That it leaves its place: see [`leave`].
    Leave {
        /// The one that waits knows what was told last.
        knows: bool,
    },
}

/// A process's place: the memory, and what the keeper lends to it.
pub struct Place {
    /// The memory. The place is free again when this and every end made from it are gone.
    pub region: Region,
    /// Descriptors that outlive the process.
    pub lent: Vec<OwnedFd>,
}

/// A process that waits for the place of another one.
pub struct Standby {
    place: Place,
}

/// Gets the memory from the keeper at `path`, as the one process of this role.
///
/// # Errors
/// Nobody keeps memory there, or the keeper's reason in words.
pub fn join(path: &Path, role: Role) -> io::Result<Place> {
    greet(path, role, 0)
}

/// The same for a process that is to take the place of the one that has this role.
///
/// # Errors
/// As [`join`], and when another one waits already.
pub fn stand_by(path: &Path, role: Role) -> io::Result<Standby> {
    greet(path, role, STANDBY).map(|place| Standby { place })
}

fn greet(path: &Path, role: Role, flags: u32) -> io::Result<Place> {
    let line = pass::connect_to(path)
        .map_err(|e| io::Error::new(e.kind(), format!("no keeper at {}: {e}", path.display())))?;
    pass::send(&line, &hello(role, flags), &[])?;
    let mut bytes = [0; ANSWER_BYTES];
    let (length, mut passed) = pass::recv_passed(&line, &mut bytes)?;
    read_answer(&bytes[..length])
        .map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))?;
    if passed.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the keeper passed no memory",
        ));
    }
    let more = passed.split_off(1);
    let memory = passed.pop().ok_or(io::ErrorKind::InvalidData)?;
    let (region, lent) = Region::from_fd(memory, more, line, role)?;
    Ok(Place { region, lent })
}

impl Standby {
    /// The place, to get ready with. None of its ends can be taken yet.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Asks what the other one can tell ahead, while it still works. `None`: nothing, because it
    /// is gone, or does not know how to, or nobody between knows; then it is told at last.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn ask(&self, patience: Duration) -> io::Result<Option<OwnedFd>> {
        pass::send(&line(&self.place.region)?, TELL, &[])?;
        self.hear(TOLD, patience).map(Option::flatten)
    }

    /// Takes the place: lets the other one be asked to leave and waits until it has. With what that
    /// one left, if it did not die. `knows`: what came by [`Standby::ask`] is left out of that.
    ///
    /// # Errors
    /// The keeper is gone, or `patience` is over: the other one keeps its place.
    pub fn take_over(
        self,
        knows: bool,
        patience: Duration,
    ) -> io::Result<(Place, Option<OwnedFd>)> {
        let ready = if knows { READY_KNOWING } else { READY };
        pass::send(&line(&self.place.region)?, ready, &[])?;
        let left = self.hear(YOURS, patience)?.ok_or_else(|| {
            let why = "the process before does not leave its place";
            io::Error::new(io::ErrorKind::TimedOut, why)
        })?;
        Ok((self.place, left))
    }

    /// Waits for a word of the keeper, and what comes with it. `None`: it did not come.
    fn hear(&self, wanted: &[u8], patience: Duration) -> io::Result<Option<Option<OwnedFd>>> {
        let line = line(&self.place.region)?;
        let until = Instant::now() + patience;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(line, PollFlags::POLLIN)];
            if pass::patiently(|| poll(&mut fds, timeout))? == 0 {
                return Ok(None);
            }
            let mut bytes = [0; 16];
            let (length, mut passed) = pass::recv_passed(&line, &mut bytes)?;
            match bytes.get(..length).unwrap_or_default() {
                [] => {
                    let why = "the keeper went away, or is none of ours";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, why));
                }
                word if word == wanted => return Ok(Some(passed.pop())),
                // An answer that came too late, or nothing that this release knows.
                _ => {}
            }
        }
    }
}

/// What the keeper wants of the process that has this memory. Does not wait.
///
/// # Errors
/// The keeper is gone.
pub fn wish(region: &Region) -> io::Result<Wish> {
    let line = line(region)?;
    let mut fds = [PollFd::new(line, PollFlags::POLLIN)];
    if pass::patiently(|| poll(&mut fds, PollTimeout::ZERO))? == 0 {
        return Ok(Wish::None);
    }
    let mut bytes = [0; 16];
    let (length, _) = pass::recv_passed(&line, &mut bytes)?;
    match bytes.get(..length) {
        None | Some([]) => Err(io::ErrorKind::ConnectionAborted.into()),
        Some(TELL) => Ok(Wish::Tell),
        Some(LEAVE) => Ok(Wish::Leave { knows: false }),
        Some(LEAVE_KNOWING) => Ok(Wish::Leave { knows: true }),
        Some(_) => Ok(Wish::None),
    }
}

/// Tells ahead what the next process can know already; `None`: nothing.
///
/// # Errors
/// The keeper is gone.
pub fn tell(region: &Region, told: Option<&OwnedFd>) -> io::Result<()> {
    let told: Vec<_> = told.into_iter().map(AsFd::as_fd).collect();
    pass::send(&line(region)?, TOLD, &told)
}

/// Leaves the place with what the next process goes on with; that gets it when the last end of this
/// memory in this process is gone.
///
/// # Errors
/// The keeper is gone.
pub fn leave(region: &Region, left: &OwnedFd) -> io::Result<()> {
    pass::send(&line(region)?, LEFT, &[left.as_fd()])
}

fn line(region: &Region) -> io::Result<BorrowedFd<'_>> {
    let alone = || io::Error::other("this memory has no keeper");
    region.keeper_line().ok_or_else(alone)
}

impl Keeper {
    /// Something came on a line, or its process is gone.
    pub(super) fn hear(&mut self, place: usize) -> Option<Notice> {
        let holders = self.holders.len();
        let line = match place.checked_sub(holders) {
            Some(waiting) => self.standbys.get(waiting),
            None => self.holders.get(place),
        };
        let mut bytes = [0; 16];
        let heard = pass::recv_passed(&line?.line, &mut bytes);
        let (word, passed) = match &heard {
            Ok((length, passed)) => (bytes.get(..*length).unwrap_or_default(), passed),
            Err(e) if matches!(e.kind(), WouldBlock | Interrupted) => return None,
            Err(_) => (&[][..], &Vec::new()),
        };
        match (place.checked_sub(holders), word) {
            (Some(waiting), []) => {
                let Holder { role, pid, .. } = self.standbys.remove(waiting);
                let why = format!("it waited for the place of {role:?}, and has gone");
                Some(Notice::Refused { pid, why })
            }
            (Some(waiting), TELL) => {
                self.questions += 1;
                let question = self.questions;
                let standby = self.standbys.get_mut(waiting)?;
                standby.asked.by = Some(question);
                let role = standby.role;
                match self.holders.iter_mut().find(|holder| holder.role == role) {
                    Some(holder) => {
                        holder.asked.owed.push_back(question);
                        // If it is gone, its line says so next.
                        drop(pass::send(&holder.line, TELL, &[]));
                    }
                    None => self.pass_on(question, None),
                }
                None
            }
            (Some(waiting), READY | READY_KNOWING) => {
                let standby = self.standbys.get_mut(waiting)?;
                standby.is_ready = true;
                let role = standby.role;
                let leave = if word == READY { LEAVE } else { LEAVE_KNOWING };
                match self.holders.iter().find(|holder| holder.role == role) {
                    // If it is gone, its line says so next.
                    Some(holder) => drop(pass::send(&holder.line, leave, &[])),
                    None => return self.promote(role, None),
                }
                None
            }
            (None, TOLD) => {
                let question = self.holders.get_mut(place)?.asked.owed.pop_front()?;
                self.pass_on(question, passed.first());
                None
            }
            (None, []) => Some(self.bury(place)),
            (None, LEFT) => {
                let left = passed.first().and_then(|left| left.try_clone().ok());
                self.holders.get_mut(place)?.left = left;
                None
            }
            // Nothing that this release knows.
            _ => None,
        }
    }

    /// Gives what was told to the one that has asked, if it is still there.
    fn pass_on(&self, question: u64, told: Option<&OwnedFd>) {
        let told: Vec<_> = told.into_iter().map(AsFd::as_fd).collect();
        let mut waiting = self.standbys.iter();
        if let Some(standby) = waiting.find(|standby| standby.asked.by == Some(question)) {
            // If it is gone, its line says so next.
            let _ = pass::send(&standby.line, TOLD, &told);
        }
    }

    fn bury(&mut self, place: usize) -> Notice {
        let Holder {
            role,
            pid,
            left,
            asked,
            ..
        } = self.holders.swap_remove(place);
        for question in asked.owed {
            self.pass_on(question, None);
        }
        if left.is_some()
            && let Some(notice) = self.promote(role, left)
        {
            return notice;
        }
        self.region.reap(role);
        self.promote(role, None)
            .unwrap_or(Notice::Left { role, pid })
    }

    /// Gives the place to the one that waits for it, if it is ready.
    fn promote(&mut self, role: Role, left: Option<OwnedFd>) -> Option<Notice> {
        let mut waiting = self.standbys.iter();
        let at = waiting.position(|standby| standby.role == role && standby.is_ready)?;
        let standby = self.standbys.remove(at);
        let passed: Vec<_> = left.iter().map(AsFd::as_fd).collect();
        let is_told = pass::send(&standby.line, YOURS, &passed).is_ok();
        let pid = standby.pid;
        if !is_told {
            let why = "it waited for its place, and has gone".to_owned();
            return left.is_none().then_some(Notice::Refused { pid, why });
        }
        let build = standby.build.clone();
        self.holders.push(standby);
        if left.is_some() {
            return Some(Notice::Succeeded { role, pid });
        }
        self.region.joined(role);
        Some(Notice::Joined { role, pid, build })
    }
}
