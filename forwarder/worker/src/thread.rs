//! Owns the life of one worker's thread: what it makes, when it starts, what it leaves.

use crate::ahead::{Ask, REST, Teller, VIEWERS_TURN};
use crate::cpu;
use crate::error::Error;
use crate::handoff::Exchange;
use crate::idle::{Idle, Idler};
use crate::load_limit::LoadLimit;
use crate::run::{leave, run};
use crate::seat::{Seat, SeatConfig};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use core_affinity::CoreId as Cpu;
use io::probe::Backend;
use io::route::End;
use io::{Mmsg, Port, PortConfig, Socket, Uring, Xdp, clock};
use link::Region;
use link::ids::CoreId;
use plane::{Blank, Cipher};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

/// What a worker leaves to the next one, if it was asked to.
pub(crate) type Left = Option<Result<Vec<u8>, Error>>;

/// What a worker says of how far it is.
pub(crate) type Said = Result<(), Error>;

/// What one worker gets of what those before have told or left.
pub(crate) type Part = (Arc<Vec<u8>>, Range<usize>);

/// What a worker that is ready is told.
pub(crate) enum Start {
    /// Of viewers ahead.
    Learn(Part),
    /// To serve, from nothing or from what the one before has left.
    Go(Option<Part>),
}

/// What all workers are told.
#[derive(Default)]
pub(crate) struct Word {
    pub stop: AtomicBool,
    /// They leave everything to others.
    pub leave: AtomicBool,
    /// Those know what was told ahead.
    pub knows: AtomicBool,
    /// How often they were asked to tell ahead.
    pub asked: AtomicU32,
    /// What they were asked last.
    pub ask: Mutex<Option<Ask>>,
    /// How many have received their last.
    pub deaf: AtomicUsize,
    /// Memory for what they leave, touched before they stop.
    pub room: Mutex<Vec<Vec<u8>>>,
}

impl Word {
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// What one thread takes along.
pub(crate) struct Bench {
    pub region: Region,
    pub core: CoreId,
    pub socket: Socket,
    pub backend: Backend,
    pub end: Option<End>,
    pub cipher: Cipher,
    pub port: PortConfig,
    pub idle: Idle,
    pub cpu: Option<Cpu>,
    pub exchange: Exchange,
    pub load_limit: LoadLimit,
    /// How many viewers are expected.
    pub viewers: usize,
    pub start: Receiver<Start>,
    pub word: Arc<Word>,
}

impl Bench {
    /// The life of the thread. Memory is allocated after it is settled, close to its processor.
    pub fn sit(mut self, prepared: Sender<Said>, ready: Sender<Said>) -> Left {
        cpu::settle(self.cpu);
        match (self.backend, self.end.take()) {
            (Backend::Mmsg, None) => self.serve(prepared, ready, Mmsg::new),
            (Backend::Uring, None) => self.serve(prepared, ready, Uring::new),
            (Backend::Mmsg, Some(end)) => self.serve_by_xdp(prepared, ready, end, Mmsg::new),
            (Backend::Uring, Some(end)) => self.serve_by_xdp(prepared, ready, end, Uring::new),
        }
    }

    /// The same with lanes of AF_XDP before the backend.
    fn serve_by_xdp<P: Port>(
        self,
        prepared: Sender<Said>,
        ready: Sender<Said>,
        end: End,
        make: impl FnOnce(Socket, OwnedFd, &PortConfig) -> Result<P, io::Error>,
    ) -> Left {
        let viewers_max = self.region.limits().viewers_max;
        self.serve(prepared, ready, move |socket, bell, config| {
            make(socket, bell, config).map(|under| Xdp::new(under, end, viewers_max))
        })
    }

