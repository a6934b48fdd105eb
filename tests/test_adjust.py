import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dift_edit.edits import ColorAdjust, CubeLut, Erase, Region
from dift_edit.edits.erase import filled
from dift_edit.errors import EditError
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing
from transforms import similarity
from trials import trials

BOX = (20, 15, 30, 20)


def photo(rng, size=(80, 60)):
    from scipy.ndimage import gaussian_filter

    pixels = gaussian_filter(rng.random((size[1], size[0], 3)), (2, 2, 0))
    return as_image(np.rint((pixels - pixels.min()) / np.ptp(pixels) * 200 + 20).astype(np.uint8))


def inside_box(size=(80, 60)):
    mask = np.zeros((size[1], size[0]), bool)
    mask[15:35, 20:50] = True
    return mask


@given(
    exposure=st.floats(-2, 2), contrast=st.floats(0, 3), saturation=st.floats(0, 3), hue=st.floats(-180, 180),
)  # fmt: skip
@trials(25)
def test_any_adjustment_stays_in_range_and_in_its_region(exposure, contrast, saturation, hue):
    target = photo(np.random.default_rng(0))
    edit = ColorAdjust(
        region=Region.box(*BOX), exposure=exposure, contrast=contrast, saturation=saturation, hue=hue or 1.0
    )
    result = edit.apply(target, similarity()).pixels
    assert np.array_equal(result[~inside_box()], target.pixels[~inside_box()])
    floats = edit.adjusted(target.pixels.astype(np.float32) / 255)
    assert np.isfinite(floats).all() and floats.min() >= 0 and floats.max() <= 1


def test_each_parameter_does_what_it_says(rng):
    grey = np.full((4, 4, 3), 0.4, np.float32)
    region = Region.box(*BOX)
    colors = rng.uniform(0.4, 0.55, (8, 8, 3)).astype(np.float32)
    from dift_edit.imaging.color import srgb_to_lab, srgb_to_linear

    doubled = ColorAdjust(region=region, exposure=1).adjusted(grey)
    assert np.allclose(srgb_to_linear(doubled), 2 * srgb_to_linear(grey), rtol=1e-3)
    assert np.allclose(ColorAdjust(region=region, contrast=2).adjusted(grey), 0.3, atol=1e-6)
    flat = ColorAdjust(region=region, saturation=0).adjusted(colors)
    assert np.ptp(flat, axis=2).max() < 0.01
    turned = srgb_to_lab(ColorAdjust(region=region, hue=90).adjusted(colors))
    before = srgb_to_lab(colors)
    assert np.allclose(turned[..., 1], -before[..., 2], atol=1) and np.allclose(turned[..., 2], before[..., 1], atol=1)
    red = ColorAdjust(region=region, recolor="#b02020").adjusted(colors).reshape(-1, 3).mean(0)
    assert np.abs(red - np.array([0xB0, 0x20, 0x20]) / 255).max() < 0.08
    swap = ColorAdjust(region=region, matrix=np.eye(3, 4)[[2, 1, 0]]).adjusted(colors)
    assert np.allclose(swap, colors[..., ::-1])


def test_recolour_means_the_same_colour_on_every_target(rng):
    edit = ColorAdjust(region=Region.box(*BOX), recolor="#2050c0")
    means = []
    for gain in (0.5, 1.0):
        target = as_image((photo(rng).pixels * gain).astype(np.uint8))
        means.append(edit.apply(target, similarity()).pixels[inside_box()].mean(0))
    assert np.abs(means[0] - means[1]).max() < 25 and all(m[2] > 1.4 * m[0] for m in means)


