//! Owns the checks of what a session of WHEP announces beyond the standard: event streams and the
//! choice of layers (webrtc-http-egress-events).

use super::endpoint::{ORIGIN_EXPECTED, fault_of_origin};
use super::{Bench, Session};
use crate::conform::client::Reply;
use crate::conform::link::Link;
use crate::conform::offer::hex;
use crate::conform::report::{Outcome, quoted};
use crate::conform::rules::{self, Protocol, Rule};
use crate::conform::url;
use hyper::{Method, Uri, header};
use serde_json::{Value, json};
use std::time::Duration;

const JSON: &str = "application/json";
const SSE_REL: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const LAYER_REL: &str = "urn:ietf:params:whep:ext:core:layer";

/// The events that the text knows and that this build understands. Those of ad insertion are no
/// JSON, and come when there is something to insert.
const EVENTS: [&str; 5] = ["active", "inactive", "layers", "reconnect", "viewercount"];

/// How long the first events may take.
const LISTEN: Duration = Duration::from_secs(2);

const OF_SSE: [&Rule; 7] = [
    &rules::SSE_CREATED,
    &rules::SSE_UNKNOWN,
    &rules::SSE_STREAM,
    &rules::SSE_DATA,
    &rules::SSE_ACTIVE,
    &rules::SSE_CORS,
    &rules::SSE_ENDS,
];

const OF_LAYERS: [&Rule; 3] = [
    &rules::LAYER_EVENTS,
    &rules::LAYER_AUTOMATIC,
    &rules::LAYER_UNKNOWN,
];

/// What the session announces.
pub async fn check(bench: &Bench) {
    if bench.protocol != Protocol::Whep {
        return;
    }
    let Some(session) = bench.session(&[&rules::LINK_READABLE]) else {
        bench.skip(&OF_SSE, "there is no session");
        return bench.skip(&OF_LAYERS, "there is no session");
    };
    readable(bench, &session);
    let (sse, layer) = (announced(&session, SSE_REL), announced(&session, LAYER_REL));
    match &sse {
        Some((link, url)) => event_stream(bench, link, url).await,
        None => bench.skip(&OF_SSE, "no event streams are announced"),
    }
    match &layer {
        Some((_, url)) => {
            let events = sse.as_ref().and_then(|(link, _)| link.parameter("events"));
            let good = events.is_some_and(|events| list(events).any(|one| one == "layers"));
            let seen = events.map_or("no event streams, or no list of events".into(), quoted);
            bench.judge(&rules::LAYER_EVENTS, good, seen, "events=\"layers,...\"");
            layers(bench, url).await;
        }
        None => bench.skip(&OF_LAYERS, "no choice of layers is announced"),
    }
}

fn readable(bench: &Bench, session: &Session) {
    if session.links.is_empty() {
        return bench.skip(&[&rules::LINK_READABLE], "the answer has no Link");
    }
    let fault = session.links.iter().find_map(|link| match link {
        Err(text) => Some(quoted(text)),
        // Servers for ICE have URLs of their own kind.
        Ok(link) if link.has_rel("ice-server") => None,
        Ok(link) => url::resolve(&session.url, &link.target)
            .err()
            .map(|why| format!("{}: {why}", quoted(&link.target))),
    });
    bench.judge(
        &rules::LINK_READABLE,
        fault.is_none(),
        fault.unwrap_or_default(),
        "link: <URL>; rel=\"...\"",
    );
}

/// Where an extension is.
fn announced(session: &Session, rel: &str) -> Option<(Link, Uri)> {
    let mut links = session.links.iter().flatten();
    let link = links.find(|link| link.has_rel(rel))?;
    let url = url::resolve(&session.url, &link.target).ok()?;
    Some((link.clone(), url))
}

