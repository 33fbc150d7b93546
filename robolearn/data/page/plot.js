// One plot of a stream over time, and the time line of events. Both share the cursor's time.
export const COLOURS = ["#1d62d6", "#d9730d", "#14804a", "#b5338a", "#7a5cc9", "#0f8a9d", "#c0322b", "#8a6d00"];
export const LANE = { MOVE_OBJ: "#d9730d", SET_CMD: "#7a5cc9", success: "#14804a", failure: "#c0322b" };

function fit(canvas) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  return [pen, width, height];
}

export function rowAt(times, time) {
  let low = 0, high = times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= time) low = middle; else high = middle - 1;
  }
  return low;
}

const tidy = (value) => value === null || value === undefined ? "–" : Math.abs(value) >= 1000 || (value !== 0 && Math.abs(value) < 0.001) ? value.toExponential(1) : value.toFixed(3);

function ticks(low, high) {
  const rough = (high - low) / 4, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((k) => k * unit >= rough) * unit, found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(k * step);
  return found;
}

export class Plot {
  constructor(stream, end, seek) {
    this.stream = stream;
    this.times = stream.times;
    this.end = end || 1;
    this.element = document.createElement("div");
    this.element.className = "plot";
    const title = document.createElement("h3");
    title.append(stream.name);
    const side = document.createElement("span");
    side.textContent = [stream.kind, stream.unit, stream.rate_hz && `${Number(stream.rate_hz.toPrecision(3))} Hz`].filter(Boolean).join(" · ");
    if (stream.samples > stream.times.length) side.title = `${stream.samples} samples; the extremes of each piece are drawn`;
    title.append(side);
    this.canvas = document.createElement("canvas");
    this.legend = document.createElement("div");
    this.legend.className = "legend";
    this.values = stream.labels.map((label, k) => {
      const item = document.createElement("span"), swatch = document.createElement("i"), value = document.createElement("span");
      swatch.style.background = COLOURS[k % COLOURS.length];
      item.append(swatch, label ? label + " " : "", value);
      this.legend.append(item);
      return value;
    });
    this.element.append(title, this.canvas, this.legend);
    const all = stream.values.flat().filter((v) => v !== null);
    let low = Infinity, high = -Infinity;
    for (const v of all) { if (v < low) low = v; if (v > high) high = v; }
    if (!all.length) [low, high] = [0, 1];
    const pad = (high - low) * 0.06 || Math.max(Math.abs(high) * 0.05, 1e-3);
    [this.low, this.high] = [low - pad, high + pad];
    const move = (event) => {
      const box = this.canvas.getBoundingClientRect();
      seek(Math.max(0, Math.min(1, (event.clientX - box.left - 44) / (box.width - 52))) * this.end);
    };
    this.canvas.addEventListener("pointerdown", (event) => { this.canvas.setPointerCapture(event.pointerId); move(event); });
    this.canvas.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
  }

  draw(time, events) {
    const [pen, width, height] = fit(this.canvas), left = 44, right = 8, top = 6, bottom = 16;
    const end = this.end;
    const x = (t) => left + (t / end) * (width - left - right);
    const y = (v) => top + (1 - (v - this.low) / (this.high - this.low)) * (height - top - bottom);
    for (const event of events) {
      const wide = x(event.end) - x(event.time); // an instant is a line, darker than the band of a long event
      pen.fillStyle = (event.accepted ? LANE[event.kind] || "#0f8a9d" : "#8a97a5") + (wide < 3 ? "90" : "26");
      pen.fillRect(x(event.time), top, Math.max(1.5, wide), height - top - bottom);
    }
    pen.strokeStyle = "#e6ebf0"; pen.fillStyle = "#5c6b7a"; pen.lineWidth = 1; pen.textAlign = "right"; pen.textBaseline = "middle";
    for (const value of ticks(this.low, this.high)) {
      pen.beginPath(); pen.moveTo(left, y(value)); pen.lineTo(width - right, y(value)); pen.stroke();
      pen.fillText(String(Number(value.toPrecision(6))), left - 5, y(value));
    }
    pen.textBaseline = "alphabetic"; pen.textAlign = "left"; pen.fillText("0", left, height - 4);
    pen.textAlign = "right"; pen.fillText(end.toFixed(1) + " s", width - right, height - 4);
    pen.lineWidth = 1.4; pen.lineJoin = "round";
    this.stream.values.forEach((row, k) => {
      pen.strokeStyle = COLOURS[k % COLOURS.length];
      pen.beginPath();
      let down = false;
      row.forEach((value, i) => {
        if (value === null) { down = false; return; }
        if (down) pen.lineTo(x(this.times[i]), y(value)); else pen.moveTo(x(this.times[i]), y(value));
        down = true;
      });
      pen.stroke();
    });
    pen.strokeStyle = "#16202b"; pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(x(time), top); pen.lineTo(x(time), height - bottom); pen.stroke();
    const row = rowAt(this.times, time);
    this.stream.values.forEach((column, k) => { this.values[k].textContent = row < column.length ? tidy(column[row]) : "–"; });
  }
}

export function drawTimeline(canvas, facts, time) {
  const [pen, width, height] = fit(canvas), end = facts.times[facts.times.length - 1] || 1, mid = 22;
  const x = (t) => 6 + (t / end) * (width - 12);
  const actors = { operator: "#9db8e6", policy: "#b9a8e8", intervention: "#f0b775", script: "#b8c4cf", replay: "#b8c4cf" };
  pen.fillStyle = "#e1e7ed"; pen.fillRect(6, mid - 4, width - 12, 8);
  for (let i = 0; i < facts.actor.length; ) {
    let j = i;
    while (j < facts.actor.length && facts.actor[j] === facts.actor[i]) j++;
    pen.fillStyle = actors[facts.actor[i]] || "#b8c4cf";
    pen.fillRect(x(facts.times[i]), mid - 4, x(facts.times[Math.min(j, facts.times.length - 1)]) - x(facts.times[i]), 8);
    i = j;
  }
  pen.textBaseline = "alphabetic"; pen.textAlign = "left";
  let free = 0;
  for (const event of facts.events) {
    pen.fillStyle = event.accepted ? LANE[event.kind] || "#0f8a9d" : "#8a97a5";
    pen.fillRect(x(event.time) - 1, mid - 9, Math.max(3, x(event.end) - x(event.time)), 18);
    const label = event.kind + (event.target ? " " + event.target : ""), long = pen.measureText(label).width;
    const at = Math.min(x(event.time), width - long - 4);
    if (at >= free) { pen.fillText(label, at, 10); free = at + long + 10; }
  }
  pen.fillStyle = "#16202b";
  pen.fillRect(x(time) - 1, 12, 2, height - 18);
  pen.beginPath(); pen.arc(x(time), mid, 5.5, 0, 7); pen.fill();
}
