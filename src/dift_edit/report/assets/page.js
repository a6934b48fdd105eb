/* What the buttons and keys do */
function look() { $("outline").setAttribute("aria-pressed", String(view.outline[outlineKind(current())])); }
function toggleOutline() {
  const kind = outlineKind(current());
  view.outline[kind] = !view.outline[kind];
  drawNow();
}
function closer() {
  view.closer = !view.closer;
  drawNow();
}
function peek(on) {
  view.peek = on;
  $("peek").setAttribute("aria-pressed", String(on));
  if (current()?.marks) drawPicture(); else cut();
}
function slide(step) {
  $("slider").value = Number($("slider").value) + step;
  cut();
}
function filter(name) {
  view.filter = name;
  view.selected.clear();
  choose(false);
}
function escape() {
  if (view.half) { view.half = null; return drawNow(); }
  if (view.mend) return setMend("");
  if (view.selected.size) return selectNone();
  if (document.body.classList.contains("open")) closeDetail();
}
function enter() {
  if (view.mend) return setMend("");
  if (current() && !isDetailOpen()) openDetail();
}
function arrow(key, coarse) {
  if (view.mend === "box") return moveBox(ARROWS[key], coarse);
  const [dx, dy] = ARROWS[key];
  if (dx && (view.layout === "list" || document.body.classList.contains("open"))) return coarse ? extend(dx) : slide(25 * dx);
  const { columns } = grid();
  go(view.current + (dx || dy * (document.body.classList.contains("open") ? 1 : columns)), { extend: coarse });
}
function extend(step) { go(view.current + step, { extend: true }); }
function page(direction) {
  const { columns, height } = grid();
  go(view.current + direction * columns * Math.max(1, Math.floor($("list").clientHeight / height)));
}

