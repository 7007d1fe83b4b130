//! Owns the keys of a connection: key material messages, the two key slots, AES-CTR.

use aes::{Aes128, Aes192, Aes256};
use aes_kw::{KeyInit, KwAes128, KwAes192, KwAes256};
use ctr::cipher::{InnerIvInit, StreamCipher};
use ctr::{Ctr128BE, CtrCore};
use std::{fmt, sync::Arc};
use subtle::ConstantTimeEq;
use wire::time::{Span, Time};
use zeroize::Zeroizing;

use super::seq::Seq;

/// Rounds of the key derivation.
//= https://datatracker.ietf.org/doc/html/draft-sharabayko-srt-01#section-6.3.1
//# Iter=2048 defines the number of iterations for PBKDF2;
const PBKDF2_ROUNDS: u32 = 2048;

/// Derivations on one established connection are at least this far apart: one costs most of a
/// millisecond, and a caller that keeps its salt (all known ones do) never asks for a second.
const DERIVE_INTERVAL: Span = Span::secs(1);

/// The secret which a stream's publisher and the server share. Copies share one allocation, which
/// is wiped when the last of them goes; it is never printed.
#[derive(Clone)]
pub struct Passphrase(Arc<Zeroizing<Vec<u8>>>);

/// The passphrase cannot be used with SRT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an SRT passphrase has 10 to 80 bytes and no NUL: choose one of that length")]
pub struct BadPassphrase;

impl Passphrase {
    /// Takes a passphrase over.
    ///
    /// # Errors
    /// Other than 10 to 80 bytes, which is what encoders can be given, or a NUL among them.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<Self, BadPassphrase> {
        let secret = Zeroizing::new(secret.into());
        if (10..=80).contains(&secret.len()) && !secret.contains(&0) {
            Ok(Self(Arc::new(secret)))
        } else {
            Err(BadPassphrase)
        }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passphrase").finish_non_exhaustive()
    }
}

/// Why a key material message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKm {
    /// Wrong length or a field that must be otherwise.
    Malformed,
    /// Well formed, but for another cipher than AES-CTR (AES-GCM, say).
    Cipher,
    /// The keys do not unwrap with this passphrase.
    Secret,
    /// It would change the key in use.
    Replay,
    /// Too soon after the last one that needed a derivation.
    TooSoon,
}

/// What a data packet's key field and payload came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The payload is plaintext now.
    Yes,
    /// The slot that the packet names holds no key.
    NoKey,
}

/// The even and the odd key of one direction, as the caller announced them.
pub struct Keyring {
    passphrase: Passphrase,
    kek: Kek,
    /// Even, odd: the order of the key field's bits.
    slots: [Option<Slot>; 2],
    /// The slot of the newest packet opened, and that packet's number.
    active: usize,
    newest: Option<Seq>,
    /// The last message taken, to be echoed.
    km: Vec<u8>,
    derive_after: Time,
}

impl Keyring {
    /// Opens the key material of a handshake.
    ///
    /// # Errors
    /// [`BadKm`]; the derivation is only paid for a message of the right shape.
    pub fn open(passphrase: Passphrase, km: &[u8], now: Time) -> Result<Self, BadKm> {
        let parsed = Km::parse(km)?;
        let kek = Kek::derive(&passphrase, &parsed);
        let slots = parsed.unwrap(&kek)?;
        let active = usize::from(slots[0].is_none());
        Ok(Self {
            passphrase,
            kek,
            slots,
            active,
            newest: None,
            km: km.to_vec(),
            derive_after: now + DERIVE_INTERVAL,
        })
    }

    /// The message to echo in the answer.
    #[must_use]
    pub fn km(&self) -> &[u8] {
        &self.km
    }

    /// The handshake's Encryption Field: the key's length in 8 bytes.
    #[must_use]
    pub fn encryption_field(&self) -> u16 {
        match self.kek.size {
            KeySize::Aes128 => 2,
            KeySize::Aes192 => 3,
            KeySize::Aes256 => 4,
        }
    }

