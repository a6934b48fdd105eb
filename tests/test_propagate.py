"""Runs over sets of photos: library and command line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

import dift_edit as de
from batch_data import SETTINGS, make_scene, picture, rows_of, variant
from dift_edit.batch import ModelSpec, propagate, run_batch
from dift_edit.cli import main
from dift_edit.edits import Sticker
from dift_edit.errors import DiftEditError, ModelError, OutputError
from dift_edit.imaging.files import load_image
from dift_edit.results.manifest import Row
from dift_edit.settings import BatchSettings, TransferSettings

FIELDS = {"target", "output", "status", "reason", "confidence", "quad", "matrix", "mirrored", "engine", "model", "seed"}


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path, 4)


def command(scene, tiny_model, *more):
    return main(
        [
            "propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), "--model", str(tiny_model),
            "--min-confidence", "0", "--mirror", "never", "-o", str(scene / "out"), *map(str, more),
        ]
    )  # fmt: skip


def test_propagate_yields_one_result_a_target_in_order(scene, tiny):
    source = load_image(scene / "source.png")
    sticker = Sticker.from_file(scene / "sticker.png", source_size=source.size)
    targets = [scene / "photos" / "photo0001.png", source, scene / "missing.png", np.asarray(variant(1))]
    results = list(propagate(source, sticker, targets, featurizer=tiny, min_confidence=0.0, mirror="never"))
    assert [result.status for result in results] == ["applied", "applied", "failed", "applied"]
    assert "missing.png does not exist" in results[2].reason and results[2].image is None
    np.testing.assert_array_equal(results[0].image.pixels, results[3].image.pixels)  # the same picture twice
    with pytest.raises(DiftEditError, match="engine"):
        propagate(source, sticker, targets, featurizer=tiny, engine="magic")


def test_propagate_takes_a_folder_and_reads_lazily(scene, tiny):
    source = load_image(scene / "source.png")
    sticker = Sticker.from_file(scene / "sticker.png")
    taken = []

    def stream():
        for number in range(1000):
            taken.append(number)
            yield np.asarray(picture(number))

    first = next(iter(propagate(source, sticker, stream(), featurizer=tiny)))
    assert first.status in ("applied", "abstained") and len(taken) < 10
    assert len(list(propagate(source, sticker, scene / "photos", featurizer=tiny))) == 4


def test_command_writes_pictures_manifest_and_contact_sheet(scene, tiny_model, capsys):
    (scene / "photos" / "readme.md").write_text("words")
    assert command(scene, tiny_model, scene / "photos") == 0
    out = scene / "out"
    found = rows_of(out)
    assert [row["output"] for row in found] == [f"photo{i:04d}.png" for i in range(4)]
    for row in found:
        assert row.keys() >= FIELDS
        assert row["status"] == "applied" and np.shape(row["quad"]) == (4, 2) and np.shape(row["matrix"]) == (3, 3)
        assert row["model"]["sha256"] and 0 <= row["confidence"] <= 1 and row["seconds"] > 0
        with PIL.Image.open(out / row["output"]) as result:
            assert result.size == (48, 40) and result.format == "PNG"
    assert PIL.Image.open(out / "contact_sheet.jpg").size[0] > 100
    said = capsys.readouterr().err
    assert "readme.md: it is not an image" in said and "4 applied, 0 abstained, 0 failed" in said
    assert not list(out.rglob("*.tmp"))


def test_files_and_memory_agree(scene, tiny, tiny_model):
    assert command(scene, tiny_model, scene / "photos", "--seed", "3") == 0
    source, sticker = load_image(scene / "source.png"), Sticker.from_file(scene / "sticker.png")
    model_defaults = de.load_featurizer(tiny_model)
    settings = TransferSettings(min_confidence=0.0, mirror="never", seed=3)
    for row, result in zip(
        rows_of(scene / "out"),
        propagate(source, sticker, scene / "photos", featurizer=model_defaults, settings=settings),
        strict=True,
    ):
        np.testing.assert_array_equal(load_image(scene / "out" / row["output"]).pixels, result.image.pixels)


def test_bad_targets_are_rows_and_the_rest_is_done(scene, tiny_model, capsys):
    photos = scene / "photos"
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.png").write_text("this is no picture")
    picture(3, (400, 300)).save(photos / "torn.jpg")
    data = (photos / "torn.jpg").read_bytes()
    (photos / "torn.jpg").write_bytes(data[: len(data) // 2])
    assert command(scene, tiny_model, photos, scene / "missing.jpg") == 1
    found = {row["target"].rsplit("/", 1)[-1]: row for row in rows_of(scene / "out")}
    assert sum(row["status"] == "applied" for row in found.values()) == 4
    for name, words in {
        "empty.png": "is empty", "text.png": "not a picture", "torn.jpg": "damaged", "missing.jpg": "does not exist",
    }.items():  # fmt: skip
        row = found[name]
        assert row["status"] == "failed" and row["output"] is None
        assert name in row["reason"] and words in row["reason"] and len(row["reason"].splitlines()) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--at", "1,2,3"], "not 4 numbers"),
        (["--at", "500,500,9,9"], "outside the source"),
        (["--engine", "magic"], "invalid choice"),
        (["--min-confidence", "7"], "min_confidence"),
        (["--workers", "0"], "workers"),
        (["--model", "/nowhere"], "no model"),
        (["--targets-from", "/nowhere.csv"], "cannot be read"),
        (["--edited", "x.png"], "not both"),
    ],
)
def test_bad_arguments_are_one_sentence_and_status_2(scene, tiny_model, capsys, change, words):
    try:
        status = command(scene, tiny_model, scene / "photos", *change)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said


def test_run_batch_takes_one_path(scene, tiny):
    source, sticker = load_image(scene / "source.png"), Sticker.from_file(scene / "sticker.png")
    summary = run_batch(
        source, sticker, f"{scene}/photos/", scene / "out", featurizer=tiny, settings=TransferSettings()
    )
    assert summary.counts["failed"] == 0
    expected = [str(scene / "photos" / f"photo{number:04d}.png") for number in range(4)]
    assert [row["target"] for row in rows_of(scene / "out")] == expected


def test_no_target_at_all(scene, tiny_model, capsys):
    (scene / "empty").mkdir()
    assert command(scene, tiny_model, scene / "empty") == 2
    assert "There is no target" in capsys.readouterr().err


def test_originals_and_foreign_files_are_never_replaced(scene, tiny):
    source, sticker = load_image(scene / "source.png"), Sticker.from_file(scene / "sticker.png")
    before = (scene / "photos" / "photo0000.png").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="would replace a target"):
            run_batch(
                source, sticker, [scene / "photos" / "photo0000.png"], scene / "photos", featurizer=tiny,
                settings=TransferSettings(), batch=BatchSettings(overwrite=overwrite),
            )  # fmt: skip
    assert (scene / "photos" / "photo0000.png").read_bytes() == before
    out = scene / "out"
    out.mkdir()
    shutil.copy(scene / "source.png", out / "photo0001.png")
    with pytest.raises(OutputError, match=r"photo0001\.png is in .* already"):
        run_batch(source, sticker, [scene / "photos"], out, featurizer=tiny, settings=TransferSettings())


def test_dry_run_writes_nothing(scene, tiny_model, capsys):
    assert command(scene, tiny_model, scene / "photos", "--dry-run") == 0
    assert not (scene / "out").exists()
    said = capsys.readouterr().out
    assert "targets: 4" in said and "time:" in said and "space:" in said


def test_an_edited_source_is_an_edit(scene, tiny_model):
    edited = picture(1)
    edited.paste((0, 200, 0), (16, 12, 32, 28))
    edited.save(scene / "edited.png")
    arguments = [
        str(scene / "source.png"),
        "--edited",
        str(scene / "edited.png"),
        "--model",
        str(tiny_model),
        str(scene / "photos"),
    ]
    assert main(["propagate", *arguments, "--min-confidence", "0", "-o", str(scene / "out")]) == 0
    changed = np.asarray(PIL.Image.open(scene / "out" / "photo0000.png")).astype(int) - np.asarray(variant(0))
    assert np.abs(changed).max() > 30


def test_model_spec_loads_the_same_features(tiny_model, tiny):
    spec = ModelSpec(name=str(tiny_model), settings=SETTINGS)
    assert spec.load().fingerprint == tiny.fingerprint


class Broken(de.Featurizer):
    """A real featurizer that cannot take one picture."""

    def __init__(self, featurizer, digest: str, error: Exception) -> None:
        self.featurizer, self.digest, self.error = featurizer, digest, error

    @property
    def fingerprint(self):
        return self.featurizer.fingerprint

    @property
    def model(self):
        return self.featurizer.model

    def __call__(self, image, *, seed=0):
        if image.digest == self.digest:
            raise self.error
        return self.featurizer(image, seed=seed)


ERRORS = [
    (ModelError("There is not enough memory for a single forward pass."), "single forward pass."),
    (torch.OutOfMemoryError("CUDA out of memory."), "does not fit into the memory"),
    (MemoryError(), "does not fit into the memory"),
    (cv2.error("OpenCV(4.9) warp.cpp:1: error"), r"could not be handled (error: OpenCV(4.9) warp.cpp:1: error)."),
    (np.linalg.LinAlgError("Singular matrix"), "could not be handled (LinAlgError: Singular matrix)."),
    (ValueError("first\nsecond"), "could not be handled (ValueError: first)."),
]


@pytest.mark.parametrize(("error", "words"), ERRORS, ids=lambda value: type(value).__name__)
def test_one_guard_turns_a_target_s_failure_into_a_row(scene, tiny, error, words):
    """`transfer`, `propagate` and `run_batch` say the same of it, and the others go on."""
    source, sticker = load_image(scene / "source.png"), Sticker.from_file(scene / "sticker.png")
    paths = [scene / "photos" / f"photo{number:04d}.png" for number in range(3)]
    broken = Broken(tiny, load_image(paths[1]).digest, error)
    options = {"featurizer": broken, "min_confidence": 0.0, "mirror": "never"}
    alone = de.transfer(source, sticker, paths[1], **options)
    results = list(propagate(source, sticker, paths, **options))
    transfer = TransferSettings(min_confidence=0.0, mirror="never")
    run_batch(source, sticker, paths, scene / "out", featurizer=broken, settings=transfer)
    rows = rows_of(scene / "out")
    for all_ in (results, [Row.from_dict(row) for row in rows]):
        assert [each.status for each in all_] == ["applied", "failed", "applied"]
        assert all_[1].reason == alone.reason
    assert alone.status == "failed" and words in alone.reason and "\n" not in alone.reason
    assert isinstance(error, ModelError) or str(paths[1]) in alone.reason


def test_what_is_wrong_for_all_targets_is_said_at_once(scene, tiny):
    source, sticker = load_image(scene / "source.png"), Sticker.from_file(scene / "sticker.png")
    cases = [
        ({"pins": [(1, 2)]}, DiftEditError, "pairs"),
        ({"source_mask": np.zeros((40, 48), bool)}, DiftEditError, "source mask"),
        ({"min_confidence": 7}, DiftEditError, "min_confidence"),
        ({"pin": []}, TypeError, "keyword argument 'pin'"),
    ]
    for options, kind, words in cases:
        for call in (de.transfer, propagate):
            with pytest.raises(kind, match=words):
                call(source, sticker, scene / "photos", featurizer=tiny, **options)


@pytest.mark.slow
def test_propagate_leaves_the_caller_its_threads(scene):
    code = """
