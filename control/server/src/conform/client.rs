//! Owns the requests to the server under test, and the memory of what they have left behind there:
//! sessions to delete, errors to judge.

use super::link::{self, Link};
use super::report::quoted;
use super::url;
use crate::media_type::{self, SDP};
use axum::body::{self, Body};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

/// Most bytes of an answer that are read. The longest seen have 10 kB.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Most redirects of one request: two servers that point at each other end here.
const REDIRECTS_MAX: usize = 5;

/// Asks one server, one connection a request.
#[derive(Debug)]
pub struct Client {
    token: Option<String>,
    origin: HeaderValue,
    patience: Duration,
    memory: Mutex<Memory>,
}

/// What the requests so far have shown and left behind.
#[derive(Debug, Default)]
pub struct Memory {
    /// Sessions that were made and are not deleted.
    pub sessions: Vec<Uri>,
    /// Answers of 400 and above with a body: which, and whether it was a problem.
    pub errors: Vec<(String, bool)>,
    /// Answers of 500 and above, but for 501 and 503.
    pub server_errors: Vec<String>,
    /// Answers to POST of 301 and 302.
    pub bad_redirects: Vec<String>,
    /// What was answered at all.
    pub answers: usize,
}

/// A request to be sent.
#[derive(Debug)]
pub struct Ask<'a> {
    client: &'a Client,
    method: Method,
    url: Uri,
    headers: HeaderMap,
    body: String,
    token: Option<String>,
    listens: Option<Duration>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body; what is not UTF-8 is replaced.
    pub body: String,
    /// Who answered: another than was asked if that one redirected.
    pub url: Uri,
}

impl Client {
    /// A client that calls itself a page of `origin` where a browser would, sends `token` with
    /// every request but preflights, and waits for `patience` for each answer.
    ///
    /// # Errors
    /// If `origin` or `token` cannot stand in a header.
    pub fn new(token: Option<String>, origin: &str, patience: Duration) -> Result<Self, String> {
        let bad = |what: &str| format!("{what} has characters that no header can carry");
        if let Some(token) = &token {
            HeaderValue::from_str(token).map_err(|_| bad("the token"))?;
        }
        Ok(Self {
            token,
            origin: HeaderValue::from_str(origin).map_err(|_| bad("the origin"))?,
            patience,
            memory: Mutex::default(),
        })
    }

    /// A request with the token, if there is one.
    pub fn ask(&self, method: Method, url: &Uri) -> Ask<'_> {
        Ask {
            client: self,
            method,
            url: url.clone(),
            headers: HeaderMap::new(),
            body: String::new(),
            token: self.token.clone(),
            listens: None,
        }
    }

    /// What it calls itself where a browser would name the page.
    pub fn origin(&self) -> &HeaderValue {
        &self.origin
    }

    /// True if there is a token to send.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// What the requests so far have shown and left behind.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        // A check that panicked has at worst not noted its last answer.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes every session that is left; gives those that could not be.
    pub async fn sweep(&self) -> Vec<Uri> {
        let left = self.memory().sessions.clone();
        for session in left {
            // Whether it worked is seen below.
            let _ = self.ask(Method::DELETE, &session).send().await;
        }
        self.memory().sessions.clone()
    }

    fn note(&self, method: &Method, asked: &Uri, reply: &Reply) {
        let what = format!("{method} {}: {}", asked.path(), reply.status);
        let mut memory = self.memory();
        memory.answers += 1;
        let ends = *method == Method::DELETE && (reply.is_fine() || reply.is_gone());
        if ends {
            memory.sessions.retain(|session| session != asked);
        }
        // A counter-offer of WHEP has made a session too.
        let makes = reply.is_fine() || (reply.status == 406 && reply.media_type() == SDP);
        if *method == Method::POST
            && makes
            && let Some(Ok(session)) = reply.location()
            && !memory.sessions.contains(&session)
        {
            memory.sessions.push(session);
        }
        if *method == Method::POST && matches!(reply.status, 301 | 302) {
            memory.bad_redirects.push(what.clone());
        }
        if reply.status >= 500 && !matches!(reply.status, 501 | 503) {
            memory.server_errors.push(what.clone());
        }
        // Neither a HEAD nor a counter-offer could carry one.
        if reply.status >= 400 && *method != Method::HEAD && reply.media_type() != SDP {
            let is_problem = reply.media_type() == "application/problem+json";
            memory.errors.push((what, is_problem));
        }
    }
}

