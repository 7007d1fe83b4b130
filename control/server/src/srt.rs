//! Owns the SRT socket: datagrams to and from the SRT core, payloads to the publishers' tasks.

use crate::clock;
use crate::hush::Hush;
use session::srt::StreamId;
use session::srt::{Answer, CallerId, Config, Counters, Event, Reason, SrtIngest, Stats};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use wire::time::{Span, Time};

/// Receive buffer of the socket in bytes: a keyframe of 1 MB from each of a few publishers may come
/// at once while this task is not running.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Datagrams taken in one go before what they caused is sent.
const DATAGRAMS_A_TURN: usize = 64;

/// Questions to the driver that may be open; callers beyond are told to come back.
pub const QUESTIONS_MAX: usize = 64;

/// How often the driver is told the counters.
const REPORT_INTERVAL: Span = Span::secs(1);

/// What the SRT task tells the driver.
#[derive(Debug)]
pub enum News {
    /// A caller wants in. Answered by an [`Order::Answer`].
    Asks {
        /// The connection.
        id: CallerId,
        /// Who.
        peer: SocketAddr,
        /// What it asked for.
        wish: StreamId,
        /// The latency that both ends agreed on.
        latency: Span,
    },
    /// A connection that was accepted has ended.
    Closed {
        /// The connection.
        id: CallerId,
        /// Why, for the log.
        why: String,
    },
    /// About once a second.
    Progress {
        /// Of each connection that was accepted.
        connections: Vec<(CallerId, Stats)>,
        /// Of the listener.
        counters: Counters,
        /// Payloads that a publisher's task did not take in time.
        overflowed: u64,
    },
}

/// What the driver tells the SRT task.
pub enum Order {
    /// Lets a caller in, or not.
    Answer {
        /// The connection.
        id: CallerId,
        /// The answer.
        answer: Answer,
        /// Where its payloads go, if it is let in.
        sink: Option<mpsc::Sender<Vec<u8>>>,
    },
    /// Ends a connection.
    Close(CallerId),
}

/// The SRT side of the sidecar.
pub struct SrtTask {
    socket: UdpSocket,
    core: SrtIngest,
    sinks: HashMap<CallerId, mpsc::Sender<Vec<u8>>>,
    news: mpsc::Sender<News>,
    orders: mpsc::Receiver<Order>,
    overflowed: u64,
    hush: Hush,
    report_at: Time,
}

/// Binds the SRT port.
///
/// # Errors
/// As the system says.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The kernel gives what it may; less is no reason not to serve.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl SrtTask {
    /// Both channels lead to the driver.
    #[must_use]
    pub fn new(
        socket: UdpSocket,
        config: Config,
        seed: [u8; 32],
        news: mpsc::Sender<News>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let now = clock::now();
        Self {
            socket,
            core: SrtIngest::new(config, now, Instant::now(), &seed),
            sinks: HashMap::new(),
            news,
            orders,
            overflowed: 0,
            hush: Hush::default(),
            report_at: now + REPORT_INTERVAL,
        }
    }

    /// Works until the driver is gone.
    pub async fn run(mut self) {
        let mut buffer = vec![0; 2048];
        loop {
            let deadline = self
                .core
                .deadline()
                .map_or(self.report_at, |d| d.min(self.report_at));
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((bytes, peer)) => {
                        self.core.datagram(clock::now(), peer, &buffer[..bytes]);
                        self.receive_more(&mut buffer);
                    }
                    // ICMP errors of earlier sends come up here and concern one peer only.
                    Err(error) => tracing::trace!(%error, "SRT socket"),
                },
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                () = clock::sleep_until(Some(deadline)) => {}
            }
            self.turn();
        }
    }

    fn receive_more(&mut self, buffer: &mut [u8]) {
        let now = clock::now();
        for _ in 1..DATAGRAMS_A_TURN {
            let Ok((bytes, peer)) = self.socket.try_recv_from(buffer) else {
                return;
            };
            self.core.datagram(now, peer, &buffer[..bytes]);
        }
    }

    fn obey(&mut self, order: Order) {
        let now = clock::now();
        match order {
            Order::Answer { id, answer, sink } => {
                if let Some(sink) = sink {
                    self.sinks.insert(id, sink);
                }
                self.core.answer(now, id, answer);
            }
            Order::Close(id) => {
                self.sinks.remove(&id);
                self.core.close(now, id);
            }
        }
    }

    fn turn(&mut self) {
        let now = clock::now();
        self.core.handle_timeout(now);
        while let Some(event) = self.core.poll_event() {
            self.on_event(now, event);
        }
        while let Some((peer, bytes)) = self.core.poll_transmit() {
            // Full or unreachable: SRT sends again what matters.
            let _ = self.socket.try_send_to(&bytes, peer);
        }
        if now >= self.report_at {
            self.report_at = now + REPORT_INTERVAL;
            self.report();
        }
    }

    fn on_event(&mut self, now: Time, event: Event) {
        match event {
            Event::Connect {
                id,
                peer,
                stream_id,
                latency,
                ..
            } => {
                let asks = News::Asks {
                    id,
                    peer,
                    wish: stream_id,
                    latency,
                };
                if self.news.try_send(asks).is_err() {
                    self.core.answer(now, id, Answer::Reject(Reason::Overload));
                }
            }
            Event::Data { id, payload } => {
                let taken = self
                    .sinks
                    .get(&id)
                    .is_some_and(|s| s.try_send(payload).is_ok());
                self.overflowed += u64::from(!taken);
            }
            Event::Refused { id, refusal, .. } => {
                if let Some(left_out) = self.hush.may_say(now) {
                    tracing::info!(%refusal, "SRT caller refused{left_out}");
                }
                if let Some(id) = id {
                    self.sinks.remove(&id);
                }
            }
            Event::Closed { id, reason, .. } => {
                if self.sinks.remove(&id).is_some() {
                    // The driver sees the publisher's task end in any case.
                    let _ = self.news.try_send(News::Closed {
                        id,
                        why: format!("{reason:?}"),
                    });
                }
            }
        }
    }

    fn report(&mut self) {
        let of = |id: &CallerId| Some((*id, self.core.stats(*id)?));
        let connections = self.sinks.keys().filter_map(of).collect();
        let counters = self.core.counters();
        let overflowed = self.overflowed;
        // A full channel means a busy driver; the next second's figures are as good.
        let _ = self.news.try_send(News::Progress {
            connections,
            counters,
            overflowed,
        });
    }
}
