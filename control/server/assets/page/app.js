// The page: a list of what is on air, and one WHEP player.
//
// Tests and consoles read `window.freshet`: what is played, how far it has come, and its numbers.

import { Connection, endSession, nameOk, postOffer, refusal } from "/session.js";
import { setUpPublishing } from "/publish.js";

const $ = (id) => document.getElementById(id);

/** Live state, for whoever looks from outside. */
const shown = { state: "idle", stream: null, pc: null, stats: {}, firstFrameMs: null, error: null, restarts: 0 };
window.freshet = shown;

const POLL_MS = 1000;
// A connection that has held so long was good: the next failure starts with a short wait again.
const STEADY_MS = 5000;
// Without a single byte for so long, ask the server whether the session is still there.
const SILENCE_MS = 6000;

// ---------------------------------------------------------------- the player

class Player extends Connection {
  constructor(video) {
    super(setState);
    this.video = video;
    this.name = null;
    this.token = new URLSearchParams(location.hash.slice(1)).get("token");
  }

  /** Begins to watch `name`, or begins anew. */
  play(name) {
    this.stop("connecting");
    this.name = name;
    this.attempt = 0;
    shown.stream = name;
    shown.firstFrameMs = null;
    shown.error = null;
    this.connect();
  }

  stop(next = "stopped") {
    super.stop(next);
  }

  /** `quietly`: the numbers are left where they are shown until there are new ones. */
  leave(quietly = false) {
    super.leave();
    this.video.srcObject = null;
    shown.stats = {};
    if (!quietly) showStats();
  }

  async connect() {
    const epoch = ++this.epoch;
    const begun = performance.now();
    this.leave(true);
    setState(this.attempt === 0 ? "connecting" : "reconnecting");
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.pc = pc;
    shown.pc = pc;
    const media = new MediaStream();
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.ontrack = ({ track }) => {
      media.addTrack(track);
      if (this.video.srcObject !== media) {
        this.video.srcObject = media;
        this.awaitFrame(epoch, begun);
      }
      this.start();
    };
    pc.onconnectionstatechange = () => this.connectionChanged(epoch);
    try {
      await pc.setLocalDescription(await pc.createOffer());
      // The server learns our address from our checks: no candidate needs to be waited for.
      const answer = await this.post(pc.localDescription.sdp);
      if (epoch !== this.epoch) return;
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      if (epoch === this.epoch) this.failed(error);
    }
  }

  async post(offer) {
    const epoch = this.epoch;
    const { session, answer } = await postOffer(`/whep/${this.name}`, offer, this.token);
    if (epoch === this.epoch) {
      this.session = session;
    } else {
      // Another stream was chosen meanwhile.
      endSession(session);
    }
    return answer;
  }

  /** Plays muted if sound may not start by itself. */
  async start() {
    try {
      await this.video.play();
    } catch (error) {
      if (error.name === "NotAllowedError" && !this.video.muted) {
        this.video.muted = true;
        showSound();
        this.video.play().catch(() => {});
      }
    }
  }

  awaitFrame(epoch, begun) {
    const seen = () => {
      if (epoch !== this.epoch) return;
      if (shown.firstFrameMs === null) {
        shown.firstFrameMs = Math.round((performance.now() - begun) * 10) / 10;
        say(`Playing ${this.name}`);
      }
      setTimeout(() => { if (epoch === this.epoch) this.attempt = 0; }, STEADY_MS);
      setState("playing");
      showStats();
    };
    if (this.video.requestVideoFrameCallback) {
      this.video.requestVideoFrameCallback(seen);
    } else {
      this.video.addEventListener("loadeddata", seen, { once: true });
    }
    // A stream of sound alone has no first frame.
    this.video.addEventListener("playing", () => {
      if (epoch === this.epoch && !this.video.srcObject?.getVideoTracks().length) setState("playing");
    }, { once: true });
  }

  connected() {
    if (shown.state === "reconnecting" && this.video.videoWidth) setState("playing");
  }

  restarting() {
    shown.restarts += 1;
  }

