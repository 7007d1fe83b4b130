//! Owns what was found: the verdict on each rule, as a table and as JSON.

use super::rules::{self, Level, Protocol, Rule};

/// What a check has found about a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rule does not apply here, and why.
    Skip(String),
    /// It is kept.
    Pass,
    /// Nothing is right or wrong; this is how the server does it.
    Info(String),
    /// It is kept, but not as well as it could be.
    Poor(Difference),
    /// It is not kept.
    Wrong(Difference),
}

/// What was seen in place of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What came.
    pub seen: String,
    /// What should have come.
    pub expected: String,
}

/// A rule and what was found about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What was found.
    pub outcome: Outcome,
}

/// The last word on a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Not checked.
    Skip,
    /// Kept.
    Pass,
    /// Neither kept nor broken.
    Info,
    /// A rule that should be kept is not.
    Warn,
    /// A rule that must be kept is not.
    Fail,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The rule.
    pub rule: &'static Rule,
    /// Where it is from.
    pub source: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen, or why nothing was checked.
    pub seen: Option<String>,
    /// What was expected in its place.
    pub expected: Option<String>,
}

impl Finding {
    /// What `good` says, with what was seen and expected if it is not.
    pub fn judge(
        rule: &'static Rule,
        good: bool,
        seen: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        let outcome = match good {
            true => Outcome::Pass,
            false => Outcome::Wrong(Difference {
                seen: seen.into(),
                expected: expected.into(),
            }),
        };
        Self { rule, outcome }
    }

    fn verdict(&self) -> Verdict {
        match (&self.outcome, self.rule.level) {
            (Outcome::Skip(_), _) => Verdict::Skip,
            (Outcome::Pass, _) => Verdict::Pass,
            (Outcome::Info(_), _) => Verdict::Info,
            (Outcome::Wrong(_), Level::Must) => Verdict::Fail,
            (Outcome::Wrong(_), Level::Should) | (Outcome::Poor(_), _) => Verdict::Warn,
        }
    }
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Skip => "SKIP",
            Self::Pass => "PASS",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }

    /// Select Graphic Rendition of a terminal.
    fn colour(self) -> &'static str {
        match self {
            Self::Skip => "2",
            Self::Pass => "32",
            Self::Info => "36",
            Self::Warn => "33",
            Self::Fail => "1;31",
        }
    }
}

/// The worst of what was found about each rule of the protocol, in the order of the rules.
pub fn rows(protocol: Protocol, findings: &[Finding]) -> Vec<Row> {
    let of = |rule: &'static Rule| {
        let its = findings.iter().filter(|finding| finding.rule == rule);
        // Of equals the first: what came later may follow from it.
        let worst = its.reduce(|a, b| if b.verdict() > a.verdict() { b } else { a });
        let (seen, expected) = match worst.map(|worst| &worst.outcome) {
            None => (Some("what it depends on did not work".to_owned()), None),
            Some(Outcome::Pass) => (None, None),
            Some(Outcome::Skip(text) | Outcome::Info(text)) => (Some(plain(text)), None),
            Some(Outcome::Poor(it) | Outcome::Wrong(it)) => {
                (Some(plain(&it.seen)), Some(plain(&it.expected)))
            }
        };
        Row {
            rule,
            source: rule.source(protocol).into_owned(),
            verdict: worst.map_or(Verdict::Skip, Finding::verdict),
            seen,
            expected,
        }
    };
    let all = rules::ALL.iter().filter(|rule| rule.holds_for(protocol));
    all.map(|rule| of(rule)).collect()
}

/// The table for people.
pub fn table(rows: &[Row], colours: bool) -> String {
    let width = rows.iter().map(|row| row.rule.id.len()).max().unwrap_or(0);
    let mut out = String::new();
    for row in rows {
        let name = match colours {
            true => format!(
                "\x1b[{}m{}\x1b[0m",
                row.verdict.colour(),
                row.verdict.name()
            ),
            false => row.verdict.name().to_owned(),
        };
        let (id, text, source) = (row.rule.id, row.rule.text, &row.source);
        out.push_str(&format!("{name}  {id:width$}  {text} [{source}]\n"));
        let more = match (&row.seen, &row.expected) {
            (None, _) => continue,
            (Some(seen), None) => vec![seen.clone()],
            (Some(seen), Some(expected)) => {
                vec![format!("seen:     {seen}"), format!("expected: {expected}")]
            }
        };
        for text in more {
            out.push_str(&format!("{:indent$}{text}\n", "", indent = width + 8));
        }
    }
    out
}

/// How many of each, and what that means.
pub fn summary(rows: &[Row]) -> String {
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let [pass, warn, fail] = [Verdict::Pass, Verdict::Warn, Verdict::Fail].map(count);
    let [skip, info] = [Verdict::Skip, Verdict::Info].map(count);
    let verdict = match (fail, warn) {
        (0, 0) => "conforms",
        (0, _) => "conforms, and could do better",
        _ => "does not conform",
    };
    format!(
        "{} rules: {pass} pass, {fail} fail, {warn} warn, {info} info, {skip} skip: {verdict}",
        rows.len()
    )
}

/// An array of objects for programs.
pub fn json(rows: &[Row]) -> serde_json::Value {
    let row = |row: &Row| {
        serde_json::json!({
            "id": row.rule.id,
            "rule": row.rule.text,
            "source": row.source,
            "level": match row.rule.level {
                Level::Must => "must",
                Level::Should => "should",
            },
            "verdict": row.verdict.name().to_ascii_lowercase(),
            "seen": row.seen,
            "expected": row.expected,
        })
    };
    rows.iter().map(row).collect()
}

/// True if no rule that must be kept is broken.
pub fn conforms(rows: &[Row]) -> bool {
    rows.iter().all(|row| row.verdict != Verdict::Fail)
}

/// What a server sends must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A text of the server's, shortened, on one line, without what steers a terminal.
pub fn quoted(text: &str) -> String {
    const CHARACTERS_MAX: usize = 120;
    let mut out = String::new();
    let mut characters = text.chars();
    for c in characters.by_ref().take(CHARACTERS_MAX) {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    if characters.next().is_some() {
        out.push_str("...");
    }
    format!("\"{out}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(rule: &'static Rule) -> Finding {
        Finding::judge(rule, false, "a", "b")
    }

    #[test]
    fn the_worst_finding_counts() {
        let pass = Finding::judge(&rules::POST_CREATED, true, "", "");
        let found = [
            pass,
            wrong(&rules::POST_CREATED),
            wrong(&rules::DELETE_AGAIN),
        ];
        let rows = rows(Protocol::Whep, &found);
        let of = |id: &str| rows.iter().find(|row| row.rule.id == id).unwrap();
        assert_eq!(of("post-created").verdict, Verdict::Fail);
        assert_eq!(of("post-created").expected.as_deref(), Some("b"));
        assert_eq!(of("delete-again").verdict, Verdict::Warn);
        assert_eq!(of("answer-ice").verdict, Verdict::Skip);
        assert!(!conforms(&rows));
        assert!(summary(&rows).contains("1 fail, 1 warn"));
        assert_eq!(json(&rows).as_array().unwrap().len(), rows.len());
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(quoted("a\x1b[31m\r\nb"), "\"a\\u{1b}[31m\\r\\nb\"");
        assert_eq!(quoted(&"x".repeat(500)).len(), 125);
        let finding = Finding::judge(&rules::POST_CREATED, false, "a\nb", "c");
        let table = table(&rows(Protocol::Whip, &[finding]), false);
        assert!(table.contains("seen:     ab\n"), "{table}");
        assert!(!table.contains('\x1b'));
    }
}
