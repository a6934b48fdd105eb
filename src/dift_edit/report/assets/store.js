"use strict";
/* Rows, and what is decided about them.

   A row has: id, target, status, reason, confidence, size, quad or mesh (its place, in pixels of the target), review,
   note, pins; before, after, link (addresses of previews and result). It may also have:
   suggested  why correcting it helps most: such rows come first
   earlier    {quad, confidence}: where the edit lay before, drawn beside the new place
   placements [{quad, confidence, status}]: all instances of the object, its own first; each is decided on its own
   warning    what is wrong with a result that was made
   marks      [{key, kind, name, points, closed, confidence}]: annotations as found; one point is a landmark, more are a
              line, none is missing
   moved      {key: points}: what a reviewer made of them */
const { meta, rows } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KEY = `dift-edit review ${meta.job}`;
const NONE = Object.freeze({ decision: "", note: "", pins: Object.freeze([]), instances: Object.freeze([]), moved: Object.freeze({}) });
const CHOICES = ["", "accepted", "rejected"];
const CORNERS = 4;
const byId = new Map();
rows.forEach((row, index) => {
  row.index = index;
  row.picture = row.before || row.after;
  row.name = row.target.split(/[\\/]/).pop();
  byId.set(row.id, row);
});
const applied = new Map(rows.filter((row) => row.review || row.note || row.pins.length || isSome(row.moved))
  .map((row) => [row.id, { ...NONE, decision: row.review, note: row.note, pins: row.pins, moved: row.moved || NONE.moved }]));
const decisions = new Map(applied);

function made(row) { return decisions.get(row.id) || NONE; }
function decision(row) { return made(row).decision; }
function alike(a, b) { return a === b || (a.length === b.length && (!a.length || JSON.stringify(a) === JSON.stringify(b))); }
function isSome(moved) { return Object.keys(moved || {}).length > 0; }
function same(a, b) {
  return a.decision === b.decision && a.note === b.note && alike(a.pins, b.pins) && alike(a.instances, b.instances)
    && JSON.stringify(a.moved) === JSON.stringify(b.moved);
}
function isEmpty(kept) { return !kept.decision && !kept.note && !kept.pins.length && !kept.instances.length && !isSome(kept.moved); }
function instancesOf(row) { return row.placements?.length > 1 ? row.placements : []; }
/* Whether the edit is, or will be, on one of the instances */
function isOn(row, i) {
  const chosen = made(row).instances[i];
  return chosen ? chosen === "accepted" : row.placements[i].status === "applied";
}
/* Moved or pinned, and not put on again since */
function isCorrected(row) { return made(row).pins.length > 0 && !alike(made(row).pins, row.pins); }
function isPlaced(row) { return made(row).pins.length === CORNERS; }
function canJudge(row) { return row.status !== "failed" && Boolean(row.after || row.quad); }
function isOpen(row) { return canJudge(row) && !decision(row) && !isMended(row); }
/* Whether somebody corrected something */
function isMended(row) {
  const kept = made(row);
  return kept.pins.length > 0 || kept.instances.length > 0 || isSome(kept.moved);
}

/* Checking what comes from outside */
function isPoint(value) { return Array.isArray(value) && value.length === 2 && value.every(Number.isFinite); }
function isPin(value) { return Array.isArray(value) && value.length === 2 && value.every(isPoint); }
function checked(given) {
  const { decision = "", note = "", pins = [], instances = [], moved = {} } = given;
  if (!CHOICES.includes(decision) || typeof note !== "string") throw new Error("no decision");
  if (!Array.isArray(pins) || pins.length > CORNERS || !pins.every(isPin)) throw new Error("no pins");
  if (!Array.isArray(instances) || !instances.every((each) => CHOICES.includes(each))) throw new Error("no instances");
  if (typeof moved !== "object" || !moved || !Object.values(moved).every((points) => Array.isArray(points) && points.every(isPoint))) throw new Error("no points");
  return { decision, note, pins, instances, moved };
}

/* Kept in the browser, soon after each change and when the page goes */
const keeping = { timer: 0 };
function keep() {
  clearTimeout(keeping.timer);
  keeping.timer = setTimeout(keepNow, 300);
}
function keepNow() {
  if (!keeping.timer) return;
  clearTimeout(keeping.timer);
  keeping.timer = 0;
  try {
    const changed = [...decisions].filter(([id, kept]) => !same(kept, applied.get(id) || NONE));
    localStorage.setItem(KEY, JSON.stringify(changed));
  } catch { /* a browser that keeps nothing for files */ }
}
function remember() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) || "[]").map(([id, given]) => [id, checked(given)]);
    for (const [id, given] of kept) if (byId.has(id)) decisions.set(id, given);
  } catch { /* as above */ }
}
addEventListener("pagehide", keepNow);

