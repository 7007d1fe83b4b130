//! Owns the template dependency structure, against which a stream's descriptors are read. Hot.

use super::super::Size;
use super::super::bits::Bits;
use super::descriptor::{Custom, Descriptor, Head, Numbers};
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

use super::{CHAINS_MAX, SPATIAL_MAX, TARGETS_MAX, TEMPLATES_MAX, TEMPORAL_MAX};

/// What a stream has told of its templates, decode targets, chains and sizes. It comes with
/// keyframes; a value of this type belongs to one stream of packets (one SSRC) and is under 1 KB,
/// whatever the stream says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Structure {
    /// By template: two bits for each decode target.
    #[serde(with = "BigArray")]
    dtis: [u64; TEMPLATES_MAX],
    /// By template: four bits for each chain.
    #[serde(with = "BigArray")]
    chains: [u16; TEMPLATES_MAX],
    /// By template: bit n says that it refers to the frame n + 1 before.
    #[serde(with = "BigArray")]
    references: [u16; TEMPLATES_MAX],
    /// By template: spatial and temporal layer.
    #[serde(with = "BigArray")]
    layers: [Place; TEMPLATES_MAX],
    /// By decode target: the highest layers that it has.
    #[serde(with = "BigArray")]
    targets: [Place; TARGETS_MAX],
    /// By decode target: the chain that protects it.
    #[serde(with = "BigArray")]
    protected_by: [u8; TARGETS_MAX],
    sizes: [Size; SPATIAL_MAX],
    has_sizes: bool,
    /// One bit for each decode target that is being sent.
    active: u32,
    /// The id of the first template.
    offset: u8,
    /// 0: nothing was told yet.
    template_count: u8,
    target_count: u8,
    chain_count: u8,
    spatial_layers: u8,
}

/// A spatial and a temporal layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    spatial: u8,
    temporal: u8,
}

const _: () = assert!(size_of::<Structure>() <= 1024, "a publisher has several");

impl Structure {
    /// Nothing is known yet.
    #[must_use]
    pub const fn new() -> Self {
        const BASE: Place = Place {
            spatial: 0,
            temporal: 0,
        };
        Self {
            dtis: [0; TEMPLATES_MAX],
            chains: [0; TEMPLATES_MAX],
            references: [0; TEMPLATES_MAX],
            layers: [BASE; TEMPLATES_MAX],
            targets: [BASE; TARGETS_MAX],
            protected_by: [0; TARGETS_MAX],
            sizes: [Size {
                width: 0,
                height: 0,
            }; SPATIAL_MAX],
            has_sizes: false,
            active: 0,
            offset: 0,
            template_count: 0,
            target_count: 0,
            chain_count: 0,
            spatial_layers: 0,
        }
    }

    /// Reads the dependency descriptor of a packet, and keeps the structure if there is one in it.
    /// `None`, with nothing changed: it is cut short, has more layers than there may be, or goes
    /// by a structure that is not known.
    ///
    /// Packets that come late, from before the last structure, are `None` or mistaken for others:
    /// read a packet once, when it comes.
    #[inline]
    #[must_use]
    pub fn read(&mut self, bytes: &[u8]) -> Option<Descriptor> {
        let (head, rest) = bytes.split_first_chunk::<3>()?;
        let head = Head::new(*head);
        if rest.is_empty() {
            return self.describe(head, self.active, &Custom::default());
        }
        self.read_extended(head, rest)
    }

