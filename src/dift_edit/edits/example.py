"""Edit by example: what a person changed between a picture before and after."""

import logging
from typing import Any, get_args

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dift_edit.edits.adjust import ColorAdjust
from dift_edit.edits.base import Edit
from dift_edit.edits.difference import changed_area, noise_threshold, opaque, saved_again, unmixed
from dift_edit.edits.erase import Erase
from dift_edit.edits.layers import Layers
from dift_edit.edits.redaction import Redaction
from dift_edit.edits.region import Region
from dift_edit.edits.sticker import Sticker
from dift_edit.errors import EditError
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.rendering.blending import solve_poisson
from dift_edit.types import DifferenceKind, ImageLike

__all__ = ["DIFFERENCE_KINDS", "PaintLayer", "describe_difference", "edit_from_difference"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

DIFFERENCE_KINDS = get_args(DifferenceKind)
_log = logging.getLogger(__name__)
_MAX_SAMPLES = 40_000
"""Pairs of pixels from which a change of colour is fitted (chosen)."""


class PaintLayer(Sticker):
    """What was painted on the source, as a transparent canvas of its size."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data: see `dift_edit.edits.stored`."""
        return {"type": "paint", "image": self.image}


def edit_from_difference(
    before: ImageLike, after: ImageLike, *, kind: DifferenceKind = "auto", threshold: float | None = None
) -> Edit:
    """The edit that turns one image into the other.

    Parameters
    ----------
    before, after : Image, path, PIL.Image.Image or array
        The source and the same image after the edit, of the same size.
    kind : {"auto", "paint", "recolour", "redact", "erase"}
        What was done. "auto" looks at each changed part: where the detail of the image is still there in other
        colours, it was recoloured; where only the detail went, or a plain black, grey or white shape covers it, it was
        redacted; where the surroundings go on instead, something was erased; else it was painted. What was found is
        logged, see `describe_difference`.
    threshold : float, optional
        Smallest change of a channel, in [0, 1], that counts; from the noise of the pair when None.

    Returns
    -------
    Edit
        A `PaintLayer`, a `ColorAdjust`, an `Erase` or a `Redaction`; `Layers` of them when several things were done.

    Raises
    ------
    EditError
        If the sizes differ, or nothing changed but what saving an image again changes.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> before = de.load_image(FOLDER / "cat.jpg")
    >>> pixels = before.pixels.copy()
    >>> pixels[200:300, 300:500] = (220, 40, 40)
    >>> edit = de.edit_from_difference(before, before.with_pixels(pixels, None))
    >>> type(edit).__name__, edit.quad[0].tolist()
    ('PaintLayer', [299.5, 199.5])
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
    edit = _edit(before, after, kind, threshold)
    _log.info("%s: found %s", _called(after, "the edited picture"), describe_difference(edit, after.size))
    return edit


def describe_difference(edit: Edit, size: tuple[int, int]) -> str:
    """What `edit_from_difference` found, in words, such as "recolour, 12 % of the image".

    Parameters
    ----------
    edit : Edit
        The edit.
    size : (W, H)
        Of the source in pixels.

    Returns
    -------
    str
    """
    shares: dict[str, float] = {}
    for part in edit.edits if isinstance(edit, Layers) else [edit]:
        if isinstance(part, PaintLayer):
            word, covered = "paint", float((part.image.alpha > 0).sum() if part.image.alpha is not None else 0)
        else:
            word = {ColorAdjust: "recolour", Erase: "erase"}.get(type(part), "redact")
            region = getattr(part, "region", None)
            covered = 0.0 if region is None else float((region.weight > 0).sum())
        shares[word] = shares.get(word, 0.0) + covered / (size[0] * size[1])
    said = [f"{word}, {_percent(share)}" for word, share in sorted(shares.items(), key=lambda item: -item[1])]
    return f"{'; '.join(said)} of the image"


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 else f"{share:.1%}".replace("%", " %")


def _edit(before: Image, after: Image, kind: str, threshold: float | None) -> Edit:
    original, seen = opaque(before), opaque(after)
    if kind in ("auto", "recolour"):
        matrix = _whole_picture_map(original, seen)
        if matrix is not None:
            region = Region.mask(np.ones(original.shape[:2], np.float32), everywhere=True)
            return ColorAdjust(region=region, matrix=matrix)
    below, loss = saved_again(original, seen)
    limit = noise_threshold(below, seen) if threshold is None else threshold
    solid = changed_area(below, seen, limit, loss)
    if not solid.any():
        same = np.array_equal(original, seen)
        raise EditError(
            f"{_called(after, 'The edited picture')} shows no edit against {_called(before, 'the source')}, "
            f"{'not a pixel differs' if same else 'only the losses of saving it again'}: "
            "give the picture before and after the edit."
        )
    parts = _parts(below, seen, solid) if kind == "auto" else {kind: [solid]}
    edits: list[Edit] = [_erased(part) for part in parts.get("erase", [])]
    edits += [_redacted(seen, part) for part in parts.get("redact", [])]
    edits += [_adjusted(below, seen, part) for part in parts.get("recolour", [])]
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
    return _joined(below, seen, parts)


def _joined(below: Floats, seen: Floats, parts: dict[str, list[Mask]]) -> dict[str, list[Mask]]:
    """The same, with parts that the largest part's change of colours explains joined to it."""
    if "recolour" not in parts:
        return parts
    main = max(parts["recolour"], key=lambda mask: int(mask.sum()))
    matrix = _fit(*_samples(below[main], seen[main]))
    kept: dict[str, list[Mask]] = {}
    for kind, masks in parts.items():
        for mask in masks:
            small = kind == "recolour" or (kind in ("paint", "erase") and mask.sum() < 0.2 * main.sum())
            change = _rms(seen[mask] - below[mask])
            if mask is not main and small and _rms(seen[mask] - _mapped(matrix, below[mask])) < 0.5 * change:
                main = main | mask
            elif kind != "recolour" or mask.sum() < main.sum():
                kept.setdefault(kind, []).append(mask)
    kept["recolour"] = [main, *(mask for mask in kept.get("recolour", []) if not (mask & main).all(where=mask))]
    return kept


def _kind(below: Floats, seen: Floats, part: Mask, changed: Mask) -> str:
    """What was done in a part of a picture; painting unless the evidence for something else is strong."""
    inner = ndimage.binary_erosion(part, iterations=2)
    if inner.sum() < 60:
        return "paint"
    depth = _depth(part)
    color = _one_color(seen, depth)
    rim = ndimage.binary_dilation(part, iterations=6) & ~changed
    apart = color is not None and np.abs(color - np.median(seen[rim], axis=0)).max() > 0.1 if rim.any() else True
    if color is not None and apart and _rms(below[inner] - below[inner].mean(axis=0)) > 0.02:  # else it was retouched
        return "redact" if float(np.ptp(color)) < 0.1 and _is_plain(_of_color(seen, part, color)) else "paint"
    if _keeps_detail(below, seen, depth > 0.35 * depth.max()):
        return "recolour"
    if _coarsened(below, seen, part, inner):
        return "redact"
    if part.all():
        return "paint"
    broad = 0.25 * float(np.sqrt(part.sum()))
    moved = np.asarray(cv2.GaussianBlur((seen - below) * part[..., None], (0, 0), broad))[part]
    if _rms(moved) < 0.02 and _roughness(seen, inner) < 0.5 * _roughness(below, inner):
        return "redact"
    context = solve_poisson(seen, part)
    texture = _rms((seen - np.asarray(cv2.GaussianBlur(seen, (0, 0), 3.0)))[rim])
    rest, removed = _rms((seen - context)[part]), _rms((below - context)[part])
    gone = rest < 0.4 * removed and rest < 2 * texture + 0.03 and _rms(moved) > 0.3 * removed
    return "erase" if gone else "paint"


def _depth(part: Mask) -> Floats:
    """Distance of each pixel from the edge of an area."""
    padded = np.pad(part.astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5), dtype=np.float32)[1:-1, 1:-1]