def test_the_mask_is_soft_and_follows_the_transform(rng):
    weight = np.zeros((60, 80), np.float32)
    weight[10:30, 10:30] = np.linspace(0, 1, 20)
    target = as_image(np.full((60, 80, 3), 100, np.uint8))
    edit = ColorAdjust(region=Region.mask(weight), exposure=1)
    line = edit.apply(target, similarity(x=15, y=5)).pixels[20, :, 0].astype(int)
    assert (line[:26] == 100).all() and (np.diff(line[26:45]) >= 0).all() and line[44] > 130
    half = edit.apply(target, similarity(x=15, y=5), compositing=Compositing(opacity=0.5)).pixels[20, 44, 0]
    assert abs(int(half) - (100 + (line[44] - 100) / 2)) <= 1


def test_alpha_and_depth_of_the_target_stay(rng):
    pixels = rng.integers(0, 65536, (60, 80, 3), dtype=np.uint16)
    alpha = rng.integers(0, 65536, (60, 80), dtype=np.uint16)
    result = ColorAdjust(region=Region.box(*BOX), exposure=0.5).apply(Image(pixels, alpha), similarity())
    assert np.array_equal(result.alpha, alpha) and result.pixels.dtype == np.uint16
    assert not np.array_equal(result.pixels[20, 25], pixels[20, 25])


def test_everywhere_means_the_whole_target(rng):
    region = Region.mask(np.ones((60, 80)), everywhere=True)
    target = photo(rng, (50, 90))
    result = ColorAdjust(region=region, exposure=1).apply(target, similarity(0.2, 40, 300, 5)).pixels
    assert (result > target.pixels).any(axis=2).mean() > 0.95


def test_bad_adjustments_are_refused():
    region = Region.box(*BOX)
    for words, given_ in [
        ("nothing", {}), ("exposure", {"exposure": 99}), ("hue", {"hue": float("nan")}),
        ("colour", {"recolor": "nope"}),
        (r"\(3, 4\)", {"matrix": np.eye(3)}),
    ]:  # fmt: skip
        with pytest.raises(EditError, match=words):
            ColorAdjust(region=region, **given_)


def test_regions_cover_what_they_say():
    box = Region.box(3, 4, 10, 6)
    assert box.origin == (3, 4) and box.weight.shape == (6, 10) and (box.weight == 1).all()
    half = Region.polygon([(0, 0), (10, 0), (10, 10), (0, 10)])
    assert abs(half.weight.sum() - 100) < 0.5, "corners at pixel centres: half of each border pixel"
    circle = Region.ellipse(0, 0, 40, 40)
    assert abs(circle.weight.sum() - np.pi * 400) < 8
    for call, words in [
        (lambda: Region.polygon([(0, 0), (1, 1)]), "three corners"),
        (lambda: Region.polygon([(0, 0), (5, 5), (10, 10)]), "no area"),
        (lambda: Region.polygon([(0, 0), (np.nan, 5), (10, 10)]), "finite"),
        (lambda: Region.polygon([(0, 0), (1e9, 5), (10, 10)]), "inside the source"),
        (lambda: Region.box(0, 0, 0, 5), "no area"), (lambda: Region.mask(np.zeros((5, 5))), "empty"),
        (lambda: Region.mask(np.full((5, 5), 2.0)), "0 to 1"), (lambda: Region.mask(np.ones((5, 5, 3))), "must be"),
    ]:  # fmt: skip
        with pytest.raises(EditError, match=words):
            call()


def identity_lut(size=5):
    axis = np.linspace(0, 1, size, dtype=np.float32)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([red, green, blue], axis=-1)


