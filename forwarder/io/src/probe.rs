//! Owns what the kernel can do for a port, found out by trying, and the choice of a backend.

use crate::clock;
use crate::error::Error;
use crate::mmsg::Mmsg;
use crate::port::{Port, PortConfig};
use crate::socket::{Socket, SocketConfig};
use crate::uring::{Mode, Settings, Uring};
use crate::wake::Wake;
use core::fmt;
use core::str::FromStr;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use wire::datagram::{NOBODY, RunMeta, RxMeta, RxSink};
use wire::peer::Ip;
use wire::time::Span;

/// A way to talk to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `recvmmsg` and `sendmmsg`: [`Mmsg`].
    Mmsg,
    /// `io_uring`: [`Uring`].
    Uring,
}

/// How media leaves for viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// By the backend's socket.
    Udp,
    /// By AF_XDP where a viewer's way is Ethernet, and by the socket elsewhere: [`crate::Xdp`].
    Xdp,
}

/// What is taken where the operator leaves it open and the kernel can do both. Runs cost the same
/// over both within 15 % (a run of 8 through `sendmmsg` 286 ns a datagram, through `io_uring` 312;
/// Linux 6.18, Zen 4); the plain calls work everywhere and are the better understood. The
/// comparison of whole cores is the bench `fanout`; change this when it says so.
pub const DEFAULT: Backend = Backend::Mmsg;

/// Whether something works; if not, why.
pub type Answer = Result<(), String>;

/// What was found.
#[derive(Clone, Debug)]
pub struct Probe {
    /// IPv6 sockets can be made.
    pub ipv6: Answer,
    /// A run is cut into datagrams by the kernel (`UDP_SEGMENT`).
    pub gso: Answer,
    /// Trains of datagrams are received as one (`UDP_GRO`). Not used by any backend today.
    pub gro: Answer,
    /// A ring can be made.
    pub io_uring: Answer,
    /// Completions run only when asked for (`IORING_SETUP_DEFER_TASKRUN`).
    pub deferred: Answer,
    /// A receive request renews itself and takes provided buffers.
    pub multishot: Answer,
    /// Runs are sent from where they were written: [`Settings::zero_copy`].
    pub zero_copy: Answer,
    /// The same from memory that is pinned once: [`Settings::fixed_buffers`].
    pub fixed_buffers: Answer,
    /// A wait asks the card itself: [`Settings::napi_us`].
    pub napi: Answer,
    /// AF_XDP sockets can be made, over memory like a worker's.
    pub xdp: Answer,
}

impl Probe {
    /// Tries everything on loopback; takes a few milliseconds.
    #[must_use]
    pub fn run() -> Self {
        let ring = try_ring();
        let (io_uring, deferred, multishot) = match ring {
            Ok((Mode::Deferred, multishot)) => (Ok(()), Ok(()), multishot),
            Ok((mode, multishot)) => {
                let why = format!("the kernel offers {mode:?} only; Linux 6.1 has it");
                (Ok(()), Err(why), multishot)
            }
            Err(why) => (Err(why.clone()), Err(why.clone()), Err(why)),
        };
        Self {
            ipv6: text(loopback("[::1]:0")).map(drop),
            gso: try_gso(),
            gro: try_gro(),
            io_uring,
            deferred,
            multishot,
            zero_copy: try_setting(Settings {
                zero_copy: true,
                fixed_buffers: false,
                ..Settings::DEFAULT
            }),
            fixed_buffers: try_setting(Settings {
                zero_copy: true,
                ..Settings::DEFAULT
            }),
            napi: try_setting(Settings {
                napi_us: 1,
                ..Settings::DEFAULT
            }),
            xdp: text(crate::xdp::probe()),
        }
    }

    /// Name and answer of everything that was tried.
    pub fn list(&self) -> [(&'static str, &Answer); 10] {
        [
            ("ipv6", &self.ipv6),
            ("udp segmentation (gso)", &self.gso),
            ("udp receive trains (gro)", &self.gro),
            ("io_uring", &self.io_uring),
            ("io_uring deferred completions", &self.deferred),
            ("io_uring multishot receive", &self.multishot),
            (SETTINGS[0], &self.zero_copy),
            (SETTINGS[1], &self.fixed_buffers),
            (SETTINGS[2], &self.napi),
            (XDP, &self.xdp),
        ]
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, answer) in self.list() {
            match answer {
                Ok(()) => writeln!(f, "{name}: yes")?,
                Err(why) => writeln!(f, "{name}: no, {why}")?,
            }
        }
        Ok(())
    }
}

