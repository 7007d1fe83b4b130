//! A program at the receiving device that passes every frame on: frames then go through the
//! device's own XDP path, or the general one.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// Which path frames take.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// The general one (`XDP_FLAGS_SKB_MODE`).
    Generic = 2,
    /// The driver's (`XDP_FLAGS_DRV_MODE`).
    Native = 4,
}

/// The beginning of the kernel's `union bpf_attr` for loading a program.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
}

/// The same for attaching it.
#[repr(C)]
struct Attach {
    program: u32,
    device: u32,
    kind: u32,
    flags: u32,
}

/// Attaches the program to a device of this thread's namespace, until the answer is dropped.
pub fn pass(device: &str, mode: Mode) -> io::Result<OwnedFd> {
    // r0 = XDP_PASS; exit.
    let program: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
    let load = Load {
        kind: BPF_PROG_TYPE_XDP,
        instructions: 2,
        program: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Load::default()
    };
    let program = bpf(BPF_PROG_LOAD, &load)?;
    let attach = Attach {
        program: u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&program)).unwrap(),
        device: nix::net::if_::if_nametoindex(device)?,
        kind: BPF_XDP,
        flags: mode as u32,
    };
    bpf(BPF_LINK_CREATE, &attach)
}

fn bpf<T>(command: libc::c_long, what: &T) -> io::Result<OwnedFd> {
    // SAFETY: pointer and length are those of a value that lives through the call, as does what
    // it points to; both commands answer with a new descriptor.
    unsafe {
        let what = std::ptr::from_ref(what);
        let fd = libc::syscall(libc::SYS_bpf, command, what, size_of::<T>());
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()))
    }
}
