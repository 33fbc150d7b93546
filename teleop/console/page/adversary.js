// The adversary's page: one card per act with its budget, the table from above, commands, and a log of what became of it.
import { $, Link, element, now, showState, toast, wireStop } from "/link.js";
import { Cameras } from "/live.js";
import { TableMap } from "/map.js";

const WORDS = { MOVE_OBJ: ["Thing", "To the ring"], MOVE_CONT: ["Container", "To the ring"], ROTATE_OBJ: ["Turn", "Turn it"], PUSH_ROBOT: ["Push the robot", "Push"], SLIP: ["Slip", "Let it slip"], LIGHT: ["Light", "Change it"], BACKGROUND: ["Table top", "Change it"], DISTRACTOR: ["Distractor", "Put it down"], LATENCY: ["Late commands", "For 3 s"], CAMERA: ["Camera", "Nudge it"], NOISE: ["Noise", "For 3 s"] };
const HIDDEN = new Set(["SET_CMD", "NOISE", "FRICTION", "MASS", "HEIGHT"]);
const between = (low, high) => low + Math.random() * (high - low), either = (size) => (Math.random() < 0.5 ? -size : size);

const link = new Link("adversary");
wireStop(link);
new Cameras(link, (views) => $("cameras").replaceChildren(...views.map((view) => view.figure)));
let state = null, coverage = null, number = 0;
const waiting = new Map(), cards = new Map();
const map = new TableMap($("map"), (name, to) => moveTo(map.targets.get(name), name, to));

function act(kind, target = "", params = {}, instruction = "") {
  number += 1;
  waiting.set(number, { kind, target, instruction });
  link.send({ type: "act", number, time: now(), kind, target, params, instruction });
}

function moveTo(kind, name, to) {
  const from = state?.objects?.[name];
  if (from) act(kind, name, { dx: to[0] - from[0], dy: to[1] - from[1], dyaw: between(-0.8, 0.8) });
}

// What a press of a card's button does, within the act's ranges.
const DO = {
  MOVE_OBJ: (name) => moveTo("MOVE_OBJ", name, coverage.least),
  MOVE_CONT: (name) => moveTo("MOVE_CONT", name, coverage.least),
  ROTATE_OBJ: (name) => act("ROTATE_OBJ", name, { dyaw: either(between(0.6, 1.6)) }),
  PUSH_ROBOT: (name) => { const way = between(0, 6.28); act("PUSH_ROBOT", name, { fx: 25 * Math.cos(way), fy: 25 * Math.sin(way), for_s: 0.2 }); },
  SLIP: () => act("SLIP", "", { for_s: 0.15 }),
  LIGHT: () => act("LIGHT", "", { azimuth: between(-3, 3), elevation: between(0.5, 1.4), intensity: between(0.5, 1.6), for_s: 8 }),
  BACKGROUND: (name) => act("BACKGROUND", name, { for_s: 8 }),
  DISTRACTOR: (name) => act("DISTRACTOR", name, { x: coverage.least[0], y: coverage.least[1] }),
  LATENCY: () => act("LATENCY", "", { delay_s: 0.15, for_s: 3 }),
  CAMERA: (name) => act("CAMERA", name, { dx: between(-0.03, 0.03), dy: between(-0.03, 0.03), rz: between(-0.05, 0.05), for_s: 5 }),
  NOISE: (name) => act("NOISE", name, { std: 0.01, for_s: 3 }),
};

function tell(text) { if (text) act("SET_CMD", "", {}, text); }

link.on("hello", (hello) => {
  cards.clear();
  map.targets.clear();
  for (const kind of ["MOVE_OBJ", "MOVE_CONT"]) for (const name of hello.acts[kind]?.targets || []) map.targets.set(name, kind);
  $("acts").replaceChildren(...Object.entries(hello.acts).filter(([kind, a]) => !HIDDEN.has(kind) && !a.at_start && !a.physical && DO[kind]).map(([kind, a]) => {
    const card = element("div", "", "panel act"), [title, verb] = WORDS[kind], head = element("h3", title), count = element("span", "", "num"), bar = element("div", "", "bar"), fill = element("i"), button = element("button", verb), chips = element("div", "", "chips");
    let chosen = a.targets[0] || "";
    head.append(count);
    bar.append(fill);
    const shown = a.targets.slice(0, 5);
    chips.append(...shown.map((name) => {
      const chip = element("button", name.replace("right_gripper", "hand"));
      chip.setAttribute("aria-pressed", name === chosen);
      chip.onclick = () => { chosen = name; for (const other of chips.children) other.setAttribute("aria-pressed", other === chip); };
      return chip;
    }));
    button.onclick = () => DO[kind](chosen);
    button.dataset.act = kind;
    card.append(head, ...(a.budget ? [bar] : []), ...(shown.length > 1 ? [chips] : []), button);
    cards.set(kind, { budget: a.budget, count, fill, button });
    return card;
  }));
  $("commands").replaceChildren(...hello.commands.map((text) => { const button = element("button", text); button.onclick = () => tell(text); return button; }));
  const kinds = Object.keys(hello.acts).filter((kind) => ["MOVE_OBJ", "ROTATE_OBJ", "MOVE_CONT", "DISTRACTOR", "LIGHT", "PUSH_ROBOT"].includes(kind));
  $("touch-kinds").replaceChildren(...kinds.map((kind, k) => {
    const chip = element("button", (WORDS[kind] || [kind])[0]);
    chip.dataset.kind = kind;
    chip.setAttribute("aria-pressed", k === 0);
    chip.onclick = () => { for (const other of $("touch-kinds").children) other.setAttribute("aria-pressed", other === chip); };
    return chip;
  }));
  $("physical").open = hello.physical;
  $("pairbox").hidden = true;
  document.body.dataset.ready = "1";
});

