"""One edit to many targets, in memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from dift_edit.batch.model import SharedFeaturizer
from dift_edit.batch.threads import arithmetic_threads, set_arithmetic_threads, worker_threads
from dift_edit.edits.base import Edit, check_edit
from dift_edit.errors import DiftEditError
from dift_edit.features.base import Featurizer
from dift_edit.imaging.files import DEFAULT_MAX_PIXELS
from dift_edit.imaging.image import Image, as_image
from dift_edit.pipeline import Transfer, failure, split_options, transfer
from dift_edit.rendering.compositing import Compositing
from dift_edit.settings import TransferSettings
from dift_edit.targets.collect import collect_targets
from dift_edit.targets.storage import read_image

__all__ = ["propagate"]


def propagate(
    source: Any,
    edit: Edit,
    targets: Any,
    *,
    featurizer: Featurizer,
    settings: TransferSettings | None = None,
    compositing: Compositing | None = None,
    **options: Any,
) -> Iterator[Transfer]:
    """Carry an edit to many pictures.

    Results come in the order of the targets. A few targets are worked on at a time, in one thread each, while the
    caller waits for the next result, and no more than these are held. In between, nothing is computed, and torch,
    OpenCV and the BLAS have the caller's numbers of threads. Results have the same bits as those of `run_batch`,
    whatever its number of workers.

    Parameters
    ----------
    source : Image, path or array
        The picture that the edit was made on.
    edit : Edit
        The edit.
    targets : path, or iterable of paths, Images or arrays
        Paths may be files, folders and patterns, see `collect_targets`; an iterable is consumed as needed.
    featurizer : Featurizer
        Gives features; those of the source are computed once.
    settings : TransferSettings, optional
        Engine, mirror test, least confidence, seed.
    compositing : Compositing, optional
        How the edit is blended.
    **options
        Fields of `TransferSettings` instead of `settings`, and further options of `transfer`.

    Yields
    ------
    Transfer
        One per target. A target that cannot be read or handled, for whatever reason, has the status "failed" and a
        reason; the others go on.

    Raises
    ------
    DiftEditError
        If the source, the edit, a pin, the source mask or a setting is unusable.
    """
    source = as_image(source)
    check_edit(edit, source.size)
    settings, hints = split_options(settings, options, source.size)
    once = SharedFeaturizer(featurizer, source.digest)
    run = partial(transfer, source, edit, featurizer=once, settings=settings, compositing=compositing, **hints)
    return _stream(run, targets, partial(Transfer, status="failed", settings=settings, model=once.model))


def _stream(run: Callable[[Image], Transfer], targets: Any, failed: Callable[..., Transfer]) -> Iterator[Transfer]:
    """Works in chunks, one target per thread, and only while the caller waits for a result.

    OpenCV and the BLAS have one number of threads for the whole process. Nothing may be computed while the caller has
    numbers of its own, or the last bits of a result would depend on them.
    """

    def work(target: Any) -> Transfer:
        named = str(target) if isinstance(target, str | Path) else ""
        try:
            picture = _read(target)
        except Exception as error:  # noqa: BLE001 - the row of one target; the others go on
            return failed(reason=failure(error, named or "The target"), target=named)
        result = run(picture)
        return replace(result, target=named) if named else result

    if isinstance(targets, str | Path):
        waiting: Iterator[Any] = (found.path for found in collect_targets([targets]))
    else:
        waiting = _expanded([targets] if isinstance(targets, Image) else targets)
    count = worker_threads()
    with ThreadPoolExecutor(count, initializer=set_arithmetic_threads) as threads:
        while chunk := list(islice(waiting, count)):
            with arithmetic_threads():
                done = list(threads.map(work, chunk))
            yield from done


def _expanded(targets: Iterable[Any]) -> Iterator[Any]:
    """Targets with folders and patterns replaced by the files that they stand for."""
    for target in targets:
        if isinstance(target, str | Path):
            try:
                yield from (found.path for found in collect_targets([target]))
            except DiftEditError:  # a folder that is not there: reading it says so, and the others go on
                yield target
        else:
            yield target


def _read(target: Any) -> Image:
    if isinstance(target, str | Path):
        return read_image(str(target), max_pixels=DEFAULT_MAX_PIXELS)[0]
    return as_image(target)
