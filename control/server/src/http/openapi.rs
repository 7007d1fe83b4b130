//! Owns the description of the API, made from the handlers themselves.

use super::{api, config, drain, extensions, push, relays, signalling, whep, whip};
use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Freshet",
        description = "Live video: SRT, WebRTC and RTP in, WebRTC out. Errors are problem details \
                       (RFC 9457) with a remedy. Operators ask from the host itself or with a \
                       bearer token."
    ),
    paths(
        whip::post,
        whip::look,
        whip::options,
        whep::post,
        whep::look,
        whep::options,
        signalling::patch,
        signalling::delete,
        signalling::session_look,
        signalling::session_options,
        extensions::open,
        extensions::open_options,
        extensions::read,
        extensions::close,
        extensions::read_options,
        extensions::choose,
        extensions::choose_options,
        api::streams,
        api::stream,
        push::post,
        api::sessions,
        api::session,
        api::close_session,
        relays::list,
        relays::post,
        relays::look,
        relays::delete,
        api::node,
        drain::look,
        drain::begin,
        drain::take_back,
        config::look,
        config::replace,
        api::metrics,
        api::livez,
        api::readyz,
    ),
    tags(
        (name = "whip", description = "Publish: RFC 9725"),
        (name = "whep", description = "Watch: draft-ietf-wish-whep-03, and its extensions"),
        (name = "streams", description = "What is on air"),
        (name = "sessions", description = "Who publishes and who watches"),
        (name = "relays", description = "Streams fetched from other servers, and sent to them"),
        (name = "node", description = "This server"),
    )
)]
struct Api;

/// The document.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Api::openapi())
}

#[cfg(test)]
pub(super) fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
