"""Soft labels from feature map to feature map."""

import torch
import torch.nn.functional as F

from dift_edit.clips.labels.settings import PropagationSettings
from dift_edit.errors import GeometryError
from dift_edit.features.base import FeatureMap
from dift_edit.matching.nearby import average_nearby

__all__ = ["LabelPropagator"]


class LabelPropagator:
    """Carries soft labels from map to map; keeps the first map and the last ones.

    Parameters
    ----------
    features : FeatureMap
        Of the first frame.
    scores : torch.Tensor
        (K, h, w) soft labels of the first frame on the features' grid.
    settings : PropagationSettings, optional
        How labels are carried.

    Raises
    ------
    GeometryError
        If the scores are not on the features' grid.
    """

    def __init__(self, features: FeatureMap, scores: torch.Tensor, settings: PropagationSettings | None = None) -> None:
        if scores.shape[1:] != features.data.shape[1:]:
            raise GeometryError(
                f"Labels on a grid of {tuple(scores.shape[1:])} cells do not fit features of "
                f"{tuple(features.data.shape[1:])}: bring them to the features' grid."
            )
        self.settings = settings or PropagationSettings()
        self._shape, self._fingerprint = features.data.shape, features.fingerprint
        self._directions = _principal_directions(features.unit, self.settings.channels)
        first = self._reduced(features)
        count = 1 + self.settings.last_frames
        self._keys = first.new_empty((count, *first.shape))
        self._values = first.new_empty((count, *first.shape[:2], len(scores)))
        self._seen = 0
        self._keep(first, scores)

    def __call__(self, features: FeatureMap) -> torch.Tensor:
        """Soft labels of the next frame.

        Parameters
        ----------
        features : FeatureMap
            Of that frame, on the same grid.

        Returns
        -------
        torch.Tensor
            (K, h, w).

        Raises
        ------
        GeometryError
            If the frame has another size or its features come from another featurizer.
        """
        settings = self.settings
        reduced = self._reduced(features)
        kept = min(self._seen, len(self._keys))
        means, _ = average_nearby(
            reduced,
            self._keys[:kept],
            self._values[:kept],
            radius=settings.radius,
            top_k=settings.top_k,
            temperature=settings.temperature,
        )
        scores = means.permute(2, 0, 1)
        self._keep(reduced, scores)
        return scores

    def remember(self, features: FeatureMap, scores: torch.Tensor) -> None:
        """Take a frame whose soft labels (K, h, w) are known, as if they had just been found."""
        self._keep(self._reduced(features), scores)

    def _keep(self, reduced: torch.Tensor, scores: torch.Tensor) -> None:
        """Put a frame where the oldest one is; the first one stays."""
        last = self.settings.last_frames
        if self._seen and not last:
            return
        place = 1 + (self._seen - 1) % last if self._seen else 0
        self._keys[place] = reduced
        self._values[place] = scores.permute(1, 2, 0)
        self._seen += 1

    def _reduced(self, features: FeatureMap) -> torch.Tensor:
        """(h, w, C) unit features of a frame, in the directions that are kept."""
        if features.data.shape != self._shape or features.fingerprint != self._fingerprint:
            raise GeometryError(
                f"The frames of a sequence must have one size and one featurizer: the first has features of shape "
                f"{tuple(self._shape)}, a later one {tuple(features.data.shape)}."
            )
        unit = features.unit.permute(1, 2, 0)
        return unit if self._directions is None else F.normalize(unit @ self._directions, dim=2)


def _principal_directions(unit: torch.Tensor, count: int) -> torch.Tensor | None:
    """(C, count) orthonormal directions that hold most of a map's energy; None to keep all."""
    if not 0 < count < len(unit):
        return None
    cells = unit.flatten(1).cpu().double()
    directions: torch.Tensor = torch.linalg.eigh(cells @ cells.T).eigenvectors
    return directions[:, -count:].float().to(unit.device)
