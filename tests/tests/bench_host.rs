//! `freshet bench` measures this host and says how many viewers it carries.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::path::Path;
use std::process::{Command, Output};

use freshet_tests::place::Place;
use freshet_tests::server::binary;
use freshet_tests::wait::alone;
use serde_json::Value;

/// Mbit/s that viewers are reckoned for.
const BITRATES: [f64; 3] = [1.0, 2.5, 8.0];

#[test]
fn a_host_is_measured_and_its_viewers_reckoned() {
    let _turn = alone();
    let place = Place::new("bench");
    let file = place.path().join("host.json");
    let output = bench(
        &["--seconds", "2", "--bitrates", "1,2.5,8", "--cores", "3"],
        &file,
    );
    let table = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("measuring ciphers"), "how far it is: {said}");
    println!("{table}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    check_steps(&report);
    check_forwarding(&report);
    check_capacity(&report, &table);
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let place = Place::new("bench");
    let file = place.path().join("host.json");
    for (arguments, word) in [
        (["--bitrates", "0"], "0.05 to 100"),
        (["--bitrates", "fast"], "not a number"),
        (["--seconds", "0"], "1..=300"),
        (["--cipher", "enigma"], "unknown variant"),
    ] {
        let output = bench(&arguments, &file);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(!file.exists(), "no figures of nothing");
    }
}

fn bench(arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new(binary());
    command.arg("bench").args(arguments).arg("--json").arg(file);
    command.output().unwrap()
}

fn check_steps(report: &Value) {
    let ciphers = list(report, "ciphers");
    for profile in ["AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES128_CM_SHA1_80"] {
        let of = ciphers.iter().filter(|cost| cost["profile"] == profile);
        let least = of
            .map(|cost| number(&cost["ns_per_packet"]))
            .fold(f64::MAX, f64::min);
        assert!((20.0..100_000.0).contains(&least), "{profile}: {least} ns");
    }
    // One call of the kernel for nine datagrams is cheaper than nine.
    for (path, _) in report["paths"].as_object().unwrap() {
        let ns = |burst: u32| {
            let sends = list(report, "send").into_iter();
            let mut of = sends.filter(|send| {
                send["path"] == *path && send["backend"] == "mmsg" && send["burst"] == burst
            });
            number(&of.next().unwrap()["ns_per_datagram"])
        };
        assert!(ns(9) * 1.5 < ns(1), "{path}: {} and {}", ns(9), ns(1));
    }
    let receive = list(report, "receive");
    let received = receive
        .iter()
        .find(|cost| cost["backend"] == "mmsg")
        .unwrap();
    assert!(number(&received["ns_per_datagram"]) > 50.0, "{received}");
    let latency = &report["latency"];
    if latency.is_object() {
        assert!(number(&latency["p50_us"]) > 0.0, "{latency}");
        assert!(
            number(&latency["p50_us"]) <= number(&latency["p999_us"]),
            "{latency}"
        );
    } else {
        assert!(is_skipped(report, "half load"), "{report}");
    }
    let memory = &report["memory"];
    let bytes = number(&memory["viewer_data_plane_bytes"]);
    assert!(
        (500.0..number(&memory["viewer_bytes_max"])).contains(&bytes),
        "{memory}"
    );
}

fn check_forwarding(report: &Value) {
    let forward = list(report, "forward");
    for (path, _) in report["paths"].as_object().unwrap() {
        let rate = |burst: u32| {
            let is_it = |cost: &&Value| {
                cost["path"] == *path && cost["way"] == "mmsg" && cost["burst"] == burst
            };
            number(&forward.iter().find(is_it).unwrap()["packets_per_second"])
        };
        // More packets a second in larger bursts, and no more than a processor can seal.
        assert!(
            rate(16) > 1.5 * rate(1),
            "{path}: {} and {}",
            rate(16),
            rate(1)
        );
        assert!(rate(16) < 2e7, "{path}: {}", rate(16));
    }
    let has = |way: &str| forward.iter().any(|cost| cost["way"] == way);
    for way in ["uring", "xdp"] {
        assert!(
            has(way) || is_skipped(report, way),
            "{way} is not even mentioned"
        );
    }
}

fn check_capacity(report: &Value, table: &str) {
    let (server, forward) = (&report["server"], list(report, "forward"));
    assert_eq!(server["cores"], 3);
    for (path, _) in report["paths"].as_object().unwrap() {
        let capacity = list(report, "capacity").into_iter();
        let rows: Vec<Value> = capacity.filter(|row| row["path"] == *path).collect();
        assert_eq!(rows.len(), BITRATES.len(), "{path}");
        for (row, megabits) in rows.iter().zip(BITRATES) {
            let cost = forward.iter().find(|cost| {
                cost["path"] == *path
                    && cost["way"] == server["way"]
                    && cost["burst"] == row["burst"]
            });
            let ns = number(&cost.unwrap()["ns_per_packet"]);
            let packets = megabits * 1e6 / 8.0 / number(&report["packet_bytes"]);
            let expected = number(&server["max_load"]) * 1e9 / packets / ns;
            let viewers = number(&row["viewers_per_core"]);
            assert!((viewers - expected).abs() <= 1.0, "{row}: {expected}");
            let bounds = ["viewers_cpu", "viewers_device", "viewers_memory"];
            let least = bounds.iter().filter_map(|bound| row[*bound].as_f64());
            assert_eq!(
                number(&row["viewers"]),
                least.fold(f64::MAX, f64::min),
                "{row}"
            );
            let bound = format!("viewers_{}", row["bound_by"].as_str().unwrap());
            assert_eq!(row[bound], row["viewers"], "{row}");
            assert!(
                table.contains(&row["viewers_per_core"].to_string()),
                "{table}"
            );
        }
        let viewers: Vec<f64> = rows.iter().map(|row| number(&row["viewers_cpu"])).collect();
        assert!(
            viewers[0] > viewers[1] && viewers[1] > viewers[2],
            "{viewers:?}"
        );
    }
}

fn is_skipped(report: &Value, word: &str) -> bool {
    let skipped = list(report, "skipped").into_iter();
    skipped
        .map(|one| one["what"].to_string())
        .any(|what| what.contains(word))
}

fn list(report: &Value, name: &str) -> Vec<Value> {
    report[name]
        .as_array()
        .unwrap_or_else(|| panic!("{name} is a list"))
        .clone()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is a number"))
}
