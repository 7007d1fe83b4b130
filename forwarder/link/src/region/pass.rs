//! Owns the passing of descriptors over a Unix socket, where numbers turn into owners.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, listen, recvmsg, sendmsg, setsockopt, socket, socketpair,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Most descriptors in one message: Linux allows 253 (`SCM_MAX_FD`); a region has at most 66, and a
/// socket is lent for each of 64 workers.
pub(crate) const DESCRIPTORS_MAX: usize = 192;

/// How long either side of the handshake waits for the other. It takes well under a millisecond.
const PATIENCE_S: i64 = 5;
const PATIENCE_MS: u16 = 5000;

/// A connection that keeps message boundaries, listening at `path`.
pub(crate) fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let listener = seqpacket()?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&listener, Backlog::new(8)?)?;
    Ok(listener)
}

/// Takes a connection that waits.
pub(crate) fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let number = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: a descriptor that the kernel has just made for us; nobody else knows its number.
    let line = unsafe { OwnedFd::from_raw_fd(number) };
    be_patient(&line)?;
    Ok(line)
}

/// Connects to who listens at `path`.
pub(crate) fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let line = seqpacket()?;
    be_patient(&line)?;
    let at = UnixAddr::new(path)?;
    patiently(|| connect(line.as_raw_fd(), &at))?;
    Ok(line)
}

/// A message that waits to be received, with copies of descriptors: the end where it waits.
pub(crate) fn post(bytes: &[u8], passed: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    let (from, to) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    send(&from, bytes, passed)?;
    Ok(to)
}

/// A copy of a descriptor that the program before in this process has left open for us; neither is
/// left open for a third.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: not -1, and borrowed for these two calls only, which change nothing that an owner
    // relies on; of a number that is not open the kernel says so.
    let left = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(left, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    left.try_clone_to_owned()
}

/// Leaves a descriptor open for the next program in this process.
pub(crate) fn bequeath(end: &OwnedFd) -> io::Result<()> {
    fcntl(end, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// Sends one message and copies of descriptors.
pub(crate) fn send(line: &impl AsFd, bytes: &[u8], passed: &[BorrowedFd<'_>]) -> io::Result<()> {
    let numbers: Vec<_> = passed.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let rights = if numbers.is_empty() {
        &[][..]
    } else {
        &rights[..]
    };
    let flags = MsgFlags::MSG_NOSIGNAL;
    let line = line.as_fd().as_raw_fd();
    let bytes = [IoSlice::new(bytes)];
    patiently(|| sendmsg::<()>(line, &bytes, rights, flags, None)).map(drop)
}

/// Receives one message without descriptors: those that come along are closed by the kernel.
pub(crate) fn recv(line: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    let line = line.as_raw_fd();
    patiently(|| nix::sys::socket::recv(line, bytes, MsgFlags::empty()))
}

/// Tries again when a signal came: the kernel does not where a time-out is set. Not only handlers
/// of ours interrupt; the end of a ring of `io_uring` does as well.
pub(crate) fn patiently<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Receives one message and the descriptors that come with it.
pub(crate) fn recv_passed(line: &impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let line = line.as_fd();
    // What is waited for comes whole or not at all: then there is nothing to be interrupted.
    patiently(|| poll(&mut [PollFd::new(line, PollFlags::POLLIN)], PATIENCE_MS))?;
    let mut rights = nix::cmsg_space!([i32; DESCRIPTORS_MAX]);
    let mut parts = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(line.as_raw_fd(), &mut parts, Some(&mut rights), flags)?;
    let mut passed = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            for number in numbers {
                // SAFETY: descriptors that the kernel has just made for us by this very call.
                passed.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    Ok((message.bytes, passed))
}

fn seqpacket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        flags,
        None,
    )?)
}

/// Neither side can hold up the other for ever.
fn be_patient(line: &impl AsFd) -> io::Result<()> {
    let patience = TimeVal::seconds(PATIENCE_S);
    setsockopt(line, sockopt::ReceiveTimeout, &patience)?;
    setsockopt(line, sockopt::SendTimeout, &patience)?;
    Ok(())
}
