//! Owns a program of two instructions that lets a device drop every frame that it receives, before
//! the kernel has done more with it than it must.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
/// In the driver: a copy of the frame is not made for the program's sake.
const XDP_FLAGS_DRV_MODE: u32 = 4;

/// `r0 = XDP_DROP; exit` as the kernel reads instructions: code, registers, offset, immediate.
const DROP: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// The beginning of `union bpf_attr` for a program; the kernel takes what is not there for zero.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log: [u32; 4],
    kernel: u32,
    flags: u32,
}

/// The same for a link.
#[repr(C)]
struct Link {
    program: RawFd,
    device: u32,
    kind: u32,
    flags: u32,
}

/// Lets `device` drop all that it receives until the descriptor is closed.
///
/// # Errors
/// The kernel does not take the program (it takes root), or the device no program.
pub(super) fn everything(device: &str) -> io::Result<OwnedFd> {
    let load = Load {
        kind: BPF_PROG_TYPE_XDP,
        instructions: 2,
        code: DROP.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 4],
        kernel: 0,
        flags: 0,
    };
    let program = bpf(BPF_PROG_LOAD, &load)?;
    let link = Link {
        program: program.as_raw_fd(),
        device: nix::net::if_::if_nametoindex(device)?,
        kind: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    bpf(BPF_LINK_CREATE, &link)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads so many bytes of a value that lives through the call, and what its
    // pointers point to is static.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            core::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    let fd = Errno::result(answer)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: both commands give a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
