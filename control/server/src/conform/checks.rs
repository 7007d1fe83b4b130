//! Owns the order of the checks, and what they share: the server, the session, the findings.

mod endpoint;
mod extensions;
mod ice;
mod posts;
mod session;

use super::client::{Client, Reply};
use super::link::Link;
use super::offer::Offer;
use super::report::{Difference, Finding, Outcome};
use super::rules::{self, Protocol, Rule};
use super::sdp::Description;
use crate::media_type::SDP;
use hyper::{Method, Uri};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often an offer is made again to a server that still holds the publisher before.
const POSTS_MAX: usize = 8;

/// The pause between two such offers.
const POST_PAUSE: Duration = Duration::from_millis(500);

/// What is checked together, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// CORS of the endpoint.
    Preflight,
    /// GET, HEAD and what is not taken.
    Look,
    /// Offers that are none.
    BadOffers,
    /// A stream that is not there.
    UnknownStream,
    /// With and without the token.
    Token,
    /// A good offer and its answer. Opens the session for the steps up to [`Step::Delete`].
    Offer,
    /// The session without its media.
    Session,
    /// What the session can do beyond the standard.
    Extensions,
    /// Patches to be refused.
    BadPatches,
    /// New candidates.
    Trickle,
    /// New credentials.
    Restart,
    /// The end of the session.
    Delete,
    /// Good offers that are unusual.
    Variants,
    /// Two sessions at once.
    Two,
    /// What holds for all that was answered.
    Whole,
}

/// A server under test and what is known of it.
#[derive(Debug)]
pub struct Bench {
    /// What it is to be.
    pub protocol: Protocol,
    /// Where offers go.
    pub endpoint: Uri,
    /// Asks it.
    pub client: Client,
    findings: Mutex<Vec<Finding>>,
    session: Mutex<Option<Session>>,
    identities: Mutex<Vec<[String; 3]>>,
}

/// A session that was made.
#[derive(Clone, Debug)]
pub struct Session {
    /// Where Location leads.
    pub url: Uri,
    /// What was offered, with the newest credentials.
    pub offer: Offer,
    /// What was answered.
    pub answer: String,
    /// The newest entity-tag, as it came.
    pub etag: Option<String>,
    /// What the Link fields of the answer say; an error is one that cannot be read.
    pub links: Vec<Result<Link, String>>,
}

impl Step {
    /// All, in order.
    pub const ALL: [Self; 15] = [
        Self::Preflight,
        Self::Look,
        Self::BadOffers,
        Self::UnknownStream,
        Self::Token,
        Self::Offer,
        Self::Session,
        Self::Extensions,
        Self::BadPatches,
        Self::Trickle,
        Self::Restart,
        Self::Delete,
        Self::Variants,
        Self::Two,
        Self::Whole,
    ];

    /// For people who wait.
    pub fn title(self) -> &'static str {
        match self {
            Self::Preflight => "OPTIONS of the endpoint",
            Self::Look => "GET and HEAD of the endpoint",
            Self::BadOffers => "offers that must be refused",
            Self::UnknownStream => "a stream that is not there",
            Self::Token => "tokens",
            Self::Offer => "an offer and its answer",
            Self::Session => "the session",
            Self::Extensions => "event streams and layers",
            Self::BadPatches => "patches that must be refused",
            Self::Trickle => "trickle ICE",
            Self::Restart => "ICE restart",
            Self::Delete => "the end of the session",
            Self::Variants => "unusual offers",
            Self::Two => "two sessions at once",
            Self::Whole => "all answers together",
        }
    }

    /// Makes the checks.
    pub async fn perform(self, bench: &Bench) {
        match self {
            Self::Preflight => endpoint::preflight(bench).await,
            Self::Look => endpoint::look(bench).await,
            Self::BadOffers => posts::bad_offers(bench).await,
            Self::UnknownStream => posts::unknown_stream(bench).await,
            Self::Token => posts::token(bench).await,
            Self::Offer => posts::offer(bench).await,
            Self::Session => session::look(bench).await,
            Self::Extensions => extensions::check(bench).await,
            Self::BadPatches => ice::bad_patches(bench).await,
            Self::Trickle => ice::trickle(bench).await,
            Self::Restart => ice::restart(bench).await,
            Self::Delete => session::delete(bench).await,
            Self::Variants => posts::variants(bench).await,
            Self::Two => session::two(bench).await,
            Self::Whole => endpoint::whole(bench),
        }
    }
}

