"""Layers of an edited target: opened by readers of their own, composited, and compared with the flattened result."""

import io
import zipfile

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dift_edit.edits import ColorAdjust, Erase, LabelLayer, Layers, Polygon, Redaction, Region, Sticker, layered
from dift_edit.errors import ImageError, OutputError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing
from dift_edit.targets import collect_targets
from layered_files import ora_flattened, png_flattened, psd_flattened, psd_layers

SHIFT = MatrixTransform(np.array([[0.9, -0.2, 12], [0.2, 0.9, -3], [0, 0, 1]]))
KINDS = ("psd", "ora", "png")


def noise(seed=0, size=(70, 60), *, alpha=False, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    full = np.iinfo(dtype).max
    pixels = rng.integers(0, full, (size[1], size[0], 3), dtype=dtype, endpoint=True)
    return Image(pixels, rng.integers(0, full, size[::-1], dtype=dtype, endpoint=True) if alpha else None)


def sticker():
    pixels = np.zeros((20, 24, 3), np.uint8)
    pixels[:] = (230, 40, 90)
    alpha = np.zeros((20, 24), np.uint8)
    alpha[2:18, 2:22] = np.linspace(20, 255, 20).astype(np.uint8)
    return Sticker(Image(pixels, alpha), at=(20, 15, 24, 20))


def edits():
    region = Region.ellipse(10, 12, 30, 24)
    return {
        "sticker": sticker(),
        "recolour": ColorAdjust(region=region, hue=120.0),
        "erase": Erase(Region.box(22, 20, 10, 8)),
        "labels": LabelLayer(polygons=[Polygon(np.array([(12.0, 10), (40, 12), (30, 40)]), "cat")]),
        "both": Layers(
            [ColorAdjust(region=region, exposure=0.5), sticker()], [None, Compositing(opacity=0.4, blend="poisson")]
        ),
    }


def flattened(made, kind, folder):
    """What a reader of the format makes of the layers, and the merged image in the file."""
    files = made.encoded(kind)
    if kind == "psd":
        return psd_flattened(files[".psd"])
    if kind == "ora":
        return ora_flattened(files[".ora"])[:2]
    for name, data in files.items():
        (folder / name.removeprefix("/")).write_bytes(data)
    return png_flattened(folder), None


def rgba(image):
    return np.asarray(image.to_pil().convert("RGBA"), np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", edits())
@pytest.mark.parametrize(
    "settings",
    [
        Compositing(),
        Compositing(opacity=0.6, feather=3),
        Compositing(blend="laplacian", opacity=0.7),
        Compositing(linear_light=True, opacity=0.5),
        Compositing(blend="poisson", opacity=0.5, match_color=0.8, shading=0.5),
    ],
    ids=["plain", "opacity", "laplacian", "linear", "poisson"],
)
def test_layers_composite_to_the_flattened_result(kind, name, settings, tmp_path):
    edit, target, source = edits()[name], noise(), noise(1)
    made = layered(edit, target, SHIFT, source=source, compositing=settings)
    result = edit.apply(target, SHIFT, source=source, compositing=settings)
    assert np.array_equal(made.flat.pixels, result.pixels)
    assert (result.pixels != target.pixels).any()
    composited, merged = flattened(made, kind, tmp_path)
    assert np.abs(composited - rgba(result)).max() <= 2  # colour, alpha and opacity have 8 bits each
    assert merged is None or np.array_equal(merged, rgba(result))


@pytest.mark.parametrize("kind", KINDS)
def test_the_bottom_layer_is_the_target_to_the_bit(kind, tmp_path):
    target = noise()
    files = layered(edits()["both"], target, SHIFT).encoded(kind)
    if kind == "psd":
        assert np.array_equal(psd_layers(files[".psd"])[0]["values"][..., :3], target.pixels)
        return
    if kind == "ora":
        with zipfile.ZipFile(io.BytesIO(files[".ora"])) as archive:
            picture = PIL.Image.open(io.BytesIO(archive.read("data/layer0.png")))
    else:
        picture = PIL.Image.open(io.BytesIO(files["/0-target.png"]))
    assert np.array_equal(np.asarray(picture.convert("RGB")), target.pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sticker_stays_exact_on_a_transparent_target(kind, tmp_path):
    target = noise(alpha=True)
    made = layered(sticker(), target, SHIFT)
    assert not made.layers[0].note
    composited, _ = flattened(made, kind, tmp_path)
    seen = rgba(made.flat)
    assert np.abs(composited[..., 3] - seen[..., 3]).max() <= 1.5
    weight = seen[..., 3:] / 255
    assert np.abs((composited[..., :3] - seen[..., :3]) * weight).max() <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_each_instance_has_layers_and_a_redaction_of_any_hides_in_all(kind, tmp_path):
    places = [SHIFT, MatrixTransform(np.array([[0.5, 0, 38], [0, 0.5, 30], [0, 0, 1]]))]
    target = result = noise()
    for place in places:
        result = sticker().apply(result, place)
    made = layered(sticker(), target, places)
    assert [layer.name for layer in made.layers] == ["1 sticker", "2 sticker"] == list(made.masks)
    composited, _ = flattened(made, kind, tmp_path)
    assert np.array_equal(made.flat.pixels, result.pixels) and np.abs(composited - rgba(result)).max() <= 2
    hidden = layered(Layers([sticker(), HIDING]), target, places)
    assert hidden.layers == () and list(hidden.masks) == ["1 sticker", "2 redaction", "3 sticker", "4 redaction"]
    assert np.array_equal(hidden.base.pixels, hidden.flat.pixels)


def test_what_is_baked_is_said():
    made = layered(edits()["recolour"], noise(alpha=True), SHIFT)
    assert made.notes("psd") == ["1 recolour: colour change baked, not exact where the target is transparent"]
    half = layered(sticker(), noise(), SHIFT, compositing=Compositing(opacity=0.5))
    assert half.notes("psd") == [] and half.notes("png") == ["1 sticker: opacity baked"]
    assert psd_layers(half.encoded("psd")[".psd"])[1]["opacity"] == pytest.approx(0.5, abs=1 / 255)
    assert ora_flattened(half.encoded("ora")[".ora"])[2][0]["opacity"] == "0.5"
    laplacian = layered(sticker(), noise(), SHIFT, compositing=Compositing(blend="laplacian", opacity=0.5))
    assert laplacian.notes("ora") == ["1 sticker: laplacian blend and opacity baked"]
    assert laplacian.layers[0].opacity == 1


def test_sixteen_bits_stay_where_the_format_has_them():
    from psd_tools import PSDImage

    target = noise(dtype=np.uint16)
    made = layered(sticker(), target, SHIFT)
    document = PSDImage.open(io.BytesIO(made.encoded("psd")[".psd"]))
    assert document.depth == 16
    bottom = np.rint(np.asarray(document[0].numpy()) * 65535).astype(np.uint16)
    assert np.array_equal(bottom[..., :3], target.pixels)
    merged = np.rint(np.asarray(document.numpy()) * 65535).astype(np.uint16)
    assert np.array_equal(merged[..., :3], made.flat.pixels)
    assert made.notes("ora") == ["8 bits in OpenRaster"]
    assert ora_flattened(made.encoded("ora")[".ora"])[1].max() <= 255


def test_masks_and_reach_tell_the_edit_from_the_target():
    target = noise()
    made = layered(edits()["both"], target, SHIFT)
    assert list(made.masks) == ["1 recolour", "2 sticker"]
    assert all(mask.dtype == np.uint8 and mask.shape == (60, 70) for mask in made.masks.values())
    changed = (made.flat.pixels != target.pixels).any(axis=2)
    assert changed.any() and not (changed & ~made.reach).any()
    covered = np.max(list(made.masks.values()), axis=0)
    assert (covered[changed] > 0).mean() > 0.95 and not covered[0].any()


SECRET = np.array([(251, 3, 247), (7, 249, 5), (253, 251, 1)], np.uint8)
"""Colours that nothing else in the target has."""


def secret_target(dtype=np.uint8):
    pixels = np.full((60, 70, 3), 90, np.uint8)
    pixels[20:40, 25:45] = SECRET[np.random.default_rng(3).integers(0, 3, (20, 20))]
    return Image(pixels.astype(dtype) * (257 if dtype == np.uint16 else 1))


HIDING = Redaction(region=Region.box(25, 20, 20, 20), mode="fill")
BELOW_IT = ColorAdjust(region=Region.box(0, 0, 70, 60), exposure=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "edit",
    [HIDING, Layers([HIDING, sticker()]), Layers([BELOW_IT, sticker(), HIDING, BELOW_IT]), Layers([Layers([HIDING])])],
    ids=["alone", "below", "above", "nested"],
)
def test_no_layer_holds_what_a_redaction_hides(kind, dtype, edit):
    """Another secret in the same place gives the same bytes, so the file tells nothing of it."""
    still = MatrixTransform(np.eye(3))
    one = secret_target(dtype)
    other = Image(np.where((one.pixels == one.pixels[0, 0]).all(axis=2)[..., None], one.pixels, one.pixels // 2))
    assert not np.array_equal(one.pixels, other.pixels)
    made = [layered(edit, target, still).encoded(kind) for target in (one, other)]
    assert made[0] == made[1]


def test_the_test_of_secrets_can_fail():
    still = MatrixTransform(np.eye(3))
    one = secret_target()
    other = Image(one.pixels // 2 + 45)
    made = [layered(sticker(), target, still).encoded("ora") for target in (one, other)]
    assert made[0] != made[1]


def test_a_psd_has_no_sides_that_it_cannot_hold():
    wide = Image(np.zeros((1, 30_001, 3), np.uint8))
    made = layered(Sticker(Image(np.zeros((1, 4, 3), np.uint8)), at=(0, 0, 4, 1)), wide, MatrixTransform(np.eye(3)))
    with pytest.raises(OutputError, match="30,000 a side: use ora or png"):
        made.encoded("psd")
    assert ora_flattened(made.encoded("ora")[".ora"])[1].shape == (1, 30_001, 4)


@given(
    x=st.floats(-90, 90), y=st.floats(-90, 90), turn=st.floats(-3.2, 3.2), scale=st.floats(0.2, 3),
    opacity=st.floats(0, 1),
)  # fmt: skip
def test_any_place_gives_layers_that_composite_to_the_result(x, y, turn, scale, opacity):
    cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
    transform = MatrixTransform(np.array([[cosine, -sine, x], [sine, cosine, y], [0, 0, 1]]))
    target, settings = noise(), Compositing(opacity=opacity)
    made = layered(sticker(), target, transform, compositing=settings)
    composited, merged = psd_flattened(made.encoded("psd")[".psd"])
    assert np.abs(composited - merged).max() <= 2
    assert np.array_equal(merged, rgba(sticker().apply(target, transform, compositing=settings)))


def test_layered_files_as_targets_are_read_whole_or_refused_in_a_sentence(tmp_path):
    """A PSD is read as its merged image; cut ones, 16 bits and OpenRaster, which Pillow does not read, are refused."""
    made = layered(sticker(), noise(), SHIFT)
    whole = made.encoded("psd")[".psd"]
    path = tmp_path / "target.psd"
    path.write_bytes(whole)
    assert np.array_equal(load_image(path).pixels, made.flat.pixels)
    deep = layered(sticker(), noise(dtype=np.uint16), SHIFT).encoded("psd")[".psd"]
    for data in [*(whole[:length] for length in (1, 4, 25, 26, 30, 60, 400, len(whole) // 2, len(whole) - 200)), deep]:
        path.write_bytes(data)
        with pytest.raises(ImageError, match=r"target\.psd is (damaged|not a picture)"):
            load_image(path)
    ora = tmp_path / "target.ora"
    ora.write_bytes(made.encoded("ora")[".ora"])
    assert collect_targets([ora]).skipped == [(str(ora), "it is not an image")]
    with pytest.raises(ImageError, match="not a picture in a format that can be read"):
        load_image(ora)
