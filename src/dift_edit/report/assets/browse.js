/* Which rows are shown, which are selected; the list and the grid, of which only what is in sight exists */
const FILTERS = {
  open: ["To review", isOpen],
  accepted: ["Accepted", (row) => decision(row) === "accepted"],
  rejected: ["Rejected", (row) => decision(row) === "rejected"],
  corrected: ["Corrected", isMended],
  applied: ["Applied", (row) => row.status === "applied"],
  abstained: ["Abstained", (row) => row.status === "abstained"],
  failed: ["Failed", (row) => row.status === "failed"],
  all: ["All", () => true],
};
const LIST_ROW = 76;
const CAPTION = 52;
const OVERSCAN = { list: 4, grid: 1 };
const view = {
  filter: rows.some(isOpen) ? "open" : "all", layout: "list", size: 190, shown: [], current: 0,
  selected: new Set(), anchor: 0, outline: { applied: false, other: true }, mend: "",
};
/* The outline is there from the start where the result does not say enough */
function outlineKind(row) { return row?.after && !instancesOf(row).length ? "applied" : "other"; }
const narrow = matchMedia("(max-width: 760px)");
function current() { return view.shown[view.current]; }
function isDetailOpen() { return document.body.classList.contains("open") || (view.layout === "list" && !narrow.matches); }
/* What a, r, u and the buttons act on */
function chosen() {
  if (view.selected.size) return rows.filter((row) => view.selected.has(row.id));
  return current() ? [current()] : [];
}

function choose(keepPlace = true) {
  const row = current();
  const [low, high] = [$("low"), $("high")].map((input) => Number(input.value) / 100).sort((a, b) => a - b);
  const words = $("search").value.trim().toLowerCase();
  const fits = FILTERS[view.filter][1];
  view.shown = rows.filter((each) => fits(each)
    && (each.confidence === null ? low === 0 : each.confidence >= low - 1e-9 && each.confidence <= high + 1e-9)
    && (!words || `${each.target} ${each.reason} ${made(each).note}`.toLowerCase().includes(words)));
  view.shown.sort(ORDERS[$("sort").value]);
  const there = new Set(view.shown.map((each) => each.id));
  for (const id of view.selected) if (!there.has(id)) view.selected.delete(id);
  view.current = Math.max(keepPlace && row ? view.shown.indexOf(row) : 0, 0);
  view.anchor = view.current;
  $("range").textContent = low === 0 && high === 1 ? "" : ` ${Math.round(100 * low)}–${Math.round(100 * high)}\u202f%`;
  clearTiles();
  drawNow();
  reveal();
}
const collator = new Intl.Collator(undefined, { numeric: true });
const least = (a, b) => (a.confidence ?? -1) - (b.confidence ?? -1) || a.index - b.index;
const ORDERS = {
  first: (a, b) => Boolean(b.suggested) - Boolean(a.suggested) || least(a, b),
  least,
  most: (a, b) => (b.confidence ?? -1) - (a.confidence ?? -1) || a.index - b.index,
  name: (a, b) => collator.compare(a.target, b.target) || a.index - b.index,
  order: (a, b) => a.index - b.index,
};

