//! Configuration: what is taken, what is refused, and what is said about it.

mod hostile;

use super::*;
use crate::control::StreamName;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn no_environment() -> Vec<(String, String)> {
    Vec::new()
}

fn from_text(text: &str) -> Result<Config, ConfigError> {
    load(Some(("f.toml", text)), no_environment(), Vec::new())
}

fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

fn leaves(table: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (section, value) in table {
        if let toml::Value::Table(inner) = value {
            found.extend(inner.keys().map(|key| format!("{section}.{key}")));
        }
    }
    found
}

#[test]
fn the_manual_is_the_default_and_has_every_key() {
    let manual: toml::Table = toml::from_str(DEFAULT_TOML).unwrap();
    let known: BTreeSet<String> = keys().into_iter().map(|(key, _)| key).collect();
    assert_eq!(leaves(&manual), known);
    assert!(known.len() > 25, "{known:?}");
    assert_eq!(from_text(DEFAULT_TOML).unwrap(), Config::default());
}

#[test]
fn the_manual_explains_every_key() {
    let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let is_key = line.contains(" = ") && !line.starts_with('#');
        assert!(
            !is_key || lines[at - 1].starts_with("# "),
            "not explained: {line}"
        );
        assert!(line.len() <= 100, "too long: {line}");
    }
}

#[test]
fn the_example_of_a_stream_is_right_and_complete() {
    let example: String = DEFAULT_TOML
        .lines()
        .skip_while(|line| *line != "# [[stream]]")
        .take_while(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches("# ").to_string() + "\n")
        .collect();
    let config = from_text(&example).unwrap();
    let rule = &config.stream[0];
    let all = toml::Table::try_from(rule).unwrap();
    // Every optional key is there: none is None.
    let named = example.lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(all.len(), named);
    assert_eq!(all.len(), 9);
}

#[test]
fn the_examples_of_relays_are_right() {
    let examples: String = DEFAULT_TOML
        .lines()
        .skip_while(|line| *line != "# [[pull]]")
        .take_while(|line| *line != "[auth]")
        .filter(|line| line.contains(" = ") || line.contains("[["))
        .map(|line| line.trim_start_matches("# ").to_string() + "\n")
        .collect();
    let config = from_text(&examples).unwrap();
    let (pull, push) = (&config.pull[0], &config.push[0]);
    assert!(pull.token.is_some() && push.token.is_some() && push.is_pattern());
    let url = push.url_for(&name("live/x"));
    assert_eq!(url, "https://edge.example/whip/live/x");
}

#[test]
fn every_key_can_be_set_by_the_environment() {
    for (key, default) in keys() {
        let text = match (&key[..], &default) {
            ("media.advertise", _) => "192.0.2.1,192.0.2.2:9",
            ("media.backend", _) => "uring",
            ("media.transmit", _) => "xdp",
            ("media.cipher", _) => "ring",
            ("media.idle", _) => "spin",
            ("streams.accept", _) => "listed",
            ("streams.takeover", _) => "replace",
            ("streams.bframes", _) => "refuse",
            ("streams.latency", _) => "lowest",
            ("log.format", _) => "json",
            ("drain.peer", _) => "https://b.example/{protocol}/{stream}",
            ("limits.log_packets", _) => "32768",
            ("http.allowed_origins", _) => "https://a.example,https://b.example",
            (_, toml::Value::Integer(n)) => &(n + 1).to_string(),
            (_, toml::Value::Float(n)) => &(n / 2.0).to_string(),
            (_, toml::Value::Boolean(b)) => &(!b).to_string(),
            (_, toml::Value::Array(_)) => "0123456789abcdef,fedcba9876543210",
            (k, _) if k.ends_with("listen") => "127.0.0.1:4444",
            (k, _) if k.ends_with("passphrase") => "0123456789",
            _ => "another",
        };
        let variable = format!("FRESHET_{}", key.replace('.', "_").to_uppercase());
        let config = load(None, [(variable.clone(), text.to_string())], Vec::new()).unwrap();
        assert_ne!(config, Config::default(), "{variable} changes nothing");
    }
}

