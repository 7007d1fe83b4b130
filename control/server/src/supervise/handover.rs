//! Owns how the next program goes on in the supervisor's process: what it gets, whether it says
//! that it understands that, and the way back if it cannot go on.

use super::document::{Document, HolderState, LentState, LinkState, PlaneState};
use super::upgrade::{Successor, said};
use super::{Charge, Child, Estate, Executable};
use crate::store::Read;
use link::keeper::{Asked, Holder, Keeper, Parts};
use link::parcel::Parcel;
use link::region::{BUILD, Region};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a program may take to say whether it could go on, on a busy machine; it takes some 30
/// ms. Planes that die meanwhile, and signals, wait for so long.
const REHEARSES_WITHIN: Duration = Duration::from_secs(5);

/// How many planes there are to hand over.
pub const PLANES: usize = 2;

/// The flag by which a program is told where that waits with which it goes on.
const RESUME: &str = "--resume";

/// The flag by which it is asked whether it could.
const DRY_RUN: &str = "--dry-run";

/// Where that waits for one that is only asked: at its standard input.
const STDIN: &str = "0";

impl<R: Read> Estate<'_, R> {
    /// Lets the next program go on in this process. Returns only if it does not: why.
    pub(super) async fn hand_over(&mut self, keeper: &Keeper, next: &Successor) -> String {
        let Err(why) = self.try_hand_over(keeper, next).await;
        why
    }

    async fn try_hand_over(
        &mut self,
        keeper: &Keeper,
        next: &Successor,
    ) -> Result<std::convert::Infallible, String> {
        let left = self.left(keeper, next);
        let left = left.map_err(|e| format!("what it needs cannot be passed on: {e}"))?;
        let program = &next.executable;
        rehearse(program, &left).await?;
        let kept_back = self.signals.keep_back().await;
        kept_back.map_err(|e| format!("signals cannot be kept back: {e}"))?;
        Err(format!("it cannot be run: {}", left.execute(program)))
    }

    /// What the next program gets.
    fn left(&self, keeper: &Keeper, next: &Successor) -> io::Result<Inherited> {
        let mut bag = Bag::default();
        let parts = keeper.parts()?;
        let arguments = self.arguments.iter().map(|argument| argument.to_str());
        let arguments: Option<Vec<&str>> = arguments.collect();
        let arguments =
            arguments.ok_or_else(|| io::Error::other("the command line is not in UTF-8"))?;
        let plane = |bag: &mut Bag, charge: &Charge| {
            Ok(PlaneState {
                role: charge.plane.role.into(),
                pid: charge.child.as_ref().and_then(Child::id),
                program: bag.put(charge.executable.descriptor()?),
            })
        };
        let planes = self.charges.iter().map(|charge| plane(&mut bag, charge));
        let document = Document {
            build: BUILD.to_owned(),
            named: self.upgrade.named().to_owned(),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            run_dir: self.run_dir.path.clone(),
            run_dir_is_ours: self.run_dir.is_ours,
            is_terminated: self.ward.is_terminated(),
            upgrade_began_ns: next.began.0,
            failure: None,
            planes: planes.collect::<io::Result<_>>()?,
            link: bag.link(parts)?,
            desk: bag.copy(self.store.socket().as_fd())?,
            program: bag.put(Executable::own()?.descriptor()?),
        };
        Ok(Inherited {
            document,
            descriptors: bag.0,
        })
    }
}

/// Descriptors that are passed on, by their places.
#[derive(Default)]
struct Bag(Vec<OwnedFd>);

impl Bag {
    fn put(&mut self, descriptor: OwnedFd) -> usize {
        self.0.push(descriptor);
        self.0.len() - 1
    }

    fn copy(&mut self, descriptor: BorrowedFd<'_>) -> io::Result<usize> {
        Ok(self.put(descriptor.try_clone_to_owned()?))
    }

    fn link(&mut self, parts: Parts) -> io::Result<LinkState> {
        let memory = parts.region.descriptors().map(|one| self.copy(one));
        Ok(LinkState {
            memory: memory.collect::<io::Result<_>>()?,
            path: parts.path,
            socket: self.put(parts.listener),
            holders: self.holders(parts.holders),
            waiting: self.holders(parts.standbys),
            lent: parts
                .lent
                .into_iter()
                .map(|(role, lent)| LentState {
                    to: role.into(),
                    socket: self.put(lent),
                })
                .collect(),
        })
    }

    fn holders(&mut self, holders: Vec<Holder>) -> Vec<HolderState> {
        let state = |holder: Holder| HolderState {
            role: holder.role.into(),
            pid: holder.pid,
            build: holder.build,
            line: self.put(holder.line),
            is_ready: holder.is_ready,
            left: holder.left.map(|left| self.put(left)),
        };
        holders.into_iter().map(state).collect()
    }
}

/// What the program before has left in this process. Nothing of it is used up by going on with it,
/// so that there is a way back.
pub struct Inherited {
    document: Document,
    descriptors: Vec<OwnedFd>,
}

/// The same, taken apart; nothing of it does anything when it is dropped.
pub struct Opened {
    /// The keeper of the link.
    pub link: Parts,
    /// The programs and processes of the planes.
    pub planes: Vec<(Executable, Option<i32>)>,
    /// The socket at which control asks.
    pub desk: UnixListener,
}

