//! Media leaves past the kernel's network stack: a browser at the other end of a cable sees what
//! one of this host sees, which is served by the socket.

use std::thread::sleep;
use std::time::Duration;

use freshet_tests::browser::Browser;
use freshet_tests::netns::Namespace;
use freshet_tests::server::{Server, Setup, binary};
use freshet_tests::wait::{alone, have};
use freshet_tests::webdriver::Chromium;

#[test]
fn browsers_see_the_same_by_either_way() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver", "ip"]) {
        return;
    }
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let server = Server::start(Setup {
        demo: true,
        http_ip: namespace.here(),
        advertise: Some(namespace.here().to_string()),
        media: "transmit = \"xdp\"",
        own_program: true,
        ..Setup::default()
    });
    let mut near = Chromium::start();
    near.watch(&server, "demo");
    near.must_show_a_moving_picture();
    let count = |name: &str| server.metric(&format!("freshet_worker_{name}_total"));
    let share_by_xdp = || {
        let (sent, by_xdp) = (count("packet_sent"), count("xdp_sent"));
        sleep(Duration::from_secs(5));
        let sent = count("packet_sent") - sent;
        let share = (count("xdp_sent") - by_xdp) / sent;
        println!("{sent} packets in 5 s, {share:.2} of them by AF_XDP");
        share
    };
    assert!(count("xdp_sent") < 1.0, "the loopback has no lane");
    let mut far = Chromium::start_in(&namespace);
    far.watch(&server, "demo");
    far.must_show_a_moving_picture();
    // Two viewers get the same packets.
    let share = share_by_xdp();
    assert!((0.45..0.55).contains(&share), "{share}");

    // The next forwarder finds the way as this one did, when this one has left the device.
    server.install(binary());
    let (done, said) = server.upgrade();
    assert!(done, "{said}\n{}", server.log());
    let share = share_by_xdp();
    assert!((0.45..0.55).contains(&share), "{share}\n{}", server.log());
    for browser in [&mut near, &mut far] {
        browser.must_show_a_moving_picture();
        let seen = browser.run("return window.freshet.stats", &[]);
        assert_eq!(seen["packetsLost"], 0, "{seen}");
    }
    server.must_be_unharmed();
}
