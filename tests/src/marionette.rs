//! Owns Firefox, headless, driven by the Marionette protocol that it speaks itself.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::netns::Namespace;
use crate::place::{Place, free_tcp_port};
use crate::process::{Process, command};
use crate::wait::wait_for;

const START: Duration = Duration::from_secs(90);

/// What a test's browser does without: updates, first-run pages, guards against playing.
const PREFERENCES: &str = "
user_pref('app.update.enabled', false);
user_pref('browser.shell.checkDefaultBrowser', false);
user_pref('browser.startup.homepage', 'about:blank');
user_pref('browser.startup.page', 0);
user_pref('browser.tabs.remote.autostart', true);
user_pref('datareporting.policy.dataSubmissionEnabled', false);
user_pref('extensions.update.enabled', false);
user_pref('media.autoplay.default', 0);
user_pref('media.autoplay.blocking_policy', 0);
user_pref('media.gmp-manager.updateEnabled', false);
user_pref('network.captive-portal-service.enabled', false);
user_pref('network.connectivity-service.enabled', false);
user_pref('services.settings.server', 'data:,');
user_pref('toolkit.telemetry.enabled', false);
";

/// A Firefox with one page, inside a network namespace: it never sends media to 127.0.0.1.
#[derive(Debug)]
pub struct Firefox {
    stream: TcpStream,
    last_id: u64,
    process: Process,
    // Last: the profile outlives the process.
    _place: Place,
}

impl Firefox {
    /// Starts a browser with a fresh profile inside `namespace`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(namespace: &Namespace) -> Self {
        let place = Place::new("firefox");
        let port = free_tcp_port();
        let preferences = format!("{PREFERENCES}user_pref('marionette.port', {port});\n");
        let profile = place.path().join("profile");
        std::fs::create_dir_all(&profile).expect("a folder in ours");
        std::fs::write(profile.join("user.js"), preferences).expect("a file in our folder");
        let profile = profile.to_string_lossy().into_owned();
        let mut start = command(
            "ip",
            &[
                "netns",
                "exec",
                namespace.name(),
                "firefox-esr",
                "--headless",
                "--marionette",
                "--no-remote",
                "--profile",
                &profile,
            ],
        );
        start
            .env("HOME", place.path())
            .env("MOZ_CRASHREPORTER_DISABLE", "1");
        start.env("MOZ_REMOTE_SETTINGS_DEVTOOLS", "1");
        let process = Process::start("firefox", place.path(), &start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = wait_for("Firefox's Marionette", START, || {
            namespace
                .enter(|| TcpStream::connect(address))
                .map_err(|error| format!("{error}: {}", process.output()))
        });
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .expect("a time-out can be set");
        stream.set_nodelay(true).expect("an option of TCP");
        let mut this = Self {
            stream,
            last_id: 0,
            process,
            _place: place,
        };
        let hello = this.receive().expect("Firefox says hello");
        assert_eq!(hello["marionetteProtocol"], 3, "{hello}");
        let wishes = json!({ "capabilities": { "alwaysMatch": {
            "acceptInsecureCerts": true, "timeouts": { "script": 120_000 } } } });
        this.ask("WebDriver:NewSession", &wishes)
            .expect("a session");
        this
    }

    fn ask(&mut self, command: &str, parameters: &Value) -> Result<Value, String> {
        self.last_id += 1;
        let message = json!([0, self.last_id, command, parameters]).to_string();
        let message = format!("{}:{message}", message.len());
        self.stream
            .write_all(message.as_bytes())
            .map_err(|error| error.to_string())?;
        loop {
            let answer = self.receive()?;
            if answer[1] == self.last_id {
                let error = &answer[2];
                return if error.is_null() {
                    Ok(answer[3].clone())
                } else {
                    Err(format!(
                        "{command}: {}: {}",
                        error["error"], error["message"]
                    ))
                };
            }
        }
    }

    /// One message: its length in decimal, a colon, JSON.
    fn receive(&mut self) -> Result<Value, String> {
        let mut length = 0_usize;
        loop {
            let mut byte = [0];
            self.stream
                .read_exact(&mut byte)
                .map_err(|error| error.to_string())?;
            match byte[0] {
                digit @ b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
                _ => break,
            }
        }
        let mut message = vec![0; length];
        self.stream
            .read_exact(&mut message)
            .map_err(|error| error.to_string())?;
        serde_json::from_slice(&message).map_err(|error| error.to_string())
    }
}

impl Browser for Firefox {
    fn open(&mut self, url: &str) -> Result<(), String> {
        self.ask("WebDriver:Navigate", &json!({ "url": url }))
            .map(|_| ())
    }

    fn try_run(&mut self, script: &str, arguments: &[Value]) -> Result<Value, String> {
        let script = format!("return (async function() {{ {script} }}).apply(null, arguments);");
        let parameters = json!({ "script": script, "args": arguments, "sandbox": null });
        let answer = self.ask("WebDriver:ExecuteScript", &parameters)?;
        Ok(answer["value"].clone())
    }

    fn log(&mut self) -> String {
        self.process.output()
    }

    fn screenshot(&mut self) -> Result<String, String> {
        let answer = self.ask("WebDriver:TakeScreenshot", &json!({ "full": false }))?;
        Ok(answer["value"].as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        // Asked first, killed after: what is left in its process group dies with it.
        let _ = self.ask("Marionette:Quit", &json!({ "flags": ["eForceQuit"] }));
    }
}