/// What to use, and why, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The backend to make.
    pub backend: Backend,
    /// The reason.
    pub why: String,
}

/// Chooses for `wanted`; `None` leaves it to us.
#[must_use]
pub fn choose(probe: &Probe, wanted: Option<Backend>) -> Choice {
    let missing = probe
        .io_uring
        .as_ref()
        .err()
        .or(probe.multishot.as_ref().err());
    let asked = wanted.unwrap_or(DEFAULT);
    match (asked, missing) {
        (Backend::Uring, Some(why)) => Choice {
            backend: Backend::Mmsg,
            why: format!("io_uring cannot be used here: {why}"),
        },
        (backend, _) => Choice {
            backend,
            why: if wanted.is_some() {
                "as configured"
            } else {
                "the default"
            }
            .to_owned(),
        },
    }
}

/// What [`Probe::list`] calls the settings of `io_uring`.
pub const SETTINGS: [&str; 3] = [
    "io_uring zero copy",
    "io_uring fixed buffers",
    "io_uring busy polling (napi)",
];

/// What [`Probe::list`] calls AF_XDP.
pub const XDP: &str = "af_xdp";

/// How media leaves, and why, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransmitChoice {
    /// By what.
    pub transmit: Transmit,
    /// The reason.
    pub why: String,
}

/// Chooses for `wanted`; `None` leaves it to us, and we take the socket: it needs no privilege, and
/// firewall and traffic shaping of the host see what it sends.
#[must_use]
pub fn choose_transmit(probe: &Probe, wanted: Option<Transmit>) -> TransmitChoice {
    let (transmit, why) = match (wanted, &probe.xdp) {
        (None, _) => (Transmit::Udp, "the default".to_owned()),
        (Some(Transmit::Xdp), Err(why)) => {
            (Transmit::Udp, format!("AF_XDP cannot be used here: {why}"))
        }
        (Some(transmit), _) => (transmit, "as configured".to_owned()),
    };
    TransmitChoice { transmit, why }
}

impl FromStr for Transmit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "udp" => Ok(Self::Udp),
            "xdp" => Ok(Self::Xdp),
            other => Err(format!(
                "no way to transmit is called {other:?}; there are udp and xdp"
            )),
        }
    }
}

impl fmt::Display for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Xdp => "xdp",
        })
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mmsg" => Ok(Self::Mmsg),
            "uring" => Ok(Self::Uring),
            other => Err(format!(
                "no backend is called {other:?}; there are mmsg and uring"
            )),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mmsg => "mmsg",
            Self::Uring => "uring",
        })
    }
}

/// Small, so that a probe is quick.
const SMALL: PortConfig = PortConfig {
    runs_max: 4,
    arena_bytes: 65_536,
    batch_runs: 4,
    rx_buffers: 8,
    rx_turn_max: 8,
    segment: true,
    uring: Settings::DEFAULT,
};

/// How long a datagram may take over loopback before we say that it is lost.
const PATIENCE: Span = Span::millis(500);

struct Heard(usize);

impl RxSink for Heard {
    fn datagram(&mut self, _: RxMeta, _: &mut [u8]) {
        self.0 += 1;
    }
}

fn try_gso() -> Answer {
    let (socket, wake) = text(loopback("127.0.0.1:0"))?;
    if !socket.segments() {
        return Err("the kernel does not know UDP_SEGMENT; Linux 4.18 has it".to_owned());
    }
    let mut port = text(Mmsg::new(socket, wake, &SMALL))?;
    let (peer, addr) = listener()?;
    send_segments(&mut port, addr);
    let report = port.flush(clock::now());
    if report.unsegmented > 0 || report.errors > 0 {
        return Err("the kernel refuses to segment on loopback".to_owned());
    }
    let mut bytes = [0; 64];
    for expected in [40, 40, 7] {
        let heard = hear(&peer, &mut bytes).map_err(|e| e.to_string())?;
        if heard != expected {
            return Err(format!("a segment of {expected} bytes came as {heard}"));
        }
    }
    Ok(())
}

fn try_gro() -> Answer {
    let (socket, _) = text(loopback("127.0.0.1:0"))?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true)
        .map_err(|e| format!("UDP_GRO: {e}; Linux 5.0 has it"))
}

