"""Several instances of the object in one target."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from dift_edit.errors import EditError, GeometryError
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.base import Matrix, MatrixTransform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import bounds, check_quad, hull_areas, quad_extent
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.placement.placement import (
    Placement,
    check_hints,
    check_mask,
    locate_features,
    turned_features,
)
from dift_edit.placement.second_look import closer_features
from dift_edit.placement.similarities import Poses, sample_poses
from dift_edit.placement.views import SeenView, View
from dift_edit.placement.votes import SCREEN_CELLS, Affinity, Evidence, Mask, gather_evidence
from dift_edit.types import Engine, ImageLike, MaskLike, Mirror, PinsLike, QuadLike

__all__ = ["MOST_INSTANCES", "locate_instances", "quads_overlap"]

MOST_INSTANCES = 50
"""Instances that are looked for where all are wanted (chosen)."""
_PART = 0.6
"""Sides of the parts of a target that are searched for small instances, in sides of the target (chosen)."""
_SHARED = 0.1
"""Share of the smaller of two quads from which on they are not two instances (chosen)."""
_FUTILE = 2
"""Places of a part that are looked at in vain before the part is given up (chosen)."""
_ROUND_TRIP = 0.5
"""Overlap with the edit that the way back from an instance has to reach (the IoU of a right place)."""
_SEARCH_ODDS = 0.5
"""Factor of the odds of an instance after the first (chosen): the confidence was fitted to the best place of a target,
and among many places one looks right by chance."""
_LEAST_CONTRAST = 4.0
"""Support that a place is looked at with, in supports of a random place (chosen: in collages of photographs every
instance had at least 6.6 in one of the parts, and most places that were none had less than 4)."""
_LEAST_AT_FIRST = 3.0
"""The same before any instance was taken out of the target (chosen: there every instance had at least 4.5, and most
places that were none had less than 3)."""
_PROMISING = 0.2
"""Confidence by the quicker features from which on a place is looked at with all (chosen: well below what any instance
had there, and what is asked for in the end)."""
_INSIDE = 0.25
"""Share of a place, or of an instance that it covers, from which on it is a part of that instance (chosen)."""
_APART = 0.45
"""Least distance of two places in sums of their sizes: squares side by side have 0.5 (chosen)."""
_OTHER_SIZE = 0.7
"""Logarithm of the ratio of sizes from which on a place is another one than a vain place there (chosen)."""
_SMALLEST = 64
"""Pixels of a target's shorter side below which no second instance is looked for (chosen)."""
_NEAR = 0.75
"""How far from a likely place the instance may lie, in sizes of the placed edit (chosen)."""
_WHOLE = 0.7
"""Share of the target from which on the surroundings of a place are the target itself (chosen)."""

Box = tuple[int, int, int, int]


