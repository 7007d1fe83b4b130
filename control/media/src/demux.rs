//! Owns finding the program in a transport stream and the PES packets of its two tracks.

use crate::pes::{Assembler, Pes};
use crate::psi::{self, Elementary, Kind, Sections};
use crate::ts::{self, Framer, PACKET_BYTES};
use wire::time::Time;

/// PID of the program association table.
const PAT_PID: u16 = 0;

/// What comes out of a transport stream.
pub(crate) trait Sink {
    /// The program's streams are known, or have changed. Of each sort the first that we can carry
    /// is followed.
    fn on_program(&mut self, now: Time, program: &Program<'_>);
    /// A PES packet of the video track is whole.
    fn on_video(&mut self, now: Time, kind: Kind, pes: Pes<'_>);
    /// A PES packet of the audio track is whole.
    fn on_audio(&mut self, now: Time, kind: Kind, pes: Pes<'_>);
    /// A followed stream is encrypted.
    fn on_scrambled(&mut self, now: Time);
}

/// The streams of the program.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// Programs in the transport stream; only the first is followed.
    pub(crate) programs: usize,
    /// Everything that its PMT lists.
    pub(crate) streams: &'a [Elementary],
    /// The video stream that is followed.
    pub(crate) video: Option<Elementary>,
    /// The audio stream that is followed.
    pub(crate) audio: Option<Elementary>,
}

/// What a demultiplexer has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Transport packets.
    pub(crate) packets: u64,
    /// Transport packets marked or found broken.
    pub(crate) broken: u64,
    /// Losses by the continuity counter.
    pub(crate) losses: u64,
    /// PES packets given up.
    pub(crate) given_up: u64,
    /// Times that the packet boundary was lost.
    pub(crate) resyncs: u64,
}

/// A followed stream.
#[derive(Debug)]
struct Followed {
    stream: Elementary,
    assembler: Assembler,
}

impl Followed {
    fn new(stream: Elementary) -> Self {
        let assembler = Assembler::new(is_video(stream.kind));
        Self { stream, assembler }
    }
}

/// Demultiplexes one transport stream.
#[derive(Default)]
pub(crate) struct Demux {
    framer: Framer,
    tables: Tables,
}

#[derive(Default)]
struct Tables {
    pat: Sections,
    pmt: Sections,
    pmt_pid: Option<u16>,
    programs: usize,
    streams: Vec<Elementary>,
    video: Option<Followed>,
    audio: Option<Followed>,
    seen: Seen,
}

impl Demux {
    /// Takes bytes in any chunking.
    pub(crate) fn push(&mut self, now: Time, bytes: &[u8], sink: &mut impl Sink) {
        let Self { framer, tables } = self;
        framer.push(bytes, &mut |packet| tables.packet(now, packet, sink));
    }

    /// When [`Self::handle_timeout`] has work to do.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let deadline = |followed: &Option<Followed>| followed.as_ref()?.assembler.deadline();
        let (video, audio) = (deadline(&self.tables.video), deadline(&self.tables.audio));
        video.into_iter().chain(audio).min()
    }

    /// Finishes PES packets that nothing more came for.
    pub(crate) fn handle_timeout(&mut self, now: Time, sink: &mut impl Sink) {
        if let Some(Followed { stream, assembler }) = &mut self.tables.video {
            assembler.handle_timeout(now, &mut |pes| sink.on_video(now, stream.kind, pes));
        }
        if let Some(Followed { stream, assembler }) = &mut self.tables.audio {
            assembler.handle_timeout(now, &mut |pes| sink.on_audio(now, stream.kind, pes));
        }
    }

    /// Hands out what is unfinished: the publisher has gone.
    pub(crate) fn finish(&mut self, now: Time, sink: &mut impl Sink) {
        if let Some(Followed { stream, assembler }) = &mut self.tables.video {
            assembler.finish(&mut |pes| sink.on_video(now, stream.kind, pes));
        }
        if let Some(Followed { stream, assembler }) = &mut self.tables.audio {
            assembler.finish(&mut |pes| sink.on_audio(now, stream.kind, pes));
        }
    }

    /// Everything counted so far.
    pub(crate) fn seen(&self) -> Seen {
        let mut seen = self.tables.seen;
        for followed in self.tables.video.iter().chain(&self.tables.audio) {
            seen.losses += followed.assembler.losses;
            seen.given_up += followed.assembler.given_up;
        }
        seen.resyncs = self.framer.resyncs;
        seen
    }
}

impl Tables {
    fn packet(&mut self, now: Time, bytes: &[u8; PACKET_BYTES], sink: &mut impl Sink) {
        self.seen.packets += 1;
        let Some(packet) = ts::read(bytes) else {
            self.seen.broken += 1;
            return;
        };
        if packet.pid == PAT_PID {
            let mut found = None;
            self.pat.push(packet.payload, packet.start, |section| {
                found = psi::read_pat(section).or(found);
            });
            if let Some((pid, programs)) = found {
                self.on_pat(pid, programs);
            }
        } else if Some(packet.pid) == self.pmt_pid {
            let mut found = None;
            self.pmt.push(packet.payload, packet.start, |section| {
                found = psi::read_pmt(section).or(found.take());
            });
            if let Some(streams) = found {
                self.on_pmt(now, streams, sink);
            }
        } else if let Some(followed) = with_pid(&mut self.video, packet.pid) {
            if packet.scrambled {
                sink.on_scrambled(now);
            }
            let Followed { stream, assembler } = followed;
            assembler.push(now, &packet, &mut |pes| {
                sink.on_video(now, stream.kind, pes)
            });
        } else if let Some(followed) = with_pid(&mut self.audio, packet.pid) {
            let Followed { stream, assembler } = followed;
            assembler.push(now, &packet, &mut |pes| {
                sink.on_audio(now, stream.kind, pes)
            });
        }
    }

    fn on_pat(&mut self, pid: u16, programs: usize) {
        self.programs = programs;
        if self.pmt_pid.replace(pid) != Some(pid) {
            self.pmt = Sections::default();
        }
    }

    fn on_pmt(&mut self, now: Time, streams: Vec<Elementary>, sink: &mut impl Sink) {
        if self.streams == streams {
            return;
        }
        let video = streams.iter().copied().find(|stream| is_video(stream.kind));
        let audio = streams.iter().copied().find(|stream| is_audio(stream.kind));
        for (followed, found) in [(&mut self.video, video), (&mut self.audio, audio)] {
            if followed.as_ref().map(|followed| followed.stream) != found {
                let gone = core::mem::replace(followed, found.map(Followed::new));
                if let Some(Followed { assembler, .. }) = gone {
                    self.seen.losses += assembler.losses;
                    self.seen.given_up += assembler.given_up;
                }
            }
        }
        self.streams = streams;
        let program = Program {
            programs: self.programs,
            streams: &self.streams,
            video,
            audio,
        };
        sink.on_program(now, &program);
    }
}

fn with_pid(followed: &mut Option<Followed>, pid: u16) -> Option<&mut Followed> {
    followed
        .as_mut()
        .filter(|followed| followed.stream.pid == pid)
}

const fn is_video(kind: Kind) -> bool {
    matches!(kind, Kind::H264 | Kind::H265)
}

const fn is_audio(kind: Kind) -> bool {
    matches!(kind, Kind::AacAdts | Kind::AacLatm | Kind::Opus { .. })
}
