"""What was hidden is not in the file: in its pixels as they are stored, in its metadata, in any embedded picture."""

import io
import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_data import make_scene, rows_of
from color_profiles import WIDE, table_profile, wide_profile
from dift_edit import propagate
from dift_edit.batch import run_batch
from dift_edit.batch.finish import journal_path
from dift_edit.cli import main
from dift_edit.edits import Erase, Layers, Redaction, Region, Sticker, edit_from_dict, edit_to_dict, save_edit
from dift_edit.edits.redaction import MIN_CELL, REDACTION_MODES
from dift_edit.errors import EditError, OutputError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging.files import as_image, load_image
from dift_edit.imaging.metadata import KEPT_EXIF, KEPT_IMAGE
from dift_edit.imaging.profiles import rebuilt_profile
from dift_edit.imaging.writing import save_image
from dift_edit.pipeline import transfer
from dift_edit.rendering.compositing import Compositing
from dift_edit.report.previews import preview_name
from dift_edit.results.folder import OutputFolder
from dift_edit.results.journal import Journal
from dift_edit.settings import BatchSettings, TransferSettings
from leak_cases import EDITS, INPUTS, LOSSY, Case, drawn, exif_parts, leaks, profiles_of
from transforms import similarity

SECRET = "SECRET-4711"
SIZE = (160, 96)
BOX = (20, 30, 120, 36)


def text_mask(text=SECRET):
    """(H, W) bool: a text inside `BOX`."""
    canvas = PIL.Image.new("L", SIZE)
    PIL.ImageDraw.Draw(canvas).text((28, 38), text, font=PIL.ImageFont.load_default(17), fill=255)
    mask = np.asarray(canvas) > 127
    assert mask.sum() > 200
    return mask


def native_pixels(path):
    """As they are stored, before any profile."""
    with PIL.Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def redacted(path, output, mode="fill", **options):
    edit = Redaction(region=Region.box(*BOX), mode=mode, **{"color": "#ff0000", **options})
    return save_image(edit.apply(load_image(path), similarity()), output)


