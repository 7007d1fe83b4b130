//! Owns the readers of datagrams: STUN, RTP with its extensions, RTCP.

use ::plane::estimate::{BPS_MAX, BPS_MIN, Estimator, Run};
use ::wire::demux::classify;
use ::wire::ntp::Ntp;
use ::wire::peer::{Ip, Peer};
use ::wire::rtcp::{Item, compound};
use ::wire::rtcp_feedback::{Arrivals, Message, TransportCc, TransportRecorder};
use ::wire::rtcp_report::{XrBlock, rtt};
use ::wire::rtp::{Packet, set_padding};
use ::wire::rtp_ext::{Elements, Mid, PlayoutDelay, abs_send_time, find, transport_sequence};
use ::wire::stun::{Fault, Message as Stun, write_error, write_success};
use ::wire::time::{Span, Time};

/// Room for any answer.
const ROOM: usize = 256;

pub fn stun(data: &[u8]) {
    let _ = classify(data);
    let Ok(message) = Stun::parse(data) else {
        return;
    };

    let known = (
        message.class(),
        message.method(),
        message.role(),
        message.priority(),
        message.mapped_address(),
        message.error_code(),
        message.use_candidate(),
        message.has_fingerprint(),
    );
    std::hint::black_box(known);
    if let Some((ours, theirs)) = message.username() {
        let whole = message.username_bytes().map_or(0, <[u8]>::len);
        assert_eq!(ours.len() + 1 + theirs.len(), whole);
    }
    assert!(message.has_integrity() || !message.verify_integrity(b"a password"));
    let _ = message.verify_integrity(b"a password");
    let peer = Peer {
        ip: Ip([7; 16]),
        port: 9,
    };
    let mut out = [0; ROOM];
    let transaction = message.transaction();
    let used = write_success(&transaction, peer, b"a password", &mut out);
    let answer = Stun::parse(&out[..used]).expect("what we write is a message");
    assert!(answer.verify_integrity(b"a password") && answer.has_fingerprint());
    assert_eq!(answer.mapped_address(), Some(peer));
    let fault = match message.unknown_required() {
        Some(kind) => Fault::UnknownAttribute(kind),
        None => Fault::BadRequest,
    };
    let used = write_error(&transaction, fault, None, &mut out);
    let answer = Stun::parse(&out[..used]).expect("what we write is a message");
    assert_eq!(answer.error_code(), Some(fault.code()));
}

pub fn rtp(data: &[u8]) {
    let _ = Packet::parse_sealed(data);
    let Ok(packet) = Packet::parse(data) else {
        return;
    };
    let whole = packet.header_bytes() + packet.payload().len() + packet.padding_bytes();
    assert_eq!(whole, data.len());
    assert!(packet.csrc().count() <= 15);
    if let Some(extension) = packet.extension() {
        for element in Elements::new(extension) {
            let found = find(extension, element.id).expect("it is there");
            assert!(element.data.len() <= 255 && found.len() <= 255);
            let _ = (Mid::new(element.data), PlayoutDelay::parse(element.data));
            let _ = (
                abs_send_time(element.data),
                transport_sequence(element.data),
            );
        }
    }
    // Written anew without what the header does not keep, it says the same.
    let header = packet.header();
    let mut out = vec![0; data.len() + 16];
    let used = header.write(&[], &mut out);
    let end = used + packet.payload().len();
    out[used..end].copy_from_slice(packet.payload());
    let padding = u8::try_from(packet.padding_bytes()).expect("a byte says how much");
    out.truncate(end + usize::from(padding));
    set_padding(&mut out, padding);
    let again = Packet::parse(&out).expect("what we write is a packet");
    assert_eq!(
        (again.header(), again.payload()),
        (header, packet.payload())
    );
    assert_eq!(again.padding_bytes(), packet.padding_bytes());
}

