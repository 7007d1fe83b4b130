//! Owns the relays that the configuration wants: those of the streams that it names, and of those
//! that its patterns match, as the one and the other come and go.

use super::one::{NewRelay, Relay};
use super::status::Direction;
use super::table::{Entry, Relays, end};
use crate::config::{Config, RelayRule, is_match};
use crate::control::{StreamName, StreamState};
use hyper::Uri;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// How often streams are looked for that a pattern of `[[push]]` matches.
const LOOK: Duration = Duration::from_secs(1);

impl Relays {
    /// Begins with those of the configuration, and follows it from now on.
    pub fn start(&self) {
        let mut config = self.0.config.clone();
        let first = config.borrow_and_update().clone();
        self.begin_named(&first);
        tokio::spawn(self.clone().follow(config));
    }

    async fn follow(self, mut changes: watch::Receiver<Arc<Config>>) {
        loop {
            let config = changes.borrow().clone();
            if config.push.iter().any(RelayRule::is_pattern) {
                self.follow_streams(&config).await;
            }
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let config = changes.borrow_and_update().clone();
                    let is_over = |relay: &Relay| relay.configured && !wants(&config, relay);
                    self.end_all(|entry| is_over(&entry.relay)).await;
                    self.begin_named(&config);
                }
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Begins what is named in the configuration and is not there.
    fn begin_named(&self, config: &Config) {
        let pulls = config.pull.iter().map(|rule| (Direction::Pull, rule));
        let pushes = config.push.iter().map(|rule| (Direction::Push, rule));
        for (direction, rule) in pulls.chain(pushes) {
            if !rule.is_pattern()
                && let Ok(stream) = rule.stream.parse()
            {
                self.begin(direction, rule, stream, false);
            }
        }
    }

    /// Pushes the streams that patterns match, and those that have gone no more.
    async fn follow_streams(&self, config: &Config) {
        let Ok(streams) = self.0.control.streams().await else {
            return;
        };
        let is_known = |name: &str| streams.iter().any(|stream| stream.name == name);
        self.end_all(|entry| entry.by_pattern && !is_known(entry.relay.stream.as_str()))
            .await;
        for stream in streams.iter().filter(|s| s.state == StreamState::Live) {
            let rules = config.push.iter().filter(|rule| rule.is_pattern());
            for rule in rules.filter(|rule| is_match(&rule.stream, &stream.name)) {
                if let Ok(name) = stream.name.parse() {
                    self.begin(Direction::Push, rule, name, true);
                }
            }
        }
    }

    /// Begins one that is not there.
    fn begin(&self, direction: Direction, rule: &RelayRule, stream: StreamName, by_pattern: bool) {
        let Ok(url) = rule.url_for(&stream).parse::<Uri>() else {
            return;
        };
        let is_it = |relay: &Relay| {
            relay.direction == direction && relay.stream == stream && relay.url == url
        };
        if self.table().values().any(|entry| is_it(&entry.relay)) {
            return;
        }
        let (name, there) = (stream.clone(), url.clone());
        let new = NewRelay {
            direction,
            stream,
            url,
            token: rule.token.clone(),
            configured: true,
        };
        if let Err(refusal) = self.enter(new, by_pattern) {
            tracing::error!(stream = %name, url = %there, ?direction, ?refusal, "no relay");
        }
    }

    /// Ends those that are over.
    async fn end_all(&self, is_over: impl Fn(&Entry) -> bool) {
        let over: Vec<Entry> = {
            let mut table = self.table();
            let taken = table.extract_if(.., |_, entry| is_over(entry));
            taken.map(|(_, entry)| entry).collect()
        };
        for entry in over {
            end(entry).await;
        }
    }
}

/// True if a rule of this configuration makes this relay.
fn wants(config: &Config, relay: &Relay) -> bool {
    let rules = match relay.direction {
        Direction::Pull => &config.pull,
        Direction::Push => &config.push,
    };
    rules.iter().any(|rule| {
        let url = rule.url_for(&relay.stream).parse::<Uri>();
        is_match(&rule.stream, relay.stream.as_str())
            && url.is_ok_and(|url| url == relay.url)
            && rule.token == relay.token
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn a_relay_is_wanted_as_long_as_a_rule_makes_it() {
        let config = |text: &str| load(Some(("f.toml", text)), [], Vec::new()).unwrap();
        let push = config(
            "[[push]]\nstream = \"live/*\"\nurl = \"https://a.example/whip/{stream}\"\n\
             token = \"0123456789abcdef\"",
        );
        let relay = |direction, stream: &str, url: &str, rule: &RelayRule| {
            let new = NewRelay {
                direction,
                stream: stream.parse().unwrap(),
                url: url.parse().unwrap(),
                token: rule.token.clone(),
                configured: true,
            };
            Relay::new(new, Arc::default())
        };
        let rule = &push.push[0];
        let url = "https://a.example/whip/live/one";
        let made = relay(Direction::Push, "live/one", url, rule);
        assert!(wants(&push, &made));
        for other in [
            relay(Direction::Pull, "live/one", url, rule),
            relay(Direction::Push, "one", "https://a.example/whip/one", rule),
            relay(
                Direction::Push,
                "live/one",
                "https://b.example/whip/live/one",
                rule,
            ),
        ] {
            assert!(!wants(&push, &other), "{other:?}");
        }
        let without =
            config("[[push]]\nstream = \"live/*\"\nurl = \"https://a.example/whip/{stream}\"");
        assert!(!wants(&without, &made), "another token");
        assert!(!wants(&config(""), &made));
    }
}
