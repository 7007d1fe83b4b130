//! Packets and keys for the tests.
#![allow(dead_code, reason = "each test file uses a part")]

use freshet_seal::{Profile, Secret};

/// All profiles that encrypt.
pub const PROFILES: [Profile; 4] = [
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
    Profile::Aes128CmSha1_80,
    Profile::Aes128CmSha1_32,
];

/// A generator of test data (xorshift64*). The seed is part of each failure's message.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[7]).collect()
    }
}

pub fn secret(profile: Profile, rng: &mut Rng) -> Secret {
    let (key, salt) = (
        rng.bytes(profile.key_bytes()),
        rng.bytes(profile.salt_bytes()),
    );
    Secret::new(profile, &key, &salt).unwrap()
}

/// A header of random fields with `csrcs` contributing sources and an extension of `words`.
pub fn header(rng: &mut Rng, ssrc: u32, index: u64, csrcs: u8, words: Option<u16>) -> Vec<u8> {
    let mut header = vec![0x80 | csrcs, rng.next().to_be_bytes()[7]];
    header.extend(index.to_be_bytes()[6..].iter());
    header.extend(rng.bytes(4));
    header.extend(ssrc.to_be_bytes());
    header.extend(rng.bytes(4 * usize::from(csrcs)));
    if let Some(words) = words {
        header[0] |= 0x10;
        header.extend([0xbe, 0xde]);
        header.extend(words.to_be_bytes());
        header.extend(rng.bytes(4 * usize::from(words)));
    }
    header
}

/// A receiver report of random content, `bytes` long: a multiple of 4, at least 8.
pub fn rtcp(rng: &mut Rng, ssrc: u32, bytes: usize) -> Vec<u8> {
    let words = u16::try_from(bytes / 4 - 1).unwrap().to_be_bytes();
    let mut packet = vec![0x80, 201, words[0], words[1]];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(rng.bytes(bytes - 8));
    packet
}
