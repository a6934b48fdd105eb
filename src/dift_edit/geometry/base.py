"""The transform protocol, and transforms given by a 3×3 matrix."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dift_edit.errors import GeometryError
from dift_edit.geometry.coords import Points, as_points

__all__ = ["Matrix", "MatrixTransform", "Transform", "quad_folds", "quad_iou"]

Matrix = npt.NDArray[np.float64]
"""(3, 3) homogeneous, acting on column vectors (x, y, 1)."""


@runtime_checkable
class Transform(Protocol):
    """A map from source pixels to target pixels."""

    @property
    def matrix(self) -> Matrix | None:
        """(3, 3), or None when the map is not given by a matrix."""

    def __call__(self, points: Any) -> Points:
        """Map (N, 2) source points to (N, 2) target points."""

    def inverse(self) -> "Transform":
        """The map from target to source."""


@dataclass(frozen=True, eq=False)
class MatrixTransform:
    """A similarity, affine map or homography.

    Attributes
    ----------
    matrix : ndarray
        (3, 3) float64.

    Raises
    ------
    GeometryError
        If the matrix is not (3, 3), not finite or singular.
    """

    matrix: Matrix

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise GeometryError(f"A transform needs a finite 3×3 matrix, but got {self.matrix!r}.")
        if abs(np.linalg.det(matrix)) < 1e-12 * max(1.0, float(np.abs(matrix).max())):
            raise GeometryError("The transform is singular: its points are collinear or coincide.")
        object.__setattr__(self, "matrix", matrix)

    def __call__(self, points: Any) -> Points:
        """Map (N, 2) points."""
        array = as_points(points)
        mapped = array @ self.matrix[:, :2].T + self.matrix[:, 2]
        result: Points = mapped[:, :2] / mapped[:, 2:]
        return result

    def inverse(self) -> "MatrixTransform":
        """The inverse map."""
        return MatrixTransform(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))

    def then(self, after: "MatrixTransform") -> "MatrixTransform":
        """Map with this, then with another."""
        return MatrixTransform(after.matrix @ self.matrix)


def quad_iou(first: Any, second: Any) -> float:
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
    import cv2

    hulls = [cv2.convexHull(as_points(quad).astype(np.float32)) for quad in (first, second)]
    areas = [float(cv2.contourArea(hull)) for hull in hulls]
    if min(areas) <= 0:
        return 0.0
    common = float(cv2.intersectConvexConvex(hulls[0], hulls[1])[0])
    return common / max(sum(areas) - common, 1e-12)


def quad_folds(quad: Any) -> bool:
    """Whether a quadrilateral is not strictly convex (it folds over itself, or has a reflex corner)."""
    corners = as_points(quad)
    edges = np.roll(corners, -1, 0) - corners
    nexts = np.roll(edges, -1, 0)
    turns = edges[:, 0] * nexts[:, 1] - edges[:, 1] * nexts[:, 0]
    return not (bool((turns > 0).all()) or bool((turns < 0).all()))