def preview(rng):
    """A JPEG as cameras embed them, which must not be found in any result."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".avif"])
@pytest.mark.parametrize("mode", REDACTION_MODES)
@pytest.mark.parametrize("name", WIDE)
def test_native_values_are_not_restored_under_a_redaction(tmp_path, name, mode, suffix):
    """Both reds are outside sRGB and clip to one value there, so the text must not make any difference."""
    files = []
    for red in (255, 240):
        pixels = np.full((SIZE[1], SIZE[0], 3), (255, 0, 0), np.uint8)
        pixels[text_mask()] = (red, 0, 0)
        path = tmp_path / f"{red}.png"
        PIL.Image.fromarray(pixels).save(path, icc_profile=wide_profile(name))
        files.append(redacted(path, tmp_path / f"{red}{mode}{suffix}", mode).read_bytes())
        assert (load_image(path).pixels == load_image(tmp_path / "255.png").pixels).all()
    assert files[0] == files[1]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), edit=st.sampled_from(EDITS), kind=st.sampled_from(INPUTS + LOSSY), seed=st.integers(0, 10**6))
def test_nothing_of_what_is_hidden_is_in_the_file(data, edit, kind, seed):
    """Whatever the format, the mode, the profile, the region and the transform."""
    case = drawn(kind, edit, data.draw(st.sampled_from(profiles_of(kind))), seed)
    with tempfile.TemporaryDirectory() as folder:
        assert leaks(case, Path(folder)) == [], case


def test_a_mask_is_exactly_one_inside_where_it_was_scaled(tmp_path):
    """A weight of 0.9999998 lets one pixel of sixteen bits depend on what is hidden."""
    case = Case(
        "png 16 bit alpha", "prophoto", "erase", "mask", ".tif", scale=0.8906068211335044, degrees=0.0, cells=8,
        orientation=8, seed=16,
    )  # fmt: skip
    assert leaks(case, tmp_path) == []


@pytest.mark.parametrize("kind", INPUTS + LOSSY)
def test_nothing_of_what_is_hidden_is_in_the_file_of_any_kind(tmp_path, kind):
    for edit in EDITS:
        case = Case(kind, profiles_of(kind)[-2 % len(profiles_of(kind))], edit, output=".png")
        assert leaks(case, tmp_path) == []


@pytest.mark.parametrize("kind", INPUTS + LOSSY)
def test_the_test_for_leaks_finds_what_another_edit_leaves(tmp_path, monkeypatch, kind):
    """The same pictures with an edit that hides nothing."""
    patch = Sticker(as_image(np.zeros((4, 4, 3), np.uint8)), Region.box(1, 1, 4, 4).quad)
    monkeypatch.setattr(Case, "made", lambda case: (patch, Compositing()))
    monkeypatch.setattr("leak_cases.hidden_mask", lambda case: np.ones((128, 176), bool))
    found = leaks(Case(kind, edit="fill", output=".png"), tmp_path)
    assert "the result depends on what is hidden" in found
    if kind.startswith(("png", "jpeg", "webp", "avif", "mpo")) and "16" not in kind:
        assert {"a piece of a preview", "the text", "the position"} <= set(found)


def test_an_erasure_does_not_copy_from_its_own_region(rng):
    """Also where the search for a patch works at a coarser scale, and in alpha."""
    region = Region.box(100, 80, 90, 60)
    results = []
    for _ in range(2):
        pixels = np.random.default_rng(1).integers(0, 256, (240, 300, 4), dtype=np.uint8)
        pixels[80:140, 100:190] = rng.integers(0, 256, (60, 90, 4))
        results.append(np.asarray(Erase(region).apply(as_image(pixels), similarity())))
    assert np.array_equal(*results)
    with pytest.raises(EditError, match="nothing was erased"):
        Erase(region).apply(as_image(pixels), AWAY)
    with pytest.raises(EditError, match="covers all"):
        Erase(Region.box(-5, -5, 400, 300)).apply(as_image(pixels), similarity())


def test_small_regions_keep_fewer_cells(rng):
    target = as_image(rng.integers(0, 256, (96, 160, 3), dtype=np.uint8))
    for side in (6, 12, 30):
        most = max(1, (side + 6) // MIN_CELL) ** 2  # widened by two pixels and the antialiased edge
        edit = Redaction(region=Region.box(30, 30, side, side), mode="pixelate", cells=8, margin=0)
        result = edit.apply(target, similarity()).pixels
        changed = (result != target.pixels).any(axis=2)
        assert len(np.unique(result[changed], axis=0)) <= most


def test_redactions_that_keep_means_say_so(tmp_path, tiny):
    from dift_edit.batch import run_batch
    from dift_edit.settings import BatchSettings, TransferSettings

    region = Region.box(16, 12, 16, 16)
    kinds = [Redaction(region=region, mode=mode, cells=cells) for mode in REDACTION_MODES for cells in (1, 5)]
    assert [bool(edit.caution) for edit in kinds] == [False, True, False, True, False, False]
    scene, told = make_scene(tmp_path, 1), []
    for number, edit in enumerate((Layers([kinds[1], kinds[3]]), kinds[5])):
        run_batch(
            load_image(scene / "source.png"), edit, [scene / "photos"], scene / f"out{number}", featurizer=tiny,
            settings=TransferSettings(min_confidence=0.0), batch=BatchSettings(preview_size=16),
            on_event=lambda event, **data: told.append(data["text"]) if event == "note" else None,
        )  # fmt: skip
    assert told == [kinds[1].caution] and "trying out guesses" in told[0]


def test_pixels_beside_a_redaction_keep_their_native_values(tmp_path):
    pixels = np.full((SIZE[1], SIZE[0], 3), (250, 3, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=wide_profile("prophoto"))
    written = native_pixels(redacted(tmp_path / "a.png", tmp_path / "b.png"))
    assert (written[:20] == (250, 3, 3)).all() and not (written[40:60, 40:100] == (250, 3, 3)).all(axis=2).any()


def test_what_other_edits_paint_is_not_undone_in_wide_gamut_pictures(tmp_path):
    pixels = np.full((SIZE[1], SIZE[0], 3), (255, 0, 0), np.uint8)
    pixels[text_mask()] = (225, 0, 0)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=wide_profile("adobe"))
    x, y, width, height = BOX
    patch = np.full((height, width, 4), (255, 0, 0, 255), np.uint8)
    sticker = Sticker(as_image(patch), Region.box(*BOX).quad)
    made = sticker.apply(load_image(tmp_path / "a.png"), similarity(), compositing=Compositing())
    written = native_pixels(save_image(made, tmp_path / "b.png"))[y + 1 : y + height - 1, x + 1 : x + width - 1]
    assert (written == written[0, 0]).all()


def full_exif(hidden, text):
    """EXIF with previews and texts wherever there is room for them."""
    exif = PIL.Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x8298], exif[0x010F] = text, text, text, text
    exif[0x0132], exif[0x011A] = "2024:05:06 07:08:09", 300.0
    exif[0xC4A5] = hidden
    exif[0x8769] = {
        0x9286: hidden, 0x927C: hidden, 0xFDE8: hidden, 0xA40B: hidden, 0x9003: "2024:05:06 07:08:10",
        0x829A: 0.01, 0x8827: 400, 0xA433: text, 0x9000: b"0232", 0x9004: text, 0x9290: text,
    }  # fmt: skip
    exif[0x8825] = {0x1B: hidden, 1: "N", 2: (52.0, 31.0, 12.0), 0x1C: text.encode()}
    return exif.tobytes()


def shorts_tiff(path, pixels, hidden):
    """A TIFF whose previews are arrays of SHORT, and whose caption tells."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2()
    even = hidden + bytes(len(hidden) % 2)
    tags.tagtype[0xC7A0], tags.tagtype[0x010E], tags.tagtype[0x8649] = 3, 2, 7
    tags[0xC7A0] = struct.unpack(f"<{len(even) // 2}H", even)
    tags[0x010E], tags[0x8649] = SECRET, hidden
    PIL.Image.fromarray(pixels).save(path, tiffinfo=tags, icc_profile=wide_profile("adobe", text=SECRET))


