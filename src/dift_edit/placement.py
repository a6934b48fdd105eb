"""Where an edit of the source lies in a target, and how sure that is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from dift_edit.confidence import Signs, agreement, calibrated, probability
from dift_edit.coords import Points, as_points, inside
from dift_edit.engines import MODELS, guided_pairs, hold_pins, notebook
from dift_edit.errors import EditError, GeometryError
from dift_edit.evidence import SCREEN_CELLS, Affinity, Evidence, Mask, gather_evidence
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.base import Matrix, MatrixTransform, Transform
from dift_edit.geometry.estimate import Correspondences, fit_similarity
from dift_edit.image import Image, as_image
from dift_edit.poses import Poses, others_like_best, sample_poses
from dift_edit.surface import Surface, match_surface

__all__ = ["Placement", "check_quad", "locate", "locate_features", "turned_features"]

WIDE = 2.0
"""Reach of the evidence by which the whole object is judged: for the mirror test and the confidence."""
MIRROR_GAIN, MIRROR_MARGIN = 1.1, 0.01
"""By which factor, and by how much, the mirrored target has to score better: faces look alike from both sides."""
TURN_GAIN = 1.1
"""By which factor a quarter turn has to score better on coarse maps to be looked at closely."""
TURN_MARGIN = 0.1
"""By how much a quarter turn has to be more probable than the upright place."""
SURE = 0.8
"""Confidence from which no quarter turns are looked at."""
ON_SURFACE = 0.97
"""Confidence where the very same surface was found again."""
BENT = 0.004
"""What a homography leaves over, in sizes of the placed edit, before a surface counts as bent."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Where an edit lies in a target.

    Attributes
    ----------
    quad : ndarray
        (4, 2) target pixels of the edit's corners top-left, top-right, bottom-right, bottom-left.
    transform : Transform
        Source pixels → target pixels.
    matrix : ndarray or None
        (3, 3) of that transform; None when it is not given by a matrix.
    confidence : float
        Probability, 0 to 1, that the placed quad overlaps the right one by half (IoU ≥ 0.5).
    mirrored : bool
        Whether the target shows the object mirrored.
    reason : str
        Why the placement should not be trusted, in words; empty when nothing speaks against it.
    engine : str
        Which engine placed it; "surface" after a slash says that the very same surface was recognised.
    confidence_source : str
        What the confidence rests on: "fitted" to placements with this model, "uncalibrated" with another one,
        "surface", "pins", or "none" where nothing was found.
    instances : int
        Places in the target that look like the object, this one among them.
    matches : Correspondences or None
        The weighted pairs that the transform was fitted to.
    signs : Signs or None
        What the confidence was made from; None where the very same surface was recognised.
    """

    quad: Points
    transform: Transform
    matrix: Matrix | None
    confidence: float
    mirrored: bool
    reason: str
    engine: str
    confidence_source: str = "none"
    instances: int = 1
    matches: Correspondences | None = field(default=None, repr=False)
    signs: Signs | None = field(default=None, repr=False)


def check_quad(quad: Any, size: tuple[int, int]) -> Points:
    """The four corners of an edit, checked against the size of the source.

    Raises
    ------
    EditError
        If it is not four finite points with an area, or lies outside the source.
    """
    corners = as_points(quad, "corners of the edit")
    if corners.shape != (4, 2):
        raise EditError(f"An edit's quad has four corners (x, y), but {len(corners)} were given.")
    extent = np.ptp(corners, axis=0)
    if extent.min() < 1:
        raise EditError(f"The edit covers only {extent[0]:.1f}×{extent[1]:.1f} pixels: give a quad with an area.")
    low, high = corners.min(0), corners.max(0)
    if (high < -0.5).any() or (low > np.asarray(size) - 0.5).any():
        raise EditError(
            f"The edit lies outside the source: its quad spans x {low[0]:.0f}…{high[0]:.0f}, "
            f"y {low[1]:.0f}…{high[1]:.0f}, but the source is {size[0]}×{size[1]} pixels."
        )
    return corners


def locate(
    source: Any,
    quad: Any,
    target: Any,
    *,
    featurizer: Featurizer,
    engine: str = "auto",
    mirror: str = "auto",
    seed: int = 0,
    pins: Sequence[Any] | None = None,
    source_mask: Any = None,
    target_mask: Any = None,
    surface: bool = True,
) -> Placement:
    """Find where an edit of the source lies in a target.

    Parameters
    ----------
    source, target : Image, path or array
        The two pictures.
    quad : array_like
        (4, 2) corners of the edit in source pixels.
    featurizer : Featurizer
        Gives the features.
    engine : str
        How the placement is estimated: "auto", "similarity", "affine", "homography", "mesh", "spline" or "notebook".
    mirror : {"auto", "never", "always"}
        Whether the target may show the object mirrored.
    seed : int
        Of everything random.
    pins : sequence of ((x, y), (x, y)), optional
        Pairs of source and target pixels that the placement has to hold.
    source_mask : array_like, optional
        (H, W) true where the source may be used.
    target_mask : array_like, optional
        (H, W) true where in the target the edit's parts may lie.
    surface : bool
        Whether to look for the very same surface in the pixels, which places the edit to a fraction of a pixel.

    Returns
    -------
    Placement

    Raises
    ------
    EditError, GeometryError
        If the quad, a pin or a mask is unusable.
    """
    source, target = as_image(source), as_image(target)
    corners = check_quad(quad, source.size)
    known = featurizer(source, seed=seed)
    return locate_features(
        known,
        corners,
        featurizer(target, seed=seed),
        lambda: featurizer(target.mirrored(), seed=seed),
        turned_source=lambda quarters: turned_features(featurizer, source, known, quarters, seed=seed),
        engine=engine,
        mirror=mirror,
        seed=seed,
        pins=pins,
        source_mask=source_mask,
        target_mask=target_mask,
        pictures=(source, target) if surface else None,
    )


def locate_features(
    source: FeatureMap,
    quad: Points,
    target: FeatureMap,
    mirrored_target: Callable[[], FeatureMap] | None = None,
    *,
    turned_source: Callable[[int], FeatureMap] | None = None,
    engine: str = "auto",
    mirror: str = "auto",
    seed: int = 0,
    pins: Sequence[Any] | None = None,
    source_mask: Any = None,
    target_mask: Any = None,
    pictures: tuple[Image, Image] | None = None,
) -> Placement:
    """As `locate`, from features.

    Parameters
    ----------
    source, target : FeatureMap
        Of the two pictures.
    quad : ndarray
        (4, 2) corners of the edit in source pixels.
    mirrored_target : callable, optional
        Gives the features of the mirrored target; called only when they are needed. None: never mirrored.
    turned_source : callable, optional
        Gives, for 1, 2 or 3 quarter turns, features of the turned source in the frame of the source, see
        `turned_features`; called only where the upright place is not sure. None: turned by at most a right angle.
    pictures : (Image, Image), optional
        Source and target, to look for the very same surface in; without them that is not done.
    engine, mirror, seed, pins, source_mask, target_mask
        See `locate`.

    Returns
    -------
    Placement
    """
    if engine not in ("auto", "notebook", *MODELS):
        raise EditError(f"There is no engine {engine!r}: use auto, notebook, {', '.join(MODELS)}.")
    if mirror not in ("auto", "never", "always"):
        raise EditError(f"The mirror test cannot be {mirror!r}: use auto, never or always.")
    if mirror == "always" and mirrored_target is None:
        raise EditError("Features of the mirrored target are needed to place the edit mirrored.")
    corners = as_points(quad)
    width = target.image_size[0]
    pinned = _pins(pins, source.image_size, target.image_size)
    mask = None if target_mask is None else np.asarray(target_mask).astype(bool)

    @cache
    def view(flip: bool, quarters: int = 0) -> _View:
        seen = mirrored_target() if flip and mirrored_target is not None else target
        known = turned_source(quarters) if quarters and turned_source is not None else source
        held = None if pinned is None else _flipped_pins(pinned, width) if flip else pinned
        region = mask if mask is None or not flip else mask[:, ::-1]
        affinity = Affinity.of(known, seen)
        wide = gather_evidence(
            known, corners, seen, source_mask=source_mask, target_mask=region, reach=WIDE, affinity=affinity
        )
        about = _angle(quarters)
        whole = sample_poses(wide, pins=held, seed=seed, about=about)
        return _View(known, seen, affinity, wide, whole, held, region, seed, about)

    def quarter_turns(flip: bool) -> int:
        """Quarter turns that make the place in the target more probable than the upright one, mirrored or not."""
        upright = view(flip)
        if turned_source is None or pinned is not None or probability(upright.signs, source.fingerprint) >= SURE:
            return 0
        scores = [
            _coarse_score(
                turned_source(k) if k else source, corners, target, source_mask=source_mask, target_mask=mask,
                about=_angle(k), seed=seed,
            )
            for k in range(4)
        ]  # fmt: skip
        best = int(np.argmax(scores))
        if scores[best] <= TURN_GAIN * scores[0]:
            return 0
        gain = [probability(seen.signs, source.fingerprint) for seen in (view(False, best), upright)]
        return best if gain[0] > gain[1] + TURN_MARGIN else 0

    def surface(flip: bool) -> Surface | None:
        if pictures is None or engine == "notebook":
            return None
        picture = pictures[1].mirrored() if flip else pictures[1]
        return match_surface(
            pictures[0], corners, picture, view(flip).similarity,
            keypoints=not flip and pinned is None, source_mask=source_mask, target_mask=view(flip).region,
        )  # fmt: skip

    try:
        flip = mirror == "always"
        found = surface(flip)
        if mirror == "auto" and found is None and mirrored_target is not None:
            plain, turned = (float(view(side).whole.scores[0]) for side in (False, True))
            flip = turned > max(plain * MIRROR_GAIN, plain + MIRROR_MARGIN)
            found = surface(True) if flip else None
        quarters = 0
        if found is None and mirror != "always" and engine != "notebook":
            quarters = quarter_turns(flip)
            flip = flip and not quarters
        placed = _place(view(False, quarters) if quarters else view(flip), corners, engine, found)
    except GeometryError as error:
        if pinned is not None or mask is not None or source_mask is not None:
            raise
        return _nowhere(corners, source.image_size, target.image_size, engine, str(error))
    return _turned(placed, width) if flip else placed


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
    source: FeatureMap, quad: Points, target: FeatureMap, *, about: float, seed: int, **masks: Any
) -> float:
    """Support of the best pose of the edit's surroundings, on maps of few cells."""
    affinity = Affinity.of(source, target, SCREEN_CELLS)
    evidence = gather_evidence(source, quad, target, affinity=affinity, **masks)
    return float(sample_poses(evidence, seed=seed, about=about).scores[0])


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
        return self.near.transform(self.near.expected[0])

    @cached_property
    def back(self) -> Poses | None:
        """Poses of the placed edit in the source; None when it leads nowhere."""
        placed, limits = self.similarity(self.wide.quad), np.asarray(self.target.image_size) - 1.0
        low, high = np.clip(placed.min(0), 0, limits), np.clip(placed.max(0), 0, limits)
        if (high - low).min() < 1:
            return None
        box = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
        try:
            evidence = gather_evidence(self.target, box, self.source, affinity=self.affinity.reversed())
            return sample_poses(evidence, seed=self.seed, about=-self.about)
        except GeometryError:
            return None

    @cached_property
    def signs(self) -> Signs:
        """What speaks for the place: that it is one of the right ones, where the object is there more than once."""
        if not len(self.others):
            return Signs.of(self.evidence, self.near, self.whole, self.back)
        wide = self.wide.nearest(self.similarity(self.wide.quad).mean(0), self.others)
        whole, near = (
            sample_poses(votes, seed=self.seed, about=self.about) for votes in (wide, wide.within())
        )  # fmt: skip
        return Signs.of(wide.within(), near, whole, self.back)

    @cached_property
    def others(self) -> Points:
        """(N, 2) target pixels: where the edit belongs on other instances of the object."""
        if self.pins is not None:
            return self.wide.quad[:0]
        return others_like_best(self.wide, self.whole, self.similarity, seed=self.seed)


