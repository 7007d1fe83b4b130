//! Owns the driver's part of a drain: whom it keeps out, whom it asks to leave and when, who is
//! left, and the farewell.

use super::{Driver, RETRY_AFTER};
use crate::clock;
use crate::config::Config;
use crate::control::{PublisherKind, ReadyCheck, Sample, StreamName};
use crate::drain::{self, Drain, Order, Pace, Progress};
use crate::load::Newcomer;
use crate::problem::Problem;
use crate::srt;
use link::ids::StreamId;
use rand::Rng;
use session::Cause;
use std::collections::BTreeMap;
use wire::time::{Span, Time};

use super::load::RETRY_AFTER_SECS;

/// How often those who are left are counted, and some are asked to leave.
const LOOK_INTERVAL: Span = Span::millis(100);

/// How often the log says how far it has come.
const SAY_INTERVAL: Span = Span::secs(5);

/// How long the farewells may take to be handed to the workers. Their rings hold thousands, and a
/// worker that is alive empties its own in milliseconds.
const FAREWELL_MAX: Span = Span::secs(1);

/// How long a worker may take to send what it has been handed: many times one of its turns.
const LAST_TURN: Span = Span::millis(50);

/// What the driver knows of it.
pub(super) struct Draining {
    drain: Drain,
    current: Option<Current>,
    told: u64,
    refused: u64,
}

/// The one that goes on.
struct Current {
    order: Order,
    pace: Pace,
    look_at: Time,
    say_at: Time,
}

impl Draining {
    pub(super) fn new(drain: Drain) -> Self {
        Self {
            drain,
            current: None,
            told: 0,
            refused: 0,
        }
    }

    /// Nobody is left, or the time is up.
    pub(super) fn is_over(&self) -> bool {
        self.drain.is_over()
    }

    pub(super) fn check(&self) -> ReadyCheck {
        let order = self.drain.order();
        ReadyCheck {
            name: "serving".to_owned(),
            ok: order.is_none(),
            detail: match &order {
                None => "newcomers are let in".to_owned(),
                Some(order) => {
                    let left = drain::remaining(order).as_millis().div_ceil(1000);
                    format!("draining: it ends in {left} s, or when nobody is left")
                }
            },
        }
    }

    pub(super) fn samples(&self) -> [Sample; 3] {
        let is_draining = self.drain.order().is_some();
        [
            Sample {
                name: "draining",
                help: "1 while the node is being emptied",
                value: is_draining.into(),
                counter: false,
            },
            Sample {
                name: "drain_viewer_told",
                help: "Viewers told to reconnect because the node is being emptied",
                value: self.told,
                counter: true,
            },
            Sample {
                name: "drain_newcomer_refused",
                help: "Newcomers refused because the node is being emptied",
                value: self.refused,
                counter: true,
            },
        ]
    }
}

impl Driver {
    /// Keeps newcomers out while the node drains.
    pub(super) fn must_not_drain(&mut self, who: Newcomer) -> Result<(), Problem> {
        if self.draining.drain.order().is_none() {
            return Ok(());
        }
        self.draining.refused += 1;
        tracing::debug!(newcomer = who.name(), "refused: draining");
        let seconds = rand::rng().random_range(RETRY_AFTER_SECS);
        Err(drain::refusal().retry_after(seconds))
    }

    /// Viewers are here who wait for a publisher of this stream: that one is no newcomer.
    pub(super) fn is_awaited(&self, name: &StreamName) -> bool {
        let Some(stream) = self.streams.table.get(name) else {
            return false;
        };
        stream.active.is_none() && stream.next.is_none() && self.served(stream.id) > 0
    }

    /// Does what is due of a drain, if there is one.
    pub(super) fn drain(&mut self, now: Time) {
        let order = self.draining.drain.order();
        match (order, &mut self.draining.current) {
            (None, None) => return,
            (None, Some(_)) => return self.take_back(),
            (Some(order), Some(current)) => current.order = order,
            (Some(order), None) => {
                self.draining.current = Some(Current {
                    order,
                    pace: Pace::new(now),
                    look_at: now,
                    say_at: now,
                });
            }
        }
        let config = self.config.borrow().clone();
        let (_, to_tell) = self.events.listeners();
        let Some(current) = &mut self.draining.current else {
            return;
        };
        if now < current.look_at {
            return;
        }
        current.look_at = now + LOOK_INTERVAL;
        let (order, per_s) = (current.order, config.drain.viewers_per_s);
        let due = current.pace.due(now, &order, to_tell, per_s);
        if due > 0 {
            let told = self
                .events
                .ask_to_reconnect(due, &self.invitations(&config));
            self.draining.told += told;
        }
        self.report(now, &order);
    }

