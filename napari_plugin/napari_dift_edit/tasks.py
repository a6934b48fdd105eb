"""What the engine process can be asked: thin calls of dift_edit's public functions, on plain data and arrays."""

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dift_edit.models import measure, models, ready
from napari_dift_edit.outputs import (
    Places,
    Views,
    carry_labels,
    carry_points,
    export,
    export_frame,
    folder,
    found_again,
    save_annotations,
    save_edit,
    save_picture,
    transform_of,
    views_of,
    write_annotations,
    write_job,
    write_manifest,
    write_pairs,
)
from napari_dift_edit.store import Store

__all__ = ["HANDLERS"]


def put(store: Store, *, key: str, pixels: Any) -> Iterator[Any]:
    """Remember a picture."""
    store.put(key, pixels)
    return iter(())


def read(store: Store, *, path: str) -> Iterator[Any]:
    """A picture file as (H, W, 4) uint8, or (H, W, 3) when it is opaque."""
    (image,) = store.need(f"file:{path}")
    yield np.asarray(image.to_pil())


def warm(store: Store, *, source: str, targets: list[str], model: dict[str, str]) -> Iterator[Any]:
    """Make and keep what `explore` needs, so that its first answer comes as fast as all others; yields each key."""
    store.expect_pairs(len(targets))
    for key in targets:
        store.matcher(model, source, key)([(0.0, 0.0)])
        yield key


def explore(
    store: Store, *, source: str, point: tuple[float, float], targets: list[str], model: dict[str, str]
) -> Iterator[Any]:
    """Where a point of one picture lies in others: its place, how sure that is, and how similar every cell is, from
    the median (0) to the most similar one (1).
    """
    with store.loading():
        from dift_edit.matching.points import similarity_map

    store.expect_pairs(len(targets))
    for key in targets:
        matcher = store.matcher(model, source, key)
        match = matcher([point])
        similarity = similarity_map(matcher.source, point, matcher.target).float().cpu().numpy()
        middle = float(np.median(similarity))
        heat = np.clip((similarity - middle) / max(float(similarity.max()) - middle, 1e-6), 0, 1)
        yield {
            "key": key, "point": tuple(match.points[0].tolist()), "confidence": float(match.confidence[0]),
            "heat": heat,
        }  # fmt: skip


def annotate(
    store: Store,
    *,
    source: str,
    target: str,
    things: list[dict[str, Any]],
    model: dict[str, str],
    mirror: str,
    known: dict[int, tuple[float, float]] | None = None,
) -> Iterator[Any]:
    """Where annotations of one picture lie in another, by the landmark engine.

    Each of `things` has its ``rows`` and either ``points``, (N, 2) landmarks that keep their shape together, or an
    ``object`` (`dift_edit.annotations.AnnotatedObject`). `known` has the landmarks that the user put right, by row.

    Yields one answer: by row, the ``points`` with the ``confidence`` of each; or the ``objects``, None for those that
    are not in the target; and its ``size``.
    """
    with store.loading():
        from dift_edit.annotations import Category
        from dift_edit.landmarks.carry import carry_object
        from dift_edit.landmarks.frame import TargetMaps
        from dift_edit.settings import AnnotateSettings

    image, picture = store.need(source, target)
    maps = TargetMaps(picture, store.featurizer(model), 0)
    answer: dict[str, Any] = {"size": picture.size, "points": {}, "confidence": {}, "objects": {}}
    for thing in things:
        rows, matcher = thing["rows"], store.landmarks(model, image, thing, mirror)
        if "points" in thing:
            found = matcher(
                picture, maps, known={at: known[row] for at, row in enumerate(rows) if known and row in known}
            )
            answer["points"] |= {row: tuple(found.points[at].tolist()) for at, row in enumerate(rows)}
            answer["confidence"] |= {row: float(found.confidence[at]) for at, row in enumerate(rows)}
            continue
        found, carried = matcher(picture, maps), None
        if not found.placement.reason and found.object_confidence >= AnnotateSettings.min_confidence:
            carried = carry_object(
                thing["object"], Category(name=thing["object"].category), transform=found.transform,
                points=found.points, point_confidence=found.confidence, confidence=found.object_confidence, least=0.0,
                target=picture, source_size=image.size,
            )  # fmt: skip
        answer["objects"][rows[0]] = carried
    yield answer


def prepare(store: Store, *, source: str, edit: dict[str, Any]) -> Iterator[Any]:
    """Check an edit; where it lies in the source, what it looks like there, and whether it hides something."""
    from dift_edit.edits.layers import hides_content
    from dift_edit.geometry.base import MatrixTransform

    image, _ = store.need(source, edit["picture"])
    made = store.edit(edit, image)
    shown = made.apply(image, MatrixTransform(np.eye(3)), source=image)
    yield {"quad": _points(made.quad), "crop": _crop(image, shown), "hides": hides_content(made)}