    /// Takes the other key. What was taken before may come again (the answer was lost); whatever
    /// is refused leaves the keys as they were.
    ///
    /// # Errors
    /// [`BadKm`].
    pub fn refresh(&mut self, km: &[u8], now: Time) -> Result<(), BadKm> {
        if km == self.km {
            return Ok(());
        }
        let parsed = Km::parse(km)?;
        let fresh_kek = if parsed.size == self.kek.size && parsed.salt == self.kek.salt {
            None
        } else if now < self.derive_after {
            return Err(BadKm::TooSoon);
        } else {
            self.derive_after = now + DERIVE_INTERVAL;
            Some(Kek::derive(&self.passphrase, &parsed))
        };
        let [even, odd] = parsed.unwrap(fresh_kek.as_ref().unwrap_or(&self.kek))?;
        let (in_use, other) = if self.active == 0 {
            (even, odd)
        } else {
            (odd, even)
        };
        // An old message played back must not turn the stream that runs into noise.
        if in_use.is_some_and(|slot| self.slots[self.active].as_ref() != Some(&slot)) {
            return Err(BadKm::Replay);
        }
        // Once the old key has gone out of use, libsrt announces the new one alone. The old one
        // stays all the same: a retransmission may need it.
        if let Some(other) = other {
            self.slots[1 - self.active] = Some(other);
        }
        if let Some(kek) = fresh_kek {
            self.kek = kek;
        }
        self.km = km.to_vec();
        Ok(())
    }

    /// Decrypts a data packet's payload in place. `key_field` is 1 (even) or 2 (odd).
    pub fn apply(&mut self, key_field: u8, seq: Seq, payload: &mut [u8]) -> Opened {
        let index = usize::from(key_field == 2);
        let Some(slot) = &self.slots[index] else {
            return Opened::NoKey;
        };
        slot.apply(seq, payload);
        if self.newest.is_none_or(|newest| newest.ahead_by(seq) > 0) {
            self.newest = Some(seq);
            self.active = index;
        }
        Opened::Yes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeySize {
    Aes128,
    Aes192,
    Aes256,
}

impl KeySize {
    fn bytes(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }
}

/// A key material message whose shape is right (draft-sharabayko-srt-01, section 3.2.2): one of six
/// lengths between 56 and 104 bytes. Longer ones have overflowed stacks elsewhere.
#[derive(Debug)]
struct Km<'a> {
    size: KeySize,
    salt: [u8; 16],
    even: bool,
    odd: bool,
    wrapped: &'a [u8],
}

impl<'a> Km<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, BadKm> {
        let (head, rest) = bytes.split_first_chunk::<16>().ok_or(BadKm::Malformed)?;
        let (salt, wrapped) = rest.split_first_chunk::<16>().ok_or(BadKm::Malformed)?;
        let [
            version,
            s0,
            s1,
            kk,
            i0,
            i1,
            i2,
            i3,
            cipher,
            auth,
            se,
            r0,
            r1,
            r2,
            slen,
            klen,
        ] = *head;
        // Version 1, packet type 2 (key material), the sign "HAI" as a PnP vendor id; one key
        // encrypting key (index 0); stream encapsulation 2 (MPEG-TS over SRT); a salt of 16 bytes.
        let fixed = (version, s0, s1, se, slen) == (0x12, 0x20, 0x29, 2, 4);
        if !fixed || [i0, i1, i2, i3, r0, r1, r2] != [0; 7] || !matches!(kk, 1..=3) {
            return Err(BadKm::Malformed);
        }
        if (cipher, auth) != (2, 0) {
            return Err(BadKm::Cipher);
        }
        let size = match klen {
            4 => KeySize::Aes128,
            6 => KeySize::Aes192,
            8 => KeySize::Aes256,
            _ => return Err(BadKm::Malformed),
        };
        let keys = if kk == 3 { 2 } else { 1 };
        if wrapped.len() != 8 + keys * size.bytes() {
            return Err(BadKm::Malformed);
        }
        Ok(Self {
            size,
            salt: *salt,
            even: kk & 1 != 0,
            odd: kk & 2 != 0,
            wrapped,
        })
    }

    fn unwrap(&self, kek: &Kek) -> Result<[Option<Slot>; 2], BadKm> {
        let mut plain = Zeroizing::new([0; 64]);
        let plain = &mut plain[..self.wrapped.len() - 8];
        let done = match self.size {
            KeySize::Aes128 => KwAes128::new_from_slice(&kek.key)
                .is_ok_and(|kw| kw.unwrap_key(self.wrapped, plain).is_ok()),
            KeySize::Aes192 => KwAes192::new_from_slice(&kek.key)
                .is_ok_and(|kw| kw.unwrap_key(self.wrapped, plain).is_ok()),
            KeySize::Aes256 => KwAes256::new_from_slice(&kek.key)
                .is_ok_and(|kw| kw.unwrap_key(self.wrapped, plain).is_ok()),
        };
        if !done {
            return Err(BadKm::Secret);
        }
        let mut keys = plain.chunks_exact(self.size.bytes());
        let mut slot = |present: bool| -> Option<Slot> {
            if present {
                Slot::new(self.salt, keys.next()?)
            } else {
                None
            }
        };
        Ok([slot(self.even), slot(self.odd)])
    }
}