    fn serve<P: Port>(
        self,
        prepared: Sender<Said>,
        ready: Sender<Said>,
        make: impl FnOnce(Socket, OwnedFd, &PortConfig) -> Result<P, io::Error>,
    ) -> Left {
        let mut idler = Idler::new(self.idle);
        let mut teller = Teller::new(Arc::clone(&self.word), usize::from(self.core.0));
        let word = Arc::clone(&self.word);
        let cores = usize::from(self.region.limits().cores);
        let seat = match self.prepare(make) {
            Ok(mut parts) => {
                // Nobody listens any more if another worker has failed: stop will come.
                let _ = prepared.send(Ok(()));
                // While an end is open, those that have not spoken are waited for.
                drop(prepared);
                loop {
                    // Nor if there will be no start.
                    match parts.start.recv().ok()? {
                        Start::Learn(part) => drop(ready.send(parts.learn(&part))),
                        Start::Go(before) => break parts.seat(before),
                    }
                }
            }
            Err(error) => {
                let _ = prepared.send(Err(error));
                return None;
            }
        };
        match seat {
            Ok(mut seat) => {
                let _ = ready.send(Ok(()));
                drop(ready);
                run(&mut seat, &mut idler, &mut teller, || word.stopping());
                if !word.leave.load(Ordering::SeqCst) {
                    return None;
                }
                let room = word.room.lock().ok().and_then(|mut room| room.pop());
                let mut left = room.unwrap_or_default();
                let knows = word.knows.load(Ordering::SeqCst);
                let done = leave(&mut seat, &word.deaf, cores, knows, &mut left);
                Some(done.map(|()| left))
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                None
            }
        }
    }

    fn prepare<P: Port>(
        self,
        make: impl FnOnce(Socket, OwnedFd, &PortConfig) -> Result<P, io::Error>,
    ) -> Result<Parts<P>, Error> {
        let core = self.core.0;
        let sleeper = self.region.sleeper(self.core);
        let sleeper = sleeper.map_err(|cause| Error::Link { core, cause })?;
        let bell = sleeper.fd().try_clone_to_owned();
        let bell = bell.map_err(|cause| Error::Wake { core, cause })?;
        let port = make(self.socket, bell, &self.port);
        let port = port.map_err(|cause| Error::Port { core, cause })?;
        let seed = seed().map_err(|cause| Error::Wake { core, cause })?;
        let mut blank = Blank::new(self.core, self.region.limits(), seed);
        blank.expect(self.viewers);
        Ok(Parts {
            region: self.region,
            core: self.core,
            cipher: self.cipher,
            exchange: self.exchange,
            load_limit: self.load_limit,
            seed,
            port,
            blank,
            start: self.start,
        })
    }
}

/// What one thread has made, before it has its ends of the link.
struct Parts<P> {
    region: Region,
    core: CoreId,
    cipher: Cipher,
    exchange: Exchange,
    load_limit: LoadLimit,
    seed: u64,
    port: P,
    blank: Blank,
    start: Receiver<Start>,
}

impl<P: Port> Parts<P> {
    /// Makes viewers ready that are told of ahead.
    fn learn(&mut self, (bytes, range): &Part) -> Result<(), Error> {
        let core = self.core.0;
        let mut ahead = bytes.get(range.clone()).unwrap_or_default();
        while !ahead.is_empty() {
            let (now, cipher) = (clock::now(), self.cipher);
            let learnt = self
                .blank
                .learn(now, &self.region, cipher, &mut ahead, VIEWERS_TURN);
            learnt.map_err(|cause| Error::Handover { core, cause })?;
            std::thread::sleep(REST);
        }
        Ok(())
    }

    fn seat(self, before: Option<Part>) -> Result<Seat<P>, Error> {
        let config = SeatConfig {
            region: &self.region,
            core: self.core,
            exchange: &self.exchange,
            cipher: self.cipher,
            seed: self.seed,
        };
        let mut seat = Seat::with(&config, self.port, self.blank)?;
        seat.follow(self.load_limit);
        if let Some((bytes, range)) = before {
            let part = bytes.get(range).unwrap_or_default();
            seat.go_on(clock::now(), part)?;
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
