//! Owns the reading of SDP for checks: every line is kept as it came, and nothing is made up for
//! what is missing.

/// A description.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    lines: Vec<Line<'a>>,
    /// Its media sections, in order.
    pub sections: Vec<Section<'a>>,
}

/// A media section.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// `audio`, `video` or what else.
    pub kind: &'a str,
    /// 0: rejected, or bundle-only.
    pub port: u16,
    /// Formats, which are payload types.
    pub formats: Vec<&'a str>,
    lines: Vec<Line<'a>>,
}

/// Type and value.
type Line<'a> = (char, &'a str);

impl<'a> Description<'a> {
    /// Reads a description.
    ///
    /// # Errors
    /// Says which line is not as RFC 8866 section 9 wants it.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let mut description = Self {
            lines: Vec::new(),
            sections: Vec::new(),
        };
        for (at, text) in text.trim_end().lines().enumerate() {
            let line = line(text).ok_or_else(|| format!("line {} is not type=value", at + 1))?;
            if at == 0 && line != ('v', "0") {
                return Err("it does not start with v=0".into());
            }
            match (line.0, description.sections.last_mut()) {
                ('m', _) => {
                    let section = Section::parse(line.1)
                        .ok_or_else(|| format!("line {} is no m-line", at + 1))?;
                    description.sections.push(section);
                }
                (_, Some(section)) => section.lines.push(line),
                (_, None) => description.lines.push(line),
            }
        }
        for kind in ['v', 'o', 's', 't'] {
            if !description.lines.iter().any(|line| line.0 == kind) {
                return Err(format!("it has no {kind}-line"));
            }
        }
        match description.sections.is_empty() {
            true => Err("it has no m-line".into()),
            false => Ok(description),
        }
    }

    /// Values of an attribute of the session level.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        values(&self.lines, name)
    }

    /// The attribute of a section, or else of the session level.
    pub fn value_for(&self, section: &Section<'a>, name: &str) -> Option<&'a str> {
        section.value(name).or_else(|| self.values(name).next())
    }

    /// True if the section, or the session level, has the attribute.
    pub fn has_for(&self, section: &Section<'a>, name: &str) -> bool {
        self.value_for(section, name).is_some()
    }

    /// The identification tags of the first BUNDLE group.
    pub fn bundle(&self) -> Vec<&'a str> {
        self.values("group")
            .find_map(|group| group.strip_prefix("BUNDLE"))
            .map(|tags| tags.split_ascii_whitespace().collect())
            .unwrap_or_default()
    }

    /// True if there is an address for the section.
    pub fn has_connection(&self, section: &Section<'a>) -> bool {
        let all = section.lines.iter().chain(&self.lines);
        all.into_iter().any(|line| line.0 == 'c')
    }

    /// The sections that are taken.
    pub fn taken(&self) -> impl Iterator<Item = &Section<'a>> {
        self.sections.iter().filter(|section| section.is_taken())
    }

    /// The section whose transport all of the group use: that of the first tag, or the first.
    pub fn tagged(&self) -> Option<&Section<'a>> {
        let tag = self.bundle().first().copied();
        self.taken()
            .find(|section| tag.is_some() && section.value("mid") == tag)
            .or_else(|| self.taken().next())
    }
}

impl<'a> Section<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let kind = words.next()?;
        let port = words.next()?.split('/').next()?.parse().ok()?;
        words.next()?;
        let formats: Vec<&str> = words.collect();
        (!formats.is_empty()).then_some(Self {
            kind,
            port,
            formats,
            lines: Vec::new(),
        })
    }

    /// Not rejected.
    pub fn is_taken(&self) -> bool {
        self.port != 0 || self.value("bundle-only").is_some()
    }

    /// Values of an attribute; empty for one that has none.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        values(&self.lines, name)
    }

    /// The first value of an attribute.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// What a payload type stands for: name and clock, in lower case.
    pub fn codec(&self, payload_type: &str) -> Option<String> {
        let mut maps = self.values("rtpmap");
        let value = maps.find_map(|map| map.strip_prefix(payload_type)?.strip_prefix(' '))?;
        Some(value.trim().to_ascii_lowercase())
    }

    /// For people: the tag, or the kind.
    pub fn name(&self) -> &'a str {
        self.value("mid").unwrap_or(self.kind)
    }
}

/// The first value of an attribute anywhere in a fragment.
pub fn in_fragment<'a>(fragment: &'a str, name: &str) -> Option<&'a str> {
    let lines: Vec<_> = fragment.lines().filter_map(line).collect();
    values(&lines, name).next()
}

fn line(text: &str) -> Option<Line<'_>> {
    let (kind, value) = text.trim_end().split_once('=')?;
    let mut letters = kind.chars();
    let letter = letters.next().filter(char::is_ascii_lowercase)?;
    letters.next().is_none().then_some((letter, value))
}

fn values<'a>(lines: &[Line<'a>], name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let found: Vec<&str> = lines
        .iter()
        .filter(|(kind, _)| *kind == 'a')
        .filter_map(|(_, text)| {
            let (key, value) = text.split_once(':').unwrap_or((text, ""));
            (key == name).then_some(value.trim())
        })
        .collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\no=- 1 1 IN IP4 0\ns=-\nt=0 0\na=group:BUNDLE b a\na=setup:passive\n";

    #[test]
    fn lines_are_found_where_they_stand() {
        let text = format!(
            "{HEAD}m=audio 9 X 111 0\na=mid:a\na=rtpmap:111 Opus/48000/2\n\
             m=video 0 X 1\na=mid:b\na=bundle-only\nc=IN IP4 0\nm=video 0 X 1\n"
        );
        let read = Description::parse(&text).unwrap();
        assert_eq!(read.bundle(), ["b", "a"]);
        assert_eq!(read.taken().count(), 2);
        assert_eq!(read.tagged().unwrap().name(), "b");
        let [audio, video, rejected] = &read.sections[..] else {
            panic!("{read:?}");
        };
        assert_eq!(audio.codec("111").as_deref(), Some("opus/48000/2"));
        assert_eq!(audio.codec("11"), None);
        assert_eq!(read.value_for(video, "setup"), Some("passive"));
        assert!(read.has_connection(video) && !read.has_connection(rejected));
        assert!(!rejected.is_taken());
    }

    #[test]
    fn what_is_no_sdp_is_refused() {
        for bad in [
            String::new(),
            "not sdp".into(),
            HEAD.into(),
            HEAD.replace("s=-\n", "") + "m=audio 9 X 1\n",
            format!("{HEAD}m=audio 9 X\n"),
            format!("{HEAD}m=audio port X 1\n"),
            format!("{HEAD}m=audio 9 X 1\nhello\n"),
        ] {
            assert!(Description::parse(&bad).is_err(), "{bad}");
        }
    }
}
