//! Owns AF_XDP in copy mode alone: frames that were written before, shown to the kernel in batches.
#![allow(unsafe_code)]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};

use super::{BATCH, HOT_BYTES, SEALED_BYTES};
use lab::sink::Sink;

/// Bytes of a frame, the least that the kernel takes for these packets.
const FRAME_BYTES: u32 = 2048;

/// Entries of each ring.
const RING: u32 = 2048;

/// Bytes of Ethernet, IPv4 and UDP headers.
const HEADERS: u32 = 14 + 20 + 8;

/// Frames that are used in turn.
#[expect(clippy::cast_possible_truncation, reason = "128")]
const HOT_FRAMES: u32 = (HOT_BYTES / FRAME_BYTES as usize) as u32;

/// Sends of one call beyond the usual 32: `XDP_MAX_TX_SKB_BUDGET` of Linux 6.17.
const BUDGET: libc::c_int = 9;

/// Bytes in the queues of the device at most; what is sent by this way is gone at once.
const SEND_BYTES: usize = 8 << 20;

/// A socket that only sends.
pub struct Xdp {
    socket: OwnedFd,
    _frames: Memory,
    sending: Ring<libc::xdp_desc>,
    done: Ring<u64>,
    viewers: u32,
    frame: u32,
    /// Calls that the kernel refused.
    pub errors: u64,
}

impl Xdp {
    /// For so many viewers behind the twin of `sink`'s device: a queue belongs to one socket.
    ///
    /// # Errors
    /// There is no twin, or the kernel makes no such socket.
    pub fn new(viewers: u32, sink: &Sink) -> Result<Self, String> {
        let device = sink.twin.ok_or("no device for it")?;
        Self::open(viewers, device).map_err(|error| format!("{device}: {error}"))
    }

    fn open(viewers: u32, device: &str) -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        // SAFETY: the kernel has just given us this descriptor.
        let socket = unsafe { OwnedFd::from_raw_fd(Errno::result(fd)?) };
        let frames = Memory::new(HOT_BYTES, None)?;
        let wanted = libc::xdp_umem_reg {
            addr: frames.at.as_ptr() as u64,
            len: HOT_BYTES as u64,
            chunk_size: FRAME_BYTES,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set(&socket, libc::XDP_UMEM_REG, &wanted)?;
        for ring in [
            libc::XDP_UMEM_FILL_RING,
            libc::XDP_UMEM_COMPLETION_RING,
            libc::XDP_TX_RING,
        ] {
            set(&socket, ring, &RING)?;
        }
        let _ = set(&socket, BUDGET, &RING);
        setsockopt(&socket, sockopt::SndBufForce, &SEND_BYTES)?;
        let offsets = offsets(&socket)?;
        let sending = Ring::new(&socket, &offsets.tx, libc::XDP_PGOFF_TX_RING)?;
        let done = Ring::new(&socket, &offsets.cr, 0x1_8000_0000)?;
        bind(&socket, device)?;
        write_frames(&frames, device);
        Ok(Self {
            socket,
            _frames: frames,
            sending,
            done,
            viewers,
            frame: 0,
            errors: 0,
        })
    }

    /// `packets` frames for everybody.
    ///
    /// # Panics
    /// The device takes nothing any more.
    pub fn burst(&mut self, packets: u32) {
        let mut left = self.viewers * packets;
        while left > 0 {
            #[expect(clippy::cast_possible_truncation, reason = "64")]
            let batch = left.min(BATCH as u32);
            for _ in 0..batch {
                self.sending.write(libc::xdp_desc {
                    addr: u64::from(self.frame * FRAME_BYTES),
                    #[expect(clippy::cast_possible_truncation, reason = "1258")]
                    len: HEADERS + SEALED_BYTES as u32,
                    options: 0,
                });
                self.frame = (self.frame + 1) % HOT_FRAMES;
            }
            self.sending.publish();
            self.drain(batch);
            left -= batch;
        }
    }

    /// Makes the kernel send `count` frames, and takes them back.
    fn drain(&mut self, count: u32) {
        let (mut back, mut calls) = (0, 0);
        while back < count {
            match send(self.socket.as_raw_fd(), &[], MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::EAGAIN | Errno::EBUSY) => {}
                Err(_) => self.errors += 1,
            }
            back += self.done.take();
            calls += 1;
            assert!(calls < 1_000_000, "the device gives no frames back");
        }
    }
}

