"""Place once, render many: the places of an earlier run, without its network."""

import json

import numpy as np
import PIL.Image
import pytest

import dift_edit as de
from batch_data import SETTINGS, bytes_of, make_scene, make_set, picture, rows_of
from dift_edit.batch import placed_targets
from dift_edit.cli import main
from dift_edit.edits import Sticker
from dift_edit.errors import DiftEditError, EditError, ModelError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging.files import load_image
from dift_edit.job.recipe import Job
from dift_edit.settings import BatchSettings, TransferSettings


@pytest.fixture(scope="module")
def placed(tiny_model, tmp_path_factory):
    """A scene with one run that placed the sticker, on folders within folders."""
    scene = make_scene(tmp_path_factory.mktemp("placed"), 3)
    make_set(scene / "photos" / "more", 2)
    for number, size in enumerate([(60, 40), (30, 30), (24, 48)]):
        picture(20 + number, size).convert("RGBA").save(scene / f"design{number}.png")
    job = Job(
        source=str(scene / "source.png"), sticker=str(scene / "sticker.png"), targets=(str(scene / "photos"),),
        output=str(scene / "out"), model=str(tiny_model), model_settings=SETTINGS,
        transfer=TransferSettings(min_confidence=0.0, mirror="never"), batch=BatchSettings(preview_size=32),
    )  # fmt: skip
    de.run_job(job)
    return scene


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """Whatever loads a network is told no, but for the run that places."""
    request.getfixturevalue("placed")

    def refuse(*_args, **_more):
        raise ModelError("a network was asked for")

    monkeypatch.setattr("dift_edit.batch.model.load_featurizer", refuse)


def render(placed, tmp_path, *more, output="out"):
    return main(["render", str(placed / "out"), "-o", str(tmp_path / output), "--quiet", *more])


def test_the_same_design_gives_the_same_bytes(placed, tmp_path):
    assert render(placed, tmp_path, "--sticker", f"{placed}/sticker.png") == 0
    (before, earlier), (after, rows) = bytes_of(placed / "out"), bytes_of(tmp_path / "out")
    previews = ("review_files", "contact_sheet")  # of another size
    results = [
        {name: each for name, each in found.items() if not name.startswith(previews)} for found in (after, before)
    ]
    assert results[0] == results[1] and len(results[0]) == 5
    assert len(rows) == 5 and all(row["status"] == "applied" for row in rows)
    for row, old in zip(rows, earlier, strict=True):
        assert row["placed_by"].startswith(f"{old['job']}-") and row["job"] != old["job"]
        same = ("output", "output_sha256", "quad", "matrix", "mesh", "confidence", "engine", "model", "mirrored")
        assert {name: row[name] for name in same} == {name: old[name] for name in same}
    assert main(["run", f"{tmp_path}/out/job.toml", "--quiet"]) == 0


def test_several_designs_get_a_folder_each_and_fit_the_place(placed, tmp_path):
    designs = [word for number in range(3) for word in ("--sticker", f"{placed}/design{number}.png")]
    assert render(placed, tmp_path, *designs, "--opacity", "0.5") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["design0", "design1", "design2"]
    for number in range(3):
        rows = rows_of(tmp_path / "out" / f"design{number}")
        assert len(rows) == 5
        job = de.load_job(tmp_path / "out" / f"design{number}" / "job.toml")
        assert job.compositing.opacity == 0.5
        (left, top), _, (right, bottom), _ = job.quad
        aspect = load_image(placed / f"design{number}.png").size
        assert (right - left) / (bottom - top) == pytest.approx(aspect[0] / aspect[1])
        assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((23.5, 19.5))  # the middle of the patch
        assert max(right - left, bottom - top) == pytest.approx(16)
        sticker = Sticker(placed / f"design{number}.png", quad=job.quad)
        target, row = load_image(placed / "photos" / rows[0]["output"]), rows[0]
        expected = sticker.apply(target, MatrixTransform(np.array(row["matrix"])), compositing=job.compositing)
        assert np.array_equal(load_image(tmp_path / "out" / f"design{number}" / row["output"]).pixels, expected.pixels)
    assert render(placed, tmp_path, *designs[:2], "--fit", "cover", output="cover") == 0
    (left, top), _, (right, bottom), _ = de.load_job(tmp_path / "cover" / "job.toml").quad
    assert (right - left, bottom - top) == pytest.approx((24, 16))
    assert render(placed, tmp_path, *designs[:2], "--fit", "stretch", output="stretch") == 0
    (left, top), _, (right, bottom), _ = de.load_job(tmp_path / "stretch" / "job.toml").quad
    assert (right - left, bottom - top) == pytest.approx((16, 16))


