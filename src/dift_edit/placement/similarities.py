"""Which similarities the evidence speaks for: sampled, scored, and the one of greatest expected overlap.

Hypotheses come from pairs of votes and from single votes with a scale and turn drawn from the prior; the best are
improved by a narrowing random search. Together they sample the posterior over poses. The placement is not the pose of
highest score but the one whose box is expected to overlap the right one most, and that expectation is the first
ingredient of the confidence: it is low when other, different poses score nearly as well.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from dift_edit.features.threads import one_thread
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.estimate import Correspondences, fit_similarity
from dift_edit.geometry.quad import quad_extent
from dift_edit.placement.votes import Evidence

__all__ = ["Poses", "others_like_best", "sample_poses"]

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

TURN_SIGMA, LOG_SCALE_SIGMA = 0.6, 0.7
"""Standard deviations of the prior on the rotation, in radians, and on the logarithm of the scale (chosen)."""
PRIOR = 0.01
"""Score that a pose loses at one (half a squared) standard deviation of the prior on rotation and scale (chosen;
ablation in docs/transfer_quality.md)."""
LARGEST = 3.0
"""Factor round the expected scale, either way (chosen)."""
STRETCH = 0.3
"""By what share the logarithm of a placement's scale is enlarged (measured on thirteen kinds of objects, see
docs/transfer_quality.md): wide tolerances and the prior draw it toward the expected scale."""
MOST_TURN = 1.6
"""Rotation of a pair's similarity in radians beyond which it is no hypothesis, about a right angle (chosen)."""
SHARPNESS = 15.0
"""Posterior weight is exp(SHARPNESS · score) (chosen)."""
_PAIRS, _SINGLES = 500, 700
"""Hypotheses from pairs (before those too near each other are dropped) and from single votes (chosen)."""
_BEST, _ROUNDS, _NEIGHBOURS, _NARROWING = 16, 6, 6, 0.65
"""Poses that are improved, how often, by how many neighbours each, and the search's width from round to round
(chosen)."""
_KEPT, _CANDIDATES = 150, 25
"""Poses that stand for the posterior, and those of them that may be the placement (chosen)."""
_SAME = 0.15
"""Distance in sizes of the edit below which two poses share their posterior weight (chosen)."""
_APART = 0.3
"""Least distance of a pair's points in sizes of the edit (chosen)."""
_DRAWN_SCALE, _DRAWN_TURN = 0.5, 0.4
"""Standard deviations of a single vote's log-scale and rotation; narrower than the prior (chosen)."""
_STEP, _SPIN = 0.06, 0.2
"""Width of the first round: shift in short sides of the target, log-scale and rotation (chosen)."""
ALIKE_AT_FIRST, ALIKE, ALIKE_NEAR = 0.4, 0.5, 0.7
"""Share of the best support from which on another place is improved, and counts as another instance: by the whole
object, and by the edit's surroundings (chosen)."""
APART = 1.5
"""How far from the place, in sizes of the placed edit (chosen)."""
_INSTANCES = 6
"""Most instances that are counted (chosen)."""


