//! Owns addresses: what a Location means next to where it came from (RFC 3986 section 5).

use hyper::Uri;

/// What is looked at before anything is sent.
///
/// # Errors
/// Says what is wrong with the address, and what to do.
pub fn endpoint(text: &str) -> Result<Uri, String> {
    let url: Uri = text
        .parse()
        .map_err(|error| format!("{text} is not a URL: {error}"))?;
    match (url.scheme_str(), url.host()) {
        (Some("http"), Some(_)) => Ok(url),
        (Some("https"), _) => Err(format!(
            "{text}: this command speaks no TLS, so https is not checked.\n  \
             remedy: give the http address of the server behind the proxy that speaks TLS"
        )),
        _ => Err(format!("{text}: give a whole URL, http://HOST[:PORT]/PATH")),
    }
}

/// The URL that `reference` means in an answer from `base`, without TLS.
///
/// # Errors
/// Says why it means none that could be asked.
pub fn resolve(base: &Uri, reference: &str) -> Result<Uri, String> {
    let url = resolve_any(base, reference)?;
    match url.scheme_str() {
        Some("https") => Err("it is https, which this command does not speak".into()),
        _ => Ok(url),
    }
}

/// The URL that `reference` means in an answer from `base`, with TLS or without.
///
/// # Errors
/// Says why it means none that could be asked.
pub fn resolve_any(base: &Uri, reference: &str) -> Result<Uri, String> {
    let reference = reference.trim();
    if reference.is_empty() {
        return Err("it is empty".into());
    }
    let scheme = base.scheme_str().unwrap_or("http");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let absolute = if has_scheme(reference) {
        reference.to_owned()
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else {
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (reference, String::new()),
        };
        let path = match (path.is_empty(), path.starts_with('/')) {
            (true, _) => base.path().to_owned(),
            (false, true) => without_dots(path),
            (false, false) => {
                let folder = base
                    .path()
                    .rsplit_once('/')
                    .map_or("", |(folder, _)| folder);
                without_dots(&format!("{folder}/{path}"))
            }
        };
        format!("{scheme}://{authority}{path}{query}")
    };
    let absolute = absolute.split('#').next().unwrap_or_default();
    let url: Uri = absolute.parse().map_err(|_| "it is no URL".to_owned())?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(_)) => Ok(url),
        _ => Err("it is no http URL".into()),
    }
}

/// The same URL with another last segment of its path.
pub fn sibling(url: &Uri, segment: &str) -> Option<Uri> {
    let path = url.path().trim_end_matches('/');
    let (folder, _) = path.rsplit_once('/')?;
    let query = url
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let (scheme, authority) = (url.scheme_str()?, url.authority()?);
    format!("{scheme}://{authority}{folder}/{segment}{query}")
        .parse()
        .ok()
}

fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
    })
}

/// RFC 3986 section 5.2.4, for a path that starts with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved() {
        let base: Uri = "http://h:1/a/whep/x?q=1".parse().unwrap();
        for (reference, wanted) in [
            ("/session/1", "http://h:1/session/1"),
            ("session/1?a=b", "http://h:1/a/whep/session/1?a=b"),
            ("../s/1", "http://h:1/a/s/1"),
            ("./1#x", "http://h:1/a/whep/1"),
            ("../../../..", "http://h:1/"),
            ("//other/1", "http://other/1"),
            ("http://other:2/1", "http://other:2/1"),
            ("?a", "http://h:1/a/whep/x?a"),
        ] {
            assert_eq!(resolve(&base, reference).unwrap().to_string(), wanted);
        }
        for bad in ["", "https://h/1", "ftp://h/1", "http://", "http://a b/"] {
            assert!(resolve(&base, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_is_http() {
        assert!(endpoint("http://127.0.0.1:8080/whep/demo").is_ok());
        assert!(endpoint("https://a/b").unwrap_err().contains("TLS"));
        assert!(endpoint("127.0.0.1:8080").is_err());
        assert!(endpoint("/whep/demo").is_err());
    }

    #[test]
    fn a_sibling_is_next_to_it() {
        let url: Uri = "http://h/whep/live/demo?k=v".parse().unwrap();
        let other = sibling(&url, "other").unwrap();
        assert_eq!(other.to_string(), "http://h/whep/live/other?k=v");
    }
}
