//! The client against servers that the test plays.

use super::*;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers each connection with the next of these texts, in which `{me}` is its address, and notes
/// what was asked.
async fn server(answers: &[&str]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let texts = answers
        .iter()
        .map(|text| text.replace("{me}", &at.to_string()));
    let mut answers: VecDeque<String> = texts.collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = asked.clone();
    tokio::spawn(async move {
        while let (Ok((mut stream, _)), Some(answer)) =
            (listener.accept().await, answers.pop_front())
        {
            let mut bytes = vec![0; 65_536];
            let read = stream.read(&mut bytes).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            notes.lock().unwrap().push(text);
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (at, asked)
}

fn reply(head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

async fn post(direction: Direction, url: &str, token: Option<&str>) -> Result<Answer, Failure> {
    let client = Client::new(String::new(), "node".into());
    let url: Uri = url.parse().unwrap();
    let endpoint = Endpoint {
        direction,
        url: &url,
        named: &url,
        token,
        stream: "live/a",
    };
    match client.post(&endpoint, "v=0\r\n").await? {
        Said::Answer(answer) => Ok(answer),
        Said::Counter(offer) => panic!("a counter-offer: {offer:?}"),
    }
}

#[tokio::test]
async fn a_session_is_made_where_redirects_lead() {
    let there = reply(
        "307 Temporary Redirect\r\nLocation: http://{me}/other/x?y=1",
        "",
    );
    let again = reply("308 Permanent Redirect\r\nLocation: /third", "");
    let made = reply(
        "201 Created\r\nContent-Type: application/sdp;charset=utf-8\r\nLocation: session/7",
        "v=0 answer",
    );
    let (at, asked) = server(&[&there, &again, &made]).await;
    let url = format!("http://{at}/whep/live/a");
    let answer = post(Direction::Pull, &url, Some("secret-token"))
        .await
        .unwrap();
    assert_eq!(answer.sdp, "v=0 answer");
    let resource = answer.resource.unwrap().to_string();
    assert_eq!(resource, format!("http://{at}/session/7"));
    let asked = asked.lock().unwrap();
    let lines: Vec<_> = asked
        .iter()
        .map(|text| text.lines().next().unwrap())
        .collect();
    let expected = ["/whep/live/a", "/other/x?y=1", "/third"];
    assert_eq!(lines, expected.map(|path| format!("POST {path} HTTP/1.1")));
    for text in asked.iter() {
        let lower = text.to_ascii_lowercase();
        assert!(
            lower.contains("authorization: bearer secret-token"),
            "{text}"
        );
        assert!(lower.contains("content-type: application/sdp"), "{text}");
        assert!(lower.contains("freshet-relay: node live/a"), "{text}");
        assert!(text.ends_with("v=0\r\n"), "{text}");
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let problem = "{\"title\": \"No\", \"detail\": \"not\\nhere\"}";
    for (head, direction, reason) in [
        ("401 Unauthorized", Direction::Pull, Reason::Denied),
        ("403 Forbidden", Direction::Push, Reason::Denied),
        ("404 Not Found", Direction::Pull, Reason::NotLive),
        (
            "409 Conflict\r\nRetry-After: 1",
            Direction::Pull,
            Reason::NotLive,
        ),
        ("409 Conflict", Direction::Push, Reason::Busy),
        (
            "503 Service Unavailable\r\nRetry-After: 7",
            Direction::Pull,
            Reason::Busy,
        ),
        ("406 Not Acceptable", Direction::Push, Reason::Refused),
        (
            "500 Internal Server Error",
            Direction::Push,
            Reason::ServerError,
        ),
        ("508 Loop Detected", Direction::Pull, Reason::Loop),
        ("200 OK", Direction::Pull, Reason::BadAnswer),
        (
            "201 Created\r\nContent-Type: text/html",
            Direction::Pull,
            Reason::BadAnswer,
        ),
        (
            "302 Found\r\nLocation: /x",
            Direction::Pull,
            Reason::BadAnswer,
        ),
        ("307 Temporary Redirect", Direction::Pull, Reason::BadAnswer),
    ] {
        let (at, _) = server(&[&reply(head, problem)]).await;
        let failure = post(direction, &format!("http://{at}/x"), None)
            .await
            .unwrap_err();
        assert_eq!(failure.reason, reason, "{head}: {failure}");
        let retries = head.starts_with("503").then_some(Duration::from_secs(7));
        assert_eq!(failure.retry_after, retries, "{head}");
        assert!(!failure.detail.contains('\n'), "{failure}");
    }
}

/// A server on this host, which the operator is made to have named as one far away.
#[tokio::test]
async fn a_server_cannot_send_us_closer_to_this_host() {
    let far: Uri = "http://192.0.2.1/whep/live/a".parse().unwrap();
    let made = reply("200 OK", "");
    let (at, asked) = server(&[&made]).await;
    let client = Client::new(String::new(), "node".into());
    // It has answered with this Location; to end the session would ask this host.
    let inner: Uri = format!("http://{at}/v1/drain").parse().unwrap();
    let endpoint = |named| Endpoint {
        direction: Direction::Pull,
        url: &inner,
        named,
        token: Some("a-token-of-16-bytes"),
        stream: "live/a",
    };
    for failure in [
        client.delete(&endpoint(&far)).await.unwrap_err(),
        client
            .patch(&endpoint(&far), Change::Answer("v=0\r\n"))
            .await
            .unwrap_err(),
        client.post(&endpoint(&far), "v=0\r\n").await.unwrap_err(),
    ] {
        assert_eq!(failure.reason, Reason::BadAnswer, "{failure}");
        assert!(failure.detail.contains("closer to this host"), "{failure}");
    }
    assert!(asked.lock().unwrap().is_empty(), "{asked:?}");
    // Whoever names an address of this host may be led on here.
    client.delete(&endpoint(&inner)).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_for_a_secret_road_does_not_go_by_an_open_one() {
    let secret: Uri = "https://127.0.0.1:1/whep/live/a".parse().unwrap();
    for named_secret in [true, false] {
        let (at, asked) = server(&[&reply("200 OK", "")]).await;
        let open: Uri = format!("http://{at}/session/1").parse().unwrap();
        let endpoint = Endpoint {
            direction: Direction::Pull,
            url: &open,
            named: if named_secret { &secret } else { &open },
            token: Some("a-token-of-16-bytes"),
            stream: "live/a",
        };
        Client::new(String::new(), "node".into())
            .delete(&endpoint)
            .await
            .unwrap();
        let asked = asked.lock().unwrap()[0].to_ascii_lowercase();
        assert_eq!(asked.contains("authorization"), !named_secret, "{asked}");
    }
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let round = reply("307 Temporary Redirect\r\nLocation: http://{me}/x", "");
    let (at, asked) = server(&[round.as_str(); 10]).await;
    let failure = post(Direction::Pull, &format!("http://{at}/x"), None)
        .await
        .unwrap_err();
    assert_eq!(failure.reason, Reason::BadAnswer);
    assert_eq!(asked.lock().unwrap().len(), REDIRECTS_MAX + 1);
}

#[tokio::test]
async fn what_speaks_no_http_or_no_tls_is_said() {
    let (at, _) = server(&["hello\r\n\r\n"]).await;
    let failure = post(Direction::Pull, &format!("http://{at}/x"), None)
        .await
        .unwrap_err();
    assert_eq!(failure.reason, Reason::Unreachable);
    let (at, _) = server(&["hello\r\n\r\n"]).await;
    let failure = post(Direction::Pull, &format!("https://{at}/x"), None)
        .await
        .unwrap_err();
    assert_eq!(failure.reason, Reason::Tls);
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let failure = post(Direction::Pull, &format!("http://{nobody}/x"), None)
        .await
        .unwrap_err();
    assert_eq!(failure.reason, Reason::Unreachable);
}

#[tokio::test]
async fn a_session_that_has_gone_is_deleted() {
    let client = Client::new(String::new(), "node".into());
    for (head, is_fine) in [("200 OK", true), ("404 Not Found", true), ("500 No", false)] {
        let (at, asked) = server(&[&reply(head, "")]).await;
        let url: Uri = format!("http://{at}/session/1").parse().unwrap();
        let endpoint = Endpoint {
            direction: Direction::Pull,
            url: &url,
            named: &url,
            token: None,
            stream: "a",
        };
        assert_eq!(client.delete(&endpoint).await.is_ok(), is_fine, "{head}");
        assert!(asked.lock().unwrap()[0].starts_with("DELETE /session/1 "));
    }
}

#[test]
fn a_time_to_come_again_is_seconds_or_a_date() {
    assert_eq!(retry_after(" 30 "), Some(Duration::from_secs(30)));
    assert_eq!(
        retry_after("Fri, 31 Dec 1999 23:59:59 GMT"),
        Some(Duration::ZERO)
    );
    assert_eq!(retry_after("soon"), None);
}

#[tokio::test]
async fn a_counter_offer_is_one_with_a_session() {
    let countered = "406 Not Acceptable\r\nContent-Type: application/sdp\r\nLocation: /session/1";
    let bare = "406 Not Acceptable\r\nContent-Type: application/sdp";
    let words = "406 Not Acceptable\r\nContent-Type: text/plain\r\nLocation: /session/1";
    for (direction, head, is_counter) in [
        (Direction::Pull, countered, true),
        (Direction::Push, countered, false),
        (Direction::Pull, bare, false),
        (Direction::Pull, words, false),
    ] {
        let (at, _) = server(&[&reply(head, "v=0\r\n")]).await;
        let client = Client::new(String::new(), "node".into());
        let url: Uri = format!("http://{at}/whep/x").parse().unwrap();
        let endpoint = Endpoint {
            direction,
            url: &url,
            named: &url,
            token: None,
            stream: "live/a",
        };
        match client.post(&endpoint, "v=0\r\n").await {
            Ok(Said::Counter(offer)) => {
                assert!(is_counter, "{head}");
                assert_eq!(offer.sdp, "v=0\r\n");
                assert_eq!(offer.resource.unwrap().path(), "/session/1");
            }
            Ok(Said::Answer(answer)) => panic!("{answer:?}"),
            Err(failure) => {
                assert!(!is_counter, "{failure}");
                assert_eq!(failure.reason, Reason::Refused, "{failure}");
            }
        }
    }
}

#[tokio::test]
async fn sessions_are_changed_as_the_standards_say() {
    let restarted = reply(
        "200 OK\r\nContent-Type: application/trickle-ice-sdpfrag",
        "a=ice-ufrag:abcd\r\n",
    );
    let taken = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    let (at, asked) = server(&[&restarted, taken, taken, &reply("404 Not Found", "gone")]).await;
    let client = Client::new(String::new(), "node".into());
    let url: Uri = format!("http://{at}/session/1").parse().unwrap();
    let endpoint = Endpoint {
        direction: Direction::Pull,
        url: &url,
        named: &url,
        token: Some("a-token-of-16-bytes"),
        stream: "live/a",
    };
    let restart = Change::Restart("a=ice-ufrag:wxyz\r\n");
    let said = client.patch(&endpoint, restart).await.unwrap();
    assert_eq!(said, "a=ice-ufrag:abcd\r\n");
    let answer = Change::Answer("v=0\r\n");
    assert_eq!(client.patch(&endpoint, answer).await.unwrap(), "");
    // Nothing was restarted: no credentials came with it.
    assert!(client.patch(&endpoint, restart).await.is_err());
    let gone = client.patch(&endpoint, restart).await.unwrap_err();
    assert_eq!(gone.reason, Reason::NotLive, "{gone}");
    let asked = asked.lock().unwrap();
    let [first, second, ..] = &asked[..] else {
        panic!("{asked:?}");
    };
    let first = first.to_ascii_lowercase();
    assert!(
        first.starts_with("patch /session/1 http/1.1\r\n"),
        "{first}"
    );
    for field in [
        "if-match: *\r\n",
        "content-type: application/trickle-ice-sdpfrag\r\n",
        "authorization: bearer a-token-of-16-bytes\r\n",
    ] {
        assert!(first.contains(field), "{first}");
    }
    let second = second.to_ascii_lowercase();
    assert!(
        second.contains("content-type: application/sdp\r\n"),
        "{second}"
    );
    assert!(!second.contains("if-match"), "{second}");
}
