#!/usr/bin/env python3
"""Publishes a moving test picture and a tone with FFmpeg's own WHIP muxer, until it gets SIGTERM.

Wants the package `av`, 18 or later, which brings FFmpeg's libraries along. Prints "live" when the
server has answered and the handshake is done, and "ended" when the muxer has closed the session.
"""

import argparse
import signal
import time

import av
from av.filter import Graph

FRAMES_A_SECOND = 30
SAMPLES_A_SECOND = 48000
# 20 ms: what the encoder takes at once.
SAMPLES_A_PACKET = 960


def source(*filters):
    """A chain of filters that makes frames."""
    graph = Graph()
    nodes = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(*nodes).configure()
    return graph


def picture(size):
    return source(
        ("testsrc2", f"size={size}:rate={FRAMES_A_SECOND}"),
        ("format", "yuv420p"),
        ("buffersink", None),
    )


def tone():
    return source(
        ("sine", f"frequency=440:sample_rate={SAMPLES_A_SECOND}:samples_per_frame={SAMPLES_A_PACKET}"),
        ("aformat", "sample_fmts=s16:channel_layouts=stereo"),
        ("abuffersink", None),
    )


def video_track(container, options):
    width, height = map(int, options.size.split("x"))
    track = container.add_stream("libx264", rate=FRAMES_A_SECOND)
    track.width, track.height, track.pix_fmt = width, height, "yuv420p"
    track.bit_rate = 1_000_000
    track.codec_context.gop_size = options.gop
    track.codec_context.max_b_frames = 0
    track.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "x264-params": f"keyint={options.gop}:min-keyint={options.gop}:scenecut=0",
    }
    return track


def audio_track(container):
    track = container.add_stream("libopus", rate=SAMPLES_A_SECOND, layout="stereo")
    track.bit_rate = 96_000
    return track


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("url", help="endpoint, as http://HOST/whip/NAME")
    arguments.add_argument("--option", action="append", default=[], metavar="KEY=VALUE",
                           help="option of the muxer, such as whip_flags=dtls_active")
    arguments.add_argument("--tracks", default="av", choices=["av", "a", "v"])
    arguments.add_argument("--gop", type=int, default=60, help="frames from keyframe to keyframe")
    arguments.add_argument("--size", default="640x360")
    options = arguments.parse_args()
    av.logging.restore_default_callback()
    av.logging.set_level(av.logging.VERBOSE)

    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))

    muxer = dict(option.split("=", 1) for option in options.option)
    container = av.open(options.url, "w", format="whip", options=muxer)
    tracks = []
    if "v" in options.tracks:
        tracks.append((video_track(container, options), picture(options.size)))
    if "a" in options.tracks:
        tracks.append((audio_track(container), tone()))
    container.start_encoding()
    print("live", flush=True)

    start = time.monotonic()
    waiting = [graph.pull() for _, graph in tracks]
    while not stopped:
        times = [frame.time for frame in waiting]
        first = times.index(min(times))
        time.sleep(max(0.0, start + times[first] - time.monotonic()))
        track, graph = tracks[first]
        container.mux(track.encode(waiting[first]))
        waiting[first] = graph.pull()
    container.close()
    print("ended", flush=True)


if __name__ == "__main__":
    main()
