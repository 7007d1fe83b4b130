//! Owns a thread of viewers: who is to come, who is there, and what is due.

mod orders;
mod pace;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tools::viewer::{Answer, Identity};

use crate::desk::{self, Ask, Desk};
use crate::tally::{Phase, Tally};
use crate::viewer::{Inbox, News, Shared, Viewer, micros};
pub use orders::{Order, Parts, Standing};
use pace::Pace;

/// Tokens from here on are those of HTTP connections.
const DESK: u64 = 1 << 32;

/// Longest sleep: orders are looked for between two.
const NAP: Duration = Duration::from_millis(5);

/// Events taken at once.
const EVENTS: usize = 256;

/// Before a stream is described (409), or by a server that does not say when (503).
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Of what a server says of when to come again, the most that is believed.
const AGAIN_AFTER_MAX: u64 = 60;

/// How long those who leave wait for the answers to their goodbyes.
const GOODBYE_MAX: Duration = Duration::from_secs(30);

/// Somebody who wants to join.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    /// When it may ask.
    at: Instant,
    wished: Instant,
    posted: Instant,
    stream: usize,
}

#[derive(Debug)]
enum Task {
    Join(Wish),
    Leave,
}

/// The thread's state.
pub struct Crew {
    parts: Parts,
    epoll: Epoll,
    desk: Desk<Task>,
    shared: Shared,
    inbox: Inbox,
    offer: String,
    tally: Tally,
    wishes: VecDeque<Wish>,
    deferred: BinaryHeap<Reverse<Wish>>,
    goodbyes: VecDeque<String>,
    viewers: Vec<Option<Box<Viewer>>>,
    free: Vec<u32>,
    due: BTreeSet<(Instant, u32)>,
    playing: VecDeque<u32>,
    /// Under way: asked for, and not playing yet.
    joining: u64,
    at_once: u64,
    coming: Pace,
    churn: Pace,
    started: u32,
}

