// The hand: keys, touch pads or a phone in the air become a heartbeat, 50 times a second, whatever happens.
import { $, now } from "/link.js";

const KEYS = { w: [0, 1], s: [0, -1], a: [1, 1], d: [1, -1], r: [2, 1], f: [2, -1], y: [3, 1], h: [3, -1], t: [4, 1], g: [4, -1], q: [5, 1], e: [5, -1] };
const clamp = (v) => Math.max(-1, Math.min(1, v));

export class Hand {
  constructor(link) {
    this.link = link;
    this.down = new Set();
    this.pads = { left: null, right: null };
    this.grip = -1;
    this.sequence = 0;
    this.position = [0, 0, 0];
    this.quaternion = [1, 0, 0, 0];
    this.air = null; // pressed state of a phone in the air
    this.muted = false;
    addEventListener("keydown", (event) => {
      if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT/.test(event.target.tagName)) return;
      const key = event.key.toLowerCase();
      if (key in KEYS && !this.muted) { this.down.add(key); event.preventDefault(); this.beat(); }
      if (key === " " && !this.muted) { event.preventDefault(); this.toggle(); }
    });
    addEventListener("keyup", (event) => { if (this.down.delete(event.key.toLowerCase())) this.beat(); });
    // A page that is not looked at holds nothing: keys that are released elsewhere are never seen here.
    const letGo = () => { this.down.clear(); this.pads = { left: null, right: null }; this.beat(); };
    addEventListener("blur", letGo);
    document.addEventListener("visibilitychange", letGo);
    for (const side of ["left", "right"]) this.pad($(`pad-${side}`), side);
    $("grip").onclick = () => { this.toggle(); $("grip").blur(); };
    // Whose forward is forward: the robot's, or that of a person (or a camera) who faces it.
    this.facing = localStorage.getItem("facing") !== "robot";
    const say = () => { $("face").textContent = this.facing ? "As the camera sees it" : "As the robot sees it"; };
    $("face").onclick = () => { this.facing = !this.facing; localStorage.setItem("facing", this.facing ? "camera" : "robot"); say(); };
    say();
    setInterval(() => this.beat(), 20);
    this.last = now();
  }

  toggle() {
    this.grip = -this.grip;
    $("grip").textContent = this.grip > 0 ? "Open gripper" : "Close gripper";
  }

  pad(pad, side) {
    const knob = pad.firstElementChild;
    const move = (event) => {
      const box = pad.getBoundingClientRect(), radius = box.width / 2;
      let x = (event.clientX - box.left - radius) / (radius * 0.72), y = (event.clientY - box.top - radius) / (radius * 0.72);
      const length = Math.hypot(x, y);
      if (length > 1) { x /= length; y /= length; }
      this.pads[side] = [x, y];
      knob.style.transform = `translate(${x * radius * 0.6}px, ${y * radius * 0.6}px)`;
    };
    const end = () => { this.pads[side] = null; knob.style.transform = ""; this.beat(); };
    pad.onpointerdown = (event) => { pad.setPointerCapture(event.pointerId); move(event); this.beat(); };
    pad.onpointermove = (event) => { if (this.pads[side]) move(event); };
    pad.onpointerup = pad.onpointercancel = pad.onlostpointercapture = end;
  }

  twist() {
    const twist = [0, 0, 0, 0, 0, 0];
    for (const key of this.down) twist[KEYS[key][0]] += KEYS[key][1];
    if (this.pads.left) { twist[0] -= this.pads.left[1]; twist[1] -= this.pads.left[0]; }
    if (this.pads.right) { twist[2] -= this.pads.right[1]; twist[5] -= this.pads.right[0]; }
    if (this.facing) for (const axis of [0, 1, 3, 4]) twist[axis] = -twist[axis];
    return twist.map(clamp);
  }

  beat() {
    const twist = this.muted ? [0, 0, 0, 0, 0, 0] : this.twist(), time = now(), dt = Math.min(0.1, time - this.last);
    this.last = time;
    // What the pads have added up to is a place too, for the device "phone" without WebXR.
    if (this.air === null) for (let k = 0; k < 3; k++) this.position[k] += 0.25 * dt * twist[k];
    const held = this.air !== null ? this.air : this.down.size > 0 || this.pads.left !== null || this.pads.right !== null;
    if (!held && this.air === null) this.position = [0, 0, 0];
    this.held = held && !this.muted && !document.hidden;
    this.link.send({ type: "hand", seq: ++this.sequence, time, twist, pose: [...this.position, ...this.quaternion], grip: this.grip, enable: this.held });
  }

  // A phone moved through the air: WebXR gives its pose, a finger on the glass is the clutch. Axes: x right, y up,
  // z towards the person; ours are forward, left, up.
  async fly() {
    const session = await navigator.xr.requestSession("immersive-ar", { optionalFeatures: ["dom-overlay"], domOverlay: { root: document.body } });
    const canvas = document.createElement("canvas"), gl = canvas.getContext("webgl", { xrCompatible: true });
    session.updateRenderState({ baseLayer: new XRWebGLLayer(session, gl) });
    const space = await session.requestReferenceSpace("local");
    this.air = false;
    const press = (down) => (event) => { if (!event.target.closest("button")) this.air = down; };
    const [on, off] = [press(true), press(false)];
    document.body.addEventListener("touchstart", on);
    document.body.addEventListener("touchend", off);
    document.body.addEventListener("touchcancel", off);
    session.addEventListener("end", () => {
      this.air = null;
      for (const [kind, work] of [["touchstart", on], ["touchend", off], ["touchcancel", off]]) document.body.removeEventListener(kind, work);
    });
    const frame = (_, tick) => {
      const pose = tick.getViewerPose(space);
      if (pose) {
        const p = pose.transform.position, o = pose.transform.orientation;
        this.position = [-p.z, -p.x, p.y];
        this.quaternion = [o.w, -o.z, -o.x, o.y];
      } else this.air = false; // tracking is lost
      session.requestAnimationFrame(frame);
    };
    session.requestAnimationFrame(frame);
  }
}
