"""Where an edit of the source lies in a target, and how sure that is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dift_edit.coords import Points, as_points, inside
from dift_edit.correspondence import correspond
from dift_edit.errors import EditError, GeometryError
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.base import Matrix, MatrixTransform, Transform, quad_iou
from dift_edit.geometry.estimate import estimate_similarity
from dift_edit.image import as_image

__all__ = ["Placement", "check_quad", "locate", "locate_features"]

_THRESHOLD = 0.12  # of the target's short side
_MIRROR_MARGIN = 0.10  # of the whole-picture score


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
        Which engine placed it.
    """

    quad: Points
    transform: Transform
    matrix: Matrix | None
    confidence: float
    mirrored: bool
    reason: str
    engine: str


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
        How the placement is estimated.
    mirror : {"auto", "never", "always"}
        Whether the target may show the object mirrored.
    seed : int
        Of everything random.

    Returns
    -------
    Placement
    """
    source, target = as_image(source), as_image(target)
    corners = check_quad(quad, source.size)
    return locate_features(
        featurizer(source, seed=seed),
        corners,
        featurizer(target, seed=seed),
        lambda: featurizer(target.mirrored(), seed=seed),
        engine=engine,
        mirror=mirror,
        seed=seed,
    )


def locate_features(
    source: FeatureMap,
    quad: Points,
    target: FeatureMap,
    mirrored_target: Callable[[], FeatureMap],
    *,
    engine: str = "auto",
    mirror: str = "auto",
    seed: int = 0,
) -> Placement:
    """As `locate`, from features; those of the mirrored target are asked for only when they are needed."""
    flip = mirror == "always"
    if mirror == "auto":
        gain = _whole_score(source, mirrored_target(), seed) - _whole_score(source, target, seed)
        flip = gain > _MIRROR_MARGIN
    seen = mirrored_target() if flip else target
    try:
        transform, confidence = _place(source, quad, seen, seed)
        reason = ""
    except GeometryError:
        transform, confidence = _centred(source.image_size, target.image_size), 0.0
        reason = "no consistent placement"
    if flip:
        transform = transform.then(
            MatrixTransform(np.array([[-1.0, 0, target.image_size[0] - 1], [0, 1, 0], [0, 0, 1]]))
        )
    placed = transform(quad)
    if not reason and not inside(placed.mean(0), target.image_size).all():
        reason = "the place lies outside the picture"
    return Placement(
        quad=placed,
        transform=transform,
        matrix=transform.matrix,
        confidence=confidence,
        mirrored=flip,
        reason=reason,
        engine="similarity",
    )


def _place(source: FeatureMap, quad: Points, target: FeatureMap, seed: int) -> tuple[MatrixTransform, float]:
    """The similarity from forward and backward matches, and how well the two agree."""
    fit = partial(_fit, seed=seed)
    forward = correspond(source, quad, target)
    transform = fit(forward, source, target, quad)
    box = _clipped_box(transform(quad), target.image_size)
    backward = correspond(target, box, source)
    scale = float(np.sqrt(abs(np.linalg.det(transform.matrix[:2, :2]))))
    returned = fit(backward, target, source, box, expected_scale=1 / max(scale, 1e-3))
    agreement = quad_iou(returned(transform(quad)), quad)
    both = forward + backward.reversed(forward.weights.sum())
    return fit(both, source, target, quad), agreement


def _fit(
    pairs: Any,
    source: FeatureMap,
    target: FeatureMap,
    quad: Points,
    *,
    expected_scale: float | None = None,
    seed: int,
) -> MatrixTransform:
    side = float(np.sqrt(np.prod(np.ptp(quad, axis=0))))
    transform, _ = estimate_similarity(
        pairs,
        threshold=_THRESHOLD * min(target.image_size),
        expected_scale=expected_scale or min(target.image_size) / min(source.image_size),
        least_distance=0.3 * side,
        seed=seed,
    )
    return transform


def _whole_score(source: FeatureMap, target: FeatureMap, seed: int) -> float:
    """How consistently the whole source is found in the target."""
    width, height = source.image_size
    quad = np.array([[0.08, 0.08], [0.92, 0.08], [0.92, 0.92], [0.08, 0.92]]) * [width, height]
    try:
        pairs = correspond(source, quad, target, ring=0, across=14)
        _, score = estimate_similarity(
            pairs,
            threshold=_THRESHOLD * min(target.image_size),
            expected_scale=min(target.image_size) / min(source.image_size),
            least_distance=0.3 * min(width, height),
            seed=seed,
        )
    except GeometryError:
        return -1.0
    return score


def _clipped_box(quad: Points, size: tuple[int, int]) -> Points:
    """The quad's bounding box inside the picture, at least 8 pixels wide and high where the picture allows."""
    limit = np.asarray(size, dtype=np.float64) - 1
    low = np.clip(quad.min(0), 0, np.maximum(limit - 9, 0))
    high = np.clip(quad.max(0), low + 8, np.maximum(limit, low + 1))
    return np.array([low, [high[0], low[1]], high, [low[0], high[1]]])


def _centred(source: tuple[int, int], target: tuple[int, int]) -> MatrixTransform:
    scale = min(target) / min(source)
    shift = (np.asarray(target) - 1) / 2 - scale * (np.asarray(source) - 1) / 2
    return MatrixTransform(np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]]))
