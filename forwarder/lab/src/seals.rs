//! Owns the cost of sealing one packet, for each cipher and profile.

use seal::{Cipher, Profile, Sealer, Secret};
use std::hint::black_box;
use wire::rtp::{HEADER_BYTES, Header};
use wire::time::Span;

use crate::cpu::spent_ns;
use crate::rig::master;
use crate::samples::Samples;
use crate::{PACKET_BYTES, PAYLOAD_BYTES};

/// Viewers whose packets are sealed in turn: their keys are not all in the first-level cache.
const KEYS: u32 = 256;

/// Rounds of which the one in the middle counts.
const ROUNDS: u32 = 7;

/// Protections that browsers agree on, by their names in DTLS (RFC 5764, RFC 7714).
pub const PROFILES: [(&str, Profile); 3] = [
    ("AEAD_AES_128_GCM", Profile::AeadAes128Gcm),
    ("AEAD_AES_256_GCM", Profile::AeadAes256Gcm),
    ("AES128_CM_SHA1_80", Profile::Aes128CmSha1_80),
];

/// What seals where there is no choice.
pub const OWN: &str = "own";

/// What sealing costs in one way.
#[derive(Clone, Debug)]
pub struct Cost {
    /// The protection.
    pub profile: &'static str,
    /// What seals: the name of a cipher, or [`OWN`].
    pub cipher: &'static str,
    /// Nanoseconds for a packet of [`PACKET_BYTES`].
    pub ns: f64,
}

/// Measures all ways that this processor can run, in about `time` together.
///
/// # Errors
/// A cipher refuses a key.
pub fn measure(time: Span) -> Result<Vec<Cost>, String> {
    let mut ways = Vec::new();
    for (name, profile) in PROFILES {
        let ciphers = Cipher::ALL.into_iter();
        let mut ciphers: Vec<_> = ciphers
            .filter(|cipher| cipher.is_available())
            .map(|cipher| (name, profile, cipher, cipher.name()))
            .collect();
        // Whatever is asked for: there is one way.
        if profile == Profile::Aes128CmSha1_80 {
            ciphers.truncate(1);
            ciphers.iter_mut().for_each(|way| way.3 = OWN);
        }
        ways.extend(ciphers);
    }
    let each = Span(time.0 / ways.len().max(1) as u64);
    let cost = |(name, profile, cipher, said)| {
        Ok(Cost {
            profile: name,
            cipher: said,
            ns: one(profile, cipher, each)?,
        })
    };
    ways.into_iter().map(cost).collect()
}

fn one(profile: Profile, cipher: Cipher, time: Span) -> Result<f64, String> {
    let sealer = |n| {
        let keys = master(n);
        let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
        let secret = Secret::new(profile, &keys.key[..key], &keys.salt[..salt]);
        let secret = secret.map_err(|error| error.to_string())?;
        Sealer::with(&secret, cipher).map_err(|error| error.to_string())
    };
    let sealers = (0..KEYS).map(sealer).collect::<Result<Vec<_>, String>>()?;
    let mut index = 0;
    let mut round = |rounds: u32| {
        for _ in 0..rounds {
            index += 1;
            seal_all(&sealers, index);
        }
    };
    round(4);
    let first = spent_ns(|| round(4)).max(1);
    // As many as fit in the time that is given, one at least.
    let fit = time.0 * 4 / first / u64::from(ROUNDS);
    let rounds = u32::try_from(fit).unwrap_or(u32::MAX).clamp(1, 10_000);
    let mut samples = Samples::default();
    for _ in 0..ROUNDS {
        let ns = spent_ns(|| round(rounds));
        samples.add(ns as f64 / f64::from(rounds * KEYS));
    }
    Ok(samples.median())
}

fn seal_all(sealers: &[Sealer], index: u64) {
    static PAYLOAD: [u8; PAYLOAD_BYTES] = [0x5a; PAYLOAD_BYTES];
    let mut out = [0; PACKET_BYTES + 100];
    let mut header = [0; HEADER_BYTES];
    let fields = Header {
        sequence: u16::try_from(index & 0xffff).unwrap_or(0),
        ssrc: 7,
        ..Header::default()
    };
    let _ = fields.write(&[], &mut header);
    for sealer in sealers {
        let sealed = sealer.rtp(index, &header, black_box(&PAYLOAD), &mut out);
        debug_assert!(sealed.is_some(), "an index that fits its header");
        black_box(&out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_has_a_cost() {
        let costs = measure(Span::millis(60)).unwrap();
        for (name, _) in PROFILES {
            let cost = costs.iter().find(|cost| cost.profile == name).unwrap();
            assert!(cost.ns > 20.0 && cost.ns < 1e6, "{cost:?}");
        }
    }
}
