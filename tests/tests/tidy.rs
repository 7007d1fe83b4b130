//! Keeps by machine what a reader would otherwise have to check: sizes, edges, words, places.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Most lines of the production part of a file: it is read in one sitting.
const LINES_MAX: usize = 400;

/// Most lines of a file of tests.
const TEST_LINES_MAX: usize = 900;

/// Most columns of a line.
const COLUMNS_MAX: usize = 100;

/// Files that were over [`LINES_MAX`] when the rule came, with their lines. Numbers only fall.
const OVERSIZE: [(&str, usize); 0] = [];

/// Who may use whom, by package name without the product's prefix.
const EDGES: [(&str, &[&str]); 11] = [
    ("wire", &[]),
    ("seal", &["wire"]),
    ("link", &["wire"]),
    ("io", &["wire"]),
    ("plane", &["wire", "seal", "link"]),
    ("worker", &["plane", "io", "link", "wire"]),
    ("lab", &["worker", "seal", "io", "link", "wire"]),
    ("media", &["wire"]),
    ("session", &["wire", "link"]),
    ("tuning", &[]),
    (
        "server",
        &[
            "session", "media", "link", "wire", "worker", "lab", "tuning",
        ],
    ),
];

/// Where `unsafe` may stand. The counting allocators are tools of tests and benches, and benches
/// call the kernel as barely as they can.
const UNSAFE_PLACES: [&str; 12] = [
    "forwarder/io/",
    "forwarder/link/src/ring.rs",
    "forwarder/link/src/ring/",
    "forwarder/link/src/log.rs",
    "forwarder/link/src/log/",
    "forwarder/link/src/region.rs",
    "forwarder/link/src/region/",
    "forwarder/link/src/prefetch.rs",
    "forwarder/seal/src/backend/",
    "bench/src/alloc.rs",
    "bench/src/floor/",
    "forwarder/lab/src/sink/drop.rs",
];

/// What a file on the packet path does without: locks, allocation, text, time, and ways to die.
const COLD_WORDS: [&str; 21] = [
    "Mutex",
    "RwLock",
    "Box::new",
    "Vec::new",
    "vec!",
    "format!",
    "to_vec",
    "to_owned",
    "to_string",
    "tracing",
    "println!",
    "eprintln!",
    "async",
    "await",
    "dyn",
    "unwrap",
    "HashMap",
    "Instant",
    "SystemTime",
    "panic!",
    "unreachable!",
];

/// What holds by a constant and the compiler cannot see: `expect` in files of the packet path, by
/// their number. Numbers only fall.
const HOT_EXPECTS: [(&str, usize); 4] = [
    ("forwarder/io/src/uring/buffers.rs", 2),
    ("forwarder/link/src/log/memory.rs", 1),
    ("forwarder/link/src/log/writer.rs", 1),
    ("forwarder/seal/src/cm.rs", 1),
];

/// Functions that run at the start, at the end or at a command: they may allocate.
const BUILDERS: [&str; 6] = ["new", "register", "outlets", "add", "drop", "default"];

/// The crates without a world: neither clock, socket nor thread.
const SANS_IO: [&str; 5] = [
    "forwarder/wire",
    "forwarder/seal",
    "forwarder/plane",
    "control/session",
    "control/media",
];

/// What may lie at the top, but for dot-files.
const TOP: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "bench",
    "control",
    "forwarder",
    "tests",
    "tuning",
    "target",
];

#[test]
fn files_are_short() {
    let mut faults = Faults::default();
    for file in rust_files() {
        let (lines, max) = if file.is_test {
            (file.text.lines().count(), TEST_LINES_MAX)
        } else {
            (file.production().lines().count(), LINES_MAX)
        };
        let listed = OVERSIZE.iter().find(|(path, _)| *path == file.path);
        match listed {
            Some((_, was)) if lines <= max => faults.add(
                &file.path,
                0,
                &format!("is short enough now: take it off the list ({was} -> {lines})"),
            ),
            Some((_, was)) if lines < *was => faults.add(
                &file.path,
                0,
                &format!("has shrunk: lower its number from {was} to {lines}"),
            ),
            Some((_, was)) if lines == *was => {}
            _ if lines > max => {
                faults.add(
                    &file.path,
                    0,
                    &format!("has {lines} lines, of at most {max}"),
                );
            }
            _ => {}
        }
    }
    faults.none();
}

