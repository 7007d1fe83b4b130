//! Owns the endpoint of WHIP (RFC 9725).

use super::signalling::{self, ACCEPT_POST, stream_name};
use super::{Remote, Site, guard, relays};
use crate::config::{Caller, Denied};
use crate::control::StreamName;
use crate::media_type::SDP;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

/// Publishes a stream: offer in, answer out.
#[utoipa::path(
    post, path = "/whip/{stream}", tag = "whip",
    params(("stream" = String, Path, description = "Name of the stream, with its slashes")),
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, description = "The answer; Location is the session, ETag that of ICE",
         body = String, content_type = "application/sdp"),
        (status = 307, description = "Publish it there: see Location"),
        (status = 400, description = "Not an offer", body = Problem),
        (status = 401, description = "A token is needed", body = Problem),
        (status = 404, description = "Not a name that may be published here", body = Problem),
        (status = 406, description = "No codec that can be passed on", body = Problem),
        (status = 409, description = "Somebody publishes this stream", body = Problem),
        (status = 413, description = "Too long", body = Problem),
        (status = 415, description = "Not application/sdp", body = Problem),
        (status = 422, description = "An offer that cannot be served", body = Problem),
        (status = 503, description = "Full, or being emptied: see Retry-After", body = Problem),
        (status = 508, description = "A relay of this node pushes its own stream", body = Problem),
    )
)]
pub(super) async fn post(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    remote: Option<Extension<Remote>>,
    request: Request,
) -> Result<Response, Problem> {
    let stream = stream_name(path)?;
    if let Some(there) = signalling::elsewhere(&site, "whip", &stream)? {
        return Ok(there);
    }
    relays::no_loop(&site, request.headers(), &stream)?;
    let remote = remote.map(|Extension(remote)| remote);
    may_publish(&site, &stream, request.headers(), remote)?;
    let offer = signalling::offer(&site, request).await?;
    if offer.is_empty() {
        return Err(no_offer());
    }
    match site.control.whip_post(stream.clone(), offer).await {
        Ok(created) => signalling::created(created),
        Err(refusal) => signalling::led_on(&site, "whip", &stream, refusal),
    }
}

/// Tells that this is an endpoint.
#[utoipa::path(
    get, path = "/whip/{stream}", tag = "whip",
    params(("stream" = String, Path, description = "Name of the stream, with its slashes")),
    responses(
        (status = 200, description = "A WHIP endpoint, empty", content_type = "application/sdp"),
        (status = 400, description = "Not a name of a stream", body = Problem),
    )
)]
pub(super) async fn look(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let stream = stream_name(path)?;
    if let Some(there) = signalling::elsewhere(&site, "whip", &stream)? {
        return Ok(there);
    }
    Ok(([(header::CONTENT_TYPE, SDP), (ACCEPT_POST, SDP)], ()).into_response())
}

/// Says what the endpoint takes; also the preflight of browsers.
#[utoipa::path(
    options, path = "/whip/{stream}", tag = "whip",
    params(("stream" = String, Path, description = "Name of the stream, with its slashes")),
    responses((status = 204, description = "Accept-Post and the headers of CORS"))
)]
pub(super) async fn options() -> Response {
    signalling::endpoint_options()
}

pub(super) fn no_offer() -> Problem {
    Problem::new(
        400,
        "no-offer",
        "The body is empty",
        "this server answers the offers of publishers and makes none",
        "send an SDP offer",
    )
}

pub(super) fn may_publish(
    site: &Site,
    stream: &StreamName,
    headers: &HeaderMap,
    remote: Option<Remote>,
) -> Result<(), Problem> {
    let caller = Caller {
        local: guard::is_local(headers, remote),
        // A passphrase proves itself over SRT alone.
        encrypted: false,
        token: guard::bearer(headers),
    };
    site.config()
        .may_publish(stream, &caller)
        .map_err(|denied| match denied {
            Denied::NotListed => Problem::new(
                404,
                "stream-not-listed",
                "There is no such stream",
                format!("nobody may publish {stream} here"),
                "choose a name that the operator has listed in the configuration",
            ),
            Denied::Token => guard::unauthorized(
                "publishing from another host needs a token",
                "send Authorization: Bearer with the token that the operator gave you",
            ),
        })
}
