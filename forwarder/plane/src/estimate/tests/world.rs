//! Owns a viewer in virtual time: a bottleneck, a receiver that tells what came, an encoder of
//! three layers, and a plane that does what it is told.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::{Message, TRANSPORT_BYTES_MAX, TransportCc, TransportRecorder};

use super::super::*;
use crate::random::Random;

pub const LAYERS: [u32; 3] = [150_000, 500_000, 1_700_000];

/// How a receiver answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    Transport,
    /// An estimate of its own every second.
    Remb,
    /// Losses every second.
    Reports,
}

#[derive(Clone, Copy)]
pub struct Path {
    pub bps: u64,
    pub queue_ms: u64,
    pub base_ms: u64,
    pub jitter_ms: u32,
    /// Of a thousand.
    pub loss: u32,
    pub feedback_ms: u64,
    /// Of a thousand.
    pub feedback_loss: u32,
    pub is_mute: bool,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            bps: 5_000_000,
            queue_ms: 300,
            base_ms: 20,
            jitter_ms: 2,
            loss: 0,
            feedback_ms: 70,
            feedback_loss: 50,
            is_mute: false,
        }
    }
}

/// Numbers of a run.
#[derive(Default)]
pub struct Log {
    /// Layer chosen, each 50 ms.
    pub layers: Vec<usize>,
    pub estimates: Vec<u64>,
    pub queues_ms: Vec<u64>,
    pub switches: Vec<u64>,
    pub padding_bytes: u64,
    pub media_bytes: u64,
}

pub struct World {
    pub ms: u64,
    pub path: Path,
    pub answers: Answers,
    pub estimator: Estimator,
    pub choice: Choice,
    pub cap: Option<usize>,
    pub log: Log,
    pub rates: [u32; 3],
    pub is_live: [bool; 3],
    random: Random,
    sequence: u16,
    chosen: usize,
    /// What is really sent: the chosen one from its next keyframe on.
    sending: usize,
    switch_at: u64,
    frame: u64,
    wants_keyframe: bool,
    queue_bytes: u64,
    drained_us: u64,
    last_arrival_us: u64,
    flying: BinaryHeap<Reverse<(u64, u16, u32)>>,
    recorder: TransportRecorder,
    feedback: VecDeque<(u64, Vec<u8>)>,
    next_feedback: u64,
    received: VecDeque<(u64, u32)>,
    highest: Option<u16>,
    came: u32,
    remb: f64,
}

impl World {
    pub fn new(seed: u64, path: Path, answers: Answers) -> Self {
        let start = Time::ZERO + Span::millis(3_600_000);
        let mut random = Random::new(seed);
        let sequence = u16::try_from(random.below(65_536)).unwrap();
        Self {
            ms: 0,
            path,
            answers,
            estimator: Estimator::new(start, 300_000),
            choice: Choice::new(),
            cap: None,
            log: Log::default(),
            rates: LAYERS,
            is_live: [true; 3],
            random,
            sequence,
            chosen: 0,
            sending: 0,
            switch_at: 0,
            frame: 0,
            wants_keyframe: true,
            queue_bytes: 0,
            drained_us: 0,
            last_arrival_us: 0,
            flying: BinaryHeap::new(),
            recorder: TransportRecorder::new(),
            feedback: VecDeque::new(),
            next_feedback: if answers == Answers::Transport {
                60
            } else {
                1_000
            },
            received: VecDeque::new(),
            highest: None,
            came: 0,
            remb: 300_000.0,
        }
    }

    pub fn now(&self) -> Time {
        Time::ZERO + Span::millis(3_600_000 + self.ms)
    }

    pub fn layer(&self) -> usize {
        self.chosen
    }

    /// Queue of the bottleneck.
    pub fn queue_ms(&self) -> u64 {
        self.queue_bytes * 8_000 / self.path.bps.max(1)
    }

    pub fn run_until(&mut self, ms: u64) {
        while self.ms < ms {
            self.step();
            self.ms += 1;
        }
    }

