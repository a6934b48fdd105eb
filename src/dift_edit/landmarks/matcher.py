"""Where the landmarks of a source lie in targets.

Placement gives the frame: the target is brought to the size and turn in which the source shows the object. There each
landmark votes for the places that look like it, and so do further points between the landmarks. Every point looks near
the place that all others predict (`settle`), first with the features' votes, then with those of the pixels, too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dift_edit.errors import GeometryError
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points, as_points, inside
from dift_edit.geometry.quad import quad_iou
from dift_edit.geometry.thin_plate import fit_thin_plate
from dift_edit.imaging.image import Image
from dift_edit.landmarks.confidence import Fits, landmark_probability, landmark_signs, object_probability, object_signs
from dift_edit.landmarks.frame import Frame, Frames, FrameSearch, TargetMaps
from dift_edit.landmarks.patches import PatchVotes
from dift_edit.landmarks.settle import Settled, settle
from dift_edit.landmarks.view import View, view_box
from dift_edit.landmarks.votes import Votes
from dift_edit.placement.placement import MIRROR_GAIN, Placement
from dift_edit.placement.votes import Affinity
from dift_edit.types import Mirror, PointsLike

__all__ = ["LandmarkMatcher", "Landmarks"]

Array = npt.NDArray[np.float64]

STEP, BESIDE = 0.12, 0.1
"""Distance of the further points that vote, and how far round the landmarks they lie, in extents (chosen)."""
CELLS = 6000
"""Most cells of a view's map, see `Affinity` (chosen, for memory and time)."""
WINDOW, LEAST, ROUNDS = 0.12, 0.01, 6
"""With the features' votes: the first look, and how exact a vote is at best, in extents; and how many looks there are
(chosen)."""
IN_WHOLE, WHOLE_SPREAD = 0.5, 0.02
"""How much votes in the whole target count, since one of the frames was made from them; and how exactly they are
compared at best, in extents, since cells are coarser there (chosen)."""
FINE_WINDOW, FINE_LEAST, FINE_ROUNDS = 0.03, 0.004, 3
"""The same with the pixels' votes (chosen)."""
SMALLEST = 0.15
"""Least extent of what is looked at, in short sides of the source: a single point has none (chosen)."""
SMOOTHING = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1e1)
"""Of the deformation: the first at which it does not fold (chosen)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Landmarks:
    """Landmarks in a target.

    Attributes
    ----------
    points : ndarray
        (N, 2) target pixels.
    confidence : ndarray
        (N,) probability that the landmark lies within 5 % of the extent of the right place.
    object_confidence : float
        Probability that most of the landmarks lie within 15 % of the extent.
    transform : Transform
        Source pixels → target pixels: the smooth deformation that carries what lies between the landmarks.
    placement : Placement
        Of the box round the landmarks.
    mirrored : bool
        Whether the target shows the object mirrored.
    signs : dict
        What the confidences were made from: "landmark" (N, K), "object" (L,).
    """

    points: Points
    confidence: Array
    object_confidence: float
    transform: Transform
    placement: Placement
    mirrored: bool
    signs: dict[str, Array]


@dataclass(frozen=True, eq=False)
class _Fit:
    """Points settled in a frame; the gain is the mean one of the view's votes where all others predict a point."""

    frame: Frame
    affinity: Affinity
    votes: Votes
    base: Points
    known: Mapping[int, Points]
    settled: Settled
    gain: float


@dataclass(frozen=True, eq=False)
class _Whole:
    """A whole target, in which the points of a source vote when that is first needed."""

    matcher: "LandmarkMatcher"
    maps: TargetMaps

    @cached_property
    def votes(self) -> Votes:
        """Of all points."""
        source = self.matcher.source.size
        points = np.clip(self.matcher.view.to_picture(self.matcher.nodes), 0, np.array(source) - 1.0)
        affinity = Affinity.of(self.matcher._search.source_map, self.maps.plain, CELLS)
        return Votes.of(affinity.votes(points, source), self.maps.image.size)


def _density(features: FeatureMap) -> float:
    """Cells per pixel along a side."""
    return math.sqrt(math.prod(features.unit.shape[1:]) / math.prod(features.image_size))


def _mirror_gain(other: _Fit, best: _Fit) -> float:
    """How much better another fit has to be: more if it is mirrored, less if the best so far is."""
    return math.log(MIRROR_GAIN) * (int(other.frame.mirrored) - int(best.frame.mirrored))


