//! Counter-offers, event streams, layers, and streams that are elsewhere.

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const ORIGIN: (&str, &str) = ("origin", "https://x.example");

fn links(answer: &Answer) -> Vec<&str> {
    let all = answer.headers.get_all("link").iter();
    all.map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn an_empty_offer_is_countered() {
    let answer = ask("POST /whep/demo", &[SDP, ORIGIN], "").await;
    assert_eq!((answer.status, answer.body.as_str()), (406, "v=0 offer"));
    assert_eq!(answer.header("location"), format!("/session/{ID}"));
    assert_eq!(answer.header("etag"), "\"tag\"");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(
        answer
            .header("accept-patch")
            .starts_with("application/sdp,")
    );
    let kind = answer.header("content-type");
    let until = kind.strip_prefix("application/sdp; valid-until=\"");
    let until = until.and_then(|rest| rest.strip_suffix('"')).unwrap();
    let until = httpdate::parse_http_date(until).unwrap();
    let left = until.duration_since(std::time::SystemTime::now()).unwrap();
    assert!(
        left <= Duration::from_secs(10) && left > Duration::from_secs(5),
        "{left:?}"
    );
    assert_eq!(links(&answer).len(), 2);

    let line = format!("PATCH /session/{ID}");
    let answered = ask(&line, &[SDP], "v=0 answer").await;
    assert_eq!((answered.status, answered.header("etag")), (204, ""));
    // One that is not awaited is of the wrong type.
    let again = ask(&line, &[SDP], "v=0 again").await;
    assert_eq!(
        (again.status, again.header("accept-patch")),
        (415, FRAGMENT.1)
    );
}

#[tokio::test]
async fn a_session_that_watches_says_where_its_extensions_are() {
    let answer = ask("POST /whep/demo", &[SDP], OFFER).await;
    assert_eq!(
        links(&answer),
        [
            "</session/abcdefghijklmnopqrstuvwxyz/sse>; \
             rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; \
             events=\"active,inactive,layers,reconnect,viewercount\"",
            "</session/abcdefghijklmnopqrstuvwxyz/layer>; \
             rel=\"urn:ietf:params:whep:ext:core:layer\"",
        ]
    );
    let publisher = ask("POST /whip/new", &[SDP, ("host", "localhost")], OFFER).await;
    assert_eq!((publisher.status, links(&publisher).len()), (201, 0));
}

#[tokio::test]
async fn an_event_stream_is_made_read_and_ended() {
    let sse = format!("POST /session/{ID}/sse");
    for (headers, body, number) in [
        (&[JSON, ORIGIN][..], "[\"active\",\"layers\"]", 2),
        (&[ORIGIN], "", 1),
        (
            &[("content-type", "application/json; charset=utf-8")],
            "[]",
            2,
        ),
    ] {
        let made = ask(&sse, headers, body).await;
        assert_eq!(made.status, 201, "{body}: {}", made.body);
        assert_eq!(
            made.header("location"),
            format!("/session/{ID}/sse/{number}")
        );
    }
    let path = format!("/session/{ID}/sse/1");
    let read = ask(
        &format!("GET {path}"),
        &[("accept", "text/event-stream"), ORIGIN],
        "",
    )
    .await;
    assert_eq!(read.status, 200);
    assert_eq!(read.header("content-type"), "text/event-stream");
    assert_eq!(read.header("cache-control"), "no-store");
    assert_eq!(read.header("access-control-allow-origin"), "*");
    assert_eq!(
        read.body,
        "retry: 1000\n\nevent: viewercount\ndata: {\"viewercount\":1}\n\n\
         event: viewercount\ndata: {\"viewercount\":2}\n\n"
    );
    let head = ask(&format!("HEAD {path}"), &[], "").await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, "text/event-stream")
    );
    assert_eq!(ask(&format!("DELETE {path}"), &[], "").await.status, 204);
}

