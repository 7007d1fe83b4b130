//! A server is emptied before it ends: newcomers are kept out, viewers are asked to leave a few at
//! a time, and all others go on until the deadline; whoever begins it may change his mind.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::events::EventStream;
use freshet_tests::http::{self, Answer};
use freshet_tests::process::kill_now;
use freshet_tests::publish::{Begin, Ffmpeg, Kind, Whip};
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, have, wait_for, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// Numbers to begin with.
const BEGIN: Begin = Begin {
    sequence: 1,
    timestamp: 1,
    ssrc: 1,
};

/// Where everybody is led.
const PEER: &str = "peer = \"http://192.0.2.1:8080/{protocol}/{stream}\"";

/// What every event stream of a viewer has told it to do, and when.
struct Told {
    reconnects: mpsc::Receiver<(Instant, Value)>,
}

impl Told {
    /// Every viewer of a crowd wants to be told when to come again.
    fn listen(server: &Server, crowd: &mut Crowd) -> Self {
        let (tell, reconnects) = mpsc::channel();
        for session in crowd.sessions() {
            let path = format!("{}/sse", session.location());
            let headers = [("content-type", "application/json")];
            let made = http::request(server.http, "POST", &path, &headers, b"[\"reconnect\"]");
            let made = made.unwrap();
            assert_eq!(made.status, 201, "{}", made.text());
            let path = made.header("location").unwrap().to_owned();
            let (tell, to) = (tell.clone(), server.http);
            let events = EventStream::open(to, &path).unwrap();
            std::thread::spawn(move || {
                for (_, data) in events.filter(|(name, _)| name == "reconnect") {
                    // The test may be over.
                    let _ = tell.send((Instant::now(), data));
                }
            });
        }
        Self { reconnects }
    }

    fn next(&self) -> (Instant, Value) {
        self.reconnects.recv_timeout(PATIENCE).unwrap()
    }

    fn so_far(&self) -> usize {
        self.reconnects.try_iter().count()
    }
}

fn post(to: SocketAddr, path: &str) -> Answer {
    let headers = [("content-type", "application/sdp")];
    http::request(to, "POST", path, &headers, b"v=0\r\n").unwrap()
}

fn drain(server: &Server, method: &str, body: &str) -> Answer {
    http::request(server.http, method, "/v1/drain", &[], body.as_bytes()).unwrap()
}

fn wait_draining(server: &Server) -> Value {
    wait_for("the drain to begin", PATIENCE, || {
        let json = drain(server, "GET", "").json();
        let begun = json["state"] == "draining" && json["left"].is_object();
        begun.then(|| json.clone()).ok_or_else(|| json.to_string())
    })
}

fn newcomers_are_led_on(server: &Server) {
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("draining"), "{}", ready.text());
    assert_eq!(server.get("/livez").status, 200);
    for protocol in ["whep", "whip"] {
        let newcomer = post(server.http, &format!("/{protocol}/demo"));
        let there = format!("http://192.0.2.1:8080/{protocol}/demo");
        assert_eq!(newcomer.status, 307, "{}", newcomer.text());
        assert_eq!(newcomer.header("location"), Some(&there[..]));
    }
}

fn four_a_second_are_told(told: &Told) {
    let times: Vec<Instant> = (0..4)
        .map(|_| told.next())
        .map(|(at, data)| {
            assert_eq!(data["url"], "http://192.0.2.1:8080/whep/demo");
            at
        })
        .collect();
    for pair in times.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap > Duration::from_millis(50), "at once: {times:?}");
    }
    let span = times[3] - times[0];
    assert!(
        (Duration::from_millis(500)..Duration::from_secs(3)).contains(&span),
        "four a second: {span:?}"
    );
}

