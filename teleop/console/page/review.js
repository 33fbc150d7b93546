// The review: every row with its pictures, the events and the commands on one time line, before anything is decided.
import { $, element } from "/link.js";

const COLOURS = { MOVE_OBJ: "#e8914b", ROTATE_OBJ: "#e8b04b", MOVE_CONT: "#4cc3c3", SET_CMD: "#b39af5", PUSH_ROBOT: "#ec5d57", SLIP: "#ec8fb5" };

function fit(canvas) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  return [pen, width, height];
}

function rowAt(times, time) {
  let low = 0, high = times.length - 1;
  while (low < high) { const middle = (low + high + 1) >> 1; if (times[middle] <= time) low = middle; else high = middle - 1; }
  return Math.max(0, low);
}

export class Review {
  constructor(link) {
    this.link = link;
    this.number = null;
    this.facts = null;
    const track = $("track"), scrub = (event) => { const box = track.getBoundingClientRect(); this.pause(); this.seek(((event.clientX - box.left - 14) / (box.width - 28)) * this.end); };
    track.onpointerdown = (event) => { track.setPointerCapture(event.pointerId); scrub(event); };
    track.onpointermove = (event) => { if (event.buttons) scrub(event); };
    $("play").onclick = () => this.play();
    addEventListener("resize", () => { if (this.facts) this.seek(this.time); });
    addEventListener("keydown", (event) => {
      if (!this.facts) return;
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) { event.preventDefault(); this.pause(); const row = Math.max(0, Math.min(this.facts.times.length - 1, rowAt(this.facts.times, this.time + 1e-6) + step)); this.seek(this.facts.times[row]); }
      if (event.key === " ") { event.preventDefault(); this.play(); }
    });
  }

  async show(brief) {
    if (!brief) {
      if (this.number !== null) { $("review").hidden = true; this.pause(); this.number = this.facts = null; delete document.body.dataset.review; }
      return;
    }
    if (brief.number === this.number) return;
    this.number = brief.number;
    const answer = await fetch("/api/review");
    if (!answer.ok) { this.number = null; return; }
    const facts = await answer.json();
    const films = await Promise.all(facts.cameras.map((camera) => this.film(camera, facts)));
    if (this.number !== brief.number) return;
    this.facts = facts;
    this.end = facts.times.at(-1) || 0.001;
    $("review").hidden = false;
    const verdict = { success: "The bench says: success.", failure: "The bench says: goal not reached.", timeout: "It ran out of time.", aborted: "It ended by itself." }[facts.proposed] || "";
    $("said").textContent = `${facts.steps} steps · ${facts.duration_s.toFixed(1)} s · ${facts.events.length} events · ${verdict} ${facts.degraded} ${facts.fault}`;
    this.films = films;
    $("films").replaceChildren(...films.map((film) => film.figure));
    $("keep-success").classList.toggle("go", facts.proposed !== "failure");
    $("keep-failure").classList.toggle("go", facts.proposed === "failure");
    this.plots = [["height of the tool / m", ["z"]], ["fingers / m", ["gripper width"]]].filter(([, names]) => names.every((name) => facts.streams[name])).map(([title, names]) => { const canvas = element("canvas", "", "panel"); return { title, names, canvas }; });
    $("plots").replaceChildren(...this.plots.map((plot) => plot.canvas));
    this.seek(0);
    document.body.dataset.review = facts.number;
  }

  async film(camera, facts) {
    const figure = element("figure", "", "view"), canvas = element("canvas");
    figure.style.margin = 0;
    figure.append(canvas, element("figcaption", camera.replace(/\.rgb$/, "")));
    const bytes = await (await fetch(`/api/review/film/${encodeURIComponent(camera)}`)).arrayBuffer(), table = new DataView(bytes);
    const count = table.getUint32(0, true), times = [], frames = [];
    let at = 4 + 12 * count;
    for (let k = 0; k < count; k++) {
      const length = table.getUint32(4 + 8 * count + 4 * k, true);
      times.push(table.getFloat64(4 + 8 * k, true) - facts.start);
      frames.push(new Blob([new Uint8Array(bytes, at, length)], { type: "image/jpeg" }));
      at += length;
    }
    return { figure, canvas, times, frames, drawn: -1, wanted: -1, busy: false };
  }

  async paint(film, time) {
    if (!film.frames.length) return;
    film.wanted = rowAt(film.times, time);
    if (film.busy) return;
    film.busy = true;
    while (film.drawn !== film.wanted) {
      const target = film.wanted, picture = await createImageBitmap(film.frames[target]);
      if (film.canvas.width !== picture.width) [film.canvas.width, film.canvas.height] = [picture.width, picture.height];
      film.canvas.getContext("2d").drawImage(picture, 0, 0);
      picture.close();
      film.drawn = target;
    }
    film.busy = false;
  }

  seek(time) {
    this.time = Math.max(0, Math.min(this.end, time));
    for (const film of this.films) this.paint(film, this.time);
    this.draw();
    const row = rowAt(this.facts.times, this.time + 1e-6);
    $("at").textContent = `${this.time.toFixed(2)} / ${this.end.toFixed(2)} s · ${this.facts.command[row]}`;
  }

  draw() {
    const [pen, width, height] = fit($("track")), { facts, end } = this, x = (t) => 14 + (t / end) * (width - 28), lane = height - 34;
    pen.fillStyle = "#222c35";
    pen.fillRect(14, lane, width - 28, 10);
    // Who moved: green while the person held the clutch.
    for (let i = 0; i < facts.engaged.length - 1; ) {
      let j = i;
      while (j < facts.engaged.length - 1 && facts.engaged[j] === facts.engaged[i]) j++;
      if (facts.engaged[i]) { pen.fillStyle = facts.actor[i] === "script" ? "#3b78b4" : "#3a9a6c"; pen.fillRect(x(facts.times[i]), lane, Math.max(1, x(facts.times[j]) - x(facts.times[i])), 10); }
      i = j;
    }
    pen.textBaseline = "middle";
    const free = [0, 0, 0];
    for (const event of facts.events) {
      const colour = event.accepted ? COLOURS[event.kind] || "#5aa9f7" : "#6d7b87", from = x(Math.max(0, event.time)), to = Math.max(from + 4, x(Math.min(end, event.end)));
      const label = [event.kind, event.kind === "SET_CMD" ? event.params.instruction : event.target.replace("right_gripper", "hand"), event.accepted ? "" : "refused"].filter(Boolean).join(" "), long = pen.measureText(label).width;
      const start = Math.min(from, width - long - 12);
      const level = free.findIndex((until) => start >= until), row = level < 0 ? 2 : level, y = lane - 14 - 18 * row;
      pen.fillStyle = colour + "44"; pen.fillRect(from, y, to - from, lane + 10 - y);
      pen.fillStyle = colour; pen.fillRect(from, lane - 3, to - from, 3); pen.fillRect(from, y - 7, 2, lane - y + 7);
      if (level >= 0) { pen.fillText(label, start + 6, y); free[row] = start + long + 18; }
    }
    pen.fillStyle = "#8fa0ad"; pen.textAlign = "center";
    const step = [0.5, 1, 2, 5, 10, 20].find((s) => end / s <= 12) || 30;
    for (let t = 0; t <= end; t += step) pen.fillText(`${t}`, x(t), height - 10);
    pen.textAlign = "left";
    pen.fillStyle = "#fff"; pen.fillRect(x(this.time) - 1, 8, 2, height - 28);
    pen.beginPath(); pen.arc(x(this.time), lane + 5, 7, 0, 7); pen.fill();
    for (const plot of this.plots) this.plot(plot);
  }

  plot({ canvas, title, names }) {
    const [pen, width, height] = fit(canvas), { facts, end } = this, x = (t) => 14 + (t / end) * (width - 28);
    const all = names.flatMap((name) => facts.streams[name]).filter((v) => v !== null && v !== undefined);
    const low = Math.min(...all), high = Math.max(...all, low + 1e-3), y = (v) => height - 12 - ((v - low) / (high - low)) * (height - 40);
    pen.fillStyle = "#8fa0ad"; pen.textBaseline = "top"; pen.fillText(title, 14, 8);
    pen.textAlign = "right"; pen.fillText(`${low.toFixed(2)} … ${high.toFixed(2)}`, width - 14, 8); pen.textAlign = "left";
    pen.lineWidth = 1.6; pen.lineJoin = "round";
    names.forEach((name, k) => {
      pen.strokeStyle = ["#5aa9f7", "#4cc38a"][k];
      pen.beginPath();
      facts.streams[name].forEach((v, i) => { if (v !== null && v !== undefined) pen.lineTo(x(facts.times[i]), y(v)); });
      pen.stroke();
    });
    pen.fillStyle = "#ffffffaa"; pen.fillRect(x(this.time), 24, 1, height - 32);
  }

  pause() { cancelAnimationFrame(this.playing); this.playing = null; $("play").textContent = "▶ Play"; }

  play() {
    if (this.playing) return this.pause();
    const from = this.time >= this.end ? 0 : this.time, start = performance.now();
    $("play").textContent = "❚❚ Pause";
    const step = (at) => {
      if (!this.facts) return this.pause();
      this.seek(from + (at - start) / 1000);
      if (this.time >= this.end) return this.pause();
      this.playing = requestAnimationFrame(step);
    };
    this.playing = requestAnimationFrame(step);
  }
}
