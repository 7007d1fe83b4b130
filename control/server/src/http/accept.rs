//! Owns connections: how many, from whom, how slow they may be, and how they end.

mod slots;
mod stall;

use super::{Remote, Site};
use crate::clock;
use crate::config::Http;
use crate::hush::Hush;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use slots::Slots;
use stall::Stall;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

/// Most bytes of the head of a request. Browsers send under 2 kB.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header fields of a request.
const HEADERS_MAX: usize = 64;

/// How long answers under way may take once the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Pause after a failed accept. It fails when the process has no more file descriptors: the same
/// connection is still waiting, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets answers under way finish.
pub async fn serve(listener: TcpListener, site: Site, stop: impl Future<Output = ()>) {
    let router = site.router();
    let graceful = GracefulShutdown::new();
    let slots = Slots::default();
    let mut hush = Hush::default();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(left_out) = hush.may_say(clock::now()) {
                    tracing::warn!(%error, "a connection could not be accepted{left_out}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let config = site.config();
        let Some(slot) = slots.take(remote.ip(), &config.http) else {
            // Closing at once costs less than answering, and the browser shows the same.
            site.counters.connection_refused.fetch_add(1, Relaxed);
            continue;
        };
        site.counters.connection_accepted.fetch_add(1, Relaxed);
        let (router, graceful) = (router.clone(), graceful.watcher());
        tokio::spawn(async move {
            converse(stream, remote, router, &config.http, graceful).await;
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_MAX, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::info!("connections that did not end in time were closed");
    }
}

async fn converse(
    stream: TcpStream,
    remote: SocketAddr,
    router: Router,
    limits: &Http,
    graceful: Watcher,
) {
    // Answers are small and written at once: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Remote(remote));
        router.clone().call(request.map(Body::new))
    });
    let stall = Duration::from_millis(limits.request_timeout_ms);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Stall::new(stream, stall)), service);
    // What goes wrong here is the peer's: it left, was too slow, or is no HTTP.
    let _ = graceful.watch(connection).await;
}
