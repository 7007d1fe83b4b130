//! A node that is as loaded as it may be refuses newcomers, and those who watch do not notice.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::http::{self, Answer};
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, wait_for, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// Viewers of which the load is measured first; the limit is set to what six times as many make.
const MEASURED: usize = 12;

/// Nobody gets so far on this limit, which is for six times [`MEASURED`].
const VIEWERS_MAX: usize = 450;

/// Looks at the load of [`MEASURED`] viewers. The least counts: what else the host does is not
/// theirs.
const LOOKS: usize = 10;

/// Nobody is let in for so long: the node is full.
const SHUT: Duration = Duration::from_millis(1500);

#[test]
fn a_loaded_node_refuses_newcomers_and_takes_them_again() {
    let _turn = alone();
    let limit = f64::min(6.0 * load_of_some_viewers(), 0.7);
    let server = Server::start(Setup {
        demo: true,
        max_load: limit,
        ..Setup::default()
    });
    server.wait_live("demo");
    let before = load(&server);
    assert!(
        (number(&before["max_load"]) - limit).abs() < 1e-9,
        "{before}"
    );
    assert_eq!(before["accepts_viewers"], true, "{before}");
    assert!(number(&before["headroom_viewers"]) > 3.0, "{before}");

    let (mut crowd, refusal) = fill(&server);
    let watching = crowd.len();
    println!("limit {limit:.4}: {watching} viewers, then {refusal}");
    assert!(
        (MEASURED / 2..VIEWERS_MAX).contains(&watching),
        "{watching} viewers at a limit for some {}",
        6 * MEASURED
    );
    check_refusal(&refusal);
    let full = wait_for("a look at the full node", PATIENCE, || {
        let full = load(&server);
        match full["accepts_viewers"] == false {
            true => Ok(full),
            false => Err(full.to_string()),
        }
    });
    assert_eq!(full["bound_by"], "core 0", "{full}");
    assert_eq!(full["headroom_viewers"], 0, "{full}");
    assert!(refused(&server) >= 1.0);
    // Ready all the same: whoever watches must not be cut off by a balancer.
    wait_until("readiness that tells it", PATIENCE, || {
        let ready = server.get("/readyz");
        assert_eq!(ready.status, 200);
        ready.json()["load"]["accepts_viewers"] == false
    });

    // Those who watch lose nothing while others knock.
    crowd.forget();
    let watch = crowd.watch();
    let knocking = Instant::now();
    let (mut kept_out, mut let_in) = (0, 0);
    while knocking.elapsed() < Duration::from_secs(3) {
        match knock(&server).status {
            503 => kept_out += 1,
            status => {
                assert_eq!(status, 201);
                let_in += 1;
            }
        }
        sleep(Duration::from_millis(20));
    }
    let crowd = watch.stop();
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (watching, 0), "{report:?}");
    assert!(report.refused.is_empty(), "{report:?}");
    // The load may fall by what joining costs; who is let in then is charged and shuts it again.
    println!("{kept_out} kept out, {let_in} let in");
    assert!(kept_out > let_in, "{watching} watched");

    crowd.leave();
    wait_until("room for newcomers again", PATIENCE, || {
        load(&server)["accepts_viewers"] == true
    });
    let mut crowd = Crowd::joined(server.http, "demo", 2, PATIENCE);
    crowd.run(Duration::from_secs(1));
    assert_eq!(crowd.report().served, 2);
    crowd.leave();
    server.must_be_unharmed();
}

