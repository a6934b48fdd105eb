"""Where an edit of the source lies in a target, and how sure that is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch

from dift_edit.errors import EditError, GeometryError, IncomparableError
from dift_edit.features.base import FeatureMap, Featurizer, check_comparable
from dift_edit.geometry.base import Matrix, MatrixTransform, Transform
from dift_edit.geometry.coords import Points, as_points, inside
from dift_edit.geometry.estimate import Correspondences, fit_similarity
from dift_edit.geometry.quad import check_quad, quad_extent, quad_iou
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.placement.confidence import ConfidenceFeatures, WayBack, calibrated, probability
from dift_edit.placement.same_surface import Surface, match_surface
from dift_edit.placement.second_look import Closer, SecondLook, closer_features, look_again
from dift_edit.placement.similarities import Poses, others_like_best, sample_poses
from dift_edit.placement.views import SeenView, View, ViewEvidence
from dift_edit.placement.votes import SCREEN_CELLS, WIDE, Affinity, Evidence, Mask, gather_evidence
from dift_edit.placement.warp_models import (
    FREEDOM,
    Fit,
    bend_through_pins,
    fit_model,
    guided_pairs,
    hold_matrix,
    notebook,
)
from dift_edit.settings import ENGINES, MIRRORS
from dift_edit.types import Engine, ImageLike, MaskLike, Mirror, PinsLike, QuadLike

__all__ = ["ConfidenceSource", "Placement", "check_hints", "check_mask", "locate", "locate_features", "turned_features"]

MIRROR_GAIN, MIRROR_MARGIN = 1.1, 0.01
"""Required gain (ratio and difference) before a mirrored match wins (chosen): near-symmetric objects score alike both
ways."""
TURN_GAIN = 1.1
"""By which factor a quarter turn has to score better on coarse maps to be looked at closely (chosen)."""
TURN_MARGIN = 0.1
"""By how much a quarter turn has to be more probable than the upright place (chosen)."""
TURN_ODDS = 0.2
"""Factor of the odds of a place that was found with a turned source (chosen): the confidence was fitted to upright
sources, and the best of four turns looks better by chance."""
SURE = 0.8
"""Confidence from which no quarter turns are looked at (chosen)."""
ON_SURFACE = 0.97
"""Confidence where the very same surface was found again (chosen, not calibrated)."""
BENT = 0.004
"""What a homography leaves over, in sizes of the placed edit, before a surface counts as bent (chosen)."""
SHARED = 2
"""Each so manieth point of the source is taken where further views speak, too, and as many of all these together: a
placement takes not much longer then, and is as good (chosen; see docs/learning.md)."""
AGREES = 0.5
"""IoU from which a view alone agrees with what all of them find together (chosen)."""
BY_PINS = (0.6, 0.7, 0.8, 0.9)
"""Least confidence with one, two, three, and four or more pins (chosen, not calibrated)."""
PIN_SLACK = 0.1
"""How far pins may be missed before they count as contradictory, in sizes of the placed edit (chosen)."""

ConfidenceSource = Literal["fitted", "uncalibrated", "surface", "pins", "tracked", "fixed", "none"]
"""Where a confidence comes from. "fitted": the logistic model of `dift_edit.placement.confidence`; "uncalibrated": a
model fitted to all embedded networks, where the network's own was not fitted; "surface": the very same surface was
recognised (`ON_SURFACE`); "pins": the number of pins (`BY_PINS`); "tracked": a clip's tracker; "fixed": the place is
the same in every image; "none": no placement was found. Only "fitted" is calibrated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Where an edit lies in a target.

    Attributes
    ----------
    quad : ndarray
        (4, 2) target pixels of the edit's corners top-left, top-right, bottom-right, bottom-left.
    transform : Transform
        Source pixels → target pixels.
    confidence : float
        Probability, 0 to 1, that the placed quad overlaps the right one by half (IoU ≥ 0.5).
    confidence_source : {"fitted", "uncalibrated", "surface", "pins", "tracked", "fixed", "none"}
        What the confidence rests on, see `ConfidenceSource`.
    mirrored : bool
        Whether the target shows the object mirrored.
    reason : str
        Why the placement should not be trusted, in words; empty when nothing speaks against it.
    engine : str
        Which engine placed it.
    on_surface : bool
        Whether the very same surface was recognised in the pixels, and the engine fitted to it.
    instances : int
        Places in the target that look like the object, this one among them.
    agreeing : int
        With further views: how many of the source and these find the place by themselves; else 0.
    matches : Correspondences or None
        The weighted pairs that the transform was fitted to.
    confidence_features : ConfidenceFeatures or None
        What the confidence was made from; None where the very same surface was recognised.
    """

    quad: Points
    transform: Transform
    confidence: float
    confidence_source: ConfidenceSource
    mirrored: bool
    reason: str
    engine: str
    on_surface: bool = False
    instances: int = 1
    agreeing: int = 0
    matches: Correspondences | None = field(default=None, repr=False)
    confidence_features: ConfidenceFeatures | None = field(default=None, repr=False)

    @property
    def matrix(self) -> Matrix | None:
        """(3, 3) of the transform; None when it is not given by a matrix."""
        return self.transform.matrix


def check_hints(
    source_size: tuple[int, int], *, pins: PinsLike | None = None, source_mask: MaskLike | None = None
) -> Correspondences | None:
    """Check what is the same for all targets.

    Parameters
    ----------
    source_size : (W, H)
        Of the source in pixels.
    pins, source_mask
        See `locate`.

    Returns
    -------
    Correspondences or None
        The pins; None when there are none.

    Raises
    ------
    EditError
        If a pin or the source mask is unusable.
    """
    if source_mask is not None:
        check_mask(source_mask, source_size, "source")
        if not np.any(source_mask):
            raise EditError("The source mask leaves nothing of the source: enlarge it.")
    return _pins(pins)


def check_mask(mask: MaskLike, size: tuple[int, int], name: str) -> Mask:
    """A mask as an array (H, W) of bool.

    Parameters
    ----------
    mask : array_like
        (H, W).
    size : (W, H)
        Of its image in pixels.
    name : {"source", "target"}
        How an error names the image.

    Raises
    ------
    EditError
        If it has not the image's size.
    """
    array = np.asarray(mask)
    if array.shape != (size[1], size[0]):
        raise EditError(
            f"The {name} mask must have the {name}'s size, {size[0]}×{size[1]}, but is an array of {array.shape}."
        )
    return array.astype(bool)


def locate(
    source: ImageLike,
    quad: QuadLike,
    target: ImageLike,
    *,
    featurizer: Featurizer,
    engine: Engine = "auto",
    mirror: Mirror = "auto",
    seed: int = 0,
    pins: PinsLike | None = None,
    source_mask: MaskLike | None = None,
    target_mask: MaskLike | None = None,
    surface: bool = True,
    second_look: bool = True,
    views: Sequence[View] = (),
) -> Placement:
    """Find where an edit of the source lies in a target.

    Parameters
    ----------
    source, target : Image, path or array
        The two images.
    quad : array_like
        (4, 2) corners of the edit in source pixels.
    featurizer : Featurizer
        Gives the features.
    engine : {"auto", "similarity", "affine", "homography", "mesh", "spline", "notebook"}
        How the placement is estimated.
    mirror : {"auto", "never", "always"}
        Whether the target may show the object mirrored.
    seed : int
        Random seed.
    pins : sequence of ((x, y), (x, y)), optional
        Pairs of source and target pixels that the placement has to hold. Pins that contradict each other or a surface
        that was recognised are said in the placement's `reason`.
    source_mask : array_like, optional
        (H, W) true where the source may be used.
    target_mask : array_like, optional
        (H, W) true where in the target the edit's parts may lie.
    surface : bool
        Whether to look for the very same surface in the pixels, which places the edit to a fraction of a pixel.
    second_look : bool
        Whether to look again at cuts of both pictures round the first answer, which takes the features of one more
        picture.
    views : sequence of View
        Further pictures that carry the edit: their evidence is added to that of the source.

    Returns
    -------
    Placement

    Raises
    ------
    EditError
        If the quad, a pin, a mask or an option is unusable.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> featurizer = de.load_featurizer("lite")
    >>> quad = [(122, 104), (742, 104), (742, 582), (122, 582)]
    >>> placement = de.locate(FOLDER / "cat.jpg", quad, FOLDER / "kitten.jpg", featurizer=featurizer)
    >>> placement.quad.shape, placement.confidence > 0.5, placement.mirrored
    ((4, 2), True, False)
    """
    first, second = as_image(source), as_image(target)
    corners = check_quad(quad, first.size)
    known = featurizer(first, seed=seed)
    closer = closer_features(featurizer, first, known, second, seed=seed) if second_look else None
    return locate_features(
        known,
        corners,
        featurizer(second, seed=seed),
        lambda: featurizer(second.mirrored(), seed=seed),
        turned_source=lambda quarters: turned_features(featurizer, first, known, quarters, seed=seed),
        closer=closer,
        engine=engine,
        mirror=mirror,
        seed=seed,
        pins=pins,
        source_mask=source_mask,
        target_mask=target_mask,
        pictures=(first, second) if surface else None,
        views=[each.facing(corners).seen(featurizer, seed=seed) for each in views],
    )


def locate_features(
    source: FeatureMap,
    quad: Points,
    target: FeatureMap,
    mirrored_target: Callable[[], FeatureMap] | None = None,
    *,
    turned_source: Callable[[int], FeatureMap] | None = None,
    closer: Closer | None = None,
    engine: Engine = "auto",
    mirror: Mirror = "auto",
    seed: int = 0,
    pins: PinsLike | None = None,
    source_mask: MaskLike | None = None,
    target_mask: MaskLike | None = None,
    pictures: tuple[Image, Image] | None = None,
    views: Sequence[SeenView] = (),
) -> Placement:
    """As `locate`, from features.

    Parameters
    ----------
    source, target : FeatureMap
        Features of the two images.
    quad : ndarray
        (4, 2) corners of the edit in source pixels.
    mirrored_target : callable, optional
        Gives the features of the mirrored target; called only when they are needed. None: never mirrored.
    turned_source : callable, optional
        Gives, for 1, 2 or 3 quarter turns, features of the turned source in the frame of the source, see
        `turned_features`; called only where the upright place is not sure. None: turned by at most a right angle.
    closer : callable, optional
        Gives the features of cuts of both pictures for a second look, see `closer_features`; not called where the very
        same surface was found, with pins or a turned source. None: no second look.
    pictures : (Image, Image), optional
        Source and target, to look for the very same surface in; without them that is not done.
    engine, mirror, seed, pins, source_mask, target_mask
        See `locate`.
    views : sequence of SeenView
        Further views of the edit.

    Returns
    -------
    Placement
        Where nothing is found, also within a target mask, it has a `reason` and the confidence 0.

    Raises
    ------
    EditError
        If a pin, a mask or an option is unusable.
    IncomparableError
        If the maps come from different featurizers or settings.
    """
    _check_engine(engine)
    if mirror not in MIRRORS:
        raise EditError(f"The mirror test cannot be {mirror!r}: use one of {', '.join(MIRRORS)}.")
    if mirror == "always" and mirrored_target is None:
        raise EditError("Features of the mirrored target are needed to place the edit mirrored.")
    check_comparable(source, target)
    corners = as_points(quad)
    near = None if source_mask is None else check_mask(source_mask, source.image_size, "source")
    width = target.image_size[0]
    pinned = check_hints(source.image_size, pins=pins, source_mask=source_mask)
    mask = None if target_mask is None else check_mask(target_mask, target.image_size, "target")

    @cache
    def view(flip: bool, quarters: int) -> _View:
        seen = mirrored_target() if flip and mirrored_target is not None else target
        check_comparable(source, seen)
        known = turned_source(quarters) if quarters and turned_source is not None else source
        held = None if pinned is None else _flipped_pins(pinned, width) if flip else pinned
        region = mask if mask is None or not flip else mask[:, ::-1]
        affinity, about = Affinity.of(known, seen), _angle(quarters)
        every = SHARED if views and not quarters else 1
        wide = gather_evidence(
            known, corners, seen, source_mask=near, target_mask=region, reach=WIDE, affinity=affinity, every=every
        )
        further = [] if quarters else [each.against(seen, region, every=every * len(views)) for each in views]
        voices = [wide, *(each.evidence for each in further)] if further else []
        if further:
            wide = wide.joined(
                [each.evidence.moved(each.view.to_edit(corners), corners, each.view.weight) for each in further], WIDE
            )
        whole = sample_poses(wide, pins=held, seed=seed, about=about)
        look = None if closer is None else partial(
            look_again, closer, corners, mirrored=flip, source_mask=near, target_mask=region, seed=seed
        )  # fmt: skip
        return _View(known, seen, affinity, wide, whole, held, region, seed, about, further, look, voices)

    def quarter_turns(flip: bool) -> int:
        """Quarter turns that make the place in the target more probable than the upright one, mirrored or not."""
        upright = view(flip, 0)
        if turned_source is None or pinned is not None or upright.probability >= SURE:
            return 0
        scores = [
            _coarse_score(
                turned_source(k) if k else source, corners, target, source_mask=near, target_mask=mask,
                about=_angle(k), seed=seed,
            )
            for k in range(4)
        ]  # fmt: skip
        best = int(np.argmax(scores))
        if scores[best] <= TURN_GAIN * scores[0]:
            return 0
        return best if view(False, best).probability > upright.probability + TURN_MARGIN else 0

    def surface(flip: bool) -> Surface | None:
        if pictures is None or engine == "notebook":
            return None
        picture = pictures[1].mirrored() if flip else pictures[1]
        similarity, region = view(flip, 0).similarity, view(flip, 0).region
        found = match_surface(
            pictures[0], corners, picture, similarity, keypoints=not flip, source_mask=near, target_mask=region
        )
        for each in views if found is None else ():
            if each.picture is None:
                continue
            to_edit = each.to_edit(corners)
            found = match_surface(
                each.picture, each.quad, picture, to_edit.then(similarity), keypoints=False, target_mask=region
            )
            if found is not None:
                return found.seen_from(to_edit, min(1.0, each.weight))
        return found

    try:
        flip = mirror == "always"
        found = surface(flip)
        if mirror == "auto" and found is None and mirrored_target is not None:
            plain, turned = (float(view(side, 0).whole.scores[0]) for side in (False, True))
            flip = turned > max(plain * MIRROR_GAIN, plain + MIRROR_MARGIN)
            found = surface(True) if flip else None
        quarters = 0
        if found is None and mirror != "always" and engine != "notebook":
            quarters = quarter_turns(flip)
            flip = flip and not quarters
        placed = _place(view(flip, quarters), corners, engine, found)
    except IncomparableError:
        raise
    except GeometryError as error:
        return _nowhere(corners, source.image_size, target.image_size, engine, str(error))
    return _turned(placed, width) if flip else placed


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise EditError(f"There is no engine {engine!r}: use one of {', '.join(ENGINES)}.")
    if engine == "fixed":
        raise EditError("The engine 'fixed' looks at no features: use transfer or fixed_placement.")


_turned_maps: WeakKeyDictionary[FeatureMap, dict[int, FeatureMap]] = WeakKeyDictionary()
"""Features of turned sources: they are the same for all targets."""


def turned_features(
    featurizer: Featurizer, source: Image, features: FeatureMap, quarters: int, *, seed: int = 0
) -> FeatureMap:
    """Features of a source that was turned, brought back to the frame of the source.

    Networks know things upright: a target that shows the object on its side is like the turned source.

    Parameters
    ----------
    featurizer : Featurizer
        Gives the features.
    source : Image
        The source.
    features : FeatureMap
        Of the source as it is; the turned ones are kept as long as these.
    quarters : int
        Quarter turns against the clock.
    seed : int
        Of the features.

    Returns
    -------
    FeatureMap
        Cell for cell at the places of `features`.
    """
    kept = _turned_maps.setdefault(features, {})
    if quarters not in kept:
        found = featurizer(source.turned(quarters), seed=seed)
        data = torch.rot90(found.data, -quarters, (1, 2)).contiguous()
        kept[quarters] = replace(found, data=data, image_size=source.size)
    return kept[quarters]


def _angle(quarters: int) -> float:
    """In radians, x to y, of quarter turns against the clock as one sees them; between −π and π."""
    return float(np.angle((-1j) ** quarters))


def _coarse_score(
    source: FeatureMap,
    quad: Points,
    target: FeatureMap,
    *,
    about: float,
    seed: int,
    source_mask: Mask | None,
    target_mask: Mask | None,
) -> float:
    """Support of the best pose of the edit's surroundings, on maps of few cells."""
    affinity = Affinity.of(source, target, SCREEN_CELLS)
    evidence = gather_evidence(
        source, quad, target, source_mask=source_mask, target_mask=target_mask, affinity=affinity
    )
    return float(sample_poses(evidence, seed=seed, about=about).scores[0])


