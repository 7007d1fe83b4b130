//! Owns how a process comes to its place at the memory, and how it leaves that to another one while
//! both are well.
//!
//! Whoever is to take the place says so in its greeting, gets the memory, and makes itself ready.
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
use std::time::Duration;

/// Said on the line after the greeting, 8 bytes each.
const READY: &[u8] = b"ready...";
const LEAVE: &[u8] = b"leave...";
const LEFT: &[u8] = b"left....";
const YOURS: &[u8] = b"yours...";

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

    /// Takes the place: lets the other one be asked to leave and waits until it has. With what that
    /// one left, if it did not die.
    ///
    /// # Errors
    /// The keeper is gone, or `patience` is over: the other one keeps its place.
    pub fn take_over(self, patience: Duration) -> io::Result<(Place, Option<OwnedFd>)> {
        let line = line(&self.place.region)?;
        pass::send(&line, READY, &[])?;
        let mut fds = [PollFd::new(line, PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        if pass::patiently(|| poll(&mut fds, timeout))? == 0 {
            let why = "the process before does not leave its place";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        let mut bytes = [0; 16];
        let (length, mut passed) = pass::recv_passed(&line, &mut bytes)?;
        if bytes.get(..length) != Some(YOURS) {
            let why = "the keeper went away, or is none of ours";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, why));
        }
        Ok((self.place, passed.pop()))
    }
}

/// True if the keeper asks the process that has this memory to leave its place. Does not wait.
///
/// # Errors
/// The keeper is gone.
pub fn asked_to_leave(region: &Region) -> io::Result<bool> {
    let line = line(region)?;
    let mut fds = [PollFd::new(line, PollFlags::POLLIN)];
    if pass::patiently(|| poll(&mut fds, PollTimeout::ZERO))? == 0 {
        return Ok(false);
    }
    let mut bytes = [0; 16];
    let (length, _) = pass::recv_passed(&line, &mut bytes)?;
    match bytes.get(..length) {
        None | Some([]) => Err(io::ErrorKind::ConnectionAborted.into()),
        Some(word) => Ok(word == LEAVE),
    }
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
            (Some(waiting), word) if word == READY => {
                let standby = self.standbys.get_mut(waiting)?;
                standby.is_ready = true;
                let role = standby.role;
                match self.holders.iter().find(|holder| holder.role == role) {
                    // If it is gone, its line says so next.
                    Some(holder) => drop(pass::send(&holder.line, LEAVE, &[])),
                    None => return self.promote(role, None),
                }
                None
            }
            (None, []) => Some(self.bury(place)),
            (None, word) if word == LEFT => {
                let left = passed.first().and_then(|left| left.try_clone().ok());
                self.holders.get_mut(place)?.left = left;
                None
            }
            // Nothing that this release knows.
            _ => None,
        }
    }

    fn bury(&mut self, place: usize) -> Notice {
        let Holder {
            role, pid, left, ..
        } = self.holders.swap_remove(place);
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
