//! Owns a server under test: the real binary, on ports of its own, in a folder of its own.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{self, Answer};
use crate::place::{Place, free_tcp_port, free_udp_port};
use crate::process::{Process, children, kill_now, resident_bytes};
use crate::wait::wait_for;

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(30);

/// How long a stop may take before the test kills what is left.
const STOP: Duration = Duration::from_secs(8);

/// What of the configuration a test wants other than by default.
#[derive(Clone, Debug)]
pub struct Setup {
    /// TOML after the harness's own sections: `[streams]`, `[[stream]]`, `[auth]`...
    pub toml: String,
    /// The same as `--demo`.
    pub demo: bool,
    /// Where HTTP listens; by default loopback.
    pub http_ip: Ipv4Addr,
    /// What viewers are told instead of 127.0.0.1 and the media port.
    pub advertise: Option<String>,
    /// Port of HTTP, if it must be known before.
    pub http_port: Option<u16>,
    /// Port of media, if it must be known before.
    pub media_port: Option<u16>,
    /// Workers.
    pub cores: u16,
    /// `auto`, `mmsg` or `uring`.
    pub backend: &'static str,
    /// More keys of `[media]`, line by line.
    pub media: &'static str,
    /// Packets of a stream's history.
    pub log_packets: u32,
    /// Streams at once.
    pub streams_max: u32,
    /// Viewers at once.
    pub viewers_max: u32,
    /// The load up to which viewers are let in. By default always: those who watch load the same
    /// cores.
    pub max_load: f64,
    /// It runs a copy of the program, which can be replaced on the disk.
    pub own_program: bool,
    /// It makes a run directory of its own, which nobody has named.
    pub own_run_dir: bool,
    /// Keys of `[drain]`, line by line. By default it ends at once: tests that fail leave viewers
    /// behind.
    pub drain: String,
    /// How much it logs.
    pub log: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            toml: String::new(),
            demo: false,
            http_ip: Ipv4Addr::LOCALHOST,
            advertise: None,
            http_port: None,
            media_port: None,
            cores: 1,
            backend: "auto",
            media: "",
            log_packets: 16384,
            streams_max: 8,
            viewers_max: 2048,
            max_load: 0.0,
            own_program: false,
            own_run_dir: false,
            drain: "deadline_s = 0".to_owned(),
            log: "info",
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Address of HTTP.
    pub http: SocketAddr,
    /// Address of media.
    pub media: SocketAddr,
    /// Address of SRT.
    pub srt: SocketAddr,
    // Last: the files outlive the process.
    place: Place,
}

impl Server {
    /// Starts the server with the built-in clip as stream `demo`.
    #[must_use]
    pub fn demo() -> Self {
        Self::start(Setup {
            demo: true,
            ..Setup::default()
        })
    }

    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start(setup: Setup) -> Self {
        let place = Place::new("server");
        let http = SocketAddr::from((setup.http_ip, setup.http_port.unwrap_or_else(free_tcp_port)));
        let media_port = setup.media_port.unwrap_or_else(free_udp_port);
        let media = SocketAddr::from((Ipv4Addr::LOCALHOST, media_port));
        let srt = SocketAddr::from((Ipv4Addr::LOCALHOST, free_udp_port()));
        let advertise = setup
            .advertise
            .clone()
            .unwrap_or_else(|| media.ip().to_string());
        let config = format!(
            "[node]\nrun_dir = {run_dir:?}\n\
             [http]\nlisten = \"{http}\"\n\
             [media]\nlisten = \"0.0.0.0:{media_port}\"\nadvertise = [\"{advertise}\"]\n\
             cores = {cores}\nbackend = \"{backend}\"\n{more}\n\
             [srt]\nlisten = \"{srt}\"\n\
             [limits]\nstreams_max = {streams_max}\nviewers_max = {viewers_max}\n\
             log_packets = {log_packets}\nmax_load = {max_load:?}\n\
             [drain]\n{drain}\n\
             [log]\nlevel = \"{log}\"\nredact = false\n{rest}\n",
            run_dir = match setup.own_run_dir {
                true => PathBuf::new(),
                false => place.path().join("run"),
            },
            cores = setup.cores,
            backend = setup.backend,
            more = setup.media,
            streams_max = setup.streams_max,
            viewers_max = setup.viewers_max,
            log_packets = setup.log_packets,
            max_load = setup.max_load,
            drain = setup.drain,
            log = setup.log,
            rest = setup.toml,
        );
        let config = place.file("freshet.toml", config.as_bytes());
        let mut command = Command::new(match setup.own_program {
            true => place.copy("freshet", binary()),
            false => binary().to_path_buf(),
        });
        command.arg("serve").arg("--config").arg(&config);
        if setup.demo {
            command.arg("--demo");
        }
        command.env("RUST_BACKTRACE", "1");
        let process = Process::start("freshet", place.path(), &command);
        let mut server = Self {
            process,
            http,
            media,
            srt,
            place,
        };
        server.wait_ready();
        server
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Panics
    /// When it does not, or the server has ended.
    pub fn wait_ready(&mut self) {
        wait_for("the server to be ready", START, || {
            let ended = self.process.ended();
            assert!(ended.is_none(), "it ended, {ended:?}:\n{}", self.log());
            match http::get(self.http, "/readyz") {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{}: {}", answer.status, answer.text())),
                Err(error) => Err(error),
            }
        });
    }

    /// Everything that it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Puts another program in the place of a server's own, as an installer does.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn install(&self, program: impl AsRef<Path>) {
        let copied = self.place.copy("freshet.new", program.as_ref());
        std::fs::rename(copied, self.program()).expect("the same folder");
    }

