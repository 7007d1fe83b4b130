//! Owns how a synthetic publisher is let in by WHIP: offer, checks, handshake, on one socket that
//! is waited for.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use wire::demux::{Class, classify};

use super::offer::Offer;
use crate::http;
use crate::viewer::{Answer, Handshake, Identity, Keys};

/// Between two checks or flights that were not answered.
const REPEAT: Duration = Duration::from_millis(250);

/// A publisher that is let in.
pub struct Entry {
    /// To the server alone; does not block.
    pub socket: UdpSocket,
    /// Path of the session on the server.
    pub location: String,
    /// What protects its packets.
    pub keys: Keys,
    answer: Answer,
    checks: u64,
}

impl Entry {
    /// Publishes `stream` as it is offered, by the socket to the server's candidate that `open`
    /// makes.
    ///
    /// # Errors
    /// What has gone wrong, or there are no keys after `patience`.
    pub fn get(
        server: SocketAddr,
        stream: &str,
        offer: Offer,
        open: impl FnOnce(SocketAddr) -> io::Result<UdpSocket>,
        patience: Duration,
    ) -> Result<Self, String> {
        let identity = Identity::new().map_err(|error| error.to_string())?;
        let path = format!("/whip/{stream}");
        let headers = [("content-type", "application/sdp")];
        let offer = offer.write(&identity);
        let posted = http::request(server, "POST", &path, &headers, offer.as_bytes())?;
        if posted.status != 201 {
            return Err(format!("{stream}: {}: {}", posted.status, posted.text()));
        }
        let location = posted.header("location").unwrap_or_default().to_owned();
        let answer = Answer::parse(&posted.text()).ok_or("an answer without what is needed")?;
        let socket = open(answer.candidate).map_err(|error| error.to_string())?;
        let mut checks = 0;
        let keys = shake(&identity, &socket, &answer, &mut checks, patience)?;
        Ok(Self {
            socket,
            location,
            keys,
            answer,
            checks,
        })
    }

    /// Says that it is still there.
    pub fn check(&mut self) {
        check(&self.socket, &self.answer, &mut self.checks);
    }

    /// Ends the session as a page does that is closed.
    pub fn delete(server: SocketAddr, location: &str) {
        // A session that the server has ended already is as good as left.
        let _ = http::request(server, "DELETE", location, &[], b"");
    }
}

/// Checks and handshake, waiting.
fn shake(
    identity: &Identity,
    socket: &UdpSocket,
    answer: &Answer,
    checks: &mut u64,
    patience: Duration,
) -> Result<Keys, String> {
    let start = Instant::now();
    let mut handshake: Option<Handshake> = None;
    let mut repeat_at = start;
    let mut buffer = [0; 2048];
    while start.elapsed() < patience {
        let now = Instant::now();
        if now >= repeat_at {
            repeat_at = now + REPEAT;
            match &mut handshake {
                None => check(socket, answer, checks),
                Some(handshake) => {
                    handshake.renew();
                    send_all(socket, handshake.flight());
                }
            }
        }
        let Some(bytes) = receive(socket, &mut buffer) else {
            sleep(Duration::from_millis(1));
            continue;
        };
        let datagram = &buffer[..bytes];
        match (classify(datagram), &mut handshake) {
            (Class::Stun, None) if answer.is_answered_by(datagram) => {
                let hello = Handshake::start(identity, &answer.fingerprint);
                let hello = hello.map_err(|error| error.to_string())?;
                send_all(socket, hello.flight());
                handshake = Some(hello);
                check(socket, answer, checks);
            }
            (Class::Dtls, Some(handshake)) => {
                if let Some(keys) = handshake.receive(datagram)? {
                    return Ok(keys);
                }
                if handshake.has_news() {
                    send_all(socket, handshake.flight());
                }
            }
            _ => {}
        }
    }
    Err("no keys: the server does not answer".to_owned())
}

fn send_all(socket: &UdpSocket, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        // Repeated if it does not leave.
        let _ = socket.send(datagram);
    }
}

fn check(socket: &UdpSocket, answer: &Answer, checks: &mut u64) {
    *checks += 1;
    let mut out = [0; 256];
    let bytes = answer.check(*checks, true, &mut out);
    let _ = socket.send(&out[..bytes]);
}

/// The next datagram, if there is one. An error told of an earlier one is passed over.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match socket.recv(buffer) {
            Ok(bytes) => return Some(bytes),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return None,
        }
    }
}
