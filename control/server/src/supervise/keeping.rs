//! Owns the thread of the link's keeper.

use link::keeper::{Keeper, Notice};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};

/// How long it waits for something to happen before it looks whether it is to end: what an upgrade
/// waits for it at most, at a cost that cannot be seen.
const PATIENCE: Duration = Duration::from_millis(100);

/// Before it tries again what the system has refused.
const RETRY: Duration = Duration::from_secs(1);

/// A keeper at its work.
pub struct Keeping {
    ends: Arc<AtomicBool>,
    kept: oneshot::Receiver<Keeper>,
}

impl Keeping {
    /// Lets it work, and tell those who listen.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn begin(mut keeper: Keeper, notices: broadcast::Sender<Notice>) -> io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let (hand, kept) = oneshot::channel();
        let is_over = Arc::clone(&ends);
        let work = move || {
            while !is_over.load(Ordering::Relaxed) {
                serve(&mut keeper, &notices);
            }
            // Nobody waits for it if the node ends.
            let _ = hand.send(keeper);
        };
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(work)?;
        Ok(Self { ends, kept })
    }

    /// Takes it back.
    ///
    /// # Errors
    /// Its thread has failed.
    pub async fn end(self) -> io::Result<Keeper> {
        self.ends.store(true, Ordering::Relaxed);
        let failed = |_| io::Error::other("the thread of the link's keeper has failed");
        self.kept.await.map_err(failed)
    }
}

fn serve(keeper: &mut Keeper, notices: &broadcast::Sender<Notice>) {
    let notice = match keeper.serve_one(PATIENCE) {
        Ok(None) => return,
        Ok(Some(notice)) => notice,
        Err(error) => {
            tracing::error!(%error, "the keeper of the link");
            std::thread::sleep(RETRY);
            return;
        }
    };
    match &notice {
        Notice::Joined { role, pid, .. } => tracing::debug!(?role, pid, "joined"),
        Notice::Waiting { role, pid, build } => {
            tracing::info!(?role, pid, build, "waits for its place");
        }
        Notice::Succeeded { role, pid } => tracing::info!(?role, pid, "has its place"),
        Notice::Left { role, pid } => tracing::warn!(?role, pid, "left the link"),
        Notice::Refused { pid, why } => tracing::warn!(pid, why, "refused"),
    }
    // Nobody has to listen.
    let _ = notices.send(notice);
}
