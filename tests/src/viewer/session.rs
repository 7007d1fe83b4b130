//! Owns one synthetic viewer after its POST: checks, handshake, media, reports.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use wire::demux::{Class, classify};
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::{write_nack, write_pli, write_remb};
use wire::rtcp_report::{ReportBlock, write_receiver_report};
use wire::rtp::Packet;
use wire::rtp_ext::Elements;

use super::answer::{Answer, unix_ns};
use super::dtls::{Handshake, Identity, Keys};
use super::track::Track;

/// The type of a record that is an alert (RFC 6347 section 4.1, RFC 5246 section 6.2.1).
const ALERT: u8 = 21;

/// Time between checks once connected, as Chromium has it.
const CONSENT: Duration = Duration::from_millis(2500);

/// Time after which an unanswered check or flight is repeated.
const REPEAT: Duration = Duration::from_millis(250);

/// Time between receiver reports.
const REPORT: Duration = Duration::from_secs(1);

/// Room for what a viewer is sent while its thread is busy with others.
const SOCKET_BYTES: usize = 4 << 20;

/// A run that the kernel hands over at once.
const RUN_BYTES: usize = 65536;

/// Of the ages of packets, how many are kept.
const AGES_MAX: usize = 4096;

/// What came beside a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The payload.
    pub payload: Vec<u8>,
    /// Header-extension elements: identifier and value.
    pub elements: Vec<(u8, Vec<u8>)>,
}

/// One viewer.
pub struct Session {
    socket: UdpSocket,
    answer: Answer,
    location: String,
    identity_hello: Option<Handshake>,
    keys: Option<Keys>,
    is_reachable: bool,
    is_nominated: bool,
    last_check: Option<Instant>,
    last_flight: Option<Instant>,
    last_report: Instant,
    checks: u64,
    answers: u64,
    rtcp_index: u32,
    tracks: Vec<Track>,
    refused: BTreeMap<String, u64>,
    ages_us: Vec<i64>,
    beside: Vec<Beside>,
    error: Option<String>,
    is_closed: bool,
    /// What it says that its path carries, if it says so.
    path_bps: Option<u64>,
}

impl Session {
    /// Opens a socket and sends the first check.
    pub(super) fn start(
        identity: &Identity,
        answer: Answer,
        location: String,
    ) -> Result<Self, String> {
        let socket = open(answer.candidate).map_err(|error| error.to_string())?;
        let hello = Handshake::start(identity, &answer.fingerprint);
        let mut this = Self {
            socket,
            tracks: answer
                .tracks
                .iter()
                .map(|ssrcs| Track::new(*ssrcs))
                .collect(),
            answer,
            location,
            identity_hello: Some(hello.map_err(|error| error.to_string())?),
            keys: None,
            is_reachable: false,
            is_nominated: false,
            last_check: None,
            last_flight: None,
            last_report: Instant::now(),
            checks: 0,
            answers: 0,
            rtcp_index: 0,
            refused: BTreeMap::new(),
            ages_us: Vec::new(),
            beside: Vec::new(),
            error: None,
            is_closed: false,
            path_bps: None,
        };
        this.check(Instant::now());
        Ok(this)
    }

    /// What nobody else may know: the exported keys, once there are any, and the server's password.
    #[must_use]
    pub fn secrets(&self) -> (&[u8], &str) {
        let keys = self.keys.as_ref();
        (keys.map_or(&[], |keys| &keys.exported), &self.answer.pwd)
    }

    /// The first packets that had something beside their payload.
    #[must_use]
    pub fn beside(&self) -> &[Beside] {
        &self.beside
    }

    /// The socket, to send strange things from.
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Path of the session on the server.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// True once keys are there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    /// True once the server has said something by an alert of DTLS after the handshake: that it
    /// closes.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Checks that the server answered.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Video and audio, as the answer has them.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Datagrams that SRTP refused, by reason.
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<String, u64> {
        &self.refused
    }

    /// See [`super::Report::ages_us`].
    #[must_use]
    pub fn ages_us(&self) -> &[i64] {
        &self.ages_us
    }

    /// Goes on from a new socket, as after a change of network; no check is sent from it yet.
    ///
    /// # Errors
    /// The system's.
    pub fn datagram(&self, bytes: &[u8]) -> std::io::Result<usize> {
        self.socket.send(bytes)
    }

