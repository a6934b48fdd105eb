"""Piecewise affine maps on a triangulation that is made once, on the source, and carried to the target."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.errors import GeometryError
from dift_edit.geometry.base import Matrix, MatrixTransform, Transform
from dift_edit.geometry.coords import Points, as_points
from dift_edit.types import PointsLike

__all__ = ["PiecewiseAffine", "signed_areas", "triangulate"]

Triangles = npt.NDArray[np.int64]
_BUCKETS = 256
_INSIDE = -1e-9
_CHUNK = 1 << 14


def triangulate(points: PointsLike) -> Triangles:
    """The Delaunay triangulation of points.

    Parameters
    ----------
    points : array_like
        (N, 2), not all on a line.

    Returns
    -------
    ndarray
        (T, 3) indices into the points, without triangles of no area.

    Raises
    ------
    GeometryError
        If there are fewer than three points, or all lie on a line.
    """
    from scipy.spatial import Delaunay, QhullError

    array = as_points(points, "vertices of the mesh")
    if len(array) < 3:
        raise GeometryError(f"A mesh needs at least three points, but got {len(array)}.")
    extent = float(np.ptp(array, axis=0).max())
    try:
        triangles = np.asarray(Delaunay((array - array.mean(0)) / max(extent, 1e-300)).simplices, dtype=np.int64)
    except QhullError as error:
        raise GeometryError("The points of the mesh are collinear or coincide: give points with an area.") from error
    kept: Triangles = triangles[np.abs(signed_areas(array, triangles)) > 1e-9 * extent**2]
    if not len(kept):
        raise GeometryError("The points of the mesh are collinear or coincide: give points with an area.")
    return kept


def signed_areas(points: Points, triangles: Triangles) -> npt.NDArray[np.float64]:
    """(T,) areas of triangles; the sign is their orientation."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    first, second = b - a, c - a
    areas: npt.NDArray[np.float64] = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    return areas


@dataclass(frozen=True, eq=False)
class PiecewiseAffine:
    """A continuous map that is affine on every triangle of a mesh.

    Attributes
    ----------
    source, target : ndarray
        (V, 2) vertices before and after.
    triangles : ndarray
        (T, 3) vertices of each triangle, the same on both sides.
    outside : MatrixTransform
        The map beyond the mesh. The whole is continuous when the mesh's outline moves by it.

    Raises
    ------
    GeometryError
        If the sides differ in length, a triangle has no area, or some triangles turn over and others do not (a fold).
    """

    source: Points
    target: Points
    triangles: Triangles
    outside: Transform

    def __post_init__(self) -> None:
        source, target = as_points(self.source, "mesh vertices"), as_points(self.target, "moved mesh vertices")
        if source.shape != target.shape:
            raise GeometryError(f"The mesh has {len(source)} vertices on the source and {len(target)} on the target.")
        before, after = signed_areas(source, self.triangles), signed_areas(target, self.triangles)
        if not (np.abs(before).min() > 0 and np.abs(after).min() > 0):
            raise GeometryError("A triangle of the mesh has no area: use fewer or other points.")
        turned = before * after < 0
        if turned.any() and not turned.all():
            raise GeometryError(f"The mesh folds over itself in {int(turned.sum())} of {len(turned)} triangles.")
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "target", target)

    @cached_property
    def _finder(self) -> "_Finder":
        return _Finder(self.source, self.triangles)

    @cached_property
    def _corners(self) -> npt.NDArray[np.float64]:
        """(T, 2, 3) moved corners of each triangle."""
        return np.moveaxis(self.target[self.triangles], 1, 2)

    @property
    def matrix(self) -> Matrix | None:
        """None: the map is not given by one matrix."""
        return None

    def barycentric(self, points: PointsLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Where points lie in the mesh.

        Parameters
        ----------
        points : array_like
            (N, 2) in source pixels.

        Returns
        -------
        ndarray
            (N,) index of the triangle; -1 outside the mesh.
        ndarray
            (N, 3) weights of the triangle's corners, with sum 1; without meaning outside.
        """
        return self._finder(as_points(points))

    def __call__(self, points: PointsLike) -> Points:
        """Map (N, 2) points."""
        array = as_points(points)
        index, weights = self._finder(array)
        mapped: Points = np.einsum("nij,nj->ni", self._corners[index], weights)
        beyond = index < 0
        if beyond.any():
            mapped[beyond] = self.outside(array[beyond])
        return mapped

    def inverse(self) -> "PiecewiseAffine":
        """The inverse map, on the same triangles."""
        return PiecewiseAffine(self.target, self.source, self.triangles, self.outside.inverse())

    def then(self, after: MatrixTransform) -> "PiecewiseAffine":
        """Map with this, then with an affine map."""
        if not isinstance(self.outside, MatrixTransform):
            raise GeometryError("Only a mesh whose outside is a matrix can be followed by another map.")
        return PiecewiseAffine(self.source, after(self.target), self.triangles, self.outside.then(after))


class _Finder:
    """Which triangle a point lies in: looked up in a raster, then checked, and searched for where that fails."""

    def __init__(self, points: Points, triangles: Triangles) -> None:
        a, b, c = (points[triangles[:, k]] for k in range(3))
        self._origin = c
        self._inverse = np.linalg.inv(np.stack([a - c, b - c], axis=2))
        self._low = points.min(0)
        self._step = np.maximum((points.max(0) - self._low) / _BUCKETS, 1e-12)
        raster = np.full((_BUCKETS, _BUCKETS), -1.0, np.float32)
        for number, corners in enumerate(((points[triangles] - self._low) / self._step - 0.5) * 16):
            cv2.fillConvexPoly(raster, np.round(corners).astype(np.int32), float(number), lineType=cv2.LINE_8, shift=4)
        self._raster = raster.astype(np.int64)

    def __call__(self, points: Points) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """(N,) triangle or -1, and (N, 3) barycentric weights."""
        cell = np.floor((points - self._low) / self._step)
        within = ((cell >= -1) & (cell <= _BUCKETS)).all(1)
        column, row = np.clip(cell, 0, _BUCKETS - 1).astype(np.int64).T
        index = np.where(within, self._raster[row, column], -1)
        weights = self._weights(points, index)
        unsure = np.flatnonzero(within & ((index < 0) | (weights.min(1) < _INSIDE)))
        for part in np.array_split(unsure, max(1, len(unsure) // _CHUNK)):
            index[part] = self._search(points[part])
        weights[unsure] = self._weights(points[unsure], index[unsure])
        return index, weights

    def _weights(self, points: Points, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        two = np.einsum("nij,nj->ni", self._inverse[index], points - self._origin[index])
        return np.concatenate([two, 1 - two.sum(1, keepdims=True)], 1)

    def _search(self, points: Points) -> npt.NDArray[np.int64]:
        best = np.full(len(points), -1, np.int64)
        depth = np.full(len(points), _INSIDE)
        for number, (inverse, origin) in enumerate(zip(self._inverse, self._origin, strict=True)):
            two = (points - origin) @ inverse.T
            least = np.minimum(np.minimum(two[:, 0], two[:, 1]), 1 - two.sum(1))
            better = least > depth
            best[better], depth[better] = number, least[better]
        return best