/// The sidecar dies in the middle of it: the next one has the same deadline.
fn the_next_sidecar_goes_on(server: &Server) {
    let before = drain(server, "GET", "").json();
    let control = server.plane("control");
    kill_now(control);
    wait_until("another sidecar", PATIENCE, || {
        server.plane("control") != control
    });
    let after = wait_for("an answer", PATIENCE, || {
        let answer = http::request(server.http, "GET", "/v1/drain", &[], b"")?;
        Ok(answer.json())
    });
    let deadline = |json: &Value| json["deadline_unix_ms"].as_u64().unwrap();
    assert_eq!(after["state"], "draining", "{after}");
    assert!(
        deadline(&after).abs_diff(deadline(&before)) < 50,
        "{before} {after}"
    );
    wait_draining(server);
    assert_eq!(post(server.http, "/whep/demo").status, 307);
}

#[test]
fn who_is_here_goes_on_and_is_led_away_a_few_at_a_time() {
    let _turn = alone();
    let mut server = Server::start(Setup {
        demo: true,
        drain: format!("deadline_s = 60\nviewers_per_s = 4\n{PEER}"),
        ..Setup::default()
    });
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", 8, PATIENCE);
    let told = Told::listen(&server, &mut crowd);
    crowd.run(Duration::from_millis(500));
    crowd.forget();
    let session = crowd.sessions()[0].location().to_owned();
    let watch = crowd.watch();

    server.terminate();
    let begun = wait_draining(&server);
    assert_eq!(begun["left"]["viewers"], 8, "{begun}");
    newcomers_are_led_on(&server);
    // Who is here may still do everything.
    let layer = format!("{session}/layer");
    let json = [("content-type", "application/json")];
    let chosen = http::request(server.http, "POST", &layer, &json, b"{}").unwrap();
    assert_eq!(chosen.status, 200, "{}", chosen.text());

    four_a_second_are_told(&told);
    assert_eq!(server.metric("freshet_draining"), 1.0);
    assert!(server.metric("freshet_drain_viewer_told_total") >= 4.0);
    assert_eq!(server.metric("freshet_drain_newcomer_refused_total"), 2.0);

    the_next_sidecar_goes_on(&server);

    // Taken back: newcomers are let in, and those who stayed have missed nothing.
    let back = drain(&server, "DELETE", "");
    assert_eq!(back.status, 200, "{}", back.text());
    server.wait_ready();
    server.wait_live("demo");
    let newcomers = Crowd::joined(server.http, "demo", 1, PATIENCE);
    let mut crowd = watch.stop();
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (8, 0), "{report:?}");
    crowd.forget();
    crowd.run(Duration::from_secs(1));
    assert_eq!(crowd.report().served, 8, "media goes on");
    assert_eq!(server.metric("freshet_draining"), 0.0);

    // To the end: it ends as soon as the last one has gone.
    server.terminate();
    wait_draining(&server);
    crowd.leave();
    newcomers.leave();
    let (start, http) = (Instant::now(), server.http);
    let (good, log) = server.ended(PATIENCE);
    assert!(good, "{log}");
    println!("ended {:.0?} after the last one had gone", start.elapsed());
    assert!(log.contains("nobody is left"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert!(
        http::get(http, "/livez").is_err(),
        "something still answers"
    );
}

#[test]
fn at_the_deadline_all_are_told_farewell() {
    let _turn = alone();
    let server = Server::start(Setup {
        demo: true,
        drain: "deadline_s = 2\nviewers_per_s = 1".to_owned(),
        ..Setup::default()
    });
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", 4, PATIENCE);
    let told = Told::listen(&server, &mut crowd);
    let watch = crowd.watch();
    let start = Instant::now();
    server.terminate();
    wait_draining(&server);
    let refused = post(server.http, "/whep/demo");
    assert_eq!(refused.status, 503, "{}", refused.text());
    let again: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&again));
    let (good, log) = server.ended(PATIENCE);
    let took = start.elapsed();
    assert!(good && log.contains("the time is up"), "{log}");
    println!("ended after {took:.0?}");
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    // One or two in time, and the others at the end of their sessions.
    sleep(Duration::from_millis(100));
    assert_eq!(told.so_far(), 4, "{log}");
    let mut crowd = watch.stop();
    let closed = crowd
        .sessions()
        .iter()
        .filter(|one| one.is_closed())
        .count();
    assert_eq!(closed, 4, "told by DTLS");
}

