//! Owns the metrics as text: OpenMetrics, per node, worker and stream, never per viewer.

mod load;

use crate::control::{MetricsSnapshot, Sample, StreamState, StreamView};
use link::transit::{Distribution, ENTRIES, UNIT_NS};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::ops::Range;
use wire::time::Span;

/// What [`render`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The snapshot as text.
#[must_use]
pub fn render(snapshot: MetricsSnapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(snapshot)));
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

/// Ends of the buckets of transit times: 8.2 microseconds and doubled up to 1.07 seconds, which are
/// ends of buckets that workers count in.
const TRANSIT_EDGES: Range<u32> = 7..25;

const NS_PER_S: f64 = 1e9;

#[derive(Debug)]
struct Snapshot(MetricsSnapshot);

/// The value of one stream, if it has it.
type OfStream = fn(&StreamView) -> Option<f64>;

/// Counters of a stream.
const STREAM_COUNTERS: [(&str, &str, OfStream); 8] = [
    (
        "packet_received",
        "RTP packets written to the stream's log",
        |s| Some(float(s.counters.packet_received)),
    ),
    (
        "byte_received",
        "RTP payload bytes written to the stream's log",
        |s| Some(float(s.counters.byte_received)),
    ),
    ("packet_sent", "RTP packets sent to all viewers", |s| {
        Some(float(s.counters.packet_sent))
    }),
    ("byte_sent", "Bytes sent to all viewers", |s| {
        Some(float(s.counters.byte_sent))
    }),
    ("session_opened", "WHEP sessions opened", |s| {
        Some(float(s.counters.session_opened))
    }),
    (
        "publisher_packet_received",
        "Packets received from publishers",
        |s| Some(float(s.counters.publisher_packet_received)),
    ),
    (
        "publisher_packet_lost",
        "Packets of publishers that never came",
        |s| Some(float(s.counters.publisher_packet_lost)),
    ),
    (
        "publisher_packet_repeated",
        "Packets that publishers sent again",
        |s| Some(float(s.counters.publisher_packet_repeated)),
    ),
];

/// Values of a stream that may also fall.
const STREAM_GAUGES: [(&str, &str, OfStream); 8] = [
    ("live", "1 while media comes in", |s| {
        Some(float((s.state == StreamState::Live).into()))
    }),
    ("viewer_active", "Sessions that watch", |s| {
        Some(s.viewers.into())
    }),
    (
        "publisher_rtt_seconds",
        "Round-trip time to the publisher",
        |s| s.publisher.as_ref()?.rtt_ms.map(|ms| ms / 1000.0),
    ),
    (
        "publisher_latency_seconds",
        "Latency agreed on with the publisher",
        |s| {
            s.publisher
                .as_ref()?
                .latency_ms
                .map(|ms| f64::from(ms) / 1000.0)
        },
    ),
    ("video_bits_per_second", "Bit rate of the video", |s| {
        s.video.as_ref()?.bitrate_bps.map(float)
    }),
    ("video_frames_per_second", "Frame rate of the video", |s| {
        s.video.as_ref()?.fps
    }),
    (
        "video_gop_seconds",
        "Time between the last two keyframes",
        |s| s.video.as_ref()?.gop_ms.map(|ms| f64::from(ms) / 1000.0),
    ),
    ("audio_bits_per_second", "Bit rate of the audio", |s| {
        s.audio.as_ref()?.bitrate_bps.map(float)
    }),
];

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.node(&mut encoder)?;
        load::encode(&self.0.load, &mut encoder)?;
        self.workers(&mut encoder)?;
        self.streams(&mut encoder)
    }
}