#[test]
fn the_command_line_wins_over_the_environment_over_the_file() {
    let file = Some((
        "f",
        "[srt]\nlatency_ms = 200\n[media]\ncores = 2\n[limits]\nstreams_max = 9",
    ));
    let environment = [
        ("FRESHET_SRT_LATENCY_MS".to_string(), "300".to_string()),
        ("FRESHET_MEDIA_CORES".to_string(), "3".to_string()),
        ("PATH".to_string(), "/bin".to_string()),
        ("FRESHET_UNRELATED".to_string(), "x".to_string()),
    ];
    let flag = Override {
        key: "srt.latency_ms".into(),
        value: "400".into(),
        given_by: "--srt-latency".into(),
    };
    let config = load(file, environment, vec![flag]).unwrap();
    let seen = (
        config.srt.latency_ms,
        config.media.cores,
        config.limits.streams_max,
    );
    assert_eq!(seen, (400, 3, 9));
}

/// Text, line of the error, cause, remedy.
const WRONG: [(&str, usize, &str, &str); 27] = [
    (
        "[drain]\npeer = \"https://b.example/whep/x\"",
        2,
        "no {stream}",
        "write a URL such as",
    ),
    (
        "[drain]\ndeadline_s = 100000",
        2,
        "out of range",
        "0 to 86400",
    ),
    (
        "[[pull]]\nstream = \"a*\"\nurl = \"http://x/y\"",
        2,
        "is a pattern",
        "of its own",
    ),
    (
        "[[pull]]\nstream = \"a\"\nurl = \"x\"",
        3,
        "pull[0].url: \"x\" is no http",
        "endpoint",
    ),
    (
        "[[pull]]\nstream = \"a\"\nurl = \"http://x/\"\n\
         [[pull]]\nstream = \"a\"\nurl = \"http://y/\"",
        5,
        "another [[pull]]",
        "remove",
    ),
    (
        "[[push]]\nstream = \"a*\"\nurl = \"http://x/y\"",
        3,
        "has no {stream}",
        "{stream}",
    ),
    (
        "[[push]]\nstream = \"a\"\nurl = \"http://x/y\"\ntoken = \"x\"",
        4,
        "token of 1 bytes",
        "openssl",
    ),
    (
        "[http]\nlistn = \"x\"",
        2,
        "unknown field `listn`",
        "spelling",
    ),
    ("[htp]\n", 1, "unknown field `htp`", "spelling"),
    ("[http]\n\nlisten = 5", 3, "invalid type", "every key"),
    (
        "[http]\nlisten = \"localhost:80\"",
        2,
        "is not an address",
        "",
    ),
    (
        "[media]\ncores = 65",
        2,
        "media.cores: 65 is out of range",
        "write 0 to 64",
    ),
    (
        "[media]\nspin_us = 0",
        2,
        "media.spin_us: 0 is out of range",
        "write 1 to 1000000",
    ),
    (
        "[media]\nbusy_poll_us = 1001",
        2,
        "media.busy_poll_us: 1001 is out of range",
        "write 0 to 1000",
    ),
    (
        "[uring]\nnapi_us = 10001",
        2,
        "uring.napi_us: 10001 is out of range",
        "write 0 to 10000",
    ),
    ("[uring]\nzero_copy = 1", 2, "invalid type", "every key"),
    (
        "[media]\nbackend = \"dpdk\"",
        2,
        "unknown variant `dpdk`",
        "every key",
    ),
    (
        "[media]\ntransmit = \"dpdk\"",
        2,
        "unknown variant `dpdk`",
        "every key",
    ),
    (
        "[limits]\n# x\nlog_packets = 5000",
        3,
        "not a power of two",
        "write 8192",
    ),
    ("[http\nlisten = 1", 1, "", "quotes"),
    ("[srt]\npassphrase = \"short\"", 2, "5 bytes", "10 to 79"),
    (
        "[auth]\nadmin_tokens = [\"abc\"]",
        2,
        "token of 3 bytes",
        "openssl",
    ),
    (
        "[srt]\nlisten = \"*:8000\"",
        2,
        "same UDP port",
        "two ports",
    ),
    (
        "[http]\nallowed_origins = [\"x.org\"]",
        2,
        "not an origin",
        "https://",
    ),
    (
        "[media]\nadvertise = [\"my.host\"]",
        2,
        "not an address",
        "not a name",
    ),
    (
        "[[stream]]\nname = \"a\"\n[[stream]]\nname = \"b c\"",
        4,
        "\"b c\"",
        "pattern",
    ),
    (
        "[[stream]]\nname = \"a\"\nplay_token = \"x\"",
        3,
        "stream[0].play_token",
        "openssl",
    ),
];

