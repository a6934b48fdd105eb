"""How networks run on each device, as far as that can be seen without one."""

from pathlib import Path

import pytest
import torch

import dift_edit as de
from batch_data import picture, save_tiny_model
from dift_edit.batch.model import ModelSpec
from dift_edit.cli import main
from dift_edit.features.device_defaults import DEVICE_DEFAULTS, device_defaults
from dift_edit.features.execution import AdaptiveBatch, Runtime, _products
from dift_edit.features.hooks import mean_outputs
from dift_edit.job.recipe import Job


def product_settings() -> tuple[bool, bool, bool]:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    return products.allow_tf32, convolutions.allow_tf32, convolutions.enabled


def test_float32_is_exact_and_the_users_setting_comes_back() -> None:
    before = product_settings()
    for tf32 in (False, True):
        with pytest.raises(ZeroDivisionError), _products(tf32=tf32, cudnn=True):
            assert product_settings() == (tf32, tf32, True)
            with _products(tf32=not tf32, cudnn=False):
                assert product_settings() == (not tf32, not tf32, False)
            assert product_settings() == (tf32, tf32, True)
            raise ZeroDivisionError
        assert product_settings() == before


def test_a_processor_keeps_torchs_settings() -> None:
    before = product_settings()
    with Runtime(dtype="tf32").arithmetic(torch.nn.Linear(1, 1)):
        assert product_settings() == before
    assert Runtime(dtype="tf32").torch_dtype == torch.float32 and Runtime().exact and not Runtime(dtype="tf32").exact


def test_draws_are_added_in_their_order_however_they_are_batched() -> None:
    values = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(0)) * 10.0 ** torch.arange(6)[
        :, None, None, None
    ].remainder(3)
    results = [mean_outputs(values, 3, AdaptiveBatch(most), lambda part: {"x": part})["x"] for most in (0, 1, 2, 4)]
    expected = torch.stack([(values[i] + values[i + 1] + values[i + 2]) / 3 for i in (0, 3)])
    assert all(torch.equal(result, expected) for result in results)


def test_settings_follow_the_device_and_can_be_overridden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dift_edit.features import registry

    folder = save_tiny_model(tmp_path / "model")
    assert de.load_featurizer(folder).runtime == Runtime(**device_defaults("cpu", small=True).settings)
    asked = []

    def other(device: str, *, small: bool) -> object:
        asked.append((device, small))
        return type("Chosen", (), {"settings": {"dtype": "bfloat16", "max_batch": 3}})

    monkeypatch.setattr(registry, "device_defaults", other)
    chosen = de.load_featurizer(folder)
    assert (chosen.runtime.dtype, chosen.runtime.max_batch) == ("bfloat16", 3) and asked == [("cpu", True)]
    assert de.load_featurizer(folder, dtype="float32").runtime.dtype == "float32"
    assert chosen(picture(0)).fingerprint != de.load_featurizer(folder, dtype="float32")(picture(0)).fingerprint


def test_every_default_is_a_runtime() -> None:
    for (_, kind), chosen in DEVICE_DEFAULTS.items():
        settings = {**chosen.settings, "device": "cpu"}
        assert Runtime(**settings).dtype == chosen.settings["dtype"] and len(chosen.why) > 40 and kind
    assert device_defaults("mps", small=True).settings["dtype"] == "float32"
    with pytest.raises(de.DiftEditError, match="no device 'nonsense'"):
        de.load_featurizer("mini", device="nonsense")


def test_one_number_format_where_devices_are_mixed() -> None:
    def spec(device: str, **settings: object) -> ModelSpec:
        job = Job(source="a.png", sticker="s.png", output="out", device=device, model_settings=settings)
        return ModelSpec.of_job(job)

    assert spec("cuda:0, cuda:1").settings == {} and spec("cuda:0,cuda:1").device == "cuda:0"
    assert spec("cuda,cpu").settings == {"dtype": "float32"}
    assert spec("cuda,cpu", dtype="float16").settings == {"dtype": "float16"}


def test_why_is_said_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--why", "mini"]) == 0
    text = capsys.readouterr().out
    assert "a small network" in text and "dtype = float32" in text and "Winograd" in text
    assert main(["models", "--why", "sd21", "--device", "cuda"]) == 0
    assert "sd21 on cuda, a large network" in capsys.readouterr().out
    assert main(["models", "--why", "nothing"]) == 2
    assert "There is no model 'nothing'" in capsys.readouterr().err
