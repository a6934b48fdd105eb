"""What a patch looks like: pictures made ready, optical flow with a check, and which parts are seen."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.clips.tracking.pose import PoseFit, fit_pose
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import apply_homography, box_quad, hull_areas, quad_folds, quad_matrix, quad_side
from dift_edit.imaging.image import Image
from dift_edit.imaging.texture import local_moments, ratio_matches

__all__ = [
    "Grey",
    "Sighting",
    "Template",
    "correlation",
    "flow",
    "follow",
    "grey",
    "palette",
    "search",
    "share_inside",
    "working_size",
]

Grey = npt.NDArray[np.uint8]

# Numbers without a source are chosen.
_RING = 1.5  # points are taken from the quad grown by this factor
_MOST_POINTS = 160
_RETURN = 0.5  # pixels; flow forth and back must agree to this
_SEEN = 0.5  # zero-mean normalised correlation from which a place counts as seen
_CLEAR = 0.8  # share that looks right from which no other motion is tried
_BETTER = 0.97  # of the affine fit's noise: below, a patch is taken as flat and tilting
_WINDOW = (17, 17)
_GOOD_SIDE = 110.0  # pixels: a patch this large is followed well
_MOST_ENLARGED = 3.0
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 25, 0.005)


def working_size(size: tuple[int, int], side: float, short_side: int) -> tuple[int, int]:
    """The size in which frames are tracked.

    Parameters
    ----------
    size : (W, H)
        Of the frames.
    side : float
        Of the patch, in their pixels.
    short_side : int
        Larger frames are shrunk to this. Smaller ones are enlarged as far as this where the patch is small: the
        windows of the optical flow would hold too much of it.

    Returns
    -------
    (w, h)
    """
    scale = min(short_side / min(size), max(1.0, min(_GOOD_SIDE / side, _MOST_ENLARGED)))
    return max(round(size[0] * scale), 16), max(round(size[1] * scale), 16)


def grey(image: Image, size: tuple[int, int]) -> Grey:
    """An image in the working size, grey, with the local mean and contrast taken out.

    So a light that goes on or a shadow that passes changes little.

    Returns
    -------
    ndarray
        (h, w) uint8 around 128.
    """
    pixels = np.asarray(Image(image.pixels).to_pil()) if image.pixels.dtype != np.uint8 else image.pixels
    if image.size != size:
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if image.size[0] > size[0] else cv2.INTER_CUBIC)
    level = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
    window = (31, 31)
    mean = cv2.blur(level, window)
    variance = cv2.blur(level * level, window) - mean * mean
    flat = (level - mean) / np.sqrt(np.maximum(variance, 0) + 12.0**2)
    return np.asarray(np.clip(flat * 48 + 128, 0, 255), dtype=np.uint8)


def share_inside(corners: Points, size: tuple[int, int]) -> float:
    """The share of a quad's area that lies in the picture."""
    width, height = size
    area, _, shared = hull_areas(corners, box_quad((0, 0, width, height)))
    return shared / area if area > 1e-6 else 0.0


