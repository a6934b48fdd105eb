"""EfficientNet-Lite2 as a featurizer, and weights of 8 bits."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dift_edit as de
from batch_data import save_tiny_model
from dift_edit.cli import main
from dift_edit.errors import ModelError, SettingsError
from dift_edit.features.base import Featurizer, ModelInfo
from dift_edit.features.efficientnet_lite import STAGES, EfficientNetLite, Stage
from dift_edit.features.lite import LiteFeaturizer, LiteSettings
from dift_edit.features.sources import EMBEDDED, embedded_folders, fusion_parts
from dift_edit.features.weights import quantized, read_weights, restored, weights_digest

SMALL = (Stage(1, 4, 3), Stage(2, 6, 3, (0, 1)), Stage(2, 8, 5, (2, 2)))


def small(**settings) -> LiteFeaturizer:
    torch.manual_seed(0)
    network = EfficientNetLite(SMALL, stem=4, ratio=2)
    return LiteFeaturizer(
        network, LiteSettings(**{"image_size": 32, "blocks": (2, 4), **settings}), model=ModelInfo(id="small")
    )


def photo(size=(60, 40), seed=0) -> de.Image:
    return de.as_image(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def test_the_network_is_that_of_the_card() -> None:
    network = EfficientNetLite()
    assert sum(value.numel() for value in network.parameters()) == 3_617_224
    channels = [block.project.out_channels for block in network.blocks]
    assert channels == [stage.channels for stage in STAGES for _ in range(stage.blocks)]
    assert [network.strides[number] for number in (0, 1, 4, 7, 14, 15, 19)] == [2, 4, 8, 16, 16, 32, 32]
    kernels = [block.depthwise.kernel_size[0] for block in network.blocks]
    assert kernels == [3] * 4 + [5] * 3 + [3] * 4 + [5] * 9


def test_a_block_is_computed_as_the_paper_says() -> None:
    """Block 2 of a small network, written out: expand, ReLU6, depthwise, ReLU6, project, add."""
    network = small().network
    seen = {}
    network.blocks[1].register_forward_hook(lambda _m, _i, output: seen.update(before=output))
    with torch.inference_mode():
        outputs = network(torch.randn(1, 3, 32, 48), (2,))
        block, x = network.blocks[2], seen["before"]
        y = torch.einsum("oi,bihw->bohw", block.expand.weight[:, :, 0, 0], x) + block.expand.bias[:, None, None]
        y = torch.nn.functional.pad(y.clamp(0, 6), (1, 1, 1, 1))
        windows = y.unfold(2, 3, 1).unfold(3, 3, 1)
        y = (windows * block.depthwise.weight[:, 0][:, None, None]).sum((-1, -2)) + block.depthwise.bias[:, None, None]
        y = torch.einsum("oi,bihw->bohw", block.project.weight[:, :, 0, 0], y.clamp(0, 6))
        torch.testing.assert_close(outputs[0], x + y + block.project.bias[:, None, None], rtol=1e-4, atol=1e-5)


def test_only_the_blocks_that_are_needed_run() -> None:
    network = small().network
    ran = []
    for number, block in enumerate(network.blocks):
        block.register_forward_hook(lambda _m, _i, _o, number=number: ran.append(number))
    network(torch.zeros(1, 3, 32, 32), (1, 2))
    assert ran == [0, 1, 2]


@pytest.mark.parametrize("size", [(60, 40), (33, 150), (32, 32)])
def test_maps_cover_the_picture_and_batches_equal_single_calls(size) -> None:
    featurizer = small()
    assert isinstance(featurizer, Featurizer)
    images = [photo(size), photo((50, 50)), photo(size, 1)]
    for image, features in zip(images, featurizer.batch(images), strict=True):
        torch.testing.assert_close(features.data, featurizer(image).data, rtol=1e-4, atol=1e-5)
        width, height = features.grid_size
        assert features.data.shape[0] == 6 + 8 and min(width, height) == 32 // 4
        assert abs(width / height - image.size[0] / image.size[1]) < 0.15 * image.size[0] / image.size[1]
        assert (features.image_size, features.digest) == (image.size, image.digest)


def test_mirrored_views_make_features_of_mirrored_pictures_mirrored() -> None:
    featurizer = small(flip=True)
    image = photo((48, 32))
    torch.testing.assert_close(featurizer(image.mirrored()).data.flip(-1), featurizer(image).data, rtol=1e-4, atol=1e-5)
    plain = small()
    assert not torch.allclose(plain(image.mirrored()).data.flip(-1), plain(image).data, atol=1e-2)
    assert plain.fingerprint != featurizer.fingerprint == plain.with_settings(flip=True).fingerprint


def test_wrong_settings_are_named() -> None:
    with pytest.raises(SettingsError, match="0 to 4"):
        small(blocks=(9,))
    with pytest.raises(SettingsError, match="square, short"):
        small(size_mode="long")
    with pytest.raises(SettingsError, match="use 1 or more"):
        small(image_size=0)


@pytest.mark.slow
def test_lite_needs_no_diffusers() -> None:
    code = (
        "import sys, dift_edit as de; de.load_featurizer('lite'); print({'diffusers', 'transformers'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.slow
def test_pixel_diffusion_needs_no_compiler_and_whoever_wants_it_still_gets_it(tiny_model) -> None:
    code = (
        f"import sys, dift_edit as de; de.load_featurizer('dift-mini'); de.load_featurizer({str(tiny_model)!r})\n"
        "print({'torch._dynamo', 'scipy.stats', 'transformers'} & {*sys.modules})\n"
        "from dift_edit.features.unet_2d import UNet2DModel\n"
        "import diffusers, torch._dynamo\n"
        "from diffusers.models.transformers import Transformer2DModel\n"
        "from diffusers.models.unets import UNet2DConditionModel\n"
        "from diffusers.quantizers.pipe_quant_config import TransformersQuantConfigMixin\n"
        "from transformers.utils.quantization_config import QuantizationConfigMixin\n"
        "assert TransformersQuantConfigMixin is QuantizationConfigMixin\n"
        "assert diffusers.utils.is_transformers_available()\n"
        "assert diffusers.UNet2DModel is UNet2DModel"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "set()" and not result.returncode, result.stderr


def test_eight_bits_keep_weights_within_half_a_step() -> None:
    weight = torch.randn(40, 512, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 2, 40)[:, None]
    state = {"a.weight": weight, "a.bias": torch.randn(40), "depthwise.weight": torch.randn(4000, 1, 5, 5)}
    stored = quantized(state)
    assert stored["a.weight"].dtype == torch.int8 and stored["a.weight_scale"].shape == (40,)
    assert stored["a.bias"].dtype == stored["depthwise.weight"].dtype == torch.float16
    back = restored(stored)
    assert back.keys() == state.keys()
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((back["a.weight"] - weight).abs() <= step * 0.501).all()
    with pytest.raises(ModelError, match=r"a\.weight_scale"):
        restored({"a.weight": stored["a.weight"]})


def test_a_file_with_missing_scales_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.int8.safetensors"
    save_file({"a.weight": torch.zeros(4, 4, dtype=torch.int8)}, file)
    with pytest.raises(ModelError, match=r"model\.int8\.safetensors.*a\.weight_scale"):
        read_weights(file)


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "training" / "quantize_weights.py"
    spec = importlib.util.spec_from_file_location("quantize_weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_model_folder_is_quantized_and_gives_the_same_features(script, tmp_path: Path, capsys) -> None:
    full = save_tiny_model(tmp_path / "full")
    out = tmp_path / "small"
    assert script.main([str(full), "-o", str(out), "--layers", "up_blocks.0"]) == 0
    assert "MB" in capsys.readouterr().out
    settings = {"layers": ("up_blocks.0",), "short_sides": (64,)}
    one, other = de.load_featurizer(full, **settings), de.load_featurizer(out, **settings)
    assert type(other.unet) is type(one.unet)
    assert len(other.unet.up_blocks) == 1 < len(one.unet.up_blocks)
    cosine = (one(photo()).unit * other(photo()).unit).sum(0)
    assert cosine.min() > 0.999
    assert other.fingerprint != one.fingerprint and other.model.sha256 == weights_digest(out / "unet")
    assert main(["models", "check", str(out)]) == 0 and "intact" in capsys.readouterr().out
    assert script.main([str(full), "-o", str(out)]) == 2 and "exists already" in capsys.readouterr().err


def test_the_embedded_weights_are_whole_and_small(capsys) -> None:
    assert main(["models", "check", "mini"]) == 0
    assert capsys.readouterr().out.count("intact") == 2
    assert {folder.name for folder in embedded_folders("mini")} == {"lite", "dift-mini"}
    files = [*EMBEDDED.rglob("*.safetensors")]
    assert sum(file.stat().st_size for file in files) < 34e6
    assert all(any(value.dtype == torch.int8 for value in load_file(file).values()) for file in files)


def test_parts_and_weights_of_a_fusion_are_read_from_its_name(tmp_path: Path) -> None:
    def read(name) -> list[tuple[str, float]]:
        return [(part.name, part.weight) for part in fusion_parts(name)]

    assert read("dinov2:0.6+sd21:0.4") == [("dinov2", 0.6), ("sd21", 0.4)]
    assert read("dinov2+sd21") == [("dinov2", 1.0), ("sd21", 1.0)]
    assert read("sd21") == [("sd21", 1.0)]
    nested = fusion_parts("mini:3+sd21")
    assert [part.name for part in nested] == ["lite", "dift-mini", "sd21"]
    assert sum(part.weight for part in nested[:2]) == pytest.approx(3)
    assert nested[0].settings == {"image_size": 320} and not nested[2].settings
    folder = tmp_path / "a+b:c"
    folder.mkdir()
    assert read(folder) == [(str(folder), 1.0)]
    for wrong in ("lite:0+sd21", "lite:x+sd21", "lite:-1", "lite:nan"):
        with pytest.raises(ModelError, match="positive number"):
            fusion_parts(wrong)


def test_names_of_the_embedded_models(mini, lite, dift_mini) -> None:
    assert mini.weights == pytest.approx((0.85, 0.15)) and mini.featurizers == (lite, dift_mini)
    assert lite.settings == LiteSettings(image_size=320) and de.load_featurizer("lite").settings == LiteSettings()
    fast = de.load_featurizer("fast")
    assert isinstance(fast, LiteFeaturizer) and fast.settings.image_size <= 320
    assert de.load_featurizer("mini", image_size=200).featurizers[0].settings.image_size == 200


def test_a_fusion_is_the_weighted_mean_of_cosines(mini, lite, dift_mini) -> None:
    image = photo((80, 60))
    fused = de.load_featurizer("lite:0.25+dift-mini:0.75", image_size=64, short_sides=(64,))
    assert fused.weights == (0.25, 0.75) and fused.featurizers[1].settings.short_sides == (64,)
    assert fused.featurizers[0].settings.image_size == 64
    data = fused(image).unit.flatten(1)
    parts = [part(image) for part in fused.featurizers]
    assert parts[1].grid_size == fused(image).grid_size
    second = parts[1].unit.flatten(1)
    first = torch.nn.functional.interpolate(parts[0].unit[None], size=parts[1].data.shape[1:], mode="bilinear")[0]
    first = torch.nn.functional.normalize(first, dim=0).flatten(1)
    expected = 0.25 * first.T @ first + 0.75 * second.T @ second
    torch.testing.assert_close(data.T @ data, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ModelError, match="no setting 'colour'"):
        de.load_featurizer("mini", colour=1)


def test_the_middle_of_what_a_cell_sees_is_known() -> None:
    """The gradient of a cell of a network of equal weights has its centre of mass where `offsets` says."""
    network = EfficientNetLite(SMALL, stem=4, ratio=2)
    with torch.no_grad():
        for value in network.parameters():
            value.fill_(1e-3)
    pixels = torch.full((1, 3, 96, 96), 0.5, requires_grad=True)
    for block in (0, 2, 4):
        (output,) = network(pixels, (block,))
        stride, cell = network.strides[block], 48 // network.strides[block]
        (gradient,) = torch.autograd.grad(output[0, :, cell, cell].sum(), pixels)
        mass = gradient[0].sum(0)
        places = torch.arange(96.0)
        seen = (float((mass.sum(0) * places).sum() / mass.sum()), float((mass.sum(1) * places).sum() / mass.sum()))
        middle = (cell + 0.5) * stride - 0.5
        assert seen == pytest.approx((middle + network.offsets[block],) * 2, abs=1e-3)


@pytest.mark.parametrize("blocks", [(14,), (19,), (14, 19)])
def test_features_lie_where_the_picture_has_them(lite, blocks) -> None:
    """Matches of a photograph with its mirror image are off to no side: cells that look aside would be, by 16 px."""
    from skimage import data

    image = de.Image(data.astronaut())
    featurizer = lite.with_settings(blocks=blocks)
    points = np.stack(np.meshgrid(np.arange(130.0, 400, 30), np.arange(130.0, 400, 30)), -1).reshape(-1, 2)
    found = de.match_points(featurizer(image), points, featurizer(image.mirrored()), consensus=0.0).points
    errors = found - (points * [-1, 1] + [511, 0])
    near = np.linalg.norm(errors, axis=1) < 50
    assert near.mean() > 0.7
    assert np.abs(np.median(errors[near], axis=0)).max() < 5
