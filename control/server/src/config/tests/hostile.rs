//! Configuration that nobody sane has written: it is taken or refused in words, and never panics.

use super::*;

/// Sections of which there may be many, behind what stands in the manual.
const MORE: &str = "\n[[stream]]\nname = \"live/one\"\ntakeover = \"replace\"\n\
                    publish_token = \"0123456789abcdef\"\n[[pull]]\n\
                    stream = \"a\"\nurl = \"https://x.example/whep/a\"\n";

fn whole() -> String {
    format!("{DEFAULT_TOML}{MORE}")
}

/// What may stand after `=`.
const VALUES: [&str; 24] = [
    "0",
    "-1",
    "1",
    "65536",
    "4294967296",
    "9223372036854775807",
    "1e308",
    "-0.0",
    "nan",
    "inf",
    "true",
    "\"\"",
    "\"\\u0000\\n\"",
    "\"0.0.0.0:0\"",
    "\"[::]:99999\"",
    "\"a/../b\"",
    "\"auto\"",
    "\"http://[::1\"",
    "[]",
    "[[[[]]]]",
    "[\"\", \"\"]",
    "{}",
    "{ a = 1 }",
    "1979-05-27T07:32:00Z",
];

fn changed(changes: &[(usize, usize)], cut: Option<usize>) -> String {
    let mut lines: Vec<String> = whole().lines().map(str::to_owned).collect();
    for (line, value) in changes {
        let at = line % lines.len();
        match lines[at].split_once(" = ") {
            Some((key, _)) => {
                let key = key.trim_start_matches("# ").to_owned();
                lines[at] = format!("{key} = {}", VALUES[value % VALUES.len()]);
            }
            // A section twice, or a line of the manual as if it meant something.
            None => lines.insert(at, lines[value % lines.len()].replace("# ", "")),
        }
    }
    let text = lines.join("\n");
    let cut = cut.map_or(text.len(), |cut| cut % text.len());
    text.chars().take(cut).collect()
}

/// Taken as a whole, it can be shown, written and used; else it is said why.
fn read(text: &str) {
    let config = match from_text(text) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let written = toml::to_string(&config).unwrap();
    assert_eq!(from_text(&written).unwrap(), config, "{written}");
    assert!(
        !toml::to_string(&config.redacted())
            .unwrap()
            .contains("0123456789abcdef")
    );
    for host in [1, 2, 64, 1024] {
        let limits = config.link_limits(config.cores(host));
        // What fits nowhere is refused when the memory is made, in words.
        let _ = limits.check();
    }
}

#[test]
fn what_is_changed_here_is_sound() {
    from_text(&whole()).unwrap();
}

proptest! {
    #[test]
    fn no_value_panics(
        changes in proptest::collection::vec((0_usize..10_000, 0_usize..10_000), 1..5),
        cut in proptest::option::weighted(0.1, 0_usize..100_000),
    ) {
        read(&changed(&changes, cut));
    }

    #[test]
    fn no_text_panics(text in "[a-z\\[\\]=\"'{}., 0-9\n#_\\\\-]{0,200}") {
        read(&text);
    }
}

/// Each key with each value, one at a time.
#[test]
fn no_value_of_any_key_panics() {
    for line in 0..whole().lines().count() {
        for value in 0..VALUES.len() {
            read(&changed(&[(line, value)], None));
        }
    }
}