/* Drawing: once a frame at most */
function draw() {
  if (!draw.waiting) draw.waiting = requestAnimationFrame(drawNow);
}
function drawNow() {
  cancelAnimationFrame(draw.waiting);
  draw.waiting = 0;
  drawCounts();
  drawTiles();
  drawDetail();
}
function drawCounts() {
  const counts = Object.fromEntries(Object.entries(FILTERS).map(([name, [, fits]]) => [name, rows.reduce((sum, row) => sum + fits(row), 0)]));
  const whole = rows.reduce((sum, row) => sum + canJudge(row), 0);
  const done = whole - counts.open;
  $("reviewed").textContent = `${done} of ${whole} reviewed`;
  $("progress").setAttribute("aria-valuemax", whole);
  $("progress").setAttribute("aria-valuenow", done);
  $("progress").firstElementChild.style.width = `${whole ? 100 * done / whole : 0}%`;
  for (const chip of $("chips").children) {
    const name = chip.dataset.filter;
    chip.lastElementChild.textContent = ` ${counts[name]}`;
    chip.setAttribute("aria-pressed", String(name === view.filter));
    chip.hidden = !counts[name] && name === "corrected" && name !== view.filter;
  }
  const number = view.selected.size;
  $("found").textContent = view.shown.length === rows.length ? count(rows.length, "target") : `${view.shown.length} of ${count(rows.length, "target")}`;
  $("bulk").hidden = !number;
  $("selected").textContent = `${number} selected`;
  document.body.classList.toggle("selecting", number > 0);
  $("select-all").hidden = !view.shown.length;
  $("select-all").textContent = number && number === view.shown.length ? "Select none" : `Select all ${view.shown.length}`;
  $("undo").disabled = !steps.done.length;
  $("redo").disabled = !steps.undone.length;
  $("undo").title = steps.done.length ? `Undo: ${steps.done.at(-1).label}` : "Undo";
  $("redo").title = steps.undone.length ? `Do again: ${steps.undone.at(-1).label}` : "Do again";
  $("export").classList.toggle("unsaved", steps.unsaved);
}

/* The tiles of the list and the grid */
const tiles = new Map();
const loaded = new Set();
const scrolling = { top: 0, timer: 0 };
function grid() {
  const width = $("list").clientWidth - (view.layout === "grid" ? 16 : 0);
  if (view.layout === "list") return { columns: 1, width, height: LIST_ROW, left: 0 };
  const columns = Math.max(narrow.matches ? 2 : 1, Math.floor(width / view.size));
  return { columns, width: width / columns, height: Math.round(0.75 * width / columns) + CAPTION, left: 8 };
}
function clearTiles() {
  tiles.clear();
  $("space").replaceChildren();
}
function drawTiles() {
  const list = $("list");
  const { columns, width, height, left } = grid();
  const space = $("space");
  space.style.height = `${Math.ceil(view.shown.length / columns) * height}px`;
  const top = list.scrollTop;
  const first = Math.max(0, Math.floor(top / height) - OVERSCAN[view.layout]) * columns;
  const last = Math.min(view.shown.length, (Math.ceil((top + list.clientHeight) / height) + OVERSCAN[view.layout]) * columns);
  for (const [place, tile] of tiles) {
    if (place >= first && place < last) continue;
    tile.image?.removeAttribute("src");  // no longer wanted: a picture on its way is given up
    tile.element.remove();
    tiles.delete(place);
  }
  let next = space.firstElementChild;
  for (let place = first; place < last; place++) {
    let tile = tiles.get(place);
    if (!tile) {
      tile = makeTile(view.shown[place], place);
      tile.element.style.transform = `translate(${left + (place % columns) * width}px, ${Math.floor(place / columns) * height}px)`;
      tile.element.style.width = `${width}px`;
      tile.element.style.height = `${height}px`;
      tiles.set(place, tile);
    }
    dress(tile, view.shown[place], place);
    if (tile.element === next) next = next.nextElementSibling;
    else space.insertBefore(tile.element, next);
  }
  list.setAttribute("aria-activedescendant", view.shown.length ? `row${view.current}` : "");
  $("empty").hidden = view.shown.length > 0;
  if (!view.shown.length) drawEmpty();
  const calm = Math.abs(top - scrolling.top) < list.clientHeight / 2;
  scrolling.top = top;
  clearTimeout(scrolling.timer);
  if (calm) fillPictures(); else scrolling.timer = setTimeout(fillPictures, 90);
}
function fillPictures() {
  for (const { image, address } of tiles.values()) {
    if (image && !image.hasAttribute("src")) image.src = address;
  }
}
/* One tile to copy: what each has */
const mold = make("div", "row");
mold.setAttribute("role", "option");
mold.innerHTML = '<div class="thumb"><span class="tick" aria-hidden="true"></span></div><div class="text"><div class="title"></div>'
  + '<div class="sub"><span class="dot"></span><span></span><span class="why"></span></div><div class="meter"><i></i></div></div><span class="mark"></span>';
