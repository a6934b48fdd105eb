/* Plane geometry. Points are [x, y] in pixels with centres at integers; maps are 3 × 3, row by row. */
function multiply(a, b) {
  return [0, 1, 2].map((i) => [0, 1, 2].map((j) => a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j]));
}
function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const cofactors = [[e * i - f * h, c * h - b * i, b * f - c * e], [f * g - d * i, a * i - c * g, c * d - a * f], [d * h - e * g, b * g - a * h, a * e - b * d]];
  const whole = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0];
  return cofactors.map((line) => line.map((value) => value / whole));
}
function mapped(m, [x, y]) {
  const w = m[2][0] * x + m[2][1] * y + m[2][2];
  return [(m[0][0] * x + m[0][1] * y + m[0][2]) / w, (m[1][0] * x + m[1][1] * y + m[1][2]) / w];
}
/* From the unit square to four corners (Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989) */
function fromSquare([[x0, y0], [x1, y1], [x2, y2], [x3, y3]]) {
  const [sx, sy, ax, ay, bx, by] = [x0 - x1 + x2 - x3, y0 - y1 + y2 - y3, x1 - x2, y1 - y2, x3 - x2, y3 - y2];
  const whole = ax * by - bx * ay;
  const [g, h] = [(sx * by - bx * sy) / whole, (ax * sy - sx * ay) / whole];
  return [[x1 - x0 + g * x1, x3 - x0 + h * x3, x0], [y1 - y0 + g * y1, y3 - y0 + h * y3, y0], [g, h, 1]];
}
function homography(from, to) { return multiply(fromSquare(to), inverse(fromSquare(from))); }
function centre(points) { return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length); }
/* Shift, then turn by an angle and scale about a centre */
function similarity([cx, cy], { angle = 0, scale = 1, shift = [0, 0] }) {
  const [c, s] = [scale * Math.cos(angle), scale * Math.sin(angle)];
  return [[c, -s, cx - c * cx + s * cy + shift[0]], [s, c, cy - s * cx - c * cy + shift[1]], [0, 0, 1]];
}
/* The simplest map that takes points to their partners: one shifts, two also turn and scale, three also shear */
function joined(from, to) {
  if (from.length === 1) return similarity([0, 0], { shift: [to[0][0] - from[0][0], to[0][1] - from[0][1]] });
  if (from.length === 2) {
    const [u, v] = [from, to].map(([a, b]) => [b[0] - a[0], b[1] - a[1]]);
    const turn = { angle: Math.atan2(v[1], v[0]) - Math.atan2(u[1], u[0]), scale: Math.hypot(...v) / (Math.hypot(...u) || 1) };
    return similarity(from[0], { ...turn, shift: [to[0][0] - from[0][0], to[0][1] - from[0][1]] });
  }
  const frame = ([a, b, c]) => [[b[0] - a[0], c[0] - a[0], a[0]], [b[1] - a[1], c[1] - a[1], a[1]], [0, 0, 1]];
  return multiply(frame(to), inverse(frame(from)));
}
/* Whether four corners go round once, without a dent, and are no speck */
function isConvex(quad, size) {
  const turns = quad.map((point, i) => {
    const [next, after] = [quad[(i + 1) % 4], quad[(i + 2) % 4]];
    return (next[0] - point[0]) * (after[1] - next[1]) - (next[1] - point[1]) * (after[0] - next[0]);
  });
  const least = 1e-5 * size[0] * size[1];
  return turns.every((turn) => turn > least) || turns.every((turn) => turn < -least);
}
