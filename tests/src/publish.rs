//! Owns publishers: the programs with which people send live video, and what they send.

use std::path::{Path, PathBuf};

use crate::netns::Namespace;
use crate::process::{Process, command};
use crate::wait::skip;

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