impl Snapshot {
    fn node(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let info = "The version, the backend and the cipher that run";
        let mut metric = gauge(encoder, "freshet_build_info", info)?;
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("backend", &self.0.backend),
            ("cipher", &self.0.cipher),
        ];
        value(&mut metric, &labels, 1.0)?;
        let mut metric = gauge(encoder, "freshet_uptime_seconds", "Time since the start")?;
        value(&mut metric, &[], float(self.0.uptime_s))?;
        let mut metric = gauge(
            encoder,
            "freshet_memory_bytes",
            "Memory reserved at the start",
        )?;
        value(&mut metric, &[], float(self.0.memory_bytes))?;
        let mut metric = gauge(encoder, "freshet_session_active", "Sessions by their state")?;
        for (state, count) in &self.0.sessions {
            value(&mut metric, &[("state", state)], float(*count))?;
        }
        for sample in &self.0.control {
            let name = format!("freshet_{}", sample.name);
            let mut metric = of_sample(encoder, &name, sample)?;
            number(&mut metric, &[], sample)?;
        }
        Ok(())
    }

    fn workers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(first) = self.0.cores.first() else {
            return Ok(());
        };
        for (index, sample) in first.samples.iter().enumerate() {
            let name = format!("freshet_worker_{}", sample.name);
            let mut metric = of_sample(encoder, &name, sample)?;
            for core in &self.0.cores {
                if let Some(sample) = core.samples.get(index) {
                    number(&mut metric, &[("core", &core.core.to_string())], sample)?;
                }
            }
        }
        self.transits(encoder)
    }

    fn transits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How long media packets were inside, from the kernel (entry network) or the \
                    sidecar (entry sidecar) to the last viewer of the worker";
        let name = "freshet_worker_transit_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for core in &self.0.cores {
            for ((_, entry), times) in ENTRIES.iter().zip(&core.transits) {
                let labels = [("core", &core.core.to_string()[..]), ("entry", *entry)];
                let mut metric = metric.encode_family(&labels)?;
                let sum = float(times.sum_ns()) / NS_PER_S;
                let count = times.count();
                metric.encode_histogram::<NoLabelSet>(sum, count, &buckets(times), None)?;
            }
        }
        Ok(())
    }

    fn streams(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let streams = &self.0.streams;
        for (kind, table) in [
            (MetricType::Counter, STREAM_COUNTERS),
            (MetricType::Gauge, STREAM_GAUGES),
        ] {
            for (name, help, of) in table {
                let name = format!("freshet_stream_{name}");
                let mut metric = encoder.encode_descriptor(&name, help, None, kind)?;
                for stream in streams {
                    if let Some(it) = of(stream) {
                        let labels = [("stream", &stream.name[..])];
                        let mut metric = metric.encode_family(&labels)?;
                        match kind {
                            MetricType::Counter => {
                                metric.encode_counter::<NoLabelSet, _, f64>(&it, None)?
                            }
                            _ => metric.encode_gauge(&it)?,
                        }
                    }
                }
            }
        }
        let help = "1 for each thing that the publisher should know or change";
        let mut metric = gauge(encoder, "freshet_stream_notice", help)?;
        for stream in streams {
            for notice in &stream.notices {
                let labels = [("stream", &stream.name[..]), ("code", &notice.code)];
                value(&mut metric, &labels, 1.0)?;
            }
        }
        Ok(())
    }
}

/// Upper ends in seconds, and how many packets lie between each and the one before.
fn buckets(times: &Distribution) -> Vec<(f64, u64)> {
    let mut before = 0;
    let mut buckets: Vec<_> = TRANSIT_EDGES
        .map(|bits| {
            let edge = Span(UNIT_NS << bits);
            let below = times.below(edge);
            let between = below.saturating_sub(before);
            before = below;
            (float(edge.0) / NS_PER_S, between)
        })
        .collect();
    buckets.push((f64::INFINITY, times.count().saturating_sub(before)));
    buckets
}

fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn of_sample<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    sample: &Sample,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    let kind = if sample.counter {
        MetricType::Counter
    } else {
        MetricType::Gauge
    };
    encoder.encode_descriptor(name, sample.help, None, kind)
}

fn value(metric: &mut MetricEncoder<'_>, labels: &[(&str, &str)], it: f64) -> fmt::Result {
    if labels.is_empty() {
        return metric.encode_gauge(&it);
    }
    metric.encode_family(&labels)?.encode_gauge(&it)
}

fn number(metric: &mut MetricEncoder<'_>, labels: &[(&str, &str)], sample: &Sample) -> fmt::Result {
    if !sample.counter {
        return value(metric, labels, float(sample.value));
    }
    if labels.is_empty() {
        return metric.encode_counter::<NoLabelSet, _, u64>(&sample.value, None);
    }
    metric
        .encode_family(&labels)?
        .encode_counter::<NoLabelSet, _, u64>(&sample.value, None)
}