def _way_back(
    placed: Points, target: FeatureMap, source: FeatureMap, affinity: Affinity, seed: int, *, about: float, every: int
) -> Poses | None:
    """Poses of the placed edit in a source; None when it leads nowhere."""
    limits = np.asarray(target.image_size) - 1.0
    low, high = np.clip(placed.min(0), 0, limits), np.clip(placed.max(0), 0, limits)
    if (high - low).min() < 1:
        return None
    box = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    try:
        evidence = gather_evidence(target, box, source, affinity=affinity.reversed(), every=every)
        return sample_poses(evidence, seed=seed, about=about)
    except GeometryError:
        return None


@dataclass(frozen=True, eq=False)
class _View:
    """A target, or its mirror image, and what is known of it; `whole` are the poses of the whole object."""

    source: FeatureMap
    target: FeatureMap
    affinity: Affinity
    wide: Evidence
    whole: Poses
    pins: Correspondences | None
    region: Mask | None
    seed: int
    about: float = 0.0
    further: list[ViewEvidence] = field(default_factory=list)
    look: Callable[..., SecondLook | None] | None = None
    voices: list[Evidence] = field(default_factory=list)

    def agreeing(self, placed: Points) -> int:
        """How many of the source and the further views find the place by themselves."""
        found = (sample_poses(votes.within(), seed=self.seed).placement(votes.quad) for votes in self.voices)
        return sum(quad_iou(quad, placed) >= AGREES for quad in found)

    @cached_property
    def evidence(self) -> Evidence:
        """The votes of the edit's surroundings."""
        return self.wide.within()

    @cached_property
    def near(self) -> Poses:
        """The poses of the edit's surroundings."""
        return sample_poses(self.evidence, pins=self.pins, seed=self.seed, about=self.about)

    @cached_property
    def similarity(self) -> MatrixTransform:
        """Where the features place the edit."""
        return self.near.placement

    @cached_property
    def back(self) -> list[WayBack]:
        """The ways back from the placed edit: to the source, and to the views that are trusted as much."""
        placed = self.similarity(self.wide.quad)

        def way(source: FeatureMap, quad: Points, affinity: Affinity, about: float, every: int) -> WayBack:
            return WayBack(_way_back(placed, self.target, source, affinity, self.seed, about=about, every=every), quad)

        trusted = [each for each in self.further if each.view.weight >= 1]
        return [
            way(self.source, self.wide.quad, self.affinity, -self.about, 1),
            *(way(each.view.features, each.view.quad, each.affinity, 0.0, each.every) for each in trusted),
        ]

    @cached_property
    def confidence_features(self) -> ConfidenceFeatures:
        """What speaks for the place: that it is one of the right ones, where the object is there more than once."""
        measures: dict[str, Any] = {"back": self.back, "affinity": self.affinity, "spread": self.wide.spread}
        if not len(self.others):
            return ConfidenceFeatures.of(self.evidence, self.near, self.whole, **measures)
        wide = self.wide.nearest(self.similarity(self.wide.quad).mean(0), self.others)
        whole, near = (
            sample_poses(votes, seed=self.seed, about=self.about) for votes in (wide, wide.within())
        )  # fmt: skip
        return ConfidenceFeatures.of(wide.within(), near, whole, **measures)

    @cached_property
    def looked(self) -> SecondLook | None:
        """What a second look at the upright source found; views have no part in it, and with pins there is none."""
        if self.look is None or self.pins is not None or self.about:
            return None
        return self.look(self.similarity, (self.source.image_size, self.target.image_size))

    @property
    def probability(self) -> float:
        """That the place of the first look is right."""
        return self.judged(self.confidence_features)

    def judged(self, features: ConfidenceFeatures) -> float:
        """That a place is right; the odds of one that was found with a turned source are lowered."""
        found = probability(features, self.source.fingerprint)
        if not self.about:
            return found
        return TURN_ODDS * found / (1 - found + TURN_ODDS * found)

    @cached_property
    def others(self) -> Points:
        """(N, 2) target pixels: where the edit belongs on other instances of the object."""
        if self.pins is not None:
            return self.wide.quad[:0]
        return others_like_best(self.wide, self.whole, self.similarity, seed=self.seed)


