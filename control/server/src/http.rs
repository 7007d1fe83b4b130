//! Owns what is served over HTTP: the routes, and what holds for all of them.

mod accept;
mod api;
mod config;
mod drain;
mod event_stream;
mod extensions;
mod guard;
mod openapi;
mod page;
mod push;
mod relays;
mod signalling;
mod snapshot;
mod whep;
mod whip;

pub use accept::serve;
pub use config::Desk;

use crate::config::Config;
use crate::control::{Control, Sample};
use crate::drain::Drain;
use crate::problem::Problem;
use crate::relay::Relays;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{Router, body, routing};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;

/// The address at the other end of the connection, put into each request by [`serve`].
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub SocketAddr);

/// Everything that a handler needs; cheap to clone.
#[derive(Clone, Debug)]
pub struct Site {
    control: Control,
    config: watch::Receiver<Arc<Config>>,
    counters: Arc<Counters>,
    snapshot: Arc<snapshot::Streams>,
    relays: Relays,
    drain: Drain,
    desk: Arc<Desk>,
}

/// What HTTP itself counts.
#[derive(Debug, Default)]
pub struct Counters {
    request_served: AtomicU64,
    request_refused: AtomicU64,
    connection_accepted: AtomicU64,
    connection_refused: AtomicU64,
}

/// A path and the methods that it takes, in the words of `Allow`. The router, `Allow`, OPTIONS and
/// the OpenAPI document agree because all are made from this or tested against it.
pub(crate) const ROUTES: [(&str, &str); 25] = [
    ("/", "GET, HEAD"),
    ("/style.css", "GET, HEAD"),
    ("/app.js", "GET, HEAD"),
    ("/session.js", "GET, HEAD"),
    ("/publish.js", "GET, HEAD"),
    ("/whip/{*stream}", "OPTIONS, GET, HEAD, POST"),
    ("/whep/{*stream}", "OPTIONS, GET, HEAD, POST"),
    ("/session/{id}", "OPTIONS, GET, HEAD, PATCH, DELETE"),
    ("/session/{id}/sse", "OPTIONS, POST"),
    ("/session/{id}/sse/{number}", "OPTIONS, GET, HEAD, DELETE"),
    ("/session/{id}/layer", "OPTIONS, POST"),
    ("/v1/streams", "GET, HEAD"),
    (STREAM, "GET, HEAD"),
    (push::ROUTE, push::ALLOW),
    ("/v1/sessions", "GET, HEAD"),
    ("/v1/sessions/{id}", "GET, HEAD, DELETE"),
    ("/v1/relays", "GET, HEAD, POST"),
    ("/v1/relays/{id}", "GET, HEAD, DELETE"),
    ("/v1/node", "GET, HEAD"),
    ("/v1/drain", "GET, HEAD, POST, DELETE"),
    ("/v1/config", "GET, HEAD, PUT"),
    ("/v1/openapi.json", "GET, HEAD"),
    ("/metrics", "GET, HEAD"),
    ("/livez", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
];

/// One stream, and what may be done with it.
const STREAM: &str = "/v1/streams/{*name}";

impl Site {
    /// A site that asks `control` and follows the configuration as it is reloaded.
    #[must_use]
    pub fn new(
        control: Control,
        config: watch::Receiver<Arc<Config>>,
        drain: Drain,
        desk: Desk,
    ) -> Self {
        Self {
            relays: Relays::new(control.clone(), config.clone()),
            control,
            config,
            counters: Arc::default(),
            snapshot: Arc::default(),
            drain,
            desk: Arc::new(desk),
        }
    }

    /// The relays of this node.
    #[must_use]
    pub fn relays(&self) -> Relays {
        self.relays.clone()
    }

    /// All routes.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        for (path, allow) in ROUTES.into_iter().filter(|(path, _)| *path != push::ROUTE) {
            let methods = self.methods(path).fallback(move |asked: Uri| async move {
                not_allowed(match path {
                    STREAM => push::allow(asked.path()),
                    _ => allow,
                })
            });
            router = router.route(path, methods);
        }
        router
            .fallback(|| async { no_such_path() })
            .layer(middleware::from_fn_with_state(self.clone(), around))
    }

    fn methods(&self, path: &str) -> MethodRouter {
        let cors = middleware::from_fn_with_state(self.clone(), guard::cors);
        let methods = match path {
            "/" => routing::get(page::index),
            "/style.css" => routing::get(page::style),
            "/app.js" => routing::get(page::script),
            "/session.js" => routing::get(page::session),
            "/publish.js" => routing::get(page::publish),
            "/whip/{*stream}" => routing::post(whip::post)
                .get(whip::look)
                .options(whip::options)
                .layer(cors),
            "/whep/{*stream}" => routing::post(whep::post)
                .get(whep::look)
                .options(whep::options)
                .layer(cors),
            "/session/{id}" => routing::patch(signalling::patch)
                .delete(signalling::delete)
                .get(signalling::session_look)
                .options(signalling::session_options)
                .layer(cors),
            "/session/{id}/sse" => routing::post(extensions::open)
                .options(extensions::open_options)
                .layer(cors),
            "/session/{id}/sse/{number}" => routing::get(extensions::read)
                .delete(extensions::close)
                .options(extensions::read_options)
                .layer(cors),
            "/session/{id}/layer" => routing::post(extensions::choose)
                .options(extensions::choose_options)
                .layer(cors),
            "/v1/streams" => routing::get(api::streams),
            STREAM => routing::get(api::stream).post(push::post),
            "/v1/sessions" => routing::get(api::sessions),
            "/v1/sessions/{id}" => routing::get(api::session).delete(api::close_session),
            "/v1/relays" => routing::get(relays::list).post(relays::post),
            "/v1/relays/{id}" => routing::get(relays::look).delete(relays::delete),
            "/v1/node" => routing::get(api::node),
            "/v1/drain" => routing::get(drain::look)
                .post(drain::begin)
                .delete(drain::take_back),
            "/v1/config" => routing::get(config::look).put(config::replace),
            "/v1/openapi.json" => routing::get(openapi::document),
            "/metrics" => routing::get(api::metrics),
            "/livez" => routing::get(api::livez),
            _ => routing::get(api::readyz),
        };
        methods.with_state(self.clone())
    }

    fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }
}

