import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dift_edit as de
from toy_models import vision_transformer

SCRIPT = Path(__file__).parents[1] / "training" / "train_dift_mini.py"
TINY = [
    "--channels", "16,16,32", "--attention", "0,0,1", "--layers-per-block", "1", "--head-channels", "8",
    "--groups", "8", "--side", "40", "--crop", "32", "--batch", "4", "--warmup", "2", "--device", "cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_dift_mini", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_dift_mini"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    (folder / "deeper").mkdir()
    ramp = np.linspace(0, 200, 60)[None, :, None] + np.zeros((50, 60, 3))
    for index in range(6):
        pixels = np.clip(np.roll(ramp, 7 * index, 1) + rng.normal(0, 20, ramp.shape), 0, 255).astype(np.uint8)
        de.imaging.save_image(de.as_image(pixels), folder / ("deeper" if index % 2 else ".") / f"{index}.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = vision_transformer(tmp_path_factory.mktemp("teacher"), "dinov2")
    (folder / "featurizer.json").write_text('{"image_size": 40}')
    return folder


def test_a_few_steps_make_a_model_that_loads(script, photos: Path, teacher: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "model"
    arguments = [str(photos), "-o", str(out), "--teacher", str(teacher), "--steps", "6", "--save-every", "4", *TINY]
    assert script.main(arguments) == 0
    captured = capsys.readouterr()
    assert "6 photos" in captured.out and "step 6 of 6" in captured.out and "broken.jpg" in captured.err
    record = json.loads((out / "training.json").read_text())
    assert record["steps"] == 6 and record["photos"] == 6 and np.isfinite(list(record["losses"].values())).all()
    mini = Path(de.__file__).parent / "models" / "dift-mini"
    files = {str(path.relative_to(mini)).replace(".int8", "") for path in mini.rglob("*") if path.suffix != ".md"}
    assert files == {str(path.relative_to(out)) for path in out.rglob("*")} & files
    featurizer = de.load_featurizer(out, short_sides=32)
    features = featurizer(photos / "0.png")
    assert features.grid_size == (19, 16) and features.data.shape[0] == 32 + 16 and torch.isfinite(features.data).all()


@pytest.mark.slow
def test_training_lowers_both_losses(script, photos: Path, teacher: Path) -> None:
    settings = script.TrainingSettings(
        channels=(16, 16, 32), attention=(0, 0, 1), layers_per_block=1, head_channels=8, groups=8, side=40, crop=32,
        batch=8, warmup=5, steps=90, learning_rate=4e-3,
    )  # fmt: skip
    pictures = script.load_photos(script.list_photos(photos), 40)
    maps = [script.teacher_maps(script.load_teacher(str(teacher), "cpu"), pictures)]
    assert maps[0].shape == (6, 24, 5, 5) and maps[0].dtype == torch.int8
    losses = [values for _, values, _ in script.train(pictures, maps, settings)]
    for name in ("diffusion", "alignment"):
        first, last = (np.mean([values[name] for values in part]) for part in (losses[:15], losses[-15:]))
        assert last < 0.93 * first, name


def test_the_same_seed_gives_the_same_weights(script, photos: Path, teacher: Path) -> None:
    settings = script.TrainingSettings(
        channels=(16, 16), attention=(0, 1), layers_per_block=1, head_channels=8, groups=8, side=40, crop=32, batch=2,
        steps=2,
    )  # fmt: skip
    pictures = script.load_photos(script.list_photos(photos), 40)
    maps = [torch.zeros(6, 3, 4, 4, dtype=torch.int8) + 60]
    weights = [list(script.train(pictures, maps, settings))[-1][2].conv_in.weight for _ in range(2)]
    assert torch.equal(*weights)


def test_the_window_of_the_teacher_follows_that_of_the_photo(script) -> None:
    """A map that holds the photo's own brightness still does so after cropping and mirroring."""
    settings = script.TrainingSettings(side=48, crop=48, batch=16)
    ramp = torch.linspace(0, 240, 48).expand(1, 3, 48, 48).to(torch.uint8)
    maps = [(ramp[:, :1].float() / 2).to(torch.int8)]
    for seed in range(4):
        pixels, targets = script.random_crop(ramp, maps, settings, torch.Generator().manual_seed(seed))
        size = targets[0].shape[-1]
        shown = torch.nn.functional.interpolate((pixels[:, :1] + 1) * 127.5, size=(size, size), mode="bilinear")
        assert (shown - targets[0] * 2 * 127).abs().max() < 8


def test_errors_are_sentences(script, tmp_path: Path, photos: Path, capsys) -> None:
    assert script.main([str(tmp_path), "-o", str(tmp_path / "m"), "--teacher", "mini"]) == 2
    assert "no photo" in capsys.readouterr().err
    assert script.main([str(photos), "-o", str(tmp_path / "m"), "--teacher", "nobody", *TINY]) == 2
    assert "no model 'nobody'" in capsys.readouterr().err
