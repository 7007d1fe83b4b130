//! Checks who is let in beside whom.

use super::*;

#[test]
fn a_port_that_is_given_back_is_waited_for() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(RELEASE / 5);
        drop(held);
    });
    let bound = patiently(|| UdpSocket::bind(address));
    assert_eq!(bound.unwrap().local_addr().unwrap(), address);
    letting_go.join().unwrap();
}

#[test]
fn a_port_that_stays_taken_is_refused_with_its_key() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = http.local_addr().unwrap();
    drop(http);
    let mut config = Config::default();
    config.http.listen = free.to_string().parse().unwrap();
    config.media.listen = held.local_addr().unwrap().to_string().parse().unwrap();
    let began = Instant::now();
    let refused = look_for_others(&config).unwrap_err();
    assert!(began.elapsed() >= RELEASE);
    let said = refused.to_string();
    assert!(
        said.contains("another program has it") && said.contains("media.listen"),
        "{said}"
    );
}