def locate_instances(
    source: ImageLike,
    quad: QuadLike,
    target: ImageLike,
    *,
    featurizer: Featurizer,
    count: int = MOST_INSTANCES,
    min_confidence: float = 0.3,
    engine: Engine = "auto",
    mirror: Mirror = "auto",
    seed: int = 0,
    pins: PinsLike | None = None,
    source_mask: MaskLike | None = None,
    target_mask: MaskLike | None = None,
    surface: bool = True,
) -> list[Placement]:
    """Place an edit on every instance of the object in a target, large and small.

    Likely places are looked for in the whole target and in four overlapping parts of it, where small instances have
    more cells, with the quicker featurizer of `Featurizer.screening` and coarse maps. A place with little support is
    passed over. Each other one is decided on its own: the target round it is cut out as the source shows the object,
    and the edit is placed in that cut as in any other image. So its confidence does not depend on the other instances;
    the odds of those after the first are halved, because among many places one looks right by chance.

    Parameters
    ----------
    source, target : Image, path or array
        The two images.
    quad : array_like
        (4, 2) corners of the edit in source pixels.
    featurizer : Featurizer
        Gives the features.
    count : int
        Greatest number of placements, 1 or more.
    min_confidence : float
        Placements of less confidence are left out, 0 to 1.
    engine, mirror, source_mask
        See `locate`.
    seed : int
        Random seed.
    pins : sequence of ((x, y), (x, y)), optional
        Pairs of source and target pixels on the first instance.
    target_mask : array_like, optional
        (H, W) true where instances may lie.
    surface : bool
        Whether to look for the very same surface in the pixels, see `locate`.

    Returns
    -------
    list of Placement
        The one that `locate` finds first, the others by falling confidence; empty when none is trusted. The way back
        from each leads to the edit, and no two share more than a tenth of the smaller one. Each has as `instances` the
        length of the list.

    Raises
    ------
    EditError
        If the quad, a pin, a mask, the count or an option is unusable.

    Examples
    --------
    >>> import numpy as np
    >>> import dift_edit as de
    >>> from dift_edit.placement import locate_instances
    >>> from dift_edit.samples import FOLDER
    >>> featurizer = de.load_featurizer("lite")
    >>> cat, kitten = (de.load_image(FOLDER / name) for name in ("cat.jpg", "kitten.jpg"))
    >>> twice = np.concatenate([kitten.pixels, kitten.pixels], axis=1)
    >>> quad = [(122, 104), (742, 104), (742, 582), (122, 582)]
    >>> len(locate_instances(cat, quad, twice, featurizer=featurizer, mirror="never"))
    2
    """
    found = find_instances(
        as_image(source),
        quad,
        as_image(target),
        featurizer=featurizer,
        count=count,
        min_confidence=min_confidence,
        engine=engine,
        mirror=mirror,
        seed=seed,
        pins=pins,
        source_mask=source_mask,
        target_mask=target_mask,
        surface=surface,
    )
    return [placement for placement in found if _is_trusted(placement, min_confidence)]


def find_instances(
    source: Image,
    quad: QuadLike,
    target: Image,
    *,
    featurizer: Featurizer,
    count: int,
    min_confidence: float,
    engine: Engine,
    mirror: Mirror,
    seed: int,
    pins: PinsLike | None,
    source_mask: MaskLike | None,
    target_mask: MaskLike | None,
    surface: bool,
    views: Sequence[View] = (),
    first_confidence: float | None = None,
) -> list[Placement]:
    """As `locate_instances`; where none is trusted, the one that `locate` finds all the same, to say why.

    Parameters
    ----------
    source, target : Image
        The two images.
    quad, featurizer, count, min_confidence, engine, mirror, seed, pins, source_mask, target_mask, surface
        See `locate_instances`.
    views : sequence of View
        See `locate`.
    first_confidence : float, optional
        The first is exactly what `locate` finds, and others are only looked for where it has at least this confidence
        and nothing speaks against it.

    Returns
    -------
    list of Placement
        At least one.
    """
    if count < 1:
        raise EditError(f"The number of instances is {count}: use 1 or more.")
    search = _Search(
        source,
        quad,
        target,
        featurizer,
        seed=seed,
        source_mask=source_mask,
        target_mask=target_mask,
        min_confidence=min_confidence,
        surface=surface,
        views=[view.facing(quad).seen(featurizer, seed=seed) for view in views],
        options={"engine": engine, "mirror": mirror},
    )
    first = search.place(search.whole, search.free, pins)
    if first_confidence is None:
        first = search.keep_first(first, looked_for=pins is None)
    elif first.reason or first.confidence < first_confidence:
        return [first]
    else:
        search.take(first)
    for part in search.parts():
        if len(search.found) >= count or min(target.size) < _SMALLEST:
            break
        search.explore(part, count)
    found = [search.found[0], *sorted(search.found[1:], key=_doubt)] if search.found else [first]
    return [replace(placement, instances=len(found)) for placement in found]


def _doubt(placement: Placement) -> float:
    return -placement.confidence