/// The key that wraps the stream's keys.
struct Kek {
    size: KeySize,
    salt: [u8; 16],
    key: Zeroizing<Vec<u8>>,
}

impl Kek {
    //= https://datatracker.ietf.org/doc/html/draft-sharabayko-srt-01#section-6.3.1
    //# KEK = PBKDF2(passphrase, LSB(64,Salt), Iter, KLen)
    fn derive(passphrase: &Passphrase, km: &Km<'_>) -> Self {
        let mut key = Zeroizing::new(vec![0; km.size.bytes()]);
        let salt = &km.salt[8..];
        pbkdf2::pbkdf2_hmac::<sha1::Sha1>(&passphrase.0, salt, PBKDF2_ROUNDS, &mut key);
        Self {
            size: km.size,
            salt: km.salt,
            key,
        }
    }
}

/// One stream encrypting key with its rounds expanded, and the salt it came with.
struct Slot {
    salt: [u8; 16],
    key: Zeroizing<Vec<u8>>,
    rounds: Rounds,
}

/// Wiped on drop by the `aes` crate.
enum Rounds {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl Slot {
    fn new(salt: [u8; 16], key: &[u8]) -> Option<Self> {
        let rounds = match key.len() {
            16 => Rounds::Aes128(Aes128::new_from_slice(key).ok()?),
            24 => Rounds::Aes192(Aes192::new_from_slice(key).ok()?),
            _ => Rounds::Aes256(Aes256::new_from_slice(key).ok()?),
        };
        Some(Self {
            salt,
            key: Zeroizing::new(key.to_vec()),
            rounds,
        })
    }

    /// Encrypting and decrypting are one. The low 16 bits of the block count within a packet.
    //= https://datatracker.ietf.org/doc/html/draft-sharabayko-srt-01#section-6.3.2
    //# IV = (MSB(112, Salt) << 2) XOR (PktSeqNo)
    fn apply(&self, seq: Seq, payload: &mut [u8]) {
        let mut iv = self.salt;
        iv[14..].fill(0);
        for (byte, seq) in iv[10..14].iter_mut().zip(seq.get().to_be_bytes()) {
            *byte ^= seq;
        }
        let iv = iv.into();
        match &self.rounds {
            Rounds::Aes128(aes) => {
                Ctr128BE::from_core(CtrCore::inner_iv_init(aes, &iv)).apply_keystream(payload);
            }
            Rounds::Aes192(aes) => {
                Ctr128BE::from_core(CtrCore::inner_iv_init(aes, &iv)).apply_keystream(payload);
            }
            Rounds::Aes256(aes) => {
                Ctr128BE::from_core(CtrCore::inner_iv_init(aes, &iv)).apply_keystream(payload);
            }
        }
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.salt == other.salt && bool::from(self.key.as_slice().ct_eq(other.key.as_slice()))
    }
}

#[cfg(test)]
pub(super) mod tests;
