"""Where the edits of a clip are in its frames."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dift_edit.clips.tracking.bending import Bends
from dift_edit.clips.tracking.hiding import Hidden
from dift_edit.clips.tracking.plot import confidence_plot
from dift_edit.clips.tracking.settings import SequenceSettings
from dift_edit.clips.tracking.trajectory import Trajectory
from dift_edit.edits.base import Edit
from dift_edit.edits.layers import hides_content
from dift_edit.errors import DiftEditError
from dift_edit.features.base import ModelInfo
from dift_edit.geometry.base import MatrixTransform, Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import quad_matrix

__all__ = ["Layer", "SequenceTrack"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One edit, where it was followed, and how much it counts beside the others."""

    edit: Edit
    source: int
    quad: Points
    keyframes: list[int]
    path: Trajectory
    weight: Callable[[int], float]
    bends: Bends | None = None
    hidden: Hidden | None = None

    def index(self, frame: int) -> int | None:
        """Of a frame in the path; None outside its span."""
        index = frame - self.path.start
        return index if 0 <= index < len(self.path) else None

    def transform(self, frame: int) -> Transform:
        """Pixels of the frame that the edit was made on → pixels of a frame in its span."""
        if frame == self.source:
            return MatrixTransform(np.eye(3))
        index = frame - self.path.start
        try:
            plane = MatrixTransform(quad_matrix(self.quad, self.path.corners[index]))
        except DiftEditError:
            return MatrixTransform(np.eye(3))
        return plane if self.bends is None else self.bends.at(index, plane)


@dataclass(frozen=True, eq=False)
class SequenceTrack:
    """Where the edit is in every frame of a clip; made by `track_sequence`.

    Attributes
    ----------
    count : int
        Number of frames.
    cuts : list of int
        Frames with which a new shot begins.
    keyframes : list of int
        Frames in which the place is given.
    layers : list of Layer
        One for each edit.
    settings : SequenceSettings
        How they were followed.
    model : ModelInfo
        The weights that were used.
    """

    count: int
    layers: list[Layer]
    settings: SequenceSettings
    model: ModelInfo

    @property
    def cuts(self) -> list[int]:
        """Frames with which a new shot begins."""
        found = {int(index) + layer.path.start for layer in self.layers for index in np.flatnonzero(layer.path.cuts)}
        return sorted(found)

    @property
    def keyframes(self) -> list[int]:
        """Frames in which the place is given."""
        return sorted({frame for layer in self.layers for frame in layer.keyframes})

    def leading(self, frame: int) -> tuple[Layer, int]:
        """The layer that counts most in a frame, and the frame's index in its path."""
        present = [(layer, layer.index(frame)) for layer in self.layers]
        layer, index = max(
            ((layer, index) for layer, index in present if index is not None), key=lambda item: item[0].weight(frame)
        )
        return layer, index

    def corners(self, frame: int) -> Points:
        """(4, 2) where the edit's quad lies in a frame, in pixels."""
        layer, _ = self.leading(frame)
        return self.transform(frame)(layer.edit.quad)

    def transform(self, frame: int) -> Transform:
        """Pixels of the frame that the edit was made on → pixels of a frame."""
        return self.leading(frame)[0].transform(frame)

    def opacity(self, frame: int) -> float:
        """How strongly the edit is on a frame, all edits together, 0 to 1; what hides something never fades."""
        shares = []
        for layer in self.layers:
            if (index := layer.index(frame)) is not None:
                share = layer.weight(frame) * float(layer.path.opacity[index])
                shares.append(float(share > 0) if hides_content(layer.edit) else share)
        return min(sum(shares), 1.0)

    @property
    def unredacted(self) -> list[int]:
        """Frames that no redaction is on, because its place was not found or not trusted; none without a redaction."""
        hiding = [layer for layer in self.layers if hides_content(layer.edit)]

        def is_on(layer: Layer, frame: int) -> bool:
            index = layer.index(frame)
            return index is not None and layer.weight(frame) * float(layer.path.opacity[index]) > 0

        return [frame for frame in range(self.count) if hiding and not any(is_on(layer, frame) for layer in hiding)]

    def rows(self) -> list[dict[str, Any]]:
        """One dict a frame: frame, corners, confidence, seen, opacity, anchor, cut."""
        rows = []
        cuts = set(self.cuts)
        for frame in range(self.count):
            layer, index = self.leading(frame)
            path = layer.path
            rows.append(
                {
                    "frame": frame,
                    "corners": np.round(self.corners(frame), 3).tolist(),
                    "confidence": round(float(path.confidence[index]), 4),
                    "seen": round(float(path.seen[index]), 4),
                    "opacity": round(self.opacity(frame), 4),
                    "anchor": path.anchors[index],
                    "cut": frame in cuts,
                }
            )
        return rows

    def plot(self, title: str = "") -> str:
        """An SVG with the confidence and the opacity of every frame."""
        rows = self.rows()
        confidence, opacity = (np.array([row[key] for row in rows]) for key in ("confidence", "opacity"))
        return confidence_plot(confidence, opacity, cuts=self.cuts, keyframes=self.keyframes, title=title)