@dataclass(frozen=True, eq=False)
class Poses:
    """Similarities q = a·p + b in complex numbers, best first.

    Attributes
    ----------
    a, b : ndarray
        (K,) complex: scale and turn, and the shift in target pixels.
    scores : ndarray
        (K,) support by the evidence, with the prior.
    quad : ndarray
        (4, 2) the edit's corners in source pixels.
    chance : float
        Support that a place has on average.
    about : float
        Turn in radians that the prior favours.
    expected_scale : float
        Scale that the prior favours.
    held : complex or None
        Source point that stays where it is put when the scale is corrected; None: the scale is given.
    tried : (a, b, scores) or None
        All that were tried, not only the best.
    """

    a: Complex
    b: Complex
    scores: Array
    quad: Points
    chance: float = 1.0
    about: float = 0.0
    expected_scale: float = 1.0
    held: complex | None = None
    tried: tuple[Complex, Complex, Array] | None = None

    @property
    def contrast(self) -> float:
        """Logarithm of the best score over the support that a place has on average."""
        return math.log(max(float(self.scores[0]), 1e-3 * self.chance) / self.chance)

    @cached_property
    def expected(self) -> tuple[int, float]:
        """The pose of greatest expected overlap with the right one, and that overlap."""
        count = min(_CANDIDATES, len(self.a))
        overlap = _overlaps(self.a, self.b, self.quad, count)
        spread = self._distances(count=len(self.a))
        weights = np.exp(SHARPNESS * (self.scores - self.scores[0])) / (spread < _SAME).sum(1)
        weights /= weights.sum()
        expected = overlap @ weights
        best = int(expected.argmax())
        return best, float(expected[best])

    @property
    def placement(self) -> MatrixTransform:
        """The pose of greatest expected overlap, its scale as far from the expected one as it was before the votes were
        blurred (`STRETCH`).
        """
        a, b = complex(self.a[self.expected[0]]), complex(self.b[self.expected[0]])
        if self.held is not None:
            larger = a * (abs(a) / self.expected_scale) ** STRETCH
            a, b = larger, b + (a - larger) * self.held
        return MatrixTransform(np.concatenate([_matrices(np.array([a]), np.array([b]))[0], [[0, 0, 1]]]))

    def _distances(self, count: int) -> Array:
        """(count, K) root mean square distance of the mapped corners, in sizes of the best quad."""
        corners = self.quad[:, 0] + 1j * self.quad[:, 1]
        mapped = self.a[:, None] * corners + self.b[:, None]
        extent = abs(self.a[0]) * quad_extent(self.quad)
        distances: Array = np.sqrt((np.abs(mapped[:count, None] - mapped) ** 2).mean(-1)) / extent
        return distances


@one_thread()
def sample_poses(
    evidence: Evidence, *, pins: Correspondences | None = None, seed: int = 0, about: float = 0.0
) -> Poses:
    """Sample similarities that the evidence speaks for.

    Parameters
    ----------
    evidence : Evidence
        The votes.
    pins : Correspondences, optional
        Pairs that must hold: one fixes the shift, two or more fix the similarity.
    seed : int
        Seed of the samples.
    about : float
        Turn in radians that the prior favours.

    Returns
    -------
    Poses
        The best of all tried, best first.

    Raises
    ------
    GeometryError
        If two or more pins give no similarity.
    """
    search = _Search(evidence, pins, about)
    if pins is not None and len(pins.source) > 1:
        matrix = fit_similarity(pins).matrix
        a, b = np.array([complex(matrix[0, 0], matrix[1, 0])]), np.array([complex(matrix[0, 2], matrix[1, 2])])
        return Poses(a, b, search.score(a, b), evidence.quad, evidence.chance, about, evidence.expected_scale)
    rng = np.random.default_rng(seed)
    a, b = search.hypotheses(rng, seed)
    scores = search.score(a, b)
    pool = [(a, b, scores)]
    best = np.argsort(-scores)[:_BEST]
    a, b, scores = a[best], b[best], scores[best]
    for step in range(_ROUNDS):
        near_a, near_b = search.near(rng, a, b, _NARROWING**step)
        near_scores = search.score(near_a, near_b)
        pool.append((near_a, near_b, near_scores))
        a, b = np.append(a, near_a), np.append(b, near_b)
        scores = np.append(scores, near_scores)
        best = np.argsort(-scores)[: max(4, _BEST - 3 * step)]
        a, b, scores = a[best], b[best], scores[best]
    a, b = np.concatenate([part[0] for part in pool]), np.concatenate([part[1] for part in pool])
    scores = np.concatenate([part[2] for part in pool])
    best = np.argsort(-scores, kind="stable")[:_KEPT]
    return Poses(
        a[best],
        b[best],
        scores[best],
        evidence.quad,
        evidence.chance,
        about,
        evidence.expected_scale,
        search.centre if search.pin is None else search.pin[0],
        (a, b, scores),
    )


