//! Owns crowds by the load generator: the real binary, and what it says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::process::{Process, command};
use crate::server::Server;

/// Runs it against a server to its end, and gives how it ended with what it wrote, as text and as
/// JSON. It joins and watches for as long as `arguments` say.
///
/// # Panics
/// When it does not end in time, or writes no JSON.
#[must_use]
pub fn run(
    server: &Server,
    arguments: &[&str],
    limit: std::time::Duration,
) -> (bool, String, Value) {
    let json = server.folder().join("swarm.json");
    let (http, to) = (server.http.to_string(), json.to_string_lossy());
    let all = [&["--http", &http, "--json", &to][..], arguments].concat();
    let mut process = Process::start("swarm", server.folder(), &command(binary(), &all));
    let status = process.wait(limit);
    let text = process.output();
    let told = std::fs::read_to_string(&json).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let told = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}:\n{told}"));
    (status.success(), text, told)
}

/// The load generator: beside the server under test if that was built with everything else, or
/// built now.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let of_server = std::env::var_os("FRESHET_BIN").map(PathBuf::from);
        let beside = of_server.map(|path| path.with_file_name("swarm"));
        if let Some(path) = beside.filter(|path| path.is_file()) {
            return path;
        }
        let own = std::env::current_exe().expect("a test knows its path");
        let target = own.ancestors().nth(3).expect("target/PROFILE/deps/test");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args([
                "build",
                "--quiet",
                "--package",
                "freshet-bench",
                "--bin",
                "swarm",
            ])
            .env("CARGO_TARGET_DIR", target)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "the load generator does not build");
        target.join("debug/swarm")
    })
}
