//! Bad input at every port while somebody watches: nothing falls, nothing grows, nobody notices.
//!
//! Every random choice comes from the seed that is printed first.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use freshet_tests::http::{self, Answer};
use freshet_tests::random::Random;
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::{Crowd, Watch};
use freshet_tests::wait::{alone, quick, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Datagrams of each kind that are thrown.
fn rounds() -> usize {
    if quick() { 1_000 } else { 10_000 }
}

/// A server with the demo and somebody who watches it.
struct Scene {
    server: Server,
    watch: Option<Watch>,
    random: Random,
    memory: u64,
}

impl Scene {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let server = Server::demo();
        server.wait_live("demo");
        let mut crowd = Crowd::joined(server.http, "demo", 1, PATIENCE);
        crowd.run(Duration::from_secs(2));
        crowd.forget();
        let memory = server.resident_bytes();
        Self {
            server,
            watch: Some(crowd.watch()),
            random: Random::new(seed),
            memory,
        }
    }

    /// Throws one datagram after another at `to`; a little slower than the port can be read.
    fn throw(&mut self, to: SocketAddr, mut make: impl FnMut(&mut Random, usize) -> Vec<u8>) {
        let mut socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..rounds() {
            if number % 64 == 0 {
                socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                sleep(Duration::from_millis(1));
            }
            let bytes = make(&mut self.random, number);
            // An answer that is refused here comes back as an error of a later send.
            let _ = socket.send_to(&bytes, to);
        }
    }

    /// The one who watches has lost nothing, and the server is as it was.
    fn nobody_noticed(mut self) {
        sleep(Duration::from_millis(500));
        let crowd = self.watch.take().unwrap().stop();
        let report = crowd.report();
        println!(
            "{} packets, longest silence {:?}",
            report.packets, report.longest_silence
        );
        assert_eq!(report.lost, 0, "{report:?}");
        assert!(report.refused.is_empty(), "{report:?}");
        assert!(report.packets > 50, "{report:?}");
        assert!(
            report.longest_silence < Duration::from_millis(500),
            "{report:?}"
        );
        let grown = self.server.resident_bytes().saturating_sub(self.memory);
        assert!(
            grown < 64 << 20,
            "the server has grown by {} MiB",
            grown >> 20
        );
        let newcomer = Crowd::joined(self.server.http, "demo", 1, PATIENCE);
        newcomer.leave();
        crowd.leave();
        self.server.must_be_unharmed();
    }

    fn metric(&self, name: &str) -> f64 {
        self.server.metric(name)
    }
}

/// A STUN message with a right header and these attributes.
fn stun(random: &mut Random, attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attributes.len()).unwrap_or(u16::MAX);
    let mut message = vec![0, 1];
    message.extend(length.to_be_bytes());
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend(random.bytes(12));
    message.extend(attributes);
    message
}

