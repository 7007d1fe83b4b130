//! The scenario of the simulation over real sockets of loopback, by each backend of the kernel.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::marker::PhantomData;
use std::net::{SocketAddr, UdpSocket};

use freshet_tests::wait::skip;
use freshet_tests::world::{Client, Network, World};
use io::port::{Port, PortConfig};
use io::probe::{Answer, Probe};
use io::uring::Settings;
use io::wake::Wake;
use io::{Mmsg, Socket, SocketConfig, Uring};
use nix::sys::socket::{setsockopt, sockopt};
use wire::time::{Span, Time};

/// How a backend's port is made.
trait Backend: Port + Sized {
    fn open(socket: Socket, wake: &Wake, config: &PortConfig) -> Self;
}

impl Backend for Mmsg {
    fn open(socket: Socket, wake: &Wake, config: &PortConfig) -> Self {
        Self::new(socket, wake.fd().unwrap(), config).unwrap()
    }
}

impl Backend for Uring {
    fn open(socket: Socket, wake: &Wake, config: &PortConfig) -> Self {
        Self::new(socket, wake.fd().unwrap(), config).unwrap()
    }
}

/// Loopback.
struct Real<P> {
    server: Option<SocketAddr>,
    wakes: Vec<Wake>,
    uring: Settings,
    backend: PhantomData<P>,
}

struct RealClient {
    socket: UdpSocket,
    server: SocketAddr,
    random: freshet_tests::random::Random,
    /// Of what arrives, so much is lost on purpose, in millionths.
    loss_ppm: u32,
}

impl<P: Backend> Network for Real<P> {
    type Port = P;
    type Client = RealClient;

    fn ports(&mut self, cores: u16, config: &PortConfig) -> Vec<P> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = Socket::bind_all(any, usize::from(cores), &SocketConfig::default()).unwrap();
        self.server = Some(sockets[0].local());
        let config = PortConfig {
            uring: self.uring,
            ..*config
        };
        let mut ports = Vec::new();
        for socket in sockets {
            let wake = Wake::new().unwrap();
            ports.push(P::open(socket, &wake, &config));
            self.wakes.push(wake);
        }
        ports
    }

    fn server(&self) -> SocketAddr {
        self.server.unwrap()
    }

    fn client(&mut self, number: u32) -> RealClient {
        RealClient {
            socket: open(),
            server: self.server(),
            random: freshet_tests::random::Random::new(u64::from(number)),
            loss_ppm: if number.is_multiple_of(2) { 0 } else { 20_000 },
        }
    }

    fn now(&self) -> Time {
        io::clock::now()
    }

    fn pass(&mut self) {
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
}

impl Client for RealClient {
    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn send(&mut self, _now: Time, to: SocketAddr, bytes: &[u8]) {
        self.socket.send_to(bytes, to).unwrap();
    }

    fn recv(&mut self, _now: Time) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        loop {
            let (bytes, from) = self.socket.recv_from(&mut buffer).ok()?;
            assert_eq!(from, self.server, "from where was asked");
            if !self.random.chance_ppm(self.loss_ppm) {
                return Some(buffer[..bytes].to_vec());
            }
        }
    }

    fn rebind(&mut self) {
        self.socket = open();
    }
}

fn open() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    setsockopt(&socket, sockopt::RcvBuf, &(4 << 20)).unwrap();
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
    socket
}

fn scenario<P: Backend>(uring: Settings) {
    let network = Real::<P> {
        server: None,
        wakes: Vec::new(),
        uring,
        backend: PhantomData,
    };
    let mut world = World::new(network, 5);
    let mut sources = vec![world.source(0), world.source(1)];
    world.play(&mut sources, 20);
    for number in 0..8 {
        world.join(&sources[number % 2]);
        world.play(&mut sources, 4);
    }
    world.play(&mut sources, 40);
    // Two of them move: the kernel may give them to the other core.
    let now = world.network.now();
    for viewer in world.viewers.iter_mut().take(2) {
        viewer.client.rebind();
        viewer.check(now);
    }
    world.play(&mut sources, 40);
    for viewer in &mut world.viewers {
        viewer.client.loss_ppm = 0;
    }
    world.play(&mut sources, 20);
    world.run(Span::millis(600));
    let sent: usize = world.cores.iter().map(|(_, tap)| tap.watch.packets()).sum();
    let repaired: u64 = world.viewers.iter().map(|viewer| viewer.repaired).sum();
    println!("{sent} packets sent, {repaired} repaired");
    assert!(repaired > 10, "{repaired} packets repaired");
    for viewer in &world.viewers {
        assert_eq!(viewer.missing(), 0, "{:?}", viewer.command().viewer);
        viewer.must_have_everything();
    }
}

#[test]
fn everybody_gets_everything_by_mmsg() {
    scenario::<Mmsg>(Settings::DEFAULT);
}

#[test]
fn everybody_gets_everything_by_uring() {
    by_uring(|probe| &probe.io_uring, Settings::DEFAULT);
}

#[test]
fn everybody_gets_everything_by_uring_without_copying() {
    let zero_copy = Settings {
        zero_copy: true,
        napi_us: 20,
        ..Settings::DEFAULT
    };
    by_uring(|probe| &probe.fixed_buffers, zero_copy);
}

fn by_uring(needed: impl Fn(&Probe) -> &Answer, settings: Settings) {
    match needed(&Probe::run()) {
        Ok(()) => scenario::<Uring>(settings),
        Err(why) => {
            let _ = skip(&format!("io_uring: {why}"));
        }
    }
}
