"""What a new user meets first: each of these once went wrong."""

import importlib
import io
import json
import logging
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

import dift_edit as de
from batch_data import SETTINGS, make_scene, rows_of, variant
from dift_edit import samples
from dift_edit.batch.finish import journal_path
from dift_edit.batch.forecast import Forecast
from dift_edit.cli import main
from dift_edit.edits import ColorAdjust, Layers, PaintLayer, Redaction, Sticker, edit_from_difference
from dift_edit.errors import DiftEditError, EditError, OutputError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging.files import as_image
from dift_edit.job.recipe import Job, load_job, save_job
from dift_edit.results.folder import OutputFolder
from dift_edit.results.journal import Journal
from dift_edit.settings import BatchSettings, TransferSettings
from dift_edit.targets.collect import collect_targets, with_settled_ids
from toy_models import vision_transformer

REPOSITORY = Path(__file__).parents[1]
SOURCE = MatrixTransform(np.eye(3))


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path, 3)


@pytest.fixture
def few_samples(tmp_path, monkeypatch, small_network):
    """An empty folder to work in, three of the bundled targets (a drawing, a mirrored one, one without a cat) and the
    small network instead of the default."""
    known = samples.samples()
    known["targets"] = [each for each in known["targets"] if each["file"] in ("kitten.jpg", "grey.jpg", "coffee.jpg")]
    monkeypatch.setattr(samples, "samples", lambda: known)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (REPOSITORY / page).read_text(), re.S)


def run_shell(block):
    """The dift-edit lines of a shell block, through the command line's own entry."""
    lines = [shlex.split(line, comments=True) for line in block.splitlines() if line.startswith("dift-edit ")]
    return [main(words[1:]) for words in lines]


# ---- the texts


def test_the_readme_runs_as_printed_from_an_empty_folder(few_samples, capsys):
    (python,) = blocks("README.md", "python")
    exec(compile(python, "README.md", "exec"), {})
    assert sorted(path.name for path in Path("edited").iterdir()) == ["grey.jpg", "kitten.jpg"]
    assert "samples/photos/coffee.jpg abstained" in capsys.readouterr().out
    (shell,) = [text for text in blocks("README.md", "sh") if "dift-edit propagate" in text]
    assert run_shell(shell) == [0, 0]
    made = {row["output"] for row in rows_of(Path("out"))}
    assert {"grey.jpg", "kitten.jpg"} <= made
    for name in ("grey.jpg", "kitten.jpg"):
        np.testing.assert_array_equal(de.load_image(f"out/{name}").pixels, de.load_image(f"edited/{name}").pixels)


@pytest.mark.slow
def test_the_tutorial_of_the_command_line_runs_in_order(few_samples, capsys):
    status = [code for block in blocks("docs/tutorial-cli.md", "sh") for code in run_shell(block)]
    assert len(status) == 6 and not any(status)
    said = capsys.readouterr().err
    assert "cat-edited.jpg: found paint, 23 % of the image" in said
    assert "3 of 3 targets were done before" in said
    assert Path("matches.jpg").exists()


GUIDES = {page.name: page for page in sorted((REPOSITORY / "docs").glob("*.md")) if "\n## Try it\n" in page.read_text()}