    /// True if a structure has been read.
    #[inline]
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.template_count != 0
    }

    /// How many spatial layers there are, 1 to 4; 0 if nothing is known.
    #[inline]
    #[must_use]
    pub fn spatial_layers(&self) -> u8 {
        self.spatial_layers
    }

    /// How many decode targets there are, 1 to 32; 0 if nothing is known.
    #[inline]
    #[must_use]
    pub fn targets(&self) -> u8 {
        self.target_count
    }

    /// The decode target with exactly these highest layers.
    #[must_use]
    pub fn target(&self, spatial: u8, temporal: u8) -> Option<u8> {
        let wanted = Place { spatial, temporal };
        (0..self.target_count)
            .find(|target| self.targets.get(usize::from(*target)) == Some(&wanted))
    }

    /// The highest spatial and temporal layer of a decode target.
    #[must_use]
    pub fn target_layers(&self, target: u8) -> Option<(u8, u8)> {
        let place = self.targets.get(..usize::from(self.target_count))?;
        let place = place.get(usize::from(target))?;
        Some((place.spatial, place.temporal))
    }

    /// The chain whose frames a decode target cannot do without; all of them there: no keyframe is
    /// needed. `None`: no such target, or there are no chains.
    #[must_use]
    pub fn protected_by(&self, target: u8) -> Option<u8> {
        let chains = self.protected_by.get(..usize::from(self.target_count))?;
        let chain = chains.get(usize::from(target)).copied()?;
        (self.chain_count != 0).then_some(chain)
    }

    /// Pixels of a spatial layer, if they were told.
    #[inline]
    #[must_use]
    pub fn size(&self, spatial: u8) -> Option<Size> {
        let sizes = self.sizes.get(..usize::from(self.spatial_layers))?;
        let size = sizes.get(usize::from(spatial)).copied()?;
        self.has_sizes.then_some(size)
    }

    fn read_extended(&mut self, head: Head, rest: &[u8]) -> Option<Descriptor> {
        let mut bits = Bits::new(rest);
        let (has_structure, has_active) = (bits.flag()?, bits.flag()?);
        let (has_dtis, has_references, has_chains) = (bits.flag()?, bits.flag()?, bits.flag()?);
        let told = if has_structure {
            Some(Self::parse(&mut bits)?)
        } else {
            None
        };
        let structure = told.as_ref().unwrap_or(self);
        let active = if has_active {
            read_mask(&mut bits, structure.target_count)?
        } else {
            structure.active
        };
        let mut custom = Custom {
            has_structure,
            ..Custom::default()
        };
        if has_dtis {
            custom.dtis = Some(read_dtis(&mut bits, structure.target_count)?);
        }
        if has_references {
            custom.references = Some(read_references(&mut bits)?);
        }
        if has_chains {
            custom.chains = Some(read_chains(&mut bits, structure.chain_count)?);
        }
        let described = structure.describe(head, active, &custom)?;
        if let Some(told) = told {
            *self = told;
        }
        self.active = active;
        Some(described)
    }

    /// What a frame of a template is, but for what its own packet says otherwise.
    fn describe(&self, head: Head, active: u32, custom: &Custom) -> Option<Descriptor> {
        let nth = head.template.wrapping_sub(self.offset) & 0x3f;
        if nth >= self.template_count {
            return None;
        }
        let nth = usize::from(nth);
        let place = *self.layers.get(nth)?;
        let references = match custom.references {
            Some(references) => references,
            None => Numbers::of_set(*self.references.get(nth)?),
        };
        let chains = match custom.chains {
            Some(chains) => chains,
            None => nibbles(*self.chains.get(nth)?),
        };
        let dtis = match custom.dtis {
            Some(dtis) => dtis,
            None => *self.dtis.get(nth)?,
        };
        let (own, above) = self.targets_from(place);
        Some(Descriptor {
            begins: head.begins,
            ends: head.ends,
            frame_number: head.frame_number,
            spatial: place.spatial,
            temporal: place.temporal,
            has_structure: custom.has_structure,
            active_targets: active,
            size: self.size(place.spatial),
            dtis,
            references,
            chains,
            target_count: self.target_count,
            chain_count: self.chain_count.min(CHAINS_MAX_U8),
            own_targets: own,
            above_targets: above,
        })
    }

    /// As bits, the decode targets of exactly this place, and those of its spatial layer that have
    /// more temporal ones.
    fn targets_from(&self, place: Place) -> (u32, u32) {
        let targets = self.targets.iter().take(usize::from(self.target_count));
        let (mut own, mut above) = (0, 0);
        for (nth, target) in targets.enumerate() {
            let bit = 1 << nth;
            if *target == place {
                own |= bit;
            } else if target.spatial == place.spatial && target.temporal > place.temporal {
                above |= bit;
            }
        }
        (own, above)
    }

    fn parse(bits: &mut Bits<'_>) -> Option<Self> {
        let mut this = Self::new();
        this.offset = bits.byte(6)?;
        this.target_count = bits.byte(5)? + 1;
        this.read_layers(bits)?;
        let templates = usize::from(this.template_count);
        for dtis in this.dtis.iter_mut().take(templates) {
            *dtis = read_dtis(bits, this.target_count)?;
        }
        for references in this.references.iter_mut().take(templates) {
            while bits.flag()? {
                *references |= 1 << bits.take(4)?;
            }
        }
        this.read_chains(bits)?;
        this.find_targets();
        if bits.flag()? {
            this.has_sizes = true;
            for size in this.sizes.iter_mut().take(usize::from(this.spatial_layers)) {
                // One less than it is; 65,536 does not fit and is nothing real.
                *size = Size {
                    width: bits.take(16)?.saturating_add(1),
                    height: bits.take(16)?.saturating_add(1),
                };
            }
        }
        this.active = u32::MAX >> (u32::BITS - u32::from(this.target_count));
        Some(this)
    }

    /// Each template's layers: as the one before, a temporal layer above, or the next spatial one.
    fn read_layers(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let mut place = Place::default();
        for (nth, layer) in self.layers.iter_mut().enumerate() {
            *layer = place;
            self.template_count = u8::try_from(nth + 1).ok()?;
            self.spatial_layers = place.spatial + 1;
            match bits.take(2)? {
                0 => {}
                1 => place.temporal += 1,
                2 => {
                    place.spatial += 1;
                    place.temporal = 0;
                }
                _ => return Some(()),
            }
            let is_known = usize::from(place.spatial) < SPATIAL_MAX
                && usize::from(place.temporal) < TEMPORAL_MAX;
            is_known.then_some(())?;
        }
        None
    }

    fn read_chains(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        self.chain_count = bits.below(self.target_count + 1)?;
        if self.chain_count == 0 {
            return Some(());
        }
        for chain in self
            .protected_by
            .iter_mut()
            .take(usize::from(self.target_count))
        {
            *chain = bits.below(self.chain_count)?;
        }
        for chains in self
            .chains
            .iter_mut()
            .take(usize::from(self.template_count))
        {
            for nth in 0..usize::from(self.chain_count) {
                let difference = bits.take(4)?;
                if nth < CHAINS_MAX {
                    *chains |= difference << (4 * nth);
                }
            }
        }
        Some(())
    }

    /// A decode target has the highest layers of the templates that are part of it.
    fn find_targets(&mut self) {
        let templates = self.layers.iter().zip(&self.dtis);
        for (place, dtis) in templates.take(usize::from(self.template_count)) {
            for (nth, target) in self.targets.iter_mut().enumerate() {
                if dtis >> (2 * nth) & 3 != 0 {
                    target.spatial = target.spatial.max(place.spatial);
                    target.temporal = target.temporal.max(place.temporal);
                }
            }
        }
    }
}