def _place(view: _View, quad: Points, engine: str, surface: Surface | None) -> Placement:
    similar = view.similarity
    size = float(min(view.target.image_size))
    signs: Signs | None = None
    transform: Transform
    used = engine
    if surface is not None:
        used, transform = _on_surface(surface, quad, engine, size)
        pairs, confidence, rests = surface.pairs, ON_SURFACE, "surface"
    else:
        signs = view.signs
        pairs, confidence = guided_pairs(view.evidence, similar), probability(signs, view.source.fingerprint)
        rests = "fitted" if calibrated(view.source.fingerprint) else "uncalibrated"
        if engine == "notebook":
            transform = notebook(view.source, quad, view.target, seed=view.seed)
        else:
            used = "similarity" if engine == "auto" else engine
            transform = MODELS[used](pairs, similar, quad, size, False)
            confidence *= agreement(transform(quad), similar(quad))
    if view.pins is not None:
        transform = hold_pins(transform, view.pins, quad, engine)
        least = 0.5 + 0.1 * min(len(view.pins.source), 4)
        confidence, rests = (confidence, rests) if confidence > least else (least, "pins")
    if engine == "notebook":
        confidence *= agreement(transform(quad), similar(quad))
    placed = transform(quad)
    reason = ""
    if not inside(placed.mean(0), view.target.image_size).all():
        reason = "the place lies outside the picture"
    return Placement(
        quad=placed, transform=transform, matrix=transform.matrix, confidence=float(np.clip(confidence, 0, 1)),
        mirrored=False, reason=reason, engine=used, confidence_source=rests, instances=1 + len(view.others),
        matches=pairs, signs=signs,
    )  # fmt: skip


