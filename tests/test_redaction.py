import io
import struct

import numpy as np
import PIL.Image
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dift_edit.edits import Redaction, Region
from dift_edit.edits.redaction import MAX_CELLS, REDACTION_MODES
from dift_edit.errors import EditError
from dift_edit.imaging.files import as_image, load_image
from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import save_image
from dift_edit.rendering.compositing import Compositing
from transforms import Dense, similarity


def secret(rng, size=(120, 100)):
    return as_image(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@given(
    scale=st.floats(0.3, 3), degrees=st.floats(-180, 180), x=st.floats(-20, 60), y=st.floats(-20, 60),
    mode=st.sampled_from(REDACTION_MODES), dense=st.booleans(),
)  # fmt: skip
@example(scale=0.3, degrees=0.0, x=-15.0, y=0.0, mode="fill", dense=False)  # its tip reaches 0.35 of a pixel
@settings(max_examples=30, deadline=None)
def test_no_pixel_that_the_region_touches_keeps_any_of_itself(scale, degrees, x, y, mode, dense):
    target = secret(np.random.default_rng(0))
    transform = similarity(scale, degrees, x, y)
    edit = Redaction(region=Region.ellipse(10, 12, 40, 30), mode=mode, margin=0)
    assume(edit.reaches(Dense(transform) if dense else transform, target.size))
    result = edit.apply(target, Dense(transform) if dense else transform, compositing=Compositing(opacity=0.2)).pixels
    rows, columns = np.mgrid[:100, :120]
    back = transform.inverse()(np.c_[columns.ravel(), rows.ravel()])
    depth = (np.hypot((back[:, 0] - 29.5) / 20, (back[:, 1] - 26.5) / 15).reshape(100, 120) - 1) * 15 * scale
    touched = depth < 0.7  # target pixels from the ellipse's edge
    inverted = as_image(255 - target.pixels)
    other = edit.apply(inverted, Dense(transform) if dense else transform).pixels
    if mode == "fill":
        assert (result[touched] == 0).all() and (other[touched] == 0).all()
    elif touched.sum() > 200:
        noise = result[touched].astype(float) - result[touched].mean(axis=0)
        truth = target.pixels[touched].astype(float) - target.pixels[touched].mean(axis=0)
        assert (noise * truth).mean() / truth.var() < 0.2, "what is left does not follow the hidden pixels"


@pytest.mark.parametrize(("x", "first", "end"), [(0, 4, 40), (-20, 0, 20), (-35, 0, 5)])
def test_the_margin_is_the_same_where_the_region_lies_beyond_the_edge(rng, x, first, end):
    edit = Redaction(region=Region.box(12, 20, 20, 40), mode="fill", margin=0.4)
    hidden = (edit.apply(secret(rng), similarity(x=x)).pixels[40] == 0).all(axis=1)
    assert np.flatnonzero(hidden).tolist() == list(range(first, end))


@pytest.mark.parametrize("mode", ["blur", "pixelate"])
def test_what_remains_depends_only_on_the_means_of_cells(rng, mode):
    """Exchanging pixels inside a cell changes nothing: fine detail is gone, not only hidden."""
    region, cells = Region.box(20, 20, 60, 60), 5
    first = secret(rng)
    edit = Redaction(region=region, mode=mode, cells=cells, margin=0)
    changed = (edit.apply(first, similarity()).pixels != first.pixels).any(axis=2)
    rows, columns = np.nonzero(changed)
    top, left = rows.min(), columns.min()
    side = (rows.max() + 1 - top) / cells
    second = first.pixels.copy()
    for i in range(cells):
        for j in range(cells):
            inner = (
                slice(int(top + i * side) + 2, int(top + (i + 1) * side) - 2),
                slice(int(left + j * side) + 2, int(left + (j + 1) * side) - 2),
            )
            block = second[inner].reshape(-1, 3)
            second[inner] = block[rng.permutation(len(block))].reshape(second[inner].shape)
    one, two = edit.apply(first, similarity()).pixels, edit.apply(as_image(second), similarity()).pixels
    assert not np.array_equal(first.pixels, second)
    assert np.abs(one.astype(int) - two)[changed].max() <= 1
    assert len(np.unique(one[changed], axis=0)) <= cells**2 or mode == "blur"


def test_strength_follows_the_size_on_the_target(rng):
    for scale in (0.5, 2.0):
        target = secret(rng, (300, 300))
        edit = Redaction(region=Region.box(20, 20, 60, 60), cells=4, margin=0)
        result = edit.apply(target, similarity(scale)).pixels
        changed = (result != target.pixels).any(axis=2)
        assert len(np.unique(result[changed], axis=0)) <= 16


def test_margin_widens_the_region(rng):
    target = secret(rng)
    areas = [
        (Redaction(region=Region.box(40, 30, 30, 30), margin=m).apply(target, similarity()).pixels != target.pixels)
        .any(axis=2).sum()
        for m in (0, 0.5)
    ]  # fmt: skip
    assert areas[1] > 2 * areas[0] > 2 * 900


def test_transparent_pixels_are_redacted_too(rng):
    pixels = secret(rng).pixels
    hidden = Image(pixels, np.zeros((100, 120), np.uint8))
    result = Redaction(region=Region.box(20, 20, 40, 40), mode="fill").apply(hidden, similarity())
    assert (result.pixels[22:58, 22:58] == 0).all() and (result.alpha[22:58, 22:58] == 255).all()


def exif_with_thumbnail(thumbnail):
    """IFD0 with a description and an Exif IFD that has a maker note; IFD1 with a JPEG thumbnail."""
    note = thumbnail + b"note"
    head = b"II*\0" + struct.pack("<I", 8)
    ifd0_end = 8 + 2 + 2 * 12 + 4
    exif_end = ifd0_end + 2 + 12 + 4
    note_at = exif_end
    ifd1_at = note_at + len(note) + len(note) % 2
    data_at = ifd1_at + 2 + 3 * 12 + 4
    ifd0 = struct.pack("<HHHI4sHHIII", 2, 0x10E, 2, 4, b"abc\0", 0x8769, 4, 1, ifd0_end, ifd1_at)
    exif = struct.pack("<HHHIII", 1, 0x927C, 7, len(note), note_at, 0)
    ifd1 = struct.pack("<HHHIIHHIIHHIII", 3, 0x103, 3, 1, 6, 0x201, 4, 1, data_at, 0x202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0" + head + ifd0 + exif + note + b"\0" * (len(note) % 2) + ifd1 + thumbnail


def test_no_preview_of_the_original_is_left_in_the_file(tmp_path, rng):
    buffer = io.BytesIO()
    PIL.Image.fromarray(secret(rng, (64, 48)).pixels).save(buffer, "JPEG")
    thumbnail = buffer.getvalue()
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><xmpGImg:image>SECRETPREVIEW</xmpGImg:image></x:xmpmeta>"
    path = tmp_path / "a.jpg"
    PIL.Image.fromarray(secret(rng).pixels).save(path, exif=exif_with_thumbnail(thumbnail), xmp=xmp)
    raw = path.read_bytes()
    assert raw.count(thumbnail) == 2 and b"SECRETPREVIEW" in raw
    image = load_image(path)
    result = Redaction(region=Region.box(20, 20, 40, 40)).apply(image, similarity())
    written = save_image(result, tmp_path / "b.jpg").read_bytes()
    assert thumbnail[100:400] not in written and b"SECRETPREVIEW" not in written
    assert 0x10E not in PIL.Image.open(tmp_path / "b.jpg").getexif(), "a caption may tell what was to be seen"


def test_bad_redactions_are_refused():
    region = Region.box(0, 0, 10, 10)
    for words, given_ in [
        ("mode", {"mode": "smear"}), ("show too much", {"cells": MAX_CELLS + 1}), ("cells", {"cells": 0}),
        ("margin", {"margin": -1}), ("colour", {"color": "nope"}),
    ]:  # fmt: skip
        with pytest.raises(EditError, match=words):
            Redaction(region=region, **given_)
