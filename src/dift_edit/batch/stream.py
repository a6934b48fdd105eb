"""One edit to many targets, in memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from itertools import islice, repeat
from tempfile import TemporaryDirectory
from typing import TypeAlias

from dift_edit.batch.learning import TEACHES, KnownPlace, Teachers, improves, is_usable, least_sure, most_alike
from dift_edit.batch.model import SharedFeaturizer
from dift_edit.batch.threads import worker_threads
from dift_edit.edits.base import Edit, check_edit
from dift_edit.errors import DiftEditError, SettingsError
from dift_edit.features.base import Featurizer, NoFeaturizer
from dift_edit.features.cache import CachedFeaturizer, FeatureCache
from dift_edit.features.threads import arithmetic_threads, set_arithmetic_threads
from dift_edit.imaging.files import DEFAULT_MAX_PIXELS, as_image
from dift_edit.imaging.image import Image
from dift_edit.pipeline import Transfer, failure, transfer
from dift_edit.placement.placement import check_hints
from dift_edit.placement.views import View
from dift_edit.rendering.compositing import Compositing
from dift_edit.results.looks import look_of
from dift_edit.settings import LEARN, TransferSettings, override
from dift_edit.targets.collect import collect_targets
from dift_edit.targets.storage import read_image
from dift_edit.types import Anchor, AnchorSize, Engine, ImageLike, Instances, Learn, MaskLike, Mirror, PinsLike

__all__ = ["propagate", "stream"]

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
    views: Sequence[View] = (),
    learn: Learn = "off",
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
    views : sequence of View
        Further images that carry the edit, see `locate`.
    learn : {"off", "auto"}
        "auto": the most trusted results that others confirm become further views, and targets that are not sure are
        placed again with them. The first result comes after all targets were placed once, and all are held till then.

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
    featurizer = featurizer or NoFeaturizer()
    if learn not in LEARN:
        raise SettingsError(f"The setting learn is {learn!r}: use one of {', '.join(LEARN)}.")
    views = tuple(view.facing(edit.quad) for view in views)

    def run_with(featurizer: Featurizer, views: tuple[View, ...]) -> Callable[..., Transfer]:
        digests = (as_image(view.image).digest for view in views)
        return partial(
            transfer, source, edit, featurizer=SharedFeaturizer(featurizer, source.digest, *digests),
            settings=settings, compositing=compositing, pins=pins, source_mask=source_mask, target_mask=target_mask,
            surface=surface, views=views,
        )  # fmt: skip

    failed = partial(Transfer, status="failed", settings=settings, model=featurizer.model)
    if learn == "auto" and settings.engine != "fixed":
        return _taught(run_with, featurizer, (source, edit), views, targets, failed)
    return stream(run_with(featurizer, views), targets, failed)


def _taught(
    run_with: Callable[[Featurizer, tuple[View, ...]], Callable[..., Transfer]],
    featurizer: Featurizer,
    about: tuple[Image, Edit],
    views: tuple[View, ...],
    targets: Inputs,
    failed: Callable[..., Transfer],
) -> Iterator[Transfer]:
    """All targets once; then those that are least sure again, with what the others teach."""
    inputs, (source, edit) = list(_waiting(targets)), about
    with TemporaryDirectory(prefix="dift-edit-features-") as folder:
        keeping = CachedFeaturizer(featurizer, FeatureCache(folder))
        results = list(stream(run_with(keeping, views), inputs, failed))
        seed = results[0].settings.seed if results else 0

        @cache
        def look(place: KnownPlace) -> View:
            return View(image=_read(inputs[int(place.id)]), quad=place.quad, weight=place.weight).facing(edit.quad)

        @cache
        def looks() -> dict[str, str]:
            """What the targets look like, by their ids."""
            known = keeping(source, seed=seed)
            placed = [k for k, each in enumerate(results) if each.placement is not None]
            return {_id(k): look_of(keeping(_read(inputs[k]), seed=seed), known) for k in placed}

        alone = {_id(k): each.placement.confidence for k, each in enumerate(results) if each.placement is not None}
        least = least_sure(alone)
        unsure = [k for k in range(len(results)) if _id(k) in least]
        with arithmetic_threads():
            chosen = Teachers(look, keeping, seed=seed).choose(_known(results)) if unsure else []
            again = {k: taught for k in unsure if (taught := most_alike(chosen, looks(), _id(k)))}
        further = [(*views, *map(look, taught)) for taught in again.values()]
        run = run_with(keeping, (*views, *map(look, chosen)))
        done = stream(run, [inputs[k] for k in again], failed, views=further)
        for (k, taught), result in zip(again.items(), done, strict=True):
            earlier, found = results[k].placement, result.placement
            trusted = result.settings.min_confidence
            if earlier is not None and found is not None and improves(found, earlier.confidence, trusted, taught):
                results[k] = result
    yield from results


def _id(number: int) -> str:
    return f"{number:012}"


def _known(results: Sequence[Transfer]) -> list[KnownPlace]:
    """The results that may teach others, the most confident first."""
    places = []
    for number, result in enumerate(results):
        found = result.placement
        if result.status != "applied" or found is None or result.image is None or found.reason:
            continue
        if found.confidence >= TEACHES and is_usable(found.quad, result.image.size):
            quad = tuple(map(tuple, found.quad.tolist()))
            places.append(KnownPlace(id=_id(number), quad=quad, weight=found.confidence))
    return sorted(places, key=lambda place: (-place.weight, place.id))


def stream(
    run: Callable[..., Transfer],
    targets: Inputs,
    failed: Callable[..., Transfer],
    *,
    views: Iterable[tuple[View, ...]] | None = None,
) -> Iterator[Transfer]:
    """Works in chunks, one target per thread, and only while the caller waits for a result. `views` has each target's.

    OpenCV and the BLAS have one number of threads for the whole process. Nothing may be computed while the caller has
    numbers of its own, or the last bits of a result would depend on them.
    """

    def work(target: ImageLike, views: tuple[View, ...] | None) -> Transfer:
        named = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
        try:
            picture = _read(target)
        except Exception as error:  # noqa: BLE001 - the row of one target; the others go on
            return failed(reason=failure(error, named or "The target"), target=named)
        result = run(picture) if views is None else run(picture, views=views)
        return replace(result, target=named) if named else result

    waiting = zip(_waiting(targets), repeat(None) if views is None else views, strict=False)
    count = worker_threads()
    with ThreadPoolExecutor(count, initializer=set_arithmetic_threads) as threads:
        while chunk := list(islice(waiting, count)):
            with arithmetic_threads():
                done = list(threads.map(work, *zip(*chunk, strict=True)))
            yield from done


def _waiting(targets: Inputs) -> Iterator[ImageLike]:
    if isinstance(targets, str | os.PathLike):
        return (found.path for found in collect_targets([os.fspath(targets)]))
    return _expanded([targets] if isinstance(targets, Image) else targets)


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
