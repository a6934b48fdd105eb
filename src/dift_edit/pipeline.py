"""The whole algorithm for one target: locate the edit, then put it on."""

import logging
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dift_edit.edits.base import Edit, check_edit
from dift_edit.edits.layers import artwork_on
from dift_edit.errors import DiftEditError, OutputError, first_line
from dift_edit.features.base import Featurizer, ModelInfo, NoFeaturizer
from dift_edit.features.execution import is_out_of_memory
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import save_image
from dift_edit.placement.confidence import against
from dift_edit.placement.fixed import fixed_placement
from dift_edit.placement.placement import Placement, check_hints, locate
from dift_edit.rendering.compositing import Compositing
from dift_edit.results.names import safe_name
from dift_edit.settings import TransferSettings, override
from dift_edit.types import Anchor, AnchorSize, Engine, ImageLike, MaskLike, Mirror, PinsLike, Status

__all__ = ["Transfer", "abstain_reason", "failure", "transfer"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer:
    """Result of transferring an edit to one target.

    Attributes
    ----------
    status : {"applied", "abstained", "failed"}
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
        How a sticker was put on a mirrored target: see `Compositing.artwork`. Empty where nothing is mirrored.
    """

    status: Status
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
    source: ImageLike,
    edit: Edit,
    target: ImageLike,
    *,
    featurizer: Featurizer | None = None,
    settings: TransferSettings | None = None,
    compositing: Compositing | None = None,
    engine: Engine | None = None,
    mirror: Mirror | None = None,
    min_confidence: float | None = None,
    seed: int | None = None,
    anchor: Anchor | None = None,
    anchor_size: AnchorSize | None = None,
    anchor_margin: float | None = None,
    placement: Placement | None = None,
    pins: PinsLike | None = None,
    source_mask: MaskLike | None = None,
    target_mask: MaskLike | None = None,
    surface: bool = True,
) -> Transfer:
    """Carry an edit from one image to another.

    Parameters
    ----------
    source : Image, path or array
        The image on which the edit was made.
    edit : Edit
        What to carry; its points are in the source's pixels.
    target : Image, path or array
        The image that gets the edit.
    featurizer : Featurizer, optional
        Gives the features; without one the engine must be "fixed", or the placement known.
    settings : TransferSettings, optional
        Engine, mirror test, least confidence, seed.
    compositing : Compositing, optional
        How the edit is blended.
    engine, mirror, min_confidence, seed, anchor, anchor_size, anchor_margin : optional
        Fields of `TransferSettings`; each takes precedence over `settings`.
    placement : Placement, optional
        Where the edit lies, if that is known: then nothing is searched.
    pins, source_mask, target_mask, surface : optional
        Hints about this pair of images, see `locate`.

    Returns
    -------
    Transfer
        A target that cannot be read or handled, for whatever reason, gives the status "failed", never an exception.

    Raises
    ------
    DiftEditError
        If the source, the edit, a pin, the source mask or a setting is wrong.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> featurizer = de.load_featurizer("lite")
    >>> sticker = de.Sticker(FOLDER / "glasses.png", at=(122, 104, 620, 478))
    >>> result = de.transfer(
    ...     FOLDER / "cat.jpg", sticker, FOLDER / "kitten.jpg", featurizer=featurizer, mirror="never"
    ... )
    >>> result.status, result.image.size
    ('applied', (670, 750))
    """
    start = time.perf_counter()
    source = as_image(source)
    check_edit(edit, source.size)
    settings = override(
        settings or TransferSettings(), engine=engine, mirror=mirror, min_confidence=min_confidence, seed=seed,
        anchor=anchor, anchor_size=anchor_size, anchor_margin=anchor_margin,
    )  # fmt: skip
    featurizer = featurizer or NoFeaturizer()
    check_hints(source.size, pins=pins, source_mask=source_mask)
    name = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
    if isinstance(target, Image) and target.file:
        name = str(target.name)
    made = partial(Transfer, settings=settings, model=featurizer.model, target=name)
    try:
        picture = as_image(target)
        if placement is None and settings.engine == "fixed":
            placement = fixed_placement(edit.quad, source.size, picture.size, settings)
        elif placement is None:
            placement = locate(
                source, edit.quad, picture, featurizer=featurizer, engine=settings.engine, mirror=settings.mirror,
                seed=settings.seed, pins=pins, source_mask=source_mask, target_mask=target_mask, surface=surface,
            )  # fmt: skip
        _log.debug(
            "%s: engine %s, confidence %.3f (%s), mirrored %s", name or "target", placement.engine,
            placement.confidence, placement.confidence_source, placement.mirrored,
        )  # fmt: skip
        reason = abstain_reason(placement, settings.min_confidence)
        image = picture if reason else edit.apply(picture, placement.transform, source=source, compositing=compositing)
    except Exception as error:  # noqa: BLE001 - what is wrong with the caller's input was raised before
        _log.debug("%s failed", name or "target", exc_info=True)
        return made(status="failed", reason=failure(error, name or "The target"), seconds=time.perf_counter() - start)
    status: Status = "abstained" if reason else "applied"
    seconds = time.perf_counter() - start
    artwork = "" if reason else artwork_on(edit, placement.transform, compositing)
    return made(status=status, reason=reason, image=image, placement=placement, seconds=seconds, artwork=artwork)


def failure(error: Exception, name: str) -> str:
    """What a target's row says about the error that ended it: the one guard of `transfer`, `propagate` and batches.

    Parameters
    ----------
    error : Exception
        Any: an unreadable image, a model that runs out of memory, an error inside a library.
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
    first = first_line(error) if str(error).strip() else "no message"
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
        found = [] if placement.confidence_features is None else against(placement.confidence_features)
        why = f": {' and '.join(found)}" if found else ""
        return f"the confidence {placement.confidence:.2f} is below {min_confidence:.2f}{why}"
    return ""