def test_a_table_says_which_design_goes_on_which_target(placed, tmp_path):
    table = placed / "table.csv"
    table.write_text(
        "target,design\nphotos/photo0000.png,design0.png\nphotos/more/photo0001.png,design1.png\n"
        "photos/photo0002.png,design1.png\n"
    )
    assert render(placed, tmp_path, "--designs", str(table)) == 0
    assert [row["output"] for row in rows_of(tmp_path / "out" / "design0")] == ["photo0000.png"]
    assert {row["output"] for row in rows_of(tmp_path / "out" / "design1")} == {"photo0002.png", "more/photo0001.png"}
    table.write_text("target,design\nphotos/absent.png,design0.png\n")
    assert render(placed, tmp_path, "--designs", str(table), output="absent") == 2
    for content in ("target\nphotos/photo0000.png\n", "", "target,design\n,\n"):
        table.write_text(content)
        assert render(placed, tmp_path, "--designs", str(table), output="wrong") == 2


def test_only_some_targets_and_edits_without_a_sticker(placed, tmp_path):
    chosen = f"{placed}/photos/photo0001.png"
    assert render(placed, tmp_path, chosen, "--redact", "16,12,16,16,mode=fill,margin=0") == 0
    (row,) = rows_of(tmp_path / "out")
    assert row["target"].endswith("photo0001.png")
    assert not load_image(tmp_path / "out" / row["output"]).pixels.reshape(-1, 3).any(axis=1).all()


def test_a_changed_target_is_refused_and_a_changed_place_is_rendered_again(placed, tmp_path, capsys):
    scene = make_scene(tmp_path, 2)
    sticker = Sticker(scene / "sticker.png")
    quick = {"settings": TransferSettings(engine="fixed"), "batch": BatchSettings(report=False)}
    de.run_batch(scene / "source.png", sticker, scene / "photos", scene / "placed", **quick)
    command = ["render", f"{scene}/placed", "--sticker", f"{scene}/sticker.png", "-o", f"{scene}/out", "--no-report"]
    assert main(command) == 2  # no job.toml, because the run came from Python
    command += ["--source", f"{scene}/source.png"]
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert "2 of 2 targets were done before" in capsys.readouterr().err
    picture(9).save(scene / "photos" / "photo0001.png")
    assert main(command) == 1
    rows = rows_of(scene / "out")
    assert [row["status"] for row in rows] == ["applied", "failed"]
    assert "was changed after its placement was found" in rows[1]["reason"]
    assert not (scene / "out" / "photo0001.png").exists()


def test_what_abstained_or_was_rejected_is_not_rendered(placed, tmp_path):
    scene = make_scene(tmp_path, 2)
    journal = scene / "placed" / ".dift-edit" / "journal.jsonl"
    quick = {"settings": TransferSettings(engine="fixed"), "batch": BatchSettings(report=False)}
    de.run_batch(scene / "source.png", Sticker(scene / "sticker.png"), scene / "photos", scene / "placed", **quick)
    from dift_edit.results.journal import Journal

    with Journal(journal) as opened:
        first, second = list(opened.rows.values())
        opened.add({**first, "status": "abstained", "output": None, "reason": "too unsure"})
        opened.add({**second, "review": "rejected"})
    command = ["render", f"{scene}/placed", "--source", f"{scene}/source.png", "--sticker", f"{scene}/sticker.png"]
    assert main([*command, "-o", f"{scene}/out", "--quiet"]) == 0
    assert [(row["status"], row["reason"]) for row in rows_of(scene / "out")] == [
        ("abstained", "too unsure"), ("abstained", "its placement was rejected in the review"),
    ]  # fmt: skip


def test_each_instance_of_a_row_gets_the_design_but_a_rejected_one(placed, tmp_path, capsys):
    from dift_edit.results.journal import Journal
    from dift_edit.results.manifest import PLACED

    scene = make_scene(tmp_path, 1)
    quick = {"settings": TransferSettings(engine="fixed"), "batch": BatchSettings(report=False)}
    de.run_batch(scene / "source.png", Sticker(scene / "sticker.png"), scene / "photos", scene / "placed", **quick)
    shifts = {"applied": (0, 0), "rejected": (0, 11), "abstained": (-15, -10)}
    matrices = {key: np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]) for key, (x, y) in shifts.items()}
    with Journal(scene / "placed" / ".dift-edit" / "journal.jsonl") as opened:
        (row,) = opened.rows.values()
        plain = {name: row[name] for name in PLACED}
        each = [{**plain, "matrix": matrix.tolist(), "status": key} for key, matrix in matrices.items()]
        opened.add({**row, "placements": [each[0], {**each[0], "matrix": matrices["abstained"].tolist()}, *each[1:]]})
    command = ["render", f"{scene}/placed", "--source", f"{scene}/source.png", "--quiet"]
    assert main([*command, "--sticker", f"{scene}/sticker.png", "--layers", "ora", "-o", f"{scene}/out"]) == 0
    (row,) = rows_of(scene / "out")
    assert [each["status"] for each in row["placements"]] == ["applied", "applied", "abstained"]
    result = expected = load_image(scene / "photos" / "photo0000.png")
    for key in ("applied", "abstained"):
        expected = Sticker(scene / "sticker.png").apply(expected, MatrixTransform(matrices[key]))
    assert not np.array_equal(result.pixels, expected.pixels)
    assert np.array_equal(load_image(scene / "out" / "photo0000.png").pixels, expected.pixels)
    assert main([*command, "--redact", "16,12,16,16", "-o", f"{scene}/hidden"]) == 1
    assert rows_of(scene / "hidden")[0]["warning"].startswith("only 2 of 3 instances of the object are hidden")


