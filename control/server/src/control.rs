//! Owns the seam between HTTP and the driver task: questions with a place for the answer.

mod drain;
mod events;
mod layers;
mod load;
mod name;
mod relay;
mod sessions;
mod views;

pub use drain::DrainView;
pub use events::{Event, EventKind, EventKinds};
pub use layers::{InnerLayerInfo, LayerInfo, LayerWish};
pub use load::{LoadBrief, LoadView, RefusedView};
pub use name::{BadName, StreamName};
pub use relay::{RelayAnswer, RelayOffer, RelayRequest, RelayStep};
pub use session::{Given, Origins, Patched};
pub use sessions::{Page, SessionPage, SessionState, SessionView};
pub use views::*;

use crate::load::Newcomer;
use crate::problem::Problem;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait for the driver. It answers in well under a millisecond each, so a full
/// queue means that it is overloaded: newcomers are refused (503) and those who watch are not hurt.
pub const REQUESTS_MAX: usize = 256;

/// How long an answer may take before its asker is told 503. A driver that needs longer is being
/// restarted.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Where the answer to a request goes. A receiver that has gone away is not an error.
pub type Reply<T> = oneshot::Sender<Result<T, Problem>>;

/// What HTTP asks of the driver. Each is answered once.
#[derive(Debug)]
pub enum Request {
    /// Someone wants to watch.
    WhepPost {
        /// What.
        stream: StreamName,
        /// A viewer, or another node that fetches the stream for its own.
        who: Newcomer,
        /// The SDP offer, at most the body limit of the configuration, valid UTF-8; empty: the
        /// server is to make one.
        offer: String,
        /// Where the answer goes.
        reply: Reply<Posted>,
    },
    /// Someone wants to publish.
    WhipPost {
        /// What.
        stream: StreamName,
        /// The SDP offer, at most the body limit of the configuration, valid UTF-8.
        offer: String,
        /// Where the answer goes.
        reply: Reply<Created>,
    },
    /// A server is going to push plain RTP or SRTP.
    Push(PushPost, Reply<PushCreated>),
    /// A relay wants to call another server, or has done so.
    Relay(RelayRequest),
    /// Trickle ICE or an ICE restart (RFC 9725 section 4.3), or the answer to a counter-offer.
    Patch {
        /// The session.
        id: String,
        /// The `If-Match` header as it came.
        if_match: Option<String>,
        /// The body.
        patch: Patch,
        /// Where the answer goes.
        reply: Reply<Patched>,
    },
    /// The viewer or publisher leaves.
    Delete {
        /// The session.
        id: String,
        /// Where the answer goes.
        reply: Reply<()>,
    },
    /// A viewer wants to be told events of these kinds; the answer is the number of the event
    /// stream.
    OpenEvents(String, EventKinds, Reply<u64>),
    /// Somebody reads the event stream of a session; 404 if there is none of this number.
    ReadEvents(String, u64, Reply<mpsc::Receiver<Event>>),
    /// A viewer wants to be told no more; 404 if there is no event stream of this number.
    CloseEvents(String, u64, Reply<()>),
    /// A viewer chooses layers.
    ChooseLayer(String, LayerWish, Reply<()>),
    /// All streams that are live, waiting, or configured by name.
    Streams(Reply<Vec<StreamView>>),
    /// One stream; 404 if nothing is known of it.
    Stream(StreamName, Reply<StreamView>),
    /// Some of the sessions, in a stable order.
    Sessions(Page, Reply<SessionPage>),
    /// One session; 404 if there is none.
    Session(String, Reply<SessionView>),
    /// An operator closes a session; 404 if there is none.
    CloseSession(String, Reply<()>),
    /// The node as a whole.
    Node(Reply<NodeView>),
    /// Everything that `/metrics` shows.
    Metrics(Reply<MetricsSnapshot>),
    /// May newcomers be sent here?
    Ready(Reply<Readiness>),
}

/// A new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id, at least 128 random bits of `[A-Za-z0-9_-]`: who knows it may change the session.
    pub id: String,
    /// The SDP answer.
    pub answer: String,
    /// The strong entity-tag of the ICE session, with its quotes.
    pub etag: String,
}

/// What a server asks for that is going to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPost {
    /// The stream.
    pub stream: StreamName,
    /// Its description, at most the body limit of the configuration, valid UTF-8.
    pub offer: String,
    /// Where its packets come from, as far as the request says it.
    pub origins: Origins,
}

/// A new push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushCreated {
    /// Its id, like that of a session.
    pub id: String,
    /// The SDP answer.
    pub answer: String,
}

/// What came of an offer to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It was answered.
    Answered(Created),
    /// It was not, and here is another.
    Countered(CounterOffer),
}

/// An offer of ours, and the session that its answer completes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterOffer {
    /// The session's id, as in [`Created`].
    pub id: String,
    /// The SDP offer.
    pub offer: String,
    /// The strong entity-tag of the ICE session, with its quotes.
    pub etag: String,
    /// How long the answer is waited for.
    pub valid: Duration,
}

/// What a PATCH brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patch {
    /// `application/trickle-ice-sdpfrag`.
    Fragment(String),
    /// `application/sdp`: the answer to a counter-offer.
    Answer(String),
}

impl From<session::Created> for Created {
    fn from(created: session::Created) -> Self {
        Self {
            id: created.id.as_str().to_owned(),
            answer: created.answer,
            etag: created.etag,
        }
    }
}

/// The asking end; cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    requests: mpsc::Sender<Request>,
}