def quads_overlap(first: QuadLike, second: QuadLike) -> float:
    """Area that two convex quads share, in areas of the smaller one: 0 to 1."""
    one, other, shared = hull_areas(first, second)
    return shared / min(one, other) if min(one, other) > 0 else 0.0


class _Part:
    """A part of the target: what is looked through for likely places."""

    def __init__(self, box: Box, source: FeatureMap, features: FeatureMap) -> None:
        self.box = box
        self.source, self.features = source, features
        self.affinity = Affinity.of(source, features, SCREEN_CELLS)
        self.corner = np.array(box[:2], dtype=np.float64)
        self.all_votes: Evidence | None = None
        """Those before any instance was found."""


class _Search:
    """The instances found so far, and how the next one is looked for."""

    def __init__(
        self,
        source: Image,
        quad: QuadLike,
        target: Image,
        featurizer: Featurizer,
        *,
        seed: int,
        source_mask: MaskLike | None,
        target_mask: MaskLike | None,
        min_confidence: float,
        surface: bool,
        views: Sequence[SeenView],
        options: dict[str, Any],
    ) -> None:
        self.source, self.target, self.featurizer, self.seed = source, target, featurizer, seed
        self.quad = check_quad(quad, source.size)
        self.screening = featurizer.screening
        self.features = featurizer(source, seed=seed)
        check_hints(source.size, source_mask=source_mask)
        self.source_mask = None if source_mask is None else check_mask(source_mask, source.size, "source")
        everywhere = np.ones((target.size[1], target.size[0]), dtype=bool)
        self.allowed: Mask = everywhere if target_mask is None else check_mask(target_mask, target.size, "target")
        self.free = self.allowed
        self.whole: Box = (0, 0, *target.size)
        self.maps: dict[bool, FeatureMap] = {}
        self.min_confidence = min_confidence
        self.surface, self.views, self.options = surface, views, options
        self.found: list[Placement] = []
        self.vain: list[Points] = []

    @cached_property
    def screened(self) -> FeatureMap:
        """The quicker features of the source."""
        return self.screening(self.source, seed=self.seed)

    def parts(self) -> Iterator[_Part]:
        """The whole target, then four overlapping parts."""
        yield _Part(self.whole, self.features, self._whole())
        width, height = self.target.size
        across, down = round(_PART * width), round(_PART * height)
        corners = [(0, 0), (width - across, 0), (0, height - down), (width - across, height - down)]
        for box in ((x, y, x + across, y + down) for x, y in corners):
            yield _Part(box, self.screened, self.screening(self.target.crop(box), seed=self.seed))

    def keep_first(self, first: Placement, *, looked_for: bool) -> Placement:
        """What `locate` finds, or the same seen more closely where that is surer."""
        if looked_for and not first.on_surface and first.confidence > 0 and quad_extent(first.quad) > 1:
            again = self._look_closer(_upright(first.quad, self.quad))
            first = max(first, again, key=lambda placement: (not placement.reason, placement.confidence))
        self._keep(first)
        return first

    def explore(self, part: _Part, count: int) -> None:
        """Look at the likely places of a part until nothing more is found."""
        futile = 0
        while futile < _FUTILE and len(self.found) < count:
            likely = self._likeliest(part)
            if likely is None:
                return
            if not (self._is_promising(likely) and self._keep(_among_many(self._look_closer(likely)))):
                self.vain.append(likely(self.quad))
                futile += 1

    def _likeliest(self, part: _Part) -> MatrixTransform | None:
        """The similarity of most support that puts the edit away from what was found and from what was no instance;
        None where it has too little.
        """
        try:
            evidence = self._votes(part, self.free)
            poses = sample_poses(evidence, seed=self.seed)
        except GeometryError:  # nothing is left of the part
            return None
        found = [placement.quad - part.corner for placement in self.found]
        passed_over = [quad - part.corner for quad in self.vain]
        while (index := _best_apart(poses, found, passed_over)) is not None and poses.tried is not None:
            a, b, score = (values[index] for values in poses.tried)
            if score < _LEAST_CONTRAST * evidence.chance:
                return None
            matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])
            place = MatrixTransform(matrix)(self.quad)
            if self._is_new(place + part.corner, _INSIDE) and self._stood_out(part, matrix):
                matrix[:2, 2] += part.corner
                return MatrixTransform(matrix)
            passed_over.append(place)
        return None

    def _votes(self, part: _Part, mask: Mask) -> Evidence:
        """The votes for a part, shared out among the places where a mask of the target holds."""
        left, top, right, bottom = part.box
        region = mask[top:bottom, left:right]
        return gather_evidence(
            part.source, self.quad, part.features, source_mask=self.source_mask, affinity=part.affinity,
            target_mask=None if region.all() else region,
        )  # fmt: skip

    def _stood_out(self, part: _Part, matrix: Matrix) -> bool:
        """Whether a place had votes before those for the instances were shared out again: pieces of an instance that
        stick out of its quad had none.
        """
        if part.all_votes is None:
            part.all_votes = self._votes(part, self.allowed)
        return bool(part.all_votes.score(matrix[None, :2])[0] >= _LEAST_AT_FIRST * part.all_votes.chance)

    def _is_promising(self, likely: MatrixTransform) -> bool:
        """Whether the quicker features alone hold a place for possible, and do not end on an instance from there."""
        if self.screening is self.featurizer:
            return True
        box, free = self._round(likely)
        placement = self._placed(box, free, None, self.screening, self.screened, surface=False)
        possible = placement.confidence >= min(_PROMISING, self.min_confidence)
        return possible and self._is_new(placement.quad, _INSIDE)

    def _look_closer(self, likely: MatrixTransform) -> Placement:
        """Place the edit in a cut of the target that shows the likely place as the source shows the edit."""
        return self.place(*self._round(likely), None)

    def _round(self, likely: MatrixTransform) -> tuple[Box, Mask]:
        """The cut of the target, and where in the target the edit may lie."""
        width, height = self.source.size
        frame = likely(np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], dtype=np.float64))
        place = likely(self.quad)
        near = np.zeros_like(self.free)
        left, top, right, bottom = _clipped(place, self.target.size, _NEAR * quad_extent(place))
        near[top:bottom, left:right] = True
        return _clipped(frame, self.target.size), self.free & near

    def place(self, box: Box, free: Mask, pins: PinsLike | None) -> Placement:
        """Place the edit in a cut of the target, in the target's pixels."""
        return self._placed(box, free, pins, self.featurizer, self.features, surface=self.surface)

    def _placed(
        self, box: Box, free: Mask, pins: PinsLike | None, featurizer: Featurizer, source: FeatureMap, *, surface: bool
    ) -> Placement:
        left, top, right, bottom = box
        whole = box == self.whole
        first = whole and featurizer is self.featurizer  # as `locate` does it
        cut = self.target if whole else self.target.crop(box)

        def features(*, mirrored: bool = False) -> FeatureMap:
            if first:
                return self._whole(mirrored=mirrored)
            return featurizer(cut.mirrored() if mirrored else cut, seed=self.seed)

        placement = locate_features(
            source,
            self.quad,
            features(),
            lambda: features(mirrored=True),
            turned_source=self._turned if first else None,
            closer=closer_features(featurizer, self.source, source, cut, seed=self.seed) if first else None,
            seed=self.seed,
            pins=pins,
            source_mask=self.source_mask,
            target_mask=None if free.all() else free[top:bottom, left:right],
            pictures=(self.source, cut) if surface else None,
            views=self.views if featurizer is self.featurizer else (),
            **self.options,
        )
        return placement if whole else _moved(placement, left, top)

    def _whole(self, *, mirrored: bool = False) -> FeatureMap:
        """Features of the whole target, or of its mirror image; they are kept."""
        if mirrored not in self.maps:
            picture = self.target.mirrored() if mirrored else self.target
            self.maps[mirrored] = self.featurizer(picture, seed=self.seed)
        return self.maps[mirrored]

    def _turned(self, quarters: int) -> FeatureMap:
        return turned_features(self.featurizer, self.source, self.features, quarters, seed=self.seed)

    def _keep(self, placement: Placement) -> bool:
        """Take a placement if it is an instance of its own."""
        if not _is_trusted(placement, self.min_confidence):
            return False
        if not self._is_new(placement.quad, _SHARED):
            return False
        self.take(placement)
        return True

    def _is_new(self, quad: Points, shared: float) -> bool:
        """Whether a quad has no more than such a share in common with any instance that was found."""
        return all(quads_overlap(quad, other.quad) <= shared for other in self.found)

    def take(self, placement: Placement) -> None:
        """Count a placement among the instances, and take its place out of the target."""
        self.found.append(placement)
        covered = np.zeros(self.free.shape, np.uint8)
        cv2.fillConvexPoly(covered, np.round(placement.quad).astype(np.int32), 1)
        self.free = self.free & (covered == 0)


