//! Owns what a received datagram is and whom it belongs to. Hot.

use link::command::TRACKS_MAX;
use link::ids::CoreId;
use wire::datagram::{RxMeta, RxSink};
use wire::demux::{Class, classify};
use wire::peer::Ip;
use wire::time::{Span, Time};

use crate::Plane;
use crate::flow::Target;
use crate::handoff::{Contents, Parcel};
use crate::publishers::By;
use crate::verdict::Verdict;

/// Media that comes so soon after a goodbye was sent before it.
const BYE_CROSSING: Span = Span::millis(200);

/// Longest datagram that is tried on several viewers: what a path without fragments carries.
const DATAGRAM_BYTES: usize = 1500;

const _: () = assert!(TRACKS_MAX == 2, "track masks and lists are written for two");

impl RxSink for Plane {
    #[inline]
    fn came(&mut self, at: Option<Time>) {
        self.came = at;
    }

    /// Takes one datagram at the time that [`Plane::begin`] was told.
    #[inline]
    fn datagram(&mut self, meta: RxMeta, bytes: &mut [u8]) {
        let verdict = self.sort(meta, bytes);
        self.outlets.stats.add(verdict.counter(), 1);
    }
}

impl Plane {
    /// A parcel that another core has sent to this one.
    pub fn parcel(&mut self, parcel: &mut Parcel) {
        let (from, meta) = (parcel.from, parcel.meta);
        self.came = parcel.came;
        match parcel.contents {
            Contents::Datagram => {
                let before = self.flows.target(&meta);
                let verdict = self.sort_here(meta, parcel.bytes_mut());
                self.outlets.stats.add(verdict.counter(), 1);
                // A check that made this flow ours: whatever else comes on it is to come here.
                let is_ours = matches!(self.flows.target(&meta), Some(Target::Viewer(_)));
                let is_new = !matches!(before, Some(Target::Viewer(_)));
                if is_ours && (is_new || verdict == Verdict::Answered) {
                    self.handoffs.push(from, meta, None, Contents::Flow, &[]);
                }
            }
            Contents::Flow => {
                // Our own knowledge goes before a hint.
                if !matches!(
                    self.flows.target(&meta),
                    Some(Target::Viewer(_) | Target::Publisher { .. })
                ) {
                    self.flows.insert(self.now, meta, Target::Remote(from));
                }
            }
        }
    }

    fn sort(&mut self, meta: RxMeta, bytes: &mut [u8]) -> Verdict {
        match classify(bytes) {
            Class::Stun => self.on_stun(meta, bytes, true),
            Class::Dtls => self.punt(meta, bytes),
            Class::Rtp | Class::Rtcp => match self.flow(&meta) {
                Some(Target::Remote(core)) => {
                    self.flows.touch(self.now, &meta);
                    self.hand_off(core, meta, bytes)
                }
                target => self.media(meta, target, bytes),
            },
            Class::Unknown => Verdict::Malformed,
        }
    }

    /// As [`Self::sort`], but nothing leaves this core again.
    fn sort_here(&mut self, meta: RxMeta, bytes: &mut [u8]) -> Verdict {
        match classify(bytes) {
            Class::Stun => self.on_stun(meta, bytes, false),
            Class::Rtp | Class::Rtcp => {
                let target = self.flow(&meta);
                self.media(meta, target, bytes)
            }
            Class::Dtls | Class::Unknown => Verdict::Malformed,
        }
    }

    fn media(&mut self, meta: RxMeta, target: Option<Target>, bytes: &mut [u8]) -> Verdict {
        let is_rtcp = classify(bytes) == Class::Rtcp;
        match target {
            Some(Target::Viewer(slot)) if !self.shared.is_empty() => {
                self.on_shared(&meta, slot, is_rtcp, bytes)
            }
            Some(Target::Viewer(slot)) => self.on_viewer(slot, is_rtcp, bytes),
            Some(Target::Publisher { stream, way }) if is_rtcp => {
                self.publishers.on_rtcp(self.wall, stream, way, bytes)
            }
            Some(Target::Publisher { stream, way }) => {
                let at = (self.now, self.came);
                self.publishers.on_rtp(at, stream, By::Way(way), bytes)
            }
            Some(Target::Remote(_)) | None => Verdict::Unknown,
        }
    }

