//! Owns assembling PES packets: bounded, finished as early as can be known, holes remembered.

use crate::ts::Packet;
use wire::time::{Span, Time};

/// Most bytes of one PES packet: a keyframe of a 100 Mbit/s stream with one keyframe a second has
/// about 2 MB.
pub(crate) const PES_BYTES_MAX: usize = 4 << 20;

/// Most holes (lost transport packets) that one PES packet is given up at.
const HOLES_MAX: usize = 64;

/// A PES packet without a length whose end nothing has shown is taken as finished after this
/// silence. Long, because a network that repairs by retransmission pauses for its whole latency,
/// and what comes after the cut would be lost.
pub(crate) const SILENCE_MAX: Span = Span::millis(500);

/// One whole PES packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pes<'a> {
    /// Presentation time, 33 bits of 90 kHz.
    pub(crate) pts: Option<u64>,
    /// Decoding time, 33 bits of 90 kHz; the presentation time where none is given.
    pub(crate) dts: Option<u64>,
    /// The elementary stream's bytes.
    pub(crate) data: &'a [u8],
    /// Offsets into `data` before which bytes are missing, ascending.
    pub(crate) holes: &'a [usize],
}

/// Assembles the PES packets of one PID.
#[derive(Debug)]
pub(crate) struct Assembler {
    buf: Vec<u8>,
    holes: Vec<usize>,
    open: bool,
    /// Bytes of the whole packet, once its length field was read and is not 0.
    whole: Option<usize>,
    counter: Option<u8>,
    /// The payload's first bytes of the last packet: a repeated counter is a repeated packet only
    /// if these agree, else exactly 16 packets were lost.
    last_head: [u8; 16],
    last_at: Time,
    /// May stuffing be taken as the end of a packet without a length? Until this sender proves
    /// that it stuffs in the middle.
    stuffing_ends: bool,
    ended_by_stuffing: bool,
    /// Losses seen by the continuity counter.
    pub(crate) losses: u64,
    /// PES packets given up: too long or too broken.
    pub(crate) given_up: u64,
}

impl Assembler {
    /// `stuffing_ends`: the stream is video, where stuffing tells the end of a packet.
    pub(crate) fn new(stuffing_ends: bool) -> Self {
        Self {
            buf: Vec::new(),
            holes: Vec::new(),
            open: false,
            whole: None,
            counter: None,
            last_head: [0; 16],
            last_at: Time::ZERO,
            stuffing_ends,
            ended_by_stuffing: false,
            losses: 0,
            given_up: 0,
        }
    }

