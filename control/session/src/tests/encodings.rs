//! A node that sends another every encoding of a stream: what is offered, taken and sent.

use super::calls::{CLIENT, CORE, INTO, SERVER, World};
use crate::tests::world::STREAM;
use crate::{Call, Cause, Holder, Sessions, StreamDescription};
use link::command::{AUDIO, AddViewer, Command, Hears, Rid, VIDEO};
use link::event::{Event, Gone};
use link::ids::ViewerId;
use link::lanes::LAYERS;
use std::collections::BTreeSet;
use wire::time::Span;

const SIMULCAST: &str = include_str!("../../../../tests/corpus/sdp/chromium_whip_simulcast.sdp");
const ONE: &str = include_str!("../../../../tests/corpus/sdp/chromium_whip.sdp");

/// A stream of three encodings at the client, whom nobody has asked for it.
fn published(offer: &str) -> World {
    let mut world = World::new(11);
    world.open(CLIENT, StreamDescription::default());
    let client = &mut world.nodes[CLIENT].sessions;
    let published = client.whip_post(world.now, STREAM, offer, false).unwrap();
    client.stream_described(world.now, STREAM, published.description);
    world.nodes[SERVER].sessions.stream_opened("in", INTO);
    world
}

fn offered(world: &mut World) -> Call {
    let client = &mut world.nodes[CLIENT].sessions;
    client.push_offer(world.now, "live/demo").unwrap()
}

/// The server answers this offer; gives the text.
fn answered(world: &mut World, offer: &str) -> String {
    let server = &mut world.nodes[SERVER].sessions;
    let published = server.whip_post(world.now, INTO, offer, true).unwrap();
    published.created.answer
}

fn take(world: &mut World, call: &Call, answer: &str) {
    let client = &mut world.nodes[CLIENT].sessions;
    client
        .push_answered(world.now, call.id.as_str(), answer)
        .unwrap();
}

fn added(world: &World) -> Vec<AddViewer> {
    let all = world.nodes[CLIENT].commands.iter();
    all.filter_map(|command| match command {
        Command::AddViewer(add) if add.tracks[VIDEO].clock_hz != 0 => Some(*add),
        _ => None,
    })
    .collect()
}

fn pushed(answer_as: impl Fn(&str) -> String) -> (World, Call) {
    let mut world = published(SIMULCAST);
    let call = offered(&mut world);
    let answer = answered(&mut world, &call.offer);
    take(&mut world, &call, &answer_as(&answer));
    world.run(Span::millis(1500));
    (world, call)
}

#[test]
fn every_encoding_is_offered_by_its_name_and_sent_from_its_lane() {
    let (world, call) = pushed(str::to_owned);
    for wanted in [
        "a=rid:q send\r\n",
        "a=rid:h send\r\n",
        "a=rid:f send\r\n",
        "a=simulcast:send q;h;f\r\n",
        "urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n",
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n",
    ] {
        assert!(call.offer.contains(wanted), "{wanted} in {}", call.offer);
    }
    let video = &call.offer[call.offer.find("m=video").unwrap()..];
    let video = &video[..video.find("m=audio").unwrap_or(video.len())];
    assert!(!video.contains("a=ssrc"), "{video}");
    let adds = added(&world);
    assert_eq!(adds.len(), 3);
    let into = world.published(SERVER).unwrap();
    let names = [b"q", b"h", b"f"];
    let mut sources = BTreeSet::new();
    for ((add, lane), name) in adds.iter().zip(LAYERS).zip(names) {
        let one = add.encoding.unwrap();
        assert_eq!((one.leader, usize::from(one.lane)), (call.viewer, lane));
        assert_eq!(into.lanes[lane].rid, Rid::new(name).unwrap());
        assert_eq!(add.keys.send.key, into.keys.receive.key);
        let track = &add.tracks[VIDEO];
        assert_eq!(track.payload_type, into.lanes[lane].payload_type);
        assert_eq!(track.rtx_payload_type, into.lanes[lane].rtx_payload_type);
        assert!(sources.insert(track.ssrc) && sources.insert(track.rtx_ssrc));
        assert_eq!((track.transport_cc_at, add.rtcp_first_index), (0, 1));
        // The tag, then the name: where the command says that it is.
        let at = usize::from(track.name_at);
        let head = track.ext[at];
        assert_eq!((head >> 4, track.ext[at + 1]), (into.rid_id, name[0]));
        assert_eq!(track.repaired_rid_id, into.repaired_rid_id);
    }
    assert!(adds[0].tracks[AUDIO].clock_hz != 0 && sources.insert(adds[0].tracks[AUDIO].ssrc));
    assert!(adds[1..].iter().all(|add| add.tracks[AUDIO].clock_hz == 0));
    let sessions = &world.nodes[CLIENT].sessions;
    let view = sessions.session_view(call.id.as_str()).unwrap();
    assert_eq!(view.encodings, ["q", "h", "f"]);
    assert_eq!(view.parts, [adds[1].viewer, adds[2].viewer]);
    assert_eq!(sessions.stream_views().next().unwrap().viewers, 1);
}

