//! Owns the supervisor's part of a drain: what signals mean, and how long control is waited for.

use super::{Order, remove};
use crate::clock;
use std::cell::Cell;
use std::path::PathBuf;
use wire::time::{Span, Time};

/// How long after the deadline control may take to say farewell to all and to end.
const PATIENCE: Span = Span::secs(6);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Wait,
    /// Give control a sign.
    Tell,
    /// Stop both planes.
    Stop,
}

/// Who waits for the end.
pub struct Ward<'a> {
    run_dir: PathBuf,
    /// How long a drain takes, as the configuration says now.
    time: &'a Cell<Span>,
    order: Option<Order>,
    /// SIGTERM has come since it was decided, or before.
    is_terminated: bool,
}

impl<'a> Ward<'a> {
    /// Nothing is drained yet: what an earlier server has left behind is removed.
    #[must_use]
    pub fn new(run_dir: PathBuf, time: &'a Cell<Span>) -> Self {
        if let Err(error) = remove(&run_dir) {
            tracing::warn!(%error, "the file of an earlier drain");
        }
        Self {
            run_dir,
            time,
            order: None,
            is_terminated: false,
        }
    }

    /// Goes on with what was decided, in a process that SIGTERM has come to if `is_terminated`.
    #[must_use]
    pub fn resume(run_dir: PathBuf, time: &'a Cell<Span>, is_terminated: bool) -> Self {
        Self {
            order: Order::read(&run_dir),
            run_dir,
            time,
            is_terminated,
        }
    }

    /// SIGTERM has come since it was decided, or before.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.is_terminated
    }

    /// SIGTERM: begins to drain. The second one ends it; the first one after an operator has begun
    /// changes nothing, since who ends services sends it in any case.
    pub fn on_term(&mut self) -> Next {
        self.look();
        let is_second = std::mem::replace(&mut self.is_terminated, true);
        match self.order {
            None => self.begin("SIGTERM", self.time.get()),
            Some(_) if is_second => self.begin("another SIGTERM", Span::ZERO),
            Some(_) => Next::Wait,
        }
    }

    /// SIGINT: ends it.
    pub fn on_interrupt(&mut self) -> Next {
        self.look();
        self.begin("interrupted", Span::ZERO)
    }

    /// SIGUSR1: control has decided something.
    pub fn on_told(&mut self) -> Next {
        self.look();
        Next::Wait
    }

    /// When control has ended by itself, or does not any more.
    #[must_use]
    pub fn patience(&self) -> Option<Time> {
        self.order.map(|order| order.deadline + PATIENCE)
    }

    /// Control was waited for in vain.
    pub fn on_impatience(&self) -> Next {
        tracing::warn!("control is late with the end of the drain: stopping");
        Next::Stop
    }

    /// The file is the truth: what control decided before a signal came may be told after it.
    fn look(&mut self) {
        self.order = Order::read(&self.run_dir);
        self.is_terminated &= self.order.is_some();
    }

    fn begin(&mut self, why: &str, time: Span) -> Next {
        let now = clock::now();
        let before = self.order;
        // The time was up already: whoever asks again does not want to wait for a farewell.
        if before.is_some_and(|order| order.is_up(now)) {
            return Next::Stop;
        }
        let order = Order {
            begun: before.map_or(now, |order| order.begun),
            deadline: now + time,
        };
        if let Err(error) = order.write(&self.run_dir) {
            tracing::error!(%error, "cannot drain: stopping");
            return Next::Stop;
        }
        match time {
            Span::ZERO => tracing::info!("{why}: stopping"),
            time => tracing::info!(time_s = time.as_millis() / 1000, "{why}: draining"),
        }
        self.order = Some(order);
        Next::Tell
    }
}

impl Drop for Ward<'_> {
    /// The next server is not to begin with the end of this one.
    fn drop(&mut self) {
        if let Err(error) = remove(&self.run_dir) {
            tracing::warn!(%error, "the file of the drain stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::Drain;
    use crate::drain::tests::folder;

    #[tokio::test]
    async fn signals_begin_shorten_and_cut_off() {
        let (folder, time) = (folder("ward"), Cell::new(Span::secs(60)));
        Order::new(Time(1), Span::secs(1)).write(&folder).unwrap();
        let mut ward = Ward::new(folder.clone(), &time);
        let control = Drain::open(&folder, None);
        assert_eq!(control.order(), None, "that was an earlier server's");
        assert_eq!(ward.patience(), None);

        assert_eq!(ward.on_term(), Next::Tell);
        control.look();
        let order = control.order().unwrap();
        assert_eq!(order.deadline.since(order.begun), Span::secs(60));
        assert_eq!(ward.patience(), Some(order.deadline + PATIENCE));

        // Taken back by an operator, and begun again, even before we are told.
        control.decide(None).unwrap();
        assert_eq!(ward.on_told(), Next::Wait);
        assert_eq!(ward.patience(), None);
        assert_eq!(ward.on_term(), Next::Tell);
        control.decide(None).unwrap();
        time.set(Span::secs(30));
        assert_eq!(ward.on_term(), Next::Tell);
        assert_eq!(ward.on_told(), Next::Wait);
        control.look();
        let order = control.order().unwrap();
        assert_eq!(order.deadline.since(order.begun), Span::secs(30));

        // An operator decides for longer: the first SIGTERM after that is as good as none.
        control.decide(None).unwrap();
        ward.on_told();
        control
            .decide(Some(Order::new(clock::now(), Span::secs(90))))
            .unwrap();
        ward.on_told();
        assert_eq!(ward.on_term(), Next::Wait);
        let order = control.order().unwrap();

        // Another program of the supervisor goes on with it.
        let is_terminated = ward.is_terminated();
        std::mem::forget(ward);
        let mut ward = Ward::resume(folder.clone(), &time, is_terminated);
        assert_eq!(ward.patience(), Some(order.deadline + PATIENCE));

        // Shortened, and cut off.
        assert_eq!(ward.on_term(), Next::Tell);
        control.look();
        let short = control.order().unwrap();
        assert!(short.begun == order.begun && short.is_up(clock::now()));
        assert_eq!(ward.on_interrupt(), Next::Stop);
        drop(ward);
        assert_eq!(Drain::open(&folder, None).order(), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_interrupt_leaves_no_time_and_what_cannot_be_written_ends_it() {
        let (folder, time) = (folder("ward-interrupt"), Cell::new(Span::secs(60)));
        let mut ward = Ward::new(folder.clone(), &time);
        assert_eq!(ward.on_interrupt(), Next::Tell);
        assert!(Order::read(&folder).unwrap().is_up(clock::now()));
        std::fs::remove_dir_all(&folder).unwrap();
        let mut lost = Ward::new(folder, &time);
        assert_eq!(lost.on_term(), Next::Stop);
    }
}
