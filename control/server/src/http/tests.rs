//! The routes against a driver that the test plays.

mod api;
mod config;
mod drain;
mod extensions;
mod hostile;
mod push;
mod relays;
mod sockets;

use super::*;
use crate::clock;
use crate::control::{
    CounterOffer, Created, Event, EventKind, EventKinds, LayerWish, MetricsSnapshot, NodeView,
    Patch, Patched, Posted, PublisherKind, PublisherView, PushCreated, PushPost, Readiness, Reply,
    Request, SessionPage, SessionState, SessionView, StreamState, StreamView,
};
use crate::load::Newcomer;
use axum::body::Body;
use axum::http::{self, HeaderMap};
use tokio::sync::mpsc;
use tower::ServiceExt;

const OFFER: &str = "v=0\r\n";
const ID: &str = "abcdefghijklmnopqrstuvwxyz";

fn stream_view(name: &str) -> StreamView {
    StreamView {
        name: name.into(),
        state: StreamState::Live,
        publisher: Some(PublisherView {
            kind: PublisherKind::Srt,
            remote: Some("192.0.2.9:1234".into()),
            sources: Vec::new(),
            since_unix_ms: 1,
            bytes: 2,
            packets: 3,
            loss: 4,
            retransmissions: 5,
            rtt_ms: Some(6.5),
            latency_ms: Some(120),
        }),
        viewers: 7,
        ..StreamView::default()
    }
}

fn session_view() -> SessionView {
    SessionView {
        layer_sent: None,
        encodings: Vec::new(),
        spatial_layer_sent: None,
        temporal_layer_sent: None,
        estimate_bps: None,
        id: ID.into(),
        state: SessionState::Connected,
        kind: "viewer".into(),
        stream: "demo".into(),
        remote: Some("192.0.2.8:5".into()),
        created_unix_ms: 1,
        rtt_ms: None,
        loss: None,
        packets: 0,
        bytes: 0,
        retransmissions: 0,
        nacks: 0,
        plis: 0,
        core: Some(0),
        ice_state: "connected".into(),
        dtls_state: "connected".into(),
        srtp_profile: None,
        layer: None,
    }
}

fn problem(status: u16, name: &str) -> Problem {
    Problem::new(status, name, "A problem", "it happened", "do this")
}

/// Stream `demo` is live, `idle` has no media, `full` has no room, all others are unknown.
fn whep_post(stream: &str, offer: &str) -> Result<Created, Problem> {
    match stream {
        "demo" | "a/b/c/d" if offer == OFFER => Ok(Created {
            id: ID.into(),
            answer: "v=0 answer".into(),
            etag: "\"tag\"".into(),
        }),
        "demo" => Err(problem(422, "offer-unusable")),
        "idle" => Err(problem(409, "no-media-yet").retry_after(2)),
        "full" => Err(problem(503, "full").retry_after(5)),
        "leaves" => Err(crate::drain::refusal().retry_after(7)),
        _ => Err(problem(404, "stream-unknown")),
    }
}

/// Stream `taken` has a publisher.
fn whip_post(stream: &str, offer: &str) -> Result<Created, Problem> {
    match stream {
        "taken" => Err(problem(409, "stream-taken")),
        "leaves" => whep_post(stream, offer),
        _ => whep_post("demo", offer),
    }
}

/// The same; an empty offer gets another.
fn watch(who: Newcomer, stream: &str, offer: &str) -> Result<Posted, Problem> {
    match (stream, who) {
        ("nodes-only", Newcomer::Node) => return watch(who, "demo", offer),
        ("nodes-only", _) => return Err(problem(503, "overloaded")),
        _ => {}
    }
    if offer.is_empty() {
        return Ok(Posted::Countered(CounterOffer {
            id: ID.into(),
            offer: "v=0 offer".into(),
            etag: "\"tag\"".into(),
            valid: Duration::from_secs(10),
        }));
    }
    whep_post(stream, offer).map(Posted::Answered)
}

fn whep_patch(if_match: Option<&str>, patch: &Patch) -> Result<Patched, Problem> {
    let fragment = match patch {
        Patch::Answer(answer) if answer == "v=0 answer" => return Ok(Patched::Answered),
        Patch::Answer(_) => return Err(problem(415, "answer-not-awaited")),
        Patch::Fragment(fragment) => fragment,
    };
    match if_match {
        None => Err(problem(428, "if-match-missing")),
        Some("\"tag\"") => Ok(Patched::Trickled),
        Some("*") if fragment.contains("ice-ufrag") => Ok(Patched::Restarted {
            fragment: "a=ice-ufrag:new".into(),
            etag: "\"next\"".into(),
        }),
        Some(_) => Err(problem(412, "if-match-wrong")),
    }
}

