//! Owns `application/trickle-ice-sdpfrag` (RFC 8840 section 9), both ways.

use super::candidate::{CANDIDATES_MAX, Candidate, candidate};
use super::{PWD_BYTES_MIN, UFRAG_BYTES_MIN, check_text, is_ice_string};
use crate::refusal::SignalError;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// What a fragment from a peer tells us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Username fragment and password, if both are there and well-formed.
    pub ice: Option<(String, String)>,
    /// How many candidates it has.
    pub candidates: usize,
    /// Those that could be sent to. Only for whoever sends checks.
    pub list: Vec<Candidate>,
}

/// Our side in a fragment.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Our username fragment.
    pub ufrag: &'a str,
    /// Our password.
    pub pwd: &'a str,
    /// We send no checks.
    pub is_lite: bool,
    /// Where we can be reached.
    pub candidates: &'a [SocketAddr],
}

impl Fragment {
    /// Reads a fragment.
    ///
    /// # Errors
    /// 413 if it is too large, 400 if it is not a fragment.
    pub fn parse(text: &str) -> Result<Self, SignalError> {
        check_text(text)?;
        let mut ufrag = None;
        let mut pwd = None;
        let mut candidates = 0;
        let mut list = Vec::new();
        for line in text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
        {
            if !line.is_ascii() || line.as_bytes().get(1) != Some(&b'=') {
                return Err(SignalError::malformed(
                    "A line of the fragment is not type=value.",
                ));
            }
            if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
                ufrag = ufrag.or(Some(value));
            } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
                pwd = pwd.or(Some(value));
            } else if let Some(value) = line.strip_prefix("a=candidate:") {
                candidates += 1;
                let room = CANDIDATES_MAX - list.len();
                list.extend(candidate(value).into_iter().take(room));
            }
        }
        let ice = match (ufrag, pwd) {
            (None, None) => None,
            (Some(ufrag), Some(pwd))
                if is_ice_string(ufrag, UFRAG_BYTES_MIN) && is_ice_string(pwd, PWD_BYTES_MIN) =>
            {
                Some((ufrag.to_owned(), pwd.to_owned()))
            }
            _ => {
                return Err(SignalError::malformed(
                    "ice-ufrag and ice-pwd do not make a pair.",
                ));
            }
        };
        Ok(Self {
            ice,
            candidates,
            list,
        })
    }
}

/// The fragment that restarts ICE, or answers that: our new credentials and all our candidates, of
/// the section with this tag and kind.
#[must_use]
pub fn write(ours: &Side<'_>, mid: &str, kind: &str) -> String {
    let (ufrag, pwd) = (ours.ufrag, ours.pwd);
    let lite = if ours.is_lite { "a=ice-lite\r\n" } else { "" };
    let mut out = format!(
        "{lite}a=ice-options:trickle ice2\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n\
         m={kind} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n"
    );
    for (position, candidate) in ours.candidates.iter().enumerate() {
        let (ip, port) = (candidate.ip(), candidate.port());
        let (foundation, priority) = (position + 1, super::text::host_priority(position));
        write!(
            out,
            "a=candidate:{foundation} 1 udp {priority} {ip} {port} typ host\r\n"
        )
        .expect("a string takes whatever is written");
    }
    out.push_str("a=end-of-candidates\r\n");
    out
}
