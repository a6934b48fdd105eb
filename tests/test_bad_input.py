"""Bad input through the command line, as a user gives it: one sentence, the right exit status, the rest done."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from batch_data import make_set, make_sticker, picture
from dift_edit.cli import main

SIZE = (48, 40)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A folder with a source, a sticker for it, two targets, and every broken file that a test may name."""
    monkeypatch.chdir(tmp_path)
    picture(1).save("source.png")
    picture(2, (64, 50)).save("other.png")
    make_sticker(Path("sticker.png"))
    PIL.Image.new("RGBA", (20, 10), (200, 30, 30, 255)).save("patch.png")
    make_set(Path("photos"), 2)
    Path("empty.png").write_bytes(b"")
    Path("text.png").write_text("these are words, not a picture\n" * 20)
    picture(3, (400, 300)).save("torn.jpg")
    Path("torn.jpg").write_bytes(Path("torn.jpg").read_bytes()[:3000])
    data = Path("source.png").read_bytes()
    Path("torn.png").write_bytes(data[: len(data) // 2])
    Path("zero.ppm").write_bytes(b"P6\n0 0\n255\n")
    PIL.Image.new("RGBA", SIZE, (255, 0, 0, 0)).save("invisible.png")
    PIL.Image.new("L", SIZE, 90).save("opaque.png")
    Path("folder.png").mkdir()
    return tmp_path


def call(capsys, *words):
    """Exit status and standard error of a command; argparse's own exits count as statuses."""
    capsys.readouterr()
    try:
        status = main([str(word) for word in words])
    except SystemExit as leaving:
        status = leaving.code
    return status, capsys.readouterr().err


def check_sentence(text: str, *needed: str) -> None:
    """One line with one sentence, that holds the words and is no traceback."""
    line = text.strip().splitlines()[-1]
    assert "Traceback" not in text and "Error(" not in line
    for word in needed:
        assert word in line, f"{word!r} is not in {line!r}"
    assert len(line) < 400, line
    assert line.endswith((".", ")")) or ": error: " in line, line  # argparse's own have no full stop


STICKER = ["--sticker", "sticker.png"]
ARGUMENTS = {
    "missing source": (["missing.png", *STICKER], "missing.png does not exist"),
    "source is a folder": (["photos", *STICKER], "photos is a folder"),
    "empty source": (["empty.png", *STICKER], "empty.png is empty"),
    "text as source": (["text.png", *STICKER], "text.png is not a picture"),
    "truncated JPEG as source": (["torn.jpg", *STICKER], "torn.jpg is damaged or incomplete"),
    "truncated PNG as source": (["torn.png", *STICKER], "torn.png is damaged or incomplete"),
    "source of no pixels": (["zero.ppm", *STICKER], "zero.ppm"),
    "NUL in the name": (["a\0b.png", *STICKER], "NUL"),
    "missing sticker": (["source.png", "--sticker", "hat.png"], "hat.png does not exist"),
    "empty sticker": (["source.png", "--sticker", "empty.png"], "empty.png is empty"),
    "transparent sticker": (["source.png", "--sticker", "invisible.png"], "invisible.png"),
    "opaque sticker without a place": (["source.png", "--sticker", "opaque.png"], "no transparency"),
    "sticker of another size without a place": (["source.png", "--sticker", "patch.png"], "patch.png is 20×10"),
    "sticker outside the source": (["source.png", "--sticker", "patch.png", "--at", "500,500,20,10"], "patch.png"),
    "sticker left of the source": (["source.png", "--sticker", "patch.png", "--at=-90,5,20,10"], "patch.png"),
    "sticker of no area": (["source.png", "--sticker", "patch.png", "--at", "5,5,0,10"], "no area"),
    "sticker at NaN": (["source.png", "--sticker", "patch.png", "--at", "nan,5,20,10"], "finite"),
    "sticker at infinity": (["source.png", "--sticker", "patch.png", "--at", "5,5,inf,10"], "finite"),
    "three numbers for a place": (["source.png", "--sticker", "patch.png", "--at", "5,5,10"], "not 4 numbers"),
    "words for a place": (["source.png", "--sticker", "patch.png", "--at", "a,b,c,d"], "not 4 numbers"),
    "quad with NaN": (["source.png", "--sticker", "patch.png", "--quad", "1,1,20,1,20,nan,1,20"], "finite"),
    "quad on a line": (["source.png", "--sticker", "patch.png", "--quad", "1,1,10,1,20,1,30,1"], "patch.png"),
    "quad that crosses itself": (
        ["source.png", "--sticker", "patch.png", "--quad", "1,1,20,20,20,1,1,20"],
        "patch.png",
    ),
    "quad and at": (
        ["source.png", "--sticker", "patch.png", "--at", "1,1,9,9", "--quad", "1,1,9,1,9,9,1,9"], "not both",
    ),
    "no edit": (["source.png"], "needs one edit"),
    "two edits": (["source.png", *STICKER, "--edited", "source.png"], "not both"),
    "missing edited": (["source.png", "--edited", "missing.png"], "missing.png does not exist"),
    "edited of another size": (["source.png", "--edited", "other.png"], "64×50"),
    "edited equals the source": (["source.png", "--edited", "source.png"], "source.png"),
    "engine that is not there": (["source.png", *STICKER, "--engine", "magic"], "magic"),
    "confidence of 2": (["source.png", *STICKER, "--min-confidence", "2"], "from 0 to 1"),
    "confidence of NaN": (["source.png", *STICKER, "--min-confidence", "nan"], "from 0 to 1"),
    "no workers": (["source.png", *STICKER, "--workers", "0"], "use 1 or more"),
    "model that is not there": (["source.png", *STICKER, "--model", "nothing-such"], "nothing-such"),
    "folder without a model": (["source.png", *STICKER, "--model", "photos"], "photos"),
    "device that is not there": (["source.png", *STICKER, "--device", "toaster"], "toaster"),
    "list that is not there": (["source.png", *STICKER, "--targets-from", "list.csv"], "list.csv"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_that_cannot_be_used_are_one_sentence_and_status_2(case, scene, tiny_model, capsys):
    words, needed = ARGUMENTS[case]
    if "--model" not in words:
        words = [*words, "--model", str(tiny_model)]
    status, said = call(capsys, "propagate", *words, "photos", "-o", "out")
    assert status == 2, said
    check_sentence(said, needed)
    assert not list(Path().glob("out/*.png"))


TARGETS = {
    "missing.png": "does not exist",
    "empty.png": "is empty (0 bytes)",
    "text.png": "is not a picture",
    "torn.jpg": "damaged or incomplete",
    "torn.png": "damaged or incomplete",
    "zero.ppm": "zero.ppm",
}


def test_bad_targets_fail_with_a_sentence_each_and_the_others_are_done(scene, tiny_model, capsys):
    words = [*STICKER, "--model", tiny_model, "--min-confidence", "0", "--mirror", "never", "-o", "out"]
    status, said = call(capsys, "propagate", "source.png", *words, "photos", *TARGETS, "folder.png")
    assert status == 1 and "Traceback" not in said
    rows = {Path(r["target"]).name: r for r in map(json.loads, Path("out/manifest.jsonl").read_text().splitlines())}
    for name, reason in TARGETS.items():
        assert rows[name]["status"] == "failed" and rows[name]["output"] is None
        assert reason in rows[name]["reason"] and name in rows[name]["reason"]
        assert any(name in line and reason in line for line in said.splitlines())
    assert [rows[f"photo{i:04d}.png"]["status"] for i in range(2)] == ["applied"] * 2
    assert f"2 applied, 0 abstained, {len(TARGETS)} failed" in said


MATCHES = {
    "missing source": (["missing.png", "other.png", "--points", "1,1"], "missing.png does not exist"),
    "missing target": (["source.png", "missing.png", "--points", "1,1"], "missing.png does not exist"),
    "truncated target": (["source.png", "torn.jpg", "--points", "1,1"], "torn.jpg is damaged"),
    "NaN": (["source.png", "other.png", "--points", "1,nan"], "finite"),
    "infinity": (["source.png", "other.png", "--points", "inf,1"], "finite"),
    "outside the picture": (["source.png", "other.png", "--points", "1,1 480,10"], "48×40"),
    "left of the picture": (["source.png", "other.png", "--points=-7,3"], "48×40"),
    "words": (["source.png", "other.png", "--points", "here"], "is not a list of points"),
    "nothing": (["source.png", "other.png", "--points", ""], "is not a list of points"),
    "three numbers": (["source.png", "other.png", "--points", "1,2,3"], "is not a list of points"),
}


@pytest.mark.parametrize("case", MATCHES)
def test_points_that_cannot_be_used(case, scene, tiny_model, capsys):
    words, needed = MATCHES[case]
    status, said = call(capsys, "match", *words, "--model", tiny_model)
    assert status == 2
    check_sentence(said, needed)


def test_a_crop_of_no_pixels_is_named():
    from dift_edit import DiftEditError, as_image

    image = as_image(picture(1))
    for box in [(5, 5, 5, 9), (9, 9, 5, 5), (0, 0, 49, 40), (-1, 0, 4, 4)]:
        with pytest.raises(DiftEditError, match="does not lie inside"):
            image.crop(box)
    with pytest.raises(DiftEditError, match="no pixels"):
        as_image(np.zeros((0, 9, 3), dtype=np.uint8))


def test_a_picture_over_the_limit_is_refused_and_the_flag_is_named(scene, tiny_model, capsys):
    words = [*STICKER, "--model", tiny_model, "-o", "out", "--max-pixels", "3000"]
    status, said = call(capsys, "propagate", "source.png", *words, "photos", "other.png")
    assert status == 1
    (line,) = [line for line in said.splitlines() if line.startswith("failed")]
    assert "other.png has 64×50 pixels" in line and "--max-pixels" in line


def test_an_output_that_is_a_file_or_read_only(scene, tiny_model, capsys):
    Path("taken").write_text("a file")
    words = [*STICKER, "--model", tiny_model, "photos"]
    status, said = call(capsys, "propagate", "source.png", *words, "-o", "taken")
    assert status in (1, 2)
    check_sentence(said, "taken")
    status, said = call(capsys, "propagate", "source.png", *words, "-o", "/proc/nothing/out")
    assert status in (1, 2)
    check_sentence(said, "/proc/nothing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything; see the test with /proc and /sys")
def test_folders_without_rights(scene, tiny_model, capsys):
    Path("photos/photo0000.png").chmod(0)
    Path("locked").mkdir(mode=0o555)
    words = [*STICKER, "--model", tiny_model, "--min-confidence", "0"]
    status, said = call(capsys, "propagate", "source.png", *words, "photos", "-o", "out")
    assert status == 1 and "photo0000.png may not be read: check its permissions" in said
    status, said = call(capsys, "propagate", "source.png", *words, "photos", "-o", "locked/out")
    assert status in (1, 2)
    check_sentence(said, "locked")


def run_program(*words):
    source = Path(__file__).parents[1] / "src"
    return subprocess.run(
        [sys.executable, "-m", "dift_edit", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(source)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status", "needed", "real"),
    [
        (["propagate", "missing.png", *STICKER, "photos", "-o", "out"], 2, "missing.png does not exist", True),
        (["propagate", "source.png", "--edited", "other.png", "photos", "-o", "out"], 2, "64×50", False),
        (["match", "source.png", "text.png", "--points", "4,4"], 2, "text.png is not a picture", False),
        (["propagate", "source.png"], 2, "required", True),
        (["conquer"], 2, "conquer", False),
    ],
)
def test_the_program_ends_with_a_sentence(words, status, needed, real, scene, capsys):
    """As a process of its own, or called."""
    if real:
        done = run_program(*words)
        ended, said = done.returncode, done.stderr
    else:
        ended, said = call(capsys, *words)
    assert ended == status, said
    check_sentence(said, needed)
