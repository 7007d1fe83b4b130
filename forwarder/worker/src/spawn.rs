//! Owns the threads of the workers: started together, stopped together.

use crate::ahead::Ask;
use crate::cpu::{self, Pin};
use crate::error::Error;
use crate::handoff::Exchange;
use crate::idle::Idle;
use crate::left;
use crate::load_limit::LoadLimit;
use crate::thread::{Bench, Left, Said, Start, Word};
use core::sync::atomic::Ordering;
use io::probe::Backend;
use io::route::{End, Router};
use io::{PortConfig, Socket, XdpConfig};
use link::Region;
use link::ids::CoreId;
use link::wake::Waker;
use plane::Cipher;
use std::iter;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

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
    /// Up to which load newcomers are let in.
    pub load_limit: LoadLimit,
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

/// Workers that have everything but their ends of the link, which others may still hold.
pub struct Prepared {
    workers: Workers,
    /// To each of them: what the one before has told or left.
    starts: Vec<Sender<Start>>,
    readiness: Receiver<Said>,
}

/// Starts all workers; returns when each is ready to serve.
///
/// # Errors
/// The first that could not be set up; the others are stopped.
pub fn spawn(config: Config) -> Result<Workers, Error> {
    prepare(config, 0)?.start(None)
}

/// Starts the threads and lets them allocate, with memory touched for so many viewers in all.
///
/// # Errors
/// As [`spawn`].
pub fn prepare(config: Config, viewers: usize) -> Result<Prepared, Error> {
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
    let mut starts = Vec::new();
    let (prepared, preparations) = channel();
    let (ready, readiness) = channel();
    let ends = ends.into_iter().map(Some).chain(iter::repeat_with(|| None));
    for (((core, socket), cpu), end) in (0..cores).zip(config.sockets).zip(cpus).zip(ends) {
        let (start, started) = channel();
        starts.push(start);
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
            load_limit: config.load_limit.clone(),
            viewers: viewers / usize::from(cores),
            start: started,
            word: Arc::clone(&workers.word),
        };
        workers.start(bench, prepared.clone(), ready.clone())?;
    }
    drop(prepared);
    for _ in 0..cores {
        hear(&preparations)?;
    }
    Ok(Prepared {
        workers,
        starts,
        readiness,
    })
}

/// What one of the workers says. One that died before it could has dropped its end.
fn hear(said: &Receiver<Said>) -> Said {
    said.recv().unwrap_or(Err(Error::Died { core: 0 }))
}

impl Prepared {
    /// Lets them serve, from nothing or from what workers before have left; returns when all do.
    ///
    /// # Errors
    /// As [`spawn`], or what was left cannot be read.
    pub fn start(self, before: Option<left::Left>) -> Result<Workers, Error> {
        let Self {
            workers,
            starts,
            readiness,
        } = self;
        let cores = starts.len();
        for (core, start) in starts.into_iter().enumerate() {
            let part = before.as_ref().and_then(|left| left.part(core));
            // One that has died says so below.
            let _ = start.send(Start::Go(part));
        }
        for _ in 0..cores {
            hear(&readiness)?;
        }
        Ok(workers)
    }

    /// Lets them make ready for the viewers that workers before have told of ahead; returns when
    /// all have.
    ///
    /// # Errors
    /// What was told cannot be read, or it takes longer than `patience`.
    pub fn learn(&self, ahead: &left::Left, patience: Duration) -> Result<(), Error> {
        let until = Instant::now() + patience;
        for (core, start) in self.starts.iter().enumerate() {
            if let Some(part) = ahead.part(core) {
                // One that has died says so below.
                let _ = start.send(Start::Learn(part));
            }
        }
        for core in (0..).take(self.starts.len().min(ahead.len())) {
            let rest = until.saturating_duration_since(Instant::now());
            let said = self.readiness.recv_timeout(rest);
            said.unwrap_or(Err(Error::Silent { core }))?;
        }
        Ok(())
    }
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

    /// Asks all workers to tell of their viewers ahead, with memory for so many bytes in all, and
    /// waits until they have; what each of them tells, by core. They go on serving.
    ///
    /// # Errors
    /// One of them has not told within `patience`, or has no memory for it.
    pub fn tell_ahead(&self, bytes: usize, patience: Duration) -> Result<Vec<Vec<u8>>, Error> {
        let cores = self.threads.len();
        let (reply, replies) = channel();
        if let Ok(mut ask) = self.word.ask.lock() {
            let rooms = iter::repeat_with(|| left::room(bytes / cores));
            *ask = Some(Ask {
                rooms: rooms.take(cores).collect(),
                reply,
            });
        }
        self.word.asked.fetch_add(1, Ordering::SeqCst);
        for thread in &self.threads {
            thread.waker.wake();
        }
        let mut all = vec![Vec::new(); cores];
        let until = Instant::now() + patience;
        for core in 0..cores {
            let rest = until.saturating_duration_since(Instant::now());
            let silent = |_| Error::Silent {
                core: u16::try_from(core).unwrap_or(u16::MAX),
            };
            let (core, told) = replies.recv_timeout(rest).map_err(silent)?;
            if let Some(place) = all.get_mut(core) {
                *place = told?;
            }
        }
        Ok(all)
    }

    /// Stops all workers, with memory for so many bytes in all; what each of them leaves to the
    /// worker that takes its place, by core. `knows`: that one knows what was told ahead last.
    ///
    /// # Errors
    /// One of them has panicked, or has no memory for it.
    pub fn hand_over(mut self, knows: bool, bytes: usize) -> Result<Vec<Vec<u8>>, Error> {
        self.word.knows.store(knows, Ordering::SeqCst);
        if let Ok(mut room) = self.word.room.lock() {
            room.resize_with(self.threads.len(), || {
                left::room(bytes / self.threads.len())
            });
        }
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

    fn start(
        &mut self,
        bench: Bench,
        prepared: Sender<Said>,
        ready: Sender<Said>,
    ) -> Result<(), Error> {
        let core = bench.core;
        let waker = bench.region.waker(core).map_err(|cause| Error::Link {
            core: core.0,
            cause,
        })?;
        let handle = Builder::new()
            .name(format!("worker-{}", core.0))
            .spawn(move || bench.sit(prepared, ready))
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
