// The tele-operator's page: pictures, the command, the session's buttons, and the hand.
import { $, Link, element, now, showState, toast, tone, wireStop } from "/link.js";
import { Cameras } from "/live.js";
import { Hand } from "/hand.js";
import { Review } from "/review.js";

const link = new Link("operator");
wireStop(link);
new Cameras(link, (views) => {
  $("cameras").replaceChildren(...views.slice(0, 1).map((view) => view.figure));
  $("side").replaceChildren(...views.slice(1).map((view) => view.figure), $("facts"));
});
const hand = new Hand(link), review = new Review(link);
let state = null, seen = 0;

// A new command is acknowledged when it has really been on the screen: two frames after it was written there.
link.on("command", ({ number }) => {
  tone();
  $("new").hidden = false;
  document.body.classList.remove("fresh");
  void document.body.offsetWidth;
  document.body.classList.add("fresh");
  setTimeout(() => { $("new").hidden = true; }, 4000);
  requestAnimationFrame(() => requestAnimationFrame(() => { link.send({ type: "seen", number, time: now() }); seen = number; document.body.dataset.seen = number; }));
});

link.on("state", (next) => {
  if (!next.instruction) return; // the bench is still starting
  state = next;
  showState(link, state);
  const mine = state.holder === link.you?.id, recording = state.phase === "recording", runs = state.phase === "policy", idle = state.phase === "idle" || state.phase === "armed";
  const moves = { HUMAN: "You are moving the robot.", SCRIPT: "The script is moving the robot.", POLICY: "The policy is moving the robot. Take the control and hold a key or a pad to take over." }[state.mode];
  const reason = (state.reason || "press the clutch to move").replace("press the clutch to move", "hold a key or a pad to move").replace("release the clutch and press it again", "let go, then hold again");
  $("why").textContent = moves || (!state.holder && !state.halted && state.mode !== "STOPPED" ? "Nobody has the control." : `${reason[0].toUpperCase()}${reason.slice(1)}.`);
  $("control").textContent = mine ? "Give control back" : state.holder ? `${state.holder} has the control` : "Take control";
  $("control").disabled = Boolean(state.holder) && !mine;
  $("control").hidden = link.hello?.operator !== "web" && link.hello?.operator !== "phone";
  $("start").hidden = recording || runs; $("arm").hidden = recording || runs;
  $("start").disabled = !idle || state.mode === "STOPPED";
  $("arm").textContent = state.phase === "armed" ? "Disarm" : "Arm";
  for (const id of ["stop", "success", "failure", "rerecord"]) $(id).hidden = !recording;
  $("clear").hidden = state.mode !== "STOPPED" || runs;
  hand.muted = state.phase === "review";
  review.show(state.phase === "review" ? state.review : null);
  facts();
});

function facts() {
  const rows = [], add = (name, value, kind = "") => rows.push([name, value, kind]);
  add("Gate", state.gate ? "latched" : "armed", state.gate ? "bad" : "good");
  add("Loop", `${state.loop.hz} of ${state.loop.target_hz} Hz`, state.loop.hz < 0.9 * state.loop.target_hz ? "warn" : "");
  add("Latest tick", `${state.loop.late_ms} ms late`, state.loop.late_ms > 50 ? "warn" : "");
  for (const [name, captured] of Object.entries(state.cameras || {})) {
    const age = Math.max(0, 1000 * (state.now - captured));
    add(`Frame ${name.replace(/\.rgb$/, "")}`, age < 10000 ? `${age.toFixed(0)} ms old` : "–", age > 500 && state.phase !== "review" ? "bad" : "");
  }
  if (state.goal !== null && state.goal !== undefined) add("Goal", state.goal ? "reached" : "not yet", state.goal ? "good" : "");
  add("Clock", link.offset === null ? "…" : `± ${(500 * link.rtt).toFixed(1)} ms`);
  add("People", state.people.map((p) => p.role[0].toUpperCase() + p.role.slice(1)).join(", "));
  $("facts").replaceChildren(...rows.flatMap(([name, value, kind]) => [element("dt", name), element("dd", value, kind)]));
}

const wish = (what) => link.send({ type: "wish", what });
$("control").onclick = () => link.send({ type: "control", take: state?.holder !== link.you?.id });
$("start").onclick = () => wish("start");
$("arm").onclick = () => wish(state.phase === "armed" ? "disarm" : "arm");
for (const id of ["stop", "success", "failure", "rerecord", "clear"]) $(id).onclick = () => wish(id);
$("reject").onclick = () => wish("reject");
$("again").onclick = () => wish("rerecord");
$("keep-success").onclick = () => wish("success");
$("keep-failure").onclick = () => wish("failure");
for (const button of document.querySelectorAll("button")) button.addEventListener("click", () => button.blur()); // space is the gripper's

addEventListener("keydown", (event) => {
  if (event.repeat || !state || /INPUT|SELECT/.test(event.target.tagName)) return;
  const reviewing = state.phase === "review", recording = state.phase === "recording";
  const keys = { 1: !reviewing && !recording && "start", 2: recording && "stop", 3: (recording || reviewing) && "success", 4: (recording || reviewing) && "failure", 5: (recording || reviewing) && "rerecord", Enter: reviewing && "accept", Delete: reviewing && "reject" };
  if (keys[event.key]) { event.preventDefault(); wish(keys[event.key]); }
});

link.on("offline", () => { link.number = undefined; $("why").textContent = "The line to the robot's computer is down; the robot holds."; });
link.on("hello", async () => {
  document.body.dataset.ready = "1";
  const flies = link.hello.operator === "phone" && (await navigator.xr?.isSessionSupported("immersive-ar").catch(() => false));
  $("fly").hidden = !flies;
});
$("fly").onclick = () => hand.fly().catch((error) => toast(String(error), "error"));