class LandmarkMatcher:
    """Find the landmarks of a source in targets; what depends on the source alone is computed once.

    Parameters
    ----------
    source : Image
        The source.
    points : array_like
        (N, 2) landmarks in source pixels; N may be 0 where `around` says what to look at.
    featurizer : Featurizer
        Gives the features.
    around : array_like, optional
        (M, 2) further points of the object, in source pixels, that are not looked for one by one.
    mirror : {"auto", "never", "always"}
        Whether targets may show the object mirrored.
    seed : int
        Random seed.

    Raises
    ------
    GeometryError
        If points are not finite, there are none, or nothing of what they mark is in the source.
    """

    def __init__(
        self,
        source: Image,
        points: PointsLike,
        *,
        featurizer: Featurizer,
        around: PointsLike = (),
        mirror: Mirror = "auto",
        seed: int = 0,
    ) -> None:
        self.points = as_points(np.reshape(points, (-1, 2)), "landmarks")
        whole = np.concatenate([self.points, as_points(np.reshape(around, (-1, 2)), "points")])
        if not len(whole):
            raise GeometryError("There are no landmarks: give at least one.")
        self.source, self.featurizer, self.seed = source, featurizer, seed
        low, high = whole.min(0), whole.max(0)
        room = max(SMALLEST * min(source.size) - float((high - low).max()), 0) / 2
        whole = np.concatenate([whole, [low - room, high + room]])
        to_source, size = view_box(whole)
        self.view = View.of(source, to_source, size)
        seen = self.view.to_picture.inverse()(whole)
        self.extent = float(np.ptp(seen, axis=0).max())
        self._box = np.stack([seen.min(0), seen.max(0)])
        self.nodes = np.concatenate([seen[: len(self.points)], self._beside()])
        if not len(self.nodes):
            raise GeometryError("Too little of the object lies in the source: give points in the image.")
        self._search = FrameSearch(
            source, self._quad(whole), self.view, featurizer=featurizer, points=self.view.to_picture(self.nodes),
            mirror=mirror, seed=seed,
        )  # fmt: skip

    def _quad(self, whole: Points) -> Points:
        """(4, 2) corners of the box round the object, with some room, in source pixels."""
        low, high = whole.min(0), whole.max(0)
        room = 0.1 * (high - low).max()
        (left, top), (right, bottom) = (
            np.maximum(low - room, 0), np.minimum(high + room, np.array(self.source.size) - 1.0)
        )  # fmt: skip
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])

    def _beside(self) -> Points:
        """(M, 2) view pixels of a lattice over the object: points that vote, too."""
        low, high = self._box + np.array([[-1], [1]]) * BESIDE * self.extent
        x, y = (np.arange(low[k] + STEP * self.extent / 2, high[k], STEP * self.extent) for k in (0, 1))
        lattice = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        inside: Points = lattice[self.view.is_inside(lattice)]
        return inside

    def __call__(
        self, target: Image, maps: TargetMaps | None = None, *, known: Mapping[int, tuple[float, float]] | None = None
    ) -> Landmarks:
        """Find the landmarks.

        Parameters
        ----------
        target : Image
            The image to look in.
        maps : TargetMaps, optional
            Of this image, where several objects are looked for in it.
        known : mapping, optional
            Number of a landmark → its (x, y) in target pixels, where a person put it: it stays there with the
            confidence 1, and the others are fitted to it.

        Raises
        ------
        GeometryError
            If the target is too small to be looked at, or a known landmark is not one of these.
        """
        held = dict(sorted((known or {}).items()))
        if not all(0 <= number < len(self.points) for number in held):
            raise GeometryError(f"There are {len(self.points)} landmarks: {list(held)} are not numbers of known ones.")
        numbers, places = list(held), as_points(np.reshape(list(held.values()), (-1, 2)), "known landmarks")
        pins = list(zip(self.points[numbers], places, strict=True))
        maps = maps or TargetMaps(target, self.featurizer, self.seed)
        placement, frames = self._search(maps, pins)
        fit = self._best(frames, maps, dict(zip(numbers, places, strict=True)))
        frame, affinity, coarse, size = fit.frame, fit.affinity, fit.settled, self.view.image.size
        patches = PatchVotes.of(self.view.image, frame.view.image, self.nodes, coarse, fit.votes, self.extent)
        fine = settle(
            patches, self.nodes, coarse.predicted, base=fit.base, extent=self.extent, window=FINE_WINDOW,
            least=FINE_LEAST, rounds=FINE_ROUNDS, known=fit.known,
        )  # fmt: skip
        fits = Fits(coarse, fine, patches.likeness, self.extent)
        back = Votes.of(affinity.reversed().votes(fine.points, size), size)
        own = landmark_signs(self._search.view_map, frame.features, self.nodes, fits, back)
        placed = placement.confidence * quad_iou(placement.quad, self._search.placed(frame))
        about_all = object_signs(placed, frame, fits)
        signs = np.column_stack([own, np.broadcast_to(about_all, (len(own), len(about_all)))])
        count, fingerprint = len(self.points), self.featurizer.fingerprint
        each = landmark_probability(signs, fingerprint)
        transform = self._deformation(frame, fine)
        sure = object_probability(about_all, placed, each[:count] if count else each, fingerprint)
        quad = transform(self._search.quad)
        there = inside(quad.mean(0), target.size).all()
        found = replace(
            placement, quad=quad, transform=transform, confidence=sure, mirrored=frame.mirrored, engine="landmarks",
            reason="" if there else "the place lies outside the image",
        )  # fmt: skip
        confidence = each[:count].copy()
        confidence[numbers] = 1.0
        return Landmarks(
            points=frame.view.to_picture(fine.points[:count]),
            confidence=confidence,
            object_confidence=sure,
            transform=transform,
            placement=found,
            mirrored=frame.mirrored,
            signs={"landmark": signs[:count], "object": about_all},
        )

    def _fit(self, frame: Frame, whole: "_Whole", known: Mapping[int, Points]) -> "_Fit":
        """Let the points settle in a frame by the features' votes; `known` are places in target pixels."""
        size, base, to_picture = self.view.image.size, frame.fix(self.nodes), frame.view.to_picture
        affinity = Affinity.of(self._search.view_map, frame.features, CELLS)
        seen = Votes.of(affinity.votes(self.nodes, size), size)
        votes = seen.joined(whole.votes, to_picture, IN_WHOLE) if self._finer(frame, whole) else seen
        at = {number: to_picture.inverse()(place[None])[0] for number, place in known.items()}
        settled = settle(
            votes, self.nodes, base, base=base, extent=self.extent, window=WINDOW, least=LEAST, rounds=ROUNDS, known=at
        )
        gain = float(seen.near(settled.predicted, (settled.spread * self.extent) ** 2).gain.mean())
        return _Fit(frame, affinity, votes, base, at, settled, gain)

    def _finer(self, frame: Frame, whole: "_Whole") -> bool:
        """Whether the maps of the whole pictures show the object in smaller cells than the views: a long fish."""
        pairs = (
            (self._search.source_map, self.view, self._search.view_map),
            (whole.maps.plain, frame.view, frame.features),
        )
        return frame.upright and not frame.mirrored and all(
            _density(picture) * view.to_picture.enlargement > _density(seen) for picture, view, seen in pairs
        )  # fmt: skip

    def _best(self, frames: Frames, maps: TargetMaps, known: Mapping[int, Points]) -> "_Fit":
        """The fit whose points predict each other best.

        What all other points say of a point is held against its votes: those in the frame's own view, and, where both
        frames show things upright, those in the whole target, from which the matches come. A frame by a turned source
        is judged by its view alone, since on their side things look different to the network.
        """
        whole = _Whole(self, maps)
        best = self._fit(frames.placed, whole, known)
        if frames.matched:
            other = self._fit(frames.matched, whole, known)
            gain = other.gain - best.gain
            if best.frame.upright and other.frame.upright:
                gain += IN_WHOLE * (self._gain_in_whole(other, whole.votes) - self._gain_in_whole(best, whole.votes))
            best = other if gain > _mirror_gain(other, best) else best
        if frames.turned:
            other = self._fit(frames.turned, whole, known)
            best = other if other.gain - best.gain > _mirror_gain(other, best) else best
        return best

    def _gain_in_whole(self, fit: "_Fit", votes: Votes) -> float:
        """Mean gain of votes in the whole target where a fit predicts the points."""
        to_picture = fit.frame.view.to_picture
        spread = np.maximum(fit.settled.spread, WHOLE_SPREAD) * self.extent * to_picture.enlargement
        return float(votes.near(to_picture(fit.settled.predicted), spread**2).gain.mean())

    def _deformation(self, frame: Frame, settled: Settled) -> Transform:
        """Source pixels → target pixels: through the landmarks, and smooth between them."""
        count = len(self.points)
        moved = np.concatenate([settled.points[:count], settled.predicted[count:]])
        source, target = self.view.to_picture(self.nodes), frame.view.to_picture(moved)
        _, kept = np.unique(np.round(source, 6), axis=0, return_index=True)
        source, target = source[np.sort(kept)], target[np.sort(kept)]
        base = self.view.to_picture.inverse().then(frame.fix).then(frame.view.to_picture)
        lattice = self.view.to_picture(self._lattice())
        for smoothing in SMOOTHING:
            spline = fit_thin_plate(
                source, target - base(source), base=base, smoothing=smoothing,
                box=np.stack([lattice.min(0), lattice.max(0)]),
            )  # fmt: skip
            turns = np.linalg.det(spline.jacobians(lattice)) * np.linalg.det(base.matrix[:2, :2])
            if (turns > 0).all():
                return spline
        return base

    def _lattice(self) -> Points:
        """(121, 2) view pixels over the object."""
        low, high = self._box + np.array([[-1], [1]]) * BESIDE * self.extent
        x, y = (np.linspace(low[k], high[k], 11) for k in (0, 1))
        return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
