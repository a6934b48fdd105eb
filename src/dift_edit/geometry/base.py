"""The transform protocol, and transforms given by a 3×3 matrix."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dift_edit.errors import EditError, GeometryError
from dift_edit.geometry.coords import Points, as_points
from dift_edit.types import PointsLike, QuadLike

__all__ = ["Chain", "Matrix", "MatrixTransform", "Transform", "as_quad", "check_quad", "quad_folds", "quad_iou"]

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

    def __call__(self, points: PointsLike) -> Points:
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
    following = np.roll(corners, -1, axis=0) - corners
    after = np.roll(following, -1, axis=0)
    turns = following[:, 0] * after[:, 1] - following[:, 1] * after[:, 0]
    size = max(1e-9, float(np.abs(following).max()))
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
    low, high = corners.min(axis=0), corners.max(axis=0)
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
    import cv2

    hulls = [cv2.convexHull(as_points(quad).astype(np.float32)) for quad in (first, second)]
    areas = [float(cv2.contourArea(hull)) for hull in hulls]
    if min(areas) <= 0:
        return 0.0
    common = float(cv2.intersectConvexConvex(hulls[0], hulls[1])[0])
    return common / max(sum(areas) - common, 1e-12)


def quad_folds(quad: QuadLike) -> bool:
    """Whether a quadrilateral is not strictly convex (it folds over itself, or has a reflex corner)."""
    corners = as_points(quad)
    edges = np.roll(corners, -1, 0) - corners
    nexts = np.roll(edges, -1, 0)
    turns = edges[:, 0] * nexts[:, 1] - edges[:, 1] * nexts[:, 0]
    return not (bool((turns > 0).all()) or bool((turns < 0).all()))