function setUpTools() {
  for (const [name, [words]] of Object.entries(FILTERS)) {
    const chip = make("button");
    chip.type = "button";
    chip.dataset.filter = name;
    chip.append(make("span", "", words), make("b"));
    chip.addEventListener("click", (event) => {
      filter(name);
      if (event.detail) $("list").focus({ preventScroll: true });  // by the mouse: the keys are for the list then
    });
    $("chips").append(chip);
  }
  if (!rows.some((row) => row.suggested)) $("sort").querySelector("[value=first]").remove();
  const known = rows.filter((row) => row.confidence !== null);
  const bins = new Array(20).fill(0);
  for (const row of known) bins[Math.min(19, Math.floor(20 * Math.max(row.confidence, 0)))] += 1;
  const most = Math.max(...bins, 1);
  bins.forEach((number, i) => $("histogram").append(drawn("rect", { x: i * 5 + 0.5, width: 4, y: 24 - 24 * Math.sqrt(number / most), height: 24 * Math.sqrt(number / most) })));
  for (const id of ["low", "high", "sort"]) $(id).addEventListener("input", () => choose());
  $("search").addEventListener("input", () => choose());
  $("size").addEventListener("input", () => { view.size = Number($("size").value); clearTiles(); drawNow(); reveal(); });
}
function setUpWords() {
  $("total").textContent = count(rows.length, "target");
  document.title = `Review of ${count(rows.length, "edit")}`;
  for (const id of ["command", "empty-command"]) $(id).textContent = meta.command;
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
}
function setUpList() {
  const list = $("list");
  const press = { timer: 0, long: false };
  list.addEventListener("scroll", () => {
    if (!scrolling.waiting) scrolling.waiting = requestAnimationFrame(() => { scrolling.waiting = 0; drawTiles(); });
  }, { passive: true });
  list.addEventListener("pointerdown", (event) => {
    const tile = event.target.closest(".row");
    press.long = false;
    clearTimeout(press.timer);
    if (tile && event.pointerType === "touch") {
      press.timer = setTimeout(() => { press.long = true; toggle(Number(tile.dataset.place)); navigator.vibrate?.(10); }, 450);
    }
  });
  for (const kind of ["pointermove", "pointerup", "pointercancel", "scroll"]) {
    list.addEventListener(kind, (event) => { if (kind !== "pointermove" || Math.hypot(event.movementX, event.movementY) > 4) clearTimeout(press.timer); }, { passive: true });
  }
  list.addEventListener("contextmenu", (event) => { if (press.long) event.preventDefault(); });
  list.addEventListener("click", (event) => {
    const tile = event.target.closest(".row");
    if (!tile || press.long) return;
    const place = Number(tile.dataset.place);
    if (event.shiftKey) { getSelection()?.removeAllRanges(); return extend(place - view.current); }
    if (event.target.closest(".tick") || event.ctrlKey || event.metaKey || (narrow.matches && view.selected.size)) return toggle(place);
    view.selected.clear();
    go(place);
    if (narrow.matches) openDetail();
  });
  list.addEventListener("dblclick", (event) => { if (event.target.closest(".row") && !event.target.closest(".tick")) openDetail(); });
}
function setUpButtons() {
  const actions = {
    accept: () => decide("accepted"), reject: () => decide("rejected"), next: () => go(view.current + 1), previous: () => go(view.current - 1),
    "bulk-accept": () => decide("accepted"), "bulk-reject": () => decide("rejected"), "bulk-clear": () => decide(""), "bulk-none": selectNone,
    "select-all": selectAll, undo, redo, export: () => save(), "empty-save": () => save(), help: () => $("keys").showModal(), import: () => $("file").click(), back: closeDetail,
    "empty-reset": () => { $("search").value = ""; $("low").value = 0; $("high").value = 100; filter("all"); },
    outline: toggleOutline, closer, mend: () => setMend(view.mend === "box" ? "" : "box"), pin: () => setMend(view.mend === "pins" ? "" : "pins"), mark: () => setMend(view.mend === "marks" ? "" : "marks"),
    "tool-box": () => setMend("box"), "tool-pins": () => setMend("pins"), flip, reset: resetPlace, done: () => setMend(""),
    "as-list": () => setLayout("list"), "as-grid": () => setLayout("grid"),
  };
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
  $("slider").addEventListener("input", cut);
  for (const kind of ["pointerdown", "keydown"]) $("peek").addEventListener(kind, (event) => { if (kind === "pointerdown" || event.key === " " || event.key === "Enter") peek(true); });
  for (const kind of ["pointerup", "pointerleave", "keyup", "blur"]) $("peek").addEventListener(kind, () => peek(false));
  $("note").addEventListener("input", (event) => {
    const row = current();
    if (row) change([row], { note: event.target.value }, `note on ${row.name}`, `note ${row.index}`);
  });
  $("note").addEventListener("blur", endPart);
  $("file").addEventListener("change", async (event) => {
    if (event.target.files.length) restore(await event.target.files[0].text());
    event.target.value = "";
  });
}
/* Key → what it does; the help lists them in words */
const KEYS = {
  a: () => decide("accepted"), r: () => decide("rejected"), u: () => decide(""), z: undo, Z: redo, y: redo,
  j: () => go(view.current + 1), k: () => go(view.current - 1), J: () => extend(1), K: () => extend(-1),
  x: () => current() && toggle(view.current), s: selectAll,
  g: () => setLayout(view.layout === "grid" ? "list" : "grid"), Enter: enter,
  o: toggleOutline, c: closer, b: () => peek(true), m: () => { const mode = current()?.marks ? "marks" : "box"; setMend(view.mend === mode ? "" : mode); }, p: () => setMend(view.mend === "pins" ? "" : "pins"),
  n: () => { if (!isDetailOpen()) openDetail(); $("note").focus(); }, "/": () => $("search").focus(), e: () => save(), "?": () => $("keys").showModal(),
  ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((digit) => [digit, () => toggleInstance(digit - 1)])),
  Home: () => go(0), End: () => go(view.shown.length - 1), PageDown: () => page(1), PageUp: () => page(-1),
};
const BOX_KEYS = { "+": () => growBox(1), "=": () => growBox(1), "-": () => growBox(-1), ",": () => turnBox(-1), ".": () => turnBox(1), "<": () => turnBox(-10), ">": () => turnBox(10), f: flip };
function setUpKeys() {
  addEventListener("keydown", (event) => {
    if (event.altKey || $("keys").open) return;
    const typing = event.target.closest?.("textarea, select, input:not([type=range]):not([type=checkbox])");
    if (event.key === "Escape") {
      if (typing) { event.target.blur(); $("list").focus({ preventScroll: true }); } else escape();
      return;
    }
    if (typing) return;
    const command = event.ctrlKey || event.metaKey;
    let action = command ? { z: undo, Z: redo, y: redo, a: selectAll, s: () => save() }[event.key]
      : (view.mend === "box" && BOX_KEYS[event.key]) || (ARROWS[event.key] ? () => arrow(event.key, event.shiftKey) : KEYS[event.key]);
    if (event.target.matches?.("#low, #high, #size") && ARROWS[event.key]) return;
    if (event.target.matches?.("button, a") && event.key === "Enter") action = null;
    if (!action) return;
    event.preventDefault();
    action();
  });
  addEventListener("keyup", (event) => { if (event.key === "b") peek(false); });
}
remember();
setUpTools();
setUpWords();
setUpList();
setUpButtons();
setUpPlace();
setUpMarks();
setUpKeys();
new ResizeObserver(() => drawPicture()).observe($("view"));
addEventListener("resize", () => { clearTiles(); draw(); });
setLayout("list");
choose(false);