impl Default for Structure {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "four")]
const CHAINS_MAX_U8: u8 = CHAINS_MAX as u8;

fn read_mask(bits: &mut Bits<'_>, targets: u8) -> Option<u32> {
    let mut mask = 0;
    // The last target comes first.
    for nth in (0..targets).rev() {
        mask |= u32::from(bits.flag()?) << nth;
    }
    Some(mask)
}

/// Two bits for each decode target, the first one in the lowest.
fn read_dtis(bits: &mut Bits<'_>, targets: u8) -> Option<u64> {
    let mut dtis = 0;
    for nth in 0..targets {
        dtis |= u64::from(bits.take(2)?) << (2 * nth);
    }
    Some(dtis)
}

/// A size in units of four bits before each number, 0 at the end.
fn read_references(bits: &mut Bits<'_>) -> Option<Numbers> {
    let mut references = Numbers::default();
    loop {
        let size = u32::from(bits.take(2)?);
        if size == 0 {
            return Some(references);
        }
        references.push(bits.take(4 * size)? + 1);
    }
}

fn read_chains(bits: &mut Bits<'_>, chains: u8) -> Option<[u8; CHAINS_MAX]> {
    let mut differences = [0; CHAINS_MAX];
    for nth in 0..usize::from(chains) {
        let difference = bits.byte(8)?;
        if let Some(kept) = differences.get_mut(nth) {
            *kept = difference;
        }
    }
    Some(differences)
}

fn nibbles(packed: u16) -> [u8; CHAINS_MAX] {
    let mut differences = [0; CHAINS_MAX];
    for (nth, difference) in differences.iter_mut().enumerate() {
        *difference = u8::try_from(packed >> (4 * nth) & 0x0f).unwrap_or(0);
    }
    differences
}
