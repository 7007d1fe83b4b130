//! Owns the endpoints of relays. All of them are for operators: a relay makes this node send
//! requests, and its URL may hold a secret.

use super::guard::{Caller, operator_only};
use super::{Site, body_text, media_type};
use crate::config::Secret;
use crate::control::StreamName;
use crate::drain::refusal;
use crate::load::Newcomer;
use crate::problem::Problem;
use crate::relay::{Direction, NewRelay, RELAY_HEADER, Refusal, RelayView, check_url};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

/// A relay to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RelayBody {
    /// `pull`: from there to here by WHEP; `push`: from here to there by WHIP.
    direction: Direction,
    /// The name of the stream here.
    #[schema(example = "live/studio")]
    stream: String,
    /// The endpoint there.
    #[schema(example = "https://origin.example/whep/live/studio")]
    url: String,
    /// Sent as `Authorization: Bearer`.
    token: Option<String>,
}

/// All relays. For operators.
#[utoipa::path(
    get, path = "/v1/relays", tag = "relays",
    responses(
        (status = 200, body = Vec<RelayView>),
        (status = 401, description = "For operators", body = Problem),
    )
)]
pub(super) async fn list(
    State(site): State<Site>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator_only(&site, &headers, remote)?;
    Ok(json(StatusCode::OK, site.relays.views()))
}

/// One relay. For operators.
#[utoipa::path(
    get, path = "/v1/relays/{id}", tag = "relays",
    params(("id" = String, Path, description = "Id of the relay")),
    responses(
        (status = 200, body = RelayView),
        (status = 401, description = "For operators", body = Problem),
        (status = 404, description = "No such relay", body = Problem),
    )
)]
pub(super) async fn look(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator_only(&site, &headers, remote)?;
    let Path(id) = path.map_err(|_| refused(Refusal::Unknown))?;
    let view = site.relays.view(&id);
    let view = view.ok_or_else(|| refused(Refusal::Unknown))?;
    Ok(json(StatusCode::OK, view))
}

/// Makes a relay, which begins at once and goes on until it is deleted or this node ends. For
/// operators.
#[utoipa::path(
    post, path = "/v1/relays", tag = "relays",
    request_body = RelayBody,
    responses(
        (status = 201, description = "Made; Location is the relay", body = RelayView),
        (status = 400, description = "Not such a relay", body = Problem),
        (status = 401, description = "For operators", body = Problem),
        (status = 409, description = "There is one for this already", body = Problem),
        (status = 413, description = "Too long", body = Problem),
        (status = 415, description = "Not application/json", body = Problem),
        (status = 422, description = "A URL that cannot be called", body = Problem),
        (status = 503, description = "Too many relays, or the node is being emptied",
         body = Problem),
    )
)]
pub(super) async fn post(
    State(site): State<Site>,
    remote: Caller,
    request: Request,
) -> Result<Response, Problem> {
    operator_only(&site, request.headers(), remote)?;
    if media_type(&request, header::CONTENT_TYPE).as_deref() != Some("application/json") {
        return Err(Problem::new(
            415,
            "not-json",
            "The body is of another type",
            "this path takes application/json",
            "send Content-Type: application/json",
        ));
    }
    let text = body_text(&site, request).await?;
    let body: RelayBody = serde_json::from_str(&text).map_err(|e| bad_relay(e.to_string()))?;
    let stream: StreamName = body
        .stream
        .parse()
        .map_err(|error| bad_relay(format!("stream: {error}")))?;
    let url = check_url(&body.url).map_err(|what| bad_url(&body.url, what))?;
    let token = body.token.as_deref().filter(|token| !token.is_empty());
    if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(bad_relay("token: only visible ASCII characters".into()));
    }
    if site.drain.order().is_some() {
        return Err(refusal());
    }
    let new = NewRelay {
        direction: body.direction,
        stream,
        url,
        token: token.map(Secret::from),
        configured: false,
    };
    let view = site.relays.add(new).map_err(refused)?;
    let location = super::signalling::header_value(&format!("/v1/relays/{}", view.id))?;
    let mut response = json(StatusCode::CREATED, view);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Ends a relay: the session at the other server is deleted. For operators.
#[utoipa::path(
    delete, path = "/v1/relays/{id}", tag = "relays",
    params(("id" = String, Path, description = "Id of the relay")),
    responses(
        (status = 204, description = "Ended"),
        (status = 401, description = "For operators", body = Problem),
        (status = 404, description = "No such relay", body = Problem),
        (status = 409, description = "It stands in the configuration", body = Problem),
    )
)]
pub(super) async fn delete(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    operator_only(&site, &headers, remote)?;
    let Path(id) = path.map_err(|_| refused(Refusal::Unknown))?;
    site.relays.remove(&id).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses a relay of this very node that would feed a stream with itself.
pub(super) fn no_loop(
    site: &Site,
    headers: &HeaderMap,
    stream: &StreamName,
) -> Result<(), Problem> {
    let said = headers
        .get(RELAY_HEADER)
        .and_then(|said| said.to_str().ok());
    match said.is_some_and(|said| site.relays.is_own(said, stream)) {
        true => Err(looped(508)),
        false => Ok(()),
    }
}

/// A viewer, or another node that asks for its own. Anybody may say so; it gives him little.
pub(super) fn who(headers: &HeaderMap) -> Newcomer {
    match headers.contains_key(RELAY_HEADER) {
        true => Newcomer::Node,
        false => Newcomer::Viewer,
    }
}

fn json(status: StatusCode, body: impl serde::Serialize) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (status, no_store, Json(body)).into_response()
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Taken => Problem::new(
            409,
            "relay-taken",
            "There is a relay for this already",
            "another pull feeds the stream, or another push sends it there",
            "end the other one first; GET /v1/relays lists them",
        ),
        Refusal::Loop => looped(422),
        Refusal::Full => Problem::new(
            503,
            "relays-full",
            "No room for another relay",
            "this node has as many relays as it takes",
            "end one that is not needed; GET /v1/relays lists them",
        ),
        Refusal::Unknown => Problem::new(
            404,
            "relay-unknown",
            "There is no such relay",
            "no relay has this id, or it has ended",
            "GET /v1/relays lists what there is",
        ),
        Refusal::Configured => Problem::new(
            409,
            "relay-configured",
            "The relay stands in the configuration",
            "it would come back with the next start",
            "remove its [[pull]] or [[push]] from the configuration and restart",
        ),
    }
}

fn looped(status: u16) -> Problem {
    Problem::new(
        status,
        "relay-loop",
        "The stream would feed itself",
        "the URL leads to this very node and to the same stream",
        "name another server, or another stream",
    )
}

fn bad_url(url: &str, what: &str) -> Problem {
    let shown: String = url.chars().filter(|c| !c.is_control()).take(256).collect();
    Problem::new(
        422,
        "relay-url",
        "The URL cannot be called",
        format!("{shown:?} {what}"),
        "give the whole URL of a WHEP endpoint to pull, or of a WHIP endpoint to push",
    )
}

fn bad_relay(what: String) -> Problem {
    Problem::new(
        400,
        "bad-relay",
        "The body is no relay",
        what,
        "send {\"direction\": \"pull\", \"stream\": NAME, \"url\": URL}, and token if it needs one",
    )
}
