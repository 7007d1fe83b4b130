//! Browsers send AV1 in temporal layers, levels and times of capture, and sound with redundancy:
//! others are passed what they take of it, by another node.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::time::Duration;

use freshet_tests::browser::Browser;
use freshet_tests::server::{Server, Setup};
use freshet_tests::wait::{alone, have, wait_for};
use freshet_tests::webdriver::Chromium;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);

/// Publishes a moving picture as AV1 of two temporal layers and a tone with redundancy, with the
/// header extensions that browsers do not offer by themselves. Argument: the endpoint's address.
const PUBLISH: &str = "
    const canvas = document.createElement('canvas');
    canvas.width = 320; canvas.height = 180;
    const context = canvas.getContext('2d');
    let at = 0;
    window.drawing = setInterval(() => {
        at += 1;
        context.fillStyle = `hsl(${at * 5 % 360} 80% 50%)`;
        context.fillRect(0, 0, 320, 180);
        context.fillStyle = 'black';
        context.fillRect(at * 7 % 300, 40, 30, 90);
    }, 1000 / 30);
    const video = canvas.captureStream(30).getVideoTracks()[0];
    const sound = new AudioContext();
    const tone = sound.createOscillator();
    const out = sound.createMediaStreamDestination();
    tone.connect(out); tone.start();
    const pc = new RTCPeerConnection();
    window.pc = pc;
    const every = transceiver => transceiver.setHeaderExtensionsToNegotiate(
        transceiver.getHeaderExtensionsToNegotiate().map(one => ({
            ...one, direction: /abs-capture-time|dependency-descriptor/.test(one.uri)
                ? 'sendrecv' : one.direction })));
    const media = new MediaStream([video, ...out.stream.getTracks()]);
    const v = pc.addTransceiver(video, { direction: 'sendonly', streams: [media],
        sendEncodings: [{ scalabilityMode: 'L1T2' }] });
    const a = pc.addTransceiver(media.getAudioTracks()[0],
        { direction: 'sendonly', streams: [media] });
    const codecs = (kind, ...names) => names.flatMap(name => RTCRtpSender.getCapabilities(kind)
        .codecs.filter(codec => codec.mimeType.toLowerCase() === name));
    v.setCodecPreferences(codecs('video', 'video/av1', 'video/rtx'));
    a.setCodecPreferences(codecs('audio', 'audio/red', 'audio/opus'));
    every(v); every(a);
    await pc.setLocalDescription();
    const response = await fetch(arguments[0], { method: 'POST',
        headers: { 'Content-Type': 'application/sdp' }, body: pc.localDescription.sdp });
    const answer = await response.text();
    if (response.status !== 201) throw new Error(response.status + ' ' + answer);
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });
    return { offer: pc.localDescription.sdp, answer };";

/// Plays by two connections in one page: `all` takes those extensions and redundancy, `plain` what
/// browsers take by themselves, and no redundancy.
const WATCH: &str = "
    window.players = {};
    for (const name of ['all', 'plain']) {
        const pc = new RTCPeerConnection();
        const video = document.createElement('video');
        video.autoplay = video.muted = video.playsInline = true;
        document.body.append(video);
        const stream = new MediaStream();
        pc.ontrack = event => stream.addTrack(event.track);
        video.srcObject = stream;
        const a = pc.addTransceiver('audio', { direction: 'recvonly' });
        const v = pc.addTransceiver('video', { direction: 'recvonly' });
        if (name === 'all') {
            for (const one of [a, v]) one.setHeaderExtensionsToNegotiate(
                one.getHeaderExtensionsToNegotiate().map(one => ({ ...one,
                    direction: /abs-capture-time|dependency-descriptor/.test(one.uri)
                        ? 'sendrecv' : one.direction })));
        } else {
            const opus = RTCRtpReceiver.getCapabilities('audio').codecs;
            a.setCodecPreferences(opus.filter(one => one.mimeType === 'audio/opus'));
        }
        await pc.setLocalDescription();
        const response = await fetch(arguments[0], { method: 'POST',
            headers: { 'Content-Type': 'application/sdp' }, body: pc.localDescription.sdp });
        const answer = await response.text();
        if (response.status !== 201) throw new Error(response.status + ' ' + answer);
        await pc.setRemoteDescription({ type: 'answer', sdp: answer });
        const session = new URL(response.headers.get('Location'), arguments[0]).href;
        window.players[name] = { pc, video, answer, session };
    }
    return window.players.all.answer;";

/// What each player received up to now.
const LOOK: &str = "
    const seen = {};
    for (const [name, { pc, video, answer }] of Object.entries(window.players)) {
        const one = seen[name] = { width: video.videoWidth };
        const reports = [...(await pc.getStats()).values()];
        for (const report of reports.filter(one => one.type === 'inbound-rtp')) {
            const codec = reports.find(other => other.id === report.codecId);
            const { framesDecoded, framesReceived, framesDropped, freezeCount, keyFramesDecoded,
                packetsReceived, bytesReceived, pliCount } = report;
            one[report.kind] = { codec: codec && codec.mimeType, framesDecoded, framesReceived,
                framesDropped, freezeCount, keyFramesDecoded, packetsReceived, bytesReceived,
                pliCount };
        }
        for (const receiver of pc.getReceivers()) {
            const [source] = receiver.getSynchronizationSources();
            const kind = receiver.track.kind;
            if (source && one[kind]) Object.assign(one[kind], { level: source.audioLevel,
                captured: source.captureTimestamp, timestamp: source.timestamp });
        }
        one.descriptor = answer.includes('dependency-descriptor');
    }
    return JSON.parse(JSON.stringify(seen));";

