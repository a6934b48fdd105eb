"""Estimation of similarities, affine maps and homographies from weighted correspondences."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dift_edit.errors import GeometryError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import Points

__all__ = [
    "Correspondences",
    "constrained",
    "fit_affine",
    "fit_homography",
    "fit_similarity",
    "hold_pairs",
    "reweighted",
    "translation",
]

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Weighted pairs of points.

    Attributes
    ----------
    source, target : ndarray
        (N, 2) pixels of the two pictures.
    weights : ndarray
        (N,) not negative.
    """

    source: Points
    target: Points
    weights: Weights

    def __add__(self, other: "Correspondences") -> "Correspondences":
        return Correspondences(
            np.concatenate([self.source, other.source]),
            np.concatenate([self.target, other.target]),
            np.concatenate([self.weights, other.weights]),
        )


def fit_similarity(pairs: Correspondences) -> MatrixTransform:
    """The weighted least-squares similarity (Umeyama 1991, without reflection).

    Raises
    ------
    GeometryError
        If there are fewer than two distinct weighted points.
    """
    p, q = (points[:, 0] + 1j * points[:, 1] for points in (pairs.source, pairs.target))
    w = pairs.weights / max(pairs.weights.sum(), 1e-300)
    p_mean, q_mean = (w * p).sum(), (w * q).sum()
    spread = (w * np.abs(p - p_mean) ** 2).sum()
    if not spread > 1e-12:
        raise GeometryError("A similarity needs two points that differ.")
    a = (w * (q - q_mean) * (p - p_mean).conj()).sum() / spread
    return _similarity(a, q_mean - a * p_mean)


def fit_affine(pairs: Correspondences, toward: MatrixTransform | None = None, shrink: float = 0.0) -> MatrixTransform:
    """The weighted least-squares affine map, its linear part shrunk toward that of another map.

    Parameters
    ----------
    pairs : Correspondences
        At least three that are not on a line, unless it is shrunk.
    toward : MatrixTransform, optional
        An affine map, such as the similarity of the same pairs.
    shrink : float
        0: not at all; 1: as strongly as the pairs' own scatter speaks.

    Raises
    ------
    GeometryError
        If the points are collinear and nothing is shrunk to.
    """
    w = (pairs.weights / max(pairs.weights.sum(), 1e-300))[:, None]
    p_mean, q_mean = (w * pairs.source).sum(0), (w * pairs.target).sum(0)
    p, q = pairs.source - p_mean, pairs.target - q_mean
    scatter = (w * p).T @ p
    cross = (w * p).T @ q
    if toward is not None and shrink > 0:
        extra = shrink * np.trace(scatter) / 2
        scatter, cross = scatter + extra * np.eye(2), cross + extra * toward.matrix[:2, :2].T
    low, high = np.linalg.eigvalsh(scatter)
    if not low > 1e-9 * max(high, 1e-12):
        raise GeometryError("An affine map needs three points that are not on a line.")
    linear = np.linalg.solve(scatter, cross).T
    return MatrixTransform(np.array([[*linear[0], 0], [*linear[1], 0], [0, 0, 1]]) + _shift(q_mean - linear @ p_mean))


