/* The picture: before and after, the place of the edit, and what is known about it */
const frame = { width: 0, height: 0 };

/* Where the edit lies, four corners in pixels of the target: moved, pinned or as found; null for nowhere */
function quadOf(row) {
  const { pins } = made(row);
  if (pins.length === CORNERS) return pins.map((pin) => pin[1]);
  if (!pins.length || !isCorrected(row) || !meta.quad) return row.quad;
  const start = row.quad || startQuad(row);
  const there = homography(meta.quad, start);
  const fix = joined(pins.map((pin) => mapped(there, pin[0])), pins.map((pin) => pin[1]));
  const quad = start.map((corner) => mapped(fix, corner));
  return quad.flat().every(Number.isFinite) ? quad : start;
}
/* Where to begin when nothing was found: upright, in the middle, a third of the picture */
function startQuad(row) {
  const [low, high] = [Math.min, Math.max].map((end) => [0, 1].map((axis) => end(...meta.quad.map((corner) => corner[axis]))));
  const extent = [high[0] - low[0], high[1] - low[1]];
  const scale = Math.min(row.size[0] / extent[0], row.size[1] / extent[1]) / 3;
  return meta.quad.map((corner) => [0, 1].map((axis) => row.size[axis] / 2 + scale * (corner[axis] - (low[axis] + high[axis]) / 2)));
}

function drawDetail() {
  if (!isDetailOpen()) return;
  const row = current();
  for (const id of ["accept", "reject"]) $(id).disabled = !row || !canJudge(row);
  $("note").disabled = !row;
  $("mark").hidden = !canMark(row);
  for (const id of ["mend", "pin"]) $(id).hidden = !row || !row.picture || !row.size || !meta.quad || (id === "pin" && !canPin());
  $("open").hidden = !row?.link;
  $("suggested").hidden = !row?.suggested;
  for (const id of ["warning", "instances"]) $(id).hidden = true;
  document.body.classList.toggle("mending", Boolean(view.mend));
  document.body.classList.toggle("pinning", view.mend === "pins");
  $("place-tools").hidden = !view.mend;
  $("flip").hidden = view.mend !== "box";
  $("tools").hidden = view.mend === "marks";
  $("view-tools").hidden = Boolean(view.mend);
  $("source-pane").hidden = view.mend !== "pins";
  $("position").textContent = row ? `${view.current + 1} of ${view.shown.length}` : "";
  if (!row) {
    for (const id of ["before", "after", "layer", "slider", "line", "overlay", "handles", "tag", "pin-marks", "mark-handles"]) $(id).setAttribute("hidden", "");
    $("name").textContent = "Nothing to show";
    $("badge").textContent = "";
    $("badge").className = "";
    $("nothing").hidden = false;
    $("nothing").textContent = "No target fits this choice.";
    $("facts").replaceChildren();
    $("note").value = "";
    return;
  }
  const kept = made(row);
  $("name").textContent = row.name;
  $("name").title = row.target;
  $("badge").className = `badge ${row.status}`;
  $("badge").textContent = row.confidence === null ? row.status : `${row.status} ${percent(row.confidence)}`;
  drawInstances(row);
  $("warning").hidden = !row.warning;
  $("warning").textContent = row.warning || "";
  $("suggested-text").textContent = row.suggested ? `Correcting this one helps most: ${row.suggested}` : "";
  $("nothing").hidden = Boolean(row.picture);
  $("nothing").textContent = row.picture ? "" : row.reason || "There is no picture.";
  drawPicture();
  look();
  $("closer").setAttribute("aria-pressed", String(Boolean(view.closer)));
  $("accept").setAttribute("aria-pressed", String(kept.decision === "accepted"));
  $("reject").setAttribute("aria-pressed", String(kept.decision === "rejected"));
  if (document.activeElement !== $("note")) $("note").value = kept.note;
  if (row.link) $("open").href = row.link;
  const facts = {
    Target: row.target, Result: row.output, Reason: row.reason, Engine: row.engine,
    Mirrored: row.mirrored ? (row.artwork ? `yes, artwork ${row.artwork}` : "yes") : null,
    Size: row.size ? row.size.join(" × ") : null,
    Correction: kept.pins.length === CORNERS ? "moved by hand" : kept.pins.length ? count(kept.pins.length, "pin")
      : isSome(kept.moved) ? `${count(Object.keys(kept.moved).length, "part")} of the annotations` : null,
    Earlier: row.earlier?.confidence != null ? `${percent(row.earlier.confidence)}, the dashed outline` : null,
  };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value)
    .flatMap(([key, value]) => [make("dt", "", key), make("dd", "", value)]));
}

