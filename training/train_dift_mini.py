"""Train a small pixel-space diffusion model whose inner features correspond: the recipe of dift-mini.

    python training/train_dift_mini.py PHOTOS --teacher dinov2 -o my-mini
    dift-edit propagate SOURCE --sticker PNG TARGET... -o OUT --model my-mini

A diffusers ``UNet2DModel`` learns to denoise crops of the photos (v-prediction), given as ``pixel_unshuffle(2)``.
At the same time linear heads on two of its feature maps learn to predict the maps of a frozen teacher (representation
alignment): that is what makes a model of 33 M parameters useful after half an hour on one GPU. Any featurizer of
dift-edit can teach (a name, a folder), or any function ``package.module:function`` that returns one.

What is written (``unet/``, ``scheduler/``: the moving average of the weights in float16, and ``training.json``) loads
with ``dift_edit.load_featurizer(folder)``. dift-mini itself: 175,435 photos, EfficientNet-Lite2 (two sizes) as teacher,
batch 384, 5,200 steps in 25 minutes on one GPU; its coarse block was aligned with the coarse maps only.

References
----------
Yu et al., Representation Alignment for Generation, ICLR 2025 (REPA), equations 4 and 8.
Salimans and Ho, Progressive Distillation, ICLR 2022, appendix D (v-prediction).
"""

import argparse
import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import dift_edit as de
from dift_edit.atomic_files import write_atomic, write_text
from dift_edit.errors import ImageError, ModelError
from dift_edit.features.base import Featurizer
from dift_edit.features.weights import write_sums

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
BLOCKS = ("up_blocks.0", "up_blocks.1")
"""The feature maps that are aligned, and later used."""


def _option(default: Any, help_: str) -> Any:
    return field(default=default, metadata={"help": help_})


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Everything that decides the result; the defaults are those of dift-mini."""

    channels: tuple[int, ...] = _option((96, 192, 256, 256), "channels of each level")
    attention: tuple[int, ...] = _option((0, 0, 1, 1), "whether a level has attention, 0 or 1")
    layers_per_block: int = _option(2, "residual blocks of a level")
    head_channels: int = _option(64, "channels of one attention head")
    groups: int = _option(32, "groups of the group norms")
    side: int = _option(144, "side in pixels to which photos are brought (square, centre crop)")
    crop: int = _option(128, "side in pixels that the network sees")
    steps: int = _option(5200, "steps of the optimiser")
    batch: int = _option(384, "photos a step")
    learning_rate: float = _option(6e-4, "peak of the schedule")
    warmup: int = _option(400, "steps until the peak; a cosine to 2 % follows")
    weight_decay: float = _option(0.02, "of weights with more than one dimension")
    ema: float = _option(0.9995, "of the moving average that is saved")
    alignment: float = _option(1.0, "weight of the alignment with the teacher")
    seed: int = _option(0, "of everything random")


def list_photos(folder: Path) -> list[Path]:
    """All pictures below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def load_photos(paths: Sequence[Path], side: int) -> torch.Tensor:
    """(N, 3, side, side) uint8: the largest centred square of each photo; what cannot be read is named and left out.

    Raises
    ------
    ImageError
        If none can be read.
    """
    photos = []
    for path in paths:
        try:
            image = de.load_image(path)
        except ImageError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        width, height = image.size
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        square = image.crop((left, top, left + short, top + short))
        photos.append((square.resized((side, side)) * 255).round().to(torch.uint8))
    if not photos:
        raise ImageError("There is no photo to train on: give a folder with pictures in it.")
    return torch.stack(photos)


def load_teacher(name: str, device: str) -> Featurizer:
    """A featurizer by name or folder, or what ``package.module:function`` returns."""
    if ":" in name and not Path(name).exists():
        module, _, function = name.partition(":")
        teacher: Featurizer = getattr(importlib.import_module(module), function)()
        return teacher
    return de.load_featurizer(name, device=device)


def teacher_maps(teacher: Featurizer, photos: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) int8: the teacher's unit features of each photo, times 127."""
    maps = []
    for photo in photos:
        features = teacher(de.as_image(photo.cpu()))
        maps.append((features.unit * 127).round().clamp(-127, 127).to("cpu", torch.int8))
    return torch.stack(maps)


def make_unet(settings: TrainingSettings) -> Any:
    """The network of dift-mini at the size that the settings say."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    return UNet2DModel(
        sample_size=settings.crop // 2,
        in_channels=12,
        out_channels=12,
        layers_per_block=settings.layers_per_block,
        block_out_channels=settings.channels,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in settings.attention),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(settings.attention)),
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=settings.head_channels,
        norm_num_groups=settings.groups,
    )


def make_scheduler() -> Any:
    """Cosine schedule, 1000 steps, v-prediction."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False
    )


