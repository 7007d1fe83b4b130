//! Keys stay where they are used: none is logged, counted or dumped.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::fmt::Write as _;
use std::time::Duration;

use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::alone;

const PATIENCE: Duration = Duration::from_secs(30);

/// Who may publish, as the configuration has it.
const TOKEN: &str = "token-of-the-publishers-0123456789";

/// Bytes of a key that nobody writes by chance.
const PIECE_BYTES: usize = 8;

/// What pieces of a key look like: hexadecimal of both cases, and a list as Rust prints it.
fn looks(piece: &[u8]) -> [String; 3] {
    let mut small = String::new();
    for byte in piece {
        write!(small, "{byte:02x}").unwrap();
    }
    let list: Vec<String> = piece.iter().map(u8::to_string).collect();
    [small.to_uppercase(), small, list.join(", ")]
}

#[test]
fn no_key_is_logged_counted_or_dumped() {
    let _turn = alone();
    let server = Server::start(Setup {
        demo: true,
        log: "trace",
        toml: format!("[auth]\npublish_tokens = [\"{TOKEN}\"]\n"),
        ..Setup::default()
    });
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", 1, PATIENCE);
    crowd.run(Duration::from_secs(1));
    let said = [server.log(), server.get("/metrics").text()];
    assert!(
        said[0].contains("TRACE") || said[0].contains("DEBUG"),
        "it says little"
    );
    let (keys, password) = crowd.sessions()[0].secrets();
    assert!(keys.len() >= 56 && password.len() >= 22, "there are keys");
    let pieces = keys.chunks_exact(PIECE_BYTES).flat_map(looks);
    let texts = [password.to_owned(), TOKEN.to_owned()];
    for secret in pieces.chain(texts) {
        assert!(
            said.iter().all(|text| !text.contains(&secret)),
            "{secret} was said"
        );
    }
    for pid in [
        server.pid(),
        server.plane("forwarder"),
        server.plane("control"),
    ] {
        let filter = std::fs::read_to_string(format!("/proc/{pid}/coredump_filter")).unwrap();
        assert_eq!(filter.trim().trim_start_matches('0'), "", "process {pid}");
    }
    crowd.leave();
    server.must_be_unharmed();
}
