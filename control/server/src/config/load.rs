//! Owns the way from file, environment and command line to one checked configuration.

use super::key::{env_name, keys, parse_like};
use super::{Config, check};
use std::fmt;

/// A value that wins over the file: from the environment or the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// `section.key`
    pub key: String,
    /// The value as text; lists are separated by commas.
    pub value: String,
    /// Where it was given, to be named in an error: `FRESHET_HTTP_LISTEN`, `--http`.
    pub given_by: String,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This line of this file, from 1; 0: the file as a whole.
    File(String, usize),
    /// An environment variable or a flag.
    Given(String),
    /// Nobody: a default that does not fit something else.
    Default,
}

/// What is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// Its `section.key`, where that is known.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// The configuration from an optional file (its name and text), the environment and the command
/// line, weakest first.
///
/// # Errors
/// The first thing that is wrong, with its line and remedy.
pub fn load(
    file: Option<(&str, &str)>,
    environment: impl IntoIterator<Item = (String, String)>,
    command_line: Vec<Override>,
) -> Result<Config, ConfigError> {
    let (file_name, text) = file.unwrap_or(("", ""));
    // First alone, for the line numbers of its errors.
    if let Err(error) = toml::from_str::<Config>(text) {
        return Err(in_file(file_name, text, &error));
    }
    let mut table: toml::Table =
        toml::from_str(text).map_err(|error| in_file(file_name, text, &error))?;
    let known = keys();
    let mut overrides = from_environment(&known, environment)?;
    overrides.extend(command_line);
    for given in &overrides {
        put(&mut table, &known, given)?;
    }
    let config = Config::deserialize_table(table, &overrides)?;
    check::check(&config).map_err(|bad| ConfigError {
        origin: origin_of(&bad.key, file_name, text, &overrides),
        key: Some(bad.key.clone()),
        what: format!("{}: {}", bad.key, bad.what),
        remedy: bad.remedy,
    })?;
    Ok(config)
}

impl Config {
    fn deserialize_table(table: toml::Table, given: &[Override]) -> Result<Self, ConfigError> {
        // The file is right by itself: what is wrong now was given by an override.
        table.try_into().map_err(|error: toml::de::Error| {
            let text = error.to_string();
            let guilty = given.iter().find(|g| text.contains(&g.value));
            ConfigError {
                origin: guilty.map_or(Origin::Default, |g| Origin::Given(g.given_by.clone())),
                key: guilty.map(|g| g.key.clone()),
                what: error.message().to_string(),
                remedy: "`freshet config` prints every key with its range".into(),
            }
        })
    }
}

fn from_environment(
    known: &[(String, toml::Value)],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Override>, ConfigError> {
    let mut found = Vec::new();
    for (name, value) in environment {
        if let Some((key, _)) = known.iter().find(|(key, _)| env_name(key) == name) {
            found.push(Override {
                key: key.clone(),
                value,
                given_by: name,
            });
            continue;
        }
        // A misspelt key must not be silently without effect. Other names are not ours to judge.
        let section = known
            .iter()
            .map(|(key, _)| key.split('.').next().unwrap_or_default());
        let mut prefixes = section.map(|s| format!("{}_", env_name(s)));
        if prefixes.any(|prefix| name.starts_with(&prefix)) {
            return Err(ConfigError {
                origin: Origin::Given(name.clone()),
                key: None,
                what: "there is no such key".into(),
                remedy: nearest(&name, known),
            });
        }
    }
    Ok(found)
}

fn put(
    table: &mut toml::Table,
    known: &[(String, toml::Value)],
    given: &Override,
) -> Result<(), ConfigError> {
    let wrong = |what: String| ConfigError {
        origin: Origin::Given(given.given_by.clone()),
        key: Some(given.key.clone()),
        what,
        remedy: "`freshet config` prints every key with its range".into(),
    };
    let (section, key) = given.key.split_once('.').unwrap_or(("", &given.key));
    let (_, default) = known
        .iter()
        .find(|(name, _)| *name == given.key)
        .ok_or_else(|| wrong(format!("there is no key {}", given.key)))?;
    let value = parse_like(default, &given.value).map_err(wrong)?;
    let slot = table
        .entry(section)
        .or_insert_with(|| toml::Table::new().into());
    if let toml::Value::Table(slot) = slot {
        slot.insert(key.into(), value);
    }
    Ok(())
}

fn in_file(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map_or(0, |span| line_at(text, span.start));
    let message = error.message();
    let remedy = if message.starts_with("unknown field") {
        "check the spelling and the [section]; `freshet config` prints every key".into()
    } else if message.contains("invalid type") || message.contains("unknown variant") {
        "`freshet config` prints every key with its range".to_string()
    } else {
        "texts stand in quotes, lists in [ ], one key a line".into()
    };
    ConfigError {
        origin: Origin::File(name.into(), line),
        key: None,
        what: message.lines().next().unwrap_or_default().into(),
        remedy,
    }
}

fn origin_of(key: &str, file: &str, text: &str, overrides: &[Override]) -> Origin {
    if let Some(given) = overrides.iter().rev().find(|given| given.key == key) {
        return Origin::Given(given.given_by.clone());
    }
    match line_of(text, key) {
        0 => Origin::Default,
        line => Origin::File(file.into(), line),
    }
}

/// The line of `section.key`, or of the nth `[[stream]]` for `stream[n].key`; 0 if it is not there.
fn line_of(text: &str, path: &str) -> usize {
    let (section, key) = path.split_once('.').unwrap_or((path, ""));
    let (section, wanted) = match section.split_once('[') {
        Some((name, index)) => (
            format!("[[{name}]]"),
            index.trim_end_matches(']').parse().unwrap_or(0) + 1,
        ),
        None => (format!("[{section}]"), 1),
    };
    let mut seen = 0;
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            let header: String = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split(' ')
                .collect();
            inside = header == section;
            seen += usize::from(inside);
        }
        let names_key = line
            .split('=')
            .next()
            .is_some_and(|name| name.trim() == key);
        if inside && seen == wanted && (key.is_empty() || names_key) {
            return number + 1;
        }
    }
    0
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

fn nearest(name: &str, known: &[(String, toml::Value)]) -> String {
    let common = |a: &str| {
        a.bytes()
            .zip(name.bytes())
            .take_while(|(x, y)| x == y)
            .count()
    };
    let best = known
        .iter()
        .map(|(key, _)| env_name(key))
        .max_by_key(|n| common(n));
    format!("did you mean {}?", best.unwrap_or_default())
}

impl Origin {
    /// The line of the file, if it is in one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::File(_, line) => Some(*line).filter(|line| *line > 0),
            Self::Given(_) | Self::Default => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, 0) => f.write_str(name),
            Self::File(name, line) => write!(f, "{name}:{line}"),
            Self::Given(name) => f.write_str(name),
            Self::Default => f.write_str("configuration"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\n  remedy: {}",
            self.origin, self.what, self.remedy
        )
    }
}

impl std::error::Error for ConfigError {}