/// Publishers have no way of being told to go elsewhere: they are heard until the deadline, and
/// others are not let in, but for one whom viewers here wait for.
#[test]
fn a_publisher_stays_until_the_deadline_and_no_other_is_let_in() {
    let _turn = alone();
    if !have(&["ffmpeg"]) {
        return;
    }
    let server = Server::start(Setup {
        drain: "deadline_s = 8".to_owned(),
        ..Setup::default()
    });
    let mut encoder = Ffmpeg::default().to(&server.srt_url("cam", ""), server.folder());
    server.wait_live("cam");
    let page = Whip::start(server.http, "page", Kind::Video, BEGIN).unwrap();
    server.wait_live("page");
    let crowd = Crowd::joined(server.http, "cam", 1, PATIENCE);
    let watch = crowd.watch();
    server.terminate();
    let begun = wait_draining(&server);
    assert_eq!(begun["left"]["publishers"], 2, "{begun}");
    let another = Whip::start(server.http, "another", Kind::Video, BEGIN);
    let refused = another.map(|_| ()).unwrap_err();
    assert!(refused.contains("503"), "{refused}");
    let late = server.folder().join("late");
    std::fs::create_dir(&late).unwrap();
    let mut late = Ffmpeg::default().to(&server.srt_url("late", ""), &late);
    assert!(!late.wait(PATIENCE).success(), "{}", late.output());
    assert_eq!(server.stream("cam")["state"], "live");
    assert!(encoder.ended().is_none(), "{}", encoder.output());
    assert_eq!(server.metric("freshet_drain_newcomer_refused_total"), 2.0);

    // An SRT connection dies with the sidecar; the encoder comes again, and is let in.
    kill_now(server.plane("control"));
    encoder.wait(PATIENCE);
    let again = server.folder().join("again");
    std::fs::create_dir(&again).unwrap();
    wait_draining(&server);
    let mut encoder = Ffmpeg::default().to(&server.srt_url("cam", ""), &again);
    // A page does not notice it.
    let sent = page.sent();
    wait_until("the page's stream", PATIENCE, || {
        server.stream("page")["state"] == "live" && page.sent() > sent
    });
    let mut crowd = watch.stop();
    crowd.forget();
    wait_until("media again", PATIENCE, || {
        crowd.run(Duration::from_millis(100));
        crowd.report().packets > 100
    });

    let (good, log) = server.ended(PATIENCE);
    assert!(good && log.contains("the time is up"), "{log}");
    // The encoder learns of it at once, not by the time-out of SRT, which is some 5 s.
    let start = Instant::now();
    encoder.wait(PATIENCE);
    println!("the encoder ended {:.0?} later", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn nobody_is_waited_for_when_nobody_is_there_or_nobody_wants_to_wait() {
    let _turn = alone();
    let patient = || {
        let server = Server::start(Setup {
            demo: true,
            drain: "deadline_s = 60".to_owned(),
            ..Setup::default()
        });
        server.wait_live("demo");
        server
    };
    let server = patient();
    let start = Instant::now();
    server.terminate();
    let (good, log) = server.ended(PATIENCE);
    assert!(good && start.elapsed() < Duration::from_secs(4), "{log}");

    // A second SIGTERM is an order to end now.
    let server = patient();
    let crowd = Crowd::joined(server.http, "demo", 1, PATIENCE);
    server.terminate();
    wait_draining(&server);
    let start = Instant::now();
    server.terminate();
    let (good, log) = server.ended(PATIENCE);
    assert!(good && start.elapsed() < Duration::from_secs(4), "{log}");
    drop(crowd);
}
