//! Owns what a streamid says: which stream, in which direction, and on whose behalf.

use std::fmt;

/// Most bytes of a streamid.
//= https://datatracker.ietf.org/doc/html/draft-sharabayko-srt-01#section-3.2.1.3
//# The maximum allowed size of the StreamID extension is 512 bytes.
pub const BYTES_MAX: usize = 512;

/// Most parts of a stream's name, with `/` between.
pub const NAME_PARTS_MAX: usize = 4;

/// Most characters of one part of a stream's name.
pub const NAME_PART_BYTES_MAX: usize = 64;

/// What the caller wants to do with the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Send it to us.
    Publish,
    /// Have it from us.
    Read,
}

/// A streamid that was understood. Nothing in it is proven: the caller wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamId {
    /// The direction.
    pub mode: Mode,
    /// One to four parts of `[A-Za-z0-9._-]{1,64}` with `/` between, none of them `.` or `..`.
    pub name: String,
    /// The key `u`: on whose behalf. Printable ASCII.
    pub user: Option<String>,
    /// The key `s`, or the last part of `publish:NAME:USER:SECRET`: a session's id in the standard,
    /// a password or token in practice; so it is never printed. Printable ASCII.
    pub token: Option<String>,
}

impl StreamId {
    /// Reads a streamid as it stood in the handshake, in any of the dialects in use:
    /// `publish:NAME`, `read:NAME` (each also with `:USER:SECRET`), a bare `NAME`, the standard's
    /// `#!::r=NAME,m=publish`, Blackmagic's `#!::u=NAME,bmd_uuid=...`, each of them
    /// percent-encoded, and a whole `srt://` URL. An empty one takes `name_default`.
    ///
    /// # Errors
    /// [`BadStreamId`], whose text says what to type into the encoder.
    pub fn parse(raw: &[u8], name_default: Option<&str>) -> Result<Self, BadStreamId> {
        if raw.len() > BYTES_MAX {
            return Err(BadStreamId::TooLong);
        }
        if raw.is_empty() {
            let name = name_default.ok_or(BadStreamId::Missing)?;
            return Ok(Self::bare(checked_name(name)?));
        }
        // `#!::` as it stands is not decoded: a password in it may hold a '%'.
        if let Some(pairs) = raw.strip_prefix(b"#!::") {
            return standard(printable(pairs)?);
        }
        let decoded = percent_decoded(raw).ok_or(BadStreamId::NotText)?;
        let text = printable(&decoded)?;
        match text.split_at_checked(6) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("srt://") => url(rest),
            _ => plain(text),
        }
    }

    /// A name and nothing else means publishing: see `standard` for the reason.
    fn bare(name: String) -> Self {
        Self {
            mode: Mode::Publish,
            name,
            user: None,
            token: None,
        }
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamId")
            .field("mode", &self.mode)
            .field("name", &self.name)
            .field("user", &self.user.is_some())
            .field("token", &self.token.is_some())
            .finish()
    }
}

/// Why a streamid is refused. Its text goes to the encoder's operator and says what to type; it
/// holds nothing the caller wrote, so it is safe in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStreamId {
    /// There is none, and none is assumed.
    #[error("the encoder sent no streamid: set it to publish:NAME, where NAME is the stream")]
    Missing,
    /// More than 512 bytes.
    #[error("the streamid has more than {BYTES_MAX} bytes: set it to publish:NAME")]
    TooLong,
    /// Control characters or bytes that are no text.
    #[error("the streamid is not printable ASCII text: set it to publish:NAME")]
    NotText,
    /// The keys name no stream.
    #[error("the streamid names no stream: add r=NAME, as in #!::r=NAME,m=publish")]
    NameMissing,
    /// The name has a wrong shape.
    #[error(
        "the stream's name in the streamid is not valid: type one to {NAME_PARTS_MAX} parts with \
         '/' between, each 1 to {NAME_PART_BYTES_MAX} of A-Z a-z 0-9 . _ - and none '.' or '..', \
         as in publish:studio/cam1"
    )]
    Name,
    /// Keys and values are not `key=value` with commas between, or one key stands twice.
    #[error(
        "the streamid is not key=value with commas between, each key once: type \
         #!::r=NAME,m=publish"
    )]
    Pairs,
    /// `m` is neither `publish` nor `request`.
    #[error("the streamid's m is neither publish nor request: type #!::r=NAME,m=publish")]
    Mode,
    /// `t` asks for something other than a live stream.
    #[error("the streamid's t is not 'stream', and nothing else is served: leave t out")]
    Kind,
}

