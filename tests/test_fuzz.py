"""Hostile and damaged files of every kind: either they are read, or one DiftEditError says why not. Nothing else.

``DIFT_EDIT_FUZZ=20`` tries that many times more inputs than the quick run of the test suite.
"""

import contextlib
import dataclasses
import io
import json
import os
import pickle
import re
import shutil
import struct
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from batch_data import picture
from dift_edit import DiftEditError, Sticker, load_image, load_job
from dift_edit.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Curve,
    Keypoint,
    ObjectMask,
    Outline,
    read_annotations,
    read_landmark_pairs,
    write_annotations,
)
from dift_edit.batch.finish import rows_of as rows_of_journal
from dift_edit.clips.io.animation import AnimationClip
from dift_edit.clips.labels.masks import read_mask
from dift_edit.clips.tracking.track_store import TrackStore
from dift_edit.clips.tracking.tracker import Tracker
from dift_edit.edits import CubeLut, load_edit, save_edit
from dift_edit.errors import EditError, ImageError, MissingDependencyError, ModelError, OutputError
from dift_edit.features.adm_checkpoint import convert_adm
from dift_edit.features.base import FeatureMap
from dift_edit.features.cache import FeatureCache
from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging import save_image
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.report.decisions import read_decisions
from dift_edit.report.page import page_html
from dift_edit.results.journal import Journal
from dift_edit.results.manifest import Row
from dift_edit.results.names import name_outputs
from dift_edit.targets.collect import collect_targets
from dift_edit.targets.lists import read_target_list

ROW_KEYS = [item.name for item in dataclasses.fields(Row)]
TIMES = int(os.environ.get("DIFT_EDIT_FUZZ", "1"))


def tries(count):
    """So many random inputs, or a third of them, the same ones each time, in the quick suite."""
    return settings(
        max_examples=count * TIMES if TIMES > 1 else count // 3, deadline=None, derandomize=TIMES == 1,
        database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def encoded(image, format_, **options):
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def deep(array, suffix):
    return cv2.imencode(suffix, array)[1].tobytes()


def valid_files():
    """One small picture of each kind."""
    rgb = picture(5, (24, 18))
    rgba = rgb.convert("RGBA")
    rgba.putalpha(PIL.Image.linear_gradient("L").resize(rgb.size))
    palette = rgb.quantize(16)
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    floats = PIL.Image.fromarray(np.linspace(0, 1, 24 * 18, dtype=np.float32).reshape(18, 24))
    words = np.asarray(rgb).astype(np.uint16) * 257
    return {
        "plain.jpg": encoded(rgb, "JPEG", exif=exif),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True, icc_profile=b"no profile at all"),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "grey.jpg": encoded(rgb.convert("L"), "JPEG"),
        "plain.png": encoded(rgb, "PNG"),
        "alpha.png": encoded(rgba, "PNG"),
        "alpha-only.png": encoded(
            PIL.Image.merge("RGBA", [PIL.Image.new("L", rgb.size)] * 3 + [rgba.split()[3]]), "PNG"
        ),
        "grey-alpha.png": encoded(rgba.convert("LA"), "PNG"),
        "palette.png": encoded(palette, "PNG", transparency=3),
        "bilevel.png": encoded(rgb.convert("1"), "PNG"),
        "deep.png": deep(words, ".png"),
        "deep-grey.png": encoded(PIL.Image.fromarray(words[..., 0]), "PNG"),
        "animated.png": encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "animated.gif": encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(90)], transparency=1),
        "plain.webp": encoded(rgba, "WEBP"),
        "plain.tif": encoded(rgb, "TIFF"),
        "deflate.tif": encoded(rgba, "TIFF", compression="tiff_deflate"),
        "float.tif": encoded(floats, "TIFF"),
        "deep.tif": deep(words, ".tiff"),
        "cmyk.tif": encoded(rgb.convert("CMYK"), "TIFF"),
        "plain.bmp": encoded(rgb, "BMP"),
        "plain.ppm": encoded(rgb, "PPM"),
        "plain.tga": encoded(rgba, "TGA"),
        "plain.ico": encoded(rgba.resize((16, 16)), "ICO"),
        "plain.jp2": encoded(rgb, "JPEG2000"),
    }


VALID = valid_files()


