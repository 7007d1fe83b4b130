//! Tests the tools themselves: a tool that sees nothing wrong anywhere would pass every test.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::UdpSocket;
use std::thread::sleep;
use std::time::Duration;

use freshet_tests::browser::{Browser, LONGEST_FREEZE, WATCH_FRAMES};
use freshet_tests::impair::{Impairment, Relay};
use freshet_tests::marionette::Firefox;
use freshet_tests::netns::Namespace;
use freshet_tests::wait::{alone, have, wait_until};
use freshet_tests::webdriver::Chromium;

/// A page whose video shows a canvas: it moves until `window.frozen` is set.
const CANVAS: &str = "
    document.body.innerHTML = '<video autoplay muted></video>';
    const canvas = document.createElement('canvas');
    canvas.width = 320; canvas.height = 180;
    const context = canvas.getContext('2d');
    let n = 0;
    const draw = () => {
        if (window.frozen) return;
        context.fillStyle = 'red'; context.fillRect(0, 0, 320, 180);
        context.fillStyle = 'white'; context.fillRect((n += 7) % 300, 40, 60, 100);
    };
    draw(); setInterval(draw, 40);
    document.querySelector('video').srcObject = canvas.captureStream(25);
    return true;";

fn sees_pictures(browser: &mut dyn Browser) {
    browser
        .open("data:text/html,<title>canvas</title><body></body>")
        .unwrap();
    browser.run(CANVAS, &[]);
    let picture = browser.must_show_a_moving_picture();
    let [red, green, blue] = picture.colour(50, 5);
    assert!(
        red > 200 && green < 60 && blue < 60,
        "{red} {green} {blue} is not red"
    );
    assert_eq!(browser.run("return await Promise.resolve(7)", &[]), 7);
    assert!(
        browser
            .try_run("throw new Error('told')", &[])
            .is_err_and(|e| e.contains("told"))
    );

    browser.run(WATCH_FRAMES, &[]);
    sleep(Duration::from_secs(1));
    browser.run("window.frozen = true", &[]);
    sleep(Duration::from_secs(1));
    let first = browser.picture();
    sleep(Duration::from_millis(500));
    assert!(
        !browser.picture().differs_from(&first),
        "a frozen picture is not seen as frozen"
    );
    let freeze = browser.run(LONGEST_FREEZE, &[]);
    assert!(freeze["frames"].as_u64().unwrap() >= 5, "{freeze}");
    assert!(freeze["longest"].as_f64().unwrap() > 900.0, "{freeze}");
}

#[test]
fn chromium_sees_a_picture_and_a_frozen_one() {
    let _turn = alone();
    if have(&["chromium", "chromedriver"]) {
        sees_pictures(&mut Chromium::start());
    }
}

#[test]
fn firefox_sees_a_picture_and_a_frozen_one() {
    let _turn = alone();
    if !have(&["firefox-esr", "ip"]) {
        return;
    }
    if let Some(namespace) = Namespace::new() {
        sees_pictures(&mut Firefox::start(&namespace));
    }
}

#[test]
fn the_relay_loses_what_it_is_told_to_lose() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for socket in [&server, &client] {
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
    }
    let relay = Relay::start(server.local_addr().unwrap(), 7);
    client.connect(relay.address()).unwrap();

    // In small lots: a socket of this test holds some 250 datagrams.
    let mut buffer = [0; 64];
    let mut send = |count: usize| {
        let mut came = 0;
        let mut from = None;
        for _ in 0..count / 100 {
            for _ in 0..100 {
                client.send(b"to the server").unwrap();
            }
            while let Ok((_, sender)) = server.recv_from(&mut buffer) {
                came += 1;
                from = Some(sender);
            }
        }
        (came, from.unwrap())
    };
    let (all, relay_back) = send(500);
    assert_eq!(all, 500, "an idle relay loses nothing");
    let lossy = Impairment {
        loss_ppm: 100_000,
        ..Impairment::default()
    };
    relay.set(lossy, Impairment::default());
    let (some, _) = send(2000);
    assert!(
        (1700..=1900).contains(&some),
        "{some} of 2000 came through a loss of 10 %"
    );
    assert_eq!(relay.to_server().lost(), 2000 - some);

    server.send_to(b"to the client", relay_back).unwrap();
    let (_, from) = client.recv_from(&mut [0; 64]).unwrap();
    assert_eq!(from, relay.address(), "answers come from where was asked");
    wait_until("the relay to count it", Duration::from_secs(5), || {
        relay.from_server().passed() == 1
    });
}
