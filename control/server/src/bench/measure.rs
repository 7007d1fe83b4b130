//! Owns the order of the measurements and the time that each may take.

use super::capacity::{self, BURST_MAX, FRAMES_PER_SECOND};
use super::forward;
use super::report::{
    CipherCost, Device, Host, Latency, Memory, ReceiveCost, Report, SendCost, Server, Skipped,
};
use crate::cli::BenchArgs;
use crate::config::Config;
use crate::load::VIEWER_BYTES_MAX;
use crate::load::host::HostReading;
use crate::workers;
use lab::open::{Shape, Stage};
use lab::rig::{Audience, Pace, Rig};
use lab::seats::Way;
use lab::sink::{self, Sink};
use lab::{PACKET_BYTES, cpu, null::Null, ports, seals};
use std::path::Path;
use wire::datagram::SEGMENTS_MAX;
use wire::time::Span;
use worker::Idle;
use worker::probe::{Backend, Transmit};

/// Viewers of one seat: more than the second-level cache has room for.
const VIEWERS: u32 = 1000;

/// Viewers if there is little time.
const VIEWERS_FEW: u32 = 200;

/// Below so many seconds there is little time.
const FEW_BELOW_SECS: u32 = 5;

/// Bursts that are measured whatever bit rates are asked for: single packets and a third of a
/// frame, the frame of 2.5 Mbit/s, a large one.
const BURSTS: [u32; 4] = [1, 3, 9, 16];

/// Bursts of the port by itself.
const SEND_BURSTS: [u8; 2] = [1, 9];

/// Viewers who never check are taken for gone after 30 s: latency is measured for less.
const LATENCY_MAX: Span = Span::secs(20);

/// Streams, their viewers and the packets of a frame, while latency is measured.
const STAGE: (u32, u32, u8) = (8, 25, 9);

/// Parts of the time, in percent: ciphers, sending, receiving, forwarding, latency.
const PARTS: [u64; 5] = [12, 12, 4, 47, 25];

/// What is measured, and what viewers are reckoned with.
pub struct Plan {
    time: Span,
    bitrates: Vec<u64>,
    backend: Backend,
    transmit: Transmit,
    cipher: worker::Cipher,
    cores: u16,
    max_load: f64,
    viewers: u32,
}

impl Plan {
    /// As the command line and the configuration say.
    ///
    /// # Errors
    /// The configuration names a cipher that this processor cannot run.
    pub fn new(args: &BenchArgs, config: &Config) -> Result<Self, String> {
        let choice = workers::choose(config);
        let of_host = std::thread::available_parallelism().map_or(1, usize::from);
        let limit = config.limits.max_load;
        Ok(Self {
            time: Span::secs(args.seconds.into()),
            bitrates: args.bitrates.iter().map(|rate| rate.0).collect(),
            backend: choice.backend.backend,
            transmit: choice.transmit.transmit,
            cipher: workers::cipher(config)?,
            cores: config.cores(of_host),
            max_load: if limit > 0.0 { limit } else { 1.0 },
            viewers: match args.seconds < FEW_BELOW_SECS {
                true => VIEWERS_FEW,
                false => VIEWERS,
            },
        })
    }

    fn part(&self, nth: usize) -> Span {
        Span(self.time.0 / 100 * PARTS[nth])
    }

    /// The bursts that are measured, the smallest first.
    fn bursts(&self) -> Vec<u32> {
        let of_rates = self.bitrates.iter().map(|rate| burst_of(*rate));
        let mut all: Vec<u32> = BURSTS.into_iter().chain(of_rates).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|burst| *burst <= BURST_MAX);
        all
    }
}