def _place(view: _View, quad: Points, engine: str, surface: Surface | None) -> Placement:
    pins, size = view.pins, view.target.image_size
    confidence_features: ConfidenceFeatures | None = None
    source: ConfidenceSource
    reason = "" if surface is None or pins is None else _against_surface(surface, pins, quad)
    if surface is not None and not reason:
        used, transform = _on_surface(surface, pins, quad, engine, float(min(size)))
        pairs, confidence, source = surface.pairs, ON_SURFACE * surface.trust, "surface"
    else:
        surface = None
        confidence_features, similar = view.confidence_features, view.similarity
        if view.looked is not None:
            confidence_features = replace(confidence_features, second_rank=view.looked.rank)
            similar = view.looked.merged(view.near)
        pairs = guided_pairs(view.evidence, similar)
        used, transform = _on_features(view, similar, pairs, quad, engine)
        confidence = view.judged(confidence_features) * quad_iou(transform(quad), similar(quad))
        source = "fitted" if calibrated(view.source.fingerprint) else "uncalibrated"
    placed = transform(quad)
    if pins is not None:
        missed = _contradiction(transform, pins, placed)
        if missed:
            reason = reason or f"the pins contradict each other: the {used} misses one by {missed:.0f} pixels"
        elif BY_PINS[min(len(pins.source), len(BY_PINS)) - 1] > confidence:
            confidence, source = BY_PINS[min(len(pins.source), len(BY_PINS)) - 1], "pins"
    if not inside(placed.mean(0), size).all():
        reason = "the place lies outside the image"
    return Placement(
        quad=placed, transform=transform, confidence=float(np.clip(confidence, 0, 1)), confidence_source=source,
        mirrored=False, reason=reason, engine=used, on_surface=surface is not None, matches=pairs,
        confidence_features=confidence_features, instances=1 + len(view.others), agreeing=view.agreeing(placed),
    )  # fmt: skip


