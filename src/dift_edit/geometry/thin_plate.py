"""Thin-plate splines in float64, bounded: a smooth bend on top of a matrix, which fades to the matrix outside."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from dift_edit.errors import GeometryError
from dift_edit.geometry.base import Chain, Matrix, MatrixTransform
from dift_edit.geometry.coords import Points, as_points
from dift_edit.types import PointsLike

__all__ = ["ThinPlateSpline", "fit_thin_plate"]

_CHUNK = 1 << 14
_NEWTON = 12


@dataclass(frozen=True, eq=False)
class ThinPlateSpline:
    """A matrix plus a thin-plate bend of it: ``base(p) + window(p) · spline(p)``.

    Attributes
    ----------
    centres : ndarray
        (N, 2) control points in source pixels.
    weights : ndarray
        (N, 2) of the radial terms, for points in units of `scale`.
    affine : ndarray
        (3, 2) of the affine terms 1, x, y.
    scale : float
        Length in source pixels of one unit.
    base : MatrixTransform
        The map without the bend.
    box : ndarray or None
        (2, 2) low and high corner: the bend is whole inside, and gone half the box's size outside. None: everywhere.

    References
    ----------
    Bookstein, "Principal Warps: Thin-Plate Splines", PAMI 1989.
    """

    centres: Points
    weights: npt.NDArray[np.float64]
    affine: npt.NDArray[np.float64]
    scale: float
    base: MatrixTransform
    box: npt.NDArray[np.float64] | None = None

    @property
    def matrix(self) -> Matrix | None:
        """None: the map is not given by one matrix."""
        return None

    def __call__(self, points: PointsLike) -> Points:
        """Map (N, 2) points."""
        array = as_points(points)
        parts = np.array_split(array, max(1, len(array) // _CHUNK))
        mapped: Points = np.concatenate([self.base(part) + self._bend(part)[0] for part in parts])
        return mapped

    def jacobians(self, points: PointsLike) -> npt.NDArray[np.float64]:
        """(N, 2, 2) derivatives of the map at points, d target / d source, for an affine base."""
        slopes: npt.NDArray[np.float64] = self.base.matrix[:2, :2] / self.base.matrix[2, 2]
        return slopes + self._bend(as_points(points))[1]

    def inverse(self) -> "InverseSpline":
        """The inverse map, by Newton's method."""
        return InverseSpline(self)

    def then(self, after: MatrixTransform) -> "ThinPlateSpline":
        """Map with this, then with an affine map."""
        turn = after.matrix[:2, :2].T
        return ThinPlateSpline(
            self.centres, self.weights @ turn, self.affine @ turn, self.scale, self.base.then(after), self.box
        )

    def _bend(self, points: Points) -> tuple[Points, npt.NDArray[np.float64]]:
        """The bend (N, 2) and its derivatives (N, 2, 2)."""
        x, c = points / self.scale, self.centres / self.scale
        square = cdist(x, c, "sqeuclidean")
        log = np.log(np.maximum(square, 1e-30))
        value = square * log / 2 @ self.weights + self.affine[0] + x @ self.affine[1:]
        pull = log + 1  # dU/dx = (log r² + 1)(x − c)
        slope = np.einsum("nm,mj,nmi->nji", pull, self.weights, x[:, None] - c) + self.affine[1:].T
        slope = slope / self.scale
        if self.box is None:
            return value, slope
        window, fade = _window(points, self.box)
        return window[:, None] * value, window[:, None, None] * slope + value[:, :, None] * fade[:, None]


