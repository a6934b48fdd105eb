"""Which edits are followed from which keyframes over which frames."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from dift_edit.clips.io import Clip
from dift_edit.clips.tracking.trajectory import Keyframe
from dift_edit.edits.base import Edit, check_edit
from dift_edit.errors import EditError
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import apply_homography, as_quad, quad_matrix, quad_side
from dift_edit.types import QuadLike

__all__ = ["Keyframes", "Part", "plan_clip"]

Keyframes = int | Mapping[int, QuadLike | None]

Value = TypeVar("Value")

_LEAST_SIDE = 0.09  # of the frame's short side: smaller edits are followed with what is round them (chosen)


@dataclass(frozen=True, eq=False)
class Part:
    """One edit to follow."""

    edit: Edit
    source: int
    quad: Points
    keyframes: list[Keyframe]
    span: tuple[int, int]
    weight: Callable[[int], float]

    @property
    def passes(self) -> int:
        """Frames that will be looked at; those between two keyframes twice."""
        inner = self.keyframes[-1].frame - self.keyframes[0].frame - len(self.keyframes) + 1
        return self.span[1] - self.span[0] - len(self.keyframes) + max(inner, 0)


def plan_clip(clip: Clip, edit: Edit | Mapping[int, Edit], keyframes: Keyframes) -> list[Part]:
    """Which edits are followed from which keyframes over which frames."""
    count = len(clip)
    if isinstance(edit, Mapping):
        if not edit:
            raise EditError("No edit was given: name at least one keyframe with its edit.")
        edits = _by_number(edit, count)
        order = sorted(edits)
        bounds = [-1, *order, count]
        parts = []
        for number, frame in enumerate(order):
            before = bounds[number] if number else None
            after = bounds[number + 2] if number + 1 < len(order) else None
            span = (0 if before is None else before, count if after is None else after + 1)
            quad = _followed(edits[frame], clip, frame)
            parts.append(Part(edits[frame], frame, quad, [Keyframe(frame, quad)], span, _tent(before, frame, after)))
        return parts
    given = keyframes if isinstance(keyframes, Mapping) else {_frame_number(keyframes, count): None}
    sources = [frame for frame, quad in given.items() if quad is None]
    if len(sources) != 1:
        raise EditError(
            f"Of the keyframes, exactly one is the frame that the edit was made on (None), but {len(sources)} are."
        )
    source = _frame_number(sources[0], count)
    quad = _followed(edit, clip, source)
    keys = []
    for number, corners in sorted(_by_number(given, count).items()):
        if corners is None:
            keys.append(Keyframe(number, quad))
        else:
            matrix = quad_matrix(edit.quad, as_quad(corners, f"The quad in frame {number}"))
            keys.append(Keyframe(number, np.asarray(apply_homography(matrix, quad))))
    return [Part(edit, source, quad, keys, (0, count), lambda _frame: 1.0)]


def _by_number(given: Mapping[int, Value], count: int) -> dict[int, Value]:
    """The same by numbers from 0, also where frames are counted from the end."""
    numbered: dict[int, Value] = {}
    for frame, value in given.items():
        number = _frame_number(frame, count)
        if number in numbered:
            raise EditError(f"Two keyframes are frame {number}: name each once (-1 is the last, frame {count - 1}).")
        numbered[number] = value
    return numbered


def _frame_number(frame: Any, count: int) -> int:
    if not isinstance(frame, int | np.integer) or not -count <= frame < count:
        raise EditError(f"The keyframe {frame!r} is not in the clip: it has the frames 0 to {count - 1}.")
    return int(frame) % count


def _followed(edit: Edit, clip: Clip, frame: int) -> Points:
    """The quad that is followed: the edit's own, grown where it is too small to be seen again."""
    check_edit(edit, clip.size, f"The edit of frame {frame}")
    quad = as_quad(edit.quad)
    least = _LEAST_SIDE * min(clip.size)
    middle = quad.mean(0)
    return np.asarray(middle + (quad - middle) * max(1.0, least / quad_side(quad)))


def _tent(before: int | None, key: int, after: int | None) -> Callable[[int], float]:
    """1 at the keyframe, falling to 0 at the neighbouring ones; 1 to the ends of the clip."""

    def weight(frame: int) -> float:
        other = before if frame < key else after
        if other is None or frame == key:
            return 1.0
        return max(0.0, 1 - abs(frame - key) / abs(other - key))

    return weight