def _on_features(
    view: _View, similar: MatrixTransform, pairs: Correspondences, quad: Points, engine: str
) -> tuple[str, Transform]:
    """The engine's map fitted to semantic matches; "auto" bends a similarity only through three pins or more."""
    pins = view.pins
    if engine == "notebook":
        matrix = notebook(view.source, quad, view.target, seed=view.seed)
        return engine, matrix if pins is None else hold_matrix(matrix, pins, quad, FREEDOM[engine])
    if engine == "auto" and pins is not None and len(pins.source) > 2:
        bent = bend_through_pins(similar, pins, quad)
        if bent is not None:
            return "spline", bent
    used = "similarity" if engine == "auto" else engine
    fit = Fit(pairs, similar, quad, float(min(view.target.image_size)), exact=False, pins=pins)
    return used, fit_model(used, fit)


def _on_surface(
    surface: Surface, pins: Correspondences | None, quad: Points, engine: str, size: float
) -> tuple[str, Transform]:
    """The engine's map fitted to exact pairs; "auto" bends only where a homography leaves something over."""
    pairs = surface.pairs
    fit = Fit(pairs, fit_similarity(pairs), quad, size, exact=True, pins=pins)
    if engine != "auto":
        return engine, fit_model(engine, fit)
    flat, bent = fit_model("homography", fit), fit_model("mesh", fit)
    on_edit = ((pairs.source >= quad.min(0)) & (pairs.source <= quad.max(0))).all(1)
    left, kept = (
        float(np.median(np.linalg.norm(made(pairs.source) - pairs.target, axis=1)[on_edit])) for made in (flat, bent)
    )
    noticeable = max(0.5, BENT * quad_extent(flat(quad)))
    if left > noticeable and kept < 0.6 * left:  # both chosen
        return "mesh", bent
    if pins is not None and _miss(flat, pins) > noticeable and _miss(bent, pins) < 0.6 * _miss(flat, pins):
        return "mesh", bent
    return "homography", flat


