//! Owns who may do what over HTTP: trust by address, tokens, and other origins (CORS).

use super::{Remote, Site};
use crate::config::{Auth, Secret};
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;

/// Headers that a proxy adds: what comes with one is not from this host, whatever the address says.
const PROXY_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// What a page of another origin may read of an answer.
const EXPOSED: &str = "Location, Link, ETag, Accept-Patch, Accept-Post, Retry-After";

/// Seconds that a browser may remember a preflight. 7,200 is the most that Chromium takes.
const PREFLIGHT_S: &str = "7200";

/// True for an operator: somebody on this host, or with an admin token.
pub(super) fn is_operator(headers: &HeaderMap, remote: Option<Remote>, auth: &Auth) -> bool {
    let known = |given: &str| {
        auth.admin_tokens
            .iter()
            .any(|token: &Secret| token.matches(given))
    };
    bearer(headers).is_some_and(known) || is_local(headers, remote)
}

/// Who asks, as a handler is told.
pub(super) type Caller = Option<Extension<Remote>>;

/// Refuses whoever is no operator.
pub(super) fn operator_only(
    site: &Site,
    headers: &HeaderMap,
    remote: Caller,
) -> Result<(), Problem> {
    if is_operator(headers, remote.map(|e| e.0), &site.config().auth) {
        return Ok(());
    }
    Err(unauthorized(
        "this part of the API is for operators",
        "ask from this host itself, or send Authorization: Bearer with one of auth.admin_tokens",
    ))
}

/// 401 with what RFC 6750 section 3 demands.
pub(super) fn unauthorized(detail: &str, remedy: &str) -> Problem {
    Problem::new(401, "token-needed", "A token is needed", detail, remedy).header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"freshet\""),
    )
}

/// The token of `Authorization: Bearer` (RFC 6750 section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// From this very host? Not if a proxy stands between, nor if a page of another site makes the
/// browser ask, be it under a name of its own that it has bound to 127.0.0.1 (DNS rebinding).
pub(super) fn is_local(headers: &HeaderMap, remote: Option<Remote>) -> bool {
    let loopback = remote.is_some_and(|Remote(at)| at.ip().to_canonical().is_loopback());
    let foreign = headers
        .get(HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| site != "same-origin" && site != "none");
    let host = headers.get(header::HOST);
    let local_name = host.is_none_or(|host| host.to_str().is_ok_and(names_loopback));
    loopback && !is_proxied(headers) && !foreign && local_name
}

/// A proxy stands between.
pub(super) fn is_proxied(headers: &HeaderMap) -> bool {
    PROXY_HEADERS.iter().any(|name| headers.contains_key(*name))
}

fn names_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Lets pages of the configured origins call WHEP (WHATWG Fetch, CORS protocol).
pub(super) async fn cors(State(site): State<Site>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    let config = site.config();
    let allowed = &config.http.allowed_origins;
    let any = allowed.iter().any(|one| one == "*");
    let headers = response.headers_mut();
    if !any {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let fits = |o: &HeaderValue| allowed.iter().any(|one| one.as_bytes() == o.as_bytes());
    let Some(origin) = origin.filter(|o| any || fits(o)) else {
        return response;
    };
    // No credentials are ever read from cookies, so "*" gives nothing away.
    let allow = if any {
        HeaderValue::from_static("*")
    } else {
        origin
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allow);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED),
    );
    if preflight {
        if let Some(methods) = headers.get(header::ALLOW).cloned() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        for (name, value) in [
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Authorization, Content-Type, If-Match",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_S),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(host: &str, at: &str, more: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for (name, value) in more {
            headers.insert(*name, value.parse().unwrap());
        }
        is_local(&headers, Some(Remote(at.parse().unwrap())))
    }

    #[test]
    fn only_this_host_is_local() {
        assert!(local("127.0.0.1:8080", "127.0.0.1:5", &[]));
        assert!(local("localhost", "[::1]:5", &[]));
        assert!(local("[::1]:8080", "[::ffff:127.0.0.1]:5", &[]));
        assert!(local(
            "localhost:1",
            "127.0.0.1:5",
            &[("sec-fetch-site", "same-origin")]
        ));
        assert!(!local("127.0.0.1", "192.0.2.1:5", &[]));
        assert!(!local("evil.example", "127.0.0.1:5", &[]), "DNS rebinding");
        assert!(!local("127.0.0.1.evil.example", "127.0.0.1:5", &[]));
        assert!(!local(
            "localhost",
            "127.0.0.1:5",
            &[("x-forwarded-for", "192.0.2.1")]
        ));
        assert!(!local(
            "localhost",
            "127.0.0.1:5",
            &[("sec-fetch-site", "cross-site")]
        ));
        assert!(!is_local(&HeaderMap::new(), None));
    }

    #[test]
    fn a_bearer_token_is_found() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            bearer(&headers).map(str::to_string)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc").as_deref(), Some("abc"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("Bearer"), None);
    }
}