@st.composite
def damaged(draw, data: bytes):
    """A file after some accidents: bytes changed, cut out, doubled, or the end lost."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        if not out:
            break
        at = draw(st.integers(0, len(out) - 1))
        kind = draw(st.sampled_from(["set", "set", "head", "cut", "double", "end", "number"]))
        if kind == "set":
            out[at] = draw(st.integers(0, 255))
        elif kind == "head":
            out[at % min(len(out), 64)] = draw(st.integers(0, 255))
        elif kind == "cut":
            del out[at : at + draw(st.integers(1, 40))]
        elif kind == "double":
            out[at:at] = out[at : at + draw(st.integers(1, 40))]
        elif kind == "end":
            del out[at:]
        else:
            out[at : at + 4] = struct.pack(
                draw(st.sampled_from("<>")) + "I", draw(st.sampled_from([0, 2**31, 2**32 - 1]))
            )
    return bytes(out)


@pytest.mark.parametrize("name", VALID)
def test_valid_files_are_read(name, folder):
    (folder / name).write_bytes(VALID[name])
    image = load_image(folder / name)
    assert image.size in ((24, 18), (18, 24), (16, 16))
    assert isinstance(image, Image)
    written = save_image(image, folder / f"again-{Path(name).stem}.png")
    assert load_image(written).size == image.size


@pytest.mark.parametrize("name", VALID)
@tries(40)
@given(data=st.data())
def test_damaged_pictures(name, folder, data):
    path = folder / f"damaged-{name}"
    path.write_bytes(data.draw(damaged(VALID[name])))
    try:
        image = load_image(path, max_pixels=1_000_000)
    except ImageError as error:
        assert path.name in str(error) and "\n" not in str(error)
    else:
        assert 0 < image.size[0] * image.size[1] <= 1_000_000


@tries(60)
@given(data=st.one_of(st.binary(max_size=300), st.sampled_from(sorted(VALID)).map(lambda n: VALID[n][:30])))
def test_random_bytes_are_no_picture(folder, data):
    path = folder / "random.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"random\.png"):
        load_image(path)


def png_header(width, height):
    """A PNG that claims a size and holds nothing."""
    chunks = b""
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ):
        chunks += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (15_000, 14_000), (200_000_001, 1)])
def test_bombs_are_refused_before_they_are_unpacked(size, folder):
    (folder / "bomb.png").write_bytes(png_header(*size))
    with pytest.raises(ImageError, match=r"bomb\.png .*(pixels|damaged)") as caught:
        load_image(folder / "bomb.png")
    if size[0] < 2**31 - 1:
        assert f"{size[0]}×{size[1]}" in str(caught.value) and "--max-pixels" in str(caught.value)


@pytest.mark.parametrize("kind", ["zTXt", "iCCP", "eXIf"])
def test_bombs_in_metadata_are_refused_or_left_out(kind, folder):
    """100 MB of zeros, packed into a hundredth of a megabyte beside a small picture."""
    packed = zlib.compress(bytes(100_000_000), 9) if kind != "eXIf" else bytes(20_000_000)
    body = (b"name\0\0" + packed) if kind != "eXIf" else packed
    chunk = struct.pack(">I", len(body)) + kind.encode() + body + struct.pack(">I", zlib.crc32(kind.encode() + body))
    data = VALID["plain.png"]
    path = folder / f"bomb-{kind}.png"
    path.write_bytes(data[:33] + chunk + data[33:])  # behind the header's chunk
    tracemalloc.start()
    try:
        assert load_image(path).size == (24, 18)
    except ImageError as error:
        assert path.name in str(error) and "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100_000_000


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (30_000, 2)])
def test_huge_aspect_ratios_are_read(size, folder):
    PIL.Image.new("RGB", size, (9, 90, 200)).save(folder / "strip.png")
    assert load_image(folder / "strip.png").size == size


def test_the_limit_can_be_raised_above_pillow_s_own(folder):
    size = (20_000, 9_500)  # 190 million pixels, above Pillow's own limit of 179 million
    (folder / "large.png").write_bytes(png_header(*size))
    with pytest.raises(ImageError, match="--max-pixels"):
        load_image(folder / "large.png", max_pixels=100_000_000)
    picture = PIL.Image.fromarray(np.zeros((4, 4), np.uint8))
    picture.save(folder / "small.png")
    before, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, 3  # as if it were large for Pillow
    try:
        assert load_image(folder / "small.png").size == (4, 4)
        assert PIL.Image.MAX_IMAGE_PIXELS == 3
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "model"),
    [((1, 1), "lite"), ((1, 500), "lite"), ((500, 1), "lite"), ((3, 2), "mini"), ((4000, 2), "lite")],
)
def test_odd_shapes_go_the_whole_way(size, model, request):
    from dift_edit import transfer

    source, featurizer = picture(1), request.getfixturevalue(model)
    sticker = Sticker(PIL.Image.new("RGBA", (9, 9), "red"), at=(10, 10, 20, 15))
    target = picture(2, (max(size[0], 6), max(size[1], 6))).crop((0, 0, *size))
    result = transfer(source, sticker, target, featurizer=featurizer, min_confidence=0.0)
    assert result.status in ("applied", "abstained", "failed")
    assert result.status == "failed" or result.image.size == size
    if min(size) > 1:
        whole = Sticker(PIL.Image.new("RGBA", (9, 9), "red"), at=(0, 0, *size))
        thin = transfer(target, whole, source, featurizer=featurizer)
        assert thin.status in ("applied", "abstained", "failed")


@pytest.mark.parametrize("turn", range(1, 9))
def test_all_turns_and_a_wrong_ending(turn, folder):
    upright = np.zeros((8, 16, 3), dtype=np.uint8)
    upright[:4, :8] = 255  # the top left quarter is white
    transposed = upright.transpose(1, 0, 2)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: transposed, 6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, 3),
    }[turn]  # fmt: skip
    exif = PIL.Image.Exif()
    exif[0x0112] = turn
    path = folder / f"turn{turn}.png"  # a JPEG by its content
    path.write_bytes(encoded(PIL.Image.fromarray(np.ascontiguousarray(stored)), "JPEG", exif=exif, quality=95))
    image = load_image(path)
    assert image.size == (16, 8)
    assert image.pixels[1:3, 1:7].min() > 200 and image.pixels[5:, :].max() < 50 and image.pixels[:, 9:].max() < 50


coordinates = st.one_of(st.floats(), st.floats(-100, 150), st.sampled_from([0.0, -0.0, 1e-300, 1e300]))


@tries(300)
@given(
    quad=st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=5),
    matrix=st.lists(st.floats(-3, 3), min_size=9, max_size=9),
)
def test_any_quad_is_used_or_refused(quad, matrix):
    target = as_image(picture(4, (30, 20)))
    try:
        sticker = Sticker(PIL.Image.new("RGBA", (6, 5), (255, 0, 0, 128)), quad)
        assert np.isfinite(sticker.quad).all() and sticker.quad.shape == (4, 2)
        result = sticker.apply(target, MatrixTransform(np.reshape(matrix, (3, 3))))
    except DiftEditError as error:
        assert "\n" not in str(error)
    else:
        assert result.size == target.size and result.pixels.dtype == target.pixels.dtype


JOB = b"""version = 1
source = "cat.jpg"
output = "out"

