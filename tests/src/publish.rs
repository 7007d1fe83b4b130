//! Owns publishers: the programs with which people send live video, and what they send.

mod entry;
mod mark;
mod offer;
mod source;
mod whip;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::netns::Namespace;
use crate::process::{Process, command};
use crate::wait::{skip, wait_for};

pub use entry::Entry;
pub use mark::{ENCODINGS, Mark};
pub use offer::{CNAME, Offer, PAYLOAD_TYPE, RIDS};
pub use source::Begin;
pub use whip::{Kind, Whip};

/// What ffmpeg makes and sends.
#[derive(Clone, Copy, Debug)]
pub struct Ffmpeg<'a> {
    /// Frames from keyframe to keyframe, at 30 a second.
    pub gop: u32,
    /// x264's options between `-c:v libx264` and the bit rate.
    pub video: &'a [&'a str],
    /// Kilobits of video a second.
    pub video_kbps: u32,
    /// Audio codec, or empty for none.
    pub audio: &'a str,
    /// Picture size.
    pub size: &'a str,
}

impl Default for Ffmpeg<'_> {
    fn default() -> Self {
        Self {
            gop: 60,
            video: &[
                "-preset",
                "ultrafast",
                "-tune",
                "zerolatency",
                "-profile:v",
                "baseline",
            ],
            video_kbps: 1000,
            audio: "aac",
            size: "640x360",
        }
    }
}

impl Ffmpeg<'_> {
    /// Publishes a moving test picture and a tone to `url` until it is dropped.
    #[must_use]
    pub fn to(&self, url: &str, folder: &Path) -> Process {
        let picture = format!("testsrc2=size={}:rate=30", self.size);
        let rate = format!("{}k", self.video_kbps);
        let gop = self.gop.to_string();
        let mut arguments = vec!["-hide_banner", "-loglevel", "info", "-nostdin", "-re"];
        arguments.extend(["-f", "lavfi", "-i", &picture]);
        if !self.audio.is_empty() {
            arguments.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
        }
        arguments.extend(["-c:v", "libx264", "-pix_fmt", "yuv420p"]);
        arguments.extend(self.video);
        arguments.extend(["-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0"]);
        arguments.extend(["-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate]);
        if !self.audio.is_empty() {
            arguments.extend(["-c:a", self.audio, "-b:a", "96k", "-ac", "2"]);
        }
        arguments.extend(["-f", "mpegts", url]);
        Process::start("ffmpeg", folder, &command("ffmpeg", &arguments))
    }
}

/// A test picture and a tone that ffmpeg pushes as RTP, each from a port of its own.
#[derive(Clone, Debug)]
pub struct RtpPush {
    /// Where to.
    pub to: SocketAddr,
    /// Where video and audio come from; their RTCP from the ports after these.
    pub from: [u16; 2],
    /// Suite and the base64 of keys and salts of video and audio, for SRTP.
    pub keys: Option<(String, [String; 2])>,
    /// Frames from keyframe to keyframe, at 30 a second.
    pub gop: u32,
}

impl RtpPush {
    /// Pushes until it is dropped. ffmpeg's own description of it is given too.
    ///
    /// # Panics
    /// When ffmpeg does not begin.
    #[must_use]
    pub fn start(&self, folder: &Path) -> (Process, String) {
        let sdp = folder.join(format!("push{}.sdp", self.from[0]));
        let gop = self.gop.to_string();
        let sdp_path = sdp.to_string_lossy();
        let urls = self.from.map(|port| self.url(port));
        let mut arguments = vec!["-hide_banner", "-loglevel", "info", "-nostdin", "-re"];
        arguments.extend(["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30"]);
        arguments.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
        arguments.extend(["-map", "0:v", "-c:v", "libx264", "-pix_fmt", "yuv420p"]);
        arguments.extend(["-preset", "ultrafast", "-tune", "zerolatency"]);
        arguments.extend(["-profile:v", "baseline", "-g", &gop, "-b:v", "1000k"]);
        self.secure(&mut arguments, 0);
        arguments.extend(["-f", "rtp", &urls[0]]);
        arguments.extend(["-map", "1:a", "-c:a", "libopus", "-ac", "2", "-b:a", "96k"]);
        self.secure(&mut arguments, 1);
        arguments.extend(["-f", "rtp", &urls[1], "-sdp_file", &sdp_path]);
        let name = format!("ffmpeg-rtp-{}", self.from[0]);
        let process = Process::start(&name, folder, &command("ffmpeg", &arguments));
        let text = wait_for("ffmpeg's description", START, || {
            let text = fs::read_to_string(&sdp).unwrap_or_default();
            match text.contains("m=audio") && text.contains("opus") {
                true => Ok(text),
                false => Err(process.output()),
            }
        });
        (process, text)
    }

    fn url(&self, port: u16) -> String {
        let scheme = match self.keys {
            Some(_) => "srtp",
            None => "rtp",
        };
        format!("{scheme}://{}?localrtpport={port}&pkt_size=1200", self.to)
    }

    fn secure<'a>(&'a self, arguments: &mut Vec<&'a str>, track: usize) {
        if let Some((suite, keys)) = &self.keys {
            arguments.extend(["-srtp_out_suite", suite, "-srtp_out_params", &keys[track]]);
        }
    }
}