fn attribute(kind: u16, told: u16, value: &[u8]) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend(told.to_be_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

#[test]
fn noise_on_every_port_hurts_nobody() {
    let _turn = alone();
    let mut scene = Scene::new(1);
    let (media, srt) = (scene.server.media, scene.server.srt);
    for to in [media, srt] {
        scene.throw(to, |random, number| {
            let length = random.below(1500);
            let mut bytes = random.bytes(length);
            // Every first byte in turn: RFC 7983 sorts by it.
            if let Some(first) = bytes.first_mut() {
                *first = u8::try_from(number % 256).unwrap();
            }
            bytes
        });
    }
    scene.nobody_noticed();
}

#[test]
fn malformed_checks_hurt_nobody_and_are_counted() {
    let _turn = alone();
    let mut scene = Scene::new(2);
    let before = scene.metric("freshet_worker_datagram_received_total");
    let media = scene.server.media;
    scene.throw(media, |random, number| {
        let value_bytes = random.below(40);
        let value = random.bytes(value_bytes);
        let username = b"AAAAabcdefghijkl:them0001";
        match number % 8 {
            0 => stun(random, &attribute(0x0006, 0, b"")),
            1 => stun(random, &attribute(0x0006, u16::MAX, &value)),
            2 => stun(random, &attribute(0x0006, 3, &value)),
            3 => {
                let mut many = Vec::new();
                for _ in 0..120 {
                    many.extend(attribute(0x8029, 4, &[0; 4]));
                }
                stun(random, &many)
            }
            4 => {
                let mut two = attribute(0x8028, 4, &random.bytes(4));
                two.extend(attribute(0x8028, 4, &random.bytes(4)));
                stun(random, &two)
            }
            5 => {
                // A right form, a wrong key, the highest priority, and a nomination.
                let mut all = attribute(0x0006, 25, username);
                all.extend(attribute(0x0024, 4, &[0xff; 4]));
                all.extend(attribute(0x0025, 0, b""));
                all.extend(attribute(0x0008, 20, &random.bytes(20)));
                all.extend(attribute(0x0006, 25, username));
                stun(random, &all)
            }
            6 => {
                let mut lie = stun(random, &attribute(0x0006, 25, username));
                lie[3] = lie[3].wrapping_add(4);
                lie
            }
            _ => {
                let mut cut = stun(random, &attribute(0x0006, 25, username));
                cut.truncate(random.below(cut.len()));
                cut
            }
        }
    });
    sleep(Duration::from_millis(200));
    let after = scene.metric("freshet_worker_datagram_received_total");
    assert!(
        after - before > rounds() as f64 * 0.9,
        "{before} -> {after} datagrams"
    );
    scene.nobody_noticed();
}

#[test]
fn answers_to_strangers_are_not_longer_than_questions() {
    let _turn = alone();
    let mut scene = Scene::new(3);
    let to = scene.server.media;
    // Somebody's handshake is awaited, which a stranger might begin.
    let offered = post(
        &scene.server,
        "/whep/demo",
        "application/sdp",
        OFFER.as_bytes(),
    );
    assert_eq!(offered.status, 201, "{}", offered.text());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(30)))
        .unwrap();
    let random = &mut scene.random;
    let mut questions: Vec<(SocketAddr, Vec<u8>)> = [
        stun(random, b""),
        stun(random, &attribute(0x0006, 25, b"AAAAabcdefghijkl:them0001")),
        stun(random, &attribute(0x7fff, 4, b"what")),
        // Hellos that would be answered by a whole flight with a certificate in it.
        include_bytes!("../corpus/dtls/ffmpeg81_gnutls_client_hello.bin").to_vec(),
        include_bytes!("../corpus/dtls/chromium156_client_hello_1.bin").to_vec(),
        include_bytes!("../corpus/dtls/chromium156_client_hello_2.bin").to_vec(),
        client_hello(random),
    ]
    .map(|question| (to, question))
    .to_vec();
    questions.push((scene.server.srt, srt_handshake(1, 0, b"")));
    questions.push((scene.server.srt, srt_handshake(u32::MAX, 7, b"demo")));
    for number in 0..60 {
        let to = [to, scene.server.srt][number % 2];
        questions.push((to, random.bytes(100)));
    }
    for (to, question) in questions {
        socket.send_to(&question, to).unwrap();
        let mut answer_bytes = 0;
        while let Ok((bytes, _)) = socket.recv_from(&mut [0; 2048]) {
            answer_bytes += bytes;
        }
        assert!(
            answer_bytes <= question.len(),
            "{answer_bytes} for {question:?}"
        );
    }
    let tcp = std::net::TcpStream::connect(to);
    assert!(tcp.is_err(), "nobody is to listen for ICE over TCP");
    scene.nobody_noticed();
}

/// A handshake of SRT: an induction, or a conclusion with a cookie and a stream id of whole words.
fn srt_handshake(kind: u32, cookie: u32, stream_id: &[u8]) -> Vec<u8> {
    let is_conclusion = kind == u32::MAX;
    let (version, extensions) = if is_conclusion { (5, 5) } else { (4, 2) };
    let mut words: Vec<u32> = vec![0x8000_0000, 0, 0, 0];
    words.extend([
        version, extensions, 1, 1500, 8192, kind, 0x1234, cookie, 0, 0, 0, 0,
    ]);
    if is_conclusion {
        words.extend([0x0001_0003, 0x0001_0501, 0xbf, 120]);
        let length = u32::try_from(stream_id.len() / 4).unwrap();
        words.push(0x0005_0000 | length);
        // Each word of a stream id is turned round.
        let id = stream_id.chunks_exact(4);
        words.extend(id.map(|word| u32::from_le_bytes(word.try_into().unwrap())));
    }
    words.into_iter().flat_map(u32::to_be_bytes).collect()
}