def _deep(depth: Floats) -> Mask:
    """The inside of an area, away from an edge that a JPEG blurs."""
    return np.asarray(depth > min(8.0, 0.5 * depth.max()))


def _one_color(seen: Floats, depth: Floats) -> npt.NDArray[np.floating] | None:
    """The colour (3,) that fills an area; None when it holds several."""
    colors = seen[_deep(depth)]
    middle = np.median(colors, axis=0)
    return middle if np.mean(np.abs(colors - middle).max(axis=1) < 0.03) > 0.9 else None


def _of_color(seen: Floats, part: Mask, color: npt.NDArray[np.floating]) -> Mask:
    """What of an area has the colour that fills it; its rim may be what a JPEG left beside it."""
    close = part & (np.abs(seen - color).max(axis=2) < 0.1)
    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(close, iterations=2)))


def _is_plain(part: Mask) -> bool:
    """Whether an area is a box, an ellipse or the like, as one is that hides something, not a drawing."""
    return bool(part.any() and part.sum() > 0.85 * _hull(part).sum())


def _hull(part: Mask) -> Mask:
    outlines, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(part.shape, np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(np.concatenate(outlines)), 1)
    return filled > 0


def _coarsened(below: Floats, seen: Floats, part: Mask, inner: Mask) -> bool:
    """Whether what is seen is what was there, blurred or in squares: explained by it, but without its detail."""
    variety = _rms(seen[inner] - seen[inner].mean(axis=0))
    if variety < 0.01:
        return False
    longest = float(np.sqrt(part.sum()))
    scales = [scale for scale in (1.5, 2.5, 4.0, 6.0, 9.0, 13.0, 20.0, 30.0) if scale < 0.3 * longest]
    rest = min(_rms((np.asarray(cv2.GaussianBlur(below, (0, 0), scale)) - seen)[inner]) for scale in scales)
    # the middle of the steps between neighbours: nearly none inside squares, small ones in a blur
    before, after = (
        float(np.median(np.abs(np.diff(picture, axis=1)).max(axis=2)[inner[:, 1:]])) for picture in (below, seen)
    )
    softer = _roughness(seen, inner) < 0.7 * _roughness(below, inner) or after < 0.3 * before
    explained, flatter = rest / variety, after / before if before > 0 else 1.0
    return bool((explained < 0.6 and flatter < 0.6 and softer) or (explained < 0.45 and flatter < 0.85))


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
    """One colour is a fill; squares have no change between most neighbours; a blur changes everywhere.

    Where squares or a blur happen to look like the image below, the change has gaps, also at its edge: the hull of
    the part is taken, because a gap would show on every target what is hidden on the source.
    """
    depth = _depth(part)
    color = _one_color(seen, depth)
    if color is not None:
        filled = _of_color(seen, part, color)
        name = "#" + "".join(f"{round(255 * float(value)):02x}" for value in color)
        region = Region.mask((filled if filled.any() else part).astype(np.float32))
        return Redaction(region=region, mode="fill", color=name, margin=0.0)
    whole = _hull(part)
    region = Region.mask((whole if whole.sum() < 2 * part.sum() else part).astype(np.float32))
    inner = _deep(depth)
    steps = np.abs(np.diff(seen, axis=1)).max(axis=2)[inner[:, 1:]]
    edge = float(np.percentile(steps, 99.7)) if steps.size else 0.0
    flat = edge > 0.04 and np.median(steps) < 0.2 * edge
    return Redaction(region=region, mode="pixelate" if flat else "blur", margin=0.0)


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
