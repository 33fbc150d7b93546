// The page of a store: a list of episodes, and one of them with its cameras, events and streams on one time line.
import { Plot, drawTimeline, rowAt } from "/plot.js";

const $ = (id) => document.getElementById(id);
const SHOWN = { all: (e) => !e.deleted, new: (e) => !e.deleted && !marked(e), accepted: (e) => !e.deleted && e.tags.includes("accepted"), rejected: (e) => !e.deleted && e.tags.includes("rejected"), deleted: (e) => e.deleted };
const marked = (episode) => episode.tags.includes("accepted") || episode.tags.includes("rejected");
const state = { episodes: [], shown: "all", facts: null, films: new Map(), plots: [], time: 0, playing: null, loading: 0 };

async function ask(path, wish) {
  const options = wish ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(wish) } : {};
  const answer = await fetch(path, options);
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    throw new Error(body.error || `${path}: ${answer.status}`);
  }
  return answer;
}

function say(text, wrong = false) {
  $("toast").textContent = text;
  $("toast").className = wrong ? "wrong" : "";
  $("toast").hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { $("toast").hidden = true; }, wrong ? 8000 : 2500);
}

const guarded = (work) => async (...values) => { try { return await work(...values); } catch (error) { say(error.message, true); } };

function element(kind, text = "", name = "") {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function visible() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  return state.episodes.filter((e) => {
    const text = [e.id, e.task, e.instruction, e.operator, e.robot, e.outcome, e.split, ...e.tags].join(" ").toLowerCase();
    return SHOWN[state.shown](e) && words.every((word) => text.includes(word));
  });
}

function showList() {
  const rows = visible();
  $("list").replaceChildren(...rows.map((episode) => {
    const item = element("li", "", episode.deleted ? "deleted" : "");
    item.dataset.id = episode.id;
    item.setAttribute("aria-selected", String(state.facts?.id === episode.id));
    const picture = element("img");
    picture.loading = "lazy";
    picture.alt = "";
    picture.src = `/api/episodes/${episode.id}/thumbnail`;
    picture.onerror = () => picture.replaceWith(element("div", "no camera", "none"));
    const side = element("div");
    side.append(element("b", episode.instruction || episode.task || episode.id), element("small", `${episode.id} · ${episode.duration_s.toFixed(1)} s`));
    for (const tag of [episode.outcome, ...episode.tags.filter((t) => t !== episode.outcome), ...(episode.split ? [episode.split] : [])]) side.append(element("span", tag, `chip ${tag}`));
    item.append(picture, side);
    return item;
  }));
  $("shown").replaceChildren(...Object.keys(SHOWN).map((name) => {
    const count = state.episodes.filter(SHOWN[name]).length;
    const button = element("button", `${name} ${count}`);
    button.setAttribute("aria-pressed", String(name === state.shown));
    button.onclick = () => { state.shown = name; showList(); };
    return button;
  }));
  const live = state.episodes.filter((e) => !e.deleted), seconds = live.reduce((sum, e) => sum + e.duration_s, 0);
  const minutes = seconds >= 120 ? `${(seconds / 60).toFixed(1)} min` : `${seconds.toFixed(1)} s`;
  $("summary").textContent = `${live.length} episodes · ${minutes} · ${live.filter((e) => e.outcome === "success").length} successful · ${live.filter(marked).length} reviewed`;
  $("empty").hidden = state.episodes.length > 0;
}

function showHead() {
  const facts = state.facts, episode = state.episodes.find((e) => e.id === facts.id);
  if (!episode) return;
  $("title").textContent = facts.meta.instruction || facts.meta.task;
  const parts = [facts.id, facts.outcome, `${facts.rows} rows at ${facts.meta.rate_hz} Hz`, facts.meta.robot, facts.meta.operator && `by ${facts.meta.operator}`, facts.meta.adversary && `disturbed by ${facts.meta.adversary}`, facts.meta.source];
  $("facts").textContent = parts.filter(Boolean).join(" · ");
  $("accept").classList.toggle("on", episode.tags.includes("accepted"));
  $("reject").classList.toggle("on", episode.tags.includes("rejected"));
  $("remove").textContent = episode.deleted ? "Restore" : "Delete";
  $("tags").replaceChildren(...episode.tags.map((tag) => {
    const chip = element("span", tag, `chip ${tag}`), cross = element("button", "×");
    cross.type = "button";
    cross.title = `Remove ${tag}`;
    cross.onclick = () => edit("untag", tag);
    chip.append(cross);
    return chip;
  }));
}

