"""The whole algorithm for one target: locate the edit, then put it on."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dift_edit.annotations.model import AnnotatedImage
from dift_edit.edits.base import Edit, check_edit
from dift_edit.edits.layers import artwork_on, hides_content
from dift_edit.errors import DiftEditError, OutputError, first_line
from dift_edit.features.base import Featurizer, ModelInfo, NoFeaturizer
from dift_edit.features.execution import is_out_of_memory
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import save_image
from dift_edit.placement.by_hand import place_by_hand
from dift_edit.placement.confidence import against
from dift_edit.placement.fixed import fixed_placement
from dift_edit.placement.instances import MOST_INSTANCES, find_instances
from dift_edit.placement.placement import Placement, check_hints, locate
from dift_edit.placement.views import View
from dift_edit.rendering.compositing import Compositing
from dift_edit.results.names import safe_name
from dift_edit.settings import TransferSettings, override
from dift_edit.types import (
    Anchor,
    AnchorSize,
    Engine,
    ImageLike,
    Instances,
    MaskLike,
    Mirror,
    PinsLike,
    QuadLike,
    Status,
)

__all__ = ["Transfer", "abstain_reason", "failure", "instances_warning", "transfer"]

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
        Where the edit lies, also for an abstained target; None when failed. The first of `placements`.
    placements : tuple of Placement
        Every instance of the object that the edit was put on, see `TransferSettings.instances`.
    missed : tuple of Placement
        Instances that were found, but are beyond the number that was asked for.
    warning : str
        What is wrong with an edit that was applied, in words: a redaction that leaves instances to be seen.
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
    annotated : AnnotatedImage or None
        What `annotate` carried, which `image` shows; None for edits.
    """

    status: Status
    reason: str = ""
    image: Image | None = None
    placement: Placement | None = None
    placements: tuple[Placement, ...] = ()
    missed: tuple[Placement, ...] = ()
    warning: str = ""
    settings: TransferSettings
    model: ModelInfo
    seconds: float = 0.0
    target: str = ""
    artwork: str = ""
    annotated: AnnotatedImage | None = None

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
    instances: Instances | None = None,
    seed: int | None = None,
    anchor: Anchor | None = None,
    anchor_size: AnchorSize | None = None,
    anchor_margin: float | None = None,
    placements: Sequence[Placement] = (),
    pins: PinsLike | None = None,
    source_mask: MaskLike | None = None,
    target_mask: MaskLike | None = None,
    target_quad: QuadLike | None = None,
    surface: bool = True,
    views: Sequence[View] = (),
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
        Engine, mirror test, least confidence, number of instances, seed.
    compositing : Compositing, optional
        How the edit is blended.
    engine, mirror, min_confidence, instances, seed, anchor, anchor_size, anchor_margin : optional
        Fields of `TransferSettings`; each takes precedence over `settings`.
    placements : sequence of Placement
        Where the edit lies, one for each instance, if that is known: then nothing is looked for, and no confidence is
        too low.
    pins, source_mask, target_mask, surface : optional
        Hints about this pair of images, see `locate`.
    target_quad : array_like, optional
        (4, 2) where the edit lies in the target, placed by hand: then nothing is looked for.
    views : sequence of View
        Further images that carry the edit, see `locate`.

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
        settings or TransferSettings(),
        engine=engine,
        mirror=mirror,
        min_confidence=min_confidence,
        instances=instances,
        seed=seed,
        anchor=anchor,
        anchor_size=anchor_size,
        anchor_margin=anchor_margin,
    )
    featurizer = featurizer or NoFeaturizer()
    check_hints(source.size, pins=pins, source_mask=source_mask)
    name = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
    if isinstance(target, Image) and target.file:
        name = str(target.name)
    made = partial(Transfer, settings=settings, model=featurizer.model, target=name)
    try:
        picture = as_image(target)
        hints = {
            "pins": pins,
            "source_mask": source_mask,
            "target_mask": target_mask,
            "surface": surface,
            "views": views,
        }
        if placements:
            found = list(placements)
        elif target_quad is not None:
            found = [place_by_hand(edit.quad, target_quad)]
        elif settings.engine == "fixed":
            found = [fixed_placement(edit.quad, source.size, picture.size, settings)]
        else:
            found = _located(source, edit, picture, featurizer, settings, hints)
        placement = found[0]
        _log.debug(
            "%s: engine %s, confidence %.3f (%s), mirrored %s", name or "target", placement.engine,
            placement.confidence, placement.confidence_source, placement.mirrored,
        )  # fmt: skip
        least = 0.0 if placements else settings.min_confidence
        reason = abstain_reason(placement, least, featurizer.fingerprint)
        count = len(found) if placements or settings.instances == "all" else settings.instances
        used, missed = ((), ()) if reason else (tuple(found[:count]), tuple(found[count:]))
        image = picture
        for each in used:
            image = edit.apply(image, each.transform, source=source, compositing=compositing)
    except Exception as error:  # noqa: BLE001 - what is wrong with the caller's input was raised before
        _log.debug("%s failed", name or "target", exc_info=True)
        return made(status="failed", reason=failure(error, name or "The target"), seconds=time.perf_counter() - start)
    status: Status = "abstained" if reason else "applied"
    seconds = time.perf_counter() - start
    artworks = {artwork_on(edit, each.transform, compositing) for each in used} - {""}
    return made(
        status=status,
        reason=reason,
        image=image,
        placement=placement,
        placements=used,
        missed=missed,
        warning=instances_warning(edit, len(used), len(missed)),
        seconds=seconds,
        artwork=artworks.pop() if len(artworks) == 1 else "partly kept" * bool(artworks),
    )


def instances_warning(edit: Edit, used: int, missed: int) -> str:
    """What is wrong with an edit on so many instances, while so many others are without it; empty where nothing is."""
    if not missed or not hides_content(edit):
        return ""
    return f"only {used} of {used + missed} instances of the object are hidden: use  --instances all"


def _located(
    source: Image, edit: Edit, target: Image, featurizer: Featurizer, settings: TransferSettings, hints: dict[str, Any]
) -> list[Placement]:
    """Where the edit lies. A redaction looks for every instance, to say what it leaves to be seen."""
    chosen: dict[str, Any] = {"engine": settings.engine, "mirror": settings.mirror, "seed": settings.seed}
    count, least, first_confidence = settings.instances, settings.min_confidence, None
    if count == 1 and not hides_content(edit):
        return [locate(source, edit.quad, target, featurizer=featurizer, **chosen, **hints)]
    if count == 1:
        first_confidence = least
        least = max(least, TransferSettings.min_confidence)  # others are only named where they are likely
    if count == "all" or hides_content(edit):
        count = MOST_INSTANCES
    return find_instances(
        source,
        edit.quad,
        target,
        featurizer=featurizer,
        count=count,
        min_confidence=least,
        first_confidence=first_confidence,
        **chosen,
        **hints,
    )


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


def abstain_reason(placement: Placement, min_confidence: float, fingerprint: str = "") -> str:
    """Why a placement is not trusted, in words; empty when it is.

    Parameters
    ----------
    placement : Placement
        What was found.
    min_confidence : float
        The least confidence that is trusted, 0 to 1.
    fingerprint : str
        Of the featurizer: what speaks against a placement is weighed as in its confidence.

    Returns
    -------
    str
    """
    if placement.reason:
        return placement.reason
    if placement.confidence < min_confidence:
        features = placement.confidence_features
        found = [] if features is None else against(features, fingerprint)
        why = f": {' and '.join(found)}" if found else ""
        return f"the confidence {placement.confidence:.2f} is below {min_confidence:.2f}{why}"
    return ""