fn known<T>(id: &str, value: T) -> Result<T, Problem> {
    if id == ID {
        Ok(value)
    } else {
        Err(problem(404, "session-unknown"))
    }
}

fn answer(request: Request) {
    let unknown = || problem(404, "stream-unknown");
    // Whoever has stopped waiting is not an error of the driver.
    match request {
        Request::WhipPost {
            stream,
            offer,
            reply,
        } => {
            let _ = reply.send(whip_post(stream.as_str(), &offer));
        }
        Request::WhepPost {
            stream,
            who,
            offer,
            reply,
        } => {
            let _ = reply.send(watch(who, stream.as_str(), &offer));
        }
        Request::Relay(request) => relays::answer(request),
        Request::Push(post, reply) => push::answer(&post, reply),
        Request::Patch {
            id,
            if_match,
            patch,
            reply,
        } => {
            let patched = whep_patch(if_match.as_deref(), &patch);
            let _ = reply.send(known(&id, ()).and(patched));
        }
        Request::Delete { id, reply } | Request::CloseSession(id, reply) => {
            let _ = reply.send(known(&id, ()));
        }
        Request::Streams(reply) => {
            let _ = reply.send(Ok(vec![stream_view("demo")]));
        }
        Request::Stream(name, reply) => {
            let demo = (name.as_str() == "demo").then(|| stream_view("demo"));
            let _ = reply.send(demo.ok_or_else(unknown));
        }
        Request::Sessions(page, reply) => {
            let next = page.stream.map(|s| format!("{s}+{}", page.limit));
            let page = SessionPage {
                sessions: vec![session_view()],
                total: 1,
                next,
            };
            let _ = reply.send(Ok(page));
        }
        Request::Session(id, reply) => {
            let _ = reply.send(known(&id, session_view()));
        }
        Request::Node(reply) => {
            let _ = reply.send(Ok(NodeView::default()));
        }
        Request::Metrics(reply) => {
            let streams = vec![stream_view("demo")];
            let _ = reply.send(Ok(MetricsSnapshot {
                streams,
                ..MetricsSnapshot::default()
            }));
        }
        Request::Ready(reply) => {
            let _ = reply.send(Ok(Readiness::default()));
        }
        Request::OpenEvents(..)
        | Request::ReadEvents(..)
        | Request::CloseEvents(..)
        | Request::ChooseLayer(..) => answer_extension(request),
    }
}

fn answer_extension(request: Request) {
    match request {
        Request::OpenEvents(id, kinds, reply) => {
            let _ = reply.send(known(&id, if kinds == EventKinds::all() { 1 } else { 2 }));
        }
        Request::ReadEvents(id, number, reply) => {
            let (sender, events) = mpsc::channel(4);
            for data in ["{\"viewercount\":1}", "{\"viewercount\":2}"] {
                let (kind, data) = (EventKind::ViewerCount, data.into());
                sender.try_send(Event { kind, data }).unwrap();
            }
            let is_there = (number == 1).then_some(events);
            let events = is_there.ok_or_else(|| problem(404, "event-stream-unknown"));
            let _ = reply.send(known(&id, ()).and(events));
        }
        Request::CloseEvents(id, number, reply) => {
            let is_there = (number == 1).then_some(());
            let closed = is_there.ok_or_else(|| problem(404, "event-stream-unknown"));
            let _ = reply.send(known(&id, ()).and(closed));
        }
        Request::ChooseLayer(id, wish, reply) => {
            let is_there = wish == LayerWish::default() || wish.encoding_id.as_deref() == Some("h");
            let chosen = is_there
                .then_some(())
                .ok_or_else(|| problem(404, "layer-unknown"));
            let _ = reply.send(known(&id, ()).and(chosen));
        }
        other => panic!("{other:?}"),
    }
}

fn site_with(config: &str) -> Site {
    let config = crate::config::load(Some(("test", config)), Vec::new(), Vec::new()).unwrap();
    let (control, mut driver) = Control::channel();
    tokio::spawn(async move {
        while let Some(request) = driver.recv().await {
            answer(request);
        }
    });
    // The sender may go: the configuration then simply stays as it is.
    Site::new(
        control,
        watch::channel(Arc::new(config)).1,
        no_drain(),
        Desk::default(),
    )
}

