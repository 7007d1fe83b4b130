//! Owns the making of a lane: an AF_XDP socket that only sends, over memory that the lanes of a
//! core share.

use super::lane::Lane;
use super::mapping::Mapping;
use super::ring::{Consumer, Layout, Producer};
use crate::error::Error;
use core::mem::size_of;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

/// Entries of the rings: as many as a core has frames, so that no ring is ever full.
pub(crate) const RING_SIZE: u32 = 4096;

/// Entries of the ring that a socket for receiving would be fed by; the kernel wants to have one.
const FILL_SIZE: u32 = 64;

/// Sends of one call, beyond the 32 that are the default: the option of Linux 6.17.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// Bytes that may lie in the queues of a device: all frames with what the kernel adds to each.
const SEND_BYTES: usize = RING_SIZE as usize * 2560;

/// Where a lane leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The index of the device.
    pub device: u32,
    /// Its queue.
    pub queue: u32,
}

/// The memory of one core's frames, not given to a socket yet.
pub(crate) fn memory() -> Result<Mapping, Error> {
    let bytes = (RING_SIZE * super::frames::FRAME_BYTES) as usize;
    Mapping::anonymous(bytes).map_err(|e| Error::new("memory for frames", e, MEMORY))
}

/// Whether such sockets can be made here, over memory like that of a core.
///
/// # Errors
/// Why not, and what to do.
pub(crate) fn probe() -> Result<(), Error> {
    let socket = socket()?;
    register(&socket, &memory()?)
}

/// A lane to `target` over `memory`, which `shared` has already if there is such a socket.
///
/// # Errors
/// Why not, and what to do.
pub(crate) fn open(
    target: Target,
    memory: &Mapping,
    shared: Option<BorrowedFd<'_>>,
) -> Result<Lane, Error> {
    let socket = socket()?;
    if shared.is_none() {
        register(&socket, memory)?;
    }
    let size = |name: &str, option, entries: u32| {
        set(&socket, option, &entries).map_err(|e| Error::new(name.to_owned(), e, KERNEL))
    };
    size("XDP_UMEM_FILL_RING", libc::XDP_UMEM_FILL_RING, FILL_SIZE)?;
    let completions = libc::XDP_UMEM_COMPLETION_RING;
    size("XDP_UMEM_COMPLETION_RING", completions, RING_SIZE)?;
    size("XDP_TX_RING", libc::XDP_TX_RING, RING_SIZE)?;
    // Where it is not known, a call takes 32 and there are more calls.
    let _ = set(&socket, XDP_MAX_TX_SKB_BUDGET, &RING_SIZE);
    if setsockopt(&socket, sockopt::SndBufForce, &SEND_BYTES).is_err() {
        let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BYTES);
    }
    let offsets = offsets(&socket).map_err(|e| Error::new("XDP_MMAP_OFFSETS", e, KERNEL))?;
    let map = |what: &str, ring: &libc::xdp_ring_offset, entry: usize, page: libc::off_t| {
        ring_memory(&socket, ring, entry, page)
            .map_err(|e| Error::new(format!("map the {what} ring"), e, KERNEL))
    };
    let (entry, page) = (size_of::<libc::xdp_desc>(), libc::XDP_PGOFF_TX_RING);
    let (sending, sending_layout) = map("sending", &offsets.tx, entry, page)?;
    let (entry, page) = (size_of::<u64>(), COMPLETION_PAGE);
    let (done, done_layout) = map("completion", &offsets.cr, entry, page)?;
    bind(&socket, target, shared)?;
    Ok(Lane::new(
        socket,
        target,
        Producer::new(sending, sending_layout),
        Consumer::new(done, done_layout),
    ))
}

const COMPLETION_PAGE: libc::off_t = 0x1_8000_0000;

const KERNEL: &str = "a Linux kernel of 5.10 or newer with CONFIG_XDP_SOCKETS is needed";
const MEMORY: &str = "the host is short of memory: 8 MiB are needed for each worker";
const RAW: &str = "grant CAP_NET_RAW, or run as root";
const LOCKED: &str = "raise the limit on locked memory (`ulimit -l`, LimitMEMLOCK=) to 16 MiB for \
                      each worker, or grant CAP_IPC_LOCK";

