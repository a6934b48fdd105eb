"""What the plugin's user has made so far: plain immutable values, so that undo is keeping the old one.

Points are (x, y) pixels of the picture that they lie in. Pictures are named by keys (see `pictures`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "EDIT_KINDS",
    "Carried",
    "Crop",
    "EditSpec",
    "Instance",
    "Part",
    "Pin",
    "Quad",
    "Result",
    "Session",
    "stack_crops",
]

Quad = tuple[tuple[float, float], ...]
"""Four (x, y): top left, top right, bottom right, bottom left of the edit."""

EDIT_KINDS = {
    "sticker": "Sticker",
    "paint": "Painting",
    "difference": "Edited copy",
    "recolour": "Recolour",
    "redact": "Redaction",
    "erase": "Erasure",
    "layers": "Several edits",
}
"""Kind of edit → how the user reads it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EditSpec:
    """An edit as the user chose it.

    Attributes
    ----------
    kind : str
        One of `EDIT_KINDS`.
    picture : str
        Key of its own picture: the sticker, the painting, the edited copy, or the mask.
    quad : Quad
        Where it lies in the source.
    name : str
        How the user reads it.
    path : str
        The file that it came from, or empty.
    options : mapping
        Settings of a recolouring or redaction; what an edited copy is taken for; what becomes of a sticker's artwork.
    parts : tuple of Part
        Of "layers": the edits, the lowest first.
    active : int
        Of "layers": which part's handles are on the source.
    redacts : bool or None
        Whether the engine found that it hides something; None before it has looked.
    """

    kind: str
    picture: str
    quad: Quad
    name: str
    path: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    parts: "tuple[Part, ...]" = ()
    active: int = 0
    redacts: bool | None = None

    @property
    def hides(self) -> bool | None:
        """Whether it hides something; None for an edited copy that the engine has not looked at yet."""
        kinds = {part.edit.kind for part in self.as_parts}
        return "redact" in kinds or ("difference" in kinds and self.redacts)

    def message(self) -> dict[str, Any]:
        """As the engine reads it; parts that are not visible are left out."""
        parts = [(part.edit.message(), part.opacity) for part in self.parts if part.visible]
        return {
            "kind": self.kind, "picture": self.picture, "quad": self.quad, "options": dict(self.options),
            "parts": parts,
        }  # fmt: skip

    @property
    def as_parts(self) -> "tuple[Part, ...]":
        """The edit as layers: its parts, or itself."""
        return self.parts or (Part(self),)

    @property
    def artwork(self) -> str:
        """What becomes of a sticker on a mirrored picture: "auto", "keep" or "flip"."""
        return str(self.options.get("artwork", "auto"))

    @property
    def handled(self) -> "EditSpec":
        """The edit whose place is dragged on the source: itself, or the active part."""
        return self.parts[min(self.active, len(self.parts) - 1)].edit if self.parts else self


@dataclass(frozen=True, eq=False)
class Part:
    """One of several edits.

    Attributes
    ----------
    edit : EditSpec
        A single one.
    opacity : float
        In [0, 1].
    visible : bool
        Whether it is put on.
    """

    edit: EditSpec
    opacity: float = 1.0
    visible: bool = True


@dataclass(frozen=True, eq=False)
class Crop:
    """The part of a picture that an edit changed.

    Attributes
    ----------
    x, y : int
        Its top-left pixel in the picture.
    pixels : ndarray
        (h, w, 4) uint8, or (T, h, w, 4) for a whole stack; all zero where nothing changed, white with alpha
        0 where the edit erased.
    frame : int or None
        Which frame of a stack.
    """

    x: int
    y: int
    pixels: npt.NDArray[np.uint8]
    frame: int | None = None


