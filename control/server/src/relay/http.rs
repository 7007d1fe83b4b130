//! Owns the requests to other servers: POST of an offer, PATCH and DELETE of a session, redirects,
//! TLS.

use super::failure::{Failure, Reason};
use super::reach::{self, Reach};
use super::roots;
use super::status::Direction;
use super::url::{host_and_port, is_secure};
use crate::conform::url::resolve_any;
use crate::media_type::{self, FRAGMENT, SDP};
use axum::body::{self, Body};
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Time for a request and its redirects, names and TLS included. A server answers in milliseconds;
/// the offer waits here as long as `limits.handshake_timeout_s`, 15 s by default.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most redirects of one request: two servers that point at each other end here.
const REDIRECTS_MAX: usize = 5;

/// Most bytes of an answer. The longest seen have 10 kB.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Most characters of a server's words that are repeated.
const WORDS_MAX: usize = 200;

/// Names the node that asks and the stream that it is about, so that a server can tell that it asks
/// itself.
pub const RELAY_HEADER: &str = "freshet-relay";

/// Who asks.
#[derive(Debug)]
pub struct Client {
    ca_file: String,
    /// Made by the first request that needs it.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    node: String,
}

/// What is asked, and of whom.
#[derive(Debug)]
pub struct Endpoint<'a> {
    /// Which way media goes.
    pub direction: Direction,
    /// Where.
    pub url: &'a Uri,
    /// What the operator has named: the server leads from there to `url`, and farther, but not
    /// closer to this host.
    pub named: &'a Uri,
    /// Who may.
    pub token: Option<&'a str>,
    /// The name of the stream here.
    pub stream: &'a str,
}

/// A session of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The SDP answer.
    pub sdp: String,
    /// What to DELETE in the end.
    pub resource: Option<Uri>,
}

/// What a server says to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// 201: its answer.
    Answer(Answer),
    /// 406: its own offer, in place of the answer (draft-ietf-wish-whep-03 section 4.2.2), for a
    /// session that it has made.
    Counter(Answer),
}

/// What a session is changed by.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The answer to a counter-offer.
    Answer(&'a str),
    /// Our side of an ICE restart, a fragment (RFC 8840).
    Restart(&'a str),
}

impl Client {
    /// One that believes servers with certificates of this file; empty: those that the system
    /// trusts. `node` is a name of this node.
    pub fn new(ca_file: String, node: String) -> Self {
        Self {
            ca_file,
            tls: OnceLock::new(),
            node,
        }
    }

    /// Offers a session.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn post(&self, endpoint: &Endpoint<'_>, offer: &str) -> Result<Said, Failure> {
        let body = Content::sdp(offer);
        let asked = self.follow(Method::POST, endpoint, &body);
        let (url, reply) = within(asked).await?;
        let is_offer = reply.status == 406 && reply.is_sdp() && reply.location(&url).is_ok();
        match endpoint.direction {
            _ if reply.status == 201 => answer(&url, reply).map(Said::Answer),
            Direction::Pull if is_offer => answer(&url, reply).map(Said::Counter),
            _ => Err(refusal(endpoint, &reply)),
        }
    }

    /// Changes a session; gives what the server says to that.
    ///
    /// # Errors
    /// Why it is as it was.
    pub async fn patch(
        &self,
        endpoint: &Endpoint<'_>,
        change: Change<'_>,
    ) -> Result<String, Failure> {
        let body = match change {
            Change::Answer(answer) => Content::sdp(answer),
            Change::Restart(fragment) => Content::fragment(fragment),
        };
        let (_, reply) = within(self.follow(Method::PATCH, endpoint, &body)).await?;
        match (reply.status, change) {
            (200..=299, Change::Answer(_)) | (200, Change::Restart(_)) => Ok(reply.body),
            _ => Err(refusal(endpoint, &reply)),
        }
    }

    /// Ends a session. That it has ended already is fine.
    ///
    /// # Errors
    /// Why it may go on.
    pub async fn delete(&self, endpoint: &Endpoint<'_>) -> Result<(), Failure> {
        let (_, reply) = within(self.follow(Method::DELETE, endpoint, &Content::NONE)).await?;
        match reply.status {
            200..=299 | 404 | 410 => Ok(()),
            _ => Err(refusal(endpoint, &reply)),
        }
    }

    /// Asks until it is not sent elsewhere any more.
    async fn follow(
        &self,
        method: Method,
        endpoint: &Endpoint<'_>,
        body: &Content<'_>,
    ) -> Result<(Uri, Reply), Failure> {
        let mut url = endpoint.url.clone();
        let closest = Reach::of_server(endpoint.named).await?;
        for _ in 0..=REDIRECTS_MAX {
            // A server that spreads its load sends us on together with the token (RFC 9725 section
            // 4.5), but not from a road that nobody reads to one that everybody does.
            let is_trusted = is_secure(&url)
                || url.authority() == endpoint.named.authority()
                || endpoint.named.scheme_str() == Some("http");
            let token = endpoint.token.filter(|_| is_trusted);
            let request = self.request(&method, &url, token, endpoint.stream, body)?;
            let reply = self.exchange(&url, request, closest).await?;
            let next = match reply.status {
                // 301 and 302 turn POST into GET; RFC 9725 section 4.5 wants 307.
                307 | 308 => reply.location(&url)?,
                _ => return Ok((url, reply)),
            };
            url = next;
        }
        let detail = format!("redirected {REDIRECTS_MAX} times and again");
        Err(Failure::new(Reason::BadAnswer, detail))
    }

    fn request(
        &self,
        method: &Method,
        url: &Uri,
        token: Option<&str>,
        stream: &str,
        body: &Content<'_>,
    ) -> Result<Request<Body>, Failure> {
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let host = url.authority().map_or("", |authority| authority.as_str());
        let agent = concat!("freshet/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, agent)
            .header(RELAY_HEADER, format!("{} {stream}", self.node));
        if !body.kind.is_empty() {
            request = request
                .header(header::CONTENT_TYPE, body.kind)
                .header(header::ACCEPT, body.kind);
        }
        if body.kind == FRAGMENT {
            // RFC 9725 section 4.3.3: whatever ICE session the server has.
            request = request.header(header::IF_MATCH, "*");
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.text.to_owned()));
        request.map_err(|error| Failure::new(Reason::Local, format!("{url}: {error}")))
    }

    async fn exchange(
        &self,
        url: &Uri,
        request: Request<Body>,
        closest: Reach,
    ) -> Result<Reply, Failure> {
        let stream = reach::connect(url, closest).await?;
        // A request is written at once: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        if !is_secure(url) {
            return talk(stream, request).await;
        }
        let (host, _) = host_and_port(url);
        let tls_error = |error: String| Failure::new(Reason::Tls, format!("{host}: {error}"));
        let made = || roots::tls(&self.ca_file).map_err(|error| error.to_string());
        let config = self.tls.get_or_init(made).clone().map_err(tls_error)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|e| tls_error(e.to_string()))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        talk(
            stream.map_err(|error| tls_error(error.to_string()))?,
            request,
        )
        .await
    }
}