@dataclass(frozen=True, eq=False)
class Template:
    """A patch as one frame shows it.

    Attributes
    ----------
    picture : ndarray
        (h, w) uint8 from `grey`.
    corners : ndarray
        (4, 2) where the quad lies in it.
    points : ndarray
        (N, 2) places that are good to track, in the quad and round it.
    within : ndarray
        (N,) bool: in the quad itself.
    """

    picture: Grey
    corners: Points
    points: Points
    within: npt.NDArray[np.bool_]

    @cached_property
    def descriptors(self) -> tuple[Points, npt.NDArray[np.float32]] | None:
        """Places (M, 2) and SIFT descriptors (M, 128) in the quad; None when there are fewer than five."""
        mask = np.zeros(self.picture.shape, np.uint8)
        cv2.fillConvexPoly(mask, np.round(self.corners).astype(np.int32), 255)
        detector = cv2.SIFT.create(nfeatures=600, contrastThreshold=0.02)
        keypoints, descriptors = detector.detectAndCompute(self.picture, mask)
        if descriptors is None or len(descriptors) < 5:
            return None
        return np.array([keypoint.pt for keypoint in keypoints], dtype=np.float64), descriptors

    @classmethod
    def of(cls, picture: Grey, corners: Points) -> "Template":
        """Choose the points."""
        middle = corners.mean(0)
        grown = middle + (corners - middle) * _RING
        height, width = picture.shape
        low = np.clip(np.floor(grown.min(0)).astype(int), 0, [width, height])
        high = np.clip(np.ceil(grown.max(0)).astype(int) + 1, 0, [width, height])
        empty = cls(picture, corners, np.zeros((0, 2)), np.zeros(0, bool))
        if (high - low < 8).any():
            return empty
        crop = picture[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros(crop.shape, np.uint8)
        cv2.fillConvexPoly(mask, np.round(grown - low).astype(np.int32), 255)
        apart = max(quad_side(corners) * _RING / 16, 2.0)
        found = cv2.goodFeaturesToTrack(crop, _MOST_POINTS, 0.004, apart, mask=mask, blockSize=5)
        if found is None:
            return empty
        points = found[:, 0].astype(np.float64) + low
        return cls(picture, corners, points, _in_quad(corners, points))


def _in_quad(corners: Points, points: Points) -> npt.NDArray[np.bool_]:
    """Which points lie in a convex quad."""
    edges = np.roll(corners, -1, 0) - corners
    offsets = points[:, None] - corners
    sides = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0]
    return np.asarray((sides >= 0).all(1) | (sides <= 0).all(1))


@dataclass(frozen=True, eq=False)
class Sighting:
    """A template found in a frame.

    Attributes
    ----------
    pose : PoseFit
        Where.
    seen : float
        Share, 0 to 1, of the quad's textured area in the image that looks like the template.
    """

    pose: PoseFit
    seen: float


def follow(
    template: Template, start: Points, picture: Grey, *, warp: bool, levels: int = 2, planar: bool = True
) -> Sighting | None:
    """Find a template near a guess with sub-pixel precision.

    Parameters
    ----------
    template : Template
        What to find.
    start : ndarray
        (4, 2) guess of its corners in `picture`.
    picture : ndarray
        The frame, from `grey`.
    warp : bool
        Warp the template to the guess first (needed where it was turned or scaled), otherwise only use the guess
        as the start of the flow.
    levels : int
        Levels of the flow's pyramid: how far it may lie from the guess.
    planar : bool
        Whether the perspective may change, which only a rigid, flat patch does in this way.

    Returns
    -------
    Sighting or None
        None when it cannot be found there.
    """
    best: Sighting | None = None
    for _ in range(2 if warp else 1):
        if len(template.points) < 6:
            return None
        matrix = quad_matrix(template.corners, start)
        guess = apply_homography(matrix, template.points)
        if warp:
            target, good = flow(_warped(template, matrix, picture.shape), picture, guess, guess, levels)
        else:
            target, good = flow(template.picture, picture, template.points, guess, levels)
        best = _best_fit(template, start, target, good, picture, planar=planar)
        if best is None:
            return None
        moved = float(np.abs(best.pose.corners - start).max())
        start, levels = best.pose.corners, 1
        if moved < 0.25:
            break
    return best


def _best_fit(
    template: Template,
    start: Points,
    target: Points,
    good: npt.NDArray[np.bool_],
    picture: Grey,
    *,
    planar: bool,
) -> Sighting | None:
    """Of the motions that the middle of the quad, all of it, and its surroundings tell, the one that fits its look.

    What is edited may be smaller than the quad, and the background may move otherwise.
    """
    offset = template.points - template.corners.mean(0)
    central = np.linalg.norm(offset, axis=1) < 0.4 * quad_side(template.corners)
    best: Sighting | None = None
    for seeds in (template.within, central, np.ones(len(good), bool)):
        if (seeds & good).sum() < 8:
            continue
        pose = _fit(template, start, good, target, seeds[good], planar=planar)
        if pose is None or not _plausible(pose.corners, start):
            continue
        sighting = Sighting(pose, _seen(template, pose.corners, picture))
        if best is None or sighting.seen > best.seen + 0.02:
            best = sighting
        if best.seen > _CLEAR:
            break
    return best