    /// Asks again for packets of the first track.
    pub fn nack(&mut self, sequences: &[u16]) {
        let Some(ssrc) = self.tracks.first().map(|track| track.ssrc) else {
            return;
        };
        let mut packet = [0; 1024];
        let bytes = write_nack(1, ssrc, sequences, &mut packet);
        self.send_rtcp(&packet[..bytes]);
    }

    /// Asks for a keyframe of the first track.
    pub fn pli(&mut self) {
        let Some(ssrc) = self.tracks.first().map(|track| track.ssrc) else {
            return;
        };
        let mut packet = [0; 64];
        let bytes = write_pli(1, ssrc, &mut packet);
        self.send_rtcp(&packet[..bytes]);
    }

    /// Says with every report from now on that its path carries so much (REMB).
    pub fn say_bps(&mut self, bps: u64) {
        self.path_bps = Some(bps);
    }

    /// Seals and sends any RTCP.
    pub fn send_rtcp(&mut self, packet: &[u8]) {
        let Some(keys) = &self.keys else { return };
        let mut out = [0; 1500];
        if let Some(bytes) = keys.sealer.rtcp(self.rtcp_index, packet, &mut out) {
            self.rtcp_index += 1;
            self.send(&out[..bytes]);
        }
    }

    pub(super) fn forget(&mut self) {
        self.tracks.iter_mut().for_each(Track::forget);
        self.refused.clear();
        self.ages_us.clear();
    }

    /// Takes everything that has arrived.
    pub(super) fn receive(&mut self) {
        let mut buffer = [0; RUN_BYTES];
        let mut space = nix::cmsg_space!(i32);
        loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let descriptor = self.socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let got = recvmsg::<SockaddrStorage>(descriptor, &mut parts, Some(&mut space), flags);
            let Ok(got) = got else { return };
            let bytes = got.bytes;
            let mut segment = bytes.max(1);
            for message in got.cmsgs().into_iter().flatten() {
                if let ControlMessageOwned::UdpGroSegments(size) = message {
                    segment = usize::try_from(size).unwrap_or(segment).max(1);
                }
            }
            let now = Instant::now();
            for datagram in buffer[..bytes].chunks_mut(segment) {
                self.datagram_in(now, datagram);
            }
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        let pause = if self.is_connected() { CONSENT } else { REPEAT };
        let is_due = |last: Option<Instant>, pause| last.is_none_or(|at| now - at >= pause);
        if is_due(self.last_check, pause) {
            self.check(now);
        }
        if !self.is_connected() && self.is_reachable && is_due(self.last_flight, REPEAT) {
            self.send_flight(now);
        }
        if self.is_connected() && now - self.last_report >= REPORT {
            self.last_report = now;
            self.report();
        }
    }

    fn datagram_in(&mut self, now: Instant, bytes: &mut [u8]) {
        match classify(bytes) {
            Class::Stun => self.stun_in(now, bytes),
            Class::Dtls => self.dtls_in(now, bytes),
            Class::Rtp => self.rtp_in(now, bytes),
            Class::Rtcp => self.rtcp_in(bytes),
            _ => *self.refused.entry("neither".into()).or_default() += 1,
        }
    }

    fn stun_in(&mut self, now: Instant, bytes: &[u8]) {
        if !self.answer.is_answered_by(bytes) {
            return;
        }
        self.answers += 1;
        if !self.is_reachable {
            self.is_reachable = true;
            self.send_flight(now);
        }
        if !self.is_nominated {
            self.is_nominated = true;
            self.check(now);
        }
    }

    fn dtls_in(&mut self, now: Instant, bytes: &[u8]) {
        self.is_closed |= self.is_connected() && bytes.first() == Some(&ALERT);
        let Some(handshake) = &mut self.identity_hello else {
            return;
        };
        if self.keys.is_some() {
            return;
        }
        match handshake.receive(bytes) {
            Ok(keys) => self.keys = keys,
            Err(error) => self.error = Some(error),
        }
        if self.keys.is_none() {
            self.send_flight(now);
        } else {
            self.last_report = now;
            self.identity_hello = None;
        }
    }

