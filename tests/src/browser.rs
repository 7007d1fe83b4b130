//! Owns what a test asks of a page, whichever browser shows it.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::Server;
use crate::wait::wait_for;

/// How long a picture may take on a loaded machine before a test gives up.
const PICTURE: Duration = Duration::from_secs(30);

/// How long the server's page may take from its address to playing on a loaded machine.
const PLAYING: Duration = Duration::from_secs(40);

/// For those who publish from another host.
pub const PUBLISH_TOKEN: &str = "0123456789abcdef0123";

/// Fills the page's form and presses its button.
const GO_LIVE: &str = "
    const set = (id, value) => {
        const field = document.getElementById(id);
        field.value = value;
        field.dispatchEvent(new Event('input'));
    };
    set('name', arguments[0]);
    set('publish-source', 'test');
    set('publish-codec', arguments[1]);
    set('publish-layers', arguments[2]);
    if (arguments[3]) set('publish-token', arguments[3]);
    document.getElementById('publish-go').click();";

/// Reads the clock that the test picture carries from the video that the page plays: milliseconds
/// from drawing to showing, of so many pictures.
const GLASS_TO_GLASS: &str = "
    const video = document.querySelector('video');
    const canvas = document.createElement('canvas');
    canvas.width = 240; canvas.height = 1;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const ages = [];
    await new Promise((done) => {
        const look = () => {
            const y = video.videoHeight * 24 / 720;
            context.drawImage(video, 0, y, video.videoWidth, 1, 0, 0, 240, 1);
            const line = context.getImageData(0, 0, 240, 1).data;
            let gray = 0;
            for (let bit = 0; bit < 24; bit += 1)
                gray = gray * 2 + (line[(bit * 10 + 5) * 4] > 127 ? 1 : 0);
            let code = gray;
            for (let shift = 1; shift < 24; shift *= 2) code ^= code >> shift;
            const age = (Date.now() - code) % 2 ** 24;
            ages.push(age);
            if (ages.length === arguments[0]) done();
            else video.requestVideoFrameCallback(look);
        };
        video.requestVideoFrameCallback(look);
        setTimeout(done, 15000);
    });
    return ages;";

/// A browser with one page.
pub trait Browser {
    /// Opens an address and waits until it has loaded.
    ///
    /// # Errors
    /// What the browser said.
    fn open(&mut self, url: &str) -> Result<(), String>;

    /// Runs the body of a function in the page and gives what it returns; a promise is awaited.
    ///
    /// # Errors
    /// What the browser said.
    fn try_run(&mut self, script: &str, arguments: &[Value]) -> Result<Value, String>;

    /// What the browser and the page have written to their logs.
    fn log(&mut self) -> String;

    /// A picture of the page as PNG in base64.
    ///
    /// # Errors
    /// What the browser said.
    fn screenshot(&mut self) -> Result<String, String>;

    /// The same as [`Browser::try_run`]; an error fails the test.
    ///
    /// # Panics
    /// On an error, with the browser's log.
    fn run(&mut self, script: &str, arguments: &[Value]) -> Value {
        match self.try_run(script, arguments) {
            Ok(value) => value,
            Err(error) => panic!("{error}\n{}", self.log()),
        }
    }

    /// Waits until a script gives something that is not null or false.
    ///
    /// # Panics
    /// When it does not.
    fn wait(&mut self, what: &str, limit: Duration, script: &str) -> Value {
        wait_for(what, limit, || {
            let value = self.run(script, &[]);
            let is_there = !matches!(value, Value::Null | Value::Bool(false));
            if is_there {
                Ok(value)
            } else {
                Err(format!("{value}; {}", self.run(PAGE_STATE, &[])))
            }
        })
    }

    /// Opens the server's page on a stream and waits until it plays.
    ///
    /// # Panics
    /// When it does not.
    fn watch(&mut self, server: &Server, stream: &str) {
        let opened = self.open(&server.url(&format!("/?stream={stream}")));
        opened.unwrap_or_else(|error| panic!("{error}"));
        self.wait_playing();
    }

