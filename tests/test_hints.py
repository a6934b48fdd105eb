"""What a list or a recipe says about one target: masks, boxes, pins, places by hand, thresholds, and what is wrong."""

import json

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_data import SETTINGS, make_scene
from dift_edit.batch import run_job
from dift_edit.errors import DiftEditError
from dift_edit.imaging.files import load_image
from dift_edit.job.recipe import Job, load_job, save_job
from dift_edit.settings import BatchSettings, TransferSettings
from dift_edit.targets.collect import collect_targets
from dift_edit.targets.hints import Hints, hints_of
from trials import trials

FOUR = ((4.0, 5.0), (20.0, 6.0), (19.0, 22.0), (3.0, 20.0))


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path, 6)


def job(scene, model, **changes):
    return Job(
        source=str(scene / "source.png"), sticker=str(scene / "sticker.png"), output=str(scene / "out"),
        model=str(model), model_settings=SETTINGS, transfer=TransferSettings(min_confidence=0.0, mirror="never"),
        batch=BatchSettings(report=False), **changes,
    )  # fmt: skip


def table(scene, rows, kind):
    """A list of targets of one of the kinds."""
    path = scene / f"list.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "csv":
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
            writer.writeheader()
            writer.writerows(
                {key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()}
                for row in rows
            )
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {key: [row.get(key) for row in rows] for key in sorted({key for row in rows for key in row})}
        parquet.write_table(pyarrow.table(columns), path)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_column_reaches_its_target(scene, tiny_model, kind):
    mask = np.zeros((40, 48), np.uint8)
    mask[:, 24:] = 255
    PIL.Image.fromarray(mask).save(scene / "right.png")
    rows = [
        {"path": "photos/photo0000.png", "mask": "right.png"},
        {"path": "photos/photo0001.png", "box": [0, 0, 20, 20]},
        {"path": "photos/photo0002.png", "pins": [20.0, 16, 30, 20, 28, 24, 38, 28]},
        {"path": "photos/photo0003.png", "quad": np.ravel(FOUR).tolist()},
        {"path": "photos/photo0004.png", "min_confidence": 1.0, "mirror": "always"},
        {"path": "photos/photo0005.png", "skip": True},
    ]
    summary = run_job(job(scene, tiny_model, lists=(table(scene, rows, kind),)))
    assert [path.rpartition("/")[2] for path, reason in summary.skipped if "skip" in reason] == ["photo0005.png"]
    masked, boxed, pinned, by_hand, strict = summary.rows
    assert np.mean(masked.quad, axis=0)[0] > 24 and np.mean(boxed.quad, axis=0).max() < 24
    placed = np.array(pinned.matrix) @ [[20, 28], [16, 24], [1, 1]]
    assert np.allclose((placed[:2] / placed[2]).T, [(30, 20), (38, 28)], atol=1e-4)
    assert np.allclose(by_hand.quad, FOUR) and by_hand.engine == "pins" and by_hand.confidence == 1
    assert strict.status == "abstained" and strict.mirrored and "below 1.00" in strict.reason
    assert all(row.hints for row in summary.rows)


def test_the_recipe_takes_the_same(scene, tiny_model):
    entries = (
        {"path": str(scene / "photos/photo0000.png"), "quad": [list(corner) for corner in FOUR]},
        {"path": str(scene / "photos/photo0001.png"), "mask": str(scene / "mask.png"), "skip": True},
    )
    given = job(scene, tiny_model, entries=entries)
    save_job(given, scene / "job.toml")
    assert 'mask = "mask.png"' in (scene / "job.toml").read_text()
    assert load_job(scene / "job.toml") == given
    summary = run_job(load_job(scene / "job.toml"))
    assert len(summary.rows) == 1 and np.allclose(summary.rows[0].quad, FOUR)


def test_a_place_by_hand_loads_no_target_into_the_network(scene, tiny):
    from dift_edit.edits import Sticker
    from dift_edit.features.base import Featurizer
    from dift_edit.pipeline import transfer

    class Refusing(Featurizer):
        fingerprint, model = tiny.fingerprint, tiny.model

        def __call__(self, image, *, seed=0):
            raise AssertionError("nothing is looked for")

    source = load_image(scene / "source.png")
    sticker = Sticker.from_file(scene / "sticker.png", source_size=source.size)
    done = transfer(source, sticker, scene / "photos/photo0000.png", featurizer=Refusing(), target_quad=FOUR)
    assert done.status == "applied" and np.allclose(done.placement.quad, FOUR)


