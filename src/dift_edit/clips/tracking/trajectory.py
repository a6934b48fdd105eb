"""From observations to the path of an edit: both directions, several keyframes, smoothing, visibility."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dift_edit.clips.io.base import Clip, iterate_reversed
from dift_edit.clips.tracking.appearance import share_inside
from dift_edit.clips.tracking.finder import Finder
from dift_edit.clips.tracking.settings import SequenceSettings
from dift_edit.clips.tracking.smoothing import Observations, smooth
from dift_edit.clips.tracking.track_store import TrackStore
from dift_edit.clips.tracking.tracker import Observation, Tracker
from dift_edit.clips.tracking.visibility import opacities
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import quad_folds
from dift_edit.imaging.image import Image

__all__ = ["Keyframe", "Trajectory", "follow_trajectory"]

Floats = npt.NDArray[np.float64]

_EXACT = 1e6  # pixels⁻²: a keyframe is where it was put (chosen)


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A frame in which the place of the edit is known: corners (4, 2) in its pixels."""

    frame: int
    corners: Points


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Where an edit is in every frame from `start` on.

    Attributes
    ----------
    start : int
        Number of the first frame.
    corners : ndarray
        (n, 4, 2) smoothed corners in pixels.
    raw : ndarray
        (n, 4, 2) before smoothing.
    opacity, confidence, seen : ndarray
        (n,) in [0, 1].
    anchors : list of str
        What each frame rests on, see `Observation`; "keyframe" for those.
    cuts : ndarray
        (n,) bool: a new shot begins with this frame.
    """

    start: int
    corners: Floats
    raw: Floats
    opacity: Floats
    confidence: Floats
    seen: Floats
    anchors: list[str]
    cuts: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.corners)


@dataclass(eq=False)
class _Frames:
    """Arrays that the passes fill; index 0 is frame `start`."""

    corners: Floats
    information: Floats
    steps: Floats
    step_information: Floats
    confidence: Floats
    seen: Floats
    anchors: list[str]
    cuts: npt.NDArray[np.bool_]
    jumps: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, count: int) -> "_Frames":
        square = (count, 8, 8)
        return cls(
            np.zeros((count, 8)),
            np.zeros(square),
            np.zeros((count, 8)),
            np.zeros(square),
            np.zeros(count),
            np.zeros(count),
            ["none"] * count,
            np.zeros(count, bool),
            np.zeros(count, bool),
        )


def follow_trajectory(
    clip: Clip,
    keyframes: Sequence[Keyframe],
    finder: Callable[[Image, Points], Finder],
    settings: SequenceSettings,
    journal: TrackStore,
    *,
    span: tuple[int, int],
    progress: Callable[[], None] = lambda: None,
    name: str = "",
) -> Trajectory:
    """Follow an edit from its keyframes through a span of a clip.

    Parameters
    ----------
    clip : Clip
        The frames.
    keyframes : sequence of Keyframe
        At least one, in the order of their frames. Between two of them the frames are followed from both sides.
    finder : callable
        Makes the search by features for a keyframe's image and corners.
    settings : SequenceSettings
        How.
    journal : TrackStore
        Remembers what was found.
    span : (start, stop)
        Frames to cover; all keyframes lie inside.
    progress : callable
        Called after every frame of every pass.
    name : str
        Of the edit, for the journal.

    Returns
    -------
    Trajectory
    """
    start, stop = span
    frames = _Frames.empty(stop - start)
    edges = [start - 1, *(keyframe.frame for keyframe in keyframes), stop]
    for number, keyframe in enumerate(keyframes):
        image = next(clip.read(keyframe.frame, keyframe.frame + 1))
        find = finder(image, keyframe.corners)
        before, after = edges[number], edges[number + 2]
        for forward, total in ((True, after - keyframe.frame - 1), (False, keyframe.frame - before - 1)):
            if total <= 0:
                continue
            tracker = Tracker(
                image,
                keyframe.corners,
                find,
                working_side=settings.working_side,
                feature_stride=settings.feature_stride,
            )
            label = f"{name}{keyframe.frame}-{'on' if forward else 'back'}"
            source = _reader(clip, keyframe.frame, total, forward=forward)
            other = after if forward else before
            alone = other in (start - 1, stop)
            for observation in journal.track(label, tracker, total, source):
                away = abs(observation.frame - keyframe.frame) / abs(other - keyframe.frame)
                _take(frames, observation, start, forward=forward, share=1.0 if alone else 1 - away)
                progress()
    for keyframe in keyframes:
        _pin(frames, keyframe, start)
    return _finish(frames, keyframes, clip.size, settings, start)


def _reader(clip: Clip, key: int, total: int, *, forward: bool) -> Callable[[int], Iterator[tuple[int, Image]]]:
    """Frames after a keyframe, or before it and backward, without those that were done."""

    def read(done: int) -> Iterator[tuple[int, Image]]:
        if forward:
            yield from enumerate(clip.read(key + 1 + done, key + 1 + total), key + 1 + done)
        else:
            yield from iterate_reversed(clip, key - total, key - done)

    return read


def _take(frames: _Frames, seen: Observation, start: int, *, forward: bool, share: float) -> None:
    """Add an observation; `share` says how much it counts beside that from the other side."""
    index = seen.frame - start
    earlier = frames.information[index]
    added = share * seen.information
    both = earlier + added
    if added.any() and earlier.any():
        pull = earlier @ frames.corners[index] + added @ seen.corners.ravel()
        frames.corners[index] = np.linalg.solve(both + 1e-12 * np.eye(8), pull)
    elif added.any() or not earlier.any():
        frames.corners[index] = seen.corners.ravel()
    frames.information[index] = both
    into = index if forward else index + 1
    if into < len(frames.corners) and seen.step_information.any():
        step = seen.step.ravel() if forward else -seen.step.ravel()
        weight = share * seen.step_information
        total = frames.step_information[into] + weight
        pull = frames.step_information[into] @ frames.steps[into] + weight @ step
        frames.steps[into] = np.linalg.solve(total + 1e-12 * np.eye(8), pull)
        frames.step_information[into] = total
    if seen.confidence >= frames.confidence[index] and seen.anchor != "none":
        frames.anchors[index], frames.confidence[index], frames.seen[index] = seen.anchor, seen.confidence, seen.seen
    if into < len(frames.corners):
        frames.cuts[into] |= seen.cut
        frames.jumps[into] |= seen.jump


def _pin(frames: _Frames, keyframe: Keyframe, start: int) -> None:
    index = keyframe.frame - start
    frames.corners[index] = keyframe.corners.ravel()
    frames.information[index] = _EXACT * np.eye(8)
    frames.anchors[index], frames.confidence[index], frames.seen[index] = "keyframe", 1.0, 1.0


def _finish(
    frames: _Frames, keyframes: Sequence[Keyframe], size: tuple[int, int], settings: SequenceSettings, start: int
) -> Trajectory:
    """Smooth each stretch without a break, and decide what is shown."""
    breaks = frames.cuts | frames.jumps
    raw = frames.corners.copy()
    solved = _smoothed(frames, breaks) if settings.smooth else raw.copy()
    for keyframe in keyframes:
        solved[keyframe.frame - start] = keyframe.corners.ravel()
    quads = solved.reshape(-1, 4, 2)
    shown = np.array([anchor != "none" for anchor in frames.anchors])
    by_features = np.array([anchor == "features" for anchor in frames.anchors])
    shown &= (frames.seen >= settings.min_seen) | by_features
    shown &= frames.confidence >= settings.min_confidence
    opacity = opacities(shown, frames.cuts, fade=settings.fade)
    for index, quad in enumerate(quads):
        if opacity[index] > 0 and (quad_folds(quad) or share_inside(quad, size) == 0):
            opacity[index] = 0
    return Trajectory(
        start=start,
        corners=quads,
        raw=raw.reshape(-1, 4, 2),
        opacity=opacity,
        confidence=frames.confidence,
        seen=frames.seen,
        anchors=frames.anchors,
        cuts=frames.cuts,
    )


def _smoothed(frames: _Frames, breaks: npt.NDArray[np.bool_]) -> Floats:
    solved = frames.corners.copy()
    edges = [0, *np.flatnonzero(breaks).tolist(), len(solved)]
    for low, high in pairwise(edges):
        part = slice(low, high)
        if high > low and frames.information[part].any():
            observations = Observations(
                frames.corners[part], frames.information[part], frames.steps[part], frames.step_information[part]
            )
            solved[part] = smooth(observations)
    return solved
