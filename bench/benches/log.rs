//! Owns the cost of the stream log: to append and publish a burst, and to pin and read one.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freshet_bench::PAYLOAD_BYTES;
use link::Region;
use link::ids::CoreId;
use link::limits::Limits;
use link::log::{Flags, LogWriter, Record};

/// Packets of a burst.
const BURSTS: [u32; 2] = [1, 9];

/// More than a first and second level cache hold: the writer is always at memory that is cold.
const LOG_PACKETS: u32 = 16_384;

static PAYLOAD: [u8; PAYLOAD_BYTES] = [0x5a; PAYLOAD_BYTES];

fn region() -> Region {
    let limits = Limits {
        streams_max: 1,
        viewers_max: 1,
        log_packets: LOG_PACKETS,
        ..Limits::default()
    };
    Region::create(&limits).expect("memory for one stream")
}

fn write(writer: &mut LogWriter, packets: u32) {
    for packet in 0..packets {
        let record = Record {
            flags: if packet == 0 {
                Flags::FIRST
            } else {
                Flags::NONE
            },
            ..Record::default()
        };
        let appended = writer.append(black_box(&record), &[&PAYLOAD]);
        appended.expect("nobody holds what is overwritten");
    }
    writer.publish();
}

/// A figure is for a burst; the rate is in packets.
fn log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    group
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000));
    for burst in BURSTS {
        group.throughput(Throughput::Elements(u64::from(burst)));
        group.bench_function(format!("append_publish/{burst}"), |bencher| {
            let region = region();
            let stream = region.open_stream(0, "bench").expect("the first stream");
            let mut writer = region.log_writer(stream).expect("the only writer");
            bencher.iter(|| write(&mut writer, burst));
        });
        group.bench_function(format!("pin_read/{burst}"), |bencher| {
            let region = region();
            let stream = region.open_stream(0, "bench").expect("the first stream");
            let mut writer = region.log_writer(stream).expect("the only writer");
            let mut reader = region.log_reader(stream, CoreId(0)).expect("a reader");
            write(&mut writer, burst);
            bencher.iter(|| {
                let log = reader.pin();
                let mut bytes = 0;
                for position in log.range() {
                    bytes += usize::from(log.record(position).is_some());
                    bytes += black_box(log.payload(position)).len();
                }
                bytes
            });
        });
    }
    group.finish();
}

criterion_group!(benches, log);
criterion_main!(benches);
