"""Networks written to ONNX files give the features of torch."""

from pathlib import Path

import numpy as np
import pytest

import dift_edit as de
from batch_data import SETTINGS
from dift_edit.cli import main
from dift_edit.errors import ModelError
from dift_edit.features.base import image_seed, make_noise
from dift_edit.features.export import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")


def run(path: Path, **inputs: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)[0][0]


def test_lite_as_a_file_gives_the_featurizers_features(tmp_path: Path, rng: np.random.Generator) -> None:
    featurizer = de.load_featurizer("lite", channels_last=False, image_size=96)
    image = de.as_image(rng.integers(0, 256, (70, 110, 3), dtype=np.uint8))
    made = export_onnx(featurizer, tmp_path / "lite.onnx", size=image.size)
    assert made.noise_shape is None and made.largest_difference < 1e-6
    features = run(made.path, pixels=image.resized(made.size)[None].numpy())
    expected = featurizer(image).data
    assert features.shape == expected.shape and made.grid == expected.shape[:0:-1]
    assert np.allclose(features, expected.numpy(), atol=1e-5)


def test_a_diffusion_network_takes_the_noise_as_input(tmp_path: Path, tiny_model: Path, rng) -> None:
    featurizer = de.load_featurizer(tiny_model, **SETTINGS, channels_last=False)
    image = de.as_image(rng.integers(0, 256, (70, 110, 3), dtype=np.uint8))
    made = export_onnx(featurizer, tmp_path / "tiny.onnx", size=image.size)
    noise = make_noise(made.noise_shape, image_seed(image.digest, 0)).numpy()
    features = run(made.path, pixels=image.resized(made.size)[None].numpy(), noise=noise)
    assert np.allclose(features, featurizer(image).data.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [("mini", {}, "export lite, dift-mini one by one"), ("lite", {}, "channels_last=False")],
)
def test_what_cannot_be_exported_is_said(name: str, options: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        export_onnx(de.load_featurizer(name, **options), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_features_that_differ_are_not_kept(tmp_path: Path, tiny_model: Path) -> None:
    featurizer = de.load_featurizer(tiny_model, **SETTINGS, channels_last=False)
    with pytest.raises(ModelError, match="differ from torch's"):
        export_onnx(featurizer, tmp_path / "a.onnx", size=(64, 48), tolerance=-1.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_export_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "export", "lite", "--onnx", str(tmp_path / "lite.onnx"), "--size", "100", "60"]) == 0
    assert "ONNX Runtime and torch agree" in capsys.readouterr().out and (tmp_path / "lite.onnx").stat().st_size > 1e6
    assert main(["models", "export", "lite", "--onnx", str(tmp_path / "no" / "lite.onnx")]) != 0
    assert main(["models", "export", "lite", "--onnx", str(tmp_path / "a.onnx"), "--size", "0", "60"]) != 0