/* A button for each instance says whether the edit is on it */
function drawInstances(row) {
  const all = instancesOf(row);
  $("instances").hidden = !all.length || Boolean(view.mend);
  $("instances").replaceChildren(...all.map((place, i) => {
    const button = make("button");
    button.type = "button";
    const on = isOn(row, i);
    button.setAttribute("aria-pressed", String(on));
    button.setAttribute("aria-label", `Instance ${i + 1}, ${percent(place.confidence ?? 0)}, ${on ? "with" : "without"} the edit`);
    button.append(icon(on ? "check" : "cross"), make("span", "", `${i + 1} · ${percent(place.confidence ?? 0)}`));
    button.addEventListener("click", () => toggleInstance(i));
    return button;
  }));
  if (all.length) $("instances").prepend(make("span", "", `${all.length} instances`));
}
function toggleInstance(i) {
  const row = current();
  if (!row || !instancesOf(row)[i]) return;
  const chosen = instancesOf(row).map((_, k) => made(row).instances[k] || "");
  chosen[i] = isOn(row, i) ? "rejected" : "accepted";
  if ((chosen[i] === "accepted") === (row.placements[i].status === "applied")) chosen[i] = "";  // as it is
  change([row], { instances: chosen.some(Boolean) ? chosen : [] }, `${row.name}: instance ${i + 1} ${isOn(row, i) ? "off" : "on"}`);
  document.activeElement === document.body && $("detail").focus({ preventScroll: true });
}