    /// Waits until the server's page plays, whatever was opened in it.
    ///
    /// # Panics
    /// When it does not.
    fn wait_playing(&mut self) {
        self.wait(
            "the page to play",
            PLAYING,
            "return window.freshet.state === 'playing'",
        );
    }

    /// Fills the page's form and lets it publish its test picture, as its `layers` say (`one` for
    /// one size).
    fn begin_publishing(&mut self, stream: &str, codec: &str, layers: &str) {
        let arguments = [stream, codec, layers, PUBLISH_TOKEN].map(|one| json!(one));
        self.run(GO_LIVE, &arguments);
    }

    /// Opens the server's page, publishes its test picture and waits until the server has it on
    /// air.
    ///
    /// # Panics
    /// When it is not.
    fn go_live(&mut self, server: &Server, stream: &str, codec: &str, layers: &str) {
        let opened = self.open(&server.url("/?stream=nothing-here"));
        opened.unwrap_or_else(|error| panic!("{error}"));
        self.begin_publishing(stream, codec, layers);
        wait_for("the page to publish", PLAYING, || {
            let state = self.run("return window.freshetPublish", &[]);
            if state["state"] == "live" {
                Ok(())
            } else {
                Err(format!("{state} {}", self.log()))
            }
        });
        server.wait_live(stream);
    }

    /// From drawing the test picture to showing it, of the middle one of so many pictures.
    ///
    /// # Panics
    /// When the page does not show as many.
    fn glass_to_glass_ms(&mut self, pictures: usize) -> f64 {
        let mut ages = numbers_of(&self.run(GLASS_TO_GLASS, &[json!(pictures)]));
        assert!(
            ages.len() >= 60.min(pictures),
            "only {} pictures",
            ages.len()
        );
        ages.sort_by(f64::total_cmp);
        ages[ages.len() / 2]
    }

    /// Waits until the page's video shows a picture.
    ///
    /// # Panics
    /// When it does not.
    fn wait_picture(&mut self) {
        self.wait(
            "a picture",
            PICTURE,
            "return document.querySelector('video').videoWidth > 0
            && document.querySelector('video').currentTime > 0",
        );
    }

    /// Reads what the video shows now.
    fn picture(&mut self) -> Picture {
        let value = self.run(READ_PIXELS, &[]);
        Picture {
            width: value["width"].as_u64().unwrap_or(0),
            height: value["height"].as_u64().unwrap_or(0),
            pixels: numbers(&value["pixels"]),
        }
    }

    /// Fails unless the video shows a picture that is neither black nor frozen.
    ///
    /// # Panics
    /// If it does.
    fn must_show_a_moving_picture(&mut self) -> Picture {
        self.wait_picture();
        let first = self.picture();
        assert!(first.contrast() > 40, "the picture is one grey: {first:?}");
        let mut last = first.clone();
        let mut changes = 0;
        for _ in 0..10 {
            sleep(Duration::from_millis(120));
            let next = self.picture();
            changes += usize::from(next.differs_from(&last));
            last = next;
        }
        assert!(
            changes >= 5,
            "of 10 looks at the picture only {changes} saw it change: {} {}",
            self.run(PAGE_STATE, &[]),
            self.log()
        );
        last
    }

    /// One report of `getStats()` by type and kind, from the page's one connection; null if none.
    fn stats(&mut self, kind: &str, of: &str) -> Value {
        self.run(READ_STATS, &[json!(kind), json!(of)])
    }
}

/// What a video showed, in a small grid of grey values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width of the video in pixels.
    pub width: u64,
    /// Height of the video in pixels.
    pub height: u64,
    /// 64 by 36 cells of red, green and blue, 0 to 255.
    pub pixels: Vec<u64>,
}

impl Picture {
    /// Brightest less darkest value.
    #[must_use]
    pub fn contrast(&self) -> u64 {
        let brightest = self.pixels.iter().max().copied().unwrap_or(0);
        brightest - self.pixels.iter().min().copied().unwrap_or(0)
    }

