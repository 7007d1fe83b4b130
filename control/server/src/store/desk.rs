//! Owns the way by which control hands the supervisor another configuration: a socket in the run
//! directory, the text in, the outcome out.

use crate::private::OWNER_ONLY;
use serde::{Deserialize, Serialize};
use std::fs::Permissions;
use std::future::pending;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};

/// Its name in the run directory.
const SOCKET: &str = "config.sock";

/// Longest text that is read: the most that `http.body_bytes_max` allows.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Questions that may wait. Control asks one after the other.
const ASKS_MAX: usize = 4;

/// How long one question may take: reading and writing a file on a busy disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// Another configuration, and where the outcome goes.
pub struct Ask {
    /// The whole file.
    pub text: String,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Outcome>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It holds; these keys are other than before.
    Taken {
        /// The keys.
        changed: Vec<String>,
    },
    /// There is a mistake in it.
    Wrong {
        /// Its line, if it is in the file.
        line: Option<usize>,
        /// Its key, if it is one's.
        key: Option<String>,
        /// The mistake.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// These keys cannot change while the server runs.
    WantsRestart {
        /// The keys.
        keys: Vec<String>,
    },
    /// The server was started without a file.
    NoFile,
    /// It cannot be written down.
    NotWritten {
        /// Why.
        error: String,
    },
}

/// Where control asks.
pub(super) struct Desk {
    socket: StdListener,
    asks: mpsc::Receiver<Ask>,
    close: watch::Sender<bool>,
}

impl Desk {
    /// Hears what control asks for.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn open(run_dir: &Path) -> io::Result<Self> {
        let path = run_dir.join(SOCKET);
        // Of an earlier server that was killed.
        let _ = std::fs::remove_file(&path);
        let socket = StdListener::bind(&path)?;
        // A folder of systemd's may be entered by others.
        std::fs::set_permissions(&path, Permissions::from_mode(OWNER_ONLY))?;
        Self::at(socket)
    }

    /// Goes on at this socket.
    ///
    /// # Errors
    /// The system refuses to wait for it.
    pub fn at(socket: StdListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.try_clone()?)?;
        let (sender, asks) = mpsc::channel(ASKS_MAX);
        let (close, closed) = watch::channel(false);
        tokio::spawn(attend(listener, sender, closed));
        Ok(Self {
            socket,
            asks,
            close,
        })
    }

    /// What is asked next; none when it was told to close, and nothing is left to answer.
    pub async fn asked(&mut self) -> Option<Ask> {
        match self.asks.recv().await {
            None if !*self.close.borrow() => pending().await,
            other => other,
        }
    }

    /// Answers what has come; those who come later wait in its socket.
    pub fn close(&self) {
        self.close.send_replace(true);
    }

    /// The socket.
    pub fn socket(&self) -> &StdListener {
        &self.socket
    }
}

async fn attend(
    listener: UnixListener,
    asks: mpsc::Sender<Ask>,
    mut closed: watch::Receiver<bool>,
) {
    while !asks.is_closed() {
        let accepted = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // No descriptors left: there may be some soon.
            tokio::time::sleep(PATIENCE).await;
            continue;
        };
        // One after the other: each is an operator's doing.
        match tokio::time::timeout(PATIENCE, serve(stream, &asks)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a question about the configuration"),
            Err(_) => tracing::debug!("a question about the configuration took too long"),
        }
    }
}

async fn serve(mut stream: UnixStream, asks: &mpsc::Sender<Ask>) -> io::Result<()> {
    let mut text = String::new();
    let mut limited = (&mut stream).take(TEXT_BYTES_MAX);
    limited.read_to_string(&mut text).await?;
    let (reply, outcome) = oneshot::channel();
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let sent = asks.send(Ask { text, reply }).await;
    sent.map_err(|_| gone())?;
    let outcome = outcome.await.map_err(|_| gone())?;
    let json = serde_json::to_vec(&outcome).map_err(io::Error::other)?;
    stream.write_all(&json).await
}

/// Asks the supervisor to take another configuration.
///
/// # Errors
/// There is none, or it does not answer in time.
pub async fn ask(run_dir: &Path, text: &str) -> io::Result<Outcome> {
    let talk = async {
        let mut stream = UnixStream::connect(run_dir.join(SOCKET)).await?;
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        let mut json = Vec::new();
        stream.read_to_end(&mut json).await?;
        serde_json::from_slice(&json).map_err(io::Error::other)
    };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(PATIENCE, talk).await.map_err(late)?
}