/// How long ffmpeg may take to begin on a loaded machine.
const START: Duration = Duration::from_secs(20);

/// GStreamer's SRT sink; `aligned`: 1316 bytes a message instead of 188.
#[must_use]
pub fn gstreamer(url: &str, aligned: bool, folder: &Path) -> Process {
    let mux = if aligned {
        "mpegtsmux name=mux alignment=7"
    } else {
        "mpegtsmux name=mux"
    };
    let line = format!(
        "-q videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,\
         framerate=30/1 ! x264enc tune=zerolatency \
         speed-preset=ultrafast bitrate=1000 key-int-max=60 ! video/x-h264,profile=baseline \
         ! h264parse ! queue ! mux. audiotestsrc is-live=true ! audioconvert ! voaacenc \
         ! aacparse ! queue ! mux. {mux} ! srtsink wait-for-connection=false uri={url}"
    );
    let words: Vec<&str> = line.split_whitespace().collect();
    Process::start("gst", folder, &command("gst-launch-1.0", &words))
}

/// libsrt's own tool, fed with `ts` over UDP by ffmpeg at its true pace, again and again.
#[must_use]
pub fn live_transmit(url: &str, ts: &Path, port: u16, folder: &Path) -> (Process, Process) {
    let from = format!("udp://127.0.0.1:{port}");
    let tool = command("srt-live-transmit", &["-v", &from, url]);
    let tool = Process::start("srt-live-transmit", folder, &tool);
    let to = format!("udp://127.0.0.1:{port}?pkt_size=1316");
    let ts = ts.to_string_lossy();
    let arguments = [
        "-hide_banner",
        "-loglevel",
        "warning",
        "-nostdin",
        "-re",
        "-stream_loop",
        "-1",
        "-i",
        &ts,
        "-c",
        "copy",
        "-f",
        "mpegts",
        &to,
    ];
    (
        tool,
        Process::start("ffmpeg-udp", folder, &command("ffmpeg", &arguments)),
    )
}

/// FFmpeg's own WHIP muxer, with these arguments of `publish/whip_av.py`; it says "live" and, when
/// it was asked to stop, "ended". Wants [`have_ffmpeg_whip`].
#[must_use]
pub fn ffmpeg_whip(url: &str, more: &[&str], folder: &Path) -> Process {
    let script = script("whip_av.py");
    let arguments = [&[script.as_str(), url][..], more].concat();
    Process::start("ffmpeg-whip", folder, &command(av_python(), &arguments))
}

/// A WHIP and WHEP server of another make at this port of 127.0.0.1: `publish/peer_aiortc.py`.
/// Wants [`have_aiortc`].
#[must_use]
pub fn aiortc(port: u16, folder: &Path) -> Process {
    let arguments = [script("peer_aiortc.py"), port.to_string()];
    let arguments = arguments.each_ref().map(String::as_str);
    Process::start("aiortc", folder, &command(av_python(), &arguments))
}

/// GStreamer's webrtcbin in a namespace: libnice binds its sockets to devices, and never gets from
/// there to 127.0.0.1. With these arguments of `publish/webrtc_gst.py`. Wants [`have_webrtcbin`].
#[must_use]
pub fn webrtcbin(from: &Namespace, url: &str, more: &[&str], folder: &Path) -> Process {
    let script = script("webrtc_gst.py");
    let inside = ["netns", "exec", from.name(), PYTHON, &script, url];
    let arguments = [&inside[..], more].concat();
    Process::start("webrtcbin", folder, &command("ip", &arguments))
}

/// True if FFmpeg's libraries with the WHIP muxer are there, which `tests/run tools` puts into the
/// target folder: Debian's are too old.
///
/// # Panics
/// When they are missing and skipping is forbidden.
#[must_use]
pub fn have_ffmpeg_whip() -> bool {
    let python = av_python();
    python.is_file() || skip(&format!("{} not found: tests/run tools", python.display()))
}

/// True if aiortc is there, which `tests/run tools` puts into the target folder.
///
/// # Panics
/// When it is missing and skipping is forbidden.
#[must_use]
pub fn have_aiortc() -> bool {
    let imports = command(av_python(), &["-c", "import aiohttp, aiortc"]).output();
    let is_there = imports.is_ok_and(|output| output.status.success());
    is_there || skip("aiortc not found: tests/run tools")
}

/// True if GStreamer can be had from Python, with webrtcbin.
///
/// # Panics
/// When it is missing and skipping is forbidden.
#[must_use]
pub fn have_webrtcbin() -> bool {
    let script = script("webrtc_gst.py");
    let imports = command(PYTHON, &[&script, "--help"]).output();
    let is_there = imports.is_ok_and(|output| output.status.success());
    is_there || skip("GStreamer's webrtcbin and its bindings to Python not found: tests/run tools")
}

/// Debian's bindings belong to Debian's Python, whichever comes first in the path.
const PYTHON: &str = "/usr/bin/python3";

fn script(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/publish");
    folder.join(name).to_string_lossy().into_owned()
}

fn av_python() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its path");
    let target = own.ancestors().nth(3).expect("target/PROFILE/deps/test");
    target.join("tools/av/bin/python")
}
