import io

import numpy as np
import PIL.Image
import pytest
from scipy.ndimage import gaussian_filter

from dift_edit.edits import (
    ColorAdjust,
    Erase,
    Layers,
    PaintLayer,
    Redaction,
    Region,
    Sticker,
    edit_from_difference,
)
from dift_edit.errors import EditError
from dift_edit.imaging.files import as_image
from dift_edit.rendering.compositing import Compositing
from transforms import similarity

FACE = Region.ellipse(60, 50, 60, 50)


@pytest.fixture(scope="module")
def scene():
    """A textured picture with a smooth wall on the right, on which a sign hangs."""
    rng = np.random.default_rng(4)
    fine, coarse = (gaussian_filter(rng.normal(size=(160, 240)), sigma) for sigma in (1.2, 12))
    light = 0.45 + 0.09 * fine / fine.std() + 0.08 * coarse / coarse.std()
    tint = gaussian_filter(rng.normal(size=(160, 240, 3)), (6, 6, 0))
    fur = light[..., None] * (1.1, 1.0, 0.8) + 0.03 * tint / tint.std()
    fur[:, 150:] = np.linspace(0.55, 0.7, 90)[None, :, None] * (1, 0.95, 0.85)
    fur[:, 150:] += rng.normal(0, 0.008, (160, 90, 1))
    fur[60:90, 180:210] = (0.2, 0.3, 0.7)
    return as_image(np.clip(np.rint(fur * 255), 0, 255).astype(np.uint8))


def as_jpeg(image, quality=92):
    buffer = io.BytesIO()
    image.to_pil().save(buffer, "JPEG", quality=quality, subsampling=0)
    return as_image(PIL.Image.open(buffer))


def disc_sticker():
    y, x = np.mgrid[:40, :40]
    alpha = np.clip(19 - np.hypot(x - 19.5, y - 19.5), 0, 1) * 255
    return Sticker(np.dstack([np.full((40, 40), 240), x * 3, y * 2, alpha]).astype(np.uint8), at=(70, 60, 40, 40))


EDITS = {
    "paint": (disc_sticker(), PaintLayer),
    "exposure": (ColorAdjust(region=FACE, exposure=0.7), ColorAdjust),
    "hue": (ColorAdjust(region=FACE, hue=90, saturation=2), ColorAdjust),
    "grey": (ColorAdjust(region=FACE, saturation=0, contrast=1.4), ColorAdjust),
    "recolour": (ColorAdjust(region=FACE, recolor="#3060d0"), ColorAdjust),
    "pixelate": (Redaction(region=FACE, mode="pixelate"), Redaction),
    "blur": (Redaction(region=FACE, mode="blur"), Redaction),
    "erase": (Erase(Region.box(176, 56, 38, 38)), Erase),
}


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("name", list(EDITS))
def test_what_was_done_is_recognised_and_done_again(scene, name, jpeg):
    edit, kind = EDITS[name]
    after = edit.apply(scene, similarity(), compositing=Compositing(feather=5 if kind is ColorAdjust else 0))
    found = edit_from_difference(scene, as_jpeg(after) if jpeg else after)
    assert type(found) is kind
    again = found.apply(scene, similarity()).pixels.astype(int)
    changed = np.abs(after.pixels.astype(int) - scene.pixels).mean()
    assert np.abs(again - after.pixels).mean() < (0.45 if kind is Redaction else 0.3) * changed + 0.1
    if isinstance(found, Redaction):
        assert found.mode == edit.mode


def test_a_filter_over_the_whole_picture_is_applied_to_whole_targets(scene):
    everywhere = Region.mask(np.ones((160, 240)), everywhere=True)
    after = ColorAdjust(region=everywhere, exposure=0.3, saturation=1.3).apply(scene, similarity())
    found = edit_from_difference(scene, as_jpeg(after))
    assert isinstance(found, ColorAdjust) and found.region.everywhere
    again = found.apply(scene, similarity()).pixels.astype(int)
    assert np.abs(again - after.pixels).mean() < 3 < np.abs(after.pixels.astype(int) - scene.pixels).mean()


def test_noise_all_over_is_no_filter(scene):
    after = as_jpeg(disc_sticker().apply(scene, similarity()), quality=40)
    assert isinstance(edit_from_difference(scene, after), PaintLayer)


def test_several_things_become_layers(scene):
    after = disc_sticker().apply(scene, similarity())
    after = Erase(Region.box(176, 56, 38, 38)).apply(after, similarity())
    found = edit_from_difference(scene, after)
    assert isinstance(found, Layers) and {type(e) for e in found.edits} == {Erase, PaintLayer}
    again = found.apply(scene, similarity()).pixels.astype(int)
    assert np.abs(again - after.pixels).mean() < 0.6


def test_the_kind_can_be_given(scene):
    after = disc_sticker().apply(scene, similarity())
    for kind, expected in (("paint", PaintLayer), ("erase", Erase), ("redact", Redaction), ("recolour", ColorAdjust)):
        assert type(edit_from_difference(scene, after, kind=kind)) is expected
    with pytest.raises(EditError, match="kind"):
        edit_from_difference(scene, after, kind="nope")


def test_thin_lines_and_outlines_are_kept():
    before = as_image(np.full((80, 80, 3), 200, np.uint8))
    after = before.pixels.copy()
    after[40:42, 10:70] = (120, 0, 0)  # a drawn line of two pixels
    found = edit_from_difference(before, after)
    dark = as_image(np.zeros((80, 80, 3), np.uint8))
    shown = found.apply(dark, similarity()).pixels
    assert np.abs(shown[40:42, 12:68].astype(int) - (120, 0, 0)).max() <= 8
    assert shown[:37].max() == 0
