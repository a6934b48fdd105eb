"""The annotations of sources on many images: in memory, and as a batch on files."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from dift_edit.annotations import AnnotatedImage, Annotations, annotation_format, read_annotations, write_annotations
from dift_edit.batch.annotated import annotate_target, placement_settings
from dift_edit.batch.annotation_file import TARGETS, AllAnnotations, file_name
from dift_edit.batch.finish import journal_path
from dift_edit.batch.model import ModelSpec, SharedFeaturizer
from dift_edit.batch.run import run_batch
from dift_edit.batch.stream import stream
from dift_edit.batch.summary import OnEvent, Summary
from dift_edit.errors import AnnotationError, OutputError, SettingsError
from dift_edit.features.base import Featurizer
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.landmarks.annotate import LabelCarrier, SourceLabels
from dift_edit.pipeline import Transfer
from dift_edit.results.folder import open_output
from dift_edit.results.journal import Journal
from dift_edit.settings import FOR_EDITS, AnnotateSettings, BatchSettings, override
from dift_edit.targets.collect import Paths, Target, Targets, collect_targets, with_settled_ids
from dift_edit.targets.storage import local_path
from dift_edit.types import AnnotationFormat, ImageLike, Mirror

__all__ = ["annotate", "annotate_batch", "load_source_labels"]


def annotate(
    source: ImageLike | Sequence[ImageLike],
    annotations: Annotations | AnnotatedImage | str | os.PathLike[str],
    targets: str | os.PathLike[str] | Image | Iterable[ImageLike],
    *,
    featurizer: Featurizer,
    settings: AnnotateSettings | None = None,
    mirror: Mirror | None = None,
    swap_sides: bool | None = None,
    min_confidence: float | None = None,
    min_keypoint_confidence: float | None = None,
    seed: int | None = None,
) -> Iterator[Transfer]:
    """Carry the annotations of one or several sources to many images.

    Parameters
    ----------
    source : Image, path or array, or a list of them
        The annotated images. With several, each target gets the annotations of the one that it shows most surely.
    annotations : Annotations, AnnotatedImage or path
        Of the sources, in their pixels and, where there are several without paths, in their order.
    targets : path, Image, or iterable of paths, Images or arrays
        See `propagate`.
    featurizer : Featurizer
        Gives features; those of the sources are computed once.
    settings : AnnotateSettings, optional
        Mirror test, least confidences, seed.
    mirror, swap_sides, min_confidence, min_keypoint_confidence, seed : optional
        Fields of `AnnotateSettings`; each takes precedence over `settings`.

    Yields
    ------
    Transfer
        One per target, with the annotations in `Transfer.annotated` and drawn in `Transfer.image`. Objects and
        keypoints have a confidence; a keypoint that is outside, or less sure than asked for, is "missing".

    Raises
    ------
    DiftEditError
        If a source, its annotations or a setting is unusable.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.annotations import AnnotatedImage, AnnotatedObject, Keypoint
    >>> from dift_edit.samples import FOLDER
    >>> eyes = [Keypoint("left_eye", 629, 273), Keypoint("right_eye", 341, 233), Keypoint("nose", 470, 400)]
    >>> face = AnnotatedImage(path="cat.jpg", objects=[AnnotatedObject(category="face", keypoints=eyes)])
    >>> featurizer = de.load_featurizer("lite")
    >>> (result,) = de.annotate(FOLDER / "cat.jpg", face, FOLDER / "kitten.jpg", featurizer=featurizer)
    >>> result.status, [keypoint.name for keypoint in result.annotated.objects[0].keypoints]
    ('applied', ['left_eye', 'right_eye', 'nose'])
    """
    settings = override(
        settings or AnnotateSettings(), mirror=mirror, swap_sides=swap_sides, min_confidence=min_confidence,
        min_keypoint_confidence=min_keypoint_confidence, seed=seed,
    )  # fmt: skip
    labels = load_source_labels(source, annotations, settings)
    carrier = LabelCarrier(labels, SharedFeaturizer(featurizer, labels.images[0].digest))
    run = partial(annotate_target, carrier)
    return stream(
        run, targets, partial(Transfer, status="failed", settings=placement_settings(settings), model=featurizer.model)
    )


def annotate_batch(
    source: ImageLike | Sequence[ImageLike],
    annotations: Annotations | str | os.PathLike[str],
    targets: Targets | Paths,
    output: str | Path,
    *,
    featurizer: Featurizer | ModelSpec,
    settings: AnnotateSettings | None = None,
    batch: BatchSettings | None = None,
    format: AnnotationFormat | None = None,
    on_event: OnEvent | None = None,
) -> Summary:
    """Carry annotations to images in files: as `run_batch`, resumed, in processes or on a dask cluster.

    Parameters
    ----------
    source : path, Image or array, or a list of them
        The annotated image, or the folder of several.
    annotations : Annotations or path
        Of the sources.
    targets : Targets, path, or iterable of path
        See `collect_targets`; the sources among them are left out.
    output : path
        A local folder: gets a file for each target, the review page, and at the end one file (for YOLO, LabelMe and
        napari one folder) with all annotations. Runs in other formats keep up the files of earlier ones.
    featurizer : Featurizer or ModelSpec
        Gives the features.
    settings : AnnotateSettings, optional
        Mirror test, least confidences, seed.
    batch : BatchSettings, optional
        Number of processes, resuming, previews.
    format : str
        One of `ANNOTATION_FORMATS`; that of the sources' annotations by default, COCO where they come from memory.
    on_event : callable, optional
        Called as ``on_event(event, **data)`` while the run goes on, see `OnEvent`.

    Returns
    -------
    Summary

    Raises
    ------
    DiftEditError
        If a source, its annotations, a setting or the output folder is unusable, or there is no target.
    """
    if local_path(str(output)) is None:
        raise OutputError(f"Annotations are written into a folder of this machine, not to {output}: name one (-o).")
    for name in FOR_EDITS:
        if batch is not None and getattr(batch, name) != getattr(BatchSettings(), name):
            raise SettingsError(f"The setting {name!r} is for edits, not for annotations: leave it as it is.")
    settings = settings or AnnotateSettings()
    labels = load_source_labels(source, annotations, settings)
    chosen = format or ("coco" if isinstance(annotations, Annotations) else annotation_format(annotations))
    if not isinstance(targets, Targets):
        targets = collect_targets(targets, leave_out=[str(output)])
    own = {os.path.realpath(image.name) for image in labels.images if image.file}
    kept = [t for t in targets if (path := local_path(t.path)) is None or os.path.realpath(path) not in own]
    _check_format(chosen, labels.annotations)
    named = _named(replace(targets, targets=kept), output)
    summary = run_batch(
        labels.images[0], labels, named, output, featurizer=featurizer, settings=placement_settings(settings),
        batch=batch, on_event=on_event,
    )  # fmt: skip
    folder = open_output(str(output))
    with Journal(journal_path(folder)) as journal:
        names = {row.id: journal.plan[row.id] for row in summary.rows}
        whole = AllAnnotations([chosen], labels.annotations.categories, names)
        whole = whole.continuing(folder, overwrite=batch is not None and batch.overwrite)
        count, lost = whole.write(folder, {row.id: row for row in summary.rows})
    if on_event is not None:
        place = folder.path(file_name(chosen))
        text = f"The annotations of {count} images are in {place} ({chosen})."
        on_event("note", text=text if whole.is_there else f"Nothing was found, so there is no {place}.")
        for text in lost:
            on_event("note", text=f"warning: {chosen} cannot hold {text}; {output}/{TARGETS} has everything.")
    return summary


def _check_format(format: AnnotationFormat, annotations: Annotations) -> None:
    """Write the sources' own annotations, so that what a format refuses is said before the run."""
    images = []
    for number, image in enumerate(annotations.images):
        name = PurePosixPath(image.path.replace("\\", "/")).name
        images.append(replace(image, path=f"{number}/{name}" if len(annotations.images) > 1 else name))
    with TemporaryDirectory(prefix="dift-edit-") as made:
        path = Path(made) / file_name(format)
        write_annotations(Annotations(images, annotations.categories), path, format=format)


