//! Owns the ciphers: what differs between two of them, or does not open again, is a fault.

use ::seal::{Cipher, Opener, Packet, Profile, Run, Sealer, Secret};
use ::wire::rtp::{HEADER_BYTES, Header};

/// A byte that chooses, 44 of key and salt, 8 of numbers, one of how much is header and one of
/// where the payload is cut; then header extension and payload.
pub fn seal(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<55>() else {
        return;
    };
    let profile = match head[0] % 4 {
        0 => Profile::AeadAes128Gcm,
        1 => Profile::AeadAes256Gcm,
        2 => Profile::Aes128CmSha1_80,
        _ => Profile::Aes128CmSha1_32,
    };
    let key = &head[1..][..profile.key_bytes()];
    let salt = &head[1 + profile.key_bytes()..][..profile.salt_bytes()];
    let secret = Secret::new(profile, key, salt).expect("of the right lengths");
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let sequence = u16::try_from(number(45) >> 16).expect("16 bits");
    let fields = Header {
        sequence,
        ssrc: number(49),
        ..Header::default()
    };
    let mut header = vec![0; HEADER_BYTES];
    let _ = fields.write(&[], &mut header);
    let words = usize::from(head[53]).min(rest.len() / 4);
    let (extension, payload) = rest.split_at(4 * words);
    if words > 0 {
        header[0] |= 0x10;
        header.extend([
            0xbe,
            0xde,
            0,
            head[53].min(u8::try_from(words).unwrap_or(u8::MAX)),
        ]);
        header.extend_from_slice(extension);
    }
    let cut = usize::from(head[54]).min(payload.len());
    let parts = payload.split_at(cut);
    let sealed = Cipher::ALL
        .into_iter()
        .filter(|cipher| cipher.is_available())
        .map(|cipher| {
            let sealer = Sealer::with(&secret, cipher).expect("it is available");
            let mut out = vec![0; header.len() + payload.len() + sealer.rtp_overhead()];
            let bytes = sealer.rtp_parts(u64::from(sequence), &header, parts.into(), &mut out);
            assert_eq!(bytes, Some(out.len()));
            in_a_run(&sealer, sequence, &header, payload, head[54]);
            out
        });
    let sealed: Vec<_> = sealed.collect();
    assert!(sealed.windows(2).all(|pair| pair[0] == pair[1]));
    let mut opener = Opener::new(&secret).expect("a good key");
    let mut packet = sealed.into_iter().next().expect("ring runs everywhere");
    let opened = opener.rtp(&mut packet).expect("sealed with the same key");
    assert_eq!(opened.packet, [header.as_slice(), payload].concat());
}

/// Up to seventeen packets together, each of some bytes of the payload: each is what it is alone.
fn in_a_run(sealer: &Sealer, sequence: u16, header: &[u8], payload: &[u8], shape: u8) {
    let packet = |nth: usize| {
        let length = (payload.len() + 1) * (nth * usize::from(shape) % 17) / 17;
        Packet {
            index: u64::from(sequence),
            header,
            parts: payload[..length.min(payload.len())]
                .split_at(length / 3)
                .into(),
        }
    };
    let packets = usize::from(shape) % 17 + 1;
    let each = header.len() + payload.len() + sealer.rtp_overhead();
    let mut memory = vec![0; each * packets];
    let mut run = Run::default();
    for nth in 0..packets {
        let room = each * nth..each * (nth + 1);
        assert!(
            sealer
                .rtp_of_run(&mut run, &packet(nth), &mut memory, room)
                .is_some()
        );
    }
    sealer.finish_run(&mut run, &mut memory);
    let mut alone = vec![0; each];
    for (nth, together) in memory.chunks(each).enumerate() {
        let Packet {
            index,
            header,
            parts,
        } = packet(nth);
        let sealed = sealer
            .rtp_parts(index, header, parts, &mut alone)
            .expect("it was, before");
        assert_eq!(together[..sealed], alone[..sealed]);
    }
}