def everywhere(data):
    """The bytes of a file and of everything compressed in it that Pillow knows."""
    found = [data]
    with PIL.Image.open(io.BytesIO(data)) as picture:
        for value in picture.info.values():
            found.append(value if isinstance(value, bytes) else str(value).encode())
        exif = picture.getexif()
        found.append(exif.tobytes())
        for tags in exif_parts(exif):
            for value in tags.values():
                found.append(value if isinstance(value, bytes) else str(value).encode())
                if isinstance(value, tuple) and all(isinstance(item, int) and 0 <= item < 65536 for item in value):
                    found.append(struct.pack(f"<{len(value)}H", *value))
    return b"\n".join(found)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("mode", REDACTION_MODES)
def test_no_preview_and_no_text_is_left_in_metadata(tmp_path, rng, suffix, mode):
    hidden = preview(rng)
    pixels = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    profile = wide_profile("p3", text=SECRET, extra={b"priv": hidden, b"meta": SECRET.encode()})
    sources = [tmp_path / f"a{kind}" for kind in (".jpg", ".png", ".webp", ".avif")]
    for path in sources:
        xmp = {} if path.suffix == ".png" else {"xmp": f"<x>{SECRET}</x>".encode()}
        PIL.Image.fromarray(pixels).save(path, exif=full_exif(hidden, SECRET), icc_profile=profile, **xmp)
    sources.append(tmp_path / "a.tif")
    shorts_tiff(sources[-1], pixels, hidden)
    for path in sources:
        before = everywhere(path.read_bytes())
        assert hidden in before and SECRET.encode() in before, "it is there to be found"
        after = everywhere(redacted(path, tmp_path / f"b{suffix}", mode).read_bytes())
        assert SECRET.encode() not in after and SECRET.encode("utf-16-be") not in after
        coded = hidden[hidden.index(b"\xff\xda") + 20 :]
        pieces = [coded[start : start + 16] for start in range(len(coded) - 16)]
        assert not any(piece in after for piece in pieces)


