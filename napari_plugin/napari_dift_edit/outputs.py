"""What the engine process writes and carries along: pictures, recipes, annotations. Registered in `tasks`."""

import contextlib
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_dift_edit.store import Store

__all__ = [
    "Places",
    "Views",
    "carry_labels",
    "carry_points",
    "export",
    "export_frame",
    "folder",
    "found_again",
    "save_annotations",
    "save_edit",
    "save_picture",
    "transform_of",
    "views_of",
    "write_annotations",
    "write_job",
    "write_manifest",
    "write_pairs",
]


Places = Sequence[tuple[Any, bytes, bool]]
"""(quad, transform, by hand) of each place that an edit is put on."""


Views = Sequence[tuple[str, Any]]
"""(key, quad) of further pictures that carry the edit."""


def views_of(store: Store, views: Views) -> list[Any]:
    """Further views of an edit as the library has them."""
    from dift_edit.placement import View

    return [
        View(image=seen, quad=quad)
        for seen, (_, quad) in zip(store.need(*(key for key, _ in views)), views, strict=True)
    ]


def transform_of(edit: Any, quad: Any, transform: bytes) -> Any:
    """The transform that was found, or the one that takes the edit's corners to those of `quad`."""
    if transform:
        return pickle.loads(transform)  # made by this process' `place`, see `channel`
    from dift_edit.edits import as_quad
    from dift_edit.geometry.base import MatrixTransform
    from dift_edit.geometry.quad import quad_matrix

    corners = as_quad(quad, "The place that was drawn")
    return MatrixTransform(quad_matrix(edit.quad, corners))


def found_again(
    store: Store,
    source: Any,
    edit: Any,
    target: Any,
    *,
    places: Places,
    hints: dict[str, Any],
    model: dict[str, str],
    settings: dict[str, Any],
) -> list[Any]:
    """The transforms of known places.

    In a session that was read back the same settings find a single one again; several are taken by their corners.
    """
    _, transform, by_hand = places[0]
    if len(places) > 1 or by_hand or transform:
        return [transform_of(edit, quad, transform) for quad, transform, _ in places]
    from dift_edit.placement.placement import locate

    options = {name: value for name, value in settings.items() if name in ("engine", "mirror", "seed")}
    if hints["pins"]:
        options["pins"] = hints["pins"]
    if hints["views"]:
        options["views"] = views_of(store, hints["views"])
    return [locate(source, edit.quad, target, featurizer=store.featurizer(model), **options).transform]


def _ready(path: str) -> Path:
    """A path whose folder is there."""
    from dift_edit.errors import OutputError

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {Path(path).parent} cannot be made ({error.strerror}): choose another one."
        ) from error
    return Path(path)


def write_manifest(store: Store, *, path: str, rows: list[dict[str, Any]], places: list[str]) -> Iterator[Any]:
    """Write the rows of a manifest, as ``dift-edit propagate`` does; yields how many earlier results were removed.

    Results at `places`, names in the manifest's folder, are removed where the earlier manifest names them and this one
    does not. A row that failed may have the names that its result has had, ``left``: that one stays then, and is named.
    Where the edit hides something no row has them: an earlier result may show it.
    """
    with store.loading():
        from dift_edit.atomic_files import write_text
        from dift_edit.results.folder import OutputFolder
        from dift_edit.results.manifest import Row, manifest_jsonl
    root = OutputFolder(_ready(path).parent)
    named = {name for name in _named(Path(path)) & set(places) if root.exists(name)}
    for row in rows:
        for name in sorted(named & set(row.pop("left", ()))):
            row["output"], row["reason"] = name, f"{row['reason']} An earlier result is left."
    gone = named - {row["output"] for row in rows}
    for name in sorted(gone):
        root.remove(name)
    write_text(Path(path), manifest_jsonl(Row(**row) for row in rows).decode())
    yield len(gone)


def _named(manifest: Path) -> set[str]:
    """The names of results in a manifest; lines that are none of its rows are left out."""
    from dift_edit.atomic_files import parse_json, read_regular
    from dift_edit.errors import OutputError
    from dift_edit.results.manifest import Row

    try:
        lines = read_regular(manifest).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise OutputError(f"{manifest} cannot be read ({error.strerror}): remove it.") from error
    names = set()
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            names.add(Row.from_dict(parse_json(line)).output or "")
    return names - {""}


def write_annotations(store: Store, *, path: str, format: str | None, images: list[Any]) -> Iterator[Any]:
    """Write annotated images in a format; yields what it cannot hold, in words."""
    with store.loading():
        from dift_edit.annotations import Annotations, write_annotations
    _ready(path)
    yield write_annotations(Annotations(images), path, format=format)  # type: ignore[arg-type]


def write_pairs(
    store: Store, *, path: str, format: str, moving: Any, fixed: Any, names: list[str] | None
) -> Iterator[Any]:
    """Write pairs of landmarks of two pictures; yields the files."""
    with store.loading():
        from dift_edit.annotations import write_landmark_pairs
    _ready(path)
    files = write_landmark_pairs(path, moving, fixed, names=names, format=format)  # type: ignore[arg-type]
    yield [str(file) for file in files]


def folder(store: Store, *, path: str, leave_out: list[str], known: dict[str, str]) -> Iterator[Any]:
    """The picture files of a folder → names for their results, which differ from each other and from those `known`."""
    with store.loading():
        from dift_edit.results.names import name_outputs
        from dift_edit.targets.collect import collect_targets
    targets = collect_targets([path], leave_out=leave_out).targets
    names = name_outputs(targets, known)
    yield {target.path: names[target.id] for target in targets}


