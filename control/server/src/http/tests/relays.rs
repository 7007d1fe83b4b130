//! The endpoints of relays.

use super::*;
use crate::control::{RelayOffer, RelayRequest, RelayStep};

const JSON: (&str, &str) = ("content-type", "application/json");

/// An offer that nobody hears the end of.
pub(super) fn answer(request: RelayRequest) {
    match request {
        RelayRequest::Offer(_, _, reply) => {
            let (_, steps) = watch::channel(RelayStep::Offered);
            let offer = RelayOffer {
                id: ID.into(),
                offer: OFFER.into(),
                steps,
            };
            let _ = reply.send(Ok(offer));
        }
        RelayRequest::Answer(_, reply) | RelayRequest::Restarted(_, _, reply) => {
            let _ = reply.send(Ok(()));
        }
        RelayRequest::Counter(_, reply) | RelayRequest::Restart(_, reply) => {
            let _ = reply.send(Ok(OFFER.into()));
        }
    }
}

async fn post(site: &Site, body: &str) -> Answer {
    let request = request("POST /v1/relays", &[JSON], body.to_owned());
    send(site, HERE, request).await
}

fn relay(direction: &str, stream: &str, url: &str) -> String {
    serde_json::json!({"direction": direction, "stream": stream, "url": url}).to_string()
}

#[tokio::test]
async fn a_relay_is_made_shown_and_ended() {
    let site = site_with("");
    // Nobody listens at port 1.
    let made = post(&site, &relay("pull", "a/b", "http://127.0.0.1:1/whep/x")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let location = made.header("location").to_owned();
    let view = made.json();
    assert_eq!(
        location,
        format!("/v1/relays/{}", view["id"].as_str().unwrap())
    );
    assert_eq!(view["state"], "connecting");
    let look = format!("GET {location}");
    let mut shown = serde_json::Value::Null;
    for _ in 0..100 {
        shown = send(&site, HERE, request(&look, &[], "")).await.json();
        if shown["state"] == "waiting" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(shown["last_error"]["reason"], "unreachable", "{shown}");
    assert!(shown["retry_unix_ms"].as_u64() > shown["since_unix_ms"].as_u64());
    assert_eq!(shown["failures"], shown["attempts"]);
    let list = send(&site, HERE, request("GET /v1/relays", &[], "")).await;
    assert_eq!(list.json().as_array().unwrap().len(), 1);
    let metrics = send(&site, HERE, request("GET /metrics", &[], ""))
        .await
        .body;
    assert!(metrics.contains("freshet_relay_active 1"), "{metrics}");
    assert!(metrics.contains("freshet_relay_failed_unreachable_total 1"));
    // For operators alone, since its URL may hold a secret.
    for line in ["GET /v1/relays", &look, "POST /v1/relays"] {
        let answer = send(&site, AWAY, request(line, &[JSON], "{}")).await;
        assert_eq!(answer.status, 401, "{line}");
    }
    let delete = format!("DELETE {location}");
    assert_eq!(
        send(&site, AWAY, request(&delete, &[], "")).await.status,
        401
    );
    assert_eq!(
        send(&site, HERE, request(&delete, &[], "")).await.status,
        204
    );
    assert_eq!(
        send(&site, HERE, request(&delete, &[], "")).await.status,
        404
    );
}

#[tokio::test]
async fn what_cannot_be_a_relay_is_refused() {
    let site = site_with("");
    let to = "http://127.0.0.1:1/x";
    for (body, status, name) in [
        ("{", 400, "bad-relay"),
        (
            "{\"direction\": \"pull\", \"stream\": \"a\"}",
            400,
            "bad-relay",
        ),
        (&relay("sideways", "a", to), 400, "bad-relay"),
        (&relay("pull", "no spaces", to), 400, "bad-relay"),
        (&relay("pull", "a", "ftp://x/y"), 422, "relay-url"),
        (&relay("pull", "a", "http://u:p@x/y"), 422, "relay-url"),
        (
            &relay("pull", "a", "http://127.0.0.1:8080/whep/a"),
            422,
            "relay-loop",
        ),
        (
            &relay("push", "a", "http://localhost:8080/whip/a"),
            422,
            "relay-loop",
        ),
    ] {
        let refused = post(&site, body).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.body);
        assert!(refused.body.contains(name), "{body}: {}", refused.body);
    }
    assert_eq!(post(&site, &relay("pull", "a", to)).await.status, 201);
    let other = relay("pull", "a", "http://127.0.0.1:1/y");
    assert_eq!(post(&site, &other).await.status, 409);
    assert_eq!(post(&site, &relay("push", "a", to)).await.status, 201);
    assert_eq!(post(&site, &relay("push", "a", to)).await.status, 409);
    let text = request("POST /v1/relays", &[("content-type", "text/plain")], "{}");
    assert_eq!(send(&site, HERE, text).await.status, 415);
}

#[tokio::test]
async fn configured_relays_begin_and_stay() {
    let toml = "[[pull]]\nstream = \"a\"\nurl = \"http://127.0.0.1:1/whep/{stream}\"\n\
                [[push]]\nstream = \"de*\"\nurl = \"http://127.0.0.1:1/whip/{stream}\"\n";
    let site = site_with(toml);
    site.relays().start();
    // Stream `demo` is live.
    let mut found = Vec::new();
    for _ in 0..100 {
        let list = send(&site, HERE, request("GET /v1/relays", &[], ""))
            .await
            .json();
        found = list.as_array().unwrap().clone();
        if found.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let urls: Vec<_> = found
        .iter()
        .map(|relay| relay["url"].as_str().unwrap())
        .collect();
    assert_eq!(
        urls,
        ["http://127.0.0.1:1/whep/a", "http://127.0.0.1:1/whip/demo"]
    );
    let id = found[0]["id"].as_str().unwrap();
    let line = format!("DELETE /v1/relays/{id}");
    let kept = send(&site, HERE, request(&line, &[], "")).await;
    assert_eq!(kept.status, 409, "{}", kept.body);
    site.relays().stop().await;
    let list = send(&site, HERE, request("GET /v1/relays", &[], "")).await;
    assert_eq!(list.body, "[]");
}

#[tokio::test]
async fn a_node_that_fetches_is_told_from_a_viewer() {
    let site = site_with("");
    let relay = ("freshet-relay", "somebody demo");
    for (headers, status) in [(vec![SDP], 503), (vec![SDP, relay], 201)] {
        let asked = request("POST /whep/nodes-only", &headers, OFFER);
        let answer = send(&site, HERE, asked).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_node_does_not_answer_itself() {
    let site = site_with("");
    let node = site.relays().node().to_owned();
    for (said, status) in [
        (format!("{node} demo"), 508),
        (format!("{node} other"), 201),
        ("somebody demo".to_owned(), 201),
    ] {
        for path in ["/whep/demo", "/whip/demo"] {
            let headers = [SDP, ("freshet-relay", said.as_str())];
            let line = format!("POST {path}");
            let answer = send(&site, HERE, request(&line, &headers, OFFER)).await;
            assert_eq!(answer.status, status, "{said} {path}: {}", answer.body);
        }
    }
}