import sys
import cv2, numpy as np, torch
from threadpoolctl import threadpool_info
import dift_edit as de

def numbers():
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    return {"torch": torch.get_num_threads(), "OpenCV": cv2.getNumThreads(), **pools}

featurizer = de.load_featurizer("lite", image_size=96)
source = de.load_image(f"{sys.argv[1]}/source.png")
sticker = de.Sticker.from_file(f"{sys.argv[1]}/sticker.png")
de.transfer(source, sticker, source, featurizer=featurizer)  # loads every library
torch.set_num_threads(3)
cv2.setNumThreads(3)
before = numbers()
def targets():
    for number in range(5):
        assert numbers() == before, "in the iterable of targets"
        yield f"{sys.argv[1]}/photos/photo{number % 4:04d}.png"
results = de.propagate(source, sticker, targets(), featurizer=featurizer)
for count, result in enumerate(results):
    assert numbers() == before, "in the body of the loop"
    assert result.status != "failed", result.reason
assert numbers() == before and count == 4
print("as they were:", before)
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment.update(OPENBLAS_NUM_THREADS="2", PYTHONPATH=str(Path(de.__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-c", code, str(scene)], capture_output=True, text=True, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0 and "as they were: {'torch': 3, 'OpenCV': 3" in done.stdout, done.stderr
