"""Several edits as one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dift_edit.edits.base import Edit
from dift_edit.edits.erase import Erase
from dift_edit.edits.redaction import Redaction
from dift_edit.edits.sticker import Sticker
from dift_edit.errors import EditError
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing

__all__ = ["Layers", "artwork_on", "cautions", "hides_content", "reaching"]


class Layers:
    """Edits that are put on one after the other, the first lowest.

    Parameters
    ----------
    edits : sequence of Edit
        At least one.
    settings : sequence of Compositing or None, optional
        How each is put on; None takes what `apply` gets.

    Raises
    ------
    EditError
        If there is no edit, or another number of settings than edits.
    """

    def __init__(self, edits: Sequence[Edit], settings: Sequence[Compositing | None] | None = None) -> None:
        self.edits = list(edits)
        self.settings = [None] * len(self.edits) if settings is None else list(settings)
        if not self.edits:
            raise EditError("Layers need one edit or more.")
        if len(self.settings) != len(self.edits):
            raise EditError(f"There are {len(self.edits)} layers but {len(self.settings)} settings: give one for each.")

    @property
    def quad(self) -> Points:
        """(4, 2) corners of the upright box round all layers, in source pixels."""
        if len(self.edits) == 1:
            return self.edits[0].quad
        points = np.concatenate([edit.quad for edit in self.edits])
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])

    def apply(
        self,
        target: Image,
        transform: Transform,
        *,
        source: Image | None = None,
        compositing: Compositing | None = None,
    ) -> Image:
        """Put all on a target: see `dift_edit.edits.base.Edit`."""
        for edit, settings in zip(self.edits, self.settings, strict=True):
            target = edit.apply(target, transform, source=source, compositing=settings or compositing)
        return target

    def to_dict(self) -> dict[str, Any]:
        """Plain data: see `dift_edit.edits.stored`."""
        return {"type": "layers", "edits": [edit.to_dict() for edit in self.edits], "settings": list(self.settings)}


def hides_content(edit: Edit) -> bool:
    """Whether an edit, or a layer of it, is a redaction: a target without it still shows what should be hidden."""
    return any(map(hides_content, edit.edits)) if isinstance(edit, Layers) else isinstance(edit, Redaction)


def cautions(edit: Edit) -> list[str]:
    """What the redactions of an edit do not hold against, in sentences."""
    if isinstance(edit, Layers):
        return list(dict.fromkeys(text for part in edit.edits for text in cautions(part)))
    return [edit.caution] if isinstance(edit, Redaction) and edit.caution else []


def reaching(edit: Edit, transform: Transform, size: tuple[int, int]) -> Edit | None:
    """An edit without the redactions and erasures that lie outside a frame: in a clip their object may have left it.

    Parameters
    ----------
    edit : Edit
        The edit.
    transform : Transform
        Source pixels to the frame's.
    size : (W, H)
        The frame's.

    Returns
    -------
    Edit or None
        None when nothing is left.
    """
    if isinstance(edit, Redaction | Erase):
        return edit if edit.reaches(transform, size) else None
    if not isinstance(edit, Layers):
        return edit
    kept = [(reaching(part, transform, size), given) for part, given in zip(edit.edits, edit.settings, strict=True)]
    found = [(part, given) for part, given in kept if part is not None]
    return Layers([part for part, _ in found], [given for _, given in found]) if found else None


def artwork_on(edit: Edit, transform: Transform, compositing: Compositing | None) -> str:
    """What becomes of the stickers of an edit on a mirrored target.

    Parameters
    ----------
    edit : Edit
        The edit.
    transform : Transform
        Source pixels to target pixels.
    compositing : Compositing or None
        How it is put on; the defaults when None.

    Returns
    -------
    {"", "kept", "flipped", "partly kept"}
        Empty where nothing is mirrored, or the edit holds no sticker.
    """
    if isinstance(edit, Sticker):
        return edit.artwork_on(transform, (compositing or Compositing()).artwork)
    if not isinstance(edit, Layers):
        return ""
    each = [
        artwork_on(part, transform, own or compositing) for part, own in zip(edit.edits, edit.settings, strict=True)
    ]
    said = set(each) - {""}
    return "" if not said else said.pop() if len(said) == 1 else "partly kept"
