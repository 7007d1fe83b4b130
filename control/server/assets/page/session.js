// What watching and publishing have in common: names, refusals, the SDP of an ICE restart, and how a
// connection that has failed is begun anew.

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 8000;
// Browsers call a connection "disconnected" after 5 to 7 s without answers; then ICE is restarted,
// and if that does not help within this time, everything is begun anew.
const RESTART_MS = 6000;

export const nameOk = (name) =>
  name.split("/").length <= 4 &&
  name.split("/").every((part) => /^[A-Za-z0-9._-]{1,64}$/.test(part) && part !== "." && part !== "..");

/** A refusal with what the server says about it. */
export async function refusal(response) {
  let problem = {};
  if (response.status === 406 && response.headers.get("Content-Type")?.startsWith("application/sdp")) {
    // An offer of the server's own. We offered all that this browser has: it would not help.
    endSession({ url: new URL(response.headers.get("Location"), response.url || location.href).href });
    problem = {
      detail: "this browser and the stream have no codec in common",
      remedy: "watch it with another browser, or publish it with another codec (H.264 plays everywhere)",
    };
    return failure(response, problem);
  }
  try {
    problem = await response.json();
  } catch {
    // Not from our server: the status has to do.
  }
  return failure(response, problem);
}

function failure(response, problem) {
  const error = new Error(problem.detail || problem.title || `HTTP ${response.status}`);
  error.status = response.status;
  error.remedy = problem.remedy;
  const seconds = Number(response.headers.get("Retry-After"));
  error.retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : undefined;
  return error;
}

/** The fragment of RFC 8840 section 9 with our credentials. */
export function fragmentOf(sdp) {
  const line = (prefix) => sdp.split(/\r?\n/).find((l) => l.startsWith(prefix)) ?? "";
  const group = line("a=group:BUNDLE");
  const first = sdp.split(/\r?\nm=/)[1] ?? "";
  const mid = /^a=mid:.*$/m.exec(first)?.[0] ?? "a=mid:0";
  const media = `m=${first.split(/\r?\n/)[0]}`;
  const lines = [group, line("a=ice-ufrag:"), line("a=ice-pwd:"), "a=ice-options:trickle", media, mid];
  return `${lines.filter(Boolean).join("\r\n")}\r\n`;
}

/** The former answer with the credentials and candidates of a fragment. */
export function withCredentials(answer, fragment) {
  const of = (name) => new RegExp(`^a=${name}:(\\S+)`, "m").exec(fragment)?.[1];
  const candidates = fragment.match(/^a=candidate:.*$/gm)?.map((c) => c.trimEnd()) ?? [];
  let sdp = answer;
  for (const name of ["ice-ufrag", "ice-pwd"]) {
    const value = of(name);
    if (!value) throw new Error("the answer to the restart has no credentials");
    sdp = sdp.replace(new RegExp(`^a=${name}:.*$`, "gm"), `a=${name}:${value}`);
  }
  if (candidates.length) {
    sdp = sdp.replace(/^a=candidate:.*\r?\n/gm, "");
    sdp = sdp.replace(/^(a=ice-pwd:.*)$/gm, `$1\r\n${candidates.join("\r\n")}`);
  }
  return sdp;
}

/** Restarts ICE by PATCH (RFC 9725 section 4.3.3): keys and picture stay. */
async function restartIce(pc, session) {
  const before = pc.remoteDescription.sdp;
  await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
  const response = await fetch(session.url, {
    method: "PATCH",
    headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" },
    body: fragmentOf(pc.localDescription.sdp),
  });
  if (response.status !== 200) throw await refusal(response);
  session.etag = response.headers.get("ETag");
  await pc.setRemoteDescription({ type: "answer", sdp: withCredentials(before, await response.text()) });
}

/** Posts an offer; the session that it makes, and the answer. */
export async function postOffer(path, offer, token) {
  const headers = { "Content-Type": "application/sdp", Accept: "application/sdp" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { method: "POST", headers, body: offer });
  if (response.status !== 201) throw await refusal(response);
  const url = new URL(response.headers.get("Location"), response.url || location.href).href;
  return { session: { url, etag: response.headers.get("ETag") }, answer: await response.text() };
}

/** Ends a session; nobody waits for the answer. */
export function endSession(session) {
  fetch(session.url, { method: "DELETE", keepalive: true }).catch(() => {});
}

/** One connection after another to the same end. Who extends it says how one is begun: `connect`. */
export class Connection {
  /** `setState` is told how far it has come. */
  constructor(setState) {
    this.setState = setState;
    this.pc = null;
    this.session = null;
    this.attempt = 0;
    this.timer = null;
    // Counts connections: what an old one still reports is ignored.
    this.epoch = 0;
  }

  /** Ends for good and tells the server. */
  stop(next) {
    this.epoch += 1;
    clearTimeout(this.timer);
    this.leave();
    this.setState(next);
  }

  /** Lets go of the connection that is there now. */
  leave() {
    const { pc, session } = this;
    this.pc = null;
    this.session = null;
    if (pc) pc.close();
    if (session) endSession(session);
  }

  connectionChanged(epoch) {
    if (epoch !== this.epoch || !this.pc) return;
    const state = this.pc.connectionState;
    if (state === "connected") this.connected();
    if (state === "disconnected") this.restart(epoch);
    if (state === "failed") this.retry();
  }

  /** ICE restart by PATCH (RFC 9725 section 4.3.3): keys and picture stay. */
  async restart(epoch) {
    const { pc, session } = this;
    if (!session || pc.signalingState !== "stable") return;
    this.setState("reconnecting");
    this.restarting();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (epoch === this.epoch && pc.connectionState !== "connected") this.retry();
    }, RESTART_MS);
    try {
      await restartIce(pc, session);
    } catch {
      if (epoch === this.epoch) this.retry();
    }
  }

  /** Begins anew after a while that doubles every time. */
  retry(afterMs, state = "reconnecting") {
    this.epoch += 1;
    this.leave(true);
    clearTimeout(this.timer);
    const backoff = Math.min(RETRY_FIRST_MS * 2 ** this.attempt, RETRY_MAX_MS);
    // Scattered, so that all viewers of a server that was restarted do not come back at once.
    const wait = Math.max(afterMs ?? 0, backoff) * (0.75 + Math.random() / 2);
    this.attempt += 1;
    this.setState(state);
    this.timer = setTimeout(() => this.connect(), wait);
  }

  /** ICE and DTLS are through. */
  connected() {}

  /** ICE is about to be restarted. */
  restarting() {}
}
