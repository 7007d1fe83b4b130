//! Owns the table of all relays of the node, whether the configuration wants them or an operator.

use super::failure::REASONS;
use super::http::Client;
use super::one::{Counters, NewRelay, Relay};
use super::runner::{Runner, Turns};
use super::status::{Direction, RelayState, RelayView};
use super::url::leads_back;
use crate::config::Config;
use crate::control::{Control, Sample, StreamName};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Most relays at once: each is a session, and a task that asks once a second.
const RELAYS_MAX: usize = 256;

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
pub struct Relays(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    node: String,
    pub(super) control: Control,
    client: Arc<Client>,
    pub(super) config: watch::Receiver<Arc<Config>>,
    table: Mutex<BTreeMap<String, Entry>>,
    counters: Arc<Counters>,
    turns: Arc<Turns>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) relay: Arc<Relay>,
    /// Of a stream that a pattern has matched: it goes when the stream does.
    pub(super) by_pattern: bool,
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

    pub(super) fn table(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, new: NewRelay, by_pattern: bool) -> Result<RelayView, Refusal> {
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
}

/// Ends one that was taken out of the table, and waits until its server has been told.
pub(super) async fn end(entry: Entry) {
    let _ = entry.stop.send(true);
    // It has not panicked, and if it has there is nothing left to end.
    let _ = entry.task.await;
}
