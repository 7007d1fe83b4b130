//! Owns the web page: three files inside the program, and what a browser may do with them.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

/// Nothing but our own files and our own server, no inline script, no plug-in, no foreign frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; media-src 'self' blob:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'self'";

/// The page.
pub(super) async fn index() -> Response {
    asset(
        "text/html; charset=utf-8",
        include_str!("../../assets/page/index.html"),
    )
}

/// Its looks.
pub(super) async fn style() -> Response {
    asset(
        "text/css; charset=utf-8",
        include_str!("../../assets/page/style.css"),
    )
}

/// Its behaviour.
pub(super) async fn script() -> Response {
    asset(
        "text/javascript; charset=utf-8",
        include_str!("../../assets/page/app.js"),
    )
}

fn asset(kind: &'static str, body: &'static str) -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, kind),
        // Asked for again on each visit, so that page and server are of one version.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, body).into_response()
}
