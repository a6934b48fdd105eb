"""The same edit through a clip, stable in time: chain and anchor, then one smooth path.

`track_sequence` finds where the edit is in every frame, `render_sequence` puts it there, `propagate_sequence` does
both. Frames are streamed: what is kept of a frame is eight numbers and their covariance.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit._version import __version__
from dift_edit.clips.io import Clip, as_clip
from dift_edit.clips.tracking.bending import find_bends
from dift_edit.clips.tracking.finder import FeatureFinder
from dift_edit.clips.tracking.hiding import find_hidden
from dift_edit.clips.tracking.plan import Keyframes, Part, plan_clip
from dift_edit.clips.tracking.settings import SequenceSettings
from dift_edit.clips.tracking.track import Layer, SequenceTrack
from dift_edit.clips.tracking.track_store import TrackStore
from dift_edit.clips.tracking.trajectory import Trajectory, follow_trajectory
from dift_edit.edits.base import Edit
from dift_edit.edits.layers import hides_content, reaching
from dift_edit.errors import EditError
from dift_edit.features.base import Featurizer
from dift_edit.geometry.base import Transform
from dift_edit.imaging.image import Image
from dift_edit.pipeline import Transfer
from dift_edit.placement.placement import Placement
from dift_edit.rendering.compositing import Compositing
from dift_edit.settings import TransferSettings
from dift_edit.types import FramesLike

__all__ = [
    "FrameTransfer",
    "SequenceSettings",
    "SequenceTrack",
    "propagate_sequence",
    "render_sequence",
    "track_sequence",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameTransfer(Transfer):
    """Result of transferring an edit to one frame of a clip.

    Attributes
    ----------
    status, reason, image, placement, settings, model, seconds, target, artwork
        As of every `Transfer`; an "abstained" frame is one that does not show the edit, `target` and `artwork` are
        empty.
    frame : int
        Its number.
    opacity : float
        How strongly the edit was put on, 0 to 1; between, it fades.
    anchor : str
        What the place rests on: "keyframe", "key" (the keyframe's own pixels), "recent", "chain", "features", "none".
    cut : bool
        Whether a new shot begins with this frame.
    """

    frame: int
    opacity: float
    anchor: str
    cut: bool


def propagate_sequence(
    frames: FramesLike,
    edit: Edit | Mapping[int, Edit],
    *,
    featurizer: Featurizer,
    keyframes: Keyframes = 0,
    settings: SequenceSettings | None = None,
    compositing: Compositing | None = None,
    journal: Path | str | None = None,
) -> Iterator[FrameTransfer]:
    """Carry an edit of one frame, or of a few, to all frames of a clip.

    Parameters
    ----------
    frames : path, Clip, or list of images
        A folder of frames, a video, a GIF…, see `open_clip`; or images of one size.
    edit : Edit, or {frame: Edit}
        What to carry. Several edits, one for each of their keyframes, are blended from one to the next.
    featurizer : Featurizer
        Gives the features that find the object again.
    keyframes : int, or {frame: quad or None}
        The frame that `edit` was made on; or several frames in which its place is known: None for the frame it was
        made on, and (4, 2) corners in pixels for the others. Not used when `edit` is a mapping.
    settings, compositing : optional
        How.
    journal : path, optional
        A folder in which a killed run finds what it did before.

    Yields
    ------
    FrameTransfer
        One per frame, in order. The clip is read once for tracking before the first one comes.

    Raises
    ------
    DiftEditError
        If the clip, the edit or a keyframe is wrong.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> cat = de.load_image(FOLDER / "cat.jpg")
    >>> frames = [cat.crop((shift, 0, 640 + shift, 480)) for shift in (0, 3, 6)]
    >>> sticker = de.Sticker(FOLDER / "glasses.png", at=(200, 150, 200, 150))
    >>> featurizer = de.load_featurizer("lite")
    >>> for frame in de.propagate_sequence(frames, sticker, featurizer=featurizer):
    ...     print(frame.frame, frame.status, (frame.placement.quad[0] + 0.5).round().astype(int).tolist())
    0 applied [200, 150]
    1 applied [197, 150]
    2 applied [194, 150]
    """
    clip = as_clip(frames)
    track = track_sequence(clip, edit, featurizer=featurizer, keyframes=keyframes, settings=settings, journal=journal)
    yield from render_sequence(clip, track, compositing=compositing)


def track_sequence(
    frames: FramesLike,
    edit: Edit | Mapping[int, Edit],
    *,
    featurizer: Featurizer,
    keyframes: Keyframes = 0,
    settings: SequenceSettings | None = None,
    journal: Path | str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SequenceTrack:
    """Find where an edit is in every frame: the first half of `propagate_sequence`.

    Parameters
    ----------
    frames, edit, featurizer, keyframes, settings, journal
        As there.
    progress : callable
        Called with the frames done and to do.

    Returns
    -------
    SequenceTrack
    """
    clip = as_clip(frames)
    settings = settings or SequenceSettings()
    plan = plan_clip(clip, edit, keyframes)
    if settings.occlusion == "parts" and any(hides_content(part.edit) for part in plan):
        raise EditError("A redaction is never cut off where something seems to hide it: leave occlusion at 'whole'.")
    store = TrackStore(journal, _fingerprint(clip, plan, settings, featurizer)) if journal else TrackStore(None, "")
    again = (settings.engine == "mesh") + (settings.occlusion == "parts")
    total = sum(part.passes + again * (part.span[1] - part.span[0]) for part in plan)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    finder = partial(FeatureFinder, featurizer, mirror=settings.mirror, seed=settings.seed)
    layers = []
    for number, part in enumerate(plan):
        path = follow_trajectory(
            clip,
            part.keyframes,
            finder,
            settings,
            store,
            span=part.span,
            progress=tick,
            name=f"{number}-",
        )
        seen: dict[str, Any] = {"working_side": settings.working_side, "progress": tick}
        bends = find_bends(clip, part.source, part.quad, path, **seen) if settings.engine == "mesh" else None
        hidden = find_hidden(clip, part.source, part.quad, path, **seen) if settings.occlusion == "parts" else None
        frames_ = [keyframe.frame for keyframe in part.keyframes]
        layers.append(Layer(part.edit, part.source, part.quad, frames_, path, part.weight, bends, hidden))
    return SequenceTrack(len(clip), layers, settings, featurizer.model)


def render_sequence(
    frames: FramesLike, track: SequenceTrack, *, compositing: Compositing | None = None, start: int = 0
) -> Iterator[FrameTransfer]:
    """Put a tracked edit on the frames: the second half of `propagate_sequence`.

    Parameters
    ----------
    frames : path, Clip or list of images
        The clip that was tracked.
    track : SequenceTrack
        Where the edit is.
    compositing : Compositing, optional
        How it is blended.
    start : int
        First frame.

    Yields
    ------
    FrameTransfer
    """
    clip = as_clip(frames)
    sources = {layer.source: next(clip.read(layer.source, layer.source + 1)) for layer in track.layers}
    cuts = set(track.cuts)
    chosen = TransferSettings(
        mirror=track.settings.mirror, min_confidence=track.settings.min_confidence, seed=track.settings.seed
    )
    for frame, image in enumerate(clip.read(start, len(clip)), start):
        begun = time.perf_counter()
        layer, index = track.leading(frame)
        result, opacity = _composed(track, frame, image, sources, compositing)
        reason = "" if opacity > 0 else _why_hidden(layer.path, index, track.settings)
        transform = layer.transform(frame)
        placement = Placement(
            quad=transform(layer.edit.quad),
            transform=transform,
            confidence=float(layer.path.confidence[index]),
            confidence_source="tracked",
            mirrored=False,
            reason=reason,
            engine="sequence",
        )
        yield FrameTransfer(
            status="applied" if opacity > 0 else "abstained",
            reason=reason,
            image=result,
            placement=placement,
            settings=chosen,
            model=track.model,
            seconds=time.perf_counter() - begun,
            frame=frame,
            opacity=opacity,
            anchor=layer.path.anchors[index],
            cut=frame in cuts,
        )


def _composed(
    track: SequenceTrack, frame: int, image: Image, sources: dict[int, Image], compositing: Compositing | None
) -> tuple[Image, float]:
    """The frame with its edits, each in its share, and the opacity of all together."""
    mixed: Any = None
    whole: Image | None = None
    like, written = image, image.written
    total = 0.0
    hiding: list[tuple[Edit, Transform, Image]] = []
    for layer in track.layers:
        index = layer.index(frame)
        share = 0.0 if index is None else layer.weight(frame) * float(layer.path.opacity[index])
        if index is None or share <= 0:
            continue
        transform = layer.transform(frame)
        edit = reaching(layer.edit, transform, image.size)
        if edit is None:
            continue
        if hides_content(edit):  # never by half: what fades still shows what it hides
            hiding.append((edit, transform, sources[layer.source]))
            continue
        put = edit.apply(image, transform, source=sources[layer.source], compositing=compositing)
        hidden = layer.hidden.at(index, transform, image.size) if layer.hidden and frame != layer.source else None
        if put.file is not image.file:  # what was erased must not stay in the metadata
            like = put
        if put.written is not None:
            written = put.written if written is None else written | put.written
        if share == 1.0 and hidden is None:
            whole, total = put, 1.0
            continue
        change = (put.pixels.astype(np.float32) - image.pixels) * np.float32(share)
        if hidden is not None:
            left, top, right, bottom = hidden.box
            change[top:bottom, left:right] *= 1 - hidden.values
        mixed = change if mixed is None else mixed + change
        total += share
    if whole is not None:
        image = whole
    elif mixed is not None:
        pixels = image.pixels + mixed
        if image.pixels.dtype != np.float32:
            pixels = np.clip(np.round(pixels), 0, image.full_scale)
        image = replace(like, pixels=pixels.astype(image.pixels.dtype), alpha=image.alpha, written=written)
    for edit, transform, source in hiding:
        image, total = edit.apply(image, transform, source=source, compositing=compositing), 1.0
    return image, min(total, 1.0)


def _why_hidden(path: Trajectory, index: int, settings: SequenceSettings) -> str:
    if path.anchors[index] == "none":
        return "the place of the edit is hidden, or not in this frame"
    if path.confidence[index] < settings.min_confidence:
        return f"the confidence {path.confidence[index]:.2f} is below {settings.min_confidence:.2f}"
    if path.seen[index] < settings.min_seen:
        return f"only {path.seen[index]:.0%} of the edit's place is seen"
    return "the edit is seen for too short a time"


def _fingerprint(clip: Clip, plan: Sequence[Part], settings: SequenceSettings, featurizer: Featurizer) -> str:
    """Of all that the places depend on."""
    keys = [[(key.frame, key.corners.tolist()) for key in part.keyframes] for part in plan]
    parts = [__version__, clip.fingerprint(), len(clip), keys, settings.fingerprint(), featurizer.fingerprint]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
