"""Masks and keypoints of one frame in, a clip's masks and keypoints out, in one resumable job."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import ImageDraw

from dift_edit.clips.io import Clip, as_clip, open_writer
from dift_edit.clips.io.folder import check_not_own
from dift_edit.clips.labels.carry import propagate_keypoints, propagate_labels
from dift_edit.clips.labels.coding import Labels
from dift_edit.clips.labels.masks import draw_labels, write_mask
from dift_edit.clips.labels.settings import PropagationSettings
from dift_edit.clips.resume import Scratch
from dift_edit.errors import OutputError
from dift_edit.features.base import Featurizer
from dift_edit.geometry.coords import Points
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.types import FramesLike, MaskLike, PointsLike
from dift_edit.viz.primitives import distinct_colors, draw_dot, opaque_picture, painted, stroke_width

__all__ = ["LabelReport", "draw_points", "process_keypoints", "process_labels"]

Progress = Callable[[str, int, int], None]
Result = TypeVar("Result")

UNSURE = 0.65
"""Below this confidence a frame should be looked at (docs/sequences.md has how it follows the truth)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelReport:
    """Result of carrying a mask through a clip.

    Attributes
    ----------
    output : Path
        What was written.
    frame : int
        The frame whose mask was given.
    confidences : tuple of float
        Of every frame, 0 to 1, see `PropagatedLabels`.
    """

    output: Path
    frame: int
    confidences: tuple[float, ...]

    @property
    def unsure(self) -> list[tuple[int, int]]:
        """First and last frame of each run of frames whose mask should be looked at."""
        low = np.array([False, *(value < UNSURE for value in self.confidences), False])
        changes = np.flatnonzero(low[1:] != low[:-1])
        return [(int(first), int(stop) - 1) for first, stop in zip(changes[::2], changes[1::2], strict=True)]

    def summary(self) -> str:
        """One line or two in words."""
        text = f"The masks of {len(self.confidences)} frames are in {self.output}."
        if runs := self.unsure:
            shown = [str(first) if first == last else f"{first}–{last}" for first, last in runs]
            one = len(runs) == 1 and runs[0][0] == runs[0][1]
            text += f" Check frame{'' if one else 's'} {', '.join(shown[:20])}{'…' if len(shown) > 20 else ''}."
        return text

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "frame": self.frame,
            "confidence": [round(value, 4) for value in self.confidences],
            "check": [list(run) for run in self.unsure],
        }


def process_labels(
    frames: FramesLike,
    labels: MaskLike,
    output: Path | str,
    *,
    featurizer: Featurizer,
    frame: int = 0,
    settings: PropagationSettings | None = None,
    seed: int = 0,
    progress: Progress = lambda stage, done, total: None,
) -> LabelReport:
    """Carry a mask of one frame through a clip and write the masks; a killed call goes on where it was.

    Parameters
    ----------
    frames, labels, featurizer, frame, settings, seed
        As for `propagate_labels`.
    output : path
        A folder gets one palette PNG for each frame, as DAVIS has them; a video, GIF or WebP shows the masks over the
        frames. ``OUT.labels.json`` beside it has the confidence of every frame, and the frames to check.
    progress : callable
        Called with "labelling", frames done, frames to do.

    Returns
    -------
    LabelReport

    Raises
    ------
    DiftEditError
        If an input is wrong or the output cannot be written.
    """
    clip, output = as_clip(frames), Path(output)
    if not output.suffix and np.max(labels, initial=0) > 255:
        raise OutputError("A palette PNG holds the labels 0 to 255, but a larger one was given: number them anew.")
    names = [] if output.suffix else _mask_names(clip, output)

    confidences: list[float] = []

    def write(scratch: Scratch) -> LabelReport:
        results = propagate_labels(
            clip,
            labels,
            featurizer=featurizer,
            settings=settings,
            frame=frame,
            journal=scratch.journal,
            seed=seed,
            progress=lambda done, total: progress("labelling", done, total),
        )

        def masks() -> Iterator[Labels]:
            for result in results:
                confidences.append(result.confidence)
                yield result.labels

        if output.suffix:
            _drawn(clip, masks(), draw_labels, output, scratch)
        else:
            for name, found in zip(names, masks(), strict=True):
                write_mask(output / name, found)
        report = LabelReport(output=output, frame=frame % len(clip), confidences=tuple(confidences))
        scratch.put(output.with_name(f"{output.name}.labels.json"), json.dumps(report.to_dict()) + "\n")
        return report

    return _resumable(output, write)


