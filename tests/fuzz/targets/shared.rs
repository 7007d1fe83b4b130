//! Owns the readers of the memory that both planes share, and of what is said on the keeper's
//! socket: whoever writes there may be broken, or another release.

use std::cell::RefCell;
use std::fs::{DirBuilder, File, read_link};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::eventfd::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect,
    listen, recv, send, sendmsg, socket,
};

use ::link::Region;
use ::link::command::Command;
use ::link::event::Event;
use ::link::ids::CoreId;
use ::link::keeper::{Keeper, join};
use ::link::limits::Limits;
use ::link::log::{Entry, Flags, Record};
use ::link::region::Role;
use ::wire::peer::{Ip, Peer};

use super::pieces;

/// As little as can be: what is written into it hits something.
const LIMITS: Limits = Limits {
    cores: 1,
    streams_max: 1,
    viewers_max: 2,
    log_packets: 64,
    commands_max: 2,
    events_max: 2,
    punts_max: 2,
};

/// Bytes of the first page, which is read before the memory is taken.
const HEADER_BYTES: usize = 4096;

/// Files that a header may want are no longer.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Of everything that there may be many of, as many are looked at.
const LOOKS: u32 = 100;

/// What stands in a file before anything is wrong: the readers have something to read.
fn used() -> (Region, File) {
    let region = Region::create(&LIMITS).expect("memory for a small region");
    let file = file_of_the_region();
    let viewer = region.open_viewer(0).expect("a free place");
    assert!(viewer.save(b"a keepsake"));
    let stream = region.open_stream(0, "live/fuzz").expect("a free place");
    let mut writer = region.log_writer(stream).expect("nobody else writes");
    for nth in 0..8_u8 {
        let record = Record {
            lane: nth % 4,
            flags: Flags::FIRST | Flags::LAST | Flags::KEY,
            ..Record::default()
        };
        writer
            .append(&record, &[b"payload"])
            .expect("room for a few");
    }
    writer.publish();
    drop(writer);
    let core = CoreId(0);
    let mut commands = region.commands_producer(core).expect("nobody else has it");
    let mut events = region.events_producer(core).expect("nobody else has it");
    for _ in 0..LIMITS.commands_max {
        commands.push(&Command::Consent(viewer.id())).expect("room");
        events.push(&Event::ViewerAdded(viewer.id())).expect("room");
    }
    let peer = Peer {
        ip: Ip([7; 16]),
        port: 9,
    };
    let (mut up, mut down) = (
        region.punts_in_producer(core).expect("nobody else has it"),
        region.punts_out_producer(core).expect("nobody else has it"),
    );
    up.push(core, peer, peer.ip, b"a datagram").expect("room");
    down.push(core, peer, peer.ip, b"a datagram").expect("room");
    drop((commands, events, up, down));
    (region, file)
}

/// The memory file of the one region of this process, opened once more.
fn file_of_the_region() -> File {
    let all = std::fs::read_dir("/proc/self/fd").expect("Linux tells descriptors");
    let paths = all.flatten().map(|entry| entry.path());
    let found = paths.filter(|path| {
        let what = read_link(path).unwrap_or_default();
        what.to_string_lossy().starts_with("/memfd:freshet-link")
    });
    // Descriptors are given again: the newest is the one that has not been left behind.
    let newest = found.max_by_key(|path| number_of(path)).expect("just made");
    let mut options = File::options();
    options.read(true).write(true);
    options.open(newest).expect("a file of ours")
}

fn number_of(path: &std::path::Path) -> u32 {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(0)
}

/// Each piece: three bytes of place, and what is written there. Whoever reads must not panic, nor
/// read beyond, and whoever writes after that must not either.
pub fn memory(data: &[u8]) {
    let (region, file) = used();
    let bytes = file.metadata().expect("a file").len();
    for piece in pieces(data) {
        let Some(([a, b, c], written)) = piece.split_first_chunk() else {
            continue;
        };
        // The header was read when the memory was taken, and is not read again.
        let room = bytes - HEADER_BYTES as u64;
        let at = u64::from(u32::from_be_bytes([0, *a, *b, *c])) % room;
        let fits = usize::try_from(room - at).unwrap_or(usize::MAX);
        let written = &written[..written.len().min(fits)];
        let at = HEADER_BYTES as u64 + at;
        file.write_all_at(written, at).expect("inside the file");
    }
    look_at(&region);
}

