import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from dift_edit.rendering import blending
from dift_edit.rendering.blending import extend_colors, gradient_blend, laplacian_blend, solve_poisson


def disc(height, width, radius, y=None, x=None):
    rows, columns = np.mgrid[:height, :width]
    return np.hypot(rows - (height / 2 if y is None else y), columns - (width / 2 if x is None else x)) < radius


def dense_solution(values, inside, source):
    """The same equations, row by row."""
    height, width = inside.shape
    index = -np.ones(inside.shape, int)
    index[inside] = np.arange(inside.sum())
    matrix, right = sparse.lil_matrix((inside.sum(), inside.sum())), np.zeros(inside.sum())
    for y, x in np.argwhere(inside):
        k = index[y, x]
        right[k] -= source[y, x]
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width:
                matrix[k, k] += 1
                if inside[v, u]:
                    matrix[k, index[v, u]] -= 1
                else:
                    right[k] += values[v, u]
    solved = values.astype(float).copy()
    solved[inside] = spsolve(matrix.tocsr(), right)
    return solved


def test_the_equations_are_solved(rng):
    for inside in (disc(24, 30, 8), disc(24, 30, 9, y=2, x=28)):  # the second meets the picture's border
        values, source = rng.random((24, 30)).astype(np.float32), rng.normal(0, 0.1, (24, 30)).astype(np.float32)
        found = solve_poisson(values[..., None], inside, source[..., None])[..., 0]
        assert np.abs(found - dense_solution(values, inside, source)).max() < 1e-4


def test_large_regions_agree_with_the_direct_solution(monkeypatch):
    rows, columns = np.mgrid[:300, :340] / 300.0
    inside = disc(300, 340, 130)
    values = np.sin(4 * columns + 2 * rows).astype(np.float32)[..., None]
    source = np.where(inside, 2e-4 * np.cos(6 * rows), 0).astype(np.float32)[..., None]
    coarse = solve_poisson(values, inside, source)
    monkeypatch.setattr(blending, "_DIRECT", 10**7)
    exact = solve_poisson(values, inside, source)
    assert np.ptp(exact[inside]) > 0.5 and np.abs(coarse - exact).max() < 0.02


def test_gradient_blend_takes_a_constant_shift_away(rng):
    base = rng.random((60, 60, 3)).astype(np.float32) * 0.1 + 0.4
    inside = disc(60, 60, 18)
    assert np.abs(gradient_blend(base, base + 0.3, inside) - base).max() < 1e-3
    shifted = base + np.float32(0.3)
    shifted[25:35, 25:35] += 0.2
    result = gradient_blend(base, shifted, inside)
    assert np.allclose((result - base)[26:34, 26:34], 0.2, atol=2e-3), "detail of the layer stays"
    assert np.array_equal(result[~inside], base[~inside])


def test_mixed_gradients_keep_the_texture_of_the_base(rng):
    base = (rng.random((60, 60, 1)) * 0.5).astype(np.float32).repeat(3, 2)
    flat = np.full_like(base, 0.7)
    inside = disc(60, 60, 18)
    plain, mixed = gradient_blend(base, flat, inside), gradient_blend(base, flat, inside, mixed=True)
    centre = disc(60, 60, 12)
    assert plain[centre].std() < 0.05 < 0.1 < mixed[centre].std()
    assert np.corrcoef(mixed[centre][:, 0], base[centre][:, 0])[0, 1] > 0.95


def test_whole_and_empty_regions(rng):
    base, layer = rng.random((2, 20, 20, 3)).astype(np.float32)
    assert np.array_equal(gradient_blend(base, layer, np.zeros((20, 20), bool)), base)
    assert np.array_equal(gradient_blend(base, layer, np.ones((20, 20), bool)), layer)


def test_laplacian_blend_of_equal_pictures_changes_nothing(rng):
    base = rng.random((65, 83, 3)).astype(np.float32)
    blended, reach = laplacian_blend(base, base, disc(65, 83, 20).astype(np.float32), 2)
    assert np.abs(blended - base).max() < 1e-5
    assert reach[32, 41] == 1 and reach[0, 0] == 0


def test_laplacian_blend_widens_the_seam_of_a_step():
    mask = np.zeros((64, 128), np.float32)
    mask[:, 64:] = 1
    black, white = np.zeros((64, 128, 1), np.float32), np.ones((64, 128, 1), np.float32)
    line = laplacian_blend(black, white, mask, 4)[0][32, :, 0]
    assert line[10] < 0.01 and line[118] > 0.99 and ((line > 0.1) & (line < 0.9)).sum() > 8


def test_extended_colours_are_those_nearby():
    values = np.zeros((33, 40, 4), np.float32)
    values[10:20, 5:15] = (0.5, 0.1, 0.1, 0.5)  # red, half transparent
    values[10:20, 30:35] = (0, 0, 1, 1)
    filled = extend_colors(values)
    assert filled.shape == (33, 40, 3) and np.isfinite(filled).all()
    assert np.allclose(filled[12:18, 7:13], (1, 0.2, 0.2), atol=1e-5)
    assert filled[15, 3, 0] > 0.8 and filled[15, 37, 2] > 0.8
    assert np.allclose(extend_colors(np.zeros((1, 7, 4), np.float32)), 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 1), (2, 2)])
def test_tiny_pictures(shape, rng):
    base, layer = rng.random((2, *shape, 3)).astype(np.float32)
    inside = np.zeros(shape, bool)
    inside[0, 0] = True
    for result in (gradient_blend(base, layer, inside), laplacian_blend(base, layer, inside.astype(np.float32), 3)[0]):
        assert result.shape == base.shape and np.isfinite(result).all()
