//! Owns what a dependency descriptor says of a frame. Hot.

use super::super::{Layer, Size};
use super::{CHAINS_MAX, REFERENCES_MAX};

/// What a frame is to a decode target: DTI of section A.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dti {
    /// Not a part of it.
    NotPresent,
    /// A part of it that no other part refers to.
    Discardable,
    /// Whoever had none of it may begin with this frame.
    Switch,
    /// A part of it that others refer to.
    Required,
}

/// A frame, as a packet of it tells by its dependency descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The packet is the first of its frame.
    pub begins: bool,
    /// The packet is the last of its frame.
    pub ends: bool,
    /// Counts the frames, those of all spatial layers together.
    pub frame_number: u16,
    /// Spatial layer, 0 to 3.
    pub spatial: u8,
    /// Temporal layer, 0 to 7.
    pub temporal: u8,
    /// A structure came with this packet.
    pub has_structure: bool,
    /// One bit for each decode target that is being sent, the first one in the lowest.
    pub active_targets: u32,
    /// Pixels of the frame's spatial layer, if they were told.
    pub size: Option<Size>,
    pub(super) dtis: u64,
    pub(super) references: Numbers,
    pub(super) chains: [u8; CHAINS_MAX],
    pub(super) target_count: u8,
    pub(super) chain_count: u8,
    /// The decode targets of exactly this frame's layers, as bits.
    pub(super) own_targets: u32,
    /// Those of its spatial layer with more temporal ones.
    pub(super) above_targets: u32,
}

impl Descriptor {
    /// What the frame is to a decode target; not present if there is no such target.
    #[inline]
    #[must_use]
    pub fn dti(&self, target: u8) -> Dti {
        let bits = if target < self.target_count {
            self.dtis >> (2 * target)
        } else {
            0
        };
        match bits & 3 {
            0 => Dti::NotPresent,
            1 => Dti::Discardable,
            2 => Dti::Switch,
            _ => Dti::Required,
        }
    }

    /// True if a viewer who had nothing of a decode target may begin with this frame.
    #[inline]
    #[must_use]
    pub fn switches_to(&self, target: u8) -> bool {
        self.dti(target) == Dti::Switch
    }

    /// How many frames before its own those are that it refers to; the first eight of them.
    #[inline]
    pub fn references(&self) -> impl Iterator<Item = u16> + use<> {
        let Numbers { numbers, count } = self.references;
        numbers.into_iter().take(usize::from(count))
    }

    /// How many frames before its own the last one of a chain is; 0: the chain begins anew. `None`:
    /// there is no such chain, or it is beyond those that are kept.
    #[inline]
    #[must_use]
    pub fn chain(&self, chain: u8) -> Option<u8> {
        let chains = self.chains.get(..usize::from(self.chain_count))?;
        chains.get(usize::from(chain)).copied()
    }

    /// The first packet of a keyframe: a structure comes with it, and it refers to no other frame.
    #[inline]
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.begins && self.has_structure && self.references.count == 0
    }

    /// True if no decode target has a frame that refers to this one.
    #[inline]
    #[must_use]
    pub fn is_discardable(&self) -> bool {
        // The upper bit of each pair: switch or required.
        self.dtis & 0xaaaa_aaaa_aaaa_aaaa == 0
    }

    /// True if it refers to a frame of a lower spatial layer in the same picture: those are
    /// numbered right before it.
    #[inline]
    #[must_use]
    pub fn refers_lower(&self) -> bool {
        self.references()
            .any(|reference| reference <= u16::from(self.spatial))
    }

    /// The frame's place among the layers.
    #[inline]
    #[must_use]
    pub fn layer(&self) -> Layer {
        let switches = self.switches();
        Layer {
            spatial: self.spatial,
            temporal: self.temporal,
            begins: self.begins,
            ends: self.ends,
            is_discardable: self.is_discardable(),
            opens_own: switches & self.own_targets != 0,
            opens_above: self.above_targets != 0
                && switches & self.above_targets == self.above_targets,
            refers_lower: self.refers_lower(),
        }
    }

    /// The decode targets that one may switch to here, as bits.
    fn switches(&self) -> u32 {
        (0..self.target_count).fold(0, |bits, target| {
            bits | u32::from(self.switches_to(target)) << target
        })
    }
}

/// The fields that every descriptor has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) begins: bool,
    pub(super) ends: bool,
    pub(super) template: u8,
    pub(super) frame_number: u16,
}

impl Head {
    #[inline]
    pub(super) fn new([first, high, low]: [u8; 3]) -> Self {
        Self {
            begins: first & 0x80 != 0,
            ends: first & 0x40 != 0,
            template: first & 0x3f,
            frame_number: u16::from_be_bytes([high, low]),
        }
    }
}

/// What a packet says of its frame in place of the template.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Custom {
    pub(super) has_structure: bool,
    pub(super) dtis: Option<u64>,
    pub(super) references: Option<Numbers>,
    pub(super) chains: Option<[u8; CHAINS_MAX]>,
}

/// A few numbers; more than fit are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    numbers: [u16; REFERENCES_MAX],
    count: u8,
}

impl Numbers {
    /// Bit n stands for n + 1.
    #[inline]
    pub(super) fn of_set(mut set: u16) -> Self {
        let mut this = Self::default();
        while set != 0 {
            let lowest = u16::try_from(set.trailing_zeros()).unwrap_or(0);
            this.push(lowest + 1);
            set &= set - 1;
        }
        this
    }

    #[inline]
    pub(super) fn push(&mut self, number: u16) {
        if let Some(place) = self.numbers.get_mut(usize::from(self.count)) {
            *place = number;
            self.count += 1;
        }
    }
}