@one_thread()
def others_like_best(evidence: Evidence, poses: Poses, placed: MatrixTransform, *, seed: int = 0) -> Points:
    """Where the object seems to be a second and a third time.

    Parameters
    ----------
    evidence : Evidence
        The votes of the whole object.
    poses : Poses
        What they speak for.
    placed : MatrixTransform
        Where the edit was placed.
    seed : int
        Of the samples.

    Returns
    -------
    ndarray
        (N, 2) centres of the edit, in target pixels, by poses that are supported nearly as well as the best one and put
        it far from where it was placed and from each other.
    """
    if poses.tried is None or not poses.scores[0] > 0:
        return np.zeros((0, 2))
    rng, search = np.random.default_rng(seed), _Search(evidence, None, poses.about)
    a, b, scores = poses.tried
    edit = evidence.within()
    least = ALIKE_NEAR * edit.score(placed.matrix[None, :2])[0]
    quad = placed(poses.quad)
    found = [complex(*quad.mean(0))]
    apart = APART * quad_extent(quad)

    def far(a: Complex, b: Complex) -> npt.NDArray[np.bool_]:
        held: npt.NDArray[np.bool_] = (np.abs((a * search.centre + b)[:, None] - np.array(found)) > apart).all(1)
        return held

    while len(found) < _INSTANCES:
        best = np.argsort(-np.where(far(a, b), scores, -np.inf), kind="stable")[:4]
        best = best[far(a[best], b[best])]
        if not len(best) or scores[best[0]] < ALIKE_AT_FIRST * poses.scores[0]:
            break
        near_a, near_b, near_scores = a[best], b[best], scores[best]
        for turn in range(4):
            more_a, more_b = search.near(rng, near_a, near_b, 0.65**turn)
            kept = far(more_a, more_b)
            near_a, near_b = np.append(near_a, more_a[kept]), np.append(near_b, more_b[kept])
            near_scores = np.append(near_scores, search.score(more_a[kept], more_b[kept]))
            top = np.argsort(-near_scores)[:4]
            near_a, near_b, near_scores = near_a[top], near_b[top], near_scores[top]
        if near_scores[0] < ALIKE * poses.scores[0] or edit.score(_matrices(near_a[:1], near_b[:1]))[0] < least:
            break
        found.append(complex(near_a[0] * search.centre + near_b[0]))
    return np.array([(centre.real, centre.imag) for centre in found[1:]]).reshape(-1, 2)


class _Search:
    def __init__(self, evidence: Evidence, pins: Correspondences | None, about: float) -> None:
        self.evidence = evidence
        self.upright = complex(np.exp(-1j * about))
        self.points = evidence.points[:, 0] + 1j * evidence.points[:, 1]
        self.centre = complex(*evidence.quad.mean(0))
        self.pin = None
        if pins is not None and len(pins.source) == 1:
            self.pin = complex(*pins.source[0]), complex(*pins.target[0])

    def score(self, a: Complex, b: Complex) -> Array:
        """Support with the prior on the pose."""
        grow = np.log(np.abs(a) / self.evidence.expected_scale)
        prior = (np.angle(a * self.upright) / TURN_SIGMA) ** 2 + (grow / LOG_SCALE_SIGMA) ** 2
        score: Array = self.evidence.score(_matrices(a, b)) - PRIOR * prior / 2
        return score

    def hypotheses(self, rng: np.random.Generator, seed: int) -> tuple[Complex, Complex]:
        evidence, points = self.evidence, self.points
        draw = _Draw(evidence, rng, seed)
        i, j = rng.choice(len(points), (2, 2 * _PAIRS), p=evidence.weights)
        far = np.abs(points[i] - points[j]) > _APART * evidence.extent
        i, j = i[far], j[far]
        at_i, at_j = draw(i), draw(j)
        if self.pin is not None:
            points_j = np.full(len(j), self.pin[0])
            at_j = np.full(len(j), self.pin[1])
        else:
            points_j = points[j]
        span = points[i] - points_j
        span = np.where(np.abs(span) < 1e-6, np.inf, span)
        a = (at_i - at_j) / span
        sane = (np.abs(a) > evidence.expected_scale / LARGEST) & (np.abs(a) < evidence.expected_scale * LARGEST)
        sane &= np.abs(np.angle(a * self.upright)) < MOST_TURN
        a, b = a[sane], (at_i - a * points[i])[sane]
        i = rng.choice(len(points), _SINGLES, p=evidence.weights)
        drawn = np.exp(rng.normal(0, _DRAWN_SCALE, _SINGLES) + 1j * rng.normal(0, _DRAWN_TURN, _SINGLES))
        single = evidence.expected_scale * drawn / self.upright
        a = np.concatenate([a, single])
        return a, self._pinned(a, np.concatenate([b, draw(i) - single * points[i]]))

    def near(self, rng: np.random.Generator, a: Complex, b: Complex, width: float) -> tuple[Complex, Complex]:
        """Neighbours of each pose, turned and scaled about the edit's centre."""
        a, b = np.repeat(a, _NEIGHBOURS), np.repeat(b, _NEIGHBOURS)
        step = width * _STEP * min(self.evidence.target_size)
        centre = a * self.centre + b + step * (rng.normal(size=len(a)) + 1j * rng.normal(size=len(a)))
        a = a * np.exp(_SPIN * width * (rng.normal(size=len(a)) + 1j * rng.normal(size=len(a))))
        return a, self._pinned(a, centre - a * self.centre)

    def _pinned(self, a: Complex, b: Complex) -> Complex:
        return b if self.pin is None else self.pin[1] - a * self.pin[0]