/// The mode of a ring, and whether its receive request goes on after a datagram.
fn try_ring() -> Result<(Mode, Answer), String> {
    let (socket, wake) = text(loopback("127.0.0.1:0"))?;
    let to = socket.local();
    let mut port = text(Uring::new(socket, wake, &SMALL))?;
    let (peer, _) = listener()?;
    let until = clock::now() + PATIENCE;
    let mut heard = Heard(0);
    for count in 1..=2 {
        peer.send_to(b"probe", to).map_err(|e| e.to_string())?;
        while heard.0 < count && clock::now() < until {
            if port.recv(clock::now(), &mut heard) == 0 {
                port.wait(until);
            }
        }
    }
    let renewed = if heard.0 == 2 && port.renews() {
        Ok(())
    } else {
        Err("a receive request ends after a datagram; Linux 6.0 renews it".to_owned())
    };
    Ok((port.mode(), renewed))
}

/// Whether a port over `io_uring` can be made so; if not, why, and what to do.
///
/// # Errors
/// The kernel refuses.
pub fn try_setting(uring: Settings) -> Answer {
    let (socket, wake) = text(loopback("127.0.0.1:0"))?;
    // Of a worker's size: it may lock as much memory.
    let config = PortConfig {
        uring,
        ..PortConfig::default()
    };
    text(Uring::new(socket, wake, &config)).map(drop)
}

fn send_segments(port: &mut impl Port, to: SocketAddr) {
    let run = RunMeta {
        peer: to.into(),
        local: Ip::UNKNOWN,
        segment_bytes: 40,
        segments: 3,
        bytes: 87,
        viewer: NOBODY,
    };
    if let Some(mut slot) = port.claim(run) {
        slot.put(&[1; 87], 40);
        port.commit(87);
    }
}

fn loopback(addr: &str) -> Result<(Socket, OwnedFd), Error> {
    let addr = addr.parse().expect("an address written above");
    let socket = Socket::bind(addr, &SocketConfig::default())?;
    Ok((socket, Wake::new()?.fd()?))
}

fn listener() -> Result<(UdpSocket, SocketAddr), String> {
    let made = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let patience = core::time::Duration::from_nanos(PATIENCE.0);
        socket.set_read_timeout(Some(patience))?;
        let addr = socket.local_addr()?;
        Ok((socket, addr))
    };
    made().map_err(|e: std::io::Error| e.to_string())
}

/// The next datagram. The end of a ring interrupts the thread that made it, some time later, and a
/// receive with a time limit is not begun again by the kernel.
fn hear(socket: &UdpSocket, bytes: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match socket.recv(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            heard => return heard,
        }
    }
}

fn text<T>(result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_segments_and_the_list_says_so() {
        let probe = Probe::run();
        println!("{probe}");
        assert_eq!(probe.gso, Ok(()));
        assert!(probe.to_string().contains("gso): yes"));
        // The deferred mode and renewal cannot be there without a ring.
        assert!(probe.io_uring.is_ok() || (probe.deferred.is_err() && probe.multishot.is_err()));
    }

    #[test]
    fn a_wish_that_cannot_be_met_falls_back_and_says_why() {
        let mut probe = Probe::run();
        probe.io_uring = Ok(());
        probe.multishot = Ok(());
        assert_eq!(choose(&probe, Some(Backend::Uring)).backend, Backend::Uring);
        assert_eq!(choose(&probe, None).backend, DEFAULT);
        probe.io_uring = Err("switched off".to_owned());
        let choice = choose(&probe, Some(Backend::Uring));
        assert_eq!(choice.backend, Backend::Mmsg);
        assert!(choice.why.contains("switched off"));
    }

    #[test]
    fn transmitting_by_xdp_wants_the_kernel_and_the_operator() {
        let mut probe = Probe::run();
        probe.xdp = Ok(());
        let transmit = |probe: &Probe, wanted| choose_transmit(probe, wanted).transmit;
        assert_eq!(transmit(&probe, Some(Transmit::Xdp)), Transmit::Xdp);
        assert_eq!(transmit(&probe, None), Transmit::Udp);
        probe.xdp = Err("no privilege".to_owned());
        let choice = choose_transmit(&probe, Some(Transmit::Xdp));
        assert_eq!(choice.transmit, Transmit::Udp);
        assert!(choice.why.contains("no privilege"));
        for transmit in [Transmit::Udp, Transmit::Xdp] {
            assert_eq!(transmit.to_string().parse(), Ok(transmit));
        }
        assert!("dpdk".parse::<Transmit>().is_err());
    }

    #[test]
    fn backends_are_named() {
        for backend in [Backend::Mmsg, Backend::Uring] {
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        assert!("xdp".parse::<Backend>().is_err());
    }
}