pub fn rtcp(data: &[u8]) {
    let mut items = compound(data);
    let mut read = 0;
    for item in items.by_ref() {
        read += 1;
        match item {
            Item::SenderReport(report) => blocks(report.blocks),
            Item::ReceiverReport(report) => blocks(report.blocks),
            Item::Sdes(sdes) => {
                for text in sdes.items() {
                    assert!(text.text.len() <= 255);
                    let _ = sdes.cname(text.ssrc);
                }
            }
            Item::Bye(bye) => {
                assert!(bye.ssrcs().count() <= 31 && bye.reason().len() <= 255);
            }
            Item::Feedback(feedback) => message(&feedback.message),
            Item::ExtendedReport(report) => {
                for block in report.blocks() {
                    if let XrBlock::Dlrr(echoes) = block {
                        for echo in echoes {
                            let _ = rtt(Ntp(1 << 40), echo.last_rr, echo.delay_since_last_rr);
                        }
                    }
                }
            }
            Item::App { .. } | Item::Unknown { .. } => {}
        }
    }
    assert!(read <= data.len() / 4);
    let _ = items.malformed();
}

fn blocks(blocks: ::wire::rtcp_report::ReportBlocks<'_>) {
    for block in blocks {
        let _ = block.rtt(Ntp(1 << 40));
        assert!(block.to_bytes().len() == 24);
    }
}

fn message(message: &Message<'_>) {
    match message {
        Message::Nack(nack) => assert!(nack.lost().count() <= nack.words() * 17),
        Message::Fir(fir) => assert!(fir.entries().count() < 1 << 16),
        Message::Remb(remb) => assert!(remb.ssrcs().count() <= 255),
        Message::TransportCc(fci) => transport_cc(fci),
        Message::Arrivals(fci) => arrivals(fci),
        Message::Pli | Message::Unknown { .. } => {}
    }
}

pub fn transport_cc(data: &[u8]) {
    let Some(feedback) = TransportCc::parse(data) else {
        return;
    };
    let packets = feedback.packets();
    assert_eq!(packets.count(), usize::from(feedback.count));
}

/// Congestion-control feedback by source: as much is read as it says, no more than there is, and
/// an estimator that has sent something hears it in bounded time.
pub fn arrivals(data: &[u8]) {
    let Some(feedback) = Arrivals::parse(data) else {
        return;
    };
    let packets: usize = feedback.blocks().map(|block| block.packets().count()).sum();
    assert_eq!(packets, feedback.count as usize);
    assert!(2 * packets <= data.len());
    let mut now = Time(Span::secs(1).0);
    let mut estimator = Estimator::new(now, 1_000_000);
    for first in (0..400).step_by(10) {
        estimator.on_sent(now, &Run::media(first, 10, 12_000));
        now = now + Span::millis(20);
    }
    let ssrcs = feedback.blocks().next().map_or(0, |block| block.ssrc);
    estimator.on_arrivals(now, &feedback, [ssrcs, ssrcs ^ 1]);
    assert!((BPS_MIN..=BPS_MAX).contains(&estimator.bps()));
}

/// Arrivals in any order at any time: what is told is what came, and each once.
pub fn transport_recorder(data: &[u8]) {
    let mut recorder = TransportRecorder::new();
    let mut now = Time(1);
    let mut came = 0;
    let mut told = 0;
    for step in data.chunks_exact(4).take(4096) {
        let sequence = u16::from_be_bytes([step[0], step[1]]);
        now = Time(now.0 + (u64::from(step[2] & 0x3f) << (step[3] & 0x1f)));
        recorder.record(sequence, now);
        came += 1;
        if step[2] & 0xc0 == 0xc0 {
            told += report(&mut recorder);
        }
    }
    told += report(&mut recorder);
    assert!(told <= came, "{told} of {came}");
    assert!(!recorder.has_news());
}

fn report(recorder: &mut TransportRecorder) -> usize {
    let mut told = 0;
    let mut out = [0; 1500];
    // Each message tells of one packet at least.
    for _ in 0..=1024 {
        let used = recorder.write(1, 2, &mut out);
        if used == 0 {
            return told;
        }
        let Some(Item::Feedback(feedback)) = compound(&out[..used]).next() else {
            panic!("what we write is feedback");
        };
        let Message::TransportCc(fci) = feedback.message else {
            panic!("what we write is transport-wide feedback");
        };
        let read = TransportCc::parse(fci).expect("what we write can be read");
        told += read
            .packets()
            .filter(|packet| packet.arrival.is_some())
            .count();
    }
    panic!("reports without an end");
}
