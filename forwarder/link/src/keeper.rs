//! Owns the memory while the planes come and go: serves it over a Unix socket, notices deaths.

mod parts;
mod succession;
#[cfg(test)]
mod tests;

pub use parts::Parts;
pub use succession::{Place, Standby, Wish, join, leave, stand_by, tell, wish};

use crate::codec::{Put, Take};
use crate::region::{LAYOUT_OLDEST, LAYOUT_VERSION, Region, Role, build, pass};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a plane says first: magic, layout versions, role, build line; with room to grow.
const HELLO_BYTES: usize = 128;

/// What the keeper answers: magic, whether it may, and the reason in words if not.
const ANSWER_BYTES: usize = 512;

const HELLO: [u8; 8] = *b"freshet?";
const ANSWER: [u8; 8] = *b"freshet!";

/// The kernel refuses longer paths of sockets (`sun_path` of `unix(7)`).
const PATH_BYTES_MAX: usize = 107;

/// Keeps the memory, and hands it to at most one live process of each role. Whoever keeps the
/// keeper keeps the streams: neither plane's death loses them.
pub struct Keeper {
    region: Region,
    listener: OwnedFd,
    path: PathBuf,
    holders: Vec<Holder>,
    /// Those that are to take the place of a holder.
    standbys: Vec<Holder>,
    lent: Vec<(Role, OwnedFd)>,
    /// How often somebody has asked another to tell ahead.
    questions: u64,
}

/// A process that has a place, or waits for one.
pub struct Holder {
    /// What it is, or is to be.
    pub role: Role,
    /// Its process id.
    pub pid: i32,
    /// What it says of its build.
    pub build: String,
    /// The connection to it.
    pub line: OwnedFd,
    /// Of a standby: it can take the place at once.
    pub is_ready: bool,
    /// What it leaves to the standby.
    pub left: Option<OwnedFd>,
    /// What it was asked to tell ahead.
    pub asked: Asked,
}

/// Who has asked whom to tell ahead. It is not passed on with the rest of a keeper: who waits for
/// an answer then gets all at last.
#[derive(Default)]
pub struct Asked {
    /// A number that only this process has, once it has asked.
    by: Option<u64>,
    /// Those for whom it was asked to tell, and has not yet.
    owed: VecDeque<u64>,
}

/// What has happened at the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A process has the memory now.
    Joined {
        /// What it is.
        role: Role,
        /// Its process id.
        pid: i32,
        /// What it says of its build.
        build: String,
    },
    /// A process waits for the place of the one that has the memory.
    Waiting {
        /// What it is to be.
        role: Role,
        /// Its process id.
        pid: i32,
        /// What it says of its build.
        build: String,
    },
    /// A process has left its place, with all that it knew, to the one that waited for it.
    Succeeded {
        /// What it is.
        role: Role,
        /// Its process id.
        pid: i32,
    },
    /// A process is gone, or has let go of all; what it held is free.
    Left {
        /// What it was.
        role: Role,
        /// Its process id.
        pid: i32,
    },
    /// A process did not get the memory.
    Refused {
        /// Its process id.
        pid: i32,
        /// Why, in words.
        why: String,
    },
}

struct Hello {
    role: Role,
    build: String,
    is_standby: bool,
}

/// A flag of a greeting: it waits for the place of another process.
const STANDBY: u32 = 1;

impl Keeper {
    /// Serves `region` at `path`. The directory is made with mode 0700 if it is not there. A socket
    /// that a dead keeper left behind is replaced.
    ///
    /// # Errors
    /// A directory that others can enter, a path that is too long, or a keeper that is alive.
    pub fn listen(region: Region, path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let why = format!(
                "{}: longer than {PATH_BYTES_MAX} bytes, the most that a socket's path may have: \
                 choose a shorter run directory",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        private_directory(path)?;
        remove_stale(path)?;
        Ok(Self {
            region,
            listener: pass::listen_at(path)?,
            path: path.to_owned(),
            holders: Vec::new(),
            standbys: Vec::new(),
            lent: Vec::new(),
            questions: 0,
        })
    }

    /// Lends a descriptor to every process of this role: a socket that outlives them. They get them
    /// in the order in which they were lent.
    pub fn lend(&mut self, role: Role, lent: OwnedFd) {
        self.lent.push((role, lent));
    }

    /// The memory.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Descriptors that are readable when [`Keeper::serve_one`] has something to do: for a
    /// supervisor with a poll of its own. They change with every notice.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let all = self.holders.iter().chain(&self.standbys);
        let lines = all.map(|holder| holder.line.as_fd());
        lines.chain([self.listener.as_fd()])
    }

    /// Waits for one thing to happen, for at most `patience`. `None`: nothing did that others are
    /// to know of.
    ///
    /// # Errors
    /// The system refuses to wait or to accept: no descriptors or memory left.
    pub fn serve_one(&mut self, patience: Duration) -> io::Result<Option<Notice>> {
        let mut fds: Vec<_> = self
            .fds()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Deaths first: who comes to replace the dead finds the place free.
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let (lines, listener) = ready.split_at(ready.len().saturating_sub(1));
        if let Some(place) = lines.iter().position(|ready| *ready) {
            return Ok(self.hear(place));
        }
        if listener == [true] {
            return self.welcome().map(Some);
        }
        Ok(None)
    }

