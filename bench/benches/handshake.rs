//! Owns the cost of a DTLS handshake with an ECDSA P-256 certificate on both sides: our half, by
//! engine, and the half of a client of OpenSSL's.
//!
//! Times are processor time around the calls of one side alone, in one thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dimpl::{Config, Dtls as Dimpl, Output};
use nix::time::{ClockId, clock_gettime};
use session::dtls::fingerprint::{Fingerprint, sha256_text};
use session::dtls::{Context, Dtls, Progress};
use tools::viewer::{Handshake, Identity};
use wire::time::{Span, Time};

/// Flights of a handshake and some that are repeated.
const ROUNDS_MAX: usize = 16;

/// Both ends, and how long each has worked.
#[derive(Default)]
struct Spent {
    server: Duration,
    client: Duration,
}

/// What `work` takes is added to `to`.
fn timed<T>(to: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = thread_time();
    let done = work();
    *to += thread_time().saturating_sub(start);
    done
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let read = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    read.expect("Linux has this clock").into()
}

/// The other end.
trait Client {
    fn hello(&mut self) -> Vec<Vec<u8>>;
    fn handle(&mut self, datagram: &[u8]) -> Vec<Vec<u8>>;
}

struct OpenSsl(Handshake);

impl Client for OpenSsl {
    fn hello(&mut self) -> Vec<Vec<u8>> {
        self.0.flight().to_vec()
    }

    fn handle(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let keys = self.0.receive(datagram).expect("OpenSSL takes it");
        match keys.is_none() && self.0.has_news() {
            true => self.0.flight().to_vec(),
            false => Vec::new(),
        }
    }
}

struct Dtls13 {
    dtls: Dimpl,
    at: Instant,
}

impl Dtls13 {
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let (mut out, mut buffer) = (Vec::new(), vec![0; 4096]);
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => out.push(bytes.to_vec()),
                Output::Timeout(_) => return out,
                _ => {}
            }
        }
    }
}

impl Client for Dtls13 {
    fn hello(&mut self) -> Vec<Vec<u8>> {
        self.dtls.handle_timeout(self.at).expect("it begins");
        self.drain()
    }

    fn handle(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.dtls.handle_packet(datagram).expect("dimpl takes it");
        self.drain()
    }
}

/// A whole handshake; the server must end it with keys.
fn shake(
    context: &Context,
    fingerprint: &str,
    spent: &mut Spent,
    client: impl FnOnce() -> Box<dyn Client>,
) {
    let mut now = Time::ZERO + Span::secs(10);
    let wanted = Fingerprint::parse(&format!("sha-256 {fingerprint}")).expect("well-formed");
    let mut server = timed(&mut spent.server, || Dtls::server(vec![wanted]));
    let mut client = timed(&mut spent.client, client);
    let mut to_server = timed(&mut spent.client, || client.hello());
    for _ in 0..ROUNDS_MAX {
        now = now + Span::millis(1);
        let (mut to_client, mut is_done) = (Vec::new(), false);
        for datagram in &to_server {
            let progress = timed(&mut spent.server, || {
                server.handle(context, now, datagram, &mut to_client)
            });
            assert!(!matches!(progress, Progress::Failed(_)), "{progress:?}");
            is_done |= matches!(progress, Progress::Established(_));
        }
        to_server.clear();
        for datagram in &to_client {
            to_server.extend(timed(&mut spent.client, || client.handle(datagram)));
        }
        if is_done {
            // Its end is part of its price.
            timed(&mut spent.server, || drop(server));
            timed(&mut spent.client, || drop(client));
            return;
        }
    }
    panic!("no keys after {ROUNDS_MAX} rounds");
}

fn handshakes(criterion: &mut Criterion) {
    let context = Context::new(false).expect("DTLS can be set up");
    let mut group = criterion.benchmark_group("handshake");
    group
        .sample_size(20)
        .throughput(Throughput::Elements(1))
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));

    let identity = Identity::new().expect("OpenSSL makes a certificate");
    let of_openssl = || -> Box<dyn Client> {
        let start = Handshake::start(&identity, context.fingerprint());
        Box::new(OpenSsl(start.expect("OpenSSL begins")))
    };
    let config = Arc::new(Config::builder().mtu(1200).build().expect("it can be"));
    let certificate = dimpl::certificate::generate_self_signed_certificate().expect("made");
    let of_dimpl = || -> Box<dyn Client> {
        let at = Instant::now();
        let mut dtls = Dimpl::new_13(config.clone(), certificate.clone(), at);
        dtls.set_active(true);
        Box::new(Dtls13 { dtls, at })
    };
    let fingerprint = sha256_text(&certificate.certificate);
    let mut run = |name: &str, of: fn(&Spent) -> Duration, fingerprint: &str, is_13: bool| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Spent::default();
                for _ in 0..rounds {
                    match is_13 {
                        true => shake(&context, fingerprint, &mut spent, of_dimpl),
                        false => shake(&context, fingerprint, &mut spent, of_openssl),
                    }
                }
                of(&spent)
            });
        });
    };
    let (server, client) = (|spent: &Spent| spent.server, |spent: &Spent| spent.client);
    run("dtls12_server", server, identity.fingerprint(), false);
    run("dtls12_client", client, identity.fingerprint(), false);
    run("dtls13_server", server, &fingerprint, true);
    run("dtls13_client", client, &fingerprint, true);
    group.finish();
}

criterion_group!(benches, handshakes);
criterion_main!(benches);
