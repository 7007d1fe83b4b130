//! Owns the defaults as code and the ranges of all keys.

use super::{
    Accept, Backend, Bframes, Cipher, Config, Http, Idle, Latency, Limits, Listen, Log, LogFormat,
    Media, Secret, Srt, StreamRule, Streams, Takeover, Transmit, addresses, drain, redirect,
    relays,
};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

/// A value that will not do.
#[derive(Debug)]
pub(super) struct Bad {
    pub key: String,
    pub what: String,
    pub remedy: String,
}

/// Characters of a passphrase: libsrt takes 10 to 79.
const PASSPHRASE_BYTES: RangeInclusive<usize> = 10..=79;

/// Characters of a token: shorter ones can be guessed; longer ones do not fit an SRT streamid.
const TOKEN_BYTES: RangeInclusive<usize> = 16..=256;

/// Bit rates that Opus has for one or two channels (RFC 6716 section 2.1.1), from where music is
/// music.
const OPUS_BPS: RangeInclusive<u64> = 16_000..=510_000;

/// What comes is counted once a second, and an hour is longer than anybody waits.
const PUSH_TIMEOUT_MS: RangeInclusive<u64> = 3000..=3_600_000;

/// Limits that the data plane checks too.
const LINKED: [&str; 3] = ["streams_max", "viewers_max", "log_packets"];

pub(super) fn check(config: &Config) -> Result<(), Bad> {
    check_numbers(config)?;
    for (key, value, range) in config.uring.numbers() {
        within(key, value, range)?;
    }
    check_listen(config)?;
    check_texts(config)?;
    for (index, rule) in config.stream.iter().enumerate() {
        check_rule(rule, &format!("stream[{index}]"))?;
    }
    drain::check(&config.drain)?;
    relays::check(config)
}

fn check_numbers(config: &Config) -> Result<(), Bad> {
    let (http, media, limits) = (&config.http, &config.media, &config.limits);
    let of_usize = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let cores_max = of_usize(link::limits::CORES_MAX);
    for (key, value, range) in [
        (
            "http.body_bytes_max",
            of_usize(http.body_bytes_max),
            4096..=1_048_576,
        ),
        (
            "http.connections_max",
            of_usize(http.connections_max),
            16..=100_000,
        ),
        (
            "http.connections_per_address_max",
            of_usize(http.connections_per_address_max),
            1..=100_000,
        ),
        (
            "http.header_timeout_ms",
            http.header_timeout_ms,
            100..=600_000,
        ),
        (
            "http.request_timeout_ms",
            http.request_timeout_ms,
            100..=600_000,
        ),
        ("media.cores", media.cores.into(), 0..=cores_max),
        ("media.spin_us", media.spin_us.into(), 1..=1_000_000),
        ("media.busy_poll_us", media.busy_poll_us.into(), 0..=1000),
        ("srt.latency_ms", config.srt.latency_ms.into(), 20..=8000),
        (
            "streams.opus_bitrate_bps",
            config.streams.opus_bitrate_bps.into(),
            OPUS_BPS,
        ),
        (
            "streams.push_timeout_ms",
            config.streams.push_timeout_ms,
            PUSH_TIMEOUT_MS,
        ),
        ("limits.streams_max", limits.streams_max.into(), 1..=4096),
        (
            "limits.viewers_max",
            limits.viewers_max.into(),
            1..=1_000_000,
        ),
        (
            "limits.log_packets",
            limits.log_packets.into(),
            1024..=262_144,
        ),
        (
            "limits.handshakes_max",
            limits.handshakes_max.into(),
            1..=100_000,
        ),
        (
            "limits.handshake_timeout_s",
            limits.handshake_timeout_s,
            1..=120,
        ),
    ] {
        within(key, value, range)?;
    }
    check_load(limits.max_load)?;
    check_memory(config)
}

fn check_load(max_load: f64) -> Result<(), Bad> {
    if (0.0..=1.0).contains(&max_load) {
        return Ok(());
    }
    let what = format!("{max_load} is out of range");
    Err(bad("limits.max_load", what, "write 0 to 1".into()))
}

/// The data plane has the last word: memory is laid out from these.
fn check_memory(config: &Config) -> Result<(), Bad> {
    let packets = config.limits.log_packets;
    if !packets.is_power_of_two() {
        let near = packets.next_power_of_two();
        let what = format!("{packets} is not a power of two");
        return Err(bad("limits.log_packets", what, format!("write {near}")));
    }
    let most = config.cores(usize::MAX);
    config
        .link_limits(most)
        .memory()
        .map(drop)
        .map_err(|error| {
            let name = LINKED
                .iter()
                .find(|name| error.to_string().starts_with(**name));
            bad(
                &format!("limits.{}", name.unwrap_or(&"streams_max")),
                error.to_string(),
                "choose a value in the range that is named".into(),
            )
        })
}

fn check_listen(config: &Config) -> Result<(), Bad> {
    let media = config.media.listen.resolve();
    let srt = config.srt.listen.resolve();
    let meet = media.ip() == srt.ip() || media.ip().is_unspecified() || srt.ip().is_unspecified();
    if media.port() != 0 && media.port() == srt.port() && meet {
        return Err(bad(
            "srt.listen",
            format!(
                "{} and media.listen are the same UDP port",
                config.srt.listen
            ),
            "give them two ports".into(),
        ));
    }
    if media.port() == 0 {
        return Err(bad(
            "media.listen",
            "port 0 cannot be told to browsers".into(),
            "name a port, such as *:8000".into(),
        ));
    }
    for text in &config.media.advertise {
        if addresses::parse(text, media.port()).is_none() {
            return Err(bad(
                "media.advertise",
                format!("{text:?} is not an address that browsers can reach"),
                "write \"IP\" or \"IP:PORT\", not a name and not 0.0.0.0".into(),
            ));
        }
    }
    Ok(())
}

