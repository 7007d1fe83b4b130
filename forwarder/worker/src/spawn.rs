//! Owns the threads of the workers: started together, stopped together.

use crate::cpu::{self, Pin};
use crate::error::Error;
use crate::handoff::Exchange;
use crate::idle::{Idle, Idler};
use crate::run::{leave, run};
use crate::seat::{Seat, SeatConfig};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core_affinity::CoreId as Cpu;
use io::probe::Backend;
use io::route::{End, Router};
use io::{Mmsg, Port, PortConfig, Socket, Uring, Xdp, XdpConfig, clock};

use link::Region;
use link::ids::CoreId;
use link::wake::Waker;
use plane::Cipher;
use std::fs::File;
use std::io::Read;
use std::iter;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

/// What workers are made of.
pub struct Config {
    /// The memory that they share with control; its limits say how many workers there are.
    pub region: Region,
    /// One for each worker, bound together: see [`Socket::bind_all`].
    pub sockets: Vec<Socket>,
    /// How they talk to the kernel: see [`io::probe::choose`].
    pub backend: Backend,
    /// Send to viewers by AF_XDP where that can be: see [`io::probe::choose_transmit`]. If it
    /// cannot, that is noted, and everything leaves by the backend.
    pub xdp: Option<XdpConfig>,
    /// What seals for viewers with AES-GCM; one that this machine can run.
    pub cipher: Cipher,
    /// Sizes of each port.
    pub port: PortConfig,
    /// What they do without work.
    pub idle: Idle,
    /// Where they run.
    pub pin: Pin,
    /// What the workers before have left, by core; empty: there were none, or they have died.
    pub before: Vec<Vec<u8>>,
}

/// The workers of this process. Dropped: they stop.
pub struct Workers {
    word: Arc<Word>,
    threads: Vec<Thread>,
    /// Ends after the threads.
    _router: Option<Router>,
}

struct Thread {
    waker: Waker,
    handle: Option<JoinHandle<Left>>,
}

/// What a worker leaves to the next one, if it was asked to.
type Left = Option<Result<Vec<u8>, Error>>;

/// What all workers are told.
#[derive(Default)]
struct Word {
    stop: AtomicBool,
    /// They leave everything to others.
    leave: AtomicBool,
    /// How many have received their last.
    deaf: AtomicUsize,
}

impl Word {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Starts all workers; returns when each is ready to serve.
///
/// # Errors
/// The first that could not be set up; the others are stopped.
pub fn spawn(config: Config) -> Result<Workers, Error> {
    let cores = config.region.limits().cores;
    if config.sockets.len() != usize::from(cores) {
        return Err(Error::Sockets {
            sockets: config.sockets.len(),
            cores,
        });
    }
    let (router, ends) = router(&config);
    let exchange = Exchange::new(&config.region);
    let cpus = cpu::plan(&config.pin, usize::from(cores));
    let mut workers = Workers {
        word: Arc::default(),
        threads: Vec::with_capacity(usize::from(cores)),
        _router: router,
    };
    let (ready, readiness) = channel();
    let ends = ends.into_iter().map(Some).chain(iter::repeat_with(|| None));
    let before = config.before.into_iter().map(Some);
    let mut before = before.chain(iter::repeat_with(|| None));
    for (((core, socket), cpu), end) in (0..cores).zip(config.sockets).zip(cpus).zip(ends) {
        let bench = Bench {
            region: config.region.clone(),
            core: CoreId(core),
            socket,
            backend: config.backend,
            end,
            cipher: config.cipher,
            port: config.port,
            idle: config.idle,
            cpu,
            exchange: exchange.clone(),
            before: before.next().flatten(),
            word: Arc::clone(&workers.word),
        };
        workers.start(bench, ready.clone())?;
    }
    drop(ready);
    for _ in 0..cores {
        // A thread that died before it could say so has dropped its end.
        readiness.recv().unwrap_or(Err(Error::Died { core: 0 }))?;
    }
    Ok(workers)
}

/// What finds the ways to viewers, and its end for each worker; none of it if that is not wanted
/// or cannot be.
fn router(config: &Config) -> (Option<Router>, Vec<End>) {
    let Some(xdp) = config.xdp else {
        return (None, Vec::new());
    };
    match Router::start(&config.sockets, xdp) {
        Ok((router, ends)) => (Some(router), ends),
        Err(error) => {
            (xdp.note)(&format!("AF_XDP: {error}; everything leaves by the socket"));
            (None, Vec::new())
        }
    }
}

impl Workers {
    /// Asks all workers to stop after their turn. Returns at once.
    pub fn stop(&self) {
        self.word.stop.store(true, Ordering::SeqCst);
        for thread in &self.threads {
            thread.waker.wake();
        }
    }

    /// The first worker that has ended, though nobody asked it to.
    #[must_use]
    pub fn dead(&self) -> Option<CoreId> {
        if self.word.stopping() {
            return None;
        }
        let ended = |thread: &Thread| thread.handle.as_ref().is_none_or(JoinHandle::is_finished);
        let place = self.threads.iter().position(ended)?;
        u16::try_from(place).ok().map(CoreId)
    }