@dataclass(frozen=True)
class Pin:
    """A correspondence that the user fixed: a point of the source and where it lies in the target."""

    source: tuple[float, float]
    target: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One of several instances of the object in a target, decided on its own.

    Attributes
    ----------
    quad, confidence, mirrored, transform, by_hand, review
        As of a `Result`.
    missed : bool
        It was found beyond the number that was asked for: the edit is put there only when it is accepted.
    """

    quad: Quad
    confidence: float
    mirrored: bool = False
    transform: bytes = b""
    by_hand: bool = False
    review: str = ""
    missed: bool = False

    @property
    def decided(self) -> bool:
        """Whether the user accepted, rejected or placed it."""
        return bool(self.review) or self.by_hand

    @property
    def shown(self) -> bool:
        """Whether the edit is put there."""
        return self.review == "accepted" or (not self.review and (self.by_hand or not self.missed))


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What is known about the edit in one target.

    Attributes
    ----------
    status : str
        "applied", "abstained" (not sure enough, see `reason`) or "failed".
    confidence : float
        Probability in [0, 1] that the placement is right; 1 where it was made by hand.
    quad : Quad or None
        Where the edit lies; also for an abstention, as the best guess.
    crops : tuple of Crop
        What it looks like: one, or one for each frame of a stack; empty when there is nothing to show.
    transform : bytes
        The engine's transform, which only the engine can read; empty when the quad says it all.
    by_hand : bool
        The user moved it.
    made_with : str
        `Settings.fingerprint` of what found the place; empty where it was made by hand.
    edit_changed, model_changed : bool
        The edit or source, or the model or its settings, are other ones since.
    review : str
        "", "accepted" or "rejected".
    track : tuple of (Quad, confidence)
        For a stack: where the edit lies in each frame, and how sure that is.
    stack : Crop or None
        For a stack: the crops of all frames in one, see `stack_crops`.
    instances : tuple of Instance
        Where several instances of the object were found: all of them, the result's own first; else empty.
    hides : bool
        Whether the edit hides something: then it is done only when it is put on all instances, or frames.
    look : str
        What the target looks like beside the source, for suggestions; empty where the edit hides something.
    """

    status: str
    reason: str = ""
    confidence: float = 0.0
    quad: Quad | None = None
    mirrored: bool = False
    engine: str = ""
    seconds: float = 0.0
    crops: tuple[Crop, ...] = ()
    transform: bytes = b""
    by_hand: bool = False
    made_with: str = ""
    edit_changed: bool = False
    model_changed: bool = False
    review: str = ""
    track: tuple[tuple[Quad, float], ...] = ()
    stack: Crop | None = None
    instances: tuple[Instance, ...] = ()
    hides: bool = False
    look: str = ""

    def with_instances(self, instances: "Sequence[Instance]") -> "Result":
        """The result with its instances decided, or moved: it is reviewed when all of them are."""
        verdicts = {each.review or ("accepted" if each.by_hand else "") for each in instances}
        review = "" if "" in verdicts else "accepted" if "accepted" in verdicts else "rejected"
        first = instances[0]
        return replace(self, instances=tuple(instances), quad=first.quad, transform=first.transform, review=review)

    @property
    def places(self) -> tuple[tuple[Quad, bytes, bool], ...]:
        """(quad, transform, by hand) of each place that the edit is put on."""
        if self.instances:
            return tuple((each.quad, each.transform, each.by_hand) for each in self.instances if each.shown)
        return () if self.quad is None else ((self.quad, self.transform, self.by_hand),)

    @property
    def count(self) -> int:
        """In how many places a redaction has to be: instances, or frames of a stack."""
        return len(self.track) or len(self.instances) or 1

    @property
    def unhidden(self) -> tuple[int, ...]:
        """Frames of a stack that a redaction is not on; empty for other edits."""
        hidden = {crop.frame for crop in self.crops} if self.shown else set()
        return tuple(frame for frame in range(len(self.track)) if self.hides and frame not in hidden)

    @property
    def visible(self) -> int:
        """Instances or frames that a redaction leaves to be seen; 0 for other edits."""
        return len(self.unhidden) or (sum(not each.shown for each in self.instances) if self.hides else 0)

    @property
    def pending(self) -> bool:
        """Whether something of it is undecided."""
        return not (self.review or self.by_hand)

    @property
    def overlay(self) -> Crop | None:
        """What is laid over the target; None when there is nothing to show."""
        return self.stack or (self.crops[0] if self.crops else None)

    @property
    def frames(self) -> bool:
        """Whether it is of a stack of frames."""
        return bool(self.track)

    @property
    def stale(self) -> bool:
        """Whether it was made with another edit, source, model or setting than those that hold now."""
        return self.edit_changed or self.model_changed

    @property
    def decided(self) -> bool:
        """Whether the user accepted, rejected or placed it, or one of its instances."""
        return bool(self.review) or self.by_hand or any(each.decided for each in self.instances)

    @property
    def shown(self) -> bool:
        """Whether the edit is seen in the target."""
        if self.instances:
            return bool(self.places)
        if self.review:
            return self.review == "accepted"
        return self.status == "applied"

    @property
    def doubtful(self) -> bool:
        """Whether the user should look at it."""
        return not self.review and not self.by_hand and self.status != "applied"


