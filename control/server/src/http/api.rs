//! Owns the REST API, the health checks and the metrics over HTTP.

use super::guard::{Caller, operator_only};
use super::signalling::{session_id, stream_name};
use super::{Site, guard};
use crate::control::{NodeView, Page, Readiness, SessionPage, SessionView, StreamView};
use crate::metrics;
use crate::problem::Problem;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// Sessions on a page if the asker does not say.
const PAGE_DEFAULT: usize = 100;

/// Most sessions on a page.
const PAGE_MAX: usize = 1000;

/// The query of a list of sessions.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Only sessions of this stream.
    stream: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// At most so many, 1 to 1000; 100 if not given.
    limit: Option<usize>,
}

/// All streams. Addresses of publishers are shown to operators only.
#[utoipa::path(
    get, path = "/v1/streams", tag = "streams",
    responses((status = 200, body = Vec<StreamView>), (status = 503, body = Problem))
)]
pub(super) async fn streams(
    State(site): State<Site>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let operator = may_see_addresses(&site, &headers, remote);
    let body = site.snapshot.json(&site.control, operator).await?;
    let kind = (header::CONTENT_TYPE, "application/json");
    Ok(([kind, (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// One stream.
#[utoipa::path(
    get, path = "/v1/streams/{name}", tag = "streams",
    params(("name" = String, Path, description = "Name of the stream, with its slashes")),
    responses(
        (status = 200, body = StreamView),
        (status = 400, description = "Not a name", body = Problem),
        (status = 404, description = "No such stream", body = Problem),
        (status = 503, body = Problem),
    )
)]
pub(super) async fn stream(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut view = site.control.stream(stream_name(path)?).await?;
    if !may_see_addresses(&site, &headers, remote) {
        view.redact();
    }
    Ok(json(view))
}

/// Sessions, page by page. For operators: an id lets its knower end the session.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions",
    params(PageQuery),
    responses(
        (status = 200, body = SessionPage),
        (status = 400, description = "Not such a query", body = Problem),
        (status = 401, description = "For operators", body = Problem),
        (status = 503, body = Problem),
    )
)]
pub(super) async fn sessions(
    State(site): State<Site>,
    query: Result<Query<PageQuery>, QueryRejection>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator_only(&site, &headers, remote)?;
    let Query(query) = query.map_err(|rejection| bad_query(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(bad_query(format!("limit={limit} is out of range")));
    }
    let page = Page {
        stream: query.stream,
        after: query.after,
        limit,
    };
    Ok(json(site.control.sessions(page).await?))
}

/// One session. For operators.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "Id of the session")),
    responses(
        (status = 200, body = SessionView),
        (status = 401, description = "For operators", body = Problem),
        (status = 404, description = "No such session", body = Problem),
        (status = 503, body = Problem),
    )
)]
pub(super) async fn session(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator_only(&site, &headers, remote)?;
    Ok(json(site.control.session(session_id(path)?).await?))
}

/// Ends a session. For operators.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "Id of the session")),
    responses(
        (status = 204, description = "Ended"),
        (status = 401, description = "For operators", body = Problem),
        (status = 404, description = "No such session", body = Problem),
        (status = 503, body = Problem),
    )
)]
pub(super) async fn close_session(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    operator_only(&site, &headers, remote)?;
    site.control.close_session(session_id(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The node: version, backend, memory, limits, counters of each worker. For operators.
#[utoipa::path(
    get, path = "/v1/node", tag = "node",
    responses(
        (status = 200, body = NodeView),
        (status = 401, description = "For operators", body = Problem),
        (status = 503, body = Problem),
    )
)]
pub(super) async fn node(
    State(site): State<Site>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator_only(&site, &headers, remote)?;
    Ok(json(site.control.node().await?))
}

/// Metrics in the text format of OpenMetrics, per node, worker and stream, never per viewer.
#[utoipa::path(
    get, path = "/metrics", tag = "node",
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text"),
        (status = 503, body = Problem),
    )
)]
pub(super) async fn metrics(State(site): State<Site>) -> Result<Response, Problem> {
    let mut snapshot = site.control.metrics().await?;
    snapshot.control.extend(site.counters.samples());
    snapshot.control.extend(site.relays.samples());
    let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    Ok((kind, metrics::render(snapshot)).into_response())
}

/// The process answers.
#[utoipa::path(
    get, path = "/livez", tag = "node",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Newcomers may be sent here: every part answers.
#[utoipa::path(
    get, path = "/readyz", tag = "node",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn readyz(State(site): State<Site>) -> Result<Response, Problem> {
    let readiness = site.control.ready().await?;
    let ready = readiness.ready;
    let mut response = json(readiness);
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

fn may_see_addresses(site: &Site, headers: &HeaderMap, remote: Caller) -> bool {
    guard::is_operator(headers, remote.map(|e| e.0), &site.config().auth)
}

fn json(body: impl serde::Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn bad_query(what: String) -> Problem {
    Problem::new(
        400,
        "bad-query",
        "The query cannot be read",
        what,
        "stream, after and limit (1 to 1000) are known; /v1/openapi.json says more",
    )
}
