//! Owns the capture file of a simulation: pcap with nanoseconds, raw IP packets.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use wire::peer::Peer;
use wire::time::Time;

/// Packets begin with the IP header.
const LINKTYPE_RAW: u32 = 101;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const UDP: u8 = 17;

pub(super) struct Pcap {
    file: BufWriter<File>,
}

impl Pcap {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&MAGIC_NANOSECONDS.to_le_bytes())?;
        file.write_all(&2_u16.to_le_bytes())?;
        file.write_all(&4_u16.to_le_bytes())?;
        for field in [0, 0, 65_535, LINKTYPE_RAW] {
            file.write_all(&field.to_le_bytes())?;
        }
        file.flush()?;
        Ok(Self { file })
    }

    /// Adds one datagram. A disk that is full loses the capture, not the simulation.
    pub(super) fn write(&mut self, now: Time, from: Peer, to: Peer, bytes: &[u8]) {
        let _ = self.try_write(now, from, to, bytes);
    }

    fn try_write(&mut self, now: Time, from: Peer, to: Peer, bytes: &[u8]) -> io::Result<()> {
        let udp = u16::try_from(bytes.len() + 8).unwrap_or(u16::MAX);
        let mut packet = Vec::with_capacity(bytes.len() + 48);
        match (from.ip.v4_octets(), to.ip.v4_octets()) {
            (Some(source), Some(target)) => {
                packet.extend([0x45, 0]);
                packet.extend((udp + 20).to_be_bytes());
                packet.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
                packet.extend(source);
                packet.extend(target);
            }
            _ => {
                packet.extend([0x60, 0, 0, 0]);
                packet.extend(udp.to_be_bytes());
                packet.extend([UDP, 64]);
                packet.extend(from.ip.0);
                packet.extend(to.ip.0);
            }
        }
        for field in [from.port, to.port, udp, 0] {
            packet.extend(field.to_be_bytes());
        }
        packet.extend(bytes);
        let seconds = u32::try_from(now.0 / 1_000_000_000).unwrap_or(u32::MAX);
        let rest = u32::try_from(now.0 % 1_000_000_000).unwrap_or(0);
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        for field in [seconds, rest, length, length] {
            self.file.write_all(&field.to_le_bytes())?;
        }
        self.file.write_all(&packet)?;
        self.file.flush()
    }
}
