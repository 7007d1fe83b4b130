//! What goes beside the media goes from node to node as well: both ends name it alike.

use super::calls::{CLIENT, INTO, SERVER, World};
use crate::StreamDescription;
use crate::tests::world::STREAM;
use link::command::{AUDIO, AddPublisher, AddViewer, TrackIn, TrackOut, VIDEO};
use link::elements::{AUDIO_LEVEL, CAPTURE_TIME, DESCRIPTOR};
use wire::time::Span;

const AV1: &str = include_str!("../../../../tests/corpus/sdp/chromium_whip_av1.sdp");
const SOUND: &str = include_str!("../../../../tests/corpus/sdp/chromium_whip.sdp");

/// AV1 with descriptors, and times of capture.
fn picture() -> String {
    let time = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
    assert!(!AV1.contains(time));
    AV1.replace(
        "a=rtcp-mux\r\n",
        &format!("a=extmap:9 {time}\r\na=rtcp-mux\r\n"),
    )
}

/// Sound with redundancy before Opus.
fn sound() -> String {
    let at = SOUND.find("m=audio").unwrap();
    let end = at + SOUND[at..].find("\r\n").unwrap();
    let types = SOUND[at..end]
        .replace(" 63", "")
        .replacen("SAVPF ", "SAVPF 63 ", 1);
    format!("{}{types}{}", &SOUND[..at], &SOUND[end..])
}

/// A stream of this offer at a node.
fn publish(world: &mut World, node: usize, offer: &str) {
    world.open(node, StreamDescription::default());
    let sessions = &mut world.nodes[node].sessions;
    let published = sessions.whip_post(world.now, STREAM, offer, true).unwrap();
    sessions.stream_described(world.now, STREAM, published.description);
}

fn pulled(offer: &str) -> (AddViewer, AddPublisher) {
    let mut world = World::new(5);
    publish(&mut world, SERVER, offer);
    let client = &mut world.nodes[CLIENT].sessions;
    client.stream_opened("edge/demo", INTO);
    let call = client.pull_offer(world.now).unwrap();
    let server = &mut world.nodes[SERVER].sessions;
    let created = server.whep_post(world.now, "live/demo", &call.offer, None);
    let answer = created.unwrap().answer;
    let client = &mut world.nodes[CLIENT].sessions;
    let id = call.id.as_str();
    client
        .pull_answered(world.now, id, INTO, &answer, false)
        .unwrap();
    world.run(Span::secs(1));
    (
        *world.added(SERVER).unwrap(),
        *world.published(CLIENT).unwrap(),
    )
}

fn pushed(offer: &str) -> (AddViewer, AddPublisher) {
    let mut world = World::new(6);
    publish(&mut world, CLIENT, offer);
    world.nodes[SERVER].sessions.stream_opened("in", INTO);
    let client = &mut world.nodes[CLIENT].sessions;
    let call = client.push_offer(world.now, "live/demo").unwrap();
    let server = &mut world.nodes[SERVER].sessions;
    let published = server.whip_post(world.now, INTO, &call.offer, false);
    let answer = published.unwrap().created.answer;
    let client = &mut world.nodes[CLIENT].sessions;
    client
        .push_answered(world.now, call.id.as_str(), &answer)
        .unwrap();
    world.run(Span::secs(1));
    (
        *world.added(CLIENT).unwrap(),
        *world.published(SERVER).unwrap(),
    )
}

/// Under the same identifiers at both ends.
fn agree(out: &TrackOut, into: &TrackIn) {
    assert_eq!(out.elements, into.elements);
    assert_eq!(out.red_payload_type, into.red_payload_type);
    assert_eq!(out.payload_type, into.payload_type);
}

#[test]
fn descriptors_and_times_go_from_node_to_node() {
    for relayed in [pulled, pushed] {
        let (out, into) = relayed(&picture());
        agree(&out.tracks[VIDEO], &into.lanes[VIDEO]);
        let elements = into.lanes[VIDEO].elements;
        assert!(elements[DESCRIPTOR] != 0 && elements[CAPTURE_TIME] != 0);
    }
}

#[test]
fn levels_and_redundancy_go_from_node_to_node() {
    for relayed in [pulled, pushed] {
        let (out, into) = relayed(&sound());
        agree(&out.tracks[AUDIO], &into.lanes[AUDIO]);
        assert!(into.lanes[AUDIO].elements[AUDIO_LEVEL] != 0);
        assert!(into.lanes[AUDIO].red_payload_type != 0);
        let (out, into) = relayed(SOUND);
        agree(&out.tracks[AUDIO], &into.lanes[AUDIO]);
        assert_eq!(into.lanes[AUDIO].red_payload_type, 0, "nobody has it");
    }
}
