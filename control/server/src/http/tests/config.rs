//! The configuration as operators see it, and how another one is refused before anybody reads it.

use super::*;

const CONFIG: &str = "[auth]\nadmin_tokens = [\"0123456789abcdef\"]\n[limits]\nmax_load = 0.5";

const AS_TOML: (&str, &str) = ("content-type", "application/toml");

#[tokio::test]
async fn it_is_shown_without_secrets() {
    let site = site_with(CONFIG);
    let toml = send(&site, HERE, request("GET /v1/config", &[], "")).await;
    assert_eq!(
        (toml.status, toml.header("content-type")),
        (200, "application/toml")
    );
    assert!(toml.body.contains("max_load = 0.5"), "{}", toml.body);
    assert!(!toml.body.contains("0123456789abcdef"), "{}", toml.body);
    let read: toml::Table = toml::from_str(&toml.body).unwrap();
    let accept = [("accept", "application/json")];
    let json = send(&site, HERE, request("GET /v1/config", &accept, "")).await;
    assert_eq!(json.json(), serde_json::to_value(&read).unwrap());
    assert_eq!(json.header("etag"), toml.header("etag"));
    // It is of the secrets, too.
    let other = site_with(&CONFIG.replace("0123", "9123"));
    let other = Site {
        desk: site.desk.clone(),
        ..other
    };
    let other = send(&other, HERE, request("GET /v1/config", &[], "")).await;
    assert_eq!(other.body, toml.body);
    assert_ne!(other.header("etag"), toml.header("etag"));
}

#[tokio::test]
async fn it_is_for_operators_who_send_the_right_thing() {
    let site = site_with(CONFIG);
    for method in ["GET", "PUT"] {
        let asked = request(&format!("{method} /v1/config"), &[AS_TOML], "");
        let answer = send(&site, AWAY, asked).await;
        assert_eq!(answer.status, 401, "{method}");
    }
    assert_eq!(put(&site, &[]).await.status, 415);
    let stale = put(&site, &[AS_TOML, ("if-match", "\"0000000000000000\"")]).await;
    assert_eq!(stale.status, 412, "{}", stale.body);
    // Nobody is there who could write it.
    let shown = send(&site, HERE, request("GET /v1/config", &[], "")).await;
    for tag in [shown.header("etag"), "*"] {
        let alone = put(&site, &[AS_TOML, ("if-match", tag)]).await;
        assert_eq!(alone.status, 409, "{}", alone.body);
        assert!(alone.body.contains("no-config-file"), "{}", alone.body);
    }
    let folder = std::env::temp_dir().join("freshet-no-supervisor-here");
    let site = Site {
        desk: Arc::new(Desk::new(Some(folder))),
        ..site
    };
    let silent = put(&site, &[AS_TOML]).await;
    assert_eq!(silent.status, 503, "{}", silent.body);
}

async fn put(site: &Site, headers: Headers<'_>) -> Answer {
    send(site, HERE, request("PUT /v1/config", headers, CONFIG)).await
}
