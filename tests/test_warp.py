import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from dift_edit.errors import GeometryError
from dift_edit.geometry.quad import box_quad
from dift_edit.imaging.files import as_image
from dift_edit.rendering.warp import Warped, target_box, warp_image, warp_layer
from transforms import Dense, MatrixTransform, similarity
from trials import trials


def full(warped: Warped, size):
    canvas = np.zeros((size[1], size[0], warped.values.shape[2]), np.float32)
    left, top, right, bottom = warped.box
    canvas[top:bottom, left:right] = warped.values
    return canvas


def smooth(width, height, rng):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(rng.random((height, width, 4)), (2, 2, 0)).astype(np.float32)


@given(x=st.integers(-40, 60), y=st.integers(-40, 60), dense=st.booleans())
@trials(40)
def test_whole_shifts_are_slices(x, y, dense):
    layer = np.random.default_rng(0).random((20, 30, 4)).astype(np.float32)
    expected = np.zeros((160, 160, 4), np.float32)
    expected[60 + y : 80 + y, 60 + x : 90 + x] = layer
    transform = similarity(x=x, y=y)
    warped = warp_layer(layer, Dense(transform) if dense else transform, (50, 45))
    assert np.allclose(full(warped, (50, 45)), expected[60:105, 60:110], atol=1e-4 if dense else 0)


@example(scale=1.0, degrees=-35.0, x=0.0, y=0.0, tilt=0.001953125)  # shrinks downward only
@example(scale=3.0, degrees=-27.0, x=0.0, y=0.0, tilt=0.0)  # the last row is reached by half a pixel's fading only
@given(
    scale=st.floats(1.0, 3.0), degrees=st.floats(-180, 180), x=st.floats(-10, 30), y=st.floats(-10, 30),
    tilt=st.floats(-0.003, 0.003),
)  # fmt: skip
@trials(25)
def test_enlarging_agrees_with_scipy(scale, degrees, x, y, tilt):
    layer = smooth(24, 18, np.random.default_rng(1))
    matrix = similarity(scale, degrees, x, y).matrix.copy()
    matrix[2, 0] = tilt
    transform = MatrixTransform(matrix)
    size = (60, 50)
    corner = np.c_[box_quad((0, 0, 24, 18)), np.ones(4)] @ matrix.T
    if corner[:, 2].min() < 0.8:  # shrinks somewhere: the low-pass is tested elsewhere
        return
    rows, columns = np.mgrid[:50, :60]
    back = transform.inverse()(np.c_[columns.ravel(), rows.ravel()])
    padded = np.pad(layer, ((2, 2), (2, 2), (0, 0)))
    expected = np.stack(
        [map_coordinates(padded[..., c], back.T[::-1] + 2, order=1, cval=0) for c in range(4)], axis=-1
    ).reshape(50, 60, 4)
    grid = back.reshape(50, 60, 2)
    if max(np.linalg.norm(np.diff(grid, axis=axis), axis=2).max() for axis in (0, 1)) < 1:
        assert np.abs(full(warp_layer(layer, transform, size), size) - expected).max() < 2e-3


def test_matrix_and_dense_paths_agree(rng):
    layer = smooth(60, 50, rng)
    transform = similarity(20, 30, 300, 10)  # large enough for the lattice of positions
    size = (1500, 1200)
    first = full(warp_layer(layer, transform, size), size)
    second = full(warp_layer(layer, Dense(transform), size), size)
    assert first.max() > 0.5 and np.abs(first - second).max() < 2e-3


def test_shrinking_does_not_alias():
    y, x = np.mgrid[:256, :256]
    checks = ((x + y) % 2).astype(np.float32)
    layer = np.stack([checks, checks, checks, np.ones_like(checks)], axis=-1)
    for transform in (similarity(0.13, 10, 8, 2), Dense(similarity(0.13, 10, 8, 2))):
        values = full(warp_layer(layer, transform, (50, 50)), (50, 50))
        inner = values[12:26, 12:26, 0]
        assert np.abs(inner - 0.5).max() < 0.02, "a fine pattern must become its mean"


