"""How a patch bends: what is left over after its path as a plane, as a mesh that is smooth in space and in time.

Each frame is seen in the keyframe's own pixels, straightened by the path. Optical flow from the keyframe tells how far
each spot is off; the mesh engine makes offsets of its vertices of that; and these are smoothed over the frames,
weighted with how much of the patch was recognised. How strongly, the even frames tell by predicting the odd ones.

References
----------
Whittaker, On a new method of graduation, 1923. Eilers, A perfect smoother, Analytical Chemistry 2003.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
from scipy.linalg import solveh_banded

from dift_edit.clips.io.base import Clip
from dift_edit.clips.tracking.appearance import Grey, flow, grey
from dift_edit.clips.tracking.straight import Straightener
from dift_edit.clips.tracking.trajectory import Trajectory
from dift_edit.geometry.base import Chain, MatrixTransform, Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.estimate import Correspondences
from dift_edit.geometry.mesh import PiecewiseAffine, signed_areas
from dift_edit.geometry.quad import apply_homography, quad_side
from dift_edit.imaging.image import Image
from dift_edit.placement.warp_models import LATTICE, LEAST_AREA, STRENGTHS, WARP_MODELS, Fit

__all__ = ["Bends", "find_bends", "smooth_offsets"]

Floats = npt.NDArray[np.float64]

# Numbers without a source are chosen.
_SEEN = ("key", "keyframe")  # what rests on anything else has changed its look
_MOST_POINTS, _LEAST_POINTS = 300, 12
_STIFFNESS = np.logspace(-2, 5, 15)
_FLAT = 1e-3  # pull of every vertex to where the plane has it, as a share of a full frame's weight
_SURE = 100.0  # weight of the keyframe, which is not bent
_ROUNDS = 3
_FARTHEST = 0.3  # of the side: offsets beyond are no bending


@dataclass(frozen=True, eq=False)
class Bends:
    """Offsets of a mesh's vertices in every frame of a path.

    Attributes
    ----------
    mesh : PiecewiseAffine
        Unbent, in pixels of the keyframe; its free vertices come first.
    offsets : ndarray
        (n, V, 2) float32 pixels of the keyframe, of the free vertices.
    """

    mesh: PiecewiseAffine
    offsets: npt.NDArray[np.float32]

    def at(self, index: int, plane: MatrixTransform) -> Transform:
        """The map to a frame, whose plane alone would be `plane`; without folds."""
        offsets = np.zeros_like(self.mesh.source)
        offsets[: self.offsets.shape[1]] = self.offsets[index]
        if not offsets.any():
            return plane
        before = signed_areas(self.mesh.source, self.mesh.triangles)
        for strength in STRENGTHS:
            moved = self.mesh.source + strength * offsets
            if (signed_areas(moved, self.mesh.triangles) / before > LEAST_AREA).all():
                bent = PiecewiseAffine(self.mesh.source, moved, self.mesh.triangles, self.mesh.outside)
                return Chain((bent, plane))
        return plane


def find_bends(
    clip: Clip, source: int, quad: Points, path: Trajectory, *, working_side: int, progress: Callable[[], None]
) -> Bends:
    """Look at all frames of a path once more, and see how the patch bends.

    Parameters
    ----------
    clip : Clip
        The frames.
    source : int
        The frame that shows the patch unbent: that of the edit.
    quad : ndarray
        (4, 2) the patch in its pixels.
    path : Trajectory
        Where the plane is.
    working_side : int
        Short side to which larger frames are brought first.
    progress : callable
        Called after every frame.

    Returns
    -------
    Bends
    """
    look = _Look(next(clip.read(source, source + 1)), quad, working_side)
    count = len(path)
    offsets, weights = np.zeros((count, LATTICE**2, 2)), np.zeros(count)
    for index, image in enumerate(clip.read(path.start, path.start + count)):
        if path.start + index == source:
            weights[index] = _SURE
        elif path.anchors[index] in _SEEN:
            offsets[index], share = look(image, path.corners[index])
            weights[index] = share**2 * path.seen[index]
        progress()
    edges = [0, *np.flatnonzero(path.cuts).tolist(), count]
    for low, high in pairwise(edges):
        part = slice(low, high)
        offsets[part] = smooth_offsets(offsets[part].reshape(high - low, -1), weights[part]).reshape(-1, LATTICE**2, 2)
    return Bends(look.flat, offsets.astype(np.float32))


class _Look:
    """Sees a keyframe's patch in frames, straightened to the keyframe's own pixels, and how it is bent there."""

    def __init__(self, keyframe: Image, quad: Points, working_side: int) -> None:
        self._quad = quad
        self._side = quad_side(quad)
        self._straight = Straightener(keyframe.size, quad, working_side)
        self._key = self._view(keyframe, quad)
        found = cv2.goodFeaturesToTrack(
            self._key, _MOST_POINTS, 0.004, max(max(self._straight.box) / 24, 3.0), blockSize=5
        )
        self._points = np.zeros((0, 2)) if found is None else found[:, 0].astype(np.float64)
        self._at = apply_homography(self._straight.to_source, self._points)
        self.flat = self._mesh(self._at, self._at)

    def __call__(self, image: Image, corners: Points) -> tuple[Floats, float]:
        """Offsets (V, 2) of the free vertices in pixels of the keyframe, and the share of points that were found."""
        nothing = np.zeros((LATTICE**2, 2)), 0.0
        if len(self._points) < _LEAST_POINTS:
            return nothing
        targets, good = flow(self._key, self._view(image, corners), self._points, self._points, 2)
        moved = apply_homography(self._straight.to_source, targets)
        good &= np.linalg.norm(moved - self._at, axis=1) < _FARTHEST * self._side
        if good.sum() < _LEAST_POINTS:
            return nothing
        mesh = self._mesh(self._at[good], moved[good])
        return (mesh.target - mesh.source)[: LATTICE**2], float(good.mean())

    def _mesh(self, source: Points, target: Points) -> PiecewiseAffine:
        pairs = Correspondences(source, target, np.ones(len(source)))
        mesh = WARP_MODELS["mesh"](Fit(pairs, MatrixTransform(np.eye(3)), self._quad, 4 * self._side, exact=True))
        assert isinstance(mesh, PiecewiseAffine)
        return mesh

    def _view(self, image: Image, corners: Points) -> Grey:
        return grey(Image(self._straight(image, corners)), self._straight.box)


def smooth_offsets(values: Floats, weights: Floats) -> Floats:
    """Values (n, k) of successive frames, smoothed.

    Parameters
    ----------
    values : ndarray
        (n, k).
    weights : ndarray
        (n,) how much each frame counts; 0: nothing is known, its values are made up from those of its neighbours.

    Returns
    -------
    ndarray
        (n, k).
    """
    if not weights.any():
        return np.zeros_like(values)
    known = np.flatnonzero(weights > 0)
    if len(known) < 8:
        return _graduated(values, weights, float(_STIFFNESS[len(_STIFFNESS) // 2]))
    told, asked = weights.copy(), known[1::2]
    told[asked] = 0
    misses = [
        float((weights[asked, None] * (_graduated(values, told, float(stiffness)) - values)[asked] ** 2).sum())
        for stiffness in _STIFFNESS
    ]
    stiffness = float(_STIFFNESS[int(np.argmin(misses))])
    trusted = weights
    for _ in range(_ROUNDS):  # frames that do not fit count less
        miss = np.linalg.norm(_graduated(values, trusted, stiffness) - values, axis=1)
        usual = max(float(np.median(miss[known])), 1e-9)
        trusted = weights / (1 + (miss / (3 * usual)) ** 2)
    return _graduated(values, trusted, stiffness)


def _graduated(values: Floats, weights: Floats, stiffness: float) -> Floats:
    """Least squares with squared second differences, and a little of the values themselves."""
    count = len(values)
    bands = np.zeros((3, count))
    bands[2] = weights + _FLAT
    for offset, factor in ((0, 1.0), (1, 4.0), (2, 1.0)):
        bands[2, offset : max(count - 2 + offset, offset)] += factor * stiffness
    for offset in (0, 1):
        bands[1, 1 + offset : max(count - 1 + offset, 1 + offset)] -= 2 * stiffness
    bands[0, 2:] += stiffness
    if count < 3:
        return values * (weights / (weights + _FLAT))[:, None]
    return np.asarray(solveh_banded(bands, weights[:, None] * values))
