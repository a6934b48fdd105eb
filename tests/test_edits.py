import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dift_edit.edits import Edit, PaintLayer, Sticker, as_quad, check_edit, edit_from_difference
from dift_edit.errors import EditError, ImageError
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from transforms import similarity
from trials import trials


def scene(width=120, height=90):
    y, x = np.mgrid[:height, :width]
    return as_image(np.stack([x * 2, y * 2, 90 + 40 * np.sin(x / 9) * np.cos(y / 7)], -1).astype(np.uint8))


def badge(width=30, height=20):
    y, x = np.mgrid[:height, :width]
    inside = ((x - (width - 1) / 2) / (width / 2)) ** 2 + ((y - (height - 1) / 2) / (height / 2)) ** 2 <= 1
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 220, x * 4
    return Image(pixels, (inside * 255).astype(np.uint8))


def test_a_sticker_at_a_box_covers_exactly_that_box():
    target, sticker = scene(), Sticker(badge(), at=(40, 30, 30, 20))
    assert np.allclose(sticker.quad, [(39.5, 29.5), (69.5, 29.5), (69.5, 49.5), (39.5, 49.5)])
    result = sticker.apply(target, similarity())
    opaque = badge().alpha == 255
    assert np.array_equal(result.pixels[30:50, 40:70][opaque], badge().pixels[opaque])
    outside = np.ones((90, 120), bool)
    outside[30:50, 40:70] = ~opaque
    assert np.array_equal(result.pixels[outside], target.pixels[outside])
    assert isinstance(sticker, Edit)


def test_quad_and_box_are_the_same_place():
    box = Sticker(badge(), at=(40, 30, 60, 40))
    quad = Sticker(badge(), quad=[(39.5, 29.5), (99.5, 29.5), (99.5, 69.5), (39.5, 69.5)])
    assert np.allclose(box.matrix, quad.matrix)
    assert np.array_equal(box.apply(scene(), similarity()).pixels, quad.apply(scene(), similarity()).pixels)


def test_a_canvas_lies_in_the_source_frame():
    canvas = np.zeros((90, 120, 4), np.uint8)
    canvas[20:40, 50:80] = (255, 0, 0, 255)
    sticker = Sticker(canvas)
    assert sticker.canvas and np.allclose(sticker.quad, [(49.5, 19.5), (79.5, 19.5), (79.5, 39.5), (49.5, 39.5)])
    result = sticker.apply(scene(), similarity(x=-10, y=5)).pixels
    assert (result[25:45, 40:70] == (255, 0, 0)).all() and not (result[25:45, 70:80] == (255, 0, 0)).all(2).any()


@given(scale=st.floats(0.3, 3), degrees=st.floats(-90, 90), x=st.floats(0, 80), y=st.floats(0, 60))
@trials(25)
def test_the_sticker_lies_where_the_transform_says(scale, degrees, x, y):
    sticker = Sticker(np.full((20, 20, 4), 255, np.uint8), at=(10, 10, 20, 20))
    target = as_image(np.zeros((120, 160, 3), np.uint8))
    transform = similarity(scale, degrees, x, y)
    covered = sticker.apply(target, transform).pixels[..., 0].astype(float) / 255
    rows, columns = np.mgrid[:120, :160]
    back = transform.inverse()(np.c_[columns.ravel(), rows.ravel()])
    depth = (10 - np.abs(back - 19.5).max(axis=1)).reshape(120, 160) * scale  # target pixels inside the sticker
    assert (covered[depth > 1.5] > 0.99).all() and (covered[depth < -1.5] == 0).all()


def test_edges_have_no_dark_fringe():
    white = np.zeros((30, 30, 4), np.uint8)
    white[5:25, 5:25] = 255  # transparent pixels are black underneath
    result = Sticker(white).apply(as_image(np.full((60, 60, 3), 255, np.uint8)), similarity(1.3, 17, 8, 3))
    assert result.pixels.min() == 255


