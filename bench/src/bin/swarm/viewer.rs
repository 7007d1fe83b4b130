//! Owns one viewer from its answer on: a socket, checks, the handshake, media.

mod socket;
mod speak;
mod track;

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use seal::{Opener, Sealer};
use tools::viewer::{Answer, Handshake, Identity};
use wire::demux::{Class, classify};
use wire::rtcp::{Item, compound};
use wire::rtp::Packet;

use crate::options::Check;
use crate::stamp;
use crate::tally::{Media, Tally};
pub use socket::{Inbox, bind, tune};
use track::{Track, note};

/// First wait for the answer to a check or a flight; doubled each time, up to [`REPEAT_MAX`].
const REPEAT: Duration = Duration::from_millis(250);
/// See [`REPEAT`].
const REPEAT_MAX: Duration = Duration::from_secs(2);

/// So long a viewer waits for its first valid check, then for keys, then for media.
const STEP_MAX: Duration = Duration::from_secs(20);

/// RFC 7675 section 5.1: consent is asked for every 5 s.
const CONSENT: Duration = Duration::from_secs(5);

/// Reports of viewers that look at everything: as often as browsers'.
const REPORT_FULL: Duration = Duration::from_secs(1);
/// Of those that only count: RFC 3550 section 6.2, the least interval of its timing rules.
const REPORT_COUNT: Duration = Duration::from_secs(5);

/// After its first packet a viewer catches up with the last keyframe: what comes meanwhile is old.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Ticks a second of video.
const VIDEO_HZ: i64 = 90_000;

/// What came of something that was done to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing to tell.
    None,
    /// Its first packet has come.
    Joined,
    /// It will not join any more: why.
    Failed(&'static str),
}

/// What all viewers of a thread share.
pub struct Shared {
    /// Certificate and settings of DTLS.
    pub identity: Identity,
    /// How they look.
    pub check: Check,
}

/// One viewer.
pub struct Viewer {
    socket: UdpSocket,
    answer: Answer,
    location: String,
    handshake: Option<Box<Handshake>>,
    opener: Option<Box<Opener>>,
    sealer: Option<Box<Sealer>>,
    rtcp_index: u32,
    step: Step,
    /// When it wanted to join, and when its granted request left.
    wished: Instant,
    posted: Instant,
    step_ends: Instant,
    settled_at: Instant,
    repeat: Duration,
    next: Instant,
    next_report: Option<Instant>,
    checks: u64,
    tracks: [Track; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Checking,
    Shaking,
    Waiting,
    Playing,
}

impl Viewer {
    /// Opens a socket and sends the first check. `number` spreads viewers over local addresses.
    ///
    /// # Errors
    /// The system's: no descriptor, no port.
    pub fn start(
        (answer, location): (Answer, String),
        (wished, posted): (Instant, Instant),
        number: u32,
        now: Instant,
    ) -> io::Result<Self> {
        let socket = bind(answer.candidate, number)?;
        tune(&socket);
        let mut tracks = [Track::default(), Track::default()];
        for (track, ssrcs) in tracks.iter_mut().zip(&answer.tracks) {
            *track = Track::new(*ssrcs);
        }
        let mut this = Self {
            socket,
            answer,
            location,
            handshake: None,
            opener: None,
            sealer: None,
            rtcp_index: 0,
            step: Step::Checking,
            wished,
            posted,
            step_ends: now + STEP_MAX,
            settled_at: now,
            repeat: REPEAT,
            next: now + REPEAT,
            next_report: None,
            checks: 0,
            tracks,
        };
        this.check(false);
        Ok(this)
    }

    /// Where the session is.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// To be watched.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// When [`Viewer::tick`] is wanted.
    pub fn due(&self) -> Instant {
        self.next_report
            .map_or(self.next, |report| report.min(self.next))
    }

    /// Takes what has come: one look, as the descriptor goes on being ready if there is more.
    /// `phase`: where it counts, if it does.
    pub fn receive(
        &mut self,
        shared: &Shared,
        inbox: &mut Inbox,
        tally: &mut Tally,
        phase: Option<usize>,
        now: Instant,
    ) -> News {
        let Some((datagrams, arrived)) = inbox.receive(&self.socket) else {
            return News::None;
        };
        let mut news = News::None;
        let mut unused = Media::default();
        for datagram in datagrams {
            let said = match classify(datagram) {
                Class::Stun => self.stun(shared, datagram, now),
                Class::Dtls => self.dtls(shared, datagram, tally, now),
                Class::Rtp => {
                    let media = phase.map_or(&mut unused, |at| &mut tally.media[at]);
                    match self.rtp(datagram, media, arrived, now) && self.step == Step::Waiting {
                        true => self.joined(tally, now),
                        false => News::None,
                    }
                }
                Class::Rtcp => {
                    self.rtcp(datagram);
                    News::None
                }
                Class::Unknown => News::None,
            };
            if said != News::None {
                news = said;
            }
        }
        news
    }

