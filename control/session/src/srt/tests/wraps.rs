//! Every number of SRT that wraps does so: sequence numbers of 31 bits, message numbers of 26, and
//! timestamps of 32 bits of microseconds, theirs and ours.

use super::*;
use wire::time::Span;

/// Message numbers have 26 bits (draft-sharabayko-srt section 3.1).
const MESSAGE_LAST: u32 = (1 << 26) - 1;

/// Packets: the first three come before the sequence number wraps, the first five before the
/// message number does, the first eight before the timestamp does.
const PACKETS: u32 = 24;

/// Between two packets.
const STEP_US: u32 = 5_000;

fn data(caller: &RawCaller, n: u32) -> Vec<u8> {
    let packet = DataPacket {
        seq: sapflow_srt::seq::Seq::new(RawCaller::FIRST.wrapping_add(n)),
        position: Position::Only,
        in_order: false,
        key: 0,
        retransmitted: false,
        message: (MESSAGE_LAST - 4).wrapping_add(n) & MESSAGE_LAST,
        timestamp: 0_u32.wrapping_sub(8 * STEP_US).wrapping_add(n * STEP_US),
        dest: caller.id,
        payload: &n.to_be_bytes(),
    };
    let mut out = Vec::new();
    Packet::Data(packet).encode(&mut out);
    out
}

/// What came out, with when, of packets in this order with a step of time between them.
fn play(tsbpd: bool, order: &[u32]) -> Vec<(u32, Time)> {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(9, "publish:cam");
    let Some(Event::Connect { id, .. }) = caller.call(&mut ingest, NOW) else {
        panic!("let in")
    };
    let answer = Answer::Accept {
        passphrase: None,
        tsbpd,
    };
    assert!(ingest.answer(NOW, id, answer));
    let conclusion = handshake_in(&sent(&mut ingest)[0]).expect("a conclusion");
    caller.id = conclusion.socket_id;
    let mut came = Vec::new();
    let mut now = NOW;
    let mut take = |ingest: &mut SrtIngest, now| {
        let numbers = payloads(ingest).into_iter();
        came.extend(numbers.map(|bytes| (u32::from_be_bytes(bytes.try_into().unwrap()), now)));
        sent(ingest);
    };
    let wait = |ingest: &mut SrtIngest,
                now: &mut Time,
                until: Time,
                take: &mut dyn FnMut(&mut SrtIngest, Time)| {
        while let Some(due) = ingest.deadline().filter(|due| *due <= until) {
            *now = due.max(*now);
            ingest.handle_timeout(*now);
            take(ingest, *now);
        }
        *now = until;
    };
    for n in order {
        ingest.datagram(now, caller.peer, &data(&caller, *n));
        take(&mut ingest, now);
        let next = now + Span::micros(STEP_US.into());
        wait(&mut ingest, &mut now, next, &mut take);
    }
    let end = now + Span::secs(1);
    wait(&mut ingest, &mut now, end, &mut take);
    came
}

fn numbers(came: &[(u32, Time)]) -> Vec<u32> {
    came.iter().map(|(n, _)| *n).collect()
}

#[test]
fn all_numbers_wrap_without_a_trace() {
    let all: Vec<u32> = (0..PACKETS).collect();
    for (n, at) in play(false, &all) {
        assert_eq!(at, NOW + Span::micros((n * STEP_US).into()), "at once");
    }
    assert_eq!(numbers(&play(false, &all)), all);
}

/// Each packet in turn comes four packets late, or never: before, at and after every wrap.
#[test]
fn a_gap_at_a_wrap_is_filled_or_passed_over() {
    for gap in 1..12 {
        let mut late: Vec<u32> = (0..PACKETS).filter(|n| *n != gap).collect();
        let without = late.clone();
        late.insert(usize::try_from(gap).unwrap() + 4, gap);
        let all: Vec<u32> = (0..PACKETS).collect();
        assert_eq!(numbers(&play(false, &late)), all, "{gap}");
        assert_eq!(numbers(&play(true, &late)), all, "{gap} with a hold");
        assert_eq!(numbers(&play(false, &without)), without, "{gap}");
        assert_eq!(numbers(&play(true, &without)), without, "{gap} with a hold");
    }
}

/// With TSBPD a packet is held by its timestamp: as long after the wrap as before it.
#[test]
fn the_hold_is_the_same_on_either_side_of_a_wrap() {
    let all: Vec<u32> = (0..PACKETS).collect();
    let came = play(true, &all);
    assert_eq!(numbers(&came), all);
    for (n, at) in came {
        let held = at.since(NOW + Span::micros((n * STEP_US).into()));
        // The handshake said 0 as the first packet came, which says 40 ms less; the latency is 120.
        assert_eq!(held, Span::millis(80), "{n}");
    }
}

/// Our own timestamps wrap 71.6 minutes after the connection was made: whoever has sent for so long
/// is still heard, acknowledged and let go of in order.
#[test]
fn a_connection_outlives_the_wrap_of_our_clock() {
    let mut ingest = ingest(Config::default());
    let mut caller = RawCaller::new(9, "publish:cam");
    caller.connect(&mut ingest, None);
    // A packet a quarter of a second, until 1 << 32 us and a minute are over.
    let (mut now, mut released, mut newest) = (NOW, 0_u32, 0_u32);
    let (mut last, mut fell) = (0_u32, 0);
    for n in 0..4 * 60 * 73_u32 {
        ingest.datagram(now, caller.peer, &data(&caller, n));
        let until = now + Span::millis(250);
        ingest.handle_timeout(until);
        now = until;
        for payload in payloads(&mut ingest) {
            newest = u32::from_be_bytes(payload.try_into().unwrap());
            assert_eq!(newest, released);
            released += 1;
        }
        for bytes in sent(&mut ingest) {
            let stamp = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
            fell += u32::from(last.saturating_sub(stamp) > 1 << 31);
            last = stamp;
        }
    }
    assert_eq!(newest + 1, 4 * 60 * 73);
    assert_eq!(fell, 1, "our clock has wrapped once");
    assert_eq!(ingest.connections(), 1);
}
