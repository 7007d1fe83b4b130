//! Owns a program that is not what an upgrade hopes for: a Freshet with one fault. What to be is in
//! the file `fault` beside it: the fault, and the program that does everything else.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};

/// A greeting at the link: what it begins with, its length, and where the build's name is.
const HELLO: &[u8] = b"freshet?";
const HELLO_BYTES: usize = 128;
const BUILD_AT: usize = 20;
const FLAGS_AT: usize = 84;

/// Before the reason in an answer: its name and whether it is a refusal.
const REASON_AT: usize = 12;

fn main() -> ExitCode {
    let own = std::env::current_exe().expect("a program knows its path");
    let fault = std::fs::read_to_string(own.with_file_name("fault")).expect("what to be");
    let (fault, real) = fault.trim().split_once('\n').expect("two lines");
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    match fault {
        "dry-run" if has("--dry-run") => {
            eprintln!("freshet: this one has forgotten how");
            return ExitCode::from(2);
        }
        // It has said that it could, and cannot.
        "resume" if has("--resume") && !has("--dry-run") => {
            words.insert(words.len() - 2, "--no-such-flag".into());
        }
        "layout" if has("forwarder") => {
            let link = words.iter().position(|word| word == "--link");
            let link = link.and_then(|at| words.get(at + 1)).expect("a link");
            eprintln!("freshet: {}", greet(Path::new(link)));
            return ExitCode::from(2);
        }
        _ => {}
    }
    let error = Command::new(real).arg0("freshet").args(words).exec();
    panic!("{real}: {error}");
}

/// What a forwarder hears that speaks another layout of the link, and wants to stand by.
fn greet(link: &Path) -> String {
    let mut hello = vec![0; HELLO_BYTES];
    hello[..8].copy_from_slice(HELLO);
    for (place, number) in [(8, 99_u32), (12, 98), (16, 1), (FLAGS_AT, 1)] {
        hello[place..place + 4].copy_from_slice(&number.to_le_bytes());
    }
    hello[BUILD_AT..BUILD_AT + 11].copy_from_slice(b"freshet 9.9");
    let line = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    let line = line.expect("a socket");
    let at = UnixAddr::new(link).expect("a path");
    connect(line.as_raw_fd(), &at).expect("somebody keeps the link");
    send(line.as_raw_fd(), &hello, MsgFlags::empty()).expect("it listens");
    let mut answer = [0; 512];
    let length = recv(line.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("an answer");
    let reason = &answer[REASON_AT..length];
    String::from_utf8_lossy(reason)
        .trim_end_matches('\0')
        .to_owned()
}