    /// Waits until all have ended, asked by [`Workers::stop`] or not.
    ///
    /// # Errors
    /// One of them has panicked.
    pub fn join(mut self) -> Result<(), Error> {
        self.join_all()
    }

    /// Stops all workers; what each of them leaves to the worker that takes its place, by core.
    ///
    /// # Errors
    /// One of them has panicked, or has no memory for it.
    pub fn hand_over(mut self) -> Result<Vec<Vec<u8>>, Error> {
        self.word.leave.store(true, Ordering::SeqCst);
        self.stop();
        let threads = (0..).zip(&mut self.threads);
        threads
            .map(|(core, thread)| {
                let joined = thread.handle.take().map(JoinHandle::join);
                let left = joined.and_then(Result::ok).flatten();
                left.unwrap_or(Err(Error::Died { core }))
            })
            .collect()
    }

    fn start(&mut self, bench: Bench, ready: Sender<Result<(), Error>>) -> Result<(), Error> {
        let core = bench.core;
        let waker = bench.region.waker(core).map_err(|cause| Error::Link {
            core: core.0,
            cause,
        })?;
        let handle = Builder::new()
            .name(format!("worker-{}", core.0))
            .spawn(move || bench.sit(ready))
            .map_err(|cause| Error::Thread {
                core: core.0,
                cause,
            })?;
        self.threads.push(Thread {
            waker,
            handle: Some(handle),
        });
        Ok(())
    }

    fn join_all(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for (core, thread) in (0..).zip(&mut self.threads) {
            let joined = thread.handle.take().map(JoinHandle::join);
            if matches!(joined, Some(Err(_))) && result.is_ok() {
                result = Err(Error::Died { core });
            }
        }
        result
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
        // A panic has been printed by its thread.
        let _ = self.join_all();
    }
}

/// What one thread takes along.
struct Bench {
    region: Region,
    core: CoreId,
    socket: Socket,
    backend: Backend,
    end: Option<End>,
    cipher: Cipher,
    port: PortConfig,
    idle: Idle,
    cpu: Option<Cpu>,
    exchange: Exchange,
    before: Option<Vec<u8>>,
    word: Arc<Word>,
}

impl Bench {
    /// The life of the thread. Memory is allocated after it is settled, close to its processor.
    fn sit(mut self, ready: Sender<Result<(), Error>>) -> Left {
        cpu::settle(self.cpu);
        match (self.backend, self.end.take()) {
            (Backend::Mmsg, None) => self.serve(ready, Mmsg::new),
            (Backend::Uring, None) => self.serve(ready, Uring::new),
            (Backend::Mmsg, Some(end)) => self.serve_by_xdp(ready, end, Mmsg::new),
            (Backend::Uring, Some(end)) => self.serve_by_xdp(ready, end, Uring::new),
        }
    }

    /// The same with lanes of AF_XDP before the backend.
    fn serve_by_xdp<P: Port>(
        self,
        ready: Sender<Result<(), Error>>,
        end: End,
        make: impl FnOnce(Socket, OwnedFd, &PortConfig) -> Result<P, io::Error>,
    ) -> Left {
        let viewers_max = self.region.limits().viewers_max;
        self.serve(ready, move |socket, bell, config| {
            make(socket, bell, config).map(|under| Xdp::new(under, end, viewers_max))
        })
    }

    fn serve<P: Port>(
        self,
        ready: Sender<Result<(), Error>>,
        make: impl FnOnce(Socket, OwnedFd, &PortConfig) -> Result<P, io::Error>,
    ) -> Left {
        let mut idler = Idler::new(self.idle);
        let word = Arc::clone(&self.word);
        let cores = usize::from(self.region.limits().cores);
        match self.seat(make) {
            Ok(mut seat) => {
                // Nobody listens any more if another worker has failed: stop will come.
                let _ = ready.send(Ok(()));
                // While an end is open, `spawn` waits for those that have not spoken.
                drop(ready);
                run(&mut seat, &mut idler, || word.stopping());
                let leaves = word.leave.load(Ordering::SeqCst);
                leaves.then(|| leave(seat, &word.deaf, cores))
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                None
            }
        }
    }

    fn seat<P: Port>(
        self,
        make: impl FnOnce(Socket, OwnedFd, &PortConfig) -> Result<P, io::Error>,
    ) -> Result<Seat<P>, Error> {
        let core = self.core.0;
        let sleeper = self.region.sleeper(self.core);
        let sleeper = sleeper.map_err(|cause| Error::Link { core, cause })?;
        let bell = sleeper.fd().try_clone_to_owned();
        let bell = bell.map_err(|cause| Error::Wake { core, cause })?;
        let before = self.before;
        let port = make(self.socket, bell, &self.port);
        let port = port.map_err(|cause| Error::Port { core, cause })?;
        let config = SeatConfig {
            region: &self.region,
            core: self.core,
            exchange: &self.exchange,
            cipher: self.cipher,
            seed: seed().map_err(|cause| Error::Wake { core, cause })?,
        };
        let mut seat = Seat::new(&config, port)?;
        if let Some(before) = before {
            seat.go_on(clock::now(), &before)?;
        }
        Ok(seat)
    }
}

/// Random bits from the system.
fn seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