def _among_many(placement: Placement) -> Placement:
    """A placement that was searched for at many places, with lower odds."""
    if placement.confidence_features is None:
        return placement
    odds = _SEARCH_ODDS * placement.confidence
    return replace(placement, confidence=odds / (1 - placement.confidence + odds))


def _is_trusted(placement: Placement, min_confidence: float) -> bool:
    """Whether a placement is sure, and the placed edit, looked for in the source, is found where it came from."""
    features = placement.confidence_features
    leads_back = features is None or features.round_trip >= _ROUND_TRIP
    return not placement.reason and placement.confidence >= min_confidence and leads_back


def _best_apart(poses: Poses, found: list[Points], vain: list[Points]) -> int | None:
    """The pose of greatest score whose edit lies apart from instances, and from vain places of about its size."""
    if poses.tried is None:
        return None
    a, b, scores = poses.tried
    centre, extent = complex(*poses.quad.mean(0)), quad_extent(poses.quad)
    apart, sizes = scores > 0, np.abs(a) * extent
    for number, quad in enumerate([*found, *vain]):
        size = quad_extent(quad)
        away = np.abs(a * centre + b - complex(*quad.mean(0))) > _APART * (sizes + size)
        apart &= away if number < len(found) else away | (np.abs(np.log(sizes / size)) > _OTHER_SIZE)
    return int(np.argmax(np.where(apart, scores, -np.inf))) if apart.any() else None