def _on_surface(surface: Surface, quad: Points, engine: str, size: float) -> tuple[str, Transform]:
    """The engine's map fitted to exact pairs; "auto" bends only where a homography leaves something over."""
    pairs = surface.pairs
    start = fit_similarity(pairs)
    if engine != "auto":
        return f"{engine}/surface", MODELS[engine](pairs, start, quad, size, True)
    flat = MODELS["homography"](pairs, start, quad, size, True)
    bent = MODELS["mesh"](pairs, start, quad, size, True)
    on_edit = ((pairs.source >= quad.min(0)) & (pairs.source <= quad.max(0))).all(1)
    left, kept = (
        float(np.median(np.linalg.norm(made(pairs.source) - pairs.target, axis=1)[on_edit])) for made in (flat, bent)
    )
    noticeable = max(0.5, BENT * float(np.sqrt(np.prod(np.ptp(flat(quad), axis=0)))))
    if left > noticeable and kept < 0.6 * left:
        return "mesh/surface", bent
    return "homography/surface", flat


def _pins(pins: Sequence[Any] | None, source: tuple[int, int], target: tuple[int, int]) -> Correspondences | None:
    if pins is None or len(pins) == 0:
        return None
    try:
        pairs = np.asarray(pins, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EditError("Pins must be pairs ((x, y) in the source, (x, y) in the target).") from error
    if pairs.ndim != 3 or pairs.shape[1:] != (2, 2):
        raise EditError("Pins must be pairs ((x, y) in the source, (x, y) in the target).")
    first, second = as_points(pairs[:, 0], "pins in the source"), as_points(pairs[:, 1], "pins in the target")
    if len(np.unique(first, axis=0)) < len(first):
        raise EditError("Two pins start at the same place of the source: remove one of them.")
    return Correspondences(first, second, np.ones(len(first)))


def _flipped_pins(pins: Correspondences, width: int) -> Correspondences:
    return replace(pins, target=np.stack([width - 1 - pins.target[:, 0], pins.target[:, 1]], 1))


def _turned(placed: Placement, width: int) -> Placement:
    """A placement in the mirrored target as one in the target itself."""
    flip = MatrixTransform(np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]]))
    transform: Transform = placed.transform.then(flip)  # type: ignore[attr-defined]
    matches = placed.matches
    if matches is not None:
        matches = replace(matches, target=flip(matches.target))
    return replace(
        placed, quad=flip(placed.quad), transform=transform, matrix=transform.matrix, mirrored=True, matches=matches
    )


def _nowhere(quad: Points, source: tuple[int, int], target: tuple[int, int], engine: str, why: str) -> Placement:
    scale = min(target) / min(source)
    shift = (np.asarray(target) - 1) / 2 - scale * (np.asarray(source) - 1) / 2
    transform = MatrixTransform(np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]]))
    return Placement(
        quad=transform(quad), transform=transform, matrix=transform.matrix, confidence=0.0, mirrored=False,
        reason=f"no consistent placement ({why.rstrip('.').lower()})", engine=engine,
    )  # fmt: skip
