//! Owns how an error is told over HTTP: RFC 9457 problem details, with a remedy.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;

/// Why a request was not served, and what its sender can do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// The kind of problem as a URI: `urn:freshet:problem:` and a name that never changes.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:freshet:problem:stream-unknown")]
    kind: Box<str>,
    /// The kind of problem in words, the same for every occurrence.
    #[schema(value_type = String)]
    title: Cow<'static, str>,
    /// The HTTP status, 400 to 599.
    status: u16,
    /// What happened this time.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// What to do about it.
    #[schema(value_type = String)]
    remedy: Box<str>,
    /// When to try again, in seconds; also in the `Retry-After` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
    /// Where in a configuration that was sent.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Place)]
    place: Option<Box<Place>>,
    /// More headers that the status demands (`Allow`, `WWW-Authenticate`, ...).
    #[serde(skip)]
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

/// A place in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
struct Place {
    /// The line, from 1, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// The keys that are concerned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

impl Problem {
    /// A problem named `name` (lower case, hyphens) with a status of 400 to 599; another status
    /// becomes 500.
    #[must_use]
    pub fn new(
        status: u16,
        name: &str,
        title: impl Into<Cow<'static, str>>,
        detail: impl Into<Box<str>>,
        remedy: impl Into<Box<str>>,
    ) -> Self {
        let status = if (400..600).contains(&status) {
            status
        } else {
            500
        };
        Self {
            kind: format!("urn:freshet:problem:{name}").into(),
            title: title.into(),
            status,
            detail: detail.into(),
            remedy: remedy.into(),
            retry_after_s: None,
            place: None,
            headers: Vec::new(),
        }
    }

    /// Says when to try again, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Says where in a configuration.
    #[must_use]
    pub fn at(mut self, line: Option<usize>, keys: Vec<String>) -> Self {
        self.place = Some(Box::new(Place { line, keys }));
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The name of the kind of problem, without the URN in front.
    #[must_use]
    pub fn name(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    /// What happened this time.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The part that signals sessions does not answer: it restarts, or is overloaded.
    #[must_use]
    pub fn unavailable(detail: impl Into<Box<str>>) -> Self {
        Self::new(
            503,
            "unavailable",
            "The server cannot take this request now",
            detail,
            "try again shortly; streams that play are not affected",
        )
        .retry_after(1)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Strings and numbers only: serialising them cannot fail.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_all_that_rfc_9457_and_we_want() {
        let problem = Problem::new(
            409,
            "not-yet",
            "No media yet",
            "stream a has no media",
            "wait",
        )
        .retry_after(2);
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:freshet:problem:not-yet",
                "title": "No media yet",
                "status": 409,
                "detail": "stream a has no media",
                "remedy": "wait",
                "retry_after_s": 2,
            })
        );
        assert_eq!(problem.name(), "not-yet");
        let response = problem.into_response();
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }

    #[test]
    fn a_success_is_no_problem_status() {
        assert_eq!(Problem::new(200, "x", "x", "x", "x").status(), 500);
    }
}