/// Reads everything that can be read, and goes on writing.
fn look_at(region: &Region) {
    let cores = (0..region.limits().cores.min(4)).map(CoreId);
    for (stream, name) in region.streams().into_iter().take(LOOKS as usize) {
        assert!(name.len() <= 1024);
        (0..3).for_each(|track| drop(region.description(stream, track)));
        let _ = (region.is_open(stream), region.is_written_by_control(stream));
        if let Ok(heard) = region.heard(stream) {
            assert!(heard.sources().count() < 1000);
        }
        for core in cores.clone() {
            if let Ok(stats) = region.stream_stats(stream, core) {
                let _ = (
                    stats.packets(),
                    stats.bytes(),
                    stats.viewers(),
                    stats.intake(),
                );
            }
            read_log(region, stream, core);
        }
        if let Ok(mut writer) = region.log_writer(stream) {
            for _ in 0..LOOKS {
                let _ = writer.append(&Record::default(), &[b"more"]);
                writer.publish();
            }
            let _ = (0..8).map(|lane| (writer.seq_next(lane), writer.newest(lane)));
        }
        let _ = region.close_stream(stream);
    }
    for id in region.viewers().into_iter().take(LOOKS as usize) {
        if let Ok(viewer) = region.viewer(id) {
            let _ = (viewer.owner(), viewer.leases(), viewer.counters());
            assert!(viewer.load().is_none_or(|kept| kept.len() < 65_536));
            viewer.close();
        }
    }
    cores.for_each(|core| read_rings(region, core));
    let _ = [Role::Forwarder, Role::Control].map(|role| region.presence(role));
}

fn read_log(region: &Region, stream: ::link::ids::StreamId, core: CoreId) {
    let Ok(mut reader) = region.log_reader(stream, core) else {
        return;
    };
    let _ = reader.head();
    let log = reader.pin();
    let range = log.range();
    for lane in 0..8 {
        for at in [log.keyframe(lane), log.newest(lane)].into_iter().flatten() {
            assert!(range.contains(&at));
        }
        for seq in 0..16 {
            assert!(log.locate(lane, seq).is_none_or(|at| range.contains(&at)));
        }
    }
    for position in range.clone().take(LOOKS as usize) {
        let Some((record, payload, elements)) = log.whole(position) else {
            continue;
        };
        assert_eq!(payload.len(), usize::from(record.payload_bytes));
        assert_eq!(elements.len(), record.elements.total());
        assert_eq!(log.payload(position), payload);
        let _ = record.elements;
    }
    assert!(log.record(range.end).is_none() && log.payload(range.end).is_empty());
}

fn read_rings(region: &Region, core: CoreId) {
    if let Ok(mut commands) = region.commands_consumer(core) {
        let _ = (0..LOOKS).take_while(|_| commands.pop().is_some()).count();
    }
    if let Ok(mut events) = region.events_consumer(core) {
        let _ = (0..LOOKS).take_while(|_| events.pop().is_some()).count();
    }
    let ends = [
        region.punts_in_consumer(core),
        region.punts_out_consumer(core),
    ];
    for mut punts in ends.into_iter().flatten() {
        let _ = (0..LOOKS).take_while(|_| punts.pop(|_| ()).is_some());
    }
    if let Ok(mut events) = region.events_producer(core) {
        for _ in 0..LOOKS {
            let id = ::link::ids::ViewerId {
                index: 1,
                generation: 1,
            };
            let _ = events.push(&Event::ViewerAdded(id));
        }
    }
    let Ok(stats) = region.stats(core) else {
        return;
    };
    let _ = (stats.heartbeat(), stats.applied());
    for entry in [Entry::Network, Entry::Sidecar] {
        let all = stats.transit(entry);
        let _ = (all.count(), all.sum_ns(), all.quantile(0.99));
    }
}

/// A place for sockets that belongs to us alone.
fn place(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("freshet-fuzz-{}", std::process::id()));
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    made.expect("a folder in the temporary directory");
    folder.join(name)
}

fn line() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let line = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
    line.expect("Linux has them")
}

