//! Owns the driver's side of relays: sessions with other servers, and the streams that they feed.

use super::Driver;
use super::requests::{give, problem};
use super::stream::Active;
use super::streams::{InTheWay, Streams, in_the_way};
use super::whip::{intake, refused};
use crate::clock;
use crate::config::Config;
use crate::control::{PublisherKind, RelayAnswer, RelayOffer, RelayRequest, RelayStep, StreamName};
use crate::problem::Problem;
use crate::relay::Direction;
use session::{SessionId, Sessions};
use tokio::sync::watch;

impl Driver {
    pub(super) fn relay(&mut self, request: RelayRequest) {
        match request {
            RelayRequest::Offer(direction, stream, reply) => {
                let offered = self.relay_offer(direction, &stream);
                give(reply, offered);
            }
            RelayRequest::Answer(answer, reply) => {
                let taken = self.relay_answer(&answer);
                if taken.is_err() {
                    // The session has ended with it, or goes on for nobody.
                    let _ = self.sessions.delete(clock::now(), &answer.id);
                }
                give(reply, taken);
            }
            RelayRequest::Counter(counter, reply) => {
                let taken = self.relay_pulled(&counter, true);
                if taken.is_err() {
                    let _ = self.sessions.delete(clock::now(), &counter.id);
                }
                give(reply, taken);
            }
            RelayRequest::Restart(id, reply) => {
                let offered = self.sessions.restart_offer(clock::now(), &id);
                give(reply, offered.map_err(|error| problem(&error)));
            }
            RelayRequest::Restarted(id, fragment, reply) => {
                let now = clock::now();
                let taken = self.sessions.restart_answered(now, &id, &fragment);
                give(reply, taken.map_err(|error| problem(&error)));
            }
        }
    }

    /// Tells the relay of a session, if it is one's, what has become of it.
    pub(super) fn tell_relay(&mut self, session: &SessionId, step: RelayStep) {
        let Some(relay) = self.relays.get(session.as_str()) else {
            return;
        };
        // One that does not listen any more ends the session by itself.
        let _ = relay.send(step);
        if let RelayStep::Ended(_) = step {
            self.relays.remove(session.as_str());
        }
    }

    /// Tells sessions with other servers when something came of those last.
    pub(super) fn hear_calls(&mut self) {
        let region = &self.region;
        self.sessions.calls_heard(|viewer| {
            let cell = region.viewer(viewer).ok()?;
            Some(cell.counters().active)
        });
    }

    fn relay_offer(
        &mut self,
        direction: Direction,
        stream: &StreamName,
    ) -> Result<RelayOffer, Problem> {
        let now = clock::now();
        let call = match direction {
            Direction::Pull => self.sessions.pull_offer(now),
            Direction::Push => self.sessions.push_offer(now, stream.as_str()),
        };
        let call = call.map_err(|error| problem(&error))?;
        let (relay, steps) = watch::channel(RelayStep::Offered);
        let id = call.id.as_str().to_owned();
        self.relays.insert(id.clone(), relay);
        Ok(RelayOffer {
            id,
            offer: call.offer,
            steps,
        })
    }

    fn relay_answer(&mut self, answer: &RelayAnswer) -> Result<(), Problem> {
        match answer.direction {
            Direction::Push => {
                let now = clock::now();
                let taken = self.sessions.push_answered(now, &answer.id, &answer.answer);
                taken.map_err(|error| problem(&error))
            }
            Direction::Pull => self.relay_pulled(answer, false).map(drop),
        }
    }

    /// Lets in what comes by the answer of a server, or by its counter-offer: then our answer to
    /// that is given.
    fn relay_pulled(&mut self, said: &RelayAnswer, is_counter: bool) -> Result<String, Problem> {
        let config = self.config.borrow().clone();
        let pulled = self
            .streams
            .publish_pull(said, is_counter, &config, &mut self.sessions);
        let (in_the_way, answer) = pulled?;
        self.clear(&said.stream, in_the_way);
        Ok(answer)
    }
}

impl Streams {
    /// Lets a stream of another server in.
    fn publish_pull(
        &mut self,
        answer: &RelayAnswer,
        is_counter: bool,
        config: &Config,
        sessions: &mut Sessions,
    ) -> Result<(InTheWay, String), Problem> {
        let (name, text) = (&answer.stream, &answer.answer);
        // A bad answer opens no stream.
        let checked = match is_counter {
            true => sessions.counter_check(text),
            false => sessions.pull_check(text),
        };
        checked.map_err(|error| problem(&error))?;
        let epoch = self.next_epoch();
        let settings = config.stream_settings(name);
        let region = self.region.clone();
        let stream = self
            .vacate(name, &settings, sessions)
            .map_err(|refusal| refused(name, refusal))?;
        let (now, id) = (clock::now(), &answer.id);
        let taken = if is_counter {
            let countered = sessions.pull_countered(now, id, stream.id, text, true);
            countered.map(|countered| (countered.pulled, countered.answer))
        } else {
            let pulled = sessions.pull_answered(now, id, stream.id, text, true);
            pulled.map(|pulled| (pulled, String::new()))
        };
        let (pulled, ours) = taken.map_err(|error| problem(&error))?;
        let mut in_the_way = stream.active.as_mut().map(in_the_way).unwrap_or_default();
        // A session or push has been closed by the newcomer already.
        in_the_way.session = None;
        stream.start(Active {
            epoch,
            session: Some(pulled.id),
            taken_before: intake(&region, stream.id),
            ..super::newcomer(PublisherKind::Pull)
        });
        stream.negotiated = pulled.description;
        Ok((in_the_way, ours))
    }
}
