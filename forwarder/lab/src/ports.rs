//! Owns the cost of a port by itself: what the kernel takes for a datagram out, or in.

use io::probe::{Backend, Probe};
use io::wake::Wake;
use io::{Mmsg, Port, PortConfig, Socket, SocketConfig, Uring, clock};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use wire::datagram::{RunMeta, RxMeta, RxSink};
use wire::time::{Span, Time};

use crate::PACKET_BYTES;
use crate::cpu::spent_ns;
use crate::rig::address;
use crate::samples::Samples;
use crate::sink::Sink;

/// Bytes of a datagram: a packet with the tag of GCM.
const DATAGRAM_BYTES: u16 = 1216;
const _: () = assert!(DATAGRAM_BYTES as usize == PACKET_BYTES + 16);

/// Addresses that datagrams are sent to in turn.
const PEERS: u32 = 256;

/// Rounds of which the one in the middle counts.
const ROUNDS: u32 = 9;

/// Datagrams that wait in a socket before they are received: no system's default buffer is too
/// small for them.
const RECEIVED: u32 = 32;

/// What was sent over the loopback is there after this, or lost.
const PATIENCE: Span = Span::millis(200);

/// Runs that the kernel does not take after this are stuck.
const STUCK: Span = Span::secs(2);

/// Nanoseconds of processor time to hand one datagram to the kernel, in runs of each of `bursts`.
///
/// # Errors
/// There is no such port, or it does not send.
pub fn send(backend: Backend, sink: &Sink, bursts: &[u8], time: Span) -> Result<Vec<f64>, String> {
    match backend {
        Backend::Mmsg => all_sends(&mut mmsg(Ipv4Addr::UNSPECIFIED)?, sink, bursts, time),
        Backend::Uring => all_sends(&mut uring(Ipv4Addr::UNSPECIFIED)?, sink, bursts, time),
    }
}

/// Nanoseconds of processor time to take one datagram from the kernel, of several that wait.
///
/// # Errors
/// There is no such port, or nothing comes.
pub fn receive(backend: Backend, time: Span) -> Result<f64, String> {
    match backend {
        Backend::Mmsg => receives(&mut mmsg(Ipv4Addr::LOCALHOST)?, Mmsg::socket, time),
        Backend::Uring => receives(&mut uring(Ipv4Addr::LOCALHOST)?, Uring::socket, time),
    }
}

fn socket(at: Ipv4Addr) -> Result<Socket, String> {
    let at = SocketAddr::from((at, 0));
    Socket::bind(at, &SocketConfig::default()).map_err(|error| error.to_string())
}

/// Ports here are never waited for: nobody wakes them.
fn mmsg(at: Ipv4Addr) -> Result<Mmsg, String> {
    let bell = Wake::new().and_then(|wake| wake.fd());
    let bell = bell.map_err(|error| error.to_string())?;
    let port = Mmsg::new(socket(at)?, bell, &PortConfig::default());
    port.map_err(|error| error.to_string())
}

fn uring(at: Ipv4Addr) -> Result<Uring, String> {
    Probe::run().io_uring?;
    let bell = Wake::new().and_then(|wake| wake.fd());
    let bell = bell.map_err(|error| error.to_string())?;
    let port = Uring::new(socket(at)?, bell, &PortConfig::default());
    port.map_err(|error| error.to_string())
}

fn all_sends<P: Port>(
    port: &mut P,
    sink: &Sink,
    bursts: &[u8],
    time: Span,
) -> Result<Vec<f64>, String> {
    let share = Span(time.0 / u64::from(ROUNDS) / bursts.len().max(1) as u64);
    let mut samples = vec![Samples::default(); bursts.len()];
    for _ in 0..ROUNDS {
        for (samples, burst) in samples.iter_mut().zip(bursts) {
            let (mut packets, end) = (0, clock::now() + share);
            let mut failed = Ok(());
            let ns = spent_ns(|| {
                while packets == 0 || clock::now() < end {
                    failed = send_all(port, sink, *burst);
                    if failed.is_err() {
                        return;
                    }
                    packets += u64::from(PEERS) * u64::from(*burst);
                }
            });
            failed?;
            samples.add(ns as f64 / packets as f64);
        }
    }
    Ok(samples.iter().map(Samples::median).collect())
}

/// One run to every peer.
fn send_all<P: Port>(port: &mut P, sink: &Sink, burst: u8) -> Result<(), String> {
    static DATAGRAM: [u8; DATAGRAM_BYTES as usize] = [0x5a; DATAGRAM_BYTES as usize];
    let bytes = DATAGRAM.len() * usize::from(burst);
    let end = clock::now() + STUCK;
    for n in 0..PEERS {
        let run = RunMeta {
            peer: address(sink.first, n).into(),
            local: IpAddr::V4(sink.local).into(),
            segment_bytes: DATAGRAM_BYTES,
            segments: burst,
            bytes,
            viewer: n,
        };
        let is_late = || clock::now() > end;
        while port.claim(run).is_none() {
            port.flush(clock::now());
            if is_late() {
                return Err("the kernel takes no more".to_owned());
            }
        }
        // What it says does not matter: the slot is sent as it is.
        port.commit(bytes);
    }
    loop {
        let report = port.flush(clock::now());
        if report.dropped > 0 {
            return Err(format!("the kernel refused {} datagrams", report.dropped));
        }
        if report.waiting == 0 {
            return Ok(());
        }
        if clock::now() > end {
            return Err("the kernel takes no more".to_owned());
        }
    }
}

/// Counts what comes.
struct Count(u32);

impl RxSink for Count {
    fn came(&mut self, _: Option<Time>) {}

    fn datagram(&mut self, _: RxMeta, _: &mut [u8]) {
        self.0 += 1;
    }
}

fn receives<P: Port>(port: &mut P, socket: fn(&P) -> &Socket, time: Span) -> Result<f64, String> {
    let words = |error: std::io::Error| error.to_string();
    let to = socket(port).local();
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(words)?;
    let datagram = [0x5a; PACKET_BYTES];
    let mut samples = Samples::default();
    let end = clock::now() + time;
    while samples.count() < 3 || clock::now() < end {
        for _ in 0..RECEIVED {
            sender.send_to(&datagram, to).map_err(words)?;
        }
        let mut count = Count(0);
        let patience = clock::now() + PATIENCE;
        let ns = spent_ns(|| {
            while count.0 < RECEIVED && clock::now() < patience {
                port.recv(clock::now(), &mut count);
            }
        });
        if count.0 < RECEIVED {
            return Err(format!("{} of {RECEIVED} datagrams came", count.0));
        }
        samples.add(ns as f64 / f64::from(RECEIVED));
    }
    Ok(samples.median())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::loopback;

    #[test]
    fn the_loopback_sends_and_receives() {
        let sink = loopback().unwrap();
        let before = sink.bytes();
        let ns = send(Backend::Mmsg, &sink, &[1, 9], Span::millis(40)).unwrap();
        // One call for nine segments costs less each than nine of one.
        assert!(ns[1] < ns[0], "{ns:?}");
        let least = u64::from(ROUNDS * PEERS) * 10 * u64::from(DATAGRAM_BYTES);
        assert!(sink.bytes() - before >= least, "they reached the device");
        let ns = receive(Backend::Mmsg, Span::millis(20)).unwrap();
        assert!(ns > 50.0, "{ns}");
    }
}