#[test]
fn an_error_names_line_cause_and_remedy() {
    for (text, line, cause, remedy) in WRONG {
        let error = from_text(text).unwrap_err();
        let origin = Origin::File("f.toml".into(), line);
        assert_eq!(error.origin, origin, "{text:?}: {error}");
        assert!(error.what.contains(cause), "{text:?}: {error}");
        assert!(error.remedy.contains(remedy), "{text:?}: {error}");
    }
}

#[test]
fn an_error_names_the_variable_or_flag() {
    for (variable, value, remedy) in [
        ("FRESHET_HTTP_LISTN", "x", "FRESHET_HTTP_LISTEN?"),
        ("FRESHET_HTTP_LISTEN", "nowhere", "freshet config"),
        ("FRESHET_MEDIA_CORES", "many", "freshet config"),
        ("FRESHET_MEDIA_CORES", "99", "write 0 to 64"),
        ("FRESHET_LOG_REDACT", "maybe", "freshet config"),
        ("FRESHET_LIMITS_MAX_LOAD", "much", "freshet config"),
        ("FRESHET_LIMITS_MAX_LOAD", "1.5", "write 0 to 1"),
        ("FRESHET_LIMITS_MAX_LOAD", "NaN", "write 0 to 1"),
    ] {
        let error = load(None, [(variable.into(), value.into())], Vec::new()).unwrap_err();
        assert_eq!(error.origin, Origin::Given(variable.into()), "{error}");
        assert!(error.remedy.contains(remedy), "{error}");
    }
}

#[test]
fn a_secret_is_not_shown() {
    let secret = Secret::from("correct horse");
    assert_eq!(format!("{secret:?}"), "***");
    assert!(secret.matches("correct horse"));
    assert!(!secret.matches("correct horsf") && !secret.matches(""));
    assert!(!Secret::default().matches(""));
    let error = from_text("[srt]\npassphrase = \"sesame\"").unwrap_err();
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[test]
fn the_first_rule_that_matches_holds() {
    let config = from_text(
        "[srt]\npassphrase = \"everybody knows\"\n\
         [[stream]]\nname = \"studio/open\"\npassphrase = \"\"\n\
         [[stream]]\nname = \"studio/*\"\npassphrase = \"only the studio\"\ntakeover = \"replace\"",
    )
    .unwrap();
    let of = |n: &str| config.stream_settings(&name(n));
    assert_eq!(of("studio/open").passphrase, None);
    assert_eq!(of("studio/1").passphrase, Some("only the studio".into()));
    assert_eq!(of("studio/1").takeover, Takeover::Replace);
    assert_eq!(of("other").passphrase, Some("everybody knows".into()));
    assert_eq!(of("other").takeover, Takeover::Refuse);
}

#[test]
fn who_may_publish() {
    let config = from_text(
        "[auth]\npublish_tokens = [\"0123456789abcdef\"]\n\
         [[stream]]\nname = \"own\"\npublish_token = \"fedcba9876543210\"\n\
         [[stream]]\nname = \"sealed\"\npassphrase = \"0123456789\"",
    )
    .unwrap();
    let here = Caller {
        local: true,
        ..Caller::default()
    };
    let away = Caller {
        encrypted: true,
        ..Caller::default()
    };
    let may = |stream: &str, caller: Caller<'_>, token| {
        let caller = Caller { token, ..caller };
        config.may_publish(&name(stream), &caller).is_ok()
    };
    assert!(may("any", here, None));
    assert!(!may("any", away, None));
    assert!(!may("any", away, Some("0123456789abcdeF")));
    assert!(may("any", away, Some("0123456789abcdef")));
    assert!(
        !may("own", here, None),
        "a stream's own token is asked of everybody"
    );
    assert!(may("own", away, Some("fedcba9876543210")));
    assert!(may("sealed", away, None), "the passphrase was the proof");
    let plain = Caller::default();
    assert!(
        !may("sealed", plain, None),
        "nobody asked for the passphrase"
    );
    let listed = from_text("[streams]\naccept = \"listed\"\n[[stream]]\nname = \"a*\"").unwrap();
    assert_eq!(
        listed.may_publish(&name("b"), &here),
        Err(Denied::NotListed)
    );
    assert_eq!(listed.may_publish(&name("ab"), &here), Ok(()));
}

