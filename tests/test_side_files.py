"""Layers, masks and the comparison with the target in batches: beside the result, after a review, redacting."""

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import dift_edit as de
from batch_data import make_scene, picture, rows_of
from dift_edit.cli import main
from dift_edit.cli._batch import verified_lines
from dift_edit.errors import SettingsError
from dift_edit.imaging.compare import compare_outside
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import FileInfo
from dift_edit.results.manifest import Row
from dift_edit.results.names import is_side_name
from dift_edit.settings import BatchSettings
from layered_files import ora_flattened, png_flattened, psd_flattened


@pytest.fixture
def scene(tmp_path):
    make_scene(tmp_path, 2)
    picture(7).save(tmp_path / "photos" / "photo.jpg", quality=88)
    return tmp_path


def propagate(scene, *more, edit=("--sticker", "sticker.png"), output="out"):
    words = [str(scene / word) if word.endswith((".png", ".json")) else word for word in edit]
    command = ["propagate", f"{scene}/source.png", f"{scene}/photos", *words, "--engine", "fixed"]
    return main([*command, "-o", f"{scene}/{output}", "--quiet", *more])


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["psd", "ora", "png"])
def test_layers_lie_beside_the_results_and_give_them(scene, kind):
    assert propagate(scene, "--layers", kind, "--masks", "--opacity", "0.5") == 0
    for row in rows_of(scene / "out"):
        name = row["output"]
        result = np.asarray(load_image(scene / "photos" / name).to_pil().convert("RGBA"), np.float64)
        mask = np.asarray(PIL.Image.open(scene / "out" / "masks" / name / "1-sticker.png"))
        assert mask.dtype == np.uint8 and np.array_equal(np.unique(mask), [0, 255]) and mask[20, 20] == 255
        result[mask > 0, :3] = (result[mask > 0, :3] + (220, 20, 60)) / 2
        if kind == "png":
            composited = png_flattened(scene / "out" / "layers" / name)
            assert row["baked"] == "1 sticker: opacity baked"
        else:
            data = (scene / "out" / "layers" / f"{name}.{kind}").read_bytes()
            composited = (psd_flattened if kind == "psd" else ora_flattened)(data)[0]
            assert row["baked"] == ""
        assert np.abs(composited - result).max() <= 2
        assert len(row["files"]) == (3 if kind == "png" else 2)
        for file, digest in row["files"].items():
            assert is_side_name(file)
            assert hashlib.sha256((scene / "out" / file).read_bytes()).hexdigest() == digest


def test_layers_instead_of_the_result(scene):
    assert propagate(scene, "--layers", "ora", "--no-flattened", "--no-report") == 0
    rows = rows_of(scene / "out")
    assert [(row["status"], row["output"]) for row in rows] == 3 * [("applied", None)]
    pictures = {name for name in files_of(scene / "out") if not name.startswith((".dift", "manifest", "job"))}
    assert pictures == {f"layers/{name}.ora" for name in ("photo.jpg", "photo0000.png", "photo0001.png")}
    with pytest.raises(SettingsError, match="there must be layers"):
        BatchSettings(flattened=False)
    with pytest.raises(SettingsError, match="no --verify"):
        BatchSettings(flattened=False, layers="ora", verify=True)


def test_a_second_run_adds_what_is_missing_and_does_no_more(scene, capsys):
    assert propagate(scene) == 0
    before = {row["id"]: row["output_sha256"] for row in rows_of(scene / "out")}
    assert propagate(scene, "--layers", "psd") == 0
    rows = rows_of(scene / "out")
    assert {row["id"]: row["output_sha256"] for row in rows} == before and all(row["files"] for row in rows)
    capsys.readouterr()
    assert propagate(scene, "--layers", "psd") == 0
    assert "3 of 3 targets were done before" in capsys.readouterr().err
    damaged = scene / "out" / "layers" / "photo0000.png.psd"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-40])
    assert propagate(scene, "--layers", "psd") == 0
    assert "2 of 3 targets were done before" in capsys.readouterr().err and damaged.read_bytes() == whole
    (scene / "photos" / "photo0000.png").write_bytes(b"no picture")
    assert propagate(scene, "--layers", "psd") == 1
    assert not damaged.exists(), "the layers of what the target was"
    assert propagate(scene, "--overwrite") == 1
    assert not any(name.startswith("layers/") for name in files_of(scene / "out"))