[edit]
sticker = "hat.png"
at = [10, 20.5, 30, 40]

[targets]
paths = ["photos", "*.jpg"]
lists = ["more.csv"]

[model]
name = "mini"
settings = {timestep = 5, short_sides = [144, 176]}

[transfer]
engine = "mesh"
min_confidence = 0.5

[batch]
workers = 2
"""
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@tries(300)
@given(data=st.data())
def test_damaged_jobs(folder, data):
    path = folder / "job.toml"
    path.write_bytes(data.draw(damaged(JOB)))
    try:
        job = load_job(path)
    except DiftEditError as error:
        assert str(path) in str(error)
    else:
        assert job.source and 0 <= job.transfer.min_confidence <= 1


LISTS = {
    "list.csv": b'path,id,output\na.jpg,one,x.jpg\n"b,c.jpg",two,../../etc/passwd\n',
    "list.jsonl": b'{"path": "a.jpg", "id": "one"}\n{"path": "b.jpg", "output": "../../passwd"}\n',
    "list.txt": b"a.jpg\n# note\n../b.jpg\n",
}


def deep_path(folder, name):
    """A file so deep that ".." in a list does not lead to all files of this machine."""
    here = folder.joinpath(*"abcdefgh")
    here.mkdir(parents=True, exist_ok=True)
    return here / name


@pytest.mark.parametrize("name", LISTS)
@tries(200)
@given(data=st.data())
def test_damaged_lists_of_targets(name, folder, data):
    path = deep_path(folder, name)
    content = data.draw(damaged(LISTS[name]))
    assume(not re.search(rb"""(^|["',: ])/""", content, re.M))  # nor does "/" itself
    path.write_bytes(content)
    try:
        targets = collect_targets([], lists=[path]).targets
    except DiftEditError as error:
        assert "\n" not in str(error)
    else:
        check_names(name_outputs(targets), folder)


