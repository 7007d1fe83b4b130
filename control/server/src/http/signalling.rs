//! Owns what WHIP and WHEP have in common over HTTP: offers in, answers out, and the session that
//! they make (RFC 9725 section 4).

use super::{Site, body_text, media_type};
use crate::control::{BadName, Created, Patch, Patched, StreamName};
use crate::drain::DRAINING;
use crate::media_type::{FRAGMENT, SDP};
use crate::problem::Problem;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Longest id of a session that is worth asking the driver about.
const ID_BYTES_MAX: usize = 64;

pub(super) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// The offer of a POST, which may be empty, if the rest of the request is as it should be.
pub(super) async fn offer(site: &Site, request: Request) -> Result<String, Problem> {
    content_must_be(&request, SDP)?;
    sdp_must_be_accepted(&request)?;
    body_text(site, request).await
}

/// What a POST is answered with when it has made a session.
pub(super) fn created(created: Created) -> Result<Response, Problem> {
    //= https://www.rfc-editor.org/rfc/rfc9725#section-4.2
    //# The WHIP endpoint MUST return a "201 Created" response with a Location header field
    //# pointing to the newly created WHIP session.
    let mut response = (StatusCode::CREATED, created.answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    locate(headers, &created.id, &created.etag)?;
    Ok(response)
}

/// Tells where a new session is.
pub(super) fn locate(headers: &mut HeaderMap, id: &str, etag: &str) -> Result<(), Problem> {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::LOCATION, header_value(&format!("/session/{id}"))?);
    headers.insert(header::ETAG, header_value(etag)?);
    Ok(())
}

/// Where the streams of this name are, if not here: RFC 9725 section 4.5 and
/// draft-ietf-wish-whep-03 section 4.6 want 307, so that what is posted here is posted there.
pub(super) fn elsewhere(
    site: &Site,
    protocol: &str,
    stream: &StreamName,
) -> Result<Option<Response>, Problem> {
    let url = site.config().redirect(protocol, stream);
    url.map(|url| there(&url)).transpose()
}

/// What a newcomer is answered who was refused: if that is because this node drains, and there is a
/// peer, the way to that.
pub(super) fn led_on(
    site: &Site,
    protocol: &str,
    stream: &StreamName,
    refusal: Problem,
) -> Result<Response, Problem> {
    let peer = site.config().peer(protocol, stream);
    match peer.filter(|_| refusal.name() == DRAINING) {
        Some(url) => there(&url),
        None => Err(refusal),
    }
}

fn there(url: &str) -> Result<Response, Problem> {
    let location = [(header::LOCATION, header_value(url)?)];
    Ok((StatusCode::TEMPORARY_REDIRECT, location).into_response())
}

/// What an endpoint takes; also the preflight of browsers.
pub(super) fn endpoint_options() -> Response {
    let headers = [
        (header::ALLOW, "OPTIONS, GET, HEAD, POST"),
        (ACCEPT_POST, SDP),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Trickles candidates, restarts ICE, or answers a counter-offer of WHEP, which is application/sdp
/// and needs no If-Match.
#[utoipa::path(
    patch, path = "/session/{id}", tag = "sessions",
    params(
        ("id" = String, Path, description = "Id of the session, from Location"),
        ("If-Match" = Option<String>, Header,
         description = "The ETag of the ICE session; \"*\" to restart ICE"),
    ),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses(
        (status = 200, description = "ICE restarts: our fragment and a new ETag",
         body = String, content_type = "application/trickle-ice-sdpfrag"),
        (status = 204, description = "Taken note of"),
        (status = 400, description = "Not a fragment, or not an answer", body = Problem),
        (status = 404, description = "No such session", body = Problem),
        (status = 409, description = "The answer to the counter-offer comes first", body = Problem),
        (status = 412, description = "Another ICE session than If-Match says", body = Problem),
        (status = 415, description = "Not a fragment by its type", body = Problem),
        (status = 422, description = "A fragment that cannot be served", body = Problem),
        (status = 428, description = "If-Match is missing", body = Problem),
    )
)]
pub(super) async fn patch(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let id = session_id(path)?;
    let takes = |problem: Problem| problem.header(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    let answers = content_must_be(&request, SDP).is_ok();
    if !answers {
        content_must_be(&request, FRAGMENT).map_err(takes)?;
    }
    let if_match = match request.headers().get(header::IF_MATCH) {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| bad_if_match())?.to_string()),
    };
    let body = body_text(&site, request).await?;
    let patched = match answers {
        true => site.control.patch(id, if_match, Patch::Answer(body)).await,
        false => {
            site.control
                .patch(id, if_match, Patch::Fragment(body))
                .await
        }
    };
    match patched.map_err(takes)? {
        Patched::Trickled | Patched::Answered => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted { fragment, etag } => {
            let etag = header_value(&etag)?;
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT)),
                (header::ETAG, etag),
            ];
            Ok((headers, fragment).into_response())
        }
    }
}

