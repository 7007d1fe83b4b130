//! Owns what is told of a run: every event with its virtual time, and what was found to be wrong.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::rc::Rc;

use wire::time::Time;

/// Everybody's handle to the one journal of a run.
#[derive(Clone)]
pub struct Journal(Rc<RefCell<Inner>>);

struct Inner {
    now: Time,
    /// `None`: nobody wants to read it.
    text: Option<String>,
    faults: Vec<String>,
}

/// Faults that are kept: the first says most, and one often causes many.
const FAULTS_MAX: usize = 8;

impl Journal {
    /// An empty one. `wanted`: the events are kept, not only the faults.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        let inner = Inner {
            now: Time::ZERO,
            text: wanted.then(String::new),
            faults: Vec::new(),
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// From now on it is this time.
    pub fn tick(&self, now: Time) {
        self.0.borrow_mut().now = now;
    }

    /// Puts down an event.
    pub fn note(&self, event: fmt::Arguments<'_>) {
        let inner = &mut *self.0.borrow_mut();
        let now = inner.now;
        if let Some(text) = &mut inner.text {
            let _ = writeln!(text, "{} {event}", Stamp(now));
        }
    }

    /// Puts down that something is not as it must be.
    pub fn fault(&self, what: fmt::Arguments<'_>) {
        self.note(format_args!("FAULT {what}"));
        let inner = &mut *self.0.borrow_mut();
        if inner.faults.len() < FAULTS_MAX {
            let fault = format!("{} {what}", Stamp(inner.now));
            inner.faults.push(fault);
        }
    }

    /// True if anything was found to be wrong.
    #[must_use]
    pub fn has_fault(&self) -> bool {
        !self.0.borrow().faults.is_empty()
    }

    /// What was found to be wrong, and the events.
    #[must_use]
    pub fn take(&self) -> (Vec<String>, String) {
        let inner = &mut *self.0.borrow_mut();
        let text = inner.text.take().unwrap_or_default();
        (std::mem::take(&mut inner.faults), text)
    }
}

/// Seconds and microseconds.
struct Stamp(Time);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.0 / 1000;
        write!(f, "{:4}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}
