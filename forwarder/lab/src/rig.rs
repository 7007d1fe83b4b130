//! Owns one core with its viewers: a real seat, a real log, keys of their own, and a port of any
//! kind. Time is given to it, so that a second of stream takes no second.

use core::fmt::Display;
use core::time::Duration;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use io::Port;
use io::clock;
use link::Region;
use link::command::{AddViewer, Command, IceCredentials, TrackOut, VIDEO};
use link::ids::{CoreId, StreamId, ufrag};
use link::keys::{MasterKey, Profile, SrtpKeys};
use link::limits::Limits;
use link::log::{Entry, Flags, LogWriter, Record};
use link::stats::{Counter, Stats};
use seal::{Cipher, Secret};
use wire::peer::Ip;
use wire::time::{Span, Time};
use worker::{Exchange, Seat, SeatConfig, Turn};

use crate::{PAYLOAD_BYTES, STREAM_BIT_S};

mod replace;

/// Turns after which what has not been sent never will be.
const TURNS_MAX: u32 = 100_000;

/// Between two turns of one burst.
const TURN: Span = Span::micros(20);

/// The ways to all viewers are found so soon, or not at all.
const XDP_PATIENCE: Span = Span::secs(10);

/// Answers of the router that a port listens to in a turn.
const ANSWERS_TURN: u64 = 64;

/// What leaves by the socket where AF_XDP should have it, by the reason.
const XDP_PASSED: [Counter; 5] = [
    Counter::XdpPassedAsking,
    Counter::XdpPassedRoute,
    Counter::XdpPassedNeighbour,
    Counter::XdpPassedDevice,
    Counter::XdpPassedSize,
];

/// Packets that the log holds: several seconds, far more than a second-level cache.
const LOG_PACKETS: u32 = 4096;

/// How time goes by in a rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As the packets take at [`STREAM_BIT_S`]: reports leave and are counted in as they are when
    /// it is used. Consent runs out after [`PACED_PACKETS_MAX`] packets.
    Stream,
    /// A nanosecond a burst: nothing but media ever happens.
    Still,
}

/// Packets of a stream at its pace before viewers are taken for gone, because rigs have nobody who
/// checks: 29 s of the 30 of RFC 7675.
pub const PACED_PACKETS_MAX: u64 = 29 * STREAM_BIT_S / (8 * (PAYLOAD_BYTES as u64 + 12));

/// Where viewers are and how they are served.
#[derive(Clone, Copy, Debug)]
pub struct Audience {
    /// How many.
    pub viewers: u32,
    /// Where the first is; each of the others has the next address.
    pub first: SocketAddrV4,
    /// The address of ours that they talk to.
    pub local: Ip,
    /// The protection of all of them.
    pub profile: Profile,
    /// What seals for them, if the profile is of AES-GCM.
    pub cipher: Cipher,
    /// The track that they take: [`VIDEO`], or one that the stream does not have.
    pub track: usize,
    /// How its time goes by.
    pub pace: Pace,
}

/// A core, its stream and those who watch it.
pub struct Rig<P> {
    /// `None` only while another one takes its place.
    seat: Option<Seat<P>>,
    cipher: Cipher,
    writer: LogWriter,
    stats: Stats,
    region: Region,
    viewers: u64,
    pace: Pace,
    now: Time,
    ticks: u32,
    awaited: u64,
    /// Packets of the stream.
    written: u64,
}

