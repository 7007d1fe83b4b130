//! The vectors of RFC 7714 sections 16 and 17, which start from session keys.
use super::*;

/// An RTP packet, section 16.
const RTP: &str = "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e2070\
    61727465732074726573";

/// Section 16.1.1, 128 bits, and 16.2.1, 256.
const SRTP: [&str; 2] = [
    "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de\
     3adf8833899d7f27beb16a9152cf765ee4390cce",
    "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba6\
     3799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
];

/// An RTCP packet, section 17.1.
const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeef\
    deadbeefdeadbeefdeadbeefdeadbeef";

/// Sections 17.1, 128 bits, and 17.2, 256: encrypted.
const SRTCP: [&str; 2] = [
    "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b468630\
     3ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
    "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61d\
     e0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
];

/// The tags of sections 17.3, 128 bits, and 17.4, 256: authenticated only.
const TAGS: [&str; 2] = [
    "841dd9683dd78ec92ae58790125f62b3",
    "91db4afbfeee5a978fab4393ed2615fe",
];

const INDEX: u32 = 0x5d4;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16)?.try_into().ok())
        .collect();
    digits
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[high, low]| high << 4 | low)
        .collect()
}

/// The session keys of the sections: 0, 1, 2 and so on, and the salt "Quid pro quo".
fn session(key_bytes: u8) -> SessionKeys {
    let mut keys = SessionKeys {
        cipher: [0; 32],
        salt: [0; 14],
        auth: [0; 20],
    };
    for (byte, n) in keys.cipher.iter_mut().zip(0..key_bytes) {
        *byte = n;
    }
    keys.salt[..12].copy_from_slice(b"Quid pro quo");
    keys
}

#[test]
fn rfc7714_16() {
    section_16::<RingGcm>();
    let session = session(16);
    let mut opened = hex(SRTP[0]);
    let gcm = GcmRtp::<RingGcm>::from_session(&session, 16).unwrap();
    let bytes = gcm.open(0x5501_a0b2, 0xf17b, 12, &mut opened);
    assert_eq!(bytes.map(|bytes| &opened[..bytes]), Some(&hex(RTP)[..]));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn rfc7714_16_by_vaes() {
    if crate::Cipher::Vaes.is_available() {
        section_16::<crate::backend::VaesGcm>();
    }
    if crate::Cipher::Vaes512.is_available() {
        section_16::<crate::backend::Vaes512Gcm>();
    }
}

fn section_16<G: GcmSeal>() {
    for (key_bytes, sealed) in [16_u8, 32].into_iter().zip(SRTP) {
        let gcm = GcmRtp::<G>::from_session(&session(key_bytes), usize::from(key_bytes)).unwrap();
        let (packet, sealed) = (hex(RTP), hex(sealed));
        let (header, payload) = packet.split_at(12);
        let mut out = vec![0; sealed.len() - 12];
        gcm.seal(0x5501_a0b2, 0xf17b, header, [payload, &[]], &mut out)
            .unwrap();
        assert_eq!(out, sealed[12..], "{key_bytes}");
    }
}

#[test]
fn rfc7714_17_encrypted() {
    for (key_bytes, sealed) in [16_u8, 32].into_iter().zip(SRTCP) {
        let gcm = GcmRtcp::from_session(&session(key_bytes), usize::from(key_bytes));
        let (packet, sealed) = (hex(RTCP), hex(sealed));
        let mut out = vec![0; sealed.len()];
        gcm.seal(0x4d61_7273, INDEX, &packet, &mut out).unwrap();
        assert_eq!(out, sealed, "{key_bytes}");
        let mut opened = sealed;
        let bytes = gcm.open(0x4d61_7273, ENCRYPTED | INDEX, &mut opened);
        assert_eq!(bytes, Some(packet.len()));
        assert_eq!(opened[..packet.len()], packet);
    }
}

#[test]
fn rfc7714_17_authenticated_only() {
    for (key_bytes, tag) in [16_u8, 32].into_iter().zip(TAGS) {
        let gcm = GcmRtcp::from_session(&session(key_bytes), usize::from(key_bytes));
        let packet = hex(RTCP);
        let mut sealed = [packet.as_slice(), &hex(tag), &INDEX.to_be_bytes()].concat();
        let mut forged = sealed.clone();
        assert_eq!(
            gcm.open(0x4d61_7273, INDEX, &mut sealed),
            Some(packet.len()),
            "{key_bytes}"
        );
        assert_eq!(sealed[..packet.len()], packet);
        forged[20] ^= 1;
        assert_eq!(gcm.open(0x4d61_7273, INDEX, &mut forged), None);
    }
}
