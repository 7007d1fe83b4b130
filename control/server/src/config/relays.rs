//! Owns what the configuration says of relays.

use super::check::{Bad, bad, check_token};
use super::{Config, Secret, pattern};
use crate::control::StreamName;
use crate::relay::check_url;
use serde::{Deserialize, Serialize};

/// Stands for the name of the stream.
const STREAM: &str = "{stream}";

/// `[relays]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaySettings {
    /// File with the certificates that are trusted; empty: the system's.
    pub ca_file: String,
}

/// `[[pull]]` or `[[push]]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayRule {
    /// The stream here; of a push also a pattern with `*`.
    pub stream: String,
    /// The endpoint there: WHEP of a pull, WHIP of a push. `{stream}` stands for the name.
    pub url: String,
    /// What the server there wants to see.
    pub token: Option<Secret>,
}

impl RelayRule {
    /// True if it may be of several streams.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.stream.contains('*')
    }

    /// Where the stream of this name is there.
    #[must_use]
    pub fn url_for(&self, stream: &StreamName) -> String {
        self.url.replace(STREAM, stream.as_str())
    }
}

/// Does `name` fit `pattern`, in which `*` stands for any characters?
#[must_use]
pub fn is_match(pattern: &str, name: &str) -> bool {
    pattern::matches(pattern, name)
}

pub(super) fn check(config: &Config) -> Result<(), Bad> {
    for (index, rule) in config.pull.iter().enumerate() {
        let at = format!("pull[{index}]");
        if rule.is_pattern() {
            let remedy = "name each stream that is to be fetched in a [[pull]] of its own";
            let what = format!("{:?} is a pattern", rule.stream);
            return Err(bad(&format!("{at}.stream"), what, remedy.into()));
        }
        let mut others = config.pull.iter().take(index);
        if others.any(|other| other.stream == rule.stream) {
            let what = format!("{} is fetched by another [[pull]] already", rule.stream);
            return Err(bad(
                &format!("{at}.stream"),
                what,
                "remove one of them".into(),
            ));
        }
        check_rule(rule, &at)?;
    }
    for (index, rule) in config.push.iter().enumerate() {
        check_rule(rule, &format!("push[{index}]"))?;
    }
    Ok(())
}

fn check_rule(rule: &RelayRule, at: &str) -> Result<(), Bad> {
    let key = |name: &str| format!("{at}.{name}");
    let as_name = rule.stream.replace('*', "x");
    if let Err(error) = as_name.parse::<StreamName>() {
        let what = format!("{:?}: {error}", rule.stream);
        return Err(bad(
            &key("stream"),
            what,
            "write a name, such as \"live/studio\"".into(),
        ));
    }
    if rule.is_pattern() && !rule.url.contains(STREAM) {
        let what = format!(
            "{:?} has no {STREAM}: all streams would be one there",
            rule.url
        );
        let remedy = "write a URL such as \"https://edge.example/whip/{stream}\"";
        return Err(bad(&key("url"), what, remedy.into()));
    }
    check_url(&rule.url.replace(STREAM, "x")).map_err(|what| {
        let remedy =
            "write the URL of an endpoint, such as \"https://origin.example/whep/{stream}\"";
        bad(&key("url"), format!("{:?} {what}", rule.url), remedy.into())
    })?;
    match &rule.token {
        Some(token) => check_token(&key("token"), token),
        None => Ok(()),
    }
}
