//! Owns AAC framing: ADTS and LATM/LOAS streams to raw frames with their configuration.

mod adts;
mod config;
mod latm;

pub(crate) use config::{AacConfig, Unsupported};

use crate::psi::Kind;

/// Samples of an AAC-LC frame; other lengths are not decoded.
pub(crate) const FRAME_SAMPLES: usize = 1024;

/// Most bytes carried over between PES packets: two of the longest frames (13-bit lengths).
const HELD_BYTES_MAX: usize = 2 * 8192;

/// Cuts one stream into frames. Frames may go on in the next PES packet.
#[derive(Debug)]
pub(crate) struct AacFraming {
    framing: Framing,
    held: Vec<u8>,
}

#[derive(Debug)]
enum Framing {
    Adts,
    Latm(latm::Latm),
}

/// What a framing found at the start of the bytes it was shown.
#[derive(Debug, PartialEq)]
enum Found {
    /// A frame that takes this many bytes.
    Frame {
        used: usize,
        frame: Result<AacFrame, Unsupported>,
    },
    /// Something to pass over: this many bytes.
    Skip(usize),
    /// The beginning of a frame whose rest is to come.
    More,
}

/// A raw AAC frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AacFrame {
    pub(crate) config: AacConfig,
    pub(crate) payload: Vec<u8>,
}

impl AacFraming {
    pub(crate) fn new(kind: Kind) -> Self {
        let framing = match kind {
            Kind::AacLatm => Framing::Latm(latm::Latm::default()),
            _ => Framing::Adts,
        };
        Self {
            framing,
            held: Vec::new(),
        }
    }

    /// Takes the bytes of a PES packet; gives each frame to `sink` with true for the first one
    /// that begins in this packet: the one that its time belongs to.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(bool, Result<AacFrame, Unsupported>),
    ) {
        let carried = self.held.len();
        self.held.extend_from_slice(bytes);
        let (mut at, mut timed) = (0, false);
        while at < self.held.len() {
            let found = match &mut self.framing {
                Framing::Adts => adts::find(&self.held[at..]),
                Framing::Latm(latm) => latm.find(&self.held[at..]),
            };
            match found {
                Found::Frame { used, frame } => {
                    let first = at >= carried && !core::mem::replace(&mut timed, at >= carried);
                    sink(first, frame);
                    at += used;
                }
                Found::Skip(bytes) => at += bytes,
                Found::More => break,
            }
        }
        self.held.drain(..at.min(self.held.len()));
        if self.held.len() > HELD_BYTES_MAX {
            self.held.clear();
        }
    }

    /// Bytes were lost: what was begun cannot be finished.
    pub(crate) fn restart(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests;
