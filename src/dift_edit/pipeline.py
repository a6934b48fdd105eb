"""The whole algorithm for one target: locate the edit, then put it on."""

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dift_edit.edits.base import Edit, check_edit
from dift_edit.errors import DiftEditError
from dift_edit.features.base import Featurizer, ModelInfo
from dift_edit.features.execution import is_out_of_memory
from dift_edit.imaging.image import Image, as_image
from dift_edit.placement.placement import Placement, check_hints, locate
from dift_edit.rendering.compositing import Compositing
from dift_edit.settings import TransferSettings

__all__ = ["Transfer", "doubt", "failure", "split_options", "transfer"]

_HINTS = frozenset(("pins", "source_mask", "target_mask", "surface"))
"""Options of `locate` that are no settings."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer:
    """Result of transferring an edit to one target.

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
        ``pins``, ``source_mask``, ``target_mask`` and ``surface`` are passed to `locate`.

    Returns
    -------
    Transfer
        A target that cannot be read or handled, for whatever reason, gives the status "failed", never an exception.

    Raises
    ------
    DiftEditError
        If the source, the edit, a pin, the source mask or a setting is wrong.
    TypeError
        If there is no such option.
    """
    start = time.perf_counter()
    source = as_image(source)
    check_edit(edit, source.size)
    settings, hints = split_options(settings, options, source.size)
    made = partial(Transfer, settings=settings, model=featurizer.model)
    name = str(target) if isinstance(target, str | Path) else "The target"
    try:
        picture = as_image(target)
        name = str(picture.file.path) if picture.file else name
        placement = locate(
            source,
            edit.quad,
            picture,
            featurizer=featurizer,
            engine=settings.engine,
            mirror=settings.mirror,
            seed=settings.seed,
            **hints,
        )
        reason = doubt(placement, settings.min_confidence)
        image = picture if reason else edit.apply(picture, placement.transform, source=source, compositing=compositing)
    except Exception as error:  # noqa: BLE001 - what is wrong with the caller's input was raised before
        return made(status="failed", reason=failure(error, name), seconds=time.perf_counter() - start)
    status = "abstained" if reason else "applied"
    seconds = time.perf_counter() - start
    return made(status=status, reason=reason, image=image, placement=placement, seconds=seconds)


def failure(error: Exception, name: str) -> str:
    """What a target's row says about the error that ended it: the one guard of `transfer`, `propagate` and batches.

    Parameters
    ----------
    error : Exception
        Any: a picture that cannot be read, a model without memory, an error inside a library.
    name : str
        How the sentence calls the target.

    Returns
    -------
    str
        One sentence.
    """
    if isinstance(error, DiftEditError):
        return str(error)
    if is_out_of_memory(error):
        return f"{name} does not fit into the memory: use a smaller image or model."
    first = (str(error).strip() or "no message").splitlines()[0].rstrip(".")
    return f"{name} could not be handled ({type(error).__name__}: {first})."


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
        return f"the confidence {placement.confidence:.2f} is below {min_confidence:.2f}"
    return ""


def split_options(
    settings: TransferSettings | None, options: dict[str, Any], source_size: tuple[int, int]
) -> tuple[TransferSettings, dict[str, Any]]:
    """Settings with the options that are their fields, and the options of `locate`, checked.

    Raises
    ------
    EditError
        If a setting, a pin or the source mask is wrong.
    TypeError
        If there is no such option.
    """
    names = TransferSettings.__dataclass_fields__
    chosen = {name: value for name, value in options.items() if name in names}
    hints = {name: value for name, value in options.items() if name not in names}
    unknown = sorted(hints.keys() - _HINTS)
    if unknown:
        raise TypeError(f"There is no option {unknown[0]!r}: use {', '.join([*names, *sorted(_HINTS)])}.")
    check_hints(source_size, pins=hints.get("pins"), source_mask=hints.get("source_mask"))
    return replace(settings or TransferSettings(), **chosen), hints
