//! Owns what is kept of a push, so that the next life of control goes on with it.

use super::Push;
use crate::keepsake::{NotAdopted, command, field, put, put_command};
use crate::output::Output;
use crate::session::SessionId;
use crate::sessions::Sessions;
use link::codec::Take;
use link::command::Command;
use link::ids::{CoreId, ViewerId};
use wire::time::{Span, Time};
use zeroize::Zeroizing;

/// Of this form: no session's keepsake begins like it. Another one is not read, and its push goes
/// on as nobody's until it falls silent.
const FORM: u8 = 0x81;

/// True if this was kept of a push.
pub(crate) fn is_push(keepsake: &[u8]) -> bool {
    keepsake.first() == Some(&FORM)
}

impl Sessions {
    /// Has the next life of control know of a push.
    pub(super) fn keep_push(&mut self, index: u32) {
        if let Some(push) = self.pushes.0.get(&index) {
            let (viewer, keepsake) = (push.place, push.keepsake());
            self.output(Output::Keep { viewer, keepsake });
        }
    }

    /// Goes on with a push that an earlier control had. Workers are told of it again: that is
    /// nothing new to those who know it.
    pub(crate) fn adopt_push(
        &mut self,
        now: Time,
        place: ViewerId,
        keepsake: &[u8],
    ) -> Result<(), NotAdopted> {
        let push = Push::read(now, place, keepsake).ok_or(NotAdopted::Unreadable)?;
        let stream = push.add.stream;
        let index = stream.index;
        let found = self.streams.by_id(stream).ok_or(NotAdopted::NoStream)?;
        let is_fed = found.publisher.is_some() || self.pushes.0.contains_key(&index);
        if is_fed || push.core.0 >= self.config.cores || !self.table.claim(place) {
            return Err(NotAdopted::NoPlace);
        }
        self.pushes.0.insert(index, push);
        self.counters.session_adopted += 1;
        self.send_push(index, None);
        Ok(())
    }
}

impl Push {
    fn keepsake(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(link::viewer::KEEPSAKE_BYTES));
        bytes.push(FORM);
        bytes.extend(self.core.0.to_le_bytes());
        bytes.extend(self.created.0.to_le_bytes());
        bytes.extend(self.timeout.0.to_le_bytes());
        put(&mut bytes, self.id.as_str().as_bytes());
        put_command(&mut bytes, Command::AddPublisher(self.add));
        bytes
    }

    /// `None`: not of our form, or damaged.
    fn read(now: Time, place: ViewerId, bytes: &[u8]) -> Option<Self> {
        let mut take = Take::new(bytes);
        take.u8().filter(|form| *form == FORM)?;
        let core = CoreId(take.u16()?);
        let created = Time(take.u64()?);
        let timeout = Span(take.u64()?);
        let id = std::str::from_utf8(field(&mut take)?).ok()?.to_owned();
        let Command::AddPublisher(add) = command(field(&mut take)?)? else {
            return None;
        };
        let mut push = Self::new(now, SessionId(id), place, add, core, timeout);
        push.created = created;
        Some(push)
    }
}
