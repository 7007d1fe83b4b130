//! Owns the checks of POST: what must be refused, what must be answered, and how.

use super::endpoint::{ORIGIN_EXPECTED, fault_of_origin, lists_or_any};
use super::{Bench, Session};
use crate::conform::answer::examine;
use crate::conform::client::{Reply, is_strong_etag};
use crate::conform::offer::{Offer, Variant, hex};
use crate::conform::report::{Outcome, quoted};
use crate::conform::rules::{self, Protocol, Rule};
use crate::conform::sdp::Description;
use crate::conform::url::sibling;
use crate::media_type::SDP;
use hyper::{Method, header};

/// Offers that are none.
pub async fn bad_offers(bench: &Bench) {
    let post = || {
        bench
            .client
            .ask(Method::POST, &bench.endpoint)
            .cross_origin()
    };
    let offer = Offer::new(bench.protocol, Variant::Plain).text;
    let typed = post().body("text/plain", offer).send().await;
    if let Some(reply) = bench.answered(typed, &[&rules::POST_CONTENT_TYPE]) {
        bench.grade(
            &rules::POST_CONTENT_TYPE,
            reply.status == 415,
            reply.is_refusal(),
            reply.seen(),
            "415",
        );
    }
    for (rule, body) in [
        (&rules::POST_GARBAGE, "this is not a session description"),
        (&rules::POST_EMPTY, ""),
    ] {
        let asked = post().body(SDP, body).send().await;
        if let Some(reply) = bench.answered(asked, &[rule]) {
            bench.judge(rule, reply.is_refusal(), reply.seen(), "4xx, best 400");
        }
    }
}

/// A stream that nobody has ever published.
pub async fn unknown_stream(bench: &Bench) {
    let rule = &rules::POST_UNKNOWN_STREAM;
    if !rule.holds_for(bench.protocol) {
        return;
    }
    let Some(url) = sibling(&bench.endpoint, &format!("conform-{}", hex(6))) else {
        return bench.skip(&[rule], "the URL has no segment to change");
    };
    let offer = Offer::new(bench.protocol, Variant::Plain);
    let ask = bench.client.ask(Method::POST, &url).body(SDP, offer.text);
    let Some(reply) = bench.answered(ask.send().await, &[rule]) else {
        return;
    };
    let later = reply.header(&header::RETRY_AFTER).is_some();
    let seen = match (reply.status, later) {
        (409, false) => "409 without retry-after".to_owned(),
        _ => reply.seen(),
    };
    let good = reply.is_gone() || (reply.status == 409 && later);
    bench.judge(rule, good, seen, "404, or 409 with retry-after");
}

/// With another token, and with none.
pub async fn token(bench: &Bench) {
    let both = [&rules::POST_TOKEN, &rules::POST_WRONG_TOKEN];
    if !bench.client.has_token() {
        return bench.skip(&both, "no --token was given");
    }
    let other = format!("conform-{}", hex(16));
    for (rule, token) in both.into_iter().zip([None, Some(&other[..])]) {
        let offer = Offer::new(bench.protocol, Variant::Plain);
        let ask = bench.client.ask(Method::POST, &bench.endpoint);
        let asked = ask.token(token).body(SDP, offer.text).send().await;
        let Some(reply) = bench.answered(asked, &[rule]) else {
            continue;
        };
        if token.is_some() {
            let good = matches!(reply.status, 401 | 403);
            bench.judge(rule, good, reply.seen(), "401 or 403");
            continue;
        }
        let challenge = reply.seen_header(&header::WWW_AUTHENTICATE);
        bench.judge(
            rule,
            reply.status == 401 && reply.header(&header::WWW_AUTHENTICATE).is_some(),
            format!("{}, {challenge}", reply.status),
            "401, www-authenticate: Bearer",
        );
    }
}

/// A good offer.
pub async fn offer(bench: &Bench) {
    let offer = Offer::new(bench.protocol, Variant::Plain);
    let posted = bench.post_patiently(&offer).await;
    let Some(reply) = bench.answered(posted, &[&rules::POST_CREATED]) else {
        return;
    };
    if bench.protocol == Protocol::Whep && reply.status == 406 && reply.media_type() == SDP {
        let how = "406: the server makes a counter-offer, which this build does not answer";
        return bench.note(&rules::POST_CREATED, Outcome::Info(how.into()));
    }
    let created = reply.status == 201;
    bench.judge(&rules::POST_CREATED, created, reply.seen(), "201");
    if !reply.is_fine() {
        return;
    }
    bench.judge(
        &rules::POST_ANSWER_TYPE,
        reply.media_type() == SDP,
        reply.seen_header(&header::CONTENT_TYPE),
        "content-type: application/sdp",
    );
    let location = match reply.location() {
        None => Err("no location".to_owned()),
        Some(location) => location,
    };
    bench.judge(
        &rules::POST_LOCATION,
        location.is_ok(),
        location.err().unwrap_or_default(),
        "location with a URL, absolute or relative",
    );
    match reply.header(&header::ETAG) {
        None => bench.skip(&[&rules::POST_ETAG], "the answer has no ETag"),
        Some(etag) => bench.judge(
            &rules::POST_ETAG,
            is_strong_etag(&etag),
            format!("etag: {}", quoted(&etag)),
            "etag: \"...\", with the quotes and without W/",
        ),
    }
    exposed(bench, &reply);
    bench.add(examine(bench.protocol, &offer.text, &reply.body));
    bench.keep(bench.session_of(offer, &reply));
}

