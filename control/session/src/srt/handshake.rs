//! Owns what we change in handshakes: keys taken out of requests and put into answers.

use sapflow_srt::packet::{
    Control, ControlPacket, Extension, Handshake, HandshakeKind, Packet, SrtHandshake, ext_flags,
};
use wire::time::Span;

use super::crypto::Keyring;
use super::seq::Seq;

/// Bytes of the shortest packet: the header.
pub const HEADER_BYTES: usize = 16;

/// Control type and subtype of key material outside of handshakes.
pub const KM_CONTROL_TYPE: u16 = 0x7fff;
/// A request.
pub const KMREQ_SUBTYPE: u16 = 3;
/// Its answer.
pub const KMRSP_SUBTYPE: u16 = 4;

/// A caller's conclusion, taken apart.
pub struct Conclusion {
    /// The caller's socket id.
    pub socket: u32,
    /// The number of the first data packet.
    pub first: Seq,
    /// The latency that the caller asks us for, within the limit.
    pub latency: Span,
    /// Its key material.
    pub offer: Offer,
    /// The same conclusion without keys, as a datagram.
    pub plain: Vec<u8>,
}

/// What a conclusion says about encryption.
pub enum Offer {
    /// Payloads will come in the clear.
    Plain,
    /// The key material message, not looked into yet.
    Km(Vec<u8>),
    /// The fields contradict each other.
    Contradiction,
}

impl Conclusion {
    /// Takes a conclusion apart; latencies above `latency_max` are lowered to it, because the
    /// receive buffer has to hold them.
    #[must_use]
    pub fn new(packet_timestamp: u32, dest: u32, mut hs: Handshake, latency_max: Span) -> Self {
        let offer = offer(&hs);
        let delay_max = u16::try_from(latency_max.as_millis()).unwrap_or(u16::MAX);
        let mut latency = Span::ZERO;
        hs.encryption = 0;
        hs.extension &= !ext_flags::KMREQ;
        hs.extensions
            .retain(|e| !matches!(e, Extension::KmReq(_) | Extension::KmRsp(_)));
        for extension in &mut hs.extensions {
            if let Extension::HsReq(SrtHandshake { sender_delay, .. }) = extension {
                *sender_delay = (*sender_delay).min(delay_max);
                latency = Span::millis(u64::from(*sender_delay));
            }
        }
        let (socket, first) = (hs.socket_id, Seq::new(hs.initial_seq));
        let mut plain = Vec::with_capacity(128);
        ControlPacket::new(packet_timestamp, dest, Control::Handshake(hs)).encode(&mut plain);
        Self {
            socket,
            first,
            latency,
            offer,
            plain,
        }
    }
}

/// A datagram of the engine's, as far as we care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// The answer that opens the connection with this socket id.
    Conclusion(u32),
    /// A rejection with this Handshake Type.
    Rejection(u32),
    /// An acknowledgement with the round trip as measured.
    Ack {
        /// The caller's socket id.
        socket: u32,
        /// The smoothed round trip.
        rtt: Span,
    },
    /// Anything else.
    Other,
}

impl Outgoing {
    /// Looks at a datagram of the engine's.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0x80, 0, ..] => match (
                be32(bytes, 36).map(HandshakeKind::from_u32),
                be32(bytes, 40),
            ) {
                (Some(HandshakeKind::Conclusion), Some(socket)) => Self::Conclusion(socket),
                (Some(HandshakeKind::Rejection(code)), _) => Self::Rejection(code),
                _ => Self::Other,
            },
            [0x80, 2, ..] => match (be32(bytes, 12), be32(bytes, 20)) {
                (Some(socket), Some(us)) => Self::Ack {
                    socket,
                    rtt: Span::micros(u64::from(us)),
                },
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// The engine's answer to a conclusion with the caller's key material echoed in it, which tells
/// the caller that we hold its keys.
#[must_use]
pub fn with_keys(response: &[u8], keys: &Keyring) -> Option<Vec<u8>> {
    let Ok(Packet::Control(mut packet)) = Packet::parse(response) else {
        return None;
    };
    let Control::Handshake(hs) = &mut packet.body else {
        return None;
    };
    hs.encryption = keys.encryption_field();
    hs.extension |= ext_flags::KMREQ;
    hs.extensions.push(Extension::KmRsp(keys.km().to_vec()));
    let mut out = Vec::with_capacity(response.len() + keys.km().len() + 4);
    packet.encode(&mut out);
    Some(out)
}

/// The answer to a key refresh: the same message back.
#[must_use]
pub fn km_response(timestamp_us: u32, dest: u32, km: &[u8]) -> Vec<u8> {
    let body = Control::Other {
        control_type: KM_CONTROL_TYPE,
        subtype: KMRSP_SUBTYPE,
        info: 0,
        cif: km.to_vec(),
    };
    let mut out = Vec::with_capacity(HEADER_BYTES + km.len());
    ControlPacket::new(timestamp_us, dest, body).encode(&mut out);
    out
}

/// The 32 bits at `at`, if they are there.
#[must_use]
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

/// Two answers to one question, or a flag without its extension, are not guessed at.
fn offer(hs: &Handshake) -> Offer {
    let flagged = hs.extension & ext_flags::KMREQ != 0;
    let mut km = None;
    let (mut ids, mut requests) = (0, 0);
    for extension in &hs.extensions {
        match extension {
            Extension::KmReq(body) if km.is_none() => km = Some(body.clone()),
            Extension::KmReq(_) | Extension::KmRsp(_) => return Offer::Contradiction,
            Extension::StreamId(_) => ids += 1,
            Extension::HsReq(_) => requests += 1,
            _ => {}
        }
    }
    match km {
        _ if ids > 1 || requests != 1 => Offer::Contradiction,
        Some(km) if flagged => {
            // The message's last header byte is the key's length in 4 bytes, the field's in 8.
            let announced = hs.encryption.saturating_mul(2);
            if announced == 0 || km.get(15).is_some_and(|len| u16::from(*len) == announced) {
                Offer::Km(km)
            } else {
                Offer::Contradiction
            }
        }
        None if !flagged && hs.encryption == 0 => Offer::Plain,
        _ => Offer::Contradiction,
    }
}

#[cfg(test)]
mod tests;