  failed(error) {
    shown.error = { status: error.status ?? 0, message: error.message, remedy: error.remedy ?? "" };
    if (error.status === 401) {
      this.leave();
      setState("failed");
      return;
    }
    // What will not change by itself is not asked for again.
    if ([400, 404, 405, 406, 413, 415, 422].includes(error.status)) {
      this.leave();
      setState(error.status === 404 ? "waiting" : "failed");
      return;
    }
    this.retry(error.retryAfterMs, error.status === 409 ? "waiting" : "reconnecting");
  }

  /** Nothing comes: is the session still there? */
  async check() {
    const { session, epoch } = this;
    if (!session) return;
    try {
      const response = await fetch(session.url);
      if (response.status === 404 && epoch === this.epoch) {
        this.session = null;
        this.retry();
      }
    } catch {
      // The server does not answer; media may flow all the same. ICE will tell.
    }
  }
}

// ---------------------------------------------------------------- the numbers

let earlier = null;

async function measure() {
  const { pc, epoch } = player;
  if (!pc) return;
  const report = await pc.getStats();
  if (epoch !== player.epoch) return;
  const now = {};
  let pair = null;
  for (const entry of report.values()) {
    if (entry.type === "inbound-rtp") now[entry.kind] = entry;
    if (entry.type === "transport" && entry.selectedCandidatePairId) {
      pair = report.get(entry.selectedCandidatePairId);
    }
    if (entry.type === "candidate-pair" && entry.nominated && !pair) pair = entry;
  }
  const before = earlier?.epoch === epoch ? earlier : {};
  earlier = { ...now, epoch, heardAt: before.heardAt ?? performance.now() };
  shown.stats = numbers(now, before, pair, report);
  // After an ICE restart a browser may never report a change of state: pictures tell.
  const pictures = (now.video?.framesDecoded ?? 0) > (before.video?.framesDecoded ?? Infinity);
  if (shown.state === "reconnecting" && pictures && pc.connectionState === "connected") {
    clearTimeout(player.timer);
    setState("playing");
  }
  const received = (set) => (set.video?.bytesReceived ?? 0) + (set.audio?.bytesReceived ?? 0);
  if (received(now) !== received(before)) {
    earlier.heardAt = performance.now();
  } else if (performance.now() - earlier.heardAt > SILENCE_MS && isLive(player.name)) {
    earlier.heardAt = performance.now();
    player.check();
  }
  showStats();
}

function numbers({ video, audio }, before, pair, report) {
  const grown = (now, old, key) => (now?.[key] ?? 0) - (old?.[key] ?? 0);
  const seconds = (now, old) => (old ? (now.timestamp - old.timestamp) / 1000 : 0);
  const rttMs = pair?.currentRoundTripTime !== undefined ? pair.currentRoundTripTime * 1000 : null;
  const codec = (track) => report.get(track?.codecId)?.mimeType?.split("/")[1] ?? null;
  const out = { rttMs, videoCodec: codec(video), audioCodec: codec(audio) };
  let lost = 0;
  let expected = 0;
  let bits = 0;
  for (const [track, old] of [[video, before.video], [audio, before.audio]]) {
    if (!track) continue;
    lost += grown(track, old, "packetsLost");
    expected += grown(track, old, "packetsLost") + grown(track, old, "packetsReceived");
    const span = seconds(track, old);
    if (span > 0) bits += (8 * grown(track, old, "bytesReceived")) / span;
  }
  out.lossPercent = expected > 0 ? Math.max(0, (100 * lost) / expected) : null;
  out.bitrateBps = Math.round(bits);
  if (!video) return out;
  const each = (sum, count) => {
    const n = grown(video, before.video, count);
    return n > 0 ? (1000 * grown(video, before.video, sum)) / n : null;
  };
  out.bufferMs = each("jitterBufferDelay", "jitterBufferEmittedCount");
  out.decodeMs = each("totalDecodeTime", "framesDecoded");
  // From the first packet of a frame to the decoded picture; holds the buffer as well.
  const throughMs = each("totalProcessingDelay", "framesDecoded");
  const browserMs = throughMs ?? (out.bufferMs === null ? null : out.bufferMs + (out.decodeMs ?? 0));
  out.latencyMs = browserMs === null ? null : browserMs + (rttMs ?? 0) / 2;
  Object.assign(out, {
    width: video.frameWidth ?? 0,
    height: video.frameHeight ?? 0,
    fps: video.framesPerSecond ?? null,
    framesDecoded: video.framesDecoded ?? 0,
    framesDropped: video.framesDropped ?? 0,
    freezes: video.freezeCount ?? 0,
    packetsReceived: video.packetsReceived ?? 0,
    packetsLost: video.packetsLost ?? 0,
    nacks: video.nackCount ?? 0,
    plis: video.pliCount ?? 0,
  });
  out.captureMs = sinceCapture(video);
  return out;
}

