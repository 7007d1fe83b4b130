//! Owns who may publish by SRT: the answer to each caller.

use super::{Driver, newcomer};
use crate::clock;
use crate::config::{Caller, Denied};
use crate::control::{PublisherKind, StreamName};
use crate::drain::DRAINING;
use crate::publisher::{MESSAGES_MAX, Source};
use crate::srt::Order;
use session::srt::{Answer, CallerId, Mode, Passphrase, Reason, StreamId};
use std::fmt::Display;
use std::net::SocketAddr;
use tokio::sync::mpsc;
use wire::time::Span;

use super::streams::Refusal;

impl Driver {
    /// Lets an SRT caller in, or says why not.
    pub(super) fn on_asks(
        &mut self,
        id: CallerId,
        peer: SocketAddr,
        wish: &StreamId,
        latency: Span,
    ) {
        let order = match self.admit(id, peer, wish, latency) {
            Ok((answer, sink)) => Order::Answer {
                id,
                answer,
                sink: Some(sink),
            },
            Err(reason) => Order::Answer {
                id,
                answer: Answer::Reject(reason),
                sink: None,
            },
        };
        self.order(order);
    }

    fn admit(
        &mut self,
        id: CallerId,
        peer: SocketAddr,
        wish: &StreamId,
        latency: Span,
    ) -> Result<(Answer, mpsc::Sender<Vec<u8>>), Reason> {
        let config = self.config.borrow().clone();
        let name: StreamName = wish.name.parse().map_err(|_| Reason::BadRequest)?;
        if wish.mode != Mode::Publish {
            self.say_refused(&name, &"streams are not read by SRT here");
            return Err(Reason::BadMode);
        }
        config
            .may_publish(
                &name,
                &Caller {
                    local: peer.ip().to_canonical().is_loopback(),
                    encrypted: true,
                    token: wish.token.as_deref(),
                },
            )
            .map_err(|denied| {
                self.say_refused(&name, &denied);
                match denied {
                    Denied::NotListed => Reason::NotFound,
                    Denied::Token => Reason::Unauthorized,
                }
            })?;
        if let Err(problem) = self.room_to_publish(&name) {
            self.say_refused(&name, &problem.detail());
            return Err(match problem.name() {
                DRAINING => Reason::Down,
                _ => Reason::Overload,
            });
        }
        let settings = config.stream_settings(&name);
        let passphrase = match &settings.passphrase {
            // Checked when the configuration was read.
            Some(secret) => Some(Passphrase::new(secret.expose()).map_err(|_| Reason::Internal)?),
            None => None,
        };
        let (sink, messages) = mpsc::channel(MESSAGES_MAX);
        let mut active = newcomer(PublisherKind::Srt);
        active.connection = Some(id);
        active.remote = Some(peer);
        active.latency = Some(latency);
        let source = Source::Channel(messages);
        match self
            .streams
            .publish(&name, active, source, &config, &mut self.sessions)
        {
            Ok(in_the_way) => {
                self.clear(&name, in_the_way);
                tracing::info!(stream = %name, "SRT publisher");
                Ok((
                    Answer::Accept {
                        passphrase,
                        tsbpd: false,
                    },
                    sink,
                ))
            }
            Err(refusal) => {
                self.say_refused(&name, &refusal);
                Err(match refusal {
                    Refusal::Taken => Reason::Conflict,
                    Refusal::Full | Refusal::NoMemory => Reason::Overload,
                })
            }
        }
    }

    fn say_refused(&mut self, name: &StreamName, why: &dyn Display) {
        if let Some(left_out) = self.srt_hush.may_say(clock::now()) {
            tracing::info!(stream = %name, %why, "SRT publisher refused{left_out}");
        }
    }
}