/// Exact up to 2^53, 9 petabytes; beyond, only the last bits are lost.
fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{
        CoreCounters, LoadBrief, LoadView, NoticeView, PublisherKind, PublisherView, RefusedView,
        Severity, StreamCounters,
    };

    fn sample(name: &'static str, value: u64, counter: bool) -> Sample {
        Sample {
            name,
            help: "What it is",
            value,
            counter,
        }
    }

    /// 3 packets of 20 us and one of 2 s from the network, none from the sidecar.
    fn times() -> Vec<Distribution> {
        let limits = link::limits::Limits {
            cores: 1,
            streams_max: 1,
            viewers_max: 1,
            ..link::limits::Limits::default()
        };
        let region = link::Region::create(&limits).unwrap();
        let stats = region.stats(link::ids::CoreId(0)).unwrap();
        for us in [20, 20, 20, 2_000_000] {
            stats.add_transit(link::log::Entry::Network, Span::micros(us));
        }
        ENTRIES.map(|(entry, _)| stats.transit(entry)).into()
    }

    fn snapshot() -> MetricsSnapshot {
        let core = |core, value| CoreCounters {
            core,
            samples: vec![
                sample("packet_sent", value, true),
                sample("viewer_active", 2, false),
            ],
            transits: times(),
        };
        let stream = StreamView {
            name: "a/b".into(),
            state: StreamState::Live,
            viewers: 3,
            publisher: Some(PublisherView {
                kind: PublisherKind::Srt,
                sources: Vec::new(),
                remote: Some("192.0.2.1:1".into()),
                since_unix_ms: 0,
                bytes: 0,
                packets: 10,
                loss: 1,
                retransmissions: 2,
                rtt_ms: Some(20.0),
                latency_ms: None,
            }),
            notices: vec![NoticeView {
                severity: Severity::Warning,
                code: "b_frames".into(),
                message: String::new(),
                remedy: String::new(),
            }],
            counters: StreamCounters {
                publisher_packet_lost: 1,
                ..StreamCounters::default()
            },
            ..StreamView::default()
        };
        MetricsSnapshot {
            uptime_s: 5,
            backend: "mmsg".into(),
            cipher: "vaes".into(),
            memory_bytes: 1 << 30,
            sessions: [("connected".to_string(), 3)].into(),
            cores: vec![core(0, 7), core(1, 8)],
            control: vec![sample("handshake_done", 4, true)],
            load: LoadView {
                gives_up: vec!["nothing".into()],
                brief: LoadBrief {
                    load: 0.5,
                    max_load: 0.85,
                    headroom_viewers: 700,
                    ..LoadBrief::default()
                },
                viewer_load: 0.0005,
                causes: [("core".to_string(), 0.5)].into(),
                cores: vec![Some(0.25), None, Some(0.5)],
                devices: [("eth0".to_string(), 0.125)].into(),
                refused: vec![RefusedView {
                    newcomer: "viewer".into(),
                    cause: "core".into(),
                    count: 9,
                }],
            },
            streams: vec![stream],
        }
    }

    #[test]
    fn every_kind_of_line_is_there() {
        let text = render(snapshot());
        for line in [
            "# TYPE freshet_worker_packet_sent counter",
            "# HELP freshet_worker_packet_sent What it is",
            "freshet_worker_packet_sent_total{core=\"0\"} 7",
            "freshet_worker_packet_sent_total{core=\"1\"} 8",
            "freshet_worker_viewer_active{core=\"1\"} 2.0",
            "# TYPE freshet_worker_transit_seconds histogram",
            "freshet_worker_transit_seconds_count{core=\"1\",entry=\"network\"} 4",
            "freshet_worker_transit_seconds_sum{core=\"1\",entry=\"network\"} 2.00006",
            "freshet_worker_transit_seconds_count{core=\"0\",entry=\"sidecar\"} 0",
            "freshet_handshake_done_total 4",
            "freshet_load 0.5",
            "freshet_load_limit 0.85",
            "freshet_headroom_viewers 700.0",
            "freshet_viewer_load 0.0005",
            "freshet_load_cause{cause=\"core\"} 0.5",
            "freshet_core_load{core=\"0\"} 0.25",
            "freshet_core_load{core=\"2\"} 0.5",
            "freshet_device_load{device=\"eth0\"} 0.125",
            "freshet_newcomer_refused_total{newcomer=\"viewer\",cause=\"core\"} 9",
            "freshet_session_active{state=\"connected\"} 3.0",
            "freshet_uptime_seconds 5.0",
            "freshet_memory_bytes 1073741824.0",
            "freshet_stream_live{stream=\"a/b\"} 1.0",
            "freshet_stream_viewer_active{stream=\"a/b\"} 3.0",
            "freshet_stream_publisher_packet_lost_total{stream=\"a/b\"} 1.0",
            "freshet_stream_publisher_rtt_seconds{stream=\"a/b\"} 0.02",
            "freshet_stream_notice{stream=\"a/b\",code=\"b_frames\"} 1.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "missing: {line}\n{text}");
        }
        assert!(!text.contains("192.0.2.1"), "no address is shown");
        assert!(
            !text.contains("freshet_core_load{core=\"1\""),
            "not measured"
        );
        assert!(
            !text.contains("publisher_latency_seconds{"),
            "what is not known is left out"
        );
    }

    #[test]
    fn times_inside_are_a_histogram() {
        let text = render(snapshot());
        let name = "freshet_worker_transit_seconds_bucket";
        for (le, packets) in [
            ("0.000016384", 0),
            ("0.000032768", 3),
            ("1.073741824", 3),
            ("+Inf", 4),
        ] {
            let line = format!("{name}{{le=\"{le}\",core=\"1\",entry=\"network\"}} {packets}");
            assert!(text.lines().any(|l| l == line), "missing: {line}\n{text}");
        }
        let buckets = text.lines().filter(|line| line.starts_with(name));
        assert_eq!(buckets.count(), 2 * 2 * 19);
    }

    #[test]
    fn nothing_at_all_is_fine() {
        let text = render(MetricsSnapshot::default());
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn the_text_is_well_formed() {
        // Every sample belongs to the family announced just before it.
        let mut family = String::new();
        for line in render(snapshot()).lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_string();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(&family), "{line} under {family}");
                let value = line.rsplit(' ').next().unwrap();
                value.parse::<f64>().unwrap();
            }
        }
    }
}
