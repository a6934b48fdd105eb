"""Settings of the labels that are carried through a clip."""

from dataclasses import dataclass
from typing import Literal

from dift_edit.settings import Settings, option

__all__ = ["PropagationSettings"]


@dataclass(frozen=True, kw_only=True)
class PropagationSettings(Settings):
    """How labels are carried: as DIFT's DAVIS evaluation with Stable Diffusion does, with half of its last frames.

    Attributes
    ----------
    channels : int
        The directions are those of the first frame. On clips of DAVIS, 32 were better than all 512 of dift-mini.
    edges : str
        "image" lets masks end at the image's edges, by a guided filter at full resolution; "cells" enlarges the scores
        bilinearly. The scores that are carried on are the same. Not for the released protocol.
    protocol : str
        "released" reads and writes masks as the released evaluation does: the first mask is shrunk by nearest
        neighbour, each class of a result is stretched to [0, 1], and the winner is enlarged by nearest neighbour
        from the features' grid enlarged to the network's size. "corrected" shrinks by area and compares the
        classes' unstretched scores, enlarged bilinearly between pixel centres to the image's own size.

    """

    temperature: float = option(0.2, "of the affinities: weight = exp(cosine / temperature)", above=0)
    top_k: int = option(15, "number of cells whose labels are averaged", limits=(1, None))
    last_frames: int = option(14, "number of preceding frames that are used, besides the first", limits=(0, None))
    radius: int = option(15, "cells farther away than this, in x or y, are not compared; 0: no limit", limits=(0, None))
    channels: int = option(
        32,
        "number of principal directions of the features that are compared; fewer are quicker; 0: all",
        limits=(0, None),
    )
    protocol: Literal["released", "corrected"] = option(
        "corrected", "as in the released evaluation, or without its shortcuts"
    )
    edges: Literal["image", "cells"] = option("image", "where masks end: at the image's edges, or between cells")