#[test]
fn who_may_play() {
    let open = Config::default();
    assert_eq!(open.may_play(&name("a"), None), Ok(()));
    let config = from_text(
        "[auth]\nplay_tokens = [\"0123456789abcdef\"]\n\
         [[stream]]\nname = \"own\"\nplay_token = \"fedcba9876543210\"",
    )
    .unwrap();
    let may = |stream: &str, token| config.may_play(&name(stream), token).is_ok();
    assert!(!may("a", None) && may("a", Some("0123456789abcdef")));
    assert!(!may("own", Some("0123456789abcdef")) && may("own", Some("fedcba9876543210")));
}

#[test]
fn limits_reach_the_data_plane() {
    let config = from_text("[limits]\nviewers_max = 7\nstreams_max = 3").unwrap();
    let limits = config.link_limits(config.cores(4));
    assert_eq!(
        (limits.cores, limits.viewers_max, limits.streams_max),
        (3, 7, 3)
    );
    let by_default = [1, 2, 8, 9, 16, 1000].map(|of_host| config.cores(of_host));
    assert_eq!(by_default, [1, 1, 7, 7, 14, 64]);
    let all = from_text("[media]\ncores = 2").unwrap();
    assert_eq!(all.cores(2), 2);
}

/// Something like a configuration file.
const LINES: &str = "(\\[+[a-z]{0,6}\\]+\n|[a-z_]{1,8} = [\"0-9a-z\\[\\]]{0,6}\n|.{0,9}\n){0,8}";

proptest! {
    #[test]
    fn a_pattern_matches_what_it_was_made_of(parts in prop::collection::vec("[ab]{0,3}", 1..5),
                                             gaps in prop::collection::vec("[ab]{0,3}", 5)) {
        let pattern = parts.join("*");
        let mut text = String::new();
        for (at, part) in parts.iter().enumerate() {
            if at > 0 { text.push_str(&gaps[at]); }
            text.push_str(part);
        }
        prop_assert!(pattern::matches(&pattern, &text), "{pattern:?} {text:?}");
    }

    #[test]
    fn a_pattern_agrees_with_the_slow_way(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
        let expected = slow(pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(pattern::matches(&pattern, &text), expected);
    }

    #[test]
    fn no_file_makes_it_panic(text in LINES) {
        let _ = from_text(&text);
    }
}

fn slow(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, _) => text.is_empty(),
        (Some(b'*'), _) => {
            slow(&pattern[1..], text) || (!text.is_empty() && slow(pattern, &text[1..]))
        }
        (Some(p), Some(t)) => p == t && slow(&pattern[1..], &text[1..]),
        (Some(_), None) => false,
    }
}
