//! Owns the checks of PATCH: candidates, ICE restarts, and the entity-tags that keep them apart.

use super::session::OTHER_ETAG;
use super::{Bench, Session};
use crate::conform::answer::bad_credentials;
use crate::conform::client::{Reply, is_strong_etag};
use crate::conform::offer::{credentials, fragment};
use crate::conform::report::{Outcome, quoted};
use crate::conform::rules::{self, Rule};
use crate::conform::sdp::{Description, in_fragment};
use crate::media_type::FRAGMENT;
use hyper::{Method, header};
use std::collections::BTreeSet;

/// What a server without trickle ICE and without restarts says to a PATCH.
const NOT_THERE: [u16; 2] = [405, 501];

/// Patches to be refused. What they leave behind is seen by [`trickle`].
pub async fn bad_patches(bench: &Bench) {
    let all = [
        &rules::PATCH_NO_IF_MATCH,
        &rules::PATCH_WRONG_IF_MATCH,
        &rules::PATCH_CONTENT_TYPE,
        &rules::PATCH_MALFORMED,
    ];
    let Some(session) = bench.session(&all) else {
        return;
    };
    let candidates = session.offer.candidates();
    let bare = patch(bench, &session, None, &candidates).await;
    let Some(reply) = bench.answered(bare, &all) else {
        return;
    };
    if NOT_THERE.contains(&reply.status) {
        return bench.skip(&all, &unsupported(&reply));
    }
    let good = reply.status == 428;
    bench.judge(&rules::PATCH_NO_IF_MATCH, good, reply.seen(), "428");
    let other = patch(bench, &session, Some(OTHER_ETAG), &candidates).await;
    if let Some(reply) = bench.answered(other, &[&rules::PATCH_WRONG_IF_MATCH]) {
        let good = reply.status == 412;
        bench.judge(&rules::PATCH_WRONG_IF_MATCH, good, reply.seen(), "412");
    }
    let etag = session.etag.as_deref().unwrap_or("*");
    let typed = bench
        .client
        .ask(Method::PATCH, &session.url)
        .header(header::IF_MATCH, etag)
        .body("text/plain", candidates);
    if let Some(reply) = bench.answered(typed.send().await, &[&rules::PATCH_CONTENT_TYPE]) {
        let best = matches!(reply.status, 415 | 422);
        let (good, seen) = (reply.is_refusal(), reply.seen());
        bench.grade(&rules::PATCH_CONTENT_TYPE, best, good, seen, "415 or 422");
    }
    let text = "this is not a fragment of SDP";
    let malformed = patch(bench, &session, Some(etag), text).await;
    if let Some(reply) = bench.answered(malformed, &[&rules::PATCH_MALFORMED]) {
        let good = reply.is_refusal();
        bench.judge(&rules::PATCH_MALFORMED, good, reply.seen(), "4xx, best 400");
    }
}

/// New candidates.
pub async fn trickle(bench: &Bench) {
    let all = [&rules::TRICKLE_STATUS, &rules::TRICKLE_NO_ETAG];
    let Some(session) = bench.session(&all) else {
        return;
    };
    let etag = session.etag.as_deref();
    let patched = patch(bench, &session, etag, &session.offer.candidates()).await;
    let Some(reply) = bench.answered(patched, &all) else {
        return;
    };
    if NOT_THERE.contains(&reply.status) || reply.status == 422 {
        return bench.skip(&all, &unsupported(&reply));
    }
    bench.judge(
        &rules::TRICKLE_STATUS,
        reply.status == 204 && reply.body.is_empty(),
        reply.seen(),
        "204 and no content",
    );
    if reply.is_fine() {
        bench.judge(
            &rules::TRICKLE_NO_ETAG,
            reply.header(&header::ETAG).is_none(),
            reply.seen_header(&header::ETAG),
            "no etag",
        );
    }
}

/// An ICE restart, what it brings, and one that cannot be granted.
pub async fn restart(bench: &Bench) {
    let all = [
        &rules::RESTART_STATUS,
        &rules::RESTART_TYPE,
        &rules::RESTART_CREDENTIALS,
        &rules::RESTART_ETAG,
        &rules::RESTART_OPTIONS,
        &rules::RESTART_OLD_ETAG,
        &rules::RESTART_NEW_ETAG,
        &rules::RESTART_FAILED,
    ];
    let Some(mut session) = bench.session(&all) else {
        return;
    };
    let (ufrag, pwd) = credentials();
    let patched = patch(bench, &session, Some("*"), &fragment(&ufrag, &pwd)).await;
    let Some(reply) = bench.answered(patched, &all[..1]) else {
        return;
    };
    if NOT_THERE.contains(&reply.status) || reply.status == 422 {
        return bench.skip(&all, &unsupported(&reply));
    }
    let good = reply.status == 200;
    bench.judge(&rules::RESTART_STATUS, good, reply.seen(), "200, or 422");
    if !reply.is_fine() {
        return bench.skip(&all[1..], "the ICE restart did not work");
    }
    bench.judge(
        &rules::RESTART_TYPE,
        reply.media_type() == FRAGMENT,
        reply.seen_header(&header::CONTENT_TYPE),
        "content-type: application/trickle-ice-sdpfrag",
    );
    judge_fragment(bench, &session, &reply);
    let old = session.etag.clone();
    let new = reply.header(&header::ETAG);
    if old.is_none() {
        let why = "an ETag: a server that restarts ICE gives one";
        bench.judge(&rules::POST_ETAG, false, "no etag", why);
    }
    bench.judge(
        &rules::RESTART_ETAG,
        new.as_deref().is_some_and(is_strong_etag) && new != old,
        reply.seen_header(&header::ETAG),
        "a strong etag in quotes, other than before",
    );
    (session.offer.ufrag, session.offer.pwd) = (ufrag, pwd);
    session.etag = new.clone();
    bench.keep(Some(session.clone()));
    judge_etags(bench, &session, old, new).await;
    failed(bench, &session).await;
}

