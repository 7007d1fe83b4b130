//! Owns what an offer says of the packets that the offerer sends: sources, layers, which stream.

use super::offer::values;
use sdp_types::Attribute;

/// Most simulcast layers of a section that are noted. Browsers send three, and RFC 8853 sets no
/// bound.
const RIDS_MAX: usize = 8;

/// Most formats of a layer that are noted: all that there are.
const TYPES_MAX: usize = 128;

/// Most bytes of the name of a layer: what fits a one-byte header extension.
const RID_BYTES_MAX: usize = 16;

/// What the offerer says of its packets. It may say nothing: then they are told apart by their
/// payload types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `a=msid`: the media stream and the track, as offered.
    pub msid: Option<String>,
    /// The first SSRC, never 0 (RFC 5576 section 4.1).
    pub ssrc: Option<u32>,
    /// The SSRC of its retransmissions (RFC 4588 section 8.7, FID group), never 0.
    pub rtx_ssrc: Option<u32>,
    /// Layers of simulcast that it wants to send, first the one that it wants most (RFC 8853
    /// section 5.1). Of alternatives the first.
    pub rids: Vec<String>,
    /// Layers that it wants to receive, without those that it wants paused.
    pub received: Vec<String>,
    /// Layers that it sends in some formats only, by payload types (RFC 8851 section 5,
    /// `pt=`); one that is not here may be of any.
    pub restricted: Vec<(String, Vec<u8>)>,
}

impl Source {
    /// True if this layer may be sent in this format.
    pub(super) fn allows(&self, rid: &str, payload_type: u8) -> bool {
        let mut all = self.restricted.iter();
        let found = all.find(|(name, _)| name == rid);
        found.is_none_or(|(_, types)| types.contains(&payload_type))
    }
}

pub(super) fn source(attributes: &[Attribute]) -> Source {
    let pair = || values(attributes, "ssrc-group").find_map(fid);
    let ssrc = values(attributes, "ssrc")
        .find_map(|value| number(value.split_ascii_whitespace().next()?))
        .or_else(|| pair().map(|(media, _)| media));
    let rtx_ssrc = values(attributes, "ssrc-group")
        .filter_map(fid)
        .find(|(media, rtx)| Some(*media) == ssrc && rtx != media)
        .map(|(_, rtx)| rtx);
    Source {
        msid: values(attributes, "msid").next().map(str::to_owned),
        ssrc,
        rtx_ssrc,
        rids: rids(attributes),
        received: received(attributes),
        restricted: values(attributes, "rid")
            .filter_map(restricted)
            .take(RIDS_MAX)
            .collect(),
    }
}

/// Media and retransmissions of `FID media rtx`.
fn fid(group: &str) -> Option<(u32, u32)> {
    let mut words = group.split_ascii_whitespace();
    words.next().filter(|semantics| *semantics == "FID")?;
    Some((number(words.next()?)?, number(words.next()?)?))
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|ssrc| *ssrc != 0)
}

/// What `a=simulcast` says of a direction.
fn layers<'a>(attributes: &'a [Attribute], direction: &str) -> Option<&'a str> {
    values(attributes, "simulcast").find_map(|value| {
        let mut words = value.split_ascii_whitespace();
        words.find(|word| *word == direction)?;
        words.next()
    })
}

/// The layers of `a=simulcast:recv`. `~` marks those that are not to be sent yet, and nobody can
/// say later that they are wanted (RFC 7728).
fn received(attributes: &[Attribute]) -> Vec<String> {
    let all = layers(attributes, "recv").unwrap_or_default().split(';');
    let first = all.filter_map(|alternatives| alternatives.split(',').next());
    let names = first.filter(|rid| is_rid(rid)).take(RIDS_MAX);
    names.map(str::to_owned).collect()
}

/// Name and payload types of `NAME send pt=TYPES;...`. What is no number allows nothing.
fn restricted(value: &str) -> Option<(String, Vec<u8>)> {
    let mut words = value.split_ascii_whitespace();
    let rid = words.next().filter(|rid| is_rid(rid))?;
    words.next().filter(|direction| *direction == "send")?;
    let types = words
        .next()?
        .split(';')
        .find_map(|one| one.strip_prefix("pt="))?;
    let types = types.split(',').filter_map(|number| number.parse().ok());
    Some((rid.to_owned(), types.take(TYPES_MAX).collect()))
}

/// The layers of `a=simulcast:send`, else those of `a=rid:... send`.
fn rids(attributes: &[Attribute]) -> Vec<String> {
    let named = |value: &str| {
        let mut words = value.split_ascii_whitespace();
        let rid = words.next()?;
        (words.next() == Some("send")).then(|| rid.to_owned())
    };
    let names: Vec<String> = match layers(attributes, "send") {
        // `~` says that a layer is paused at first; `rid=` is of an early draft.
        Some(layers) => layers
            .trim_start_matches("rid=")
            .split(';')
            .filter_map(|alternatives| alternatives.split(',').next())
            .map(|rid| rid.trim_start_matches('~').to_owned())
            .take(RIDS_MAX)
            .collect(),
        None => values(attributes, "rid")
            .filter_map(named)
            .take(RIDS_MAX)
            .collect(),
    };
    names.into_iter().filter(|rid| is_rid(rid)).collect()
}

/// RFC 8851 section 10, less what no header extension could carry.
fn is_rid(text: &str) -> bool {
    (1..=RID_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
}