def _fit(
    template: Template,
    start: Points,
    good: npt.NDArray[np.bool_],
    target: Points,
    seeds: npt.NDArray[np.bool_],
    *,
    planar: bool,
) -> PoseFit | None:
    """An affine change of the pose; a projective one where that explains the pairs clearly better."""
    weights = np.where(template.within, 1.0, 0.4 if template.within[good].sum() >= 12 else 0.8)
    pairs = (template.corners, start, template.points[good], target[good], weights[good])
    affine = fit_pose(*pairs, seeds=seeds, tilts=False)
    if not planar:
        return affine
    projective = fit_pose(*pairs, seeds=seeds)
    if affine is None or projective is None:
        return projective
    return projective if projective.noise < _BETTER * affine.noise else affine


def flow(before: Grey, after: Grey, points: Points, guess: Points, levels: int) -> tuple[Points, npt.NDArray[np.bool_]]:
    """Pyramidal Lucas–Kanade (Bouguet 2000) forth and back: targets (N, 2) and whether both agree."""
    height, width = after.shape
    first = points.astype(np.float32)[:, None]
    start = guess.astype(np.float32)[:, None].copy()
    options: dict[str, Any] = {"winSize": _WINDOW, "criteria": _STOP, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, first, start, maxLevel=levels, **options)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, there, first.copy(), maxLevel=levels, **options)
    target = there[:, 0].astype(np.float64)
    good = (found.ravel() > 0) & (returned.ravel() > 0)
    good &= np.linalg.norm(back[:, 0] - first[:, 0], axis=1) < _RETURN
    for array, margin in ((target, 2), (points, 2)):
        good &= ((array > margin) & (array < np.array([width, height]) - 1 - margin)).all(1)
    return target, good


