"""The engines: how the map from source to target is made, once it is known roughly where the edit belongs."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
import torch

from dift_edit.errors import GeometryError
from dift_edit.features.base import FeatureMap
from dift_edit.geometry.base import MatrixTransform, Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.estimate import Correspondences, fit_affine, fit_homography, fit_similarity, reweighted
from dift_edit.geometry.mesh import PiecewiseAffine, signed_areas, triangulate
from dift_edit.geometry.thin_plate import ThinPlateSpline, fit_thin_plate
from dift_edit.placement.votes import Evidence

__all__ = ["MODELS", "guided_pairs", "hold_pins", "notebook", "quad_lattice"]

WINDOW = 0.08
"""Standard deviation, in short sides of the target, of the window round the placed position in which a part may lie."""
SHRINK = 1.0
"""How strongly affine maps and homographies of semantic matches are drawn toward the similarity."""
BENDING, EXACT_BENDING = 1.0, 1e-3
"""Stiffness of meshes and splines for semantic matches, and for matches of one and the same surface."""
LATTICE = 6
"""Vertices of the mesh across the edit."""
MARGIN, FRAME = 0.25, 0.9
"""Size of the mesh's free part and of its fixed outline round the edit, in units of the edit."""
LEAST_AREA = 0.3
"""A triangle keeps at least this share of the area that the unbent map gives it."""
PIN_WEIGHT = 1e5

Array = npt.NDArray[np.float64]
Model = Callable[[Correspondences, MatrixTransform, Points, float, bool], Transform]


def guided_pairs(evidence: Evidence, placed: MatrixTransform, window: float = WINDOW) -> Correspondences:
    """Where each point's votes near its placed position have their mean.

    Parameters
    ----------
    evidence : Evidence
        The votes.
    placed : MatrixTransform
        The similarity that was found.
    window : float
        See `WINDOW`.

    Returns
    -------
    Correspondences
        Weighted with the share of the votes that lies in the window.
    """
    height, width = evidence.votes.shape[1:]
    size = evidence.target_size
    x = torch.arange(width, dtype=torch.float32).add(0.5) * (size[0] / width) - 0.5
    y = torch.arange(height, dtype=torch.float32).add(0.5) * (size[1] / height) - 0.5
    at = torch.from_numpy(placed(evidence.points).astype(np.float32))
    spread = window * min(size)
    across = torch.exp(-((x - at[:, :1]) ** 2) / (2 * spread**2))
    down = torch.exp(-((y - at[:, 1:]) ** 2) / (2 * spread**2))
    near = evidence.votes * across[:, None, :] * down[:, :, None]
    mass = near.sum((1, 2))
    mean = torch.stack([(near.sum(1) * x).sum(1), (near.sum(2) * y).sum(1)], 1) / mass.clamp_min(1e-20)[:, None]
    held = mass > 1e-6
    target = torch.where(held[:, None], mean, at).numpy().astype(np.float64)
    weights = evidence.weights * torch.where(held, mass, torch.zeros(())).numpy()
    return Correspondences(evidence.points, target, weights)


def _similarity(pairs: Correspondences, placed: MatrixTransform, quad: Points, size: float, exact: bool) -> Transform:
    return _on_exact(pairs, size, fit_similarity) if exact else placed


def _on_exact(
    pairs: Correspondences, size: float, fit: Callable[[Correspondences], MatrixTransform]
) -> MatrixTransform:
    """A fit to all exact pairs, not to the largest part of them that a stiff map can hold: a bent surface has many."""
    start = fit(pairs)
    left = np.linalg.norm(start(pairs.source) - pairs.target, axis=1)
    return reweighted(pairs, start, threshold=max(0.01 * size, 2.5 * float(np.median(left))), fit=fit)[0]


def _affine(pairs: Correspondences, placed: MatrixTransform, quad: Points, size: float, exact: bool) -> Transform:
    if exact:
        return _on_exact(pairs, size, fit_affine)
    fit = partial(fit_affine, toward=placed, shrink=SHRINK)
    return reweighted(pairs, placed, threshold=WINDOW * size, fit=fit)[0]


def _homography(pairs: Correspondences, placed: MatrixTransform, quad: Points, size: float, exact: bool) -> Transform:
    if exact:
        return _on_exact(pairs, size, fit_homography)
    start = _affine(pairs, placed, quad, size, exact)
    assert isinstance(start, MatrixTransform)
    fit = partial(fit_homography, toward=start, shrink=2 * SHRINK)
    found = reweighted(pairs, start, threshold=WINDOW * size, fit=fit)[0]
    return found if _keeps_areas(found(quad_lattice(quad)), start(quad_lattice(quad)), LEAST_AREA) else start