def _upright(placed: Points, quad: Points) -> MatrixTransform:
    """The scale and shift that come nearest to where a quad was placed."""
    scale = quad_extent(placed) / quad_extent(quad)
    shift = placed.mean(0) - scale * quad.mean(0)
    return MatrixTransform(np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]]))


def _clipped(points: Points, size: tuple[int, int], margin: float = 0.0) -> Box:
    """The box round points inside a picture; the whole picture where they leave little of it out."""
    low, high = bounds(points)
    left, top = np.clip(np.floor(low - margin), 0, np.maximum(np.asarray(size) - 2, 0)).astype(int)
    right, bottom = np.clip(np.ceil(high + margin) + 1, (left + 2, top + 2), size).astype(int)
    if (right - left) * (bottom - top) >= _WHOLE * size[0] * size[1]:
        return 0, 0, *size
    return int(left), int(top), int(right), int(bottom)


def _moved(placement: Placement, left: int, top: int) -> Placement:
    """A placement in a cut as one in the picture."""
    shift = MatrixTransform(np.array([[1.0, 0, left], [0, 1, top], [0, 0, 1]]))
    matches = placement.matches
    if matches is not None:
        matches = replace(matches, target=shift(matches.target))
    return replace(placement, quad=shift(placement.quad), transform=placement.transform.then(shift), matches=matches)
