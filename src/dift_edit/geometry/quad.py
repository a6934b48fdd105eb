"""Quadrilaterals and homographies: boxes, lattices, convexity, overlap, and the map between four corners."""

import numpy as np
import numpy.typing as npt

from dift_edit.errors import EditError, GeometryError
from dift_edit.geometry.coords import Points, as_points
from dift_edit.types import QuadLike

__all__ = [
    "apply_homography",
    "as_quad",
    "bounds",
    "box_quad",
    "check_quad",
    "hull_areas",
    "quad_extent",
    "quad_folds",
    "quad_iou",
    "quad_lattice",
    "quad_matrices",
    "quad_matrix",
    "quad_side",
    "signed_area",
]

Floats = npt.NDArray[np.float64]

_FARTHEST = 1e7  # pixels, chosen: beyond it products of coordinates lose their meaning


def as_quad(quad: QuadLike, what: str = "The quad") -> Points:
    """Check the four corners of an edit.

    Parameters
    ----------
    quad : array_like
        (4, 2) in source pixels, in the order top left, top right, bottom right, bottom left of the edit.
    what : str
        How an error names it.

    Returns
    -------
    ndarray
        (4, 2) float64.

    Raises
    ------
    EditError
        If it is not four finite corners, covers no area, crosses itself or is not convex.
    """
    try:
        corners = as_points(quad, what.removeprefix("The "))
    except GeometryError as error:
        raise EditError(str(error)) from error
    if len(corners) != 4:
        raise EditError(
            f"{what} has {len(corners)} corners: give four, as top left, top right, bottom right, bottom left."
        )
    if np.abs(corners).max() > _FARTHEST:
        raise EditError(f"{what} reaches {np.abs(corners).max():g}, which no picture does: give pixels of the source.")
    size = max(1e-9, float(np.abs(np.roll(corners, -1, axis=0) - corners).max()))
    turns = _turns(corners)
    shown = " ".join(f"{x:g},{y:g}" for x, y in corners)
    if (np.abs(turns) < 1e-6 * size**2).any() or size < 1e-3:
        raise EditError(f"{what} ({shown}) covers no area: give four different corners that are not on one line.")
    if len(set(np.sign(turns))) > 1:
        raise EditError(
            f"{what} ({shown}) crosses itself or has a dent: give the corners in the order top left, top right, "
            "bottom right, bottom left."
        )
    return corners


def check_quad(quad: QuadLike, size: tuple[int, int], name: str = "The edit") -> Points:
    """Check where an edit lies on its source: the one rule for `locate`, `transfer` and all that follow.

    Parameters
    ----------
    quad : array_like
        (4, 2) in source pixels, see `as_quad`.
    size : (W, H)
        Of the source in pixels.
    name : str
        How an error names the edit.

    Returns
    -------
    ndarray
        (4, 2) float64.

    Raises
    ------
    EditError
        If it is no quad (`as_quad`), spans less than a pixel, or does not touch the source.
    """
    corners = as_quad(quad, f"The quad of {'the edit' if name == 'The edit' else name}")
    low, high = bounds(corners)
    if (high - low).min() < 1:
        raise EditError(
            f"{name} covers only {high[0] - low[0]:.2g}×{high[1] - low[1]:.2g} pixels of the source: give a quad of at "
            "least one pixel across and down."
        )
    width, height = size
    if high[0] <= -0.5 or high[1] <= -0.5 or low[0] >= width - 0.5 or low[1] >= height - 0.5:
        raise EditError(
            f"{name} lies outside the source, at x {low[0]:g} to {high[0]:g} and y {low[1]:g} to {high[1]:g} of a "
            f"picture of {width}×{height}: place it on the source with at=(x, y, w, h) or quad (--at, --quad)."
        )
    return corners


def quad_iou(first: QuadLike, second: QuadLike) -> float:
    """Intersection over union of two convex quadrilaterals.

    Parameters
    ----------
    first, second : array_like
        (4, 2) corners in order; orientation does not matter.

    Returns
    -------
    float
        0 to 1; quadrilaterals that are not convex count by their convex hulls.
    """
    one, other, common = hull_areas(first, second)
    return min(common / (one + other - common), 1.0) if min(one, other) > 0 else 0.0


def hull_areas(first: QuadLike, second: QuadLike) -> tuple[float, float, float]:
    """Areas of two convex hulls, and of what they share.

    Parameters
    ----------
    first, second : array_like
        (N, 2) and (M, 2) points in any order.

    Returns
    -------
    tuple of float
        Area of the first hull, of the second, and of their intersection, in pixels²; 0 where the points lie on a line.

    References
    ----------
    Sutherland and Hodgman, "Reentrant polygon clipping", Communications of the ACM 17, 1974.
    """
    points, others = as_points(first), as_points(second)
    middle = points.mean(axis=0)  # products of small coordinates keep their digits
    one, other = (_hull((corners - middle).tolist()) for corners in (points, others))
    shared = one
    for k in range(len(other)):
        shared = _left_of(shared, other[k - 1], other[k])
    return _area(one), _area(other), min(_area(shared), _area(one), _area(other))


Corner = tuple[float, float] | list[float]