WRONG = [
    ({"mask": "none.png"}, "none.png does not exist"),
    ({"mask": "small.png"}, "has 5×5 pixels, but its target has 48×40"),
    ({"mask": 7}, "mask must be the path"),
    ({"box": "1,2,3"}, "box must be four numbers"),
    ({"box": [0, 0, 0, 5]}, "both must be above 0"),
    ({"box": [900, 0, 5, 5]}, "lies outside its target"),
    ({"box": "NaN,1,2,3"}, "box must be four numbers"),
    ({"pins": [1, 2, 3]}, "pins must be pairs"),
    ({"pins": [[[1, 1], [2, 2]], [[1, 1], [3, 3]]]}, "start at the same place"),
    ({"quad": [0, 0, 5, 5, 5, 0, 0, 5]}, "quad in the target"),
    ({"mirror": "maybe"}, "use one of auto, never, always"),
    ({"min_confidence": 3}, "use a number from 0 to 1"),
    ({"min_confidence": "high"}, "min_confidence must be a number"),
    ({"min_confidence": 10**400}, "min_confidence must be a number"),
    ({"box": "1e308, 0, 1e308, 9"}, "lies outside its target"),
]


def test_a_wrong_value_fails_its_own_row_alone(scene, tiny_model):
    PIL.Image.new("L", (5, 5)).save(scene / "small.png")
    for number in range(len(WRONG)):
        PIL.Image.open(scene / "photos/photo0000.png").save(scene / f"wrong{number}.png")
    rows = [{"path": f"wrong{number}.png", **value} for number, (value, _) in enumerate(WRONG)]
    listed = table(scene, [*rows, {"path": "photos/photo0000.png"}], "jsonl")
    summary = run_job(job(scene, tiny_model, lists=(listed,)))
    assert [row.status for row in summary.rows] == ["failed"] * len(WRONG) + ["applied"]
    for row, (_, words) in zip(summary.rows, WRONG, strict=False):
        assert words in row.reason and row.reason.endswith(".") and "Traceback" not in row.reason
    assert summary.rows[3].reason.startswith(f"Row 4 of {listed}: ")


def test_another_hint_does_its_target_again_and_no_other(scene, tiny_model):
    def run(box):
        rows = [{"path": "photos/photo0000.png", "box": box}, {"path": "photos/photo0001.png"}]
        return run_job(job(scene, tiny_model, lists=(table(scene, rows, "jsonl"),)))

    first = run([0, 0, 20, 20])
    assert run([0, 0, 20, 20]).kept == 2
    again = run([20, 0, 28, 40])
    assert again.kept == 1 and again.rows[0].quad != first.rows[0].quad


def test_a_list_also_speaks_of_files_of_a_folder(scene):
    rows = [{"path": "photos/photo0001.png", "skip": "yes"}, {"path": "photos/photo0002.png", "mirror": "always"}]
    found = collect_targets(scene / "photos", lists=table(scene, rows, "csv"))
    assert [target.name for target in found] == [f"photo000{number}.png" for number in (0, 2, 3, 4, 5)]
    assert [target.hints.mirror for target in found] == [None, "always", None, None, None]


def test_skip_is_yes_or_no(scene):
    with pytest.raises(DiftEditError, match="skip is 'perhaps': use true or false"):
        collect_targets((), lists=table(scene, [{"path": "a.png", "skip": "perhaps"}], "csv"))


@pytest.mark.parametrize("each", ["path = 3", 'mask = "a.png"', 'path = "a.png"\ncolour = "red"'])
def test_wrong_entries_of_a_recipe_are_named(scene, each):
    text = f'source = "source.png"\noutput = "o"\n[edit]\nsticker = "sticker.png"\n[[targets.each]]\n{each}\n'
    (scene / "job.toml").write_text(text)
    with pytest.raises(DiftEditError, match=r"job.toml cannot be used"):
        load_job(scene / "job.toml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    st.lists,
    max_leaves=9,
)


@trials(80)
@given(st.dictionaries(st.sampled_from(["mask", "box", "pins", "quad", "mirror", "min_confidence"]), VALUES))
def test_no_value_is_more_than_a_problem(row):
    hints = hints_of(row, "Row 1", str)
    assert isinstance(hints, Hints) and isinstance(hints.digest, str)
    if hints.problem:
        assert hints.problem.startswith("Row 1: ")
