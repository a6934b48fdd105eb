import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dift_edit.errors import SettingsError
from dift_edit.imaging.color import linear_to_srgb, srgb_to_linear
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing, alpha_over, composite
from dift_edit.rendering.warp import Warped

COLORS = st.integers(0, 255)


def layer(color, alpha, box=(2, 1, 5, 4)):
    values = np.zeros((box[3] - box[1], box[2] - box[0], 4), np.float32)
    values[..., :3] = np.array(color) / 255 * alpha
    values[..., 3] = alpha
    return Warped(values, box)


@given(base=COLORS, over=COLORS, alpha=st.floats(0, 1))
@settings(deadline=None)
def test_over_is_the_mean_weighted_by_alpha(base, over, alpha):
    target = as_image(np.full((6, 8, 3), base, np.uint8))
    result = composite(target, layer((over,) * 3, np.float32(alpha)))
    expected = alpha * over + (1 - alpha) * base
    assert abs(int(result.pixels[2, 3, 0]) - expected) <= 0.51
    untouched = np.ones((6, 8), bool)
    untouched[1:4, 2:5] = False
    assert np.array_equal(result.pixels[untouched], target.pixels[untouched])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_untouched_pixels_are_bit_identical_in_every_depth(dtype, rng):
    pixels = rng.random((20, 20, 3))
    pixels = (pixels if dtype == np.float32 else pixels * np.iinfo(dtype).max).astype(dtype)
    target = as_image(pixels)
    warped = layer((255, 0, 0), 1.0)
    warped.values[1] = 0
    before = target.pixels.copy()
    for settings_ in (Compositing(), Compositing(linear_light=True), Compositing(feather=1, opacity=0.5)):
        result = composite(target, warped, settings_)
        assert result.pixels.dtype == dtype
        mask = np.ones((20, 20), bool)
        mask[1, 2:5] = mask[3, 2:5] = False
        assert np.array_equal(result.pixels[mask], before[mask])
    assert np.array_equal(target.pixels, before), "the target itself must not change"
    assert np.array_equal(composite(target, warped).pixels[1, 2], np.array([target.full_scale, 0, 0], dtype))


def test_opaque_layer_gives_its_exact_colour_in_16_bits():
    target = as_image(np.zeros((4, 4, 3), np.uint16))
    values = np.ones((4, 4, 4), np.float32)
    values[..., :3] = np.arange(16).reshape(4, 4, 1) * 4001 / 65535
    result = composite(target, Warped(values, (0, 0, 4, 4)))
    assert np.array_equal(result.pixels[..., 0].ravel(), np.arange(16) * 4001)


def test_over_a_transparent_target_adds_the_layer():
    pixels = np.full((6, 8, 3), 10, np.uint8)
    alpha = np.zeros((6, 8), np.uint8)
    alpha[:, 4:] = 255
    result = composite(Image(pixels, alpha), layer((200, 100, 50), 0.5))
    assert tuple(result.pixels[2, 2]) == (200, 100, 50) and result.alpha[2, 2] == 128
    assert tuple(result.pixels[2, 4]) == (105, 55, 30) and result.alpha[2, 4] == 255
    assert result.alpha[0, 0] == 0 and tuple(result.pixels[0, 0]) == (10, 10, 10)


def test_over_is_associative(rng):
    colors = rng.random((3, 4, 5, 3)).astype(np.float32)
    alphas = rng.random((3, 4, 5)).astype(np.float32)
    pre = colors * alphas[..., None]
    one, one_alpha = alpha_over(*alpha_over_args(colors[0], pre[1], alphas[1], alphas[0]))
    stepwise, _ = alpha_over(one, pre[2], alphas[2], one_alpha)
    upper, upper_alpha = alpha_over(colors[1], pre[2], alphas[2], alphas[1])
    joined, _ = alpha_over(colors[0], upper * upper_alpha[..., None], upper_alpha, alphas[0])
    assert np.allclose(stepwise, joined, atol=1e-5)


def alpha_over_args(base, layer_, alpha, base_alpha):
    return base, layer_, alpha, base_alpha


def test_linear_light_is_brighter_between_black_and_white():
    target = as_image(np.zeros((6, 8, 3), np.uint8))
    assert composite(target, layer((255,) * 3, 0.5)).pixels[2, 3, 0] == 128
    assert composite(target, layer((255,) * 3, 0.5), Compositing(linear_light=True)).pixels[2, 3, 0] == 188