#[test]
fn what_the_answer_leaves_out_is_not_sent() {
    let names_of = |world: &World, call: &Call| {
        let view = world.nodes[CLIENT].sessions.session_view(call.id.as_str());
        view.unwrap().encodings
    };
    for (recv, names) in [
        ("a=simulcast:recv f;q", &["f", "q"][..]),
        ("a=simulcast:recv h", &["h"]),
        ("a=simulcast:recv ~q;h;unknown;h,f", &["h"]),
        // As if it knew nothing of them: it gets the best that its way carries, unnamed.
        ("a=simulcast:recv ~q;~f", &[]),
        ("a=x", &[]),
    ] {
        let change = |text: &str| text.replace("a=simulcast:recv q;h;f", recv);
        let (world, call) = pushed(change);
        assert_eq!(names_of(&world, &call), names, "{recv}");
        let adds = added(&world);
        assert_eq!(adds.len(), names.len().max(1), "{recv}");
        assert_eq!(adds[0].encoding.is_some(), !names.is_empty());
        assert_eq!(adds[0].tracks[VIDEO].name_at != 0, !names.is_empty());
    }
    // Without the extension nobody could tell them apart.
    let strip = |text: &str| text.replace("sdes:rtp-stream-id", "sdes:other");
    let (world, call) = pushed(strip);
    assert!(names_of(&world, &call).is_empty());
    let track = added(&world)[0].tracks[VIDEO];
    assert!(track.transport_cc_at != 0, "and its way is found out");
    let heard = [Hears::TRANSPORT_CC, Hears::BY_SOURCE].map(|kind| track.hears.has(kind));
    assert_eq!(heard, [true, false], "the worker hears what was negotiated");
}

#[test]
fn a_stream_of_one_encoding_is_offered_as_before() {
    let mut world = published(ONE);
    let call = offered(&mut world);
    assert!(!call.offer.contains("simulcast") && call.offer.contains("a=ssrc"));
    let answer = answered(&mut world, &call.offer);
    take(&mut world, &call, &answer);
    world.run(Span::millis(1500));
    assert!(added(&world)[0].encoding.is_none());
    // Then a publisher of three comes: what was offered is not what there is.
    let client = &mut world.nodes[CLIENT].sessions;
    client
        .whip_post(world.now, STREAM, SIMULCAST, true)
        .unwrap();
    world.run(Span::millis(10));
    let closed = &world.nodes[CLIENT].closed;
    assert!(closed.contains(&(Some(call.viewer), Cause::FormatChanged)));
}

