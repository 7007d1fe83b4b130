//! Owns what must not be guessed: ids, credentials, entity-tags, SSRCs, first indexes.
//!
//! Handshake secrets are not among it: both DTLS engines draw from the system.

use link::command::{ICE_PWD_BYTES, IceCredentials};
use link::ids;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// A cryptographic generator that is seeded from outside.
pub(crate) struct Random(StdRng);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(StdRng::from_seed(seed))
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Text of five bits a character.
    pub(crate) fn text(&mut self, characters: usize) -> String {
        const ALPHABET: [u8; 32] = *b"abcdefghijklmnopqrstuvwxyz234567";
        let five_bits = |byte: u8| char::from(ALPHABET[usize::from(byte & 31)]);
        (0..characters)
            .map(|_| self.bytes::<1>()[0])
            .map(five_bits)
            .collect()
    }

    /// Credentials of the viewer with this index: 72 and 144 random bits.
    pub(crate) fn credentials(&mut self, index: u32) -> IceCredentials {
        const ALPHABET: [u8; 64] =
            *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let pwd = self
            .bytes::<ICE_PWD_BYTES>()
            .map(|byte| ALPHABET[usize::from(byte & 63)]);
        IceCredentials {
            ufrag: ids::ufrag(index, self.bytes()),
            pwd,
        }
    }

    /// `N` SSRCs, none of them 0, no two alike.
    pub(crate) fn ssrcs<const N: usize>(&mut self) -> [u32; N] {
        let mut ssrcs = [0; N];
        for place in 0..N {
            let mut ssrc = 0;
            while ssrc == 0 || ssrcs[..place].contains(&ssrc) {
                ssrc = u32::from_be_bytes(self.bytes());
            }
            ssrcs[place] = ssrc;
        }
        ssrcs
    }

    /// Below 2^15, so that a receiver which misses the first packets still guesses that the
    /// roll-over counter is 0 (RFC 3711 section 3.3.1).
    pub(crate) fn first_index(&mut self) -> u64 {
        u64::from(u16::from_be_bytes(self.bytes()) & 0x7fff)
    }

    /// Any 32 bits (RFC 3550 section 5.1).
    pub(crate) fn timestamp_offset(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    /// Below 2^63, as RFC 9429 section 5.2.1 wants of a description's identifier.
    pub(crate) fn session_number(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes()) >> 1
    }
}
