//! Owns the body of an event stream: events as they come, and signs of life between them
//! (WHATWG HTML section 9.2).

use crate::control::Event;
use axum::body::Bytes;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval_at};

/// How often a comment is sent: what WHATWG HTML section 9.2.7 advises against proxies that give up
/// silent connections, and how soon a reader that has vanished is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Sent at once, so that the reader knows that it is connected: how long it is to wait before it
/// comes again if the connection breaks.
const OPENING: &str = "retry: 1000\n\n";

/// Sent when there is nothing to tell.
const COMMENT: &str = ":\n\n";

/// The events of one reader.
#[derive(Debug)]
pub(super) struct EventStream {
    events: mpsc::Receiver<Event>,
    keep_alive: Interval,
    is_open: bool,
}

impl EventStream {
    /// Ends when the other end of `events` is dropped.
    pub(super) fn new(events: mpsc::Receiver<Event>) -> Self {
        Self {
            events,
            keep_alive: interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE),
            is_open: false,
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |text: Bytes| Poll::Ready(Some(Ok(Frame::data(text))));
        if !self.is_open {
            self.is_open = true;
            return frame(Bytes::from_static(OPENING.as_bytes()));
        }
        if let Poll::Ready(event) = self.events.poll_recv(context) {
            return match event {
                Some(event) => frame(event.to_text().into()),
                None => Poll::Ready(None),
            };
        }
        match self.keep_alive.poll_tick(context) {
            Poll::Ready(_) => frame(Bytes::from_static(COMMENT.as_bytes())),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::EventKind;
    use std::future::poll_fn;

    async fn next(stream: &mut EventStream) -> Option<String> {
        let frame = poll_fn(|context| Pin::new(&mut *stream).poll_frame(context)).await?;
        let data = frame.unwrap().into_data().unwrap();
        Some(String::from_utf8(data.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn events_come_with_signs_of_life_between_them() {
        let (sender, events) = mpsc::channel(4);
        let mut stream = EventStream::new(events);
        assert_eq!(next(&mut stream).await.as_deref(), Some(OPENING));
        let event = Event {
            kind: EventKind::Active,
            data: "{}".into(),
        };
        sender.send(event).await.unwrap();
        let text = "event: active\ndata: {}\n\n";
        assert_eq!(next(&mut stream).await.as_deref(), Some(text));
        let quiet_since = Instant::now();
        for _ in 0..2 {
            assert_eq!(next(&mut stream).await.as_deref(), Some(COMMENT));
        }
        assert_eq!(quiet_since.elapsed(), 2 * KEEP_ALIVE);
        drop(sender);
        assert_eq!(next(&mut stream).await, None);
    }
}
