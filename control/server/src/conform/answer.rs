//! Owns what is right and wrong about an answer, next to its offer. Text in, findings out.

use super::report::{Finding, Outcome, quoted};
use super::rules::{self, Protocol, Rule};
use super::sdp::{Description, Section};

/// Characters of ice-ufrag (RFC 8839 section 5.4).
const UFRAG: (usize, usize) = (4, 256);

/// Characters of ice-pwd.
const PWD: (usize, usize) = (22, 256);

/// Hash functions that may be relied on, and the bytes of their values.
const HASHES: [(&str, usize); 3] = [("sha-256", 32), ("sha-384", 48), ("sha-512", 64)];

/// Judges an answer. If it, or the offer, cannot be read, that is the only finding.
pub fn examine(protocol: Protocol, offer: &str, answer: &str) -> Vec<Finding> {
    let read = Description::parse(answer);
    let seen = read.as_ref().err().cloned().unwrap_or_default();
    let parses = Finding::judge(&rules::ANSWER_PARSES, read.is_ok(), seen, "a description");
    let (Ok(offer), Ok(answer)) = (Description::parse(offer), read) else {
        return vec![parses];
    };
    let pair = Pair {
        protocol,
        offer,
        answer,
    };
    let mut findings = vec![parses, pair.lines()];
    if pair.offer.sections.len() == pair.answer.sections.len() {
        findings.extend([pair.mids(), pair.payload(), pair.extensions()]);
    }
    findings.extend([pair.complete(), pair.rejected()]);
    if pair.answer.taken().next().is_some() {
        findings.extend(pair.transport());
        findings.extend(pair.media());
    }
    findings
}

/// What the credentials of an answer or a fragment lack.
pub fn bad_credentials(ufrag: Option<&str>, pwd: Option<&str>) -> Option<String> {
    let bad = |name: &str, value: Option<&str>, (min, max): (usize, usize)| match value {
        None => Some(format!("no {name}")),
        Some(text) => {
            let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
            let good = (min..=max).contains(&text.len()) && text.bytes().all(known);
            (!good).then(|| format!("{name}:{}", quoted(text)))
        }
    };
    bad("ice-ufrag", ufrag, UFRAG).or_else(|| bad("ice-pwd", pwd, PWD))
}

struct Pair<'a> {
    protocol: Protocol,
    offer: Description<'a>,
    answer: Description<'a>,
}

