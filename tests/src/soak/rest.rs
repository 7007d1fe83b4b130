//! Owns what a server must be like at rest: nobody there but those who stay.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::counters::Counters;
use super::faults::Fault;
use super::guests::COMES;
use super::usage::Usage;
use super::{LAYERS, ON_ITS_WAY, PATIENCE, Row, SOUND, STAYERS, STAYS, Soak};
use crate::http;

/// Of the forwarder's death: numbers that were leased and are skipped, and what was on its way.
const LOST_BY_A_DEATH: u64 = 4097 + 1000;

/// Datagrams that the kernel hands over at once, and so loses at once.
const SEGMENTS_MAX: u64 = 64;

/// What is said of each deed at most, and of none, in lines of the log.
const LINES_A_DEED: u64 = 12;
const LINES_A_ROUND: u64 = 60;

/// How long those who vanished may be listed: consent is thirty seconds (RFC 7675 section 5.1).
const LISTED: Duration = Duration::from_secs(45);

/// How long those may have nothing who watch a publisher that stays, when the forwarder dies on a
/// busy machine; and when it does not.
const SILENCE_AT_A_DEATH: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(1);

impl Soak {
    /// Looks at the server with nobody there but those who stay.
    pub(super) fn rest(&mut self, happened: &[Fault], sent: Option<u64>) {
        let span = self.start.elapsed();
        self.settle();
        self.stays.hold(true);
        sleep(ON_ITS_WAY);
        let sent_now = self.sent();
        let seen = self.seen(happened, sent.zip(sent_now));
        self.stays.hold(false);
        self.gauges();
        let usage = Usage::look(&self.server);
        for now in &usage {
            let known = self.rests.iter().filter(|then| then.name == now.name);
            for (nth, then) in known.enumerate() {
                let is_warm = nth == 0 && self.plan.waits;
                self.wrong.extend(now.too_much(then, is_warm));
            }
            if !self.rests.iter().any(|then| then.pid == now.pid) {
                self.rests.push(now.clone());
            }
        }
        let lines = self.log();
        let deeds = &self.deeds;
        let count = |one: &AtomicU64| one.load(Relaxed);
        let usage: Vec<String> = usage.iter().map(ToString::to_string).collect();
        let usage = usage.join(", ");
        println!(
            "{:4} s: {happened:?} {} joined, {} left, {} vanished, {} published, {} excused; {seen}; {usage}; {lines} lines",
            span.as_secs(),
            count(&deeds.joined),
            count(&deeds.left),
            count(&deeds.vanished),
            count(&deeds.published),
            count(&deeds.excused),
        );
        self.wrong.extend(self.deeds.wrong());
        self.rows.push(Row {
            at: span,
            guests: count(&deeds.joined) + count(&deeds.published),
            faults: count(&deeds.faults),
            usage,
        });
    }

    /// Waits until those who stay are those who are listed.
    pub(super) fn settle(&mut self) {
        let gone = self.deeds.gone();
        if !self.plan.waits {
            for location in &gone {
                // Whoever was replaced or timed out is gone already.
                let _ = http::request(self.ports.http, "DELETE", location, &[], b"");
            }
        }
        self.wait("all who are gone, to be listed no more", LISTED, |this| {
            this.look_on();
            this.listed() == this.living
        });
        let listed = self.listed();
        for id in listed.difference(&self.living) {
            self.wrong
                .push(format!("session {id} is listed, and nobody is there"));
        }
        for id in self.living.difference(&listed) {
            self.wrong
                .push(format!("session {id} lives, and is not listed"));
        }
    }