def export(
    store: Store,
    *,
    source: str,
    edit: dict[str, Any],
    target: str,
    places: Places,
    model: dict[str, str],
    settings: dict[str, Any],
    pins: list[Any],
    views: Views,
    file: str,
    output: str,
    values: str = "",
    limits: tuple[float, float] | None = None,
) -> Iterator[Any]:
    """Write one target with the edit; with its file's depth and metadata, where it still has that file's pixels.

    With the key of the layer's own `values`, and the contrast `limits` that it is shown with, the picture gets those
    values back, and the edit is put into their range.
    """
    from dift_edit.imaging import save_image

    image, _, picture = store.need(source, edit["picture"], target)
    if file:
        (loaded,) = store.need(f"file:{file}")
        if loaded.size == picture.size and np.array_equal(np.asarray(loaded.to_pil()), np.asarray(picture.to_pil())):
            picture = loaded
    made = store.edit(edit, image)
    _ready(output)
    done = picture
    hints = {"pins": pins, "views": views}
    for found in found_again(store, image, made, picture, places=places, hints=hints, model=model, settings=settings):
        done = made.apply(done, found, source=image)
    if limits is not None:
        done = _with_values(picture, done, store.need(values)[0], limits)
    yield str(save_image(done, output))


def _with_values(before: Any, after: Any, own: Any, limits: tuple[float, float]) -> Any:
    """The picture `after`, with the layer's own values where the edit set nothing.

    What an edit set counts as changed even where it equals what was there: eight bits hide differences of sixteen, and
    all values beyond a contrast limit look the same.
    """
    from dift_edit import as_image

    low, high = limits
    changed = (before.pixels != after.pixels).any(axis=2, keepdims=True)
    if after.written is not None:
        changed |= after.written[..., None]
    edited = np.round(low + after.pixels.astype(np.float64) / after.full_scale * (high - low))
    pixels = np.where(changed, edited.clip(0, own.full_scale), own.pixels).astype(own.pixels.dtype)
    return as_image(pixels)


def export_frame(store: Store, *, picture: str, crop: tuple[int, int, Any] | None, output: str) -> Iterator[Any]:
    """Write one frame of a stack, with what the edit changed in it, ``(x, y, (h, w, 4) uint8)`` or None."""
    from dift_edit import as_image
    from dift_edit.imaging import save_image

    (image,) = store.need(picture)
    if crop is not None:
        x, y, pixels = crop
        frame = np.asarray(image.to_pil()).copy()
        part = frame[y : y + pixels.shape[0], x : x + pixels.shape[1]]
        changed = pixels.any(axis=2)  # also where it was erased into transparency
        part[changed] = pixels[changed][:, : frame.shape[2]]
        image = as_image(frame)
    _ready(output)
    yield str(save_image(image, output))


def save_edit(store: Store, *, source: str, edit: dict[str, Any], output: str) -> Iterator[Any]:
    """Write an edit as the file that a recipe names."""
    from dift_edit.edits import save_edit

    image, _ = store.need(source, edit["picture"])
    _ready(output)
    yield str(save_edit(store.edit(edit, image), output))


def save_annotations(
    store: Store, *, label: str, polygons: list[Any], points: Any, labels: Any, output: str
) -> Iterator[Any]:
    """Write annotations of the source, (N, 2) points each or an (H, W) picture of labels, as an edit of a recipe."""
    with store.loading():
        from dift_edit.edits import Keypoints, LabelLayer, Polygon, save_edit
    layer = LabelLayer(
        polygons=[Polygon(outline, label) for outline in polygons],
        keypoints=[Keypoints(points, label=label)] if len(points) else [],
        label_map=labels,
    )
    _ready(output)
    yield str(save_edit(layer, output))


def save_picture(store: Store, *, picture: str, output: str) -> Iterator[Any]:
    """Write a picture as it is."""
    from dift_edit.imaging import save_image

    (image,) = store.need(picture)
    _ready(output)
    yield str(save_image(image, output))


def write_job(store: Store, *, path: str, job: dict[str, Any]) -> Iterator[Any]:
    """Write the recipe that ``dift-edit run`` reads."""
    with store.loading():
        from dift_edit.job.recipe import Job, ViewFile, save_job
        from dift_edit.rendering.compositing import Compositing
        from dift_edit.settings import TransferSettings
    _ready(path)
    plain = {name: value for name, value in job.items() if name not in ("artwork", "views")}
    plain["views"] = tuple(ViewFile(**view) for view in job.get("views", ()))
    compositing = Compositing(artwork=job.get("artwork", "auto"))
    save_job(Job(**{**plain, "transfer": TransferSettings(**job["transfer"]), "compositing": compositing}), path)
    yield path


def carry_points(
    store: Store, *, source: str, edit: dict[str, Any], quad: Any, transform: bytes, points: Any
) -> Iterator[Any]:
    """Points of the source as they lie in a target."""
    image, _ = store.need(source, edit["picture"])
    yield np.asarray(transform_of(store.edit(edit, image), quad, transform)(points))


def carry_labels(
    store: Store,
    *,
    source: str,
    edit: dict[str, Any],
    quad: Any,
    transform: bytes,
    labels: Any,
    target: str,
) -> Iterator[Any]:
    """A label picture of the source as it lies in a target: its corner and its labels."""
    from dift_edit.rendering.warp import warp_layer

    image, _, picture = store.need(source, edit["picture"], target)
    found = transform_of(store.edit(edit, image), quad, transform)
    warped = warp_layer(labels.astype(np.float32)[..., None], found, picture.size, resampling="nearest")
    left, top, _, _ = warped.box
    yield {"x": left, "y": top, "labels": np.rint(warped.values[..., 0]).astype(labels.dtype)}
