//! Owns the typed ends of the rings: commands down, events up, punts both ways.

use crate::command::{COMMAND_BYTES, Command};
use crate::event::{EVENT_BYTES, Event};
use crate::ids::CoreId;
use crate::punt::{self, PUNT_BYTES, Punt, PuntError};
use crate::ring::{Consumer, Full, Producer};
use crate::wake::Waker;
use wire::datagram::DATAGRAM_MAX;
use wire::peer::{Ip, Peer};
use zeroize::Zeroize;

/// Control's end of one worker's commands.
pub struct CommandProducer {
    pub(crate) ring: Producer<COMMAND_BYTES>,
    pub(crate) waker: Waker,
}

/// A worker's end of its commands. Slots are wiped as they are read: they carried keys.
pub struct CommandConsumer {
    pub(crate) ring: Consumer<COMMAND_BYTES>,
}

/// A command as it came out of the ring.
pub struct Numbered {
    /// How many commands came before it in the life of the ring.
    pub number: u64,
    /// `None`: not one that this build understands; count it.
    pub command: Option<Command>,
}

/// A worker's end of its events.
pub struct EventProducer {
    pub(crate) ring: Producer<EVENT_BYTES>,
}

/// Control's end of one worker's events.
pub struct EventConsumer {
    pub(crate) ring: Consumer<EVENT_BYTES>,
}

/// The sending end of a punt ring.
pub struct PuntProducer {
    pub(crate) ring: Producer<PUNT_BYTES>,
}

/// The receiving end of a punt ring.
pub struct PuntConsumer {
    pub(crate) ring: Consumer<PUNT_BYTES>,
}

impl CommandProducer {
    /// Sends a command, wakes the worker if it sleeps, and gives the command's number: it is
    /// applied once [`crate::stats::Stats::applied`] is beyond it.
    ///
    /// # Errors
    /// [`Full`]: keep it and try again later.
    pub fn push(&mut self, command: &Command) -> Result<u64, Full> {
        let number = self.ring.push_with(|slot| command.encode(slot))?;
        self.waker.wake();
        Ok(number)
    }
}

impl CommandConsumer {
    /// Takes the oldest command. Its slot is free before this returns: a worker that dies while it
    /// applies a command never sees that command again.
    pub fn pop(&mut self) -> Option<Numbered> {
        self.ring.pop(|number, slot| Numbered {
            number,
            command: Command::decode(slot),
        })
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

/// The keys go with the command.
impl Drop for Numbered {
    fn drop(&mut self) {
        if let Some(command) = &mut self.command {
            command.zeroize();
        }
    }
}

impl EventProducer {
    /// Tells control. Wake it once a turn, when something was pushed.
    ///
    /// # Errors
    /// [`Full`]: events are hints, count and forget it.
    pub fn push(&mut self, event: &Event) -> Result<(), Full> {
        self.ring.push_with(|slot| event.encode(slot)).map(|_| ())
    }
}

impl EventConsumer {
    /// Takes the oldest event; what this build does not understand is skipped.
    pub fn pop(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ring.pop(|_, slot| Event::decode(slot))? {
                return Some(event);
            }
        }
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

impl PuntProducer {
    /// Copies the datagram straight into the ring. Wake the other side once a turn.
    ///
    /// # Errors
    /// See [`PuntError`]: drop and count.
    pub fn push(
        &mut self,
        core: CoreId,
        peer: Peer,
        local: Ip,
        bytes: &[u8],
    ) -> Result<(), PuntError> {
        if bytes.len() > DATAGRAM_MAX {
            return Err(PuntError::TooLong);
        }
        let pushed = self
            .ring
            .push_with(|slot| punt::encode(slot, core, peer, local, bytes));
        pushed.map(|_| ()).map_err(|Full| PuntError::Full)
    }
}

impl PuntConsumer {
    /// Lends the oldest datagram to `handle`. `None`: there is none.
    pub fn pop<R>(&mut self, mut handle: impl FnMut(Punt<'_>) -> R) -> Option<R> {
        loop {
            let handled = self
                .ring
                .pop(|_, slot| punt::decode(slot).map(&mut handle))?;
            if handled.is_some() {
                return handled;
            }
        }
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}