def _mesh(pairs: Correspondences, placed: MatrixTransform, quad: Points, size: float, exact: bool) -> Transform:
    """Triangles on a lattice over the edit, moved by regularised robust least squares; the outline stays."""
    free, frame = quad_lattice(quad, margin=MARGIN), _frame(quad)
    vertices = np.concatenate([free, frame])
    triangles = triangulate(vertices)
    plain = PiecewiseAffine(vertices, placed(vertices), triangles, placed)
    index, share = plain._finder(pairs.source)
    seen = index >= 0
    design = np.zeros((int(seen.sum()), len(vertices)))
    np.put_along_axis(design, triangles[index[seen]], share[seen], 1)
    design = design[:, : len(free)]
    wanted = (pairs.target - placed(pairs.source))[seen]
    weights = pairs.weights[seen] / max(pairs.weights[seen].sum(), 1e-300)
    stiff = _bending_matrix() * (EXACT_BENDING if exact else BENDING) / len(free)
    scale = (0.02 if exact else WINDOW / 2) * size
    trust = np.ones(len(weights))
    offsets = np.zeros((len(free), 2))
    for _ in range(6):
        u = weights * trust
        normal = design.T @ (u[:, None] * design) + stiff
        offsets = np.linalg.solve(normal + 1e-9 * np.eye(len(free)), design.T @ (u[:, None] * wanted))
        miss = np.linalg.norm(design @ offsets - wanted, axis=1) / scale
        trust = np.where(pairs.weights[seen] >= PIN_WEIGHT, 1, 1 / (1 + miss**2) ** 2)
    bend = np.concatenate([offsets, np.zeros((len(frame), 2))])
    base = placed(vertices)
    for strength in (1.0, 0.7, 0.5, 0.3, 0.15):
        if _keeps_areas(base + strength * bend, base, LEAST_AREA, triangles):
            return PiecewiseAffine(vertices, base + strength * bend, triangles, placed)
    return plain


def _spline(pairs: Correspondences, placed: MatrixTransform, quad: Points, size: float, exact: bool) -> Transform:
    """A smoothing thin-plate spline of what the matches leave over, bounded to the edit's surroundings."""
    mesh = _mesh(pairs, placed, quad, size, exact)
    lattice = quad_lattice(quad, margin=MARGIN)
    offsets = mesh(lattice) - placed(lattice)
    box = np.stack([lattice.min(0), lattice.max(0)])
    for strength in (1.0, 0.7, 0.5, 0.3, 0.15):
        spline = fit_thin_plate(lattice, strength * offsets, base=placed, smoothing=1e-4, box=box)
        if spline_keeps_areas(spline, quad):
            return spline
    return placed


MODELS: dict[str, Model] = {
    "similarity": _similarity,
    "affine": _affine,
    "homography": _homography,
    "mesh": _mesh,
    "spline": _spline,
}
"""Engine → function of the pairs, the similarity found, the edit's quad, the size in target pixels that tolerances
refer to, and whether the pairs are exact."""


def spline_keeps_areas(spline: ThinPlateSpline, quad: Points) -> bool:
    """Whether a spline folds or collapses nowhere round an edit."""
    jacobian = np.linalg.det(spline.jacobians(quad_lattice(quad, margin=1.0, across=25)))
    plain = np.linalg.det(spline.base.matrix[:2, :2] / spline.base.matrix[2, 2])
    return bool((jacobian / plain > LEAST_AREA).all())