/**
 * From the moment of capture, as the server's reports tell it, to the picture shown. Only where one
 * clock measures both ends: on the host of the server itself.
 */
function sinceCapture(video) {
  const sameHost = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  if (!sameHost || !video.estimatedPlayoutTimestamp) return null;
  // Some browsers count from 1900 as NTP does, others from 1970.
  const from1900 = 2208988800000;
  const at = video.estimatedPlayoutTimestamp;
  const unix = at > from1900 ? at - from1900 : at;
  const age = performance.timeOrigin + performance.now() - unix;
  return age >= 0 && age < 10000 ? age : null;
}

const none = "–";
const round = (value) => (value < 10 ? value.toFixed(1) : Math.round(value));
const ms = (value) => (value === null || value === undefined ? none : `${round(value)} ms`);
const percent = (value) => (Number.isFinite(value) ? `${value.toFixed(value ? 2 : 0)} %` : none);

function rate(bps) {
  if (!bps) return none;
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(2)} Mbit/s` : `${Math.round(bps / 1e3)} kbit/s`;
}

function count(n) {
  const [unit, name] = [[1e9, " G"], [1e6, " M"], [1e4, " k"]].find(([least]) => n >= least) ?? [1, ""];
  return name ? `${(n / (unit === 1e4 ? 1e3 : unit)).toFixed(1)}${name}` : `${n}`;
}

function showStats() {
  const s = shown.stats;
  const set = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };
  set("s-first", ms(shown.firstFrameMs));
  set("s-latency", ms(s.latencyMs));
  set("s-loss", percent(s.lossPercent));
  set("s-rtt", ms(s.rttMs));
  set("s-size", s.width ? `${s.width} × ${s.height}` : none);
  set("s-fps", s.fps ? `${Math.round(s.fps)} fps` : none);
  set("s-bitrate", rate(s.bitrateBps));
  set("s-codec", [s.videoCodec, s.audioCodec].filter(Boolean).join(" + ") || none);
  $("s-latency").title = s.captureMs ? `${ms(s.captureMs)} since capture, by the reports of the server` : "";
}

// ---------------------------------------------------------------- what is shown

const STATES = {
  idle: "idle",
  connecting: "connecting",
  playing: "playing",
  reconnecting: "reconnecting",
  waiting: "waiting",
  failed: "failed",
  stopped: "stopped",
};

function setState(state) {
  shown.state = state;
  const badge = $("state");
  if (badge.dataset.state !== state) {
    badge.dataset.state = state;
    badge.textContent = STATES[state];
  }
  showCover();
  const watching = ["connecting", "playing", "reconnecting", "waiting"].includes(state);
  $("play").disabled = !player.name;
  $("play").textContent = watching ? "Stop" : "Play";
  $("mute").disabled = $("full").disabled = !player.name;
  showSound();
}

function showCover() {
  const { state, error } = shown;
  const name = player.name ?? "";
  const why = error
    ? [error.message, error.remedy].filter(Boolean).map((text) => `${capital(text)}.`).join(" ")
    : "";
  const texts = {
    idle: ["Choose a stream", "Pick one from the list, or publish one."],
    connecting: ["Connecting", name],
    reconnecting: ["Reconnecting", why || "The connection was lost. The picture comes back by itself."],
    waiting: ["Waiting for the publisher", `${name} has no picture now. It starts by itself.`],
    failed: [error?.status === 401 ? "This stream wants a token" : "This stream cannot be played", why],
    stopped: ["Stopped", "Press Play to watch again."],
  };
  const offline = state === "playing" && !isLive(name);
  const [title, text] = offline ? texts.waiting : texts[state] ?? ["", ""];
  $("cover").hidden = state === "playing" && !offline;
  $("cover-title").textContent = title;
  $("cover-text").textContent = text;
  $("token-form").hidden = !(state === "failed" && error?.status === 401);
  $("retry").hidden = !(state === "failed" && error?.status !== 401);
}

function showSound() {
  const { muted } = player.video;
  $("mute").textContent = muted ? "Unmute" : "Mute";
  const silent = !player.video.srcObject?.getAudioTracks().length;
  $("unmute").hidden = !muted || silent || shown.state !== "playing";
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/\.$/, "");

function say(text) {
  $("say").textContent = text;
}

// ---------------------------------------------------------------- the list

let streams = [];
let listed = "";
const meter = new Map();

const isLive = (name) => streams.some((s) => s.name === name && s.state === "live");

async function poll() {
  try {
    const response = await fetch("/v1/streams", { cache: "no-store" });
    if (!response.ok) throw await refusal(response);
    streams = await response.json();
    const live = streams.filter((s) => s.state === "live").length;
    const viewers = streams.reduce((sum, s) => sum + s.viewers, 0);
    server(true, `${live} live, ${viewers} watching`);
    showList();
    showNotices();
    follow();
  } catch {
    server(false, "the server does not answer; what plays goes on");
  }
}

function server(ok, text) {
  $("server").dataset.ok = String(ok);
  if ($("server").textContent !== text) $("server").textContent = text;
}

function showList() {
  const sorted = [...streams].sort((a, b) => a.name.localeCompare(b.name));
  const names = JSON.stringify(sorted.map((s) => s.name));
  // Rows are kept while the names are the same, so that keyboard focus stays where it is.
  if (names !== listed) {
    listed = names;
    $("streams").replaceChildren(...sorted.map((stream) => row(stream.name)));
  }
  sorted.forEach((stream, at) => fill($("streams").children[at].firstChild, stream));
  $("empty").hidden = sorted.length > 0;
}

function row(name) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "stream";
  for (const part of ["dot", "name", "viewers", "detail"]) {
    const span = document.createElement("span");
    span.className = part;
    button.append(span);
  }
  button.addEventListener("click", () => choose(name, true));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

function fill(button, stream) {
  const [dot, name, viewers, detail] = button.children;
  dot.dataset.state = stream.state;
  name.textContent = stream.name;
  viewers.textContent = stream.viewers === 1 ? "1 viewer" : `${stream.viewers} viewers`;
  const { video, audio } = stream;
  const parts = [stream.state === "live" ? null : stream.state];
  if (video) {
    const size = video.width ? ` ${video.width}×${video.height}` : "";
    const fps = video.fps ? ` ${Math.round(video.fps)} fps` : "";
    parts.push(`${video.codec}${size}${fps}`, video.bitrate_bps ? rate(video.bitrate_bps) : null);
  }
  if (audio) parts.push(audio.codec);
  const sent = perSecond(stream);
  if (sent > 0) parts.push(`${count(sent)} packets/s out`);
  detail.textContent = parts.filter(Boolean).join(" · ");
  const current = stream.name === player.name;
  button.setAttribute("aria-current", String(current));
  const troubles = stream.notices.filter((n) => n.severity !== "info").length;
  const told = [stream.name, stream.state, viewers.textContent, troubles ? `${troubles} notices` : null];
  button.setAttribute("aria-label", told.filter(Boolean).join(", "));
}

function perSecond(stream) {
  const now = { at: performance.now(), sent: stream.counters.packet_sent };
  const before = meter.get(stream.name);
  meter.set(stream.name, now);
  if (!before || now.sent < before.sent || now.at <= before.at) return 0;
  return Math.round((1000 * (now.sent - before.sent)) / (now.at - before.at));
}

function showNotices() {
  const notices = streams.find((s) => s.name === player.name)?.notices ?? [];
  const box = $("notices");
  const key = JSON.stringify(notices);
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.hidden = notices.length === 0;
  box.replaceChildren(...notices.map((notice) => {
    const item = document.createElement("article");
    item.className = "notice";
    item.dataset.severity = notice.severity;
    item.dataset.code = notice.code;
    const title = document.createElement("h3");
    title.textContent = notice.message;
    const text = document.createElement("p");
    const lead = document.createElement("b");
    lead.textContent = "What to do: ";
    text.append(lead, notice.remedy);
    item.append(title, text);
    return item;
  }));
}

/** Keeps the player in step with what the server says is on air. */
function follow() {
  if (!player.name) {
    const first = streams.find((s) => s.state === "live");
    if (first) choose(first.name, false);
    return;
  }
  if (shown.state === "waiting" && isLive(player.name)) player.play(player.name);
  if (shown.state === "playing") showCover();
}

function choose(name, byHand) {
  if (byHand) {
    const url = new URL(location.href);
    url.searchParams.set("stream", name);
    history.pushState(null, "", url);
  }
  $("title").textContent = name;
  document.title = `${name} – Freshet`;
  player.play(name);
  showList();
  showNotices();
}

// ---------------------------------------------------------------- publishing

function showLines() {
  const name = $("name").value.trim();
  const good = nameOk(name);
  $("name").setAttribute("aria-invalid", String(!good));
  $("name-error").textContent = good ? "" : "One to four parts of A-Z a-z 0-9 . _ - with / between.";
  if (!good) return;
  const port = document.querySelector("meta[name=freshet-srt-port]").content;
  // ffmpeg and OBS count latency in microseconds.
  const url = `srt://${location.hostname}:${port}?streamid=publish:${name}&latency=120000`;
  $("line-ffmpeg").textContent =
    "ffmpeg -re -i input.mp4 -c:v libx264 -preset veryfast -tune zerolatency -bf 0 -g 60 " +
    `-c:a aac -b:a 128k -f mpegts -pes_payload_size 0 "${url}"`;
  $("line-obs").textContent = url;
  $("line-whip").textContent = `${location.origin}/whip/${name}`;
  $("line-whep").textContent = `${location.origin}/whep/${name}`;
}