const open = guarded(async (id) => {
  const turn = ++state.loading;
  pause();
  const facts = await (await ask(`/api/episodes/${id}`)).json();
  if (turn !== state.loading) return;
  for (const film of state.films.values()) film.frames.forEach((frame) => frame.close?.());
  Object.assign(state, { facts, films: new Map(), time: 0 });
  $("main").hidden = false;
  $("main").scrollTop = 0;
  $("list").querySelectorAll("li").forEach((item) => item.setAttribute("aria-selected", String(item.dataset.id === id)));
  showHead();
  state.plots = facts.streams.map((stream) => new Plot(stream, facts.times.at(-1), seek));
  $("plots").replaceChildren(...state.plots.map((plot) => plot.element));
  $("cameras").replaceChildren(...facts.cameras.map((camera) => {
    const figure = element("figure"), canvas = element("canvas");
    canvas.dataset.camera = camera.name;
    figure.append(canvas, element("figcaption", `${camera.name} …`));
    return figure;
  }));
  seek(0);
  location.hash = id;
  await Promise.all(facts.cameras.map((camera, k) => load(turn, id, camera, $("cameras").children[k])));
  if (turn === state.loading) document.body.dataset.ready = id;
});

async function load(turn, id, camera, figure) {
  const bytes = await (await ask(`/api/episodes/${id}/film/${encodeURIComponent(camera.name)}`)).arrayBuffer();
  const table = new DataView(bytes), count = table.getUint32(0, true);
  let at = 4 + 4 * count;
  const frames = [];
  for (let k = 0; k < count; k++) {
    const length = table.getUint32(4 + 4 * k, true);
    frames.push(length ? new Blob([new Uint8Array(bytes, at, length)], { type: "image/jpeg" }) : frames.at(-1)); // a lost one
    at += length;
  }
  const shown = frames.find(Boolean);
  if (!shown) { figure.lastChild.textContent = `${camera.name}: no pictures`; return; }
  const first = await createImageBitmap(shown);
  if (turn !== state.loading) return;
  const canvas = figure.firstChild;
  [canvas.width, canvas.height] = [first.width, first.height];
  const span = camera.times.at(-1) - camera.times[0], rate = span > 0 ? ` · ${Number(((count - 1) / span).toPrecision(3))} Hz` : "";
  figure.lastChild.textContent = `${camera.name}${rate}`;
  state.films.set(camera.name, { frames, times: camera.times, canvas, drawn: -1, wanted: -1 });
  await paint(camera.name);
}

async function paint(camera) {
  const film = state.films.get(camera);
  if (!film) return;
  const row = rowAt(film.times, state.time);
  if (film.wanted === row) return;
  film.wanted = row;
  if (film.busy) return;
  film.busy = true;
  while (film.drawn !== film.wanted) {
    const next = Math.min(film.wanted, film.frames.length - 1), target = film.wanted;
    const bitmap = await createImageBitmap(film.frames[next] || film.frames.find(Boolean));
    film.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    film.drawn = target;
  }
  film.busy = false;
}

