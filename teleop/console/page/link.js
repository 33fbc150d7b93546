// The line to the server: one WebSocket, a clock that knows its offset, and what every page does with the state.
export const $ = (id) => document.getElementById(id);
export const now = () => performance.now() / 1000;

export function element(kind, text = "", name = "") {
  const made = document.createElement(kind);
  if (text !== "") made.textContent = text;
  if (name) made.className = name;
  return made;
}

export function toast(text, kind = "info") {
  const line = element("div", text, kind);
  $("toasts").append(line);
  while ($("toasts").children.length > 4) $("toasts").firstChild.remove();
  setTimeout(() => line.remove(), kind === "info" ? 3500 : 7000);
}

export class Link {
  constructor(role) {
    this.role = role;
    this.offset = null; // server time = page time + offset
    this.rtt = null;
    this.you = null;
    this.listeners = {};
    this.pings = [];
    this.open();
  }

  on(type, work) { (this.listeners[type] ||= []).push(work); return this; }
  emit(type, value) { for (const work of this.listeners[type] || []) work(value); }
  get ready() { return this.socket?.readyState === WebSocket.OPEN; }
  server() { return now() + (this.offset ?? 0); }

  send(message) {
    // A line that takes nothing is a line that is gone: heartbeats never queue up, words do.
    if (this.ready && (message.type !== "hand" || this.socket.bufferedAmount < 4096)) this.socket.send(JSON.stringify(message));
  }

  open() {
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/${this.role}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.synchronise();
    this.socket.onmessage = (event) => this.take(event.data);
    this.socket.onclose = () => {
      clearInterval(this.timer);
      this.emit("offline");
      setTimeout(() => this.open(), 1000);
    };
    clearInterval(this.timer);
    this.timer = setInterval(() => this.synchronise(), 30000);
  }

  synchronise() {
    this.pings = [];
    for (let k = 0; k < 5; k++) setTimeout(() => this.send({ type: "ping", time: now() }), 60 * k);
  }

  take(data) {
    if (data instanceof ArrayBuffer) {
      const view = new DataView(data);
      this.emit("frame", { index: view.getUint8(0), captured: view.getFloat64(8, true), jpeg: new Blob([new Uint8Array(data, 16)], { type: "image/jpeg" }) });
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "pong") {
      const back = now();
      this.pings.push({ rtt: back - message.time, offset: message.server - (message.time + back) / 2 });
      if (this.pings.length === 5) {
        const best = this.pings.reduce((a, b) => (a.rtt < b.rtt ? a : b));
        [this.offset, this.rtt] = [best.offset, best.rtt];
        this.send({ type: "clock", offset: best.offset, rtt: best.rtt });
      }
      return;
    }
    if (message.type === "hello") this.you = message.you;
    if (message.type === "error") toast(message.error, "error");
    this.emit(message.type, message);
  }
}

export function say(seconds) {
  const whole = Math.max(0, seconds);
  return `${Math.floor(whole / 60)}:${String(Math.floor(whole % 60)).padStart(2, "0")}`;
}

// Two soft notes, for a new command. Browsers let a page sound only after its first key or touch.
let audio = null;
for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => { audio ||= new AudioContext(); audio.resume(); }, { passive: true });
export function tone() {
  if (!audio) return;
  for (const [at, hertz] of [[0, 660], [0.16, 880]]) {
    const note = audio.createOscillator(), loud = audio.createGain(), start = audio.currentTime + at;
    note.frequency.value = hertz;
    loud.gain.setValueAtTime(0.0001, start);
    loud.gain.exponentialRampToValueAtTime(0.25, start + 0.02);
    loud.gain.exponentialRampToValueAtTime(0.0001, start + 0.32);
    note.connect(loud).connect(audio.destination);
    note.start(start);
    note.stop(start + 0.35);
  }
}

// The parts of the state that both pages show in the same way.
export function showState(link, state) {
  const disturbed = state.touching || state.disturbed;
  document.body.dataset.mode = state.mode;
  document.body.dataset.phase = state.phase;
  $("mode").textContent = state.mode;
  const left = state.phase === "recording" ? ` ${say(state.elapsed_s)}` : "";
  $("phase").children[1].textContent = { idle: "practice", armed: "armed", recording: "recording", review: "review", policy: "policy" }[state.phase] + left;
  $("kept").textContent = state.phase === "policy" ? `episode ${state.kept}` : `${state.kept} of ${link.hello?.episodes ?? "?"} kept`;
  $("line").textContent = link.rtt === null ? "finding the clock …" : `${(1000 * link.rtt).toFixed(1)} ms round trip`;
  const text = state.instruction.text, number = state.instruction.number;
  if ($("words").textContent !== text) $("words").textContent = text;
  for (const [, kind, words] of state.notices) toast(words, kind);
  document.body.classList.toggle("disturbed", Boolean(disturbed));
  if (link.number !== number) {
    const first = link.number === undefined;
    link.number = number;
    if (!first) link.emit("command", { number, text });
  }
}

export function wireStop(link) {
  $("halt").onclick = () => link.send({ type: "halt", reason: "" });
  addEventListener("keydown", (event) => { if (event.key === "Escape") link.send({ type: "halt", reason: "" }); });
  link.on("hello", (hello) => { link.hello = hello; });
  link.on("offline", () => { document.body.dataset.mode = "OFFLINE"; $("mode").textContent = "OFFLINE"; });
}
