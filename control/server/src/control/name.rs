//! Owns what a stream may be called.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Most parts of a name, with `/` between.
pub const PARTS_MAX: usize = 4;

/// Most characters of one part.
pub const PART_BYTES_MAX: usize = 64;

/// A valid name: one to four parts of `[A-Za-z0-9._-]{1,64}`, none of them `.` or `..`. Safe in a
/// path, a URL, a log line and a metric label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(Box<str>);

/// The name is not one; says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// More than [`PARTS_MAX`] parts.
    #[error("a stream name has at most {PARTS_MAX} parts with '/' between them")]
    Parts,
    /// A part is empty or longer than [`PART_BYTES_MAX`].
    #[error("each part of a stream name has 1 to {PART_BYTES_MAX} characters")]
    Length,
    /// A character outside the alphabet, or a part that means another directory.
    #[error("a stream name is made of A-Z a-z 0-9 . _ - and no part is '.' or '..'")]
    Character,
}

impl StreamName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.split('/').count() > PARTS_MAX {
            return Err(BadName::Parts);
        }
        for part in text.split('/') {
            if part.is_empty() || part.len() > PART_BYTES_MAX {
                return Err(BadName::Length);
            }
            let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
            if matches!(part, "." | "..") || !part.bytes().all(known) {
                return Err(BadName::Character);
            }
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for StreamName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_interface_are_taken() {
        let long = "x".repeat(64);
        for good in [
            "demo",
            "a/b/c/d",
            "Cam-1.main_2",
            "..a",
            "...",
            long.as_str(),
        ] {
            assert_eq!(good.parse::<StreamName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = "x".repeat(65);
        for (bad, why) in [
            ("", BadName::Length),
            ("/", BadName::Length),
            ("a/", BadName::Length),
            ("a//b", BadName::Length),
            (long.as_str(), BadName::Length),
            ("a/b/c/d/e", BadName::Parts),
            ("..", BadName::Character),
            ("a/../b", BadName::Character),
            ("./a", BadName::Character),
            ("a b", BadName::Character),
            ("a\n", BadName::Character),
            ("ä", BadName::Character),
            ("a%2fb", BadName::Character),
            ("a\0", BadName::Character),
        ] {
            assert_eq!(bad.parse::<StreamName>(), Err(why), "{bad:?}");
        }
    }

    proptest::proptest! {
        /// From a path, a streamid, a file or another server: what is a name is written as it was.
        #[test]
        fn any_text_is_a_name_or_none(text in "[a-zA-Z0-9._/%-]{0,80}|\\PC{0,40}") {
            if let Ok(name) = text.parse::<StreamName>() {
                proptest::prop_assert_eq!(name.to_string(), &text[..]);
                let is_path = |part: &str| matches!(part, "" | "." | "..");
                proptest::prop_assert!(!text.split('/').any(is_path));
            }
        }
    }
}
