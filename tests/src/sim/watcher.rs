//! Owns a viewer: it comes, watches, asks for what is missing, and comes again when it is told
//! that its session is no more.

use wire::demux::Class;
use wire::rtcp_feedback::{write_nack, write_pli, write_remb};
use wire::rtcp_report::write_receiver_report;
use wire::time::{Span, Time};

use super::client::Client;
use super::picture::Picture;
use super::plan::{Leave, PATHS_BPS, ViewerPlan};
use super::sidecar::Sidecar;
use super::source::LAYERS_MAX;
use super::stage::Stage;

/// After a refusal or without an answer by HTTP, the next try.
const AGAIN: Span = Span::millis(300);

/// Without media for so long, it asks whether its session lives.
const PATIENCE: Span = Span::millis(1500);

/// A handshake that takes longer is begun anew.
const HANDSHAKE: Span = Span::millis(4000);

/// Between two receiver reports.
const REPORT: Span = Span::millis(1000);

/// A viewer's password after a restart of ICE; nobody checks us.
const NEW_PWD: &str = "againagainagainagain0001";

/// Between two words of what its path carries, as Chromium does it without transport feedback.
const ESTIMATE: Span = Span::millis(200);

/// Of its reports in a storm, one in so many comes with feedback that makes no sense.
const NONSENSE: usize = 3;

/// How long a restless viewer stays away.
const PAUSE: Span = Span::millis(400);

/// A viewer.
pub struct Watcher {
    /// Which of all.
    pub number: usize,
    plan: ViewerPlan,
    state: State,
    restless_at: Option<Time>,
    /// How often it was told that its session is no more.
    pub told: u32,
    /// What its path carries, which it says.
    pub carries_bps: u64,
}

enum State {
    Away(Time),
    Here(Box<Here>),
    Gone,
}

struct Here {
    id: String,
    client: Client,
    picture: Picture,
    came: Time,
    asks_at: Time,
    report_at: Time,
    estimate_at: Time,
    has_moved: bool,
    /// It may say what its path carries: it came when a publisher of several encodings was known.
    is_asked: bool,
}

impl Watcher {
    /// One that comes when its plan says so, from `now` on.
    #[must_use]
    pub fn new(number: usize, plan: ViewerPlan, now: Time) -> Self {
        Self {
            number,
            plan,
            state: State::Away(now + plan.comes),
            restless_at: plan.restless.map(|after| now + plan.comes + after),
            told: 0,
            carries_bps: PATHS_BPS[LAYERS_MAX - 1],
        }
    }

    /// Does what is due. `desk`: whom its requests reach.
    pub fn turn(&mut self, stage: &mut Stage, desk: Option<&mut Sidecar>) {
        let now = stage.now;
        match &mut self.state {
            State::Away(until) if *until <= now => self.come(stage, desk),
            State::Away(_) | State::Gone => {}
            State::Here(here) => {
                here.watch(stage, self.carries_bps);
                let is_restless = stage.is_stormy && self.restless_at.is_some_and(|at| at <= now);
                if is_restless {
                    self.restless_at = None;
                    self.end(stage, desk);
                    self.state = State::Away(now + PAUSE);
                } else {
                    self.look(stage, desk);
                }
            }
        }
    }

    /// Restarts ICE.
    pub fn restart_ice(&mut self, stage: &mut Stage, desk: Option<&mut Sidecar>) {
        let (State::Here(here), Some(desk)) = (&mut self.state, desk) else {
            return;
        };
        let number = stage.random.below(1000);
        let fragment = format!("a=ice-ufrag:again{number:03}\r\na=ice-pwd:{NEW_PWD}\r\n");
        if let Some((ufrag, pwd)) = desk.restart_ice(stage.now, &here.id, &fragment) {
            here.client.restart(stage.now, ufrag, pwd);
        }
    }

