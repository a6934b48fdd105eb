from pathlib import Path

import numpy as np
import pytest
import torch

from cell_colors import cell_picture
from dift_edit.cli import main
from dift_edit.errors import DatasetError, ModelError
from dift_edit.evaluation import grid_search
from dift_edit.evaluation.search import GridPoint, ReplayNetwork, _changes, grid_picture, recommend
from dift_edit.imaging.files import as_image, load_image
from test_evaluation_benchmarks import spair_root


def test_replayed_blocks_equal_blocks_of_their_own(dift_mini) -> None:
    picture = as_image(cell_picture(size=(128, 64)))
    replayed = _changes(dift_mini, (0, 1), 64, 2, 20)
    for block, featurizer in replayed.items():
        alone = dift_mini.with_settings(
            layers=(f"up_blocks.{block}",), timestep=20, ensemble=2, short_sides=(64,),
            floor_to=replayed[0].settings.floor_to,
        )  # fmt: skip
        assert featurizer.fingerprint == alone.fingerprint
        assert torch.equal(featurizer(picture).data, alone(picture).data)
    network = replayed[0].unet
    assert isinstance(network, ReplayNetwork) and network.passes == 1
    assert dift_mini.unet is not network


def test_search_is_resumed_and_equals_evaluate(dift_mini, tmp_path: Path) -> None:
    root = spair_root(tmp_path / "s")
    settings = {"sizes": (64,), "folder": tmp_path / "out"}
    points = grid_search("spair", root, dift_mini, timesteps=(5, 40), blocks=(0, 1), **settings)
    assert [(p.timestep, p.block) for p in points] == [(5, 0), (5, 1), (40, 0), (40, 1)]
    calls = []
    handle = dift_mini.unet.register_forward_hook(lambda *_: calls.append(1))
    again = grid_search("spair", root, dift_mini, timesteps=(5, 40), blocks=(0, 1), **settings)
    handle.remove()
    assert again == points and not calls
    with pytest.raises(DatasetError, match="seed"):
        grid_search("spair", root, dift_mini, timesteps=(5,), blocks=(0,), seed=1, **settings)
    with pytest.raises(ModelError, match="up blocks"):
        grid_search("spair", root, dift_mini, timesteps=(5,), blocks=(9,), **settings)


def test_picture_and_recommendation() -> None:
    points = [
        GridPoint(size=0, ensemble=0, timestep=t, block=b, numbers={"PCK": float(10 * b + t)})
        for t in (1, 5) for b in (0, 1)
    ]  # fmt: skip
    assert recommend(points, "PCK") == ("recommended: timestep=5 block=1 (PCK 15.0; next: timestep=1 block=1 11.0)")
    picture = grid_picture(points, "PCK").pixels
    assert tuple(picture[56 + 72 + 10, 190 + 72 + 10]) == (253, 231, 37)  # the best cell is the brightest
    assert tuple(picture[56 + 10, 190 + 10]) == (68, 1, 84)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = spair_root(tmp_path / "s")
    words = ["search", "--benchmark", "spair", "--root", str(root), "--timesteps", "5", "--blocks", "0", "1"]
    assert main([*words, "--sizes", "64", "--limit", "1", "-o", str(tmp_path / "out")]) == 0
    assert "recommended: timestep=5" in capsys.readouterr().out
    assert np.ptp(load_image(tmp_path / "out" / "search.png").pixels) > 0
    assert (tmp_path / "out" / "search.md").exists()
