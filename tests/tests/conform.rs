//! `freshet conform` finds nothing to blame in our own server, and finds what is wrong in others.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

use freshet_tests::place::free_tcp_port;
use freshet_tests::server::{Server, Setup, binary};
use serde_json::Value;

const TOKEN: &str = "0123456789abcdef0123";

/// The verdict on each rule, and how the program ended.
fn verdicts(protocol: &str, url: &str, more: &[&str]) -> (BTreeMap<String, String>, Option<i32>) {
    let output = conform(&[&[protocol, url, "--json"], more].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}\n{}", err(&output)));
    let rows = rows.as_array().unwrap();
    let mut verdicts = BTreeMap::new();
    for row in rows {
        let verdict = row["verdict"].as_str().unwrap();
        if matches!(verdict, "fail" | "warn") {
            assert!(
                row["seen"].is_string() && row["expected"].is_string(),
                "{row}"
            );
            println!("{row:#}");
        }
        assert!(
            row["source"].as_str().unwrap().contains(" section "),
            "{row}"
        );
        verdicts.insert(row["id"].as_str().unwrap().to_owned(), verdict.to_owned());
    }
    assert_eq!(verdicts.len(), rows.len(), "each rule once");
    (verdicts, output.status.code())
}

fn conform(args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .arg("conform")
        .args(args)
        .env_remove("CONFORM_TOKEN");
    command.output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn of(verdicts: &BTreeMap<String, String>, verdict: &str) -> Vec<String> {
    let those = verdicts.iter().filter(|(_, one)| *one == verdict);
    those.map(|(id, _)| id.clone()).collect()
}

/// Our own server: nothing to blame, little that was not checked, and no session left behind.
fn must_conform(server: &Server, protocol: &str, path: &str, more: &[&str], skipped: &[&str]) {
    let (verdicts, code) = verdicts(protocol, &server.url(path), more);
    assert_eq!(of(&verdicts, "fail"), [""; 0], "{}", server.log());
    assert_eq!(of(&verdicts, "warn"), [""; 0], "{}", server.log());
    assert_eq!(of(&verdicts, "skip"), skipped);
    assert_eq!(code, Some(0));
    let sessions = server.get("/v1/sessions").json();
    assert_eq!(sessions["total"], 0, "{sessions}");
    server.must_be_unharmed();
}

#[test]
fn our_whep_conforms() {
    let server = Server::demo();
    server.wait_live("demo");
    let skipped = ["post-token", "post-wrong-token"];
    must_conform(&server, "whep", "/whep/demo", &[], &skipped);
    let output = conform(&["whep", &server.url("/whep/demo")]);
    let table = String::from_utf8_lossy(&output.stdout);
    for words in [
        "PASS  post-created ",
        "[draft-ietf-wish-whep-03 section 4.2.1]",
        " 0 fail, 0 warn, ",
        ": conforms",
    ] {
        assert!(table.contains(words), "{words} in {table}");
    }
    assert!(
        !table.contains('\x1b'),
        "colours are for terminals: {table}"
    );
    assert!(err(&output).contains("ICE restart"), "{}", err(&output));
}

#[test]
fn our_whip_conforms() {
    let server = Server::start(Setup::default());
    let skipped = ["answer-rejected", "post-token", "post-wrong-token"];
    must_conform(&server, "whip", "/whip/live/conform", &[], &skipped);
    let replace = Server::start(Setup {
        toml: "[streams]\ntakeover = \"replace\"".into(),
        ..Setup::default()
    });
    must_conform(&replace, "whip", "/whip/live/conform", &[], &skipped);
}

#[test]
fn a_token_is_asked_for() {
    let server = Server::start(Setup {
        demo: true,
        toml: format!("[auth]\nplay_tokens = [\"{TOKEN}\"]"),
        ..Setup::default()
    });
    server.wait_live("demo");
    must_conform(&server, "whep", "/whep/demo", &["--token", TOKEN], &[]);
    let (verdicts, code) = verdicts("whep", &server.url("/whep/demo"), &[]);
    assert_eq!(verdicts["post-created"], "fail");
    assert_eq!(verdicts["session-get"], "skip");
    assert_eq!(code, Some(1));
}

#[test]
fn what_cannot_be_checked_is_said() {
    let secure = conform(&["whip", "https://media.example/whip/a"]);
    assert_eq!(secure.status.code(), Some(2));
    assert!(err(&secure).contains("no TLS"), "{}", err(&secure));
    let url = format!("http://127.0.0.1:{}/whep/a", free_tcp_port());
    let nobody = conform(&["whep", &url]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(err(&nobody).contains("does not answer"), "{}", err(&nobody));
}

#[test]
fn wrong_answers_are_found() {
    let wrong = Wrong::start(|request| match &request.method[..] {
        "POST" if request.body.starts_with("v=0") => Response {
            status: "200 OK",
            headers: "content-type: application/sdp\r\netag: W/\"x\"\r\n".into(),
            // The offer turned round: setup stays actpass.
            body: request.body.replace("a=recvonly", "a=sendonly"),
        },
        "POST" => Response::plain("500 Internal Server Error"),
        _ => Response::plain("404 Not Found"),
    });
    let (verdicts, code) = verdicts("whep", &wrong.url("/whep/a"), &[]);
    assert_eq!(code, Some(1));
    for id in [
        "options-status",
        "options-cors",
        "endpoint-get",
        "post-content-type",
        "post-garbage",
        "post-empty",
        "post-created",
        "post-location",
        "post-etag",
        "post-exposed",
        "answer-setup",
        "answer-candidates",
        "answer-msid",
        "no-server-error",
    ] {
        assert_eq!(verdicts[id], "fail", "{id}");
    }
    for id in ["options-accept-post", "endpoint-head", "problem-details"] {
        assert_eq!(verdicts[id], "warn", "{id}");
    }
    for id in [
        "answer-parses",
        "answer-m-lines",
        "answer-bundle",
        "answer-direction",
    ] {
        assert_eq!(verdicts[id], "pass", "{id}");
    }
    assert_eq!(verdicts["trickle-status"], "skip", "there is no session");
}

#[test]
fn a_session_that_cares_for_nothing_is_found_and_deleted() {
    let wrong = Wrong::start(|request| match &request.method[..] {
        "POST" => Response {
            status: "201 Created",
            // Relative to the endpoint; the same for everybody, and gone when it is not asked for.
            headers: "content-type: application/sdp\r\nlocation: ../session/1\r\n".into(),
            body: request.body.replace("a=recvonly", "a=sendonly"),
        },
        "PATCH" => Response {
            status: "204 No Content",
            headers: "etag: \"new\"\r\n".into(),
            body: String::new(),
        },
        _ => Response::plain("204 No Content"),
    });
    let (verdicts, code) = verdicts("whep", &wrong.url("/whep/a"), &[]);
    assert_eq!(code, Some(1));
    for id in [
        "post-garbage",
        "patch-no-if-match",
        "patch-wrong-if-match",
        "patch-content-type",
        "patch-malformed",
        "trickle-no-etag",
        "restart-status",
        "restart-credentials",
        "delete-gone",
        "sessions-differ",
    ] {
        assert_eq!(verdicts[id], "fail", "{id}");
    }
    assert_eq!(verdicts["delete-again"], "warn");
    for id in [
        "post-created",
        "post-location",
        "session-get",
        "delete-status",
    ] {
        assert_eq!(verdicts[id], "pass", "{id}");
    }
    let asked = wrong.asked.lock().unwrap().clone();
    let last = |what: &str| asked.iter().rposition(|one| one.starts_with(what));
    assert!(
        asked.iter().any(|one| one == "DELETE /session/1"),
        "{asked:?}"
    );
    assert!(
        last("DELETE") > last("POST"),
        "the last one is left behind: {asked:?}"
    );
}

#[test]
fn a_server_that_never_answers_ends_the_check() {
    // The first request is answered, so that there is somebody to check.
    let first = Mutex::new(true);
    let wrong = Wrong::start(move |_| {
        if !std::mem::take(&mut *first.lock().unwrap()) {
            sleep(Duration::from_secs(5));
        }
        Response::plain("204 No Content")
    });
    let (verdicts, code) = verdicts("whip", &wrong.url("/whip/a"), &["--timeout", "1"]);
    assert_eq!(code, Some(1));
    assert_eq!(verdicts["options-status"], "fail");
    assert_eq!(verdicts["post-created"], "fail");
}

/// A server that is wrong on purpose.
struct Wrong {
    address: SocketAddr,
    /// Method and path of each request.
    asked: Arc<Mutex<Vec<String>>>,
}

struct Request {
    method: String,
    path: String,
    body: String,
}

struct Response {
    status: &'static str,
    headers: String,
    body: String,
}

impl Wrong {
    fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (list, answer) = (Arc::clone(&asked), Arc::new(answer));
        // It serves until the process of the tests ends.
        spawn(move || {
            for stream in listener.incoming() {
                let (list, answer) = (Arc::clone(&list), Arc::clone(&answer));
                spawn(move || {
                    // A client that has had enough of waiting is not there any more.
                    let _ = converse(&mut stream?, &list, &*answer);
                    Ok::<(), std::io::Error>(())
                });
            }
        });
        Self { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Response {
    fn plain(status: &'static str) -> Self {
        Self {
            status,
            headers: String::new(),
            body: String::new(),
        }
    }
}

fn converse(
    stream: &mut TcpStream,
    asked: &Mutex<Vec<String>>,
    answer: &dyn Fn(&Request) -> Response,
) -> std::io::Result<()> {
    let request = receive(stream)?;
    let what = format!("{} {}", request.method, request.path);
    asked.lock().unwrap().push(what);
    let Response {
        status,
        headers,
        body,
    } = answer(&request);
    let length = match status.starts_with("204") {
        true => String::new(),
        false => format!("content-length: {}\r\n", body.len()),
    };
    let head = format!("HTTP/1.1 {status}\r\n{headers}{length}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_it = name.eq_ignore_ascii_case("content-length");
                is_it.then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                let mut words = head.split(' ').map(str::to_owned);
                return Ok(Request {
                    method: words.next().unwrap_or_default(),
                    path: words.next().unwrap_or_default(),
                    body: body.to_owned(),
                });
            }
        }
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
