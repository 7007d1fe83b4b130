//! Owns a publisher's packet on its way into the log: header, payload, and the header-extension
//! elements that are kept. Hot.

use link::command::TrackIn;
use link::elements::KINDS;
use wire::rtp::{Header, Packet};
use wire::rtp_ext::Elements;

use crate::extension::fit;

/// A packet on its way into the log.
#[derive(Clone, Copy)]
pub struct Coming<'a> {
    /// Its header.
    pub header: Header,
    /// Its payload, without padding.
    pub payload: &'a [u8],
    /// The elements that were negotiated, as far as there is room for them; by kind.
    pub elements: [&'a [u8]; KINDS],
}

impl<'a> Coming<'a> {
    /// A packet of a lane, and how many of its elements are left out. `None`: it is no use without
    /// one for which there is no room.
    #[inline]
    pub fn of(lane: &TrackIn, packet: &Packet<'a>) -> Option<(Self, u64)> {
        let mut coming = Self {
            header: packet.header(),
            payload: packet.payload(),
            elements: [&[]; KINDS],
        };
        if lane.elements == [0; KINDS] {
            return Some((coming, 0));
        }
        let Some(extension) = packet.extension() else {
            return Some((coming, 0));
        };
        let mut found = [&[][..]; KINDS];
        for element in Elements::new(extension) {
            let kind = lane.elements.iter().position(|id| *id == element.id);
            // The first of each counts. Id 0 is padding.
            if let Some(kind) = kind.filter(|_| element.id != 0)
                && found[kind].is_empty()
            {
                found[kind] = element.data;
            }
        }
        let (elements, dropped) = fit(coming.payload.len(), found)?;
        coming.elements = elements;
        Some((coming, dropped))
    }
}
