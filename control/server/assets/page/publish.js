// Publishing from the browser by WHIP: camera, screen, or a test picture with a running clock.
//
// Tests and consoles read `window.freshetPublish`.

import { Connection, endSession, nameOk, postOffer } from "/session.js";

const $ = (id) => document.getElementById(id);

/** Live state, for whoever looks from outside. */
const shown = { state: "idle", stream: null, error: null, stats: {} };
window.freshetPublish = shown;

const PICTURE = { width: 1280, height: 720, fps: 30 };
const VIDEO_BPS_MAX = 3_500_000;

/** Encodings of the same picture, the smallest first; viewers get the best that their path carries. */
const SIZES = [
  { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 200_000 },
  { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 700_000 },
  { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 2_500_000 },
];

const STATES = {
  idle: "idle",
  asking: "asking for the source",
  connecting: "connecting",
  live: "on air",
  reconnecting: "reconnecting",
  failed: "failed",
};

// ---------------------------------------------------------------- sources

/** A picture that moves, with a clock in it, and a tone that beeps every second. */
class TestPicture {
  constructor() {
    const canvas = document.createElement("canvas");
    canvas.width = PICTURE.width;
    canvas.height = PICTURE.height;
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.draw();
    // Not requestAnimationFrame: that stops while the page is in the background.
    this.timer = setInterval(() => this.draw(), 1000 / PICTURE.fps);
    this.media = canvas.captureStream(PICTURE.fps);
    this.addTone();
  }

  draw() {
    const { context: c, canvas } = this;
    const now = new Date();
    const t = now.getTime() / 1000;
    const bars = ["#c8c8c8", "#c8c800", "#00c8c8", "#00c800", "#c800c8", "#c80000", "#0000c8"];
    const width = canvas.width / bars.length;
    bars.forEach((color, at) => {
      c.fillStyle = color;
      c.fillRect(at * width, 0, width + 1, canvas.height);
    });
    c.fillStyle = "#0a0e13";
    c.fillRect(0, canvas.height * 0.62, canvas.width, canvas.height * 0.38);
    c.fillStyle = "#45d0c3";
    const x = ((t / 4) % 1) * (canvas.width - 120);
    c.fillRect(x, canvas.height * 0.9, 120, 40);
    c.beginPath();
    c.arc(canvas.width - 120, canvas.height * 0.76, 60, -Math.PI / 2, 2 * Math.PI * (t % 1) - Math.PI / 2);
    c.lineTo(canvas.width - 120, canvas.height * 0.76);
    c.fill();
    c.fillStyle = "#fff";
    c.font = "600 110px ui-monospace, Menlo, Consolas, monospace";
    c.fillText(now.toISOString().slice(11, 23), 50, canvas.height * 0.8);
    this.drawCode(now.getTime());
  }

  /** The clock for machines: its low 24 bits of milliseconds, Gray-coded, as black and white cells. */
  drawCode(unixMs) {
    const { context: c, canvas } = this;
    const code = unixMs % 2 ** 24;
    const gray = code ^ (code >> 1);
    const width = canvas.width / 24;
    for (let bit = 0; bit < 24; bit += 1) {
      c.fillStyle = (gray >> (23 - bit)) & 1 ? "#fff" : "#000";
      c.fillRect(bit * width, 0, width + 1, 48);
    }
  }

  addTone() {
    if (!window.AudioContext) return;
    this.audio = new AudioContext({ sampleRate: 48000 });
    const out = this.audio.createMediaStreamDestination();
    const tone = this.audio.createOscillator();
    const volume = this.audio.createGain();
    tone.frequency.value = 440;
    volume.gain.value = 0;
    tone.connect(volume).connect(out);
    tone.start();
    this.beeper = setInterval(() => {
      const at = this.audio.currentTime;
      volume.gain.setValueAtTime(0.2, at);
      volume.gain.setValueAtTime(0, at + 0.1);
    }, 1000);
    this.media.addTrack(out.stream.getAudioTracks()[0]);
  }

  stop() {
    clearInterval(this.timer);
    clearInterval(this.beeper);
    this.audio?.close();
  }
}