def hold_pins(transform: Transform, pins: Correspondences, quad: Points, engine: str) -> Transform:
    """Make a transform hold pinned pairs exactly, as far as the engine has the freedom.

    Parameters
    ----------
    transform : Transform
        The map that was found.
    pins : Correspondences
        The pinned pairs.
    quad : ndarray
        (4, 2) the edit's corners.
    engine : str
        A "similarity" holds one or two pins, "affine" three, "homography" four, each more in the least-squares sense;
        other engines bend.

    Returns
    -------
    Transform

    Raises
    ------
    GeometryError
        If the pins contradict each other or would fold the edit.
    """
    count = len(pins.source)
    if np.abs(transform(pins.source) - pins.target).max() < 1e-6:
        return transform
    base = transform if isinstance(transform, MatrixTransform) else getattr(transform, "base", None)
    if base is None:
        base = getattr(transform, "outside", None)
    if not isinstance(base, MatrixTransform):
        raise GeometryError("The pins cannot be held by this engine: choose another one.")
    if count == 1:
        shift = pins.target[0] - transform(pins.source)[0]
        move = MatrixTransform(np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]]))
        return transform.then(move)  # type: ignore[attr-defined, no-any-return]
    if engine == "similarity" or count == 2:
        return fit_similarity(pins)
    if engine == "affine" or (engine == "homography" and count == 3):
        return fit_affine(pins)
    if engine == "homography":
        return fit_homography(pins)
    base = fit_similarity(pins)
    low, high = np.minimum(quad.min(0), pins.source.min(0)), np.maximum(quad.max(0), pins.source.max(0))
    spline = fit_thin_plate(pins.source, pins.target - base(pins.source), base=base, box=np.stack([low, high]))
    if not spline_keeps_areas(spline, quad):
        raise GeometryError("The pins would fold the edit over itself: check which points belong together.")
    return spline


def notebook(source: FeatureMap, quad: Points, target: FeatureMap, *, seed: int = 0) -> MatrixTransform:
    """The released DIFT notebook's method: 1000 random pixels, nearest by L2 distance, homography by RANSAC at 5 px.

    Parameters
    ----------
    source, target : FeatureMap
        Features of the two pictures.
    quad : ndarray
        (4, 2) the edit's corners in source pixels.
    seed : int
        Of the random pixels.

    Returns
    -------
    MatrixTransform

    Raises
    ------
    GeometryError
        If RANSAC finds no homography.

    References
    ----------
    Tang et al., Emergent Correspondence from Image Diffusion, NeurIPS 2023, the notebook on edit propagation.
    """
    from dift_edit.matching.points import match_points

    low = np.clip(np.ceil(quad.min(0)), 0, np.asarray(source.image_size) - 1)
    high = np.clip(np.floor(quad.max(0)), low, np.asarray(source.image_size) - 1)
    x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    chosen = pixels[np.random.default_rng(seed).permutation(len(pixels))[:1000]]
    found = match_points(source, target, chosen, metric="l2", align_corners=True).points
    cv2.setRNGSeed(0)
    matrix, _ = cv2.findHomography(chosen.astype(np.float32), found.astype(np.float32), cv2.RANSAC, 5.0)
    if matrix is None:
        raise GeometryError("The notebook's matches agree on no homography.")
    return MatrixTransform(np.asarray(matrix, dtype=np.float64))


def quad_lattice(quad: Points, *, margin: float = 0.0, across: int = LATTICE) -> Points:
    """(across², 2) points spread over a quad and a margin round it, in units of the quad."""
    steps = np.linspace(-margin, 1 + margin, across)
    v, u = (grid.reshape(-1, 1) for grid in np.meshgrid(steps, steps, indexing="ij"))
    top, bottom = (1 - u) * quad[0] + u * quad[1], (1 - u) * quad[3] + u * quad[2]
    lattice: Points = (1 - v) * top + v * bottom
    return lattice


def _frame(quad: Points) -> Points:
    lattice = quad_lattice(quad, margin=FRAME, across=4).reshape(4, 4, 2)
    return np.concatenate([lattice[0], lattice[-1], lattice[1:-1, 0], lattice[1:-1, -1]])


def _bending_matrix() -> Array:
    """(n², n²): squared second differences along rows and columns, and a little of the first ones."""
    number = np.arange(LATTICE**2).reshape(LATTICE, LATTICE)
    rows = []
    for lines in (number, number.T):
        for line in lines:
            for k in range(LATTICE - 1):
                first = np.zeros(LATTICE**2)
                first[line[k]], first[line[k + 1]] = -0.2, 0.2
                rows.append(first)
            for k in range(1, LATTICE - 1):
                second = np.zeros(LATTICE**2)
                second[line[[k - 1, k, k + 1]]] = 1, -2, 1
                rows.append(second)
    operator = np.array(rows)
    return operator.T @ operator


def _keeps_areas(moved: Points, plain: Points, least: float, triangles: npt.NDArray[np.int64] | None = None) -> bool:
    """Whether no triangle turns over or shrinks below a share of its area."""
    if not np.isfinite(moved).all():
        return False
    if triangles is None:
        triangles = triangulate(plain)
    areas, before = signed_areas(moved, triangles), signed_areas(plain, triangles)
    return bool((areas / before > least).all())