def place(
    store: Store,
    *,
    source: str,
    edit: dict[str, Any],
    target: str,
    model: dict[str, str],
    settings: dict[str, Any],
    pins: list[tuple[tuple[float, float], tuple[float, float]]],
    views: Views,
    show: bool = True,
    teachers: Views = (),
    earlier: float = 0.0,
) -> Iterator[Any]:
    """Find the edit's place in one target and, with `show`, put it there.

    With `teachers`, decided results that serve as further views, the answer says whether it ``improves`` the place that
    was found before, with the confidence `earlier`.
    """
    from dift_edit.batch.learning import KnownPlace, improves
    from dift_edit.edits.layers import hides_content
    from dift_edit.pipeline import transfer
    from dift_edit.results.looks import look_of

    image, _, picture = store.need(source, edit["picture"], target)
    made = store.edit(edit, image)
    options = dict(settings)
    if pins:
        options["pins"] = pins
    if views or teachers:
        options["views"] = views_of(store, [*views, *teachers])
    featurizer = store.featurizer(model)
    done = transfer(image, made, picture, featurizer=featurizer, **options)
    placement, hides = done.placement, hides_content(made)
    several = len(done.placements) + len(done.missed) > 1
    maps = None if placement is None or hides or settings.get("engine") == "fixed" else (picture, image)
    taught = [KnownPlace(id=key, quad=quad, weight=1.0, decided=True) for key, quad in teachers]
    least = done.settings.min_confidence
    better = bool(taught) and placement is not None and improves(placement, earlier, least, taught)
    yield {
        **({"improves": better} if taught else {}),
        "instances": [_instance(each, missed=False) for each in done.placements if several]
        + [_instance(each, missed=True) for each in done.missed],
        "hides": hides, "look": "" if maps is None else look_of(*map(featurizer, maps)),
        "status": done.status, "reason": done.reason or done.warning, "seconds": done.seconds,
        "confidence": 0.0 if placement is None else float(placement.confidence),
        "quad": None if placement is None else _points(placement.quad),
        "mirrored": placement is not None and bool(placement.mirrored),
        "engine": "" if placement is None else placement.engine,
        "transform": b"" if placement is None else pickle.dumps(placement.transform),
        "crop": _crop(picture, done.image) if done.status == "applied" and show else None,
    }  # fmt: skip


def _instance(placement: Any, *, missed: bool) -> dict[str, Any]:
    return {
        "quad": _points(placement.quad), "confidence": float(placement.confidence), "missed": missed,
        "mirrored": bool(placement.mirrored), "transform": pickle.dumps(placement.transform),
    }  # fmt: skip


def suggest(store: Store, *, rows: list[dict[str, Any]]) -> Iterator[Any]:
    """The targets whose correction would help the others most, and why; see `dift_edit.report.suggestions`."""
    with store.loading():
        from dift_edit.report.suggestions import suggest as suggest_rows
        from dift_edit.results.manifest import Row

    yield suggest_rows([Row(**row) for row in rows])


def sequence(
    store: Store,
    *,
    source: str,
    edit: dict[str, Any],
    frames: list[str],
    keyframes: dict[int, Any],
    model: dict[str, str],
) -> Iterator[Any]:
    """Carry the edit of one frame through a stack: ("track", done, total) while it looks, then one item a frame."""
    with store.loading():
        from dift_edit.clips.sequence import render_sequence, track_sequence
        from dift_edit.edits.layers import hides_content

    image, _, *pictures = store.need(source, edit["picture"], *frames)
    made = store.edit(edit, image)
    hides = hides_content(made)
    track = track_sequence(
        pictures, made, featurizer=store.featurizer(model), keyframes=keyframes,
        progress=lambda done, total: store.tell(("track", done, total)),
    )  # fmt: skip
    for done in render_sequence(pictures, track):
        quad = _points(track.corners(done.frame))
        crop = _crop(pictures[done.frame], done.image) if done.status == "applied" else None
        confidence = 0.0 if done.placement is None else float(done.placement.confidence)
        yield {
            "frame": done.frame, "quad": quad, "confidence": confidence, "reason": done.reason, "crop": crop,
            "hides": hides,
        }  # fmt: skip


def render(
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
) -> Iterator[Any]:
    """What the edit looks like in a target where its places are known."""
    image, _, picture = store.need(source, edit["picture"], target)
    made = store.edit(edit, image)
    shown = picture
    hints = {"pins": pins, "views": views}
    for found in found_again(store, image, made, picture, places=places, hints=hints, model=model, settings=settings):
        shown = made.apply(shown, found, source=image)
    yield _crop(picture, shown)


def apply(store: Store, *, source: str, edit: dict[str, Any], target: str, places: Places) -> Iterator[Any]:
    """Put the edit where the user says: its four corners, or the placements that were found."""
    image, _, picture = store.need(source, edit["picture"], target)
    made = store.edit(edit, image)
    shown = picture
    for quad, transform, _ in places:
        shown = made.apply(shown, transform_of(made, quad, transform), source=image)
    yield _crop(picture, shown)


_CLEARED = (255, 255, 255, 0)


def _crop(before: Any, after: Any) -> dict[str, Any]:
    """What changed: its corner, and its pixels where they changed.

    What the edit left alone is zero in all channels; what it made wholly transparent is white with alpha 0.
    """
    changed = (before.pixels != after.pixels).any(axis=2)
    if before.alpha is not None:
        changed |= before.alpha != after.alpha
    if after.written is not None:  # whatever it equals: eight bits hide differences of sixteen
        changed |= after.written
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not len(rows):
        return {"x": 0, "y": 0, "pixels": np.zeros((1, 1, 4), np.uint8)}
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    pixels = np.asarray(after.crop((left, top, right, bottom)).to_pil().convert("RGBA")).copy()
    inside = changed[top:bottom, left:right]
    pixels[~inside] = 0
    pixels[inside & (pixels[..., 3] == 0)] = _CLEARED
    return {"x": left, "y": top, "pixels": pixels}


def _points(points: npt.NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)


_FUNCTIONS = (
    put, read, models, ready, measure, warm, explore, annotate, prepare, place, suggest, apply, render, sequence,
    carry_points, carry_labels, export, export_frame, folder, save_annotations, save_edit, save_picture,
    write_annotations, write_job, write_manifest, write_pairs,
)  # fmt: skip
HANDLERS: dict[str, Callable[..., Iterator[Any]]] = {function.__name__: function for function in _FUNCTIONS}
