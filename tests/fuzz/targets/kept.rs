//! Owns the readers of what one process leaves to another: commands, events, what is kept of
//! sessions, and what a plane leaves to the next. Another release may have written it.

use std::net::{Ipv4Addr, SocketAddr};

use ::link::command::{COMMAND_BYTES, Command};
use ::link::event::{EVENT_BYTES, Event};
use ::link::ids::{CoreId, StreamId, ViewerId};
use ::session::{Config, Holder, Output, Sessions, StreamDescription, VideoCodec};
use ::wire::time::{Span, Time};

use super::pieces;
use super::plane::World;

/// A command and an event: what is read is written back as it was, and read again.
pub fn link(data: &[u8]) {
    if let Some(command) = Command::decode(&filled::<COMMAND_BYTES>(data)) {
        let mut written = [0; COMMAND_BYTES];
        command.encode(&mut written);
        let again = Command::decode(&written).expect("what we write can be read");
        let mut twice = [0; COMMAND_BYTES];
        again.encode(&mut twice);
        assert_eq!(written, twice);
    }
    if let Some(event) = Event::decode(&filled::<EVENT_BYTES>(data)) {
        let mut written = [0; EVENT_BYTES];
        event.encode(&mut written);
        assert_eq!(Event::decode(&written), Some(event));
    }
}

/// The bytes, cut or followed by zeros.
fn filled<const N: usize>(data: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let bytes = data.len().min(N);
    out[..bytes].copy_from_slice(&data[..bytes]);
    out
}

/// What was kept of a session, in a node that knows its stream: it is refused and nothing changes,
/// or taken up, and what is kept of it then is taken up by the next node as well.
pub fn keepsake(data: &[u8]) {
    let Some((id, kept)) = data.split_first_chunk::<8>() else {
        return;
    };
    let [index, generation] = [0, 4].map(|at| {
        let field = id[at..].first_chunk().expect("eight bytes");
        u32::from_le_bytes(*field)
    });
    let viewer = ViewerId { index, generation };
    let Some(mut sessions) = adopted(viewer, kept) else {
        return;
    };
    let now = Time(2_000_000_000);
    let mut kept_again = Vec::new();
    sessions.handle_timeout(now);
    while let Some(output) = sessions.poll() {
        if let Output::Keep { viewer, keepsake } = output {
            kept_again.push((viewer, keepsake));
        }
    }
    for (viewer, keepsake) in kept_again {
        let _ = adopted(viewer, &keepsake).expect("what we keep can be taken up");
    }
    sessions.close_everything(now + Span::secs(1), ::session::Cause::Deleted);
    sessions.handle_timeout(now + Span::secs(60));
    assert_eq!(sessions.session_count(), 0, "everything ends");
}

fn adopted(viewer: ViewerId, kept: &[u8]) -> Option<Sessions> {
    let config = Config {
        candidates: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8000))],
        ..Config::default()
    };
    let mut sessions = Sessions::new(config, [9; 32]).expect("a configuration that can be");
    let now = Time(1_000_000_000);
    for index in 0..4 {
        let id = StreamId {
            index,
            generation: 1,
        };
        sessions.stream_opened(&format!("live/{index}"), id);
        let video = Some(VideoCodec::Vp8);
        let description = StreamDescription {
            video,
            ..StreamDescription::default()
        };
        sessions.stream_described(now, id, description);
    }
    let taken = sessions.adopt(now, viewer, kept, Holder::Core(CoreId(0)), [0; 5]);
    assert_eq!(sessions.session_count(), u32::from(taken.is_ok()));
    taken.is_ok().then_some(sessions)
}

/// The first byte chooses the world, the first piece is what a plane has left to the next, and what
/// follows happens to that. Whatever it took up, it leaves so that the next one takes up the same.
pub fn handover(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let mut pieces = pieces(data);
    let Some(left) = pieces.next() else {
        return;
    };
    let mut world = World::new(*first);
    let _ = world.leave();
    // What could not be read is passed over.
    let _ = world.go_on(left, left);
    let left = world.leave();
    world.goes_on(&left);
    for piece in pieces {
        if let Some((what, rest)) = piece.split_first() {
            world.step(*what, rest);
        }
    }
    world.end();
}
