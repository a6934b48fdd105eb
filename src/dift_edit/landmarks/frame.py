"""How the target shows the object as a whole: shifted, scaled, turned by any angle, mirrored or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import Points, inside
from dift_edit.imaging.image import Image
from dift_edit.landmarks.view import View
from dift_edit.matching.points import PointMatcher
from dift_edit.placement.placement import TURN_GAIN, Placement, locate_features
from dift_edit.placement.similarities import sample_poses
from dift_edit.placement.votes import SCREEN_CELLS, Affinity, gather_evidence
from dift_edit.types import Mirror

__all__ = ["Frame", "FrameSearch", "Frames", "TargetMaps"]

SURE = 0.9
"""Confidence of a placement from which on no turned source is looked at (chosen)."""
TURNS = tuple(range(0, 360, 45))
"""Angles in degrees by which the source is turned to be compared with a target (chosen): networks know things upright,
and recognise them up to about half of this on their side."""
WIDE, SIDE = 0.5, 448
"""Room round the landmarks in a turned source, in extents, and its side in pixels (chosen)."""
AGREE, APART = 0.1, 0.15
"""How far matches of single points may miss a frame that they count for, and how far apart the corners of the object's
box lie in frames that are both looked at; in extents of the matches and of the box (chosen)."""
LEAST_PAIRS = 6
"""Fewer matches suggest no frame (chosen)."""
UPRIGHT = 45.0
"""Turn in degrees up to which the votes in the whole target say something of a frame, see `TURNS` (chosen)."""
TURNED, GROWN, LOOKS = 0.2, 1.2, 2
"""By how much, in radians and as a factor, a look may correct the frame before one more look follows; and how many
looks there are at most (chosen)."""


class TargetMaps:
    """Features of a target and of its mirror image, each made when it is first needed."""

    def __init__(self, target: Image, featurizer: Featurizer, seed: int) -> None:
        self.image = target
        self._make: Callable[[Image], FeatureMap] = lambda image: featurizer(image, seed=seed)
        self._matchers: dict[FeatureMap, PointMatcher] = {}

    @cached_property
    def plain(self) -> FeatureMap:
        """Of the target."""
        return self._make(self.image)

    @cached_property
    def mirrored(self) -> FeatureMap:
        """Of its mirror image."""
        return self._make(self.image.mirrored())

    def matches(self, source: FeatureMap, points: Points) -> Points:
        """(N, 2) places of a source's points in the target; all objects of a source share what is compared."""
        if source not in self._matchers:
            self._matchers[source] = PointMatcher(source, self.plain)
        return self._matchers[source](points).points


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
    contrast : float
        Logarithm of the score over that of a random place.
    mirrored : bool
        Whether the object is mirrored.
    """

    view: View
    features: FeatureMap
    fix: MatrixTransform
    contrast: float
    mirrored: bool

    @property
    def upright(self) -> bool:
        """Whether the source, or its mirror image, is turned by less than `UPRIGHT`."""
        across, down = self.view.to_picture.matrix[:2, 0] * (-1 if self.mirrored else 1)
        return bool(abs(np.degrees(np.arctan2(down, across))) < UPRIGHT)


@dataclass(frozen=True, eq=False)
class Frames:
    """Looks at an object, of which one holds.

    Attributes
    ----------
    placed : Frame
        By the placement.
    matched : Frame, optional
        By what matches of single points agree on, where that is another one.
    turned : Frame, optional
        By a turned source, where neither the placement is sure nor the matches agree with it.
    """

    placed: Frame
    matched: Frame | None = None
    turned: Frame | None = None


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
    points : ndarray
        (N, 2) source pixels of points on the object, which also suggest a frame.
    mirror : {"auto", "never", "always"}
        Whether the target may show the object mirrored.
    seed : int
        Random seed.
    """

    def __init__(
        self,
        source: Image,
        quad: Points,
        view: View,
        *,
        featurizer: Featurizer,
        points: Points,
        mirror: Mirror,
        seed: int,
    ) -> None:
        self.source, self.quad, self.view = source, quad, view
        self.points = points[inside(points, source.size)]
        self.featurizer, self.mirror, self.seed = featurizer, mirror, seed
        self._turned: dict[int, tuple[FeatureMap, Points, MatrixTransform]] = {}

    @cached_property
    def source_map(self) -> FeatureMap:
        """Features of the source."""
        return self.featurizer(self.source, seed=self.seed)

    @cached_property
    def view_map(self) -> FeatureMap:
        """Features of the object's view."""
        return self.featurizer(self.view.image, seed=self.seed)

    def __call__(self, target: TargetMaps, pins: Sequence[tuple[Points, Points]] = ()) -> tuple[Placement, Frames]:
        """The placement of the object's box, and the frames that may hold.

        `pins` are pairs of (2,) source and target pixels that a person fixed. Two or more say how the object lies.
        """
        placement = locate_features(
            self.source_map, self.quad, target.plain, lambda: target.mirrored, engine="similarity", mirror=self.mirror,
            seed=self.seed, pins=pins or None,
        )  # fmt: skip
        assert isinstance(placement.transform, MatrixTransform)  # as the similarity engine's always is
        placed = self.look(target.image, placement.transform, mirrored=placement.mirrored)
        if len(pins) > 1:
            return placement, Frames(placed)
        matched = self._matched(target)
        if matched and self._apart(matched[0], placed) < APART:
            return placement, Frames(placed)
        turned = self._other_turn(target) if placement.confidence < SURE else None
        others = (self.look(target.image, each[0], mirrored=each[1]) if each else None for each in (matched, turned))
        return placement, Frames(placed, *others)

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
        return Frame(view, seen, fix, poses.contrast, mirrored)

    def _matched(self, target: TargetMaps) -> tuple[MatrixTransform, bool] | None:
        """The similarity from source to target that matches of single points agree on; None where there is none."""
        if len(self.points) < LEAST_PAIRS:
            return None
        found = target.matches(self.source_map, self.points)
        slack = AGREE * 2.6 * float(np.median(np.linalg.norm(found - np.median(found, axis=0), axis=1)))
        best: tuple[int, MatrixTransform, bool] | None = None
        for mirrored in self._sides:
            flip = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
            matrix, agree = cv2.estimateAffinePartial2D(
                self.points @ flip[:2, :2], found, method=cv2.RANSAC, ransacReprojThreshold=max(slack, 1e-6)
            )
            if matrix is not None and (best is None or agree.sum() > best[0]):
                best = int(agree.sum()), MatrixTransform(np.vstack([matrix, [0, 0, 1]]) @ flip), mirrored
        if best is None or best[0] < LEAST_PAIRS or not abs(np.linalg.det(best[1].matrix)) > 1e-9:
            return None
        return best[1:]

    def _apart(self, transform: MatrixTransform, frame: Frame) -> float:
        """How far a similarity moves the corners of the object's box from where a frame has them, in extents."""
        corners = self.placed(frame)
        return float(np.linalg.norm(transform(self.quad) - corners, axis=1).max() / np.ptp(corners, axis=0).max())

    def placed(self, frame: Frame) -> Points:
        """(4, 2) target pixels of the corners of the object's box."""
        return self.view.to_picture.inverse().then(frame.fix).then(frame.view.to_picture)(self.quad)

    @property
    def _sides(self) -> tuple[bool, ...]:
        """Whether a frame may be mirrored."""
        return {"auto": (False, True), "never": (False,), "always": (True,)}[self.mirror]

    def _other_turn(self, target: TargetMaps) -> tuple[MatrixTransform, bool] | None:
        """The similarity from source to target that fits best by a turned source; None where the upright one does.

        They are compared on coarse maps. A mirrored object is looked for in the mirrored target, whose features the
        placement has made.
        """
        flip = MatrixTransform(np.array([[-1.0, 0, target.image.size[0] - 1], [0, 1, 0], [0, 0, 1]]))
        found = []
        for mirrored in self._sides:
            seen = target.mirrored if mirrored else target.plain
            for degrees in TURNS:
                own, quad, to_view = self._turned_source(degrees)
                evidence = gather_evidence(own, quad, seen, affinity=Affinity.of(own, seen, SCREEN_CELLS))
                poses = sample_poses(evidence, seed=self.seed)
                transform = to_view.then(poses.placement)
                found.append(
                    (float(poses.scores[0]), degrees, transform.then(flip) if mirrored else transform, mirrored)
                )
        score, degrees, transform, mirrored = max(found, key=lambda item: item[0])
        upright = max(each[0] for each in found if each[1] == 0)
        return (transform, mirrored) if degrees and score > TURN_GAIN * upright else None

    def _turned_source(self, degrees: int) -> tuple[FeatureMap, Points, MatrixTransform]:
        """Features of the turned surroundings, the box in them, and source pixels → their pixels."""
        if degrees not in self._turned:
            low, high = self.quad.min(0), self.quad.max(0)
            scale = float((high - low).max()) * (1 + 2 * WIDE) / SIDE
            angle = np.radians(degrees)
            turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            shift = (low + high) / 2 - turn @ np.full(2, (SIDE - 1) / 2)
            to_source = MatrixTransform(np.array([[*turn[0], shift[0]], [*turn[1], shift[1]], [0, 0, 1]]))
            view = View.of(self.source, to_source, (SIDE, SIDE))
            to_view = to_source.inverse()
            corners = to_view(self.quad)
            (left, top), (right, bottom) = np.clip([corners.min(0), corners.max(0)], 0, SIDE - 1)
            quad = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
            self._turned[degrees] = self.featurizer(view.image, seed=self.seed), quad, to_view
        return self._turned[degrees]
