"""Poses of a planar patch, as the four corners of its quad, fitted to point pairs.

The eight corner coordinates are a good parametrisation of a homography here: what is smoothed, limited and reported
is what one sees, and errors are in pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import apply_homography, quad_matrices, quad_matrix, quad_side

__all__ = ["PoseFit", "fit_pose", "similarity_basis"]

Floats = npt.NDArray[np.float64]

# Numbers without a source are chosen.
_LEAST_POINTS = 6
_OUTLIER = 3.0  # pixels; agreement with the robust similarity that starts a fit
_SHEAR, _TAPER = 0.03, 0.015  # of the quad's side: how far one step may change shape beyond a similarity
_RIGID = 1e-5  # of the quad's side: no change
_LEAST_NOISE = 0.05  # pixels


@dataclass(frozen=True, eq=False)
class PoseFit:
    """A fitted pose.

    Attributes
    ----------
    corners : ndarray
        (4, 2) pixels.
    information : ndarray
        (8, 8) inverse covariance of the corner coordinates x0, y0, x1, … in pixels⁻².
    noise : float
        Robust standard deviation in pixels of what the pairs that agree are off.
    """

    corners: Points
    information: Floats
    noise: float


def similarity_basis(quad: Points) -> tuple[Floats, Floats]:
    """Directions in the space of corner coordinates in which a quad changes its shape.

    Returns
    -------
    shear, taper : ndarray
        (2, 8) orthonormal rows each: what an affine map does beyond a similarity, and a homography beyond an
        affine map.
    """
    x, y = (quad - quad.mean(0)).T
    one, zero = np.ones(4), np.zeros(4)
    columns = [(one, zero), (zero, one), (x, y), (-y, x), (x, zero), (y, zero)]
    basis, _ = np.linalg.qr(np.stack([np.stack(column, axis=1).ravel() for column in columns], axis=1), mode="complete")
    return basis[:, 4:6].T, basis[:, 6:8].T


def fit_pose(
    quad: Points,
    start: Points,
    source: Points,
    target: Points,
    weights: Floats,
    *,
    seeds: npt.NDArray[np.bool_] | None = None,
    tilts: bool = True,
) -> PoseFit | None:
    """The pose that carries source points to target points, robustly.

    Parameters
    ----------
    quad : ndarray
        (4, 2) corners in the frame of `source`.
    start : ndarray
        (4, 2) a first guess of the corners in the frame of `target`; changes of shape are counted from there.
    source, target : ndarray
        (N, 2) pairs.
    weights : ndarray
        (N,) how much each pair counts, 0 to 1.
    seeds : ndarray, optional
        (N,) bool: the pairs among which the robust similarity is sought; all by default.
    tilts : bool
        Whether the perspective may change; else the map from `start` is affine.

    Returns
    -------
    PoseFit or None
        None when fewer than six pairs agree, or they lie too close together to tell a pose.

    Notes
    -----
    A robust similarity chooses the pairs; Gauss–Newton steps with Geman–McClure weights follow, with a weak prior
    that the shape changes little beyond a similarity, so that few pairs give a sober pose.
    """
    chosen = np.ones(len(source), bool) if seeds is None else seeds
    if chosen.sum() < _LEAST_POINTS:
        return None
    guess = apply_homography(quad_matrix(quad, start), source)
    rigid, _ = cv2.estimateAffinePartial2D(guess[chosen], target[chosen], ransacReprojThreshold=_OUTLIER, maxIters=500)
    if rigid is None:
        return None
    good = np.linalg.norm(guess @ rigid[:, :2].T + rigid[:, 2] - target, axis=1) < _OUTLIER
    if good.sum() < _LEAST_POINTS:
        return None
    corners = start @ rigid[:, :2].T + rigid[:, 2]
    side = quad_side(start)
    shear, taper = similarity_basis(start)
    prior = shear.T @ shear / (_SHEAR * side) ** 2 + taper.T @ taper / ((_TAPER if tilts else _RIGID) * side) ** 2
    reference = corners.ravel()
    noise = 1.0
    for _ in range(4):
        predicted, jacobian = _linearised(quad, corners, source)
        residual = target - predicted
        length = np.linalg.norm(residual, axis=1)
        noise = max(1.4826 / 1.18 * float(np.median(length[good])), _LEAST_NOISE)
        limit = 4 * noise + 0.3
        robust = weights * (limit**2 / (limit**2 + length**2)) ** 2
        good = (length < limit) & (weights > 0)
        if good.sum() < _LEAST_POINTS:
            return None
        data = np.einsum("n,nki,nkj->ij", robust, jacobian, jacobian) / noise**2
        gradient = np.einsum("n,nki,nk->i", robust, jacobian, residual) / noise**2
        gradient -= prior @ (corners.ravel() - reference)
        step = np.linalg.solve(data + prior + 1e-9 * np.eye(8), gradient)
        corners = corners + step.reshape(4, 2)
    information = data + prior
    if not tilts:  # the perspective was not measured
        flat = np.eye(8) - taper.T @ taper
        information = (
            flat @ data @ flat + shear.T @ shear / (_SHEAR * side) ** 2 + taper.T @ taper / (_TAPER * side) ** 2
        )
    spread = np.linalg.svd(source[good] - source[good].mean(0), compute_uv=False) / np.sqrt(good.sum())
    if spread[0] < 0.05 * quad_side(quad) or not np.isfinite(corners).all():
        return None
    return PoseFit(corners, information, noise)


def _linearised(quad: Points, corners: Points, points: Points) -> tuple[Floats, Floats]:
    """Points (N, 2) under a pose, and their derivatives (N, 2, 8) by its corner coordinates."""
    step = 1e-3 * quad_side(corners)
    moved = corners.ravel() + step * np.concatenate([np.zeros((1, 8)), np.eye(8)])
    mapped = apply_homography(quad_matrices(quad, moved.reshape(9, 4, 2)), points)
    return mapped[0], np.moveaxis(mapped[1:] - mapped[0], 0, -1) / step