/// What a page needs to read of the answer.
fn exposed(bench: &Bench, reply: &Reply) {
    if let Some(seen) = fault_of_origin(bench, reply) {
        return bench.judge(&rules::POST_EXPOSED, false, seen, ORIGIN_EXPECTED);
    }
    let needed = [header::LOCATION, header::ETAG, header::LINK];
    let mut there = needed.iter().filter(|name| reply.header(name).is_some());
    let hidden = there
        .find(|name| !lists_or_any(reply, &header::ACCESS_CONTROL_EXPOSE_HEADERS, name.as_str()));
    bench.judge(
        &rules::POST_EXPOSED,
        hidden.is_none(),
        reply.seen_header(&header::ACCESS_CONTROL_EXPOSE_HEADERS),
        "access-control-expose-headers with location, and with etag and link if they are there",
    );
}

/// Good offers that are unusual.
pub async fn variants(bench: &Bench) {
    if bench.protocol == Protocol::Whip {
        setup_active(bench).await;
        two_videos(bench).await;
    }
    unknown_codec(bench).await;
}

async fn setup_active(bench: &Bench) {
    let rule = &rules::POST_SETUP_ACTIVE;
    let Some((reply, session)) = made(bench, Variant::Active, rule).await else {
        return;
    };
    let Some(session) = session else {
        let (best, good) = (matches!(reply.status, 400 | 422), reply.is_refusal());
        return bench.grade(rule, best, good, reply.seen(), "422 or 400");
    };
    let findings = examine(bench.protocol, &session.offer.text, &session.answer);
    let setup = findings
        .into_iter()
        .find(|one| one.rule == &rules::ANSWER_SETUP);
    let outcome = setup.map_or(Outcome::Skip("the answer cannot be read".into()), |one| {
        one.outcome
    });
    bench.note(rule, outcome);
}

async fn two_videos(bench: &Bench) {
    let rule = &rules::POST_TWO_VIDEOS;
    let Some((reply, session)) = made(bench, Variant::TwoVideos, rule).await else {
        return;
    };
    let Some(session) = session else {
        let (best, good) = (matches!(reply.status, 400 | 422), reply.is_refusal());
        return bench.grade(rule, best, good, reply.seen(), "422 or 400");
    };
    let taken = Description::parse(&session.answer).map_or(0, |answer| answer.taken().count());
    match taken {
        3.. => bench.note(rule, Outcome::Info("the server takes two videos".into())),
        _ => bench.judge(
            rule,
            false,
            format!("{}, and {taken} of 3 m-lines are taken", reply.status),
            "422 or 400, or all of them",
        ),
    }
}

/// One m-line of two that no server can take.
async fn unknown_codec(bench: &Bench) {
    let rule = &rules::POST_UNKNOWN_CODEC;
    let Some((reply, session)) = made(bench, Variant::UnknownAudio, rule).await else {
        return;
    };
    let Some(session) = session else {
        // Not a must, and a client does not look closer than at 4xx (section 4.1).
        return bench.judge(rule, reply.is_refusal(), reply.seen(), "422 or 400");
    };
    let findings = examine(bench.protocol, &session.offer.text, &session.answer);
    let about_it = [&rules::ANSWER_REJECTED, &rules::ANSWER_PAYLOAD];
    let its = findings
        .into_iter()
        .filter(|one| about_it.contains(&one.rule));
    bench.add(its);
    let seen = format!("{}: one of two m-lines is as good as nothing", reply.status);
    bench.judge(rule, false, seen, "422 or 400");
}

/// Posts such an offer and ends the session that came of it, if one did.
async fn made(
    bench: &Bench,
    variant: Variant,
    rule: &'static Rule,
) -> Option<(Reply, Option<Session>)> {
    let offer = Offer::new(bench.protocol, variant);
    let reply = bench.answered(bench.post_patiently(&offer).await, &[rule])?;
    let session = bench.session_of(offer, &reply);
    if let Some(session) = &session {
        bench.close(&session.url).await;
    }
    Some((reply, session))
}