    /// The program of a server that has its own.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.place.path().join("freshet")
    }

    /// Upgrades by the command for it: whether that succeeded, and what it said.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn upgrade(&self) -> (bool, String) {
        self.upgrade_seen(|_| {})
    }

    /// The same; each line is seen when it comes.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn upgrade_seen(&self, mut see: impl FnMut(&str)) -> (bool, String) {
        let mut command = Command::new(binary());
        command
            .arg("upgrade")
            .arg("--run-dir")
            .arg(self.place.path().join("run"))
            .stdout(Stdio::piped());
        let mut upgrade = command.spawn().expect("the program is there");
        let lines = BufReader::new(upgrade.stdout.take().expect("a pipe")).lines();
        let mut said = String::new();
        for line in lines.map_while(Result::ok) {
            see(&line);
            said += &(line + "\n");
        }
        (upgrade.wait().expect("a child of ours").success(), said)
    }

    /// Where it keeps its files; removed with the server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.place.path()
    }

    /// Asks for a path.
    ///
    /// # Panics
    /// When no answer comes.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        http::get(self.http, path).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// The address of a page of its own.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// What the API says about a stream; null if it knows none.
    #[must_use]
    pub fn stream(&self, name: &str) -> Value {
        match http::get(self.http, &format!("/v1/streams/{name}")) {
            Ok(answer) if answer.status == 200 => answer.json(),
            _ => Value::Null,
        }
    }

    /// Waits until media of the stream comes in.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_live(&self, name: &str) -> Value {
        wait_for(&format!("stream {name} to be live"), START, || {
            let view = self.stream(name);
            let described = view["video"].is_object() || view["audio"].is_object();
            if view["state"] == "live" && described {
                Ok(view)
            } else {
                Err(view.to_string())
            }
        })
    }

    /// The sum of a counter over its labels, from `/metrics`; 0 if there is none.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let Ok(answer) = http::get(self.http, "/metrics") else {
            return 0.0;
        };
        let text = answer.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines
            .filter(|rest| rest.starts_with([' ', '{']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Process id of a plane whose command line has this word.
    #[must_use]
    pub fn process_with(&self, word: &str) -> Option<u32> {
        let all = children(self.process.pid());
        let mut found = all.iter().filter(|(_, line)| line.contains(word));
        found.next().map(|(pid, _)| *pid)
    }

    /// Process id of a plane: `forwarder` or `control`.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn plane(&self, name: &str) -> u32 {
        let wanted = format!(" {name} ");
        wait_for(&format!("the process of {name}"), START, || {
            let all = children(self.process.pid());
            let found = all.iter().find(|(_, line)| line.contains(&wanted));
            found.map(|(pid, _)| *pid).ok_or_else(|| format!("{all:?}"))
        })
    }

    /// The process id of the supervisor.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until it has logged `text`; gives the whole log.
    ///
    /// # Panics
    /// When `limit` has passed.
    #[must_use]
    pub fn says(&self, text: &str, limit: Duration) -> String {
        self.process.says(text, limit)
    }

    /// Memory of both planes and their supervisor, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let planes = children(self.process.pid());
        let planes: u64 = planes.iter().map(|(pid, _)| resident_bytes(*pid)).sum();
        planes + resident_bytes(self.process.pid())
    }

    /// The address that an SRT publisher calls.
    #[must_use]
    pub fn srt_url(&self, stream: &str, more: &str) -> String {
        format!(
            "srt://{}?mode=caller&streamid=publish:{stream}{more}",
            self.srt
        )
    }

    /// Fails the test if the server panicked or one of its planes was started again.
    ///
    /// # Panics
    /// If it did.
    pub fn must_be_unharmed(&self) {
        let log = self.log();
        for word in ["panicked", "starting it again", "supervise: has ended"] {
            assert!(!log.contains(word), "{word:?} in the log:\n{log}");
        }
    }

    /// Sends it SIGTERM, and does not wait.
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Waits until it has ended by itself, and says how.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn ended(mut self, limit: Duration) -> (bool, String) {
        let status = self.process.wait(limit);
        (status.success(), self.log())
    }

    /// Stops it as an operator would, and says how it ended.
    ///
    /// # Panics
    /// When it does not stop.
    #[must_use]
    pub fn stop(mut self) -> (bool, String) {
        self.process.terminate();
        let status = self.process.wait(Duration::from_secs(15));
        (status.success(), self.log())
    }
}

/// The planes live in process groups of their own: they are ended here, one by one.
impl Drop for Server {
    fn drop(&mut self) {
        let planes = children(self.process.pid());
        self.process.terminate();
        let start = Instant::now();
        while self.process.ended().is_none() && start.elapsed() < STOP {
            sleep(Duration::from_millis(20));
        }
        for (pid, line) in planes {
            let now = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&now).replace('\0', " ") == line {
                kill_now(pid);
            }
        }
    }
}

/// The binary under test: `FRESHET_BIN`, or built now from this tree with the profile of the tests.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("FRESHET_BIN") {
            return PathBuf::from(path);
        }
        let own = std::env::current_exe().expect("a test knows its path");
        let profile = own
            .ancestors()
            .nth(2)
            .expect("target/PROFILE/deps/test")
            .to_path_buf();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "freshet"]);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let target = profile
            .parent()
            .expect("a profile lies in the target folder");
        cargo
            .env("CARGO_TARGET_DIR", target)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "the server does not build");
        profile.join("freshet")
    })
}