impl Control {
    /// Both ends. The driver takes requests from the receiver and answers each.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (requests, driver) = mpsc::channel(REQUESTS_MAX);
        (Self { requests }, driver)
    }

    /// Opens a session that publishes.
    ///
    /// # Errors
    /// Whatever the driver refuses with; 503 if it does not answer. So do all the others.
    pub async fn whip_post(&self, stream: StreamName, offer: String) -> Result<Created, Problem> {
        self.ask(|reply| Request::WhipPost {
            stream,
            offer,
            reply,
        })
        .await
    }

    /// Lets a server push.
    pub async fn push_post(&self, post: PushPost) -> Result<PushCreated, Problem> {
        self.ask(|reply| Request::Push(post, reply)).await
    }

    /// Opens a session that watches: of a viewer, or of another node.
    pub async fn whep_post(
        &self,
        stream: StreamName,
        who: Newcomer,
        offer: String,
    ) -> Result<Posted, Problem> {
        self.ask(|reply| Request::WhepPost {
            stream,
            who,
            offer,
            reply,
        })
        .await
    }

    /// Trickles candidates, restarts ICE, or answers a counter-offer.
    pub async fn patch(
        &self,
        id: String,
        if_match: Option<String>,
        patch: Patch,
    ) -> Result<Patched, Problem> {
        self.ask(|reply| Request::Patch {
            id,
            if_match,
            patch,
            reply,
        })
        .await
    }

    /// Ends a session at its peer's wish.
    pub async fn delete(&self, id: String) -> Result<(), Problem> {
        self.ask(|reply| Request::Delete { id, reply }).await
    }

    /// Makes the event stream of a viewer.
    pub async fn open_events(&self, id: String, kinds: EventKinds) -> Result<u64, Problem> {
        self.ask(|reply| Request::OpenEvents(id, kinds, reply))
            .await
    }

    /// The events of a viewer, from how things are now.
    pub async fn read_events(
        &self,
        id: String,
        number: u64,
    ) -> Result<mpsc::Receiver<Event>, Problem> {
        self.ask(|reply| Request::ReadEvents(id, number, reply))
            .await
    }

    /// Ends the event stream of a viewer.
    pub async fn close_events(&self, id: String, number: u64) -> Result<(), Problem> {
        self.ask(|reply| Request::CloseEvents(id, number, reply))
            .await
    }

    /// Chooses layers for a viewer.
    pub async fn choose_layer(&self, id: String, wish: LayerWish) -> Result<(), Problem> {
        self.ask(|reply| Request::ChooseLayer(id, wish, reply))
            .await
    }

    /// All streams.
    pub async fn streams(&self) -> Result<Vec<StreamView>, Problem> {
        self.ask(Request::Streams).await
    }

    /// One stream.
    pub async fn stream(&self, name: StreamName) -> Result<StreamView, Problem> {
        self.ask(|reply| Request::Stream(name, reply)).await
    }

    /// A page of sessions.
    pub async fn sessions(&self, page: Page) -> Result<SessionPage, Problem> {
        self.ask(|reply| Request::Sessions(page, reply)).await
    }

    /// One session.
    pub async fn session(&self, id: String) -> Result<SessionView, Problem> {
        self.ask(|reply| Request::Session(id, reply)).await
    }

    /// Ends a session at the operator's wish.
    pub async fn close_session(&self, id: String) -> Result<(), Problem> {
        self.ask(|reply| Request::CloseSession(id, reply)).await
    }

    /// The node.
    pub async fn node(&self) -> Result<NodeView, Problem> {
        self.ask(Request::Node).await
    }

    /// The numbers behind `/metrics`.
    pub async fn metrics(&self) -> Result<MetricsSnapshot, Problem> {
        self.ask(Request::Metrics).await
    }

    /// Whether newcomers may be sent here.
    pub async fn ready(&self) -> Result<Readiness, Problem> {
        self.ask(Request::Ready).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .try_send(request(reply))
            .map_err(|e| match e {
                mpsc::error::TrySendError::Full(_) => {
                    Problem::unavailable("too many requests are waiting for an answer")
                }
                mpsc::error::TrySendError::Closed(_) => {
                    Problem::unavailable("the server is shutting down")
                }
            })?;
        match tokio::time::timeout(ANSWER_MAX, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Problem::unavailable("the request was dropped unanswered")),
            Err(_) => Err(Problem::unavailable("the request was not answered in time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_comes_back() {
        let (control, mut driver) = Control::channel();
        let asked = tokio::spawn(async move { control.delete("abc".into()).await });
        let Some(Request::Delete { id, reply }) = driver.recv().await else {
            panic!("another request");
        };
        assert_eq!(id, "abc");
        reply.send(Ok(())).unwrap();
        assert_eq!(asked.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_overload_and_departure_are_503() {
        let (control, mut driver) = Control::channel();
        let silent = control.streams().await.unwrap_err();
        assert_eq!(silent.status(), 503);
        drop(driver.recv().await);

        let mut waiting = Vec::new();
        for _ in 0..REQUESTS_MAX {
            let control = control.clone();
            waiting.push(tokio::spawn(
                async move { control.node().await.map(|_| ()) },
            ));
        }
        while control.requests.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        let full = control.streams().await.unwrap_err();
        assert!(full.detail().contains("too many"), "{full:?}");

        drop(driver);
        let gone = control.streams().await.unwrap_err();
        assert_eq!(gone.status(), 503);
        for asked in waiting {
            assert_eq!(asked.await.unwrap().unwrap_err().status(), 503);
        }
    }
}