def _miss(transform: Transform, pins: Correspondences) -> float:
    """The longest distance in target pixels between a pin and where a map has it."""
    return float(np.linalg.norm(transform(pins.source) - pins.target, axis=1).max())


def _contradiction(transform: Transform, pins: Correspondences, placed: Points) -> float:
    """By how many pixels a map misses a pin, if that is too much; else 0."""
    missed = _miss(transform, pins)
    return missed if missed > PIN_SLACK * max(quad_extent(placed), float(np.ptp(pins.target, axis=0).max())) else 0.0


def _against_surface(surface: Surface, pins: Correspondences, quad: Points) -> str:
    """Which pin lies elsewhere than a recognised surface has it, in words; empty when none does."""
    pairs = surface.pairs
    flat = fit_model("homography", Fit(pairs, fit_similarity(pairs), quad, 1.0, exact=True))
    near = ((pins.source >= pairs.source.min(0)) & (pins.source <= pairs.source.max(0))).all(1)
    missed = np.where(near, np.linalg.norm(flat(pins.source) - pins.target, axis=1), 0)
    if missed.max() <= PIN_SLACK * quad_extent(flat(quad)):
        return ""
    return (
        f"the pins contradict the surface that was recognised: pin {missed.argmax() + 1} lies {missed.max():.0f} "
        "pixels from where the surface has it"
    )


