"""The transform protocol, and transforms given by a 3×3 matrix."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dift_edit.errors import GeometryError
from dift_edit.geometry.coords import Points, as_points
from dift_edit.geometry.quad import apply_homography
from dift_edit.types import PointsLike

__all__ = ["Chain", "Matrix", "MatrixTransform", "Transform"]

Matrix = npt.NDArray[np.float64]
"""(3, 3) homogeneous, acting on column vectors (x, y, 1)."""


@runtime_checkable
class Transform(Protocol):
    """A map from source pixels to target pixels."""

    @property
    def matrix(self) -> Matrix | None:
        """(3, 3), or None when the map is not given by a matrix."""

    def __call__(self, points: PointsLike) -> Points:
        """Map (N, 2) source points to (N, 2) target points."""

    def inverse(self) -> "Transform":
        """The map from target to source."""

    def then(self, after: "MatrixTransform") -> "Transform":
        """Map with this, then with a matrix."""


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

    @property
    def enlargement(self) -> float:
        """By how much lengths grow under an affine map, on average over all directions; above 0."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix[:2, :2]))))

    def __call__(self, points: PointsLike) -> Points:
        """Map (N, 2) points."""
        return apply_homography(self.matrix, as_points(points))

    def inverse(self) -> "MatrixTransform":
        """The inverse map."""
        return MatrixTransform(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))

    def then(self, after: "MatrixTransform") -> "MatrixTransform":
        """Map with this, then with another."""
        return MatrixTransform(after.matrix @ self.matrix)


@dataclass(frozen=True, eq=False)
class Chain:
    """Maps one after another.

    Attributes
    ----------
    parts : tuple of Transform
        In the order in which they are applied; at least one.
    """

    parts: tuple[Transform, ...]

    @property
    def matrix(self) -> Matrix | None:
        """(3, 3) product of the parts' matrices; None when one of them is not given by a matrix."""
        product: Matrix = np.eye(3)
        for part in self.parts:
            if part.matrix is None:
                return None
            product = part.matrix @ product
        return product

    def __call__(self, points: PointsLike) -> Points:
        """Map (N, 2) points."""
        mapped = as_points(points)
        for part in self.parts:
            mapped = part(mapped)
        return mapped

    def inverse(self) -> "Chain":
        """The inverse maps, the last one first."""
        return Chain(tuple(part.inverse() for part in reversed(self.parts)))

    def then(self, after: MatrixTransform) -> "Chain":
        """Map with this, then with a matrix."""
        return Chain((*self.parts, after))
