//! Owns the ways to one sink: what each costs in every round.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use freshet_bench::PAYLOAD_BYTES;
use freshet_bench::classic::{Classic, Order};
use freshet_bench::cpu;
use freshet_bench::floor;
use freshet_bench::floor::cipher::Ciphers;
use freshet_bench::floor::uring::Setting;
use freshet_bench::null::Null;
use freshet_bench::rig::{Audience, Pace, Rig};
use freshet_bench::samples::Samples;
use freshet_bench::seats;
use freshet_bench::sink::Sink;
use io::probe::{Backend, Probe, choose};
use io::route::Router;
use io::{Mmsg, PortConfig, Socket, SocketConfig, Uring, Xdp};
use link::command::VIDEO;
use seal::Cipher;
use serde_json::{Value, json};
use wire::datagram::SEGMENTS_MAX;
use wire::peer::Ip;

use crate::{FRAME, Options};

/// How packets reach the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Mmsg,
    Uring,
    Xdp,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mmsg => "sendmmsg",
            Self::Uring => "io_uring",
            Self::Xdp => "AF_XDP",
        })
    }
}

/// How a row forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Classic(Order),
    /// libsrtp alone.
    Sealed,
    /// Our cipher alone.
    Cipher,
    /// The kernel alone.
    Kernel(Lane),
    /// All of ours but the kernel.
    Plane,
    Freshet(Lane),
}

/// One way to forward, and what it cost in each round.
struct Row {
    name: String,
    burst: u32,
    way: Way,
    samples: Samples,
    /// What it cost in the round that is going on, or was the last.
    latest: f64,
    /// In each round, the cheaper baseline through this.
    under_baseline: Samples,
    /// In each round, this through what kernel and cipher cost alone.
    over_floor: Samples,
}

/// All ways to one sink.
pub(crate) struct Table {
    classic: Classic,
    ciphers: Ciphers,
    plane: Rig<Null>,
    mmsg: Rig<Mmsg>,
    uring: Result<Rig<Uring>, String>,
    xdp: Result<(Rig<Xdp<Mmsg>>, Router), String>,
    bare_mmsg: floor::mmsg::Mmsg,
    bare_uring: Result<floor::uring::Uring, String>,
    bare_xdp: Result<floor::xdp::Xdp, String>,
    rows: Vec<Row>,
    default: Lane,
    handed: u64,
    witness: u64,
    tag_bytes: u64,
}

impl Table {
    pub(crate) fn new(options: &Options, sink: &Sink) -> Self {
        let audience = Audience {
            cipher: options.cipher().unwrap_or(Cipher::Ring),
            viewers: options.viewers,
            first: sink.first,
            local: if options.no_source {
                Ip::UNKNOWN
            } else {
                IpAddr::V4(sink.local).into()
            },
            profile: options.profile.srtp(),
            track: VIDEO,
            pace: Pace::Stream,
        };
        let config = PortConfig::default();
        let socket = || {
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            Socket::bind(any, &SocketConfig::default())
        };
        let probe = Probe::run();
        let uring = match &probe.io_uring {
            Ok(()) => Ok(Rig::new(&audience, |bell| {
                Uring::new(socket()?, bell, &config)
            })),
            Err(why) => Err(why.clone()),
        };
        let (viewers, profile) = (options.viewers, audience.profile);
        let mut table = Self {
            classic: Classic::new(viewers, profile, sink),
            ciphers: Ciphers::new(viewers, profile, audience.cipher),
            plane: Rig::new(&audience, |_| Ok::<_, String>(Null::new(SEGMENTS_MAX))),
            mmsg: Rig::new(&audience, |bell| Mmsg::new(socket()?, bell, &config)),
            uring,
            xdp: seats::xdp(&audience, &config, |note| println!("note        {note}")),
            bare_mmsg: floor::mmsg::Mmsg::new(viewers, sink),
            bare_uring: floor::uring::Uring::new(viewers, sink, Setting::Deferred),
            bare_xdp: floor::xdp::Xdp::new(viewers, sink),
            rows: Vec::new(),
            default: match choose(&probe, None).backend {
                Backend::Uring => Lane::Uring,
                Backend::Mmsg => Lane::Mmsg,
            },
            handed: 0,
            witness: 0,
            tag_bytes: options.profile.tag_bytes(),
        };
        table.list(&options.bursts);
        let is_wanted =
            |row: &Row| format!("{}, burst {};", row.name, row.burst).contains(&options.only);
        table.rows.retain(is_wanted);
        table.witness = sink.bytes();
        table
    }

