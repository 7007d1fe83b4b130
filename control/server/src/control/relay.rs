//! Owns what relays ask of the driver: offers to other servers, and what becomes of them.

use super::{Control, Reply, Request, StreamName};
use crate::problem::Problem;
use crate::relay::Direction;
use session::Cause;
use tokio::sync::watch;

/// What a relay asks for.
#[derive(Debug)]
pub enum RelayRequest {
    /// An offer to another server. Of a push: 404 and 409 while there is nothing to be sent.
    Offer(Direction, StreamName, Reply<RelayOffer>),
    /// It was answered. Of a pull: 409 if the stream has another publisher.
    Answer(RelayAnswer, Reply<()>),
    /// A pull: the server has made an offer of its own instead, which is answered.
    Counter(RelayAnswer, Reply<String>),
    /// Our side of an ICE restart of this session.
    Restart(String, Reply<String>),
    /// The server's side of it.
    Restarted(String, String, Reply<()>),
}

/// An offer of ours to another server.
#[derive(Debug)]
pub struct RelayOffer {
    /// The session here.
    pub id: String,
    /// The SDP offer.
    pub offer: String,
    /// How far it has come.
    pub steps: watch::Receiver<RelayStep>,
}

/// How far the session of a relay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayStep {
    /// Not answered, or not shaken hands.
    Offered,
    /// It has keys.
    Live,
    /// The server answers no checks: ICE is to be restarted, or the session will end.
    Silent,
    /// It is no more.
    Ended(Cause),
}

/// The answer of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAnswer {
    /// The session here.
    pub id: String,
    /// Which way media goes.
    pub direction: Direction,
    /// The stream here.
    pub stream: StreamName,
    /// The SDP answer.
    pub answer: String,
}

impl Control {
    /// Makes an offer to another server.
    pub async fn relay_offer(
        &self,
        direction: Direction,
        stream: StreamName,
    ) -> Result<RelayOffer, Problem> {
        let offer = |reply| Request::Relay(RelayRequest::Offer(direction, stream, reply));
        self.ask(offer).await
    }

    /// Takes its answer. The session has ended if that is refused.
    pub async fn relay_answer(
        &self,
        id: &str,
        direction: Direction,
        stream: StreamName,
        answer: &str,
    ) -> Result<(), Problem> {
        let answer = RelayAnswer {
            id: id.to_owned(),
            direction,
            stream,
            answer: answer.to_owned(),
        };
        self.ask(|reply| Request::Relay(RelayRequest::Answer(answer, reply)))
            .await
    }

    /// Takes the offer that a server makes instead of an answer to a pull; gives ours.
    pub async fn relay_counter(
        &self,
        id: &str,
        stream: StreamName,
        offer: &str,
    ) -> Result<String, Problem> {
        let counter = RelayAnswer {
            id: id.to_owned(),
            direction: Direction::Pull,
            stream,
            answer: offer.to_owned(),
        };
        self.ask(|reply| Request::Relay(RelayRequest::Counter(counter, reply)))
            .await
    }

    /// Begins an ICE restart; gives the fragment for the server.
    pub async fn relay_restart(&self, id: &str) -> Result<String, Problem> {
        let id = id.to_owned();
        self.ask(|reply| Request::Relay(RelayRequest::Restart(id, reply)))
            .await
    }

    /// Takes the fragment of the server.
    pub async fn relay_restarted(&self, id: &str, fragment: &str) -> Result<(), Problem> {
        let (id, fragment) = (id.to_owned(), fragment.to_owned());
        self.ask(|reply| Request::Relay(RelayRequest::Restarted(id, fragment, reply)))
            .await
    }
}