    fn welcome(&mut self) -> io::Result<Notice> {
        let line = pass::accept(&self.listener)?;
        let peer = getsockopt(&line, PeerCredentials)?;
        let pid = peer.pid();
        let checked = allowed(peer.uid()).and_then(|()| read_hello(&line));
        let checked = checked.and_then(|hello| self.free(&hello).map(|()| hello));
        let hello = match checked {
            Ok(hello) => hello,
            Err(why) => {
                // It may be gone already: then nobody reads the reason but our log.
                let _ = pass::send(&line, &answer(Err(&why)), &[]);
                return Ok(Notice::Refused { pid, why });
            }
        };
        let (role, build) = (hello.role, hello.build);
        let lent = self.lent.iter().filter(|(to, _)| *to == role);
        let lent = lent.map(|(_, lent)| lent.as_fd());
        let passed: Vec<_> = self.region.descriptors().chain(lent).collect();
        if let Err(e) = pass::send(&line, &answer(Ok(())), &passed) {
            let why = format!("the memory could not be passed: {e}");
            return Ok(Notice::Refused { pid, why });
        }
        let holder = Holder {
            role,
            pid,
            build: build.clone(),
            line,
            is_ready: false,
            left: None,
            asked: Asked::default(),
        };
        if hello.is_standby {
            self.standbys.push(holder);
            return Ok(Notice::Waiting { role, pid, build });
        }
        self.region.joined(role);
        self.holders.push(holder);
        Ok(Notice::Joined { role, pid, build })
    }

    fn free(&self, hello: &Hello) -> Result<(), String> {
        let Hello {
            role, is_standby, ..
        } = hello;
        let (others, what) = match is_standby {
            true => (&self.standbys, "waits to be"),
            false => (&self.holders, "is"),
        };
        match others.iter().find(|other| other.role == *role) {
            None => Ok(()),
            Some(other) => Err(format!(
                "process {} {what} {role:?} already: stop it first",
                other.pid
            )),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // If somebody has removed it, that is as good.
        let _ = fs::remove_file(&self.path);
    }
}

fn hello(role: Role, flags: u32) -> [u8; HELLO_BYTES] {
    let mut bytes = [0; HELLO_BYTES];
    let mut put = Put::new(&mut bytes);
    put.bytes(&HELLO).u32(LAYOUT_VERSION).u32(LAYOUT_OLDEST);
    put.u32(role as u32).bytes(&build::line()).u32(flags);
    bytes
}

/// The error is for the one who asks.
fn read_hello(line: &OwnedFd) -> Result<Hello, String> {
    let mut bytes = [0; HELLO_BYTES];
    let length = pass::recv(line, &mut bytes).map_err(|e| format!("no greeting: {e}"))?;
    parse_hello(&bytes[..length]).ok_or_else(|| "not a greeting of Freshet".to_owned())?
}

/// `None`: not a greeting at all.
fn parse_hello(bytes: &[u8]) -> Option<Result<Hello, String>> {
    let mut take = Take::new(bytes);
    if take.array() != Some(HELLO) {
        return None;
    }
    let (version, oldest, role) = (take.u32()?, take.u32()?, take.u32()?);
    let build = build::printable(&take.array::<{ build::LINE_BYTES }>()?);
    let is_standby = take.u32().is_some_and(|flags| flags & STANDBY != 0);
    if !build::compatible(version, oldest) {
        return Some(Err(format!(
            "'{build}' speaks layout {version} (reads from {oldest}), the keeper '{}' layout \
             {LAYOUT_VERSION} (reads from {LAYOUT_OLDEST}): upgrade in smaller steps, or restart \
             the node",
            build::BUILD
        )));
    }
    Some(
        match role {
            1 => Ok(Role::Forwarder),
            2 => Ok(Role::Control),
            _ => Err(format!("role {role} is not known to this keeper")),
        }
        .map(|role| Hello {
            role,
            build,
            is_standby,
        }),
    )
}

fn answer(outcome: Result<(), &str>) -> Vec<u8> {
    let mut bytes = vec![0; ANSWER_BYTES];
    let mut put = Put::new(&mut bytes);
    let why = outcome.err().unwrap_or_default();
    put.bytes(&ANSWER).u32(u32::from(outcome.is_err()));
    let room = ANSWER_BYTES - ANSWER.len() - size_of::<u32>();
    put.bytes(&why.as_bytes()[..why.len().min(room)]);
    bytes
}

fn read_answer(bytes: &[u8]) -> Result<(), String> {
    let mut take = Take::new(bytes);
    let status = if take.array() == Some(ANSWER) {
        take.u32()
    } else {
        None
    };
    match status {
        Some(0) => Ok(()),
        Some(_) => Err(format!(
            "the keeper refuses: {}",
            build::printable(take.rest())
        )),
        None => Err("the keeper went away, or is none of ours".to_owned()),
    }
}

/// Root may do what it likes anyway.
fn allowed(uid: u32) -> Result<(), String> {
    let own = nix::unistd::geteuid().as_raw();
    let known = uid == own || uid == 0;
    known
        .then_some(())
        .ok_or_else(|| format!("user {uid} may not: run it as user {own}"))
}

fn private_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !directory.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let meta = fs::metadata(directory)?;
    let own = nix::unistd::geteuid().as_raw();
    if meta.mode() & 0o077 != 0 || meta.uid() != own {
        let why = format!(
            "{}: keys pass through here, so it must belong to user {own} with mode 0700 (it \
             belongs to {} with mode {:04o})",
            directory.display(),
            meta.uid(),
            meta.mode() & 0o7777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !meta.file_type().is_socket() {
        let why = format!("{}: there is a file that is no socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    if pass::connect_to(path).is_ok() {
        let why = format!("{}: another keeper is alive; stop it first", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    }
    fs::remove_file(path)
}