#[tokio::test]
async fn what_is_no_event_and_no_layer_is_refused() {
    let sse = format!("POST /session/{ID}/sse");
    let layer = format!("POST /session/{ID}/layer");
    let read = format!("GET /session/{ID}/sse/2");
    let end = format!("DELETE /session/{ID}/sse/2");
    let odd = format!("GET /session/{ID}/sse/first");
    let cases: [(&str, Headers<'_>, &str, u16, &str); 12] = [
        (
            &sse,
            &[JSON],
            "[\"active\",\"scte35\"]",
            400,
            "event-unknown",
        ),
        (&sse, &[JSON], "{\"active\":true}", 400, "bad-json"),
        (&sse, &[JSON], "[1]", 400, "bad-json"),
        (&sse, &[SDP], "[]", 415, "wrong-content-type"),
        (
            "POST /session/nobody/sse",
            &[JSON],
            "[]",
            404,
            "session-unknown",
        ),
        (&read, &[], "", 404, "event-stream-unknown"),
        (&end, &[], "", 404, "event-stream-unknown"),
        (&odd, &[], "", 404, "session-unknown"),
        (
            &layer,
            &[JSON],
            "{\"encodingId\":\"x\"}",
            404,
            "layer-unknown",
        ),
        (&layer, &[JSON], "{\"temporalLayerId\":-1}", 400, "bad-json"),
        (
            &layer,
            &[("content-type", "text/plain")],
            "{}",
            415,
            "wrong-content-type",
        ),
        (
            "POST /session/nobody/layer",
            &[JSON],
            "{}",
            404,
            "session-unknown",
        ),
    ];
    for (line, headers, body, status, name) in cases {
        let answer = ask(line, headers, body).await;
        assert_eq!(answer.status, status, "{line} {body}: {}", answer.body);
        assert_eq!(
            answer.json()["type"],
            format!("urn:freshet:problem:{name}"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn layers_are_chosen_and_given_back() {
    let line = format!("POST /session/{ID}/layer");
    for body in [
        "{\"mediaId\":\"1\",\"encodingId\":\"h\"}",
        "{\"rid\":\"h\"}",
        "{}",
        "",
    ] {
        assert_eq!(ask(&line, &[JSON], body).await.status, 200, "{body}");
    }
    let preflight = [
        ORIGIN,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    for path in ["sse", "layer", "sse/1"] {
        let options = ask(&format!("OPTIONS /session/{ID}/{path}"), &preflight, "").await;
        assert_eq!(options.status, 204, "{path}");
        assert_eq!(options.header("access-control-allow-origin"), "*", "{path}");
        let methods = options.header("access-control-allow-methods");
        let wanted = if path == "sse/1" { "DELETE" } else { "POST" };
        assert!(methods.contains(wanted), "{path}: {methods}");
    }
}

#[tokio::test]
async fn streams_that_are_elsewhere_are_asked_for_there() {
    let site = site_with(
        "[auth]\nplay_tokens = [\"0123456789abcdef\"]\n[[stream]]\nname = \"far/*\"\n\
         redirect = \"https://b.example:8443/{protocol}/{stream}\"",
    );
    for (line, location) in [
        ("POST /whep/far/one", "https://b.example:8443/whep/far/one"),
        ("POST /whip/far/two", "https://b.example:8443/whip/far/two"),
        ("GET /whep/far/one", "https://b.example:8443/whep/far/one"),
        ("HEAD /whip/far/one", "https://b.example:8443/whip/far/one"),
    ] {
        // Whoever may not watch it there is told so there.
        let answer = send(&site, AWAY, request(line, &[SDP, ORIGIN], OFFER)).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (307, location),
            "{line}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{line}");
    }
    let near = send(&site, AWAY, request("POST /whep/near", &[SDP], OFFER)).await;
    assert_eq!(near.status, 401);
    let page = send(&site, HERE, request("GET /", &[], "")).await;
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("connect-src 'self' https://b.example:8443;"),
        "{policy}"
    );
    let page = ask("GET /", &[], "").await;
    assert!(
        page.header("content-security-policy")
            .contains("connect-src 'self';")
    );
}