    /// Chooses one layer, or all.
    pub fn choose(&self, now: Time, one: bool, desk: Option<&mut Sidecar>) {
        self.pin(now, one.then_some(0), desk);
    }

    /// Chooses one encoding, or what its path carries.
    pub fn pin(&self, now: Time, layer: Option<usize>, desk: Option<&mut Sidecar>) {
        if let (State::Here(here), Some(desk)) = (&self.state, desk) {
            desk.choose_layer(now, &here.id, layer);
        }
    }

    /// Ticks of the clock of its video by which the last packet was late.
    #[must_use]
    pub fn late_ticks(&self) -> u32 {
        match &self.state {
            State::Here(here) => here.picture.late_ticks,
            _ => 0,
        }
    }

    /// What it has got, while it is here.
    #[must_use]
    pub fn picture(&self) -> Option<&Picture> {
        match &self.state {
            State::Here(here) => Some(&here.picture),
            State::Away(_) | State::Gone => None,
        }
    }

    /// True if it may say what its path carries.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        matches!(&self.state, State::Here(here) if here.is_asked)
    }

    /// Changes from one encoding to another, as long as it is here.
    #[must_use]
    pub fn switches(&self) -> u64 {
        self.picture().map_or(0, |picture| picture.switches.into())
    }

    /// Leaves for good.
    pub fn leave(&mut self, stage: &mut Stage, desk: Option<&mut Sidecar>) {
        self.end(stage, desk);
        self.state = State::Gone;
    }

    /// The client, while it is here.
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        match &self.state {
            State::Here(here) => Some(&here.client),
            State::Away(_) | State::Gone => None,
        }
    }

    /// Its address changes. It is told from those who stay: a sidecar that died in that moment may
    /// know the old address only.
    pub fn moves(&mut self, now: Time, says_so: bool) {
        if let State::Here(here) = &mut self.state {
            here.client.rebind(now, says_so);
            here.has_moved = true;
        }
    }

    /// True if its address has changed in this session.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        matches!(&self.state, State::Here(here) if here.has_moved)
    }

    /// The session that it believes to be in, if it has keys.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        match &self.state {
            State::Here(here) if here.client.is_connected() => Some(&here.id),
            _ => None,
        }
    }

    /// When media has last come in its session.
    #[must_use]
    pub fn media_at(&self) -> Option<Time> {
        match &self.state {
            State::Here(here) => here.picture.media_at,
            _ => None,
        }
    }

    /// Index of its stream.
    #[must_use]
    pub fn stream(&self) -> usize {
        self.plan.stream
    }

    fn come(&mut self, stage: &mut Stage, desk: Option<&mut Sidecar>) {
        let now = stage.now;
        self.state = State::Away(now + AGAIN);
        let number = self.number;
        let Some(desk) = desk else { return };
        let posted = desk.whep_post(now, self.plan.stream);
        let (id, answer, is_asked) = match posted {
            Ok(posted) => posted,
            Err(status) => {
                return stage
                    .journal
                    .note(format_args!("viewer {number}: {status}"));
            }
        };
        let name = format!("viewer {number}");
        let stream = u8::try_from(self.plan.stream).unwrap_or(u8::MAX);
        let ssrcs = answer.tracks.clone();
        let is_exact = !desk.is_by_whip(self.plan.stream);
        let client = stage.client(answer);
        let at = client.address();
        stage
            .journal
            .note(format_args!("{name} has posted, from {at}"));
        self.state = State::Here(Box::new(Here {
            id,
            client,
            picture: Picture::new(name, (stream, is_exact), ssrcs, stage.journal.clone()),
            came: now,
            asks_at: now + PATIENCE,
            report_at: now + REPORT,
            estimate_at: now,
            has_moved: false,
            is_asked,
        }));
    }

    /// Is everything as it should be?
    fn look(&mut self, stage: &mut Stage, desk: Option<&mut Sidecar>) {
        let (now, number) = (stage.now, self.number);
        let State::Here(here) = &mut self.state else {
            return;
        };
        let is_slow = !here.client.is_connected() && now.since(here.came) >= HANDSHAKE;
        if here.client.is_over() || is_slow {
            let why = if is_slow {
                "gives up"
            } else {
                "is turned away"
            };
            stage.journal.note(format_args!("viewer {number} {why}"));
            if let Some(desk) = desk {
                desk.delete(now, &here.id);
            }
            self.state = State::Away(now + AGAIN);
            return;
        }
        let last = here
            .picture
            .media_at
            .map_or(here.came, |at| at.max(here.came));
        if now.since(last) < PATIENCE || now < here.asks_at {
            return;
        }
        here.asks_at = now + AGAIN;
        let Some(desk) = desk else { return };
        if !desk.knows(&here.id) {
            stage
                .journal
                .note(format_args!("viewer {number} is told: 404"));
            self.told += 1;
            self.state = State::Away(now);
        }
    }

    fn end(&mut self, stage: &mut Stage, desk: Option<&mut Sidecar>) {
        let (now, number) = (stage.now, self.number);
        let State::Here(here) = &mut self.state else {
            return;
        };
        let leaves = self.plan.leaves;
        stage
            .journal
            .note(format_args!("viewer {number} leaves: {leaves:?}"));
        match (leaves, desk) {
            (Leave::Deletes, Some(desk)) => desk.delete(now, &here.id),
            (Leave::Closes, _) => here.client.close(now),
            (Leave::Deletes | Leave::Vanishes, _) => {}
        }
    }
}

