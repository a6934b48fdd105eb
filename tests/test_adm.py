"""Against a hand-written run of guided-diffusion's arithmetic on the same checkpoint."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import dift_edit as de
from dift_edit.errors import ModelError, OutputError
from dift_edit.features.adm_architecture import AdmArchitecture
from dift_edit.features.adm_checkpoint import convert_adm, convert_adm_state, output_block_name
from dift_edit.features.pixel_diffusion import PixelDiffusionFeaturizer

SMALL = AdmArchitecture(channels=32, channel_mult=(1, 1, 2, 2, 4, 4), head_channels=16, groups=8, image_size=32)
GROUPS, HEAD = 8, 16


class Guided:
    """The original network, from a checkpoint's names alone: what is there is run."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state = state

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.group_norm(x, GROUPS, self.state[f"{name}.weight"], self.state[f"{name}.bias"], 1e-5)

    def conv(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def residual(self, x: torch.Tensor, emb: torch.Tensor, name: str, resize: str) -> torch.Tensor:
        def sized(v: torch.Tensor) -> torch.Tensor:
            if resize == "down":
                return F.avg_pool2d(v, 2)
            return F.interpolate(v, scale_factor=2.0, mode="nearest") if resize == "up" else v

        h = self.conv(sized(F.silu(self.norm(x, f"{name}.in_layers.0"))), f"{name}.in_layers.2")
        x = sized(x)
        time = F.linear(F.silu(emb), self.state[f"{name}.emb_layers.1.weight"], self.state[f"{name}.emb_layers.1.bias"])
        scale, shift = time[:, :, None, None].chunk(2, 1)
        h = self.norm(h, f"{name}.out_layers.0") * (1 + scale) + shift
        h = self.conv(F.silu(h), f"{name}.out_layers.3")
        if f"{name}.skip_connection.weight" in self.state:
            x = self.conv(x, f"{name}.skip_connection")
        return x + h

    def attention(self, x: torch.Tensor, name: str) -> torch.Tensor:
        batch, channels, height, width = x.shape
        heads = channels // HEAD
        flat = self.norm(x, f"{name}.norm").flatten(2)
        qkv = F.conv1d(flat, self.state[f"{name}.qkv.weight"], self.state[f"{name}.qkv.bias"])
        q, k, v = qkv.reshape(batch * heads, 3 * HEAD, -1).split(HEAD, 1)
        weight = torch.softmax(torch.einsum("bct,bcs->bts", q / HEAD**0.25, k / HEAD**0.25), -1)
        mixed = torch.einsum("bts,bcs->bct", weight, v).reshape(batch, channels, -1)
        out = F.conv1d(mixed, self.state[f"{name}.proj_out.weight"], self.state[f"{name}.proj_out.bias"])
        return x + out.reshape(batch, channels, height, width)

    def run(self, x: torch.Tensor, t: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        state, half = self.state, self.state["time_embed.0.weight"].shape[1] // 2
        angles = t * torch.exp(-math.log(10000) * torch.arange(half) / half)
        emb = torch.cat([angles.cos(), angles.sin()])[None].expand(len(x), -1)
        emb = F.linear(emb, state["time_embed.0.weight"], state["time_embed.0.bias"])
        emb = F.linear(F.silu(emb), state["time_embed.2.weight"], state["time_embed.2.bias"])

        def block(h: torch.Tensor, name: str, resize: str = "") -> torch.Tensor:
            for part in range(3):
                if f"{name}.{part}.in_layers.0.weight" in state:
                    alone = part > 0 or resize == "down"
                    h = self.residual(h, emb, f"{name}.{part}", resize if alone else "")
                elif f"{name}.{part}.qkv.weight" in state:
                    h = self.attention(h, f"{name}.{part}")
            return h

        h = self.conv(x, "input_blocks.0.0")
        skips, index = [h], 1
        while f"input_blocks.{index}.0.in_layers.0.weight" in state:
            h = block(h, f"input_blocks.{index}", "down" if index % 3 == 0 else "")
            skips.append(h)
            index += 1
        h = self.residual(h, emb, "middle_block.0", "")
        h = self.attention(h, "middle_block.1")
        h = self.residual(h, emb, "middle_block.2", "")
        outputs = []
        for step in range(index):
            h = block(torch.cat([h, skips.pop()], 1), f"output_blocks.{step}", "up")
            outputs.append(h)
        return outputs, self.conv(F.silu(self.norm(h, "out.0")), "out.2")


def random_checkpoint(architecture: AdmArchitecture, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights with the names and shapes of guided-diffusion."""
    generator, state = torch.Generator().manual_seed(seed), {}
    widths = [architecture.channels * multiple for multiple in architecture.channel_mult]
    time = 4 * architecture.channels

    def add(name: str, *shape: int) -> None:
        fan = math.prod(shape[1:])
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) / fan**0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
        if len(shape) == 1:
            state[f"{name}.weight"] = 1 + 0.1 * torch.randn(shape, generator=generator)

    def residual(name: str, before: int, after: int) -> None:
        add(f"{name}.in_layers.0", before)
        add(f"{name}.in_layers.2", after, before, 3, 3)
        add(f"{name}.emb_layers.1", 2 * after, time)
        add(f"{name}.out_layers.0", after)
        add(f"{name}.out_layers.3", after, after, 3, 3)
        if before != after:
            add(f"{name}.skip_connection", after, before, 1, 1)

    def attention(name: str, width: int) -> None:
        add(f"{name}.norm", width)
        add(f"{name}.qkv", 3 * width, width, 1)
        add(f"{name}.proj_out", width, width, 1)

    add("time_embed.0", time, architecture.channels)
    add("time_embed.2", time, time)
    add("input_blocks.0.0", widths[0], architecture.in_channels, 3, 3)
    now, skips, index = widths[0], [widths[0]], 1
    for level, width in enumerate(widths):
        for _ in range(architecture.res_blocks):
            residual(f"input_blocks.{index}.0", now, width)
            if level in architecture.attention_levels:
                attention(f"input_blocks.{index}.1", width)
            now = width
            skips.append(now)
            index += 1
        if level < len(widths) - 1:
            residual(f"input_blocks.{index}.0", now, now)
            skips.append(now)
            index += 1
    residual("middle_block.0", now, now)
    attention("middle_block.1", now)
    residual("middle_block.2", now, now)
    index = 0
    for level, width in reversed(list(enumerate(widths))):
        for block in range(architecture.res_blocks + 1):
            residual(f"output_blocks.{index}.0", now + skips.pop(), width)
            now, attends = width, level in architecture.attention_levels
            if attends:
                attention(f"output_blocks.{index}.1", width)
            if level and block == architecture.res_blocks:
                residual(f"output_blocks.{index}.{1 + attends}", now, now)
            index += 1
    add("out.0", now)
    add("out.2", architecture.out_channels, now, 3, 3)
    return state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adm") / "diffusion_uncond.pt"
    torch.save(random_checkpoint(SMALL), path)
    return path


@pytest.fixture(scope="module")
def featurizer(checkpoint: Path) -> PixelDiffusionFeaturizer:
    folder = convert_adm(checkpoint, checkpoint.parent / "adm", SMALL)
    return de.load_featurizer(folder, short_sides=64, ensemble=2)


def picture(size: tuple[int, int] = (64, 64)) -> de.Image:
    return de.as_image(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("index", [0, 2, 3, 4, 5, 7, 9, 11, 14, 15, 17])
def test_output_blocks_equal_the_original_arithmetic(checkpoint: Path, featurizer, index: int) -> None:
    image, noise = picture(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(index))
    ours = featurizer.with_settings(layers=index, timestep=41).extract(image, noise=noise)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[41].float()
    pixels = torch.from_numpy(image.pixels.transpose(2, 0, 1) / 127.5 - 1).float()
    outputs, _ = Guided(torch.load(checkpoint)).run(kept.sqrt() * pixels + (1 - kept).sqrt() * noise, 41)
    expected = outputs[index].mean(0)
    assert ours.data.shape == expected.shape
    assert torch.linalg.norm(ours.data - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_the_whole_network_equals_the_original(checkpoint: Path, featurizer) -> None:
    x = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = featurizer.unet(x, 500).sample
    expected = Guided(torch.load(checkpoint)).run(x, 500)[1]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_names_of_output_blocks() -> None:
    config = AdmArchitecture().config()
    names = {4: "up_blocks.1.attentions.1", 5: "up_blocks.1.upsamplers.0", 7: "up_blocks.2.attentions.1"}
    names |= {9: "up_blocks.3.resnets.0", 11: "up_blocks.3.upsamplers.0", 17: "up_blocks.5.resnets.2"}
    for index, name in names.items():
        assert output_block_name(index, config) == output_block_name(f"output_blocks.{index}", config) == name
    assert output_block_name("mid_block", config) == "mid_block"
    with pytest.raises(ModelError, match=r"output_blocks\.0 to 17"):
        output_block_name(18, config)
    assert config["block_out_channels"] == (256, 256, 512, 512, 1024, 1024) and config["attn_norm_num_groups"] == 32


def test_a_converted_folder_has_the_settings_of_adm(featurizer) -> None:
    settings = featurizer.settings
    assert (settings.timestep, settings.layers, settings.square) == (101, ("output_blocks.4",), True)
    assert featurizer(picture()).grid_size == (4, 4)
    # Sides that are not multiples of 32 are padded for the network and cropped again.
    odd = featurizer.with_settings(square=False, short_sides=56, layers=11, ensemble=1)(picture((101, 57)))
    assert odd.grid_size == (50, 28) and odd.image_size == (101, 57)
    assert len({featurizer.with_settings(timestep=t).fingerprint for t in (1, 2)}) == 2


def test_a_flipped_bit_in_converted_weights_is_named(checkpoint: Path, tmp_path: Path) -> None:
    folder = convert_adm(checkpoint, tmp_path / "adm", SMALL)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 0x40
    weights.write_bytes(data)
    with pytest.raises(ModelError, match=r"diffusion_pytorch_model\.safetensors are damaged"):
        de.load_featurizer(folder)


def test_batches_equal_single_calls(featurizer) -> None:
    images = [picture(), picture((64, 80)), picture((50, 50))]
    for one, other in zip(featurizer.batch(images, seed=2), [featurizer(i, seed=2) for i in images], strict=True):
        torch.testing.assert_close(one.data, other.data, rtol=0, atol=1e-4 * float(other.data.abs().max()))


def test_broken_checkpoints_are_named(checkpoint: Path, tmp_path: Path) -> None:
    state = random_checkpoint(SMALL)
    with pytest.raises(ModelError, match=r"output_blocks\.17"):
        convert_adm_state({k: v for k, v in state.items() if "output_blocks.17" not in k}, SMALL)
    with pytest.raises(ModelError, match="another"):
        convert_adm(checkpoint, tmp_path / "a", AdmArchitecture(channels=64, head_channels=16, groups=8))
    with pytest.raises(ModelError, match="does not"):
        convert_adm_state({**state, "label_emb.weight": torch.zeros(3)}, SMALL)
    text = tmp_path / "text.pt"
    text.write_text("no weights")
    with pytest.raises(ModelError, match="not a file of weights"):
        convert_adm(text, tmp_path / "b")
    with pytest.raises(ModelError, match="does not exist"):
        convert_adm(tmp_path / "none.pt", tmp_path / "b")
    with pytest.raises(OutputError, match="exists already"):
        convert_adm(checkpoint, checkpoint.parent, SMALL)
    assert not list(tmp_path.glob(".dift-edit*")) and not (tmp_path / "a").exists()


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (json.dumps, ("ran",))

    path = tmp_path / "evil.pt"
    torch.save({"a": Evil()}, path)
    with pytest.raises(ModelError, match="not a file of weights"):
        convert_adm(path, tmp_path / "out")
