//! Owns the passing of descriptors over a Unix socket, where numbers turn into owners.

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, listen, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Most descriptors in one message: Linux allows 253 (`SCM_MAX_FD`); a region has at most 66, and a
/// socket is lent for each of 64 workers.
const DESCRIPTORS_MAX: usize = 192;

/// How long either side of the handshake waits for the other. It takes well under a millisecond.
const PATIENCE_S: i64 = 5;

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
    connect(line.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(line)
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
    sendmsg::<()>(
        line.as_fd().as_raw_fd(),
        &[IoSlice::new(bytes)],
        rights,
        flags,
        None,
    )?;
    Ok(())
}

/// Receives one message without descriptors: those that come along are closed by the kernel.
pub(crate) fn recv(line: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    Ok(nix::sys::socket::recv(
        line.as_raw_fd(),
        bytes,
        MsgFlags::empty(),
    )?)
}

/// Receives one message and the descriptors that come with it.
pub(crate) fn recv_passed(line: &impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut rights = nix::cmsg_space!([i32; DESCRIPTORS_MAX]);
    let mut parts = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let line = line.as_fd().as_raw_fd();
    let message = recvmsg::<()>(line, &mut parts, Some(&mut rights), flags)?;
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