#[test]
fn lines_are_short() {
    let mut faults = Faults::default();
    for file in rust_files() {
        for (number, line) in numbered(&file.text) {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !line.contains("://") && !is_data(line) {
                faults.add(&file.path, number, &format!("has {columns} columns"));
            }
        }
    }
    faults.none();
}

#[test]
fn every_module_says_what_it_owns() {
    let mut faults = Faults::default();
    for file in rust_files() {
        let first = file.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") {
            faults.add(
                &file.path,
                1,
                "the first line is not a `//! ` that says what it owns",
            );
        }
        if first.contains("Skeleton") {
            faults.add(&file.path, 1, "still says that it is a skeleton");
        }
    }
    faults.none();
}

#[test]
fn the_packet_path_stays_hot() {
    let mut faults = Faults::default();
    let mut hot = 0;
    for file in rust_files() {
        if file.is_test || !is_hot(&file.text) {
            continue;
        }
        hot += 1;
        let mut expects = 0;
        let builds = building(file.production());
        for ((number, line), builds) in numbered(file.production()).zip(builds) {
            let code = code_of(line);
            if builds || code.trim_start().starts_with('#') {
                continue;
            }
            expects += usize::from(has_word(&code, "expect"));
            for word in COLD_WORDS {
                if has_word(&code, word) {
                    faults.add(
                        &file.path,
                        number,
                        &format!("`{word}` in a file that is Hot"),
                    );
                }
            }
        }
        let listed = HOT_EXPECTS.iter().find(|(path, _)| *path == file.path);
        let allowed = listed.map_or(0, |(_, number)| *number);
        if expects != allowed {
            let what = format!("has {expects} `expect`, and {allowed} on the list");
            faults.add(&file.path, 0, &what);
        }
    }
    assert!(
        hot >= 3,
        "only {hot} files say that they are Hot: is the mark still `Hot.`?"
    );
    faults.none();
}

#[test]
fn unsafe_stands_where_it_may_with_its_proof() {
    let mut faults = Faults::default();
    for file in rust_files() {
        let allowed = UNSAFE_PLACES
            .iter()
            .any(|place| file.path.starts_with(place));
        let is_allocator = file.is_test && file.text.contains("GlobalAlloc");
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = code_of(line);
            if !has_word(&code, "unsafe") {
                continue;
            }
            if !allowed && !is_allocator {
                faults.add(&file.path, at + 1, "`unsafe` outside the places for it");
            }
            let opens = code.contains("unsafe {") || code.contains("unsafe impl");
            if opens && !is_proved(&lines, at) {
                faults.add(
                    &file.path,
                    at + 1,
                    "`unsafe` without a `// SAFETY:` above it",
                );
            }
        }
    }
    faults.none();
}

#[test]
fn crates_without_a_world_forbid_unsafe_and_ban_clocks() {
    let mut faults = Faults::default();
    for place in SANS_IO {
        let lib = read(&root().join(place).join("src/lib.rs"));
        let wanted = if place.ends_with("seal") {
            "deny"
        } else {
            "forbid"
        };
        if !lib.contains(&format!("#![{wanted}(unsafe_code)]")) {
            faults.add(
                place,
                0,
                &format!("src/lib.rs does not {wanted} unsafe_code"),
            );
        }
        let rules = fs::read_to_string(root().join(place).join(".clippy.toml")).unwrap_or_default();
        for rule in [
            "too-many-lines-threshold = 70",
            "std::time::Instant::now",
            "UdpSocket",
        ] {
            if !rules.contains(rule) {
                faults.add(place, 0, &format!(".clippy.toml lacks `{rule}`"));
            }
        }
    }
    faults.none();
}

#[test]
fn dependencies_point_the_right_way() {
    let mut faults = Faults::default();
    let packages = packages();
    let ours: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    for (name, package) in &packages {
        let Some((_, allowed)) = EDGES.iter().find(|(from, _)| from == name) else {
            assert!(
                ["bench", "tests"].contains(&&name[..]),
                "no rule for the package {name}"
            );
            continue;
        };
        let dependencies = package["dependencies"].as_array().expect("a list");
        for dependency in dependencies
            .iter()
            .filter(|one| one["kind"].as_str() != Some("dev"))
        {
            let to = short_name(dependency["name"].as_str().expect("a name"));
            if ours.contains(to) && dependency["path"].is_string() && !allowed.contains(&to) {
                faults.add(name, 0, &format!("must not use {to}"));
            }
        }
    }
    faults.none();
}