    fn list(&mut self, bursts: &[u32]) {
        for (name, way) in [
            (
                "libsrtp, sendto: packet by packet",
                Way::Classic(Order::PacketByPacket),
            ),
            (
                "libsrtp, sendto: viewer by viewer",
                Way::Classic(Order::ViewerByViewer),
            ),
            ("libsrtp, nothing sent", Way::Sealed),
        ] {
            self.row(name, FRAME, way);
        }
        for &burst in bursts {
            self.row("cipher alone", burst, Way::Cipher);
        }
        for &burst in bursts {
            self.row("freshet, nothing sent", burst, Way::Plane);
        }
        let troubles = [
            (Lane::Mmsg, None),
            (Lane::Uring, self.uring.as_ref().err()),
            (Lane::Uring, self.bare_uring.as_ref().err()),
            (Lane::Xdp, self.xdp.as_ref().err()),
            (Lane::Xdp, self.bare_xdp.as_ref().err()),
        ];
        let without: Vec<_> = troubles
            .into_iter()
            .filter_map(|(lane, why)| Some((lane, why?.clone())))
            .collect();
        for lane in [Lane::Mmsg, Lane::Uring, Lane::Xdp] {
            if let Some((_, why)) = without.iter().find(|(one, _)| *one == lane) {
                println!("note        no {lane}: {why}");
                continue;
            }
            for &burst in bursts {
                self.row(&format!("kernel alone, {lane}"), burst, Way::Kernel(lane));
            }
            for &burst in bursts {
                self.row(&format!("freshet, {lane}"), burst, Way::Freshet(lane));
            }
        }
    }

    fn row(&mut self, name: &str, burst: u32, way: Way) {
        self.rows.push(Row {
            name: name.to_owned(),
            burst,
            way,
            samples: Samples::default(),
            latest: 0.0,
            under_baseline: Samples::default(),
            over_floor: Samples::default(),
        });
    }

    /// Every way once.
    pub(crate) fn round(&mut self, options: &Options) {
        for at in 0..self.rows.len() {
            let (way, burst) = (self.rows[at].way, self.rows[at].burst);
            let bursts = (options.packets / options.viewers / burst).max(1);
            // One that is not counted warms the caches for this way.
            self.forward(way, burst, 1);
            let spent = cpu::spent_ns(|| self.forward(way, burst, bursts));
            let packets = u64::from(bursts * burst) * u64::from(options.viewers);
            let reaches = !matches!(
                way,
                Way::Plane | Way::Sealed | Way::Cipher | Way::Kernel(Lane::Xdp)
            );
            if reaches {
                self.handed += packets + u64::from(burst * options.viewers);
            }
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let each = spent as f64 / packets as f64;
            self.rows[at].samples.add(each);
            self.rows[at].latest = each;
        }
        self.compare();
    }

    /// What this round says of each row against others of the same round.
    fn compare(&mut self) {
        let latest = |rows: &[Row], way, burst| {
            let row = rows.iter().find(|row| row.way == way && row.burst == burst);
            row.map_or(f64::NAN, |row| row.latest)
        };
        let baseline = [Order::PacketByPacket, Order::ViewerByViewer]
            .map(|order| latest(&self.rows, Way::Classic(order), FRAME));
        let baseline = baseline[0].min(baseline[1]);
        for at in 0..self.rows.len() {
            let (way, burst, each) = {
                let row = &self.rows[at];
                (row.way, row.burst, row.latest)
            };
            self.rows[at].under_baseline.add(baseline / each);
            if let Way::Freshet(lane) = way {
                let kernel = latest(&self.rows, Way::Kernel(lane), burst);
                let cipher = latest(&self.rows, Way::Cipher, burst);
                self.rows[at].over_floor.add(each / (kernel + cipher));
            }
        }
    }

