//! Owns publishers that come by WebRTC: who writes a stream's log, and what is known of them.
//!
//! Such a publisher's packets are opened into the log by the worker that they come to. The writing
//! end of the log, which is here while nobody publishes, is given up for that, and taken again when
//! the worker has let go of it.

use super::Driver;
use super::describe;
use super::layers::tops;
use super::stream::{Active, Encoding, Layers};
use super::streams::{InTheWay, Refusal, Streams, in_the_way};
use crate::clock;
use crate::config::Config;
use crate::control::{Created, PublisherKind, StreamName};
use crate::problem::Problem;
use crate::publisher::Remains;
use link::ids::{CoreId, StreamId};
use link::lanes::{LANES_MAX, track_of};
use link::region::Region;
use link::stats::Intake;
use session::{Cause, SessionId, Sessions};
use wire::time::{Span, Time};

/// How often the rates of a publisher are measured.
const MEASURE_INTERVAL: Span = Span::secs(1);

/// A publisher that has sent one layer for so long sends no other.
const LAYERS_KNOWN_AFTER: Span = Span::secs(5);

/// A stream whose last packet is older than this is not live.
const SILENT_AFTER: Span = Span::secs(2);

impl Driver {
    pub(super) fn whip_post(&mut self, name: &StreamName, offer: &str) -> Result<Created, Problem> {
        self.room_to_publish(name)?;
        let config = self.config.borrow().clone();
        let (created, in_the_way) =
            self.streams
                .publish_session(name, offer, &config, &mut self.sessions)?;
        self.clear(name, in_the_way);
        tracing::info!(stream = %name, "WHIP publisher");
        Ok(created)
    }

    /// Ends whom a newcomer replaces.
    pub(super) fn clear(&mut self, name: &StreamName, in_the_way: InTheWay) {
        let InTheWay {
            connection,
            session,
        } = in_the_way;
        if connection.is_some() || session.is_some() {
            tracing::info!(stream = %name, "another publisher takes over");
        }
        if let Some(connection) = connection {
            self.order(crate::srt::Order::Close(connection));
        }
        if let Some(session) = session {
            // Gone by itself in this moment: as well.
            let _ = self
                .sessions
                .close_session(clock::now(), session.as_str(), Cause::TakenOver);
        }
    }
}

impl Streams {
    /// Lets a WebRTC publisher in.
    fn publish_session(
        &mut self,
        name: &StreamName,
        offer: &str,
        config: &Config,
        sessions: &mut Sessions,
    ) -> Result<(Created, InTheWay), Problem> {
        let now = clock::now();
        // A bad offer opens no stream.
        sessions
            .whip_check(offer)
            .map_err(|error| super::requests::problem(&error))?;
        let epoch = self.next_epoch();
        let settings = config.stream_settings(name);
        let region = self.region.clone();
        let stream = self
            .vacate(name, &settings, sessions)
            .map_err(|refusal| refused(name, refusal))?;
        let published = sessions
            .whip_post(now, stream.id, offer, true)
            .map_err(|error| super::requests::problem(&error))?;
        let mut in_the_way = stream.active.as_mut().map(in_the_way).unwrap_or_default();
        // One that came by WebRTC as well has been closed by the newcomer already.
        in_the_way.session = None;
        let created = published.created;
        let named = sessions.encodings(stream.id).into_iter();
        let encodings = named.map(|(lane, name)| Encoding::new(lane, name));
        stream.start(Active {
            epoch,
            encodings: encodings.collect(),
            session: Some(created.id.clone()),
            taken_before: intake(&region, stream.id),
            ..super::newcomer(PublisherKind::Whip)
        });
        stream.negotiated = published.description;
        Ok((created.into(), in_the_way))
    }

    /// The publisher of this stream has keys: its worker is about to ask for the log.
    pub(super) fn lend(&mut self, stream: StreamId, sessions: &mut Sessions) {
        let found = self.table.iter_mut().find(|(_, s)| s.id == stream);
        let Some((name, stream)) = found else {
            return;
        };
        stream.remains = None;
        stream.described = true;
        let told = stream.negotiated;
        sessions.stream_described(clock::now(), stream.id, told);
        describe::save_negotiated(&self.region, stream.id, &told);
        tracing::info!(stream = %name, tracks = %describe::text(&told), "can be watched");
    }

    /// A session that published is over.
    pub(super) fn session_closed(&mut self, session: &SessionId, cause: Cause) {
        let now = clock::now();
        let is_its = |active: &Active| active.session.as_ref() == Some(session);
        let mut all = self.table.iter_mut();
        let Some((name, stream)) = all.find(|(_, s)| s.active.as_ref().is_some_and(is_its)) else {
            return;
        };
        stream.retire();
        stream.idle_since = now;
        tracing::info!(stream = %name, cause = cause.name(), "publisher gone");
        let name = name.clone();
        self.begin(&name);
    }

    /// Takes the writing ends that nobody publishes with any more: those that workers have let go
    /// of, and those of SRT publishers that a WebRTC publisher had replaced.
    pub(super) fn reclaim(&mut self) {
        let mut free = Vec::new();
        for (name, stream) in &mut self.table {
            if stream.remains.is_some() || stream.active.is_some() {
                continue;
            }
            if let Ok(writer) = self.region.log_writer(stream.id) {
                stream.remains = Some(Remains::of(writer));
                free.push(name.clone());
            }
        }
        for name in free {
            self.begin(&name);
        }
    }