    /// Says farewell to all who are still here, so that they need not find out by silence. What a
    /// session is told by DTLS wants its keys, which only the life of control has that made them.
    pub(super) async fn say_farewell(&mut self) {
        let end = clock::now() + FAREWELL_MAX;
        self.sessions.close_everything(clock::now(), Cause::Drained);
        let active = self
            .streams
            .table
            .values()
            .filter_map(|s| s.active.as_ref());
        let connections: Vec<_> = active.filter_map(|active| active.connection).collect();
        for connection in connections {
            self.order(srt::Order::Close(connection));
        }
        while let Some(output) = self.sessions.poll() {
            self.carry_out(output);
        }
        while self.lines.retry() && clock::now() < end {
            clock::sleep_until(Some(clock::now() + RETRY_AFTER)).await;
        }
        clock::sleep_until(Some(clock::now() + LAST_TURN)).await;
    }

    /// Where the viewers of a stream are asked to reconnect: the data of that event.
    pub(super) fn invitation(&self, stream: StreamId) -> String {
        let mut streams = self.streams.iter();
        let name = streams
            .find(|(_, one)| one.id == stream)
            .map(|(name, _)| name);
        data(&self.config.borrow(), name)
    }

    /// The same of all, by the index of the stream.
    fn invitations(&self, config: &Config) -> BTreeMap<u32, String> {
        let streams = self.streams.iter();
        let data = streams.map(|(name, stream)| (stream.id.index, data(config, Some(name))));
        data.collect()
    }

    fn take_back(&mut self) {
        self.events.take_back();
        self.draining.current = None;
        self.draining.drain.report(None);
        tracing::info!("the drain was taken back: newcomers are let in");
    }

    /// Counts who is left, and says so.
    fn report(&mut self, now: Time, order: &Order) {
        let (asked, to_tell) = self.events.listeners();
        let (viewers, publishers) = (self.viewer_count(), self.publishers_from_elsewhere());
        let progress = Progress {
            viewers,
            publishers,
            told: asked,
            to_tell,
            is_over: viewers + publishers == 0 || order.is_up(now),
        };
        let before = self.draining.drain.progress();
        let left_s = order.deadline.since(now).as_millis().div_ceil(1000);
        let untold = viewers.saturating_sub(asked + to_tell);
        if progress.is_over && !before.is_some_and(|before| before.is_over) {
            let why = match viewers + publishers {
                0 => "nobody is left",
                _ => "the time is up",
            };
            tracing::info!(
                why,
                viewers,
                publishers,
                told = self.draining.told,
                "drained"
            );
        } else if let Some(current) = self.draining.current.as_mut().filter(|c| now >= c.say_at) {
            current.say_at = now + SAY_INTERVAL;
            tracing::info!(
                left_s,
                viewers,
                publishers,
                told = asked,
                to_tell,
                without_events = untold,
                "draining"
            );
        }
        self.draining.drain.report(Some(progress));
    }

    /// Who publishes from elsewhere. What this node publishes or fetches itself is there for
    /// viewers, and nobody misses it when they are gone.
    fn publishers_from_elsewhere(&self) -> u64 {
        let streams = self.streams.table.values();
        let all = streams.filter(|stream| {
            let comes = stream
                .active
                .iter()
                .chain(stream.next.iter().map(|next| &next.0));
            comes.map(|active| active.kind).any(|kind| match kind {
                PublisherKind::Srt | PublisherKind::Whip | PublisherKind::Push => true,
                PublisherKind::Pull | PublisherKind::Demo => false,
            })
        });
        u64::try_from(all.count()).unwrap_or(u64::MAX)
    }
}

fn data(config: &Config, name: Option<&StreamName>) -> String {
    match name.and_then(|name| config.peer("whep", name)) {
        Some(url) => serde_json::json!({ "url": url }).to_string(),
        None => "{}".to_owned(),
    }
}
