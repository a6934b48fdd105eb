"""One edit to many targets, in memory."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TypeAlias

from dift_edit.batch.model import SharedFeaturizer
from dift_edit.batch.threads import arithmetic_threads, set_arithmetic_threads, worker_threads
from dift_edit.edits.base import Edit, check_edit
from dift_edit.errors import DiftEditError
from dift_edit.features.base import Featurizer, NoFeaturizer
from dift_edit.imaging.files import DEFAULT_MAX_PIXELS, as_image
from dift_edit.imaging.image import Image
from dift_edit.pipeline import Transfer, failure, transfer
from dift_edit.placement.placement import check_hints
from dift_edit.rendering.compositing import Compositing
from dift_edit.settings import TransferSettings, override
from dift_edit.targets.collect import collect_targets
from dift_edit.targets.storage import read_image
from dift_edit.types import Anchor, AnchorSize, Engine, ImageLike, Instances, MaskLike, Mirror, PinsLike

__all__ = ["propagate"]

Inputs: TypeAlias = str | os.PathLike[str] | Image | Iterable[ImageLike]


def propagate(
    source: ImageLike,
    edit: Edit,
    targets: str | os.PathLike[str] | Image | Iterable[ImageLike],
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
    pins: PinsLike | None = None,
    source_mask: MaskLike | None = None,
    target_mask: MaskLike | None = None,
    surface: bool = True,
) -> Iterator[Transfer]:
    """Carry an edit to many images.

    Results come in the order of the targets. A few targets are worked on at a time, in one thread each, while the
    caller waits for the next result, and no more than these are held. In between, nothing is computed, and torch,
    OpenCV and the BLAS have the caller's numbers of threads. Results have the same bits as those of `run_batch`,
    whatever its number of workers.

    Parameters
    ----------
    source : Image, path or array
        The image that the edit was made on.
    edit : Edit
        The edit.
    targets : path, Image, or iterable of paths, Images or arrays
        Paths may be files, folders and patterns, see `collect_targets`; an iterable is consumed as needed.
    featurizer : Featurizer, optional
        Gives features; those of the source are computed once. Without one the engine must be "fixed".
    settings : TransferSettings, optional
        Engine, mirror test, least confidence, number of instances, seed.
    compositing : Compositing, optional
        How the edit is blended.
    engine, mirror, min_confidence, instances, seed, anchor, anchor_size, anchor_margin : optional
        Fields of `TransferSettings`; each takes precedence over `settings`.
    pins, source_mask, target_mask, surface : optional
        Hints that hold for every target, see `locate`.

    Yields
    ------
    Transfer
        One per target. A target that cannot be read or handled, for whatever reason, has the status "failed" and a
        reason; the others go on.

    Raises
    ------
    DiftEditError
        If the source, the edit, a pin, the source mask or a setting is unusable.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> featurizer = de.load_featurizer("lite")
    >>> sticker = de.Sticker(FOLDER / "glasses.png", at=(122, 104, 620, 478))
    >>> targets = [FOLDER / "kitten.jpg", FOLDER / "coffee.jpg"]
    >>> results = de.propagate(FOLDER / "cat.jpg", sticker, targets, featurizer=featurizer, min_confidence=0.7)
    >>> for result in results:
    ...     print(result.status)
    applied
    abstained
    """
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
    check_hints(source.size, pins=pins, source_mask=source_mask)
    once = SharedFeaturizer(featurizer or NoFeaturizer(), source.digest)
    run = partial(
        transfer, source, edit, featurizer=once, settings=settings, compositing=compositing,
        pins=pins, source_mask=source_mask, target_mask=target_mask, surface=surface,
    )  # fmt: skip
    return _stream(run, targets, partial(Transfer, status="failed", settings=settings, model=once.model))


def _stream(run: Callable[[Image], Transfer], targets: Inputs, failed: Callable[..., Transfer]) -> Iterator[Transfer]:
    """Works in chunks, one target per thread, and only while the caller waits for a result.

    OpenCV and the BLAS have one number of threads for the whole process. Nothing may be computed while the caller has
    numbers of its own, or the last bits of a result would depend on them.
    """

    def work(target: ImageLike) -> Transfer:
        named = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
        try:
            picture = _read(target)
        except Exception as error:  # noqa: BLE001 - the row of one target; the others go on
            return failed(reason=failure(error, named or "The target"), target=named)
        result = run(picture)
        return replace(result, target=named) if named else result

    if isinstance(targets, str | os.PathLike):
        waiting: Iterator[ImageLike] = (found.path for found in collect_targets([os.fspath(targets)]))
    else:
        waiting = _expanded([targets] if isinstance(targets, Image) else targets)
    count = worker_threads()
    with ThreadPoolExecutor(count, initializer=set_arithmetic_threads) as threads:
        while chunk := list(islice(waiting, count)):
            with arithmetic_threads():
                done = list(threads.map(work, chunk))
            yield from done


def _expanded(targets: Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Targets with folders and patterns replaced by the files that they stand for."""
    for target in targets:
        if isinstance(target, str | os.PathLike):
            try:
                yield from (found.path for found in collect_targets([os.fspath(target)]))
            except DiftEditError:  # a folder that is not there: reading it says so, and the others go on
                yield target
        else:
            yield target


def _read(target: ImageLike) -> Image:
    if isinstance(target, str | os.PathLike):
        return read_image(os.fspath(target), max_pixels=DEFAULT_MAX_PIXELS)[0]
    return as_image(target)
