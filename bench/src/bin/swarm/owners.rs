//! Owns the search for the processes of a server of this host, by the port that it listens on.

use std::fs;
use std::path::Path;

/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// The process that listens on a TCP port of this host, its parent if that is the same program,
/// and that one's other children. Empty: nobody that we may look at.
pub fn of(port: u16) -> Vec<u32> {
    let all = processes();
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .flat_map(|table| listeners(table, port))
        .collect();
    let Some(listener) = all.iter().copied().find(|id| holds(*id, &sockets)) else {
        return Vec::new();
    };
    let parent = parent(listener).filter(|id| name(*id) == name(listener));
    let first = parent.unwrap_or(listener);
    let family = |id: &u32| *id == first || parent_is(*id, first);
    all.into_iter().filter(family).collect()
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Links as they stand in the descriptors of whoever listens there.
fn listeners(table: &str, port: u16) -> Vec<String> {
    let text = fs::read_to_string(table).unwrap_or_default();
    let end = format!(":{port:04X}");
    let lines = text.lines().skip(1);
    lines
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let listens = words.get(1)?.ends_with(&end) && *words.get(3)? == LISTENING;
            listens.then(|| format!("socket:[{}]", words.get(9).unwrap_or(&"")))
        })
        .collect()
}

fn holds(process: u32, sockets: &[String]) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd"));
    let mut links = descriptors
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| sockets.iter().any(|socket| link == Path::new(socket)))
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name in brackets: the state, then the parent.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn parent_is(process: u32, wanted: u32) -> bool {
    parent(process) == Some(wanted)
}

fn name(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default()
}