/// Measures everything, one thing after the other. Says on standard error how far it is.
///
/// # Errors
/// Not even the loopback, no cipher, or not the way out that is configured can be measured.
pub fn run(plan: &Plan) -> Result<Report, String> {
    let host = HostReading::now();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: look(),
        packet_bytes: PACKET_BYTES,
        memory: Memory {
            viewer_bytes_max: VIEWER_BYTES_MAX,
            available_bytes: host.memory.map_or(0, |memory| memory.available_bytes),
            ..Memory::default()
        },
        devices: host.devices.into_iter().map(device).collect(),
        server: Server {
            way: way_of(plan).to_string(),
            cipher: plan.cipher.to_string(),
            cores: plan.cores,
            max_load: plan.max_load,
            frames_per_second: FRAMES_PER_SECOND,
        },
        ..Report::default()
    };
    // Before the threads and sockets of the rest: it is a difference of two sizes.
    report.memory.viewer_data_plane_bytes = viewer_bytes(plan)?;
    latency(plan, &mut report);
    // The last processor: interrupts mostly come to the first.
    let _ = cpu::pin(None);
    ciphers(plan, &mut report)?;
    receive(plan, &mut report);
    let sinks = sinks(&mut report)?;
    for sink in &sinks {
        send(plan, sink, sinks.len(), &mut report);
    }
    let time = Span(plan.part(3).0 / sinks.len() as u64);
    for sink in &sinks {
        let audience = audience(plan, sink);
        forward::measure(sink, &audience, &plan.bursts(), time, &mut report)?;
    }
    reckon(plan, &mut report);
    if report.capacity.is_empty() {
        let way = &report.server.way;
        let why = report
            .skipped
            .iter()
            .map(|one| format!("{}: {}", one.what, one.why));
        let why: Vec<_> = why.collect();
        return Err(format!(
            "forwarding by {way} cannot be measured: {}",
            why.join("; ")
        ));
    }
    Ok(report)
}

/// Says what is measured now.
pub fn say(what: &str) {
    eprintln!("measuring {what}");
}

fn burst_of(bits_per_second: u64) -> u32 {
    capacity::burst(bits_per_second, PACKET_BYTES as u64)
}

fn way_of(plan: &Plan) -> Way {
    match plan.transmit {
        Transmit::Udp => Way::Socket(plan.backend),
        Transmit::Xdp => Way::Xdp,
    }
}

fn audience(plan: &Plan, sink: &Sink) -> Audience {
    Audience {
        viewers: plan.viewers,
        first: sink.first,
        local: std::net::IpAddr::V4(sink.local).into(),
        profile: link::keys::Profile::AeadAes128Gcm,
        cipher: plan.cipher,
        track: link::command::VIDEO,
        pace: Pace::Stream,
    }
}

/// Devices of a network of our own where we may have one, else the loopback.
fn sinks(report: &mut Report) -> Result<Vec<Sink>, String> {
    let mut sinks = match sink::namespace() {
        Ok(sinks) => sinks,
        Err(why) => {
            skip(report, "devices of a network of our own", why);
            vec![sink::loopback()?]
        }
    };
    // Where there are devices, what the loopback costs says little more.
    sinks.truncate(2);
    for sink in &sinks {
        report
            .paths
            .insert(sink.name().to_owned(), sink.what.to_owned());
    }
    Ok(sinks)
}

fn ciphers(plan: &Plan, report: &mut Report) -> Result<(), String> {
    say("ciphers");
    let costs = seals::measure(plan.part(0))?.into_iter();
    report.ciphers = costs
        .map(|cost| CipherCost {
            profile: cost.profile.to_owned(),
            cipher: cost.cipher.to_owned(),
            ns_per_packet: cost.ns,
        })
        .collect();
    Ok(())
}

fn send(plan: &Plan, sink: &Sink, sinks: usize, report: &mut Report) {
    say(&format!("sending: {}", sink.what));
    let time = Span(plan.part(1).0 / sinks as u64 / 2);
    for backend in [Backend::Mmsg, Backend::Uring] {
        match ports::send(backend, sink, &SEND_BURSTS, time) {
            Ok(costs) => report.send.extend(SEND_BURSTS.into_iter().zip(costs).map(
                |(burst, ns)| SendCost {
                    path: sink.name().to_owned(),
                    backend: backend.to_string(),
                    burst: burst.into(),
                    ns_per_datagram: ns,
                },
            )),
            Err(why) => skip(report, &format!("sending by {backend}"), why),
        }
    }
}