def fit_homography(
    pairs: Correspondences, toward: MatrixTransform | None = None, shrink: float = 0.0
) -> MatrixTransform:
    """The weighted homography of least algebraic error in normalised coordinates, drawn toward another map.

    Parameters
    ----------
    pairs : Correspondences
        At least four, no three on a line, unless it is drawn toward another map.
    toward : MatrixTransform, optional
        Its own images of the source points, with the share `shrink` of the weight, are added to the pairs.
    shrink : float
        See `toward`.

    Raises
    ------
    GeometryError
        If the points are too few or collinear.

    References
    ----------
    Hartley and Zisserman, Multiple View Geometry, 2004, algorithm 4.2.
    """
    if toward is not None and shrink > 0:
        drawn = Correspondences(pairs.source, toward(pairs.source), pairs.weights * shrink)
        pairs = pairs + drawn
    if len(pairs.source) < 4:
        raise GeometryError(f"A homography needs at least four pairs of points, but got {len(pairs.source)}.")
    (p, p_norm), (q, q_norm) = (_normalised(points, pairs.weights) for points in (pairs.source, pairs.target))
    w = np.sqrt(pairs.weights / max(pairs.weights.max(), 1e-300))[:, None]
    x, y, one, zero = p[:, :1], p[:, 1:], np.ones((len(p), 1)), np.zeros((len(p), 3))
    rows = [
        np.concatenate([x, y, one, zero, -q[:, :1] * x, -q[:, :1] * y, -q[:, :1]], 1) * w,
        np.concatenate([zero, x, y, one, -q[:, 1:] * x, -q[:, 1:] * y, -q[:, 1:]], 1) * w,
    ]
    rows.append(np.zeros((max(0, 9 - 2 * len(p)), 9)))
    _, values, vectors = np.linalg.svd(np.concatenate(rows), full_matrices=False)
    if not values[7] > 1e-7 * values[0]:
        raise GeometryError("A homography needs four points, no three of them on a line.")
    matrix = np.linalg.inv(q_norm) @ vectors[8].reshape(3, 3) @ p_norm
    if abs(matrix[2, 2]) < 1e-12 * np.abs(matrix).max():
        raise GeometryError("The homography sends the source's origin to infinity.")
    return MatrixTransform(matrix / matrix[2, 2])


def constrained(normal: Weights, right: Weights, rows: Weights, wanted: Weights) -> Weights:
    """The least-squares solution of a problem that meets linear equations, by the null-space method.

    Parameters
    ----------
    normal, right : ndarray
        (n, n) and (n, …) normal equations of the problem.
    rows, wanted : ndarray
        (m, n) and (m, …) equations ``rows @ x = wanted``. Equations that contradict each other are met in the
        least-squares sense; nearly dependent ones count once.

    Returns
    -------
    ndarray
        (n, …).

    References
    ----------
    Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 20.
    """
    if not len(rows):
        return np.asarray(np.linalg.solve(normal, right), dtype=np.float64)
    left, values, basis = np.linalg.svd(rows)
    rank = int((values > 1e-6 * values[0]).sum())  # chosen
    met: Weights = basis[:rank].T @ ((left[:, :rank].T @ wanted).T / values[:rank]).T
    free = basis[rank:].T
    if not free.size:
        return met
    solved: Weights = met + free @ np.linalg.solve(free.T @ normal @ free, free.T @ (right - normal @ met))
    return solved


def hold_pairs(found: MatrixTransform, pairs: Correspondences, lattice: Points, freedom: int) -> MatrixTransform:
    """The matrix that maps pairs onto each other and a lattice as nearly as another matrix does.

    Least squares over the lattice with the pairs as equality constraints (`constrained`), by Gauss and Newton.

    Parameters
    ----------
    found : MatrixTransform
        The other matrix; a similarity for `freedom` 4, affine for 6.
    pairs : Correspondences
        Pairs to hold, in the least-squares sense where they are too many or contradict each other.
    lattice : ndarray
        (N, 2) source pixels, not all on a line.
    freedom : {4, 6, 8}
        Of a similarity, an affine map, a homography.

    Returns
    -------
    MatrixTransform

    Raises
    ------
    GeometryError
        If there is no such map.
    """
    middle, scale = lattice.mean(0), float(np.ptp(lattice, axis=0).max())
    unit = np.array([[scale, 0, middle[0]], [0, scale, middle[1]], [0, 0, 1]])
    start = found.matrix @ unit
    numbers = (start / start[2, 2]).ravel()[:8]
    if freedom < 8:
        numbers[6:] = 0
    if freedom == 4:
        turn = (numbers[0] + numbers[4]) / 2, (numbers[3] - numbers[1]) / 2
        numbers[:6] = turn[0], -turn[1], numbers[2], turn[1], turn[0], numbers[5]
        basis = np.zeros((8, 4))
        basis[[0, 4], 0] = 1
        basis[[3, 1], 1] = 1, -1
        basis[[2, 5], [2, 3]] = 1
    else:
        basis = np.eye(8)[:, :freedom]
    wanted, places = found(lattice), (lattice - middle) / scale
    held = (pairs.source - middle) / scale
    for _ in range(12):
        there, slope = _projected(numbers, places)
        pinned, pin_slope = _projected(numbers, held)
        slope, pin_slope = slope @ basis, pin_slope @ basis
        normal = slope.T @ slope
        normal += 1e-12 * np.trace(normal) * np.eye(freedom)
        right = slope.T @ (wanted - there).ravel()
        step = constrained(normal, right, pin_slope, (pairs.target - pinned).ravel())
        numbers = numbers + basis @ step
        if not np.isfinite(numbers).all():
            raise GeometryError("No map of that freedom holds the pairs.")
        if np.abs(step).max() < 1e-10 * max(1.0, float(np.abs(numbers).max())):
            break
    if (places @ numbers[6:] + 1 <= 0).any():
        raise GeometryError("The map would send a part of the edit to infinity.")
    return MatrixTransform(np.append(numbers, 1).reshape(3, 3) @ np.linalg.inv(unit))


