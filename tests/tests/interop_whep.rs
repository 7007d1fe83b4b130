//! What viewers may do beyond watching: events of a stream that comes and goes, a choice of layers,
//! an offer of the server's own, and a stream that is on another node.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::SocketAddr;
use std::time::Duration;

use freshet_tests::browser::Browser;
use freshet_tests::events::EventStream;
use freshet_tests::http::{self, Answer};
use freshet_tests::publish::{ffmpeg_whip, have_ffmpeg_whip};
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, have, wait_until};
use freshet_tests::webdriver::Chromium;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);

/// What an encoder that was asked to stop may take to say so.
const FAREWELL: Duration = Duration::from_secs(5);

fn post(to: SocketAddr, path: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    http::request(to, "POST", path, &headers, body.to_string().as_bytes()).unwrap()
}

/// The event stream of a session, from its beginning, and where it is.
fn listen(to: SocketAddr, session: &str, kinds: &Value) -> (EventStream, String) {
    let made = post(to, &format!("{session}/sse"), kinds);
    assert_eq!(made.status, 201, "{}", made.text());
    let location = made.header("location").unwrap().to_owned();
    (EventStream::open(to, &location).unwrap(), location)
}

fn deletes(to: SocketAddr, path: &str) -> u16 {
    http::request(to, "DELETE", path, &[], b"").unwrap().status
}

#[test]
fn events_tell_of_a_publisher_that_comes_and_goes() {
    let _turn = alone();
    if !have_ffmpeg_whip() {
        return;
    }
    let server = Server::start(Setup::default());
    let url = server.url("/whip/come");
    let publish = || ffmpeg_whip(&url, &[], server.folder());
    let mut first = publish();
    server.wait_live("come");
    let mut crowd = Crowd::joined(server.http, "come", 1, PATIENCE);
    let session = crowd.sessions()[0].location().to_owned();
    let watch = crowd.watch();
    let all = json!(["active", "inactive", "layers", "reconnect", "viewercount"]);
    let (mut events, _) = listen(server.http, &session, &all);
    assert_eq!(events.next(), Some(("active".into(), json!({}))));
    let layers = events.wait("layers");
    assert_eq!(layers["0"]["active"][0]["encodingId"], "0", "{layers}");
    assert_eq!(events.wait("viewercount"), json!({ "viewercount": 1 }));

    let second = Crowd::joined(server.http, "come", 1, PATIENCE);
    assert_eq!(events.wait("viewercount"), json!({ "viewercount": 2 }));
    second.leave();
    assert_eq!(events.wait("viewercount"), json!({ "viewercount": 1 }));

    first.terminate();
    assert!(first.wait(FAREWELL).success(), "{}", first.output());
    events.wait("inactive");
    let second = publish();
    events.wait("active");
    let layers = events.wait("layers");
    assert_eq!(layers["0"]["layers"][0]["rid"], "0", "{layers}");

    // The viewer leaves, and its event stream is over.
    assert_eq!(deletes(server.http, &session), 204);
    for (name, _) in events {
        assert_ne!(name, "reconnect", "it was the viewer who left");
    }
    drop(second);
    drop(watch.stop());
    server.must_be_unharmed();
}

#[test]
fn a_viewer_has_one_event_stream_and_chooses_its_layer() {
    let server = Server::demo();
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", 1, PATIENCE);
    let session = crowd.sessions()[0].location().to_owned();
    let watch = crowd.watch();
    let some = json!(["viewercount", "layers"]);
    let (mut first, _) = listen(server.http, &session, &some);
    let mut layer = Value::Null;
    // The rate of a stream that has just begun is not known yet.
    while layer["bitrate"].is_null() {
        layer = first.wait("layers")["0"]["active"][0].clone();
        assert!(layer["width"].as_u64() > Some(600), "{layer}");
    }
    assert!(layer["bitrate"].as_u64() > Some(100_000), "{layer}");

    // Another event stream takes the place of the first.
    let (mut second, location) = listen(server.http, &session, &some);
    while first.next().is_some() {}
    second.wait("layers");
    // So does another reader of the same one: the network of the first may be gone.
    let mut third = EventStream::open(server.http, &location).unwrap();
    while second.next().is_some() {}
    third.wait("viewercount");
    assert_eq!(deletes(server.http, &location), 204);
    assert!(third.next().is_none());
    let gone = EventStream::open(server.http, &location).unwrap_err();
    assert!(gone.starts_with("http/1.1 404"), "{gone}");

    let layer = format!("{session}/layer");
    let chosen = |wish: Value| {
        let status = post(server.http, &layer, &wish).status;
        let id = session.rsplit('/').next().unwrap();
        let view = server.get(&format!("/v1/sessions/{id}")).json();
        (status, view["layer"].clone())
    };
    assert_eq!(
        chosen(json!({ "mediaId": "0", "encodingId": "0" })),
        (200, json!("0"))
    );
    assert_eq!(chosen(json!({ "encodingId": "h" })), (404, json!("0")));
    assert_eq!(
        chosen(json!({ "mediaId": "1", "encodingId": "0" })),
        (404, json!("0"))
    );
    assert_eq!(chosen(json!({})), (200, Value::Null));
    assert_eq!(chosen(json!({ "maxHeight": 100_000 })), (200, json!("0")));
    drop(watch.stop());
    server.must_be_unharmed();
}