fn check_texts(config: &Config) -> Result<(), Bad> {
    for origin in &config.http.allowed_origins {
        let rest = ["http://", "https://"]
            .iter()
            .find_map(|s| origin.strip_prefix(s));
        let good = rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '*']));
        if origin != "*" && !good {
            return Err(bad(
                "http.allowed_origins",
                format!("{origin:?} is not an origin"),
                "write \"*\" or \"https://HOST\" or \"https://HOST:PORT\", without a path".into(),
            ));
        }
    }
    check_passphrase("srt.passphrase", &config.srt.passphrase)?;
    for (key, tokens) in [
        ("auth.publish_tokens", &config.auth.publish_tokens),
        ("auth.play_tokens", &config.auth.play_tokens),
        ("auth.admin_tokens", &config.auth.admin_tokens),
    ] {
        tokens
            .iter()
            .try_for_each(|token| check_token(key, token))?;
    }
    check_level(&config.log.level)
}

fn check_level(level: &str) -> Result<(), Bad> {
    let wrong = match level.is_empty() {
        true => Some("is empty".to_owned()),
        false => crate::log::filter(level).err(),
    };
    match wrong {
        None => Ok(()),
        Some(what) => Err(bad("log.level", what, "write \"info\"".into())),
    }
}

fn check_rule(rule: &StreamRule, at: &str) -> Result<(), Bad> {
    let key = |name: &str| format!("{at}.{name}");
    // A pattern is a name in which any part may be a star.
    let as_name = rule.name.replace('*', "x");
    if let Err(error) = as_name.parse::<crate::control::StreamName>() {
        return Err(bad(
            &key("name"),
            format!("{:?}: {error}", rule.name),
            "write a name, or a pattern with *, such as \"studio/*\"".into(),
        ));
    }
    if let Some(passphrase) = &rule.passphrase {
        check_passphrase(&key("passphrase"), passphrase)?;
    }
    for (name, token) in [
        ("publish_token", &rule.publish_token),
        ("play_token", &rule.play_token),
    ] {
        if let Some(token) = token {
            check_token(&key(name), token)?;
        }
    }
    if let Some(template) = &rule.redirect {
        redirect::check(template).map_err(|what| {
            bad(
                &key("redirect"),
                format!("{template:?} {what}"),
                "write a URL such as \"https://other.example/{protocol}/{stream}\"".into(),
            )
        })?;
    }
    match rule.opus_bitrate_bps {
        Some(bps) => within(&key("opus_bitrate_bps"), bps.into(), OPUS_BPS),
        None => Ok(()),
    }
}

fn check_passphrase(key: &str, passphrase: &Secret) -> Result<(), Bad> {
    if passphrase.is_empty() || PASSPHRASE_BYTES.contains(&passphrase.expose().len()) {
        return Ok(());
    }
    Err(bad(
        key,
        format!("a passphrase of {} bytes", passphrase.expose().len()),
        "SRT takes 10 to 79; an empty text means none".into(),
    ))
}

pub(super) fn check_token(key: &str, token: &Secret) -> Result<(), Bad> {
    let text = token.expose();
    let visible = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b',');
    if TOKEN_BYTES.contains(&text.len()) && visible {
        return Ok(());
    }
    Err(bad(
        key,
        format!("a token of {} bytes", text.len()),
        "16 to 256 visible ASCII characters without commas: openssl rand -hex 16".into(),
    ))
}

pub(super) fn within(key: &str, value: u64, range: RangeInclusive<u64>) -> Result<(), Bad> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = range.into_inner();
    Err(bad(
        key,
        format!("{value} is out of range"),
        format!("write {low} to {high}"),
    ))
}

pub(super) fn bad(key: &str, what: String, remedy: String) -> Bad {
    Bad {
        key: key.into(),
        what,
        remedy,
    }
}

const fn loopback(port: u16) -> Listen {
    Listen::At(std::net::SocketAddr::new(
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        port,
    ))
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            allowed_origins: vec!["*".into()],
            body_bytes_max: 65_536,
            connections_max: 4096,
            connections_per_address_max: 256,
            header_timeout_ms: 15_000,
            request_timeout_ms: 15_000,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            listen: Listen::Everywhere(8000),
            advertise: Vec::new(),
            cores: 0,
            backend: Backend::Auto,
            transmit: Transmit::Auto,
            udp_checksum: true,
            cipher: Cipher::Auto,
            idle: Idle::Sleep,
            spin_us: 50_000,
            busy_poll_us: 0,
        }
    }
}

impl Default for Srt {
    fn default() -> Self {
        Self {
            listen: Listen::At((Ipv4Addr::UNSPECIFIED, 9000).into()),
            latency_ms: 120,
            passphrase: Secret::default(),
        }
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            accept: Accept::Any,
            takeover: Takeover::Refuse,
            bframes: Bframes::Report,
            latency: Latency::Smooth,
            opus_bitrate_bps: 128_000,
            push_timeout_ms: 10_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let data_plane = link::limits::Limits::default();
        Self {
            streams_max: data_plane.streams_max,
            viewers_max: data_plane.viewers_max,
            log_packets: data_plane.log_packets,
            handshakes_max: 1024,
            handshake_timeout_s: 15,
            max_load: 0.85,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Text,
            redact: true,
        }
    }
}