    /// True if the two show something else, by more than noise.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> bool {
        let both = self.pixels.iter().zip(&other.pixels);
        let changed = both.filter(|(one, two)| one.abs_diff(**two) > 8).count();
        changed > 3 || self.pixels.len() != other.pixels.len()
    }

    /// The colour of a place, given in hundredths of width and height.
    #[must_use]
    pub fn colour(&self, x: usize, y: usize) -> [u64; 3] {
        let (column, row) = ((x * 64 / 100).min(63), (y * 36 / 100).min(35));
        let at = (row * 64 + column) * 3;
        let channel = |n| self.pixels.get(at + n).copied().unwrap_or(0);
        [channel(0), channel(1), channel(2)]
    }
}

/// Starts to note when each frame of the page's video is shown; see [`LONGEST_FREEZE`].
pub const WATCH_FRAMES: &str = "
    const video = document.querySelector('video');
    window.shown = [];
    const note = (now, meta) => {
        window.shown.push(now);
        video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);
    return true;";

/// The longest time between two frames since [`WATCH_FRAMES`] up to now, in milliseconds, and the
/// number of frames.
pub const LONGEST_FREEZE: &str = "
    const times = [...window.shown, performance.now()];
    let longest = 0;
    for (let i = 1; i < times.length; i++) longest = Math.max(longest, times[i] - times[i - 1]);
    return { longest, frames: window.shown.length };";

/// Plays a stream by WHEP without the server's page: offer, POST, answer. Gives the milliseconds
/// from POST to the first frame. Arguments: address of the endpoint, and the kinds wanted.
pub const PLAY: &str = "
    const [url, kinds] = arguments;
    document.body.innerHTML = '<video autoplay muted playsinline></video>';
    const video = document.querySelector('video');
    const pc = new RTCPeerConnection();
    window.pc = pc;
    window.states = [];
    pc.onconnectionstatechange = () => window.states.push(pc.connectionState);
    const stream = new MediaStream();
    pc.ontrack = event => stream.addTrack(event.track);
    video.srcObject = stream;
    for (const kind of kinds) pc.addTransceiver(kind, { direction: 'recvonly' });
    await pc.setLocalDescription(await pc.createOffer());
    window.offer = pc.localDescription.sdp;
    const first = new Promise(resolve => {
        if (!kinds.includes('video')) resolve(null);
        else video.requestVideoFrameCallback(now => resolve(now));
    });
    const start = performance.now();
    const response = await fetch(url, {
        method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: window.offer });
    window.answer = await response.text();
    if (response.status !== 201) throw new Error(response.status + ' ' + window.answer);
    await pc.setRemoteDescription({ type: 'answer', sdp: window.answer });
    video.play().catch(() => {});
    const shown = await Promise.race([first, new Promise(r => setTimeout(r, 15000, 'late'))]);
    return { ms: typeof shown === 'number' ? shown - start : shown, answered: response.status };";

const PAGE_STATE: &str = "
    const video = document.querySelector('video');
    return JSON.stringify({
        page: window.freshet,
        ice: window.pc && window.pc.iceConnectionState, states: window.states,
        video: video && [video.videoWidth, video.currentTime, video.readyState, video.paused],
        text: document.body.innerText.slice(0, 200) });";

const READ_PIXELS: &str = "
    const video = document.querySelector('video');
    const canvas = document.createElement('canvas');
    canvas.width = 64; canvas.height = 36;
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0, 64, 36);
    const data = context.getImageData(0, 0, 64, 36).data;
    const pixels = [];
    for (let i = 0; i < data.length; i += 4) pixels.push(data[i], data[i + 1], data[i + 2]);
    return { width: video.videoWidth, height: video.videoHeight, pixels };";

const READ_STATS: &str = "
    const [type, kind] = arguments;
    const pc = window.pc || (window.freshet && window.freshet.pc);
    if (!pc) return null;
    for (const report of (await pc.getStats()).values())
        if (report.type === type && (!kind || report.kind === kind))
            return JSON.parse(JSON.stringify(report));
    return null;";

fn numbers(value: &Value) -> Vec<u64> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|number| number.as_u64().unwrap_or(0))
        .collect()
}

fn numbers_of(values: &Value) -> Vec<f64> {
    let values = values.as_array().map_or(&[][..], |values| values);
    values.iter().filter_map(Value::as_f64).collect()
}