class _Draw:
    """Places in the target, drawn from the votes of source points."""

    def __init__(self, evidence: Evidence, rng: np.random.Generator, seed: int) -> None:
        sums = evidence.votes.flatten(1).double().cumsum(1)
        first = torch.arange(len(sums))[:, None]
        self._sums = (first + sums / sums[:, -1:]).flatten().numpy()  # rises from row to row
        self._shape = evidence.votes.shape[1:]
        self._size = evidence.target_size
        self._rng = rng
        self._torch = torch.Generator().manual_seed(seed)

    def __call__(self, rows: npt.NDArray[np.int64]) -> Complex:
        height, width = self._shape
        level = torch.rand(len(rows), generator=self._torch).numpy()
        cell = np.minimum(
            np.searchsorted(self._sums, rows + level.astype(np.float64)) - rows * (height * width), height * width - 1
        )
        x, y = cell % width + self._rng.random(len(rows)), cell // width + self._rng.random(len(rows))
        drawn: Complex = x * self._size[0] / width - 0.5 + 1j * (y * self._size[1] / height - 0.5)
        return drawn


def _matrices(a: Complex, b: Complex) -> Array:
    """(K, 2, 3)."""
    rows = [np.stack([a.real, -a.imag, b.real], -1), np.stack([a.imag, a.real, b.imag], -1)]
    return np.stack(rows, -2)


def _overlaps(a: Complex, b: Complex, quad: Points, count: int) -> Array:
    """(count, K) IoU of the mapped boxes of the first similarities with all, by counting a lattice of points."""
    low, high = quad.min(0), quad.max(0)
    steps = (np.arange(9) + 0.5) / 9
    x, y = (
        grid.ravel() for grid in np.meshgrid(low[0] + steps * (high[0] - low[0]), low[1] + steps * (high[1] - low[1]))
    )
    turn, shift = a[:count, None] / a, (b[:count, None] - b) / a
    back = turn[..., None] * (x + 1j * y) + shift[..., None]
    within = (back.real >= low[0]) & (back.real <= high[0]) & (back.imag >= low[1]) & (back.imag <= high[1])
    common = within.mean(-1) * np.abs(a[:count, None]) ** 2
    areas = np.abs(a) ** 2
    common = np.minimum(common, np.minimum(areas[:count, None], areas))
    overlaps: Array = common / np.maximum(areas[:count, None] + areas - common, 1e-300)
    return overlaps