async function open(source) {
  if (source === "test") {
    const picture = new TestPicture();
    return { media: picture.media, close: () => picture.stop() };
  }
  if (!navigator.mediaDevices) {
    throw new Error("the browser gives camera and screen to pages on https or localhost only");
  }
  const audio = { echoCancellation: false, autoGainControl: false, noiseSuppression: false };
  const video = { width: PICTURE.width, height: PICTURE.height, frameRate: PICTURE.fps };
  const media = source === "screen"
    ? await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: PICTURE.fps }, audio: true })
    : await navigator.mediaDevices.getUserMedia({ video, audio });
  return { media, close: () => {} };
}

// ---------------------------------------------------------------- the publisher

class Publisher extends Connection {
  constructor({ onLive }) {
    super(setState);
    this.onLive = onLive;
    this.source = null;
  }

  async start(settings) {
    this.stop();
    const epoch = this.epoch;
    Object.assign(this, settings, { attempt: 0 });
    shown.stream = settings.name;
    shown.error = null;
    setState("asking");
    try {
      const source = await open(settings.sourceKind);
      if (epoch !== this.epoch) return close(source);
      this.source = source;
    } catch (error) {
      if (epoch === this.epoch) this.failed(error);
      return;
    }
    // "Stop sharing" in the browser's own bar.
    this.source.media.getVideoTracks()[0]?.addEventListener("ended", () => this.stop());
    this.connect();
  }

  stop(next = "idle") {
    if (this.source) close(this.source);
    this.source = null;
    super.stop(next);
  }

  leave() {
    super.leave();
    this.before = null;
    shown.stats = {};
  }

  async connect() {
    const epoch = ++this.epoch;
    this.leave();
    setState(this.attempt === 0 ? "connecting" : "reconnecting");
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.pc = pc;
    pc.onconnectionstatechange = () => this.connectionChanged(epoch);
    const { media } = this.source;
    for (const track of media.getTracks()) {
      const isVideo = track.kind === "video";
      const transceiver = pc.addTransceiver(track, {
        direction: "sendonly",
        streams: [media],
        sendEncodings: isVideo ? encodings(this.layers, this.codec) : [],
      });
      if (isVideo && this.codec !== "auto") prefer(transceiver, this.codec);
    }
    try {
      await pc.setLocalDescription(await pc.createOffer());
      const { session, answer } = await postOffer(
        `/whip/${this.name}`, pc.localDescription.sdp, this.token,
      );
      if (epoch !== this.epoch) return endSession(session);
      this.session = session;
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      if (epoch === this.epoch) this.failed(error);
    }
  }

  connected() {
    this.attempt = 0;
    setState("live");
    this.onLive(this.name);
  }

  failed(error) {
    const passing = !error.status || error.status === 503 || error.status === 408;
    if (this.source && passing && !(error instanceof DOMException)) return this.retry(error.retryAfterMs);
    this.stop("failed");
    shown.error = { status: error.status ?? 0, message: error.message, remedy: error.remedy ?? "" };
    show();
  }

  async measure() {
    const { pc, epoch } = this;
    if (!pc) return;
    const report = await pc.getStats();
    if (epoch !== this.epoch) return;
    const sent = [...report.values()].filter((one) => one.type === "outbound-rtp" && one.kind === "video");
    const now = largest(sent);
    const remote = [...report.values()].find(
      (one) => one.type === "remote-inbound-rtp" && one.kind === "video",
    );
    if (!now) return;
    const { before } = this;
    this.before = now;
    const seconds = before ? (now.timestamp - before.timestamp) / 1000 : 0;
    shown.stats = {
      width: now.frameWidth ?? 0,
      height: now.frameHeight ?? 0,
      fps: now.framesPerSecond ?? 0,
      codec: report.get(now.codecId)?.mimeType?.split("/")[1] ?? null,
      bitrateBps: seconds > 0 && before.id === now.id
        ? Math.round((8 * (now.bytesSent - before.bytesSent)) / seconds) : 0,
      layers: sent.filter((one) => one.framesPerSecond > 0).length,
      scalability: now.scalabilityMode ?? null,
      framesSent: now.framesSent ?? 0,
      limitedBy: now.qualityLimitationReason ?? "none",
      retransmitted: now.retransmittedPacketsSent ?? 0,
      keyframes: now.keyFramesEncoded ?? 0,
      nacks: now.nackCount ?? 0,
      plis: now.pliCount ?? 0,
      rttMs: remote?.roundTripTime === undefined ? null : remote.roundTripTime * 1000,
      lossPercent: remote?.fractionLost === undefined ? null : remote.fractionLost * 100,
    };
    show();
  }
}

