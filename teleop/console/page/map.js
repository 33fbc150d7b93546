// The table from above: how often each cell was visited, where things are now, and where to put them. The robot stands at
// the lower edge and looks up; x grows upwards, y to the left, as in the robot's base.
const COLOURS = { orange: "#ef9330", peach: "#f0b49b", kiwi: "#9a7a3c", plate: "#9a78c4", basket: "#58a86f" };

export class TableMap {
  constructor(canvas, move) {
    this.canvas = canvas;
    this.move = move;
    this.coverage = null;
    this.layer = "grid"; // or "situations": which counts the cells show
    this.objects = {};
    this.targets = new Map(); // name -> kind of act that moves it
    this.held = null;
    canvas.onpointerdown = (event) => {
      const at = this.at(event);
      const near = Object.entries(this.objects).map(([name, xy]) => [name, Math.hypot(xy[0] - at[0], xy[1] - at[1])]).filter(([name]) => this.targets.has(name)).sort((a, b) => a[1] - b[1])[0];
      if (!near || near[1] > 0.08) return;
      canvas.setPointerCapture(event.pointerId);
      this.held = { name: near[0], from: [...this.objects[near[0]]], to: at };
      this.draw();
    };
    canvas.onpointermove = (event) => { if (this.held) { this.held.to = this.at(event); this.draw(); } };
    canvas.onpointerup = () => {
      const held = this.held;
      this.held = null;
      if (held && Math.hypot(held.to[0] - held.from[0], held.to[1] - held.from[1]) > 0.015) this.move(held.name, held.to);
      this.draw();
    };
    canvas.onpointercancel = () => { this.held = null; this.draw(); };
    addEventListener("resize", () => this.draw());
  }

  frame() {
    const [[x0, y0], [x1, y1]] = this.coverage.area, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    const scale = Math.min(width / (y1 - y0), height / (x1 - x0));
    return { x0, y0, x1, y1, scale, left: (width + scale * (y1 - y0)) / 2, bottom: (height + scale * (x1 - x0)) / 2 };
  }

  to(xy) { const f = this.frame(); return [f.left - (xy[1] - f.y0) * f.scale, f.bottom - (xy[0] - f.x0) * f.scale]; }

  at(event) {
    const box = this.canvas.getBoundingClientRect(), f = this.frame();
    return [f.x0 + (f.bottom - (event.clientY - box.top)) / f.scale, f.y0 + (f.left - (event.clientX - box.left)) / f.scale];
  }

  draw() {
    if (!this.coverage) return;
    const canvas = this.canvas, ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    const pen = canvas.getContext("2d"), f = this.frame(), { least } = this.coverage, grid = this.coverage[this.layer], nx = grid.length, ny = grid[0].length;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const most = Math.max(1, ...grid.flat()), dx = (f.x1 - f.x0) / nx, dy = (f.y1 - f.y0) / ny;
    for (let i = 0; i < nx; i++) for (let j = 0; j < ny; j++) {
      const [px, py] = this.to([f.x0 + (i + 1) * dx, f.y0 + (j + 1) * dy]), part = grid[i][j] / most;
      pen.fillStyle = grid[i][j] ? `rgba(90, 169, 247, ${0.14 + 0.55 * Math.sqrt(part)})` : "#1b232a";
      pen.beginPath(); pen.roundRect(px + 1.5, py + 1.5, dy * f.scale - 3, dx * f.scale - 3, 5); pen.fill();
      if (grid[i][j]) { pen.fillStyle = "#cfe3f7"; pen.font = "11px system-ui, 'DejaVu Sans'"; pen.textAlign = "right"; pen.textBaseline = "bottom"; pen.fillText(grid[i][j], px + dy * f.scale - 6, py + dx * f.scale - 4); }
    }
    const [lx, ly] = this.to(least);
    pen.strokeStyle = "#e8b04b"; pen.lineWidth = 2; pen.setLineDash([5, 4]);
    pen.beginPath(); pen.arc(lx, ly, 0.42 * dx * f.scale, 0, 7); pen.stroke(); pen.setLineDash([]);
    pen.font = "600 13px system-ui, 'DejaVu Sans'"; pen.textAlign = "center";
    const order = Object.keys(this.objects).sort((a, b) => this.size(b) - this.size(a));
    for (const name of order) {
      const held = this.held?.name === name, [px, py] = this.to(held ? this.held.to : this.objects[name]), radius = this.size(name) * f.scale;
      if (held) { const [ax, ay] = this.to(this.held.from); pen.strokeStyle = "#b39af5"; pen.beginPath(); pen.moveTo(ax, ay); pen.lineTo(px, py); pen.stroke(); }
      pen.fillStyle = (COLOURS[name] || "#8fa0ad") + (this.size(name) > 0.05 ? "55" : "ee"); pen.strokeStyle = held ? "#fff" : COLOURS[name] || "#8fa0ad";
      pen.beginPath(); pen.arc(px, py, radius, 0, 7); pen.fill(); pen.stroke();
      pen.fillStyle = "#fff"; pen.textBaseline = "top"; pen.fillText(name, px, py + radius + 3);
    }
    if (this.tool) { const [px, py] = this.to(this.tool); pen.strokeStyle = "#ffffffcc"; pen.beginPath(); pen.moveTo(px - 9, py); pen.lineTo(px + 9, py); pen.moveTo(px, py - 9); pen.lineTo(px, py + 9); pen.stroke(); }
  }

  size(name) { return this.targets.get(name) === "MOVE_CONT" ? 0.072 : 0.028; }
}