def test_luts_are_read_written_and_applied(tmp_path, rng):
    colors = rng.random((6, 7, 3)).astype(np.float32)
    assert np.abs(CubeLut(identity_lut())(colors) - colors).max() < 1e-5
    lut = CubeLut(1 - identity_lut(), title="negative")
    lut.save(tmp_path / "n.cube")
    read = CubeLut.from_file(tmp_path / "n.cube")
    assert read.title == "negative" and np.allclose(read.table, lut.table, atol=1e-6)
    assert np.abs(read(colors) - (1 - colors)).max() < 1e-5
    (tmp_path / "r.cube").write_text(
        "# made by hand\n\nLUT_3D_SIZE 2\nDOMAIN_MIN 0 0 0\nDOMAIN_MAX 2 2 2\n"
        + "\n".join(f"{r} 0 0" for _b in (0, 1) for _g in (0, 1) for r in (0, 1))
    )
    mapped = CubeLut.from_file(tmp_path / "r.cube")(colors)
    assert np.allclose(mapped[..., 0], colors[..., 0] / 2, atol=1e-5) and np.allclose(mapped[..., 1:], 0)
    edit = ColorAdjust(region=Region.box(*BOX), lut=lut)
    target = photo(rng)
    result = edit.apply(target, similarity()).pixels.astype(int)
    assert np.abs(result[inside_box()] - (255 - target.pixels[inside_box()])).max() <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no LUT_3D_SIZE"),
        ("LUT_1D_SIZE 4\n", "line 1.*one-dimensional"),
        ("LUT_3D_SIZE 2\n0 0 0\n", "1 rows.*8"),
        ("LUT_3D_SIZE 1\n", "2 to"),
        ("LUT_3D_SIZE x\n", "whole number"),
        ("LUT_3D_SIZE 2\nLUT_3D_SIZE 2\n", "second time"),
        ("LUT_3D_SIZE 2\n0 0 0\nDOMAIN_MIN 0 0 0\n", "before the table"),
        ("LUT_3D_SIZE 2\n0 0\n", "line 2: three finite"),
        ("LUT_3D_SIZE 2\n0 0 nan\n", "three finite"),
        ("LUT_3D_SIZE 2\n0 0 zero\n", "three finite"),
        ("0 0 0\n", "size must come before"),
        ("WHAT 2\n", "no keyword"),
        ("TITLE name\nLUT_3D_SIZE 2\n", "double quotes"),
        ("LUT_3D_SIZE 2\nDOMAIN_MIN 1 1 1\n" + "0 0 0\n" * 8, "domain"),
        ("LUT_3D_SIZE 2\n" + "0 0 0\n" * 9, "more rows than LUT_3D_SIZE"),
    ],
)
def test_a_broken_lut_is_named_with_its_line(tmp_path, text, words):
    path = tmp_path / "bad.cube"
    path.write_text(text)
    with pytest.raises(EditError, match=words) as caught:
        CubeLut.from_file(path)
    assert "\n" not in str(caught.value)


def test_binary_and_missing_luts(tmp_path):
    (tmp_path / "b.cube").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(EditError, match="text"):
        CubeLut.from_file(tmp_path / "b.cube")
    with pytest.raises(EditError, match="does not exist"):
        CubeLut.from_file(tmp_path / "no.cube")


def test_erasing_on_a_pattern_restores_the_pattern():
    y, x = np.mgrid[:120, :160]
    wall = np.dstack([120 + 60 * np.sin(x / 3) * np.cos(y / 4), 100 + 0.3 * x, 90 + 0 * x]).astype(np.uint8)
    marked = wall.copy()
    marked[50:70, 70:100] = (255, 0, 0)
    region = Region.box(68, 48, 34, 24)
    result = Erase(region).apply(as_image(marked), similarity()).pixels
    error = np.abs(result.astype(int) - wall)[50:70, 70:100].mean()
    assert error < 15, "the wall goes on"
    outside = np.ones((120, 160), bool)
    outside[48:72, 68:102] = False
    assert np.array_equal(result[outside], marked[outside])


def test_a_hole_without_room_to_copy_is_filled_smoothly():
    base = np.zeros((20, 20, 3), np.float32)
    base[:] = np.linspace(0, 1, 20)[None, :, None]
    hole = np.zeros((20, 20), bool)
    hole[2:18, 2:18] = True
    broken = np.where(hole[..., None], 1, base).astype(np.float32)
    assert np.abs(filled(broken, hole) - base).max() < 0.1
    everywhere = filled(base, np.ones((20, 20), bool))
    assert np.ptp(everywhere) == 0 and np.array_equal(everywhere, filled(1 - base, np.ones((20, 20), bool)))
