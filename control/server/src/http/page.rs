//! Owns the web page: its files inside the program, and what a browser may do with them.

use super::Site;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// Nothing but our own files and our own server, no inline script, no plug-in, no foreign frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; media-src 'self' blob:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// Whom the page may ask.
const OURS: &str = "connect-src 'self'";

/// How the page says to which port publishers send; set to the real one as it is served.
const SRT_PORT: &str = "name=\"freshet-srt-port\" content=\"9000\"";

/// The page.
pub(super) async fn index(State(site): State<Site>) -> Response {
    let port = site.config().srt.listen.resolve().port();
    let here = SRT_PORT.replace("9000", &port.to_string());
    let body = include_str!("../../assets/page/index.html").replacen(SRT_PORT, &here, 1);
    let mut page = asset("text/html; charset=utf-8", body);
    // Streams that are elsewhere are watched there, and published there.
    let origins = site.config().redirect_origins().join(" ");
    if !origins.is_empty() {
        let policy = POLICY.replace(OURS, &format!("{OURS} {origins}"));
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            let headers = page.headers_mut();
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
    }
    page
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

/// What watching and publishing have in common.
pub(super) async fn session() -> Response {
    asset(
        "text/javascript; charset=utf-8",
        include_str!("../../assets/page/session.js"),
    )
}

/// Publishing.
pub(super) async fn publish() -> Response {
    asset(
        "text/javascript; charset=utf-8",
        include_str!("../../assets/page/publish.js"),
    )
}

fn asset(kind: &'static str, body: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, kind),
        // Asked for again on each visit, so that page and server are of one version.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, body).into_response()
}