/// Ethernet, IPv4 and UDP before bytes that nobody has sealed. All have one peer: the kernel does
/// not look, and neither does what drops them.
fn write_frames(frames: &Memory, device: &str) {
    let address = fs::read_to_string(format!("/sys/class/net/{device}/address"));
    let own = address.unwrap_or_default();
    let mut mac = [2; 6];
    for (byte, word) in mac.iter_mut().zip(own.trim().split(':')) {
        *byte = u8::from_str_radix(word, 16).unwrap_or(0);
    }
    let length = u16::try_from(28 + SEALED_BYTES).unwrap_or(0).to_be_bytes();
    for nth in 0..HOT_FRAMES as usize {
        let mut frame = [0x5a; HEADERS as usize + SEALED_BYTES];
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 11, 9]);
        frame[6..12].copy_from_slice(&mac);
        frame[12..18].copy_from_slice(&[8, 0, 0x45, 0, length[0], length[1]]);
        frame[22..24].copy_from_slice(&[64, 17]);
        // SAFETY: inside the frames, of which the kernel has none yet.
        unsafe {
            let at = frames.at.add(nth * FRAME_BYTES as usize);
            at.copy_from_nonoverlapping(NonNull::from(&mut frame[0]), frame.len());
        }
    }
}

fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: pointer and length are those of a value that lives through the call.
    let answer = unsafe {
        let value = core::ptr::from_ref(value).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, value, length)
    };
    Errno::result(answer).map(drop).map_err(Into::into)
}

fn offsets(socket: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: integers, of which zeroes are values.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { core::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&offsets)).unwrap_or(0);
    // SAFETY: pointer and length are those of `offsets`, which lives through the call.
    let answer = unsafe {
        let place = (&raw mut offsets).cast();
        let fd = socket.as_raw_fd();
        libc::getsockopt(
            fd,
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            place,
            &raw mut length,
        )
    };
    Errno::result(answer)?;
    Ok(offsets)
}

fn bind(socket: &OwnedFd, device: &str) -> io::Result<()> {
    let name = libc::sockaddr_xdp {
        sxdp_family: libc::sa_family_t::try_from(libc::AF_XDP).unwrap_or(0),
        sxdp_flags: libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: nix::net::if_::if_nametoindex(device)?,
        sxdp_queue_id: 0,
        sxdp_shared_umem_fd: 0,
    };
    let length = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or(0);
    // SAFETY: pointer and length are those of a name that lives through the call.
    let answer = unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), length) };
    Errno::result(answer).map(drop).map_err(Into::into)
}

/// A ring that is shared with the kernel.
struct Ring<T> {
    memory: Memory,
    producer: usize,
    consumer: usize,
    entries: usize,
    next: u32,
    entry: core::marker::PhantomData<T>,
}

impl<T> Ring<T> {
    fn new(socket: &OwnedFd, ring: &libc::xdp_ring_offset, page: libc::off_t) -> io::Result<Self> {
        let place = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
        let entries = place(ring.desc)?;
        let bytes = entries + RING as usize * size_of::<T>();
        Ok(Self {
            memory: Memory::new(bytes, Some((socket, page)))?,
            producer: place(ring.producer)?,
            consumer: place(ring.consumer)?,
            entries,
            next: 0,
            entry: core::marker::PhantomData,
        })
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the kernel says that the ring has an aligned word there, which both sides use as
        // an atomic, and it lies in the mapping, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.memory.at.add(offset).cast().as_ptr()) }
    }

    /// Writes the next entry. All before it are the kernel's no more: whoever calls has waited.
    fn write(&mut self, value: T) {
        let nth = (self.next % RING) as usize;
        // SAFETY: an entry of the ring, which the kernel is through with.
        unsafe {
            let first = self.memory.at.add(self.entries).cast::<T>();
            first.add(nth).write(value);
        }
        self.next = self.next.wrapping_add(1);
    }

    fn publish(&self) {
        self.word(self.producer).store(self.next, Ordering::Release);
    }

    /// Takes all that is there, unseen; says how many.
    fn take(&mut self) -> u32 {
        let written = self.word(self.producer).load(Ordering::Acquire);
        let count = written.wrapping_sub(self.next);
        self.next = written;
        self.word(self.consumer).store(written, Ordering::Release);
        count
    }
}

/// Mapped memory.
struct Memory {
    at: NonNull<u8>,
    bytes: usize,
}

impl Memory {
    /// Of our own, or what a descriptor has at an offset.
    fn new(bytes: usize, of: Option<(&OwnedFd, libc::off_t)>) -> io::Result<Self> {
        let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let populate = MapFlags::MAP_POPULATE;
        // SAFETY: new mappings at an address of the kernel's choice touch nothing else.
        let at = unsafe {
            match of {
                None => mmap_anonymous(None, length, access, MapFlags::MAP_PRIVATE | populate)?,
                Some((fd, page)) => mmap(
                    None,
                    length,
                    access,
                    MapFlags::MAP_SHARED | populate,
                    fd,
                    page,
                )?,
            }
        };
        Ok(Self {
            at: at.cast(),
            bytes,
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length; rings and frames go with their owner.
        let _ = unsafe { munmap(self.at.cast(), self.bytes) };
    }
}