/* Every change is one step that can be undone. Changes with the same `part` (a drag, the typing of a note) join. */
const steps = { done: [], undone: [], unsaved: false };
function change(chosen, values, label, part = "") {
  const last = steps.done.at(-1);
  const step = part && last?.part === part ? last : { label, part, before: new Map(), after: new Map() };
  let changed = false;
  for (const row of chosen) {
    const before = made(row);
    const after = { ...before, ...(typeof values === "function" ? values(row) : values) };
    if (same(before, after)) continue;
    changed = true;
    if (!step.before.has(row.id)) step.before.set(row.id, before);
    step.after.set(row.id, after);
    decisions.set(row.id, after);
  }
  if (!changed) return false;
  if (step !== last) steps.done.push(step);
  steps.undone = [];
  steps.unsaved = true;
  keep();
  if (part) draw(); else drawNow();
  return true;
}
function endPart() { if (steps.done.length) steps.done.at(-1).part = ""; }
function undo() { step(steps.done, steps.undone, "before", "Undone"); }
function redo() { step(steps.undone, steps.done, "after", "Done again"); }
function step(from, to, which, word) {
  const taken = from.pop();
  if (!taken) return say(`Nothing to ${which === "before" ? "undo" : "do again"}.`);
  taken.part = "";
  to.push(taken);
  for (const [id, kept] of taken[which]) decisions.set(id, kept);
  steps.unsaved = true;
  keep();
  const [first] = taken[which].keys();
  const place = view.shown.indexOf(byId.get(first));
  if (place >= 0) go(place);
  drawNow();
  say(`${word}: ${taken.label}`);
}

/* What was accepted or corrected since can teach the rest, where `meta.learn` is the command for it */
const LESSON = 3;
function offersLesson() {
  const fresh = [...decisions].filter(([id, kept]) => !same(kept, applied.get(id) || NONE) && (kept.decision === "accepted" || kept.pins.length));
  return Boolean(meta.learn) && fresh.length > 0 && fresh.length % LESSON === 0 && rows.some(isOpen);
}

/* The file */
function exported() {
  const list = [...decisions].filter(([id, kept]) => byId.has(id) && (!isEmpty(kept) || applied.has(id)));  // or taken back
  const plain = list.map(([id, { instances, moved, ...kept }]) => ({
    id, ...kept, ...(instances.length ? { instances } : {}), ...(isSome(moved) ? { moved } : {}),
  }));
  return { format: "dift-edit review", version: 1, job: meta.job, decisions: plain };
}
function save(command = meta.command) {
  const data = exported();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(data, null, 1)], { type: "application/json" }));
  link.download = "decisions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  steps.unsaved = false;
  drawCounts();
  say(`${count(data.decisions.length, "decision")} saved. Now run  ${command}`, {
    label: "Copy command", run: () => navigator.clipboard?.writeText(command), seconds: 15,
  });
}
function restore(text) {
  try {
    const data = JSON.parse(text);
    if (data.format !== "dift-edit review" || data.job !== meta.job || !Array.isArray(data.decisions)) throw new Error("no decisions");
    const read = new Map(data.decisions.map((given) => [given.id, checked(given)]));  // all of them, before any is taken
    change(rows.filter((row) => read.has(row.id)), (row) => read.get(row.id), "loaded a file of decisions");
    choose();
    say(`${count(data.decisions.length, "decision")} loaded.`);
  } catch {
    say("That file holds no decisions of this page.");
  }
}

/* Words and elements */
function percent(share) { return `${Math.round(100 * share)}\u202f%`; }
function count(number, word) { return `${number} ${word}${number === 1 ? "" : "s"}`; }
function make(tag, classes = "", text = "") {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text) element.textContent = text;
  return element;
}
function drawn(tag, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
const icons = new Map();
function icon(name) {
  if (!icons.has(name)) {
    const picture = drawn("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" });
    picture.append(...$(`i-${name}`).cloneNode(true).children);
    icons.set(name, picture);
  }
  return icons.get(name).cloneNode(true);
}
function say(text, action) {
  $("toast-text").textContent = text;
  $("toast-action").hidden = !action;
  $("toast-action").textContent = action?.label || "";
  $("toast-action").onclick = () => { hush(); action?.run(); };
  $("toast").classList.add("on");
  clearTimeout(say.timer);
  say.timer = setTimeout(hush, 1000 * (action?.seconds || 5));
}
function hush() {
  $("toast").classList.remove("on");
  $("toast-action").hidden = true;
}
