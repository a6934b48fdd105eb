"""The whole algorithm for one target: locate the edit, then put it on."""

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dift_edit.compositing import Compositing
from dift_edit.confidence import against
from dift_edit.edits.base import Edit, check_edit
from dift_edit.errors import GeometryError, ImageError
from dift_edit.features.base import Featurizer, ModelInfo
from dift_edit.image import Image, as_image
from dift_edit.placement import Placement, locate
from dift_edit.settings import TransferSettings

__all__ = ["Transfer", "doubt", "transfer"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer:
    """What became of one target.

    Attributes
    ----------
    status : str
        "applied"; "abstained" when the placement was not trusted; "failed" when the target could not be handled.
    reason : str
        Why it was not applied, in words; empty otherwise.
    image : Image or None
        The target with the edit, or as it was when abstained; None when failed.
    placement : Placement or None
        Where the edit lies, also for an abstained target; None when failed.
    settings : TransferSettings
        How it was made.
    model : ModelInfo
        The weights that were used.
    seconds : float
        Time taken.
    """

    status: str
    reason: str = ""
    image: Image | None = None
    placement: Placement | None = None
    settings: TransferSettings
    model: ModelInfo
    seconds: float = 0.0


def transfer(
    source: Any,
    edit: Edit,
    target: Any,
    *,
    featurizer: Featurizer,
    settings: TransferSettings | None = None,
    compositing: Compositing | None = None,
    **options: Any,
) -> Transfer:
    """Carry an edit from one picture to another.

    Parameters
    ----------
    source : Image, path or array
        The picture on which the edit was made.
    edit : Edit
        What to carry; its points are in the source's pixels.
    target : Image, path or array
        The picture that shall get it.
    featurizer : Featurizer
        Gives the features.
    settings : TransferSettings, optional
        Engine, mirror test, least confidence, seed.
    compositing : Compositing, optional
        How the edit is blended.
    **options
        Fields of `TransferSettings` (``engine="mesh"``, ``min_confidence=0.5``, …) instead of or over `settings`;
        others are passed to `locate` (``pins``, ``target_mask``, …).

    Returns
    -------
    Transfer
        A target that cannot be read or handled gives the status "failed", never an exception.

    Raises
    ------
    DiftEditError
        If the source, the edit or a setting is wrong.
    """
    settings, located = _split(settings, options)
    start = time.perf_counter()
    source = as_image(source)
    check_edit(edit, source.size)
    made = partial(Transfer, settings=settings, model=featurizer.model)
    try:
        picture = as_image(target)
        placement = locate(
            source,
            edit.quad,
            picture,
            featurizer=featurizer,
            engine=settings.engine,
            mirror=settings.mirror,
            seed=settings.seed,
            **located,
        )
        reason = doubt(placement, settings.min_confidence)
        image = picture if reason else edit.apply(picture, placement.transform, source=source, compositing=compositing)
    except (ImageError, GeometryError) as error:
        return made(status="failed", reason=str(error), seconds=time.perf_counter() - start)
    status = "abstained" if reason else "applied"
    seconds = time.perf_counter() - start
    return made(status=status, reason=reason, image=image, placement=placement, seconds=seconds)


def doubt(placement: Placement, min_confidence: float) -> str:
    """Why a placement is not trusted, in words; empty when it is.

    Parameters
    ----------
    placement : Placement
        What was found.
    min_confidence : float
        The least confidence that is trusted, 0 to 1.

    Returns
    -------
    str
    """
    if placement.reason:
        return placement.reason
    if placement.confidence < min_confidence:
        found = [] if placement.signs is None else against(placement.signs)
        why = f": {' and '.join(found)}" if found else ""
        return f"the confidence {placement.confidence:.2f} is below {min_confidence:.2f}{why}"
    return ""


def _split(settings: TransferSettings | None, options: dict[str, Any]) -> tuple[TransferSettings, dict[str, Any]]:
    """Settings with the options that are their fields, and the other options."""
    names = TransferSettings.__dataclass_fields__
    chosen = {name: value for name, value in options.items() if name in names}
    others = {name: value for name, value in options.items() if name not in names}
    return replace(settings or TransferSettings(), **chosen), others
