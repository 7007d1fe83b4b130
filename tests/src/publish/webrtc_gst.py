#!/usr/bin/env python3
"""Publishes a moving test picture and a tone, or watches a stream, with GStreamer's webrtcbin.

Runs until it gets SIGTERM, then ends the session by DELETE. Prints what becomes of the session, a
line each: "answered", "state: connected", "ended"; and as a viewer "shown: FRAMES, heard: BUFFERS"
once a second.
"""

import argparse
import signal
import sys
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

# What the endpoint is given to answer.
PATIENCE_SECONDS = 10

PICTURE = (
    "videotestsrc is-live=true pattern=smpte horizontal-speed=8"
    " ! video/x-raw,width=640,height=360,framerate=30/1"
)
TONE = "audiotestsrc is-live=true wave=sine freq=440 ! audio/x-raw,rate=48000,channels=2"
VIDEO = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=1000 key-int-max=60 bframes=0"
    " ! video/x-h264,profile=constrained-baseline"
    " ! rtph264pay pt=96 aggregate-mode=zero-latency config-interval=-1"
    " ! application/x-rtp,media=video,encoding-name=H264,payload=96",
    "vp8": "vp8enc deadline=1 cpu-used=8 target-bitrate=1000000 keyframe-max-dist=60"
    " ! rtpvp8pay pt=96 picture-id-mode=15-bit"
    " ! application/x-rtp,media=video,encoding-name=VP8,payload=96",
}
AUDIO = (
    "opusenc bitrate=96000 ! rtpopuspay pt=97"
    " ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97"
)
# What a viewer takes, and how it is decoded.
WANTED = {
    "h264": "application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000,"
    "packetization-mode=(string)1,profile-level-id=(string)42e01f,rtcp-fb-nack-pli=true",
    "vp8": "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000",
    "opus": "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,"
    "encoding-params=(string)2",
}
DECODERS = {
    "H264": "rtph264depay ! h264parse ! openh264dec",
    "VP8": "rtpvp8depay ! vp8dec",
    "OPUS": "rtpopusdepay ! opusdec",
}


def say(text):
    print(text, flush=True)


class Endpoint:
    """The HTTP side of a session: POST, PATCH, DELETE."""

    def __init__(self, url, token):
        self.url = url
        self.token = token
        self.session = None
        self.etag = None

    def post(self, offer):
        answer = self.request("POST", self.url, offer, "application/sdp")
        self.session = urllib.parse.urljoin(self.url, answer.headers["Location"])
        self.etag = answer.headers["ETag"]
        return answer.read().decode()

    def trickle(self, fragment):
        kind = "application/trickle-ice-sdpfrag"
        answer = self.request("PATCH", self.session, fragment, kind, {"If-Match": self.etag})
        say(f"trickled: {answer.status}")

    def delete(self):
        if self.session:
            self.request("DELETE", self.session)
            self.session = None

    def request(self, method, url, body=None, kind=None, headers=None):
        data = body.encode() if body else None
        request = urllib.request.Request(url, data, headers or {}, method=method)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        if kind:
            request.add_header("Content-Type", kind)
        return urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)