def test_what_is_kept_of_metadata_is_what_the_lists_say(tmp_path, rng):
    pixels = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    exif = full_exif(preview(rng), SECRET)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, icc_profile=wide_profile("p3"), dpi=(300, 300))
    with PIL.Image.open(redacted(tmp_path / "a.jpg", tmp_path / "b.jpg")) as picture:
        kept, part = picture.getexif(), picture.getexif().get_ifd(0x8769)
        assert kept[0x0132] == "2024:05:06 07:08:09" and part[0x9003] == "2024:05:06 07:08:10"
        assert float(part[0x829A]) == pytest.approx(0.01) and part[0x8827] == 400 and part[0x9000] == b"0232"
        assert set(kept) <= {*KEPT_IMAGE, 0x8769} and set(part) <= set(KEPT_EXIF)
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "exif", "icc_profile"}
        assert rebuilt_profile(picture.info["icc_profile"]) == picture.info["icc_profile"]


@pytest.mark.parametrize("kind", ["gamma", "parametric", "table"])
@pytest.mark.parametrize("name", WIDE)
def test_a_rebuilt_profile_converts_as_the_given_one(rng, name, kind):
    from PIL import ImageCms

    given = wide_profile(name, kind=kind, text=SECRET, extra={b"priv": SECRET.encode()})
    made = rebuilt_profile(given)
    assert made is not None and SECRET.encode() not in made and b"test" not in made and rebuilt_profile(made) == made
    picture = PIL.Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    srgb = ImageCms.createProfile("sRGB")
    first, second = (ImageCms.ImageCmsProfile(io.BytesIO(data)) for data in (given, made))
    for pair in (((first, srgb), (second, srgb)), ((srgb, first), (srgb, second))):
        one, two = (np.asarray(ImageCms.profileToProfile(picture, *way)).astype(int) for way in pair)
        assert np.abs(one - two).max() <= 1


def test_profiles_that_cannot_be_rebuilt_are_none(rng):
    assert rebuilt_profile(table_profile()) is None
    whole = wide_profile("adobe", kind="table")
    start = whole.index(b"curv") + 12
    noise = whole[:start] + rng.bytes(8192) + whole[start + 8192 :]
    assert rebuilt_profile(noise) is None, "a curve that does not rise may be anything"
    for damaged in (b"", whole[:100], whole[:140], whole[:200] + bytes(60)):
        assert rebuilt_profile(damaged) is None


AWAY = MatrixTransform(np.array([(1, 0, 5000.0), (0, 1, 0), (0, 0, 1)]))


@pytest.mark.parametrize("mode", REDACTION_MODES)
def test_a_redaction_that_hides_nothing_is_an_error(rng, mode):
    target = as_image(rng.integers(0, 256, (96, 160, 3), dtype=np.uint8))
    edit = Redaction(region=Region.box(*BOX), mode=mode)
    with pytest.raises(EditError, match="outside the picture, so nothing was hidden"):
        edit.apply(target, AWAY)
    inside = Layers([edit, Redaction(region=Region.box(4000, 10, 20, 20))])
    with pytest.raises(EditError, match="nothing was hidden"):
        inside.apply(target, similarity())


def crafted(folder):
    """A recipe whose quad lies on the source, but whose mask does not."""
    recipe = edit_to_dict(Redaction(region=Region.box(16, 12, 16, 16), mode="fill"))
    recipe["region"]["origin"] = [9000, 9000]
    (folder / "crafted.json").write_text(json.dumps(recipe))
    return recipe