    fn forward(&mut self, way: Way, burst: u32, bursts: u32) {
        for _ in 0..bursts {
            match way {
                Way::Classic(order) => self.classic.burst(burst, order),
                Way::Sealed => self.classic.seal_burst(burst),
                Way::Cipher => self.ciphers.burst(burst),
                Way::Plane => self.plane.burst(burst),
                Way::Kernel(lane) => match (lane, &mut self.bare_uring, &mut self.bare_xdp) {
                    (Lane::Uring, Ok(bare), _) => bare.burst(burst),
                    (Lane::Xdp, _, Ok(bare)) => bare.burst(burst),
                    _ => self.bare_mmsg.burst(burst),
                },
                Way::Freshet(lane) => match (lane, &mut self.uring, &mut self.xdp) {
                    (Lane::Uring, Ok(rig), _) => rig.burst(burst),
                    (Lane::Xdp, _, Ok((rig, _))) => rig.burst(burst),
                    _ => self.mmsg.burst(burst),
                },
            }
        }
    }

    /// The lane that the server takes by itself.
    pub(crate) fn default_lane(&self) -> Lane {
        self.default
    }

    /// The cheaper baseline through what a packet costs by `lane`: the median over rounds.
    pub(crate) fn under_baseline(&self, lane: Lane, burst: u32) -> Option<f64> {
        let row = self.find(Way::Freshet(lane), burst)?;
        Some(row.under_baseline.median()).filter(|ratio| ratio.is_finite())
    }

    /// What a packet costs by `lane` through what kernel and cipher cost alone.
    pub(crate) fn over_floor(&self, lane: Lane, burst: u32) -> Option<f64> {
        let row = self.find(Way::Freshet(lane), burst)?;
        Some(row.over_floor.median()).filter(|ratio| ratio.is_finite())
    }

    fn find(&self, way: Way, burst: u32) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.way == way && row.burst == burst)
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<36}{:>6}{:>10}{:>8}{:>7}{:>11}{:>9}",
            "", "burst", "ns/packet", "least", "IQR", "baseline/x", "x/floor"
        );
        for row in &self.rows {
            print!(
                "{:<36}{:>6}{:>10.0}{:>8.0}{:>7.0}{:>11.2}",
                row.name,
                row.burst,
                row.samples.median(),
                row.samples.least(),
                row.samples.spread(),
                row.under_baseline.median(),
            );
            match row.way {
                Way::Freshet(_) => println!("{:>9.2}", row.over_floor.median()),
                _ => println!(),
            }
        }
    }

    /// The same for programs.
    pub(crate) fn figures(&self) -> Vec<Value> {
        let figure = |row: &Row| {
            let mut figure = json!({
                "name": row.name,
                "burst": row.burst,
                "ns_median": row.samples.median(),
                "ns_least": row.samples.least(),
                "ns_iqr": row.samples.spread(),
                "baseline_over_this": row.under_baseline.median(),
            });
            if let Way::Freshet(_) = row.way {
                figure["this_over_floor"] = json!(row.over_floor.median());
            }
            figure
        };
        self.rows.iter().map(figure).collect()
    }

    /// Says what went wrong, and whether the device has seen all that was handed over.
    pub(crate) fn admit(&self, sink: &Sink) {
        let mut troubles = self.mmsg.troubles();
        troubles.extend(self.uring.iter().flat_map(Rig::troubles));
        troubles.extend(self.xdp.iter().flat_map(|(rig, _)| rig.troubles()));
        let bare_uring = self.bare_uring.as_ref().map_or(0, |bare| bare.errors);
        let bare_xdp = self.bare_xdp.as_ref().map_or(0, |bare| bare.errors);
        for (what, errors) in [
            ("classic packets refused", self.classic.errors),
            ("bare sendmmsg refused", self.bare_mmsg.errors),
            ("bare io_uring refused", bare_uring),
            ("bare AF_XDP refused", bare_xdp),
        ] {
            if errors > 0 {
                troubles.push((what, errors));
            }
        }
        for (what, count) in troubles {
            println!("note: {what}: {count}");
        }
        let sealed = (PAYLOAD_BYTES as u64 + 12 + self.tag_bytes) * self.handed;
        let seen = sink.bytes() - self.witness;
        if seen < sealed {
            println!("WRONG: the device saw {seen} bytes of {sealed}: packets were lost before it");
        }
    }
}