function makeTile(row, place) {
  const element = mold.cloneNode(true);
  const [thumb, text, mark] = element.children;
  const [title, sub, meter] = text.children;
  const [dot, state, why] = sub.children;
  element.id = `row${place}`;
  element.dataset.place = place;
  element.setAttribute("aria-setsize", view.shown.length);
  element.setAttribute("aria-posinset", place + 1);
  const tile = { element, thumb, mark, address: row.after || row.before };
  if (tile.address) {
    tile.image = make("img");
    tile.image.decoding = "async";
    tile.image.draggable = false;
    tile.image.alt = `${row.name} ${row.after ? "with the edit" : "without the edit"}`;
    if (row.quad && row.size) {
      const [x, y] = centre(row.quad);
      tile.image.style.objectPosition = `${100 * Math.min(Math.max(x / row.size[0], 0), 1)}% ${100 * Math.min(Math.max(y / row.size[1], 0), 1)}%`;
    }
    thumb.prepend(tile.image);
  } else {
    thumb.prepend(make("span", "none", "✕"));
  }
  title.textContent = row.name;
  if (row.suggested) {
    const star = make("span", "star");
    star.setAttribute("role", "img");
    star.setAttribute("aria-label", "suggested");
    star.append(icon("star"));
    title.prepend(star);
  }
  dot.className = `dot ${row.status}`;
  state.textContent = row.confidence === null ? row.status : `${row.status} · ${percent(row.confidence)}`;
  const reason = row.suggested || row.warning || (row.status === "applied" ? "" : row.reason);
  if (reason) why.textContent = ` · ${reason}`;
  meter.className = `meter ${row.status}`;
  meter.firstElementChild.style.width = `${100 * (row.confidence ?? 0)}%`;
  return tile;
}
/* What may change about a tile */
function dress(tile, row, place) {
  const kept = made(row);
  const selected = view.selected.has(row.id);
  const state = `${selected} ${place === view.current} ${kept.decision} ${kept.note !== ""} ${JSON.stringify(kept.pins)} ${kept.instances} ${isMended(row)}`;
  if (tile.state === state) return;
  tile.state = state;
  tile.element.setAttribute("aria-selected", String(selected));
  tile.element.classList.toggle("current", place === view.current);
  const corrected = isMended(row);
  tile.mark.className = `mark ${kept.decision || (corrected ? "corrected" : "")}`;
  tile.mark.replaceChildren();
  if (kept.note) tile.mark.append(icon("note"));
  if (corrected) tile.mark.append(icon("place"));
  if (kept.decision) tile.mark.append(icon(kept.decision === "accepted" ? "check" : "cross"));
  const said = [kept.decision, corrected && "corrected", kept.note && "with a note"].filter(Boolean).join(", ");
  if (said) tile.mark.setAttribute("aria-label", said); else tile.mark.removeAttribute("aria-label");
  tile.mark.setAttribute("role", said ? "img" : "presentation");
  tile.element.classList.toggle("is-rejected", kept.decision === "rejected");
  tile.element.classList.toggle("is-accepted", kept.decision === "accepted");
  if (view.layout === "grid" && tile.image && row.size) outlineTile(tile, row);
}
/* Where the edit would go, on a picture without it */
function outlineTile(tile, row) {
  const quad = isCorrected(row) ? quadOf(row) : row.after ? null : row.quad;
  if (!quad) return tile.outline?.setAttribute("points", "");
  if (!tile.outline) {
    const [w, h] = row.size;
    const over = drawn("svg", { viewBox: `-0.5 -0.5 ${w} ${h}`, preserveAspectRatio: "xMidYMid meet", "aria-hidden": "true" });
    tile.outline = over.appendChild(drawn("polygon"));
    tile.image.after(over);
  }
  tile.outline.setAttribute("points", text(quad));
}
function drawEmpty() {
  const finished = view.filter === "open" && rows.length > 0 && !rows.some(isOpen);
  $("empty-title").textContent = finished ? "Everything is reviewed" : rows.length ? "Nothing to show" : "No targets";
  $("empty-text").textContent = finished ? "Save the decisions, then apply them with the command below." : "No target fits this choice.";
  $("empty-command").hidden = !finished;
  $("empty-save").hidden = !finished;
  $("empty-reset").hidden = finished || !rows.length;
}
function reveal() {
  const list = $("list");
  const { columns, height } = grid();
  const top = Math.floor(view.current / columns) * height;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + height > list.scrollTop + list.clientHeight) list.scrollTop = top + height - list.clientHeight;
  drawTiles();
}