#[test]
fn callers_refused_without_end_do_not_fill_the_log() {
    const CALLERS: u32 = 300;
    let _turn = alone();
    let scene = Scene::new(12);
    let before = scene.metric("freshet_srt_rejected_total");
    for _ in 0..CALLERS {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0; 1500];
        let mut ask = |question: &[u8]| {
            socket.send_to(question, scene.server.srt).unwrap();
            let bytes = socket.recv(&mut answer).unwrap();
            assert!(bytes <= question.len(), "{bytes} for {}", question.len());
            u32::from_be_bytes(answer[44..48].try_into().unwrap())
        };
        let cookie = ask(&srt_handshake(1, 0, b""));
        ask(&srt_handshake(u32::MAX, cookie, b"../.././"));
    }
    let counted = || scene.metric("freshet_srt_rejected_total") - before;
    wait_until("all to be counted", PATIENCE, || {
        counted() >= f64::from(CALLERS)
    });
    let log = scene.server.log();
    let lines = log.matches("SRT caller refused").count();
    assert!(
        (1..=20).contains(&lines),
        "{lines} lines for {CALLERS} callers"
    );
    scene.nobody_noticed();
}

/// A ClientHello as OpenSSL might begin one: DTLS 1.2, no cipher that exists.
fn client_hello(random: &mut Random) -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend(random.bytes(32));
    body.extend([0, 0, 0, 2, 0, 0, 1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![1, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length];
    hello.extend(body);
    record(22, 0, &hello)
}

fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0];
    out.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    out.extend(body);
    out
}

#[test]
fn dtls_from_strangers_and_lies_from_a_viewer_change_nothing() {
    let _turn = alone();
    let mut scene = Scene::new(4);
    let media = scene.server.media;
    scene.throw(media, |random, number| match number % 6 {
        0 => client_hello(random),
        // A fragment of no bytes, one beyond its message, one of 16 MiB.
        1 => record(22, 0, &[1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]),
        2 => record(22, 0, &[1, 0, 0, 9, 0, 0, 0, 0, 9, 0, 0, 9, 1, 2, 3]),
        3 => record(22, 0, &[1, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 7]),
        4 => record(21, 0, &[1, 0]),
        _ => {
            let mut lie = record(20, 1, &random.bytes(30));
            lie[11] = 0xff;
            lie
        }
    });

    // The same from somebody whose checks are right: in clear text, after the handshake.
    let mut crowd = Crowd::joined(scene.server.http, "demo", 1, PATIENCE);
    crowd.run(Duration::from_millis(500));
    crowd.forget();
    let random = &mut scene.random;
    let session = &mut crowd.sessions()[0];
    for _ in 0..50 {
        session.datagram(&record(21, 0, &[2, 40])).unwrap();
        session.datagram(&record(21, 0, &[1, 0])).unwrap();
        session
            .datagram(&record(22, 0, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
            .unwrap();
        session.datagram(&client_hello(random)).unwrap();
        session.datagram(&record(23, 1, &random.bytes(40))).unwrap();
    }
    crowd.run(Duration::from_secs(2));
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (1, 0), "{report:?}");
    assert!(report.packets > 100, "{report:?}");
    crowd.leave();
    scene.nobody_noticed();
}

#[test]
fn srtp_and_rtcp_that_lie_are_refused_and_counted() {
    let _turn = alone();
    let mut scene = Scene::new(5);
    let forged_before = scene.metric("freshet_worker_srtcp_refused_auth_total");
    let malformed_before = scene.metric("freshet_worker_rtcp_malformed_total");
    let mut crowd = Crowd::joined(scene.server.http, "demo", 1, PATIENCE);
    crowd.run(Duration::from_secs(1));
    crowd.forget();
    let random = &mut scene.random;
    let session = &mut crowd.sessions()[0];
    for number in 0..rounds() {
        // Forged: right form, right address, wrong tag.
        let mut rtcp = vec![0x80, 201, 0, 7];
        rtcp.extend(random.bytes(40));
        let mut rtp = vec![0x90, 102];
        rtp.extend(random.bytes(60));
        let _ = session.datagram(if number % 2 == 0 { &rtcp } else { &rtp });
        if number % 64 == 0 {
            sleep(Duration::from_millis(1));
        }
    }
    // Well sealed, and lies inside: counts, lengths, feedback about packets that never were.
    for number in 0..400_usize {
        let packet = match number % 8 {
            0 => vec![0x9f, 201, 0, 1, 0, 0, 0, 1],
            1 => vec![0x80, 201, 0xff, 0xff, 0, 0, 0, 1],
            2 => vec![0xa0, 201, 0, 1, 0, 0, 0, 0],
            3 => [&[0x81, 205, 0, 3][..], &random.bytes(12)].concat(),
            4 => [&[0x8f, 205, 0, 4][..], &random.bytes(16)].concat(),
            5 => [&[0x8f, 206, 0, 5][..], &random.bytes(20)].concat(),
            6 => [&[0x80, 207, 0, 4][..], &random.bytes(16)].concat(),
            _ => [&[0x81, 203, 0, 1][..], &random.bytes(4)].concat(),
        };
        session.send_rtcp(&packet);
    }
    crowd.run(Duration::from_secs(2));
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (1, 0), "{report:?}");
    let forged = scene.metric("freshet_worker_srtcp_refused_auth_total") - forged_before;
    let malformed = scene.metric("freshet_worker_rtcp_malformed_total") - malformed_before;
    assert!(
        forged > rounds() as f64 * 0.4,
        "{forged} forged packets counted"
    );
    assert!(malformed >= 50.0, "{malformed} malformed packets counted");
    crowd.leave();
    scene.nobody_noticed();
}

