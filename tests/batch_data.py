"""Tiny pictures and a tiny real network, for runs of many targets in little time."""

import hashlib
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

SETTINGS = {"short_sides": (96,)}


def save_tiny_model(folder: Path) -> Path:
    """A diffusers folder with random weights: the real class at toy size."""
    import torch
    from diffusers import DDIMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=32, in_channels=192, out_channels=192, layers_per_block=1, block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=8,
    )  # fmt: skip
    unet.save_pretrained(folder / "unet")
    DDIMScheduler().save_pretrained(folder / "scheduler")
    return folder


def forking() -> Any:
    """Processes that start at once, from one that has imported everything. A test process has one such server: the
    first who needs it says what it imports.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([
        "dift_edit.batch.runners", "dift_edit.clips.job", "dift_edit.features.lite", "dift_edit.features.unet_2d",
        __name__, "av",
    ])  # fmt: skip
    return context


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


def make_scene(folder: Path, count: int) -> Path:
    """A folder with ``source.png``, ``sticker.png`` and ``photos/``."""
    picture(1).save(folder / "source.png")
    make_sticker(folder / "sticker.png")
    make_set(folder / "photos", count)
    return folder


def run_scene(scene, model, output, *, on_event=None, min_confidence=0.0, photos="photos", **batch):
    """`run_batch` over a scene, with the least that settings can ask for."""
    from dift_edit.batch import run_batch
    from dift_edit.edits import Sticker
    from dift_edit.imaging.files import load_image
    from dift_edit.settings import BatchSettings, TransferSettings

    source = load_image(scene / "source.png")
    sticker = Sticker.from_file(scene / "sticker.png", source_size=source.size)
    transfer = TransferSettings(min_confidence=min_confidence, mirror="never")
    return run_batch(
        source, sticker, [scene / photos], scene / output, featurizer=model, settings=transfer,
        batch=BatchSettings(preview_size=48, **batch), on_event=on_event,
    )  # fmt: skip


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of an output folder's manifest."""
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def bytes_of(folder: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Digest of every picture, and the rows without their times."""
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".png", ".jpg") and ".dift-edit" not in path.parts
    }
    return files, [{key: value for key, value in row.items() if key != "seconds"} for row in rows_of(folder)]
