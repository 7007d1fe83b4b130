//! Owns the keys of the configuration as data, their names in the environment, and secrets.

use super::Config;
use serde::{Deserialize, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;

/// A text that is not shown in a log or an error.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True for the empty text, which means "none".
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Equal? In a time that depends on the lengths alone. "None" equals nothing.
    #[must_use]
    pub fn matches(&self, given: &str) -> bool {
        !self.is_empty() && bool::from(self.0.as_bytes().ct_eq(given.as_bytes()))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "***" })
    }
}

/// Every key of every `[section]`, with its default.
#[must_use]
pub fn keys() -> Vec<(String, toml::Value)> {
    let Ok(sections) = toml::Table::try_from(Config::default()) else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    for (section, value) in sections {
        let toml::Value::Table(table) = value else {
            continue;
        };
        keys.extend(
            table
                .into_iter()
                .map(|(key, value)| (format!("{section}.{key}"), value)),
        );
    }
    keys
}

/// `http.listen` is `FRESHET_HTTP_LISTEN` in the environment.
#[must_use]
pub(super) fn env_name(key: &str) -> String {
    format!("FRESHET_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Reads `text` as a value of the same kind as `default`.
pub(super) fn parse_like(default: &toml::Value, text: &str) -> Result<toml::Value, String> {
    let text = text.trim();
    Ok(match default {
        toml::Value::Integer(_) => text
            .parse::<i64>()
            .map_err(|_| format!("{text:?} is not a whole number"))?
            .into(),
        toml::Value::Float(_) => text
            .parse::<f64>()
            .map_err(|_| format!("{text:?} is not a number"))?
            .into(),
        toml::Value::Boolean(_) => text
            .parse::<bool>()
            .map_err(|_| format!("{text:?} is neither true nor false"))?
            .into(),
        toml::Value::Array(_) => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .collect::<Vec<_>>()
            .into(),
        _ => text.into(),
    })
}
