//! Owns what is done with bytes that nobody vouches for: a function for each reader of them.
//!
//! The fuzzer runs them on what it makes up, and a test on the corpus.

mod kept;
mod media;
mod payload;
mod plane;
mod seal;
mod session;
mod shared;
mod srt;
mod wire;

/// One reader, or a few that belong together.
pub struct Target {
    /// The folder of its corpus, too.
    pub name: &'static str,
    /// Must not panic.
    pub run: fn(&[u8]),
    /// Folders and endings of other files of `tests/corpus` that it takes as they are.
    pub also: &'static [(&'static str, &'static str)],
}

/// All there are.
pub const TARGETS: [Target; 22] = [
    of("stun", wire::stun),
    of("rtp", wire::rtp),
    of("rtcp", wire::rtcp),
    of("transport_cc", wire::transport_cc),
    of("arrivals", wire::arrivals),
    of("transport_recorder", wire::transport_recorder),
    of("payload", payload::payload),
    of("dependency", payload::dependency),
    Target {
        also: &[("sdp", "sdp")],
        ..of("offer", session::offer)
    },
    of("fragment", session::fragment),
    of("streamid", srt::streamid),
    of("srt", srt::srt),
    of("dtls", session::dtls),
    of("ts", media::ts),
    of("plane", plane::plane),
    of("handover", kept::handover),
    of("keepsake", kept::keepsake),
    of("link", kept::link),
    of("memory", shared::memory),
    of("header", shared::header),
    of("hello", shared::hello),
    of("seal", seal::seal),
];

const fn of(name: &'static str, run: fn(&[u8])) -> Target {
    Target {
        name,
        run,
        also: &[],
    }
}

/// Cuts the input in pieces: 16 bits of size, then as many bytes, of which the last piece may have
/// fewer. Most of them: 64.
fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let next = move || {
        let (size, rest) = data.split_first_chunk::<2>()?;
        let size = usize::from(u16::from_be_bytes(*size)).min(rest.len());
        let (piece, rest) = rest.split_at(size);
        data = rest;
        Some(piece)
    };
    std::iter::from_fn(next).take(64)
}
