//! Viewers who all come at once, on one machine with those who watch.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use freshet_tests::server::{Server, Setup};
use freshet_tests::swarm;
use freshet_tests::wait::{alone, quick, wait_until};
use serde_json::Value;

/// How long the generator may take, beginning and end included.
const PATIENCE: Duration = Duration::from_secs(120);

/// Processors of a list such as `0-2,5`.
fn cpus(list: &str) -> BTreeSet<u32> {
    let number = |text: &str| text.parse::<u32>().unwrap();
    let ranges = list.split(',').map(|part| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    });
    ranges.flatten().collect()
}

/// The threads of a process in a phase, with where they may run and what they have spent.
fn threads(told: &Value, phase: &str, process: &str) -> Vec<(String, BTreeSet<u32>, f64)> {
    let all = told["phases"][phase]["server"].as_array().unwrap();
    let one = all.iter().find(|one| one["process"] == process).unwrap();
    let threads = one["threads"].as_array().unwrap().iter();
    threads
        .map(|thread| {
            let name = thread["thread"].as_str().unwrap().to_owned();
            let cpus = cpus(thread["cpus_allowed"].as_str().unwrap());
            (name, cpus, thread["cpu_percent"].as_f64().unwrap())
        })
        .collect()
}

#[test]
fn a_storm_of_joins_leaves_those_alone_who_watch() {
    let _turn = alone();
    let (storm, watchers) = if quick() { (300, 30) } else { (1500, 100) };
    let server = Server::start(Setup {
        viewers_max: 4096,
        ..Setup::default()
    });
    let (storm_word, watchers_word) = (storm.to_string(), watchers.to_string());
    let arguments = [
        "--publishers=1",
        "--fps=10",
        "--kbps=80",
        "--gop=20",
        "--check=count",
        "--before=3",
        "--seconds=3",
        "--storm",
        &storm_word,
        "--watchers",
        &watchers_word,
    ];
    let (is_fine, text, told) = swarm::run(&server, &arguments, PATIENCE);
    println!("{text}");
    assert!(is_fine, "{text}");
    assert_eq!(told["viewers"]["joined"], storm, "{text}");
    assert_eq!(told["watchers"]["joined"], watchers, "{text}");
    for phase in ["before", "joining", "after"] {
        let media = &told["watchers"]["media"][phase];
        assert_eq!(media["lost"], 0, "{phase}: {text}");
        assert!(media["packets"].as_u64().unwrap() > 0, "{phase}: {text}");
    }
    // To fan a packet out to all of them takes its time; that others join adds little to it.
    let p99_us = |phase: &str| {
        let latency = &told["watchers"]["media"][phase]["latency"];
        latency["p99_us"].as_u64().unwrap()
    };
    let (joining, after) = (p99_us("joining"), p99_us("after"));
    assert!(
        joining < 3 * after + 100_000,
        "{joining} us, and {after} us after: {text}"
    );
    // Handshakes are control's, and control keeps off the processors of workers.
    let control = threads(&told, "joining", "control");
    let workers = threads(&told, "joining", "forwarder");
    let workers = workers
        .iter()
        .filter(|(name, ..)| name.starts_with("worker-"));
    let taken: BTreeSet<u32> = workers.flat_map(|(_, cpus, _)| cpus.clone()).collect();
    let spent: f64 = control.iter().map(|(_, _, percent)| percent).sum();
    assert!(spent > 1.0, "control shook hands: {text}");
    if std::thread::available_parallelism().unwrap().get() > 1 {
        for (name, cpus, _) in &control {
            assert!(cpus.is_disjoint(&taken), "{name} on {cpus:?}: {text}");
        }
    }
    // None of it for want of room between the planes.
    assert!(server.metric("freshet_punt_lost_total") < 1.0);
    let gone = || server.metric("freshet_session_closed_total") >= f64::from(storm + watchers);
    wait_until("everybody to be gone", Duration::from_secs(20), gone);
    server.must_be_unharmed();
}

#[test]
fn who_leaves_is_replaced_and_all_is_told() {
    let _turn = alone();
    let server = Server::start(Setup::default());
    let arguments = [
        "--publishers=2",
        "--viewers=40",
        "--join-rate=100",
        "--churn=5",
        "--before=1",
        "--seconds=4",
        "--check=full",
        "--fresh",
        "--expect-loss=0",
    ];
    let (is_fine, text, told) = swarm::run(&server, &arguments, PATIENCE);
    println!("{text}");
    assert!(is_fine, "{text}");
    let viewers = &told["viewers"];
    let [wanted, left] = ["wanted", "left"].map(|name| viewers[name].as_u64().unwrap());
    assert!((50..=40 + 21).contains(&wanted), "{wanted}: {text}");
    assert_eq!(left, wanted - 40);
    let opened = |stream: &str| server.stream(stream)["viewers"].as_u64();
    assert_eq!((opened("swarm/0"), opened("swarm/1")), (Some(0), Some(0)));
    let latency = &viewers["media"]["after"]["latency"];
    assert!(latency["samples"].as_u64().unwrap() > 1000, "{text}");
    // More cannot be let in than there is room for, and that is told as a failure.
    let arguments = [
        "--stream=nothing",
        "--viewers=3",
        "--seconds=1",
        "--patience=2",
    ];
    let (is_fine, text, told) = swarm::run(&server, &arguments, PATIENCE);
    assert!(!is_fine, "{text}");
    let failed = told["viewers"]["failed"].as_object().unwrap();
    let sum: u64 = failed.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(sum, 3, "{text}");
    server.must_be_unharmed();
}
