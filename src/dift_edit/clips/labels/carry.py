"""Labels and keypoints through a sequence, or through a clip from any of its frames."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch

from dift_edit._version import __version__
from dift_edit.clips.io import Clip, as_clip, iterate_reversed
from dift_edit.clips.labels.coding import Labels, check_labels, enlarge, gaussians, peaks, sharpness, shrink
from dift_edit.clips.labels.propagator import LabelPropagator
from dift_edit.clips.labels.settings import PropagationSettings
from dift_edit.clips.labels.stored import ScoreStore, open_store
from dift_edit.errors import GeometryError
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.coords import Points, as_points
from dift_edit.imaging.edges import labels_at_edges
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.settings import fingerprint, override
from dift_edit.types import FramesLike, ImageLike, MaskLike, PointsLike

__all__ = ["PropagatedLabels", "propagate_keypoints", "propagate_labels"]

Frames: TypeAlias = FramesLike | Iterable[FeatureMap | ImageLike]
Begin = Callable[[FeatureMap], torch.Tensor]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class PropagatedLabels:
    """The labels of one frame.

    Attributes
    ----------
    labels : ndarray
        (H, W) with the first frame's values and type; every pixel has the label that won.
    scores : torch.Tensor
        (K, h, w) float32 in [0, 1] on the features' grid: how much of each class was found at a cell.
    classes : tuple of int
        The K values of the labels, in the scores' order; the smallest one is first.
    confidence : float
        How far to trust the least sure of the labels, 0 to 1: the overlap of its scores with where it won. 1 in the
        frame that has the labels.
    """

    labels: Labels
    scores: torch.Tensor
    classes: tuple[int, ...]
    confidence: float


def propagate_labels(
    frames: Frames,
    labels: MaskLike,
    *,
    featurizer: Featurizer | None = None,
    settings: PropagationSettings | None = None,
    frame: int = 0,
    journal: Path | str | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
    temperature: float | None = None,
    top_k: int | None = None,
    last_frames: int | None = None,
    radius: int | None = None,
    channels: int | None = None,
    protocol: Literal["released", "corrected"] | None = None,
    edges: Literal["image", "cells"] | None = None,
) -> Iterator[PropagatedLabels]:
    """Carry the labels of one frame to all frames of a sequence.

    Parameters
    ----------
    frames : path, Clip, or iterable
        A clip, see `open_clip`; or the frames in order: `FeatureMap`, or with a `featurizer` images, paths or
        arrays, which are read one at a time.
    labels : array_like
        (H, W) integers or bool of one frame, at the image's size; 0 is usually the background.
    featurizer : Featurizer, optional
        Needed where frames are not feature maps.
    settings : PropagationSettings, optional
        How labels are carried.
    frame : int
        The frame that has the labels; of a clip it may be any (-1 is the last), and they are carried forward and
        backward from there.
    journal : path, optional
        A folder in which a killed run over a clip finds what it did before.
    seed : int
        Of the features, where they are made here.
    progress : callable
        Called with the frames of a clip that are done and that there are.
    temperature, top_k, last_frames, radius, channels, protocol, edges : optional
        Fields of `PropagationSettings`; each takes precedence over `settings`.

    Yields
    ------
    PropagatedLabels
        One for every frame, in order; that of `frame` has the labels as they were given.

    Raises
    ------
    GeometryError
        If the labels do not have the frame's size or are no integers, or the frames' sizes differ.
    """
    settings = override(
        settings or PropagationSettings(),
        temperature=temperature,
        top_k=top_k,
        last_frames=last_frames,
        radius=radius,
        channels=channels,
        protocol=protocol,
        edges=edges,
    )
    given, classes = check_labels(labels)

    def begin(features: FeatureMap) -> torch.Tensor:
        if given.shape != features.image_size[::-1]:
            raise GeometryError(
                f"The labels are {given.shape[1]}×{given.shape[0]} pixels, but the frame is "
                f"{features.image_size[0]}×{features.image_size[1]}: give labels of the frame's size."
            )
        return shrink(given, classes, features, settings.protocol)

    way = _Way(featurizer, settings, seed, frame, journal, progress)
    sharpen = settings.edges == "image" and settings.protocol == "corrected"
    for one in _carried(frames, begin, way, digest=_digest(given)):
        if one.given:
            yield PropagatedLabels(given, one.scores, classes, 1.0)
            continue
        if sharpen and one.image is not None:
            winner = labels_at_edges(one.scores, one.image)
        else:
            winner = enlarge(one.scores, one.size, settings.protocol)
        named = np.asarray(classes, dtype=given.dtype)[winner]
        yield PropagatedLabels(named, one.scores, classes, sharpness(one.scores))


def propagate_keypoints(
    frames: Frames,
    points: PointsLike,
    *,
    featurizer: Featurizer | None = None,
    settings: PropagationSettings | None = None,
    frame: int = 0,
    journal: Path | str | None = None,
    sigma: float = 1.0,
    peak_cells: int = 5,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
    temperature: float | None = None,
    top_k: int | None = None,
    last_frames: int | None = None,
    radius: int | None = None,
    channels: int | None = None,
    protocol: Literal["released", "corrected"] | None = None,
) -> Iterator[Points]:
    """Carry keypoints of one frame to all frames of a sequence, each as a soft label of Gaussian shape.

    Parameters
    ----------
    frames, frame, journal, progress
        As for `propagate_labels`.
    points : array_like
        (N, 2) in pixels of the frame.
    featurizer : Featurizer, optional
        Needed where frames are not feature maps.
    settings : PropagationSettings, optional
        How labels are carried.
    sigma : float
        Of the Gaussians, in cells.
    peak_cells : int
        A keypoint of a frame is the mean of so many cells with its highest scores, weighted with them.
    seed : int
        Of the features, where they are made here.
    temperature, top_k, last_frames, radius, channels, protocol : optional
        Fields of `PropagationSettings`; each takes precedence over `settings`.

    Yields
    ------
    ndarray
        (N, 2) in pixels for every frame, in order; those of `frame` are the points as they were given.

    Raises
    ------
    GeometryError
        If points are not finite, or the frames' sizes differ.
    """
    settings = override(
        settings or PropagationSettings(),
        temperature=temperature,
        top_k=top_k,
        last_frames=last_frames,
        radius=radius,
        channels=channels,
        protocol=protocol,
    )
    given = as_points(points)
    if not sigma > 0 or peak_cells < 1:
        raise GeometryError("Keypoints need a sigma above 0 and at least one peak cell.")
    way = _Way(featurizer, settings, seed, frame, journal, progress)
    begin = lambda features: gaussians(given, features, sigma)  # noqa: E731
    for one in _carried(frames, begin, way, digest=f"{_digest(given)} {sigma}"):
        yield given if one.given else peaks(one.scores, one.size, peak_cells)


@dataclass(frozen=True)
class _Way:
    """How labels go through a sequence."""

    featurizer: Featurizer | None
    settings: PropagationSettings
    seed: int
    frame: int
    journal: Path | str | None
    progress: Progress

    def features(self, frame: FeatureMap | ImageLike) -> FeatureMap:
        """The feature map of a frame."""
        if isinstance(frame, FeatureMap):
            return frame
        if self.featurizer is None:
            raise GeometryError(
                "Propagation through pictures needs a featurizer: pass featurizer=load_featurizer('mini'), or pass "
                "feature maps."
            )
        return self.featurizer(frame, seed=self.seed)


@dataclass(frozen=True, eq=False)
class _Carried:
    """One frame's soft labels.

    Attributes
    ----------
    given : bool
        Whether it is the frame that has the labels.
    scores : torch.Tensor
        (K, h, w).
    size : (W, H)
        Of the frame in pixels.
    image : Image or None
        The frame; None where only its features are known.
    """

    given: bool
    scores: torch.Tensor
    size: tuple[int, int]
    image: Image | None


def _carried(frames: Frames, begin: Begin, way: _Way, *, digest: str) -> Iterator[_Carried]:
    """The soft labels of every frame, in order."""
    if isinstance(frames, str | PathLike | Clip) or way.frame or way.journal:
        clip = as_clip(frames)
        through = _through_clip(clip, begin, way, digest)
        for (given, scores), picture in zip(through, clip.read(0, len(clip)), strict=True):
            yield _Carried(given, scores, picture.size, picture)
        return
    propagator: LabelPropagator | None = None
    for frame in frames:
        image = None if isinstance(frame, FeatureMap) else as_image(frame)
        features = way.features(frame if image is None else image)
        given = propagator is None
        if propagator is None:
            scores = begin(features)
            propagator = LabelPropagator(features, scores, way.settings)
        else:
            scores = propagator(features)
        yield _Carried(given, scores, features.image_size, image)


def _through_clip(clip: Clip, begin: Begin, way: _Way, digest: str) -> Iterator[tuple[bool, torch.Tensor]]:
    """Backward from the frame that has the labels first, onto the disk; then all frames in order."""
    count = len(clip)
    if not -count <= way.frame < count:
        raise GeometryError(f"The frame {way.frame} is not in {clip.name}: it has the frames 0 to {count - 1}.")
    key = way.frame % count
    features = way.features(next(clip.read(key, key + 1)))
    first = begin(features)
    model = way.featurizer.fingerprint if way.featurizer else ""
    job = fingerprint(
        __version__, clip.fingerprint() if way.journal else "", count, key, digest, model, way.settings, way.seed
    )
    with open_store(way.journal, job) as store:
        for done, _ in enumerate(_passed(clip, range(key - 1, -1, -1), features, first, way, store), 1):
            way.progress(done, count)
        for number in range(key):
            yield False, store.load(number)
        way.progress(key + 1, count)
        yield True, first
        for number, scores in _passed(clip, range(key + 1, count), features, first, way, store):
            way.progress(number + 1, count)
            yield False, scores


def _passed(
    clip: Clip, numbers: range, features: FeatureMap, first: torch.Tensor, way: _Way, store: ScoreStore
) -> Iterator[tuple[int, torch.Tensor]]:
    """Number and scores of frames in one direction; those that the store has are not made again."""
    propagator = LabelPropagator(features, first, way.settings)
    done = next((place for place, number in enumerate(numbers) if number not in store), len(numbers))
    for number in numbers[:done]:
        yield number, store.load(number)
    if done == len(numbers):
        return
    recent = numbers[max(0, done - way.settings.last_frames) : done]
    for number, image in _read(clip, recent):
        propagator.remember(way.features(image), store.load(number))
    for number, image in _read(clip, numbers[done:]):
        scores = propagator(way.features(image))
        store.save(number, scores)
        yield number, scores


def _read(clip: Clip, numbers: range) -> Iterator[tuple[int, Image]]:
    """Frames in the order of a range that goes up or down by one."""
    if not len(numbers):
        return
    if numbers.step > 0:
        yield from zip(numbers, clip.read(numbers[0], numbers[-1] + 1), strict=True)
    else:
        yield from iterate_reversed(clip, numbers[-1], numbers[0] + 1)


def _digest(values: Labels | Points) -> str:
    return hashlib.sha256(f"{values.dtype} {values.shape}".encode() + values.tobytes()).hexdigest()