#[test]
fn a_storm_of_nacks_and_plis_is_kept_within_a_budget() {
    let _turn = alone();
    let scene = Scene::new(6);
    let mut crowd = Crowd::joined(scene.server.http, "demo", 1, PATIENCE);
    crowd.run(Duration::from_secs(2));
    crowd.forget();
    let start = scene.metric("freshet_worker_retransmission_sent_total");
    let seconds = if quick() { 2 } else { 4 };
    let mut asked = 0_u64;
    for _ in 0..seconds * 20 {
        let session = &mut crowd.sessions()[0];
        let newest = session.tracks()[0].span.map_or(0, |(_, highest)| highest);
        for round in 0..5_u64 {
            let from = newest.saturating_sub(round * 100);
            let wanted: Vec<u16> = (0..100)
                .filter_map(|back| u16::try_from(from.saturating_sub(back) & 0xffff).ok())
                .collect();
            asked += wanted.len() as u64;
            session.nack(&wanted);
            session.pli();
        }
        crowd.run(Duration::from_millis(50));
    }
    let report = crowd.report();
    let again = report.retransmissions;
    println!(
        "{asked} packets asked for again, {again} sent again, {} new",
        report.packets
    );
    assert!(again > 0, "{report:?}");
    assert!(
        again < asked / 4,
        "{again} of {asked} sent again: no budget"
    );
    assert!(
        again < report.packets * 4,
        "{again} sent again for {} new",
        report.packets
    );
    assert!(scene.metric("freshet_worker_retransmission_sent_total") > start);
    assert!(scene.metric("freshet_worker_pli_received_total") >= 20.0);
    crowd.leave();
    scene.nobody_noticed();
}

#[test]
fn srt_handshakes_that_lie_reach_nothing() {
    let _turn = alone();
    let mut scene = Scene::new(7);
    let srt = scene.server.srt;
    scene.throw(srt, |random, number| {
        let mut packet = vec![0x80, 0, 0, 0];
        packet.extend([0; 4]);
        packet.extend(random.bytes(4));
        packet.extend([0; 4]);
        let (version, extension) = [(4_u32, 2_u16), (5, 0x4a17), (5, 7), (5, 1)][number % 4];
        packet.extend(version.to_be_bytes());
        packet.extend([0, u8::try_from(number % 5).unwrap()]);
        packet.extend(extension.to_be_bytes());
        packet.extend(random.bytes(4));
        // Segment sizes, windows and kinds that make no sense.
        packet.extend([[0, 0, 0, 1], [0xff; 4], [0, 0, 5, 0xdc]][number % 3]);
        packet.extend([[0, 0, 0, 0], [0xff; 4]][number % 2]);
        packet.extend(
            [
                [0, 0, 0, 1],
                [0xff; 4],
                [0, 0, 0, 0],
                [0xff, 0xff, 0xff, 0xfe],
            ][number % 4],
        );
        packet.extend(random.bytes(24));
        // Extensions: key material of forbidden sizes, a stream id that climbs, a length that lies.
        match number % 5 {
            0 => {
                let words = [0_u16, 26, 338, 364][number / 5 % 4];
                packet.extend([0, 3]);
                packet.extend(words.to_be_bytes());
                packet.extend(random.bytes(usize::from(words) * 4));
            }
            1 => {
                packet.extend([0, 5, 0, 128]);
                packet.extend([b'/'; 512]);
            }
            2 => packet.extend([0, 5, 0xff, 0xff, 1, 2, 3]),
            3 => {
                packet.extend([0, 5, 0, 8]);
                packet.extend(b"../../../etc/passwd\r\n\x1b[31mroot!!");
            }
            _ => {}
        }
        packet
    });
    assert_eq!(scene.server.stream("etc/passwd"), serde_json::Value::Null);
    let log = scene.server.log();
    assert!(
        !log.contains("\x1b[31m"),
        "colours of a stranger are in the log"
    );
    scene.nobody_noticed();
}

