#!/usr/bin/env python3
"""A WHIP and WHEP server of another make (aiortc): a full ICE agent that opens the DTLS handshake.

POST /whep/x answers with a picture and a tone of its own; POST /whip/x takes what comes. GET /stats
says how many pictures and blocks of sound were decoded. The port is the only argument."""

import asyncio
import sys

from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack

peers = {}
decoded = {"video": 0, "audio": 0}


async def consume(track):
    try:
        while True:
            await track.recv()
            decoded[track.kind] += 1
    except MediaStreamError:
        pass


async def post(request):
    if request.headers.get("Authorization") != "Bearer a-token-of-16-bytes":
        return web.Response(status=401, text="no token")
    peer = RTCPeerConnection()
    name = str(len(peers))
    peers[name] = peer

    @peer.on("track")
    def on_track(track):
        asyncio.ensure_future(consume(track))

    offer = RTCSessionDescription(sdp=await request.text(), type="offer")
    await peer.setRemoteDescription(offer)
    if request.match_info["kind"] == "whep":
        peer.addTrack(VideoStreamTrack())
        peer.addTrack(AudioStreamTrack())
    await peer.setLocalDescription(await peer.createAnswer())
    return web.Response(
        status=201,
        text=peer.localDescription.sdp,
        content_type="application/sdp",
        headers={"Location": f"/session/{name}"},
    )


async def delete(request):
    peer = peers.pop(request.match_info["name"], None)
    if peer is None:
        return web.Response(status=404)
    await peer.close()
    return web.Response()


async def stats(_):
    return web.json_response({"sessions": len(peers), **decoded})


async def redirect(request):
    """Another node of the same kind, as far as a client can tell."""
    raise web.HTTPTemporaryRedirect(f"/{request.match_info['kind']}/x")


app = web.Application()
app.router.add_post("/elsewhere/{kind}", redirect)
app.router.add_post("/{kind:whip|whep}/x", post)
app.router.add_delete("/session/{name}", delete)
app.router.add_get("/stats", stats)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
