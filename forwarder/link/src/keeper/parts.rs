//! Owns what a keeper is made of, for the next program in its process to go on with.

use super::{Asked, Holder, Keeper};
use crate::region::{Region, Role};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A keeper in parts.
pub struct Parts {
    /// The memory.
    pub region: Region,
    /// Where its socket is.
    pub path: PathBuf,
    /// The socket.
    pub listener: OwnedFd,
    /// Those that have the memory.
    pub holders: Vec<Holder>,
    /// Those that wait for the place of one of them.
    pub standbys: Vec<Holder>,
    /// What is lent, to whom.
    pub lent: Vec<(Role, OwnedFd)>,
}

impl Keeper {
    /// Copies of all its parts.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn parts(&self) -> io::Result<Parts> {
        let copies = |all: &[Holder]| all.iter().map(Holder::copy).collect::<io::Result<_>>();
        let lent = self.lent.iter();
        let lent = lent.map(|(role, lent)| Ok((*role, lent.try_clone()?)));
        Ok(Parts {
            region: self.region.clone(),
            path: self.path.clone(),
            listener: self.listener.try_clone()?,
            holders: copies(&self.holders)?,
            standbys: copies(&self.standbys)?,
            lent: lent.collect::<io::Result<_>>()?,
        })
    }
}

/// Goes on where the keeper was. Nobody on a line notices.
impl From<Parts> for Keeper {
    fn from(parts: Parts) -> Self {
        Self {
            region: parts.region,
            listener: parts.listener,
            path: parts.path,
            holders: parts.holders,
            standbys: parts.standbys,
            lent: parts.lent,
            questions: 0,
        }
    }
}

impl Holder {
    fn copy(&self) -> io::Result<Self> {
        Ok(Self {
            role: self.role,
            pid: self.pid,
            build: self.build.clone(),
            line: self.line.try_clone()?,
            is_ready: self.is_ready,
            left: self.left.as_ref().map(OwnedFd::try_clone).transpose()?,
            asked: Asked::default(),
        })
    }
}
