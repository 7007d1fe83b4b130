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
}
