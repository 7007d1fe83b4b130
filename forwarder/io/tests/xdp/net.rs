//! Two network namespaces with cables between them: ours on the thread of the test, the other on a
//! thread of its own.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

type Work = Box<dyn FnOnce() + Send>;

/// The other end of the cables. Dropped: it is gone, with its devices.
pub struct Other {
    work: Option<Sender<Work>>,
    tid: i32,
    thread: Option<JoinHandle<()>>,
}

impl Other {
    /// Moves this thread into a new namespace and makes another; `None`, with a printed reason,
    /// where that is not allowed.
    pub fn new() -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: a network namespace needs privilege: {error}");
            return None;
        }
        ip("link set lo up");
        let (work, orders) = channel::<Work>();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(gettid().as_raw()).unwrap();
            for work in orders {
                work();
            }
        });
        let other = Self {
            work: Some(work),
            tid: told.recv().unwrap(),
            thread: Some(thread),
        };
        other.ip("link set lo up");
        Some(other)
    }

    /// Does `work` there.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let work = Box::new(move || tell.send(work()).unwrap());
        self.work.as_ref().unwrap().send(work).unwrap();
        told.recv().unwrap()
    }

    /// Runs `ip` there.
    pub fn ip(&self, arguments: &'static str) {
        self.run(move || ip(arguments));
    }

    /// A cable: device `ours` here, `theirs` there, both up, with addresses of 10.`net`.0.0/24 and
    /// fd00:`net`::/64 that end with 1 here and 2 there.
    pub fn cable(&self, ours: &str, theirs: &'static str, net: u8) {
        let tid = self.tid;
        ip(&format!("link add {ours} type veth peer name {theirs}"));
        ip(&format!("link set {theirs} netns {tid}"));
        let set = move |device: &str, end: u8| {
            ip(&format!("address add 10.{net}.0.{end}/24 dev {device}"));
            ip(&format!(
                "address add fd00:{net}::{end}/64 dev {device} nodad"
            ));
            ip(&format!("link set {device} up"));
        };
        set(ours, 1);
        self.run(move || set(theirs, 2));
    }

    /// A receiver there.
    pub fn socket(&self, addr: &str) -> UdpSocket {
        let addr: SocketAddr = addr.parse().unwrap();
        self.run(move || {
            let socket = UdpSocket::bind(addr).unwrap();
            let patience = Duration::from_secs(2);
            socket.set_read_timeout(Some(patience)).unwrap();
            let room = nix::sys::socket::sockopt::RcvBufForce;
            nix::sys::socket::setsockopt(&socket, room, &(16 << 20)).unwrap();
            socket
        })
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.work.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Runs `ip`, which inherits the namespace of this thread.
pub fn ip(arguments: &str) {
    if let Err(said) = try_ip(arguments) {
        panic!("ip {arguments}: {said}");
    }
}

/// The same of something that not every kernel has.
pub fn try_ip(arguments: &str) -> Result<(), String> {
    let words = arguments.split_whitespace();
    let output = Command::new("ip").args(words).output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs a scenario on a thread of its own, so that its namespace ends with it.
pub fn scenario(work: fn(&Other)) {
    let run = move || {
        if let Some(other) = Other::new() {
            work(&other);
        }
    };
    std::thread::spawn(run).join().unwrap();
}

/// What a receiver gets, as it comes, until the test ends.
pub fn listen(socket: UdpSocket) -> Receiver<(Vec<u8>, SocketAddr)> {
    let (tell, told) = channel();
    socket.set_read_timeout(None).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            if tell.send((bytes[..length].to_vec(), from)).is_err() {
                break;
            }
        }
    });
    told
}