    /// What those who stay have seen of this round.
    pub(super) fn seen(&mut self, happened: &[Fault], sent: Option<(u64, u64)>) -> String {
        let deaths = happened.iter().filter(|one| **one == Fault::Forwarder);
        let deaths = deaths.count() as u64;
        let mut told = String::new();
        for at in 0..self.stayers.len() {
            let seed = self.random.next_u64();
            let stayers = &mut self.stayers[at];
            let (stream, count) = (stayers.stream, stayers.count);
            let seen = stayers.look(seed);
            let report = &seen.report;
            let clock = seen.clock_is_wrong();
            let mut wrong = |what: String| self.wrong.push(format!("{stream}: {what}"));
            let is_fed = stream != COMES || report.packets > 0;
            if is_fed && report.served < count {
                wrong(format!("{} of {count} were served", report.served));
            }
            // A replay would be refused: no number of a key has been used twice.
            if !report.refused.is_empty() {
                wrong(format!("SRTP refused {:?}", report.refused));
            }
            let tracks = 2 * count as u64;
            let may_lose = deaths * LOST_BY_A_DEATH * tracks + SEGMENTS_MAX * seen.dropped;
            if report.lost > may_lose {
                let (lost, dropped) = (report.lost, seen.dropped);
                wrong(format!(
                    "{lost} packets never came, {deaths} deaths and {dropped} drops by sockets \
                     excuse {may_lose}"
                ));
            }
            self.switches += report.switches;
            let is_quiet = happened.is_empty() && seen.dropped == 0;
            if is_quiet && [LAYERS, SOUND].contains(&stream) && report.left_out > 0 {
                wrong(format!("{} packets were left out", report.left_out));
            }
            if [STAYS, SOUND].contains(&stream) {
                let silence = match happened.is_empty() {
                    true => SILENCE,
                    false => SILENCE_AT_A_DEATH,
                };
                if report.longest_silence > silence {
                    wrong(format!("nothing for {:?}", report.longest_silence));
                }
            }
            if stream == STAYS {
                clock.into_iter().for_each(&mut wrong);
                let got = report.packets;
                let sent = sent.map(|(before, now)| now.saturating_sub(before));
                if is_quiet && sent != Some(got) {
                    wrong(format!("{sent:?} packets were sent, {got} came"));
                }
            }
            let _ = write!(told, "{} {}/{} ", stream, report.packets, report.lost);
        }
        told
    }

    /// Gauges of those who are there.
    pub(super) fn gauges(&mut self) {
        let viewers: usize = STAYERS.iter().map(|(_, count)| count).sum();
        self.gauge("freshet_worker_publisher_active", 1 + self.beside.len());
        self.gauge("freshet_worker_viewer_active", viewers);
    }

    pub(super) fn gauge(&mut self, name: &str, wanted: usize) {
        let mut last = f64::NAN;
        let is_so = self.wait(&format!("{name} to be {wanted}"), PATIENCE, |this| {
            last = Counters::look(&this.server).map_or(last, |now| now.sum(name));
            (last - wanted as f64).abs() < 0.5
        });
        if !is_so {
            self.wrong.push(format!("{name} is {last}"));
        }
    }

    /// Sessions of WebRTC as the server lists them, but for those that end.
    pub(super) fn listed(&self) -> BTreeSet<String> {
        let Ok(answer) = http::get(self.ports.http, "/v1/sessions?limit=1000") else {
            return BTreeSet::new();
        };
        let page = answer.json();
        let all = page["sessions"].as_array().into_iter().flatten();
        all.filter_map(|one| Some(one["id"].as_str()?.to_owned()))
            .collect()
    }

    /// Waits for something that must be; it is noted if it does not come.
    pub(super) fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        mut is: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let start = Instant::now();
        while !is(self) {
            if start.elapsed() > limit {
                self.wrong.push(format!("waited {limit:?} for {what}"));
                return false;
            }
            sleep(Duration::from_millis(100));
        }
        true
    }

    /// Looks at what was logged: how many lines there are.
    pub(super) fn log(&mut self) -> u64 {
        let log = self.server.log();
        for line in log.lines().filter(|line| line.contains("panicked")) {
            self.wrong.push(format!("in the log: {line}"));
        }
        let deeds = &self.deeds;
        let all = [
            &deeds.joined,
            &deeds.vanished,
            &deeds.published,
            &deeds.faults,
        ];
        let done: u64 = all.iter().map(|one| one.load(Relaxed)).sum();
        let lines = log.lines().count() as u64;
        let (fresh, deeds) = (lines - self.lines, done - self.done);
        if fresh > LINES_A_ROUND + LINES_A_DEED * deeds {
            self.wrong.push(format!(
                "{fresh} lines were logged in a round of {deeds} deeds"
            ));
        }
        (self.lines, self.done) = (lines, done);
        lines
    }
}
