"""The engines: how the map from source to target is made, once it is known roughly where the edit belongs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
import torch

from dift_edit.errors import GeometryError
from dift_edit.features.base import FeatureMap
from dift_edit.geometry.base import MatrixTransform, Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.estimate import (
    Correspondences,
    constrained,
    fit_affine,
    fit_homography,
    fit_similarity,
    hold_pairs,
    reweighted,
    translation,
)
from dift_edit.geometry.mesh import PiecewiseAffine, signed_areas, triangulate
from dift_edit.geometry.quad import quad_lattice
from dift_edit.geometry.thin_plate import ThinPlateSpline, fit_thin_plate
from dift_edit.matching.points import match_points
from dift_edit.placement.votes import Evidence

__all__ = ["Fit", "WARP_MODELS", "bend_through_pins", "fit_model", "guided_pairs", "notebook"]

WINDOW = 0.08
"""Standard deviation, in short sides of the target, of the window round the placed position in which a part may lie
(chosen)."""
SHRINK = 1.0
"""How strongly affine maps and homographies of semantic matches are drawn toward the similarity (chosen)."""
BENDING, EXACT_BENDING = 1.0, 1e-3
"""Stiffness of meshes and splines for semantic matches, and for matches of one and the same surface (chosen)."""
LATTICE = 6
"""Vertices of the mesh across the edit (chosen)."""
MARGIN, FRAME = 0.25, 0.9
"""Size of the mesh's free part and of its fixed outline round the edit, in units of the edit (chosen)."""
LEAST_AREA = 0.3
"""A triangle keeps at least this share of the area that the unbent map gives it (chosen)."""
STRENGTHS = (1.0, 0.7, 0.5, 0.3, 0.15)
"""Shares of a bend that are tried, until one keeps the areas (chosen)."""
UNFOLDED = 1e-3
"""The same share where pins ask for the map: it may do anything but fold (chosen)."""
OWN_VERTEX = 0.75
"""A pin whose triangle is by less than this share the mesh's free part's becomes a vertex of its own (chosen)."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fit:
    """What an engine fits its map to.

    Attributes
    ----------
    pairs : Correspondences
        Weighted pairs.
    start : MatrixTransform
        The similarity that was found.
    quad : ndarray
        (4, 2) the edit's corners in source pixels.
    size : float
        Length in target pixels that tolerances are shares of: the target's short side.
    exact : bool
        Whether the pairs are places of one and the same surface, right to a fraction of a pixel.
    pins : Correspondences or None
        Pairs that the map has to hold.
    """

    pairs: Correspondences
    start: MatrixTransform
    quad: Points
    size: float
    exact: bool
    pins: Correspondences | None = None


Model = Callable[[Fit], Transform]


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


def fit_model(engine: str, fit: Fit) -> Transform:
    """Fit an engine's map, and let it hold the pins.

    First the map is fitted without pins. It is moved by what it misses the pins near the pairs by, on average, so that
    one pin moves an edit as a whole. Then the engine's own least-squares problem is solved with the pins as equality
    constraints (pairs of infinite weight): a matrix stays as near to the moved map over the edit as it can, a mesh and
    a spline bend.

    Parameters
    ----------
    engine : str
        One of `WARP_MODELS`.
    fit : Fit
        Pairs, start and pins.

    Returns
    -------
    Transform
        It misses pins that it has not the freedom for; a similarity holds one or two, an affine map three, a homography
        four, meshes and splines more. Where pins would fold the edit, a map of less freedom is taken.
    """
    found = WARP_MODELS[engine](replace(fit, pins=None))
    if fit.pins is None:
        return found
    move = translation(_mean_miss(found, fit.pins, fit.pairs))
    if isinstance(found, MatrixTransform):
        return hold_matrix(found.then(move), fit.pins, fit.quad, FREEDOM[engine])
    moved = replace(fit, pairs=replace(fit.pairs, target=move(fit.pairs.target)), start=fit.start.then(move))
    return WARP_MODELS[engine](moved)


def _mean_miss(found: Transform, pins: Correspondences, pairs: Correspondences) -> Points:
    """(2,) from where a map has the pins to where they are held, on average over those in the box of the pairs."""
    near = ((pins.source >= pairs.source.min(0)) & (pins.source <= pairs.source.max(0))).all(1)
    if not near.any():
        return np.zeros(2)
    mean: Points = (pins.target - found(pins.source))[near].mean(0)
    return mean


FREEDOM = {"similarity": 4, "affine": 6, "homography": 8, "notebook": 8}
"""Engine → numbers that its matrix has."""


def hold_matrix(found: MatrixTransform, pins: Correspondences, quad: Points, freedom: int) -> MatrixTransform:
    """The map nearest to a matrix over an edit that holds pins.

    Parameters
    ----------
    found : MatrixTransform
        What is known without the pins.
    pins : Correspondences
        The pinned pairs.
    quad : ndarray
        (4, 2) the edit's corners.
    freedom : {4, 6, 8}
        Of a similarity, an affine map, a homography.

    Returns
    -------
    MatrixTransform
        Of less freedom where the edit would be folded.
    """
    lattice = quad_lattice(quad, across=LATTICE)
    for numbers in (8, 6, 4):
        if numbers > freedom:
            continue
        try:
            held = hold_pairs(found, pins, lattice, numbers)
        except GeometryError:
            continue
        if _keeps_areas(held(lattice), found(lattice), UNFOLDED):
            return held
    return found


def bend_through_pins(start: MatrixTransform, pins: Correspondences, quad: Points) -> ThinPlateSpline | None:
    """The spline that bends a similarity through pins.

    Parameters
    ----------
    start : MatrixTransform
        The map without the bend.
    pins : Correspondences
        At least three that are not on a line.
    quad : ndarray
        (4, 2) the edit's corners.

    Returns
    -------
    ThinPlateSpline or None
        None when there is none, or it would fold.
    """
    low, high = np.minimum(quad.min(0), pins.source.min(0)), np.maximum(quad.max(0), pins.source.max(0))
    try:
        spline = fit_thin_plate(pins.source, pins.target - start(pins.source), base=start, box=np.stack([low, high]))
    except GeometryError:
        return None
    return spline if spline_keeps_areas(spline, quad) else None


def _similarity(fit: Fit) -> MatrixTransform:
    return _on_exact(fit, fit_similarity) if fit.exact else fit.start


def _on_exact(fit: Fit, solve: Callable[[Correspondences], MatrixTransform]) -> MatrixTransform:
    """A fit to all exact pairs, not to the largest part of them that a stiff map can hold: a bent surface has many."""
    start = solve(fit.pairs)
    left = np.linalg.norm(start(fit.pairs.source) - fit.pairs.target, axis=1)
    return reweighted(fit.pairs, start, threshold=max(0.01 * fit.size, 2.5 * float(np.median(left))), fit=solve)[
        0
    ]  # both numbers chosen


def _affine(fit: Fit) -> MatrixTransform:
    if fit.exact:
        return _on_exact(fit, fit_affine)
    solve = partial(fit_affine, toward=fit.start, shrink=SHRINK)
    return reweighted(fit.pairs, fit.start, threshold=WINDOW * fit.size, fit=solve)[0]


def _homography(fit: Fit) -> MatrixTransform:
    if fit.exact:
        return _on_exact(fit, fit_homography)
    start, lattice = _affine(fit), quad_lattice(fit.quad, across=LATTICE)
    solve = partial(fit_homography, toward=start, shrink=2 * SHRINK)
    found = reweighted(fit.pairs, start, threshold=WINDOW * fit.size, fit=solve)[0]
    return found if _keeps_areas(found(lattice), start(lattice), LEAST_AREA) else start


def _mesh(fit: Fit) -> PiecewiseAffine:
    """Triangles on a lattice over the edit, moved by regularised robust least squares; the outline stays."""
    pairs, start, pins = fit.pairs, fit.start, fit.pins
    free, frame = quad_lattice(fit.quad, across=LATTICE, margin=MARGIN), _frame(fit.quad)
    plain = _unbent(free, frame, start)
    rows = wanted_pins = np.zeros((0, len(free)))
    fixed = np.zeros((len(frame), 2))
    if pins is not None:
        index, share = plain.barycentric(pins.source)
        own = (share * (plain.triangles[index] < len(free))).sum(1) * (index >= 0) < OWN_VERTEX
        if own.any():  # pins round the edit are vertices that are moved by what the similarity misses them by
            around = np.concatenate([fit.quad, pins.source[own]])
            low, high = around.min(0), around.max(0)
            frame = _frame(np.array([low, (high[0], low[1]), high, (low[0], high[1])]))
            fixed = np.concatenate([(pins.target - start(pins.source))[own], np.zeros((len(frame), 2))])
            plain = _unbent(free, np.concatenate([pins.source[own], frame]), start)
        rows, known = _design(plain, pins.source[~own], len(free))
        wanted_pins = (pins.target - start(pins.source))[~own] - known @ fixed
    seen = plain.barycentric(pairs.source)[0] >= 0
    design, known = _design(plain, pairs.source[seen], len(free))
    wanted = (pairs.target - start(pairs.source))[seen] - known @ fixed
    weights = pairs.weights[seen] / max(pairs.weights[seen].sum(), 1e-300)
    stiff = _bending_matrix() * (EXACT_BENDING if fit.exact else BENDING) / len(free)
    scale = (0.02 if fit.exact else WINDOW / 2) * fit.size  # 0.02 chosen
    trust = np.ones(len(weights))
    offsets = np.zeros((len(free), 2))
    for _ in range(6):  # enough for the weights to settle
        u = weights * trust
        normal = design.T @ (u[:, None] * design) + stiff + 1e-9 * np.eye(len(free))
        offsets = constrained(normal, design.T @ (u[:, None] * wanted), rows, wanted_pins)
        miss = np.linalg.norm(design @ offsets - wanted, axis=1) / scale
        trust = 1 / (1 + miss**2) ** 2
    bend, base = np.concatenate([offsets, fixed]), plain.target
    least = LEAST_AREA if pins is None else UNFOLDED
    for strength in STRENGTHS:
        if _keeps_areas(base + strength * bend, base, least, plain.triangles):
            return PiecewiseAffine(plain.source, base + strength * bend, plain.triangles, start)
    return plain


def _unbent(free: Points, fixed: Points, start: MatrixTransform) -> PiecewiseAffine:
    vertices = np.concatenate([free, fixed])
    return PiecewiseAffine(vertices, start(vertices), triangulate(vertices), start)


def _design(mesh: PiecewiseAffine, points: Points, free: int) -> tuple[Array, Array]:
    """(N, free) and (N, V − free) shares of the mesh's free and of its other vertices in points inside."""
    index, share = mesh.barycentric(points)
    design = np.zeros((len(points), len(mesh.source)))
    np.put_along_axis(design, mesh.triangles[index], share, 1)
    return design[:, :free], design[:, free:]