/**
 * What the browser is to send of the picture. Chromium sends VP9 and AV1 in several sizes only if each
 * is said to have one spatial layer.
 */
function encodings(layers, codec) {
  if (layers === "simulcast") {
    return codec === "vp9" || codec === "av1"
      ? SIZES.map((size) => ({ ...size, scalabilityMode: "L1T3" }))
      : SIZES;
  }
  const one = { maxBitrate: VIDEO_BPS_MAX };
  return [layers === "one" ? one : { ...one, scalabilityMode: layers }];
}

/** Of several encodings the one with most pixels that is being sent. */
function largest(sent) {
  const pixels = (one) => (one.framesPerSecond > 0 ? (one.frameWidth ?? 0) * (one.frameHeight ?? 0) : -1);
  return sent.toSorted((a, b) => pixels(b) - pixels(a))[0];
}

function close(source) {
  source.media.getTracks().forEach((track) => track.stop());
  source.close();
}

/** Puts one codec first; what repairs it stays. */
function prefer(transceiver, name) {
  const codecs = RTCRtpSender.getCapabilities("video").codecs;
  const is = (codec) => codec.mimeType.toLowerCase() === `video/${name}`;
  if (!codecs.some(is)) throw new Error(`this browser does not encode ${name.toUpperCase()}`);
  transceiver.setCodecPreferences([...codecs.filter(is), ...codecs.filter((codec) => !is(codec))]);
}

// ---------------------------------------------------------------- what is shown

function setState(state) {
  shown.state = state;
  show();
}

function show() {
  const { state, stats, error } = shown;
  const badge = $("publish-state");
  badge.dataset.state = { live: "playing", asking: "waiting" }[state] ?? state;
  badge.textContent = STATES[state];
  const busy = !["idle", "failed"].includes(state);
  $("publish-go").textContent = busy ? "Stop" : "Go live";
  for (const id of ["publish-source", "publish-codec", "publish-layers", "name"]) $(id).disabled = busy;
  $("publish-token-row").hidden = error?.status !== 401;
  $("publish-error").textContent = error && !busy ? [error.message, error.remedy].filter(Boolean).join(": ") : "";
  const parts = [];
  if (stats.codec) parts.push(stats.codec, `${stats.width}×${stats.height}`, `${Math.round(stats.fps)} fps`);
  if (stats.bitrateBps) parts.push(`${(stats.bitrateBps / 1e6).toFixed(2)} Mbit/s`);
  if (stats.layers > 1) parts.push(`${stats.layers} sizes`);
  if (stats.rttMs !== null && stats.rttMs !== undefined) parts.push(`round trip ${stats.rttMs.toFixed(1)} ms`);
  if (stats.lossPercent) parts.push(`${stats.lossPercent.toFixed(1)} % lost`);
  if (stats.limitedBy && stats.limitedBy !== "none") parts.push(`limited by ${stats.limitedBy}`);
  $("publish-stats").textContent = parts.join(" · ");
}

/** Wires the form. `onLive` is told the name of a stream that has gone on air. */
export function setUpPublishing({ onLive }) {
  const publisher = new Publisher({ onLive });
  $("publish-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!["idle", "failed"].includes(shown.state)) return publisher.stop();
    const name = $("name").value.trim();
    if (!nameOk(name)) return $("name").focus();
    publisher.start({
      name,
      sourceKind: $("publish-source").value,
      codec: $("publish-codec").value,
      layers: $("publish-layers").value,
      token: $("publish-token").value || new URLSearchParams(location.hash.slice(1)).get("publish_token"),
    });
  });
  addEventListener("pagehide", () => publisher.stop());
  setInterval(() => publisher.measure().catch(() => {}), 1000);
  show();
}
