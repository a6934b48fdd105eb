"""Tiny pictures and a tiny real network, for runs of many targets in little time."""

from pathlib import Path

import numpy as np
import PIL.Image
import torch

SETTINGS = {"short_sides": (96,)}


def save_tiny_model(folder: Path) -> Path:
    """A diffusers folder with random weights: the real class at toy size."""
    from diffusers import DDIMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=32, in_channels=192, out_channels=192, layers_per_block=1, block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=8,
    )  # fmt: skip
    unet.save_pretrained(folder / "unet")
    DDIMScheduler().save_pretrained(folder / "scheduler")
    return folder


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> PIL.Image.Image:
    """A picture of coloured blobs."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return PIL.Image.fromarray(small).resize(size, PIL.Image.Resampling.BICUBIC)


def make_set(folder: Path, count: int, suffix: str = ".png") -> Path:
    """A folder with `count` pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        variant(number).save(folder / f"photo{number:04d}{suffix}")
    return folder


def variant(number: int) -> PIL.Image.Image:
    """The source (`picture(1)`) a little moved, in another light, with noise."""
    rng = np.random.default_rng(number)
    pixels = np.roll(np.asarray(picture(1)), rng.integers(-3, 4, 2), (0, 1)).astype(float)
    pixels = pixels * rng.uniform(0.85, 1.1) + rng.normal(0, 4, pixels.shape)
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def make_sticker(path: Path, size: tuple[int, int] = (48, 40)) -> Path:
    """A transparent canvas of the source's size with a red patch in its middle."""
    canvas = np.zeros((size[1], size[0], 4), dtype=np.uint8)
    canvas[12:28, 16:32] = (220, 20, 60, 255)
    PIL.Image.fromarray(canvas).save(path)
    return path