impl<'a> Pair<'a> {
    fn lines(&self) -> Finding {
        let kinds = |description: &Description<'_>| -> String {
            let kinds: Vec<_> = description.sections.iter().map(|s| s.kind).collect();
            kinds.join(", ")
        };
        let (offered, answered) = (kinds(&self.offer), kinds(&self.answer));
        let good = offered == answered;
        Finding::judge(&rules::ANSWER_LINES, good, quoted(&answered), offered)
    }

    /// Sections that are taken, each with its offer.
    fn sections(&self) -> impl Iterator<Item = (&Section<'a>, &Section<'a>)> {
        let both = self.offer.sections.iter().zip(&self.answer.sections);
        both.filter(|(_, answer)| answer.is_taken())
    }

    fn mids(&self) -> Finding {
        let wrong = self
            .sections()
            .find(|(offer, answer)| offer.value("mid") != answer.value("mid"));
        let line = |section: &Section<'_>| match section.value("mid") {
            Some(mid) => format!("a=mid:{}", quoted(mid)),
            None => "no a=mid".to_owned(),
        };
        let (offer, answer) = wrong.map_or_else(Default::default, |(a, b)| (line(a), line(b)));
        Finding::judge(&rules::ANSWER_MIDS, wrong.is_none(), answer, offer)
    }

    fn payload(&self) -> Finding {
        let mut sections = self.sections();
        let wrong = sections.find_map(|(offer, answer)| {
            let formats = &answer.formats;
            let strange = formats.iter().find(|one| {
                let codec = answer.codec(one);
                !offer.formats.contains(one) || (codec.is_some() && codec != offer.codec(one))
            })?;
            let codec = answer.codec(strange).unwrap_or_default();
            let offered = offer.formats.join(" ");
            Some((
                format!(
                    "{}: {}",
                    answer.name(),
                    quoted(&format!("{strange} {codec}"))
                ),
                format!("some of {offered}, each the codec that was offered"),
            ))
        });
        found(&rules::ANSWER_PAYLOAD, wrong)
    }

    fn extensions(&self) -> Finding {
        // The direction after a slash is the answerer's own.
        let of = |section: &Section<'a>| -> Vec<(String, String)> {
            let values = section.values("extmap");
            let words = values.filter_map(|value| {
                let mut words = value.split_ascii_whitespace();
                let id = words.next()?.split('/').next()?;
                Some((id.to_owned(), words.next()?.to_owned()))
            });
            words.collect()
        };
        let wrong = self.sections().find_map(|(offer, answer)| {
            let offered = of(offer);
            let strange = of(answer).into_iter().find(|one| !offered.contains(one))?;
            let seen = format!("a=extmap:{} {}", strange.0, strange.1);
            Some((quoted(&seen), "an extension of the offer".to_owned()))
        });
        found(&rules::ANSWER_EXTMAP, wrong)
    }

    fn complete(&self) -> Finding {
        let rejected = self.answer.sections.iter().find(|one| !one.is_taken());
        let wrong = rejected.map(|section| {
            (
                format!("the m-line of {} has port 0", section.kind),
                "all of the offer, or 422 or 400".to_owned(),
            )
        });
        found(&rules::ANSWER_COMPLETE, wrong)
    }

    fn rejected(&self) -> Finding {
        let mut rejected = self.answer.sections.iter().filter(|one| !one.is_taken());
        if rejected.clone().next().is_none() {
            let why = "no m-line was rejected".to_owned();
            return Finding {
                rule: &rules::ANSWER_REJECTED,
                outcome: Outcome::Skip(why),
            };
        }
        let bare = rejected.find(|section| !self.answer.has_connection(section));
        let wrong = bare.map(|section| {
            let seen = format!("the m-line of {} has none", section.kind);
            (seen, "c=IN IP4 0.0.0.0".to_owned())
        });
        found(&rules::ANSWER_REJECTED, wrong)
    }

    /// What belongs to the one transport of the group.
    fn transport(&self) -> Vec<Finding> {
        let Some(tagged) = self.answer.tagged() else {
            return Vec::new();
        };
        let value = |name: &str| self.answer.value_for(tagged, name);
        let ice = bad_credentials(value("ice-ufrag"), value("ice-pwd"))
            .map(|seen| (seen, "4 to 256 and 22 to 256 ICE characters".to_owned()));
        vec![
            self.bundle(),
            found(&rules::ANSWER_ICE, ice),
            self.candidates(tagged),
            self.fingerprint(tagged),
            self.setup(tagged),
        ]
    }

    fn bundle(&self) -> Finding {
        let group = self.answer.bundle();
        let outside = self.answer.taken().find(|section| {
            let mid = section.value("mid");
            mid.is_none_or(|mid| !group.contains(&mid))
        });
        let wrong = outside.map(|section| {
            let seen = format!("{} is not in the group {}", section.name(), group.join(" "));
            (
                quoted(&seen),
                "a=group:BUNDLE with all that are taken".to_owned(),
            )
        });
        found(&rules::ANSWER_BUNDLE, wrong)
    }

    fn candidates(&self, tagged: &Section<'a>) -> Finding {
        let own = tagged.values("candidate");
        let all: Vec<_> = own.chain(self.answer.values("candidate")).collect();
        let is_one = |text: &str| {
            let words: Vec<_> = text.split_ascii_whitespace().collect();
            words.len() >= 8 && words[6] == "typ" && words[5].parse::<u16>().is_ok()
        };
        let wrong = match all.iter().find(|text| !is_one(text)) {
            Some(bad) => Some(format!("a=candidate:{}", quoted(bad))),
            None => all.is_empty().then(|| "none".to_owned()),
        };
        let expected = "a=candidate:FOUNDATION COMPONENT udp PRIORITY ADDRESS PORT typ host";
        found(
            &rules::ANSWER_CANDIDATES,
            wrong.map(|seen| (seen, expected.to_owned())),
        )
    }

    fn fingerprint(&self, tagged: &Section<'a>) -> Finding {
        let own: Vec<_> = tagged.values("fingerprint").collect();
        let all = match own.is_empty() {
            true => self.answer.values("fingerprint").collect(),
            false => own,
        };
        let good = all.iter().any(|text| is_fingerprint(text));
        let seen = all.first().map_or("none".to_owned(), |text| quoted(text));
        let expected = "a=fingerprint:sha-256 and 32 bytes, or sha-384, sha-512";
        Finding::judge(&rules::ANSWER_FINGERPRINT, good, seen, expected)
    }

    fn setup(&self, tagged: &Section<'a>) -> Finding {
        let offered = self.offer.sections.first();
        let offered = offered.and_then(|section| self.offer.value_for(section, "setup"));
        let fits = |setup: &str| match offered {
            Some("active") => setup == "passive",
            Some("passive") => setup == "active",
            _ => matches!(setup, "active" | "passive"),
        };
        let expected = match offered {
            Some("active") => "a=setup:passive",
            Some("passive") => "a=setup:active",
            _ => "a=setup:passive or a=setup:active",
        };
        let of_tagged = self.answer.value_for(tagged, "setup");
        let others = self.answer.taken().filter_map(|one| one.value("setup"));
        let strange = of_tagged
            .into_iter()
            .chain(others)
            .find(|setup| !fits(setup));
        let wrong = match (of_tagged, strange) {
            (None, _) => Some("no a=setup".to_owned()),
            (_, Some(strange)) => Some(format!("a=setup:{}", quoted(strange))),
            _ => None,
        };
        found(
            &rules::ANSWER_SETUP,
            wrong.map(|seen| (seen, expected.to_owned())),
        )
    }

    /// What belongs to each m-line that is taken.
    fn media(&self) -> Vec<Finding> {
        let wanted = self.protocol.answer_direction();
        let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let direction = |section: &Section<'a>| {
            let mut all = directions.into_iter();
            all.find(|name| self.answer.has_for(section, name))
                .unwrap_or("sendrecv")
        };
        let other_way = self.answer.taken().find_map(|section| {
            let seen = direction(section);
            (seen != wanted).then(|| (format!("a={seen} in {}", section.name()), wanted.into()))
        });
        let no_mux = self.answer.taken().find_map(|section| {
            let missing = !self.answer.has_for(section, "rtcp-mux");
            missing.then(|| {
                (
                    format!("none in {}", quoted(section.name())),
                    "a=rtcp-mux".to_owned(),
                )
            })
        });
        let mut taken = self.answer.taken();
        let seen = match taken.all(|section| self.answer.has_for(section, "rtcp-mux-only")) {
            true => "the answer has it",
            false => "the answer does not have it",
        };
        vec![
            found(&rules::ANSWER_DIRECTION, other_way),
            found(&rules::ANSWER_RTCP_MUX, no_mux),
            Finding {
                rule: &rules::ANSWER_RTCP_MUX_ONLY,
                outcome: Outcome::Info(seen.to_owned()),
            },
            self.msid(),
        ]
    }

    fn msid(&self) -> Finding {
        let stream = |section: &Section<'a>| {
            let value = section.value("msid")?;
            value.split_ascii_whitespace().next()
        };
        let streams: Vec<_> = self.answer.taken().map(stream).collect();
        let first = streams.first().copied().flatten();
        let seen = match streams.iter().position(Option::is_none) {
            Some(_) => Some("an m-line without a=msid".to_owned()),
            None if streams.iter().any(|stream| *stream != first) => {
                let all: Vec<_> = streams.into_iter().flatten().collect();
                Some(format!("the streams {}", quoted(&all.join(" "))))
            }
            None => None,
        };
        found(
            &rules::ANSWER_MSID,
            seen.map(|seen| (seen, "a=msid of one stream in each m-line".to_owned())),
        )
    }
}

fn found(rule: &'static Rule, wrong: Option<(String, String)>) -> Finding {
    let good = wrong.is_none();
    let (seen, expected) = wrong.unwrap_or_default();
    Finding::judge(rule, good, seen, expected)
}

fn is_fingerprint(text: &str) -> bool {
    let Some((hash, value)) = text.split_once(' ') else {
        return false;
    };
    let Some((_, bytes)) = HASHES
        .iter()
        .find(|(name, _)| hash.eq_ignore_ascii_case(name))
    else {
        return false;
    };
    let is_byte = |pair: &str| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit());
    let pairs: Vec<_> = value.trim().split(':').collect();
    pairs.len() == *bytes && pairs.into_iter().all(is_byte)
}

#[cfg(test)]
mod tests;