/// A node that serves, and has nowhere to write down anything else.
fn no_drain() -> Drain {
    Drain::open(std::path::Path::new("/nowhere"), None)
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

async fn send(site: &Site, from: &str, request: http::Request<Body>) -> Answer {
    let mut request = request;
    request
        .extensions_mut()
        .insert(Remote(from.parse().unwrap()));
    let response = site.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body::to_bytes(body, 10_000_000).await.unwrap();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

const HERE: &str = "127.0.0.1:5000";
const AWAY: &str = "192.0.2.1:5000";

/// "METHOD PATH" and headers.
fn request(line: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> http::Request<Body> {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

async fn ask(line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    send(
        &site_with(""),
        HERE,
        request(line, headers, body.to_string()),
    )
    .await
}

type Headers<'a> = &'a [(&'a str, &'a str)];

const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");

#[tokio::test]
async fn an_offer_is_answered_as_rfc_9725_wants() {
    let answer = ask(
        "POST /whep/demo",
        &[SDP, ("origin", "https://x.example")],
        OFFER,
    )
    .await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.body, "v=0 answer");
    for (name, value) in [
        ("content-type", "application/sdp"),
        ("location", "/session/abcdefghijklmnopqrstuvwxyz"),
        ("etag", "\"tag\""),
        ("accept-patch", "application/trickle-ice-sdpfrag"),
        ("access-control-allow-origin", "*"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let exposed = answer.header("access-control-expose-headers");
    for name in ["Location", "Link", "ETag", "Accept-Patch", "Retry-After"] {
        assert!(exposed.contains(name), "{name} in {exposed}");
    }
    let nested = ask(
        "POST /whep/a/b/c/d",
        &[("content-type", "Application/SDP; a=b")],
        OFFER,
    );
    assert_eq!(nested.await.status, 201);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_a_remedy() {
    let long = "x".repeat(65_537);
    let part = "x".repeat(65);
    let part = format!("POST /whep/{part}");
    let cases: [(&str, Headers<'_>, &str, u16, &str); 28] = [
        ("POST /whep/nobody", &[SDP], OFFER, 404, "stream-unknown"),
        ("POST /whep/idle", &[SDP], OFFER, 409, "no-media-yet"),
        ("POST /whep/full", &[SDP], OFFER, 503, "full"),
        ("POST /whep/demo", &[SDP], "v=1", 422, "offer-unusable"),
        (
            "POST /whip/demo",
            &[SDP, ("host", "localhost")],
            "",
            400,
            "no-offer",
        ),
        ("POST /whep/demo", &[], OFFER, 415, "wrong-content-type"),
        (
            "POST /whep/demo",
            &[("content-type", "text/plain")],
            OFFER,
            415,
            "wrong-content-type",
        ),
        (
            "POST /whep/demo",
            &[SDP, ("content-encoding", "gzip")],
            OFFER,
            415,
            "wrong-content-type",
        ),
        (
            "POST /whep/demo",
            &[SDP, ("accept", "text/html")],
            OFFER,
            406,
            "sdp-not-accepted",
        ),
        (
            "POST /whep/demo",
            &[SDP, ("accept", "*/*;q=0")],
            OFFER,
            406,
            "sdp-not-accepted",
        ),
        ("POST /whep/demo", &[SDP], &long, 413, "body-too-long"),
        (
            "POST /whep/demo",
            &[SDP, ("content-length", "65537")],
            OFFER,
            413,
            "body-too-long",
        ),
        ("POST /whep/..", &[SDP], OFFER, 400, "bad-stream-name"),
        (
            "POST /whep/%2e%2e/%2e%2e/etc",
            &[SDP],
            OFFER,
            400,
            "bad-stream-name",
        ),
        ("POST /whep/a//b", &[SDP], OFFER, 400, "bad-stream-name"),
        (
            "POST /whep/a/b/c/d/e",
            &[SDP],
            OFFER,
            400,
            "bad-stream-name",
        ),
        ("POST /whep/%ff", &[SDP], OFFER, 400, "bad-stream-name"),
        ("POST /whep/a%0d%0ab", &[SDP], OFFER, 400, "bad-stream-name"),
        (&part, &[SDP], OFFER, 400, "bad-stream-name"),
        ("PUT /whep/demo", &[SDP], OFFER, 405, "method-not-allowed"),
        (
            "PATCH /whep/demo",
            &[FRAGMENT],
            "",
            405,
            "method-not-allowed",
        ),
        ("GET /whep/nobody", &[], "", 404, "stream-unknown"),
        ("GET /whep", &[], "", 404, "no-such-path"),
        ("POST /session/x", &[SDP], OFFER, 405, "method-not-allowed"),
        ("DELETE /session/nobody", &[], "", 404, "session-unknown"),
        ("DELETE /session/%2e%2e", &[], "", 404, "session-unknown"),
        ("GET /session/nobody", &[], "", 404, "session-unknown"),
        ("GET /etc/passwd", &[], "", 404, "no-such-path"),
    ];
    for (line, headers, body, status, name) in cases {
        let answer = ask(line, headers, body).await;
        assert_eq!(answer.status, status, "{line} {headers:?}: {}", answer.body);
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{line}"
        );
        let json = answer.json();
        assert_eq!(
            json["type"],
            format!("urn:freshet:problem:{name}"),
            "{line}"
        );
        assert_eq!(json["status"], status, "{line}");
        for member in ["title", "detail", "remedy"] {
            assert!(
                json[member].as_str().is_some_and(|text| !text.is_empty()),
                "{line}"
            );
        }
        let wait = answer.header("retry-after");
        assert_eq!(
            wait.is_empty(),
            !matches!(status, 409 | 503),
            "{line}: {wait}"
        );
    }
}

#[tokio::test]
async fn accept_is_read_leniently() {
    for accept in [
        "application/sdp",
        "*/*",
        "application/*",
        "text/html, application/sdp;q=0.5",
    ] {
        let answer = ask("POST /whep/demo", &[SDP, ("accept", accept)], OFFER).await;
        assert_eq!(answer.status, 201, "{accept}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_utf_8_is_refused() {
    let request = request("POST /whep/demo", &[SDP], vec![0x76, 0xff]);
    let answer = send(&site_with(""), HERE, request).await;
    assert_eq!(
        (answer.status, answer.json()["type"].as_str()),
        (400, Some("urn:freshet:problem:bad-body"))
    );
}

#[tokio::test]
async fn get_and_head_discover_the_endpoint() {
    for method in ["GET", "HEAD"] {
        let answer = ask(&format!("{method} /whep/demo"), &[], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{method}");
        assert_eq!(answer.header("content-type"), "application/sdp", "{method}");
        let answer = ask(&format!("{method} /session/{ID}"), &[], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{method}");
    }
}

#[tokio::test]
async fn patch_trickles_restarts_and_insists_on_if_match() {
    let line = format!("PATCH /session/{ID}");
    let cases: [(Headers<'_>, &str, u16); 6] = [
        (&[FRAGMENT, ("if-match", "\"tag\"")], "a=candidate", 204),
        (&[FRAGMENT, ("if-match", "*")], "a=ice-ufrag:x", 200),
        (&[FRAGMENT], "a=candidate", 428),
        (&[FRAGMENT, ("if-match", "\"old\"")], "a=candidate", 412),
        (&[SDP, ("if-match", "\"tag\"")], "a=candidate", 415),
        (&[("if-match", "\"tag\"")], "a=candidate", 415),
    ];
    for (headers, body, status) in cases {
        let answer = ask(&line, headers, body).await;
        assert_eq!(answer.status, status, "{headers:?}");
        let expected = if status == 200 { "\"next\"" } else { "" };
        assert_eq!(
            answer.header("etag"),
            expected,
            "a trickle has no ETag: {headers:?}"
        );
        if status == 415 {
            assert_eq!(answer.header("accept-patch"), FRAGMENT.1);
        }
    }
    let restarted = ask(&line, &[FRAGMENT, ("if-match", "*")], "a=ice-ufrag:x").await;
    assert_eq!(restarted.header("content-type"), FRAGMENT.1);
    assert_eq!(restarted.body, "a=ice-ufrag:new");
}

#[tokio::test]
async fn delete_ends_a_session_whatever_the_tag() {
    let line = format!("DELETE /session/{ID}");
    assert_eq!(ask(&line, &[("if-match", "\"old\"")], "").await.status, 204);
}

#[tokio::test]
async fn a_preflight_is_answered_and_the_api_is_not_shared() {
    let preflight = [
        ("origin", "https://x.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = ask("OPTIONS /whep/demo", &preflight, "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("accept-post"), "application/sdp");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("POST")
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("If-Match")
    );
    let answer = ask(&format!("OPTIONS /session/{ID}"), &preflight, "").await;
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("PATCH")
    );
    let api = ask("OPTIONS /v1/streams", &preflight, "").await;
    assert_eq!(
        (api.status, api.header("access-control-allow-origin")),
        (405, "")
    );
    let refused = ask("POST /whep/nobody", &[SDP, preflight[0]], OFFER).await;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        "*",
        "a page must see why"
    );
}

#[tokio::test]
async fn only_listed_origins_are_let_in() {
    let site = site_with("[http]\nallowed_origins = [\"https://a.example\"]");
    for (origin, allowed) in [
        ("https://a.example", "https://a.example"),
        ("https://b.example", ""),
    ] {
        let headers = [SDP, ("origin", origin)];
        let answer = send(&site, HERE, request("POST /whep/demo", &headers, OFFER)).await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
        assert_eq!(answer.header("vary"), "Origin");
    }
}

#[tokio::test]
async fn a_stream_may_want_a_token() {
    let site = site_with("[[stream]]\nname = \"demo\"\nplay_token = \"0123456789abcdef\"");
    let without = send(&site, HERE, request("POST /whep/demo", &[SDP], OFFER)).await;
    assert_eq!(without.status, 401);
    assert!(without.header("www-authenticate").starts_with("Bearer"));
    let token = ("authorization", "Bearer 0123456789abcdef");
    let with = send(
        &site,
        AWAY,
        request("POST /whep/demo", &[SDP, token], OFFER),
    )
    .await;
    assert_eq!(with.status, 201);
}

#[tokio::test]
async fn publishing_is_for_this_host_and_for_those_with_a_token() {
    let site = site_with("[auth]\npublish_tokens = [\"0123456789abcdef\"]");
    let post = |path: &str, from: &'static str, headers: Headers<'_>| {
        let request = request(&format!("POST /whip/{path}"), headers, OFFER);
        let site = site.clone();
        async move { send(&site, from, request).await }
    };
    let local = [SDP, ("host", "localhost:8080")];
    let here = post("new/one", HERE, &local).await;
    assert_eq!((here.status, here.body.as_str()), (201, "v=0 answer"));
    assert_eq!(
        here.header("location"),
        "/session/abcdefghijklmnopqrstuvwxyz"
    );
    assert_eq!(here.header("etag"), "\"tag\"");
    assert_eq!(post("taken", HERE, &local).await.status, 409);

    let away = post("new", AWAY, &local).await;
    assert_eq!(away.status, 401);
    assert!(away.header("www-authenticate").starts_with("Bearer"));
    let token = |value| [SDP, ("authorization", value)];
    let right = post("new", AWAY, &token("Bearer 0123456789abcdef")).await;
    assert_eq!(right.status, 201);
    let wrong = post("new", AWAY, &token("Bearer 0123456789abcdeF")).await;
    assert_eq!(wrong.status, 401);

    // A page of another site must not make somebody's browser publish.
    let foreign = [SDP, local[1], ("sec-fetch-site", "cross-site")];
    assert_eq!(post("new", HERE, &foreign).await.status, 401);

    let listed = site_with("[streams]\naccept = \"listed\"\n[[stream]]\nname = \"a\"");
    let refused = send(&listed, HERE, request("POST /whip/b", &local, OFFER)).await;
    assert_eq!(refused.status, 404);
    assert_eq!(
        refused.json()["type"],
        "urn:freshet:problem:stream-not-listed"
    );
}

#[tokio::test]
async fn a_publishing_endpoint_says_what_it_takes() {
    let look = ask("GET /whip/anything", &[], "").await;
    assert_eq!((look.status, look.body.as_str()), (200, ""));
    assert_eq!(look.header("accept-post"), "application/sdp");
    let options = ask(
        "OPTIONS /whip/anything",
        &[("origin", "https://x.example")],
        "",
    )
    .await;
    assert_eq!(options.status, 204);
    assert_eq!(options.header("access-control-allow-origin"), "*");
    assert_eq!(ask("GET /whip/..", &[], "").await.status, 400);
    let not_sdp = ask("POST /whip/x", &[("host", "localhost")], OFFER).await;
    assert_eq!(not_sdp.status, 415);
}