def test_shrinking_more_on_one_side_keeps_the_sharp_side_sharp():
    y = np.mgrid[:400, :400][0]
    stripes = ((y // 4) % 2).astype(np.float32)
    layer = np.stack([stripes, stripes, stripes, np.ones_like(stripes)], axis=-1)
    tilt = MatrixTransform(np.array([(1, 0, 0.0), (0, 1, 0), (0, 0.02, 1)]))  # 1:1 at the top, 1:81 in area below
    values = full(warp_layer(layer, tilt, (400, 60)), (400, 60))
    assert np.ptp(values[:6, 2, 0]) > 0.5
    assert np.ptp(values[40:43, 5:30, 0]) < 0.25


def test_outside_the_source_is_transparent_and_outside_the_target_cut_off():
    layer = np.ones((10, 10, 4), np.float32)
    values = full(warp_layer(layer, similarity(2, 0, 25, 25), (40, 40)), (40, 40))
    assert values[:23].max() == 0 and values[:, :23].max() == 0, "nothing is smeared beyond the layer's edge"
    assert values[39, 39, 3] == 1
    assert warp_layer(layer, similarity(1, 0, 100.5, 0), (40, 40)).empty


def test_only_the_box_is_computed():
    warped = warp_layer(np.ones((10, 10, 4), np.float32), similarity(1.5, 20, 3000.3, 2000.7), (6000, 4000))
    assert warped.values.shape[0] < 30 and warped.values.shape[1] < 30


def test_points_beyond_the_horizon_stay_transparent():
    tilt = MatrixTransform(np.array([(1, 0, 0.0), (0, 1, 0), (0, -0.05, 1)]))  # row 20 is at infinity
    values = full(warp_layer(np.ones((40, 40, 4), np.float32), tilt, (60, 60)), (60, 60))
    assert np.isfinite(values).all() and (values[..., 3] > 0).any()


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.diag([1.0, 0, 1]), np.full((3, 3), np.nan)])
def test_degenerate_matrices_are_refused(matrix):
    transform = Dense(similarity(), matrix)  # MatrixTransform itself would refuse it
    with pytest.raises(GeometryError, match="another engine"):
        warp_layer(np.ones((4, 4, 4), np.float32), transform, (10, 10))


@given(
    quad=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), min_size=4, max_size=4),
    scale=st.floats(0.1, 5), degrees=st.floats(0, 360),
)  # fmt: skip
@trials(50)
def test_the_box_holds_the_quad(quad, scale, degrees):
    transform = similarity(scale, degrees, 10, 10)
    left, top, right, bottom = target_box(transform, np.array(quad), (80, 70))
    assert 0 <= left <= right <= 80 and 0 <= top <= bottom <= 70
    for x, y in transform(np.array(quad)):
        if 0 <= x < 79 and 0 <= y < 69:
            assert left <= x <= right and top <= y <= bottom


def test_a_warped_picture_keeps_its_type(rng):
    pixels = rng.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    warped = warp_image(as_image(pixels), similarity(x=5, y=3), (40, 40))
    assert warped.size == (40, 40) and warped.alpha is not None
    assert np.array_equal(warped.pixels[3:23, 5:35], pixels) and warped.alpha[:3].max() == 0


@pytest.mark.parametrize("dense", [False, True])
def test_labels_are_not_mixed(rng, dense):
    labels = rng.integers(0, 5, (30, 30, 1)).astype(np.float32) * 1000
    transform = similarity(1.7, 25, 20, 5)
    warped = warp_layer(labels, Dense(transform) if dense else transform, (70, 70), resampling="nearest")
    assert set(np.unique(warped.values)) <= set(np.arange(5) * 1000.0)