def test_feather_softens_inward_only():
    target = as_image(np.zeros((40, 40, 3), np.uint8))
    result = composite(target, layer((255,) * 3, 1.0, (5, 5, 35, 35)), Compositing(feather=6)).pixels[20, :, 0]
    assert result[4] == 0 and 0 < result[6] < 80 and result[20] == 255
    assert (np.diff(result[5:20].astype(int)) >= 0).all()


def test_settings_are_checked_and_have_a_fingerprint():
    assert Compositing().fingerprint() == Compositing().fingerprint() != Compositing(opacity=0.5).fingerprint()
    for bad in ({"blend": "nope"}, {"opacity": 1.5}, {"opacity": float("nan")}, {"resampling": "x"}, {"feather": -1}):
        with pytest.raises(SettingsError, match=next(iter(bad))):
            Compositing(**bad)


def photo(rng, dtype=np.uint8):
    from scipy.ndimage import gaussian_filter

    pixels = gaussian_filter(rng.random((80, 100, 3)), (3, 3, 0))
    pixels = (pixels - pixels.min()) / np.ptp(pixels)
    return as_image((pixels * (1 if dtype == np.float32 else np.iinfo(dtype).max)).astype(dtype))


def soft_disc(color, box=(30, 20, 70, 60)):
    height, width = box[3] - box[1], box[2] - box[0]
    y, x = np.mgrid[:height, :width]
    alpha = np.clip(height / 2 - np.hypot(y - height / 2, x - width / 2), 0, 1).astype(np.float32)
    return Warped(np.dstack([alpha[..., None] * np.array(color, np.float32), alpha]), box)


@pytest.mark.parametrize("blend", ["laplacian", "poisson", "poisson-mixed"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_blends_leave_the_rest_bit_identical(blend, dtype, rng):
    target = photo(rng, dtype)
    result = composite(target, soft_disc((0.9, 0.2, 0.1)), Compositing(blend=blend))
    assert result.pixels.dtype == dtype and not np.array_equal(result.pixels, target.pixels)
    far = np.ones((80, 100), bool)
    margin = 0 if blend.startswith("poisson") else 16
    far[20 - margin : 60 + margin, 30 - margin : 70 + margin] = False
    assert far.any() and np.array_equal(result.pixels[far], target.pixels[far])


def test_gradient_blends_have_no_step_at_the_seam(rng):
    target = photo(rng)
    layer_ = soft_disc((0.9, 0.2, 0.1))
    jumps = []
    for blend in ("over", "poisson", "laplacian"):
        row = composite(target, layer_, Compositing(blend=blend)).pixels[40].astype(int)
        jumps.append(np.abs(np.diff(row, axis=0)).max())
    assert jumps[1] < 0.3 * jumps[0] and jumps[2] < 0.5 * jumps[0]


def test_colour_match_undoes_a_change_of_light(rng):
    source = photo(rng)
    darker = linear_to_srgb(srgb_to_linear(source.pixels.astype(np.float32) / 255) * np.float32(0.6))
    target = as_image(np.rint(darker * 255).astype(np.uint8))
    context = Warped(np.dstack([source.pixels / np.float32(255), np.ones((80, 100), np.float32)]), (0, 0, 100, 80))
    patch = Warped(context.values[20:60, 30:70], (30, 20, 70, 60))
    plain = composite(target, patch, Compositing(), context=context).pixels.astype(int) - target.pixels
    matched = composite(target, patch, Compositing(match_color=1), context=context).pixels.astype(int) - target.pixels
    assert np.abs(plain).max() > 20 and np.abs(matched).max() <= 6
    same = composite(source, patch, Compositing(match_color=1, shading=1), context=context).pixels.astype(int)
    assert np.abs(same - source.pixels).max() <= 3, "no correction where the light is the same"


def test_light_palette_and_texture_act_without_context(rng):
    target = photo(rng)
    plain = composite(target, soft_disc((0.9, 0.2, 0.1))).pixels
    for name in ("match_color", "shading", "palette", "texture"):
        changed = composite(target, soft_disc((0.9, 0.2, 0.1)), Compositing(**{name: 1.0})).pixels
        outside = np.ones((80, 100), bool)
        outside[20:60, 30:70] = False
        assert not np.array_equal(changed, plain), name
        assert np.array_equal(changed[outside], target.pixels[outside]), name


def test_feather_keeps_thin_lines():
    line = np.zeros((40, 40, 4), np.float32)
    line[19:22, 5:35] = 1
    result = composite(as_image(np.zeros((40, 40, 3), np.uint8)), Warped(line, (0, 0, 40, 40)), Compositing(feather=10))
    assert result.pixels[20, 20, 0] > 200