def test_a_bent_placement_is_rendered_from_its_mesh(placed, tmp_path):
    from dift_edit.results.journal import Journal
    from dift_edit.results.manifest import edit_lattice, placed_transform

    scene = make_scene(tmp_path, 1)
    sticker = Sticker(scene / "sticker.png")
    quick = {"settings": TransferSettings(engine="fixed"), "batch": BatchSettings(report=False)}
    de.run_batch(scene / "source.png", sticker, scene / "photos", scene / "placed", **quick)
    lattice = edit_lattice(sticker.quad)
    bent = lattice + np.c_[np.zeros(len(lattice)), 2 * np.sin(lattice[:, 0] / 4)]
    with Journal(scene / "placed" / ".dift-edit" / "journal.jsonl") as opened:
        (row,) = opened.rows.values()
        opened.add({**row, "matrix": None, "mesh": bent.reshape(7, 7, 2).tolist(), "engine": "mesh"})
        transform = placed_transform(opened.rows[row["id"]], sticker.quad)
    assert transform(lattice) == pytest.approx(bent)
    command = ["render", f"{scene}/placed", "--source", f"{scene}/source.png", "--sticker", f"{scene}/sticker.png"]
    assert main([*command, "-o", f"{scene}/out", "--quiet"]) == 0
    expected = sticker.apply(load_image(scene / "photos" / "photo0000.png"), transform)
    assert np.array_equal(load_image(scene / "out" / "photo0000.png").pixels, expected.pixels)


def test_wrong_input_is_said_in_a_sentence(placed, tmp_path, capsys):
    sticker = ("--sticker", f"{placed}/sticker.png")
    for more, text in [
        ((), "A job needs one edit"),
        ((*sticker, f"{placed}/design0.png"), "is no target of"),
        ((*sticker, "--source", f"{placed}/photos/photo0000.png"), "is not the source"),
        ((*sticker, "--designs", "x.csv"), "goes without --sticker"),
        (("--designs", f"{placed}/none.csv"), "cannot be read"),
        (("--designs", f"{placed}/sticker.png"), "is no CSV"),
        (("--sticker", f"{placed}/none.png"), "does not exist"),
    ]:
        assert render(placed, tmp_path, *more) == 2, more
        assert text in capsys.readouterr().err
    assert main(["render", str(tmp_path), *sticker, "--source", f"{placed}/source.png", "-o", f"{tmp_path}/o"]) == 2
    assert "holds no results of dift-edit" in capsys.readouterr().err
    assert main(["render", f"{placed}/out", *sticker, "-o", f"{placed}/out"]) == 2
    assert "itself" in capsys.readouterr().err


def test_from_python(placed, tmp_path):
    source = load_image(placed / "source.png")
    targets = placed_targets(placed / "out", source, only=[placed / "photos" / "photo0002.png"])
    assert len(targets) == 1
    summary = de.run_batch(source, Sticker(placed / "sticker.png"), targets, tmp_path / "out")
    assert summary.counts["applied"] == 1 and summary.rows[0].placed_by
    with pytest.raises(EditError, match="is not the source"):
        placed_targets(placed / "out", picture(5))
    with pytest.raises(DiftEditError, match="results of another job"):
        de.run_batch(source, Sticker(placed / "design0.png", at=(1, 1, 9, 9)), targets, tmp_path / "out")


def test_names_with_dots_stay_in_the_output_folder(placed, tmp_path):
    """A design's or target's name cannot lead out of the folder."""
    scene = make_scene(tmp_path, 1)
    odd = scene / "..design..png"
    PIL.Image.open(scene / "sticker.png").save(odd, "PNG")
    table = scene / "list.csv"
    table.write_text("path,output\nphotos/photo0000.png,../../escaped.png\n")
    command = ["propagate", f"{scene}/source.png", "--targets-from", str(table), "--sticker", f"{scene}/sticker.png",
               "--engine", "fixed", "--layers", "ora", "--masks", "-o", f"{scene}/deep/placed", "--quiet"]  # fmt: skip
    assert main(command) == 0
    command = ["render", f"{scene}/deep/placed", "--sticker", str(odd), "--sticker", f"{scene}/sticker.png"]
    assert main([*command, "--layers", "png", "-o", f"{scene}/deep/out", "--quiet"]) == 0
    outside = {path for path in scene.rglob("*escaped*") if "deep" not in path.parts[len(scene.parts) :]}
    assert not outside and list((scene / "deep").rglob("*escaped*"))
    row = json.loads((scene / "deep" / "placed" / "manifest.jsonl").read_text())
    assert row["output"] == "escaped.png" and "layers/escaped.png.ora" in row["files"]
