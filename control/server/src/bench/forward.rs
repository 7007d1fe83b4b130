//! Owns the measuring of forwarding: every way out and every burst in turn, round after round.

use super::measure::{say, skip};
use super::report::{ForwardCost, Report};
use lab::PACKET_BYTES;
use lab::rig::Audience;
use lab::samples::Samples;
use lab::seats::{Seats, Way};
use lab::sink::Sink;
use wire::time::Span;

/// Rounds of which the one in the middle counts; in each of them all ways take their turn, so that
/// what else the host does meets all of them.
const ROUNDS: u64 = 5;

/// Bytes that seal a packet with AES-GCM.
const TAG_BYTES: usize = 16;

/// One way and burst.
struct Cell {
    way: Way,
    burst: u32,
    samples: Samples,
    /// Packets of the next round.
    packets: u64,
}

/// Measures what forwarding to a sink costs, in about `time`.
///
/// # Errors
/// Not even a plain socket forwards, or what was sent did not reach the device.
pub fn measure(
    sink: &Sink,
    audience: &Audience,
    bursts: &[u32],
    time: Span,
    report: &mut Report,
) -> Result<(), String> {
    say(&format!("forwarding: {}", sink.what));
    let is_device = sink.name() != "lo";
    let mut seats = Seats::new(audience, is_device.then_some(say))?;
    for (way, why) in seats.lacks() {
        let why = if way == Way::Xdp && !is_device {
            "it needs a device"
        } else {
            why
        };
        skip(
            report,
            &format!("forwarding by {way} to {}", sink.name()),
            why.to_owned(),
        );
    }
    let mut cells = Vec::new();
    for way in seats.ways() {
        cells.extend(bursts.iter().map(|burst| Cell {
            way,
            burst: *burst,
            samples: Samples::default(),
            packets: u64::from(audience.viewers) * u64::from(*burst),
        }));
    }
    let each = time.0 / (cells.len() as u64 * ROUNDS);
    let (before, mut handed) = (sink.bytes(), 0);
    for _ in 0..ROUNDS {
        for cell in &mut cells {
            let (ns, packets) = seats.forward(cell.way, cell.burst, cell.packets)?;
            handed += packets;
            cell.samples.add(ns);
            cell.packets = packets_in(each, ns);
        }
    }
    let (seen, sealed) = (
        sink.bytes() - before,
        (PACKET_BYTES + TAG_BYTES) as u64 * handed,
    );
    if seen < sealed {
        return Err(format!(
            "{}: the device saw {seen} bytes of {sealed}: packets were lost before it",
            sink.what
        ));
    }
    for (what, count) in seats.troubles() {
        skip(
            report,
            &format!("{count} {what}"),
            format!("on the way to {}", sink.name()),
        );
    }
    report.forward.extend(cells.iter().map(|cell| {
        let ns = cell.samples.median();
        ForwardCost {
            path: sink.name().to_owned(),
            way: cell.way.to_string(),
            burst: cell.burst,
            ns_per_packet: ns,
            spread_ns: cell.samples.spread(),
            packets_per_second: 1e9 / ns.max(1.0),
        }
    }));
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and `as` saturates"
)]
fn packets_in(ns: u64, each: f64) -> u64 {
    (ns as f64 / each.max(1.0)) as u64
}
