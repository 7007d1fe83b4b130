//! Counts the instructions of the packet path, so that it does not get longer unnoticed. The counts
//! hardly depend on the machine: valgrind shows every program the same processor.
//!
//! `FRESHET_BLESS=1` writes down what was counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is counted.
const WORKS: [&str; 8] = [
    "plain 1", "plain 9", "plain 16", "gcm 1", "gcm 9", "cm 9", "unwanted", "idle",
];

/// More instructions than were written down: of the compiler that they were counted with, and of
/// another, which makes other code of the same source.
const MORE_MAX: f64 = 0.03;
const MORE_MAX_ELSEWHERE: f64 = 0.15;

fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}: `tests/run tools` installs what is missing")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program as it is shipped; gives its path.
fn build() -> PathBuf {
    let said = output(Command::new(env!("CARGO")).current_dir(top()).args([
        "build",
        "--release",
        "--quiet",
        "--package=freshet-lab",
        "--example=count",
        "--message-format=json",
    ]));
    let mut programs = said.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    programs.next_back().expect("cargo names what it has built")
}

/// Instructions of one burst or turn for each viewer.
fn count(program: &Path, work: &str, place: &Path) -> f64 {
    let counts = place.join(work.replace(' ', "-"));
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(&counts);
    let said = output(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
            .arg("--toggle-collect=count::measured")
            .arg(out)
            .arg(program)
            .args(work.split(' ')),
    );
    let times: f64 = said.trim().parse().expect("how many times");
    let text = fs::read_to_string(counts).unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = total.expect("a total").trim().parse().unwrap();
    assert!(total > 0.0, "{work}: nothing was counted");
    total / times
}

fn compiler() -> String {
    let said = output(Command::new("rustc").arg("--version").current_dir(top()));
    said.trim().to_owned()
}

#[test]
fn the_packet_path_has_not_grown() {
    let program = build();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let counted: BTreeMap<&str, f64> = WORKS
        .into_iter()
        .map(|work| (work, count(&program, work, place)))
        .collect();
    // Without a cipher a packet of a larger burst costs less: else it is not the path that counts.
    assert!(counted["plain 16"] / 16.0 < counted["plain 1"]);
    assert!(counted["plain 9"] < counted["gcm 9"]);

    let file = top().join("bench/instructions.txt");
    let compiler = compiler();
    if std::env::var_os("FRESHET_BLESS").is_some() {
        let lines: String = counted
            .iter()
            .map(|(work, count)| format!("{work}: {count:.1}\n"))
            .collect();
        let head = "# Instructions of the packet path for a viewer: tests/tests/instructions.rs.\n";
        fs::write(&file, format!("{head}compiler: {compiler}\n{lines}")).unwrap();
        return;
    }
    let text = fs::read_to_string(&file).unwrap();
    let known: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let more_max = if known["compiler"] == compiler {
        MORE_MAX
    } else {
        println!("counted with {}, this is {compiler}", known["compiler"]);
        MORE_MAX_ELSEWHERE
    };
    let mut grown = Vec::new();
    for (work, count) in counted {
        let was: f64 = known[work].parse().unwrap();
        let more = count / was - 1.0;
        println!(
            "{work:<10}{count:>9.1}, was {was:>9.1}: {:+.1} %",
            100.0 * more
        );
        if more > more_max {
            grown.push(work);
        }
    }
    assert!(
        grown.is_empty(),
        "more instructions than bench/instructions.txt has: {grown:?}. Make it shorter, or write \
         down the new counts with FRESHET_BLESS=1 and say why in the commit"
    );
}
