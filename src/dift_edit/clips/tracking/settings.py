"""Settings of a run over a clip."""

from dataclasses import dataclass, field, fields
from typing import Any

from dift_edit.errors import EditError
from dift_edit.features.base import fingerprint
from dift_edit.settings import MIRRORS

__all__ = ["SequenceSettings"]

ENGINES = ("homography", "mesh")
OCCLUSIONS = ("whole", "parts")


def _option(default: Any, help_: str, low: float, high: float, **more: Any) -> Any:
    return field(default=default, metadata={"help": help_, "limits": (low, high), **more})


@dataclass(frozen=True, kw_only=True)
class SequenceSettings:
    """How an edit is followed through a clip.

    Raises
    ------
    EditError
        If a value is out of its range.
    """

    working_side: int = _option(480, "short side in pixels to which frames are brought for tracking", 64, 4096)
    feature_stride: int = _option(
        12, "frames between two looks at the diffusion features; 0: only when the edit was lost", 0, 10_000
    )
    min_seen: float = _option(0.5, "hide the edit when less than this share of its place looks right", 0, 1)
    min_confidence: float = _option(0.3, "hide the edit below this confidence", 0, 1)
    fade: int = _option(4, "frames that the edit takes to fade out and to come back", 0, 1000)
    engine: str = field(
        default="homography",
        metadata={"help": "whether the edit moves as a plane, or bends with what it is on", "choices": ENGINES},
    )
    occlusion: str = field(
        default="whole",
        metadata={
            "help": "whether the edit fades as a whole when something hides it, or is also cut off where it is hidden",
            "choices": OCCLUSIONS,
        },
    )
    smooth: bool = field(default=True, metadata={"help": "smooth the movement in time"})
    mirror: str = field(
        default="never",
        metadata={"help": "whether features may find the object mirrored (slower)", "choices": MIRRORS},
    )
    seed: int = field(default=0, metadata={"help": "seed of everything random"})

    def __post_init__(self) -> None:
        for item in fields(self):
            value, limits = getattr(self, item.name), item.metadata.get("limits")
            if limits and not limits[0] <= value <= limits[1]:
                raise EditError(
                    f"The setting {item.name} is {value}: use a number from {limits[0]:g} to {limits[1]:g}."
                )
        for name, choices in (("mirror", MIRRORS), ("engine", ENGINES), ("occlusion", OCCLUSIONS)):
            if getattr(self, name) not in choices:
                raise EditError(f"The setting {name} is {getattr(self, name)!r}: use one of {', '.join(choices)}.")

    def fingerprint(self) -> str:
        """Digest of all settings."""
        return fingerprint(self)