def _pins(pins: PinsLike | None) -> Correspondences | None:
    if pins is None or len(pins) == 0:
        return None
    try:
        pairs = np.asarray(pins, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EditError("Pins must be pairs ((x, y) in the source, (x, y) in the target).") from error
    if pairs.ndim != 3 or pairs.shape[1:] != (2, 2):
        raise EditError("Pins must be pairs ((x, y) in the source, (x, y) in the target).")
    if not np.isfinite(pairs).all():
        raise EditError("Pins must be finite numbers of pixels.")
    for place, side in enumerate(("start at the same place of the source", "end at the same place of the target")):
        if len(np.unique(pairs[:, place], axis=0)) < len(pairs):
            raise EditError(f"Two pins {side}: remove one of them.")
    return Correspondences(pairs[:, 0], pairs[:, 1], np.ones(len(pairs)))


def _flipped_pins(pins: Correspondences, width: int) -> Correspondences:
    return replace(pins, target=np.stack([width - 1 - pins.target[:, 0], pins.target[:, 1]], 1))


def _turned(placed: Placement, width: int) -> Placement:
    """A placement in the mirrored target as one in the target itself."""
    flip = MatrixTransform(np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]]))
    transform: Transform = placed.transform.then(flip)
    matches = placed.matches
    if matches is not None:
        matches = replace(matches, target=flip(matches.target))
    return replace(placed, quad=flip(placed.quad), transform=transform, mirrored=True, matches=matches)


def _nowhere(quad: Points, source: tuple[int, int], target: tuple[int, int], engine: str, why: str) -> Placement:
    scale = min(target) / min(source)
    shift = (np.asarray(target) - 1) / 2 - scale * (np.asarray(source) - 1) / 2
    transform = MatrixTransform(np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]]))
    return Placement(
        quad=transform(quad), transform=transform, confidence=0.0, confidence_source="none", mirrored=False,
        reason=f"no placement was found ({why[:1].lower()}{why[1:].rstrip('.')})", engine=engine,
    )  # fmt: skip
