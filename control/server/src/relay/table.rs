//! Owns all relays of the node: those of the configuration, and those that an operator has made.

use super::failure::REASONS;
use super::http::Client;
use super::one::{Counters, NewRelay, Relay};
use super::runner::{Runner, Turns};
use super::status::{Direction, RelayState, RelayView};
use super::url::leads_back;
use crate::config::{Config, RelayRule, is_match};
use crate::control::{Control, Sample, StreamName, StreamState};
use hyper::Uri;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Most relays at once: each is a session, and a task that asks once a second.
const RELAYS_MAX: usize = 256;

/// How often streams are looked for that a pattern of `[[push]]` matches.
const LOOK: Duration = Duration::from_secs(1);

/// Why there is no such relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Of a pull: another one feeds the stream. Of a push: the same one is there.
    Taken,
    /// It would feed a stream with itself.
    Loop,
    /// There are too many.
    Full,
    /// There is none of this name.
    Unknown,
    /// It stands in the configuration.
    Configured,
}

/// All relays; cheap to clone.
#[derive(Clone, Debug)]
pub struct Relays(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: String,
    control: Control,
    client: Arc<Client>,
    config: watch::Receiver<Arc<Config>>,
    table: Mutex<BTreeMap<String, Entry>>,
    counters: Arc<Counters>,
    turns: Arc<Turns>,
}

