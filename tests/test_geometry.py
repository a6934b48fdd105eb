"""Properties of the transforms: what goes forth comes back, nothing folds, nonsense is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import LinearNDInterpolator, RBFInterpolator

from dift_edit.errors import GeometryError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import bilinear_rows, rescale_points
from dift_edit.geometry.estimate import Correspondences, fit_affine, fit_homography, fit_similarity, reweighted
from dift_edit.geometry.mesh import PiecewiseAffine, signed_areas, triangulate
from dift_edit.geometry.thin_plate import fit_thin_plate
from trials import trials

SEEDS = st.integers(0, 10_000)
GRID = np.stack(np.meshgrid(np.linspace(0, 100, 6), np.linspace(0, 80, 5)), -1).reshape(-1, 2)
IDENTITY = MatrixTransform(np.eye(3))


def pairs(source: np.ndarray, target: np.ndarray) -> Correspondences:
    return Correspondences(source, target, np.ones(len(source)))


def some_affine(rng: np.random.Generator) -> MatrixTransform:
    turn, scale = rng.uniform(-3, 3), rng.uniform(0.4, 2.5)
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[c, -s], [s, c]]) @ np.array([[1, rng.uniform(-0.3, 0.3)], [0, rng.uniform(0.6, 1.4)]])
    return MatrixTransform(
        np.array([[*linear[0], rng.uniform(-90, 90)], [*linear[1], rng.uniform(-90, 90)], [0, 0, 1]])
    )


def bent(rng: np.random.Generator) -> PiecewiseAffine:
    base = some_affine(rng)
    moved = base(GRID + rng.uniform(-3, 3, GRID.shape))
    rim = (GRID == [0, 0]).any(1) | (GRID == [100, 80]).any(1)
    return PiecewiseAffine(GRID, np.where(rim[:, None], base(GRID), moved), triangulate(GRID), base)


@given(SEEDS)
@trials(25)
def test_a_mesh_comes_back_inside_and_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = bent(rng)
    points = rng.uniform(-50, 150, (300, 2))
    there = mesh(points)
    assert np.isfinite(there).all()
    assert np.abs(mesh.inverse()(there) - points).max() < 1e-6
    assert np.allclose(mesh(GRID), mesh.target)


@given(SEEDS)
@trials(15)
def test_a_mesh_agrees_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = rng.uniform(0, 100, (25, 2))
    target = source + rng.uniform(-1e-3, 1e-3, (25, 2))
    mesh = PiecewiseAffine(source, target, triangulate(source), IDENTITY)
    points = rng.uniform(0, 100, (200, 2))
    expected = LinearNDInterpolator(source, target)(points)
    known = np.isfinite(expected).all(1)
    assert known.sum() > 50
    assert np.abs(mesh(points)[known] - expected[known]).max() < 1e-6


def test_a_mesh_is_continuous_across_its_edges() -> None:
    mesh = bent(np.random.default_rng(3))
    edge = GRID[mesh.triangles[:, :2]].mean(1)
    step = np.random.default_rng(0).normal(size=edge.shape) * 1e-6
    assert np.abs(mesh(edge + step) - mesh(edge - step)).max() < 1e-4


def test_a_folded_mesh_is_refused() -> None:
    target = GRID.copy()
    target[14] += [45, 0]
    with pytest.raises(GeometryError, match="folds over itself"):
        PiecewiseAffine(GRID, target, triangulate(GRID), IDENTITY)
    mirrored = GRID * [-1, 1]
    assert np.allclose(
        PiecewiseAffine(GRID, mirrored, triangulate(GRID), MatrixTransform(np.diag([-1.0, 1, 1])))(GRID), mirrored
    )


@given(SEEDS)
@trials(25)
def test_a_spline_comes_back_and_fades_to_its_base(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = some_affine(rng)
    box = np.array([[0.0, 0], [100, 80]])
    size = np.sqrt(abs(np.linalg.det(base.matrix[:2, :2])))
    spline = fit_thin_plate(GRID, rng.uniform(-2, 2, GRID.shape) * size, base=base, smoothing=1e-3, box=box)
    points = rng.uniform(-100, 200, (200, 2))
    there = spline(points)
    assert np.isfinite(there).all()
    assert np.abs(spline.inverse()(there) - points).max() < 1e-5
    far = np.array([[-60.0, 40], [50, 200], [190, -90]])
    assert np.allclose(spline(far), base(far))
    step = 1e-4
    slope = np.stack([(spline(points + d) - spline(points - d)) / (2 * step) for d in np.eye(2) * step], 2)
    assert np.abs(slope - spline.jacobians(points)).max() < 1e-4


@given(SEEDS, st.sampled_from([0.0, 0.01]))
@trials(15)
def test_a_spline_agrees_with_scipy(seed: int, smoothing: float) -> None:
    rng = np.random.default_rng(seed)
    centres, offsets = rng.uniform(0, 1, (20, 2)), rng.normal(size=(20, 2))
    centres[:2] = [[0, 0], [1, 1]]
    ours = fit_thin_plate(centres, offsets, base=IDENTITY, smoothing=smoothing)
    points = rng.uniform(-0.5, 1.5, (50, 2))
    theirs = RBFInterpolator(centres, offsets, kernel="thin_plate_spline", smoothing=smoothing)
    assert np.abs(ours(points) - points - theirs(points)).max() < 1e-6


@given(SEEDS)
@trials(30)
def test_fits_recover_what_made_the_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    affine = some_affine(rng)
    source = rng.uniform(0, 200, (20, 2))
    assert np.allclose(fit_affine(pairs(source, affine(source))).matrix, affine.matrix, atol=1e-6)
    matrix = affine.matrix.copy()
    matrix[2, :2] = rng.uniform(-1e-3, 1e-3, 2)
    homography = MatrixTransform(matrix)
    assert np.allclose(fit_homography(pairs(source, homography(source)))(source), homography(source), atol=1e-5)
    four = source[:4]
    if min(abs(signed_areas(four, np.array([[0, 1, 2], [1, 2, 3], [0, 2, 3], [0, 1, 3]])))) > 500:
        assert np.allclose(fit_homography(pairs(four, homography(four)))(four), homography(four), atol=1e-4)


def test_shrunk_fits_need_no_area_and_follow_their_prior() -> None:
    line = np.stack([np.linspace(0, 10, 5), np.zeros(5)], 1)
    prior = fit_similarity(pairs(line, line * 2))
    assert np.allclose(fit_affine(pairs(line, line * 2), prior, 0.3).matrix, prior.matrix, atol=1e-9)
    wild = pairs(GRID, GRID * 2 + np.random.default_rng(0).normal(0, 20, GRID.shape))
    prior = fit_similarity(wild)
    near = fit_homography(wild, prior, 20.0)
    assert np.abs(near(GRID) - prior(GRID)).max() < np.abs(fit_homography(wild)(GRID) - prior(GRID)).max() / 4


@pytest.mark.parametrize(
    ("points", "words"),
    [(np.zeros((5, 2)), "coincide"), (np.stack([np.arange(5.0)] * 2, 1), "collinear"), (GRID[:2], "at least three")],
)
def test_degenerate_points_are_refused_in_words(points: np.ndarray, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        triangulate(points)
    with pytest.raises(GeometryError, match=words):
        fit_thin_plate(points, points, base=IDENTITY)
    with pytest.raises(GeometryError):
        fit_affine(pairs(points, points))
    with pytest.raises(GeometryError):
        fit_homography(pairs(points, points))
    with pytest.raises(GeometryError, match="finite"):
        triangulate(np.append(GRID, [[np.nan, 0]], 0))


def test_reweighting_forgets_outliers() -> None:
    truth = some_affine(np.random.default_rng(5))
    target = truth(GRID)
    target[::3] += 40
    start = fit_similarity(pairs(GRID, truth(GRID)))
    found, trust = reweighted(pairs(GRID, target), start, threshold=10, fit=fit_affine, steps=20)
    assert np.abs(found(GRID) - truth(GRID)).max() < 1.5
    assert trust[::3].max() < 0.1 < trust[1::3].min()


@pytest.mark.parametrize("cells", [(6, 4), (1, 5), (3, 1)])
def test_rows_of_a_table_between_cells_are_bilinear(cells, rng):
    y, x = np.mgrid[: cells[1], : cells[0]].reshape(2, -1)
    table = torch.from_numpy(np.stack([x, y, x * y, np.ones_like(x)], 1).astype(np.float32))
    size = (cells[0] * 16, cells[1] * 16)
    points = rng.uniform(-20, 120, (50, 2))
    at = np.clip(rescale_points(points, size, cells), 0, np.array(cells) - 1)
    expected = np.stack([at[:, 0], at[:, 1], at.prod(1), np.ones(50)], 1)
    assert np.allclose(bilinear_rows(table, points, size, cells).numpy(), expected, atol=1e-4)