def _named(targets: Targets, output: str | Path) -> Targets:
    """The targets, with names of their results below `TARGETS` that are free and say where equal images come from."""
    targets, known = with_settled_ids(targets, output), _planned(output)
    taken = {name.casefold() for name in known.values()}
    named = []
    for target in targets:
        tries = [f"{TARGETS}/{each}.json" for each in _tries(target)]
        name = known.get(target.id) or next((each for each in tries if each.casefold() not in taken), tries[-1])
        taken.add(name.casefold())
        named.append(replace(target, name=name))
    return replace(targets, targets=named)


def _tries(target: Target) -> Iterator[str]:
    yield target.name
    if target.group:
        yield f"{target.group}/{target.name}"
    yield f"{target.group}-{hashlib.sha256(os.fsencode(target.id)).hexdigest()[:8]}/{target.name}"


def _planned(output: str | Path) -> dict[str, str]:
    """Target id → name of its result, of earlier runs into the folder."""
    local = local_path(str(output))
    if local is None or not local.is_dir():
        return {}
    with suppress(OutputError), Journal(journal_path(open_output(str(output)), create=False)) as journal:
        return journal.plan
    return {}  # what is wrong with it, `run_batch` says


def load_source_labels(
    source: ImageLike | Sequence[ImageLike],
    annotations: Annotations | AnnotatedImage | str | os.PathLike[str],
    settings: AnnotateSettings,
) -> SourceLabels:
    """The annotated sources.

    Parameters
    ----------
    source : Image, path or array, or a list of them
        A folder stands for the annotated images in it.
    annotations : Annotations, AnnotatedImage or path
        Of the sources: found by their names, or, where one has none, by their order.
    settings : AnnotateSettings
        Kept with them.

    Raises
    ------
    AnnotationError
        If a source has no annotations, or they do not fit it.
    """
    several = isinstance(source, Sequence) and not isinstance(source, str)
    sources: list[Any] = list(source) if several else [source]  # type: ignore[arg-type]
    if isinstance(annotations, AnnotatedImage):
        annotations = Annotations([annotations])
    paths = [Path(each) for each in sources if isinstance(each, str | os.PathLike)]
    if not isinstance(annotations, Annotations):
        places = paths[0] if len(paths) == 1 and paths[0].is_dir() else paths
        annotations = read_annotations(annotations, images=places or None)
    if len(paths) == 1 and paths[0].is_dir():
        found = [(paths[0] / image.path, image) for image in annotations.images if image.objects]
        found = [(path if path.is_file() else paths[0] / path.name, image) for path, image in found]
        if not found:
            raise AnnotationError(f"None of the images in {paths[0]} is annotated: name the annotated one.")
        pairs = [(as_image(path), image) for path, image in found]
    elif len(paths) == len(sources) and len(annotations.images) != 1:
        pairs = [(as_image(path), annotations.image(path.name)) for path in paths]
    elif len(annotations.images) == len(sources):
        pairs = [(as_image(each), image) for each, image in zip(sources, annotations.images, strict=True)]
    else:
        raise AnnotationError(
            f"There are {len(sources)} sources and {len(annotations.images)} annotated images: give one for each."
        )
    sized = [replace(annotated, size=annotated.size or image.size) for image, annotated in pairs]
    return SourceLabels(tuple(image for image, _ in pairs), Annotations(sized, annotations.categories), settings)
