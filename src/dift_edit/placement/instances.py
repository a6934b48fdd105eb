"""Several instances of the object in one target."""

import cv2
import numpy as np

from dift_edit.features.base import Featurizer
from dift_edit.geometry.quad import check_quad, quad_iou
from dift_edit.imaging.files import as_image
from dift_edit.placement.placement import Placement, locate_features
from dift_edit.types import Engine, ImageLike, MaskLike, Mirror, PinsLike, QuadLike

__all__ = ["locate_instances"]


def locate_instances(
    source: ImageLike,
    quad: QuadLike,
    target: ImageLike,
    *,
    featurizer: Featurizer,
    count: int = 10,
    min_confidence: float = 0.5,
    engine: Engine = "auto",
    mirror: Mirror = "auto",
    seed: int = 0,
    pins: PinsLike | None = None,
    source_mask: MaskLike | None = None,
    target_mask: MaskLike | None = None,
    surface: bool = True,
) -> list[Placement]:
    """Place an edit on every instance of the object in a target.

    After each placement the place is taken out of the target, and the next best one is looked for.

    Parameters
    ----------
    source, target : Image, path or array
        The two images.
    quad : array_like
        (4, 2) corners of the edit in source pixels.
    featurizer : Featurizer
        Gives the features.
    count : int
        Greatest number of placements.
    min_confidence : float
        A placement of less confidence ends the search.
    engine, mirror, pins, source_mask
        See `locate`.
    seed : int
        Random seed.
    target_mask : array_like, optional
        (H, W) true where instances may lie.
    surface : bool
        Whether to look for the very same surface in the pixels, see `locate`.

    Returns
    -------
    list of Placement
        In the order found; empty when not even the first is trusted.
    """
    first, second = as_image(source), as_image(target)
    corners = check_quad(quad, first.size)
    near, far = featurizer(first, seed=seed), featurizer(second, seed=seed)
    mirrored = second.mirrored()
    width, height = second.size
    free = np.ones((height, width), bool) if target_mask is None else np.array(target_mask, dtype=bool)
    found: list[Placement] = []
    while len(found) < count and free.any():
        placement = locate_features(
            near,
            corners,
            far,
            lambda: featurizer(mirrored, seed=seed),
            engine=engine,
            mirror=mirror,
            seed=seed,
            pins=pins,
            source_mask=source_mask,
            target_mask=free,
            pictures=(first, second) if surface else None,
        )
        taken = any(quad_iou(placement.quad, other.quad) > 0.3 for other in found)
        if placement.reason or placement.confidence < min_confidence or taken:
            break
        found.append(placement)
        covered = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(covered, np.round(placement.quad).astype(np.int32), 1)
        free &= covered == 0
    return found