fn socket() -> Result<OwnedFd, Error> {
    // SAFETY: no memory is involved.
    // JUSTIFICATION: nix has no such address family.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        let cause = io::Error::last_os_error();
        let remedy = match cause.raw_os_error() {
            Some(libc::EPERM) => RAW,
            Some(libc::EMFILE | libc::ENFILE) => "raise the limit on open files, `ulimit -n`",
            _ => KERNEL,
        };
        return Err(Error::new("AF_XDP socket", cause, remedy));
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn register(socket: &OwnedFd, memory: &Mapping) -> Result<(), Error> {
    let wanted = libc::xdp_umem_reg {
        addr: memory.at().as_ptr() as u64,
        len: memory.bytes() as u64,
        chunk_size: super::frames::FRAME_BYTES,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set(socket, libc::XDP_UMEM_REG, &wanted).map_err(|cause| {
        let remedy = match cause.raw_os_error() {
            Some(libc::ENOBUFS | libc::EPERM) => LOCKED,
            Some(libc::ENOMEM) => MEMORY,
            _ => KERNEL,
        };
        Error::new("XDP_UMEM_REG", cause, remedy)
    })
}

/// Copy mode: in zero-copy mode a card takes its queue's receiving away from the sockets too,
/// unless it is fed with frames and a program passes packets on.
fn bind(socket: &OwnedFd, target: Target, shared: Option<BorrowedFd<'_>>) -> Result<(), Error> {
    // The kernel takes the mode from the socket that has the memory.
    let (flags, shared_fd) = match shared {
        Some(fd) => (
            libc::XDP_SHARED_UMEM,
            u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX),
        ),
        None => (libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP, 0),
    };
    let name = libc::sockaddr_xdp {
        sxdp_family: FAMILY,
        sxdp_flags: flags,
        sxdp_ifindex: target.device,
        sxdp_queue_id: target.queue,
        sxdp_shared_umem_fd: shared_fd,
    };
    // SAFETY: the name is a `sockaddr_xdp` of this length and lives through the call.
    // JUSTIFICATION: nix has no such address.
    let answer = unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), NAME_LENGTH) };
    if answer == 0 {
        return Ok(());
    }
    let cause = io::Error::last_os_error();
    let remedy = match cause.raw_os_error() {
        Some(libc::EBUSY) => "another program has this queue of the device: stop it",
        Some(libc::EINVAL) => {
            "the device has fewer queues than there are workers: `ethtool -L`, or media.cores"
        }
        Some(libc::ENODEV | libc::ENETDOWN) => "the device has gone or is down",
        _ => KERNEL,
    };
    let Target { device, queue } = target;
    let what = format!("bind to queue {queue} of device {device}");
    Err(Error::new(what, cause, remedy))
}

#[allow(clippy::cast_possible_truncation, reason = "44 and 16")]
const FAMILY: u16 = libc::AF_XDP as u16;
#[allow(clippy::cast_possible_truncation, reason = "44 and 16")]
const NAME_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;

fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the pointer and the length are those of a value that lives through the call; the
    // options are of integers and of `xdp_umem_reg`, which the callers pass.
    // JUSTIFICATION: neither socket2 nor nix knows these options.
    let answer = unsafe {
        let value = core::ptr::from_ref(value).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, value, length)
    };
    Errno::result(answer).map(drop).map_err(Into::into)
}

fn offsets(socket: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    const NOWHERE: libc::xdp_ring_offset = libc::xdp_ring_offset {
        producer: 0,
        consumer: 0,
        desc: 0,
        flags: 0,
    };
    let mut offsets = libc::xdp_mmap_offsets {
        rx: NOWHERE,
        tx: NOWHERE,
        fr: NOWHERE,
        cr: NOWHERE,
    };
    let mut length = libc::socklen_t::try_from(size_of_val(&offsets)).unwrap_or(0);
    let wanted = length;
    // SAFETY: pointer and length are those of `offsets`, which lives through the call and of
    // which every pattern of bits is a value.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            (&raw mut offsets).cast(),
            &raw mut length,
        )
    };
    Errno::result(answer)?;
    if length == wanted {
        Ok(offsets)
    } else {
        // Before 5.4 there were no flags.
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn ring_memory(
    socket: &OwnedFd,
    ring: &libc::xdp_ring_offset,
    entry: usize,
    page: libc::off_t,
) -> io::Result<(Arc<Mapping>, Layout)> {
    let place = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
    let layout = Layout {
        producer: place(ring.producer)?,
        consumer: place(ring.consumer)?,
        flags: place(ring.flags)?,
        entries: place(ring.desc)?,
        size: RING_SIZE,
    };
    let bytes = layout.entries + RING_SIZE as usize * entry;
    let mapping = Mapping::of(socket.as_fd(), bytes, page)?;
    Ok((Arc::new(mapping), layout))
}