thread_local! {
    static KEEPER: RefCell<Option<Keeper>> = const { RefCell::new(None) };
    static LIAR: RefCell<Option<(UnixListener, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Each piece is a message on one line to the keeper. When it hangs up nothing is left of it.
pub fn hello(data: &[u8]) {
    KEEPER.with_borrow_mut(|keeper| {
        let path = place("keeper");
        let keeper = keeper.get_or_insert_with(|| {
            let region = Region::create(&LIMITS).expect("memory for a small region");
            Keeper::listen(region, &path).expect("a path of ours")
        });
        let client = line();
        let at = UnixAddr::new(&path).expect("a short path");
        connect(client.as_raw_fd(), &at).expect("it listens");
        // One that says nothing at all is waited for.
        let silent = [&[][..]];
        let all = pieces(data).collect::<Vec<_>>();
        let all = if all.is_empty() { &silent[..] } else { &all };
        for piece in all {
            if send(client.as_raw_fd(), piece, MsgFlags::MSG_NOSIGNAL).is_err() {
                break;
            }
            serve(keeper);
        }
        drop(client);
        serve(keeper);
        assert_eq!(keeper.fds().count(), 1, "who hangs up is forgotten");
    });
}

fn serve(keeper: &mut Keeper) {
    for _ in 0..LOOKS {
        let said = keeper
            .serve_one(Duration::ZERO)
            .expect("descriptors are left");
        if said.is_none() && !is_ready(keeper) {
            return;
        }
    }
    panic!("it is never done");
}

fn is_ready(keeper: &Keeper) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let fds = keeper.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let mut fds: Vec<_> = fds.collect();
    poll(&mut fds, PollTimeout::ZERO).expect("Linux polls") > 0
}

/// A memory file as a keeper that lies passes it: the first byte says what comes with it, and each
/// piece is written into the header, its place first. It is refused, or can be read.
pub fn header(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    LIAR.with_borrow_mut(|liar| {
        let path = place("liar");
        let (listener, header) = liar.get_or_insert_with(|| lie_at(&path));
        let (file, bells) = passed(*first, data, header);
        let passed: Vec<_> = [file.as_fd()]
            .into_iter()
            .chain(bells.iter().map(AsFd::as_fd))
            .collect();
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| answer(listener, &passed));
            if let Ok(place) = join(&path, Role::Forwarder) {
                look_at(&place.region);
            }
            answering.join().expect("the liar lies to the end");
        });
    });
}

/// A listener at this path, and the header of memory that nothing is wrong with.
fn lie_at(path: &std::path::Path) -> (UnixListener, Vec<u8>) {
    let listener = line();
    let _ = std::fs::remove_file(path);
    let at = UnixAddr::new(path).expect("a short path");
    bind(listener.as_raw_fd(), &at).expect("a path of ours");
    listen(&listener, Backlog::new(8).expect("a few")).expect("it is bound");
    let (region, file) = used();
    let mut header = vec![0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0).expect("a whole header");
    drop(region);
    (listener.into(), header)
}

fn passed(first: u8, data: &[u8], header: &[u8]) -> (OwnedFd, Vec<OwnedFd>) {
    let mut header = header.to_vec();
    for piece in pieces(data) {
        if let Some((at, written)) = piece.split_first_chunk::<2>() {
            let at = usize::from(u16::from_be_bytes(*at)) % header.len();
            let fits = written.len().min(header.len() - at);
            header[at..at + fits].copy_from_slice(&written[..fits]);
        }
    }
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = memfd_create("freshet-fuzz", flags).expect("Linux has them");
    // Mostly as long as it says.
    let size = header[SIZE_AT..]
        .first_chunk()
        .map_or(0, |size| u64::from_le_bytes(*size));
    let size = if first & 1 == 0 { size } else { size / 2 };
    let size = size.min(FILE_BYTES_MAX);
    nix::unistd::ftruncate(&file, i64::try_from(size).unwrap_or(0)).expect("sparse");
    let file = File::from(file);
    let fits = header.len().min(usize::try_from(size).unwrap_or(0));
    file.write_all_at(&header[..fits], 0)
        .expect("inside the file");
    if first & 2 == 0 {
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("it may be sealed");
    }
    let bell = || OwnedFd::from(EventFd::new().expect("Linux has them"));
    let bells = (0..2 + (first >> 4)).map(|_| bell());
    (
        file.into(),
        bells.skip(usize::from(first >> 2 & 3)).collect(),
    )
}

/// Where the header has the size of the file: after its magic, two versions and the build's name.
const SIZE_AT: usize = 8 + 2 * 4 + 64;

fn answer(listener: &UnixListener, passed: &[BorrowedFd<'_>]) {
    let (line, _) = listener.accept().expect("somebody connects");
    let _ = recv(line.as_raw_fd(), &mut [0; 256], MsgFlags::empty());
    let mut said = [0; 512];
    said[..8].copy_from_slice(b"freshet!");
    let numbers: Vec<_> = passed.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let parts = [std::io::IoSlice::new(&said)];
    let _ = sendmsg::<()>(
        line.as_raw_fd(),
        &parts,
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
}
