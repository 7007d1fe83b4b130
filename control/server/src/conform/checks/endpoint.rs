//! Owns the checks of the endpoint before an offer is made, and of all answers together.

use super::Bench;
use crate::conform::client::Reply;
use crate::conform::report::Outcome;
use crate::conform::rules::{self, Rule};
use crate::media_type::{self, SDP};
use hyper::header::{self, HeaderName};
use hyper::{Method, Uri};

/// Most answers that a finding lists.
const LISTED_MAX: usize = 3;

/// CORS of the endpoint, as a browser asks before it posts an offer with a token.
pub async fn preflight(bench: &Bench) {
    let rules = [
        &rules::OPTIONS_STATUS,
        &rules::OPTIONS_CORS,
        &rules::OPTIONS_AUTHORIZATION,
        &rules::OPTIONS_ACCEPT_POST,
    ];
    let ask = bench
        .client
        .ask(Method::OPTIONS, &bench.endpoint)
        .token(None)
        .cross_origin()
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            "authorization,content-type",
        );
    let Some(reply) = bench.answered(ask.send().await, &rules) else {
        return;
    };
    bench.judge(
        &rules::OPTIONS_STATUS,
        matches!(reply.status, 200 | 204),
        reply.seen(),
        "200 or 204",
    );
    match fault_of_origin(bench, &reply) {
        Some(seen) => bench.judge(&rules::OPTIONS_CORS, false, seen, ORIGIN_EXPECTED),
        None => bench.judge(
            &rules::OPTIONS_CORS,
            lists_or_any(
                &reply,
                &header::ACCESS_CONTROL_ALLOW_HEADERS,
                "content-type",
            ),
            reply.seen_header(&header::ACCESS_CONTROL_ALLOW_HEADERS),
            "access-control-allow-headers with content-type",
        ),
    }
    // WHATWG Fetch: "*" does not stand for this one.
    bench.judge(
        &rules::OPTIONS_AUTHORIZATION,
        reply.lists(&header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization"),
        reply.seen_header(&header::ACCESS_CONTROL_ALLOW_HEADERS),
        "access-control-allow-headers with authorization",
    );
    let accept_post = HeaderName::from_static("accept-post");
    let field = reply.header(&accept_post).unwrap_or_default();
    let takes = |one: &str| media_type::of(one) == SDP;
    bench.judge(
        &rules::OPTIONS_ACCEPT_POST,
        field.split(',').any(takes),
        reply.seen_header(&accept_post),
        "accept-post: application/sdp",
    );
}

/// What comes of looking at the endpoint without an offer.
pub async fn look(bench: &Bench) {
    let get = bench.client.ask(Method::GET, &bench.endpoint).send().await;
    if let Some(reply) = bench.answered(get, &[&rules::ENDPOINT_GET]) {
        empty_2xx(bench, &rules::ENDPOINT_GET, &reply);
    }
    let head = bench.client.ask(Method::HEAD, &bench.endpoint).send().await;
    if let Some(reply) = bench.answered(head, &[&rules::ENDPOINT_HEAD]) {
        let kind = reply.seen_header(&header::CONTENT_TYPE);
        bench.judge(
            &rules::ENDPOINT_HEAD,
            reply.status == 200 && reply.media_type() == SDP,
            format!("{}, {kind}", reply.status),
            "200, content-type: application/sdp",
        );
    }
    allow_with_405(bench, &rules::ENDPOINT_ALLOW, &bench.endpoint).await;
}

/// What holds for everything that was answered.
pub fn whole(bench: &Bench) {
    let memory = bench.client.memory();
    let list = |all: Vec<&String>| {
        let more = match all.len().checked_sub(LISTED_MAX) {
            Some(more @ 1..) => format!(", and {more} more"),
            _ => String::new(),
        };
        let first: Vec<_> = all.into_iter().take(LISTED_MAX).cloned().collect();
        first.join(", ") + &more
    };
    for (rule, all, expected) in [
        (&rules::POST_REDIRECT, &memory.bad_redirects, "307 or 308"),
        (&rules::NO_SERVER_ERROR, &memory.server_errors, "2xx or 4xx"),
    ] {
        bench.judge(rule, all.is_empty(), list(all.iter().collect()), expected);
    }
    if memory.errors.is_empty() {
        return bench.skip(&[&rules::PROBLEM_DETAILS], "nothing was refused");
    }
    let bare = memory.errors.iter().filter(|(_, is_problem)| !is_problem);
    let bare: Vec<_> = bare.map(|(what, _)| what).collect();
    let (few, all) = (bare.len(), memory.errors.len());
    bench.judge(
        &rules::PROBLEM_DETAILS,
        bare.is_empty(),
        format!("{few} of {all} without: {}", list(bare)),
        "content-type: application/problem+json",
    );
}

/// What an answer without content looks like.
pub fn empty_2xx(bench: &Bench, rule: &'static Rule, reply: &Reply) {
    let seen = match (reply.is_fine(), reply.body.len()) {
        (true, bytes @ 1..) => format!("{} and {bytes} bytes", reply.status),
        _ => reply.seen(),
    };
    let good = reply.is_fine() && reply.body.is_empty();
    bench.judge(rule, good, seen, "2xx and no content");
}

/// A method that neither text knows: if it is refused with 405, the others are named.
pub async fn allow_with_405(bench: &Bench, rule: &'static Rule, url: &Uri) {
    let asked = bench.client.ask(Method::PUT, url).send().await;
    let Some(reply) = bench.answered(asked, &[rule]) else {
        return;
    };
    if reply.status != 405 {
        let how = format!("PUT was answered with {}", reply.status);
        return bench.note(rule, Outcome::Skip(how));
    }
    bench.judge(
        rule,
        reply.header(&header::ALLOW).is_some(),
        "405 without allow",
        "405 with allow and the methods that are taken",
    );
}

/// What to say when CORS does not let the page in.
pub const ORIGIN_EXPECTED: &str = "access-control-allow-origin with * or the origin \
    (if only some are let in, give one of them with --origin)";

/// Why a page of another origin could not read this answer.
pub fn fault_of_origin(bench: &Bench, reply: &Reply) -> Option<String> {
    let allowed = reply.header(&header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let fits = allowed.is_some_and(|value| value == "*" || bench.client.origin() == value.as_str());
    (!fits).then(|| reply.seen_header(&header::ACCESS_CONTROL_ALLOW_ORIGIN))
}

/// True if the field has the element, or the wildcard, which holds without cookies.
pub fn lists_or_any(reply: &Reply, name: &HeaderName, element: &str) -> bool {
    reply.lists(name, element) || reply.lists(name, "*")
}