def check_names(names, folder):
    root = (folder / "out").resolve()
    for name in names.values():
        assert (root / name).resolve().is_relative_to(root) and not Path(name).is_absolute()


@tries(300)
@given(rows=st.lists(st.dictionaries(st.sampled_from(["path", "id", "output", "url"]), plain, max_size=4), max_size=5))
def test_any_rows_name_outputs_inside_the_folder(folder, rows):
    assume(not any(str(value).startswith("/") for row in rows for value in row.values()))
    path = deep_path(folder, "rows.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        targets = collect_targets([], lists=[path]).targets
    except DiftEditError as error:
        assert "rows.jsonl" in str(error) or "id" in str(error)
    else:
        check_names(name_outputs(targets), folder)


def test_results_do_not_follow_links_out_of_the_folder(folder):
    """What is written goes to a new file beside the link: the file that a link points at stays as it was."""
    outside = folder / "outside.png"
    picture(1).save(outside)
    before = outside.read_bytes()
    out = folder / "linked"
    out.mkdir()
    (out / "photo.png").symlink_to(outside)
    save_image(as_image(picture(2)), out / "photo.png")
    assert outside.read_bytes() == before
    assert not (out / "photo.png").is_symlink()


@tries(200)
@given(data=st.data())
def test_damaged_journals(folder, data):
    path = folder / "journal"
    path.unlink(missing_ok=True)
    with Journal(path) as journal:
        journal.set_job({"a": 1})
        journal.set_plan({"x": "x.png", "y": "y.png"})
        journal.add({"id": "x", "target": "x.png", "status": "applied", "output": "x.png"})
    content = data.draw(damaged(path.read_bytes()))
    path.write_bytes(content)
    try:
        journal = Journal(path)
    except OutputError as error:
        assert "not written by dift-edit" in str(error) and path.read_bytes() == content
        return
    with journal:
        assert set(journal.rows) <= {"x"} and set(journal.plan) <= {"x", "y"}
        journal.add({"id": "z", "target": "z.png", "status": "failed"})
    with Journal(path) as journal:
        assert "z" in journal.rows


CUBE = b'TITLE "warm"\nLUT_3D_SIZE 2\nDOMAIN_MIN 0 0 0\nDOMAIN_MAX 1 1 1\n' + b"0.1 0.2 0.3\n" * 8


@tries(300)
@given(data=st.data())
def test_damaged_colour_tables(folder, data):
    path = folder / "table.cube"
    path.write_bytes(data.draw(damaged(CUBE)))
    try:
        lut = CubeLut.from_file(path)
    except DiftEditError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(lut(np.full((1, 1, 3), 0.5, np.float32))).all()


@tries(300)
@given(data=st.data())
def test_damaged_edits(folder, data):
    path = folder / "edit.json"
    save_edit(Sticker(PIL.Image.new("RGBA", (6, 5), "red"), at=(3, 3, 9, 9)), path)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    try:
        load_edit(path)
    except DiftEditError as error:
        assert "\n" not in str(error)


@tries(300)
@given(value=plain, key=st.sampled_from(["type", "image", "quad", "format", "version", "file", "sha256", "array"]))
def test_edits_with_any_value(folder, value, key):
    path = folder / "valued.json"
    save_edit(Sticker(PIL.Image.new("RGBA", (6, 5), "red"), at=(3, 3, 9, 9)), path)
    recipe = json.loads(path.read_text())
    (recipe["image"] if key in recipe["image"] else recipe)[key] = value
    path.write_text(json.dumps(recipe))
    try:
        load_edit(path)
    except DiftEditError as error:
        assert "\n" not in str(error)


def test_an_edit_cannot_read_files_outside_its_folder(folder):
    inside = folder / "inside"
    inside.mkdir()
    picture(1).convert("RGBA").save(folder / "secret.png")
    save_edit(Sticker(PIL.Image.new("RGBA", (6, 5), "red"), at=(3, 3, 9, 9)), inside / "edit.json")
    recipe = json.loads((inside / "edit.json").read_text())
    for name in ("../secret.png", str(folder / "secret.png")):
        recipe["image"]["file"] = name
        (inside / "edit.json").write_text(json.dumps(recipe))
        with pytest.raises(DiftEditError, match="secret"):
            load_edit(inside / "edit.json")


class Payload:
    """A pickle that would make a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["bare", "torch", "in a dict", "old torch"])
def test_pickles_with_code_are_never_run(form, folder):
    trap = folder / f"trap-{form}"
    path = folder / "checkpoint.pt"
    if form == "bare":
        path.write_bytes(pickle.dumps(Payload(trap)))
    else:
        content = {"time_embed.0.weight": Payload(trap)} if form == "in a dict" else Payload(trap)
        torch.save(content, path, _use_new_zipfile_serialization=form != "old torch")
    with pytest.raises(ModelError, match=r"checkpoint\.pt"):
        convert_adm(path, folder / "converted")
    assert not trap.exists() and not (folder / "converted").exists()


@tries(60)
@given(
    value=st.one_of(
        plain, st.dictionaries(st.sampled_from(["time_embed.0.weight", "out.2.bias", "x"]), plain, max_size=3)
    )
)
def test_checkpoints_of_any_content(folder, value):
    path = folder / "any.pt"
    torch.save(value, path)
    with pytest.raises(ModelError):
        convert_adm(path, folder / "converted")
    assert not (folder / "converted").exists()


@tries(60)
@given(data=st.data())
def test_damaged_checkpoints(folder, data):
    path = folder / "damaged.pt"
    torch.save({"time_embed.0.weight": torch.zeros(4, 4), "time_embed.0.bias": torch.zeros(4)}, path)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    with pytest.raises(ModelError):
        convert_adm(path, folder / "converted")


@tries(80)
@given(data=st.data())
def test_damaged_cache_entries_are_made_again(folder, data):
    cache = FeatureCache(folder / "cache")
    made = FeatureMap(torch.arange(60.0).reshape(3, 4, 5), (50, 40), "f", "d")
    cache.put(made)
    path = cache.path("d", "f", 0, "float32")
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    found = cache.get("d", "f")
    assert found is None or (torch.equal(found.data, made.data) and found.image_size == made.image_size)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "json"])
def test_damaged_weights_are_named(damage, folder):
    from dift_edit import load_featurizer
    from dift_edit.features.sources import EMBEDDED

    model = folder / f"mini-{damage}"
    shutil.copytree(EMBEDDED / "dift-mini", model)
    (weights,) = (model / "unet").glob("*.safetensors")
    data = weights.read_bytes()
    if damage == "json":
        (model / "unet" / "config.json").write_text("{}")
    else:
        weights.write_bytes({"flip": data[:1000] + b"\xff" + data[1001:], "cut": data[:-9], "empty": b""}[damage])
    with pytest.raises(ModelError, match=f"mini-{damage}"):
        load_featurizer(str(model))


def checked_line(record):
    body = json.dumps(record).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


@tries(200)
@given(
    kind=st.sampled_from(["job", "plan", "row", "other"]), value=plain, key=st.sampled_from([*ROW_KEYS, "id", "output"])
)
def test_journal_lines_with_any_value(folder, kind, value, key):
    """Their checksums are right, their shapes are not."""
    row = {"id": "x", "target": "x.png", "status": "applied", "output": "x.png"}
    record = {"type": kind, "job": {}, "id": "x", "output": "x.png", "row": {**row, key: value}, key: value}
    path = folder / "valued-journal"
    path.write_bytes(checked_line({"type": "job", "job": {}}) + checked_line({**record, "type": kind}))
    with Journal(path) as journal:
        check_names({**journal.plan, **{k: str(r.get("output") or "x") for k, r in journal.rows.items()}}, folder)
        for made in rows_of_journal(journal):
            page_html([made], journal.job, command="")


DECISIONS = (
    b'{"format": "dift-edit review", "version": 1, "job": "j", "decisions": '
    b'[{"id": "a", "decision": "rejected", "note": "n", "pins": [[[1, 2], [3, 4]]]}]}'
)


@tries(200)
@given(data=st.data(), value=plain, key=st.sampled_from(["id", "decision", "note", "pins"]))
def test_damaged_decisions(folder, data, value, key):
    path = folder / "decisions.json"
    made = {"id": "a", "decision": "", "note": "", "pins": [], key: value}
    valued = json.dumps({"format": "dift-edit review", "version": 1, "job": "j", "decisions": [made]}).encode()
    for content in (data.draw(damaged(DECISIONS)), valued):
        path.write_bytes(content)
        try:
            for decision in read_decisions(path, "j"):
                assert decision.decision in ("", "accepted", "rejected")
        except DiftEditError as error:
            assert "\n" not in str(error)


def annotation_files():
    """Annotations of one image, in a file of each format that holds one."""
    square = np.array([(4.0, 4), (14, 4), (14, 14), (4, 14)])
    mask = np.zeros((18, 24), bool)
    mask[3:9, 4:12], mask[5, 6] = True, False
    points = [Keypoint("left", 5, 6, "hidden", 0.5), Keypoint("right", 0, 0, "missing"), Keypoint("nose", 9, 9)]
    thing = AnnotatedObject(category="cat", box=(3, 3, 15, 15), outlines=[Outline(square)], keypoints=points, id="7",
                            curves=[Curve(square, closed=True)], confidence=0.5, attributes={"tame": True})  # fmt: skip
    masked = AnnotatedObject(category="blob", mask=ObjectMask.of(mask), id="8")
    whole = Annotations([AnnotatedImage(path="a.png", size=(24, 18), objects=[thing, masked])])
    names = {"a.json": "coco", "l.json": "labelme", "a.xml": "cvat", "a.tps": "tps", "d.csv": "deeplabcut",
             "d.h5": "deeplabcut"}  # fmt: skip
    files = {}
    with tempfile.TemporaryDirectory() as name:
        for file, format_ in names.items():
            with contextlib.suppress(MissingDependencyError):
                write_annotations(whole, Path(name) / file, format=format_)
                files[file] = (Path(name) / file).read_bytes()
        files["a.confidence.csv"] = (Path(name) / "a.confidence.csv").read_bytes()
        write_annotations(whole, Path(name) / "napari", format="napari")
        files |= {
            f"n.{kind}.csv": (Path(name) / "napari" / f"a.{kind}.csv").read_bytes() for kind in ("points", "shapes")
        }
        for task in ("segment", "pose"):
            write_annotations(whole, Path(name) / task, format=f"yolo-{task}")
            files[f"{task}.txt"] = (Path(name) / task / "labels" / "a.txt").read_bytes()
            files[f"{task}.yaml"] = (Path(name) / task / "data.yaml").read_bytes()
    return files


ANNOTATED = annotation_files()
BIGWARP = b'"Pt-0","true","1.5","2.0","3.0","4.5"\n"Pt-1","false","1.5","2.0","3.0","4.5"\n'


def lay_annotations(folder, name, content):
    """Write a file of annotations with what belongs to it; returns what is to be read."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "labels").mkdir(parents=True)
    picture(1, (24, 18)).save(folder / "a.png")
    stem = name.rpartition(".")[0]
    if stem in ("segment", "pose"):
        for each, data in ((f"{stem}.yaml", "data.yaml"), (f"{stem}.txt", "labels/a.txt")):
            (folder / data).write_bytes(content if each == name else ANNOTATED[each])
        return folder / "data.yaml"
    (folder / name).write_bytes(content)
    if name == "a.confidence.csv":
        (folder / "a.tps").write_bytes(ANNOTATED["a.tps"])
        return folder / "a.tps"
    return folder / name


@pytest.mark.parametrize("name", ANNOTATED)
@tries(60)
@given(data=st.data())
def test_damaged_annotations(folder, name, data):
    path = lay_annotations(folder / "annotated", name, data.draw(damaged(ANNOTATED[name])))
    with contextlib.suppress(DiftEditError):
        read = read_annotations(path)
        for format_ in ("coco", "cvat", "labelme", "napari", "yolo"):  # whatever was read can be written, or is refused
            with contextlib.suppress(DiftEditError):
                write_annotations(
                    read, folder / "rewritten" if format_ != "coco" else folder / "r.json", format=format_
                )
    try:
        read_annotations(path)
    except DiftEditError as error:
        assert "\n" not in str(error)


@tries(100)
@given(data=st.data(), value=plain, name=st.sampled_from(["a.json", "l.json"]))
def test_annotations_with_any_value(folder, data, value, name):
    """The JSON is whole, one of its values is something else."""
    whole = json.loads(ANNOTATED[name])
    at = whole
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        inside = at[key]
        if not isinstance(inside, dict | list) or not inside or data.draw(st.booleans()):
            break
        at = inside
    at[key] = value
    path = lay_annotations(folder / "valued", name, json.dumps(whole).encode())
    try:
        read_annotations(path, format="coco" if name == "a.json" else "labelme")
    except DiftEditError as error:
        assert "\n" not in str(error)


@tries(100)
@given(data=st.data(), elastix=st.booleans())
def test_damaged_landmark_pairs(folder, data, elastix):
    path = folder / ("p.moving.txt" if elastix else "p.csv")
    (folder / "p.fixed.txt").write_bytes(b"point\n2\n1 2\n3 4.5\n")
    path.write_bytes(data.draw(damaged(b"point\n2\n1 2\n3 4.5\n" if elastix else BIGWARP)))
    try:
        read_landmark_pairs(path)
    except DiftEditError as error:
        assert "\n" not in str(error)


def tracker():
    corners = np.array([[10.0, 10], [50, 10], [50, 40], [10, 40]])
    return Tracker(as_image(picture(1, (96, 80))), corners, lambda *_words, **_more: None)


def clip_files(folder):
    """The two files of one pass, as a run of four frames leaves them."""
    shutil.rmtree(folder, ignore_errors=True)
    frames = ((i, as_image(picture(1, (96, 80)))) for i in range(1, 5))
    assert len(list(TrackStore(folder, "job").track("0-4-on", tracker(), 4, lambda _done: frames))) == 4
    return (folder / "0-4-on.jsonl").read_bytes(), (folder / "0-4-on.npz").read_bytes()


@pytest.mark.slow
@tries(60)
@given(data=st.data())
def test_damaged_journals_of_clips(folder, data):
    place = folder / "clip"
    lines, state = clip_files(place)
    which = data.draw(st.integers(0, 2))
    if which != 1:
        (place / "0-4-on.jsonl").write_bytes(data.draw(damaged(lines)))
    if which != 0:
        (place / "0-4-on.npz").write_bytes(data.draw(damaged(state)))
    frames = lambda done: ((i, as_image(picture(1, (96, 80)))) for i in range(1 + done, 5))  # noqa: E731
    try:
        assert len(list(TrackStore(place, "job").track("0-4-on", tracker(), 4, frames))) == 4
    except DiftEditError as error:
        assert "0-4-on.jsonl" in str(error)


def moving_pictures():
    """A short animation of each kind."""
    first = picture(5, (24, 18))
    rest = {"save_all": True, "append_images": [first.rotate(90), first.rotate(180)], "duration": 40}
    return {
        "a.gif": encoded(first.quantize(16), "GIF", **rest),
        "a.webp": encoded(first, "WEBP", **rest),
        "a.png": encoded(first, "PNG", **rest),
    }


ANIMATIONS = moving_pictures()


def frames_of(path):
    """The frames that can be read, or the sentence that says why not."""
    try:
        clip = AnimationClip(path)
        return len(list(clip.read(0, len(clip))))
    except ImageError as error:
        assert path.name in str(error) and "\n" not in str(error)
        return str(error)


@pytest.mark.parametrize("name", ANIMATIONS)
def test_cut_animations_are_read_or_refused_in_a_sentence(name, folder):
    path, whole = folder / f"cut-{name}", ANIMATIONS[name]
    path.write_bytes(whole)
    assert frames_of(path) == 3
    refused = 0
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        refused += isinstance(frames_of(path), str)
    assert refused > 5


@pytest.mark.parametrize("name", ANIMATIONS)
@tries(100)
@given(data=st.data())
def test_damaged_animations(name, folder, data):
    path = folder / f"damaged-{name}"
    path.write_bytes(data.draw(damaged(ANIMATIONS[name])))
    frames_of(path)


@tries(100)
@given(data=st.data(), name=st.sampled_from(["palette.png", "grey.jpg", "alpha.png", "bilevel.png"]))
def test_damaged_masks(folder, data, name):
    path = folder / f"mask-{name}"
    path.write_bytes(data.draw(damaged(VALID[name])))
    try:
        assert read_mask(path).dtype == np.uint8
    except ImageError as error:
        assert path.name in str(error) and "\n" not in str(error)


def test_a_mask_too_large_to_unpack_is_a_sentence(folder, monkeypatch):
    PIL.Image.new("L", (64, 64)).save(folder / "large.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="too large"):
        read_mask(folder / "large.png")


def test_a_damaged_parquet_list_is_one_line(folder):
    """Arrow's errors have several lines."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({"path": ["a.png", "b.png"]})
    path = folder / "damaged.parquet"
    parquet.write_table(table, path)
    whole = path.read_bytes()
    for content in (b"", b"PAR1", b"PAR1" + b"\xff" * 60 + b"PAR1", *(whole[:end] for end in range(0, len(whole), 11))):
        path.write_bytes(content)
        with pytest.raises(DiftEditError, match=r"damaged\.parquet") as caught:
            list(read_target_list(str(path)))
        assert "\n" not in str(caught.value)
    for at in range(4, len(whole) - 8, 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            list(read_target_list(str(path)))
        except DiftEditError as error:
            assert "\n" not in str(error)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"LUT_3D_SIZE {'9' * 5000}\n", "from 2 to 129"),  # int() refuses so many digits with an error of its own
        ("LUT_3D_SIZE \u0662\n", "from 2 to 129"),  # a digit of another script
        ("LUT_3D_SIZE 1e9\n", "from 2 to 129"),
        ("LUT_3D_SIZE -2\n", "from 2 to 129"),
        ("LUT_3D_SIZE 2\n" + "0 0 0\n" * 9, "line 10: the table has more rows"),
        ("LUT_3D_SIZE 2\n" + "0 0 1e300\n" * 8, "at most 1e"),
        ("LUT_3D_SIZE 2\n" + "0 0 -inf\n" * 8, "three finite"),
        ("LUT_3D_SIZE 2\n" + "0 0 1e999\n" * 8, "three finite"),
        ("LUT_3D_SIZE 2\nDOMAIN_MIN nan 0 0\n", "three finite"),
        ("LUT_3D_SIZE 2\nDOMAIN_MAX 1e-60 1 1\n" + "0 0 0\n" * 8, "domain"),  # the same number in 32 bits
        ("LUT_3D_SIZE 2\nDOMAIN_MIN -1e308 0 0\nDOMAIN_MAX 1e308 1 1\n" + "0 0 0\n" * 8, "at most 1e"),
        ("LUT_3D_SIZE 2\nLUT_3D_INPUT_RANGE a b\n" + "0 0 0\n" * 8, "three finite"),
        ("LUT_3D_SIZE 2\nLUT_3D_INPUT_RANGE inf nan\n" + "0 0 0\n" * 8, "three finite"),
    ],
)
def test_hostile_colour_tables_are_a_sentence(folder, text, words):
    path = folder / "hostile.cube"
    path.write_text(text, "utf-8")
    with pytest.raises(EditError, match=words) as caught:
        CubeLut.from_file(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "domain", [((0, 0, 0), (1, 1, 1e-60)), ((0, 0, 0), (1, 1, np.inf)), ((np.nan,) * 3, (1, 1, 1))]
)
def test_colour_tables_made_in_memory_are_checked_too(domain):
    with pytest.raises(EditError, match="domain"):
        CubeLut(np.zeros((2, 2, 2, 3), np.float32), domain)


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_a_pipe_as_a_colour_table_does_not_hang(folder):
    os.mkfifo(folder / "pipe.cube")
    with pytest.raises(EditError, match="no regular file"):
        CubeLut.from_file(folder / "pipe.cube")