    /// Takes a transport packet of this PID; gives each finished PES packet to `sink`.
    pub(crate) fn push(&mut self, now: Time, packet: &Packet<'_>, sink: &mut impl FnMut(Pes<'_>)) {
        if packet.payload.is_empty() || packet.scrambled {
            return;
        }
        if self.is_repeated(packet) {
            return;
        }
        self.last_at = now;
        if packet.start {
            self.finish(sink);
            self.open = true;
        } else if core::mem::take(&mut self.ended_by_stuffing) {
            self.stuffing_ends = false;
        }
        self.ended_by_stuffing = false;
        if !self.open {
            return;
        }
        if self.buf.len() + packet.payload.len() > PES_BYTES_MAX || self.holes.len() > HOLES_MAX {
            self.given_up += 1;
            self.reset();
            return;
        }
        self.buf.extend_from_slice(packet.payload);
        if self.whole.is_none() && self.buf.len() >= 6 {
            let length = usize::from(u16::from_be_bytes([self.buf[4], self.buf[5]]));
            self.whole = Some(if length == 0 { usize::MAX } else { 6 + length });
        }
        let whole = self.whole.unwrap_or(usize::MAX);
        if self.buf.len() >= whole {
            self.buf.truncate(whole);
            self.finish(sink);
        } else if whole == usize::MAX && packet.stuffed && self.stuffing_ends {
            self.finish(sink);
            self.ended_by_stuffing = true;
        }
    }

    /// When an unfinished packet is finished for want of more, if there is one.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.open.then(|| self.last_at + SILENCE_MAX)
    }

    /// Finishes a packet that nothing has been added to for too long.
    pub(crate) fn handle_timeout(&mut self, now: Time, sink: &mut impl FnMut(Pes<'_>)) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.finish(sink);
        }
    }

    /// Hands out what was collected, if it is a PES packet.
    pub(crate) fn finish(&mut self, sink: &mut impl FnMut(Pes<'_>)) {
        if self.open {
            match read_header(&self.buf) {
                Some((header, pts, dts)) => {
                    // A hole inside the header leaves nothing to trust.
                    if self.holes.first().is_none_or(|&hole| hole >= header) {
                        self.holes.iter_mut().for_each(|hole| *hole -= header);
                        sink(Pes {
                            pts,
                            dts,
                            data: &self.buf[header..],
                            holes: &self.holes,
                        });
                    } else {
                        self.given_up += 1;
                    }
                }
                None => self.given_up += 1,
            }
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.buf.clear();
        self.holes.clear();
        self.open = false;
        self.whole = None;
    }

    /// Checks the continuity counter; notes a hole. True: the packet was sent before.
    fn is_repeated(&mut self, packet: &Packet<'_>) -> bool {
        let mut head = [0; 16];
        let bytes = packet.payload.len().min(16);
        head[..bytes].copy_from_slice(&packet.payload[..bytes]);
        let before = self.counter.replace(packet.counter);
        let repeated = before == Some(packet.counter) && head == self.last_head;
        let follows = before.is_none_or(|before| (before + 1) & 0x0f == packet.counter);
        self.last_head = head;
        if !repeated && !follows && !packet.discontinuity {
            self.losses += 1;
            if self.open {
                self.holes.push(self.buf.len());
            }
        }
        repeated
    }
}

/// Bytes of the header, presentation and decoding time (ISO/IEC 13818-1 section 2.4.3.7).
fn read_header(bytes: &[u8]) -> Option<(usize, Option<u64>, Option<u64>)> {
    let [0, 0, 1, _, _, _, marker, flags, extra, ..] = *bytes else {
        return None;
    };
    if marker & 0xc0 != 0x80 {
        return None;
    }
    let header = 9 + usize::from(extra);
    if header > bytes.len() {
        return None;
    }
    let optional = &bytes[9..header];
    let pts = if flags & 0x80 != 0 {
        read_time(optional)
    } else {
        None
    };
    let dts = if flags & 0xc0 == 0xc0 {
        read_time(optional.get(5..)?)
    } else {
        pts
    };
    Some((header, pts, dts))
}

/// A 33-bit time in five bytes with marker bits.
fn read_time(bytes: &[u8]) -> Option<u64> {
    let [a, b, c, d, e] = *bytes.first_chunk()?;
    Some(
        u64::from(a >> 1 & 7) << 30
            | u64::from(b) << 22
            | u64::from(c >> 1) << 15
            | u64::from(d) << 7
            | u64::from(e >> 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload of a video PES without a length, PTS 1.
    fn head() -> Vec<u8> {
        vec![0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 3]
    }

    fn packet(payload: &[u8], counter: u8, start: bool, stuffed: bool) -> Packet<'_> {
        let (discontinuity, scrambled) = (false, false);
        Packet {
            pid: 0,
            start,
            counter,
            discontinuity,
            stuffed,
            scrambled,
            payload,
        }
    }

    /// Data and holes of a PES packet.
    type Whole = (Vec<u8>, Vec<usize>);

    fn run(packets: &[Packet<'_>]) -> (Assembler, Vec<Whole>) {
        let (mut assembler, mut seen) = (Assembler::new(true), Vec::new());
        for packet in packets {
            assembler.push(Time(1), packet, &mut |pes| {
                assert_eq!(pes.pts, Some(1));
                seen.push((pes.data.to_vec(), pes.holes.to_vec()));
            });
        }
        (assembler, seen)
    }

    #[test]
    fn stuffing_ends_a_packet() {
        let head = head();
        let (_, seen) = run(&[
            packet(&head, 0, true, false),
            packet(&[7; 9], 1, false, true),
        ]);
        assert_eq!(seen, [(vec![7; 9], vec![])]);
    }

    #[test]
    fn stuffing_in_the_middle_is_learnt() {
        let head = head();
        let mut packets = Vec::new();
        for n in 0..3 {
            packets.push(packet(&head, n * 3 % 16, true, true));
            packets.push(packet(&[1], n * 3 + 1, false, false));
            packets.push(packet(&[2], n * 3 + 2, false, false));
        }
        packets.push(packet(&head, 9, true, false));
        let (_, seen) = run(&packets);
        assert_eq!(
            seen,
            [(vec![], vec![]), (vec![1, 2], vec![]), (vec![1, 2], vec![])]
        );
    }

    #[test]
    fn losses_leave_holes_and_repeats_do_not() {
        let head = head();
        let (assembler, seen) = run(&[
            packet(&head, 0, true, false),
            packet(&[1; 4], 1, false, false),
            packet(&[1; 4], 1, false, false),
            packet(&[2; 4], 3, false, false),
            packet(&[3; 4], 3, false, true),
        ]);
        assert_eq!(seen[0].0, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
        assert_eq!(seen[0].1, [4, 8]);
        assert_eq!(assembler.losses, 2);
    }

    #[test]
    fn silence_ends_a_packet() {
        let head = head();
        let (mut assembler, seen) = run(&[packet(&head, 0, true, false)]);
        assert!(seen.is_empty());
        let deadline = assembler.deadline().unwrap();
        let mut ended = 0;
        assembler.handle_timeout(deadline - Span(1), &mut |_| ended += 1);
        assert_eq!(ended, 0);
        assembler.handle_timeout(deadline, &mut |_| ended += 1);
        assert_eq!(ended, 1);
        assert_eq!(assembler.deadline(), None);
    }

    #[test]
    fn endless_packets_are_given_up() {
        let head = head();
        let mut assembler = Assembler::new(true);
        assembler.push(Time(1), &packet(&head, 0, true, false), &mut |_| {});
        let payload = [5; 184];
        for n in 0..2 * PES_BYTES_MAX / 184 {
            let counter = u8::try_from((n + 1) % 16).unwrap();
            assembler.push(
                Time(1),
                &packet(&payload, counter, false, false),
                &mut |_| {},
            );
        }
        assert_eq!(assembler.given_up, 1);
        assert!(assembler.buf.capacity() <= 2 * PES_BYTES_MAX);
    }
}