def said_as_printed(said, printed):
    """Whether an output has the lines of a page in their order; "…" stands for anything, confidences differ by 0.05."""
    lines = iter([line for line in said.splitlines() if line.strip()])
    for wanted in printed.splitlines():
        if wanted == "…":
            continue
        pattern = re.sub(r"(?<![\d.])0\\\.\d\d(?!\d)", r"(0\\.\\d\\d)", re.escape(wanted).replace("…", ".*"))
        numbers = [float(number) for number in re.findall(r"(?<![\d.])0\.\d\d(?!\d)", wanted)]
        for line in lines:
            found = re.fullmatch(pattern, line)
            if found and all(abs(float(a) - b) < 0.05 for a, b in zip(found.groups(), numbers, strict=True)):
                break
        else:
            return wanted
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES)
def test_guides_run_as_printed_and_say_what_the_page_says(page, tmp_path, monkeypatch, capsys):
    """The part "Try it" of each guide, in an empty folder; a block without a language is what the last command says. An
    exit status other than 0 is stated on the page.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFT_EDIT_MODELS", str(tmp_path / "models"))
    vision_transformer(tmp_path / "models" / "dinov2-small", "dinov2")  # instead of the download
    part = GUIDES[page].read_text().split("\n## Try it\n")[1].partition("\n## ")[0]
    failures = []
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```", part, re.S | re.M):
        if language == "python":
            exec(compile(text, page, "exec"), {})
        elif language == "sh":
            capsys.readouterr()
            failures += [f"{status}" for status in run_shell(text) if status]
            said = "".join(capsys.readouterr())
        else:
            missing = said_as_printed(said, text)
            assert not missing, f"{page} prints {missing!r}, but the command said:\n{said}"
    assert failures == re.findall(r"[Tt]he exit status is (\d)", part)


@pytest.mark.parametrize("page", ["docs/tutorial-cli.md", "docs/tutorial-python.md", "README.md", "docs/index.md"])
def test_tutorials_name_sample_files_that_exist(few_samples, page):
    samples.copy_samples("samples")
    text = (REPOSITORY / page).read_text()
    named = set(re.findall(r"samples/[\w./-]+\.(?:jpg|png)", text))
    assert named
    for name in named - {"src/dift_edit/samples/LICENSE.md"}:
        assert Path(name).exists() or (samples.FOLDER / Path(name).name).exists(), name
    assert "hat.png" not in text and "other.jpg" not in text


def test_the_page_of_commands_is_what_the_parsers_say():
    sys.path.insert(0, str(REPOSITORY / "tools"))
    try:
        hooks = importlib.import_module("docs_hooks")
    finally:
        sys.path.remove(str(REPOSITORY / "tools"))
    text = (REPOSITORY / "docs" / "commands.md").read_text()
    assert "`--edited-as`" in text and "`--artwork`" in text
    assert text == hooks.written_page(), "run  python tools/docs_hooks.py"


# ---- one result


def test_a_result_is_saved_in_a_new_folder_under_its_target_s_name(scene, tiny):
    source, sticker = de.load_image(scene / "source.png"), Sticker.from_file(scene / "sticker.png")
    options = {"featurizer": tiny, "mirror": "never"}
    target = scene / "photos" / "photo0001.png"
    result = de.transfer(source, sticker, target, min_confidence=0.0, **options)
    assert result.target == str(target)
    assert result.save(scene / "new" / "folder") == scene / "new" / "folder" / "photo0001.png"
    np.testing.assert_array_equal(de.load_image(scene / "new/folder/photo0001.png").pixels, result.image.pixels)
    with pytest.raises(OutputError, match="would replace the target"):
        result.save(scene / "photos")
    unsure = de.transfer(source, sticker, de.load_image(target), min_confidence=1.0, **options)
    assert unsure.target == str(target) and unsure.status == "abstained"
    with pytest.raises(OutputError, match=r"not applied: the confidence .* below 1\.00"):
        unsure.save(scene / "new")
    nameless = de.transfer(source, sticker, np.asarray(variant(1)), min_confidence=0.0, **options)
    with pytest.raises(OutputError, match="came from memory"):
        nameless.save(scene / "new")
    found = list(de.propagate(source, sticker, [target, scene / "gone.png", scene / "gone"], **options))
    assert [each.target for each in found] == [str(target), str(scene / "gone.png"), str(scene / "gone")]
    assert [each.status for each in found[1:]] == ["failed", "failed"]


# ---- targets


def job_of(scene, tiny_model, **changes):
    values = {
        "source": str(scene / "source.png"), "sticker": str(scene / "sticker.png"), "output": str(scene / "out"),
        "targets": (str(scene / "photos"),), "model": str(tiny_model), "model_settings": SETTINGS,
        "transfer": TransferSettings(min_confidence=0.0, mirror="never"), "batch": BatchSettings(preview_size=32),
    }  # fmt: skip
    return Job(**{**values, **changes})


def test_a_target_is_one_target_however_its_path_is_spelled(scene, tiny_model, monkeypatch, capsys):
    monkeypatch.chdir(scene)
    arguments = [
        "--sticker", "sticker.png", "--model", str(tiny_model), "--min-confidence", "0", "--mirror", "never",
        "-o", "out",
    ]  # fmt: skip
    assert main(["propagate", "source.png", "photos/", *arguments]) == 0
    first = rows_of(scene / "out")
    capsys.readouterr()
    assert main(["run", "out/job.toml"]) == 0  # names the same pictures by other paths
    assert "3 of 3 targets were done before; 0 to do" in capsys.readouterr().err
    assert main(["propagate", "source.png", "./photos/../photos", str(scene / "photos"), *arguments]) == 0
    monkeypatch.chdir(scene / "photos")
    assert main(["run", "../out/job.toml"]) == 0
    assert capsys.readouterr().err.count("3 of 3 targets were done before; 0 to do") == 2
    assert rows_of(scene / "out") == first and not (scene / "out" / "photos").exists()


def test_settled_ids_follow_a_folder_that_moves_with_its_results(scene, monkeypatch):
    monkeypatch.chdir(scene)
    (scene / "link").symlink_to("photos")
    spelled = [["photos"], ["./photos/"], [str(scene / "photos")], ["link"], ["photos", "link", "photos/photo0000.png"]]
    ids = [[each.id for each in with_settled_ids(collect_targets(paths), "out")] for paths in spelled]
    assert ids == [[f"../photos/photo000{n}.png" for n in range(3)]] * 5


def test_apply_review_finds_targets_from_another_folder(scene, tiny_model, monkeypatch):
    monkeypatch.chdir(scene)
    arguments = ["--sticker", "sticker.png", "--model", str(tiny_model), "--min-confidence", "1", "-o", "out"]
    assert main(["propagate", "source.png", "photos/photo0000.png", *arguments]) == 0
    monkeypatch.chdir(scene / "photos")
    assert main(["apply-review", "../out", decided(scene / "out", "accepted")]) == 0
    assert rows_of(scene / "out")[0]["status"] == "applied"


@pytest.mark.parametrize("name", ["nothere/", "nothere", "nothere/*.png"])
def test_a_mistyped_folder_is_an_error_and_leaves_nothing(scene, tiny_model, name, capsys):
    arguments = ["propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png")]
    more = ["--model", str(tiny_model), "-o", str(scene / "out")]
    assert main([*arguments, str(scene / "photos"), str(scene / name), *more]) == 2
    said = capsys.readouterr().err
    assert "There is no folder" in said and "nothere" in said and len(said.splitlines()) == 1
    assert not (scene / "out").exists()
    with pytest.raises(DiftEditError, match="There is no folder"):
        collect_targets([scene / name])


# ---- what the command says


def test_quiet_does_not_list_skipped_files(scene, tiny_model, capsys):
    (scene / "photos" / "points.mat").write_bytes(b"MATLAB 5.0")
    arguments = ["propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), str(scene / "photos")]
    arguments += ["--model", str(tiny_model), "--min-confidence", "0"]
    assert main([*arguments, "-o", str(scene / "quiet"), "--quiet"]) == 0
    said = capsys.readouterr().err
    assert "points.mat" not in said and "1 file skipped" in said
    assert main([*arguments, "-o", str(scene / "loud")]) == 0
    assert "points.mat: it is not an image" in capsys.readouterr().err


def test_interrupted_says_how_to_go_on(scene, monkeypatch, capsys):
    def interrupt(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr("dift_edit.batch.run_job", interrupt)
    arguments = ["propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), str(scene / "photos")]
    assert main([*arguments, "-o", str(scene / "out")]) == 130
    assert capsys.readouterr().err == "Interrupted. What is done is kept: run the same command again to go on.\n"


def test_one_process_is_not_processes():
    told = {"targets": 1, "skipped": 1, "sampled": 1, "failed": 0, "seconds_each": 1.0, "bytes_each": 1.0, "free": None}
    assert (
        "in 1 process," in Forecast(workers=1, **told).text()
        and "(1 other file left out)" in Forecast(workers=1, **told).text()
    )
    assert "in 2 processes," in Forecast(workers=2, **told).text()


def test_a_tiny_sticker_gets_a_warning(scene, tiny_model, capsys, caplog):
    with caplog.at_level(logging.WARNING, "dift_edit"):
        Sticker.from_file(scene / "sticker.png", at=(10, 10, 2, 2))
        Sticker.from_file(scene / "sticker.png", at=(10, 10, 30, 20))
    assert [record.getMessage() for record in caplog.records] == [
        f"{scene / 'sticker.png'} covers only 2 × 2 pixels of the source, too little to be placed well or seen: "
        "check --at, --quad or the sticker."
    ]
    arguments = ["propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), str(scene / "photos")]
    arguments += ["--model", str(tiny_model), "--at", "10,10,2,2", "-o", str(scene / "out"), "--quiet"]
    assert main(arguments) == 0
    assert "warning: " in (said := capsys.readouterr().err) and "covers only 2 × 2 pixels" in said
    main([*arguments, "--log-json"])
    notes = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["text"] for each in notes if each["event"] == "note" and "2 × 2" in each["text"]]


# ---- the review


def decided(folder, decision, name=None):
    with Journal(journal_path(OutputFolder(folder))) as journal:
        listed = [
            {"id": key, "decision": decision, "note": "", "pins": []}
            for key in journal.rows
            if name is None or name in key
        ]
        data = {"format": "dift-edit review", "version": 1, "job": journal.job["fingerprint"], "decisions": listed}
    path = folder.parent / "decisions.json"
    path.write_text(json.dumps(data))
    return str(path)


@pytest.mark.parametrize("engine", ["similarity", "mesh"])
def test_accept_on_an_abstained_target_applies_the_placement_that_was_shown(scene, tiny_model, capsys, engine):
    sure = TransferSettings(min_confidence=0.0, mirror="never", engine=engine)
    unsure = TransferSettings(min_confidence=1.0, mirror="never", engine=engine)
    for name, transfer in (("sure", sure), ("out", unsure)):
        job = job_of(scene, tiny_model, output=str(scene / name), transfer=transfer)
        save_job(job, scene / f"{name}.toml")
        assert main(["run", str(scene / f"{name}.toml"), "--quiet"]) == 0
    shown = rows_of(scene / "out")
    assert {row["status"] for row in shown} == {"abstained"} and not list((scene / "out").glob("photo*"))
    assert main(["apply-review", str(scene / "out"), decided(scene / "out", "accepted")]) == 0
    assert capsys.readouterr().out.endswith("3 applied as shown\n")
    accepted = rows_of(scene / "out")
    for before, after in zip(shown, accepted, strict=True):
        assert after["status"] == "applied" and after["review"] == "accepted" and after["output"]
        assert after["reason"] == before["reason"] != ""  # what spoke against it stays on record
        assert after["quad"] == before["quad"] and after["mesh"] == before["mesh"]
        assert (scene / "out" / "review_files").exists()
        made = de.load_image(scene / "out" / after["output"]).pixels.astype(int)
        right = de.load_image(scene / "sure" / after["output"]).pixels.astype(int)
        assert np.abs(made - right).max() <= (0 if engine == "similarity" else 60)
        assert np.abs(made - right).mean() < (1e-9 if engine == "similarity" else 1.0)
    # again changes nothing; taken back, the result is withdrawn; rejected, it moves away
    assert main(["apply-review", str(scene / "out"), decided(scene / "out", "accepted")]) == 0
    assert rows_of(scene / "out") == accepted
    assert main(["apply-review", str(scene / "out"), decided(scene / "out", "", "photo0000")]) == 0
    assert main(["apply-review", str(scene / "out"), decided(scene / "out", "rejected", "photo0001")]) == 0
    first, second, _ = rows_of(scene / "out")
    assert first["status"] == "abstained" and first["output"] is None and not (scene / "out/photo0000.png").exists()
    assert second["output"] == "rejected/photo0001.png"


def test_accept_where_nothing_can_be_applied_says_so(scene, tiny_model, capsys):
    (scene / "photos" / "torn.png").write_bytes(b"")
    job = job_of(scene, tiny_model, transfer=TransferSettings(min_confidence=1.0, mirror="never"))
    save_job(job, scene / "job.toml")
    assert main(["run", str(scene / "job.toml"), "--quiet"]) == 1
    variant(77).save(scene / "photos" / "photo0001.png")  # another picture since
    assert main(["apply-review", str(scene / "out"), decided(scene / "out", "accepted")]) == 1
    told = capsys.readouterr()
    assert "torn.png: not applied: there is no placement" in told.err
    assert "photo0001.png: not applied:" in told.err and "was changed" in told.err
    assert [row["status"] for row in rows_of(scene / "out")] == ["applied", "abstained", "applied", "failed"]
    (scene / "out" / "job.toml").unlink()
    (scene / "photos" / "photo0001.png").unlink()
    assert main(["apply-review", str(scene / "out"), decided(scene / "out", "accepted", "photo0001")]) == 2
    assert "job.toml is not there" in capsys.readouterr().err


# ---- an edited source


@pytest.fixture(scope="module")
def cat():
    image = PIL.Image.open(samples.FOLDER / "cat.jpg").convert("RGB")
    image.thumbnail((450, 450))
    return as_image(np.asarray(image))


def as_jpeg(image, quality):
    buffer = io.BytesIO()
    image.to_pil().save(buffer, "JPEG", quality=quality)
    return as_image(PIL.Image.open(buffer))


@pytest.mark.parametrize("quality", [98, 95, 85, 70, 50, 30])
@pytest.mark.parametrize("name", ["cat.jpg", "coffee.jpg", "kitten.jpg"])
def test_a_copy_that_was_only_saved_again_is_no_edit(name, quality):
    image = as_image(np.asarray(PIL.Image.open(samples.FOLDER / name).convert("RGB"))[:320, :400])
    with pytest.raises(EditError, match="only the losses of saving it again"):
        edit_from_difference(image, as_jpeg(image, quality))


def test_the_command_refuses_a_copy_that_was_saved_again(few_samples, capsys):
    samples.copy_samples("samples")
    PIL.Image.open("samples/cat.jpg").save("again.jpg", quality=80)
    arguments = ["propagate", "samples/cat.jpg", "samples/photos", "-o", "out", "--edited"]
    assert main([*arguments, "again.jpg"]) == 2
    said = capsys.readouterr().err
    assert "again.jpg shows no edit" in said and "saving it again" in said and not Path("out").exists()
    assert main([*arguments, "samples/cat.jpg"]) == 2
    assert "not a pixel differs" in capsys.readouterr().err


def squares(image, box, side):
    left, top, right, bottom = box
    pixels = image.pixels.copy()
    crop = PIL.Image.fromarray(pixels[top:bottom, left:right])
    small = crop.resize((crop.width // side, crop.height // side), PIL.Image.Resampling.BOX)
    pixels[top:bottom, left:right] = np.asarray(small.resize(crop.size, PIL.Image.Resampling.NEAREST))
    return as_image(pixels)


def filled(image, color):
    pixels = image.pixels.copy()
    pixels[90:150, 120:330] = color
    return as_image(pixels)


def turned_hue(image):
    """The hue of an ellipse turned as in painting programs, in HSV."""
    import cv2

    hsv = cv2.cvtColor(image.pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 180) % 360
    y, x = np.mgrid[: image.size[1], : image.size[0]]
    inside = ((x - 200) / 110) ** 2 + ((y - 140) / 80) ** 2 < 1
    other = np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255)
    return as_image(np.where(inside[..., None], other, image.pixels).astype(np.uint8))


FOUND = {
    "hue": (turned_hue, ColorAdjust, "recolour"),
    "tiny squares": (lambda image: squares(image, (120, 80, 330, 200), 5), Redaction, "redact"),
    "small squares": (lambda image: squares(image, (120, 80, 330, 200), 10), Redaction, "redact"),
    "large squares": (lambda image: squares(image, (120, 80, 330, 200), 30), Redaction, "redact"),
    "black": (lambda image: filled(image, 0), Redaction, "redact"),
    "white": (lambda image: filled(image, 255), Redaction, "redact"),
    "a red patch": (lambda image: filled(image, (220, 30, 30)), PaintLayer, "paint"),
}


@pytest.mark.parametrize("quality", [None, 90, 70])
@pytest.mark.parametrize("name", list(FOUND))
def test_what_was_done_to_a_photograph_is_told_apart(cat, name, quality, caplog):
    change, kind, word = FOUND[name]
    after = change(cat) if quality is None else as_jpeg(change(cat), quality)
    with caplog.at_level(logging.INFO, "dift_edit"):
        found = edit_from_difference(cat, after)
    assert type(found) is kind
    said = caplog.records[-1].getMessage()
    assert re.fullmatch(rf"the edited picture: found {word}, \d+ % of the image", said), said
    share = np.mean(np.abs(change(cat).pixels.astype(int) - cat.pixels).max(axis=2) > 0)
    assert int(re.search(r"(\d+) %", said)[1]) == pytest.approx(100 * share, abs=3)
    if isinstance(found, Redaction):
        assert found.mode == ("pixelate" if "squares" in name else "fill")


@pytest.mark.slow
def test_edited_as_overrules_and_a_redaction_by_example_counts_as_one(scene, tiny_model, capsys):
    source = PIL.Image.open(scene / "source.png")
    source.paste((200, 30, 30), (16, 12, 32, 28))
    source.save(scene / "edited.png")
    arguments = [
        "propagate", str(scene / "source.png"), "--edited", str(scene / "edited.png"), str(scene / "photos"),
        "--model", str(tiny_model), "--min-confidence", "1", "--mirror", "never",
    ]  # fmt: skip
    assert main([*arguments, "-o", str(scene / "paint")]) == 0
    said = capsys.readouterr().err
    assert f"{scene / 'edited.png'}: found paint, 13 % of the image" in said and "NOT redacted" not in said
    assert main([*arguments, "-o", str(scene / "redact"), "--edited-as", "redact"]) == 1
    said = capsys.readouterr().err
    assert "found redact, 13 % of the image" in said and "3 of 3 targets were NOT redacted" in said
    job = load_job(scene / "redact" / "job.toml")
    assert job.edited_as == "redact"
    assert isinstance(job.load_edit(de.load_image(job.source)), Redaction)
    source.paste((0, 0, 0), (16, 12, 32, 28))
    source.save(scene / "edited.png")
    assert main([*arguments, "-o", str(scene / "black")]) == 1  # a black box, without a word
    assert "3 of 3 targets were NOT redacted" in capsys.readouterr().err
    with pytest.raises(EditError, match="goes with --edited"):
        Job(source="a", sticker="b", output="c", edited_as="paint")
    with pytest.raises(EditError, match="use one of auto, paint, recolour, redact, erase"):
        Job(source="a", edited="b", output="c", edited_as="adjust")


# ---- mirrored artwork


def written(words="SALE", size=(200, 80), ground=None):
    image = PIL.Image.new("RGBA", size, ground or (0, 0, 0, 0))
    PIL.ImageDraw.Draw(image).text((10, 8), words, (200, 20, 20), PIL.ImageFont.load_default(60))
    return np.asarray(image)


def arrow(size=(200, 80)):
    image = PIL.Image.new("RGBA", size, (0, 0, 0, 0))
    corners = [(10, 30), (120, 30), (120, 5), (190, 40), (120, 75), (120, 50), (10, 50)]
    PIL.ImageDraw.Draw(image).polygon(corners, "green")
    return np.asarray(image)


MIRROR = MatrixTransform(np.array([[-1.0, 0, 299], [0, 1, 0], [0, 0, 1]]))
WALL = as_image(np.full((120, 300, 3), 240, np.uint8))


def shown(artwork, pixels, transform=MIRROR):
    """A sticker on a grey wall, and what the row says about it."""
    sticker = Sticker(pixels, at=(60, 20, 200, 80))
    settings = de.Compositing(artwork=artwork)
    return sticker.apply(WALL, transform, compositing=settings).pixels, sticker.artwork_on(transform, artwork)


@pytest.mark.parametrize(
    ("pixels", "artwork", "said"),
    [
        (written(), "auto", "kept"),
        (written(ground=(255, 250, 200, 255)), "auto", "kept"),
        (written(), "flip", "flipped"),
        (written("AHA"), "auto", "flipped"),
        (arrow(), "auto", "flipped"),
        (arrow(), "keep", "kept"),
    ],
)
def test_text_is_not_mirrored_and_other_artwork_is(pixels, artwork, said):
    made, told = shown(artwork, pixels)
    assert told == said
    plain, upright = shown(artwork, pixels, SOURCE)
    assert upright == ""
    rows, columns = np.nonzero((made != 240).any(axis=2))
    own = made[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(int)
    y, x = np.nonzero((plain != 240).any(axis=2))
    before = plain[y.min() : y.max() + 1, x.min() : x.max() + 1].astype(int)
    assert columns.min() == 299 - x.max() and columns.max() == 299 - x.min()  # in its mirrored place in any case
    np.testing.assert_array_equal(own, before if said == "kept" else before[:, ::-1])


def test_parts_of_a_canvas_are_kept_or_flipped_each_in_its_place():
    canvas = np.zeros((120, 300, 4), np.uint8)
    canvas[10:90, 0:200][..., :] = 0
    small = np.asarray(PIL.Image.fromarray(written()).resize((100, 40)))
    canvas[10:50, 10:110] = small
    canvas[70:110, 180:280] = np.asarray(PIL.Image.fromarray(arrow()).resize((100, 40)))
    edit = Layers([PaintLayer(as_image(canvas))])
    made = edit.apply(WALL, MIRROR).pixels
    assert edit.edits[0].artwork_on(MIRROR, "auto") == "partly kept"
    text, other = (slice(10, 50), slice(10, 110)), (slice(70, 110), slice(180, 280))
    plain = edit.apply(WALL, SOURCE).pixels
    used = np.nonzero((plain[text] != 240).any(axis=(0, 2)))[0]
    own = plain[text][:, used.min() : used.max() + 1]
    np.testing.assert_array_equal(made[10:50, 299 - 10 - used.max() : 299 - 10 - used.min() + 1], own)
    np.testing.assert_array_equal(made[70:110, 20:120], plain[other][:, ::-1])


@pytest.mark.slow
@pytest.mark.parametrize("artwork", ["auto", "keep", "flip"])
def test_the_row_says_what_became_of_the_artwork_and_a_review_does_the_same(scene, tiny_model, artwork):
    pixels = np.zeros((40, 48, 4), np.uint8)
    pixels[12:28, 16:24], pixels[12:20, 24:32] = (220, 20, 60, 255), (20, 20, 220, 255)
    PIL.Image.fromarray(pixels).save(scene / "sticker.png")
    compositing = de.Compositing(artwork=artwork)
    for name, least in (("sure", 0.0), ("out", 1.0)):
        transfer = TransferSettings(min_confidence=least, mirror="always")
        job = job_of(scene, tiny_model, output=str(scene / name), transfer=transfer, compositing=compositing)
        save_job(job, scene / f"{name}.toml")
        assert load_job(scene / f"{name}.toml") == job
        assert main(["run", str(scene / f"{name}.toml"), "--quiet"]) == 0
    assert main(["apply-review", str(scene / "out"), decided(scene / "out", "accepted")]) == 0
    for row, again in zip(rows_of(scene / "sure"), rows_of(scene / "out"), strict=True):
        assert row["mirrored"] and row["artwork"] == again["artwork"] == ("kept" if artwork == "keep" else "flipped")
        assert (scene / "sure" / row["output"]).read_bytes() == (scene / "out" / again["output"]).read_bytes()
    source, sticker = de.load_image(scene / "source.png"), Sticker.from_file(scene / "sticker.png")
    result = de.transfer(
        source, sticker, scene / "photos" / "photo0000.png", featurizer=de.load_featurizer(tiny_model, **SETTINGS),
        min_confidence=0.0, mirror="always", compositing=compositing,
    )  # fmt: skip
    assert result.artwork == row["artwork"]
    np.testing.assert_array_equal(result.image.pixels, de.load_image(scene / "sure" / "photo0000.png").pixels)
    page = (scene / "sure" / "review.html").read_text()
    assert f'"artwork":"{row["artwork"]}"' in page
