"""Learning from a set: which results teach, who is placed again, and the same bytes however the work is done."""

import hashlib
import json
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

import dift_edit as de
from batch_data import SETTINGS, bytes_of, forking, make_scene, picture, rows_of, run_scene, variant
from dift_edit.batch import ModelSpec
from dift_edit.batch.learning import (
    MOST_TEACHERS,
    MOST_VIEWS,
    SHARE,
    KnownPlace,
    Teachers,
    known_places,
    least_sure,
)
from dift_edit.cli import main
from dift_edit.geometry.quad import quad_iou
from dift_edit.report.suggestions import suggest
from dift_edit.results.journal import Journal
from dift_edit.results.manifest import Row
from dift_edit.settings import SURE

SOURCE_PLACE = ((12.0, 8.0), (30.0, 8.0), (30.0, 26.0), (12.0, 26.0))


def hard(number: int) -> PIL.Image.Image:
    """A variant in other colours, blurred, with strong noise: no surface is recognised in it."""
    rng = np.random.default_rng(number + 100)
    small = variant(number).resize((38, 32)).resize((48, 40))
    pixels = np.asarray(small).astype(float)[..., [1, 2, 0]] * 0.6 + rng.normal(0, 18, (40, 48, 3))
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = make_scene(tmp_path_factory.mktemp("learning"), 4)
    for number in range(4):
        hard(number).save(folder / "photos" / f"zhard{number}.png")
    picture(50).save(folder / "photos" / "stranger.png")
    (folder / "photos" / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def spec(tiny_model):
    return ModelSpec(name=str(tiny_model), settings=SETTINGS)


@pytest.fixture(scope="module")
def taught(scene, spec):
    """The output folder of a calm run with learning, and what it said."""
    said = []
    run_scene(scene, spec, "taught", learn="auto", on_event=lambda event, **data: said.append((event, data)))
    return scene / "taught", said


@pytest.fixture(scope="module")
def placed(scene, tiny_model):
    """The output folder of a run without learning, from a recipe."""
    recipe = scene / "review.toml"
    recipe.write_text(
        f'version = 1\nsource = "source.png"\noutput = "reviewed"\n[edit]\nsticker = "sticker.png"\n'
        f'[targets]\npaths = ["photos"]\n[model]\nname = {json.dumps(str(tiny_model))}\n'
        f'[model.settings]\nshort_sides = [96]\n[transfer]\nmirror = "never"\nmin_confidence = 0.0\n'
    )
    assert main(["run", str(recipe), "--quiet"]) == 1  # bad.png
    return scene / "reviewed"


def by_name(folder):
    return {row["id"].split("/")[-1]: row for row in rows_of(folder)}


@pytest.mark.slow
def test_the_set_teaches_and_what_was_sure_stays(placed, taught):
    folder, said = taught
    alone, rows = by_name(placed), by_name(folder)
    rounds = [data["views"] for event, data in said if event == "learning"]
    assert len(rounds) == 1 and 0 < len(rounds[0]) <= MOST_TEACHERS
    again = {name for name, row in rows.items() if row["views"]}
    assert again == least_sure({name: row["confidence"] for name, row in alone.items() if row["status"] != "failed"})
    assert 0 < len(again) <= SHARE * len(rows) and any(alone[name]["status"] == "applied" for name in again)
    for name in again:
        assert set(rows[name]["views"]) <= set(rounds[rows[name]["round"] - 1]) - {rows[name]["id"]}
        assert 0 < len(rows[name]["views"]) <= MOST_VIEWS
    for name, row in rows.items():
        before = alone[name]
        assert row["status"] == before["status"] or before["status"] == "abstained"
        if name not in again:
            assert row["quad"] == before["quad"] and row["output_sha256"] == before["output_sha256"]
        else:
            assert before["confidence"] < SURE and row["confidence"] >= before["confidence"]
    assert "look" not in rows["zhard0.png"]


@pytest.mark.slow
def test_workers_give_the_same_bytes(scene, spec, taught):
    run_scene(scene, spec, "two", learn="auto", workers=2)
    assert bytes_of(scene / "two") == bytes_of(taught[0])


@pytest.mark.slow
def test_dask_gives_the_same_bytes(scene, spec, taught):
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster:
        run_scene(scene, spec, "elsewhere", cluster=cluster.scheduler_address)  # the same job in another folder
        run_scene(scene, spec, "dask", learn="auto", cluster=cluster.scheduler_address)
    assert bytes_of(scene / "dask") == bytes_of(taught[0])


def is_whole(folder, row):
    """Whether the result of a row is the one that the row names."""
    digest = row["output"] and hashlib.sha256((folder / row["output"]).read_bytes()).hexdigest()
    return digest == row["output_sha256"]


def run_in_child(scene, tiny_model):
    run_scene(scene, ModelSpec(name=str(tiny_model), settings=SETTINGS), "killed", learn="auto")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_runs_come_to_the_same_bytes(scene, spec, tiny_model, taught):
    """Killed among the targets that are placed again: what is in the journal by then decides who teaches."""
    context = forking()
    journal = scene / "killed" / ".dift-edit" / "journal.jsonl"
    child = context.Process(target=run_in_child, args=(scene, tiny_model))
    child.start()
    while child.is_alive() and (not journal.exists() or journal.read_bytes().count(b'"type":"row"') < 11):
        time.sleep(0.002)
    assert child.is_alive()
    child.kill()
    child.join()
    with Journal(journal) as opened:  # results that were written when the row was not are done again, no others
        whole = [row for row in opened.rows.values() if is_whole(scene / "killed", row)]
    summary = run_scene(scene, spec, "killed", learn="auto")
    assert summary.kept == len(whole) and {row["id"] for row in whole} >= {
        row["id"] for row in rows_of(taught[0]) if not row["views"]
    }
    assert bytes_of(scene / "killed") == bytes_of(taught[0])
    done = journal.read_bytes().count(b'"type":"row"')
    run_scene(scene, spec, "killed", learn="auto")
    assert journal.read_bytes().count(b'"type":"row"') == done  # nothing is left to do


@pytest.mark.slow
def test_files_and_memory_agree(scene, spec, taught):
    source = de.load_image(scene / "source.png")
    sticker = de.Sticker.from_file(scene / "sticker.png", source_size=source.size)
    results = de.propagate(
        source, sticker, scene / "photos", featurizer=spec.load(), mirror="never", min_confidence=0.0, learn="auto"
    )
    for row, result in zip(rows_of(taught[0]), results, strict=True):
        assert row["status"] == result.status
        if result.placement is not None:
            assert np.allclose(row["quad"], result.placement.quad, atol=1e-5)
    with pytest.raises(de.DiftEditError, match="off, auto"):
        de.propagate(source, sticker, [], featurizer=spec.load(), learn="always")


def place(name, weight=0.95, quad=SOURCE_PLACE, **more):
    return KnownPlace(id=name, quad=quad, weight=weight, **more)


def test_a_wrong_place_teaches_nothing_unless_a_person_decided(scene, tiny):
    """The most confident place is wrong; the others do not find it."""
    elsewhere = tuple((x + 14, y + 12) for x, y in SOURCE_PLACE)
    places = [place("wrong", 0.99, elsewhere), *(place(f"right{number}") for number in range(3))]

    def look(known):
        number = 1 if known.id == "wrong" else int(known.id[-1]) + 1
        return de.View(image=de.as_image(variant(number)), quad=known.quad)

    teachers = Teachers(look, tiny)
    rights = [known.id for known in teachers.choose(places)]
    assert rights and "wrong" not in rights
    decided = [replace(places[0], decided=True), *places[1:]]
    assert [known.id for known in teachers.choose(decided)] == rights
    assert teachers.choose(decided[:2])[0].id == "wrong"  # too few others to contradict what a person decided
    assert teachers.choose([place("alone")]) == []


def row(name, **more):
    values = {
        "status": "applied",
        "size": [48, 40],
        "confidence": 0.95,
        "quad": [list(corner) for corner in SOURCE_PLACE],
        **more,
    }
    return Row(id=name, target=name, **values)


def test_who_may_teach():
    quad = [list(corner) for corner in SOURCE_PLACE]
    again = {"views": ["sure"], "earlier": {"quad": quad, "confidence": 0.4}}
    rows = [
        row("sure"),
        row("surer", confidence=0.97),
        row("unsure", confidence=0.6),
        row("accepted", confidence=0.4, review="accepted"),
        row("rejected", review="rejected"),
        row("abstained", status="abstained"),
        row("placed again", confidence=0.75, **again),
        row("pins", pins=[[[1, 1], [2, 2]]], reason="searched again with pins"),
        row("folded", quad=[quad[0], quad[2], quad[1], quad[3]]),
    ]
    found = known_places(rows)
    assert [known.id for known in found] == ["accepted", "pins", "surer", "sure", "placed again"]
    assert [known.weight for known in found] == [1, 1, 0.97, 0.95, 0.75]
    assert [known.id for known in known_places(rows[::-1])] == [known.id for known in found]


def test_the_typical_unsure_target_is_suggested_first():
    from dift_edit.results.looks import _NUMBERS, looks_array

    def look(*directions):
        import base64

        values = np.zeros(_NUMBERS, np.int8)
        values[list(directions)] = 100
        return base64.b64encode(values.tobytes()).decode()

    rows = [row(f"a{number}", confidence=0.3, look=look(0, 5 + number)) for number in range(3)]
    rows += [row("middle", confidence=0.3, look=look(0)), row("lonely", confidence=0.1, look=look(2))]
    rows += [row("nearly", confidence=0.85, look=look(0))]  # as typical, but its correction changes little
    rows += [row(f"b{number}", confidence=0.4, look=look(1)) for number in range(2)]
    rows += [row("sure", confidence=0.95, look=look(0)), row("failed", status="failed", quad=None, look="")]
    found = suggest(rows)
    assert list(found)[:2] == ["middle", "b0"] and len(found) == 3
    assert "like 4 others that are not sure" in found["middle"] and "like 1 other that is" in found["b0"]
    rows[3] = replace(rows[3], review="accepted")
    assert next(iter(suggest(rows))) == "b0"  # those like the accepted one are helped already
    rows[:3] = [replace(each, views=["middle"]) for each in rows[:3]]
    assert next(iter(suggest(rows)))[0] == "a"  # unless they are as unsure as that with its help
    assert suggest([row("only", confidence=0.2, look=look(0))]) == {}
    assert not looks_array(["", "???", "AAAA"]).any()


def decide(folder, file, decisions):
    """Write decisions on a folder's rows: name → (decision, by how many pixels the edit is moved from the source's)."""
    rows = by_name(folder)
    with Journal(folder / ".dift-edit" / "journal.jsonl") as journal:
        job, quad = journal.job["fingerprint"], journal.job["quad"]
    said = [
        {
            "id": rows[name]["id"], "decision": decision, "note": "",
            "pins": [[list(a), (np.array(a) + moved).tolist()] for a in quad] if moved else [],
        }
        for name, (decision, moved) in decisions.items()
    ]  # fmt: skip
    file.write_text(json.dumps({"format": "dift-edit review", "version": 1, "job": job, "decisions": said}))


@pytest.mark.slow
def test_a_wrong_correction_and_strangers_do_no_harm(scene, placed):
    """One target is corrected to a wrong place, and a picture shows something else: the rest stays as good."""
    folder, quad = scene / "poisoned", np.array([(15.5, 11.5), (31.5, 11.5), (31.5, 27.5), (15.5, 27.5)])
    shutil.copytree(placed, folder)

    def overlaps():
        """IoU of the placed with the true quads, of the variants that nobody decided."""
        shift = {f"zhard{k}.png": np.random.default_rng(k).integers(-3, 4, 2)[::-1] for k in range(1, 4)}
        return [quad_iou(row["quad"], quad + shift[name]) for name, row in by_name(folder).items() if name in shift]

    before = overlaps()
    decide(folder, scene / "wrong.json", {"zhard0.png": ("accepted", (14, 11))})
    assert main(["apply-review", str(folder), str(scene / "wrong.json"), "--learn"]) == 0
    rows = by_name(folder)
    assert any(row["round"] for row in rows.values())
    assert all(rows["zhard0.png"]["id"] not in row["views"] for row in rows.values())
    assert np.mean(overlaps()) >= np.mean(before) - 0.01


@pytest.mark.slow
def test_corrections_improve_the_others(scene, placed, capsys):
    """`apply-review --learn`: decided targets stay, the rest is placed again with them."""
    folder, rows = scene / "corrected", by_name(placed)
    shutil.copytree(placed, folder)
    decisions = {"zhard0.png": ("accepted", (1, 1)), "zhard1.png": ("accepted", None), "zhard2.png": ("rejected", None)}
    decide(folder, scene / "decisions.json", decisions)
    capsys.readouterr()
    assert main(["apply-review", str(folder), str(scene / "decisions.json"), "--learn"]) == 0
    assert "improved" in capsys.readouterr().out
    after = by_name(folder)
    assert after["zhard0.png"]["views"] == [] and after["zhard0.png"]["confidence_source"] == "pins"
    assert after["zhard1.png"]["quad"] == rows["zhard1.png"]["quad"]
    assert after["zhard2.png"]["quad"] == rows["zhard2.png"]["quad"] and after["zhard2.png"]["review"] == "rejected"
    decided = {rows["zhard0.png"]["id"], rows["zhard1.png"]["id"]}
    again = [row for row in after.values() if row["round"]]
    assert rows["zhard3.png"]["id"] in {row["id"] for row in again}
    assert any(decided & set(row["views"]) for row in again) and not any(row["review"] for row in again)
    first = bytes_of(folder)
    assert main(["apply-review", str(folder), str(scene / "decisions.json"), "--learn"]) == 0
    assert bytes_of(folder) == first


def test_views_of_a_recipe_and_of_the_command(scene, tiny_model, tmp_path):
    recipe = de.load_job
    picture = scene / "photos" / "photo0000.png"
    toml = tmp_path / "job.toml"
    flags = ["--sticker", str(scene / "sticker.png"), "-o", str(tmp_path / "out"), "--model", str(tmp_path)]
    command = ["propagate", str(scene / "source.png"), str(scene / "photos"), *flags]
    views = ["--view", f"{picture},16,12,16,16", "--view", f"{picture},31,12,15,12,15,27,31,27"]
    assert main([*command, *views, "--learn", "auto", "--save-job", str(toml)]) == 0
    job = recipe(toml)
    assert [view.at for view in job.views] == [(16, 12, 16, 16), None] and job.batch.learn == "auto"
    assert job.views[0].image == str(picture) and job.views[1].quad[0] == (31, 12)
    assert np.allclose(job.views[0].load().quad[2], (31.5, 27.5))
    assert str(picture) in map(str, job.not_targets())
    for bad in ("[[views]]\nat = [1, 2, 3, 4]", '[[views]]\nimage = "a.jpg"', "views = 3"):
        text = 'source = "a.png"\noutput = "o"\n' + bad + '\n[edit]\nsticker = "s.png"\n'
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(de.DiftEditError, match="view"):
            recipe(tmp_path / "bad.toml")


def test_another_view_is_another_job(scene, spec):
    from dift_edit.batch.identity import describe

    source = de.load_image(scene / "source.png")
    sticker = de.Sticker.from_file(scene / "sticker.png", source_size=source.size)
    featurizer, settings = spec.load(), de.TransferSettings()
    alone = describe(source, sticker, featurizer, settings, None)
    view = de.View(image=source, quad=sticker.quad)
    other = describe(source, sticker, featurizer, settings, None, [view])
    assert alone["source"] == source.digest != other["source"]
    assert {key: value for key, value in alone.items() if key != "source"} == {
        key: value for key, value in other.items() if key != "source"
    }