async function copy(button) {
  const code = $(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    // Plain HTTP has no clipboard: leave the text marked, one key away.
    getSelection().selectAllChildren(code);
    button.textContent = "Press Ctrl+C";
  }
  say(button.textContent);
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

// ---------------------------------------------------------------- start

const player = new Player($("video"));

function toggleSound() {
  player.video.muted = !player.video.muted;
  player.start();
  showSound();
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("screen").requestFullscreen?.();
}

function chosenByAddress() {
  const name = new URLSearchParams(location.search).get("stream");
  if (name && nameOk(name)) choose(name, false);
  else if (name) {
    shown.error = { status: 400, message: `"${name}" is not a name of a stream`, remedy: "" };
    setState("failed");
  }
}

$("play").addEventListener("click", () => {
  if (["stopped", "failed", "idle"].includes(shown.state)) player.play(player.name);
  else player.stop();
});
$("retry").addEventListener("click", () => player.play(player.name));
$("mute").addEventListener("click", toggleSound);
$("unmute").addEventListener("click", toggleSound);
$("full").addEventListener("click", toggleFull);
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  player.token = $("token").value;
  player.play(player.name);
});
$("name").addEventListener("input", showLines);
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy(button));
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !player.name) return;
  if (event.key === "m") toggleSound();
  if (event.key === "f") toggleFull();
});
addEventListener("popstate", chosenByAddress);
// Leaving, also into the browser's back-forward cache, ends the session.
addEventListener("pagehide", () => player.leave(true));
addEventListener("pageshow", (event) => {
  if (event.persisted && player.name && shown.state !== "stopped") player.play(player.name);
});

setUpPublishing({ onLive: (name) => { if (!player.name) choose(name, true); } });
showLines();
setState("idle");
chosenByAddress();
poll();
setInterval(() => { if (!document.hidden || shown.state === "waiting") poll(); }, POLL_MS);
setInterval(() => measure().catch(() => {}), POLL_MS);
