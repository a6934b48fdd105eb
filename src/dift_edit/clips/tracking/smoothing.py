"""A smooth path through what was observed: a linear pose graph over the corner coordinates of all frames.

Unknown are the corners x_t ∈ R⁸ of every frame. Three kinds of terms pull at them: absolute sightings
(x_t = z_t, with their covariance), steps from frame to frame (x_t − x_{t−1} = d_t), and the wish that the movement
changes little (x_{t−1} − 2 x_t + x_{t+1} = 0). How strongly the last counts, for shifts, for turns and growth, and for
changes of shape, is not set by hand: it maximises the restricted likelihood of the observations. So a still camera
gives a still edit, and a shaking one an edit that shakes with the object. Errors of successive frames are alike (they
come from the same template), which the likelihood takes for movement; the path is therefore led somewhat stiffer.

References
----------
Patterson and Thompson, Recovery of inter-block information when block sizes are unequal, Biometrika 1971 (restricted
likelihood). Rauch, Tung and Striebel, AIAA Journal 1965: for this chain their smoother gives the same solution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve_banded, cholesky_banded

from dift_edit.clips.tracking.pose import similarity_basis

__all__ = ["Observations", "smooth"]

Floats = npt.NDArray[np.float64]

_BAND = 23  # second differences couple frames at a distance of two: 2 · 8 + 7
_STIFFNESS = np.logspace(-2, 6, 17)  # tried, relative to the observations' precision (chosen)
_WINDOW, _OVERLAP = 800, 80  # frames solved at once, so that memory does not grow with the clip (chosen)
_ROUNDS = 3  # over the three kinds of stiffness in turn (chosen)
_STIFFER = 5.0  # than most likely; measured: less error and less jitter on all kinds of drawn clips


@dataclass(frozen=True, eq=False)
class Observations:
    """What is known about n successive frames of one shot.

    Attributes
    ----------
    corners : ndarray
        (n, 8) absolute sightings.
    information : ndarray
        (n, 8, 8) their inverse covariances; zero where there is none.
    steps : ndarray
        (n, 8) movement from the frame before; the first is not used.
    step_information : ndarray
        (n, 8, 8) inverse covariances of the steps.
    """

    corners: Floats
    information: Floats
    steps: Floats
    step_information: Floats

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, part: slice) -> "Observations":
        return Observations(self.corners[part], self.information[part], self.steps[part], self.step_information[part])


def smooth(observations: Observations) -> Floats:
    """The most likely corners.

    Parameters
    ----------
    observations : Observations
        At least one frame has an absolute sighting.

    Returns
    -------
    ndarray
        (n, 8) pixels.
    """
    count = len(observations)
    known = np.flatnonzero(np.trace(observations.information, axis1=1, axis2=2) > 0)
    if count < 4 or len(known) < 4:
        return _interpolated(observations.corners, known)
    basis = _groups(observations.corners[known[0]])
    middle = max((count - _WINDOW) // 2, 0)
    stiffness = _best_stiffness(observations[middle : middle + _WINDOW], basis)
    result = np.empty_like(observations.corners)
    for start in range(0, count, _WINDOW):
        low, high = max(start - _OVERLAP, 0), min(start + _WINDOW + _OVERLAP, count)
        solved = _solve_robust(observations[low:high], _prior(basis, stiffness))
        stop = min(start + _WINDOW, count)
        result[start:stop] = solved[start - low : stop - low]
    return result


def _interpolated(corners: Floats, known: npt.NDArray[np.intp]) -> Floats:
    """Too little is known for more: straight lines between the sightings."""
    if not len(known):
        return corners.copy()
    frames = np.arange(len(corners))
    return np.stack([np.interp(frames, known, corners[known, axis]) for axis in range(8)], axis=1)


def _groups(corners: Floats) -> list[Floats]:
    """Orthonormal directions (k, 8) of shifts, of turns and growth, and of changes of shape."""
    quad = corners.reshape(4, 2)
    x, y = (quad - quad.mean(0)).T
    turns = np.stack([np.stack([x, y], 1).ravel(), np.stack([-y, x], 1).ravel()])
    shifts = np.stack([np.tile([1.0, 0.0], 4), np.tile([0.0, 1.0], 4)]) / 2
    return [shifts, turns / np.linalg.norm(turns, axis=1, keepdims=True), np.concatenate(similarity_basis(quad))]


def _prior(basis: list[Floats], stiffness: Sequence[float]) -> Floats:
    """(8, 8) precision of a second difference."""
    return np.asarray(sum(value * part.T @ part for value, part in zip(stiffness, basis, strict=True)))


def _best_stiffness(observations: Observations, basis: list[Floats]) -> list[float]:
    """Coordinate descent of the restricted likelihood over a grid."""
    chosen = [6, 8, 10]
    best = _badness(observations, basis, chosen)
    for _ in range(3):
        before = list(chosen)
        for group in range(3):
            for direction in (1, -1):
                while 0 <= chosen[group] + direction < len(_STIFFNESS):
                    trial = list(chosen)
                    trial[group] += direction
                    value = _badness(observations, basis, trial)
                    if value >= best:
                        break
                    best, chosen = value, trial
        if chosen == before:
            break
    return [_STIFFER * float(_STIFFNESS[index]) for index in chosen]


def _badness(observations: Observations, basis: list[Floats], chosen: Sequence[int]) -> float:
    """Minus twice the restricted log-likelihood, the overall noise level profiled out, up to a constant."""
    stiffness = [float(_STIFFNESS[index]) for index in chosen]
    prior = _prior(basis, stiffness)
    count = len(observations)
    weights = _first_trust(observations)
    matrix, right = _normal_equations(observations, prior, weights, np.ones(count))
    factor = cholesky_banded(matrix)
    solved = cho_solve_banded((factor, False), right.ravel()).reshape(-1, 8)
    absolute, relative, bend = _energies(observations, prior, solved)
    energy = float((weights * absolute).sum() + relative.sum() + bend.sum())
    informed = np.trace(observations.information, axis1=1, axis2=2) > 0
    stepped = np.trace(observations.step_information[1:], axis1=1, axis2=2) > 0
    measured = 8 * (int(informed.sum()) + int(stepped.sum()))
    freedom = max(measured - 16, 1)
    log_prior = (count - 2) * sum(len(part) * np.log(value) for value, part in zip(stiffness, basis, strict=True))
    log_posterior = 2 * float(np.log(factor[-1]).sum())
    return float(freedom * np.log(max(energy, 1e-12) / freedom) + log_posterior - log_prior)


def _energies(observations: Observations, prior: Floats, solved: Floats) -> tuple[Floats, Floats, Floats]:
    """Squared Mahalanobis distances of sightings (n,), steps (n,) and second differences (n - 2,)."""
    off = solved - observations.corners
    absolute = np.einsum("ni,nij,nj->n", off, observations.information, off)
    moved = np.zeros_like(solved)
    moved[1:] = np.diff(solved, axis=0) - observations.steps[1:]
    relative = np.einsum("ni,nij,nj->n", moved, observations.step_information, moved)
    bend = np.diff(solved, 2, axis=0)
    return absolute, relative, np.einsum("ni,ij,nj->n", bend, prior, bend)


def _solve_robust(observations: Observations, prior: Floats) -> Floats:
    """Solve, then count sightings and steps less that do not fit, twice."""
    count = len(observations)
    absolute, relative = _first_trust(observations), np.ones(count)
    solved = observations.corners
    for _ in range(_ROUNDS):
        matrix, right = _normal_equations(observations, prior, absolute, relative)
        solved = cho_solve_banded((cholesky_banded(matrix), False), right.ravel()).reshape(-1, 8)
        off, moved, _ = _energies(observations, prior, solved)
        absolute, relative = _trust(off), _trust(moved)
    return solved


def _first_trust(observations: Observations) -> Floats:
    """Weights of the sightings by how far each is from the middle of its two neighbours, beside what is usual."""
    weights = np.ones(len(observations))
    known = np.flatnonzero(np.trace(observations.information, axis1=1, axis2=2) > 0)
    if len(known) < 5:
        return weights
    seen = observations.corners[known]
    off = np.linalg.norm(seen[1:-1] - (seen[:-2] + seen[2:]) / 2, axis=1)
    usual = max(float(np.median(off)), 1e-9)
    weights[known[1:-1]] = 1 / (1 + (off / (8 * usual)) ** 4)
    return weights


def _trust(energy: Floats) -> Floats:
    """Weights that fall where a distance is large beside the usual one (Cauchy)."""
    informed = energy[energy > 0]
    usual = float(np.median(informed)) if len(informed) else 1.0
    weights: Floats = 1 / (1 + energy / max(20 * usual, 1e-12))
    return weights


def _normal_equations(
    observations: Observations, prior: Floats, absolute: Floats, relative: Floats
) -> tuple[Floats, Floats]:
    """The matrix in SciPy's upper banded form, and the right-hand side (n, 8)."""
    count = len(observations)
    sighted = observations.information * absolute[:, None, None]
    stepped = observations.step_information * relative[:, None, None]
    stepped[0] = 0
    diagonal = sighted + stepped
    diagonal[:-1] += stepped[1:]
    next_ = np.zeros((count, 8, 8))
    next_[:-1] = -stepped[1:]
    second = np.zeros((count, 8, 8))
    for offset, factor in ((0, 1.0), (1, 4.0), (2, 1.0)):
        diagonal[offset : count - 2 + offset] += factor * prior
    for offset in (0, 1):
        next_[offset : count - 2 + offset] -= 2 * prior
    second[: count - 2] += prior
    diagonal += 1e-9 * np.eye(8)
    pushed = np.einsum("nij,nj->ni", stepped, observations.steps)
    right = np.einsum("nij,nj->ni", sighted, observations.corners) + pushed
    right[:-1] -= pushed[1:]
    right += 1e-9 * observations.corners
    return _banded(diagonal, next_, second), right


def _banded(diagonal: Floats, next_: Floats, second: Floats) -> Floats:
    """Blocks at distance 0, 1, 2 as rows ``ab[band + i - j, j]``."""
    count = len(diagonal)
    band = np.zeros((_BAND + 1, 8 * count))
    for distance, blocks in enumerate((diagonal, next_, second)):
        for i in range(8):
            for j in range(8):
                if distance == 0 and i > j:
                    continue
                row = _BAND + i - j - 8 * distance
                columns = 8 * np.arange(distance, count) + j
                band[row, columns] = blocks[: count - distance, i, j]
    return band
