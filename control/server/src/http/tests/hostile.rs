//! Who has no right, and says so in every way: tokens that are none, names that climb, lines that
//! are broken.

use super::*;

/// `{"alg":"none","typ":"JWT"}` with `{"room":"demo","sub":"admin"}`, and nothing to prove it.
const UNSIGNED: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.\
                        eyJyb29tIjoiZGVtbyIsInN1YiI6ImFkbWluIn0.";

const ANY: &str = "publish-0123456789";

const CONFIG: &str = "[auth]\npublish_tokens = [\"publish-0123456789\"]\n\
                      play_tokens = [\"play-0123456789abc\"]\n\
                      admin_tokens = [\"admin-0123456789ab\"]\n\
                      [[stream]]\nname = \"own\"\nplay_token = \"own-play-0123456789\"\n\
                      publish_token = \"own-publish-012345\"";

#[tokio::test]
async fn a_token_opens_its_own_door_alone() {
    let site = site_with(CONFIG);
    let ask = |line: &'static str, token: &'static str| {
        let header = ("authorization", format!("Bearer {token}"));
        let request = request(line, &[SDP, (header.0, &header.1)], OFFER);
        let site = site.clone();
        async move { send(&site, AWAY, request).await.status }
    };
    let doors = [
        ("POST /whep/demo", "play-0123456789abc", 201),
        ("POST /whip/new", ANY, 201),
        ("POST /whip/own", "own-publish-012345", 201),
        ("GET /v1/sessions", "admin-0123456789ab", 200),
    ];
    for (line, right, status) in doors {
        assert_eq!(ask(line, right).await, status, "{line}");
        let others = doors.iter().map(|(_, token, _)| *token);
        let made_up = [
            UNSIGNED,
            "",
            "play-0123456789ab",
            "play-0123456789abcd",
            "PLAY-0123456789ABC",
            "undefined",
            "own-play-0123456789",
        ];
        // Those of `auth.publish_tokens` publish anything.
        let is_right =
            |token: &str| token == right || line.starts_with("POST /whip") && token == ANY;
        for wrong in others.chain(made_up).filter(|token| !is_right(token)) {
            assert_eq!(ask(line, wrong).await, 401, "{line} with {wrong}");
        }
    }
}

#[tokio::test]
async fn names_and_broken_lines_stay_where_they_are() {
    for stream in [
        "demo%0d%0aset-cookie:%20x=1",
        "demo%0aLocation:%20http://203.0.113.1/",
        "%2e%2e/%2e%2e/etc/passwd",
        "demo%00",
        "..%5c..",
        "a/b/c/d/e",
        "caf%c3%a9",
        "%ff",
    ] {
        for kind in ["whep", "whip"] {
            let line = format!("POST /{kind}/{stream}");
            let answer = ask(&line, &[SDP, ("host", "localhost")], OFFER).await;
            assert!(
                [400, 404].contains(&answer.status),
                "{line}: {}",
                answer.status
            );
            assert_eq!(answer.header("set-cookie"), "", "{line}");
            assert_eq!(answer.header("location"), "", "{line}");
        }
    }
}

/// Values that some key may have, and others not.
const VALUES: [&str; 22] = [
    "null",
    "true",
    "0",
    "-1",
    "256",
    "4294967296",
    "1e999",
    "-0.0",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"..%2f\"",
    "\"pull\"",
    "\"http://x.example/\"",
    "\"http://[::1\"",
    "\"http://a:b@c:99999/d\"",
    "\"file:///etc/passwd\"",
    "[]",
    "[[]]",
    "{}",
    "{\"a\":1}",
];

/// All keys of all bodies.
const KEYS: [&str; 13] = [
    "mediaId",
    "encodingId",
    "rid",
    "spatialLayerId",
    "temporalLayerId",
    "maxSpatialLayerId",
    "maxTemporalLayerId",
    "maxWidth",
    "maxHeight",
    "direction",
    "stream",
    "url",
    "token",
];

/// Whatever stands in a body of JSON, the answer is one of ours, and says what is wrong.
#[tokio::test]
async fn no_body_is_too_strange_for_an_answer() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let mut bodies = vec![
        deep,
        "{".to_owned(),
        "\u{feff}{}".to_owned(),
        "[,]".to_owned(),
    ];
    for value in VALUES {
        bodies.push(value.to_owned());
        bodies.push(format!("[{value}]"));
        for key in KEYS {
            bodies.push(format!("{{\"{key}\":{value}}}"));
            let rest = "\"direction\":\"pull\",\"stream\":\"a\",\"url\":\"http://127.0.0.1:1/x\"";
            bodies.push(format!("{{{rest},\"{key}\":{value}}}"));
        }
    }
    let site = site_with("");
    let layer = format!("POST /session/{ID}/layer");
    let events = format!("POST /session/{ID}/sse");
    let lines = [
        &layer,
        &events,
        "POST /v1/relays",
        "PUT /v1/drain",
        "PUT /v1/config",
    ];
    let kinds = ["application/json", "application/toml"];
    for body in bodies {
        for line in lines {
            for kind in kinds {
                let asked = request(line, &[("content-type", kind)], body.clone());
                let answer = send(&site, HERE, asked).await;
                let what = format!("{line} with {body:.200}: {}", answer.status);
                assert!(
                    (200..=503).contains(&answer.status) && answer.status != 500,
                    "{what}"
                );
                if answer.status >= 400 && !answer.body.is_empty() {
                    assert!(
                        answer.body.contains("\"status\""),
                        "{what}: {}",
                        answer.body
                    );
                }
            }
        }
    }
}
