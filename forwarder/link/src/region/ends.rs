//! Owns the handing out of ring ends, each at most once.

use super::cells::RingEnds;
use super::layout::{Part, RING_BYTES};
use super::{LinkError, Region};
use crate::channel::{
    CommandConsumer, CommandProducer, EventConsumer, EventProducer, PuntConsumer, PuntProducer,
};
use crate::claim::Claim;
use crate::ids::CoreId;
use crate::ring::{Consumer, Producer, Ring, RingHead};
use crate::sync::Shared;
use core::mem::offset_of;
use core::sync::atomic::AtomicU32;

impl Region {
    /// Control's end of a worker's commands.
    ///
    /// # Errors
    /// No such worker, or taken; so for all ends.
    pub fn commands_producer(&self, core: CoreId) -> Result<CommandProducer, LinkError> {
        let ring = self.producer(Part::Commands, core, self.0.limits.commands_max)?;
        let waker = self.waker(core)?;
        Ok(CommandProducer { ring, waker })
    }

    /// A worker's end of its commands.
    ///
    /// # Errors
    /// As [`Region::commands_producer`].
    pub fn commands_consumer(&self, core: CoreId) -> Result<CommandConsumer, LinkError> {
        let ring = self.consumer(Part::Commands, core, self.0.limits.commands_max, true)?;
        Ok(CommandConsumer { ring })
    }

    /// A worker's end of its events.
    ///
    /// # Errors
    /// As [`Region::commands_producer`].
    pub fn events_producer(&self, core: CoreId) -> Result<EventProducer, LinkError> {
        let ring = self.producer(Part::Events, core, self.0.limits.events_max)?;
        Ok(EventProducer { ring })
    }

    /// Control's end of a worker's events.
    ///
    /// # Errors
    /// As [`Region::commands_producer`].
    pub fn events_consumer(&self, core: CoreId) -> Result<EventConsumer, LinkError> {
        let ring = self.consumer(Part::Events, core, self.0.limits.events_max, false)?;
        Ok(EventConsumer { ring })
    }

    /// A worker's end of the handshake datagrams that came in.
    ///
    /// # Errors
    /// As [`Region::commands_producer`].
    pub fn punts_in_producer(&self, core: CoreId) -> Result<PuntProducer, LinkError> {
        let ring = self.producer(Part::PuntsIn, core, self.0.limits.punts_max)?;
        Ok(PuntProducer { ring })
    }

    /// Control's end of the handshake datagrams that came in.
    ///
    /// # Errors
    /// As [`Region::commands_producer`].
    pub fn punts_in_consumer(&self, core: CoreId) -> Result<PuntConsumer, LinkError> {
        let ring = self.consumer(Part::PuntsIn, core, self.0.limits.punts_max, false)?;
        Ok(PuntConsumer { ring })
    }

    /// Control's end of the handshake datagrams that go out.
    ///
    /// # Errors
    /// As [`Region::commands_producer`].
    pub fn punts_out_producer(&self, core: CoreId) -> Result<PuntProducer, LinkError> {
        let ring = self.producer(Part::PuntsOut, core, self.0.limits.punts_max)?;
        Ok(PuntProducer { ring })
    }

    /// A worker's end of the handshake datagrams that go out.
    ///
    /// # Errors
    /// As [`Region::commands_producer`].
    pub fn punts_out_consumer(&self, core: CoreId) -> Result<PuntConsumer, LinkError> {
        let ring = self.consumer(Part::PuntsOut, core, self.0.limits.punts_max, false)?;
        Ok(PuntConsumer { ring })
    }

    pub(super) fn ring<const N: usize>(&self, part: Part, place: usize, slots: u32) -> Ring<N> {
        let base = self.0.layout.at(part, place);
        let slots = usize::try_from(slots).expect("laid out, so it fits");
        Ring {
            head: self.0.map.value(base),
            slots: self.0.map.array(base + RING_BYTES, slots),
        }
    }

    pub(super) fn ring_word(&self, part: Part, place: usize, offset: usize) -> Shared<AtomicU32> {
        let ends = self.0.layout.at(part, place) + size_of::<RingHead>();
        self.0.map.value(ends + offset)
    }

    pub(super) fn producer<const N: usize>(
        &self,
        part: Part,
        core: CoreId,
        slots: u32,
    ) -> Result<Producer<N>, LinkError> {
        let place = self.core_place(core)?;
        let word = self.ring_word(part, place, offset_of!(RingEnds, producer));
        let claim = Claim::take(word, self.0.role).ok_or(LinkError::Taken)?;
        Ok(Producer::adopt(self.ring(part, place, slots), Some(claim)))
    }

    fn consumer<const N: usize>(
        &self,
        part: Part,
        core: CoreId,
        slots: u32,
        wipe: bool,
    ) -> Result<Consumer<N>, LinkError> {
        let place = self.core_place(core)?;
        let word = self.ring_word(part, place, offset_of!(RingEnds, consumer));
        let claim = Claim::take(word, self.0.role).ok_or(LinkError::Taken)?;
        Ok(Consumer::adopt(
            self.ring(part, place, slots),
            wipe,
            Some(claim),
        ))
    }
}