#[test]
fn a_publisher_of_nonsense_is_told_and_hurts_nobody() {
    let _turn = alone();
    if !freshet_tests::wait::have(&["srt-live-transmit"]) {
        return;
    }
    let mut scene = Scene::new(8);
    let noise = freshet_tests::place::free_udp_port();
    let from = format!("udp://127.0.0.1:{noise}");
    let to = format!("srt://{}?streamid=publish:noise", scene.server.srt);
    let tool = freshet_tests::process::command("srt-live-transmit", &["-v", &from, &to]);
    let tool = freshet_tests::process::Process::start("noise", scene.server.folder(), &tool);
    sleep(Duration::from_secs(1));
    let target = SocketAddr::from(([127, 0, 0, 1], noise));
    scene.throw(target, |random, number| {
        let mut ts = random.bytes(1316);
        if number % 3 > 0 {
            for packet in ts.chunks_mut(188) {
                packet[0] = 0x47;
                // Half of them claim to be tables, the rest any of 8,192 streams.
                if number % 3 == 1 {
                    packet[1] = 0x40;
                    packet[2] = u8::try_from(number % 32).unwrap();
                }
            }
        }
        ts
    });
    drop(tool);
    scene.nobody_noticed();
}

fn post(server: &Server, path: &str, kind: &str, body: &[u8]) -> Answer {
    http::request(server.http, "POST", path, &[("content-type", kind)], body).unwrap()
}

/// An offer of the server's own, whose session can be ended before it is answered.
fn must_counter(server: &Server, answer: &Answer) {
    let text = answer.text();
    assert_eq!(answer.status, 406, "{text}");
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("application/sdp; valid-until="), "{kind}");
    assert!(text.contains("a=setup:actpass"), "{text}");
    let session = answer.header("location").unwrap();
    let ended = http::request(server.http, "DELETE", session, &[], b"").unwrap();
    assert_eq!(ended.status, 204);
}

/// A refusal with this status, in the form of RFC 9457, that says what to do.
fn must_refuse(answer: &Answer, statuses: &[u16]) {
    let text = answer.text();
    assert!(
        statuses.contains(&answer.status),
        "{}, not {statuses:?}: {text}",
        answer.status
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{text}"
    );
    let problem = answer.json();
    for member in ["type", "title", "detail", "remedy"] {
        assert!(
            problem[member].as_str().is_some_and(|v| !v.is_empty()),
            "{member}: {text}"
        );
    }
    assert_eq!(problem["status"], answer.status, "{text}");
}

#[test]
fn requests_that_make_no_sense_are_refused_with_a_remedy() {
    let _turn = alone();
    let scene = Scene::new(9);
    let server = &scene.server;
    let sdp = "application/sdp";
    must_refuse(
        &post(server, "/whep/nobody-publishes-this", sdp, OFFER.as_bytes()),
        &[404, 409],
    );
    must_refuse(
        &post(server, "/whep/a/b/c/d/e", sdp, OFFER.as_bytes()),
        &[400, 404],
    );
    must_refuse(
        &post(server, "/whep/..%2f..%2fetc", sdp, OFFER.as_bytes()),
        &[400, 404],
    );
    must_refuse(
        &post(server, "/whep/caf%C3%A9", sdp, OFFER.as_bytes()),
        &[400, 404],
    );
    must_refuse(
        &post(server, "/whep/demo", "text/plain", OFFER.as_bytes()),
        &[415],
    );
    must_counter(server, &post(server, "/whep/demo", sdp, b""));
    must_refuse(&post(server, "/whip/demo", sdp, b""), &[400]);
    must_refuse(
        &post(server, "/whep/demo", sdp, b"v=0\r\nhello"),
        &[400, 422],
    );
    must_refuse(
        &post(server, "/whep/demo", sdp, &[0xff, 0xfe, 0x00, 0x80]),
        &[400],
    );
    must_refuse(
        &post(server, "/whep/demo", sdp, &vec![b'a'; 10 << 20]),
        &[413],
    );
    let get = |path: &str| http::get(server.http, path).unwrap();
    must_refuse(&get("/v1/streams/nobody-publishes-this"), &[404]);
    must_refuse(&get("/v1/sessions/0123456789"), &[404]);
    must_refuse(&get("/no/such/path"), &[404]);
    let ask = |method, path: &str| http::request(server.http, method, path, &[], b"").unwrap();
    must_refuse(&ask("PUT", "/v1/streams"), &[405]);
    must_refuse(
        &ask("DELETE", "/session/AAAAAAAAAAAAAAAAAAAAAAAAAA"),
        &[404],
    );
    scene.nobody_noticed();
}

