"use strict";
const { meta, rows } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const ROW_HEIGHT = 76;
const KEY = `dift-edit review ${meta.job}`;
const FILTERS = {
  all: ["All", () => true],
  applied: ["Applied", (row) => row.status === "applied"],
  abstained: ["Abstained", (row) => row.status === "abstained"],
  failed: ["Failed", (row) => row.status === "failed"],
  open: ["To review", (row) => row.status === "applied" && !decision(row)],
  accepted: ["Accepted", (row) => decision(row) === "accepted"],
  rejected: ["Rejected", (row) => decision(row) === "rejected"],
};
const view = { filter: "all", shown: [], current: 0, outline: true, mend: false };
rows.forEach((row, index) => { row.index = index; row.picture = row.before || row.after; row.name = row.target.split(/[\\/]/).pop(); });
const decisions = new Map(rows.filter((row) => row.review || row.note || row.pins.length)
  .map((row) => [row.id, { decision: row.review, note: row.note, pins: row.pins }]));
load();

/* Decisions: kept in the browser, saved as a file */
function isPoint(value) { return Array.isArray(value) && value.length === 2 && value.every(Number.isFinite); }
function isPin(value) { return Array.isArray(value) && value.length === 2 && value.every(isPoint); }
function checked(made) {
  const { decision = "", note = "", pins = [] } = made;
  if (!["", "accepted", "rejected"].includes(decision) || typeof note !== "string") throw new Error("no decision");
  if (!Array.isArray(pins) || pins.length > 4 || !pins.every(isPin)) throw new Error("no pins");
  return { decision, note, pins };
}
function load() {
  try {
    for (const [id, kept] of JSON.parse(localStorage.getItem(KEY) || "[]")) decisions.set(id, checked(kept));
  } catch { /* a browser that keeps nothing for files */ }
}
function keep() {
  try { localStorage.setItem(KEY, JSON.stringify([...decisions])); } catch { /* as above */ }
}
function decision(row) { return decisions.get(row.id)?.decision || ""; }
function change(row, values) {
  const before = decisions.get(row.id) || { decision: "", note: "", pins: [] };
  decisions.set(row.id, { ...before, ...values });
  keep();
  draw();
}
function exported() {
  const known = new Set(rows.map((row) => row.id));
  const list = [...decisions].filter(([id, made]) => known.has(id) && (made.decision || made.note || made.pins.length));
  return { format: "dift-edit review", version: 1, job: meta.job, decisions: list.map(([id, made]) => ({ id, ...made })) };
}
function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(exported(), null, 1)], { type: "application/json" }));
  link.download = "decisions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say(`Saved. Now run:  ${meta.command}`);
}
function restore(text) {
  try {
    const data = JSON.parse(text);
    if (data.format !== "dift-edit review" || data.job !== meta.job || !Array.isArray(data.decisions)) throw new Error("no decisions");
    const known = new Set(rows.map((row) => row.id));
    const read = data.decisions.map((made) => [made.id, checked(made)]);  // all of them, before any is taken
    for (const [id, made] of read) if (known.has(id)) decisions.set(id, made);
    keep();
    choose();
    say(`${data.decisions.length} decisions loaded.`);
  } catch {
    say("That file holds no decisions of this page.");
  }
}

/* Which rows are shown, in which order */
function choose(keepPlace = true) {
  const current = view.shown[view.current];
  const [low, high] = [Number($("low").value) / 100, Number($("high").value) / 100];
  const words = $("search").value.trim().toLowerCase();
  const fits = FILTERS[view.filter][1];
  view.shown = rows.filter((row) => fits(row)
    && (row.confidence === null ? low === 0 : row.confidence >= low - 1e-9 && row.confidence <= high + 1e-9)
    && (!words || `${row.target} ${row.reason} ${decisions.get(row.id)?.note || ""}`.toLowerCase().includes(words)));
  const by = {
    least: (a, b) => (a.confidence ?? -1) - (b.confidence ?? -1),
    most: (a, b) => (b.confidence ?? -1) - (a.confidence ?? -1),
    name: (a, b) => a.target.localeCompare(b.target, undefined, { numeric: true }),
    order: () => 0,
  }[$("sort").value];
  view.shown.sort((a, b) => by(a, b) || a.index - b.index);
  const place = keepPlace ? view.shown.indexOf(current) : 0;
  view.current = Math.max(place, 0);
  draw();
  reveal();
}
function draw() {
  const done = rows.filter((row) => row.status === "applied" && decision(row)).length;
  const open = rows.filter((row) => row.status === "applied").length;
  $("reviewed").textContent = `${done} of ${open} reviewed`;
  $("progress").setAttribute("aria-valuemax", open);
  $("progress").setAttribute("aria-valuenow", done);
  $("progress").firstElementChild.style.width = `${open ? 100 * done / open : 0}%`;
  for (const chip of $("chips").children) {
    const [label, fits] = FILTERS[chip.dataset.filter];
    chip.textContent = `${label} ${rows.filter(fits).length}`;
    chip.setAttribute("aria-pressed", String(chip.dataset.filter === view.filter));
  }
  $("found").textContent = view.shown.length === rows.length ? `${rows.length} targets` : `${view.shown.length} of ${rows.length} targets`;
  drawList();
  drawDetail();
}

