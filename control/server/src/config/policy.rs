//! Owns what holds for one stream, and who may publish and watch it.

use super::{Accept, Bframes, Config, Latency, Secret, StreamRule, Takeover, pattern, redirect};
use crate::control::StreamName;

/// What holds for one stream, when all rules are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Passphrase of its SRT publisher; none: no encryption asked for.
    pub passphrase: Option<Secret>,
    /// What becomes of a second publisher.
    pub takeover: Takeover,
    /// What becomes of B-frames.
    pub bframes: Bframes,
    /// How long viewers' browsers hold pictures back.
    pub latency: Latency,
    /// Bit rate of Opus made from AAC.
    pub opus_bitrate_bps: u32,
}

/// Why a publisher or viewer is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// `streams.accept` is "listed" and no rule matches.
    #[error("this name is not configured, and only configured streams are accepted")]
    NotListed,
    /// A token is needed and none, or a wrong one, was given.
    #[error("a token is needed, and none or a wrong one was given")]
    Token,
}

/// Who wants to publish.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    /// Comes from this host itself.
    pub local: bool,
    /// Comes by SRT: there is no session unless it knows the passphrase, if the stream has one.
    pub encrypted: bool,
    /// The token that it gave.
    pub token: Option<&'a str>,
}

impl Config {
    /// What holds for `name`.
    #[must_use]
    pub fn stream_settings(&self, name: &StreamName) -> StreamSettings {
        let rule = self.rule(name);
        let of = |pick: fn(&StreamRule) -> Option<Secret>| rule.and_then(pick);
        let passphrase = of(|r| r.passphrase.clone()).unwrap_or(self.srt.passphrase.clone());
        StreamSettings {
            passphrase: (!passphrase.is_empty()).then_some(passphrase),
            takeover: rule
                .and_then(|r| r.takeover)
                .unwrap_or(self.streams.takeover),
            bframes: rule.and_then(|r| r.bframes).unwrap_or(self.streams.bframes),
            latency: rule.and_then(|r| r.latency).unwrap_or(self.streams.latency),
            opus_bitrate_bps: rule
                .and_then(|r| r.opus_bitrate_bps)
                .unwrap_or(self.streams.opus_bitrate_bps),
        }
    }

    /// May this caller publish `name`? A stream with a passphrase needs no token:
    /// SRT has no session without the right one, so who gets here has proved to know it.
    ///
    /// # Errors
    /// Says why not.
    pub fn may_publish(&self, name: &StreamName, caller: &Caller<'_>) -> Result<(), Denied> {
        let rule = self.rule(name);
        if rule.is_none() && self.streams.accept == Accept::Listed {
            return Err(Denied::NotListed);
        }
        let own = rule.and_then(|r| r.publish_token.as_ref());
        let token_fits = caller.token.is_some_and(|given| {
            own.into_iter()
                .chain(&self.auth.publish_tokens)
                .any(|known| known.matches(given))
        });
        let proved = caller.encrypted && self.stream_settings(name).passphrase.is_some();
        if token_fits || own.is_none() && (proved || caller.local) {
            Ok(())
        } else {
            Err(Denied::Token)
        }
    }

    /// May somebody with this token watch `name`?
    ///
    /// # Errors
    /// [`Denied::Token`].
    pub fn may_play(&self, name: &StreamName, token: Option<&str>) -> Result<(), Denied> {
        let known = match self.rule(name).and_then(|r| r.play_token.as_ref()) {
            Some(own) => std::slice::from_ref(own),
            None => &self.auth.play_tokens,
        };
        let fits = token.is_some_and(|given| known.iter().any(|k| k.matches(given)));
        if known.is_empty() || fits {
            Ok(())
        } else {
            Err(Denied::Token)
        }
    }

    /// Where `name` is published (`protocol` is `whip`) or watched (`whep`), if not here.
    #[must_use]
    pub fn redirect(&self, protocol: &str, name: &StreamName) -> Option<String> {
        let template = self.rule(name)?.redirect.as_deref()?;
        Some(redirect::fill(template, protocol, name.as_str()))
    }

    /// The origins of all that is elsewhere, each once.
    #[must_use]
    pub fn redirect_origins(&self) -> Vec<&str> {
        let templates = self
            .stream
            .iter()
            .filter_map(|rule| rule.redirect.as_deref());
        let peer = std::iter::once(&self.drain.peer[..]);
        let mut origins: Vec<_> = templates.chain(peer).filter_map(redirect::origin).collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }

    fn rule(&self, name: &StreamName) -> Option<&StreamRule> {
        self.stream
            .iter()
            .find(|rule| pattern::matches(&rule.name, name.as_str()))
    }
}