    /// Does what is due.
    pub fn tick(&mut self, shared: &Shared, now: Instant) -> News {
        if self.step < Step::Playing && now >= self.step_ends {
            return News::Failed(match self.step {
                Step::Checking => "ice: no answer to a check",
                Step::Shaking => "dtls: not finished in time",
                Step::Waiting | Step::Playing => "media: nothing came",
            });
        }
        if self.next <= now {
            match self.step {
                Step::Checking => self.check(false),
                Step::Shaking => {
                    if let Some(handshake) = &mut self.handshake {
                        handshake.renew();
                    }
                    self.send_flight();
                }
                Step::Waiting | Step::Playing => self.check(true),
            }
            self.repeat = match self.step {
                Step::Checking | Step::Shaking => (self.repeat * 2).min(REPEAT_MAX),
                Step::Waiting | Step::Playing => CONSENT,
            };
            self.next = now + self.repeat;
        }
        if self.next_report.is_some_and(|at| at <= now) {
            self.report();
            self.next_report = Some(now + report_every(shared.check));
        }
        News::None
    }

    fn joined(&mut self, tally: &mut Tally, now: Instant) -> News {
        self.step = Step::Playing;
        self.settled_at = now + SETTLED_AFTER;
        tally.joined += 1;
        tally.join.add(micros(now - self.wished));
        tally.first.add(micros(now - self.posted));
        News::Joined
    }

    fn enter(&mut self, step: Step, now: Instant) {
        self.step = step;
        self.step_ends = now + STEP_MAX;
        self.repeat = match step {
            Step::Checking | Step::Shaking => REPEAT,
            Step::Waiting | Step::Playing => CONSENT,
        };
        self.next = now + self.repeat;
    }

    fn stun(&mut self, shared: &Shared, bytes: &[u8], now: Instant) -> News {
        // Answers to later checks tell nothing that would be worth their verification.
        if self.step != Step::Checking {
            return News::None;
        }
        if !self.answer.is_answered_by(bytes) {
            return News::None;
        }
        self.check(true);
        match Handshake::start(&shared.identity, &self.answer.fingerprint) {
            Ok(handshake) => self.handshake = Some(Box::new(handshake)),
            Err(_) => return News::Failed("dtls: OpenSSL does not start"),
        }
        self.enter(Step::Shaking, now);
        self.send_flight();
        News::None
    }

    fn dtls(&mut self, shared: &Shared, bytes: &[u8], tally: &mut Tally, now: Instant) -> News {
        let Some(handshake) = &mut self.handshake else {
            return News::None;
        };
        match handshake.receive(bytes) {
            Ok(None) => {
                if handshake.has_news() {
                    self.send_flight();
                }
                News::None
            }
            Ok(Some(keys)) => {
                tally.keys.add(micros(now - self.posted));
                self.handshake = None;
                self.sealer = Some(Box::new(keys.sealer));
                if shared.check == Check::Full {
                    self.opener = Some(Box::new(keys.opener));
                }
                self.enter(Step::Waiting, now);
                self.next_report = Some(now + report_every(shared.check));
                News::None
            }
            Err(_) => News::Failed("dtls: refused"),
        }
    }

    /// True if it was a packet of a track.
    fn rtp(&mut self, bytes: &mut [u8], media: &mut Media, arrived: u64, now: Instant) -> bool {
        media.bytes += bytes.len() as u64;
        let read = match &mut self.opener {
            Some(opener) => {
                let Ok(opened) = opener.rtp(bytes) else {
                    note(media, "SRTP");
                    return false;
                };
                Packet::parse(opened.packet)
            }
            None if self.step < Step::Waiting => return false,
            None => Packet::parse_sealed(bytes),
        };
        let Ok(packet) = read else {
            note(media, "not RTP");
            return false;
        };
        let ssrc = packet.ssrc();
        let is_settled = self.step == Step::Playing && now >= self.settled_at;
        let mut tracks = self.tracks.iter_mut();
        let found = tracks.position(|track| track.ssrc == ssrc || track.rtx_ssrc == ssrc);
        let Some(lane) = found else {
            note(media, "strange SSRC");
            return false;
        };
        let track = &mut self.tracks[lane];
        if track.ssrc != ssrc {
            return false;
        }
        let timestamp = packet.timestamp();
        track.take((packet.sequence(), timestamp), media, now, is_settled);
        if is_settled && self.opener.is_some() {
            let sent = stamp::read(packet.payload());
            let by_stamp = sent.map(|sent| arrived.saturating_sub(sent) / 1000);
            // The frames of others: from their capture, by reports.
            let by_report = || match lane == 0 && packet.marker() {
                true => track.age_us(arrived, timestamp, VIDEO_HZ),
                false => None,
            };
            let age = by_stamp.or_else(|| by_report().and_then(|us| us.try_into().ok()));
            if let Some(us) = age {
                media.latency.add(us);
            }
        }
        true
    }

    fn rtcp(&mut self, bytes: &mut [u8]) {
        let Some(opener) = &mut self.opener else {
            return;
        };
        let Ok(packet) = opener.rtcp(bytes) else {
            return;
        };
        for item in compound(packet) {
            if let Item::SenderReport(report) = item {
                let info = report.info;
                let mut tracks = self.tracks.iter_mut();
                if let Some(track) = tracks.find(|one| one.ssrc == info.ssrc) {
                    track.report = Some((info.ntp.to_unix_ns(), info.rtp_timestamp));
                }
            }
        }
    }
}

fn report_every(check: Check) -> Duration {
    match check {
        Check::Full => REPORT_FULL,
        Check::Count => REPORT_COUNT,
    }
}

/// Whole microseconds.
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
