"""The whole algorithm for one target: locate the edit, then put it on."""

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dift_edit.edits.base import Edit, check_edit
from dift_edit.edits.layers import artwork_on
from dift_edit.errors import DiftEditError, OutputError
from dift_edit.features.base import Featurizer, ModelInfo
from dift_edit.features.execution import is_out_of_memory
from dift_edit.imaging.files import save_image
from dift_edit.imaging.image import Image, as_image
from dift_edit.placement.confidence import against
from dift_edit.placement.placement import Placement, check_hints, locate
from dift_edit.rendering.compositing import Compositing
from dift_edit.results.names import safe_name
from dift_edit.settings import TransferSettings

__all__ = ["Transfer", "abstain_reason", "failure", "split_options", "transfer"]

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
    target : str
        Path of the target, as it was given; empty for one that came from memory.
    artwork : {"", "kept", "flipped", "partly kept"}
        What became of a sticker on a mirrored target: see `Compositing.artwork`. Empty where nothing is mirrored.
    """

    status: str
    reason: str = ""
    image: Image | None = None
    placement: Placement | None = None
    settings: TransferSettings
    model: ModelInfo
    seconds: float = 0.0
    target: str = ""
    artwork: str = ""

    def save(self, folder: Path | str) -> Path:
        """Write the result into a folder, under the target's name.

        Parameters
        ----------
        folder : path
            It is made where it does not exist. An earlier file of that name in it is replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OutputError
            If the edit was not applied, the target has no file name, the file would replace the target itself, or it
            cannot be written.
        """
        name = self.target or "the target"
        if self.status != "applied" or self.image is None:
            raise OutputError(f"There is no result to save for {name}, the edit was not applied: {self.reason}.")
        if not self.target:
            raise OutputError("The target came from memory and has no file name: use image.save(path).")
        folder = Path(folder)
        path = folder / safe_name(Path(self.target).name)
        if path.exists() and path.samefile(self.target):
            raise OutputError(f"The result would replace the target {self.target}: choose another folder.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made ({error.strerror}): choose another one.") from error
        return save_image(self.image, path)


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
    name = str(target) if isinstance(target, str | Path) else str(target.name) if getattr(target, "file", None) else ""
    made = partial(Transfer, settings=settings, model=featurizer.model, target=name)
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
            **hints,
        )
        reason = abstain_reason(placement, settings.min_confidence)
        image = picture if reason else edit.apply(picture, placement.transform, source=source, compositing=compositing)
    except Exception as error:  # noqa: BLE001 - what is wrong with the caller's input was raised before
        return made(status="failed", reason=failure(error, name or "The target"), seconds=time.perf_counter() - start)
    status = "abstained" if reason else "applied"
    seconds = time.perf_counter() - start
    artwork = "" if reason else artwork_on(edit, placement.transform, compositing)
    return made(status=status, reason=reason, image=image, placement=placement, seconds=seconds, artwork=artwork)


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


def abstain_reason(placement: Placement, min_confidence: float) -> str:
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
