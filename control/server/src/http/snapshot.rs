//! Owns the list of streams as every open page asks for it once a second: made at most four times
//! a second, whoever asks.

use crate::control::Control;
use crate::problem::Problem;
use axum::body::Bytes;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How old the list may be. A page that asks once a second sees no difference.
const AGE_MAX: Duration = Duration::from_millis(250);

/// The list as JSON, with and without addresses.
#[derive(Debug, Default)]
pub(super) struct Streams {
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    at: Instant,
    full: Bytes,
    redacted: Bytes,
}

impl Streams {
    /// The list, with addresses for an operator. While it is being made all others wait for it.
    pub(super) async fn json(&self, control: &Control, operator: bool) -> Result<Bytes, Problem> {
        let mut made = self.made.lock().await;
        if made
            .as_ref()
            .is_none_or(|made| made.at.elapsed() >= AGE_MAX)
        {
            let mut streams = control.streams().await?;
            let encode = |streams: &[_]| serde_json::to_vec(streams).unwrap_or_default().into();
            let full = encode(&streams);
            for view in &mut streams {
                view.redact();
            }
            let redacted = encode(&streams);
            *made = Some(Made {
                at: Instant::now(),
                full,
                redacted,
            });
        }
        let made = made
            .as_ref()
            .ok_or_else(|| Problem::unavailable("no list was made"))?;
        Ok(if operator { &made.full } else { &made.redacted }.clone())
    }
}
