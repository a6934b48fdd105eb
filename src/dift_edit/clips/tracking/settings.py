"""Settings of a run over a clip."""

from dataclasses import dataclass
from typing import Literal

from dift_edit.settings import Settings, option
from dift_edit.types import Mirror

__all__ = ["SequenceSettings"]


@dataclass(frozen=True, kw_only=True)
class SequenceSettings(Settings):
    """How an edit is followed through a clip."""

    working_side: int = option(480, "short side in pixels at which frames are tracked", limits=(64, 4096))
    feature_stride: int = option(
        12,
        "frames between two looks at the diffusion features; 0: look only when the edit was lost",
        limits=(0, 10_000),
    )
    min_seen: float = option(0.5, "hide the edit when less than this share of its place looks right", limits=(0, 1))
    min_confidence: float = option(0.3, "hide the edit below this confidence", limits=(0, 1))
    fade: int = option(4, "frames that the edit takes to fade out and to come back", limits=(0, 1000))
    engine: Literal["homography", "mesh"] = option(
        "homography", "whether the edit moves as a plane, or bends with the surface that it is on"
    )
    occlusion: Literal["whole", "parts"] = option(
        "whole", "whether the edit fades as a whole when something hides it, or is also cut off where it is hidden"
    )
    smooth: bool = option(True, "smooth the movement in time")
    mirror: Mirror = option("never", "whether features may find the object mirrored (slower)")
    seed: int = option(0, "random seed", limits=(0, 2**63 - 1))