    #[inline]
    fn on_viewer(&mut self, slot: u32, is_rtcp: bool, bytes: &mut [u8]) -> Verdict {
        match is_rtcp {
            true => self.on_viewer_rtcp(slot, bytes),
            false => self.on_viewer_rtp(slot, bytes),
        }
    }

    /// On a flow that several viewers may have in common, the newest of which is in `slot`.
    fn on_shared(&mut self, meta: &RxMeta, slot: u32, is_rtcp: bool, bytes: &mut [u8]) -> Verdict {
        let (others, count) = self.shared.of(meta);
        let mut whole = [0; DATAGRAM_BYTES];
        let (Some(whole), true) = (whole.get_mut(..bytes.len()), count > 0) else {
            return self.on_viewer(slot, is_rtcp, bytes);
        };
        // What cannot be opened is spoilt by the attempt.
        whole.copy_from_slice(bytes);
        let mut verdict = self.on_viewer(slot, is_rtcp, bytes);
        for slot in others.into_iter().take(count) {
            if !verdict.is_of_another() {
                break;
            }
            bytes.copy_from_slice(whole);
            verdict = self.on_viewer(slot, is_rtcp, bytes);
        }
        verdict
    }

    /// Media on the flow of a viewer, if it is the way of a publisher.
    fn on_viewer_rtp(&mut self, slot: u32, bytes: &mut [u8]) -> Verdict {
        let Some(viewer) = self.tables.viewers.at_mut(slot) else {
            return Verdict::Unknown;
        };
        if !viewer.is_publisher {
            return Verdict::RtpUnknownSsrc;
        }
        let received = bytes.len() as u64;
        let (stream, id) = (viewer.stream, viewer.id);
        let at = (self.now, self.came);
        let verdict = self.publishers.on_rtp(at, stream, By::Viewer(id), bytes);
        if verdict.is_of_a_track() {
            viewer.cold.quality.bytes_received += received;
            viewer.cold.heard_at = self.now;
            if self.now.since(viewer.cold.bye_at) > BYE_CROSSING {
                viewer.cold.bye_at = Time::ZERO;
            }
        }
        verdict
    }

    /// Whose flow it is. That of a publisher without a viewer is known by its own address alone.
    #[inline]
    fn flow(&self, meta: &RxMeta) -> Option<Target> {
        self.flows.target(meta).or_else(|| {
            let anywhere = RxMeta {
                peer: meta.peer,
                local: Ip::UNKNOWN,
            };
            self.flows.target(&anywhere)
        })
    }

    /// Passes a handshake datagram to control.
    pub(crate) fn punt(&mut self, meta: RxMeta, bytes: &[u8]) -> Verdict {
        let pushed = self
            .outlets
            .punts
            .push(self.core, meta.peer, meta.local, bytes);
        match pushed {
            Ok(()) => {
                self.has_told = true;
                Verdict::Punted
            }
            Err(_) => Verdict::PuntFull,
        }
    }

    /// Passes a datagram to the core that serves its viewer.
    pub(crate) fn hand_off(&mut self, to: CoreId, meta: RxMeta, bytes: &[u8]) -> Verdict {
        let contents = Contents::Datagram;
        if self.handoffs.push(to, meta, self.came, contents, bytes) {
            Verdict::HandedOff
        } else {
            Verdict::HandoffFull
        }
    }

    /// Sets the time for the datagrams that follow.
    pub fn begin(&mut self, now: Time) {
        self.now = now;
        self.came = None;
        self.wall.now = now;
    }
}