#[test]
fn a_crowd_that_comes_at_once_is_charged_before_it_is_measured() {
    let _turn = alone();
    // What nobody has measured yet is charged at what viewers cost by experience, and none of these
    // is ever measured: they ask and do not go on.
    let server = Server::start(Setup {
        demo: true,
        max_load: 0.1,
        ..Setup::default()
    });
    server.wait_live("demo");
    wait_until("the load to be measured", PATIENCE, || {
        load(&server)["cores"][0].is_number()
    });
    let start = Instant::now();
    let posts: Vec<u16> = (0..300).map(|_| knock(&server).status).collect();
    let taken = posts.iter().filter(|status| **status == 201).count();
    let turned = posts.iter().filter(|status| **status == 503).count();
    println!("{taken} of 300 taken in {:.0?}", start.elapsed());
    assert_eq!(taken + turned, posts.len(), "{posts:?}");
    // 0.1 is 192 of them, without what the demo costs by itself.
    assert!((20..=192).contains(&taken), "{taken} taken");
    assert!(refused(&server) >= turned as f64);
    let full = load(&server);
    assert!(number(&full["load"]) <= 0.101, "{full}");
    server.must_be_unharmed();
}

/// What [`MEASURED`] viewers load a core of this machine with.
fn load_of_some_viewers() -> f64 {
    let server = Server::demo();
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", MEASURED, PATIENCE);
    crowd.run(Duration::from_secs(3));
    let looks = (0..LOOKS).map(|_| {
        crowd.run(Duration::from_millis(300));
        let seen = load(&server);
        assert_eq!(seen["max_load"], 0.0, "{seen}");
        assert_eq!(
            seen["accepts_viewers"], true,
            "off means that all are let in"
        );
        let load = number(&seen["cores"][0]);
        assert!(load > 0.0 && load < 1.0, "{seen}");
        load
    });
    let least = looks.fold(1.0, f64::min);
    the_gauge_says_the_same(&server);
    crowd.leave();
    least
}

/// The gauge and the API show the same number as long as no sample lies between.
fn the_gauge_says_the_same(server: &Server) {
    wait_for("two looks at one sample", PATIENCE, || {
        let core = load(server)["cores"][0].clone();
        let gauge = server.metric("freshet_core_load");
        match number(&core) == gauge && gauge > 0.0 {
            true => Ok(()),
            false => Err(format!("{core} and {gauge}")),
        }
    });
}

/// Viewers join one by one until all are refused for a while: a host that does other things too is
/// loaded for moments by those.
fn fill(server: &Server) -> (Crowd, String) {
    let mut crowd = Crowd::new(server.http, "demo");
    let start = Instant::now();
    let mut shut: Option<Instant> = None;
    while start.elapsed() < PATIENCE && crowd.len() < VIEWERS_MAX {
        match crowd.join() {
            Ok(()) => shut = None,
            Err(problem) => {
                if shut.get_or_insert_with(Instant::now).elapsed() > SHUT {
                    assert_eq!(crowd.connected(), crowd.len());
                    return (crowd, problem);
                }
            }
        }
        crowd.run(Duration::from_millis(60));
    }
    panic!("{} joined and the node is not full", crowd.len());
}

fn check_refusal(refusal: &str) {
    assert!(refusal.starts_with("503: "), "{refusal}");
    let problem: Value = serde_json::from_str(refusal.strip_prefix("503: ").unwrap()).unwrap();
    assert_eq!(problem["type"], "urn:freshet:problem:overloaded");
    let detail = problem["detail"].as_str().unwrap();
    for word in ["core 0", "limits.max_load"] {
        assert!(detail.contains(word), "{detail}");
    }
    let seconds = number(&problem["retry_after_s"]);
    assert!((3.0..=12.0).contains(&seconds), "{problem}");
}

/// An offer by somebody who does not go on with it.
fn knock(server: &Server) -> Answer {
    let headers = [("content-type", "application/sdp")];
    let offer = include_bytes!("../corpus/sdp/chromium_whep.sdp");
    let answer = http::request(server.http, "POST", "/whep/demo", &headers, offer).unwrap();
    if answer.status == 503 {
        assert!(answer.header("retry-after").is_some());
    }
    answer
}

fn load(server: &Server) -> Value {
    server.get("/v1/node").json()["load"].clone()
}

fn refused(server: &Server) -> f64 {
    server.metric("freshet_newcomer_refused_total")
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is a number"))
}
