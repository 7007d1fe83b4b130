//! Owns the reading of Link fields (RFC 8288 section 3), as far as extensions of WHEP need it.

/// One link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Where it leads, as it stands there.
    pub target: String,
    /// Its parameters, names in lower case.
    pub parameters: Vec<(String, String)>,
}

impl Link {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut all = self.parameters.iter();
        all.find(|(key, _)| key == name)
            .map(|(_, value)| &value[..])
    }

    /// True if it has this relation.
    pub fn has_rel(&self, rel: &str) -> bool {
        let all = self.parameter("rel").unwrap_or_default();
        all.split_ascii_whitespace()
            .any(|one| one.eq_ignore_ascii_case(rel))
    }
}

/// The links of one field; an error says what of it cannot be read.
pub fn parse(field: &str) -> Vec<Result<Link, String>> {
    let links = pieces(field, ',').into_iter().map(str::trim);
    links
        .filter(|text| !text.is_empty())
        .map(|text| one(text).ok_or_else(|| text.to_owned()))
        .collect()
}

fn one(text: &str) -> Option<Link> {
    let (target, rest) = text.strip_prefix('<')?.split_once('>')?;
    let mut parts = pieces(rest, ';').into_iter();
    // Nothing stands between the target and the first parameter.
    let nothing = parts.next().unwrap_or_default();
    let parameters = parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        let plain = value
            .strip_prefix('"')
            .map_or(Some(value), |rest| rest.strip_suffix('"'));
        Some((name.trim().to_ascii_lowercase(), plain?.to_owned()))
    });
    let parameters = parameters.collect::<Option<Vec<_>>>()?;
    let is_whole = nothing.trim().is_empty() && !target.is_empty();
    is_whole.then(|| Link {
        target: target.trim().to_owned(),
        parameters,
    })
}

/// The parts between `separator`, where it stands neither in quotes nor in angle brackets.
fn pieces(text: &str, separator: char) -> Vec<&str> {
    let (mut all, mut start) = (Vec::new(), 0);
    let (mut quoted, mut angled) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' if !angled => quoted = !quoted,
            '<' if !quoted => angled = true,
            '>' if !quoted => angled = false,
            other if other == separator && !quoted && !angled => {
                all.push(&text[start..at]);
                start = at + other.len_utf8();
            }
            _ => {}
        }
    }
    all.push(&text[start..]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read() {
        let field = "</s/1/sse?a,b;c>; rel=\"urn:x:sse other\"; Events=\"active,layers\" , \
                     <https://h/l>;rel=layer;crossorigin";
        let links: Vec<_> = parse(field).into_iter().map(Result::unwrap).collect();
        assert_eq!(links.len(), 2);
        assert_eq!(links[0].target, "/s/1/sse?a,b;c");
        assert!(links[0].has_rel("urn:x:SSE") && !links[0].has_rel("urn:x"));
        assert_eq!(links[0].parameter("events"), Some("active,layers"));
        assert_eq!(links[1].parameter("crossorigin"), Some(""));
        assert!(links[1].has_rel("layer"));
        assert!(parse("").is_empty());
    }

    #[test]
    fn what_is_no_link_is_told() {
        for bad in ["x; rel=y", "<x", "<>; rel=y", "<x>y; rel=z", "<x>; rel=\"y"] {
            assert!(parse(bad)[0].is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        /// What servers under test answer.
        #[test]
        fn any_field_can_be_read(
            text in "[<>,;=\" a-z/:]{0,60}|\\PC{0,40}",
            target in "[a-z/:,;]{1,20}",
        ) {
            let read = parse(&text);
            proptest::prop_assert!(read.len() <= 1 + text.matches(',').count());
            let field = format!("<{target}>; rel=\"a,b; c\", <x>;rel=d");
            let read = parse(&field);
            let links: Vec<&Link> = read.iter().flatten().collect();
            proptest::prop_assert_eq!(links.len(), 2, "{:?}", field);
            proptest::prop_assert_eq!(&links[0].target, &target);
            proptest::prop_assert_eq!(links[0].parameter("rel"), Some("a,b; c"));
        }
    }
}