function seek(time) {
  const facts = state.facts, end = facts.times[facts.times.length - 1];
  state.time = Math.max(0, Math.min(end, time));
  const row = rowAt(facts.times, state.time);
  drawTimeline($("timeline"), facts, state.time);
  for (const plot of state.plots) plot.draw(state.time, facts.events);
  for (const camera of facts.cameras) paint(camera.name);
  $("clock").textContent = `${state.time.toFixed(2)} / ${end.toFixed(2)} s`;
  const last = facts.events.filter((e) => e.time <= state.time && state.time <= Math.max(e.end, e.time + 0.5)).map((e) => `${e.kind}${e.target ? " " + e.target : ""}${e.source ? ` (${e.source})` : ""}${e.accepted ? "" : `, refused: ${e.reason}`}`);
  const at = Math.min(row, facts.actor.length - 1);
  const texts = Object.entries(facts.texts).map(([name, values]) => `${name}: ${values[Math.min(at, values.length - 1)]}`);
  $("now").textContent = [`row ${row * facts.stride}`, facts.actor[at], ...texts, ...last].join(" · ");
}

function pause() {
  cancelAnimationFrame(state.playing);
  state.playing = null;
  $("play").textContent = "▶";
}

function play() {
  if (state.playing !== null) return pause();
  const end = state.facts.times.at(-1);
  let from = state.time >= end ? 0 : state.time, start = performance.now();
  $("play").textContent = "❚❚";
  const step = (now) => {
    const time = from + (now - start) / 1000;
    seek(time);
    if (time >= end) return pause();
    state.playing = requestAnimationFrame(step);
  };
  state.playing = requestAnimationFrame(step);
}

const edit = guarded(async (name, value = "") => {
  const answer = await (await ask("/api/edit", { edit: name, id: state.facts?.id || "", value })).json();
  state.episodes = answer.episodes;
  showList();
  if (state.facts) showHead();
  say(name === "undo" ? answer.done : { accept: "Accepted", reject: "Rejected", unmark: "Mark removed", delete: "Deleted; undo brings it back", restore: "Restored", tag: `Tagged ${value}`, untag: `Removed ${value}` }[name] || name);
});

function mark(name) {
  const episode = state.episodes.find((e) => e.id === state.facts.id);
  edit(episode.tags.includes(`${name}ed`) ? "unmark" : name);
}

function step(by) {
  const rows = visible(), at = rows.findIndex((e) => e.id === state.facts?.id), next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
  if (next) { open(next.id); $("list").querySelector(`[data-id="${next.id}"]`)?.scrollIntoView({ block: "nearest" }); }
}

$("list").onclick = (event) => { const item = event.target.closest("li"); if (item) open(item.dataset.id); };
$("search").oninput = showList;
$("play").onclick = play;
$("undo").onclick = () => edit("undo");
$("accept").onclick = () => mark("accept");
$("reject").onclick = () => mark("reject");
$("remove").onclick = () => edit($("remove").textContent.toLowerCase());
$("tagging").onsubmit = (event) => { event.preventDefault(); const value = $("tag").value.trim(); $("tag").value = ""; if (value) edit("tag", value); };
const scrub = (event) => { const box = $("timeline").getBoundingClientRect(); pause(); seek(((event.clientX - box.left - 6) / (box.width - 12)) * state.facts.times.at(-1)); };
$("timeline").onpointerdown = (event) => { $("timeline").setPointerCapture(event.pointerId); scrub(event); };
$("timeline").onpointermove = (event) => { if (event.buttons) scrub(event); };
addEventListener("resize", () => { if (state.facts) seek(state.time); });
addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey || !state.facts) return;
  const keys = { " ": play, a: () => mark("accept"), r: () => mark("reject"), u: () => edit("undo"), j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1), ArrowRight: () => seek(state.time + 1 / state.facts.meta.rate_hz), ArrowLeft: () => seek(state.time - 1 / state.facts.meta.rate_hz) };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});

async function refresh() {
  const text = await (await ask("/api/episodes")).text();
  if (text === state.text) return; // nothing new: leave the list and its scroll position alone
  state.text = text;
  state.episodes = JSON.parse(text);
  showList();
}

guarded(async () => {
  await refresh();
  const wanted = location.hash.slice(1), rows = visible();
  if (rows.length) await open(rows.some((e) => e.id === wanted) ? wanted : rows[0].id);
  setInterval(guarded(async () => { if (!document.hidden) await refresh(); }), 10000);
})();
