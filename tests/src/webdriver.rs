//! Owns Chromium, headless, driven by chromedriver's WebDriver protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::http;
use crate::netns::Namespace;
use crate::place::{Place, free_tcp_port};
use crate::process::{Process, command};
use crate::wait::wait_for;

const START: Duration = Duration::from_secs(60);

const ARGUMENTS: [&str; 15] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--window-size=1280,800",
];

/// A Chromium with one page.
#[derive(Debug)]
pub struct Chromium {
    driver: SocketAddr,
    session: String,
    process: Process,
    // Last: the profile outlives the process.
    _place: Place,
}

impl Chromium {
    /// Starts a browser with a fresh profile.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments on its command line.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(more: &[&str]) -> Self {
        Self::launch(&[], Ipv4Addr::LOCALHOST, &[], more)
    }

    /// The same inside `namespace`, at the other end of its cable.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_in(namespace: &Namespace) -> Self {
        let inside = ["ip", "netns", "exec", namespace.name()];
        let let_in = format!("--allowed-ips={}", namespace.here());
        Self::launch(&inside, namespace.there(), &[&let_in], &[])
    }

    /// Runs the driver by the command `inside`, reached at `ip`, with `options`; the browser gets
    /// `more` arguments.
    fn launch(inside: &[&str], ip: Ipv4Addr, options: &[&str], more: &[&str]) -> Self {
        let place = Place::new("chromium");
        let port = free_tcp_port();
        let driver = SocketAddr::from((ip, port));
        let (port, log) = (
            format!("--port={port}"),
            format!("--log-path={}", place.path().join("driver.log").display()),
        );
        let words = [inside, &["chromedriver", &port, &log], options].concat();
        let driver_command = command(words[0], &words[1..]);
        let process = Process::start("chromedriver", place.path(), &driver_command);
        wait_for("chromedriver", START, || {
            match http::get(driver, "/status") {
                Ok(answer) if answer.json()["value"]["ready"] == true => Ok(()),
                Ok(answer) => Err(answer.text()),
                Err(error) => Err(error),
            }
        });
        let mut this = Self {
            driver,
            session: String::new(),
            process,
            _place: place,
        };
        let profile = this._place.path().join("profile");
        let mut arguments = ARGUMENTS.to_vec();
        let profile = format!("--user-data-dir={}", profile.display());
        arguments.push(&profile);
        arguments.extend(more);
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 120_000 },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let opened = this.ask("POST", "", &capabilities);
        let opened = opened.unwrap_or_else(|error| panic!("{error}\n{}", this.process.output()));
        let id = opened["sessionId"].as_str().expect("a session has an id");
        this.session = format!("/{id}");
        this
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let path = format!("/session{}{path}", self.session);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let headers = [("content-type", "application/json; charset=utf-8")];
        let answer = http::request(self.driver, method, &path, &headers, body.as_bytes())?;
        let value = answer.json()["value"].clone();
        if answer.status == 200 {
            Ok(value)
        } else {
            Err(format!("{}: {}", value["error"], value["message"]))
        }
    }
}

impl Browser for Chromium {
    fn open(&mut self, url: &str) -> Result<(), String> {
        self.ask("POST", "/url", &json!({ "url": url })).map(|_| ())
    }

    fn try_run(&mut self, script: &str, arguments: &[Value]) -> Result<Value, String> {
        let script = format!("return (async function() {{ {script} }}).apply(null, arguments);");
        self.ask(
            "POST",
            "/execute/sync",
            &json!({ "script": script, "args": arguments }),
        )
    }

    fn log(&mut self) -> String {
        let page = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let page = page.map_or_else(|error| error, |value| value.to_string());
        format!("{page}\n{}", self.process.output())
    }

    fn screenshot(&mut self) -> Result<String, String> {
        let value = self.ask("GET", "/screenshot", &Value::Null)?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Asked first, killed after: what is left in its process group dies with the driver.
        let _ = self.ask("DELETE", "", &Value::Null);
    }
}
