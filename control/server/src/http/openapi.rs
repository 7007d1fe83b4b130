//! Owns the description of the API, made from the handlers themselves.

use super::{api, whep};
use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Freshet",
        description = "Live video: SRT in, WebRTC out. Errors are problem details (RFC 9457) with \
                       a remedy. Operators ask from the host itself or with a bearer token."
    ),
    paths(
        whep::post,
        whep::look,
        whep::endpoint_options,
        whep::patch,
        whep::delete,
        whep::session_look,
        whep::session_options,
        api::streams,
        api::stream,
        api::sessions,
        api::session,
        api::close_session,
        api::node,
        api::metrics,
        api::livez,
        api::readyz,
    ),
    tags(
        (name = "whep", description = "Watch: RFC 9725 and draft-ietf-wish-whep-03"),
        (name = "streams", description = "What is on air"),
        (name = "sessions", description = "Who watches"),
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
