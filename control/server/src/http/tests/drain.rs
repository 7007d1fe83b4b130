//! The drain as operators begin it, look at it and take it back, and what newcomers are told.

use super::*;
use crate::drain::{Order, Progress};
use wire::time::Span;

/// A site, its drain, and the folder where that is written down.
struct World {
    site: Site,
    drain: Drain,
    folder: std::path::PathBuf,
}

impl World {
    fn new(name: &str, config: &str) -> Self {
        let own = format!("freshet-drain-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(own);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let drain = Drain::open(&folder, None);
        let mut site = site_with(config);
        site.drain = drain.clone();
        Self {
            site,
            drain,
            folder,
        }
    }

    async fn ask(&self, line: &str, body: &str) -> Answer {
        send(&self.site, HERE, request(line, &[], body.to_owned())).await
    }

    /// In whole seconds.
    fn time(&self) -> Option<u64> {
        let order = self.drain.order()?;
        Some(order.deadline.since(order.begun).as_millis() / 1000)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn it_is_begun_prolonged_and_taken_back() {
    let world = World::new("begun", "[drain]\ndeadline_s = 77");
    let serving = world.ask("GET /v1/drain", "").await;
    let json = serde_json::json!({"state": "serving"});
    assert_eq!((serving.status, serving.json()), (200, json));

    let begun = world.ask("POST /v1/drain", "").await;
    assert_eq!((begun.status, world.time()), (202, Some(77)));
    let json = begun.json();
    assert_eq!(json["state"], "draining");
    let remaining = json["remaining_ms"].as_u64().unwrap();
    assert!((70_000..=77_000).contains(&remaining), "{json}");
    assert!(json.get("left").is_none(), "not counted yet: {json}");

    // Asked again, it is as it was; with another deadline it has that.
    let order = world.drain.order();
    assert_eq!(world.ask("POST /v1/drain", " ").await.status, 202);
    assert_eq!(world.drain.order(), order);
    let longer = world.ask("POST /v1/drain", "{\"deadline_s\": 200}").await;
    assert_eq!(longer.status, 202);
    assert!(world.time().unwrap() >= 200 && world.drain.order() != order);
    let written = Drain::open(&world.folder, None).order();
    assert_eq!(written, world.drain.order(), "the next life knows it too");

    world.drain.report(Some(Progress {
        viewers: 5,
        publishers: 1,
        told: 3,
        to_tell: 1,
        is_over: false,
    }));
    let json = world.ask("GET /v1/drain", "").await.json();
    let left = serde_json::json!({"viewers": 5, "publishers": 1, "told": 3, "to_tell": 1});
    assert_eq!(json["left"], left);

    let back = world.ask("DELETE /v1/drain", "").await;
    assert_eq!((back.status, world.drain.order()), (200, None));
    assert_eq!(back.json(), serde_json::json!({"state": "serving"}));
}

#[tokio::test]
async fn there_is_no_way_back_when_it_is_over() {
    let world = World::new("over", "");
    world.ask("POST /v1/drain", "").await;
    world.drain.report(Some(Progress {
        is_over: true,
        ..Progress::default()
    }));
    let json = world.ask("GET /v1/drain", "").await.json();
    assert_eq!(json["state"], "ending");
    for method in ["POST", "DELETE"] {
        let answer = world.ask(&format!("{method} /v1/drain"), "").await;
        assert_eq!(answer.status, 409, "{method}: {}", answer.body);
    }
    assert!(world.drain.order().is_some());
}

#[tokio::test]
async fn it_is_for_operators_who_know_what_they_want() {
    let world = World::new("operators", "");
    for method in ["GET", "POST", "DELETE"] {
        let asked = request(&format!("{method} /v1/drain"), &[], "");
        let answer = send(&world.site, AWAY, asked).await;
        assert_eq!(answer.status, 401, "{method}");
    }
    for body in ["{\"deadline\": 3}", "now", "{\"deadline_s\": 86401}"] {
        let answer = world.ask("POST /v1/drain", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains("remedy"), "{}", answer.body);
    }
    assert_eq!(world.drain.order(), None);
    std::fs::remove_dir_all(&world.folder).unwrap();
    let lost = world.ask("POST /v1/drain", "").await;
    assert_eq!((lost.status, world.drain.order()), (500, None));
}

#[tokio::test]
async fn newcomers_are_led_to_the_peer_with_their_path() {
    let peer = "[drain]\npeer = \"https://b.example/{protocol}/{stream}\"";
    for (config, status) in [(peer, 307), ("", 503)] {
        let site = site_with(config);
        for protocol in ["whep", "whip"] {
            let post = request(&format!("POST /{protocol}/leaves"), &[SDP], OFFER);
            let answer = send(&site, HERE, post).await;
            assert_eq!(answer.status, status, "{protocol}: {}", answer.body);
            if status == 307 {
                let there = format!("https://b.example/{protocol}/leaves");
                assert_eq!(answer.header("location"), there);
            } else {
                assert_eq!(answer.header("retry-after"), "7");
                assert!(answer.body.contains("problem:draining"), "{}", answer.body);
            }
        }
        // Who is refused for another reason stays here.
        let full = send(&site, HERE, request("POST /whep/full", &[SDP], OFFER)).await;
        assert_eq!(full.status, 503);
    }
}

#[tokio::test]
async fn no_relay_is_made_meanwhile() {
    let world = World::new("relay", "");
    let order = Order::new(clock::now(), Span::secs(9));
    world.drain.decide(Some(order)).unwrap();
    let body = "{\"direction\": \"pull\", \"stream\": \"a\", \"url\": \"http://192.0.2.1/whep/a\"}";
    let json = [("content-type", "application/json")];
    let asked = request("POST /v1/relays", &json, body.to_owned());
    let answer = send(&world.site, HERE, asked).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("problem:draining"), "{}", answer.body);
}