impl Here {
    fn watch(&mut self, stage: &mut Stage, carries_bps: u64) {
        let now = stage.now;
        let arrived = self.client.turn(now);
        if arrived.is_connected {
            let at = self.client.address();
            stage.journal.note(format_args!("{at} has keys"));
        }
        for (class, mut datagram) in arrived.media {
            let Some(opener) = self.client.opener() else {
                continue;
            };
            match class {
                Class::Rtp => self.picture.rtp(now, opener, &mut datagram),
                _ => stage.reports += u64::from(opener.rtcp(&mut datagram).is_ok()),
            }
        }
        if self.client.is_connected() {
            self.ask(stage);
            if self.is_asked && stage.now >= self.estimate_at {
                self.estimate_at = stage.now + ESTIMATE;
                let mut plain = [0; 64];
                let bytes = write_remb(1, carries_bps, &[self.picture.ssrc()], &mut plain);
                self.client.send_rtcp(stage.now, &plain[..bytes]);
            }
        }
    }

    fn ask(&mut self, stage: &mut Stage) {
        let now = stage.now;
        let mut plain = [0; 512];
        let wanted = self.picture.wanted(now);
        let ssrc = self.picture.ssrc();
        if !wanted.is_empty() {
            let bytes = write_nack(1, ssrc, &wanted, &mut plain);
            self.client.send_rtcp(now, &plain[..bytes]);
        }
        if let Some(ssrc) = self.picture.call(now) {
            let bytes = write_pli(1, ssrc, &mut plain);
            self.client.send_rtcp(now, &plain[..bytes]);
        }
        if now >= self.report_at {
            self.report_at = now + REPORT;
            let bytes = write_receiver_report(1, &[], b"", &mut plain);
            self.client.send_rtcp(now, &plain[..bytes]);
            if stage.is_stormy && stage.random.below(NONSENSE) == 0 {
                let any = |_| u16::try_from(stage.random.next_u64() >> 48).unwrap_or(0);
                let lost: Vec<u16> = (0..32).map(any).collect();
                let bytes = write_nack(1, ssrc, &lost, &mut plain);
                self.client.send_rtcp(now, &plain[..bytes]);
                let bytes = write_pli(1, ssrc, &mut plain);
                self.client.send_rtcp(now, &plain[..bytes]);
            }
        }
    }
}