def test_a_crafted_origin_is_a_failed_target_not_redacted(tmp_path, tiny, tiny_model, capsys):
    scene = make_scene(tmp_path, 2)
    source = load_image(scene / "source.png")
    with pytest.raises(EditError, match="mask"):
        edit_from_dict(crafted(scene))
    region = Region.box(16, 12, 16, 16)
    edit = Redaction(region=Region(region.weight, (9000, 9000), region.quad), mode="fill")
    result = transfer(source, edit, scene / "photos" / "photo0000.png", featurizer=tiny, min_confidence=0.0)
    assert result.status == "failed" and "nothing was hidden" in result.reason and result.image is None
    many = list(propagate(source, edit, str(scene / "photos"), featurizer=tiny, min_confidence=0.0))
    assert [each.status for each in many] == ["failed", "failed"]
    arguments = ["propagate", str(scene / "source.png"), "--edit", str(scene / "crafted.json"), "--model"]
    assert main([*arguments, str(tiny_model), str(scene / "photos"), "-o", str(scene / "out"), "--quiet"]) == 2
    assert not list((scene / "out").glob("*.png"))


def test_targets_beside_which_the_region_falls_are_counted_as_not_redacted(tmp_path, tiny, monkeypatch, capsys):
    from dift_edit.batch import run_batch
    from dift_edit.placement.placement import Placement
    from dift_edit.settings import BatchSettings, TransferSettings

    scene = make_scene(tmp_path, 2)
    source, edit = load_image(scene / "source.png"), Redaction(region=Region.box(16, 12, 16, 16), mode="fill")

    def far(source, quad, image, **options):
        found = Placement(
            quad=AWAY(quad),
            transform=AWAY,
            confidence=0.97,
            confidence_source="surface",
            mirrored=False,
            reason="",
            engine="auto",
        )
        return [found]

    monkeypatch.setattr("dift_edit.pipeline.find_instances", far)
    summary = run_batch(
        source, edit, [scene / "photos"], scene / "out", featurizer=tiny,
        settings=TransferSettings(min_confidence=0.5), batch=BatchSettings(preview_size=16),
    )  # fmt: skip
    assert summary.counts == {"applied": 0, "abstained": 0, "failed": 2}
    assert len(summary.unredacted) == 2 and summary.exit_status == 1
    assert all("nothing was hidden" in row["reason"] and row["output"] is None for row in rows_of(scene / "out"))
    assert not list((scene / "out").glob("photo*"))


def test_corners_moved_out_of_the_picture_leave_no_result(tmp_path, tiny_model, capsys):
    scene = make_scene(tmp_path, 2)
    recipe = str(save_edit(Redaction(region=Region.box(16, 12, 16, 16), mode="fill"), scene / "hide.json"))
    out = scene / "out"
    arguments = ["propagate", str(scene / "source.png"), "--edit", recipe, "--model", str(tiny_model)]
    assert main([*arguments, "--min-confidence", "0", "-o", str(out), str(scene / "photos"), "--quiet"]) == 0
    with Journal(journal_path(OutputFolder(out))) as journal:
        job, key = journal.job["fingerprint"], next(key for key in journal.rows if key.endswith("photo0000.png"))
    quad = Region.box(16, 12, 16, 16).quad
    pins = [[corner.tolist(), (corner + 5000).tolist()] for corner in quad]
    listed = [{"id": key, "decision": "", "note": "", "pins": pins}]
    (scene / "d.json").write_text(
        json.dumps({"format": "dift-edit review", "version": 1, "job": job, "decisions": listed})
    )
    assert (out / "photo0000.png").exists()
    capsys.readouterr()
    assert (out / preview_name(key, "after")).exists()
    for _ in range(2):
        assert main(["apply-review", str(out), str(scene / "d.json")]) == 1
        assert not (out / preview_name(key, "after")).exists()
        said = capsys.readouterr()
        assert "1 not remade" in said.out and "1 of 2 targets were NOT redacted" in said.err
        row = next(row for row in rows_of(out) if row["id"] == key)
        assert row["status"] == "failed" and "nothing was hidden" in row["reason"] and row["output"] is None
        assert not (out / "photo0000.png").exists()
    assert (out / "photo0001.png").exists()