def process_keypoints(
    frames: FramesLike,
    points: PointsLike,
    output: Path | str,
    *,
    featurizer: Featurizer,
    frame: int = 0,
    settings: PropagationSettings | None = None,
    seed: int = 0,
    progress: Progress = lambda stage, done, total: None,
) -> Path:
    """Carry keypoints of one frame through a clip and write them; a killed call goes on where it was.

    Parameters
    ----------
    frames, points, featurizer, frame, settings, seed
        As for `propagate_keypoints`.
    output : path
        A ``.json`` file gets the points of every frame; a video, GIF, WebP or folder shows them on the frames, and
        ``OUT.points.json`` lies beside it.
    progress : callable
        Called with "labelling", frames done, frames to do.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    DiftEditError
        If an input is wrong or the output cannot be written.
    """
    clip, output = as_clip(frames), Path(output)
    only = output.suffix.lower() == ".json"

    def write(scratch: Scratch) -> Path:
        rows: list[Points] = []

        def kept() -> Iterator[Points]:
            for found in propagate_keypoints(
                clip,
                points,
                featurizer=featurizer,
                settings=settings,
                frame=frame,
                journal=scratch.journal,
                seed=seed,
                progress=lambda done, total: progress("labelling", done, total),
            ):
                rows.append(found)
                yield found

        if only:
            list(kept())
        else:
            _drawn(clip, kept(), draw_points, output, scratch)
        plain = {"frame": frame % len(clip), "points": [np.round(row, 2).tolist() for row in rows]}
        place = output if only else output.with_name(f"{output.name}.points.json")
        scratch.put(place, json.dumps(plain) + "\n")
        return output

    return _resumable(output, write)


def draw_points(image: Image, points: Points) -> Image:
    """A picture with a dot for every point (N, 2), each in a colour of its own."""
    radius = 1.5 * stroke_width(image.size)

    def paint(draw: ImageDraw.ImageDraw, scale: int) -> None:
        for point, color in zip(points, distinct_colors(len(points)), strict=True):
            draw_dot(draw, point, radius, color, scale)

    return as_image(painted(opaque_picture(image), paint))


def _resumable(output: Path, write: Callable[[Scratch], Result]) -> Result:
    scratch = Scratch(output)
    whole = False
    try:
        written = write(scratch)
        whole = True
    finally:
        scratch.close(keep=not whole and any(scratch.journal.glob("*.npy")))
    return written


def _mask_names(clip: Clip, folder: Path) -> list[str]:
    """File of each frame's mask in a folder, where none may replace a frame or another mask."""
    check_not_own(folder, clip)
    frame_of: dict[str, str] = {}
    for frame in map(clip.frame_name, range(len(clip))):
        other = frame_of.setdefault(f"{Path(frame).stem}.png", frame)
        if other != frame:
            raise OutputError(
                f"The masks of the frames {other} and {frame} would both be {Path(frame).stem}.png: rename one frame."
            )
    return list(frame_of)


def _drawn(
    clip: Clip, found: Iterable[Any], draw: Callable[[Image, Any], Image], output: Path, scratch: Scratch
) -> Path:
    writer = open_writer(output, clip, scratch=scratch.folder)
    try:
        for image, one in zip(clip.read(0, len(clip)), found, strict=True):
            writer.add(draw(image, one))
        return writer.close()
    except BaseException:
        writer.discard()
        raise
