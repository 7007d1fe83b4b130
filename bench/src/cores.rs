//! Owns several cores that read one log and share one port: what a packet costs each of them.
//!
//! The first core writes the log, as the core of a publisher does; all of them serve as many
//! viewers of their own. A core's time is that of its thread while it has something to do: waiting
//! for the others is nobody's cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use io::{Mmsg, PortConfig, Socket, SocketConfig, clock};
use lab::rig::{Audience, append, viewer};
use lab::sink::Sink;
use lab::{PACKET_BYTES, STREAM_BIT_S, cpu};
use link::Region;
use link::command::Command;
use link::ids::{CoreId, StreamId};
use link::limits::Limits;
use link::log::{Flags, LogWriter};
use link::stats::Counter;
use wire::time::{Span, Time};
use worker::{Exchange, Seat, SeatConfig};

/// Packets that the log holds.
const LOG_PACKETS: u32 = 4096;

/// Turns after which what has not been sent never will be.
const TURNS_MAX: u32 = 1_000_000;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Viewers of each core.
    pub viewers: u32,
    /// Packets of a burst.
    pub burst: u32,
    /// Bursts that are counted.
    pub bursts: u32,
}

/// What all cores share.
struct Floor<'a> {
    region: &'a Region,
    exchange: &'a Exchange,
    stream: StreamId,
    load: Load,
    audience: Audience,
    begin: Barrier,
    /// Bursts that are in the log.
    written: AtomicU64,
    /// Bursts that each core has sent, all together.
    served: AtomicU64,
    failed: AtomicBool,
    start: Time,
}

/// Nanoseconds of processor time for a packet to a viewer, for each of `cores`, which run on the
/// processors `cpus`.
///
/// # Errors
/// A core is not there, or does not send.
pub fn cost(
    sink: &Sink,
    audience: &Audience,
    cpus: &[usize],
    load: Load,
) -> Result<Vec<f64>, String> {
    let cores = u16::try_from(cpus.len()).map_err(words)?;
    let limits = Limits {
        cores,
        streams_max: 1,
        viewers_max: load.viewers * u32::from(cores),
        log_packets: LOG_PACKETS,
        ..Limits::default()
    };
    let region = Region::create(&limits).map_err(words)?;
    let stream = region.open_stream(0, "bench").map_err(words)?;
    let exchange = Exchange::new(&region);
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let sockets = Socket::bind_all(any, cpus.len(), &SocketConfig::default()).map_err(words)?;
    let floor = Floor {
        region: &region,
        exchange: &exchange,
        stream,
        load,
        audience: Audience {
            viewers: load.viewers * u32::from(cores),
            first: sink.first,
            local: IpAddr::V4(sink.local).into(),
            ..*audience
        },
        begin: Barrier::new(cpus.len()),
        written: AtomicU64::new(0),
        served: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        start: clock::now(),
    };
    let floor = &floor;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(cpus.iter().zip(sockets))
            .map(|(core, (&cpu, socket))| {
                scope.spawn(move || {
                    let cost = serve(floor, CoreId(core), cpu, socket);
                    // The others would wait for it for ever.
                    floor.failed.fetch_or(cost.is_err(), Ordering::Release);
                    cost
                })
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<f64, String>>| {
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err("a core panicked".to_owned()))
        };
        threads.into_iter().map(join).collect()
    })
}

/// One core, from its seat to its cost.
fn serve(floor: &Floor<'_>, core: CoreId, cpu: usize, socket: Socket) -> Result<f64, String> {
    if cpu::pin(Some(cpu)).is_none() {
        return Err(format!("no way to run on processor {cpu}"));
    }
    let made = Core::new(floor, core, socket);
    // All or none go on: a barrier waits for everybody.
    floor.failed.fetch_or(made.is_err(), Ordering::AcqRel);
    floor.begin.wait();
    let mut made = made?;
    // A keyframe, and one burst to touch everything.
    made.burst(0, 1, Flags::KEY)?;
    made.burst(1, floor.load.burst, Flags::NONE)?;
    made.ns = 0;
    for nth in 0..u64::from(floor.load.bursts) {
        made.burst(2 + nth, floor.load.burst, Flags::NONE)?;
    }
    let packets = u64::from(floor.load.burst) * u64::from(floor.load.bursts);
    Ok(made.ns as f64 / (packets * u64::from(floor.load.viewers)) as f64)
}

