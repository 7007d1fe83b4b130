//! Owns the readers of signalling: offers, fragments, DTLS.

use std::net::{Ipv4Addr, SocketAddr};

use ::link::command::{Rid, TRACKS_MAX, TrackIn};
use ::link::elements::KINDS;
use ::link::lanes::{LANES_MAX, LAYERS};
use ::session::dtls::{Context, Dtls};
use ::session::sdp::answer::Sending;
use ::session::sdp::elements::Passed;
use ::session::sdp::fragment::Fragment;
use ::session::sdp::layers::Offered;
use ::session::sdp::offer::Offer;
use ::session::sdp::plan::plan;
use ::session::sdp::publish;
use ::session::sdp::push;
use ::session::sdp::push_answer::Receiver;
use ::session::sdp::text::Local;
use ::session::{AudioCodec, Origins, StreamDescription, VideoCodec};
use ::wire::time::{Span, Time};

use super::pieces;

const VIDEOS: [VideoCodec; 5] = [
    VideoCodec::H264 {
        profile_level_id: [0x42, 0xe0, 0x1f],
    },
    VideoCodec::H265 {
        profile: 1,
        high_tier: false,
        level: 93,
    },
    VideoCodec::Vp8,
    VideoCodec::Vp9 { profile: 0 },
    VideoCodec::Av1 { profile: 0 },
];

/// An offer to publish, to push and to watch, and its answers.
pub fn offer(data: &[u8]) {
    let Some(offer) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| Offer::parse(text).ok())
    else {
        return;
    };
    let candidates = [SocketAddr::from((Ipv4Addr::LOCALHOST, 8000))];
    let local = Local {
        ufrag: "abcd",
        pwd: "abcdefghijklmnopqrstuv",
        fingerprint: "AA:BB",
        candidates: &candidates,
        session_number: 1,
        is_full: false,
    };
    if let Ok(plan) = publish::plan(&offer) {
        well_formed(&plan.write(&local));
    }
    let origins = Origins {
        asker: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
        ..Origins::default()
    };
    if let Ok(plan) = push::plan(&offer, &origins, &candidates) {
        let receiver = Receiver {
            candidates: &candidates,
            session_number: 1,
        };
        well_formed(&plan.write(&receiver, &[[1; 46], [2; 46]]));
    }
    for video in VIDEOS {
        let description = StreamDescription {
            video: Some(video),
            audio: Some(AudioCodec::Opus { channels: 2 }),
        };
        if let Ok(plan) = plan(&offer, &description) {
            let sending = Sending {
                cname: "freshet",
                ssrcs: [[1, 2], [3, 0]],
                playout_delay: true,
                layered: true,
                passed: Passed {
                    elements: [[true; KINDS]; TRACKS_MAX],
                    red: true,
                },
                offered: &Offered::NONE,
            };
            well_formed(&plan.write(&local, &sending));
        }
    }
    answered(&offer, &local);
}

/// The same as what a server says to an offer of ours.
fn answered(answer: &Offer, local: &Local<'_>) {
    let _ = publish::plan_answer(answer);
    let local = Local {
        is_full: true,
        ..*local
    };
    if let Ok(plan) = publish::plan_counter(answer) {
        well_formed(&plan.write(&local));
    }
    let lane = |name: &[u8]| TrackIn {
        clock_hz: 90_000,
        rid: Rid::new(name).expect("a short name"),
        ..TrackIn::default()
    };
    let mut lanes = [TrackIn::default(); LANES_MAX];
    for (at, name) in LAYERS.into_iter().zip([b"q", b"h", b"f"]) {
        lanes[at] = lane(name);
    }
    let offered = Offered::of(&lanes);
    for media in &answer.medias {
        let Some(accepted) = offered.accepted(media) else {
            continue;
        };
        let mut lanes: Vec<u8> = accepted.encodings.iter().map(|(lane, _)| *lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        let is_sane = lanes.len() == accepted.encodings.len() && !lanes.is_empty();
        assert!(is_sane && (1..=14).contains(&accepted.rid_id));
    }
}

/// Lines of a type and a value each, and no end of a line in the middle of one.
fn well_formed(answer: &str) {
    let lines = answer
        .strip_suffix("\r\n")
        .expect("ends with the end of a line");
    for line in lines.split("\r\n") {
        assert_eq!(line.as_bytes().get(1), Some(&b'='), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

pub fn fragment(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Fragment::parse(text);
    }
}

thread_local! {
    /// A certificate costs more than a run.
    static CONTEXT: Context = Context::new(false).expect("DTLS can be set up");
}

/// Datagrams of a client that nobody knows.
pub fn dtls(data: &[u8]) {
    CONTEXT.with(|context| {
        let mut dtls = Dtls::server(Vec::new());
        let mut now = Time(1_000_000_000);
        let mut out = Vec::new();
        for datagram in pieces(data).take(16) {
            dtls.handle(context, now, datagram, &mut out);
            now = now + Span::millis(20);
            if dtls.deadline().is_some_and(|due| due <= now) {
                dtls.handle_timeout(now, &mut out);
            }
        }
        dtls.close(now, &mut out);
        assert!(out.iter().all(|datagram| datagram.len() <= 1500));
    });
}