    /// A millisecond.
    fn step(&mut self) {
        self.drain();
        if self.ms * 30 / 1_000 != (self.ms + 1) * 30 / 1_000 {
            self.video();
        }
        if self.ms.is_multiple_of(20) {
            self.send(&[160]);
        }
        // A plane whose ticks are not quite even.
        if self.estimator.is_probing() && self.random.below(3) == 0 || self.ms.is_multiple_of(10) {
            self.probe();
        }
        self.receive();
        self.answer();
        if self.ms.is_multiple_of(50) {
            self.choose();
        }
    }

    fn video(&mut self) {
        self.frame += 1;
        if self.sending != self.chosen && self.ms >= self.switch_at {
            self.sending = self.chosen;
            self.wants_keyframe = true;
        }
        let rate = u64::from(self.rates[self.sending]) - 64_000;
        // A keyframe every four seconds is five frames; those after it pay for it.
        let is_keyframe =
            std::mem::take(&mut self.wants_keyframe) || self.frame.is_multiple_of(120);
        let plain = rate / 8 / 30;
        let noise = 850 + u64::from(self.random.below(300));
        let bytes = if is_keyframe {
            plain * 5
        } else {
            plain * 116 / 120 * noise / 1_000
        };
        let packets = bytes.div_ceil(1_150);
        let each = u32::try_from(bytes / packets).unwrap();
        self.log.media_bytes += bytes;
        let sizes = vec![each; usize::try_from(packets).unwrap()];
        self.send(&sizes);
    }

    fn send(&mut self, sizes: &[u32]) {
        let now = self.now();
        let packets = u8::try_from(sizes.len()).unwrap();
        self.estimator
            .on_sent(now, &Run::media(self.sequence, packets, sizes.iter().sum()));
        for bytes in sizes {
            let sequence = self.sequence;
            self.sequence = sequence.wrapping_add(1);
            if self.random.below(1_000) < self.path.loss {
                continue;
            }
            let room = self.path.bps * self.path.queue_ms / 8_000;
            if self.queue_bytes + u64::from(*bytes) > room.max(3_000) {
                continue;
            }
            self.queue_bytes += u64::from(*bytes);
            let wait_us = self.queue_bytes * 8_000_000 / self.path.bps;
            let jitter_us = u64::from(self.random.below(self.path.jitter_ms * 1_000 + 1));
            let us = self.ms * 1_000 + wait_us + self.path.base_ms * 1_000 + jitter_us;
            // In order, as networks mostly do.
            self.last_arrival_us = self.last_arrival_us.max(us);
            self.flying
                .push(Reverse((self.last_arrival_us, sequence, *bytes)));
        }
    }

    fn drain(&mut self) {
        let us = self.ms * 1_000 - self.drained_us;
        let bytes = self.path.bps * us / 8_000_000;
        if bytes > 0 {
            self.queue_bytes = self.queue_bytes.saturating_sub(bytes);
            self.drained_us = self.ms * 1_000;
        }
    }

    fn probe(&mut self) {
        let now = self.now();
        let outlook = self.estimator.outlook(now);
        let layers = self.layers();
        let wanted = self
            .choice
            .wanted(now, outlook, &layers, self.chosen, self.cap);
        let mut bytes = self.estimator.probe_bytes(now, wanted);
        self.log.padding_bytes += u64::from(bytes);
        let mut sizes = Vec::new();
        while bytes > 0 {
            sizes.push(bytes.min(1_200));
            bytes -= bytes.min(1_200);
        }
        if !sizes.is_empty() {
            self.send(&sizes);
        }
    }

    fn receive(&mut self) {
        while let Some(Reverse((us, sequence, bytes))) = self.flying.peek().copied() {
            if us > self.ms * 1_000 {
                break;
            }
            self.flying.pop();
            // A clock of its own.
            self.recorder
                .record(sequence, Time::ZERO + Span::micros(us + 99_000_123));
            self.received.push_back((self.ms, bytes));
            self.came += 1;
        }
        let from = self.ms.saturating_sub(1_000);
        while self.received.front().is_some_and(|(ms, _)| *ms < from) {
            self.received.pop_front();
        }
    }

