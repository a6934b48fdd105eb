"""Edit by example: what a person changed between a picture before and after."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dift_edit.edits.adjust import ColorAdjust
from dift_edit.edits.base import Edit
from dift_edit.edits.difference import changed_area, noise_threshold, opaque, unmixed
from dift_edit.edits.erase import Erase
from dift_edit.edits.layers import Layers
from dift_edit.edits.redaction import Redaction
from dift_edit.edits.region import Region
from dift_edit.edits.sticker import Sticker
from dift_edit.errors import EditError
from dift_edit.imaging.image import Image, as_image
from dift_edit.rendering.blending import solve_poisson

__all__ = ["DIFFERENCE_KINDS", "PaintLayer", "edit_from_difference"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

DIFFERENCE_KINDS = ("auto", "paint", "adjust", "erase", "redact")
_MAX_SAMPLES = 40_000


class PaintLayer(Sticker):
    """What was painted on the source, as a transparent canvas of its size."""

    def recipe(self) -> dict[str, Any]:
        """Plain data: see `dift_edit.edits.stored`."""
        return {"type": "paint", "image": self.image}


def edit_from_difference(before: Any, after: Any, *, kind: str = "auto", threshold: float | None = None) -> Edit:
    """The edit that turns one picture into the other.

    Parameters
    ----------
    before, after : Image, path, PIL.Image.Image or array
        The source and the same picture after the edit, of the same size.
    kind : {"auto", "paint", "adjust", "erase", "redact"}
        What was done. "auto" looks at each changed part: where the detail of the picture is still there in other
        colours, it was adjusted; where only the detail went, it was blurred or pixelated; where the surroundings go
        on instead, something was erased; else it was painted.
    threshold : float, optional
        Smallest change of a channel, in [0, 1], that counts; from the noise of the pair when None.

    Returns
    -------
    Edit
        A `PaintLayer`, a `ColorAdjust`, an `Erase` or a `Redaction`; `Layers` of them when several things were done.

    Raises
    ------
    EditError
        If the sizes differ or nothing changed.
    """
    before, after = as_image(before), as_image(after)
    if kind not in DIFFERENCE_KINDS:
        raise EditError(f"The kind of the difference is {kind!r}: use one of {', '.join(DIFFERENCE_KINDS)}.")
    if before.size != after.size:
        raise EditError(
            f"{_called(after, 'The edited picture')} is {after.size[0]}×{after.size[1]} but "
            f"{_called(before, 'the source')} is {before.size[0]}×{before.size[1]}: "
            "save the edited picture in the source's size, without cropping."
        )
    below, seen = opaque(before), opaque(after)
    limit = noise_threshold(below, seen) if threshold is None else threshold
    if kind in ("auto", "adjust"):
        matrix = _whole_picture_map(below, seen)
        if matrix is not None:
            region = Region.mask(np.ones(below.shape[:2], np.float32), everywhere=True)
            return ColorAdjust(region=region, matrix=matrix)
    solid = changed_area(below, seen, limit)
    if not solid.any():
        raise EditError(
            f"{_called(after, 'The edited picture')} shows no change against {_called(before, 'the source')}: "
            "give the picture before and after the edit."
        )
    parts = _parts(below, seen, solid) if kind == "auto" else {kind: [solid]}
    edits: list[Edit] = [_erased(part) for part in parts.get("erase", [])]
    edits += [_redacted(seen, part) for part in parts.get("redact", [])]
    edits += [_adjusted(below, seen, part) for part in parts.get("adjust", [])]
    if "paint" in parts:
        edits.append(_painted(after, below, seen, np.logical_or.reduce(parts["paint"]), limit))
    return edits[0] if len(edits) == 1 else Layers(edits)


def _parts(below: Floats, seen: Floats, solid: Mask) -> dict[str, list[Mask]]:
    """Connected parts by what was done there; parts close to each other belong together."""
    near = max(2, round(0.01 * max(solid.shape)))
    labels, count = ndimage.label(ndimage.binary_dilation(solid, iterations=near))
    labels = np.where(solid, labels, 0)
    parts: dict[str, list[Mask]] = {}
    for number, window in enumerate(ndimage.find_objects(labels, count), start=1):
        rim = max(8, round(0.5 * max(s.stop - s.start for s in window)))
        wide = tuple(
            slice(max(0, s.start - rim), min(length, s.stop + rim))
            for s, length in zip(window, solid.shape, strict=True)
        )
        own = labels[wide] == number
        kind = _kind(below[wide], seen[wide], own, solid[wide])
        mask = np.zeros_like(solid)
        mask[wide] = own
        parts.setdefault(kind, []).append(mask)
    return parts


def _kind(below: Floats, seen: Floats, part: Mask, changed: Mask) -> str:
    """What was done in a part of a picture; painting unless the evidence for something else is strong."""
    inner = ndimage.binary_erosion(part, iterations=2)
    if inner.sum() < 60:
        return "paint"
    depth = np.asarray(cv2.distanceTransform(np.pad(part.astype(np.uint8), 1), cv2.DIST_L2, 5))[1:-1, 1:-1]
    if _keeps_detail(below, seen, depth > 0.35 * depth.max()):
        return "adjust"
    if part.all():
        return "paint"
    broad = 0.25 * float(np.sqrt(part.sum()))
    moved = np.asarray(cv2.GaussianBlur((seen - below) * part[..., None], (0, 0), broad))[part]
    if _rms(moved) < 0.02 and _roughness(seen, inner) < 0.5 * _roughness(below, inner):
        return "redact"
    context = solve_poisson(seen, part)
    rim = ndimage.binary_dilation(part, iterations=6) & ~changed
    texture = _rms((seen - np.asarray(cv2.GaussianBlur(seen, (0, 0), 3.0)))[rim])
    rest, removed = _rms((seen - context)[part]), _rms((below - context)[part])
    gone = rest < 0.4 * removed and rest < 2 * texture + 0.03 and _rms(moved) > 0.3 * removed
    return "erase" if gone else "paint"


def _roughness(picture: Floats, inside: Mask) -> float:
    return _rms((picture - np.asarray(cv2.GaussianBlur(picture, (0, 0), 4.0)))[inside])


def _keeps_detail(below: Floats, seen: Floats, inner: Mask) -> bool:
    """Whether the fine structure before, in other colours, is still there after."""
    first, second = _samples(below[inner], seen[inner])
    matrix = _fit(first, second)
    detail = [
        (picture - np.asarray(cv2.GaussianBlur(picture, (0, 0), 2.5)))[inner].ravel()
        for picture in (_mapped(matrix, below), seen)
    ]
    if min(float(values.std()) for values in detail) < 0.004:
        return False
    kept = float(np.corrcoef(detail[0], detail[1])[0, 1])
    unexplained = _rms(second - _mapped(matrix, first)) / max(_rms(second - second.mean(axis=0)), 1e-6)
    return kept > 0.8 and unexplained < (0.6 if kept > 0.9 else 0.4)


def _whole_picture_map(below: Floats, seen: Floats) -> npt.NDArray[np.float64] | None:
    """The colour map that explains a change of the whole picture; None when there is no such."""
    first, second = _samples(below.reshape(-1, 3), seen.reshape(-1, 3))
    change = np.abs(second - first).max(axis=1)
    if np.mean(change > 0.008) < 0.6 or _rms(second - first) < 0.01:
        return None
    matrix = _fit(first, second)
    rest = np.abs(second - _mapped(matrix, first)).max(axis=1)
    explained = np.mean(rest < np.maximum(0.35 * change, 0.02))
    # a rest as large as the change itself is the noise of a picture that was written again
    return matrix if explained > 0.8 and np.median(rest) < 0.4 * np.median(change) else None


def _samples(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    step = max(1, len(first) // _MAX_SAMPLES)
    return first[::step], second[::step]


def _fit(first: Floats, second: Floats) -> npt.NDArray[np.float64]:
    """The affine map (3, 4) of colours, robustly, drawn towards one factor where the colours leave it open."""
    design = np.c_[first.astype(np.float64), np.ones(len(first))]
    goal = second.astype(np.float64)
    weight = np.ones(len(first))
    prior = np.c_[np.eye(3), np.zeros(3)].T
    for _ in range(6):
        normal = (design * weight[:, None]).T @ design
        ridge = np.diag([1, 1, 1, 1e-3]) * (1e-3 * weight.sum())
        solution = np.linalg.solve(normal + ridge, (design * weight[:, None]).T @ goal + ridge @ prior)
        rest = np.linalg.norm(goal - design @ solution, axis=1)
        scale = max(1.4826 * float(np.median(rest)), 0.004)
        weight = 1 / (1 + (rest / (2 * scale)) ** 2) ** 2
    return solution.T


def _mapped(matrix: npt.NDArray[np.float64], colors: Floats) -> Floats:
    return np.asarray(np.clip(colors @ matrix[:, :3].T + matrix[:, 3], 0, 1), dtype=np.float32)


def _adjusted(below: Floats, seen: Floats, part: Mask) -> ColorAdjust:
    """The colour map inside, and how far each pixel went along it."""
    weight = ndimage.binary_erosion(part, iterations=2).astype(np.float32)
    weight = weight if weight.any() else part.astype(np.float32)
    for _ in range(2):
        full = weight > 0.8
        chosen = full if full.sum() > 30 else part
        matrix = _fit(*_samples(below[chosen], seen[chosen]))
        goal = _mapped(matrix, below) - below
        # a mean over neighbours, because a single pixel's change may be mostly noise
        along = cv2.GaussianBlur(((seen - below) * goal).sum(axis=2), (0, 0), 1.5)
        length = cv2.GaussianBlur((goal**2).sum(axis=2), (0, 0), 1.5)
        share = np.clip((np.asarray(along) / np.maximum(length, 1e-6) - 0.05) / 0.9, 0, 1)
        weight = np.where(ndimage.binary_dilation(part, iterations=2), share, 0).astype(np.float32)
    return ColorAdjust(region=Region.mask(weight), matrix=matrix)


def _redacted(seen: Floats, part: Mask) -> Redaction:
    """Squares have no change between most neighbours; a blur changes everywhere."""
    inner = ndimage.binary_erosion(part, iterations=2)
    steps = np.abs(np.diff(seen, axis=1)).max(axis=2)[inner[:, 1:]]
    edge = float(np.percentile(steps, 99.7)) if steps.size else 0.0
    flat = edge > 0.04 and np.median(steps) < 0.2 * edge
    mode = "pixelate" if flat else "blur"
    return Redaction(region=Region.mask(part.astype(np.float32)), mode=mode, margin=0.0)


def _erased(part: Mask) -> Erase:
    grown = ndimage.binary_dilation(part, iterations=1).astype(np.float32)
    return Erase(Region.mask(np.clip(np.asarray(cv2.GaussianBlur(grown, (0, 0), 0.8)), 0, 1)))


def _painted(after: Image, below: Floats, seen: Floats, part: Mask, threshold: float) -> PaintLayer:
    colors, matte = unmixed(below, seen, part, max(1.5 * threshold, 0.05))
    full, kind = after.full_scale, after.pixels.dtype
    scaled = [values * full if full == 1 else np.rint(values * full) for values in (colors, matte)]
    return PaintLayer(Image(scaled[0].astype(kind), scaled[1].astype(kind), after.file))


def _rms(values: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _called(image: Image, otherwise: str) -> str:
    return image.name if image.file else otherwise
