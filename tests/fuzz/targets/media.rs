//! Owns the reader of transport streams.

use ::media::{Config, Ingest, Output};
use ::wire::time::{Span, Time};

/// As much as an SRT payload holds.
const CHUNK: usize = 1316;

/// A transport stream, as it comes by SRT.
pub fn ts(data: &[u8]) {
    let mut ingest = Ingest::new(Config::default(), None);
    let mut now = Time(1_000_000_000_000);
    for chunk in data.chunks(CHUNK) {
        ingest.push(now, chunk);
        drain(&mut ingest);
        now = now + Span::millis(5);
        time(&mut ingest, now);
    }
    now = now + Span::secs(10);
    time(&mut ingest, now);
    ingest.finish(now);
    drain(&mut ingest);
}

fn time(ingest: &mut Ingest, until: Time) {
    for _ in 0..20_000 {
        let Some(due) = ingest.deadline().filter(|due| *due <= until) else {
            return;
        };
        ingest.handle_timeout(due);
        drain(ingest);
    }
    panic!("deadlines never end");
}

fn drain(ingest: &mut Ingest) {
    while let Some(output) = ingest.poll() {
        if let Output::Packet(packet) = output {
            assert!((1..=1180).contains(&packet.payload.len()));
        }
    }
}
