import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import lab2rgb, rgb2lab

from dift_edit.imaging import color
from trials import trials

FLOATS = st.floats(0, 1, width=32)


@given(FLOATS)
def test_linear_light_and_back(value):
    array = np.array([value, 0, 1], np.float32)
    assert np.abs(color.linear_to_srgb(color.srgb_to_linear(array)) - array).max() < 1e-5


def test_lab_is_that_of_scikit_image(rng):
    values = rng.random((20, 30, 3)).astype(np.float32)
    lab = color.srgb_to_lab(values)
    assert np.abs(lab - rgb2lab(values)).max() < 1e-3
    assert np.abs(color.lab_to_srgb(lab) - np.clip(lab2rgb(lab.astype(float)), 0, 1)).max() < 1e-4


@given(exposure=st.floats(-0.9, 0.9), red=st.floats(-0.3, 0.3), blue=st.floats(-0.3, 0.3))
@trials(30)
def test_a_change_of_light_is_measured_in_spite_of_outliers(exposure, red, blue):
    rng = np.random.default_rng(3)
    before = rng.uniform(0.25, 0.6, (2000, 3)).astype(np.float32)
    stops = np.array([exposure + red, exposure, exposure + blue])
    after = color.linear_to_srgb((color.srgb_to_linear(before) * 2**stops).astype(np.float32))
    after[:200] = rng.random((200, 3))
    found = np.log2(color.illumination_gain(before, after))
    assert np.abs(found - stops).max() < 0.12


def test_corrections_are_bounded(rng):
    dark, bright = np.full((500, 3), 0.05, np.float32), np.full((500, 3), 0.95, np.float32)
    assert color.illumination_gain(dark, bright).max() <= 2**1.01
    assert np.allclose(color.illumination_gain(dark, bright, 0.0), 1)
    assert np.allclose(color.illumination_gain(dark[:5], bright[:5]), 1), "too few pixels say nothing"
    blue = np.zeros((30, 30, 3), np.float32)
    blue[..., 2] = 1
    gain = color.illuminant_gain(blue)
    assert gain.min() > 0.4 and gain.max() < 2.5 and gain[2] > gain[0]


def test_unrelated_pixels_change_little(rng):
    first, second = rng.random((2, 3000, 3)).astype(np.float32)
    assert np.abs(np.log2(color.illumination_gain(first, second))).max() < 0.15


def test_shading_follows_the_shadow_and_only_the_change_with_context():
    x = np.linspace(0.2, 0.8, 120, dtype=np.float32)
    below = np.broadcast_to(x[None, :, None], (100, 120, 3)).copy()
    alpha = np.ones((100, 120), np.float32)
    field = color.shading_field(below, alpha)
    assert field[50, 5] < 0.7 < 1.3 < field[50, 115] and field.min() >= 0.4 and field.max() <= 2
    same = np.concatenate([below, alpha[..., None]], axis=2)
    assert np.abs(color.shading_field(below, alpha, same) - 1).max() < 0.02


def test_palette_moves_towards_the_target_but_not_all_the_way(rng):
    colors = np.clip(rng.normal((0.8, 0.2, 0.2), 0.08, (30, 30, 3)), 0, 1).astype(np.float32)
    palette = np.clip(rng.normal((0.3, 0.4, 0.6), 0.08, (50, 50, 3)), 0, 1).astype(np.float32)
    weight = np.ones((30, 30), np.float32)
    moved = color.match_palette(colors, weight, palette)
    own, new, goal = (color.srgb_to_lab(v).reshape(-1, 3).mean(0) for v in (colors, moved, palette))
    assert np.linalg.norm(new - goal) < np.linalg.norm(own - goal) - 15
    assert np.abs(new - own).max() < 27
    assert np.allclose(color.match_palette(colors, weight, palette, 0.0), colors, atol=0.01)
    flat = np.full((30, 30, 3), 0.5, np.float32)
    assert (
        np.ptp(color.match_palette(flat, weight, palette)) < 0.6
        and np.isfinite(color.match_palette(flat, weight, palette)).all()
    )
    assert np.array_equal(color.match_palette(colors, np.zeros_like(weight), palette), colors)


def test_the_same_palette_changes_nothing(rng):
    colors = rng.random((30, 30, 3)).astype(np.float32)
    assert np.abs(color.match_palette(colors, np.ones((30, 30), np.float32), colors) - colors).max() < 0.02


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_stay_finite(value):
    flat = np.full((40, 40, 3), value, np.float32)
    alpha = np.ones((40, 40), np.float32)
    assert np.isfinite(color.shading_field(flat, alpha)).all() and np.isfinite(color.illuminant_gain(flat)).all()
