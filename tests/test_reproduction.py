"""Each command of docs/reproduction.md, as printed, on made-up data in the official layout."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from batch_data import make_sticker, picture, save_tiny_model
from cell_colors import CellColors
from dift_edit.cli import main
from dift_edit.evaluation import load_report
from dift_edit.features import registry
from dift_edit.features.presets import PRESETS
from test_evaluation_benchmarks import cub_root, davis_root, hpatches_root, jhmdb_root, spair_root, willow_root
from toy_models import stable_diffusion

PAGE = (Path(__file__).parents[1] / "docs" / "reproduction.md").read_text()
COMMANDS = [shlex.split(line) for line in re.findall(r"\| `dift-edit ([^`]*)` \|", PAGE)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a small set of each name that the page uses."""
    folder = tmp_path_factory.mktemp("data")
    spair_root(folder / "SPair-71k")
    willow_root(folder / "PF-WILLOW")
    cub_root(folder / "CUB_200_2011")
    davis_root(folder / "DAVIS", frames=3)
    jhmdb_root(folder / "JHMDB")
    for path in hpatches_root(folder / "hpatches").rglob("*.det"):
        shutil.copy(path, path.with_suffix(".superpoint"))
    for name, seed in (("guitar_cat", 1), ("painting_cat", 2)):
        picture(seed).save(folder / f"{name}.jpg")
    make_sticker(folder / "cartoon.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]) + " " + words[-1])
def test_a_command_of_the_page_runs(words, data, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(data)
    words = [*words]
    words[words.index("-o") + 1] = str(tmp_path / "out.json")
    if words[0] == "evaluate":  # features by hand instead of gigabytes of weights
        asked = []
        monkeypatch.setattr(
            registry, "load_featurizer", lambda name, **given: asked.append((name, given)) or CellColors()
        )
        assert main(words) == 0
        report = load_report(tmp_path / "out.json")
        assert report.scores and np.isfinite(next(iter(report.rows["all"].values())))
        ((name, given),) = asked
        preset = PRESETS.get(words[words.index("--preset") + 1]) if "--preset" in words else None
        assert not preset or (name == preset.model and preset.settings.items() <= given.items())
    elif words[0] == "search":
        words[words.index("--model") + 1] = str(stable_diffusion(tmp_path / "sd21"))
        assert main([*words, "--sizes", "64", "--limit", "1"]) == 0
        assert "recommended: " in capsys.readouterr().out
    else:
        assert main([*words, "--model", str(save_tiny_model(tmp_path / "tiny")), "--min-confidence", "0"]) == 0
        assert PIL.Image.open(tmp_path / "out.json" / "painting_cat.jpg").size == (48, 40)


def test_the_page_has_every_benchmark_of_the_paper():
    assert {words[1] for words in COMMANDS if words[0] == "evaluate"} == {
        "spair", "pf-willow", "cub", "hpatches", "davis", "jhmdb", "transfer",
    }  # fmt: skip