impl Ask<'_> {
    /// Adds a header field. One that no header could carry is left out.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds a body of this type.
    pub fn body(self, media_type: &str, text: impl Into<String>) -> Self {
        let mut ask = self.header(header::CONTENT_TYPE, media_type);
        ask.body = text.into();
        ask
    }

    /// As a page of another origin would.
    pub fn cross_origin(mut self) -> Self {
        let origin = self.client.origin.clone();
        self.headers.insert(header::ORIGIN, origin);
        self
    }

    /// With another token than the right one, or with none.
    pub fn token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(str::to_owned);
        self
    }

    /// Does not wait for the end of the answer: what has come of it after `limit` is enough.
    pub fn listen(mut self, limit: Duration) -> Self {
        self.listens = Some(limit);
        self
    }

    /// Sends it and follows redirects as RFC 9725 section 4.5 wants.
    ///
    /// # Errors
    /// Says why no whole answer came.
    pub async fn send(self) -> Result<Reply, String> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let asked = tokio::time::timeout(self.client.patience, self.exchange(&url)).await;
            let reply = asked.unwrap_or_else(|_| {
                let secs = self.client.patience.as_secs();
                Err(format!("no whole answer within {secs} s"))
            });
            let reply =
                reply.map_err(|error| format!("{} {}: {error}", self.method, url.path()))?;
            self.client.note(&self.method, &url, &reply);
            match (reply.status, reply.location()) {
                (301 | 302 | 307 | 308, Some(Ok(next))) => url = next,
                _ => return Ok(reply),
            }
        }
        Err(format!(
            "{} {}: redirected again and again",
            self.method,
            self.url.path()
        ))
    }

    async fn exchange(&self, url: &Uri) -> Result<Reply, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80)))
            .await
            .map_err(|error| text(&error))?;
        // A request is written at once: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| text(&error))?;
        let connection = tokio::spawn(connection);
        let reply = async {
            let response = sender
                .send_request(self.request(url)?)
                .await
                .map_err(|error| text(&error))?;
            let (parts, incoming) = response.into_parts();
            let bytes = match self.listens {
                Some(limit) => begun(incoming, limit).await,
                None => whole(incoming).await,
            }
            .map_err(|error| format!("{}, and its body broke off: {error}", parts.status))?;
            Ok(Reply {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: String::from_utf8_lossy(&bytes).into_owned(),
                url: url.clone(),
            })
        };
        let reply = reply.await;
        connection.abort();
        reply
    }

    fn request(&self, url: &Uri) -> Result<Request<Body>, String> {
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let host = url.authority().map_or("", |authority| authority.as_str());
        // What stands before an @ is for the client alone.
        let host = host.rsplit('@').next().unwrap_or_default();
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(path)
            .header(header::HOST, host)
            .header(
                header::USER_AGENT,
                concat!("freshet-conform/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut request = request
            .body(Body::from(self.body.clone()))
            .map_err(|error| error.to_string())?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}

impl Reply {
    /// A status of 2xx.
    pub fn is_fine(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A status of 4xx.
    pub fn is_refusal(&self) -> bool {
        (400..500).contains(&self.status)
    }

    /// There is nothing at this address.
    pub fn is_gone(&self) -> bool {
        matches!(self.status, 404 | 410)
    }

    /// A header field as text; several of the same name in one, as RFC 9110 section 5.3 has it.
    pub fn header(&self, name: &HeaderName) -> Option<String> {
        let all = self.headers.get_all(name).iter();
        let texts: Vec<_> = all
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }

    /// True if the comma-separated field has this element, in whatever case.
    pub fn lists(&self, name: &HeaderName, element: &str) -> bool {
        let field = self.header(name).unwrap_or_default();
        field
            .split(',')
            .any(|one| one.trim().eq_ignore_ascii_case(element))
    }

    /// The media type of the body without parameters, in lower case; empty if it has none.
    pub fn media_type(&self) -> String {
        let field = self.header(&header::CONTENT_TYPE).unwrap_or_default();
        media_type::of(&field)
    }

    /// What its Link fields say; an error is one that cannot be read.
    pub fn links(&self) -> Vec<Result<Link, String>> {
        let fields = self.headers.get_all(header::LINK).iter();
        fields
            .flat_map(|field| link::parse(&String::from_utf8_lossy(field.as_bytes())))
            .collect()
    }

    /// Where Location leads, or why nowhere; `None` if there is none.
    pub fn location(&self) -> Option<Result<Uri, String>> {
        let text = self.header(&header::LOCATION)?;
        Some(url::resolve(&self.url, &text).map_err(|why| format!("{}: {why}", quoted(&text))))
    }

    /// Status and, if it is refused, why.
    pub fn seen(&self) -> String {
        match (self.status >= 400, self.body.trim()) {
            (true, body) if !body.is_empty() => format!("{}: {}", self.status, quoted(body)),
            _ => self.status.to_string(),
        }
    }

    /// A header field for people.
    pub fn seen_header(&self, name: &HeaderName) -> String {
        match self.header(name) {
            Some(value) => format!("{name}: {}", quoted(&value)),
            None => format!("no {name}"),
        }
    }
}

/// All of a body.
async fn whole(body: Incoming) -> Result<Vec<u8>, String> {
    let bytes = body::to_bytes(Body::new(body), BODY_BYTES_MAX).await;
    bytes.map(Vec::from).map_err(|error| error.to_string())
}

/// What has come of a body within `limit`, or all of it.
async fn begun(mut body: Incoming, limit: Duration) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let reading = async {
        while bytes.len() < BODY_BYTES_MAX {
            let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            match frame {
                None => break,
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
            }
        }
        Ok(())
    };
    match tokio::time::timeout(limit, reading).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok(bytes),
    }
}

/// True for a strong entity-tag with its quotes (RFC 9110 section 8.8.3).
pub fn is_strong_etag(text: &str) -> bool {
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.is_empty() && !inner.contains(['"', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn strong_tags_are_told_from_others() {
        assert!(is_strong_etag("\"xyzzy\""));
        for other in ["W/\"xyzzy\"", "xyzzy", "*", "\"*", "\"\"", "", "\""] {
            assert!(!is_strong_etag(other), "{other}");
        }
    }

    #[test]
    fn an_answer_is_read() {
        let mut headers = HeaderMap::new();
        headers.append("access-control-expose-headers", "Location".parse().unwrap());
        headers.append(
            "access-control-expose-headers",
            "ETag,Link".parse().unwrap(),
        );
        headers.insert("content-type", "Application/SDP; a=b".parse().unwrap());
        headers.insert("location", "../s/1".parse().unwrap());
        let reply = Reply {
            status: 201,
            headers,
            body: String::new(),
            url: "http://h/whep/x/y".parse().unwrap(),
        };
        assert!(reply.lists(&header::ACCESS_CONTROL_EXPOSE_HEADERS, "etag"));
        assert!(!reply.lists(&header::ACCESS_CONTROL_EXPOSE_HEADERS, "tag"));
        assert_eq!(reply.media_type(), SDP);
        let session = reply.location().unwrap().unwrap();
        assert_eq!(session.to_string(), "http://h/whep/s/1");
    }

    /// A server that makes sessions and deletes them.
    async fn server() -> (Uri, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/whip/a", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let list = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = [0; 4096];
                let count = stream.read(&mut bytes).await.unwrap();
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                let reply = match text.starts_with("POST") {
                    true => "201 Created\r\nlocation: /s/1\r\ncontent-length: 0\r\n\r\n",
                    false => "204 No Content\r\n\r\n",
                };
                let path: Vec<_> = text.split(' ').take(2).collect();
                list.lock().unwrap().push(path.join(" "));
                let reply = format!("HTTP/1.1 {reply}");
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        (url.parse().unwrap(), asked)
    }

    #[tokio::test]
    async fn a_session_is_deleted_though_its_check_panicked() {
        let (url, asked) = server().await;
        let client = Client::new(None, "https://a.example", Duration::from_secs(5)).unwrap();
        let client = Arc::new(client);
        let shared = Arc::clone(&client);
        let check = tokio::spawn(async move {
            let ask = shared.ask(Method::POST, &url).body(SDP, "v=0");
            let reply = ask.send().await.unwrap();
            assert_eq!(reply.status, 200, "a check that goes wrong");
        });
        assert!(check.await.is_err());
        assert_eq!(client.memory().sessions.len(), 1);
        assert!(client.sweep().await.is_empty());
        assert_eq!(*asked.lock().unwrap(), ["POST /whip/a", "DELETE /s/1"]);
    }
}
