//! Owns the checks of a session as a resource: looking at it, ending it, and two of them.

use super::Bench;
use super::endpoint::{allow_with_405, empty_2xx, fault_of_origin, lists_or_any};
use crate::conform::offer::{Offer, Variant};
use crate::conform::report::Outcome;
use crate::conform::rules;
use crate::media_type::FRAGMENT;
use hyper::{Method, header};

/// An entity-tag that no server gives.
pub const OTHER_ETAG: &str = "\"conform-nonesuch\"";

/// What comes of looking at the session.
pub async fn look(bench: &Bench) {
    let rules = [
        &rules::SESSION_GET,
        &rules::SESSION_HEAD,
        &rules::SESSION_OPTIONS,
        &rules::SESSION_ALLOW,
    ];
    let Some(session) = bench.session(&rules) else {
        return;
    };
    let get = bench.client.ask(Method::GET, &session.url).send().await;
    let get = bench.answered(get, &[&rules::SESSION_GET]);
    if let Some(reply) = &get {
        empty_2xx(bench, &rules::SESSION_GET, reply);
    }
    let head = bench.client.ask(Method::HEAD, &session.url).send().await;
    if let Some(reply) = bench.answered(head, &[&rules::SESSION_HEAD]) {
        let wanted = get.map_or(204, |get| get.status);
        let good = reply.status == wanted;
        bench.judge(
            &rules::SESSION_HEAD,
            good,
            reply.seen(),
            &wanted.to_string(),
        );
    }
    let options = bench
        .client
        .ask(Method::OPTIONS, &session.url)
        .token(None)
        .cross_origin()
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "PATCH")
        .header(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            "authorization,content-type,if-match",
        );
    if let Some(reply) = bench.answered(options.send().await, &[&rules::SESSION_OPTIONS]) {
        let (methods, fields) = (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
        );
        let missing = [
            ("PATCH", &methods),
            ("DELETE", &methods),
            ("if-match", &fields),
        ]
        .into_iter()
        .find(|(what, name)| !lists_or_any(&reply, name, what));
        let fault = match (matches!(reply.status, 200 | 204), missing) {
            (false, _) => Some(reply.seen()),
            (true, Some((_, name))) => Some(reply.seen_header(name)),
            (true, None) => fault_of_origin(bench, &reply),
        };
        bench.judge(
            &rules::SESSION_OPTIONS,
            fault.is_none(),
            fault.unwrap_or_default(),
            "200 or 204, and access-control-allow with the origin, PATCH, DELETE and if-match",
        );
    }
    allow_with_405(bench, &rules::SESSION_ALLOW, &session.url).await;
}

/// The end of the session, and what is left of it.
pub async fn delete(bench: &Bench) {
    let rules = [
        &rules::DELETE_STATUS,
        &rules::DELETE_ETAG,
        &rules::DELETE_AGAIN,
        &rules::DELETE_GONE,
    ];
    let Some(session) = bench.session(&rules) else {
        return;
    };
    bench.keep(None);
    let delete = || bench.client.ask(Method::DELETE, &session.url);
    let marked = delete().header(header::IF_MATCH, OTHER_ETAG).send().await;
    let Some(mut reply) = bench.answered(marked, &rules) else {
        return;
    };
    let worked = reply.is_fine();
    let expected = "200 or 204, as without If-Match";
    bench.judge(&rules::DELETE_ETAG, worked, reply.seen(), expected);
    if !worked {
        match bench.answered(delete().send().await, &[&rules::DELETE_STATUS]) {
            Some(plain) => reply = plain,
            None => return,
        }
    }
    let best = matches!(reply.status, 200 | 204);
    bench.grade(
        &rules::DELETE_STATUS,
        best,
        reply.is_fine(),
        reply.seen(),
        "200 or 204",
    );
    if !reply.is_fine() {
        let after = [&rules::DELETE_AGAIN, &rules::DELETE_GONE];
        return bench.skip(&after, "the session could not be deleted");
    }
    if let Some(again) = bench.answered(delete().send().await, &[&rules::DELETE_AGAIN]) {
        let good = again.is_gone();
        bench.judge(&rules::DELETE_AGAIN, good, again.seen(), "404 or 410");
    }
    let etag = session.etag.as_deref().unwrap_or(OTHER_ETAG);
    let patch = bench
        .client
        .ask(Method::PATCH, &session.url)
        .header(header::IF_MATCH, etag)
        .body(FRAGMENT, session.offer.candidates());
    if let Some(patched) = bench.answered(patch.send().await, &[&rules::DELETE_GONE]) {
        bench.grade(
            &rules::DELETE_GONE,
            patched.is_gone(),
            patched.is_refusal(),
            patched.seen(),
            "404 or 410",
        );
    }
}

/// Two sessions of the same stream at once.
pub async fn two(bench: &Bench) {
    let first = Offer::new(bench.protocol, Variant::Plain);
    let posted = bench.post_patiently(&first).await;
    let first = posted
        .ok()
        .and_then(|reply| bench.session_of(first, &reply));
    let Some(first) = first else {
        let both = [&rules::SECOND_POST, &rules::SESSIONS_DIFFER];
        return bench.skip(&both, "there is no first session");
    };
    let second = Offer::new(bench.protocol, Variant::Plain);
    let posted = bench.post(&second).await;
    if let Some(reply) = bench.answered(posted, &[&rules::SECOND_POST, &rules::SESSIONS_DIFFER]) {
        let how = match bench.session_of(second, &reply) {
            None => format!("it is refused with {}", reply.status),
            Some(second) => {
                let look = bench.client.ask(Method::GET, &first.url).send().await;
                bench.close(&second.url).await;
                match look.is_ok_and(|reply| reply.is_gone()) {
                    true => "it takes over: the first session has ended".to_owned(),
                    false => "it is let in, and the first session stays".to_owned(),
                }
            }
        };
        bench.note(&rules::SECOND_POST, Outcome::Info(how));
        bench.sessions_must_differ();
    }
    bench.close(&first.url).await;
}
