//! Owns the endpoint of pushes: servers that send plain RTP, or SRTP with told keys.

use super::signalling::{self, header_value, stream_name};
use super::{Remote, Site, guard, not_allowed, whip};
use crate::control::{Given, Origins, PushPost, StreamName};
use crate::media_type::SDP;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// What a path ends with that is a push's, after the name of its stream.
const SUFFIX: &str = "/push";

/// The route, in the words of the list of routes. The router has no pattern for it, since names
/// have slashes: it is served by that of streams.
pub(super) const ROUTE: &str = "/v1/streams/{*name}/push";

/// The methods of such a path; GET is for a stream whose name ends like that.
pub(super) const ALLOW: &str = "GET, HEAD, POST";

/// Where packets come from, when the description does not say it.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PushQuery {
    /// Where all packets come from: `IP:PORT`, `[IPv6]:PORT`, or `PORT` of the asker's address.
    from: Option<String>,
    /// The same for video alone.
    video_from: Option<String>,
    /// The same for audio alone.
    audio_from: Option<String>,
}

/// Lets a server push plain RTP, or SRTP with its keys in the description (RFC 4568). DELETE of the
/// Location ends it.
#[utoipa::path(
    post, path = "/v1/streams/{name}/push", tag = "streams",
    params(
        ("name" = String, Path, description = "Name of the stream, with its slashes"),
        PushQuery,
    ),
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, description = "Where to send; Location is the push",
         body = String, content_type = "application/sdp"),
        (status = 400, description = "Not a description, or not such a query", body = Problem),
        (status = 401, description = "A token is needed", body = Problem),
        (status = 404, description = "Not a name that may be published here", body = Problem),
        (status = 406, description = "No codec that can be passed on", body = Problem),
        (status = 409, description = "Somebody publishes this stream, or sends from this address",
         body = Problem),
        (status = 413, description = "Too long", body = Problem),
        (status = 415, description = "Not application/sdp", body = Problem),
        (status = 421, description = "The stream is at another node", body = Problem),
        (status = 422, description = "A description that cannot be served", body = Problem),
        (status = 503, description = "Full, or being emptied: see Retry-After", body = Problem),
    )
)]
pub(super) async fn post(
    State(site): State<Site>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<PushQuery>, QueryRejection>,
    remote: Option<Extension<Remote>>,
    request: Request,
) -> Result<Response, Problem> {
    let name = match path {
        Ok(Path(text)) => match text.strip_suffix(SUFFIX) {
            Some(name) => Ok(Path(name.to_owned())),
            None => return Err(not_allowed(allow(&text))),
        },
        Err(rejection) => Err(rejection),
    };
    let stream = stream_name(name)?;
    if let Some(url) = site.config().redirect("whip", &stream) {
        return Err(elsewhere(&stream, &url));
    }
    let remote = remote.map(|Extension(remote)| remote);
    whip::may_publish(&site, &stream, request.headers(), remote)?;
    let Query(query) = query.map_err(|rejection| bad_query(rejection.body_text()))?;
    let origins = Origins {
        // A proxy is not who sends.
        asker: remote
            .filter(|_| !guard::is_proxied(request.headers()))
            .map(|Remote(at)| at.ip().to_canonical()),
        given: given(&query)?,
    };
    let offer = signalling::offer(&site, request).await?;
    if offer.is_empty() {
        return Err(whip::no_offer());
    }
    let post = PushPost {
        stream,
        offer,
        origins,
    };
    let created = site.control.push_post(post).await?;
    let mut response = (StatusCode::CREATED, created.answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let location = header_value(&format!("/session/{}", created.id))?;
    headers.insert(header::LOCATION, location);
    Ok(response)
}

/// The methods of the path of a stream, or of its push.
pub(super) fn allow(path: &str) -> &'static str {
    match path.ends_with(SUFFIX) {
        true => ALLOW,
        false => "GET, HEAD",
    }
}

/// By track.
fn given(query: &PushQuery) -> Result<[Option<Given>; 2], Problem> {
    let read = |name: &str, own: &Option<String>| {
        let Some(text) = own.as_ref().or(query.from.as_ref()) else {
            return Ok(None);
        };
        let given = text.parse::<Given>();
        let bad = |error| bad_query(format!("{name}={text}: {error}"));
        given.map(Some).map_err(bad)
    };
    Ok([
        read("video_from", &query.video_from)?,
        read("audio_from", &query.audio_from)?,
    ])
}

fn elsewhere(stream: &StreamName, url: &str) -> Problem {
    Problem::new(
        421,
        "stream-elsewhere",
        "The stream is at another node",
        format!("{stream} is published at {url}"),
        "push it to that node, by its own API",
    )
}

fn bad_query(what: String) -> Problem {
    Problem::new(
        400,
        "bad-query",
        "The query cannot be read",
        what,
        "from, video_from and audio_from are known, each IP:PORT, [IPv6]:PORT or PORT",
    )
}