impl Counters {
    fn samples(&self) -> [Sample; 4] {
        let counter = |name, help, value: &AtomicU64| Sample {
            name,
            help,
            value: value.load(Relaxed),
            counter: true,
        };
        [
            counter(
                "http_request_served",
                "Requests answered below 400",
                &self.request_served,
            ),
            counter(
                "http_request_refused",
                "Requests answered 400 and above",
                &self.request_refused,
            ),
            counter(
                "http_connection_accepted",
                "Connections taken",
                &self.connection_accepted,
            ),
            counter(
                "http_connection_refused",
                "Connections over a limit",
                &self.connection_refused,
            ),
        ]
    }
}

/// What holds for every request: a bounded time, headers for safety, counters.
async fn around(State(site): State<Site>, request: Request, next: Next) -> Response {
    let limit = Duration::from_millis(site.config().http.request_timeout_ms);
    let answered = tokio::time::timeout(limit, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| {
        Problem::new(
            408,
            "too-slow",
            "The request took too long",
            "it was not read and answered in time",
            "send the whole request at once",
        )
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .into_response()
    });
    let fine = response.status().as_u16() < 400;
    let counters = &site.counters;
    let counter = if fine {
        &counters.request_served
    } else {
        &counters.request_refused
    };
    counter.fetch_add(1, Relaxed);
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        let headers = response.headers_mut();
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The whole body as text.
async fn body_text(site: &Site, request: Request) -> Result<String, Problem> {
    let limit = site.config().http.body_bytes_max;
    let too_long = || {
        Problem::new(
            413,
            "body-too-long",
            "The body is too long",
            format!("at most {limit} bytes are taken"),
            "offer fewer codecs or candidates; the operator may raise http.body_bytes_max",
        )
        // What is left of the body is not read.
        .header(header::CONNECTION, HeaderValue::from_static("close"))
    };
    let told = request.headers().get(header::CONTENT_LENGTH);
    let told: Option<usize> = told.and_then(|v| v.to_str().ok()?.parse().ok());
    if told.is_some_and(|bytes| bytes > limit) {
        return Err(too_long());
    }
    let bad = |what: &str| {
        Problem::new(
            400,
            "bad-body",
            "The body cannot be read",
            what,
            "send the body as UTF-8 text",
        )
    };
    let bytes = body::to_bytes(request.into_body(), limit)
        .await
        .map_err(|error| {
            if error.to_string().contains("length limit") {
                too_long()
            } else {
                bad("it broke off")
            }
        })?;
    String::from_utf8(bytes.into()).map_err(|_| bad("it is not UTF-8"))
}

fn not_allowed(allow: &'static str) -> Problem {
    Problem::new(
        405,
        "method-not-allowed",
        "This method is not for this path",
        format!("this path takes {allow}"),
        "/v1/openapi.json describes every path and method",
    )
    .header(header::ALLOW, HeaderValue::from_static(allow))
}

fn no_such_path() -> Problem {
    Problem::new(
        404,
        "no-such-path",
        "There is nothing here",
        "no route has this path",
        "the page is at /, WHIP at /whip/STREAM, WHEP at /whep/STREAM; /v1/openapi.json has the rest",
    )
}

/// The media type of a header's value, without parameters, in lower case.
fn media_type(request: &Request, name: HeaderName) -> Option<String> {
    let value = request.headers().get(name)?.to_str().ok()?;
    Some(crate::media_type::of(value))
}

#[cfg(test)]
mod tests;