/// What is sent, and as what.
struct Content<'a> {
    kind: &'static str,
    text: &'a str,
}

impl<'a> Content<'a> {
    const NONE: Self = Self { kind: "", text: "" };

    const fn sdp(text: &'a str) -> Self {
        Self { kind: SDP, text }
    }

    const fn fragment(text: &'a str) -> Self {
        Self {
            kind: FRAGMENT,
            text,
        }
    }
}

/// What was answered.
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn is_sdp(&self) -> bool {
        self.header(header::CONTENT_TYPE)
            .is_some_and(|kind| media_type::of(kind) == SDP)
    }

    fn location(&self, base: &Uri) -> Result<Uri, Failure> {
        let bad = |what: String| Failure::new(Reason::BadAnswer, format!("its Location: {what}"));
        let text = self.header(header::LOCATION);
        let text = text.ok_or_else(|| bad("there is none".into()))?;
        resolve_any(base, text).map_err(bad)
    }

    /// What the server says of it, on one line.
    fn words(&self) -> String {
        let problem: Option<serde_json::Value> = serde_json::from_str(&self.body).ok();
        let of = |key: &str| Some(problem.as_ref()?.get(key)?.as_str()?.to_owned());
        let words = of("detail").or_else(|| of("title"));
        let words = words.unwrap_or_else(|| self.body.lines().next().unwrap_or("").to_owned());
        let shown = words.chars().filter(|c| !c.is_control());
        shown.take(WORDS_MAX).collect()
    }
}

async fn talk<S>(stream: S, request: Request<Body>) -> Result<Reply, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: String| Failure::new(Reason::Unreachable, error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let answered = sender.send_request(request).await;
    let reply = match answered {
        Ok(response) => whole(response).await,
        Err(error) => Err(broken(error.to_string())),
    };
    connection.abort();
    reply
}

async fn whole(response: Response<hyper::body::Incoming>) -> Result<Reply, Failure> {
    let (parts, incoming) = response.into_parts();
    let bytes = body::to_bytes(Body::new(incoming), BODY_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| {
        let detail = format!("{}, and its body cannot be read: {error}", parts.status);
        Failure::new(Reason::BadAnswer, detail)
    })?;
    Ok(Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

async fn within<T>(asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    answered.unwrap_or_else(|_| {
        let detail = format!("no whole answer within {} s", PATIENCE.as_secs());
        Err(Failure::new(Reason::Timeout, detail))
    })
}

fn answer(url: &Uri, reply: Reply) -> Result<Answer, Failure> {
    let kind = reply.header(header::CONTENT_TYPE).map(media_type::of);
    if kind.as_deref() != Some(SDP) {
        let (status, kind) = (reply.status, kind.unwrap_or_default());
        let detail = format!("{status} with {kind} in place of {SDP}");
        return Err(Failure::new(Reason::BadAnswer, detail));
    }
    // Without one the session cannot be ended but by silence.
    let resource = reply.location(url).ok();
    Ok(Answer {
        sdp: reply.body,
        resource,
    })
}

/// What an answer other than the one that was hoped for means.
fn refusal(endpoint: &Endpoint<'_>, reply: &Reply) -> Failure {
    let reason = match (reply.status, endpoint.direction) {
        (401 | 403, _) => Reason::Denied,
        (404, _) | (409, Direction::Pull) => Reason::NotLive,
        (409, Direction::Push) | (429 | 503, _) => Reason::Busy,
        (508, _) => Reason::Loop,
        (400..=499, _) => Reason::Refused,
        (500..=599, _) => Reason::ServerError,
        _ => Reason::BadAnswer,
    };
    let words = reply.words();
    let detail = match words.is_empty() {
        true => format!("the server answers {}", reply.status),
        false => format!("the server answers {}: {words}", reply.status),
    };
    // A missing stream is looked for at a pace of our own.
    let told = reply
        .header(header::RETRY_AFTER)
        .filter(|_| reason != Reason::NotLive);
    Failure {
        retry_after: told.and_then(retry_after),
        ..Failure::new(reason, detail)
    }
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(
        date.duration_since(std::time::SystemTime::now())
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
