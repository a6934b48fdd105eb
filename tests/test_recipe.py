"""Recipe files, the commands that read them, URLs, and logs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_data import SETTINGS, bytes_of, make_scene, variant
from dift_edit.batch import ModelSpec
from dift_edit.batch.work import Task, Work, Worker
from dift_edit.cli import main
from dift_edit.edits import Layers, Redaction, Region, Sticker, save_edit
from dift_edit.errors import DiftEditError, EditError, OutputError
from dift_edit.imaging.files import load_image
from dift_edit.job.recipe import EditFile, Job, load_job, save_job
from dift_edit.rendering.compositing import Compositing
from dift_edit.results.folder import OutputFolder
from dift_edit.settings import BatchSettings, TransferSettings
from dift_edit.targets.collect import collect_targets
from trials import trials


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path, 3)


def full_job(scene, **changes):
    return Job(
        **{
            "source": str(scene / "source.png"), "sticker": str(scene / "sticker.png"), "output": str(scene / "out"),
            "targets": (str(scene / "photos"),), "quad": ((16, 12), (31, 12), (31.5, 27), (16, 27)),
            "model_settings": SETTINGS, "transfer": TransferSettings(min_confidence=0.0, mirror="never", seed=4),
            "batch": BatchSettings(preview_size=32), "compositing": Compositing(opacity=0.5), **changes,
        }
    )  # fmt: skip


def test_a_recipe_comes_back_as_it_was(scene, monkeypatch):
    job = full_job(scene, lists=("-", str(scene / "more.csv"), "s3://bucket/list.txt"))
    save_job(job, scene / "job.toml")
    text = (scene / "job.toml").read_text()
    assert 'source = "source.png"' in text and str(scene) not in text  # it can be moved with its pictures
    assert load_job(scene / "job.toml") == job
    monkeypatch.chdir(scene)
    assert load_job("job.toml").source == "source.png"


@trials(50)
@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda n: "/" not in n and "\0" not in n)
)
def test_any_name_survives_a_recipe(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    job = Job(source=str(folder / "a"), sticker=str(folder / f"x{name}"), output=str(folder / "o"))
    save_job(job, folder / "job.toml")
    assert load_job(folder / "job.toml") == job


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source = ", "not valid TOML"),
        ('source = "a"', "output"),
        ('source = "a"\noutput = "o"', "needs one edit"),
        ('source = "a"\noutput = "o"\nedit = 3', r"\[edit\] must be a table"),
        ('source = "a"\noutput = "o"\n[edit]\nstickers = "s"', "unknown key 'stickers'"),
        ('source = "a"\noutput = "o"\n[edit]\nsticker = "s"\nat = [1, 2]', "at must be 4 numbers"),
        ('source = "a"\noutput = "o"\n[edit]\nsticker = "s"\nquad = [[1, 2]]', "four corners"),
        ('source = "a"\noutput = "o"\n[edit]\nsticker = "s"\n[transfer]\nengine = "magic"', "engine"),
        ('source = "a"\noutput = "o"\n[edit]\nsticker = "s"\n[batch]\nworkers = "two"', "workers"),
        ('source = "a"\noutput = "o"\n[edit]\nsticker = "s"\n[targets]\npaths = "p"', "list of texts"),
        ('version = 9\nsource = "a"\noutput = "o"', "version 9"),
    ],
)
def test_bad_recipes_are_named(tmp_path, text, words):
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(DiftEditError, match=words) as error:
        load_job(tmp_path / "job.toml")
    assert "job.toml" in str(error.value)


def test_recipe_of_a_missing_file_and_bytes(tmp_path):
    with pytest.raises(DiftEditError, match="cannot be read"):
        load_job(tmp_path / "none.toml")
    (tmp_path / "job.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DiftEditError, match="not valid TOML"):
        load_job(tmp_path / "job.toml")
    with pytest.raises(EditError, match="not both"):
        Job(source="a", output="o", sticker="s", at=(0, 0, 1, 1), quad=((0, 0), (1, 0), (1, 1), (0, 1)))


@pytest.mark.slow
def test_run_does_what_propagate_does(scene, tiny_model, capsys):
    arguments = [
        "propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), str(scene / "photos"),
        "--model", str(tiny_model), "--min-confidence", "0", "--seed", "5", "--preview-size", "32",
    ]  # fmt: skip
    assert main([*arguments, "-o", str(scene / "direct")]) == 0
    assert main([*arguments, "-o", str(scene / "recipe"), "--save-job", str(scene / "job.toml")]) == 0
    assert not (scene / "recipe").exists()
    assert main(["run", str(scene / "job.toml"), "--log-json"]) == 0
    assert bytes_of(scene / "direct") == bytes_of(scene / "recipe")
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert [event["event"] for event in events] == ["planned", "row", "row", "row", "summary"]
    assert events[-1]["counts"] == {"applied": 3, "abstained": 0, "failed": 0} and events[-1]["exit_status"] == 0
    assert main(["run", str(scene / "recipe" / "job.toml"), "--quiet"]) == 0  # the folder's own recipe goes on
    assert "3 of 3 targets were done before" in capsys.readouterr().err


def write_redaction(path, color="black"):
    return str(save_edit(Redaction(region=Region.box(20, 16, 8, 8), mode="fill", color=color), path))


def test_several_edits_are_layers_also_from_the_command_line(scene, tiny_model):
    job = full_job(scene, edits=(write_redaction(scene / "a.json"), write_redaction(scene / "b.json", "white")))
    save_job(job, scene / "job.toml")
    assert 'files = ["a.json", "b.json"]' in (scene / "job.toml").read_text() and load_job(scene / "job.toml") == job
    edit = job.load_edit(load_image(job.source))
    assert isinstance(edit, Layers) and [type(part).__name__ for part in edit.edits] == [
        "Sticker", "Redaction", "Redaction",
    ]  # fmt: skip
    arguments = [
        "propagate", job.source, "--sticker", job.sticker, "--edit", job.edits[0].file,
        "--edit", job.edits[1].file, "--opacity", "0.5",
        "--model", str(tiny_model), "--min-confidence", "0", "-o", job.output, "--no-report", job.source,
    ]  # fmt: skip
    assert main(arguments) == 0
    made = load_image(scene / "out" / "source.png").pixels.astype(int)
    before = load_image(job.source).pixels.astype(int)
    changed = np.abs(made - before).max(axis=2) > 8
    assert (made[changed] == 255).all(axis=1).any()  # the last layer is on top, whole
    blended = (before + np.array([220, 20, 60])) / 2  # the first one half
    assert (np.abs(made - blended).max(axis=2)[changed] <= 2).any()


def test_a_layer_may_have_blending_of_its_own(scene, tiny_model, capsys):
    hide = write_redaction(scene / "hide, then.json")
    layers = (EditFile(hide), EditFile(hide, Compositing(opacity=0.25, linear_light=True)))
    job = full_job(scene, edits=layers)
    save_job(job, scene / "job.toml")
    text = (scene / "job.toml").read_text()
    assert text.count("[[edit.layers]]") == 2 and 'file = "hide, then.json"' in text and "opacity = 0.25" in text
    assert load_job(scene / "job.toml") == job
    assert job.load_edit(load_image(job.source)).settings == [None, None, layers[1].compositing]
    alone = full_job(scene, sticker=None, quad=None, edits=layers[1:])
    assert alone.load_edit(load_image(alone.source)).settings == [layers[1].compositing]
    arguments = ["propagate", job.source, "--sticker", job.sticker, "-o", job.output, job.source]
    written = [*arguments, "--save-job", str(scene / "cli.toml")]
    assert main([*written, "--edit", hide, "--edit", f"{hide},opacity=0.25,linear_light=true"]) == 0
    assert load_job(scene / "cli.toml").edits == layers
    for wrong, words in (("opacity=2", "from 0 to 1"), ("opacity=x", "cannot be 'x'"), ("blend=magic", "use one of")):
        assert main([*written, "--edit", f"{hide},{wrong}"]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ('files = ["a"]\n[[edit.layers]]\nfile = "b"', "one of the two"),
        ("[[edit.layers]]\nopacity = 1.0", "must have  file"),
        ('[[edit.layers]]\nfile = "b"\nblends = "x"', "unknown key 'blends'"),
        ('layers = ["b"]', "must be tables"),
    ],
)
def test_bad_layers_are_named(tmp_path, layers, words):
    (tmp_path / "job.toml").write_text(f'source = "a"\noutput = "o"\n[edit]\n{layers}\n')
    with pytest.raises(DiftEditError, match=words):
        load_job(tmp_path / "job.toml")


def test_a_target_that_is_not_redacted_is_shouted_about(scene, tiny_model, capsys):
    (scene / "photos" / "torn.png").write_bytes(b"")
    arguments = [
        "propagate", str(scene / "source.png"), "--edit", write_redaction(scene / "hide.json"),
        "--model", str(tiny_model), str(scene / "photos"), "-o", str(scene / "out"),
    ]  # fmt: skip
    assert main([*arguments, "--min-confidence", "1", "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "4 of 4 targets were NOT redacted" in said and said.count("NOT redacted: ") == 4
    assert main(["report", str(scene / "out")]) == 0
    assert "4 of 4 targets were NOT redacted" in capsys.readouterr().err
    assert b'"redaction":true' in (scene / "out" / "review.html").read_bytes()
    assert main(["run", str(scene / "out" / "job.toml"), "--log-json"]) == 1
    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert len(told["unredacted"]) == 4 and told["exit_status"] == 1


@pytest.mark.slow
def test_one_process_a_device(scene, tiny_model):
    arguments = ["propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), str(scene / "photos")]
    arguments += ["--model", str(tiny_model), "--min-confidence", "0", "--quiet"]
    assert main([*arguments, "-o", str(scene / "one")]) == 0
    assert main([*arguments, "-o", str(scene / "two"), "--device", "cpu,cpu"]) == 0
    assert bytes_of(scene / "one") == bytes_of(scene / "two")


def test_run_reads_all_recipes_before_the_first_runs(scene, tiny_model):
    save_job(full_job(scene, model=str(tiny_model)), scene / "good.toml")
    (scene / "bad.toml").write_text("source = 1")
    assert main(["run", str(scene / "good.toml"), str(scene / "bad.toml")]) == 2
    assert not (scene / "out").exists()
    save_job(
        full_job(scene, model=str(tiny_model), targets=(str(scene / "none.png"),), output=str(scene / "two")),
        scene / "two.toml",
    )
    assert main(["run", str(scene / "good.toml"), str(scene / "two.toml"), "--quiet"]) == 1
    assert (scene / "out" / "manifest.jsonl").exists() and (scene / "two" / "manifest.jsonl").exists()


def test_jobs_with_one_model_share_features(scene, tiny_model, tmp_path):
    found = collect_targets([scene / "photos"])
    spec = ModelSpec(name=str(tiny_model), settings=SETTINGS, cache=str(tmp_path / "features"))
    source, results = load_image(scene / "source.png"), []
    for number, box in enumerate([(16, 12, 16, 16), (8, 8, 30, 20), (16, 12, 16, 16)]):
        work = Work(
            source=source, edit=Sticker.from_file(scene / "sticker.png", at=box), batch=BatchSettings(max_pixels=10**6),
            settings=TransferSettings(min_confidence=0.0), output=str(tmp_path / f"out{number}"),
            model=spec if number < 2 else replace(spec, cache=""),
        )  # fmt: skip
        worker = Worker(work)
        results.append([worker.process(Task(target=target, name=target.name)).row.output_sha256 for target in found])
        if number == 1:
            cached = worker.featurizer.featurizer
            hits, misses = cached.hits, cached.misses
    assert hits >= 4 and misses == 0  # the source and three targets, none of them computed again
    assert results[0] == results[2] != results[1]


def test_names_cannot_leave_the_output_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    folder = OutputFolder(tmp_path / "out")
    for name in ("../x.png", "/x.png", "a/../../x.png", "link/x.png"):
        with pytest.raises(OutputError, match="outside"):
            folder.write(name, b"")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_link_in_the_output_folder_is_one_failed_row(scene, tiny_model):
    (scene / "photos" / "sub").mkdir()
    variant(9).save(scene / "photos" / "sub" / "cat.png")
    (scene / "out").mkdir()
    (scene / "elsewhere").mkdir()
    (scene / "out" / "sub").symlink_to(scene / "elsewhere")
    save_job(full_job(scene, model=str(tiny_model)), scene / "job.toml")
    assert main(["run", str(scene / "job.toml"), "--quiet"]) in (1, 2)
    assert not list((scene / "elsewhere").iterdir())
