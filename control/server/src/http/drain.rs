//! Owns the endpoint by which operators empty the node before it ends, and change their mind.

use super::guard::{Caller, operator_only};
use super::{Site, body_text};
use crate::clock;
use crate::config::DEADLINE_S;
use crate::control::DrainView;
use crate::drain::{DRAINING, Order};
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::io;
use utoipa::ToSchema;
use wire::time::Span;

/// How the node is to be emptied.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainBody {
    /// How many seconds from now those who are here may stay, 0 to 86400; left out:
    /// `drain.deadline_s` of the configuration, or what was decided before.
    deadline_s: Option<u64>,
}

/// Whether the node is being emptied, and how far that has come. For operators.
#[utoipa::path(
    get, path = "/v1/drain", tag = "node",
    responses(
        (status = 200, body = DrainView),
        (status = 401, description = "For operators", body = Problem),
    )
)]
pub(super) async fn look(
    State(site): State<Site>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator_only(&site, &headers, remote)?;
    Ok(view(&site, StatusCode::OK))
}

/// Empties the node, after which it ends, as SIGTERM does: newcomers are kept out, viewers are told
/// to reconnect elsewhere. Again with `deadline_s`: sets another deadline. For operators.
#[utoipa::path(
    post, path = "/v1/drain", tag = "node",
    request_body(content = DrainBody, description = "JSON, or nothing at all"),
    responses(
        (status = 202, description = "It is being emptied", body = DrainView),
        (status = 400, description = "Not such a body", body = Problem),
        (status = 401, description = "For operators", body = Problem),
        (status = 409, description = "It is about to end already", body = Problem),
        (status = 413, description = "Too long", body = Problem),
        (status = 500, description = "It cannot be written down", body = Problem),
    )
)]
pub(super) async fn begin(
    State(site): State<Site>,
    remote: Caller,
    request: Request,
) -> Result<Response, Problem> {
    operator_only(&site, request.headers(), remote)?;
    let text = body_text(&site, request).await?;
    let body: DrainBody = match text.trim() {
        "" => DrainBody::default(),
        text => serde_json::from_str(text).map_err(|error| bad_body(error.to_string()))?,
    };
    if let Some(seconds) = body.deadline_s.filter(|it| !DEADLINE_S.contains(it)) {
        return Err(bad_body(format!("deadline_s: {seconds} is out of range")));
    }
    must_go_on(&site)?;
    let now = clock::now();
    let order = match (site.drain.order(), body.deadline_s.map(Span::secs)) {
        (Some(order), None) => order,
        (Some(Order { begun, .. }), Some(time)) => Order {
            begun,
            deadline: now + time,
        },
        (None, time) => {
            let time = time.unwrap_or_else(|| site.config().drain.time());
            Order::new(now, time)
        }
    };
    site.drain.decide(Some(order)).map_err(not_written)?;
    Ok(view(&site, StatusCode::ACCEPTED))
}

/// Takes it back: newcomers are let in again. Who has been told to reconnect may go nevertheless.
/// For operators.
#[utoipa::path(
    delete, path = "/v1/drain", tag = "node",
    responses(
        (status = 200, description = "The node serves", body = DrainView),
        (status = 401, description = "For operators", body = Problem),
        (status = 409, description = "It is about to end already", body = Problem),
        (status = 500, description = "It cannot be written down", body = Problem),
    )
)]
pub(super) async fn take_back(
    State(site): State<Site>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator_only(&site, &headers, remote)?;
    must_go_on(&site)?;
    site.drain.decide(None).map_err(not_written)?;
    Ok(view(&site, StatusCode::OK))
}

fn view(site: &Site, status: StatusCode) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (status, no_store, Json(DrainView::of(&site.drain))).into_response()
}

/// Once those who are left have been told farewell there is no way back.
fn must_go_on(site: &Site) -> Result<(), Problem> {
    if site.drain.order().is_none() || !site.drain.is_over() {
        return Ok(());
    }
    Err(Problem::new(
        409,
        DRAINING,
        "The node is about to end",
        "nobody is left, or the time is up",
        "start it again when it has ended",
    ))
}

fn bad_body(what: String) -> Problem {
    Problem::new(
        400,
        "bad-drain",
        "The body cannot be read",
        what,
        "send {\"deadline_s\": SECONDS} with 0 to 86400, or nothing",
    )
}

fn not_written(error: io::Error) -> Problem {
    Problem::new(
        500,
        "not-written",
        "The decision cannot be written down",
        format!("{error}; nothing was changed"),
        "see that the run directory (node.run_dir) can be written to",
    )
}