fn receive(plan: &Plan, report: &mut Report) {
    say("receiving");
    for backend in [Backend::Mmsg, Backend::Uring] {
        match ports::receive(backend, Span(plan.part(2).0 / 2)) {
            Ok(ns_per_datagram) => report.receive.push(ReceiveCost {
                backend: backend.to_string(),
                ns_per_datagram,
            }),
            Err(why) => skip(report, &format!("receiving by {backend}"), why),
        }
    }
}

fn latency(plan: &Plan, report: &mut Report) {
    say("time inside at half load");
    match try_latency(plan) {
        Ok(latency) => report.latency = Some(latency),
        Err(why) => skip(report, "time inside at half load", why),
    }
}

fn try_latency(plan: &Plan) -> Result<Latency, String> {
    let ids = cpu::all();
    let [sender, .., worker] = ids[..] else {
        return Err("two processors are needed: one sends, one forwards".to_owned());
    };
    cpu::pin(Some(sender)).ok_or_else(|| format!("processor {sender} is refused"))?;
    let (streams, viewers, packets) = STAGE;
    let mut stage = Stage::new(Shape {
        backend: plan.backend,
        idle: Idle::Sleep,
        cpu: Some(worker),
        streams,
        viewers,
        packets,
    })?;
    let time = plan.part(4).min(LATENCY_MAX);
    let frames_per_second = stage.capacity(Span(time.0 / 3))?;
    let outcome = stage.play(frames_per_second / 2.0, Span(time.0 / 3 * 2))?;
    let us = |share| {
        let span = outcome.inside.quantile(share).ok_or("nothing came")?;
        Ok::<_, String>(span.as_micros())
    };
    Ok(Latency {
        frames_per_second,
        p50_us: us(0.5)?,
        p99_us: us(0.99)?,
        p999_us: us(0.999)?,
    })
}

/// Memory that a viewer takes of the data plane: by what a seat with many is larger than one with
/// few.
fn viewer_bytes(plan: &Plan) -> Result<u64, String> {
    say("memory");
    let loopback = sink::loopback()?;
    let grown = |viewers: u32| {
        let before = resident_bytes()?;
        let audience = Audience {
            viewers,
            ..audience(plan, &loopback)
        };
        let null = |_| Ok::<_, String>(Null::new(SEGMENTS_MAX));
        let mut rig = Rig::try_new(&audience, null)?;
        rig.try_burst(BURSTS[2])?;
        Ok::<_, String>((resident_bytes()?.saturating_sub(before), rig))
    };
    // Both stay until both are measured: memory that is given back would be used again.
    let (few, _few) = grown(1)?;
    let (many, _many) = grown(1 + VIEWERS)?;
    Ok(many.saturating_sub(few) / u64::from(VIEWERS))
}

fn resident_bytes() -> Result<u64, String> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status"));
    let status = status.map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes
        .map(|kb| kb * 1024)
        .ok_or_else(|| "/proc/self/status tells no size".to_owned())
}

fn reckon(plan: &Plan, report: &mut Report) {
    let way = way_of(plan).to_string();
    let mut all = Vec::new();
    for bits_per_second in &plan.bitrates {
        let burst = burst_of(*bits_per_second);
        let costs = report.forward.iter();
        for cost in costs.filter(|cost| cost.burst == burst && cost.way == way) {
            all.push(capacity::reckon(
                *bits_per_second,
                PACKET_BYTES as u64,
                cost,
                &report.server,
                &report.devices,
                &report.memory,
            ));
        }
    }
    report.capacity = all;
}

fn look() -> Host {
    let host = lab::host::Host::look();
    Host {
        processor: host.processor,
        processors: host.processors,
        features: host.flags.iter().map(ToString::to_string).collect(),
        kernel: host.kernel,
        mitigations: host.mitigations,
        load: host.load,
    }
}

fn device(device: crate::load::host::Device) -> Device {
    Device {
        name: device.name,
        bits_per_second: device.bits_per_second,
    }
}

/// Notes what could not be measured.
pub fn skip(report: &mut Report, what: &str, why: String) {
    let skipped = Skipped {
        what: what.to_owned(),
        why,
    };
    if !report.skipped.contains(&skipped) {
        report.skipped.push(skipped);
    }
}