class Student(nn.Module):
    """The U-Net with one linear head on each aligned feature map, which predicts all teachers' channels."""

    def __init__(self, settings: TrainingSettings, teacher_channels: Sequence[int]) -> None:
        super().__init__()
        self.unet = make_unet(settings)
        widths = [settings.channels[-1], settings.channels[-2]]
        self.heads = nn.ModuleList(nn.Conv2d(width, sum(teacher_channels), 1) for width in widths)
        self.features: dict[str, torch.Tensor] = {}
        for name in BLOCKS:
            self.unet.get_submodule(name).register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[[Any, Any, torch.Tensor], None]:
        def hook(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
            self.features[name] = output

        return hook

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The predicted velocity, and the heads' maps on each block's grid."""
        velocity = self.unet(noisy, timestep).sample
        return velocity, [head(self.features[name]) for head, name in zip(self.heads, BLOCKS, strict=True)]


def random_crop(
    photos: torch.Tensor, maps: Sequence[torch.Tensor], settings: TrainingSettings, generator: torch.Generator
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A batch of one random square window, half of the photos mirrored, with the same window of the teachers' maps.

    Returns
    -------
    pixels : torch.Tensor
        (B, 3, crop, crop) in [-1, 1].
    targets : list of torch.Tensor
        (B, C, h, w) of each teacher.
    """
    side, crop, count = settings.side, settings.crop, settings.batch
    index = torch.randint(len(photos), (count,), generator=generator)
    size = int(torch.randint(min(side, int(crop * 0.85)), side + 1, (), generator=generator))
    left, top = (int(value) for value in torch.randint(side - size + 1, (2,), generator=generator))
    window = photos[index.to(photos.device)][:, :, top : top + size, left : left + size].float() / 127.5 - 1
    pixels = F.interpolate(window, size=(crop, crop), mode="bilinear", antialias=True, align_corners=False)
    scale, x, y = size / side, 2 * (left + size / 2) / side - 1, 2 * (top + size / 2) / side - 1
    theta = torch.tensor([[scale, 0, x], [0, scale, y]], device=photos.device).expand(count, 2, 3)
    targets = []
    for one in maps:
        cells = [max(1, round(edge * scale)) for edge in one.shape[-2:]]
        grid = F.affine_grid(theta, [count, 1, *cells], align_corners=False)
        values = one[index.to(one.device)].to(photos.device).float() / 127
        targets.append(F.grid_sample(values, grid, padding_mode="border", align_corners=False))
    mirrored = (torch.rand(count, generator=generator) < 0.5).to(photos.device)[:, None, None, None]
    return torch.where(mirrored, pixels.flip(-1), pixels), [
        torch.where(mirrored, target.flip(-1), target) for target in targets
    ]


def draw_timesteps(count: int, generator: torch.Generator) -> torch.Tensor:
    """(count,) timesteps, more of the small ones: features are later taken at little noise."""
    uniform = torch.rand(count, generator=generator)
    low = torch.sigmoid(torch.randn(count, generator=generator) - 1.2)
    chosen = torch.where(torch.rand(count, generator=generator) < 0.6, low, uniform)
    return (chosen * 1000).long().clamp(0, 999)


def alignment_loss(predicted: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over blocks and teachers of 1 − cosine, on the coarser of the two grids."""
    losses = []
    for heads in predicted:
        parts = heads.split([target.shape[1] for target in targets], 1)
        for part, target in zip(parts, targets, strict=True):
            size = tuple(min(a, b) for a, b in zip(part.shape[-2:], target.shape[-2:], strict=True))
            fitted, wanted = (F.interpolate(maps.float(), size=size, mode="area") for maps in (part, target))
            losses.append((1 - F.cosine_similarity(fitted, wanted, dim=1)).mean())
    return torch.stack(losses).mean()


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine to 2 % of the peak."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(settings.steps, 1)))
    return settings.learning_rate * min(1.0, (step + 1) / max(settings.warmup, 1)) * (0.98 * cosine + 0.02)


def train(
    photos: torch.Tensor,
    maps: Sequence[torch.Tensor],
    settings: TrainingSettings,
    *,
    device: str = "cpu",
    compiled: bool = False,
) -> Iterator[tuple[int, dict[str, float], Any]]:
    """Optimise, step by step.

    Parameters
    ----------
    photos : torch.Tensor
        (N, 3, side, side) uint8.
    maps : sequence of torch.Tensor
        (N, C, h, w) int8 of each teacher.
    settings : TrainingSettings
        The recipe.
    device : str
        Where to run; on "cuda" in bfloat16 with float32 weights.
    compiled : bool
        Compile the network first.

    Yields
    ------
    step : int
        From 1.
    losses : dict
        "diffusion" and "alignment" of this step.
    average : diffusers.UNet2DModel
        The moving average of the weights (the same object every time).
    """
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    student = Student(settings, [one.shape[1] for one in maps]).to(device)
    average = make_unet(settings).to(device).requires_grad_(False)
    average.load_state_dict(student.unet.state_dict())
    scheduler = make_scheduler()
    parameters = list(student.parameters())
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
    forward = torch.compile(student) if compiled else student
    photos = photos.to(device)
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings)
        pixels, targets = random_crop(photos, maps, settings, generator)
        clean = F.pixel_unshuffle(pixels, 2)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        timestep = draw_timesteps(settings.batch, generator).to(device)
        noisy = scheduler.add_noise(clean, noise, timestep)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device.startswith("cuda")):
            velocity, predicted = forward(noisy, timestep)
        diffusion = F.mse_loss(velocity.float(), scheduler.get_velocity(clean, noise, timestep))
        alignment = alignment_loss(predicted, targets)
        optimiser.zero_grad(set_to_none=True)
        (diffusion + settings.alignment * alignment).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        # The average follows quickly at first, when the weights are still random.
        with torch.no_grad():
            weight = 1 - min(settings.ema, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(student.unet.parameters()), weight)
        yield step + 1, {"diffusion": diffusion.item(), "alignment": alignment.item()}, average


def save_model(folder: Path, unet: Any, record: dict[str, Any]) -> None:
    """Write the folder in dift-mini's layout; each file appears when it is whole.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    from safetensors.torch import save

    (folder / "unet").mkdir(parents=True, exist_ok=True)
    unet.save_config(folder / "unet")
    make_scheduler().save_pretrained(folder / "scheduler")
    raw = save({name: value.half().cpu().contiguous() for name, value in unet.state_dict().items()}, {"format": "pt"})
    write_atomic(folder / "unet" / "diffusion_pytorch_model.safetensors", lambda file: file.write(raw))
    write_sums(folder / "unet")
    write_text(folder / "training.json", json.dumps(record, indent=1) + "\n")


def build_parser() -> argparse.ArgumentParser:
    """The arguments; those of the recipe come from `TrainingSettings`."""
    parser = argparse.ArgumentParser(description="Train a small diffusion model for correspondence.")
    parser.add_argument("photos", type=Path, help="folder with photos, searched to its depth")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the model")
    parser.add_argument(
        "--teacher", action="append", required=True,
        help="featurizer of dift-edit (name or folder) or package.module:function; may be repeated",
    )  # fmt: skip
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="compile the network first")
    parser.add_argument("--save-every", type=int, default=500, help="steps between saves (default: %(default)s)")
    for item in fields(TrainingSettings):
        several = isinstance(item.default, tuple)
        parser.add_argument(
            f"--{item.name.replace('_', '-')}", type=_numbers if several else type(item.default), default=item.default,
            help=f"{item.metadata['help']} (default: %(default)s)",
        )  # fmt: skip
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the arguments say."""
    args = build_parser().parse_args(argv)
    settings = TrainingSettings(**{item.name: getattr(args, item.name) for item in fields(TrainingSettings)})
    try:
        photos = load_photos(list_photos(args.photos), settings.side)
        teachers = [load_teacher(name, args.device) for name in args.teacher]
    except (ImageError, ModelError) as error:
        print(f"train_dift_mini: {error}", file=sys.stderr)
        return 2
    print(f"{len(photos)} photos; the teachers look at them", flush=True)
    maps = [teacher_maps(teacher, photos) for teacher in teachers]
    record = {"settings": asdict(settings), "photos": len(photos), "teachers": [asdict(one.model) for one in teachers]}
    start = time.perf_counter()
    for step, losses, average in train(photos, maps, settings, device=args.device, compiled=args.compile):
        if step % 50 == 0 or step == settings.steps:
            text = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
            print(f"step {step} of {settings.steps}: {text}, {time.perf_counter() - start:.0f} s", flush=True)
        if step % args.save_every == 0 or step == settings.steps:
            save_model(args.output, average, {**record, "steps": step, "losses": losses})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