#[test]
fn packages_are_described_and_licensed() {
    let mut faults = Faults::default();
    for (name, package) in packages() {
        if package["license"] != "MIT OR Apache-2.0" {
            faults.add(&name, 0, "has another licence than the rest");
        }
        if package["description"].as_str().is_none_or(str::is_empty) {
            faults.add(&name, 0, "has no description");
        }
        if package["publish"]
            .as_array()
            .is_none_or(|to| !to.is_empty())
        {
            faults.add(&name, 0, "could be published by accident");
        }
        let manifest = read(Path::new(
            package["manifest_path"].as_str().expect("a path"),
        ));
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.add(&name, 0, "does not take the workspace's lints");
        }
    }
    faults.none();
}

#[test]
fn the_top_level_is_tidy() {
    let names = fs::read_dir(root()).expect("the root can be read");
    let strange: Vec<String> = names
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| !name.starts_with('.') && !TOP.contains(&&name[..]))
        .collect();
    assert!(
        strange.is_empty(),
        "at the top level, and not on the list: {strange:?}"
    );
}

#[test]
fn nothing_is_left_half_done() {
    // In two halves, so that this file does not find itself.
    let words = [
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
        concat!("todo", "!"),
        concat!("unimplemented", "!"),
        concat!("dbg", "!"),
    ];
    // Paths of somebody's machine mean nothing to a reader.
    let places = [
        concat!("/wo", "rk/"),
        concat!("/tmp/tar", "get"),
        concat!("shared/", "facts"),
    ];
    let mut faults = Faults::default();
    for path in files(&["rs", "md", "toml", "sh", "js", "html", "css", "run"]) {
        let name = relative(&path);
        for (number, line) in numbered(&read(&path)) {
            for word in words.iter().filter(|word| has_word(line, word)) {
                faults.add(&name, number, &format!("`{word}`"));
            }
            for place in places.iter().filter(|place| line.contains(**place)) {
                faults.add(&name, number, &format!("speaks of `{place}`"));
            }
        }
    }
    faults.none();
}

/// Each row of `tests/abuse.md` names the tests that hold it true, as `FILE::NAME`, or says that
/// the attack does not apply.
#[test]
fn the_list_of_abuse_names_tests_that_are_there() {
    const LIST: &str = "tests/abuse.md";
    let list = read(&root().join(LIST));
    let mut faults = Faults::default();
    let mut named = 0;
    for (number, line) in numbered(&list) {
        let code = line.split('`').skip(1).step_by(2);
        let tests: Vec<(String, &str)> = code
            .filter_map(|code| code.split_once(".rs::"))
            .map(|(file, name)| (format!("{file}.rs"), name))
            .collect();
        for (file, name) in &tests {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {name}(")) {
                faults.add(LIST, number, &format!("{file} has no test {name}"));
            }
        }
        let is_row = line.starts_with("| ") && !line.starts_with("| attack |");
        if is_row && tests.is_empty() && !line.contains("does not apply") {
            faults.add(LIST, number, "names no test");
        }
        named += tests.len();
    }
    assert!(
        named > 50,
        "only {named} tests are named: are they `FILE::NAME`?"
    );
    faults.none();
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut faults = Faults::default();
    for path in files(&["md"]) {
        let folder = path.parent().expect("a file is in a folder");
        for (number, line) in numbered(&read(&path)) {
            for target in links(line) {
                let target = target.split('#').next().unwrap_or_default();
                let elsewhere = target.contains("://") || target.starts_with("mailto:");
                if !target.is_empty() && !elsewhere && !folder.join(target).exists() {
                    faults.add(&relative(&path), number, &format!("no such file: {target}"));
                }
            }
        }
    }
    faults.none();
}

/// A source file.
struct Source {
    path: String,
    text: String,
    /// Nothing of it is in the product.
    is_test: bool,
}

impl Source {
    /// What comes before the tests at the end.
    fn production(&self) -> &str {
        let cut = self.text.find("\n#[cfg(test)]\nmod tests {");
        self.text
            .get(..cut.unwrap_or(self.text.len()))
            .unwrap_or_default()
    }
}

/// What was found wrong.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, place: &str, line: usize, what: &str) {
        self.0.push(if line == 0 {
            format!("{place}: {what}")
        } else {
            format!("{place}:{line}: {what}")
        });
    }

    fn none(self) {
        assert!(
            self.0.is_empty(),
            "{} faults:\n{}",
            self.0.len(),
            self.0.join("\n")
        );
    }
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests lies in the workspace")
        .to_path_buf()
}

