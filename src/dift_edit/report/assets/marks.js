/* Annotations: points and corners are dragged, a part that is not in the picture is said to be missing.

   `moved` holds what a reviewer changed: key of a mark → its points, none where it is missing. A box has two points, its
   edges' crossings at the top left and at the bottom right. */
const MOVABLE = ["keypoint", "box", "outline", "curve"];
const markHandles = new Map();

function canMark(row) { return Boolean(row?.marks?.some((mark) => MOVABLE.includes(mark.kind)) && row.picture && row.size); }
/* As found, with what was changed */
function marksOf(row) {
  const { moved } = made(row);
  return (row.marks || []).map((mark) => (moved[mark.key] ? { ...mark, points: moved[mark.key], confidence: null } : mark));
}
function isBox(mark) { return mark.kind === "box" && mark.points.length === 2; }
/* What is drawn: of a box its four corners */
function lineOf(mark) {
  if (!isBox(mark)) return mark.points;
  const [[left, top], [right, bottom]] = mark.points;
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}
function setMark(row, key, points, label, part = "") {
  const moved = Object.fromEntries(row.marks.map((mark) => [mark.key, mark.key === key ? points : made(row).moved[mark.key]])
    .filter(([, kept]) => kept));
  change([row], { moved }, `${row.name}: ${label}`, part);
}
function nameOf(mark) { return mark.name || mark.kind; }
function movePoint(row, mark, i, point, part) {
  const [x, y] = point.map((value, axis) => Math.round(100 * Math.min(Math.max(value, -0.5), row.size[axis] - 0.5)) / 100);
  const points = mark.points.map((each) => [...each]);
  if (isBox(mark)) {  // corner i moves two edges, which do not pass the others
    const [[left, top], [right, bottom]] = mark.points;
    if (i === 0 || i === 3) points[0][0] = Math.min(x, right); else points[1][0] = Math.max(x, left);
    if (i < 2) points[0][1] = Math.min(y, bottom); else points[1][1] = Math.max(y, top);
  } else points[i] = [x, y];
  setMark(row, mark.key, points, `${nameOf(mark)} moved`, part);
}
function chosenMark(row) {
  const all = marksOf(row).filter((mark) => MOVABLE.includes(mark.kind));
  return all.find((mark) => mark.key === view.mark) || all[0];
}
function chooseMark(key) {
  view.mark = key;
  drawPicture();
}
function toggleMissing() {
  const row = current();
  const mark = row && chosenMark(row);
  if (!mark) return;
  if (mark.points.length) return setMark(row, mark.key, [], `${nameOf(mark)} is missing`);
  const found = row.marks.find((each) => each.key === mark.key).points;
  if (found.length) setMark(row, mark.key, null, `${nameOf(mark)} as it was found`);
  else say(`Click where ${nameOf(mark)} is.`);
}
/* A click puts a point that is missing where it is */
function placeMark(point) {
  const row = current();
  const mark = chosenMark(row);
  if (mark?.kind === "keypoint" && !mark.points.length) setMark(row, mark.key, [rounded(point)], `${nameOf(mark)} placed`);
}
function drawMarks(row) {
  const seen = view.mend === "marks";
  $("mark-handles").toggleAttribute("hidden", !seen);
  $("mark-tools").toggleAttribute("hidden", !seen);
  if (!seen) return;
  const all = marksOf(row).filter((mark) => MOVABLE.includes(mark.kind));
  const chosen = chosenMark(row);
  const wanted = new Set();
  for (const mark of all) {
    if (mark.kind !== "keypoint" && mark.key !== chosen.key && mark.kind !== "box") continue;  // vertices of one line at a time
    lineOf(mark).forEach((point, i) => {
      const id = `${row.id} ${mark.key} ${i}`;
      wanted.add(id);
      if (!markHandles.has(id)) markHandles.set(id, $("mark-handles").appendChild(markHandle(row, mark.key, i)));
      const handle = markHandles.get(id);
      handle.style.left = `${100 * (point[0] + 0.5) / row.size[0]}%`;
      handle.style.top = `${100 * (point[1] + 0.5) / row.size[1]}%`;
      handle.classList.toggle("chosen", mark.key === chosen.key);
    });
  }
  for (const [id, handle] of markHandles) if (!wanted.has(id)) { handle.remove(); markHandles.delete(id); }
  $("mark-choice").replaceChildren(...all.map((mark) => {
    const option = make("option", "", `${nameOf(mark)}${mark.points.length ? "" : " – missing"}`);
    option.value = mark.key;
    option.selected = mark.key === chosen.key;
    return option;
  }));
  $("missing").setAttribute("aria-pressed", String(!chosen.points.length));
}
function markHandle(row, key, i) {
  const handle = make("button", "mark-handle");
  handle.type = "button";
  const now = () => marksOf(row).find((mark) => mark.key === key);
  handle.setAttribute("aria-label", `${nameOf(now())}${lineOf(now()).length > 1 ? `, point ${i + 1}` : ""}: move with the arrow keys, Delete says that it is missing`);
  let part = "";
  let grip = [0, 0];
  handle.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    handle.setPointerCapture(event.pointerId);
    const [here, point] = [targetPoint(event), lineOf(now())[i]];
    grip = [point[0] - here[0], point[1] - here[1]];
    part = `mark ${++gesture.number}`;
    chooseMark(key);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const here = targetPoint(event);
    movePoint(row, now(), i, [here[0] + grip[0], here[1] + grip[1]], part);
  });
  for (const kind of ["pointerup", "pointercancel"]) handle.addEventListener(kind, endPart);
  handle.addEventListener("click", (event) => event.stopPropagation());
  handle.addEventListener("focus", () => { if (view.mark !== key) chooseMark(key); });
  handle.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (event.key === "Delete" || event.key === "Backspace") toggleMissing();
    else if (step) {
      const [x, y] = lineOf(now())[i];
      const [dx, dy] = nudge(row, step, event.shiftKey);
      movePoint(row, now(), i, [x + dx, y + dy], `mark keys ${key} ${i}`);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return handle;
}
function setUpMarks() {
  $("mark-choice").addEventListener("input", () => chooseMark($("mark-choice").value));
  $("missing").addEventListener("click", toggleMissing);
  $("frame").addEventListener("click", (event) => { if (view.mend === "marks") placeMark(targetPoint(event)); });
}
