//! The keeper and planes that are other processes: forked, killed, replaced.

use super::*;
use crate::command::VIDEO;
use crate::ids::{CoreId, StreamId};
use crate::limits::{LOG_PACKETS_MIN, Limits};
use crate::log::{Flags, Record};
use crate::region::Presence;
use nix::sys::memfd::{MFdFlags, memfd_create};
use proptest::prelude::*;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command as Process, Stdio};

const SOON: Duration = Duration::from_secs(10);

/// Set for the child processes: the socket's path.
const PATH_VARIABLE: &str = "FRESHET_LINK_TEST_PATH";

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("freshet-{}-{name}", std::process::id()));
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("link.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tiny() -> Region {
    let limits = Limits {
        cores: 1,
        streams_max: 1,
        viewers_max: 2,
        log_packets: LOG_PACKETS_MIN,
        commands_max: 4,
        events_max: 4,
        punts_max: 4,
    };
    Region::create(&limits).unwrap()
}

/// Runs one of the ignored tests below in a process of its own.
fn spawn(test: &str, path: &Path) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            &format!("keeper::tests::{test}"),
        ])
        .env(PATH_VARIABLE, path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn until(keeper: &mut Keeper, wanted: impl Fn(&Notice) -> bool) -> Notice {
    let deadline = std::time::Instant::now() + SOON;
    while std::time::Instant::now() < deadline {
        if let Some(notice) = keeper.serve_one(Duration::from_millis(100)).unwrap() {
            assert!(wanted(&notice), "unexpected {notice:?}");
            return notice;
        }
    }
    panic!("nothing happened in {SOON:?}");
}

/// A forwarder that pins the log, writes it half, and waits to be killed.
#[test]
#[ignore = "a process of the tests below"]
fn child_forwarder() {
    let Ok(path) = std::env::var(PATH_VARIABLE) else {
        return;
    };
    let region = join(Path::new(&path), Role::Forwarder).unwrap().region;
    let (stream, _) = region.streams().pop().unwrap();
    let mut reader = region.log_reader(stream, CoreId(0)).unwrap();
    let mut writer = region.log_writer(stream).unwrap();
    let viewer = region.viewer(region.viewers().pop().unwrap()).unwrap();
    viewer.set_owner(Some(CoreId(0)));
    let mut commands = region.commands_consumer(CoreId(0)).unwrap();
    let mut events = region.events_producer(CoreId(0)).unwrap();
    while commands.pop().is_none() {
        std::thread::yield_now();
    }
    writer
        .append(&Record::default(), &[b"published by the child"])
        .unwrap();
    writer.publish();
    writer
        .append(&Record::default(), &[b"never published"])
        .unwrap();
    let pinned = reader.pin();
    assert_eq!(pinned.payload(0), b"by the parent");
    std::mem::forget(pinned);
    events
        .push(&crate::event::Event::KeyframeWanted(
            stream,
            crate::lanes::Lanes::VIDEO,
        ))
        .unwrap();
    region.control_waker().wake();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_forwarder_loses_nothing_but_what_it_had_not_published() {
    let directory = Directory::new("killed");
    let region = tiny();
    let mut keeper = Keeper::listen(region.clone(), &directory.socket()).unwrap();
    let stream = region.open_stream(0, "live").unwrap();
    let viewer = region.open_viewer(1).unwrap();
    let mut writer = region.log_writer(stream).unwrap();
    let key = Record {
        flags: Flags::FIRST | Flags::KEY,
        ..Record::default()
    };
    writer.append(&key, &[b"by the parent"]).unwrap();
    writer.publish();
    drop(writer);

    let mut child = spawn("child_forwarder", &directory.socket());
    until(&mut keeper, |notice| {
        matches!(
            notice,
            Notice::Joined {
                role: Role::Forwarder,
                ..
            }
        )
    });
    assert!(region.presence(Role::Forwarder).alive);
    let mut down = region.commands_producer(CoreId(0)).unwrap();
    let mut events = region.events_consumer(CoreId(0)).unwrap();
    let remove = crate::command::Command::RemovePublisher(stream);
    // Waits for the child to have its ends: only one of two writers may come first.
    down.push(&remove).unwrap();
    let sleeper = region.control_sleeper();
    let deadline = std::time::Instant::now() + SOON;
    while events.is_empty() && std::time::Instant::now() < deadline {
        sleeper.prepare();
        if events.is_empty() {
            let mut fds = [PollFd::new(sleeper.fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(1000u16)).unwrap();
        }
        sleeper.clear();
    }
    assert!(events.pop().is_some());
    assert_eq!(viewer.owner(), Some(CoreId(0)));
    assert!(region.log_writer(stream).is_err(), "the child writes");
    let left_behind = down.push(&remove).unwrap();
    assert_eq!(left_behind, 1);

    child.kill().unwrap();
    child.wait().unwrap();
    until(&mut keeper, |notice| {
        matches!(
            notice,
            Notice::Left {
                role: Role::Forwarder,
                ..
            }
        )
    });
    assert!(!region.presence(Role::Forwarder).alive);
    assert_eq!(viewer.owner(), None);
    successor(&region, stream);
}

/// What the next forwarder finds: the streams go on, old commands are gone.
fn successor(region: &Region, stream: StreamId) {
    assert!(region.commands_consumer(CoreId(0)).unwrap().pop().is_none());
    let mut writer = region.log_writer(stream).unwrap();
    assert_eq!(writer.seq_next(VIDEO), 2);
    for n in 2..u64::from(LOG_PACKETS_MIN) * 3 {
        // Would stall if the dead reader's pin were still there.
        assert_eq!(writer.append(&Record::default(), &[b"on and on"]), Ok(n));
        writer.publish();
    }
    let mut reader = region.log_reader(stream, CoreId(0)).unwrap();
    let pinned = reader.pin();
    let last = pinned.range().end - 1;
    assert_eq!(
        pinned.record(last).map(|record| record.lane_seq),
        Some(last)
    );
}

/// Joins twice: the second must be told why not.
#[test]
#[ignore = "a process of the tests below"]
fn child_control() {
    let Ok(path) = std::env::var(PATH_VARIABLE) else {
        return;
    };
    let region = join(Path::new(&path), Role::Control).unwrap().region;
    let second = join(Path::new(&path), Role::Control).err().unwrap();
    let told = second.to_string();
    assert!(told.contains("is Control already: stop it first"), "{told}");
    let end = region.events_consumer(CoreId(0)).unwrap();
    drop(region);
    std::thread::sleep(Duration::from_millis(50));
    // The last end hangs up.
    drop(end);
}

#[test]
fn a_role_is_held_once_and_is_free_after_the_last_end() {
    let directory = Directory::new("once");
    let mut keeper = Keeper::listen(tiny(), &directory.socket()).unwrap();
    for joins in 1..3 {
        let mut child = spawn("child_control", &directory.socket());
        until(&mut keeper, |n| {
            matches!(
                n,
                Notice::Joined {
                    role: Role::Control,
                    ..
                }
            )
        });
        until(&mut keeper, |n| matches!(n, Notice::Refused { .. }));
        until(&mut keeper, |n| {
            matches!(
                n,
                Notice::Left {
                    role: Role::Control,
                    ..
                }
            )
        });
        assert!(child.wait().unwrap().success());
        assert_eq!(keeper.region().presence(Role::Control).joins, joins);
    }
}

#[test]
fn strangers_get_a_reason_and_no_memory() {
    let directory = Directory::new("strangers");
    let mut keeper = Keeper::listen(tiny(), &directory.socket()).unwrap();
    let mut future = hello(Role::Forwarder, 0);
    future[8..12].copy_from_slice(&99u32.to_le_bytes());
    future[12..16].copy_from_slice(&98u32.to_le_bytes());
    let mut odd = hello(Role::Forwarder, 0);
    odd[16] = 9;
    for greeting in [
        &b"GET / HTTP/1.1"[..],
        &future,
        &odd,
        &hello(Role::Control, 0)[..20],
    ] {
        let line = pass::connect_to(&directory.socket()).unwrap();
        pass::send(&line, greeting, &[]).unwrap();
        until(&mut keeper, |n| matches!(n, Notice::Refused { .. }));
        let mut bytes = [0; ANSWER_BYTES];
        let (length, passed) = pass::recv_passed(&line, &mut bytes).unwrap();
        assert!(passed.is_empty());
        assert!(
            read_answer(&bytes[..length])
                .unwrap_err()
                .contains("refuses")
        );
    }
    // One who hangs up without a word.
    drop(pass::connect_to(&directory.socket()).unwrap());
    until(&mut keeper, |n| matches!(n, Notice::Refused { .. }));
}

#[test]
fn a_keeper_wants_a_private_place_of_its_own() {
    let directory = Directory::new("private");
    let keeper = Keeper::listen(tiny(), &directory.socket()).unwrap();
    assert_eq!(fs::metadata(&directory.0).unwrap().mode() & 0o777, 0o700);
    let second = Keeper::listen(tiny(), &directory.socket()).err().unwrap();
    assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    // A keeper that died leaves its socket behind.
    drop(keeper);
    drop(pass::listen_at(&directory.socket()).unwrap());
    drop(Keeper::listen(tiny(), &directory.socket()).unwrap());
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
    let open = Keeper::listen(tiny(), &directory.socket()).err().unwrap();
    assert!(open.to_string().contains("mode 0700"), "{open}");
}

/// What becomes of a forwarder that another one waits to replace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Leaves,
    Dies,
}

/// What the next one gets, and the notices after both have come.
fn succeeded(name: &str, fate: Fate) -> (Option<Vec<u8>>, Vec<Notice>, Presence) {
    let directory = Directory::new(name);
    let path = directory.socket();
    let mut keeper = Keeper::listen(tiny(), &path).unwrap();
    keeper.lend(Role::Forwarder, File::open("/dev/zero").unwrap().into());
    keeper.lend(Role::Control, File::open("/dev/null").unwrap().into());
    let region = keeper.region().clone();
    let first = std::thread::spawn({
        let path = path.clone();
        move || {
            let place = join(&path, Role::Forwarder).unwrap();
            assert_eq!(place.lent.len(), 1, "what is lent to this role");
            let end = place.region.events_producer(CoreId(0)).unwrap();
            while wish(&place.region).unwrap() == Wish::None {
                std::thread::sleep(Duration::from_millis(1));
            }
            if fate == Fate::Leaves {
                let mut left = File::from(memfd_create("left", MFdFlags::empty()).unwrap());
                left.write_all(b"everything").unwrap();
                leave(&place.region, &left.into()).unwrap();
            }
            drop(end);
        }
    });
    until(&mut keeper, |n| matches!(n, Notice::Joined { .. }));
    let next = std::thread::spawn(move || {
        let standby = stand_by(&path, Role::Forwarder).unwrap();
        assert_eq!(standby.place().lent.len(), 1);
        let another = stand_by(&path, Role::Forwarder).err().unwrap().to_string();
        assert!(
            another.contains("waits to be Forwarder already"),
            "{another}"
        );
        let (place, left) = standby.take_over(false, SOON).unwrap();
        // The end is free, and nobody has taken it for a dead one's.
        let end = place.region.events_producer(CoreId(0)).unwrap();
        let left = left.map(|left| {
            let (mut file, mut bytes) = (File::from(left), Vec::new());
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        });
        (place, end, left)
    });
    let mut notices = Vec::new();
    let end = std::time::Instant::now() + SOON;
    while !next.is_finished() && std::time::Instant::now() < end {
        notices.extend(keeper.serve_one(Duration::from_millis(10)).unwrap());
    }
    first.join().unwrap();
    let (_place, _end, left) = next.join().unwrap();
    (left, notices, region.presence(Role::Forwarder))
}

#[test]
fn a_place_is_left_to_the_one_that_waits_for_it() {
    let (left, notices, presence) = succeeded("leaves", Fate::Leaves);
    assert_eq!(left.as_deref(), Some(&b"everything"[..]));
    assert!(matches!(notices[0], Notice::Waiting { .. }), "{notices:?}");
    assert!(matches!(notices[1], Notice::Refused { .. }), "{notices:?}");
    assert!(
        matches!(notices[2], Notice::Succeeded { .. }),
        "{notices:?}"
    );
    // For control nothing has happened.
    assert_eq!((presence.joins, presence.alive), (1, true));
}

#[test]
fn whoever_waits_for_the_place_of_one_that_dies_begins_afresh() {
    let (left, notices, presence) = succeeded("dies", Fate::Dies);
    assert_eq!(left, None);
    assert!(matches!(notices[2], Notice::Joined { .. }), "{notices:?}");
    assert_eq!((presence.joins, presence.alive), (2, true));
}

/// What is told ahead: by one that tells, by one that has nothing to tell, and by one that dies.
#[test]
fn what_is_told_ahead_comes_to_the_one_that_asked() {
    let directory = Directory::new("ahead");
    let path = directory.socket();
    let mut keeper = Keeper::listen(tiny(), &path).unwrap();
    let first = std::thread::spawn({
        let path = path.clone();
        move || {
            let place = join(&path, Role::Forwarder).unwrap();
            for told in ["nobody listens", "all", ""] {
                while wish(&place.region).unwrap() != Wish::Tell {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let mut file = File::from(memfd_create("told", MFdFlags::empty()).unwrap());
                file.write_all(told.as_bytes()).unwrap();
                // The first asker is gone by then.
                std::thread::sleep(Duration::from_millis(50));
                let file = file.into();
                tell(&place.region, (!told.is_empty()).then_some(&file)).unwrap();
            }
            let until = std::time::Instant::now() + SOON;
            loop {
                match wish(&place.region).unwrap() {
                    Wish::Leave { knows } => break knows,
                    // Its place is wanted without a word by one that dies instead.
                    Wish::Tell => break true,
                    Wish::None => assert!(std::time::Instant::now() < until),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    until(&mut keeper, |n| matches!(n, Notice::Joined { .. }));
    let next = std::thread::spawn(move || {
        let hasty = stand_by(&path, Role::Forwarder).unwrap();
        assert!(hasty.ask(Duration::from_millis(10)).unwrap().is_none());
        drop(hasty);
        std::thread::sleep(Duration::from_millis(10));
        let standby = stand_by(&path, Role::Forwarder).unwrap();
        let told = standby.ask(SOON).unwrap().expect("it tells");
        let (mut file, mut bytes) = (File::from(told), Vec::new());
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"all", "not what another one had asked for");
        let began = std::time::Instant::now();
        assert!(standby.ask(SOON).unwrap().is_none(), "nothing more");
        assert!(standby.ask(SOON).unwrap().is_none(), "it dies");
        assert!(
            began.elapsed() < SOON,
            "an answer, and not the end of patience"
        );
    });
    let end = std::time::Instant::now() + 2 * SOON;
    while !next.is_finished() && std::time::Instant::now() < end {
        keeper.serve_one(Duration::from_millis(10)).unwrap();
    }
    next.join().unwrap();
    assert!(first.join().unwrap());
}

/// As another program does it that has only the descriptors.
#[test]
fn a_keeper_goes_on_from_its_parts_and_nobody_on_a_line_notices() {
    let directory = Directory::new("parts");
    let path = directory.socket();
    let mut keeper = Keeper::listen(tiny(), &path).unwrap();
    keeper.lend(Role::Forwarder, File::open("/dev/zero").unwrap().into());
    let joining = std::thread::spawn({
        let path = path.clone();
        move || join(&path, Role::Forwarder).unwrap()
    });
    until(&mut keeper, |n| matches!(n, Notice::Joined { .. }));
    let place = joining.join().unwrap();
    let memory = keeper.region().descriptors();
    let memory = memory
        .map(|one| one.try_clone_to_owned().unwrap())
        .collect();
    let parts = Parts {
        region: Region::resume(memory).unwrap(),
        ..keeper.parts().unwrap()
    };
    // The program before does not come to its end.
    std::mem::forget(keeper);
    let mut next = Keeper::from(parts);
    assert_eq!(
        wish(&place.region).unwrap(),
        Wish::None,
        "the line is there"
    );
    let second = std::thread::spawn(move || join(&path, Role::Forwarder).err().unwrap());
    until(&mut next, |n| matches!(n, Notice::Refused { .. }));
    let told = second.join().unwrap().to_string();
    assert!(told.contains("is Forwarder already"), "{told}");
    drop(place);
    until(&mut next, |n| matches!(n, Notice::Left { .. }));
    let presence = next.region().presence(Role::Forwarder);
    assert_eq!((presence.joins, presence.alive), (1, false));
    assert!(Region::resume(Vec::new()).is_err());
}

#[test]
fn one_that_waited_and_has_gone_changes_nothing() {
    let directory = Directory::new("gone");
    let mut keeper = Keeper::listen(tiny(), &directory.socket()).unwrap();
    let path = directory.socket();
    let waiting = std::thread::spawn(move || {
        let place = join(&path, Role::Forwarder).unwrap();
        drop(stand_by(&path, Role::Forwarder).unwrap());
        place
    });
    for expected in ["Joined", "Waiting", "Refused"] {
        until(&mut keeper, |n| format!("{n:?}").starts_with(expected));
    }
    let place = waiting.join().unwrap();
    assert_eq!(wish(&place.region).unwrap(), Wish::None);
    let presence = keeper.region().presence(Role::Forwarder);
    assert_eq!((presence.joins, presence.alive), (1, true));
}

proptest! {
    /// Greetings and answers of anybody who can open the socket.
    #[test]
    fn any_greeting_and_any_answer_can_be_read(
        bytes in prop::collection::vec(any::<u8>(), 0..2 * HELLO_BYTES),
        fields in any::<[u32; 4]>(),
        whole in any::<bool>(),
    ) {
        let _ = (parse_hello(&bytes), read_answer(&bytes));
        let said = answer(Err(&String::from_utf8_lossy(&bytes)));
        prop_assert_eq!(said.len(), ANSWER_BYTES);
        let refused = read_answer(&said).unwrap_err();
        prop_assert!(!refused.contains(char::is_control), "{}", refused);
        prop_assert_eq!(read_answer(&answer(Ok(()))), Ok(()));
        // A right beginning, with any numbers and any build.
        let mut greeting = hello(Role::Control, STANDBY);
        if whole {
            greeting[8..20].copy_from_slice(&fields.map(u32::to_le_bytes).concat()[..12]);
        }
        let build = bytes.len().min(greeting.len() - 20);
        greeting[20..20 + build].copy_from_slice(&bytes[..build]);
        match parse_hello(&greeting).expect("a greeting") {
            Ok(read) => prop_assert!(!read.build.contains(char::is_control)),
            Err(why) => prop_assert!(!why.contains(char::is_control), "{}", why),
        }
    }
}
