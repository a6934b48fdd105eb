"""How a benchmark is run. This module imports nothing heavy: the command line makes its flags from it."""

from dataclasses import dataclass
from typing import Literal

from dift_edit.settings import Settings, option
from dift_edit.types import Engine, Mirror

__all__ = ["BenchmarkOptions"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(Settings):
    """How a benchmark is run; what does not apply to a benchmark is ignored by it.

    Attributes
    ----------
    protocol : str
        "released" follows the released scripts to the letter; "corrected" leaves out their half-pixel shifts and
        roundings, see docs/evaluation.md.
    """

    split: str = option("", "part of the data set; empty: its usual test part")
    protocol: Literal["released", "corrected"] = option(
        "released", "the released scripts' conventions, or the same without their flaws"
    )
    metric: str = option("cosine", "how features are compared", choices=("cosine", "l2"))
    threshold: str = option("box", "what PCK thresholds are relative to", choices=("box", "image"))
    consensus: float = option(
        0.0,
        "width in short sides of the neighbourhood that has to agree; 0: plain nearest neighbour",
        limits=(0, 1),
    )
    pairs: int = option(10000, "cub: number of random pairs", limits=(1, None))
    keypoints: str = option("sift", "hpatches: sift, grid, or the suffix of keypoint files (1.ppm.SUFFIX)")
    estimator: str = option("ransac", "hpatches: robust estimator", choices=("ransac", "lmeds", "magsac"))
    pixels: float = option(3.0, "hpatches: inlier threshold of the estimator in pixels")
    step: int = option(4, "tss: match every pixel at this distance in x and y; 1: all of them", limits=(1, None))
    temperature: float = option(0.2, "davis, jhmdb: temperature of the label propagation")
    top_k: int = option(15, "davis, jhmdb: number of cells whose labels are averaged")
    last_frames: int = option(28, "davis, jhmdb: number of preceding frames that are used")
    radius: int = option(15, "davis, jhmdb: reach in cells; 0: no limit")
    channels: int = option(0, "davis, jhmdb: number of principal directions of the features that are compared; 0: all")
    edges: Literal["image", "cells"] = option("cells", "davis: where masks end")
    dataset: str = option("pf-willow", "transfer: keypoint data set")
    engine: Engine = option("auto", "transfer: how a placement is estimated")
    mirror: Mirror = option("auto", "transfer: mirror test")