def _projected(numbers: Weights, points: Points) -> tuple[Points, Weights]:
    """(N, 2) images of points by the homography of eight numbers, and their (2N, 8) derivatives by the numbers."""
    x, y = points.T
    one, zero = np.ones(len(points)), np.zeros(len(points))
    below = numbers[6] * x + numbers[7] * y + 1
    u = (numbers[0] * x + numbers[1] * y + numbers[2]) / below
    v = (numbers[3] * x + numbers[4] * y + numbers[5]) / below
    rows = (
        np.stack(
            [
                np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1),
                np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1),
            ],
            1,
        )
        / below[:, None, None]
    )
    return np.stack([u, v], 1), rows.reshape(-1, 8)


def translation(shift: Points) -> MatrixTransform:
    """The map that adds (x, y) to each point."""
    return MatrixTransform(np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]], dtype=np.float64))


def reweighted(
    pairs: Correspondences,
    start: MatrixTransform,
    *,
    threshold: float,
    fit: Callable[[Correspondences], MatrixTransform],
    steps: int = 8,
) -> tuple[MatrixTransform, Weights]:
    """Iteratively reweighted least squares with Geman–McClure weights.

    Parameters
    ----------
    pairs : Correspondences
        The pairs.
    start : MatrixTransform
        A first estimate, not far off.
    threshold : float
        Residual in target pixels at which a pair counts a quarter.
    fit : callable
        Pairs → transform.
    steps : int
        How often.

    Returns
    -------
    MatrixTransform
        The estimate.
    ndarray
        (N,) in [0, 1]: how far each pair agrees with it.

    References
    ----------
    Geman and McClure, "Statistical Methods for Tomographic Image Reconstruction", 1987.
    """
    transform = start
    for _ in range(steps):
        transform = fit(
            Correspondences(pairs.source, pairs.target, pairs.weights * _trust(pairs, transform, threshold))
        )
    return transform, _trust(pairs, transform, threshold)


def _trust(pairs: Correspondences, transform: MatrixTransform, threshold: float) -> Weights:
    residual = np.linalg.norm(transform(pairs.source) - pairs.target, axis=1) / threshold
    trust: Weights = 1 / (1 + residual**2) ** 2
    return trust


def _similarity(a: complex, b: complex) -> MatrixTransform:
    return MatrixTransform(np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]]))


def _shift(offset: Points) -> Weights:
    return np.array([[0, 0, offset[0]], [0, 0, offset[1]], [0, 0, 0]])


def _normalised(points: Points, weights: Weights) -> tuple[Points, Weights]:
    """Points moved and scaled to mean 0 and mean square 2, and the matrix that does it."""
    w = (weights / max(weights.sum(), 1e-300))[:, None]
    mean = (w * points).sum(0)
    spread = float(np.sqrt((w * (points - mean) ** 2).sum() / 2))
    if not spread > 1e-9:
        raise GeometryError("The points coincide: a homography needs four that differ.")
    matrix = np.array([[1 / spread, 0, -mean[0] / spread], [0, 1 / spread, -mean[1] / spread], [0, 0, 1]])
    return (points - mean) / spread, matrix
