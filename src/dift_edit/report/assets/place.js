/* Correcting: the box is dragged, scaled, turned or bent by its corners; or pins tie points of source and target */
const NAMES = ["top left", "top right", "bottom right", "bottom left"];
const MOST_PINS = 3;
const corners = [];
const gesture = { number: 0, kind: "", quad: null, fingers: new Map(), start: null };

function canPin() { return Boolean(meta.source_size && (meta.source_before || meta.source)); }
function setMend(mode) {
  const row = current();
  if (mode === "marks" && !canMark(row)) return say("There are no annotations to correct.");
  if (mode && mode !== "marks" && (!row || !row.picture || !row.size || !meta.quad || (mode === "pins" && !canPin()))) {
    return say(canPin() || mode === "box" ? "There is no picture to correct." : "The source's picture is not here: run  dift-edit report  again.");
  }
  if (view.mend === mode) return;
  view.mend = mode;
  view.half = null;
  endPart();
  for (const [id, name] of [["mend", "box"], ["pin", "pins"], ["tool-box", "box"], ["tool-pins", "pins"], ["mark", "marks"]]) $(id).setAttribute("aria-pressed", String(mode === name));
  if (mode === "pins") show("source-picture", meta.source_before || meta.source, "The source");
  drawNow();
  if (mode) $("frame").focus({ preventScroll: true });
}

/* The box */
function place(row, quad, label, part) {
  const kept = quad.map((point) => point.map((value, axis) => Math.round(Math.min(Math.max(value, -row.size[axis]), 2 * row.size[axis]) * 100) / 100));
  if (!kept.flat().every(Number.isFinite) || !isConvex(kept, row.size)) return;
  change([row], { pins: kept.map((corner, i) => [meta.quad[i], corner]) }, `${row.name} ${label}`, part);
}
function boxOf(row) { return quadOf(row) || startQuad(row); }
function transformBox(map, label, part = "") {
  const row = current();
  if (row) place(row, boxOf(row).map((corner) => mapped(map, corner)), label, part);
}
function nudge(row, step, coarse) {
  const unit = Math.max(...row.size) / (coarse ? 40 : 400);
  return step.map((value) => value * unit);
}
function flip() {
  const row = current();
  const [a, b, c, d] = boxOf(row);
  place(row, [b, a, d, c], "flipped", "");
}
function resetPlace() {
  const row = current();
  view.half = null;
  change([row], view.mend === "marks" ? { moved: NONE.moved } : { pins: row.pins }, `${row.name} as it was found`);
}
function at(event, box, size) {
  return [(event.clientX - box.left) / box.width * size[0] - 0.5, (event.clientY - box.top) / box.height * size[1] - 0.5];
}
function targetPoint(event) { return at(event, $("frame").getBoundingClientRect(), current().size); }
function drawHandles(row, quad) {
  const seen = view.mend === "box" && quad;
  $("handles").toggleAttribute("hidden", !seen);
  if (!seen) return;
  const shown = (element, [x, y]) => {
    element.style.left = `${100 * (x + 0.5) / row.size[0]}%`;
    element.style.top = `${100 * (y + 0.5) / row.size[1]}%`;
  };
  corners.forEach((corner, i) => shown(corner, quad[i]));
  const unit = row.size[0] / frame.width;
  const out = (a, b) => {  // 34 of the screen's pixels outside the middle of a side
    const [middle, inside] = [centre([quad[a], quad[b]]), centre(quad)];
    const [dx, dy] = [middle[0] - inside[0], middle[1] - inside[1]];
    const far = Math.hypot(dx, dy) || 1;
    return [0, 1].map((axis) => Math.min(Math.max(middle[axis] + 34 * unit * [dx, dy][axis] / far, 14 * unit), row.size[axis] - 14 * unit));
  };
  shown($("turn"), out(0, 1));
  shown($("grow"), out(1, 2));
}
function begin(event, kind) {
  if (view.mend !== "box" || event.button > 0) return;
  event.preventDefault();
  event.stopPropagation();
  $("frame").setPointerCapture(event.pointerId);
  gesture.fingers.set(event.pointerId, targetPoint(event));
  if (gesture.fingers.size === 1) Object.assign(gesture, { kind, number: gesture.number + 1 });
  else gesture.kind = "pinch";
  restart();
}
function restart() {
  gesture.quad = boxOf(current());
  gesture.start = [...gesture.fingers.values()];
}
function dragged(event) {
  const row = current();
  if (!gesture.fingers.has(event.pointerId) || !row || view.mend !== "box") return;
  gesture.fingers.set(event.pointerId, targetPoint(event));
  const now = [...gesture.fingers.values()];
  const { kind, quad, start, number } = gesture;
  const part = `gesture ${number}`;
  const middle = centre(quad);
  const arm = (point) => [point[0] - middle[0], point[1] - middle[1]];
  const [before, after] = [arm(start[0]), arm(now[0])];
  let map;
  if (typeof kind === "number") {
    const moved = quad.map((corner, i) => (i === kind ? [0, 1].map((axis) => corner[axis] + now[0][axis] - start[0][axis]) : corner));
    return place(row, moved, `${NAMES[kind]} corner moved`, part);
  }
  if (kind === "pinch") map = joined(start.slice(0, 2), now.slice(0, 2));
  else if (kind === "turn") map = similarity(middle, { angle: Math.atan2(after[1], after[0]) - Math.atan2(before[1], before[0]) });
  else if (kind === "grow") map = similarity(middle, { scale: Math.max(0.02, Math.hypot(...after) / (Math.hypot(...before) || 1)) });
  else map = joined([start[0]], [now[0]]);
  place(row, quad.map((corner) => mapped(map, corner)), { turn: "turned", grow: "scaled" }[kind] || "moved", part);
}
function released(event) {
  if (!gesture.fingers.delete(event.pointerId)) return;
  if (gesture.fingers.size) restart(); else endPart();
}

