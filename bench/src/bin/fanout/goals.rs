//! Owns what the rows are held to.

use freshet_bench::sink::Kind;

use crate::table::{Lane, Table};
use crate::{FRAME, Options};

/// What a forwarded packet may cost, as a multiple of what its lane's kernel path and the cipher
/// cost alone: with everything in a cache, and with more viewers than fit.
const FLOOR_WARM: f64 = 1.25;
const FLOOR_COLD: f64 = 1.35;

/// Viewers whose keys and state stay in a second-level cache, about.
const WARM_VIEWERS: u32 = 1000;

/// How many times cheaper than the baseline a packet is to be by a socket, by burst, where the
/// device segments.
const SOCKET: [(u32, f64); 4] = [(1, 1.9), (8, 9.0), (FRAME, 5.0), (16, 12.0)];

/// The same for a frame wherever it goes.
const SOCKET_FRAME: f64 = 5.0;

/// The same by AF_XDP at every burst, to a device that does nothing and over a cable.
const XDP: f64 = 7.0;
const XDP_CABLE: f64 = 4.0;

/// What is met and what is missed, line by line.
pub(crate) fn judge(table: &Table, kind: Kind, options: &Options) -> Vec<String> {
    let mut lines = Vec::new();
    let default = table.default_lane();
    let socket: &[(u32, f64)] = match kind {
        Kind::Segments => &SOCKET,
        Kind::Single | Kind::Cable | Kind::Loopback => &[(FRAME, SOCKET_FRAME)],
    };
    for (burst, goal) in socket {
        lines.extend(against_baseline(table, default, *burst, *goal));
    }
    let xdp = if kind == Kind::Cable { XDP_CABLE } else { XDP };
    for &burst in &options.bursts {
        lines.extend(against_baseline(table, Lane::Xdp, burst, xdp));
    }
    let most = if options.viewers <= WARM_VIEWERS {
        FLOOR_WARM
    } else {
        FLOOR_COLD
    };
    for lane in [default, Lane::Xdp] {
        lines.extend(options.bursts.iter().filter_map(|burst| {
            let ratio = table.over_floor(lane, *burst)?;
            let missed = if ratio > most { ": MISSED" } else { "" };
            Some(format!(
                "{lane} at burst {burst:>2} / (kernel alone + cipher alone): {ratio:.2} \
                 (goal <= {most:.2}){missed}"
            ))
        }));
    }
    lines
}

fn against_baseline(table: &Table, lane: Lane, burst: u32, goal: f64) -> Option<String> {
    let ratio = table.under_baseline(lane, burst)?;
    let missed = if ratio < goal { ": MISSED" } else { "" };
    Some(format!(
        "baseline / {lane} at burst {burst:>2}: {ratio:.1}x (goal >= {goal:.1}x){missed}"
    ))
}