impl<P: Port> Rig<P> {
    /// The same as [`Rig::try_new`], for those who cannot go on without.
    ///
    /// # Panics
    /// When memory, ports or keys cannot be had.
    pub fn new<E: Display>(
        audience: &Audience,
        port: impl FnOnce(OwnedFd) -> Result<P, E>,
    ) -> Self {
        Self::try_new(audience, port).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Everybody has joined and watches live. `port` is given the descriptor that wakes it.
    ///
    /// # Errors
    /// What cannot be had: memory, descriptors, the port; or nothing is sent.
    pub fn try_new<E: Display>(
        audience: &Audience,
        port: impl FnOnce(OwnedFd) -> Result<P, E>,
    ) -> Result<Self, String> {
        let limits = Limits {
            cores: 1,
            streams_max: 1,
            viewers_max: audience.viewers,
            log_packets: LOG_PACKETS,
            ..Limits::default()
        };
        let core = CoreId(0);
        let region = Region::create(&limits).map_err(words)?;
        let stream = region.open_stream(0, "bench").map_err(words)?;
        let bell = region.sleeper(core).map_err(words)?;
        let bell = bell.fd().try_clone_to_owned().map_err(words)?;
        let config = SeatConfig {
            region: &region,
            core,
            exchange: &Exchange::new(&region),
            cipher: audience.cipher,
            seed: 1,
        };
        let seat = Seat::new(&config, port(bell).map_err(words)?).map_err(words)?;
        let mut rig = Self {
            seat: Some(seat),
            cipher: audience.cipher,
            writer: region.log_writer(stream).map_err(words)?,
            stats: region.stats(core).map_err(words)?,
            region,
            viewers: u64::from(audience.viewers),
            pace: audience.pace,
            now: clock::now(),
            ticks: 0,
            awaited: 0,
            written: 0,
        };
        rig.seat_viewers(stream, audience)?;
        if audience.track == VIDEO {
            // They wait for a keyframe; this is it.
            rig.frame(1, Flags::KEY)?;
            rig.frame(1, Flags::NONE)?;
        }
        Ok(rig)
    }

    /// A burst of `packets` comes in and goes to everybody.
    ///
    /// # Panics
    /// When it does not.
    pub fn burst(&mut self, packets: u32) {
        self.try_burst(packets)
            .unwrap_or_else(|why| panic!("{why}"));
    }

    /// The same, for those who can go on without.
    ///
    /// # Errors
    /// It does not.
    pub fn try_burst(&mut self, packets: u32) -> Result<(), String> {
        self.frame(packets, Flags::NONE)
    }

    /// How many packets more can come before viewers are taken for gone.
    #[must_use]
    pub fn packets_left(&self) -> u64 {
        match self.pace {
            Pace::Stream => PACED_PACKETS_MAX.saturating_sub(self.written),
            Pace::Still => u64::MAX,
        }
    }

    /// The same for viewers who want none of it: the burst is read and cut, and that is all.
    ///
    /// # Panics
    /// When the log takes no more.
    pub fn unwanted(&mut self, packets: u32) -> Turn {
        self.write(packets, Flags::NONE);
        self.turn()
    }

    /// One turn of the core.
    pub fn turn(&mut self) -> Turn {
        if self.pace == Pace::Stream {
            self.now = self.now + TURN;
        }
        let seat = self.seat.as_mut();
        seat.map_or_else(Turn::default, |seat| seat.turn(self.now, clock::unix_ns))
    }

    /// What went wrong since the start, by name. Empty: every run was sent as it should.
    #[must_use]
    pub fn troubles(&self) -> Vec<(&'static str, u64)> {
        let counters = [
            ("egress full", Counter::EgressFull),
            ("send errors", Counter::SendError),
            ("datagrams dropped", Counter::SendDropped),
            ("viewers skipped", Counter::ViewerSkipped),
        ];
        let read = counters.map(|(name, counter)| (name, self.stats.read(counter)));
        read.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Sends to everybody until every packet of a burst leaves by AF_XDP: their ways have to be
    /// found first.
    ///
    /// # Errors
    /// They don't within some seconds: what leaves otherwise, and why.
    pub fn warm_xdp(&mut self) -> Result<(), String> {
        let patience = clock::now() + XDP_PATIENCE;
        while clock::now() < patience {
            let before = self.stats.read(Counter::XdpSent);
            self.try_burst(1)?;
            if self.stats.read(Counter::XdpSent) - before == self.viewers {
                return Ok(());
            }
            // Answers are listened to turn by turn, some dozens each.
            std::thread::sleep(Duration::from_millis(5));
            for _ in 0..self.viewers.div_ceil(ANSWERS_TURN) {
                self.turn();
            }
        }
        let read = XDP_PASSED.map(|counter| (counter.name(), self.stats.read(counter)));
        let passed: Vec<_> = read.into_iter().filter(|(_, count)| *count > 0).collect();
        Err(format!("{passed:?}"))
    }

    /// Sender reports since the start.
    #[must_use]
    pub fn reports(&self) -> u64 {
        self.stats.read(Counter::ReportSent)
    }

    /// Viewers.
    #[must_use]
    pub fn viewers(&self) -> u64 {
        self.viewers
    }

    fn seat_viewers(&mut self, stream: StreamId, audience: &Audience) -> Result<(), String> {
        let mut commands = self.region.commands_producer(CoreId(0)).map_err(words)?;
        for n in 0..audience.viewers {
            let cell = self.region.open_viewer(n).map_err(words)?;
            let add = viewer(cell.id(), stream, audience);
            while commands.push(&Command::AddViewer(add)).is_err() {
                self.turn();
            }
        }
        for _ in 0..TURNS_MAX {
            if self.stats.read(Counter::ViewerAdded) >= self.viewers {
                return Ok(());
            }
            self.turn();
        }
        Err("the viewers are not taken".to_owned())
    }

    fn frame(&mut self, packets: u32, flags: Flags) -> Result<(), String> {
        self.write(packets, flags);
        self.awaited += self.viewers * u64::from(packets);
        for _ in 0..TURNS_MAX {
            let turn = self.turn();
            if turn.waiting == 0 && self.stats.read(Counter::PacketSent) >= self.awaited {
                return Ok(());
            }
        }
        Err(format!(
            "not sent after {TURNS_MAX} turns: {:?}",
            self.troubles()
        ))
    }

    /// Appends a frame after the time that its packets take at the stream's rate.
    fn write(&mut self, packets: u32, flags: Flags) {
        let bits = (PAYLOAD_BYTES as u64 + 12) * 8 * u64::from(packets);
        self.written += u64::from(packets);
        let frame = Span(bits * 1_000_000_000 / STREAM_BIT_S);
        self.now = match self.pace {
            Pace::Stream => self.now + frame,
            Pace::Still => self.now + Span(1),
        };
        self.ticks = self
            .ticks
            .wrapping_add(u32::try_from(frame.0 * 9 / 100_000).unwrap_or(u32::MAX));
        append(&mut self.writer, packets, flags, self.now, self.ticks);
    }
}

fn words(error: impl Display) -> String {
    error.to_string()
}

/// Appends a frame of `packets`, and shows it to readers.
///
/// # Panics
/// A reader is behind by a whole log.
pub fn append(writer: &mut LogWriter, packets: u32, flags: Flags, now: Time, timestamp: u32) {
    static PAYLOAD: [u8; PAYLOAD_BYTES] = [0x5a; PAYLOAD_BYTES];
    for packet in 0..packets {
        let mut record = Record {
            flags,
            timestamp,
            capture: now,
            arrival: now,
            entry: Entry::Sidecar,
            came: now,
            ..Record::default()
        };
        if packet == 0 {
            record.flags |= Flags::FIRST;
        }
        if packet + 1 == packets {
            record.flags |= Flags::LAST;
        }
        let appended = writer.append(&record, &[&PAYLOAD]);
        appended.expect("the reader keeps up");
    }
    writer.publish();
}

/// The viewer with the number of this id, with keys and numbers of its own.
#[must_use]
pub fn viewer(id: link::ids::ViewerId, stream: StreamId, audience: &Audience) -> AddViewer {
    let n = id.index;
    let mut tracks = [TrackOut::default(); 2];
    tracks[audience.track] = TrackOut {
        ssrc: 0x1000_0000 + n,
        rtx_ssrc: 0x2000_0000 + n,
        clock_hz: 90_000,
        payload_type: 102,
        rtx_payload_type: 103,
        first_index: u64::from(n),
        rtx_first_index: u64::from(n),
        ..TrackOut::default()
    };
    let keys = SrtpKeys {
        profile: audience.profile,
        send: master(n),
        receive: master(!n),
    };
    AddViewer {
        viewer: id,
        stream,
        peer: address(audience.first, n).into(),
        local: audience.local,
        ice: IceCredentials {
            ufrag: ufrag(n, [7; 12]),
            pwd: [b'p'; 24],
        },
        keys,
        tracks,
        rtcp_first_index: 0,
        encoding: None,
    }
}

/// The address of viewer n.
#[must_use]
pub fn address(first: SocketAddrV4, n: u32) -> SocketAddr {
    let ip = Ipv4Addr::from_bits(first.ip().to_bits().wrapping_add(n));
    (ip, first.port()).into()
}

/// A key that differs from viewer to viewer.
#[must_use]
pub fn master(n: u32) -> MasterKey {
    let mut master = MasterKey::default();
    for (place, byte) in (0_u8..).zip(&mut master.key) {
        *byte = n.to_le_bytes()[usize::from(place % 4)].wrapping_add(place);
    }
    master.salt = [0x33; 14];
    master
}

/// The same for a cipher that stands alone.
///
/// # Panics
/// The profile has no keys.
#[must_use]
pub fn secret(profile: Profile, n: u32) -> Secret {
    let MasterKey { key, salt } = master(n);
    let (key, salt) = (&key[..profile.key_bytes()], &salt[..profile.salt_bytes()]);
    Secret::new(profile, key, salt).expect("the right lengths")
}