    fn rtp_in(&mut self, now: Instant, bytes: &mut [u8]) {
        let Some(keys) = &mut self.keys else { return };
        match keys.opener.rtp(bytes) {
            Ok(opened) => {
                let Ok(packet) = Packet::parse(opened.packet) else {
                    return;
                };
                if let Some(extension) = packet.extension()
                    && self.beside.len() < AGES_MAX
                {
                    let all = Elements::new(extension);
                    self.beside.push(Beside {
                        payload: packet.payload().to_vec(),
                        elements: all.map(|one| (one.id, one.data.to_vec())).collect(),
                    });
                }
                let (ssrc, timestamp) = (packet.ssrc(), packet.timestamp());
                let (index, payload) = (opened.index, packet.payload());
                let found = self
                    .tracks
                    .iter_mut()
                    .enumerate()
                    .find(|(_, track)| track.ssrc == ssrc || track.rtx_ssrc == ssrc);
                match found {
                    Some((_, track)) if track.rtx_ssrc == ssrc => track.retransmissions += 1,
                    Some((lane, track)) => {
                        track.take(now, index, timestamp, payload);
                        if lane == 0 && packet.marker() && self.ages_us.len() < AGES_MAX {
                            self.ages_us
                                .extend(track.age_us(unix_ns(), timestamp, 90_000));
                        }
                    }
                    None => *self.refused.entry("strange SSRC".into()).or_default() += 1,
                }
            }
            Err(refusal) => *self.refused.entry(format!("{refusal:?}")).or_default() += 1,
        }
    }

    fn rtcp_in(&mut self, bytes: &mut [u8]) {
        let Some(keys) = &mut self.keys else { return };
        let Ok(packet) = keys.opener.rtcp(bytes) else {
            *self.refused.entry("SRTCP".into()).or_default() += 1;
            return;
        };
        for item in compound(packet) {
            if let Item::SenderReport(report) = item {
                let info = report.info;
                if let Some(track) = self.tracks.iter_mut().find(|one| one.ssrc == info.ssrc) {
                    track.report = Some((info.ntp.to_unix_ns(), info.rtp_timestamp));
                }
            }
        }
    }

    fn check(&mut self, now: Instant) {
        self.checks += 1;
        self.last_check = Some(now);
        let mut out = [0; 256];
        let bytes = self.answer.check(self.checks, self.is_nominated, &mut out);
        self.send(&out[..bytes]);
    }

    fn send_flight(&mut self, now: Instant) {
        self.last_flight = Some(now);
        let Some(handshake) = &self.identity_hello else {
            return;
        };
        for datagram in handshake.flight() {
            self.send(datagram);
        }
    }

    fn report(&mut self) {
        let blocks: Vec<ReportBlock> = self
            .tracks
            .iter()
            .filter_map(|track| {
                let (_, highest) = track.span?;
                let highest_sequence = u32::try_from(highest & 0xffff_ffff).unwrap_or(0);
                let lost = i32::try_from(track.lost()).unwrap_or(0);
                let ssrc = track.ssrc;
                let cumulative_lost = lost;
                Some(ReportBlock {
                    ssrc,
                    highest_sequence,
                    cumulative_lost,
                    ..Default::default()
                })
            })
            .collect();
        let mut packet = [0; 256];
        let bytes = write_receiver_report(1, &blocks, b"crowd", &mut packet);
        self.send_rtcp(&packet[..bytes]);
        let video = self.tracks.first().map(|track| track.ssrc);
        if let Some((bps, ssrc)) = self.path_bps.zip(video) {
            let bytes = write_remb(1, bps, &[ssrc], &mut packet);
            self.send_rtcp(&packet[..bytes]);
        }
    }

    fn send(&self, bytes: &[u8]) {
        // What does not leave is lost, as on any network, and repeated where it matters.
        let _ = self.socket.send(bytes);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("location", &self.location)
            .field("local", &self.socket.local_addr().ok())
            .field("is_reachable", &self.is_reachable)
            .field("checks", &self.checks)
            .field("answers", &self.answers)
            .field("is_connected", &self.is_connected())
            .field("error", &self.error)
            .field("tracks", &self.tracks)
            .finish_non_exhaustive()
    }
}

fn open(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    // Without privilege, or before Linux 5.0, it works with less.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BYTES);
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BYTES);
    let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
    Ok(socket)
}