#[test]
fn all_encodings_end_with_one_and_leave_nothing() {
    let (mut world, call) = pushed(str::to_owned);
    let adds = added(&world);
    let parts: Vec<ViewerId> = adds[1..].iter().map(|add| add.viewer).collect();
    let now = world.now;
    // The worker has everything; one that it does not hold any more is a loss of all.
    let held = |gone: Option<ViewerId>| {
        move |viewer| match gone == Some(viewer) {
            true => Holder::Nobody,
            false => Holder::Core(CORE),
        }
    };
    world.nodes[CLIENT].sessions.audit(now, held(None));
    assert_eq!(world.nodes[CLIENT].sessions.session_count(), 2);
    world.nodes[CLIENT]
        .sessions
        .audit(now, held(Some(parts[1])));
    world.run(Span::millis(10));
    assert_eq!(
        world.nodes[CLIENT].closed,
        [(Some(call.viewer), Cause::Lost)]
    );
    let removed =
        |command: &Command| matches!(command, Command::RemoveViewer(v) if *v == call.viewer);
    assert!(world.nodes[CLIENT].commands.iter().any(removed));

    let (mut world, call) = pushed(str::to_owned);
    let part = added(&world)[2].viewer;
    let gone = Event::ViewerGone(part, Gone::KeyWornOut);
    world.nodes[CLIENT].sessions.event(now, CORE, gone);
    world.run(Span::millis(10));
    assert_eq!(
        world.nodes[CLIENT].closed,
        [(Some(call.viewer), Cause::KeyWornOut)]
    );
    let (mut world, call) = pushed(str::to_owned);
    let part = added(&world)[1].viewer;
    let refused = Event::ViewerRefused(part);
    world.nodes[CLIENT].sessions.event(now, CORE, refused);
    world.run(Span::millis(10));
    assert_eq!(
        world.nodes[CLIENT].closed,
        [(Some(call.viewer), Cause::Refused)]
    );
}

#[test]
fn a_worker_that_has_forgotten_them_gets_all_of_them_from_the_leases_on() {
    let (mut world, call) = pushed(str::to_owned);
    let before = added(&world);
    world.nodes[CLIENT].commands.clear();
    let now = world.now;
    let leases = |index: u32| [1, 2, 3, 4, 5].map(|n| u64::from(index) * 1000 + 70_000 + n);
    let client = &mut world.nodes[CLIENT].sessions;
    client.worker_restarted(now, CORE, leases);
    world.run(Span::millis(10));
    let after = added(&world);
    assert_eq!(after.len(), 3);
    for (old, new) in before.iter().zip(&after) {
        let base = u64::from(new.viewer.index) * 1000 + 70_000;
        let track = &new.tracks[VIDEO];
        assert_eq!(new.viewer, old.viewer);
        assert_eq!(track.ssrc, old.tracks[VIDEO].ssrc);
        assert_eq!(
            (track.first_index, track.rtx_first_index),
            (base + 1, base + 2)
        );
        assert_eq!(new.rtcp_first_index, base + 5);
    }
    assert_eq!(after[0].viewer, call.viewer, "the leader first");
}

/// A publisher that has lost its way comes back, and viewers come meanwhile.
#[test]
fn who_comes_between_two_publishers_negotiates_what_the_last_one_sent() {
    const VIEWER: &str = include_str!("../../../../tests/corpus/sdp/chromium_whep.sdp");
    let hears = |publishers: &str| {
        let mut world = World::new(12);
        world.open(CLIENT, StreamDescription::default());
        let (now, client) = (world.now, &mut world.nodes[CLIENT].sessions);
        let published = client.whip_post(now, STREAM, publishers, false).unwrap();
        client.stream_described(now, STREAM, published.description);
        let watch = |client: &mut Sessions| {
            let watching = client.whep_post(now, "live/demo", VIEWER, None);
            let answer = watching.unwrap().answer;
            ["ccfb", "transport-cc"].map(|feedback| answer.contains(feedback))
        };
        let live = watch(client);
        client.delete(now, published.created.id.as_str()).unwrap();
        (live, watch(client))
    };
    let (live, between) = hears(SIMULCAST);
    assert_eq!(live, between);
    assert_ne!(live, [false; 2]);
    assert_eq!(hears(ONE), ([false; 2], [false; 2]));
}