#[test]
fn offers_that_cannot_be_served_are_refused_with_a_remedy() {
    let _turn = alone();
    let scene = Scene::new(11);
    let server = &scene.server;
    let sdp = "application/sdp";
    let lines = "m=video 9 UDP/TLS/RTP/SAVPF 102\r\n".repeat(1000);
    must_refuse(
        &post(
            server,
            "/whep/demo",
            sdp,
            format!("{HEAD}{lines}").as_bytes(),
        ),
        &[400, 422],
    );
    let mut candidates = OFFER.to_owned();
    for number in 0..700 {
        let _ = write!(
            candidates,
            "a=candidate:{number} 1 udp 1 1.2.3.4 99999 typ host\r\n"
        );
    }
    let many = post(server, "/whep/demo", sdp, candidates.as_bytes());
    assert!([201, 400, 422].contains(&many.status), "{}", many.text());
    for (what, wrong) in [
        ("no fingerprint", OFFER.replace("a=fingerprint", "a=x")),
        ("a weak hash", OFFER.replace("sha-256", "sha-1")),
        ("no user fragment", OFFER.replace("a=ice-ufrag", "a=x")),
        ("only sends", OFFER.replace("a=recvonly", "a=sendonly")),
        (
            "a port too high",
            OFFER.replace("m=video 9 ", "m=video 99999999999 "),
        ),
    ] {
        let answer = post(server, "/whep/demo", sdp, wrong.as_bytes());
        assert!(
            (400..500).contains(&answer.status),
            "{what}: {}",
            answer.text()
        );
        must_refuse(&answer, &[400, 415, 422]);
    }
    let other = OFFER.replace("H264", "VP8");
    let other = other.replace("opus/48000/2", "PCMU/8000");
    let countered = post(server, "/whep/demo", sdp, other.as_bytes());
    must_counter(server, &countered);
    scene.nobody_noticed();
}

#[test]
fn http_that_is_none_holds_nothing() {
    let _turn = alone();
    let mut scene = Scene::new(10);
    let to = scene.server.http;
    let patience = Duration::from_millis(100);
    for number in 0..200_usize {
        let bytes = match number % 5 {
            0 => scene.random.bytes(300),
            1 => b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            2 => format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000)).into_bytes(),
            3 => b"POST /whep/demo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_vec(),
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff".to_vec(),
        };
        let answer = http::raw(to, &bytes, patience);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 2"), "{text} for {number}");
    }
    // Half a head each, held open: others are served all the same.
    let mut slow = Vec::new();
    for _ in 0..100 {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(to).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost:").unwrap();
        slow.push(stream);
    }
    assert_eq!(scene.server.get("/livez").status, 200);
    drop(slow);
    scene.nobody_noticed();
}

#[test]
fn a_full_server_refuses_newcomers_and_keeps_its_viewers() {
    let _turn = alone();
    let server = Server::start(Setup {
        demo: true,
        toml: "\n".into(),
        viewers_max: 4,
        ..Setup::default()
    });
    server.wait_live("demo");
    let watch = Crowd::joined(server.http, "demo", 4, PATIENCE).watch();
    for _ in 0..20 {
        let answer = post(&server, "/whep/demo", "application/sdp", OFFER.as_bytes());
        must_refuse(&answer, &[503]);
        assert!(
            answer.header("retry-after").is_some(),
            "{:?}",
            answer.headers
        );
    }
    sleep(Duration::from_secs(1));
    let crowd = watch.stop();
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (4, 0), "{report:?}");
    crowd.leave();
    server.must_be_unharmed();
}

const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n";

const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 102\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 \
00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
a=setup:actpass\r\na=rtcp-mux\r\na=recvonly\r\na=mid:0\r\na=rtpmap:102 H264/90000\r\n\
a=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 \
00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
a=setup:actpass\r\na=rtcp-mux\r\na=recvonly\r\na=mid:1\r\na=rtpmap:111 opus/48000/2\r\n";
