//! Owns what every peer does below media: checks, the handshake, and SRTCP.

use std::net::SocketAddr;

use io::sim::{SimNet, SimPeer};
use seal::{Opener, Sealer};
use wire::demux::{Class, classify};
use wire::stun::{Class as Kind, Message, Request, Role};
use wire::time::{Span, Time};

use super::dtls::Dtls;
use crate::random::Random;
use crate::viewer::{Answer, UFRAG};

/// Between checks until one is answered on which the handshake can go.
const CHECK: Span = Span::millis(50);

/// Between checks of consent (RFC 7675 wants 5 s at most; Chromium does it in half of that).
const CONSENT: Span = Span::millis(2500);

/// Room for any RTCP of a peer.
const RTCP_BYTES_MAX: usize = 640;

/// A peer's socket and all below media.
pub struct Client {
    socket: SimPeer,
    server: SocketAddr,
    answer: Answer,
    dtls: Option<Dtls>,
    version13: bool,
    opener: Option<Opener>,
    sealer: Option<Sealer>,
    check_at: Time,
    /// When the server has last answered a check.
    pub answered_at: Option<Time>,
    rtcp_index: u32,
    random: Random,
}

/// What has come of media.
pub struct Arrived {
    /// Datagrams of RTP and RTCP, sealed.
    pub media: Vec<(Class, Vec<u8>)>,
    /// The handshake is complete since now.
    pub is_connected: bool,
}

impl Client {
    /// At `address`, with the server's answer.
    #[must_use]
    pub fn new(
        net: &SimNet,
        address: SocketAddr,
        answer: Answer,
        version13: bool,
        now: Time,
        seed: u64,
    ) -> Self {
        Self {
            socket: net.peer(address),
            server: answer.candidate,
            answer,
            dtls: None,
            version13,
            opener: None,
            sealer: None,
            check_at: now,
            answered_at: None,
            rtcp_index: 0,
            random: Random::new(seed),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.addr()
    }

    /// True once it has keys.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.sealer.is_some()
    }

    /// True if the server has said goodbye, or nothing will come of the handshake.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let dtls = self.dtls.as_ref();
        dtls.is_some_and(|dtls| dtls.is_closed || dtls.has_failed)
    }

    /// What opens the server's media.
    pub fn opener(&mut self) -> Option<&mut Opener> {
        self.opener.as_mut()
    }

    /// What seals ours.
    #[must_use]
    pub fn sealer(&self) -> Option<&Sealer> {
        self.sealer.as_ref()
    }

    /// Goes on from another port, as behind a NAT that has forgotten it.
    pub fn rebind(&mut self, now: Time, says_so: bool) {
        let mut next = self.socket.addr();
        next.set_port(next.port().wrapping_add(1).max(1024));
        self.socket.rebind(next);
        if says_so {
            self.check_at = now;
        }
    }

    /// Goes on with the server's new credentials: ICE was restarted.
    pub fn restart(&mut self, now: Time, ufrag: String, pwd: String) {
        (self.answer.ufrag, self.answer.pwd) = (ufrag, pwd);
        self.check_at = now;
    }

    /// Takes what has come, and does what is due.
    pub fn turn(&mut self, now: Time) -> Arrived {
        let mut media = Vec::new();
        while let Some((_, bytes)) = self.socket.recv(now) {
            match classify(&bytes) {
                Class::Stun => self.on_stun(now, &bytes),
                Class::Dtls => {
                    if let Some(dtls) = &mut self.dtls {
                        dtls.handle(now, &bytes);
                    }
                }
                class @ (Class::Rtp | Class::Rtcp) => media.push((class, bytes)),
                // A bit of it was turned over.
                Class::Unknown => {}
            }
        }
        if now >= self.check_at {
            self.check(now);
        }
        let is_connected = self.shake_hands(now);
        Arrived {
            media,
            is_connected,
        }
    }

    /// Sends what is sealed already.
    pub fn send(&self, now: Time, bytes: &[u8]) {
        self.socket.send(now, self.server, bytes);
    }

    /// Seals RTCP and sends it.
    pub fn send_rtcp(&mut self, now: Time, plain: &[u8]) {
        let mut out = [0; RTCP_BYTES_MAX];
        let Some(sealer) = &self.sealer else { return };
        let sealed = sealer.rtcp(self.rtcp_index, plain, &mut out);
        self.rtcp_index += 1;
        if let Some(bytes) = sealed {
            self.send(now, &out[..bytes]);
        }
    }

    /// Says goodbye by DTLS.
    pub fn close(&mut self, now: Time) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close();
        }
        self.flush(now);
    }

    fn on_stun(&mut self, now: Time, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        let is_authentic = message.verify_integrity(self.answer.pwd.as_bytes());
        if !is_authentic || message.class() != Kind::Success {
            return;
        }
        self.answered_at = Some(now);
        if self.dtls.is_none() {
            let seed = self.random.next_u64();
            let wanted = &self.answer.fingerprint;
            self.dtls = Some(Dtls::start(now, wanted, self.version13, seed));
        }
    }

    /// True if it has just come to its end.
    fn shake_hands(&mut self, now: Time) -> bool {
        let Some(dtls) = &mut self.dtls else {
            return false;
        };
        if dtls.due.is_some_and(|due| due <= now) {
            dtls.timeout(now);
        }
        let keys = dtls.keys();
        let is_done = keys.is_some();
        if let Some(keys) = keys {
            self.opener = Some(keys.opener);
            self.sealer = Some(keys.sealer);
            self.check_at = now + CONSENT;
        }
        self.flush(now);
        is_done
    }

    fn flush(&mut self, now: Time) {
        let out = self.dtls.as_mut().map(|dtls| std::mem::take(&mut dtls.out));
        for datagram in out.into_iter().flatten() {
            self.send(now, &datagram);
        }
    }

    fn check(&mut self, now: Time) {
        let wait = if self.is_connected() { CONSENT } else { CHECK };
        self.check_at = now + wait;
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&self.random.bytes(12));
        let request = Request {
            transaction,
            remote_ufrag: self.answer.ufrag.as_bytes(),
            local_ufrag: UFRAG.as_bytes(),
            key: self.answer.pwd.as_bytes(),
            priority: 100,
            role: Role::Controlling(9),
            use_candidate: true,
        };
        let mut out = [0; 256];
        let bytes = request.write(&mut out);
        self.send(now, &out[..bytes]);
    }
}