struct Core<'a> {
    floor: &'a Floor<'a>,
    seat: Seat<Mmsg>,
    stats: link::stats::Stats,
    /// The first core writes.
    writer: Option<LogWriter>,
    now: Time,
    awaited: u64,
    /// Processor time with something to do.
    ns: u64,
}

impl<'a> Core<'a> {
    fn new(floor: &'a Floor<'_>, core: CoreId, socket: Socket) -> Result<Self, String> {
        let bell = floor.region.sleeper(core).map_err(words)?;
        let bell = bell.fd().try_clone_to_owned().map_err(words)?;
        let config = SeatConfig {
            region: floor.region,
            core,
            exchange: floor.exchange,
            cipher: floor.audience.cipher,
            seed: u64::from(core.0) + 1,
        };
        let port = Mmsg::new(socket, bell, &PortConfig::default()).map_err(words)?;
        let mut seat = Seat::new(&config, port).map_err(words)?;
        let stats = floor.region.stats(core).map_err(words)?;
        let mut commands = floor.region.commands_producer(core).map_err(words)?;
        let first = u32::from(core.0) * floor.load.viewers;
        let mut turn = || seat.turn(floor.start, clock::unix_ns);
        for n in first..first + floor.load.viewers {
            let cell = floor.region.open_viewer(n).map_err(words)?;
            let add = viewer(cell.id(), floor.stream, &floor.audience);
            while commands.push(&Command::AddViewer(add)).is_err() {
                turn();
            }
        }
        while stats.read(Counter::ViewerAdded) < u64::from(floor.load.viewers) {
            turn();
        }
        let writer = match core {
            CoreId(0) => Some(floor.region.log_writer(floor.stream).map_err(words)?),
            _ => None,
        };
        Ok(Self {
            floor,
            seat,
            stats,
            writer,
            now: floor.start,
            awaited: 0,
            ns: 0,
        })
    }

    /// The burst with this number, of `packets`: waits for it or writes it, and sends it.
    fn burst(&mut self, nth: u64, packets: u32, flags: Flags) -> Result<(), String> {
        let floor = self.floor;
        let bits = (PACKET_BYTES * 8) as u64 * u64::from(packets);
        self.now = self.now + Span(bits * 1_000_000_000 / STREAM_BIT_S);
        let cores = floor.audience.viewers / floor.load.viewers;
        let is_time = || match self.writer {
            Some(_) => floor.served.load(Ordering::Acquire) >= nth * u64::from(cores),
            None => floor.written.load(Ordering::Acquire) > nth,
        };
        while !is_time() {
            if floor.failed.load(Ordering::Acquire) {
                return Err("another core has failed".to_owned());
            }
            std::hint::spin_loop();
        }
        let began = cpu::thread_ns();
        if let Some(writer) = &mut self.writer {
            let ticks = self.now.since(floor.start).0 * 9 / 100_000;
            let timestamp = u32::try_from(ticks).unwrap_or(u32::MAX);
            append(writer, packets, flags, self.now, timestamp);
            floor.written.store(nth + 1, Ordering::Release);
        }
        self.awaited += u64::from(floor.load.viewers) * u64::from(packets);
        let mut turns = 0;
        loop {
            let turn = self.seat.turn(self.now, clock::unix_ns);
            turns += 1;
            if turn.waiting == 0 && self.stats.read(Counter::PacketSent) >= self.awaited {
                break;
            }
            if turns > TURNS_MAX {
                return Err(format!("not sent after {TURNS_MAX} turns"));
            }
        }
        self.ns += cpu::thread_ns() - began;
        floor.served.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