@dataclass(frozen=True, kw_only=True, eq=False)
class Carried:
    """Annotations of the source as they lie in one target.

    Attributes
    ----------
    layer, target : str
        Keys of the layer on the source and of the picture that has these.
    name : str
        How the user reads it.
    kind : str
        "points", "shapes" or "labels".
    data : tuple of ndarray
        (N, 2) points (x, y) of each shape, or of all points, in target pixels; or one (h, w) array of labels.
    corner : (float, float)
        For labels: (x, y) of their first pixel in the target.
    confidence : tuple of float, optional
        Of each point or shape, in [0, 1], where the landmark engine found them.
    looks : mapping
        Options of the napari layer on the source, sizes in pixels.
    rows : tuple of int, optional
        Number of each point or shape in the source's layer; None where they have no such numbers.
    kinds : mapping, optional
        Number in the source's layer → kind of the shape here, where that is another one.
    origins : ndarray, optional
        (N, 2) points of the source's layer when they were carried, by their numbers there.
    by_hand : frozenset of int
        Those that the user put where they are.
    size : (W, H), optional
        Of the target.
    things : sequence
        What the landmark engine looks for, see `tasks.annotate`; empty where it follows the edit.
    """

    layer: str
    target: str
    name: str
    kind: str
    data: tuple[npt.NDArray[Any], ...]
    corner: tuple[float, float] = (0, 0)
    confidence: tuple[float, ...] | None = None
    looks: Mapping[str, Any]
    rows: tuple[int, ...] | None = None
    kinds: Mapping[int, str] | None = None
    origins: npt.NDArray[np.float64] | None = None
    by_hand: frozenset[int] = frozenset()
    size: tuple[int, int] | None = None
    things: Sequence[Mapping[str, Any]] = ()

    @property
    def slot(self) -> tuple[str, str]:
        """Keys of layer and target: annotations of one layer are on a target once."""
        return self.layer, self.target


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """Everything that undo can bring back.

    Attributes
    ----------
    source : str
        Key of the source picture, or empty.
    edit : EditSpec or None
        What is carried.
    targets : tuple of str
        Keys of the pictures that get it.
    results, pins : mapping
        By target.
    preview : Crop or None
        The edit on the source.
    keyframes : mapping
        By stack: frame → where the user put the edit there.
    carried : tuple of Carried
        Annotations that went along.
    views : mapping
        Further pictures that carry the edit → where it lies on them.
    """

    source: str = ""
    edit: EditSpec | None = None
    targets: tuple[str, ...] = ()
    results: Mapping[str, Result] = field(default_factory=lambda: MappingProxyType({}))
    pins: Mapping[str, tuple[Pin, ...]] = field(default_factory=lambda: MappingProxyType({}))
    preview: Crop | None = None
    keyframes: Mapping[str, Mapping[int, Quad]] = field(default_factory=lambda: MappingProxyType({}))
    carried: tuple[Carried, ...] = ()
    views: Mapping[str, Quad] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def hides(self) -> bool | None:
        """Whether the edit or a result hides something; None while that is not known."""
        if any(result.hides for result in self.results.values()):
            return True
        return self.edit is not None and self.edit.hides

    def with_view(self, key: str, quad: Quad | None) -> "Session":
        """The session with a further picture that carries the edit, which is no target then, or without it."""
        views = {name: place for name, place in self.views.items() if name != key}
        if quad is not None:
            views[key] = quad
        targets = tuple(target for target in self.targets if target not in views)
        results = MappingProxyType({name: found for name, found in self.results.items() if name not in views})
        return replace(self, views=MappingProxyType(views), targets=targets, results=results).stale()

    def with_result(self, key: str, result: Result | None) -> "Session":
        """The session with one result set, or dropped."""
        results = {**self.results}
        if result is None:
            results.pop(key, None)
        else:
            results[key] = result
        return replace(self, results=MappingProxyType(results))

    def kept(self, key: str) -> bool:
        """Whether the user had a hand in a target's result, so that only an explicit wish replaces it."""
        result = self.results.get(key)
        return result is not None and (result.decided or bool(self.pins.get(key)))

    def taking(self, key: str, result: Result) -> "Session":
        """The session with what was found for one target; a failure never replaces what was found before."""
        before = self.results.get(key)
        if result.status == "failed" and before is not None and before.status != "failed":
            result = replace(before, reason=f"Kept from before, as placing it again failed: {result.reason}")
        return self.with_result(key, result)

    def with_pins(self, key: str, pins: tuple[Pin, ...]) -> "Session":
        """The session with the pins of one target."""
        return replace(self, pins=MappingProxyType({**self.pins, key: pins}))

    def with_carried(self, new: Carried) -> "Session":
        """The session with annotations on one target, instead of older ones of the same layer there."""
        known = any(each.slot == new.slot for each in self.carried)
        kept = tuple(new if each.slot == new.slot else each for each in self.carried)
        return replace(self, carried=kept if known else (*kept, new))

    def carried_at(self, slot: tuple[str, str]) -> "Carried | None":
        """What was carried from one layer to one target."""
        return next((each for each in self.carried if each.slot == slot), None)

    def with_keyframe(self, key: str, frame: int, quad: Quad) -> "Session":
        """The session with the edit's place in one frame of a stack."""
        frames = {**self.keyframes.get(key, {}), frame: quad}
        return replace(self, keyframes=MappingProxyType({**self.keyframes, key: MappingProxyType(frames)}))

    def stale(self) -> "Session":
        """The session after the edit or the source changed: results stay, but are marked as old."""
        results = {
            key: result if result.edit_changed else replace(result, edit_changed=True)
            for key, result in self.results.items()
        }
        return replace(self, results=MappingProxyType(results))

    def judged(self, fingerprint: str, known: dict[int, tuple[Result, Result]]) -> "Session":
        """The session where results are marked that another model or setting found.

        `known` has what was judged before, so that steps which share a result go on sharing it.
        """
        results = {}
        for key, result in self.results.items():
            changed = result.made_with not in ("", fingerprint)
            if changed != result.model_changed:
                _, result = known.setdefault(id(result), (result, replace(result, model_changed=changed)))  # noqa: PLW2901
            results[key] = result
        return replace(self, results=MappingProxyType(results))


def stack_crops(crops: Sequence[Crop], count: int) -> Crop | None:
    """Crops of some of `count` frames as one of the whole stack; None when there are none."""
    if not crops:
        return None
    left, top = min(crop.x for crop in crops), min(crop.y for crop in crops)
    right = max(crop.x + crop.pixels.shape[1] for crop in crops)
    bottom = max(crop.y + crop.pixels.shape[0] for crop in crops)
    pixels = np.zeros((count, bottom - top, right - left, 4), np.uint8)
    for crop in crops:
        height, width = crop.pixels.shape[:2]
        pixels[crop.frame, crop.y - top : crop.y - top + height, crop.x - left : crop.x - left + width] = crop.pixels
    return Crop(left, top, pixels)
