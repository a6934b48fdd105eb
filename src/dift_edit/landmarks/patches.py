"""Votes of the pixels: how well a patch of the source fits near where a point came to rest.

Features are coarse, about a hundredth of an object. Where two specimens look the same, as veins of a wing do, pixels
say more. Each point's patch is compared with the target, brought to the source's shape by what the points round it say.
What pixels say is added to what features say, so that it counts where it is distinct and not where it is not.

References
----------
Lewis, Fast Normalized Cross-Correlation, 1995.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.geometry.coords import Points
from dift_edit.geometry.estimate import Correspondences, fit_affine, fit_similarity
from dift_edit.imaging.image import Image
from dift_edit.landmarks.settle import Settled
from dift_edit.landmarks.votes import Votes, Weighed

__all__ = ["PatchVotes"]

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.float32]

RADIUS, SEARCH = 0.035, 0.025
"""Half the side of a patch, and how far round a point it is compared, in extents (chosen)."""
WEIGHT = 10.0
"""Of a correlation beside the logarithm of a vote of the features (chosen: 5, 10 and 15 are alike on most kinds)."""
NEAR, TOWARD = 0.25, 0.3
"""Distance in extents over which points say how the target is bent at one of them, and how much that is drawn to a
similarity, see `fit_affine` (chosen)."""
PLAIN = 2.0
"""Standard deviation of 8-bit values below which a patch says nothing (chosen)."""


@dataclass(frozen=True, eq=False)
class PatchVotes:
    """Votes for places near each point.

    Attributes
    ----------
    places : ndarray
        (N, K, 2) pixels of the target's view.
    share : ndarray
        (N, K) each with sum 1.
    gain : ndarray
        (N,) of the features' votes, see `Weighed`.
    likeness : ndarray
        (N,) highest correlation, −1 to 1; 0 where a patch is plain.
    """

    places: npt.NDArray[np.float64]
    share: Array
    gain: Array
    likeness: Array

    @classmethod
    def of(
        cls, source: Image, target: Image, points: Points, settled: Settled, votes: Votes, extent: float
    ) -> "PatchVotes":
        """Compare patches of two views.

        Parameters
        ----------
        source, target : Image
            The views.
        points : ndarray
            (N, 2) in the source's view.
        settled : Settled
            Where they are in the target's view.
        votes : Votes
            Of their features.
        extent : float
            Of the landmarks in view pixels.
        """
        radius, search = max(3, round(RADIUS * extent)), max(2, round(SEARCH * extent))
        steps = np.arange(-search, search + 1)
        shifts = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
        shown, seen = (cv2.cvtColor(image.pixels.astype(np.float32), cv2.COLOR_RGB2GRAY) for image in (source, target))
        alike, places = [], []
        for number, point in enumerate(points):
            slope = _slope(points, settled, number, extent)
            middle = settled.points[number]
            patch = _cut(shown, np.eye(2), point, radius)
            around = _cut(seen, slope, middle, radius + search)
            if patch.std() > PLAIN:
                alike.append(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED).ravel())
            else:
                alike.append(np.zeros(len(shifts), np.float32))
            places.append(middle + shifts @ slope.T)
        found, where = np.nan_to_num(np.array(alike, np.float64)).clip(-1, 1), np.array(places)
        score = votes.log_at(where) + WEIGHT * found
        share = np.exp(score - score.max(1, keepdims=True))
        return cls(where, share / share.sum(1, keepdims=True), settled.gain, found.max(1))

    def near(self, places: Points, variance: Array) -> Weighed:
        """See `Voted`."""
        window = np.exp(-((self.places - places[:, None]) ** 2).sum(2) / (2 * variance[:, None]))
        weighed = self.share * window
        total = weighed.sum(1) + 1e-300
        weighed = weighed / total[:, None]
        mean = np.einsum("nk,nkd->nd", weighed, self.places)
        spread = (weighed * ((self.places - mean[:, None]) ** 2).sum(2)).sum(1) / 2
        chance = np.maximum(window.mean(1), 1e-300)
        return Weighed(mean, spread + 1 / 12, self.gain + np.log(total / chance))


def _slope(points: Points, settled: Settled, number: int, extent: float) -> Array:
    """(2, 2) how the target is bent at a point, by the points round it."""
    weight = np.exp(-((points - points[number]) ** 2).sum(1) / (2 * (NEAR * extent) ** 2)) / settled.spread**2
    pairs = Correspondences(points, settled.predicted, weight)
    slope: Array = fit_affine(pairs, fit_similarity(pairs), TOWARD).matrix[:2, :2]
    return slope


def _cut(pixels: Pixels, slope: Array, middle: Points, radius: int) -> Pixels:
    """(2r + 1, 2r + 1) pixels round a place, bent; border pixels are repeated."""
    matrix = np.column_stack([slope, middle - slope @ np.full(2, float(radius))])
    side = 2 * radius + 1
    cut: Pixels = cv2.warpAffine(
        pixels, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return cut
