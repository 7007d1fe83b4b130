//! Owns the life of one relay: ask, answer, watch, wait, and again.

use super::failure::{Failure, Reason};
use super::http::{Answer, Change, Client, Endpoint, Said};
use super::one::Relay;
use super::status::{Direction, RelayState};
use crate::control::{Control, RelayOffer, RelayStep, StreamState};
use crate::problem::Problem;
use hyper::Uri;
use session::Cause;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// How often a stream is looked for that is to be pushed, and a session is measured.
const LOOK: Duration = Duration::from_secs(1);

/// A session that has lived so long begins the count of failures anew.
const STABLE: Duration = Duration::from_secs(10);

/// How long the end of a session at the server is waited for before the next is asked for: it may
/// be refused while the old one is there.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long an ICE restart may take that is asked for by HTTP: a server that has it answers in
/// milliseconds, and one that has gone is better called anew.
const RESTART: Duration = Duration::from_secs(5);

/// What one relay needs.
pub struct Runner {
    pub relay: Arc<Relay>,
    pub control: Control,
    pub client: Arc<Client>,
    pub turns: Arc<Turns>,
    pub stop: watch::Receiver<bool>,
}

/// Whose turn it is to shake hands, by server.
#[derive(Debug, Default)]
pub struct Turns(std::sync::Mutex<BTreeMap<String, Arc<Mutex<()>>>>);

impl Turns {
    fn of(&self, url: &Uri) -> Arc<Mutex<()>> {
        let server = url.authority().map_or("", |authority| authority.as_str());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Only those that somebody holds or waits for: never more than there are relays.
        all.retain(|_, turn| Arc::strong_count(turn) > 1);
        all.entry(server.to_owned()).or_default().clone()
    }
}

/// Why an attempt is over.
enum Outcome {
    Stopped,
    /// A push: nobody publishes the stream here any more.
    StreamGone,
    Failed(Failure),
}

impl Runner {
    /// Runs until it is stopped.
    pub async fn run(mut self) {
        let mut nth: u32 = 0;
        loop {
            if self.relay.direction == Direction::Push && !self.stream_comes().await {
                return;
            }
            self.relay.attempt();
            let (outcome, lived) = self.attempt().await;
            if lived.is_some_and(|lived| lived >= STABLE) {
                nth = 0;
            }
            let failure = match outcome {
                Outcome::Stopped => return,
                Outcome::StreamGone => {
                    nth = 0;
                    continue;
                }
                Outcome::Failed(failure) => failure,
            };
            nth = nth.saturating_add(1);
            let wait = failure.wait(nth, lived.is_some(), rand::random());
            self.relay.failed(&failure, nth, wait);
            tokio::select! {
                () = sleep(wait) => {}
                () = stopped(&mut self.stop) => return,
            }
        }
    }