link.on("state", (next) => {
  if (!next.instruction) return; // the bench is still starting
  state = next;
  showState(link, state);
  const recording = state.phase === "recording";
  for (const { budget, count, fill, button } of cards.values()) {
    const [spent, allowed] = state.budgets[budget] || [0, 0], left = allowed - spent;
    count.textContent = budget ? `${left} / ${allowed}` : "";
    fill.style.width = budget ? `${(100 * left) / allowed}%` : "0";
    button.disabled = !recording || (budget && (left <= 0 || state.wait_s > 0));
  }
  const language = state.budgets.language, spent = language && language[0] >= language[1];
  for (const button of $("commands").children) {
    button.setAttribute("aria-current", button.textContent === state.instruction.text);
    button.disabled = !recording || spent || state.wait_s > 0 || button.textContent === state.instruction.text;
  }
  $("ready").textContent = recording ? (state.wait_s > 0 ? "Wait a moment" : "Ready") : state.phase === "review" ? "They are looking at the episode" : "Waiting for the recording to start";
  $("wait").style.width = `${recording ? 100 * (1 - Math.min(1, state.wait_s)) : 0}%`;
  map.objects = state.objects || {};
  const dense = state.density;
  $("density").hidden = !dense;
  $("layers").hidden = !dense;
  if (dense) $("density").textContent = `${dense.situations} different situations in ${dense.episodes} episodes${recording ? `, ${dense.now} new in this one` : ""}; ${dense.per_1000} per 1000 frames${dense.new_lately === null ? "" : `; ${Math.round(100 * dense.new_lately)} % of the last 10 s were new`}.`;
  map.tool = state.tool;
  map.draw();
  $("log").replaceChildren(...[...state.events].reverse().map((event) => {
    const line = element("li", "", event.accepted ? "" : "no");
    line.append(element("time", `${event.time.toFixed(1)} s`), element("span", event.accepted ? `${event.kind} ${event.instruction || event.target}` : `${event.kind} ${event.target}: ${event.reason}`));
    return line;
  }));
});

const LAYERS = { grid: "Brighter cells were visited more often.", situations: "Numbers are different situations that were recorded with the told thing in a cell." };
for (const chip of $("layers").children) chip.onclick = () => {
  map.layer = chip.dataset.layer;
  $("layer").textContent = LAYERS[map.layer];
  for (const other of $("layers").children) other.setAttribute("aria-pressed", other === chip);
  map.draw();
};

link.on("coverage", (next) => {
  coverage = map.coverage = next;
  map.draw();
  const table = $("pairs"), head = element("tr");
  $("pairbox").hidden = !next.objects.length || !next.containers.length;
  head.append(element("th"), ...next.containers.map((name) => element("th", name)));
  table.replaceChildren(head, ...next.objects.map((name, i) => {
    const row = element("tr");
    row.append(element("th", name), ...next.containers.map((place, j) => {
      const count = next.pairs[i][j], cell = element("td", count < 0 ? "–" : count === 0 ? "untried" : String(count), count < 0 ? "never" : count === 0 ? "untried" : "");
      if (count >= 0) cell.onclick = () => { const text = link.hello.commands.find((c) => c.toLowerCase().includes(name) && c.toLowerCase().includes(place)); if (text && state?.phase === "recording") tell(text); };
      return cell;
    }));
    return row;
  }));
});

link.on("result", (result) => {
  const wish = waiting.get(result.number);
  waiting.delete(result.number);
  document.body.dataset.result = `${result.number} ${result.accepted}`;
  if (!result.accepted) toast(`${wish ? wish.kind : "Act"}: ${result.reason}`, "warning");
});

$("tell").onsubmit = (event) => { event.preventDefault(); tell($("text").value.trim()); $("text").value = ""; $("text").blur(); };
const touch = (down) => (event) => {
  event.preventDefault();
  if ($("touch").classList.contains("down") === down) return;
  $("touch").classList.toggle("down", down);
  const kind = [...$("touch-kinds").children].find((chip) => chip.getAttribute("aria-pressed") === "true")?.dataset.kind || "MOVE_OBJ";
  link.send({ type: "touch", down, kind, target: "", time: now() });
};
$("touch").onpointerdown = (event) => { $("touch").setPointerCapture(event.pointerId); touch(true)(event); };
$("touch").onpointerup = $("touch").onpointercancel = $("touch").onlostpointercapture = touch(false);