def reviewed(folder, **made):
    """Decisions on the first row of an output folder."""
    with Journal(journal_path(OutputFolder(folder))) as journal:
        row = {"id": next(iter(journal.rows)), "decision": "", "note": "", "pins": [], **made}
        data = {"format": "dift-edit review", "version": 1, "job": journal.job["fingerprint"], "decisions": [row]}
    path = folder.parent / "decisions.json"
    path.write_text(json.dumps(data))
    return str(path)


def test_a_redaction_over_results_of_another_edit_leaves_nothing_of_them(tmp_path):
    scene = make_scene(tmp_path, 2)
    out, photos = scene / "out", str(scene / "photos")
    fixed = ["propagate", str(scene / "source.png"), photos, "--engine", "fixed", "-o", str(out), "--quiet"]
    assert main([*fixed, "--sticker", str(scene / "sticker.png")]) == 0
    assert main(["apply-review", str(out), reviewed(out, decision="rejected")]) == 0
    assert list((out / "rejected").iterdir()) and (out / "contact_sheet.jpg").exists()
    assert main([*fixed, "--redact", "16,12,16,16,mode=fill", "--overwrite", "--no-report"]) == 0
    left = {str(path.relative_to(out)) for path in out.rglob("*") if path.suffix in (".png", ".jpg", ".html")}
    assert left == {"photo0000.png", "photo0001.png"}


def test_a_review_puts_on_the_edit_that_the_folder_was_made_with(tmp_path, capsys):
    scene = make_scene(tmp_path, 1)
    out, source, mask = scene / "out", scene / "source.png", scene / "mask.png"
    quad = Region.box(16, 12, 16, 16).quad
    pins = [[corner.tolist(), (corner + 2).tolist()] for corner in quad]
    hide = np.zeros((40, 48), np.uint8)
    hide[12:28, 16:32] = 255
    PIL.Image.fromarray(hide).save(mask)
    fixed = ["propagate", str(source), str(scene / "photos"), "--engine", "fixed", "-o", str(out), "--quiet"]
    assert main([*fixed, "--redact", str(mask)]) == 0
    before = (out / "photo0000.png").read_bytes()
    PIL.Image.fromarray(np.roll(hide, 12, 0)).save(mask)
    assert main(["apply-review", str(out), reviewed(out, pins=pins)]) == 2
    assert "The edit that" in capsys.readouterr().err and (out / "photo0000.png").read_bytes() == before
    edit = Redaction(region=Region.box(16, 12, 16, 16), mode="fill")
    again = {"settings": TransferSettings(engine="fixed"), "batch": BatchSettings(overwrite=True)}
    run_batch(source, edit, scene / "photos", out, **again)
    assert not (out / "job.toml").exists()  # it is not the recipe of these results


def part_tiff(path, pixels, **options):
    exif = PIL.Image.Exif()
    exif[0x010F], exif[0x8769] = "Maker", {0x829A: 0.02, 0x9003: "2020:01:01 00:00:00"}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    PIL.Image.fromarray(pixels).save(path, exif=exif.tobytes(), **options)


def test_a_tiff_with_an_exif_part_is_written_with_it(tmp_path, rng):
    pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    part_tiff(tmp_path / "a.tif", pixels)
    save_image(load_image(tmp_path / "a.tif"), tmp_path / "b.tif")
    with PIL.Image.open(tmp_path / "b.tif") as picture:
        assert np.array_equal(np.asarray(picture), pixels) and picture.getexif()[0x010F] == "Maker"
        assert float(picture.getexif().get_ifd(0x8769)[0x829A]) == 0.02
        assert picture.getexif().get_ifd(0x8825)[2] == (1.0, 2.0, 3.0)