    /// Waits until the stream of a push is live. False: stopped.
    async fn stream_comes(&mut self) -> bool {
        loop {
            if self.is_stream_live().await {
                return true;
            }
            self.relay.set_state(RelayState::Idle);
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stopped(&mut self.stop) => return false,
            }
        }
    }

    async fn is_stream_live(&self) -> bool {
        let view = self.control.stream(self.relay.stream.clone()).await;
        view.is_ok_and(|view| view.state == StreamState::Live)
    }

    /// One session, from offer to end, and how long media flowed.
    async fn attempt(&mut self) -> (Outcome, Option<Duration>) {
        self.relay.set_state(RelayState::Connecting);
        let (direction, stream) = (self.relay.direction, self.relay.stream.clone());
        let offered = self.control.relay_offer(direction, stream).await;
        let offered = match offered {
            Ok(offered) => offered,
            Err(problem) => return (Outcome::Failed(of_problem(&problem)), None),
        };
        let id = offered.id.clone();
        let (answer, outcome, lived) = self.call(offered).await;
        self.relay.set_session(None);
        // Gone by itself: as well.
        let _ = self.control.close_session(id).await;
        if let Some(resource) = answer.and_then(|answer| answer.resource) {
            let endpoint = self.endpoint(&resource);
            // A server that does not answer forgets us by itself (RFC 7675).
            match timeout(FAREWELL, self.client.delete(&endpoint)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(relay = %self.relay.id, %error, "DELETE"),
                Err(_) => tracing::debug!(relay = %self.relay.id, "DELETE is not answered"),
            }
        }
        (outcome, lived)
    }

    async fn call(&mut self, offered: RelayOffer) -> (Option<Answer>, Outcome, Option<Duration>) {
        let url = self.relay.url.clone();
        let answered = {
            let endpoint = self.endpoint(&url);
            let mut stop = self.stop.clone();
            tokio::select! {
                answered = self.client.post(&endpoint, &offered.offer) => answered,
                () = stopped(&mut stop) => return (None, Outcome::Stopped, None),
            }
        };
        let (answer, is_counter) = match answered {
            Ok(Said::Answer(answer)) => (answer, false),
            Ok(Said::Counter(offer)) => (offer, true),
            Err(failure) => return (None, Outcome::Failed(failure), None),
        };
        // All relays share one port, and a server has one for all that it does: handshakes between
        // the two are told apart by being one at a time.
        let server = answer.resource.as_ref().unwrap_or(&url);
        let turn = self.turns.of(server).lock_owned().await;
        let taken = match is_counter {
            true => self.take_counter(&offered.id, &answer).await,
            false => self.take_answer(&offered.id, &answer).await,
        };
        if let Err(failure) = taken {
            return (Some(answer), Outcome::Failed(failure), None);
        }
        self.relay.set_session(Some(offered.id.clone()));
        let (outcome, lived) = self.watch(offered, turn, &answer).await;
        (Some(answer), outcome, lived)
    }

    async fn take_answer(&self, id: &str, answer: &Answer) -> Result<(), Failure> {
        let (direction, stream) = (self.relay.direction, self.relay.stream.clone());
        let taken = self
            .control
            .relay_answer(id, direction, stream, &answer.sdp);
        taken.await.map_err(|problem| of_problem(&problem))
    }

    /// The server has made an offer of its own, which is answered by PATCH.
    async fn take_counter(&self, id: &str, offer: &Answer) -> Result<(), Failure> {
        let stream = self.relay.stream.clone();
        let ours = self.control.relay_counter(id, stream, &offer.sdp).await;
        let ours = ours.map_err(|problem| of_problem(&problem))?;
        let Some(resource) = &offer.resource else {
            let detail = "a counter-offer without a Location";
            return Err(Failure::new(Reason::BadAnswer, detail));
        };
        let endpoint = self.endpoint(resource);
        let taken = self.client.patch(&endpoint, Change::Answer(&ours)).await;
        taken.map(drop)
    }

    /// Restarts ICE of a session whose server answers no checks, if its HTTP side has it still.
    async fn restart(&self, id: &str, answer: &Answer) -> Result<(), Failure> {
        let lost = |why: &str| {
            let detail = format!("the server answers no checks any more, and {why}");
            Failure::new(Reason::Lost, detail)
        };
        let resource = answer.resource.as_ref();
        let resource = resource.ok_or_else(|| lost("has named no session to restart ICE of"))?;
        // It is well again, or over, of which we hear.
        let Ok(ours) = self.control.relay_restart(id).await else {
            return Ok(());
        };
        let endpoint = self.endpoint(resource);
        let asked = self.client.patch(&endpoint, Change::Restart(&ours));
        let theirs = match timeout(RESTART, asked).await {
            Ok(Ok(theirs)) => theirs,
            // Mostly a server that was restarted, and knows nothing of the session.
            Ok(Err(error)) => {
                let why = error.reason.name();
                return Err(lost(&format!("ICE cannot be restarted ({why})")));
            }
            Err(_) => return Err(lost("no request")),
        };
        match self.control.relay_restarted(id, &theirs).await {
            Err(problem) if problem.status() != 404 => Err(of_problem(&problem)),
            _ => {
                self.relay.restarted();
                Ok(())
            }
        }
    }

    /// Follows a session to its end.
    async fn watch(
        &self,
        mut offered: RelayOffer,
        turn: OwnedMutexGuard<()>,
        answer: &Answer,
    ) -> (Outcome, Option<Duration>) {
        let mut turn = Some(turn);
        let mut live_since: Option<Instant> = None;
        let mut stop = self.stop.clone();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let lived = |since: Option<Instant>| since.map(|since| since.elapsed());
        loop {
            let step = tokio::select! {
                changed = offered.steps.changed() => match changed {
                    Ok(()) => *offered.steps.borrow_and_update(),
                    Err(_) => RelayStep::Ended(Cause::Lost),
                },
                _ = look.tick() => {
                    let is_push = self.relay.direction == Direction::Push;
                    if is_push && !self.is_stream_live().await {
                        return (Outcome::StreamGone, lived(live_since));
                    }
                    if live_since.is_some() {
                        self.measure(&offered.id).await;
                    }
                    continue;
                }
                () = stopped(&mut stop) => {
                    return (Outcome::Stopped, lived(live_since));
                }
            };
            match step {
                RelayStep::Offered => {}
                RelayStep::Live => {
                    drop(turn.take());
                    live_since.get_or_insert_with(Instant::now);
                    self.relay.set_state(RelayState::Live);
                }
                RelayStep::Silent => {
                    let restarted = tokio::select! {
                        restarted = self.restart(&offered.id, answer) => restarted,
                        () = stopped(&mut stop) => {
                            return (Outcome::Stopped, lived(live_since));
                        }
                    };
                    if let Err(failure) = restarted {
                        return (Outcome::Failed(failure), lived(live_since));
                    }
                }
                RelayStep::Ended(cause) => {
                    let failure = Failure::of_session(cause);
                    return (Outcome::Failed(failure), lived(live_since));
                }
            }
        }
    }

    async fn measure(&self, id: &str) {
        let Ok(session) = self.control.session(id.to_owned()).await else {
            return;
        };
        if self.relay.direction == Direction::Push {
            self.relay.sends(session.encodings);
            return self.relay.measured(Some(session.bytes), session.rtt_ms);
        }
        let view = self.control.stream(self.relay.stream.clone()).await.ok();
        let publisher = view.and_then(|view| view.publisher);
        let rtt_ms = publisher.as_ref().and_then(|publisher| publisher.rtt_ms);
        self.relay
            .measured(publisher.map(|publisher| publisher.bytes), rtt_ms);
    }

    fn endpoint<'a>(&'a self, url: &'a Uri) -> Endpoint<'a> {
        Endpoint {
            direction: self.relay.direction,
            url,
            named: &self.relay.url,
            token: self.relay.token.as_ref().map(|token| token.expose()),
            stream: self.relay.stream.as_str(),
        }
    }
}

/// Waits until it is to end, or nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What the driver refuses: about the answer, or about this node.
fn of_problem(problem: &Problem) -> Failure {
    let reason = match problem.status() {
        400 | 406 | 413 | 422 => Reason::BadAnswer,
        _ => Reason::Local,
    };
    Failure::new(reason, problem.detail())
}
