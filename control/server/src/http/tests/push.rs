//! The endpoint of pushes.

use super::*;

/// Says what it was asked.
pub(super) fn answer(post: &PushPost, reply: Reply<PushCreated>) {
    let origins = post.origins;
    let pushed = whip_post(post.stream.as_str(), &post.offer).map(|created| PushCreated {
        id: created.id,
        answer: format!("{:?} {:?}", origins.asker, origins.given),
    });
    // Whoever has stopped waiting is not an error of the driver.
    let _ = reply.send(pushed);
}

async fn post(path: &str, headers: &[(&'static str, &'static str)]) -> Answer {
    let mut all = vec![SDP];
    all.extend(headers);
    ask(&format!("POST {path}"), &all, OFFER).await
}

#[tokio::test]
async fn a_push_is_answered_with_its_location() {
    let answer = post("/v1/streams/a/b/c/d/push?from=192.0.2.1:5004", &[]).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.header("location"), format!("/session/{ID}"));
    assert_eq!(answer.header("content-type"), "application/sdp");
    assert_eq!(
        answer.body.matches("Some(192.0.2.1), port: 5004").count(),
        2
    );
}

#[tokio::test]
async fn the_query_says_where_packets_come_from() {
    for (query, video, audio) in [
        ("", "None", "None"),
        ("?from=5004", "ip: None, port: 5004", "ip: None, port: 5004"),
        ("?video_from=:5004", "ip: None, port: 5004", "None"),
        (
            "?from=1&audio_from=[2001:db8::1]:2",
            "port: 1",
            "Some(2001:db8::1), port: 2",
        ),
    ] {
        let answer = post(&format!("/v1/streams/demo/push{query}"), &[]).await;
        assert_eq!(answer.status, 201, "{query}: {}", answer.body);
        assert!(
            answer.body.starts_with("Some(127.0.0.1) "),
            "{}",
            answer.body
        );
        let given = answer.body.split_once(") ").unwrap().1;
        assert!(
            given.contains(video) && given.contains(audio),
            "{query}: {given}"
        );
    }
    for query in [
        "from=",
        "from=0",
        "from=host:5",
        "video_from=1.2.3.4",
        "colour=red",
    ] {
        let answer = post(&format!("/v1/streams/demo/push?{query}"), &[]).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_proxy_is_not_who_sends() {
    let site = site_with("[auth]\npublish_tokens = [\"0123456789abcdef\"]");
    let headers = [
        SDP,
        ("x-forwarded-for", "192.0.2.1"),
        ("authorization", "Bearer 0123456789abcdef"),
    ];
    let asked = request("POST /v1/streams/demo/push?from=5", &headers, OFFER);
    let answer = send(&site, HERE, asked).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(answer.body.starts_with("None "), "{}", answer.body);
    let stranger = request("POST /v1/streams/demo/push?from=5", &headers[..2], OFFER);
    assert_eq!(send(&site, HERE, stranger).await.status, 401);
}

#[tokio::test]
async fn what_is_no_push_is_refused() {
    for (line, status) in [
        ("POST /v1/streams/demo", 405),
        ("POST /v1/streams/push", 405),
        ("DELETE /v1/streams/demo/push", 405),
        ("POST /v1/streams/a%2f../push", 400),
        ("POST /v1/streams/taken/push", 409),
        ("GET /v1/streams/demo/push", 404),
    ] {
        let answer = ask(line, &[SDP], OFFER).await;
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
    }
    let wrong = ask("POST /v1/streams/demo/push", &[], OFFER).await;
    assert_eq!(wrong.status, 415);
    let empty = ask("POST /v1/streams/demo/push", &[SDP], "").await;
    assert_eq!(empty.status, 400);
    let put = ask("PUT /v1/streams/demo/push", &[], "").await;
    assert_eq!((put.status, put.header("allow")), (405, "GET, HEAD, POST"));
    let plain = ask("PUT /v1/streams/demo", &[], "").await;
    assert_eq!((plain.status, plain.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn a_stream_of_another_node_is_pushed_there() {
    let rule = "[[stream]]\nname = \"far\"\nredirect = \"http://192.0.2.7/{protocol}/{stream}\"";
    let asked = request("POST /v1/streams/far/push?from=5", &[SDP], OFFER);
    let answer = send(&site_with(rule), HERE, asked).await;
    assert_eq!(answer.status, 421, "{}", answer.body);
    assert!(answer.body.contains("http://192.0.2.7/whip/far"));
}