/* What moves while something is dragged */
function drawPicture() {
  const row = current();
  if (!row) return;
  const quad = row.size ? quadOf(row) || (view.mend === "box" && meta.quad ? startQuad(row) : null) : null;
  const corrected = isCorrected(row);
  const plain = view.mend || corrected || row.marks || !row.after;  // the result does not show this place, or the page does
  const ghost = Boolean(plain && quad && meta.cutout && row.picture);
  show("before", row.before || row.after, row.before ? `${row.name} before the edit` : `${row.name} with the edit`);
  const after = view.closer && row.isSharp ? row.link : row.after;
  show("after", plain && (ghost || !row.before) ? null : after, `${row.name} with the edit`);
  if (view.closer && row.after) sharpen(row);
  fit(row, quad);
  $("layer").toggleAttribute("hidden", !ghost);
  if (ghost) drawGhost(row, quad);
  const both = Boolean(row.before && (row.after || ghost)) && !view.mend && !row.marks;
  for (const id of ["slider", "line"]) $(id).toggleAttribute("hidden", !both);
  cut();
  $("tag").hidden = !row.picture || Boolean(view.mend);
  $("tag").textContent = corrected || isSome(made(row).moved) ? "preview of your correction" : ghost ? "proposal, not applied" : row.after ? "" : "no edit on it";
  $("tag").hidden ||= !$("tag").textContent;
  drawOverlay(row, quad);
  drawHandles(row, quad);
  drawPins(row);
  drawMarks(row);
  if (view.mend) $("place-hint").textContent = hint();
}
function show(id, source, alt) {
  const image = $(id);
  image.toggleAttribute("hidden", !source);
  image.alt = alt;
  if (source && image.getAttribute("src") !== source) image.src = source;
}
/* Seen closer, the result itself replaces its preview as soon as it is there */
function sharpen(row) {
  if (row.isSharp !== undefined || !/\.(jpe?g|png|webp|avif|gif)$/i.test(row.link || "") || row.size[0] * row.size[1] > 5e7) return;
  row.isSharp = false;
  const whole = make("img");
  whole.onload = () => { row.isSharp = true; if (current() === row) drawPicture(); };
  whole.src = row.link;
}
function fit(row, quad) {
  const [width, height] = row.size || [4, 3];
  const stage = $("view");
  const room = [stage.clientWidth, stage.clientHeight];
  let scale = Math.min(room[0] / width, room[1] / height);
  let shift = [0, 0];
  if (view.closer && quad && row.picture) {
    const spans = [0, 1].map((axis) => Math.max(...quad.map((corner) => corner[axis])) - Math.min(...quad.map((corner) => corner[axis])));
    const zoom = Math.min(8, Math.max(1, 0.6 * Math.min(room[0] / (spans[0] * scale), room[1] / (spans[1] * scale))));
    scale *= zoom;
    const middle = centre(quad);
    shift = [0, 1].map((axis) => {
      const most = Math.max(0, (row.size[axis] * scale - room[axis]) / 2);  // as far as the picture fills the room
      return Math.min(Math.max(-scale * (middle[axis] + 0.5 - row.size[axis] / 2), -most), most);
    });
  }
  frame.width = width * scale;
  frame.height = height * scale;
  $("frame").style.width = row.picture ? `${frame.width}px` : "auto";
  $("frame").style.height = row.picture ? `${frame.height}px` : "auto";
  $("frame").style.translate = `${shift[0]}px ${shift[1]}px`;
}
/* The edit itself, laid by the browser as the corners say */
function drawGhost(row, quad) {
  const ghost = $("ghost");
  if (ghost.getAttribute("src") !== meta.cutout) ghost.src = meta.cutout;
  const [w, h] = [ghost.naturalWidth, ghost.naturalHeight];
  if (!w) return;
  const [left, top, right, bottom] = meta.box;
  const toSource = [[(right - left) / w, 0, left - 0.5], [0, (bottom - top) / h, top - 0.5], [0, 0, 1]];
  const toFrame = [[frame.width / row.size[0], 0, 0.5 * frame.width / row.size[0]], [0, frame.height / row.size[1], 0.5 * frame.height / row.size[1]], [0, 0, 1]];
  const m = multiply(toFrame, multiply(homography(meta.quad, quad), toSource));
  const values = [m[0][0], m[1][0], 0, m[2][0], m[0][1], m[1][1], 0, m[2][1], 0, 0, 1, 0, m[0][2], m[1][2], 0, m[2][2]];
  if (!values.every(Number.isFinite)) return;
  ghost.style.width = `${w}px`;
  ghost.style.height = `${h}px`;
  ghost.style.transform = `matrix3d(${values.map((value) => value.toFixed(9)).join(",")})`;
}
/* The line between before (left of it) and after; at the left edge the edit is seen whole */
function cut() {
  const share = view.mend ? 0 : view.peek ? 1 : Number($("slider").value) / 1000;
  for (const id of ["after", "layer"]) $(id).style.clipPath = `inset(0 0 0 ${100 * share}%)`;
  $("line").style.left = `${100 * share}%`;
  $("line").classList.toggle("resting", share === 0);
}
function drawOverlay(row, quad) {
  const wanted = view.mend ? view.mend !== "marks" : view.outline[outlineKind(row)];
  const seen = Boolean(row.picture && row.size && (wanted || row.marks || row.earlier)) && !(row.marks && view.peek) && frame.width > 0;
  $("overlay").toggleAttribute("hidden", !seen);
  if (!seen) return;
  const [width, height] = row.size;
  const unit = width / frame.width;  // of the target's pixels in one of the screen's
  $("overlay").setAttribute("viewBox", `-0.5 -0.5 ${width} ${height}`);
  const lattice = made(row).pins.length && isCorrected(row) ? null : row.mesh;
  const outlined = wanted && quad;
  $("shape").toggleAttribute("hidden", !outlined || Boolean(lattice));
  $("shape").setAttribute("points", outlined ? text(quad) : "");
  $("shape").setAttribute("class", row.status === "applied" || view.mend ? "" : "doubt");
  $("mesh").setAttribute("d", outlined && lattice ? lines(lattice) : "");
  const further = [];
  if (row.earlier?.quad) further.push(drawn("polygon", { class: "earlier", points: text(row.earlier.quad) }));
  (wanted && view.mend !== "box" ? instancesOf(row) : []).forEach(({ quad: corners }, i) => {
    if (i && corners) further.push(drawn("polygon", { class: isOn(row, i) ? "instance" : "instance off", points: text(corners) }));
    if (corners) further.push(label(corners[0], String(i + 1), unit));
  });
  for (const mark of marksOf(row)) {
    const points = lineOf(mark);
    const [point] = points;
    if (!point) continue;
    const doubt = mark.confidence != null && mark.confidence < 0.5 ? " doubt" : "";
    further.push(points.length === 1
      ? drawn("circle", { class: `mark-point${doubt}`, cx: point[0], cy: point[1], r: 4 * unit })
      : drawn(mark.closed ? "polygon" : "polyline", { class: `mark-line${doubt}`, points: text(points) }));
    if (mark.name && view.mend !== "marks") further.push(label(point, mark.name, unit));
  }
  $("further").replaceChildren(...further);
}
function text(points) { return points.map((point) => point.join(",")).join(" "); }
function label([x, y], words, unit) {
  const element = drawn("text", { x: x + 6 * unit, y: y - 6 * unit, "font-size": 13 * unit });
  element.textContent = words;
  return element;
}
function lines(lattice) {
  const columns = lattice[0].map((_, i) => lattice.map((points) => points[i]));
  return [...lattice, ...columns].map((points) => `M${points.map((point) => point.join(" ")).join("L")}`).join("");
}
