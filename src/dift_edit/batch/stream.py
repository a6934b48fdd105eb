"""One edit to many targets, in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from dift_edit.batch.model import SharedFeaturizer
from dift_edit.batch.threads import arithmetic_threads, lanes_of_this_process, set_arithmetic_threads
from dift_edit.compositing import Compositing
from dift_edit.edits.base import Edit, check_edit
from dift_edit.errors import DiftEditError
from dift_edit.features.base import Featurizer
from dift_edit.image import Image, as_image
from dift_edit.image_io import DEFAULT_MAX_PIXELS
from dift_edit.pipeline import Transfer, transfer
from dift_edit.settings import TransferSettings
from dift_edit.storage import read_image
from dift_edit.targets import collect_targets

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

    Results come in the order of the targets, each when it is ready; the next targets are worked on meanwhile, in one
    thread each, and no more than a few pictures are held. They have the same bits as those of `run_batch`, whatever
    its number of workers.

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
        One for each target. A target that cannot be read or handled has the status "failed" and a reason; the others
        go on.

    Raises
    ------
    DiftEditError
        If the source, the edit or a setting is unusable.
    """
    source = as_image(source)
    check_edit(edit, source.size)
    names = {item.name for item in fields(TransferSettings)}
    chosen = {name: options.pop(name) for name in names & options.keys()}
    settings = replace(settings or TransferSettings(), **chosen)
    once = SharedFeaturizer(featurizer, source.digest)
    run = partial(transfer, source, edit, featurizer=once, settings=settings, compositing=compositing, **options)
    return _stream(run, targets, partial(Transfer, status="failed", settings=settings, model=once.model))


def _stream(run: Callable[[Image], Transfer], targets: Any, failed: Callable[..., Transfer]) -> Iterator[Transfer]:
    def work(target: Any) -> Transfer:
        picture = _read(target)
        if isinstance(picture, str):
            return failed(reason=picture, target=str(target) if isinstance(target, str | Path) else "")
        result = run(picture)
        return replace(result, target=str(target)) if isinstance(target, str | Path) else result

    if isinstance(targets, str | Path):
        waiting: Iterator[Any] = (found.path for found in collect_targets([targets]))
    else:
        waiting = _expanded([targets] if isinstance(targets, Image) else targets)
    lanes = lanes_of_this_process()
    with arithmetic_threads(), ThreadPoolExecutor(lanes, initializer=set_arithmetic_threads) as threads:
        running = deque(threads.submit(work, each) for each in islice(waiting, lanes))
        try:
            while running:
                result = running.popleft().result()
                running.extend(threads.submit(work, each) for each in islice(waiting, 1))
                yield result
        finally:
            for pending in running:
                pending.cancel()


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


def _read(target: Any) -> Image | str:
    """A picture, or why there is none."""
    try:
        if isinstance(target, str | Path):
            return read_image(str(target), max_pixels=DEFAULT_MAX_PIXELS)[0]
        return as_image(target)
    except DiftEditError as error:
        return str(error)
