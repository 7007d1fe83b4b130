//! Owns the extensions of WHEP over HTTP: event streams and the choice of layers
//! (webrtc-http-egress-events).

use super::event_stream::EventStream;
use super::signalling::{ACCEPT_POST, header_value, session_id, unknown_session};
use super::{Site, body_text, media_type};
use crate::control::{EventKind, EventKinds, LayerWish};
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

/// What both extensions take.
const JSON: &str = "application/json";

/// What an event stream is (WHATWG HTML section 9.2).
const EVENT_STREAM: &str = "text/event-stream";

/// Characters of what cannot be read that are told back.
const QUOTED_MAX: usize = 64;

const SSE_REL: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const LAYER_REL: &str = "urn:ietf:params:whep:ext:core:layer";

/// Tells a viewer where the extensions of its session are.
///
/// # Errors
/// Of an id that no header can carry.
pub(super) fn announce(headers: &mut HeaderMap, id: &str) -> Result<(), Problem> {
    // One field for each (draft-ietf-wish-whep-03 section 4.9).
    let kinds = EventKind::ALL.map(EventKind::name).join(",");
    let sse = format!("</session/{id}/sse>; rel=\"{SSE_REL}\"; events=\"{kinds}\"");
    let layer = format!("</session/{id}/layer>; rel=\"{LAYER_REL}\"");
    for link in [sse, layer] {
        headers.append(header::LINK, header_value(&link)?);
    }
    Ok(())
}

/// Makes the event stream of a session; the one before ends. Without a body it has every event.
#[utoipa::path(
    post, path = "/session/{id}/sse", tag = "whep",
    params(("id" = String, Path, description = "Id of the session, from Location")),
    request_body(content = Vec<String>, description = "The events that are wanted: active, \
        inactive, layers, reconnect, viewercount"),
    responses(
        (status = 201, description = "Location is the event stream"),
        (status = 400, description = "Not a list, or an event that there is not", body = Problem),
        (status = 404, description = "No such session that watches", body = Problem),
        (status = 415, description = "Not application/json", body = Problem),
    )
)]
pub(super) async fn open(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let id = session_id(path)?;
    let kinds = match json_body::<Vec<String>>(&site, request).await? {
        None => EventKinds::all(),
        // One event that there is not spoils all of them (webrtc-http-egress-events section 4).
        Some(names) => EventKinds::of(names.iter().map(String::as_str)).map_err(unknown_event)?,
    };
    let number = site.control.open_events(id.clone(), kinds).await?;
    let location = header_value(&format!("/session/{id}/sse/{number}"))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// Reads the events of a session as they come (text/event-stream). A second reader ends the first.
#[utoipa::path(
    get, path = "/session/{id}/sse/{number}", tag = "whep",
    params(
        ("id" = String, Path, description = "Id of the session, from Location"),
        ("number" = u64, Path, description = "Number of the event stream, from Location"),
    ),
    responses(
        (status = 200, description = "Events, and a comment every 15 s; ends with the session",
         body = String, content_type = "text/event-stream"),
        (status = 404, description = "No such event stream", body = Problem),
        (status = 503, description = "Too many readers: see Retry-After", body = Problem),
    )
)]
pub(super) async fn read(
    State(site): State<Site>,
    path: Result<Path<(String, String)>, PathRejection>,
    method: Method,
) -> Result<Response, Problem> {
    let (id, number) = event_stream_id(path)?;
    let headers = [
        (header::CONTENT_TYPE, EVENT_STREAM),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that collect answers before they pass them on let this one through.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    if method == Method::HEAD {
        site.control.session(id).await?;
        return Ok((headers, ()).into_response());
    }
    let events = site.control.read_events(id, number).await?;
    Ok((headers, Body::new(EventStream::new(events))).into_response())
}

/// Ends the event stream of a session.
#[utoipa::path(
    delete, path = "/session/{id}/sse/{number}", tag = "whep",
    params(
        ("id" = String, Path, description = "Id of the session, from Location"),
        ("number" = u64, Path, description = "Number of the event stream, from Location"),
    ),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, description = "No such event stream", body = Problem),
    )
)]
pub(super) async fn close(
    State(site): State<Site>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let (id, number) = event_stream_id(path)?;
    site.control.close_events(id, number).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Chooses the layers of the video; an empty object gives the choice back to the server.
#[utoipa::path(
    post, path = "/session/{id}/layer", tag = "whep",
    params(("id" = String, Path, description = "Id of the session, from Location")),
    request_body(content = LayerWish),
    responses(
        (status = 200, description = "Chosen"),
        (status = 400, description = "Not such an object", body = Problem),
        (status = 404, description = "No such session, m-line or layer", body = Problem),
        (status = 409, description = "A layer that does not come in now", body = Problem),
        (status = 415, description = "Not application/json", body = Problem),
    )
)]
pub(super) async fn choose(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let id = session_id(path)?;
    let wish = json_body::<LayerWish>(&site, request).await?;
    site.control
        .choose_layer(id, wish.unwrap_or_default())
        .await?;
    Ok(StatusCode::OK)
}

