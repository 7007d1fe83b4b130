//! Owns addresses of streams that are on another node: a URL with places for what changes.

use hyper::Uri;

/// Stands for the name of the stream.
const STREAM: &str = "{stream}";

/// Stands for `whip` or `whep`.
const PROTOCOL: &str = "{protocol}";

/// The address of one stream. Names of streams have no characters that mean something in a URL.
pub(super) fn fill(template: &str, protocol: &str, stream: &str) -> String {
    template.replace(PROTOCOL, protocol).replace(STREAM, stream)
}

/// Scheme, host and port.
pub(super) fn origin(template: &str) -> Option<&str> {
    let start = template.find("://")? + 3;
    let rest = &template[start..];
    let length = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    template.get(..start + length)
}

/// Says what is wrong with a template, as the end of a sentence that begins with it.
pub(super) fn check(template: &str) -> Result<(), &'static str> {
    let origin = origin(template).ok_or("is no URL")?;
    if !template.contains(STREAM) {
        return Err("has no {stream}: all streams would be the same one there");
    }
    if origin.contains(['{', '@']) {
        return Err("has something in place of the host that stands for another thing");
    }
    let filled = fill(template, "whep", "x");
    if filled.contains(['{', '}']) {
        return Err("has braces around something else than stream and protocol");
    }
    let url: Uri = filled.parse().map_err(|_| "is no URL")?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    match is_web && url.host().is_some_and(|host| !host.is_empty()) {
        true => Ok(()),
        false => Err("is no http or https URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled() {
        let template = "https://b.example:8443/{protocol}/{stream}?from=a";
        assert_eq!(check(template), Ok(()));
        assert_eq!(
            fill(template, "whip", "live/one"),
            "https://b.example:8443/whip/live/one?from=a"
        );
        assert_eq!(origin(template), Some("https://b.example:8443"));
        assert_eq!(check("http://[::1]:80/x/{stream}"), Ok(()));
        assert_eq!(origin("http://h"), Some("http://h"));
    }

    #[test]
    fn what_leads_nowhere_is_found_at_load() {
        for bad in [
            "",
            "/whep/{stream}",
            "https://b.example/whep/x",
            "https://{stream}.example/",
            "https://b.example/{Stream}/{stream}",
            "ftp://b.example/{stream}",
            "https:///{stream}",
            "https://b example/{stream}",
            "https://b.example/ {stream}",
            "https://me@b.example/{stream}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