/* Pins */
function pinsOf(row) { const { pins } = made(row); return pins.length === CORNERS ? [] : pins; }
function pinned(side, point) {
  const row = current();
  if (!row || view.mend !== "pins") return;
  const pins = pinsOf(row);
  if (!view.half || view.half.side === side) {
    if (pins.length >= MOST_PINS) return say("Three pins are the most: move one, or take one away.");
    view.half = { side, point };
    drawNow();
    return;
  }
  const pin = side === "target" ? [view.half.point, point] : [point, view.half.point];
  view.half = null;
  change([row], { pins: [...pins, pin.map(rounded)] }, `${row.name} pinned`);
}
function rounded(point) { return point.map((value) => Math.round(100 * value) / 100); }
function movePin(i, side, point, part) {
  const row = current();
  const size = side ? row.size : meta.source_size;
  const inside = rounded(point.map((value, axis) => Math.min(Math.max(value, -0.5), size[axis] - 0.5)));
  const pins = pinsOf(row).map((pin, k) => (k === i ? pin.map((old, which) => (which === side ? inside : old)) : pin));
  change([row], { pins }, `${row.name}: pin ${i + 1} moved`, part);
}
function takePin(i) {
  const row = current();
  change([row], { pins: pinsOf(row).filter((_, k) => k !== i) }, `${row.name}: pin ${i + 1} taken away`);
}
function drawPins(row) {
  const seen = view.mend === "pins";
  $("pin-marks").toggleAttribute("hidden", !seen);
  if (!seen) return;
  const pins = pinsOf(row);
  const room = [$("source-view").clientWidth, $("source-view").clientHeight];
  const scale = Math.min(room[0] / meta.source_size[0], room[1] / meta.source_size[1]);
  $("source-frame").style.width = `${meta.source_size[0] * scale}px`;
  $("source-frame").style.height = `${meta.source_size[1] * scale}px`;
  for (const [side, holder, size] of [[0, $("source-marks"), meta.source_size], [1, $("pin-marks"), row.size]]) {
    const points = pins.map((pin) => pin[side]);
    const half = view.half && view.half.side === (side ? "target" : "source") ? view.half.point : null;
    holder.querySelector(".half")?.remove();
    while (holder.children.length > points.length) holder.lastElementChild.remove();
    points.forEach((point, i) => {
      const mark = holder.children[i] || holder.appendChild(pinMark(i, side));
      mark.style.left = `${100 * (point[0] + 0.5) / size[0]}%`;
      mark.style.top = `${100 * (point[1] + 0.5) / size[1]}%`;
    });
    if (half) {
      const mark = make("span", `pin half pin${points.length}`, String(points.length + 1));
      mark.style.left = `${100 * (half[0] + 0.5) / size[0]}%`;
      mark.style.top = `${100 * (half[1] + 0.5) / size[1]}%`;
      holder.append(mark);
    }
  }
}
function pinMark(i, side) {
  const mark = make("button", `pin pin${i}`, String(i + 1));
  mark.type = "button";
  mark.setAttribute("aria-label", `Pin ${i + 1} in the ${side ? "target" : "source"}: move with the arrow keys, Delete takes it away`);
  const box = () => (side ? $("frame") : $("source-frame")).getBoundingClientRect();
  const size = () => (side ? current().size : meta.source_size);
  let part = "";
  mark.addEventListener("pointerdown", (event) => { event.stopPropagation(); mark.setPointerCapture(event.pointerId); part = `pin ${++gesture.number}`; });
  mark.addEventListener("pointermove", (event) => { if (mark.hasPointerCapture(event.pointerId)) movePin(i, side, at(event, box(), size()), part); });
  mark.addEventListener("pointerup", endPart);
  mark.addEventListener("click", (event) => event.stopPropagation());
  mark.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (event.key === "Delete" || event.key === "Backspace") takePin(i);
    else if (step) {
      const unit = Math.max(...size()) / (event.shiftKey ? 40 : 400);
      const point = pinsOf(current())[i][side];
      movePin(i, side, [point[0] + step[0] * unit, point[1] + step[1] * unit], `pin keys ${i} ${side}`);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return mark;
}
function hint() {
  if (view.mend === "marks") {
    const mark = chosenMark(current());
    if (mark.points.length || mark.kind !== "keypoint") return "Drag points, and corners of boxes.";
    return `Click where ${nameOf(mark)} is.`;
  }
  if (view.mend === "box") return "Drag the picture to move the edit, the round handles to turn and scale it, its corners to bend it.";
  const pins = pinsOf(current());
  if (view.half) return `Now click the same point in the ${view.half.side === "source" ? "picture" : "source"}.`;
  if (!pins.length) return "Click a point in the source, then the same point in the picture. One to three pins lead a new search.";
  return `${count(pins.length, "pin")}: the place is searched again round ${pins.length === 1 ? "it" : "them"} when the decisions are applied. This preview is rough.`;
}

/* A cross that the arrow keys move, for setting pins without a mouse */
function moveCross(pane, step, coarse) {
  const size = pane === "source" ? meta.source_size : current().size;
  const unit = Math.max(...size) / (coarse ? 20 : 150);
  const last = view.cross?.pane === pane ? view.cross.point : size.map((value) => value / 2);
  view.cross = { pane, point: last.map((value, axis) => Math.min(Math.max(value + step[axis] * unit, 0), size[axis] - 1)) };
  drawCross();
}
function drawCross() {
  for (const pane of ["source", "target"]) {
    const cross = $(`${pane}-cross`);
    const seen = view.mend === "pins" && view.cross?.pane === pane;
    cross.hidden = !seen;
    if (!seen) continue;
    const size = pane === "source" ? meta.source_size : current().size;
    cross.style.left = `${100 * (view.cross.point[0] + 0.5) / size[0]}%`;
    cross.style.top = `${100 * (view.cross.point[1] + 0.5) / size[1]}%`;
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function setUpPlace() {
  NAMES.forEach((name, i) => {
    const corner = make("button", "corner");
    corner.type = "button";
    corner.setAttribute("aria-label", `Corner ${name}: move with the arrow keys`);
    corner.addEventListener("pointerdown", (event) => { corner.focus(); begin(event, i); });
    corner.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const row = current();
      const [dx, dy] = nudge(row, step, event.shiftKey);
      place(row, boxOf(row).map(([x, y], k) => (k === i ? [x + dx, y + dy] : [x, y])), `${name} corner moved`, `corner keys ${i}`);
    });
    corners.push(corner);
    $("handles").insertBefore(corner, $("turn"));
  });
  for (const [id, key] of [["turn", "angle"], ["grow", "scale"]]) {
    $(id).addEventListener("pointerdown", (event) => { $(id).focus(); begin(event, id); });
    $(id).addEventListener("keydown", (event) => {
      const [dx, dy] = ARROWS[event.key] || [0, 0];
      const step = (dx || -dy) * (event.shiftKey ? 5 : 1);
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      if (key === "angle") turnBox(step); else growBox(step);
    });
  }
  const pane = $("frame");
  pane.addEventListener("pointerdown", (event) => begin(event, "move"));
  pane.addEventListener("pointermove", dragged);
  for (const kind of ["pointerup", "pointercancel"]) pane.addEventListener(kind, released);
  pane.addEventListener("wheel", (event) => {
    if (view.mend !== "box") return;
    event.preventDefault();
    if (event.shiftKey) turnBox(Math.sign(event.deltaY || event.deltaX)); else growBox(-Math.sign(event.deltaY));
  }, { passive: false });
  pane.addEventListener("click", (event) => { if (view.mend === "pins") pinned("target", targetPoint(event)); });
  $("source-frame").addEventListener("click", (event) => pinned("source", at(event, $("source-frame").getBoundingClientRect(), meta.source_size)));
  for (const [id, name] of [["source-frame", "source"], ["frame", "target"]]) {
    $(id).addEventListener("keydown", (event) => {
      if (view.mend !== "pins" || event.target !== $(id)) return;
      if (ARROWS[event.key]) moveCross(name, ARROWS[event.key], event.shiftKey);
      else if ((event.key === " " || event.key === "Enter") && view.cross?.pane === name) pinned(name, view.cross.point);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    $(id).addEventListener("blur", () => { view.cross = null; drawCross(); });
  }
  $("ghost").addEventListener("load", () => drawPicture());
}
function turnBox(degrees) { transformBox(similarity(centre(boxOf(current())), { angle: degrees * Math.PI / 180 }), "turned", "turn keys"); }
function growBox(step) { transformBox(similarity(centre(boxOf(current())), { scale: 1.02 ** step }), "scaled", "grow keys"); }
function moveBox(step, coarse) {
  transformBox(similarity([0, 0], { shift: nudge(current(), step, coarse) }), "moved", "move keys");
}