def _spline(fit: Fit) -> ThinPlateSpline | MatrixTransform:
    """A smoothing thin-plate spline of what the matches leave over, bounded to the edit's surroundings."""
    mesh = _mesh(fit)
    centres = quad_lattice(fit.quad, across=LATTICE, margin=MARGIN)
    offsets = mesh(centres) - fit.start(centres)
    smoothing = np.full(len(centres), 1e-4)  # chosen: the mesh's vertices are smooth already
    low, high = centres.min(0), centres.max(0)
    if fit.pins is not None:  # they take the place of vertices nearby, and are met exactly
        pinned = fit.pins.source
        gap = np.linalg.norm(centres[:, None] - pinned, axis=2).min(1)
        far = gap > 0.5 * np.linalg.norm(centres[1] - centres[0])
        centres, smoothing = np.concatenate([centres[far], pinned]), np.append(smoothing[far], np.zeros(len(pinned)))
        offsets = np.concatenate([offsets[far], fit.pins.target - fit.start(pinned)])
        low, high = np.minimum(low, pinned.min(0)), np.maximum(high, pinned.max(0))
    box = np.stack([low, high])
    for strength in STRENGTHS:
        spline = fit_thin_plate(centres, strength * offsets, base=fit.start, smoothing=smoothing, box=box)
        if spline_keeps_areas(spline, fit.quad, LEAST_AREA if fit.pins is None else UNFOLDED):
            return spline
    return fit.start