/* Going about and selecting */
function go(place, { extend = false } = {}) {
  if (!view.shown.length) return;
  const next = Math.min(Math.max(place, 0), view.shown.length - 1);
  if (next !== view.current) {
    $("note").blur();
    setMend("");
    $("slider").value = 0;
  }
  view.current = next;
  if (extend) selectRange(view.anchor, view.current); else view.anchor = view.current;
  drawNow();
  reveal();
}
function select(places, on = true) {
  for (const place of places) {
    const { id } = view.shown[place];
    if (on) view.selected.add(id); else view.selected.delete(id);
  }
  drawNow();
}
function selectRange(from, to) {
  view.selected.clear();
  select(Array.from({ length: Math.abs(to - from) + 1 }, (_, i) => Math.min(from, to) + i));
}
function toggle(place) {
  view.anchor = place;
  select([place], !view.selected.has(view.shown[place].id));
}
function selectAll() {
  if (view.selected.size === view.shown.length) view.selected.clear();
  else for (const row of view.shown) view.selected.add(row.id);
  drawNow();
}
function selectNone() { view.selected.clear(); drawNow(); }
function decide(what) {
  const bulk = view.selected.size > 0;
  const all = chosen();
  const some = all.filter((row) => !what || canJudge(row));
  const left = all.length - some.length;
  if (!all.length) return;
  if (!some.length) return say(`${bulk ? "None of these has" : `${all[0].name} has no`} ${bulk ? "a " : ""}placement to ${what === "accepted" ? "accept" : "reject"}.`);
  const word = what || "cleared";
  const to = !bulk && decision(some[0]) === what ? "" : what;
  const label = bulk ? `${count(some.length, "target")} ${word}` : `${some[0].name} ${to || "no longer decided"}`;
  const values = what ? { decision: to } : (row) => ({ decision: "", pins: row.pins, instances: [], moved: row.moved || NONE.moved });
  const changed = change(some, values, label);
  if (bulk) view.selected.clear();
  if (!bulk && to && view.current < view.shown.length - 1) go(view.current + 1);
  else { setMend(""); drawNow(); }
  const finished = to && !rows.some(isOpen);
  const also = left ? ` ${count(left, "target")} without a placement left as ${left === 1 ? "it is" : "they are"}.` : "";
  say(`${changed ? label : "Nothing changed"}.${also}${finished ? " Everything is reviewed." : ""}`,
    finished ? { label: "Save decisions", run: () => save(), seconds: 12 }
      : changed && to && offersLesson() ? { label: "Improve the others", run: () => save(meta.learn), seconds: 12 }
        : changed ? { label: "Undo", run: undo } : null);
}
function setLayout(layout) {
  view.layout = layout;
  document.body.classList.toggle("grid", layout === "grid");
  document.body.classList.remove("open");
  for (const name of ["list", "grid"]) $(`as-${name}`).setAttribute("aria-pressed", String(name === layout));
  $("size").parentElement.hidden = layout !== "grid";
  clearTiles();
  drawNow();
  reveal();
}
function openDetail() {
  document.body.classList.add("open");
  drawNow();
  $("detail").focus({ preventScroll: true });
}
function closeDetail() {
  setMend("");
  document.body.classList.remove("open");
  drawNow();
  $("list").focus({ preventScroll: true });
}
