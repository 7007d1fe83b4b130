//! Owns the counters of a server from look to look: what only grows must not fall while the
//! processes that count live.

use std::collections::BTreeMap;

use super::usage::PLANES;
use crate::http;
use crate::server::Server;

/// One look at `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    values: BTreeMap<String, f64>,
    /// Who counted.
    pids: Vec<Option<u32>>,
}

impl Counters {
    /// Looks; `None` while nobody answers, or processes change at the same time.
    #[must_use]
    pub fn look(server: &Server) -> Option<Self> {
        let pids = || PLANES.map(|name| server.process_with(&format!(" {name} ")));
        let before = pids();
        let answer = http::get(server.http, "/metrics").ok()?;
        if answer.status != 200 || pids() != before {
            return None;
        }
        let text = answer.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Some(Self {
            values: values.collect(),
            pids: before.to_vec(),
        })
    }

    /// The sum of those whose names begin so.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        let all = self.values.range(name.to_owned()..);
        all.take_while(|(key, _)| key.starts_with(name))
            .map(|(_, value)| value)
            .sum()
    }

    /// What has fallen since `before` though it may only grow, in the same processes.
    #[must_use]
    pub fn fallen(&self, before: &Self) -> Vec<String> {
        if self.pids != before.pids {
            return Vec::new();
        }
        let grows = |name: &str| {
            ["_total", "_count", "_bucket", "_sum"]
                .iter()
                .any(|end| name.split('{').next().is_some_and(|it| it.ends_with(end)))
        };
        let all = self.values.iter().filter(|(name, _)| grows(name));
        all.filter_map(|(name, now)| {
            let then = before.values.get(name)?;
            (now < then).then(|| format!("{name} fell from {then} to {now}"))
        })
        .collect()
    }
}