async fn event_stream(bench: &Bench, link: &Link, url: &Uri) {
    let unknown = format!("conform-{}", hex(4));
    let asked = post(bench, url, &json!([unknown])).await;
    if let Some(reply) = bench.answered(asked, &[&rules::SSE_UNKNOWN]) {
        let (best, good) = (reply.status == 400, reply.is_refusal());
        bench.grade(&rules::SSE_UNKNOWN, best, good, reply.seen(), "400");
    }
    let events = link.parameter("events").unwrap_or_default();
    let wanted: Vec<_> = list(events).filter(|one| EVENTS.contains(one)).collect();
    let asked = match events.is_empty() {
        // The list is an option; so is the body then.
        true => {
            bench
                .client
                .ask(Method::POST, url)
                .cross_origin()
                .send()
                .await
        }
        false => post(bench, url, &json!(wanted)).await,
    };
    let Some(made) = bench.answered(asked, &[&rules::SSE_CREATED]) else {
        return;
    };
    let location = made.location().and_then(Result::ok);
    bench.judge(
        &rules::SSE_CREATED,
        made.status == 201 && location.is_some(),
        format!("{}, {}", made.seen(), made.seen_header(&header::LOCATION)),
        "201, location with a URL",
    );
    let Some(stream) = location else {
        let rest = [OF_SSE[2], OF_SSE[3], OF_SSE[4], OF_SSE[5], OF_SSE[6]];
        return bench.skip(&rest, "there is no event stream");
    };
    let get = || {
        let ask = bench.client.ask(Method::GET, &stream).cross_origin();
        ask.header(header::ACCEPT, "text/event-stream")
            .listen(LISTEN)
    };
    if let Some(reply) = bench.answered(get().send().await, &[&rules::SSE_STREAM]) {
        told(
            bench,
            &reply,
            wanted.contains(&"active") || events.is_empty(),
        );
        let fault = fault_of_origin(bench, &made).or_else(|| fault_of_origin(bench, &reply));
        let good = fault.is_none();
        bench.judge(
            &rules::SSE_CORS,
            good,
            fault.unwrap_or_default(),
            ORIGIN_EXPECTED,
        );
    }
    let deleted = bench.client.ask(Method::DELETE, &stream).send().await;
    let Some(deleted) = bench.answered(deleted, &[&rules::SSE_ENDS]) else {
        return;
    };
    if let Some(after) = bench.answered(get().send().await, &[&rules::SSE_ENDS]) {
        let seen = format!("DELETE: {}, GET: {}", deleted.status, after.status);
        let good = deleted.is_fine() && after.is_gone();
        bench.judge(&rules::SSE_ENDS, good, seen, "2xx, then 404");
    }
}

/// What came of an event stream.
fn told(bench: &Bench, reply: &Reply, active: bool) {
    bench.judge(
        &rules::SSE_STREAM,
        reply.status == 200 && reply.media_type() == "text/event-stream",
        format!(
            "{}, {}",
            reply.status,
            reply.seen_header(&header::CONTENT_TYPE)
        ),
        "200, content-type: text/event-stream",
    );
    let text = reply.body.replace("\r\n", "\n");
    // What is not whole yet has no empty line after it.
    let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    let events: Vec<_> = whole.split("\n\n").filter_map(event).collect();
    if events.is_empty() {
        let why = format!("no event came within {} s", LISTEN.as_secs());
        bench.skip(&[&rules::SSE_DATA], &why);
    } else {
        let bad = events
            .iter()
            .find(|(_, data)| data.len() != 1 || serde_json::from_str::<Value>(data[0]).is_err());
        let seen = bad.map(|(name, data)| format!("{name}: {}", quoted(&data.join("\n"))));
        let good = seen.is_none();
        bench.judge(
            &rules::SSE_DATA,
            good,
            seen.unwrap_or_default(),
            "data: {...}",
        );
    }
    if !active {
        return bench.skip(&[&rules::SSE_ACTIVE], "the event active is not announced");
    }
    let names: Vec<_> = events.iter().map(|(name, _)| *name).collect();
    let seen = format!("events: {}", names.join(", "));
    bench.judge(
        &rules::SSE_ACTIVE,
        names.contains(&"active"),
        seen,
        "event: active",
    );
}

/// Name and lines of data of an event; `None` for comments and the like.
fn event(block: &str) -> Option<(&str, Vec<&str>)> {
    let field = |line: &'static str| {
        let lines = block.lines().filter_map(move |one| one.strip_prefix(line));
        lines.map(|value| value.strip_prefix(' ').unwrap_or(value))
    };
    let name = field("event:").next()?;
    Some((name, field("data:").collect()))
}

async fn layers(bench: &Bench, url: &Uri) {
    let other = format!("conform-{}", hex(4));
    let asked = post(bench, url, &json!({ "rid": other })).await;
    if let Some(reply) = bench.answered(asked, &[&rules::LAYER_UNKNOWN]) {
        let good = reply.is_refusal();
        bench.judge(
            &rules::LAYER_UNKNOWN,
            good,
            reply.seen(),
            "404, or another 4xx",
        );
    }
    let asked = post(bench, url, &json!({})).await;
    let Some(reply) = bench.answered(asked, &[&rules::LAYER_AUTOMATIC]) else {
        return;
    };
    if reply.status == 404 || reply.status == 409 {
        let how = format!("{}: is there a video in the session?", reply.status);
        return bench.note(&rules::LAYER_AUTOMATIC, Outcome::Info(how));
    }
    let (best, good) = (reply.status == 200, reply.is_fine());
    bench.grade(&rules::LAYER_AUTOMATIC, best, good, reply.seen(), "200");
}

async fn post(bench: &Bench, url: &Uri, body: &Value) -> Result<Reply, String> {
    let ask = bench.client.ask(Method::POST, url).cross_origin();
    ask.body(JSON, body.to_string()).send().await
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_comments() {
        let block = "id: 1\nevent: viewercount\ndata:{\"viewercount\":3}";
        assert_eq!(
            event(block),
            Some(("viewercount", vec!["{\"viewercount\":3}"]))
        );
        assert_eq!(event(":"), None);
        assert_eq!(event("retry: 1000"), None);
    }
}
