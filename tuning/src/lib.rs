//! Owns the checks of the host: what is, what should be and why; and the tuning of what can be
//! changed, with a way back.

mod host;
mod report;
mod stage;
mod stages;
mod undo;

pub use host::Host;
pub use report::{Row, table, worst};
pub use stage::{Change, Finding, Plan, Stage, Verdict};
pub use undo::{Outcome, TuneError, UndoFile};

/// Every stage, in the order in which they are shown and applied.
#[must_use]
pub fn stages() -> &'static [&'static dyn Stage] {
    stages::ALL
}

/// Looks at everything; changes nothing.
#[must_use]
pub fn check(host: &Host, plan: &Plan) -> Vec<Row> {
    let row = |stage: &&dyn Stage| Row::new(stage.name(), stage.why(), stage.check(host, plan));
    stages().iter().map(row).collect()
}

/// Changes what [`check`] finds wanting and what may be changed by itself. What was there is
/// remembered first, so that [`undo`] can put it back.
///
/// # Errors
/// The first thing that could not be changed; what was changed before stays, and can be undone.
pub fn apply(host: &Host, plan: &Plan, file: &UndoFile) -> Result<Vec<Outcome>, TuneError> {
    let mut done = Vec::new();
    for stage in stages() {
        for change in stage.check(host, plan).changes {
            file.remember(stage.name(), &change)?;
            stage
                .apply(host, &change)
                .map_err(|cause| TuneError::new(&change.path, cause))?;
            done.push(Outcome {
                stage: stage.name().into(),
                change,
            });
        }
    }
    Ok(done)
}

/// Puts back what was there before the first [`apply`], last change first.
///
/// # Errors
/// The first thing that could not be put back; the file is kept then.
pub fn undo(host: &Host, file: &UndoFile) -> Result<Vec<Outcome>, TuneError> {
    let mut done = Vec::new();
    for (name, change) in file.entries()?.into_iter().rev() {
        // The file is only root's; all the same nothing is written that no stage knows.
        let stage = stages()
            .iter()
            .find(|stage| stage.name() == name && stage.owns(&change.path));
        let Some(stage) = stage else {
            continue;
        };
        stage
            .undo(host, &change)
            .map_err(|cause| TuneError::new(&change.path, cause))?;
        let (from, to) = (change.to, change.from);
        done.push(Outcome {
            stage: name,
            change: Change {
                path: change.path,
                from,
                to,
            },
        });
    }
    file.remove()?;
    Ok(done)
}

#[cfg(test)]
mod tests;