/// Whether `name` may be a stream's name.
#[must_use]
pub fn name_is_valid(name: &str) -> bool {
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    name.split('/').count() <= NAME_PARTS_MAX
        && name.split('/').all(|part| {
            (1..=NAME_PART_BYTES_MAX).contains(&part.len())
                && !matches!(part, "." | "..")
                && part.bytes().all(known)
        })
}

/// `r=..,m=..,u=..,s=..` after the `#!::` of the access control guidelines; keys of others
/// (`bmd_uuid`, `h`, ...) are read over.
fn standard(text: &str) -> Result<StreamId, BadStreamId> {
    let (mut name, mut user, mut token, mut mode, mut kind) = (None, None, None, None, None);
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(BadStreamId::Pairs)?;
        let place = match key {
            "r" => &mut name,
            "u" => &mut user,
            "s" => &mut token,
            "m" => &mut mode,
            "t" => &mut kind,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(BadStreamId::Pairs);
        }
    }
    if kind.is_some_and(|kind| kind != "stream") {
        return Err(BadStreamId::Kind);
    }
    // The guidelines say that without `m` the caller wants to have the stream. Encoders that
    // cannot set `m` (Blackmagic's among them) call to send; who wants to have a stream over SRT
    // has a player, and can type m=request.
    let mode = match mode {
        None | Some("publish") => Mode::Publish,
        Some("request") => Mode::Read,
        Some(_) => return Err(BadStreamId::Mode),
    };
    // Blackmagic's devices have one field, the key, and put it into `u`.
    let (name, user) = match name {
        Some(name) => (name, user),
        None => (user.ok_or(BadStreamId::NameMissing)?, None),
    };
    // ffmpeg sends what was typed as it stands, so a name may come percent-encoded alone.
    let name = percent_decoded(name.as_bytes()).ok_or(BadStreamId::Name)?;
    let name = checked_name(printable(&name)?)?;
    Ok(StreamId {
        mode,
        name,
        user: some_text(user),
        token: some_text(token),
    })
}

/// `publish:NAME`, `read:NAME`, `NAME`, or the standard's form that came percent-encoded.
fn plain(text: &str) -> Result<StreamId, BadStreamId> {
    if let Some(pairs) = text.strip_prefix("#!::") {
        return standard(pairs);
    }
    // Some encoders append this to whatever was typed.
    let text = text.strip_suffix("#feedbackplay").unwrap_or(text);
    let (mode, rest) = if let Some(rest) = text.strip_prefix("publish:") {
        (Mode::Publish, rest)
    } else if let Some(rest) = text.strip_prefix("read:") {
        (Mode::Read, rest)
    } else {
        return Ok(StreamId::bare(checked_name(text)?));
    };
    let mut parts = rest.splitn(3, ':');
    let name = checked_name(parts.next().unwrap_or_default())?;
    let (user, token) = (some_text(parts.next()), some_text(parts.next()));
    Ok(StreamId {
        mode,
        name,
        user,
        token,
    })
}

/// `host[:port]/NAME?query` after `srt://`: a `streamid` in the query wins over the path.
fn url(rest: &str) -> Result<StreamId, BadStreamId> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let inner = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("streamid="));
    if let Some(inner) = inner {
        let decoded = percent_decoded(inner.as_bytes()).ok_or(BadStreamId::NotText)?;
        // A URL within a URL falls out here: ':' and '?' are in no name.
        return plain(printable(&decoded)?);
    }
    let (_, path) = place.split_once('/').ok_or(BadStreamId::NameMissing)?;
    Ok(StreamId::bare(checked_name(path)?))
}

/// A name written as a path, with a slash before it, is the same name.
fn checked_name(name: &str) -> Result<String, BadStreamId> {
    let name = name.strip_prefix('/').unwrap_or(name);
    if name.is_empty() {
        return Err(BadStreamId::NameMissing);
    }
    if name_is_valid(name) {
        Ok(name.to_owned())
    } else {
        Err(BadStreamId::Name)
    }
}

/// Printable ASCII only: no line feed for a log, no escape for a terminal, no look-alike letters.
fn printable(bytes: &[u8]) -> Result<&str, BadStreamId> {
    let text = std::str::from_utf8(bytes).map_err(|_| BadStreamId::NotText)?;
    if text.bytes().all(|b| matches!(b, 0x20..=0x7e)) {
        Ok(text)
    } else {
        Err(BadStreamId::NotText)
    }
}

/// `None` if a `%` is not followed by two hexadecimal digits.
fn percent_decoded(raw: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => ((digit(*high)? << 4) | digit(*low)?, after),
            (b'%', _) => return None,
            _ => (*first, tail),
        };
        out.push(byte);
        rest = after;
    }
    Some(out)
}

fn some_text(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
