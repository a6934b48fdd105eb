"""An edited target taken apart: the target below, each edit as a layer and as a mask."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dift_edit.edits.adjust import ColorAdjust
from dift_edit.edits.base import Edit
from dift_edit.edits.erase import Erase
from dift_edit.edits.labels import LabelLayer
from dift_edit.edits.layers import Layers
from dift_edit.edits.redaction import Redaction
from dift_edit.edits.sticker import Sticker
from dift_edit.geometry.base import Transform
from dift_edit.imaging.image import Image
from dift_edit.imaging.layered import ImageLayer, LayeredImage
from dift_edit.rendering.compositing import Compositing
from dift_edit.rendering.warp import Warped

__all__ = ["layered", "part_names"]

Mask = npt.NDArray[np.uint8]

_KINDS: dict[type, str] = {
    ColorAdjust: "recolour",
    Erase: "erase",
    LabelLayer: "labels",
    Redaction: "redaction",
}


def layered(
    edit: Edit,
    target: Image,
    transforms: Transform | Sequence[Transform],
    *,
    source: Image | None = None,
    compositing: Compositing | None = None,
) -> LayeredImage:
    """The target with an edit, as layers.

    Parameters
    ----------
    edit : Edit
        The edit; `Layers` give one layer each, on each instance.
    target : Image
        The image that it goes to.
    transforms : Transform, or sequence of Transform
        Source pixels to target pixels, as of a `Placement`, one for each instance.
    source : Image, optional
        The image that the edit was made on.
    compositing : Compositing, optional
        How it is put on; the defaults when None.

    Returns
    -------
    LayeredImage
        Its layers, composited with alpha-over in sRGB, give what ``edit.apply`` gives, to the rounding of 8 or 16 bits;
        where the target is itself transparent, only outside the layers that have a note.

    Raises
    ------
    EditError
        As ``edit.apply``.

    Notes
    -----
    A sticker that is laid over the target is a layer with its own transparency, and its opacity is the layer's. The
    other edits and blends depend on what lies below them; their layers show the finished pixels, and say so in a note.

    Nothing that a redaction hides is in any layer: the bottom one is the target after its last redaction, and what was
    put on before that is part of it.
    """
    places = list(transforms) if isinstance(transforms, Sequence) else [transforms]
    names = part_names(edit, len(places))
    parts = [(part, own, each) for each in places for part, own in _parts(edit, compositing or Compositing())]
    hidden = max((number for number, (part, *_) in enumerate(parts, 1) if isinstance(part, Redaction)), default=0)
    base = below = target
    reach = np.zeros(target.pixels.shape[:2], bool)
    layers, masks = [], {}
    for number, (part, settings, transform) in enumerate(parts, 1):
        name = names[number - 1]
        tracked = replace(below, written=np.zeros_like(reach))
        above, written = _put_on(part, tracked, transform, source, settings)
        over = part.layer_on(below, transform, source, settings) if isinstance(part, Sticker) else None
        masks[name] = _mask(part, transform, written, over)
        if number > hidden:
            opacity, note = _kept(part, settings)
            if note and below.alpha is not None and (below.alpha[written] < below.full_scale).any():
                note += ", not exact where the target is transparent"
            if note and opacity < 1:
                whole = _put_on(part, tracked, transform, source, replace(settings, opacity=1.0))
            else:
                whole = above, written
            made = _finished(*whole) if note or over is None else _over(over, below)
            if made is not None:
                image, at = made
                layers.append(ImageLayer(name=name, image=image, at=at, opacity=opacity, note=note))
        reach |= written
        below = above if below.written is None else replace(above, written=written | below.written)
        if number == hidden:
            base = below
    return LayeredImage(base=base, layers=tuple(layers), masks=masks, flat=below, reach=reach)


def part_names(edit: Edit, instances: int = 1) -> list[str]:
    """Names of the layers and masks of an edit on so many instances: "1 sticker", "2 recolour"…."""
    kinds = [
        _KINDS.get(type(part), "sticker" if isinstance(part, Sticker) else "edit")
        for part, _ in _parts(edit, Compositing())
    ]
    return [f"{number} {kind}" for number, kind in enumerate(kinds * instances, 1)]


def _put_on(
    part: Edit, target: Image, transform: Transform, source: Image | None, settings: Compositing
) -> tuple[Image, npt.NDArray[np.bool_]]:
    """The target with one edit, and the pixels that it set; for an edit that does not say so, those that it changed."""
    above = part.apply(target, transform, source=source, compositing=settings)
    if above.written is not None:
        return above, above.written
    changed: npt.NDArray[np.bool_] = (target.pixels != above.pixels).any(axis=2)
    if target.alpha is not None and above.alpha is not None:
        changed |= target.alpha != above.alpha
    return above, changed


def _parts(edit: Edit, settings: Compositing) -> list[tuple[Edit, Compositing]]:
    """The edits of `Layers`, also of layers in them, with the settings of each."""
    if not isinstance(edit, Layers):
        return [(edit, settings)]
    return [
        found for part, own in zip(edit.edits, edit.settings, strict=True) for found in _parts(part, own or settings)
    ]


def _mask(part: Edit, transform: Transform, written: npt.NDArray[np.bool_], over: Warped | None) -> Mask:
    """How much of each pixel is covered."""
    if over is None and isinstance(part, ColorAdjust | Erase):
        over = part.region.warped(transform, (written.shape[1], written.shape[0]))
    if over is None:
        return written.astype(np.uint8) * np.uint8(255)
    mask = np.zeros(written.shape, np.uint8)
    if not over.empty:
        left, top, right, bottom = over.box
        mask[top:bottom, left:right] = np.rint(np.clip(over.values[..., -1], 0, 1) * 255).astype(np.uint8)
    return mask


def _over(layer: Warped, like: Image) -> tuple[Image, tuple[int, int]] | None:
    """A premultiplied layer as an image with straight colours, without its empty border; None where nothing is seen."""
    alpha = np.clip(layer.values[..., 3], 0, 1)
    levels = np.float32(like.full_scale)
    box = _box(np.rint(alpha * levels) > 0 if like.full_scale != 1 else alpha > 0)
    if box is None:
        return None
    left, top, right, bottom = box
    values = layer.values[top:bottom, left:right]
    opacity = values[..., 3:]
    straight = np.divide(values[..., :3], opacity, out=np.zeros_like(values[..., :3]), where=opacity > 0)
    typed = np.clip(np.concatenate([straight, opacity], axis=2), 0, 1) * levels
    typed = (typed if like.full_scale == 1 else np.rint(typed)).astype(like.pixels.dtype)
    image = Image(np.ascontiguousarray(typed[..., :3]), np.ascontiguousarray(typed[..., 3]))
    return image, (layer.box[0] + left, layer.box[1] + top)


def _finished(above: Image, written: npt.NDArray[np.bool_]) -> tuple[Image, tuple[int, int]] | None:
    """The pixels that an edit set, as they are after it; None where it set none."""
    box = _box(written)
    if box is None:
        return None
    left, top, right, bottom = box
    seen = above.crop(box)
    inside = written[top:bottom, left:right]
    alpha = np.where(inside, above.full_scale if seen.alpha is None else seen.alpha, 0).astype(seen.pixels.dtype)
    return Image(np.where(inside[..., None], seen.pixels, 0).astype(seen.pixels.dtype), alpha), (left, top)


def _box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _kept(part: Edit, settings: Compositing) -> tuple[float, str]:
    """The opacity that an edit's layer can have, and what is baked into its pixels."""
    if isinstance(part, Sticker):
        if settings.blend == "over" and not settings.linear_light:
            return settings.opacity, ""
        bent = settings.blend == "laplacian" or settings.linear_light  # the opacity is no factor of what they change
        said = f"{settings.blend} blend" if settings.blend != "over" else "linear light"
        said += " and opacity" if bent and settings.opacity < 1 else ""
        return (1.0 if bent else settings.opacity), f"{said} baked"
    if isinstance(part, ColorAdjust | Erase):
        return settings.opacity, f"{'colour change' if isinstance(part, ColorAdjust) else 'filling'} baked"
    return 1.0, "baked"
