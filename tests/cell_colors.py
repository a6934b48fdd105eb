"""A featurizer whose features are known by hand, and pictures for it."""

from typing import Any

import numpy as np
import torch

from dift_edit.features.base import FeatureMap, Featurizer, ModelInfo
from dift_edit.imaging.files import as_image
from dift_edit.settings import fingerprint

CELL = 8


class CellColors(Featurizer):
    """The mean colour of each 8×8 cell, as a direction from medium gray: equal cells match, others do not."""

    model = ModelInfo(id="cell-colors", sha256="0" * 64)

    def __init__(self, name: str = "") -> None:
        self._fingerprint = fingerprint("cell-colors", name)
        self.calls = 0

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def __call__(self, image: Any, *, seed: int = 0) -> FeatureMap:
        picture = as_image(image)
        self.calls += 1
        data = torch.nn.functional.avg_pool2d(picture.to_tensor()[None], CELL)[0] - 0.5
        return FeatureMap(data, picture.size, self.fingerprint, picture.digest)


def cell_picture(seed: int = 0, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """(H, W, 3) uint8 with a colour of its own, far from gray, in each cell."""
    rng = np.random.default_rng(seed)
    colors = rng.normal(size=(size[1] // CELL, size[0] // CELL, 3))
    colors = 128 + 110 * colors / np.linalg.norm(colors, axis=2, keepdims=True)
    return np.kron(colors, np.ones((CELL, CELL, 1))).round().astype(np.uint8)