def _side(start: Corner, end: Corner, point: Corner) -> float:
    """Twice the area of a triangle; positive where the point lies on the inner side of a hull's edge."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


def _hull(points: list[Corner]) -> list[Corner]:
    """Corners of the convex hull of points, in order (Andrew's monotone chain)."""
    order = sorted(points)
    chains: list[list[Corner]] = []
    for row in (order, order[::-1]):
        chain: list[Corner] = []
        for point in row:
            while len(chain) > 1 and _side(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        chains.append(chain[:-1])
    return chains[0] + chains[1]


def _left_of(polygon: list[Corner], start: Corner, end: Corner) -> list[Corner]:
    """What of a convex polygon lies on the inner side of an edge."""
    kept: list[Corner] = []
    for k, point in enumerate(polygon):
        before = polygon[k - 1]
        a, b = _side(start, end, before), _side(start, end, point)
        if (a > 0 > b) or (a < 0 < b):
            share = a / (a - b)
            kept.append((before[0] + share * (point[0] - before[0]), before[1] + share * (point[1] - before[1])))
        if b >= 0:
            kept.append(point)
    return kept


def _area(polygon: list[Corner]) -> float:
    """Of a hull, in pixels²."""
    return sum(_side(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)) / 2


def quad_folds(quad: QuadLike) -> bool:
    """Whether a quadrilateral is not strictly convex (it folds over itself, or has a reflex corner)."""
    turns = _turns(as_points(quad))
    return not (bool((turns > 0).all()) or bool((turns < 0).all()))


def _turns(corners: Points) -> Floats:
    """(N,) cross products of the edges that meet at the corners of a polygon; of one sign where it is convex."""
    edges = np.roll(corners, -1, axis=0) - corners
    following = np.roll(edges, -1, axis=0)
    turns: Floats = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    return turns


def bounds(points: Points) -> tuple[Points, Points]:
    """The least and the greatest x and y, (2,) each, of (N, 2) points."""
    return points.min(axis=0), points.max(axis=0)


def box_quad(box: tuple[float, float, float, float]) -> Points:
    """The quad round the pixels of a half-open box (left, top, right, bottom): its outer corners, from top left."""
    left, top, right, bottom = np.asarray(box, dtype=np.float64) - 0.5
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def quad_extent(quad: Points) -> float:
    """Square root of the area of the box round a quad, in pixels."""
    return float(np.sqrt(np.prod(np.ptp(quad, axis=0))))


def signed_area(polygon: Points) -> float:
    """Area of a polygon in pixels², positive when its (N, 2) corners go from x to y (clockwise on the screen)."""
    x, y = polygon.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def quad_side(quad: Points) -> float:
    """Square root of the area of a quad, in pixels; at least 1e-6."""
    return float(np.sqrt(max(abs(signed_area(quad)), 1e-12)))


def quad_lattice(quad: Points, *, across: int, margin: float = 0.0) -> Points:
    """Points spread over a quad, bilinear between its corners.

    Parameters
    ----------
    quad : ndarray
        (4, 2) corners.
    across : int
        Points along each side.
    margin : float
        How far the lattice goes beyond the quad, in lengths of its sides.

    Returns
    -------
    ndarray
        (across², 2), row by row from the top left.
    """
    steps = np.linspace(-margin, 1 + margin, across)
    v, u = (grid.reshape(-1, 1) for grid in np.meshgrid(steps, steps, indexing="ij"))
    top, bottom = (1 - u) * quad[0] + u * quad[1], (1 - u) * quad[3] + u * quad[2]
    lattice: Points = (1 - v) * top + v * bottom
    return lattice


def quad_matrices(from_quad: Points, to_quads: Floats) -> Floats:
    """Homographies that map one quad to several.

    Parameters
    ----------
    from_quad : ndarray
        (4, 2).
    to_quads : ndarray
        (K, 4, 2).

    Returns
    -------
    ndarray
        (K, 3, 3) float64.

    Raises
    ------
    GeometryError
        If three corners of the first quad lie on a line.
    """
    count = len(to_quads)
    x, y = from_quad.T
    system = np.zeros((count, 8, 8))
    system[:, 0::2, 0], system[:, 0::2, 1], system[:, 0::2, 2] = x, y, 1
    system[:, 1::2, 3], system[:, 1::2, 4], system[:, 1::2, 5] = x, y, 1
    for axis in (0, 1):
        system[:, axis::2, 6] = -to_quads[:, :, axis] * x
        system[:, axis::2, 7] = -to_quads[:, :, axis] * y
    try:
        solved = np.linalg.solve(system, to_quads.reshape(count, 8, 1))[..., 0]
    except np.linalg.LinAlgError as error:
        raise GeometryError("The quad is degenerate: three of its corners lie on a line.") from error
    return np.concatenate([solved, np.ones((count, 1))], axis=1).reshape(count, 3, 3)


def quad_matrix(from_quad: Points, to_quad: Points) -> Floats:
    """The homography (3, 3) that maps four corners to four corners, as `quad_matrices`."""
    matrix: Floats = quad_matrices(from_quad, to_quad[None])[0]
    return matrix


def apply_homography(matrices: Floats, points: Points) -> Floats:
    """Points under one (3, 3) → (N, 2) or several (K, 3, 3) → (K, N, 2) homographies; not finite on a horizon."""
    mapped = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ np.swapaxes(matrices, -1, -2)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = mapped[..., :2] / mapped[..., 2:]
    return result