def test_a_profile_that_cannot_be_inverted_gives_srgb(tmp_path, rng):
    pixels = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=table_profile())
    image = load_image(tmp_path / "a.png")
    assert image.file.native is not None
    made = Sticker(as_image(np.full((9, 9, 3), 255, np.uint8)), Region.box(20, 20, 9, 9).quad).apply(
        image, similarity()
    )
    for result in (image, made):
        with PIL.Image.open(save_image(result, tmp_path / "b.png")) as picture:
            assert "icc_profile" not in picture.info and np.array_equal(np.asarray(picture), result.pixels)
    with PIL.Image.open(redacted(tmp_path / "a.png", tmp_path / "c.png")) as picture:
        assert "icc_profile" not in picture.info


@pytest.mark.slow
def test_every_error_of_an_encoder_is_a_failed_row(tmp_path, tiny, monkeypatch):
    from dift_edit.batch import run_batch
    from dift_edit.settings import BatchSettings, TransferSettings

    scene = make_scene(tmp_path, 3)
    (scene / "photos" / "photo0001.png").rename(scene / "photos" / "photo0001.tif")
    PIL.Image.open(scene / "photos" / "photo0000.png").save(scene / "photos" / "photo0001.tif")
    for error in (RuntimeError("Error setting from dictionary"), struct.error("bad"), KeyError(1), MemoryError()):

        def broken(*arguments, error=error, **options):
            raise error

        with monkeypatch.context() as patched:
            patched.setitem(PIL.Image.SAVE, "TIFF", broken)
            with pytest.raises(OutputError, match=r"cannot be written|needs more memory"):
                save_image(load_image(scene / "photos" / "photo0001.tif"), tmp_path / "x.tif")
            assert not (tmp_path / "x.tif").exists()
            summary = run_batch(
                load_image(scene / "source.png"), Redaction(region=Region.box(16, 12, 16, 16)), [scene / "photos"],
                scene / f"out-{type(error).__name__}", featurizer=tiny, settings=TransferSettings(min_confidence=0.0),
                batch=BatchSettings(preview_size=16),
            )  # fmt: skip
        assert summary.counts == {"applied": 2, "abstained": 0, "failed": 1} and len(summary.unredacted) == 1


def composed(image, edits, opacity, transform=None):
    """One frame of a clip on which every edit has this opacity."""
    from types import SimpleNamespace

    from dift_edit.clips.sequence import _composed

    layers = [
        SimpleNamespace(
            edit=edit, source=0, index=lambda frame: 0, weight=lambda frame: 1.0, hidden=None,
            path=SimpleNamespace(opacity=[opacity]), transform=lambda frame: transform or similarity(),
        )
        for edit in edits
    ]  # fmt: skip
    return _composed(SimpleNamespace(layers=layers), 0, image, {0: image}, None)


def test_in_a_clip_a_redaction_never_fades(tmp_path, rng):
    pixels = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png", exif=full_exif(preview(rng), SECRET))
    image = load_image(tmp_path / "a.png")
    hide, patch = Redaction(region=Region.box(*BOX), mode="fill"), np.full((36, 120, 3), 255, np.uint8)
    sticker = Sticker(as_image(patch), Region.box(*BOX).quad)
    x, y, width, height = BOX
    for edits in ([hide], [hide, sticker], [sticker, Layers([hide])], [Layers([sticker, hide])]):
        result, opacity = composed(image, edits, 0.2)
        assert opacity == 1.0 and (result.pixels[y : y + height, x : x + width] == 0).all()
        assert SECRET.encode() not in everywhere(save_image(result, tmp_path / "b.png").read_bytes())
    gone, opacity = composed(image, [hide], 1.0, AWAY)
    assert opacity == 0.0 and np.array_equal(gone.pixels, pixels), "its object has left the frame"
    both, opacity = composed(image, [Layers([hide, Redaction(region=Region.box(9000, 0, 9, 9))])], 1.0)
    assert opacity == 1.0 and (both.pixels[y : y + height, x : x + width] == 0).all()
    faded, _ = composed(image, [Erase(Region.box(*BOX))], 0.5)
    assert SECRET.encode() not in everywhere(save_image(faded, tmp_path / "c.png").read_bytes())
