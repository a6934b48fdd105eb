"""Finding the patch again by diffusion features, and telling whether it is in the image at all.

The confidence of a placement answers "is this the right place?" for an image that shows the object; where the object
is out of sight it is as high as ever, since some place always fits best. Within a clip the keyframe itself answers the
other question: what lies at a wrong place in a frame lies somewhere else in the keyframe too, and its features lead
back there instead of to the patch.

References
----------
Kalal, Mikolajczyk and Matas, Forward-Backward Error: Automatic Detection of Tracking Failures, ICPR 2010.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from dift_edit.errors import DiftEditError
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points, inside, rescale_points
from dift_edit.geometry.quad import quad_side
from dift_edit.imaging.image import Image
from dift_edit.placement.placement import locate_features
from dift_edit.placement.votes import grid_points
from dift_edit.types import Mirror

__all__ = ["FeatureFinder", "Finder", "Found", "returning_share"]

# Numbers without a source are chosen.
_ACROSS = 10  # points across the patch that are led back
_NEAR = 0.35  # of the patch's side: what comes back so near, or within one cell more, has returned
_LEAST_INSIDE = 0.3  # of the points must lie in the frame


@dataclass(frozen=True, eq=False)
class Found:
    """A place that features propose.

    Attributes
    ----------
    corners : ndarray
        (4, 2) in pixels of the frame.
    confidence : float
        0 to 1: that the patch is in the image, and there.
    """

    corners: Points
    confidence: float


Finder = Callable[[Image], Found | None]


def returning_share(source: FeatureMap, quad: Points, target: FeatureMap, transform: Transform) -> float:
    """The share of a patch's points, carried to a target, whose features lead back to where they came from.

    Parameters
    ----------
    source : FeatureMap
        Of the keyframe.
    quad : ndarray
        (4, 2) the patch in its pixels.
    target : FeatureMap
        Of the frame.
    transform : Transform
        Keyframe's pixels → the frame's.

    Returns
    -------
    float
        0 to 1; near 0 where the frame shows something else there, if the keyframe shows that too.
    """
    points = grid_points(quad, source.image_size, ring=0, across=_ACROSS)
    carried = transform(points)
    there = inside(carried, target.image_size)
    if not len(points) or there.mean() < _LEAST_INSIDE:
        return 0.0
    best = (target.sample(carried[there]) @ source.unit.flatten(1)).argmax(1).cpu().numpy()
    width = source.grid_size[0]
    cells = np.stack([best % width, best // width], 1).astype(np.float64)
    back = rescale_points(cells, source.grid_size, source.image_size)
    limit = _NEAR * quad_side(quad) + source.image_size[0] / width
    return float((np.linalg.norm(back - points[there], axis=1) < limit).mean())


class FeatureFinder:
    """Looks for a keyframe's patch in frames.

    Parameters
    ----------
    featurizer : Featurizer
        Gives the features; those of the keyframe are made when they are first needed.
    keyframe : Image
        The frame that shows the patch.
    quad : ndarray
        (4, 2) the patch in its pixels.
    mirror : str
        Whether it may be found mirrored: "auto", "never" or "always".
    seed : int
        Random seed.
    """

    def __init__(
        self, featurizer: Featurizer, keyframe: Image, quad: Points, *, mirror: Mirror = "never", seed: int = 0
    ) -> None:
        self._featurizer, self._keyframe, self._quad = featurizer, keyframe, quad
        self._mirror, self._seed = mirror, seed
        self._known: FeatureMap | None = None

    def __call__(self, image: Image) -> Found | None:
        """The best place in a frame; None when no placement is consistent."""
        if self._known is None:
            self._known = self._featurizer(self._keyframe, seed=self._seed)
        features = self._featurizer(image, seed=self._seed)
        turned = cache(lambda: self._featurizer(image.mirrored(), seed=self._seed))
        try:
            placed = locate_features(self._known, self._quad, features, turned, mirror=self._mirror, seed=self._seed)
        except DiftEditError:
            return None
        if placed.reason:
            return None
        if placed.mirrored:
            features = _turned_back(turned())
        share = returning_share(self._known, self._quad, features, placed.transform)
        return Found(placed.quad, placed.confidence * share)


def _turned_back(features: FeatureMap) -> FeatureMap:
    """Features of a mirrored picture in the frame of the picture itself."""
    return replace(features, data=features.data.flip(-1))