def test_bad_stickers_are_named_with_a_remedy(tmp_path):
    empty = tmp_path / "empty.png"
    PIL.Image.new("RGBA", (50, 40)).save(empty)
    opaque = tmp_path / "opaque.png"
    PIL.Image.new("RGB", (50, 40), "red").save(opaque)
    cases = [
        (lambda: Sticker.from_file(empty, at=(0, 0, 5, 5)), "fully transparent"),
        (lambda: Sticker.from_file(opaque, source_size=(120, 90)), "50×40 but the source is 120×90.*--at"),
        (lambda: Sticker.from_file(opaque), "no transparency.*--quad"),
        (lambda: Sticker.from_file(opaque, at=(300, 300, 20, 20), source_size=(120, 90)), "outside the source"),
        (lambda: Sticker.from_file(opaque, at=(3, 3, 0, 20)), "no area"),
        (lambda: Sticker.from_file(opaque, at=(3, float("nan"), 5, 20)), "no area"),
        (lambda: Sticker.from_file(opaque, at=(3, 3)), "four numbers"),
        (lambda: Sticker.from_file(opaque, quad=[(0, 0), (1, 0), (1, 1)]), "3 corners"),
        (lambda: Sticker.from_file(opaque, quad=[(0, 0), (9, 0), (0, 9), (9, 9)]), "crosses itself"),
        (lambda: Sticker.from_file(opaque, quad=[(0, 0), (9, 0), (18, 0), (27, 0)]), "no area"),
        (lambda: Sticker.from_file(opaque, quad=[(0, 0), (9, float("nan")), (9, 9), (0, 9)]), "finite"),
        (lambda: Sticker.from_file(opaque, quad=[(0, 0), (9, 0), (9, 9), (0, 9)], at=(1, 2, 3, 4)), "one of them"),
    ]
    for call, words in cases:
        with pytest.raises(EditError, match=words) as caught:
            call()
        message = str(caught.value)
        assert str(tmp_path) in message and "\n" not in message and message.endswith(".")
    with pytest.raises(ImageError, match="does not exist"):
        Sticker.from_file(tmp_path / "no.png", at=(0, 0, 5, 5))


def test_an_edit_must_lie_on_its_source():
    sticker = Sticker(badge(), at=(100, 10, 30, 20))
    check_edit(sticker, (120, 90))
    with pytest.raises(EditError, match="outside the source"):
        check_edit(sticker, (90, 90))


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=4, max_size=4))
def test_accepted_quads_are_convex(points):
    try:
        quad = as_quad(points)
    except EditError:
        return
    centre = quad.mean(axis=0)
    spokes = quad - centre
    turns = spokes[:, 0] * np.roll(spokes, -1, 0)[:, 1] - spokes[:, 1] * np.roll(spokes, -1, 0)[:, 0]
    assert (turns > 0).all() or (turns < 0).all()


def test_a_drawn_difference_is_found(rng):
    before = scene()
    after = before.pixels.copy()
    after[30:50, 40:70] = (250, 40, 40)
    noisy = np.clip(after.astype(int) + rng.integers(-2, 3, after.shape), 0, 255).astype(np.uint8)
    edit = edit_from_difference(before, as_image(noisy))
    assert isinstance(edit, PaintLayer)
    alpha = edit.image.alpha / 255
    assert (alpha[32:48, 42:68] > 0.99).all(), "the painted area is opaque"
    outside = np.ones(alpha.shape, bool)
    outside[27:53, 37:73] = False
    assert alpha[outside].max() == 0, "noise elsewhere is no edit"
    assert np.abs(edit.quad - [(39.5, 29.5), (69.5, 29.5), (69.5, 49.5), (39.5, 49.5)]).max() <= 2
    shown = edit.apply(before, similarity()).pixels.astype(int)
    assert np.abs(shown - after)[33:47, 43:67].max() <= 3


def test_a_difference_survives_jpeg(tmp_path):
    before = scene(240, 180)
    after = before.pixels.copy()
    after[60:100, 80:140] = (20, 40, 250)
    PIL.Image.fromarray(before.pixels).save(tmp_path / "before.jpg", quality=90)
    PIL.Image.fromarray(after).save(tmp_path / "after.jpg", quality=85)
    edit = edit_from_difference(tmp_path / "before.jpg", tmp_path / "after.jpg")
    alpha = edit.image.alpha / 255
    truth = np.zeros(alpha.shape, bool)
    truth[60:100, 80:140] = True
    assert ((alpha > 0.5) & truth).sum() / ((alpha > 0.5) | truth).sum() > 0.8


def test_bad_differences_are_refused(tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    PIL.Image.fromarray(scene().pixels).save(first)
    PIL.Image.fromarray(scene(100, 90).pixels).save(second)
    with pytest.raises(EditError, match=r"b\.png is 100×90 but .*a\.png is 120×90"):
        edit_from_difference(first, second)
    with pytest.raises(EditError, match="not a pixel differs"):
        edit_from_difference(first, first)
