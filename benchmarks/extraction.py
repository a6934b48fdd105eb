"""Extraction against the plain released DIFT procedure: ratios of time and memory from one run.

    python benchmarks/extraction.py --size 512 --ensemble 8            # real widths; needs minutes and 8 GB
    python benchmarks/extraction.py --size 512 --ensemble 8 --width 0.5
    python benchmarks/extraction.py --device cuda --size 768 --dtype float16 --batches 1,2,4,8
    python benchmarks/extraction.py --mini PICTURE

The networks have the architecture of Stable Diffusion 2.1 and random weights (`--width` scales all channels: the
arithmetic of VAE and U-Net shrinks alike). "released": as many copies of the picture as the ensemble go through the
VAE and, in one batch, through the U-Net in float32, up to the wanted block. "ours": `StableDiffusionFeaturizer`.
Each runs in a process of its own, with the same draws; their results are compared.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch


def networks(width: float) -> tuple[Any, Any, Any]:
    """U-Net, VAE and scheduler of Stable Diffusion 2.1 with random weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    channels = tuple(max(32, round(c * width / 64) * 64) for c in (320, 640, 1280, 1280))
    unet = UNet2DConditionModel(
        sample_size=96, block_out_channels=channels, layers_per_block=2, cross_attention_dim=1024,
        attention_head_dim=tuple(c // 64 for c in channels), use_linear_projection=True, upcast_attention=True,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=tuple(round(c * width) for c in (128, 256, 512, 512)), layers_per_block=2,
        latent_channels=4, norm_num_groups=32, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return unet.eval().requires_grad_(False), vae.eval().requires_grad_(False), scheduler


def picture(size: int, seed: int = 0) -> Any:
    import dift_edit as de

    coarse = np.random.default_rng(seed).integers(0, 256, (size // 16, size // 16, 3), dtype=np.uint8)
    return de.as_image((de.as_image(coarse).resized((size, size)).permute(1, 2, 0).numpy() * 255).astype(np.uint8))


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def released(args: argparse.Namespace) -> tuple[dict[str, float], torch.Tensor]:
    """The released procedure, in float32."""
    from dift_edit.features.base import image_seed
    from dift_edit.features.hooks import run_until

    unet, vae, scheduler = networks(args.width)
    unet, vae = unet.to(args.device), vae.to(args.device)
    image, text = picture(args.size), torch.zeros(1, 77, 1024)
    seconds = {}
    for attempt in range(args.repeat + 1):
        generator = torch.Generator().manual_seed(image_seed(image.digest, 0))
        synchronise(args.device)
        start, processor = time.perf_counter(), time.process_time()
        copies = (image.to_tensor() * 2 - 1).expand(args.ensemble, -1, -1, -1).contiguous().to(args.device)
        with torch.inference_mode():
            posterior = vae.encode(copies).latent_dist
            draw = torch.randn(posterior.mean.shape, generator=generator).to(args.device)
            latents = (posterior.mean + posterior.std * draw) * vae.config.scaling_factor
            synchronise(args.device)
            middle = time.perf_counter()
            noise = torch.randn(latents.shape, generator=generator).to(args.device)
            noisy = scheduler.add_noise(latents, noise, torch.tensor([args.timestep], device=args.device))
            states = text.expand(args.ensemble, -1, -1).to(args.device)
            name = f"up_blocks.{args.block}"
            output = run_until(unet, [name], lambda: unet(noisy, args.timestep, states))[name].mean(0)  # noqa: B023
        synchronise(args.device)
        if attempt or not args.repeat:
            seconds = {"total": time.perf_counter() - start, "vae": middle - start}
            seconds["processor"] = time.process_time() - processor
    return seconds, output.float().cpu()


def ours(args: argparse.Namespace) -> tuple[dict[str, float], torch.Tensor]:
    """The featurizer of dift-edit."""
    from dift_edit.features.base import ModelInfo
    from dift_edit.features.execution import Runtime
    from dift_edit.features.prompts import PromptEmbedding
    from dift_edit.features.stable_diffusion import StableDiffusionFeaturizer, StableDiffusionSettings

    unet, vae, scheduler = networks(args.width)
    settings = StableDiffusionSettings(
        image_size=args.size, timestep=args.timestep, up_block=args.block, ensemble=args.ensemble
    )
    featurizer = StableDiffusionFeaturizer(
        unet, vae, scheduler, settings, model=ModelInfo(id="random"),
        runtime=Runtime(
            device=args.device, dtype=args.dtype, channels_last=not args.no_channels_last, compile=args.compile,
            max_batch=args.max_batch,
        ),
        prompt_embedding=PromptEmbedding(torch.zeros(1, 77, 1024)),
    )  # fmt: skip
    seconds = {}
    for count in args.batches:
        images = [picture(args.size, seed) for seed in range(count)]
        for attempt in range(args.repeat + 1):
            synchronise(args.device)
            start, processor = time.perf_counter(), time.process_time()
            maps = featurizer.batch(images)
            synchronise(args.device)
            if attempt or not args.repeat:
                seconds["total" if count == args.batches[0] else f"batch {count}"] = (
                    time.perf_counter() - start
                ) / count
                seconds.setdefault("processor", (time.process_time() - processor) / count)
        if count == args.batches[0]:
            output = maps[0].data.cpu()
    return seconds, output


def in_process(role: str, arguments: list[str]) -> tuple[dict[str, float], torch.Tensor]:
    """Run one of the two in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.pt"
        subprocess.run([sys.executable, __file__, *arguments, "--role", role, "--result", str(path)], check=True)
        return torch.load(path)


def measure_mini(path: str) -> None:
    """Seconds a picture of the embedded model."""
    import dift_edit as de

    featurizer, image = de.load_featurizer("mini"), de.load_image(path)
    seconds = []
    for seed in range(6):
        start = time.perf_counter()
        features = featurizer(image, seed=seed)
        seconds.append(time.perf_counter() - start)
    print(
        f"mini on {image.size[0]}×{image.size[1]}: {min(seconds):.3f} s best, {sorted(seconds)[3]:.3f} s median, "
        f"map {tuple(features.data.shape)}, {torch.get_num_threads()} threads"
    )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--ensemble", type=int, default=8)
    parser.add_argument("--timestep", type=int, default=261)
    parser.add_argument("--block", type=int, default=1)
    parser.add_argument("--width", type=float, default=1.0, help="factor of all channels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of ours")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-channels-last", action="store_true")
    parser.add_argument("--max-batch", type=int, default=0)
    parser.add_argument("--batches", type=lambda text: tuple(map(int, text.split(","))), default=(1,))
    parser.add_argument("--repeat", type=int, default=0, help="runs after a first one that does not count")
    parser.add_argument("--mini", metavar="PICTURE", help="time the embedded model on a picture instead")
    parser.add_argument("--role", choices=("released", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    args = build_parser().parse_args()
    if args.mini:
        measure_mini(args.mini)
        return
    if args.role:
        seconds, output = {"released": released, "ours": ours}[args.role](args)
        if args.device.startswith("cuda"):
            seconds["peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
        else:
            seconds["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        torch.save((seconds, output), args.result)
        return
    (theirs, expected), (mine, result) = (in_process(role, sys.argv[1:]) for role in ("released", "ours"))
    error = float(torch.linalg.norm(result - expected) / torch.linalg.norm(expected))
    print(json.dumps({"released": theirs, "ours": mine}, indent=1))
    print(
        f"{theirs['total'] / mine['total']:.2f}× faster "
        f"({theirs['processor'] / mine['processor']:.2f}× in processor time), "
        f"{theirs['peak MiB'] / mine['peak MiB']:.2f}× less memory, "
        f"relative difference {error:.1e}; {args.size}², ensemble {args.ensemble}, {args.device}, {args.dtype}, "
        f"{torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
