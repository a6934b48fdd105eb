"""How the target shows the object as a whole: shifted, scaled, turned by any angle, mirrored or not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import Points
from dift_edit.imaging.image import Image
from dift_edit.landmarks.view import View
from dift_edit.placement.placement import (
    MIRROR_GAIN,
    MIRROR_MARGIN,
    Placement,
    locate_features,
    turned_features,
)
from dift_edit.placement.similarities import sample_poses
from dift_edit.placement.votes import SCREEN_CELLS, Affinity, gather_evidence
from dift_edit.types import Mirror

__all__ = ["Frame", "FrameSearch", "TargetMaps"]

SURE = 0.9
"""Confidence of a placement from which on no other turns are looked at (chosen)."""
TURNS = tuple(range(0, 360, 45))
"""Angles in degrees by which the source is turned to be compared with a target (chosen): networks know things upright,
and recognise them up to about half of this on their side."""
WIDE, SIDE = 0.5, 448
"""Room round the landmarks in a turned source, in extents, and its side in pixels (chosen)."""
CANDIDATES = 2
"""Of the turned sources that are looked at closely (chosen)."""
TURNED, GROWN, LOOKS = 0.2, 1.2, 2
"""By how much, in radians and as a factor, a look may correct the frame before one more look follows; and how many
looks there are at most (chosen)."""


class TargetMaps:
    """Features of a target and of its mirror image, each made when it is first needed."""

    def __init__(self, target: Image, featurizer: Featurizer, seed: int) -> None:
        self.image = target
        self._make: Callable[[Image], FeatureMap] = lambda image: featurizer(image, seed=seed)

    @cached_property
    def plain(self) -> FeatureMap:
        """Of the target."""
        return self._make(self.image)

    @cached_property
    def mirrored(self) -> FeatureMap:
        """Of its mirror image."""
        return self._make(self.image.mirrored())


@dataclass(frozen=True, eq=False)
class Frame:
    """A look at the object in the target.

    Attributes
    ----------
    view : View
        The target as the source shows the object, but for what `fix` corrects.
    features : FeatureMap
        Of the view.
    fix : MatrixTransform
        View pixels of the source → view pixels of the target: a similarity near the identity.
    score : float
        Support of the pose by the votes, 0 to about 1.
    contrast : float
        Logarithm of the score over that of a random place.
    mirrored : bool
        Whether the object is mirrored.
    """

    view: View
    features: FeatureMap
    fix: MatrixTransform
    score: float
    contrast: float
    mirrored: bool


class FrameSearch:
    """Find the frame of an object of a source in targets.

    Parameters
    ----------
    source : Image
        The source.
    quad : ndarray
        (4, 2) corners of the upright box round the object, in source pixels.
    view : View
        The object in the source.
    featurizer : Featurizer
        Gives the features.
    mirror : {"auto", "never", "always"}
        Whether the target may show the object mirrored.
    seed : int
        Random seed.
    """

    def __init__(
        self, source: Image, quad: Points, view: View, *, featurizer: Featurizer, mirror: Mirror, seed: int
    ) -> None:
        self.source, self.quad, self.view = source, quad, view
        self.featurizer, self.mirror, self.seed = featurizer, mirror, seed
        self._turned: dict[tuple[int, bool], tuple[FeatureMap, Points, MatrixTransform]] = {}

    @cached_property
    def source_map(self) -> FeatureMap:
        """Features of the source."""
        return self.featurizer(self.source, seed=self.seed)

    @cached_property
    def view_map(self) -> FeatureMap:
        """Features of the object's view."""
        return self.featurizer(self.view.image, seed=self.seed)

    def __call__(self, target: TargetMaps, pins: Sequence[tuple[Points, Points]] = ()) -> tuple[Placement, Frame]:
        """The placement of the object's box, and the frame: another one where a turned source fits better.

        `pins` are pairs of (2,) source and target pixels that a person fixed. Two or more say how the object lies.
        """
        placement = locate_features(
            self.source_map, self.quad, target.plain, lambda: target.mirrored,
            turned_source=lambda k: turned_features(self.featurizer, self.source, self.source_map, k, seed=self.seed),
            engine="similarity", mirror=self.mirror, seed=self.seed, pins=pins or None,
        )  # fmt: skip
        assert isinstance(placement.transform, MatrixTransform)  # as the similarity engine's always is
        best = self.look(target.image, placement.transform, mirrored=placement.mirrored)
        if placement.confidence < SURE and len(pins) < 2:
            for transform, mirrored in self._candidates(target.plain):
                found = self.look(target.image, transform, mirrored=mirrored)
                least = best.score
                if self.mirror == "auto" and mirrored != best.mirrored:
                    least = max(least * MIRROR_GAIN, least + MIRROR_MARGIN) if mirrored else least / MIRROR_GAIN
                best = found if found.score > least else best
        return placement, best

    def look(self, target: Image, transform: MatrixTransform, *, mirrored: bool) -> Frame:
        """Bring the target into the source's frame by a similarity from source to target, and correct it there."""
        to_source, own = self.view.to_picture, self.view_map
        quad = to_source.inverse()(self.quad)
        for number in range(1, LOOKS + 1):
            view = View.of(target, to_source.then(transform), self.view.image.size)
            seen = self.featurizer(view.image, seed=self.seed)
            evidence = gather_evidence(own, quad, seen, affinity=Affinity.of(own, seen))
            poses = sample_poses(evidence, seed=self.seed)
            fix = poses.placement
            a = complex(fix.matrix[0, 0], fix.matrix[1, 0])
            if number == LOOKS or (abs(np.angle(a)) < TURNED and abs(np.log(abs(a))) < np.log(GROWN)):
                break
            transform = to_source.inverse().then(fix).then(to_source).then(transform)
        return Frame(view, seen, fix, float(poses.scores[0]), poses.contrast, mirrored)

    def _candidates(self, seen: FeatureMap) -> Iterator[tuple[MatrixTransform, bool]]:
        """Similarities from source to target by turned sources, those of highest support on coarse maps first."""
        sides = {"auto": (False, True), "never": (False,), "always": (True,)}[self.mirror]
        found = []
        for mirrored in sides:
            for degrees in TURNS:
                own, quad, to_view = self._turned_source(degrees, mirrored)
                evidence = gather_evidence(own, quad, seen, affinity=Affinity.of(own, seen, SCREEN_CELLS))
                poses = sample_poses(evidence, seed=self.seed)
                found.append((float(poses.scores[0]), to_view.then(poses.placement), mirrored))
        found.sort(key=lambda item: -item[0])
        yield from ((transform, mirrored) for _, transform, mirrored in found[:CANDIDATES])

    def _turned_source(self, degrees: int, mirrored: bool) -> tuple[FeatureMap, Points, MatrixTransform]:
        """Features of the turned surroundings, the box in them, and source pixels → their pixels."""
        key = (degrees, mirrored)
        if key not in self._turned:
            low, high = self.quad.min(0), self.quad.max(0)
            scale = float((high - low).max()) * (1 + 2 * WIDE) / SIDE
            angle = np.radians(degrees)
            turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            turn = turn @ np.diag([-1.0, 1.0]) if mirrored else turn
            shift = (low + high) / 2 - turn @ np.full(2, (SIDE - 1) / 2)
            to_source = MatrixTransform(np.array([[*turn[0], shift[0]], [*turn[1], shift[1]], [0, 0, 1]]))
            view = View.of(self.source, to_source, (SIDE, SIDE))
            to_view = to_source.inverse()
            corners = to_view(self.quad)
            (left, top), (right, bottom) = np.clip([corners.min(0), corners.max(0)], 0, SIDE - 1)
            quad = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
            self._turned[key] = self.featurizer(view.image, seed=self.seed), quad, to_view
        return self._turned[key]