/// Says what event streams are made of; also the preflight of browsers.
#[utoipa::path(
    options, path = "/session/{id}/sse", tag = "whep",
    params(("id" = String, Path, description = "Id of the session, from Location")),
    responses((status = 204, description = "Accept-Post and the headers of CORS"))
)]
pub(super) async fn open_options() -> Response {
    let headers = [(header::ALLOW, "OPTIONS, POST"), (ACCEPT_POST, JSON)];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Says what may be done with an event stream; also the preflight of browsers.
#[utoipa::path(
    options, path = "/session/{id}/sse/{number}", tag = "whep",
    params(
        ("id" = String, Path, description = "Id of the session, from Location"),
        ("number" = u64, Path, description = "Number of the event stream, from Location"),
    ),
    responses((status = 204, description = "The headers of CORS"))
)]
pub(super) async fn read_options() -> Response {
    let headers = [(header::ALLOW, "OPTIONS, GET, HEAD, DELETE")];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Says how layers are chosen; also the preflight of browsers.
#[utoipa::path(
    options, path = "/session/{id}/layer", tag = "whep",
    params(("id" = String, Path, description = "Id of the session, from Location")),
    responses((status = 204, description = "Accept-Post and the headers of CORS"))
)]
pub(super) async fn choose_options() -> Response {
    open_options().await
}

/// The body, if there is one.
async fn json_body<T: DeserializeOwned>(
    site: &Site,
    request: Request,
) -> Result<Option<T>, Problem> {
    let kind = media_type(&request, header::CONTENT_TYPE);
    let text = body_text(site, request).await?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    if kind.as_deref() != Some(JSON) {
        let problem = Problem::new(
            415,
            "wrong-content-type",
            "The body is of another type than this path takes",
            format!("the type is {}", kind.as_deref().unwrap_or("not given")),
            format!("send Content-Type: {JSON}"),
        );
        return Err(problem.header(ACCEPT_POST, HeaderValue::from_static(JSON)));
    }
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Problem::new(
            400,
            "bad-json",
            "The body cannot be read",
            error.to_string(),
            "/v1/openapi.json says what this path takes",
        )
    })
}

fn event_stream_id(
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<(String, u64), Problem> {
    let Path((id, number)) = path.map_err(|_| unknown_session())?;
    let id = session_id(Ok(Path(id)))?;
    let number = number.parse().map_err(|_| unknown_session())?;
    Ok((id, number))
}

fn unknown_event(name: &str) -> Problem {
    let plain = name.chars().filter(|c| !c.is_control());
    let plain: String = plain.take(QUOTED_MAX).collect();
    Problem::new(
        400,
        "event-unknown",
        "There is no such event",
        format!("{plain:?} is no event of this server"),
        "the Link header of the session lists those there are",
    )
}