    /// Measures the rates of what comes in by WebRTC.
    pub(super) fn measure(&mut self, now: Time, sessions: &mut Sessions) {
        for stream in self.table.values_mut() {
            let by_session = |active: &&mut Active| active.session.is_some();
            let Some(active) = stream.active.as_mut().filter(by_session) else {
                continue;
            };
            let intake = intake(&self.region, stream.id);
            let (at, before) = *active.measured.get_or_insert((now, intake));
            if now.since(at) >= MEASURE_INTERVAL {
                rates(active, now.since(at), before, intake);
                active.measured = Some((now, intake));
                // Encoders begin with the smallest picture: that it is the only one is sure later.
                let has_layers = has_layers(active);
                if has_layers || now.since(active.since) >= LAYERS_KNOWN_AFTER {
                    sessions.stream_has_layers(stream.id, has_layers);
                }
            }
        }
    }
}

/// What has been taken in of a stream, whichever workers had its publishers.
pub(super) fn intake(region: &Region, stream: StreamId) -> Intake {
    let cores = (0..region.limits().cores).map(CoreId);
    let lines = cores.filter_map(|core| region.stream_stats(stream, core).ok());
    lines.fold(Intake::default(), |sum, line| {
        let line = line.intake();
        let newer = if line.arrival > sum.arrival {
            line
        } else {
            sum
        };
        Intake {
            packets: both(sum.packets, line.packets),
            bytes: both(sum.bytes, line.bytes),
            sizes: newer.sizes,
            layer_bytes: inner(sum.layer_bytes, line.layer_bytes, u64::wrapping_add),
            layer_sizes: newer.layer_sizes,
            frames: both(sum.frames, line.frames),
            keyframes: sum.keyframes + line.keyframes,
            lost: sum.lost + line.lost,
            recovered: sum.recovered + line.recovered,
            arrival: newer.arrival,
            rtt_us: newer.rtt_us,
        }
    })
}

/// True if an encoding of a publisher has layers inside.
fn has_layers(active: &Active) -> bool {
    active.layers.iter().any(|layers| tops(layers) != (0, 0))
}

/// Puts the bytes of the layers of each lane together.
fn inner(
    mut one: [Layers; LANES_MAX],
    other: [Layers; LANES_MAX],
    add: impl Fn(u64, u64) -> u64,
) -> [Layers; LANES_MAX] {
    let other = other.iter().flatten().flatten();
    let places = one.iter_mut().flatten().flatten();
    for (place, other) in places.zip(other) {
        *place = add(*place, *other);
    }
    one
}

fn both(one: [u64; LANES_MAX], other: [u64; LANES_MAX]) -> [u64; LANES_MAX] {
    core::array::from_fn(|lane| one[lane] + other[lane])
}

/// True if packets of a WebRTC publisher come in now.
pub(super) fn is_fed(now: Time, intake: &Intake) -> bool {
    intake.arrival > Time::ZERO && now.since(intake.arrival) < SILENT_AFTER
}

#[expect(clippy::cast_precision_loss, reason = "frames of some seconds are few")]
fn rates(active: &mut Active, span: Span, before: Intake, now: Intake) {
    let progress = &mut active.progress;
    let ns = span.0.max(1);
    progress.bitrate_bps = [0; 2];
    let mut frames = 0;
    for lane in 0..LANES_MAX {
        let bits = now.bytes[lane].saturating_sub(before.bytes[lane]) * 8;
        progress.bitrate_bps[track_of(lane)] += bits.saturating_mul(1_000_000_000) / ns;
        frames = now.frames[lane]
            .saturating_sub(before.frames[lane])
            .max(frames);
    }
    progress.fps = frames as f64 * 1e9 / ns as f64;
    active.layers = inner(now.layer_bytes, before.layer_bytes, |now, before| {
        let bits = now.saturating_sub(before) * 8;
        bits.saturating_mul(1_000_000_000) / ns
    });
    active.layer_sizes = now.layer_sizes;
    for one in &mut active.encodings {
        let bits = now.bytes[one.lane].saturating_sub(before.bytes[one.lane]) * 8;
        let frames = now.frames[one.lane].saturating_sub(before.frames[one.lane]);
        one.bitrate_bps = bits.saturating_mul(1_000_000_000) / ns;
        one.fps = frames as f64 * 1e9 / ns as f64;
        one.size = now.sizes[one.lane];
    }
}

pub(super) fn refused(name: &StreamName, refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Taken => Problem::new(
            409,
            "stream-taken",
            "Somebody publishes this stream",
            format!("{name} has a publisher, and it is not to be replaced"),
            "choose another name, or let the operator set takeover = \"replace\" for it",
        ),
        Refusal::Full | Refusal::NoMemory => Problem::new(
            503,
            "streams-full",
            "No room for another stream",
            refusal.to_string(),
            "try again later or elsewhere; an operator may raise limits.streams_max",
        )
        .retry_after(STREAM_RETRY_AFTER_SECS),
    }
}

/// Streams come and go by the minute.
const STREAM_RETRY_AFTER_SECS: u32 = 30;

#[cfg(test)]
mod tests;
