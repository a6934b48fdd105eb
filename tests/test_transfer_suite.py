"""The table of many kinds: what is drawn, what counts as the truth, and what the oracles say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import save_image

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import transfer_suite
from transfer_suite import Result, calibration_error, draw, sets, table

QUAD = np.array([[0.0, 0], [40, 0], [40, 20], [0, 20]])


@pytest.fixture
def folder(tmp_path) -> Path:
    """A set of one picture, the same one, and its mirror image."""
    astronaut = Image(data.astronaut())
    (tmp_path / "kind").mkdir()
    save_image(astronaut, tmp_path / "kind" / "a.png")
    save_image(astronaut.mirrored(), tmp_path / "kind" / "b.png")
    points = np.array([[150.0, 70], [290, 75], [280, 200], [160, 190], [220, 130]])
    rows = [
        {
            "source": "a.png", "target": name, "source_points": points.tolist(),
            "target_points": (points * [-1, 1] + [511, 0] if mirrored else points).tolist(), "mirrored": mirrored,
        }
        for name, mirrored in (("a.png", False), ("b.png", True))
    ]  # fmt: skip
    (tmp_path / "kind" / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def result(quad: np.ndarray, truth: np.ndarray, confidence: float = 0.9, *, mirrored: bool = False) -> Result:
    return Result("kind", mirrored, mirrored, quad, truth, confidence)


def test_the_truth_of_a_mirrored_pair_is_reflected(folder) -> None:
    assert list(sets([folder])) == [folder / "kind"]
    plain, mirrored = draw(folder / "kind", count=5, mirrored=5, seed=0)
    assert not plain.mirrored and np.allclose(plain.truth, plain.quad)
    assert mirrored.mirrored and np.allclose(mirrored.truth, mirrored.quad * [-1, 1] + [511, 0])
    again = draw(folder / "kind", count=5, mirrored=0, seed=0)
    assert np.array_equal(again[0].quad, plain.quad)


def test_the_oracles_mend_what_they_are_given() -> None:
    moved = result(QUAD + [15, 0], QUAD)
    assert moved.oracles[0] == pytest.approx(1) and moved.oracles[2] == pytest.approx(moved.iou, abs=1e-6)
    large = result((QUAD - QUAD.mean(0)) * 2 + QUAD.mean(0), QUAD)
    assert large.iou == pytest.approx(0.25, abs=1e-3) and large.oracles[1] == pytest.approx(1)
    assert large.errors[1] == pytest.approx(2) and large.errors[2] == pytest.approx(0, abs=1e-6)
    folded = result(QUAD[[0, 2, 1, 3]], QUAD)
    assert folded.iou == 0


def test_the_calibration_error() -> None:
    confidence = np.array([0.95, 0.95, 0.05, 0.05])
    assert calibration_error(confidence, np.array([True, True, False, False])) == pytest.approx(0.05)
    assert calibration_error(confidence, np.array([False, False, True, True])) == pytest.approx(0.95)


def test_one_table_holds_sets_sorts_and_engines() -> None:
    right, wrong = result(QUAD, QUAD), result(QUAD + 100, QUAD, 0.1)
    lines = list(table({"mini, similarity": [right, wrong, result(QUAD, QUAD, mirrored=True)]}))
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| kind", "plain"], ["| **mean over the sets**", "plain"],
        ["| kind", "mirrored"], ["| **mean over the sets**", "mirrored"],
    ]  # fmt: skip
    assert "| 0.500 | 50 % |" in lines[2] and " | 1.000 | " in lines[2]


@pytest.mark.slow
def test_the_suite_runs_two_engines(folder, mini, monkeypatch, capsys) -> None:
    import transfer_quality

    monkeypatch.setattr(transfer_quality, "load_featurizer", lambda name: mini)
    arguments = ["suite", str(folder), "--engines", "similarity,notebook", "--cache", str(folder / "cache")]
    monkeypatch.setattr(sys, "argv", ["transfer_quality.py", *arguments, "--raw", str(folder / "raw.json")])
    transfer_quality.main()
    printed = capsys.readouterr().out
    rows = json.loads((folder / "raw.json").read_text())
    assert printed.count("| kind |") == 4 and set(rows) == {"mini, similarity", "mini, notebook"}
    found = rows["mini, similarity"]
    assert [row["turned"] for row in found] == [False, True] and min(row["iou"] for row in found) > 0.8
    assert transfer_suite.StoredFeatures("mini", "auto", folder / "cache")(folder / "kind" / "a.png").data.shape[0] > 1
