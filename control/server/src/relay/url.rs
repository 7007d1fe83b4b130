//! Owns the addresses of relays: what may be one, and whether it leads back here.

use crate::config::Config;
use crate::control::StreamName;
use hyper::Uri;
use std::net::IpAddr;

use super::status::Direction;

/// Most bytes of a URL.
const URL_BYTES_MAX: usize = 2048;

/// Says what is wrong with a URL, as the end of a sentence that begins with it.
///
/// # Errors
/// It is no http or https URL with a host, or carries a password.
pub fn check(text: &str) -> Result<Uri, &'static str> {
    if text.len() > URL_BYTES_MAX {
        return Err("is too long");
    }
    if text.contains('#') {
        return Err("has a fragment, which no server gets to see");
    }
    let url: Uri = text.parse().map_err(|_| "is no URL")?;
    if url.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err("has a user before the host: use token");
    }
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    match is_web && url.host().is_some_and(|host| !host.is_empty()) {
        true => Ok(url),
        false => Err("is no http or https URL"),
    }
}

/// True if nobody on the road can read what is sent there.
pub(super) fn is_secure(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

/// Where the server is; an IPv6 address without its brackets.
pub(super) fn host_and_port(url: &Uri) -> (&str, u16) {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let default = if is_secure(url) { 443 } else { 80 };
    (host, url.port_u16().unwrap_or(default))
}

/// True if the server at `url` is this very one and the stream there is the one here. By what can
/// be told without asking: by names of other kinds the server itself finds out (508).
pub fn leads_back(config: &Config, direction: Direction, url: &Uri, stream: &StreamName) -> bool {
    let own = config.http.listen.resolve();
    let (host, port) = host_and_port(url);
    let ip: Option<IpAddr> = match host.eq_ignore_ascii_case("localhost") {
        true => Some(own.ip()),
        false => host.parse().ok(),
    };
    let is_here = ip.is_some_and(|ip| {
        let ip = ip.to_canonical();
        ip == own.ip() || ip.is_loopback() && (own.ip().is_unspecified() || own.ip().is_loopback())
    });
    let endpoint = match direction {
        Direction::Pull => "whep",
        Direction::Push => "whip",
    };
    is_here && port == own.port() && url.path() == format!("/{endpoint}/{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_are_urls() {
        assert!(check("http://a.example:8080/whep/x?y=1").is_ok());
        assert!(check("https://[::1]/whep/x").is_ok());
        for bad in [
            "",
            "x",
            "ftp://a/b",
            "http:///x",
            "http://u:p@a/",
            "http://a/#x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_relay_to_itself_is_seen() {
        let config = Config::default();
        let back = |direction, url: &str| {
            let name: StreamName = "live/a".parse().unwrap();
            leads_back(&config, direction, &url.parse().unwrap(), &name)
        };
        assert!(back(Direction::Pull, "http://127.0.0.1:8080/whep/live/a"));
        assert!(back(Direction::Push, "http://localhost:8080/whip/live/a"));
        assert!(!back(Direction::Pull, "http://127.0.0.1:8080/whep/live/b"));
        assert!(!back(Direction::Pull, "http://127.0.0.1:8081/whep/live/a"));
        assert!(!back(Direction::Pull, "http://192.0.2.1:8080/whep/live/a"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_url_or_none(text in "https?://[a-z\\[\\]:@/?#.%0-9]{0,40}|\\PC{0,40}") {
            if let Ok(url) = check(&text) {
                proptest::prop_assert!(!text.contains('#') && url.host().is_some());
                proptest::prop_assert!(matches!(url.scheme_str(), Some("http" | "https")));
                let name: StreamName = "live/a".parse().unwrap();
                let _ = leads_back(&Config::default(), Direction::Pull, &url, &name);
            }
        }
    }
}