/// The credentials and options of an ICE restart.
fn judge_fragment(bench: &Bench, session: &Session, reply: &Reply) {
    let value = |name: &str| in_fragment(&reply.body, name);
    let (ufrag, pwd) = (value("ice-ufrag"), value("ice-pwd"));
    let Ok(answer) = Description::parse(&session.answer) else {
        let both = [&rules::RESTART_CREDENTIALS, &rules::RESTART_OPTIONS];
        return bench.skip(&both, "the answer cannot be read");
    };
    let tagged = answer.tagged();
    let before = |name: &str| tagged.and_then(|section| answer.value_for(section, name));
    let fault = bad_credentials(ufrag, pwd).or_else(|| {
        let same = |name: &str, now: Option<&str>| now.is_some() && before(name) == now;
        let stale = same("ice-ufrag", ufrag) || same("ice-pwd", pwd);
        stale.then(|| "those of the answer".to_owned())
    });
    bench.judge(
        &rules::RESTART_CREDENTIALS,
        fault.is_none(),
        fault.unwrap_or_default(),
        "new ones, of 4 to 256 and 22 to 256 ICE characters",
    );
    let of = |lite: bool, options: Option<&str>| -> BTreeSet<String> {
        let words = options.unwrap_or_default().split_ascii_whitespace();
        let options = words.map(|word| format!("ice-options:{word}"));
        options.chain(lite.then(|| "ice-lite".to_owned())).collect()
    };
    let wanted = of(before("ice-lite").is_some(), before("ice-options"));
    let seen = of(value("ice-lite").is_some(), value("ice-options"));
    let text = |set: &BTreeSet<String>| match set.is_empty() {
        true => "none".to_owned(),
        false => set.iter().cloned().collect::<Vec<_>>().join(" "),
    };
    let (good, expected) = (seen == wanted, text(&wanted));
    bench.judge(
        &rules::RESTART_OPTIONS,
        good,
        quoted(&text(&seen)),
        &expected,
    );
}

/// The old entity-tag is worth nothing now, the new one is.
async fn judge_etags(bench: &Bench, session: &Session, old: Option<String>, new: Option<String>) {
    let candidates = session.offer.candidates();
    for (rule, etag, wanted) in [
        (&rules::RESTART_OLD_ETAG, old, 412),
        (&rules::RESTART_NEW_ETAG, new, 204),
    ] {
        let Some(etag) = etag else {
            bench.skip(&[rule], "there is no such ETag");
            continue;
        };
        let patched = patch(bench, session, Some(&etag), &candidates).await;
        let Some(reply) = bench.answered(patched, &[rule]) else {
            continue;
        };
        if wanted == 204 && reply.status == 422 {
            bench.note(rule, Outcome::Skip(unsupported(&reply)));
            continue;
        }
        let good = reply.status == wanted;
        bench.judge(rule, good, reply.seen(), &wanted.to_string());
    }
}

/// A password that no ICE agent may have: the restart is refused and the session lives on.
async fn failed(bench: &Bench, session: &Session) {
    let rule: &'static Rule = &rules::RESTART_FAILED;
    let (ufrag, _) = credentials();
    let refused = patch(bench, session, Some("*"), &fragment(&ufrag, "short")).await;
    let Some(reply) = bench.answered(refused, &[rule]) else {
        return;
    };
    if !reply.is_refusal() {
        let expected = "4xx, since ice-pwd has 5 characters";
        return bench.judge(rule, false, reply.seen(), expected);
    }
    let candidates = session.offer.candidates();
    let after = patch(bench, session, session.etag.as_deref(), &candidates).await;
    if let Some(reply) = bench.answered(after, &[rule]) {
        let seen = format!("a later PATCH: {}", reply.seen());
        bench.judge(rule, !reply.is_gone(), seen, "the session as it was");
    }
}

async fn patch(
    bench: &Bench,
    session: &Session,
    if_match: Option<&str>,
    body: &str,
) -> Result<Reply, String> {
    let mut ask = bench.client.ask(Method::PATCH, &session.url).cross_origin();
    if let Some(tag) = if_match {
        ask = ask.header(header::IF_MATCH, tag);
    }
    ask.body(FRAGMENT, body).send().await
}

fn unsupported(reply: &Reply) -> String {
    format!(
        "the server does not do this: PATCH was answered with {}",
        reply.status
    )
}
