//! Owns how findings are shown.

use crate::stage::{Finding, Verdict};
use std::fmt::Write;

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was looked at.
    pub check: String,
    /// Why it matters.
    pub why: String,
    /// What was found.
    pub finding: Finding,
}

impl Row {
    /// A row.
    #[must_use]
    pub fn new(check: impl Into<String>, why: impl Into<String>, finding: Finding) -> Self {
        Self {
            check: check.into(),
            why: why.into(),
            finding,
        }
    }
}

/// The worst verdict; [`Verdict::Good`] if there are no rows.
#[must_use]
pub fn worst(rows: &[Row]) -> Verdict {
    rows.iter()
        .map(|row| row.finding.verdict)
        .max()
        .unwrap_or(Verdict::Good)
}

/// The rows as a table of verdict, check, found and wanted; below each row that is not good, why it
/// matters and the command that mends it.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str| {
        rows.iter()
            .map(|row| of(row).chars().count())
            .max()
            .unwrap_or(0)
    };
    let check = width(|row| &row.check).max(5);
    let found = width(|row| &row.finding.found).clamp(5, 48);
    let mut text = format!("{:8}  {:check$}  {:found$}  wanted\n", "", "check", "found");
    for row in rows {
        let finding = &row.finding;
        let line = format!(
            "{:8}  {:check$}  {:found$}  {}",
            label(finding.verdict),
            row.check,
            finding.found,
            finding.wanted
        );
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
        if let Some(fix) = &finding.fix {
            let _ = writeln!(text, "{:10}why: {}\n{:10}fix: {fix}", "", row.why, "");
        }
    }
    text
}

fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::Absent => "-",
        Verdict::Better => "could be",
        Verdict::Bad => "BAD",
    }
}
