//! Owns the endpoint of WHEP: RFC 9725 as draft-ietf-wish-whep-03 turns it round.

use super::signalling::{self, ACCEPT_POST, stream_name};
use super::{Site, guard};
use crate::control::StreamName;
use crate::media_type::SDP;
use crate::problem::Problem;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

/// Opens a session: offer in, answer out.
#[utoipa::path(
    post, path = "/whep/{stream}", tag = "whep",
    params(("stream" = String, Path, description = "Name of the stream, with its slashes")),
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, description = "The answer; Location is the session, ETag that of ICE",
         body = String, content_type = "application/sdp"),
        (status = 400, description = "Not an offer", body = Problem),
        (status = 401, description = "A token is needed", body = Problem),
        (status = 404, description = "No such stream", body = Problem),
        (status = 406, description = "Nothing in common, or no SDP accepted", body = Problem),
        (status = 409, description = "No media yet: see Retry-After", body = Problem),
        (status = 413, description = "Too long", body = Problem),
        (status = 415, description = "Not application/sdp", body = Problem),
        (status = 422, description = "An offer that cannot be served", body = Problem),
        (status = 503, description = "Full: see Retry-After", body = Problem),
    )
)]
pub(super) async fn post(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let stream = stream_name(path)?;
    may_play(&site, &stream, request.headers())?;
    let offer = signalling::offer(&site, request).await?;
    signalling::created(site.control.whep_post(stream, offer).await?)
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
