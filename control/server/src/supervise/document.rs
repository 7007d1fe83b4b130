//! Owns what a supervisor tells the next program in its process, by names: what a release does not
//! know it passes over, and what is new in a release has a default. Descriptors come beside it, and
//! are named by their places.

use link::region::Role;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Who wrote it, for messages.
    pub build: String,
    /// The name by which programs come.
    pub named: PathBuf,
    /// The command line, with the name of the program.
    pub arguments: Vec<String>,
    /// The run directory. The configuration that holds is in there, and what is decided of a drain.
    pub run_dir: PathBuf,
    /// It is removed at the end.
    pub run_dir_is_ours: bool,
    /// SIGTERM has come.
    pub is_terminated: bool,
    /// When the upgrade began, by the monotonic clock.
    pub upgrade_began_ns: u64,
    /// Why the next program has given it back.
    #[serde(default)]
    pub failure: Option<String>,
    /// The planes.
    pub planes: Vec<PlaneState>,
    /// The keeper of the link.
    pub link: LinkState,
    /// The socket at which control hands in another configuration.
    pub desk: usize,
    /// The program that wrote it.
    pub program: usize,
}

/// A plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneState {
    /// Which.
    pub role: RoleName,
    /// Its process; none: it has just died.
    pub pid: Option<i32>,
    /// The program that is started when it dies.
    pub program: usize,
}

/// The keeper of the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Where its socket is.
    pub path: PathBuf,
    /// The socket.
    pub socket: usize,
    /// The memory and its bells.
    pub memory: Vec<usize>,
    /// Who has the memory.
    pub holders: Vec<HolderState>,
    /// Who waits for a place.
    pub waiting: Vec<HolderState>,
    /// The ports.
    pub lent: Vec<LentState>,
}

/// A process at the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderState {
    /// What it is.
    pub role: RoleName,
    /// Its process id.
    pub pid: i32,
    /// What it says of its build.
    pub build: String,
    /// The connection to it.
    pub line: usize,
    /// It waits and is ready.
    pub is_ready: bool,
    /// What it has left.
    pub left: Option<usize>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentState {
    /// To whom it is lent.
    pub to: RoleName,
    /// The socket.
    pub socket: usize,
}

/// A plane, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    /// The data plane.
    Forwarder,
    /// The sidecar.
    Control,
}

/// The planes that this release knows.
const PLANES: [RoleName; 2] = [RoleName::Forwarder, RoleName::Control];

impl Document {
    /// Reads it, and believes nothing that it can check.
    ///
    /// # Errors
    /// What is missing, wrong, or not known here.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let document: Self = serde_json::from_slice(text)
            .map_err(|e| format!("what the program before has written is not understood: {e}"))?;
        let roles: Vec<_> = document.planes.iter().map(|plane| plane.role).collect();
        if roles != PLANES {
            let who = &document.build;
            return Err(format!("'{who}' has other planes, {roles:?}: no way back"));
        }
        // Signals to 0 and below go to whole groups, and 1 is nobody's child.
        let pids = document.planes.iter().filter_map(|plane| plane.pid);
        if let Some(pid) = pids.min().filter(|pid| *pid <= 1) {
            return Err(format!("process {pid} cannot be a plane"));
        }
        if document.arguments.is_empty() {
            return Err("no command line".to_owned());
        }
        Ok(document)
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Forwarder => Self::Forwarder,
            Role::Control => Self::Control,
        }
    }
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Forwarder => Self::Forwarder,
            RoleName::Control => Self::Control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this release writes. The next one has to read it: a name is never given up or used for
    /// something else, and a new one has a default.
    const FROZEN: &str = include_str!("document/frozen.json");

    fn document() -> Document {
        let holder = |role, pid, line| HolderState {
            role,
            pid,
            build: "freshet 0.1.0".into(),
            line,
            is_ready: false,
            left: None,
        };
        Document {
            build: "freshet 0.1.0".into(),
            named: "/usr/bin/freshet".into(),
            arguments: ["freshet", "serve", "--demo"].map(String::from).to_vec(),
            run_dir: "/run/freshet".into(),
            run_dir_is_ours: true,
            is_terminated: true,
            upgrade_began_ns: 1_234_567_890_123,
            failure: Some("it could not".into()),
            planes: vec![
                PlaneState {
                    role: RoleName::Forwarder,
                    pid: Some(17),
                    program: 0,
                },
                PlaneState {
                    role: RoleName::Control,
                    pid: None,
                    program: 1,
                },
            ],
            link: LinkState {
                path: "/run/freshet/link".into(),
                socket: 2,
                memory: vec![3, 4, 5],
                holders: vec![holder(RoleName::Forwarder, 17, 6)],
                waiting: vec![HolderState {
                    is_ready: true,
                    left: Some(8),
                    ..holder(RoleName::Forwarder, 19, 7)
                }],
                lent: vec![LentState {
                    to: RoleName::Control,
                    socket: 9,
                }],
            },
            desk: 10,
            program: 11,
        }
    }

    #[test]
    fn what_is_written_is_as_it_was_and_is_read() {
        let written = serde_json::to_string_pretty(&document()).unwrap();
        assert_eq!(written.trim(), FROZEN.trim());
        assert_eq!(Document::read(FROZEN.as_bytes()), Ok(document()));
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_what_is_new_has_a_default() {
        let mut value: serde_json::Value = serde_json::from_str(FROZEN).unwrap();
        value["weather"] = "fine".into();
        value["link"]["holders"][0]["mood"] = 7.into();
        value.as_object_mut().unwrap().remove("failure");
        let read = Document::read(value.to_string().as_bytes());
        let failure = None;
        assert_eq!(
            read,
            Ok(Document {
                failure,
                ..document()
            })
        );
    }

    #[test]
    fn what_cannot_be_gone_on_with_is_said() {
        let mut value: serde_json::Value = serde_json::from_str(FROZEN).unwrap();
        value["planes"][0]["pid"] = 0.into();
        let said = Document::read(value.to_string().as_bytes()).unwrap_err();
        assert!(said.contains("process 0"), "{said}");
        value["planes"].as_array_mut().unwrap().truncate(1);
        let said = Document::read(value.to_string().as_bytes()).unwrap_err();
        assert!(said.contains("other planes"), "{said}");
        value.as_object_mut().unwrap().remove("planes");
        let said = Document::read(value.to_string().as_bytes()).unwrap_err();
        assert!(said.contains("missing field `planes`"), "{said}");
        for end in 0..FROZEN.trim().len() {
            assert!(Document::read(&FROZEN.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