/// Plays by an offer of the server's, after one with a codec that the stream does not have. Gives
/// what was answered and what came first of the events. Argument: address of the endpoint.
const PLAY_COUNTERED: &str = "
    const [url] = arguments;
    document.body.innerHTML = '<video autoplay muted playsinline></video>';
    const video = document.querySelector('video');
    const pc = new RTCPeerConnection();
    window.pc = pc;
    const stream = new MediaStream();
    pc.ontrack = event => stream.addTrack(event.track);
    video.srcObject = stream;
    const transceiver = pc.addTransceiver('video', { direction: 'recvonly' });
    const { codecs } = RTCRtpReceiver.getCapabilities('video');
    transceiver.setCodecPreferences(codecs.filter(c => c.mimeType === 'video/VP8'));
    await pc.setLocalDescription(await pc.createOffer());
    const type = 'application/sdp';
    const posted = await fetch(url, {
        method: 'POST', headers: { 'Content-Type': type }, body: pc.localDescription.sdp });
    const offer = await posted.text();
    if (posted.status !== 406) throw new Error(posted.status + ' ' + offer);
    await pc.setLocalDescription({ type: 'rollback' });
    await pc.setRemoteDescription({ type: 'offer', sdp: offer });
    await pc.setLocalDescription(await pc.createAnswer());
    const session = new URL(posted.headers.get('Location'), url).href;
    const patched = await fetch(session, {
        method: 'PATCH', headers: { 'Content-Type': type }, body: pc.localDescription.sdp });
    const why = await patched.text();
    const made = await fetch(session + '/sse', { method: 'POST' });
    const source = new EventSource(new URL(made.headers.get('Location'), url).href);
    const first = await new Promise((resolve, reject) => {
        source.addEventListener('active', event => resolve(event.data));
        source.onerror = () => reject(new Error('no events'));
    });
    source.close();
    return { patched: patched.status, why, first, links: posted.headers.get('Link') };";

#[test]
fn chromium_plays_by_the_offer_of_the_server() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver"]) {
        return;
    }
    let server = Server::demo();
    server.wait_live("demo");
    let mut browser = Chromium::start();
    browser.open(&server.url("/?stream=nothing-here")).unwrap();
    let played = browser.run(PLAY_COUNTERED, &[json!(server.url("/whep/demo"))]);
    assert_eq!(played["patched"], 204, "{played}");
    assert_eq!(played["first"], "{}", "{played}");
    assert!(
        played["links"].as_str().unwrap().contains("core:layer"),
        "{played}"
    );
    let picture = browser.must_show_a_moving_picture();
    assert!(picture.width >= 640, "{picture:?}");
    let sound = browser.stats("inbound-rtp", "audio");
    assert!(sound["packetsReceived"].as_u64() > Some(0), "{sound}");
    server.must_be_unharmed();
}

#[test]
fn a_stream_that_is_elsewhere_is_played_from_there() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver"]) {
        return;
    }
    let there = Server::demo();
    there.wait_live("demo");
    let here = Server::start(Setup {
        toml: format!(
            "[[stream]]\nname = \"demo\"\nredirect = \"{}\"\n",
            there.url("/{protocol}/{stream}")
        ),
        ..Setup::default()
    });
    let mut browser = Chromium::start();
    browser.watch(&here, "demo");
    browser.must_show_a_moving_picture();
    assert_eq!(there.stream("demo")["viewers"], 1);
    assert_eq!(here.stream("demo"), Value::Null);
    browser.open("about:blank").unwrap();
    wait_until("the session there to end", PATIENCE, || {
        there.stream("demo")["viewers"] == 0
    });
    here.must_be_unharmed();
    there.must_be_unharmed();
}