/// Ends the session. Entity-tags do not matter here (RFC 9725 section 4.2).
#[utoipa::path(
    delete, path = "/session/{id}", tag = "sessions",
    params(("id" = String, Path, description = "Id of the session, from Location")),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, description = "No such session", body = Problem),
    )
)]
pub(super) async fn delete(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    site.control.delete(session_id(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells whether the session is there.
#[utoipa::path(
    get, path = "/session/{id}", tag = "sessions",
    params(("id" = String, Path, description = "Id of the session, from Location")),
    responses(
        (status = 204, description = "It is"),
        (status = 404, description = "No such session", body = Problem),
    )
)]
pub(super) async fn session_look(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    site.control.session(session_id(path)?).await?;
    Ok((StatusCode::NO_CONTENT, [(ACCEPT_PATCH, FRAGMENT)]).into_response())
}

/// Says what a session takes; also the preflight of browsers.
#[utoipa::path(
    options, path = "/session/{id}", tag = "sessions",
    params(("id" = String, Path, description = "Id of the session, from Location")),
    responses((status = 204, description = "Accept-Patch and the headers of CORS"))
)]
pub(super) async fn session_options() -> Response {
    let allow = "OPTIONS, GET, HEAD, PATCH, DELETE";
    let headers = [(header::ALLOW, allow), (ACCEPT_PATCH, FRAGMENT)];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// The name of a stream in a path.
pub(super) fn stream_name(
    path: Result<Path<String>, PathRejection>,
) -> Result<StreamName, Problem> {
    let bad = |what: String| {
        Problem::new(
            400,
            "bad-stream-name",
            "This is not a name of a stream",
            what,
            "use one to four parts of A-Z a-z 0-9 . _ - with '/' between them",
        )
    };
    let Path(text) = path.map_err(|rejection| bad(rejection.body_text()))?;
    text.parse()
        .map_err(|error: BadName| bad(error.to_string()))
}

/// The id of a session in a path. What cannot be one is simply not there.
pub(super) fn session_id(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let possible = |id: &String| {
        let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        id.len() <= ID_BYTES_MAX && id.bytes().all(known)
    };
    path.ok()
        .map(|Path(id)| id)
        .filter(possible)
        .ok_or_else(unknown_session)
}

/// Nothing is there.
pub(super) fn unknown_session() -> Problem {
    Problem::new(
        404,
        "session-unknown",
        "There is no such session",
        "no session has this id",
        "it may have ended: open a new one by POST to /whip/STREAM or /whep/STREAM",
    )
}

fn content_must_be(request: &Request, wanted: &str) -> Result<(), Problem> {
    let plain = !request.headers().contains_key(header::CONTENT_ENCODING);
    let given = media_type(request, header::CONTENT_TYPE);
    if plain && given.as_deref() == Some(wanted) {
        return Ok(());
    }
    Err(Problem::new(
        415,
        "wrong-content-type",
        "The body is of another type than this path takes",
        format!("the type is {}", given.as_deref().unwrap_or("not given")),
        format!("send Content-Type: {wanted}, without Content-Encoding"),
    )
    .header(ACCEPT_POST, HeaderValue::from_static(SDP)))
}

/// RFC 9110 section 12.5.1, as far as one type of answer needs it.
fn sdp_must_be_accepted(request: &Request) -> Result<(), Problem> {
    let mut accepts = request.headers().get_all(header::ACCEPT).iter().peekable();
    let takes = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        matches!(&kind[..], "*/*" | "application/*" | SDP) && !refused
    };
    let none_given = accepts.peek().is_none();
    if none_given || accepts.any(|v| v.to_str().is_ok_and(|text| text.split(',').any(takes))) {
        return Ok(());
    }
    Err(Problem::new(
        406,
        "sdp-not-accepted",
        "The answer would be of a type that is not accepted",
        "the answer to an offer is application/sdp",
        "send Accept: application/sdp, or no Accept at all",
    ))
}

fn bad_if_match() -> Problem {
    Problem::new(
        400,
        "bad-if-match",
        "The entity-tag cannot be read",
        "If-Match has characters that no tag of ours has",
        "send the ETag of the answer as it came, with its quotes",
    )
}

pub(super) fn header_value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text)
        .map_err(|_| Problem::unavailable("the answer has a part that no header can carry"))
}
