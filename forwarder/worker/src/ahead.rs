//! Owns how viewers are told ahead from the workers that serve them to those that will: a few after
//! each turn, so that nobody waits for it on either side.

use crate::error::Error;
use crate::seat::Seat;
use crate::thread::Word;
use core::sync::atomic::Ordering;
use core::time::Duration;
use io::Port;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// Viewers told of after a turn, and made ready in a row: a viewer takes some 4 us to tell of and
/// some 17 to make ready.
pub(crate) const VIEWERS_TURN: usize = 16;

/// Whoever makes viewers ready rests for so long after a few of them: it may share its processor
/// with the worker that still serves them.
pub(crate) const REST: Duration = Duration::from_micros(300);

/// What one worker has told.
pub(crate) type Told = (usize, Result<Vec<u8>, Error>);

/// What all workers are asked to tell.
pub(crate) struct Ask {
    /// Memory for what each of them tells, touched before.
    pub rooms: Vec<Vec<u8>>,
    /// Where it goes.
    pub reply: Sender<Told>,
}

/// What one worker tells ahead.
pub(crate) struct Teller {
    word: Arc<Word>,
    core: usize,
    /// How often it has been asked.
    asked: u32,
    telling: Option<(Vec<u8>, Sender<Told>)>,
}

impl Teller {
    pub fn new(word: Arc<Word>, core: usize) -> Self {
        Self {
            word,
            core,
            asked: 0,
            telling: None,
        }
    }

    /// True if there is something to tell.
    pub fn has_work(&self) -> bool {
        self.telling.is_some() || self.word.asked.load(Ordering::SeqCst) != self.asked
    }

    /// Tells of a few viewers more, if it was asked to.
    #[inline]
    pub fn turn<P: Port>(&mut self, seat: &mut Seat<P>) {
        if self.has_work() {
            self.tell(seat);
        }
    }

    #[cold]
    fn tell<P: Port>(&mut self, seat: &mut Seat<P>) {
        let asked = self.word.asked.load(Ordering::SeqCst);
        if asked != self.asked {
            self.asked = asked;
            self.telling = self.begin();
            seat.begin_ahead();
        }
        let Some((mut out, reply)) = self.telling.take() else {
            return;
        };
        match seat.tell_ahead(VIEWERS_TURN, &mut out) {
            Ok(false) => self.telling = Some((out, reply)),
            // Whoever asked may have given up: nobody wants to know.
            Ok(true) => drop(reply.send((self.core, Ok(out)))),
            Err(error) => drop(reply.send((self.core, Err(error)))),
        }
    }

    fn begin(&self) -> Option<(Vec<u8>, Sender<Told>)> {
        let mut ask = self.word.ask.lock().ok()?;
        let ask = ask.as_mut()?;
        Some((ask.rooms.pop().unwrap_or_default(), ask.reply.clone()))
    }
}
