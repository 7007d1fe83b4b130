//! Owns AES-CM and HMAC-SHA1 by the `aes`, `ctr` and `sha1` crates. Hot.

use aes::Aes128Enc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use ctr::{CtrCore, flavors::Ctr32BE};
use sha1::block_api::compress;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Cm, CmSeal, Hmac, Message};
use crate::secret::KeyError;

/// The expanded key. The `aes` crate wipes it on drop.
pub(crate) struct RustCryptoCm(Aes128Enc);

impl Cm for RustCryptoCm {
    fn new(key: &[u8; 16]) -> Self {
        Self(Aes128Enc::new(key.into()))
    }

    fn apply(&self, iv: &[u8; 16], bytes: &mut [u8]) {
        // The counter of SRTP has 16 bits and starts at zero: it never reaches the 17th.
        let core = CtrCore::<_, Ctr32BE>::inner_iv_init(&self.0, iv.into());
        core.apply_keystream_partial(bytes.into());
    }
}

/// Bytes of a block of SHA-1.
const BLOCK: usize = 64;

/// The initial state of SHA-1 (FIPS 180-4 section 5.3.1).
const INITIAL: [u32; 5] = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];

/// The states of SHA-1 behind the inner and the outer key block: two of the four compressions
/// that a short message would need are done once, and 40 bytes are all there is to keep.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct RustCryptoHmac {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl Hmac for RustCryptoHmac {
    fn new(key: &[u8; 20]) -> Self {
        let mut hmac = Self {
            inner: INITIAL,
            outer: INITIAL,
        };
        for (state, pad) in [(&mut hmac.inner, 0x36), (&mut hmac.outer, 0x5c)] {
            let mut block = [pad; BLOCK];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            compress(state, &[block]);
            block.zeroize();
        }
        hmac
    }

    fn mac(&self, message: &[u8], trailer: &[u8]) -> [u8; 20] {
        debug_assert!(trailer.len() <= 4, "an index word or none");
        let trailer = &trailer[..trailer.len().min(4)];
        let (blocks, rest) = message.as_chunks::<BLOCK>();
        let mut state = self.inner;
        compress(&mut state, blocks);
        // At most 63 + 4 bytes, one of padding and eight of length: two blocks.
        let mut last = [[0; BLOCK]; 2];
        let tail = last.as_flattened_mut();
        tail[..rest.len()].copy_from_slice(rest);
        let used = rest.len() + trailer.len();
        tail[rest.len()..used].copy_from_slice(trailer);
        let blocks = close(tail, used, BLOCK + message.len() + trailer.len());
        compress(&mut state, &last[..blocks]);

        let mut block = [0; BLOCK];
        block[..20].copy_from_slice(&digest(state));
        close(&mut block, 20, BLOCK + 20);
        let mut state = self.outer;
        compress(&mut state, &[block]);
        digest(state)
    }
}

/// Pads the `used` bytes at the end of a message of `total` bytes; gives the blocks filled.
fn close(tail: &mut [u8], used: usize, total: usize) -> usize {
    let blocks = (used + 9).div_ceil(BLOCK);
    tail[used] = 0x80;
    tail[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&(8 * total as u64).to_be_bytes());
    blocks
}

fn digest(state: [u32; 5]) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (out, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *out = word.to_be_bytes();
    }
    bytes
}

/// The two of them for RTP. It seals in place, one packet after another.
pub(crate) struct RustCryptoSeal {
    cm: RustCryptoCm,
    hmac: RustCryptoHmac,
}

impl RustCryptoSeal {
    /// Adds the key stream, either way; see [`Cm::apply`].
    pub(crate) fn apply(&self, iv: &[u8; 16], bytes: &mut [u8]) {
        self.cm.apply(iv, bytes);
    }

    /// The MAC of one message.
    pub(crate) fn mac(&self, message: &Message<'_>) -> [u8; 20] {
        self.hmac.mac(message.bytes, &message.roc)
    }
}

impl CmSeal for RustCryptoSeal {
    fn new(cipher: &[u8; 16], auth: &[u8; 20]) -> Result<Self, KeyError> {
        Ok(Self {
            cm: RustCryptoCm::new(cipher),
            hmac: RustCryptoHmac::new(auth),
        })
    }

    fn encrypt(&self, iv: &[u8; 16], [first, second]: [&[u8]; 2], out: &mut [u8]) -> Option<()> {
        let (head, tail) = out.split_at_mut_checked(first.len())?;
        if tail.len() != second.len() {
            return None;
        }
        head.copy_from_slice(first);
        tail.copy_from_slice(second);
        self.cm.apply(iv, out);
        Some(())
    }

    fn macs(&self, messages: &[Message<'_>], macs: &mut [[u8; 20]]) {
        for (message, mac) in messages.iter().zip(macs) {
            *mac = self.mac(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.2.
    #[test]
    fn rfc3711_b2() {
        let key = 0x2B7E_1516_28AE_D2A6_ABF7_1588_09CF_4F3C_u128.to_be_bytes();
        let iv = 0xF0F1_F2F3_F4F5_F6F7_F8F9_FAFB_FCFD_0000_u128.to_be_bytes();
        let cm = RustCryptoCm::new(&key);
        let mut stream = vec![0; 16 * 0xff02];
        cm.apply(&iv, &mut stream);
        let expected: [(usize, u128); 6] = [
            (0x0000, 0xE03E_AD09_35C9_5E80_E166_B16D_D92B_4EB4),
            (0x0001, 0xD235_1316_2B02_D0F7_2A43_A2FE_4A5F_97AB),
            (0x0002, 0x41E9_5B3B_B0A2_E8DD_4779_01E4_FCA8_94C0),
            (0xfeff, 0xEC8C_DF73_9860_7CB0_F2D2_1675_EA9E_A1E4),
            (0xff00, 0x362B_7C3C_6773_5163_18A0_77D7_FC50_73AE),
            (0xff01, 0x6A2C_C378_7889_374F_BEB4_C81B_17BA_6C44),
        ];
        for (block, stream_block) in expected {
            assert_eq!(
                stream[16 * block..][..16],
                stream_block.to_be_bytes(),
                "{block:#x}"
            );
        }
    }

    /// RFC 2202 section 3, test case 1, in one piece and cut before its last bytes.
    #[test]
    fn rfc2202() {
        let hmac = RustCryptoHmac::new(&[0x0b; 20]);
        let expected = [
            0xb6, 0x17, 0x31, 0x86, 0x55, 0x05, 0x72, 0x64, 0xe2, 0x8b, 0xc0, 0xb6, 0xfb, 0x37,
            0x8c, 0x8e, 0xf1, 0x46, 0xbe, 0x00,
        ];
        assert_eq!(hmac.mac(b"Hi There", b""), expected);
        assert_eq!(hmac.mac(b"Hi T", b"here"), expected);
    }

    /// All fills of the last block, against the HMAC of another library.
    #[test]
    fn agrees_with_ring() {
        let key = [0x5a; 20];
        let hmac = RustCryptoHmac::new(&key);
        let other = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
        let message: Vec<u8> = (0..300_u16).map(|n| n.to_be_bytes()[1] ^ 0x33).collect();
        for bytes in 4..message.len() {
            let expected = ring::hmac::sign(&other, &message[..bytes]);
            assert_eq!(
                hmac.mac(&message[..bytes], b""),
                expected.as_ref(),
                "{bytes} bytes"
            );
            let (head, trailer) = message[..bytes].split_at(bytes - 4);
            assert_eq!(
                hmac.mac(head, trailer),
                expected.as_ref(),
                "{bytes} bytes, cut"
            );
        }
    }
}