    fn answer(&mut self) {
        if self.ms >= self.next_feedback {
            match self.answers {
                Answers::Transport => self.report_transport(),
                Answers::Remb => self.report_remb(),
                Answers::Reports => self.report_losses(),
            }
        }
        while let Some((at, _)) = self.feedback.front() {
            if *at > self.ms {
                break;
            }
            let (_, bytes) = self.feedback.pop_front().unwrap();
            let now = self.now();
            if let Some(Item::Feedback(feedback)) = compound(&bytes).next()
                && let Message::TransportCc(fci) = feedback.message
            {
                let message = TransportCc::parse(fci).unwrap();
                self.estimator.on_transport(now, &message);
            }
        }
    }

    fn report_transport(&mut self) {
        self.next_feedback = self.ms + self.path.feedback_ms;
        let mut out = [0; TRANSPORT_BYTES_MAX];
        loop {
            let used = self.recorder.write(1, 2, &mut out);
            if used == 0 {
                break;
            }
            let is_lost = self.random.below(1_000) < self.path.feedback_loss;
            if !is_lost && !self.path.is_mute {
                let at = self.ms + self.path.base_ms;
                self.feedback.push_back((at, out[..used].to_vec()));
            }
        }
    }

    /// As a browser's receiver does: a tenth more each second up to 1.5 times what comes, and 0.85
    /// of it when packets queue.
    fn report_remb(&mut self) {
        self.next_feedback = self.ms + 1_000;
        let bytes: u32 = self.received.iter().map(|(_, bytes)| bytes).sum();
        let came = f64::from(bytes) * 8.0;
        let from = self.log.queues_ms.len().saturating_sub(10);
        let queue_ms = self.log.queues_ms[from..].iter().min();
        if queue_ms > Some(&20) {
            self.remb = self.remb.min(0.85 * came);
        } else {
            self.remb = (self.remb * 1.1)
                .min(1.5 * came + 10e3)
                .max(self.remb.min(came));
        }
        if !self.path.is_mute {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            self.estimator.on_remb(self.now(), self.remb as u64);
        }
    }

    fn report_losses(&mut self) {
        self.next_feedback = self.ms + 1_000;
        let sent = self
            .sequence
            .wrapping_sub(self.highest.unwrap_or(self.sequence));
        self.highest = Some(self.sequence);
        let came = std::mem::take(&mut self.came);
        if sent > 0 && !self.path.is_mute {
            let lost = u32::from(sent).saturating_sub(came) * 256 / u32::from(sent);
            let fraction = u8::try_from(lost).unwrap_or(255);
            self.estimator.on_loss(self.now(), fraction);
        }
    }

    fn layers(&mut self) -> [LayerRate; 3] {
        let mut layers = [LayerRate::default(); 3];
        for (nth, layer) in layers.iter_mut().enumerate() {
            let noise = 950 + u64::from(self.random.below(100));
            let bps = u64::from(self.rates[nth]) * noise / 1_000;
            *layer = LayerRate {
                bps: u32::try_from(bps).unwrap(),
                is_live: self.is_live[nth],
                picture: u8::try_from(nth).unwrap(),
            };
        }
        layers
    }

    fn choose(&mut self) {
        let now = self.now();
        let outlook = self.estimator.outlook(now);
        let layers = self.layers();
        let chosen = self
            .choice
            .choose(now, outlook, &layers, self.chosen, self.cap);
        if chosen != self.chosen {
            // Until there is a keyframe.
            self.switch_at = self.ms + 50 + u64::from(self.random.below(250));
            self.log.switches.push(self.ms);
            if std::env::var_os("ESTIMATE_TRACE").is_some() {
                eprintln!("{:6} ms: {} -> {chosen}", self.ms, self.chosen);
            }
            self.chosen = chosen;
        }
        self.log.layers.push(chosen);
        self.log.estimates.push(outlook.bps);
        self.log.queues_ms.push(self.queue_ms());
        if self.ms.is_multiple_of(500) && std::env::var_os("ESTIMATE_TRACE").is_some() {
            let state = self.estimator.state();
            eprintln!(
                "{:6} ms: layer {chosen} {:4} kbit/s limited {} {:?} acked {} \
                 lost {} queue {}/{} ms round trip {} ms",
                self.ms,
                outlook.bps / 1_000,
                outlook.is_limited,
                state.usage,
                state.acked_bps / 1_000,
                state.fraction_lost,
                state.queue.as_millis(),
                self.queue_ms(),
                state.rtt.as_millis(),
            );
        }
    }
}