WARP_MODELS: dict[str, Model] = {
    "similarity": _similarity,
    "affine": _affine,
    "homography": _homography,
    "mesh": _mesh,
    "spline": _spline,
}
"""Engine → how it fits its map. Meshes and splines hold the pins themselves; the others need `fit_model` for it."""


def spline_keeps_areas(spline: ThinPlateSpline, quad: Points, least: float = LEAST_AREA) -> bool:
    """Whether a spline folds or collapses nowhere round an edit."""
    jacobian = np.linalg.det(spline.jacobians(quad_lattice(quad, across=25, margin=1.0)))
    plain = np.linalg.det(spline.base.matrix[:2, :2] / spline.base.matrix[2, 2])
    return bool((jacobian / plain > least).all())


def notebook(source: FeatureMap, quad: Points, target: FeatureMap, *, seed: int = 0) -> MatrixTransform:
    """The released DIFT notebook's method: 1000 random pixels, nearest by L2 distance, homography by RANSAC at 5 px.

    Parameters
    ----------
    source, target : FeatureMap
        Features of the two pictures.
    quad : ndarray
        (4, 2) the edit's corners in source pixels.
    seed : int
        Seed of the random pixels.

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
    low = np.clip(np.ceil(quad.min(0)), 0, np.asarray(source.image_size) - 1)
    high = np.clip(np.floor(quad.max(0)), low, np.asarray(source.image_size) - 1)
    x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    chosen = pixels[np.random.default_rng(seed).permutation(len(pixels))[:1000]]
    found = match_points(source, chosen, target, metric="l2", align_corners=True).points
    cv2.setRNGSeed(0)
    matrix, _ = cv2.findHomography(chosen.astype(np.float32), found.astype(np.float32), cv2.RANSAC, 5.0)
    if matrix is None:
        raise GeometryError("The notebook's matches agree on no homography.")
    return MatrixTransform(np.asarray(matrix, dtype=np.float64))


def _frame(quad: Points) -> Points:
    lattice = quad_lattice(quad, across=4, margin=FRAME).reshape(4, 4, 2)
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