impl Crew {
    /// A crew of nobody.
    ///
    /// # Errors
    /// No descriptor is left, or OpenSSL makes no certificate.
    pub fn new(parts: Parts) -> Result<Self, String> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|e| e.to_string())?;
        let identity = Identity::new().map_err(|error| error.to_string())?;
        let never = Pace {
            per_second: 0.0,
            left: 0,
            next: Instant::now(),
        };
        Ok(Self {
            epoll,
            desk: Desk::new(parts.http, parts.connections, parts.is_fresh, DESK),
            offer: identity.offer(),
            shared: Shared {
                identity,
                check: parts.check,
            },
            inbox: Inbox::default(),
            tally: Tally::default(),
            wishes: VecDeque::new(),
            deferred: BinaryHeap::new(),
            goodbyes: VecDeque::new(),
            viewers: Vec::new(),
            free: Vec::new(),
            due: BTreeSet::new(),
            playing: VecDeque::new(),
            joining: 0,
            at_once: u64::MAX,
            coming: never,
            churn: never,
            started: parts.first,
            parts,
        })
    }

    /// Works until it is told to leave, or nobody is left who could tell.
    pub fn run(mut self) -> Tally {
        loop {
            match self.parts.orders.try_recv() {
                Ok(Order::Leave) | Err(TryRecvError::Disconnected) => break,
                Ok(order) => self.obey(order),
                Err(TryRecvError::Empty) => {}
            }
            self.turn();
        }
        self.leave();
        self.tally
    }

    fn obey(&mut self, order: Order) {
        let next = Instant::now();
        match order {
            Order::Join {
                count,
                per_second,
                at_once,
            } => {
                self.at_once = at_once;
                self.coming = Pace {
                    per_second,
                    left: count,
                    next,
                };
            }
            Order::Churn(per_second) => {
                let left = if per_second > 0.0 { u64::MAX } else { 0 };
                self.churn = Pace {
                    per_second,
                    left,
                    next,
                };
            }
            Order::Leave => {}
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        for _ in 0..self.coming.due(now) {
            self.wish(now);
        }
        for _ in 0..self.churn.due(now) {
            self.replace(now);
        }
        while self.deferred.peek().is_some_and(|wish| wish.0.at <= now) {
            self.wishes.extend(self.deferred.pop().map(|wish| wish.0));
        }
        self.ask(now);
        while let Some(&(at, place)) = self.due.first().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, place));
            self.tick(place, now);
        }
        let mut events = [EpollEvent::empty(); EVENTS];
        // An interrupted wait is a short wait.
        let count = self.epoll.wait(&mut events, self.nap(now)).unwrap_or(0);
        let now = Instant::now();
        let phase = match self.parts.now.phase() {
            Phase::Over => None,
            phase => Some(phase as usize),
        };
        for event in &events[..count] {
            match u32::try_from(event.data()) {
                Ok(place) => self.receive(place, phase, now),
                Err(_) => self.answered(event.data(), now),
            }
        }
        let packets = self.tally.media.iter().map(|media| media.packets).sum();
        self.parts.standing.packets.store(packets, Relaxed);
    }

    fn nap(&self, now: Instant) -> EpollTimeout {
        let due = self.due.first().map_or(NAP, |(at, _)| *at - now);
        let nap = due.min(NAP).as_micros().div_ceil(1000);
        EpollTimeout::from(u8::try_from(nap).unwrap_or(1))
    }

    fn wish(&mut self, now: Instant) {
        let streams = self.parts.streams.len() as u64;
        let stream = usize::try_from(self.tally.wanted % streams).unwrap_or(0);
        self.tally.wanted += 1;
        self.wishes.push_back(Wish {
            at: now,
            wished: now,
            posted: now,
            stream,
        });
    }

    /// Who has played longest leaves, and somebody else comes.
    fn replace(&mut self, now: Instant) {
        if let Some(place) = self.playing.pop_front() {
            self.tally.left += 1;
            if let Some(viewer) = self.remove(place) {
                self.goodbyes.push_back(viewer.location().to_owned());
            }
            self.wish(now);
        }
    }

    fn ask(&mut self, now: Instant) {
        while self.desk.is_free() {
            let (task, bytes) = if let Some(location) = self.goodbyes.pop_front() {
                (Task::Leave, self.head("DELETE", &location, 0))
            } else if self.joining < self.at_once
                && let Some(mut wish) = self.wishes.pop_front()
            {
                self.joining += 1;
                wish.posted = now;
                let path = format!("/whep/{}", self.parts.streams[wish.stream]);
                let mut bytes = self.head("POST", &path, self.offer.len());
                bytes.extend_from_slice(self.offer.as_bytes());
                (Task::Join(wish), bytes)
            } else {
                return;
            };
            let reply = self.desk.ask(&self.epoll, Ask { task, bytes });
            if let Some(reply) = reply {
                self.take(reply, now);
            }
        }
    }

    fn head(&self, method: &str, path: &str, bytes: usize) -> Vec<u8> {
        let (host, close) = (self.parts.http, self.parts.is_fresh);
        let close = if close { "connection: close\r\n" } else { "" };
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{close}\
             content-type: application/sdp\r\ncontent-length: {bytes}\r\n\r\n"
        )
        .into_bytes()
    }

    fn answered(&mut self, token: u64, now: Instant) {
        if let Some(reply) = self.desk.ready(&self.epoll, token) {
            self.take(reply, now);
        }
    }

    fn take(&mut self, reply: desk::Reply<Task>, now: Instant) {
        let Task::Join(mut wish) = reply.task else {
            // A session that the server has ended already is as good as left.
            return;
        };
        let answer = match reply.answer {
            Ok(answer) => answer,
            Err(why) => return self.failed(format!("http: {why}")),
        };
        let after = match (answer.status, answer.header("retry-after")) {
            (201, _) => return self.start(&wish, &answer, now),
            (409 | 503, Some(seconds)) => {
                let seconds = seconds.parse::<u64>().unwrap_or(1);
                Duration::from_secs(seconds.min(AGAIN_AFTER_MAX))
            }
            (409, None) => AGAIN_AFTER,
            (status, _) => return self.failed(format!("http: {status}")),
        };
        *self
            .tally
            .deferred
            .entry(answer.status.to_string())
            .or_default() += 1;
        if now + after > wish.wished + self.parts.patience {
            return self.failed(format!("http: {} for too long", answer.status));
        }
        self.joining -= 1;
        wish.at = now + after;
        self.deferred.push(Reverse(wish));
    }

    fn start(&mut self, wish: &Wish, answer: &desk::Answer, now: Instant) {
        self.tally.answer.add(micros(now - wish.posted));
        let location = answer.header("location").map(str::to_owned);
        let Some(told) = Answer::parse(&answer.body).zip(location) else {
            return self.failed("http: an answer without what is needed");
        };
        let number = self.started;
        self.started = self.started.wrapping_add(1);
        let viewer = match Viewer::start(told, (wish.wished, wish.posted), number, now) {
            Ok(viewer) => viewer,
            Err(error) => return self.failed(format!("socket: {error}")),
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.viewers.push(None);
            u32::try_from(self.viewers.len() - 1).unwrap_or(u32::MAX)
        });
        let event = EpollEvent::new(EpollFlags::EPOLLIN, place.into());
        if let Err(error) = self.epoll.add(viewer.descriptor(), event) {
            self.free.push(place);
            return self.failed(format!("epoll: {error}"));
        }
        self.due.insert((viewer.due(), place));
        self.viewers[place as usize] = Some(Box::new(viewer));
    }

    fn receive(&mut self, place: u32, phase: Option<usize>, now: Instant) {
        let Some(Some(viewer)) = self.viewers.get_mut(place as usize) else {
            return;
        };
        let was_due = viewer.due();
        let (shared, inbox) = (&self.shared, &mut self.inbox);
        let news = viewer.receive(shared, inbox, &mut self.tally, phase, now);
        let due = viewer.due();
        if due != was_due {
            self.due.remove(&(was_due, place));
            self.due.insert((due, place));
        }
        self.hear(place, news);
    }

    fn tick(&mut self, place: u32, now: Instant) {
        let Some(Some(viewer)) = self.viewers.get_mut(place as usize) else {
            return;
        };
        let news = viewer.tick(&self.shared, now);
        self.due.insert((viewer.due(), place));
        self.hear(place, news);
    }

    fn hear(&mut self, place: u32, news: News) {
        match news {
            News::None => {}
            News::Joined => {
                self.joining -= 1;
                self.playing.push_back(place);
                self.parts.standing.joined.fetch_add(1, Relaxed);
            }
            News::Failed(why) => {
                if let Some(viewer) = self.remove(place) {
                    self.goodbyes.push_back(viewer.location().to_owned());
                }
                self.failed(why);
            }
        }
    }

    fn failed(&mut self, why: impl Into<String>) {
        self.joining -= 1;
        self.tally.fail(why);
        self.parts.standing.failed.fetch_add(1, Relaxed);
    }

    fn remove(&mut self, place: u32) -> Option<Box<Viewer>> {
        let viewer = self.viewers.get_mut(place as usize)?.take()?;
        self.due.remove(&(viewer.due(), place));
        self.free.push(place);
        Some(viewer)
    }

    /// As pages do that are closed: each says goodbye by HTTP.
    fn leave(&mut self) {
        self.coming.left = 0;
        self.churn.left = 0;
        self.wishes.clear();
        self.deferred.clear();
        let places = 0..u32::try_from(self.viewers.len()).unwrap_or(u32::MAX);
        for place in places {
            if let Some(viewer) = self.remove(place) {
                self.goodbyes.push_back(viewer.location().to_owned());
            }
        }
        let start = Instant::now();
        let is_done = |this: &Self| this.goodbyes.is_empty() && this.desk.is_idle();
        while !is_done(self) && start.elapsed() < GOODBYE_MAX {
            self.turn();
        }
    }
}
