//! Owns Opus in MPEG-TS: the control header before each packet, and what a packet lasts.

/// Samples of the longest Opus packet: 120 ms.
const PACKET_SAMPLES_MAX: i64 = 5760;

/// The packets of a PES packet and how many 48 kHz samples each lasts. Ends at the first thing
/// that is not one.
pub(crate) fn packets(bytes: &[u8]) -> impl Iterator<Item = (&[u8], i64)> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let (packet, after) = next(rest)?;
        rest = after;
        Some((packet, samples(packet)?))
    })
}

/// The packet at the start and what follows it.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x7f, flags, rest @ ..] = bytes else {
        return None;
    };
    let mut rest = rest;
    // Eleven bits 0x3ff, then flags of what follows the size.
    if flags & 0xe0 != 0xe0 {
        return None;
    }
    let mut size = 0;
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        size += usize::from(byte);
        if byte != 255 {
            break;
        }
    }
    // Trims say which samples to leave out at the ends of a recording; live, nothing is left out.
    rest = rest.get(if flags & 0x10 != 0 { 2 } else { 0 }..)?;
    rest = rest.get(if flags & 0x08 != 0 { 2 } else { 0 }..)?;
    if flags & 0x04 != 0 {
        let (&bytes, after) = rest.split_first()?;
        rest = after.get(usize::from(bytes)..)?;
    }
    (size > 0).then(|| rest.split_at_checked(size))?
}

/// 48 kHz samples of a packet (RFC 6716 section 3.1); `None`: it is not one.
fn samples(packet: &[u8]) -> Option<i64> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        config @ 12..=15 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => i64::from(packet.get(1)? & 0x3f),
    };
    let samples = frame * frames;
    (1..=PACKET_SAMPLES_MAX)
        .contains(&samples)
        .then_some(samples)
}

/// True if the packet's sound is stereo.
pub(crate) fn is_stereo(packet: &[u8]) -> bool {
    packet.first().is_some_and(|toc| toc & 4 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_several_packets_with_trims_and_extension() {
        // CELT, 20 ms, stereo.
        let mut bytes = vec![0x7f, 0xe0, 3, 0xfc, 1, 2];
        bytes.extend([0x7f, 0xfc, 255, 45, 0, 9, 0, 9, 1, 77]);
        bytes.push(0xfd);
        bytes.extend([5; 299]);
        bytes.extend([0x7f, 0xe0, 9, 1]);
        let seen: Vec<_> = packets(&bytes)
            .map(|(packet, at)| (packet.len(), at))
            .collect();
        assert_eq!(seen, [(3, 960), (300, 1920)]);
    }

    proptest! {
        #[test]
        fn noise_ends(bytes in proptest::collection::vec(
            prop_oneof![Just(0x7fu8), Just(0xff), any::<u8>()], 0..600)) {
            let total: usize = packets(&bytes).map(|(packet, _)| packet.len()).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