class Session:
    """A pipeline around one webrtcbin. Everything but the counting runs on the main loop."""

    def __init__(self, options, loop):
        self.options = options
        self.loop = loop
        self.endpoint = Endpoint(options.url, options.token)
        self.reply = None
        self.offer = None
        self.candidates = []
        self.counts = {"video": 0, "audio": 0}
        bin_ = "webrtcbin name=rtc bundle-policy=max-bundle"
        if options.watch:
            self.pipeline = Gst.parse_launch(bin_)
        else:
            video = f"{PICTURE} ! {VIDEO[options.codec]} ! queue ! rtc."
            audio = f"{TONE} ! {AUDIO} ! queue ! rtc."
            self.pipeline = Gst.parse_launch(f"{bin_} {video} {audio}")
        # A lone element is not put into a pipeline by the parser.
        if not isinstance(self.pipeline, Gst.Pipeline):
            alone, self.pipeline = self.pipeline, Gst.Pipeline()
            self.pipeline.add(alone)
        self.rtc = self.pipeline.get_by_name("rtc")

    def start(self):
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_error)
        self.rtc.connect("on-ice-candidate", self.on_candidate)
        self.rtc.connect("notify::ice-gathering-state", self.on_gathering)
        self.rtc.connect("notify::connection-state", self.on_state)
        self.rtc.connect("pad-added", self.on_pad)
        if self.options.nack:
            for number in range(len(self.counts)):
                self.rtc.emit("get-transceiver", number).set_property("do-nack", True)
        self.rtc.connect("on-negotiation-needed", lambda _: GLib.idle_add(self.make_offer))
        if self.options.watch:
            for name in (self.options.codec, "opus"):
                caps = Gst.Caps.from_string(WANTED[name])
                direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
                self.rtc.emit("add-transceiver", direction, caps)
            GLib.timeout_add_seconds(1, self.report)
        self.pipeline.set_state(Gst.State.PLAYING)

    def stop(self):
        self.endpoint.delete()
        self.pipeline.set_state(Gst.State.NULL)
        say("ended")

    def make_offer(self):
        if self.offer is None:
            promise = Gst.Promise.new_with_change_func(self.on_offer)
            self.rtc.emit("create-offer", None, promise)
        return False

    def on_offer(self, promise):
        # The offer lives as long as the reply that it came in.
        self.reply = promise.get_reply()
        self.offer = self.reply.get_value("offer")
        self.rtc.emit("set-local-description", self.offer, Gst.Promise.new())
        if self.options.trickle:
            GLib.idle_add(self.post)

    def on_candidate(self, _rtc, line, candidate):
        GLib.idle_add(self.candidates.append, (line, candidate))

    def on_gathering(self, rtc, _property):
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if rtc.get_property("ice-gathering-state") == complete:
            GLib.idle_add(self.trickle if self.options.trickle else self.post)

    def post(self):
        offer = self.offer
        if not self.options.trickle:
            offer = self.rtc.get_property("local-description")
        text = offer.sdp.as_text()
        if self.options.verbose:
            say(text)
        answer = self.endpoint.post(text)
        say("answered")
        if self.options.verbose:
            say(answer)
        _, sdp = GstSdp.SDPMessage.new_from_text(answer)
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        answer = GstWebRTC.WebRTCSessionDescription.new(kind, sdp)
        self.rtc.emit("set-remote-description", answer, Gst.Promise.new())
        return False

    def trickle(self):
        """All candidates at once (RFC 9725 section 4.3.2), after the answer."""
        if self.endpoint.session is None:
            return True
        sdp = self.offer.sdp.as_text().splitlines()
        credentials = [l for l in sdp if l.startswith(("a=ice-ufrag:", "a=ice-pwd:"))][:2]
        first = next(l for l in sdp if l.startswith("m="))
        mid = next(l for l in sdp if l.startswith("a=mid:"))
        lines = [f"a={candidate}" for line, candidate in self.candidates if line == 0]
        fragment = [*credentials, first, mid, *lines, "a=end-of-candidates", ""]
        self.endpoint.trickle("\r\n".join(fragment))
        return False

    def on_state(self, rtc, _property):
        say(f"state: {rtc.get_property('connection-state').value_nick}")

    def on_pad(self, _rtc, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        caps = pad.get_current_caps().get_structure(0)
        decoder = DECODERS[caps.get_string("encoding-name")]
        sink = "fakesink name=sink signal-handoffs=true sync=false"
        chain = Gst.parse_bin_from_description(f"queue ! {decoder} ! {sink}", True)
        kind = caps.get_string("media")
        chain.get_by_name("sink").connect("handoff", lambda *_: self.count(kind))
        self.pipeline.add(chain)
        chain.sync_state_with_parent()
        pad.link(chain.get_static_pad("sink"))

    def count(self, kind):
        self.counts[kind] += 1

    def report(self):
        say(f"shown: {self.counts['video']}, heard: {self.counts['audio']}")
        return True

    def on_error(self, _bus, message):
        say(f"error: {message.parse_error()}")
        self.loop.quit()


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("url", help="endpoint, as http://HOST/whip/NAME")
    arguments.add_argument("--token", help="for those who publish from another host")
    arguments.add_argument("--watch", action="store_true", help="be a viewer; the URL is of WHEP")
    arguments.add_argument("--codec", default="h264", choices=sorted(VIDEO))
    arguments.add_argument("--trickle", action="store_true", help="send candidates by PATCH")
    arguments.add_argument("--nack", action="store_true", help="offer retransmissions")
    arguments.add_argument("--verbose", action="store_true", help="print offer and answer")
    options = arguments.parse_args()

    # Where an exception of a callback would only be printed, it ends the program.
    def fail(*what):
        sys.__excepthook__(*what)
        loop.quit()

    sys.excepthook = fail
    Gst.init(None)
    loop = GLib.MainLoop()
    session = Session(options, loop)
    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, loop.quit)
    session.start()
    loop.run()
    session.stop()


if __name__ == "__main__":
    main()