impl Bench {
    /// A bench on which nothing was checked yet.
    pub fn new(protocol: Protocol, endpoint: Uri, client: Client) -> Self {
        Self {
            protocol,
            endpoint,
            client,
            findings: Mutex::default(),
            session: Mutex::default(),
            identities: Mutex::default(),
        }
    }

    /// All that was found so far.
    pub fn findings(&self) -> Vec<Finding> {
        locked(&self.findings).clone()
    }

    fn add(&self, findings: impl IntoIterator<Item = Finding>) {
        locked(&self.findings).extend(findings);
    }

    fn note(&self, rule: &'static Rule, outcome: Outcome) {
        self.add([Finding { rule, outcome }]);
    }

    fn judge(&self, rule: &'static Rule, good: bool, seen: impl Into<String>, expected: &str) {
        self.add([Finding::judge(rule, good, seen, expected)]);
    }

    /// Kept if `best`, kept somehow if `good`.
    fn grade(&self, rule: &'static Rule, best: bool, good: bool, seen: String, expected: &str) {
        if best || !good {
            return self.judge(rule, best, seen, expected);
        }
        let expected = expected.to_owned();
        self.note(rule, Outcome::Poor(Difference { seen, expected }));
    }

    fn skip(&self, rules: &[&'static Rule], why: &str) {
        for rule in rules {
            self.note(rule, Outcome::Skip(why.to_owned()));
        }
    }

    /// The answer. If there is none, each of the rules that it was asked for is broken.
    fn answered(&self, asked: Result<Reply, String>, rules: &[&'static Rule]) -> Option<Reply> {
        match asked {
            Ok(reply) => Some(reply),
            Err(error) => {
                for rule in rules {
                    self.judge(rule, false, error.clone(), "an answer");
                }
                None
            }
        }
    }

    async fn post(&self, offer: &Offer) -> Result<Reply, String> {
        let ask = self.client.ask(Method::POST, &self.endpoint).cross_origin();
        ask.body(SDP, offer.text.clone()).send().await
    }

    /// Posts an offer again while the server still holds the publisher that was deleted before it.
    async fn post_patiently(&self, offer: &Offer) -> Result<Reply, String> {
        let mut reply = self.post(offer).await?;
        for _ in 1..POSTS_MAX {
            if self.protocol == Protocol::Whep || reply.status != 409 {
                break;
            }
            tokio::time::sleep(POST_PAUSE).await;
            reply = self.post(offer).await?;
        }
        Ok(reply)
    }

    /// The session that an answer has made, if it has.
    fn session_of(&self, offer: Offer, reply: &Reply) -> Option<Session> {
        let url = reply.location().filter(|_| reply.is_fine())?.ok()?;
        if let Ok(answer) = Description::parse(&reply.body)
            && let Some(tagged) = answer.tagged()
        {
            let value = |name: &str| answer.value_for(tagged, name).unwrap_or_default();
            let (ufrag, pwd) = (value("ice-ufrag").to_owned(), value("ice-pwd").to_owned());
            locked(&self.identities).push([url.to_string(), ufrag, pwd]);
        }
        Some(Session {
            url,
            offer,
            answer: reply.body.clone(),
            etag: reply.header(&hyper::header::ETAG),
            links: reply.links(),
        })
    }

    /// Ends a session that has served its purpose. What is not ended here is at the very end.
    async fn close(&self, session: &Uri) {
        let _ = self.client.ask(Method::DELETE, session).send().await;
    }

    /// The session of [`Step::Offer`]. Without it these rules cannot be checked.
    fn session(&self, rules: &[&'static Rule]) -> Option<Session> {
        let session = locked(&self.session).clone();
        if session.is_none() {
            self.skip(rules, "there is no session");
        }
        session
    }

    fn keep(&self, session: Option<Session>) {
        *locked(&self.session) = session;
    }

    fn sessions_must_differ(&self) {
        let all = locked(&self.identities).clone();
        if all.len() < 2 {
            return self.skip(&[&rules::SESSIONS_DIFFER], "there were no two sessions");
        }
        let names = ["Location", "ice-ufrag", "ice-pwd"];
        let mut places = names.iter().enumerate();
        let shared = places.find(|(place, _)| {
            let mut values: Vec<_> = all.iter().map(|one| &one[*place]).collect();
            values.sort();
            values.windows(2).any(|pair| pair[0] == pair[1])
        });
        let seen = shared.map(|(_, name)| format!("two of {} have the same {name}", all.len()));
        self.judge(
            &rules::SESSIONS_DIFFER,
            seen.is_none(),
            seen.unwrap_or_default(),
            "new ones for each",
        );
    }
}

/// A check that panicked leaves whole findings behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