@dataclass(frozen=True, eq=False)
class InverseSpline:
    """The inverse of a spline."""

    forward: ThinPlateSpline

    @property
    def matrix(self) -> Matrix | None:
        """None: the map is not given by one matrix."""
        return None

    def __call__(self, points: PointsLike) -> Points:
        """Map (N, 2) points back; Newton's method with halved steps, from the base's inverse."""
        array = as_points(points)
        parts = np.array_split(array, max(1, len(array) // _CHUNK))
        return np.concatenate([self._solve(part) for part in parts])

    def inverse(self) -> ThinPlateSpline:
        """The spline itself."""
        return self.forward

    def then(self, after: MatrixTransform) -> Chain:
        """Map with this, then with a matrix."""
        return Chain((self, after))

    def _solve(self, wanted: Points) -> Points:
        forward = self.forward
        found = forward.base.inverse()(wanted)
        active = np.arange(len(wanted))
        for _ in range(_NEWTON):
            if not len(active):
                break
            bend, slope = forward._bend(found[active])
            miss = wanted[active] - forward.base(found[active]) - bend
            far = np.linalg.norm(miss, axis=1) > 1e-9 * max(1.0, float(np.abs(wanted).max()))
            active, miss, slope = active[far], miss[far], slope[far]
            jacobian = forward.base.matrix[:2, :2] / forward.base.matrix[2, 2] + slope
            step = np.linalg.solve(jacobian, miss[:, :, None])[:, :, 0]
            error = np.linalg.norm(miss, axis=1)
            length = np.ones(len(active))
            for _ in range(6):
                tried = forward(found[active] + length[:, None] * step)
                worse = np.linalg.norm(wanted[active] - tried, axis=1) > error
                if not worse.any():
                    break
                length[worse] /= 2
            found[active] += length[:, None] * step
        return found


def fit_thin_plate(
    source: PointsLike,
    offsets: PointsLike,
    *,
    base: MatrixTransform,
    smoothing: float | npt.ArrayLike = 0.0,
    box: npt.NDArray[np.float64] | None = None,
) -> ThinPlateSpline:
    """The spline that bends a base map by given offsets.

    Parameters
    ----------
    source : array_like
        (N, 2) distinct control points, not all on a line.
    offsets : array_like
        (N, 2) target pixels to add to the base map there.
    base : MatrixTransform
        An affine map.
    smoothing : float or array_like
        (N,) zero interpolates; larger values (in units of the squared extent) follow the offsets less.
    box : ndarray, optional
        See `ThinPlateSpline`.

    Returns
    -------
    ThinPlateSpline

    Raises
    ------
    GeometryError
        If there are fewer than three points, or all lie on a line.

    References
    ----------
    Wahba, "Spline Models for Observational Data", 1990, section 2.4 (the smoothing).
    """
    points, wanted = as_points(source, "control points"), as_points(offsets, "offsets")
    if len(points) < 3:
        raise GeometryError(f"A thin-plate spline needs at least three control points, but got {len(points)}.")
    scale = float(np.ptp(points, axis=0).max())
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if not spread[-1] > 1e-6 * max(spread[0], 1e-300):
        raise GeometryError("The control points are collinear or coincide: give points with an area.")
    x = points / scale
    square = cdist(x, x, "sqeuclidean")
    kernel = square * np.log(np.maximum(square, 1e-30)) / 2
    count = len(x)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = kernel + np.diag(np.broadcast_to(np.asarray(smoothing, float), (count,)))
    system[:count, count:] = np.c_[np.ones(count), x]
    system[count:, :count] = system[:count, count:].T
    try:
        solved = np.linalg.solve(system, np.concatenate([wanted, np.zeros((3, 2))]))
    except np.linalg.LinAlgError as error:
        raise GeometryError("Two control points of the spline coincide: give each place once.") from error
    return ThinPlateSpline(points, solved[:count], solved[count:], scale, base, box)


def _window(points: Points, box: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], Points]:
    """(N,) 1 inside the box falling smoothly to 0 half its size outside, and its gradient (N, 2)."""
    reach = np.maximum((box[1] - box[0]) / 2, 1e-12)
    over = np.maximum(np.maximum(box[0] - points, points - box[1]), 0) / reach
    side = np.where(points > box[1], 1.0, -1.0)
    t = np.clip(over, 0, 1)
    fall = 1 - t**3 * (10 - 15 * t + 6 * t**2)
    slope = -30 * t**2 * (1 - t) ** 2 * side / reach
    value = fall.prod(1)
    return value, np.stack([slope[:, 0] * fall[:, 1], slope[:, 1] * fall[:, 0]], 1)
