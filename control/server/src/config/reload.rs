//! Owns which keys may change while the server runs, and the judgement over a configuration that is
//! read again.

use super::Config;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What changes at once: whole sections, or single keys. Everything else is built into sockets,
/// workers and memory when they are made.
const LIVE: [&str; 17] = [
    "auth",
    "drain",
    "http.allowed_origins",
    "http.body_bytes_max",
    "http.connections_max",
    "http.connections_per_address_max",
    "http.header_timeout_ms",
    "http.request_timeout_ms",
    "limits.handshake_timeout_s",
    "limits.handshakes_max",
    "limits.max_load",
    "log.level",
    "pull",
    "push",
    "srt.passphrase",
    "stream",
    "streams",
];

/// What a configuration that was read again changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that take effect at once.
    pub live: Vec<String>,
    /// Keys that want a restart.
    pub fixed: Vec<String>,
}

/// These keys cannot change while the server runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} cannot change while the server runs; nothing was changed\n  remedy: restart it, or take that \
     back and reload again",
    .0.join(", ")
)]
pub struct WantsRestart(pub Vec<String>);

/// Reads the configuration once more, by `again`, with what it changes of `current`.
///
/// # Errors
/// It cannot be taken: there is a mistake, or something wants a restart.
pub fn reread(
    current: &Config,
    again: impl Fn() -> io::Result<Config>,
) -> io::Result<(Config, Changes)> {
    let config = again()?;
    let changes = Changes::between(current, &config);
    changes.judge().map_err(io::Error::other)?;
    Ok((config, changes))
}

impl Changes {
    /// From one configuration to another.
    fn between(old: &Config, new: &Config) -> Self {
        let (old, new) = (leaves(old), leaves(new));
        let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let changed = all.into_iter().filter(|key| old.get(*key) != new.get(*key));
        let (live, fixed) = changed.cloned().partition(|key| is_live(key));
        Self { live, fixed }
    }

    /// Nothing that wants a restart: it may be taken.
    ///
    /// # Errors
    /// What wants one, and what to do.
    fn judge(&self) -> Result<(), WantsRestart> {
        match self.fixed.is_empty() {
            true => Ok(()),
            false => Err(WantsRestart(self.fixed.clone())),
        }
    }
}

fn is_live(key: &str) -> bool {
    let section = key.split('.').next().unwrap_or_default();
    LIVE.iter().any(|live| *live == key || *live == section)
}

/// All values by `section.key`; lists of sections, such as `[[stream]]`, by the name of the list.
fn leaves(config: &Config) -> BTreeMap<String, toml::Value> {
    let mut leaves = BTreeMap::new();
    for (section, value) in toml::Table::try_from(config).unwrap_or_default() {
        match value {
            toml::Value::Table(table) => {
                let keys = table.into_iter();
                leaves.extend(keys.map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            other => {
                leaves.insert(section, other);
            }
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn config(text: &str) -> Config {
        load(Some(("f.toml", text)), [], Vec::new()).unwrap()
    }

    fn between(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let Changes { live, fixed } = Changes::between(&config(old), &config(new));
        (live, fixed)
    }

    #[test]
    fn what_may_change_is_told_from_what_may_not() {
        let old = "[auth]\npublish_tokens = [\"0123456789abcdef0123\"]\n\
                   [limits]\nmax_load = 0.5\n[[stream]]\nname = \"a\"\n";
        assert_eq!(between(old, old), (vec![], vec![]));
        let live = ["auth.publish_tokens", "limits.max_load", "stream"].map(String::from);
        assert_eq!(
            between(old, "[limits]\nmax_load = 0.6"),
            (live.to_vec(), vec![])
        );
        let (live, fixed) = between("", "[media]\ncores = 2\n[http]\nbody_bytes_max = 70000\n");
        assert_eq!(live, ["http.body_bytes_max"]);
        assert_eq!(fixed, ["media.cores"]);
        let error = Changes::between(&config(""), &config("[log]\nformat = \"json\""));
        let text = error.judge().unwrap_err().to_string();
        assert!(
            text.contains("log.format") && text.contains("restart"),
            "{text}"
        );
    }

    #[test]
    fn every_live_key_is_one() {
        let known = crate::config::keys();
        for live in LIVE {
            let is_section = |key: &str| key.split('.').next() == Some(live);
            let is_known = known.iter().any(|(key, _)| key == live || is_section(key));
            let is_list = ["stream", "pull", "push"].contains(&live);
            assert!(is_known || is_list, "{live}");
        }
    }
}
