"""Several featurizers as one: their unit features side by side, so that cosines are averaged."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from dift_edit.errors import ModelError
from dift_edit.features.base import FeatureMap, Featurizer, ModelInfo
from dift_edit.imaging.files import as_image
from dift_edit.settings import fingerprint
from dift_edit.types import ImageLike

__all__ = ["FusedFeaturizer"]


class FusedFeaturizer(Featurizer):
    """The concatenation of the features of several featurizers.

    With unit features fᵢ and weights wᵢ (made to sum to 1), the map holds √wᵢ·fᵢ, so that its cosines are
    Σ wᵢ·cosᵢ. Each map is brought to the finest grid first.

    Parameters
    ----------
    featurizers : sequence of Featurizer
        Two or more.
    weights : sequence of float, optional
        Positive; equal by default.

    Raises
    ------
    ModelError
        If there are no featurizers, or the weights do not suit them.

    References
    ----------
    Zhang et al., A Tale of Two Features: Stable Diffusion Complements DINO, NeurIPS 2023, section 4.2.
    """

    def __init__(self, featurizers: Sequence[Featurizer], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(featurizers) if weights is None else list(weights)
        if not featurizers or len(weights) != len(featurizers) or not all(weight > 0 for weight in weights):
            raise ModelError(
                f"A fusion needs one positive weight for each of its featurizers, not {weights} for {len(featurizers)}."
            )
        self.featurizers = tuple(featurizers)
        self.weights = tuple(weight / sum(weights) for weight in weights)

    @property
    def fingerprint(self) -> str:
        """Digest of the parts and their weights."""
        return fingerprint(*(part.fingerprint for part in self.featurizers), list(self.weights))

    @property
    def model(self) -> ModelInfo:
        """All parts' identities."""
        models = [part.model for part in self.featurizers]
        return ModelInfo(
            id="+".join(model.id for model in models),
            revision="+".join(model.revision for model in models).strip("+"),
            sha256=fingerprint(*(model.sha256 for model in models)),
        )

    @property
    def parallel(self) -> int:
        """How many threads may use it at a time: as many as may use each part."""
        return min(part.parallel for part in self.featurizers)

    @property
    def screening(self) -> Featurizer:
        """The part that weighs most: the fused cosines are mostly its own."""
        return self.featurizers[self.weights.index(max(self.weights))].screening

    def for_category(self, category: str) -> "FusedFeaturizer":
        """With the category in the prompts of those parts that have one."""
        return FusedFeaturizer([part.for_category(category) for part in self.featurizers], self.weights)

    def __call__(self, image: ImageLike, *, seed: int = 0) -> FeatureMap:
        """Features of a picture."""
        picture = as_image(image)
        return self._fuse([part(picture, seed=seed) for part in self.featurizers])

    def batch(self, images: Sequence[ImageLike], *, seed: int = 0) -> list[FeatureMap]:
        """Features of several pictures, in their order."""
        pictures = [as_image(image) for image in images]
        columns = [part.batch(pictures, seed=seed) for part in self.featurizers]
        return [self._fuse(row) for row in zip(*columns, strict=True)]

    def _fuse(self, maps: Sequence[FeatureMap]) -> FeatureMap:
        finest = max(maps, key=lambda one: one.grid_size[0] * one.grid_size[1])
        size = finest.data.shape[-2:]
        fused = finest.data.new_empty((sum(len(one.data) for one in maps), *size), dtype=torch.float32)
        parts = torch.split(fused, [len(one.data) for one in maps])
        for one, weight, part in zip(maps, self.weights, parts, strict=True):
            data = one.data.to(fused)
            if data.shape[-2:] != size:
                data = F.interpolate(F.normalize(data, dim=0)[None], size=size, mode="bilinear")[0]
            torch.mul(data, math.sqrt(weight) / torch.linalg.vector_norm(data, dim=0).clamp_min(1e-12), out=part)
        return FeatureMap(fused, finest.image_size, self.fingerprint, finest.digest)
