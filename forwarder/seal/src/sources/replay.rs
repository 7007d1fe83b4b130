//! Owns replay windows on their way from one opener to the next.

use serde::{Deserialize, Serialize};

use super::Sources;
use crate::window::Window;

/// An SSRC with its replay window, as one opener leaves it to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replay {
    ssrc: u32,
    highest: u64,
    words: Vec<u64>,
}

impl<const N: usize, const WORDS: usize> Sources<N, WORDS> {
    /// All SSRCs with their windows.
    pub fn replays(&self) -> Vec<Replay> {
        let known = self.ssrcs.iter().zip(&self.windows).take(self.used.min(N));
        let replay = |(ssrc, window): (&u32, &Window<WORDS>)| Replay {
            ssrc: *ssrc,
            highest: window.highest(),
            words: window.words().to_vec(),
        };
        known.map(replay).collect()
    }

    /// The words of the windows of the first sources, to be read or put down: of so many, whether
    /// there are as many or not. What the sources are is not among them.
    pub fn each_word(&mut self, sources: usize, mut word: impl FnMut(&mut u64)) {
        for window in self.windows.iter_mut().take(sources) {
            window.each_word(&mut word);
        }
    }

    /// Goes on where another table was. What finds no room is left out: packets of it are refused.
    pub fn go_on(&mut self, replays: &[Replay]) {
        for Replay {
            ssrc,
            highest,
            words,
        } in replays
        {
            self.take_up(*ssrc, Window::restored(*highest, words));
        }
    }
}