fn rust_files() -> Vec<Source> {
    let files = files(&["rs"]);
    let tests = test_modules(&files);
    let mut sources = Vec::new();
    for path in files {
        let name = relative(&path);
        let is_test = name.starts_with("tests/")
            || name.contains("/tests/")
            || name.contains("/benches/")
            || tests
                .iter()
                .any(|module| path == module.with_extension("rs") || path.starts_with(module));
        sources.push(Source {
            path: name,
            text: read(&path),
            is_test,
        });
    }
    assert!(
        sources.len() > 50,
        "only {} source files found",
        sources.len()
    );
    sources
}

/// Paths, without their ending, of the modules that are declared for tests alone.
fn test_modules(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut modules = BTreeSet::new();
    for path in files {
        let text = read(path);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let [condition, declaration] = pair else {
                continue;
            };
            let for_tests = condition.starts_with("#[cfg(test")
                || condition.starts_with("#[cfg(all(test")
                || condition.starts_with("#[cfg(all(loom, test");
            let name = declaration
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'));
            if let (true, Some(name)) = (for_tests, name) {
                let stem = path.file_stem().unwrap_or_default();
                let is_top = ["lib", "main", "mod"].iter().any(|top| stem == *top);
                let folder = if is_top {
                    path.with_file_name("")
                } else {
                    path.with_extension("")
                };
                modules.insert(folder.join(name));
            }
        }
    }
    modules
}

/// Every file with one of these endings (or names), but for what is built or kept aside.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("a folder that can be read");
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if path.is_dir() {
                let skipped = ["target", ".git", ".artifacts", "corpus", "node_modules"];
                if !skipped.contains(&&name[..]) {
                    folders.push(path);
                }
            } else if endings
                .iter()
                .any(|end| name == **end || name.ends_with(&format!(".{end}")))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("a file of the workspace");
    path.to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The workspace's packages by their names in code.
fn packages() -> BTreeMap<String, Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages
        .iter()
        .map(|one| {
            (
                short_name(one["name"].as_str().expect("a name")).to_owned(),
                one.clone(),
            )
        })
        .collect()
}

fn short_name(package: &str) -> &str {
    match package.strip_prefix("freshet") {
        Some("") => "server",
        Some(rest) => rest.strip_prefix('-').unwrap_or(package),
        None => package,
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// True if the module's own words end with the mark of the packet path.
fn is_hot(text: &str) -> bool {
    text.lines()
        .take_while(|line| line.starts_with("//!"))
        .any(|line| line.ends_with(" Hot."))
}

/// A line without its comment and without what is between quotes.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut last = ' ';
    for c in line.chars() {
        match c {
            '"' if last != '\\' && last != '\'' => quoted = !quoted,
            '/' if last == '/' && !quoted => {
                code.pop();
                break;
            }
            _ if !quoted => code.push(c),
            _ => {}
        }
        last = c;
    }
    code
}

/// Marks the lines of functions that only build, where memory is taken once and for all.
fn building(text: &str) -> Vec<bool> {
    let mut end: Option<String> = None;
    let mut marks = Vec::new();
    for line in text.lines() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let name = code.split_once("fn ").and_then(|(before, rest)| {
            (!before.contains("//") && !before.contains('"')).then_some(rest)
        });
        let builds = name.is_some_and(|rest| {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            BUILDERS.contains(&&name[..])
        });
        if end.is_none() && builds {
            end = Some(format!("{indent}}}"));
        }
        marks.push(end.is_some());
        if end.as_deref() == Some(line.trim_end()) {
            end = None;
        }
    }
    marks
}

/// A line of a table of test data: nothing but one text.
fn is_data(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('"') || line.starts_with("r#\"") || line.starts_with("b\"")
}

/// True if `word` stands in `text` as a whole word.
fn has_word(text: &str, word: &str) -> bool {
    let is_inner = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_inner) && !after.is_some_and(is_inner)
    })
}

/// True if the comment above line `at` (or a proof for a group of impls) says why it is sound.
fn is_proved(lines: &[&str], at: usize) -> bool {
    let from = at.saturating_sub(12);
    lines
        .get(from..=at)
        .is_some_and(|near| near.iter().any(|line| line.contains("SAFETY:")))
}

/// Targets of the links in a line of Markdown.
fn links(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("](") {
        rest = &rest[at + 2..];
        if let Some(end) = rest.find(')') {
            targets.push(rest[..end].trim());
        }
    }
    targets
}