/// Leaves temporal layers out of what both players get.
const PIN: &str = "
    for (const { session } of Object.values(window.players)) {
        const response = await fetch(session + '/layer', { method: 'POST',
            headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(arguments[0]) });
        if (!response.ok) throw new Error(response.status + ' ' + await response.text());
    }
    return true;";

fn number(seen: &Value, player: &str, kind: &str, name: &str) -> f64 {
    seen[player][kind][name].as_f64().unwrap_or(0.0)
}

/// Frames that each player received in three seconds: a loaded machine decodes fewer of them.
/// What it saw at their end is given too.
fn received_in_3_s(viewer: &mut Chromium) -> ([f64; 2], Value) {
    let before = viewer.run(LOOK, &[]);
    std::thread::sleep(Duration::from_secs(3));
    let after = viewer.run(LOOK, &[]);
    let of = |player| {
        let received = |seen| number(seen, player, "video", "framesReceived");
        received(&after) - received(&before)
    };
    (["all", "plain"].map(of), after)
}

fn must_take_all(answer: &str) {
    for expected in [
        "dependency-descriptor",
        "abs-capture-time",
        "ssrc-audio-level",
        "red/48000",
    ] {
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
}

/// Another node, which takes the stream from `origin`.
fn edge_of(origin: &Server) -> Server {
    let pull = format!(
        "[[pull]]\nstream = \"live/beside\"\nurl = \"{}\"\n",
        origin.url("/whep/live/beside")
    );
    Server::start(Setup {
        toml: pull,
        ..Setup::default()
    })
}

#[test]
fn what_goes_with_av1_and_opus_reaches_those_who_take_it() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver"]) {
        return;
    }
    let server = Server::start(Setup::default());
    let mut publisher = Chromium::start();
    publisher
        .open(&server.url("/?stream=nothing-here"))
        .unwrap();
    let endpoint = json!(server.url("/whip/live/beside"));
    let published = publisher.run(PUBLISH, &[endpoint]);
    must_take_all(published["answer"].as_str().unwrap());
    server.wait_live("live/beside");
    let edge = edge_of(&server);
    edge.wait_live("live/beside");
    let mut viewer = Chromium::start();
    viewer.open(&edge.url("/?stream=nothing-here")).unwrap();
    viewer.run(WATCH, &[json!(edge.url("/whep/live/beside"))]);
    wait_for("both to play", PATIENCE, || {
        let seen = viewer.run(LOOK, &[]);
        let plays = |player| number(&seen, player, "video", "framesDecoded") > 30.0;
        if plays("all") && plays("plain") {
            Ok(())
        } else {
            Err(format!("{seen} {}", edge.log()))
        }
    });
    let (whole, seen) = received_in_3_s(&mut viewer);
    assert_eq!(seen["all"]["descriptor"], true, "{seen}");
    assert_eq!(seen["plain"]["descriptor"], false, "{seen}");
    // The sound of the packet before once more.
    let bytes = |player| number(&seen, player, "audio", "bytesReceived");
    let packets = |player| number(&seen, player, "audio", "packetsReceived");
    let of_packet = ["all", "plain"].map(|player| bytes(player) / packets(player));
    assert!(of_packet[0] > 1.5 * of_packet[1], "{of_packet:?} {seen}");
    for player in ["all", "plain"] {
        assert!(number(&seen, player, "audio", "level") > 0.01, "{seen}");
    }
    assert!(number(&seen, "all", "audio", "captured") > 0.0, "{seen}");
    viewer.run(PIN, &[json!({ "temporalLayerId": 0 })]);
    std::thread::sleep(Duration::from_millis(500));
    let (base, narrow) = received_in_3_s(&mut viewer);
    viewer.run(PIN, &[json!({})]);
    std::thread::sleep(Duration::from_millis(500));
    let (again, last) = received_in_3_s(&mut viewer);
    println!("frames in 3 s: {whole:?}, of the base {base:?}, again {again:?}; {last}");
    for nth in 0..2 {
        assert!(whole[nth] > 60.0, "{whole:?} {seen}");
        let part = base[nth] / whole[nth];
        assert!(
            (0.4..0.6).contains(&part),
            "{base:?} of {whole:?}: {narrow}"
        );
        assert!(
            again[nth] / whole[nth] > 0.85,
            "{again:?} of {whole:?}: {last}"
        );
    }
    // A picture that cannot be decoded for a layer that is missing is asked for.
    for player in ["all", "plain"] {
        let asked = number(&last, player, "video", "pliCount");
        assert!(asked < 1.0, "{last}");
    }
    server.must_be_unharmed();
    edge.must_be_unharmed();
}
