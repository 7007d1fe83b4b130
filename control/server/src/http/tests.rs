//! The routes against a driver that the test plays.

mod sockets;

use super::*;
use crate::control::{
    Created, MetricsSnapshot, NodeView, Patched, PublisherKind, PublisherView, Readiness, Request,
    SessionPage, SessionState, SessionView, StreamState, StreamView,
};
use axum::body::Body;
use axum::http::{self, HeaderMap};
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
        id: ID.into(),
        state: SessionState::Connected,
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
        _ => Err(problem(404, "stream-unknown")),
    }
}

fn whep_patch(if_match: Option<&str>, fragment: &str) -> Result<Patched, Problem> {
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
        Request::WhepPost {
            stream,
            offer,
            reply,
            ..
        } => {
            let _ = reply.send(whep_post(stream.as_str(), &offer));
        }
        Request::WhepPatch {
            id,
            if_match,
            fragment,
            reply,
        } => {
            let patched = whep_patch(if_match.as_deref(), &fragment);
            let _ = reply.send(known(&id, ()).and(patched));
        }
        Request::WhepDelete { id, reply } | Request::CloseSession(id, reply) => {
            let _ = reply.send(known(&id, ()));
        }
        Request::Streams(reply) => {
            let _ = reply.send(Ok(vec![stream_view("demo")]));
        }
        Request::Stream(name, reply) => {
            let demo = name.as_str() == "demo";
            let _ = reply.send(if demo {
                Ok(stream_view("demo"))
            } else {
                Err(unknown())
            });
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
    Site::new(control, watch::channel(Arc::new(config)).1)
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
        ("location", "/whep-session/abcdefghijklmnopqrstuvwxyz"),
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
    let cases: [(&str, &[(&str, &str)], &str, u16, &str); 28] = [
        ("POST /whep/nobody", &[SDP], OFFER, 404, "stream-unknown"),
        ("POST /whep/idle", &[SDP], OFFER, 409, "no-media-yet"),
        ("POST /whep/full", &[SDP], OFFER, 503, "full"),
        ("POST /whep/demo", &[SDP], "v=1", 422, "offer-unusable"),
        ("POST /whep/demo", &[SDP], "", 400, "no-offer"),
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
        (
            "POST /whep-session/x",
            &[SDP],
            OFFER,
            405,
            "method-not-allowed",
        ),
        (
            "DELETE /whep-session/nobody",
            &[],
            "",
            404,
            "session-unknown",
        ),
        (
            "DELETE /whep-session/%2e%2e",
            &[],
            "",
            404,
            "session-unknown",
        ),
        ("GET /whep-session/nobody", &[], "", 404, "session-unknown"),
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
        let answer = ask(&format!("{method} /whep-session/{ID}"), &[], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{method}");
    }
}

#[tokio::test]
async fn patch_trickles_restarts_and_insists_on_if_match() {
    let line = format!("PATCH /whep-session/{ID}");
    let cases: [(&[(&str, &str)], &str, u16); 6] = [
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
    let line = format!("DELETE /whep-session/{ID}");
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
    let answer = ask(&format!("OPTIONS /whep-session/{ID}"), &preflight, "").await;
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
async fn every_route_names_its_methods() {
    for (path, allow) in ROUTES {
        let path = path
            .replace("{*stream}", "demo")
            .replace("{*name}", "demo")
            .replace("{id}", ID);
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
        ] {
            let answer = ask(&format!("{method} {path}"), &[], "").await;
            let taken = allow.split(", ").any(|one| one == method);
            assert_eq!(
                answer.status != 405,
                taken,
                "{method} {path}: {}",
                answer.status
            );
            if !taken {
                assert_eq!(answer.header("allow"), allow, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_has_every_route_and_method() {
    let document = serde_json::to_value(openapi::api()).unwrap();
    let unlisted = ["/", "/style.css", "/app.js", "/v1/openapi.json"];
    let mut paths = 0;
    for (path, allow) in ROUTES {
        let path = path.replace("{*", "{");
        if unlisted.contains(&&path[..]) {
            continue;
        }
        paths += 1;
        let methods = document["paths"][&path]
            .as_object()
            .unwrap_or_else(|| panic!("{path}"));
        let described: Vec<&str> = methods.keys().map(String::as_str).collect();
        let mut wanted: Vec<String> = allow.to_lowercase().split(", ").map(String::from).collect();
        // Every GET answers HEAD too.
        wanted.retain(|method| method != "head");
        wanted.sort();
        assert_eq!(described, wanted, "{path}");
    }
    assert_eq!(document["paths"].as_object().unwrap().len(), paths);
    assert_eq!(ask("GET /v1/openapi.json", &[], "").await.json(), document);
}

#[tokio::test]
async fn the_api_shows_streams_to_all_and_addresses_to_operators() {
    let site = site_with("[auth]\nadmin_tokens = [\"0123456789abcdef\"]");
    let token: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");
    for (from, headers, sees) in [
        (HERE, vec![], true),
        (AWAY, vec![], false),
        (AWAY, vec![token], true),
        (HERE, vec![("x-forwarded-for", "192.0.2.1")], false),
    ] {
        for (path, pointer) in [
            ("/v1/streams", "/0/publisher/remote"),
            ("/v1/streams/demo", "/publisher/remote"),
        ] {
            let answer = send(&site, from, request(&format!("GET {path}"), &headers, "")).await;
            assert_eq!(answer.status, 200);
            let json = answer.json();
            assert_eq!(
                json.pointer(pointer).is_some(),
                sees,
                "{from} {headers:?} {path}"
            );
        }
    }
    assert_eq!(ask("GET /v1/streams/nobody", &[], "").await.status, 404);
    assert_eq!(ask("GET /v1/streams/a%2f..", &[], "").await.status, 400);
}

#[tokio::test]
async fn sessions_and_the_node_are_for_operators() {
    let site = site_with("[auth]\nadmin_tokens = [\"0123456789abcdef\"]");
    let token = [("authorization", "Bearer 0123456789abcdef")];
    let id = format!("/v1/sessions/{ID}");
    for (line, status) in [
        ("GET /v1/sessions", 200),
        (&format!("GET {id}")[..], 200),
        (&format!("DELETE {id}")[..], 204),
        ("DELETE /v1/sessions/nobody", 404),
        ("GET /v1/node", 200),
    ] {
        assert_eq!(
            send(&site, HERE, request(line, &[], "")).await.status,
            status,
            "{line}"
        );
        assert_eq!(
            send(&site, AWAY, request(line, &token, "")).await.status,
            status,
            "{line}"
        );
        let stranger = send(&site, AWAY, request(line, &[], "")).await;
        assert_eq!(stranger.status, 401, "{line}");
        assert!(stranger.header("www-authenticate").starts_with("Bearer"));
        let wrong = [("authorization", "Bearer 0123456789abcdeF")];
        assert_eq!(
            send(&site, AWAY, request(line, &wrong, "")).await.status,
            401,
            "{line}"
        );
        let rebound = [("host", "evil.example")];
        assert_eq!(
            send(&site, HERE, request(line, &rebound, "")).await.status,
            401,
            "{line}"
        );
    }
    // Without tokens there is none to guess.
    let closed = site_with("");
    let empty = [("authorization", "Bearer ")];
    assert_eq!(
        send(&closed, AWAY, request("GET /v1/node", &empty, ""))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn the_query_of_sessions_is_checked() {
    let page = ask("GET /v1/sessions?stream=demo&limit=5", &[], "").await;
    assert_eq!(page.json()["next"], "demo+5");
    for query in ["limit=0", "limit=1001", "limit=x", "colour=red"] {
        let answer = ask(&format!("GET /v1/sessions?{query}"), &[], "").await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test]
async fn health_and_metrics() {
    assert_eq!(ask("GET /livez", &[], "").await.body, "ok\n");
    let ready = ask("GET /readyz", &[], "").await;
    assert_eq!(
        (ready.status, ready.json()["ready"].as_bool()),
        (503, Some(false))
    );
    let metrics = ask("GET /metrics", &[], "").await;
    assert!(
        metrics
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(
        metrics
            .body
            .contains("freshet_stream_viewer_active{stream=\"demo\"} 7")
    );
    assert!(metrics.body.contains("freshet_http_request_served_total"));
}

#[tokio::test]
async fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
    for (path, kind) in [
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/app.js", "text/javascript"),
    ] {
        let answer = ask(&format!("GET {path}"), &[], "").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").starts_with(kind));
        assert!(
            answer
                .header("content-security-policy")
                .contains("script-src 'self'")
        );
        assert!(
            !answer.body.contains("https://"),
            "{path} names another host"
        );
        assert!(answer.body.len() > 500, "{path} is empty");
    }
    let site = site_with("[srt]\nlisten = \"*:7777\"");
    let page = send(&site, AWAY, request("GET /", &[], "")).await.body;
    assert!(page.contains("content=\"7777\""), "publishers are sent to the wrong port");
    assert!(page.contains("/app.js") && page.contains("/style.css"));
    let script = page.matches("<script").count();
    assert!(script == 1 && !page.contains(" style=") && !page.contains(" onclick="));
}

#[tokio::test]
async fn a_driver_that_is_gone_is_503_and_the_process_still_lives() {
    let (control, driver) = Control::channel();
    drop(driver);
    let site = Site::new(control, watch::channel(Arc::new(Config::default())).1);
    for line in [
        "GET /v1/streams",
        "GET /readyz",
        "GET /metrics",
        "GET /whep/demo",
    ] {
        let answer = send(&site, HERE, request(line, &[], "")).await;
        assert_eq!(answer.status, 503, "{line}");
        assert_eq!(answer.header("retry-after"), "1", "{line}");
    }
    assert_eq!(
        send(&site, HERE, request("GET /livez", &[], ""))
            .await
            .status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn many_pages_make_one_list() {
    let (control, mut driver) = Control::channel();
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    tokio::spawn(async move {
        while let Some(request) = driver.recv().await {
            counter.fetch_add(1, Relaxed);
            answer(request);
        }
    });
    let site = Site::new(control, watch::channel(Arc::new(Config::default())).1);
    for _ in 0..50 {
        send(&site, AWAY, request("GET /v1/streams", &[], "")).await;
    }
    assert_eq!(asked.load(Relaxed), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    send(&site, AWAY, request("GET /v1/streams", &[], "")).await;
    assert_eq!(asked.load(Relaxed), 2);
}
