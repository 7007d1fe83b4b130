//! Owns the endpoint of WHEP: RFC 9725 as draft-ietf-wish-whep-03 turns it round.

use super::signalling::{self, ACCEPT_PATCH, ACCEPT_POST, stream_name};
use super::{Site, extensions, guard, relays};
use crate::control::{CounterOffer, Posted, StreamName};
use crate::media_type::SDP;
use crate::problem::Problem;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::SystemTime;

/// What completes a session of a counter-offer, and what changes it later.
const PATCHES: &str = "application/sdp, application/trickle-ice-sdpfrag";

/// Opens a session: offer in, answer out; or an offer of ours, if theirs cannot be answered or is
/// empty.
#[utoipa::path(
    post, path = "/whep/{stream}", tag = "whep",
    params(("stream" = String, Path, description = "Name of the stream, with its slashes")),
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, description = "The answer; Location is the session, ETag that of ICE",
         body = String, content_type = "application/sdp"),
        (status = 307, description = "Watch it there: see Location"),
        (status = 400, description = "Not an offer", body = Problem),
        (status = 401, description = "A token is needed", body = Problem),
        (status = 404, description = "No such stream", body = Problem),
        (status = 406, description = "A counter-offer: nothing is in common with the offer, or it \
            is empty. PATCH the session with the answer before the time that valid-until in the \
            Content-Type says", body = String, content_type = "application/sdp"),
        (status = 409, description = "No media yet: see Retry-After", body = Problem),
        (status = 413, description = "Too long", body = Problem),
        (status = 415, description = "Not application/sdp", body = Problem),
        (status = 422, description = "An offer that cannot be served", body = Problem),
        (status = 503, description = "Full, as loaded as it may be, or being emptied: see \
            Retry-After", body = Problem),
        (status = 508, description = "A relay of this node asks for its own stream",
         body = Problem),
    )
)]
pub(super) async fn post(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let stream = stream_name(path)?;
    if let Some(there) = signalling::elsewhere(&site, "whep", &stream)? {
        return Ok(there);
    }
    relays::no_loop(&site, request.headers(), &stream)?;
    may_play(&site, &stream, request.headers())?;
    let who = relays::who(request.headers());
    let offer = signalling::offer(&site, request).await?;
    let posted = match site.control.whep_post(stream.clone(), who, offer).await {
        Ok(posted) => posted,
        Err(refusal) => return signalling::led_on(&site, "whep", &stream, refusal),
    };
    match posted {
        Posted::Answered(created) => {
            let id = created.id.clone();
            let mut response = signalling::created(created)?;
            extensions::announce(response.headers_mut(), &id)?;
            Ok(response)
        }
        Posted::Countered(counter) => countered(counter),
    }
}

/// What a POST is answered with that has made a session by an offer of ours
/// (draft-ietf-wish-whep-03 section 4.2.2).
fn countered(counter: CounterOffer) -> Result<Response, Problem> {
    let until = httpdate::fmt_http_date(SystemTime::now() + counter.valid);
    let kind = format!("{SDP}; valid-until=\"{until}\"");
    let mut response = (StatusCode::NOT_ACCEPTABLE, counter.offer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, signalling::header_value(&kind)?);
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(PATCHES));
    signalling::locate(headers, &counter.id, &counter.etag)?;
    extensions::announce(headers, &counter.id)?;
    Ok(response)
}

/// Tells whether there is such an endpoint.
#[utoipa::path(
    get, path = "/whep/{stream}", tag = "whep",
    params(("stream" = String, Path, description = "Name of the stream, with its slashes")),
    responses(
        (status = 200, description = "A WHEP endpoint, empty", content_type = "application/sdp"),
        (status = 404, description = "No such stream", body = Problem),
    )
)]
pub(super) async fn look(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let stream = stream_name(path)?;
    if let Some(there) = signalling::elsewhere(&site, "whep", &stream)? {
        return Ok(there);
    }
    site.control.stream(stream).await?;
    Ok(([(header::CONTENT_TYPE, SDP), (ACCEPT_POST, SDP)], ()).into_response())
}

/// Says what the endpoint takes; also the preflight of browsers.
#[utoipa::path(
    options, path = "/whep/{stream}", tag = "whep",
    params(("stream" = String, Path, description = "Name of the stream, with its slashes")),
    responses((status = 204, description = "Accept-Post and the headers of CORS"))
)]
pub(super) async fn options() -> Response {
    signalling::endpoint_options()
}

fn may_play(site: &Site, stream: &StreamName, headers: &HeaderMap) -> Result<(), Problem> {
    site.config()
        .may_play(stream, guard::bearer(headers))
        .map_err(|_| {
            guard::unauthorized(
                "this stream is not open to everybody",
                "send Authorization: Bearer with the token that its operator gave you",
            )
        })
}