#[derive(Debug)]
struct Entry {
    relay: Arc<Relay>,
    /// Of a stream that a pattern has matched: it goes when the stream does.
    by_pattern: bool,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relays {
    /// None yet; they ask the driver by `control`.
    #[must_use]
    pub fn new(control: Control, config: watch::Receiver<Arc<Config>>) -> Self {
        let node = format!("{:032x}", rand::random::<u128>());
        let ca_file = config.borrow().relays.ca_file.clone();
        Self(Arc::new(Inner {
            client: Arc::new(Client::new(ca_file, node.clone())),
            node,
            control,
            config,
            table: Mutex::default(),
            counters: Arc::default(),
            turns: Arc::default(),
        }))
    }

    /// Begins with those of the configuration.
    pub fn start(&self) {
        let config = self.0.config.borrow().clone();
        let pulls = config.pull.iter().map(|rule| (Direction::Pull, rule));
        let pushes = config.push.iter().map(|rule| (Direction::Push, rule));
        let (patterns, names): (Vec<_>, Vec<_>) =
            pulls.chain(pushes).partition(|(_, rule)| rule.is_pattern());
        for (direction, rule) in names {
            if let Ok(stream) = rule.stream.parse() {
                self.add_rule(direction, rule, stream, false);
            }
        }
        if !patterns.is_empty() {
            tokio::spawn(self.clone().follow_patterns());
        }
    }

    /// Adds a relay, which begins at once. Its view has its name.
    ///
    /// # Errors
    /// Taken, a loop, or full.
    pub fn add(&self, new: NewRelay) -> Result<RelayView, Refusal> {
        self.enter(new, false)
    }

    /// Ends a relay that an operator has made, and waits until the server has been told.
    ///
    /// # Errors
    /// Unknown, or configured.
    pub async fn remove(&self, id: &str) -> Result<(), Refusal> {
        let entry = {
            let mut table = self.table();
            match table.get(id) {
                None => return Err(Refusal::Unknown),
                Some(entry) if entry.relay.configured => return Err(Refusal::Configured),
                Some(_) => table.remove(id),
            }
        };
        if let Some(entry) = entry {
            end(entry).await;
        }
        Ok(())
    }

    /// Ends all of them, each with a word to its server.
    pub async fn stop(&self) {
        let all = std::mem::take(&mut *self.table());
        for entry in all.values() {
            let _ = entry.stop.send(true);
        }
        for entry in all.into_values() {
            end(entry).await;
        }
    }

    /// All relays, by direction, stream and URL.
    #[must_use]
    pub fn views(&self) -> Vec<RelayView> {
        let mut all: Vec<RelayView> = self.table().values().map(|e| e.relay.view()).collect();
        all.sort_by(|a, b| (a.direction, &a.stream, &a.url).cmp(&(b.direction, &b.stream, &b.url)));
        all
    }

    /// One of them.
    #[must_use]
    pub fn view(&self, id: &str) -> Option<RelayView> {
        self.table().get(id).map(|entry| entry.relay.view())
    }

    /// The name by which this node knows its own requests.
    #[cfg(test)]
    #[must_use]
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// True if what a request says of who sends it means that this node has called itself for the
    /// same stream.
    #[must_use]
    pub fn is_own(&self, said: &str, stream: &StreamName) -> bool {
        said.split_once(' ') == Some((&self.0.node, stream.as_str()))
    }

    /// What is counted.
    pub fn samples(&self) -> Vec<Sample> {
        let counters = &self.0.counters;
        let sample = |name, help, value, counter| Sample {
            name,
            help,
            value,
            counter,
        };
        let live = self.views();
        let live: Vec<_> = live
            .iter()
            .filter(|view| view.state == RelayState::Live)
            .collect();
        let encodings = live.iter().map(|view| view.encodings.len() as u64).sum();
        let help = "Sessions that relays have asked for";
        let mut all = vec![
            sample(
                "relay_active",
                "Relays that are wanted",
                self.table().len() as u64,
                false,
            ),
            sample(
                "relay_live",
                "Relays by which media flows",
                live.len() as u64,
                false,
            ),
            sample(
                "relay_encoding",
                "Encodings that live pushes send by their names",
                encodings,
                false,
            ),
            sample(
                "relay_attempted",
                help,
                counters.attempts.load(Relaxed),
                true,
            ),
            sample(
                "relay_restarted",
                "ICE restarts that servers of relays have answered",
                counters.restarts.load(Relaxed),
                true,
            ),
        ];
        all.extend(
            REASONS
                .iter()
                .zip(&counters.failures)
                .map(|(reason, count)| {
                    let (name, help) = reason.counter();
                    sample(name, help, count.load(Relaxed), true)
                }),
        );
        all
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_rule(&self, direction: Direction, rule: &RelayRule, stream: StreamName, pattern: bool) {
        let Ok(url) = rule.url_for(&stream).parse::<Uri>() else {
            return;
        };
        let new = NewRelay {
            direction,
            stream,
            url,
            token: rule.token.clone(),
            configured: true,
        };
        let (stream, url) = (new.stream.clone(), new.url.clone());
        if let Err(refusal) = self.enter(new, pattern) {
            tracing::error!(%stream, %url, ?direction, ?refusal, "no relay");
        }
    }

    fn enter(&self, new: NewRelay, by_pattern: bool) -> Result<RelayView, Refusal> {
        let config = self.0.config.borrow().clone();
        if leads_back(&config, new.direction, &new.url, &new.stream) {
            return Err(Refusal::Loop);
        }
        let mut table = self.table();
        let is_same = |entry: &Entry| {
            let other = &entry.relay;
            let is_same = other.direction == new.direction && other.stream == new.stream;
            is_same && (new.direction == Direction::Pull || other.url == new.url)
        };
        if table.values().any(is_same) {
            return Err(Refusal::Taken);
        }
        if table.len() >= RELAYS_MAX {
            return Err(Refusal::Full);
        }
        let relay = Arc::new(Relay::new(new, self.0.counters.clone()));
        let (stop, stopped) = watch::channel(false);
        let runner = Runner {
            relay: relay.clone(),
            control: self.0.control.clone(),
            client: self.0.client.clone(),
            turns: self.0.turns.clone(),
            stop: stopped,
        };
        let view = relay.view();
        let entry = Entry {
            by_pattern,
            stop,
            task: tokio::spawn(runner.run()),
            relay,
        };
        table.insert(view.id.clone(), entry);
        Ok(view)
    }

    /// Pushes the streams that patterns match, as they come and go.
    async fn follow_patterns(self) {
        loop {
            if let Ok(streams) = self.0.control.streams().await {
                let known = |name: &str| streams.iter().any(|stream| stream.name == name);
                let gone: Vec<Entry> = {
                    let mut table = self.table();
                    let is_over = |e: &Entry| e.by_pattern && !known(e.relay.stream.as_str());
                    table
                        .extract_if(.., |_, e| is_over(e))
                        .map(|(_, e)| e)
                        .collect()
                };
                for entry in gone {
                    end(entry).await;
                }
                let live = streams.iter().filter(|s| s.state == StreamState::Live);
                for stream in live {
                    self.push_by_patterns(&stream.name);
                }
            }
            sleep(LOOK).await;
        }
    }

    fn push_by_patterns(&self, name: &str) {
        let config = self.0.config.borrow().clone();
        let Ok(stream) = name.parse::<StreamName>() else {
            return;
        };
        let rules = config.push.iter().filter(|rule| rule.is_pattern());
        for rule in rules.filter(|rule| is_match(&rule.stream, name)) {
            let url = rule.url_for(&stream);
            let is_there = self.table().values().any(|entry| {
                let relay = &entry.relay;
                relay.direction == Direction::Push
                    && relay.stream == stream
                    && relay.url.to_string() == url
            });
            if !is_there {
                self.add_rule(Direction::Push, rule, stream.clone(), true);
            }
        }
    }
}

async fn end(entry: Entry) {
    let _ = entry.stop.send(true);
    // It has not panicked, and if it has there is nothing left to end.
    let _ = entry.task.await;
}
