//! Owns the derivation of session keys from a master key (RFC 3711 section 4.3), rate 0.

use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use aes::{Aes128Enc, Aes256Enc};
use ctr::{CtrCore, flavors::Ctr32BE};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::secret::{KEY_BYTES_MAX, SALT_BYTES_MAX, Secret};

/// Bytes of the HMAC-SHA1 key (RFC 3711 section 8.2).
pub(crate) const AUTH_BYTES: usize = 20;

/// Which of the two protocols a session key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Rtp,
    Rtcp,
}

/// The session keys of one protocol; unused bytes are zero.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SessionKeys {
    /// Encryption key, of the length of the master key.
    pub cipher: [u8; KEY_BYTES_MAX],
    /// 14 bytes, of which GCM uses the first 12.
    pub salt: [u8; SALT_BYTES_MAX],
    /// Of HMAC-SHA1; not used by GCM.
    pub auth: [u8; AUTH_BYTES],
}

impl SessionKeys {
    //= https://www.rfc-editor.org/rfc/rfc3711#section-4.3.1
    //# - k_e (SRTP encryption): <label> = 0x00, n = n_e.
    //# - k_a (SRTP message authentication): <label> = 0x01, n = n_a.
    //# - k_s (SRTP salting key): <label> = 0x02, n = n_s.
    // For SRTCP the labels are 3, 4 and 5 (section 4.3.2).
    pub fn derive(secret: &Secret, protocol: Protocol) -> Self {
        let label = match protocol {
            Protocol::Rtp => 0,
            Protocol::Rtcp => 3,
        };
        let mut keys = Self {
            cipher: [0; KEY_BYTES_MAX],
            salt: [0; SALT_BYTES_MAX],
            auth: [0; AUTH_BYTES],
        };
        let cipher_bytes = secret.key().len();
        prf(secret, label, &mut keys.cipher[..cipher_bytes]);
        prf(secret, label + 1, &mut keys.auth);
        let salt_bytes = secret.profile().salt_bytes();
        prf(secret, label + 2, &mut keys.salt[..salt_bytes]);
        keys
    }
}

/// Fills the zeroed `out` with the key stream for `label`: AES in counter mode, whose first block
/// is x * 2^16 (RFC 3711 section 4.3.3; RFC 7714 section 11 for AES-256).
fn prf(secret: &Secret, label: u8, out: &mut [u8]) {
    let mut block = [0; 16];
    block[..SALT_BYTES_MAX].copy_from_slice(secret.salt_padded());
    // key_id = label || r, where r has 48 bits and is 0 without a derivation rate.
    block[7] ^= label;
    if let Ok(key) = <&[u8; 16]>::try_from(secret.key()) {
        let cipher = Aes128Enc::new(key.into());
        let core = CtrCore::<_, Ctr32BE>::inner_iv_init(&cipher, &block.into());
        core.apply_keystream_partial(out.into());
    } else if let Ok(key) = <&[u8; 32]>::try_from(secret.key()) {
        let cipher = Aes256Enc::new(key.into());
        let core = CtrCore::<_, Ctr32BE>::inner_iv_init(&cipher, &block.into());
        core.apply_keystream_partial(out.into());
    }
    // No key: the plain profile, which derives nothing.
    block.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::srtp::Profile;

    /// RFC 3711 appendix B.3.
    #[test]
    fn rfc3711_b3() {
        let key = 0xE1F9_7A0D_3E01_8BE0_D64F_A32C_06DE_4139_u128.to_be_bytes();
        let salt = 0x0EC6_75AD_498A_FEEB_B696_0B3A_ABE6_u128.to_be_bytes();
        let secret = Secret::new(Profile::Aes128CmSha1_80, &key, &salt[2..]).unwrap();
        let keys = SessionKeys::derive(&secret, Protocol::Rtp);
        let cipher = 0xC61E_7A93_744F_39EE_1073_4AFE_3FF7_A087_u128.to_be_bytes();
        assert_eq!(keys.cipher[..16], cipher);
        assert_eq!(keys.cipher[16..], [0; 16]);
        let salt = 0x30CB_BC08_863D_8C85_D49D_B34A_9AE1_u128.to_be_bytes();
        assert_eq!(keys.salt, salt[2..]);
        let auth: [u8; 16] = 0xCEBE_321F_6FF7_716B_6FD4_AB49_AF25_6A15_u128.to_be_bytes();
        assert_eq!(keys.auth[..16], auth);
        assert_eq!(keys.auth[16..], [0x6D, 0x38, 0xBA, 0xA4]);
    }

    #[test]
    fn rtp_and_rtcp_differ() {
        for profile in [
            Profile::Aes128CmSha1_80,
            Profile::AeadAes128Gcm,
            Profile::AeadAes256Gcm,
        ] {
            let key = vec![7; profile.key_bytes()];
            let salt = vec![9; profile.salt_bytes()];
            let secret = Secret::new(profile, &key, &salt).unwrap();
            let rtp = SessionKeys::derive(&secret, Protocol::Rtp);
            let rtcp = SessionKeys::derive(&secret, Protocol::Rtcp);
            assert_ne!(rtp.cipher, rtcp.cipher);
            assert_ne!(rtp.salt, rtcp.salt);
            assert_ne!(rtp.auth, rtcp.auth);
        }
    }
}