impl Inherited {
    /// Takes what was left at this descriptor.
    ///
    /// # Errors
    /// There is nothing, or it is not understood.
    pub fn take(number: RawFd) -> io::Result<Self> {
        let parcel = Parcel::inherit(number)?;
        Ok(Self {
            document: Document::read(&parcel.text).map_err(io::Error::other)?,
            descriptors: parcel.descriptors,
        })
    }

    /// In words.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Takes it apart.
    ///
    /// # Errors
    /// Something is not there, or the memory is none that this release can work with.
    pub fn open(&self) -> io::Result<Opened> {
        let Document {
            planes, link, desk, ..
        } = &self.document;
        let memory = link.memory.iter().map(|place| self.copy(*place));
        let lent = link.lent.iter();
        let lent = lent.map(|lent| Ok((lent.to.into(), self.copy(lent.socket)?)));
        let planes = planes
            .iter()
            .map(|plane| Ok((self.copy(plane.program)?.into(), plane.pid)));
        Ok(Opened {
            link: Parts {
                region: Region::resume(memory.collect::<io::Result<_>>()?)?,
                path: link.path.clone(),
                listener: self.copy(link.socket)?,
                holders: self.holders(&link.holders)?,
                standbys: self.holders(&link.waiting)?,
                lent: lent.collect::<io::Result<_>>()?,
            },
            planes: planes.collect::<io::Result<_>>()?,
            desk: self.copy(*desk)?.into(),
        })
    }

    /// Lets the program before go on in this process, for this reason. Returns only if it does not.
    /// There is no second way back.
    #[must_use]
    pub fn give_back(mut self, why: &io::Error) -> io::Error {
        if let Some(before) = &self.document.failure {
            let why = format!("cannot go on: {why}; nor could the other program: {before}");
            return io::Error::other(why);
        }
        self.document.failure = Some(why.to_string());
        let program = self.copy(self.document.program);
        let error = match program {
            Ok(program) => self.execute(&program.into()),
            Err(error) => error,
        };
        io::Error::other(format!(
            "cannot go on: {why}; nor back to the program before: {error}"
        ))
    }

    fn parcel(&self) -> io::Result<Parcel> {
        let descriptors = self.descriptors.iter().map(OwnedFd::try_clone);
        Ok(Parcel {
            text: serde_json::to_vec(&self.document)?,
            descriptors: descriptors.collect::<io::Result<_>>()?,
        })
    }

    /// The command line of the supervisor, for this program, and these words more.
    fn command(&self, program: &Executable, more: &[&str]) -> Command {
        let mut command = Command::new(program.path());
        let (name, arguments) = self
            .document
            .arguments
            .split_first()
            .map_or(("freshet", &[][..]), |(name, rest)| (name.as_str(), rest));
        command.arg0(name).args(arguments).args(more);
        command
    }

    /// Runs the program in this process, with all that is left. Returns only if it cannot be run.
    fn execute(&self, program: &Executable) -> io::Error {
        let end = match self.parcel().and_then(|parcel| parcel.bequeath()) {
            Ok(end) => end,
            Err(error) => return error,
        };
        let number = end.as_raw_fd().to_string();
        self.command(program, &[RESUME, &number]).exec()
    }

    fn copy(&self, place: usize) -> io::Result<OwnedFd> {
        let missing = || io::Error::other(format!("descriptor {place} did not come along"));
        self.descriptors.get(place).ok_or_else(missing)?.try_clone()
    }

    fn holders(&self, states: &[HolderState]) -> io::Result<Vec<Holder>> {
        let holder = |state: &HolderState| {
            Ok(Holder {
                role: state.role.into(),
                pid: state.pid,
                build: state.build.clone(),
                line: self.copy(state.line)?,
                is_ready: state.is_ready,
                left: state.left.map(|left| self.copy(left)).transpose()?,
                asked: Asked::default(),
            })
        };
        states.iter().map(holder).collect()
    }
}

/// Asks a program whether it could go on, while everything is as it was.
async fn rehearse(program: &Executable, left: &Inherited) -> Result<(), String> {
    let end = left.parcel().and_then(|parcel| parcel.post());
    let end = end.map_err(|e| format!("what it needs cannot be passed on: {e}"))?;
    let mut command = left.command(program, &[RESUME, STDIN, DRY_RUN]);
    command.stdin(Stdio::from(end));
    let answer = said(command, REHEARSES_WITHIN).await;
    // A program that does not know the flags explains all others as well.
    let first = |why: String| why.lines().next().unwrap_or_default().to_owned();
    answer.map(drop).map_err(first)
}

/// For a program that does not understand its command line: if it was to go on, it gives back what
/// was left to it. Returns if that is not so, or cannot be.
pub fn give_back_unread(arguments: impl Iterator<Item = OsString>, why: &str) {
    let arguments: Vec<_> = arguments.collect();
    let number = match &arguments[..] {
        [.., flag, number] if flag == RESUME => number.to_str(),
        _ => None,
    };
    let Some(number) = number.and_then(|number| number.parse().ok()) else {
        return;
    };
    if let Ok(left) = Inherited::take(number) {
        let first = why.lines().next().unwrap_or_default().to_owned();
        let error = left.give_back(&io::Error::other(first));
        eprintln!("freshet: {error}");
    }
}