def _warped(template: Template, matrix: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Grey:
    """The template's frame as it would look under a pose."""
    height, width = shape
    return np.asarray(
        cv2.warpPerspective(
            template.picture, matrix, (width, height), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=128,
        )
    )  # fmt: skip


def _plausible(corners: Points, start: Points) -> bool:
    """Whether the quad is still convex and has not collapsed or exploded."""
    return not quad_folds(corners) and 0.5 < quad_side(corners) / quad_side(start) < 2


def _seen(template: Template, corners: Points, picture: Grey) -> float:
    """Share of the quad's textured area in the picture that correlates with the template."""
    height, width = picture.shape
    side = quad_side(corners)
    radius = int(np.clip(round(side / 14), 3, 12))
    low = np.clip(np.floor(corners.min(0)).astype(int) - radius, 0, [width, height])
    high = np.clip(np.ceil(corners.max(0)).astype(int) + radius + 1, 0, [width, height])
    if (high - low < 2 * radius).any():
        return 0.0
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1.0]])
    matrix = shift @ quad_matrix(template.corners, corners)
    box = (int(high[0] - low[0]), int(high[1] - low[1]))
    known = cv2.warpPerspective(np.full_like(template.picture, 255), matrix, box, flags=cv2.INTER_NEAREST) > 0
    a = cv2.warpPerspective(template.picture, matrix, box, flags=cv2.INTER_LINEAR).astype(np.float32)
    b = picture[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    inside = np.zeros(a.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.round(corners - low).astype(np.int32), 1)
    alike, texture = correlation(a, b, 2 * radius + 1)
    weight = np.minimum(texture, 400.0) * (inside > 0) * known
    total = float(weight.sum())
    return float(weight[alike > _SEEN].sum()) / total if total > 0 else 0.0


def correlation(
    a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], window: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Zero-mean normalised correlation in a window round every pixel, and the variance of `a` there."""
    common, variance_a, variance_b = local_moments(a, b, window)
    variance_a, variance_b = np.maximum(variance_a, 0), np.maximum(variance_b, 0)
    return common / np.sqrt((variance_a + 4) * (variance_b + 4)), variance_a


def palette(image: Image, corners: Points) -> npt.NDArray[np.float32]:
    """Which colours a quad holds.

    Parameters
    ----------
    image : Image
        A frame.
    corners : ndarray
        (4, 2) in its pixels.

    Returns
    -------
    ndarray
        (4, 16, 16) float32 histogram over CIELAB that sums to 1; all zero when the quad lies outside.
    """
    low = np.clip(np.floor(corners.min(0)).astype(int), 0, image.size)
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 1, 0, image.size)
    if (high - low < 2).any():
        return np.zeros((4, 16, 16), np.float32)
    pixels = np.asarray(Image(image.pixels[low[1] : high[1], low[0] : high[0]]).to_pil())
    mask = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.round(corners - low).astype(np.int32), 255)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    histogram = cv2.calcHist([lab], [0, 1, 2], mask, [4, 16, 16], [0, 256, 64, 192, 64, 192])
    smooth = np.stack([cv2.GaussianBlur(layer, (0, 0), 0.8) for layer in histogram])
    return np.asarray(smooth / max(float(smooth.sum()), 1e-6), dtype=np.float32)


def search(template: Template, like: Points, picture: Grey) -> list[Points]:
    """Guesses where in the whole frame the template lies, for `follow`.

    Parameters
    ----------
    template : Template
        What to look for.
    like : ndarray
        (4, 2) corners of a pose with the expected scale and turn.
    picture : ndarray
        The frame.

    Returns
    -------
    list of ndarray
        (4, 2) corners: from local features (Lowe 2004), which know turn and scale, and from plain correlation at
        the expected turn and scale.
    """
    guesses = (_by_local_features(template, picture), _by_correlation(template, like, picture))
    return [guess for guess in guesses if guess is not None]


def _by_local_features(template: Template, picture: Grey) -> Points | None:
    """A similarity from SIFT matches that pass the ratio test."""
    detector = cv2.SIFT.create(nfeatures=1500, contrastThreshold=0.02)
    keypoints, descriptors = detector.detectAndCompute(picture, None)
    if descriptors is None or template.descriptors is None or len(descriptors) < 2:
        return None
    known, wanted = template.descriptors
    kept = ratio_matches(wanted, descriptors)
    if len(kept) < 5:
        return None
    source = known[kept[:, 0]]
    target = np.array([keypoints[index].pt for index in kept[:, 1]], dtype=np.float64)
    side = quad_side(template.corners)
    matrix, chosen = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=max(0.05 * side, 2.5))
    if matrix is None or chosen.sum() < 5:
        return None
    guess: Points = template.corners @ matrix[:, :2].T + matrix[:, 2]
    return guess if 0.2 < quad_side(guess) / side < 5 else None


def _by_correlation(template: Template, like: Points, picture: Grey) -> Points | None:
    """The place of greatest correlation at the expected turn and scale."""
    shrink = float(np.clip(quad_side(like) / 24, 1, 4))
    height, width = picture.shape
    small = cv2.resize(picture, (round(width / shrink), round(height / shrink)), interpolation=cv2.INTER_AREA)
    low, high = like.min(0), like.max(0)
    box = np.ceil((high - low) / shrink).astype(int)
    if (box < 6).any() or box[0] >= small.shape[1] or box[1] >= small.shape[0]:
        return None
    placed = (like - low) / shrink
    matrix = quad_matrix(template.corners, placed)
    patch = cv2.warpPerspective(template.picture, matrix, (int(box[0]), int(box[1])), flags=cv2.INTER_AREA)
    score = cv2.matchTemplate(small, patch, cv2.TM_CCOEFF_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(score)
    if best < 0.3:
        return None
    return np.asarray(like - low + np.array([x, y]) * shrink)
