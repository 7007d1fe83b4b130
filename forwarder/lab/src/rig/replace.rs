//! Owns how one seat takes the place of another, and how long that takes.

use core::fmt::Display;
use core::time::Duration;
use std::os::fd::OwnedFd;
use std::time::Instant;

use io::{Port, clock};
use link::ids::CoreId;
use wire::time::Span;
use worker::{Blank, Exchange, Seat, SeatConfig};

use super::{Rig, words};

impl<P: Port> Rig<P> {
    /// Another seat takes the place of this one, as at an upgrade, in one thread: the time in which
    /// nothing would be sent, until one has left, until its ends are free, and until the other goes
    /// on. `ahead`: that knows what could be told while this one still sent.
    ///
    /// # Errors
    /// What cannot be had.
    pub fn hand_over<E: Display>(
        &mut self,
        ahead: bool,
        port: impl FnOnce(OwnedFd) -> Result<P, E>,
    ) -> Result<[Duration; 3], String> {
        let core = CoreId(0);
        let mut before = self.seat.take().ok_or("a seat was lost")?;
        let bell = self.region.sleeper(core).map_err(words)?;
        let bell = bell.fd().try_clone_to_owned().map_err(words)?;
        let port = port(bell).map_err(words)?;
        let mut blank = Blank::new(core, self.region.limits(), 1);
        blank.expect(usize::try_from(self.viewers).map_err(words)?);
        if ahead {
            let mut told = Vec::new();
            before.begin_ahead();
            before.tell_ahead(usize::MAX, &mut told).map_err(words)?;
            let (region, told) = (&self.region, &mut told.as_slice());
            let learnt = blank.learn(self.now, region, self.cipher, told, usize::MAX);
            learnt.map_err(words)?;
            // Media goes on meanwhile.
            self.now = self.now + Span(1);
            before.turn(self.now, clock::unix_ns);
        }
        let mut left = Vec::new();
        let began = Instant::now();
        before.leave(self.now);
        before
            .left(self.now, clock::now, ahead, &mut left)
            .map_err(words)?;
        let has_left = began.elapsed();
        let began = Instant::now();
        drop(before);
        let is_gone = began.elapsed();
        let config = SeatConfig {
            region: &self.region,
            core,
            exchange: &Exchange::new(&self.region),
            cipher: self.cipher,
            seed: 1,
        };
        let began = Instant::now();
        let mut seat = Seat::with(&config, port, blank).map_err(words)?;
        seat.go_on(self.now, &left).map_err(words)?;
        let goes_on = began.elapsed();
        self.seat = Some(seat);
        Ok([has_left, is_gone, goes_on])
    }
}