def test_what_a_killed_run_left_does_not_stay(scene):
    """Layers and masks whose row was never written, of a target that is not the same any more."""
    for name in ("layers/photo0000.png.psd", "layers/photo0000.png/1-sticker.png", "masks/photo0000.png/1-sticker.png"):
        (scene / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (scene / "out" / name).write_bytes(b"of another run")
    (scene / "photos" / "photo0000.png").write_bytes(b"no picture")
    assert propagate(scene) == 1
    assert not any(name.startswith(("layers/", "masks/")) for name in files_of(scene / "out"))


def test_odd_targets_get_layers_or_a_sentence(scene):
    photos = scene / "photos"
    picture(3).convert("CMYK").save(photos / "cmyk.jpg", quality=90)
    PIL.Image.fromarray(np.asarray(picture(3).convert("L"), np.uint16) * 257).save(photos / "deep.png")
    PIL.Image.fromarray(np.full((30, 60_000, 3), 90, np.uint8)).save(photos / "wide.png")
    picture(3).convert("P").save(photos / "palette.gif")
    (photos / "cut.psd").write_bytes((photos / "photo.jpg").read_bytes()[:100])
    assert propagate(scene, "--layers", "psd", "--masks", "--verify") == 1
    rows = {row["target"].rpartition("/")[2]: row for row in rows_of(scene / "out")}
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    assert failed == {"wide.png", "cut.psd"}
    assert "a PSD holds 30,000 a side: use ora or png" in rows["wide.png"]["reason"]
    assert not (scene / "out" / "wide.png").exists() and rows["wide.png"]["files"] == {}
    assert rows["cmyk.jpg"]["untouched"]["tables_kept"] is False
    assert rows["deep.png"]["untouched"]["changed"] == 0
    assert rows["palette.gif"]["untouched"]["unit"] == "blocks"


def decide(scene, **decisions):
    """Apply decisions on the first row."""
    folder = scene / "out"
    row = rows_of(folder)[0]
    job = json.loads((folder / ".dift-edit" / "journal.jsonl").read_text().splitlines()[0].partition(" ")[2])["job"]
    made = {"format": "dift-edit review", "version": 1, "job": job["fingerprint"]}
    made["decisions"] = [{"id": row["id"], "decision": "", "note": "", "pins": [], **decisions}]
    (scene / "decisions.json").write_text(json.dumps(made))
    assert main(["apply-review", str(folder), str(scene / "decisions.json")]) == 0
    return rows_of(folder)[0]


def test_a_review_takes_layers_and_masks_along(scene):
    assert propagate(scene, "--layers", "ora", "--masks", "--verify") == 0
    first = rows_of(scene / "out")[0]
    rejected = decide(scene, decision="rejected")
    assert rejected["files"] == {f"rejected/{name}": digest for name, digest in first["files"].items()}
    assert files_of(scene / "out") >= set(rejected["files"]) and not files_of(scene / "out") & set(first["files"])
    assert decide(scene, decision="accepted")["files"] == first["files"]
    corners = [[15.5, 11.5], [31.5, 11.5], [31.5, 27.5], [15.5, 27.5]]
    moved = decide(scene, decision="accepted", pins=[[corner, [corner[0] + 4, corner[1]]] for corner in corners])
    assert moved["files"].keys() == first["files"].keys() and moved["files"] != first["files"]
    assert moved["untouched"]["reach"] > 0 and moved["engine"] == "pins"
    mask = np.asarray(PIL.Image.open(scene / "out" / next(name for name in moved["files"] if name.startswith("masks"))))
    assert mask[20, 34] == 255 and mask[20, 17] == 0


@pytest.fixture
def secret(scene):
    """Targets with colours of their own where the redaction will be."""
    rng = np.random.default_rng(0)
    for name in ("photo0000.png", "photo0001.png", "photo.jpg"):
        pixels = np.asarray(picture(3)).copy()
        pixels[12:28, 16:32] = rng.choice([(255, 0, 254), (1, 255, 0), (0, 2, 255)], (16, 16))
        PIL.Image.fromarray(pixels).save(scene / "photos" / name, quality=95)
    return scene


@pytest.mark.parametrize("kind", ["psd", "ora", "png"])
def test_nothing_in_the_output_folder_shows_what_a_redaction_hides(secret, kind):
    edit = ("--redact", "14,10,20,20,mode=fill", "--sticker", "sticker.png")
    assert propagate(secret, "--layers", kind, "--masks", "--at", "0,0,9,9", edit=edit) == 0
    for row in rows_of(secret / "out"):
        name = row["output"]
        if kind == "png":
            images = [np.asarray(PIL.Image.open(path)) for path in (secret / "out" / "layers" / name).iterdir()]
        elif kind == "psd":
            from layered_files import psd_layers

            data = (secret / "out" / "layers" / f"{name}.psd").read_bytes()
            images = [layer["values"] for layer in psd_layers(data)] + [psd_flattened(data)[1]]
        else:
            images = ora_flattened((secret / "out" / "layers" / f"{name}.ora").read_bytes())[:2]
        whole = [image for image in images if image.shape[:2] == (40, 48)]
        assert len(whole) == len(images) and all(not image[12:28, 16:32, :3].any() for image in whole)


def test_rejected_layers_of_a_redaction_leave_the_folder_that_is_given_away(secret):
    edit = ("--redact", "14,10,20,20,mode=fill")
    assert propagate(secret, "--layers", "ora", edit=edit) == 0
    row = decide(secret, decision="rejected")
    assert all(not (secret / "out" / name).exists() for name in row["files"])
    assert all((secret / "out-unredacted" / name).exists() for name in row["files"])


@pytest.mark.parametrize(
    ("name", "options", "unit"),
    [
        ("a.png", {}, "pixels"),
        ("a.tif", {}, "pixels"),
        ("a.bmp", {}, "pixels"),
        ("a.jpg", {"quality": 83, "subsampling": 2}, "blocks"),
        ("b.jpg", {"quality": 97, "subsampling": 0}, "blocks"),
        ("a.webp", {"quality": 80}, "blocks"),
    ],
)
def test_what_lies_outside_the_edit_is_compared(scene, name, options, unit):
    for path in (scene / "photos").iterdir():
        path.unlink()
    picture(3, (200, 160)).save(scene / "photos" / name, **options)
    assert propagate(scene, "--verify", "--log-json") == 0
    found = rows_of(scene / "out")[0]["untouched"]
    assert found["unit"] == unit and found["compared"] > 0 and found["reach"] == pytest.approx(256 / 32000)
    if unit == "pixels":
        assert found["compared"] == 32000 - 256 and found["changed"] == 0 and found["largest"] == 0
        assert found["tables_kept"] is None
    elif name.endswith(".jpg"):
        before, after = (PIL.Image.open(scene / folder / name) for folder in ("photos", "out"))
        assert after.quantization == before.quantization and found["tables_kept"] is True
        assert found["largest"] <= 8


def test_a_change_outside_the_edit_is_found():
    target = de.as_image(picture(1))
    reach = np.zeros((40, 48), bool)
    reach[10:20, 10:20] = True
    inside, outside = target.pixels.copy(), target.pixels.copy()
    inside[12, 12] ^= 255
    outside[30, 40] ^= 8
    named = FileInfo(path=Path("x.png"), format="PNG")
    same = compare_outside(target, de.Image(inside, file=named), reach)
    assert (same.changed, same.largest, same.proven) == (0, 0, True)
    other = compare_outside(target, de.Image(outside, file=named), reach)
    assert (other.changed, other.largest, other.proven) == (1, 8, False)


class Careless(de.Sticker):
    """An edit that sets a pixel which it does not own up to."""

    def apply(self, target, transform, *, source=None, compositing=None):
        done = super().apply(target, transform, source=source, compositing=compositing)
        done.pixels[0, 0] ^= 1
        return done


def test_a_verified_run_that_found_a_change_ends_with_status_1(scene):
    settings, batch = de.TransferSettings(engine="fixed"), BatchSettings(verify=True, report=False)
    arguments = (scene / "source.png", Careless(scene / "sticker.png"), scene / "photos", scene / "out")
    summary = de.run_batch(*arguments, settings=settings, batch=batch)
    assert [row.target.rpartition("/")[2] for row in summary.differing] == ["photo0000.png", "photo0001.png"]
    assert len(summary.verified) == 3 and summary.exit_status == 1
    assert "2 of 3 outputs differ from their targets outside the edit:" in verified_lines(summary)[0]


def test_only_names_of_layers_and_masks_are_taken_from_a_row():
    plain = {"id": "a", "target": "a", "status": "applied"}
    assert Row.from_dict({**plain, "files": {"layers/a/b.png.psd": "0"}}).files
    for name in ("a.png", "layers/../a", "/layers/a", "layers//a", "layers/rejected/x", "masks", "rejected/a.png", 3):
        with pytest.raises(ValueError, match="files"):
            Row.from_dict({**plain, "files": {name: "0"}})