/* The list: only the rows in sight exist */
function drawList() {
  const list = $("list");
  $("space").style.height = `${view.shown.length * ROW_HEIGHT}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - 4);
  const last = Math.min(view.shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_HEIGHT) + 4);
  const elements = [];
  for (let place = first; place < last; place++) elements.push(listRow(view.shown[place], place));
  $("space").replaceChildren(...elements);
  list.setAttribute("aria-activedescendant", view.shown.length ? `row${view.current}` : "");
}
function listRow(row, place) {
  const element = make("div", "row");
  element.id = `row${place}`;
  element.style.top = `${place * ROW_HEIGHT}px`;
  element.setAttribute("role", "option");
  element.setAttribute("aria-selected", String(place === view.current));
  element.setAttribute("aria-setsize", view.shown.length);
  element.setAttribute("aria-posinset", place + 1);
  const picture = row.after || row.before;
  if (picture) {
    const image = make("img");
    image.loading = "lazy";
    image.alt = `${row.name} ${row.after ? "with the edit" : "without the edit"}`;
    image.src = picture;
    element.append(image);
  } else {
    element.append(make("div", "none", "✕"));
  }
  const text = make("div", "text");
  const state = row.confidence === null ? row.status : `${row.status} · ${percent(row.confidence)}`;
  text.append(make("div", "title", row.name), make("div", "sub", row.reason && row.status !== "applied" ? `${state} · ${row.reason}` : state));
  const meter = make("div", `meter ${row.status}`);
  const fill = make("i");
  fill.style.width = `${100 * (row.confidence ?? 0)}%`;
  meter.append(fill);
  text.append(meter);
  const made = decision(row);
  const mark = make("span", `mark ${made}`, { accepted: "✓", rejected: "✕" }[made] || "");
  if (made) mark.setAttribute("aria-label", made);
  element.append(text, mark);
  element.addEventListener("click", () => { go(place); document.body.classList.add("open"); });
  return element;
}
function reveal() {
  const list = $("list");
  const top = view.current * ROW_HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
  drawList();
}

/* The picture */
function drawDetail() {
  const row = view.shown[view.current];
  for (const id of ["accept", "reject", "note", "mend"]) $(id).disabled = !row;
  if (!row) {
    for (const id of ["before", "after", "slider", "line", "overlay", "open", "corners", "reset"]) $(id).setAttribute("hidden", "");
    for (const tag of document.querySelectorAll(".tag")) tag.hidden = true;
    $("name").textContent = "Nothing to show";
    $("badge").textContent = "";
    $("nothing").hidden = false;
    $("nothing").textContent = "No target fits this choice.";
    $("facts").replaceChildren();
    $("note").value = "";
    return;
  }
  const kept = decisions.get(row.id) || { decision: "", note: "", pins: [] };
  $("name").textContent = row.name;
  $("badge").className = `badge ${row.status}`;
  $("badge").textContent = row.confidence === null ? row.status : `${row.status} ${percent(row.confidence)}`;
  show("before", row.before || row.after, row.before ? `${row.name} before the edit` : `${row.name} with the edit`);
  show("after", row.after, `${row.name} with the edit`);
  $("nothing").hidden = Boolean(row.picture);
  $("nothing").textContent = row.picture ? "" : row.reason || "There is no picture.";
  fit(row);
  const both = Boolean(row.before && row.after);
  for (const element of [$("slider"), $("line"), ...document.querySelectorAll(".tag")]) element.hidden = !both || view.mend;
  cut();
  outline(row, kept);
  $("accept").setAttribute("aria-pressed", String(kept.decision === "accepted"));
  $("reject").setAttribute("aria-pressed", String(kept.decision === "rejected"));
  if (document.activeElement !== $("note")) $("note").value = kept.note;
  $("open").hidden = !row.link;
  if (row.link) $("open").href = row.link;
  const facts = {
    Target: row.target, Result: row.output, Reason: row.reason, Engine: row.engine,
    Mirrored: row.mirrored ? (row.artwork ? `yes, artwork ${row.artwork}` : "yes") : null, Size: row.size ? row.size.join(" × ") : null,
    Corners: kept.pins.length ? "moved by hand" : null,
  };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value)
    .flatMap(([key, value]) => [make("dt", "", key), make("dd", "", value)]));
}
function show(id, source, alt) {
  const image = $(id);
  image.hidden = !source;
  image.alt = alt;
  if (source && image.getAttribute("src") !== source) image.src = source;
}
function fit(row) {
  const [width, height] = row.size || [4, 3];
  const stage = $("stage");
  const style = getComputedStyle(stage);
  const room = [stage.clientWidth - 2 * parseFloat(style.paddingLeft), stage.clientHeight - 2 * parseFloat(style.paddingTop)];
  const scale = Math.min(room[0] / width, room[1] / height);
  $("frame").style.width = row.picture ? `${width * scale}px` : "auto";
  $("frame").style.height = row.picture ? `${height * scale}px` : "auto";
}
function cut() {
  const share = view.mend ? 0 : Number($("slider").value) / 1000;
  $("after").style.clipPath = `inset(0 0 0 ${100 * share}%)`;
  $("line").style.left = `${100 * share}%`;
}
function outline(row, kept) {
  const quad = placed(row, kept);
  const seen = Boolean(quad && row.picture && row.size && (view.outline || view.mend));
  $("overlay").toggleAttribute("hidden", !seen);
  $("corners").hidden = !(view.mend && quad && row.picture);
  $("reset").hidden = !(view.mend && kept.pins.length);
  if (!quad || !row.size) return;
  const [width, height] = row.size;
  $("overlay").setAttribute("viewBox", `-0.5 -0.5 ${width} ${height}`);
  $("overlay").setAttribute("preserveAspectRatio", "none");
  $("shape").setAttribute("points", quad.map((point) => point.join(",")).join(" "));
  const lattice = kept.pins.length ? null : row.mesh;
  $("shape").toggleAttribute("hidden", Boolean(lattice));
  $("mesh").setAttribute("d", lattice ? lines(lattice) : "");
  $("shape").setAttribute("class", row.status === "applied" ? "" : "doubt");
  [...$("corners").children].forEach((corner, i) => {
    corner.style.left = `${100 * (quad[i][0] + 0.5) / width}%`;
    corner.style.top = `${100 * (quad[i][1] + 0.5) / height}%`;
  });
}
function lines(lattice) {
  const columns = lattice[0].map((_, i) => lattice.map((points) => points[i]));
  return [...lattice, ...columns].map((points) => `M${points.map((point) => point.join(" ")).join("L")}`).join("");
}
function placed(row, kept) {
  if (kept.pins.length === 4) return kept.pins.map((pin) => pin[1]);
  if (row.quad) return row.quad;
  if (!row.size || !view.mend) return null;
  const [width, height] = row.size;
  return [[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]].map(([x, y]) => [x * width, y * height]);
}
function moveCorner(i, point) {
  const row = view.shown[view.current];
  const kept = decisions.get(row.id) || { pins: [] };
  const quad = placed(row, kept).map((each) => [...each]);
  quad[i] = point.map((value, axis) => Math.round(Math.min(Math.max(value, -row.size[axis]), 2 * row.size[axis]) * 100) / 100);
  change(row, { pins: quad.map((each, k) => [meta.quad[k], each]) });
}

/* Going about */
function go(place) {
  if (!view.shown.length) return;
  view.current = Math.min(Math.max(place, 0), view.shown.length - 1);
  $("note").blur();
  draw();
  reveal();
}
function decide(what) {
  const row = view.shown[view.current];
  if (!row) return;
  const made = decision(row) === what ? "" : what;
  change(row, { decision: made });
  say(`${row.name}: ${made || "no decision"}`);
  if (made) go(view.current + 1);
}
function say(text) {
  $("toast").textContent = text;
  $("toast").classList.add("on");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => $("toast").classList.remove("on"), 3500);
}
function percent(share) { return `${Math.round(100 * share)} %`.replace(" ", "\u202f"); }
function make(tag, classes = "", text = "") {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text) element.textContent = text;
  return element;
}

/* Set up */
for (const filter of Object.keys(FILTERS)) {
  const chip = make("button");
  chip.type = "button";
  chip.dataset.filter = filter;
  chip.addEventListener("click", () => { view.filter = filter; choose(); });
  $("chips").append(chip);
}
for (let i = 0; i < 4; i++) {
  const corner = make("button", "corner");
  corner.type = "button";
  corner.setAttribute("aria-label", `Corner ${["top left", "top right", "bottom right", "bottom left"][i]}: move with the arrow keys`);
  const at = (event) => {
    const box = $("frame").getBoundingClientRect();
    const [width, height] = view.shown[view.current].size;
    return [(event.clientX - box.left) / box.width * width - 0.5, (event.clientY - box.top) / box.height * height - 0.5];
  };
  corner.addEventListener("pointerdown", (event) => corner.setPointerCapture(event.pointerId));
  corner.addEventListener("pointermove", (event) => { if (corner.hasPointerCapture(event.pointerId)) moveCorner(i, at(event)); });
  corner.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const row = view.shown[view.current];
    const unit = Math.max(...row.size) / (event.shiftKey ? 40 : 400);
    const point = placed(row, decisions.get(row.id) || { pins: [] })[i];
    moveCorner(i, [point[0] + step[0] * unit, point[1] + step[1] * unit]);
  });
  $("corners").append(corner);
}
$("total").textContent = `${rows.length} targets`;
document.title = `Review of ${rows.length} edits`;
$("command").textContent = meta.command;
if (meta.redaction) {
  const exposed = rows.filter((row) => row.status !== "applied");
  const names = exposed.slice(0, 5).map((row) => row.name).join(", ");
  $("exposed").hidden = !exposed.length;
  $("exposed").textContent = `${exposed.length} of ${rows.length} targets were NOT redacted and still show what should be hidden: `
    + `${names}${exposed.length > 5 ? " …" : ""}`;
}
if (meta.unredacted) {
  $("unredacted").hidden = false;
  $("unredacted").textContent = `Pictures before the redaction, and rejected results, are not in this folder but beside it, in ${meta.unredacted}: `
    + "this page shows them only while that folder is there. Never publish it.";
}
if (meta.source) { $("source").src = meta.source; $("reference").hidden = false; }
$("mend").closest("label").hidden = !meta.quad;
$("list").addEventListener("scroll", drawList, { passive: true });
for (const id of ["sort", "low", "high"]) $(id).addEventListener("change", () => choose());
$("search").addEventListener("input", () => choose());
$("slider").addEventListener("input", cut);
$("outline").addEventListener("change", (event) => { view.outline = event.target.checked; draw(); });
$("mend").addEventListener("change", (event) => { view.mend = event.target.checked; draw(); });
$("reset").addEventListener("click", () => change(view.shown[view.current], { pins: [] }));
$("note").addEventListener("input", (event) => {
  const row = view.shown[view.current];
  if (row) change(row, { note: event.target.value });
});
const actions = {
  accept: () => decide("accepted"), reject: () => decide("rejected"), next: () => go(view.current + 1),
  previous: () => go(view.current - 1), export: save, help: () => $("keys").showModal(), import: () => $("file").click(),
  back: () => document.body.classList.remove("open"),
};
for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
$("file").addEventListener("change", async (event) => {
  if (event.target.files.length) restore(await event.target.files[0].text());
  event.target.value = "";
});
addEventListener("resize", draw);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const typing = event.target.closest?.("textarea, select, input:not([type=range]):not([type=checkbox])");
  if (event.key === "Escape") {
    if (typing) event.target.blur(); else document.body.classList.remove("open");
    return;
  }
  if (typing) return;
  const slide = (step) => { $("slider").value = Number($("slider").value) + step; cut(); };
  const keys = {
    a: actions.accept, r: actions.reject, j: actions.next, k: actions.previous, ArrowDown: actions.next, ArrowUp: actions.previous,
    ArrowLeft: () => slide(-25), ArrowRight: () => slide(25), e: save, "?": actions.help,
    u: () => view.shown[view.current] && change(view.shown[view.current], { decision: "" }),
    o: () => $("outline").click(), m: () => $("mend").click(), n: () => $("note").focus(), "/": () => $("search").focus(),
    Home: () => go(0), End: () => go(view.shown.length - 1), PageDown: () => go(view.current + 8), PageUp: () => go(view.current - 8),
  };
  const action = keys[event.key];
  if (!action || (event.target.tagName === "BUTTON" && event.key === " ")) return;
  event.preventDefault();
  action();
});
choose(false);
