"""What a GPU makes of it: the released DIFT procedure and ours, matching, and a set of photos, in one run of minutes.

    python benchmarks/gpu.py --out results                      # everything, on cuda, in at most 360 s
    python benchmarks/gpu.py --out results --sections card check mini --budget 60
    python benchmarks/gpu.py --out results --device cpu --smoke  # toy sizes: does the script itself work?

Networks have the official configurations of Stable Diffusion 2.1, SDXL and ADM (256 × 256, unconditional) and random
weights: nothing is downloaded, and speed and memory do not depend on the weights. Every section is independent: an
error in one is a row that says so. `gpu.json` and `performance-gpu.md` in the output folder are written anew after
every row, so that a run that is cut off loses nothing. Sections run in the order of their importance until the budget
is spent; what was left out is named.

"released" is the released DIFT procedure: as many copies of the picture as the ensemble go through the VAE, then, as
one batch, through the U-Net up to the wanted block; float32, eager, with torch's own settings (which let convolutions
round their operands to TF32). "ours" is the featurizer of dift-edit. Both have the same weights and draws, and are
compared with ours in float32.
"""

import argparse
import copy
import gc
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))
from extraction import picture

import dift_edit as de
from dift_edit.features.adm_architecture import AdmArchitecture
from dift_edit.features.base import FeatureMap, ModelInfo, image_seed
from dift_edit.features.execution import Runtime, available_cores
from dift_edit.features.hooks import run_until
from dift_edit.features.pixel_diffusion import PixelDiffusionFeaturizer, PixelDiffusionSettings
from dift_edit.features.prompts import PromptEmbedding
from dift_edit.features.stable_diffusion import StableDiffusionFeaturizer, StableDiffusionSettings

FORMATS = ("float32", "tf32", "bfloat16", "float16")
Row = dict[str, Any]


class Session:
    """The run: its budget, its rows, and the files that they go to."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = torch.device(args.device)
        self.smoke = bool(args.smoke)
        self.start = time.perf_counter()
        self.rows: dict[str, list[Row]] = {}
        self.seconds: dict[str, float] = {}
        self.skipped: list[str] = []
        self.section = ""

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def formats(self) -> tuple[str, ...]:
        """Number formats of the small networks; float16 is very slow on a CPU."""
        return FORMATS if self.cuda else ("float32", "bfloat16")

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return float(self.args.budget) - (time.perf_counter() - self.start)

    def add(self, **row: Any) -> Row:
        """Keep, print and write one row."""
        self.rows.setdefault(self.section, []).append(row)
        text = ", ".join(f"{name} {shown(value)}" for name, value in row.items() if value is not None)
        print(f"[{time.perf_counter() - self.start:6.1f} s] {self.section}: {text}", flush=True)
        self.write()
        return row

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Run a block as one row's work; its error becomes a row."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the others go on
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.add(what=what, failed=f"{type(error).__name__}: {reason}")
        finally:
            if self.cuda:
                torch.cuda.empty_cache()

    def can(self, what: str, needs: float) -> bool:
        """Whether the budget leaves time; if not, what is left out is named."""
        if self.smoke or self.left >= needs:
            return True
        self.skipped.append(f"{self.section}: {what}")
        print(f"[{time.perf_counter() - self.start:6.1f} s] {self.section}: skipped {what}", flush=True)
        return False

    def synchronise(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def timed(self, run: Callable[[], Any], *, repeat: int = 3) -> tuple[float, float | None, Any]:
        """Median seconds after one run that does not count, peak GiB beyond what was there, and the result."""
        repeat = 1 if self.smoke else repeat
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        result, seconds = run(), []
        for _ in range(repeat):
            result = None
            self.synchronise()
            start = time.perf_counter()
            result = run()
            self.synchronise()
            seconds.append(time.perf_counter() - start)
        peak = torch.cuda.max_memory_allocated(self.device) / 2**30 if self.cuda else None
        return statistics.median(seconds), peak, result

    def allocated(self) -> float:
        """GiB that tensors hold now."""
        return torch.cuda.memory_allocated(self.device) / 2**30 if self.cuda else 0.0

    def write(self) -> None:
        folder = Path(self.args.out)
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "command": command_line(self.args), "sections": self.rows, "seconds": self.seconds, "skipped": self.skipped
        }  # fmt: skip
        for name, text in (("gpu.json", json.dumps(content, indent=1)), ("performance-gpu.md", markdown(self))):
            temporary = folder / f".{name}.tmp"
            temporary.write_text(text)
            temporary.replace(folder / name)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def command_line(args: argparse.Namespace) -> str:
    parts = ["python benchmarks/gpu.py", f"--out {args.out}", f"--device {args.device}", f"--budget {args.budget:g}"]
    return " ".join(parts + ["--smoke"] * args.smoke)


# -- networks -----------------------------------------------------------------


def seeded(session: Session, make: Callable[[], Any]) -> Any:
    """A network with random weights, made on the device itself."""
    torch.manual_seed(0)
    with session.device:
        return make().eval().requires_grad_(False)


def vae(session: Session) -> Any:
    from diffusers import AutoencoderKL

    channels = (32, 32, 32, 32) if session.smoke else (128, 256, 512, 512)
    return seeded(session, lambda: AutoencoderKL(
        block_out_channels=channels, layers_per_block=1 if session.smoke else 2, latent_channels=4,
        norm_num_groups=32, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ))  # fmt: skip


def scheduler() -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def sd21(session: Session) -> tuple[Any, Any, PromptEmbedding]:
    """Networks of Stable Diffusion 2.1, and an empty prompt."""
    from diffusers import UNet2DConditionModel

    heads, context = (5, 10, 20, 20), 1024
    channels = tuple(64 * count for count in heads)
    if session.smoke:
        heads, context, channels = (1, 2, 2, 2), 32, (32, 64, 64, 64)
    unet = seeded(session, lambda: UNet2DConditionModel(
        sample_size=96, block_out_channels=channels, layers_per_block=1 if session.smoke else 2,
        cross_attention_dim=context, attention_head_dim=heads, use_linear_projection=True, upcast_attention=True,
    ))  # fmt: skip
    return unet, vae(session), PromptEmbedding(torch.zeros(1, 77, context))


def sdxl(session: Session) -> tuple[Any, Any, PromptEmbedding]:
    """Networks of Stable Diffusion XL, and an empty prompt."""
    from diffusers import UNet2DConditionModel

    channels, heads, depth, context, pooled = (320, 640, 1280), (5, 10, 20), (1, 2, 10), 2048, 1280
    if session.smoke:
        channels, heads, depth, context, pooled = (32, 64, 64), (1, 2, 2), (1, 1, 2), 64, 32
    unet = seeded(session, lambda: UNet2DConditionModel(
        sample_size=128, block_out_channels=channels, layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=depth, attention_head_dim=heads, cross_attention_dim=context,
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + pooled,
    ))  # fmt: skip
    return unet, vae(session), PromptEmbedding(torch.zeros(1, 77, context), torch.zeros(1, pooled))


def adm(session: Session) -> tuple[Any, Any]:
    """ADM's network and its scheduler."""
    from diffusers import DDIMScheduler, UNet2DModel

    small = {"channels": 32, "channel_mult": (1, 1, 2, 2), "attention_levels": (3,), "head_channels": 32}
    architecture = AdmArchitecture(**small) if session.smoke else AdmArchitecture()  # type: ignore[arg-type]
    unet = seeded(session, lambda: UNet2DModel(**architecture.config()))
    return unet, DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")


def parameters(*networks: Any) -> int:
    return sum(weight.numel() for network in networks for weight in network.parameters())


# -- pictures, and how features are compared -----------------------------------


def warped(image: de.Image, degrees: float = 8.0, scale: float = 0.9) -> tuple[de.Image, np.ndarray]:
    """The picture turned and shrunk about its centre, and the (2, 3) map of pixels."""
    import cv2

    width, height = image.size
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
    pixels = cv2.warpAffine(image.pixels, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    return de.as_image(pixels), matrix


def lattice(size: tuple[int, int], across: int = 20) -> np.ndarray:
    """(N, 2) points away from the border."""
    steps = np.linspace(0.2, 0.8, across)
    return np.stack(np.meshgrid(steps * size[0], steps * size[1]), -1).reshape(-1, 2)


def pck(first: FeatureMap, second: FeatureMap, matrix: np.ndarray, alpha: float = 0.05) -> float:
    """Share of points of a picture that are found within alpha·side of where the warp put them."""
    points = lattice(first.image_size)
    found = de.match_points(first, points, second, consensus=0).points
    truth = points @ matrix[:, :2].T + matrix[:, 2]
    error = np.linalg.norm(found - truth, axis=1)
    return float((error <= alpha * max(first.image_size)).mean())


def agreement(data: torch.Tensor, reference: torch.Tensor) -> Row:
    """Cosines cell by cell, and the norm of the difference over that of the reference."""
    data, reference = data.double().cpu(), reference.double().cpu()
    cosine = F.cosine_similarity(data, reference, dim=0)
    return {
        "1 − cosine (mean)": float(1 - cosine.mean()), "1 − cosine (worst)": float(1 - cosine.min()),
        "relative difference": float(torch.linalg.norm(data - reference) / torch.linalg.norm(reference)),
    }  # fmt: skip


# -- sections -------------------------------------------------------------------


def card(session: Session) -> None:
    """What is here, and the ceilings of its arithmetic and memory."""
    facts: Row = {"what": "software", "torch": torch.__version__, "python": platform.python_version()}
    import diffusers

    facts["diffusers"] = diffusers.__version__
    session.add(**facts)
    if session.cuda:
        properties = torch.cuda.get_device_properties(session.device)
        session.add(
            what="card", name=properties.name, **{"memory GiB": properties.total_memory / 2**30},
            multiprocessors=properties.multi_processor_count, CUDA=torch.version.cuda,
        )  # fmt: skip
    else:
        session.add(
            what="card", name=f"none ({platform.processor() or platform.machine()})", device=str(session.device)
        )
    size = 256 if session.smoke or not session.cuda else 8192
    for name in FORMATS:
        with session.guarded(f"matrix product, {name}"):
            runtime = Runtime(device=str(session.device), dtype=name)
            a, b = (torch.randn(size, size, device=session.device, dtype=runtime.torch_dtype) for _ in range(2))
            with runtime.arithmetic(torch.nn.Linear(1, 1)):
                seconds, _, _ = session.timed(lambda a=a, b=b: a @ b, repeat=5)
            session.add(what=f"matrix product {size}³", dtype=name, **{"TFLOP/s": 2 * size**3 / seconds / 1e12})
    with session.guarded("copy"):
        values = torch.empty((1 << 20) if session.smoke or not session.cuda else 1 << 30, device=session.device)
        values.fill_(1.0)
        seconds, _, _ = session.timed(values.clone, repeat=5)
        session.add(what="copy on the device", **{"GB/s": 2 * values.numel() * 4 / seconds / 1e9})


def check(session: Session) -> None:
    """The same features as on the CPU, the same bits twice, and attention beyond float16's range."""
    image = picture(64 if session.smoke else 384)
    short = {"short_sides": (48,), "image_size": 96} if session.smoke else {}
    cpu = de.load_featurizer("mini", **short)(image).data
    for name in session.formats:
        with session.guarded(f"mini in {name} against the CPU"):
            featurizer = de.load_featurizer("mini", device=session.device, dtype=name, **short)
            first, again = (featurizer(image).data for _ in range(2))
            session.add(
                what="mini against the CPU's float32", dtype=name, **agreement(first, cpu),
                **{"same bits twice": bool(torch.equal(first, again))},
            )  # fmt: skip
    with session.guarded("a small latent diffusion model against the CPU"):
        unet, encoder, prompt = sd21(types.SimpleNamespace(smoke=True, device=torch.device("cpu")))  # type: ignore[arg-type]
        settings = StableDiffusionSettings(image_size=64, ensemble=5)
        results = []
        for device in ("cpu", session.device, session.device):
            featurizer = StableDiffusionFeaturizer(
                copy.deepcopy(unet), copy.deepcopy(encoder), scheduler(), settings, model=ModelInfo(id="toy"),
                runtime=Runtime(device=str(device)), prompt_embedding=prompt,
            )  # fmt: skip
            results.append(featurizer(image).data)
        session.add(
            what="a small latent diffusion model, the same noise", dtype="float32",
            **agreement(results[1], results[0]), **{"same bits twice": bool(torch.equal(results[1], results[2]))},
        )  # fmt: skip
    with session.guarded("matches against the CPU"):
        moved, _ = warped(image)
        points, found = lattice(image.size), []
        for device in ("cpu", session.device):
            featurizer = de.load_featurizer("mini", device=device, **short)
            maps = featurizer(image), featurizer(moved)
            found.append([de.match_points(maps[0], points, maps[1], consensus=value).points for value in (0, 0.08)])
        for name, first, again in zip(("each by itself", "with consensus"), *found, strict=True):
            session.add(
                what=f"matches of mini on both, {name}", dtype="float32",
                **{"the same within a pixel": float((np.abs(first - again).max(1) <= 1).mean())},
            )  # fmt: skip
    with session.guarded("attention"):
        generator = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(1, 4, 128 if session.smoke else 2304, 64, generator=generator) for _ in range(3))
        q, k = q * 200, k * 200  # logits of a standard deviation of 40,000: float16 ends at 65,504
        expected = F.scaled_dot_product_attention(q.half().double(), k.half().double(), v.half().double())
        for name in ("float16", "bfloat16"):
            dtype = getattr(torch, name)
            found = F.scaled_dot_product_attention(*(x.to(session.device, dtype) for x in (q, k, v))).double().cpu()
            exact = expected if name == "float16" else F.scaled_dot_product_attention(
                *(x.to(dtype).double() for x in (q, k, v))
            )  # fmt: skip
            logits = float((q[:, :, :64] @ k[:, :, :64].transpose(2, 3)).abs().max() / 8)
            session.add(
                what="attention with logits beyond float16", dtype=name, **{"largest logit": logits},
                finite=bool(found.isfinite().all()),
                **{"relative difference": float(torch.linalg.norm(found - exact) / torch.linalg.norm(exact))},
            )  # fmt: skip


class Latent:
    """A latent diffusion model with random weights, and the ways to run it."""

    def __init__(self, session: Session, make: Callable[[Session], tuple[Any, Any, PromptEmbedding]], block: int):
        self.session = session
        self.unet, self.vae, self.prompt = make(session)
        self.vae.decoder = self.vae.post_quant_conv = None
        self.block = block
        self.references: dict[tuple[int, int], torch.Tensor] = {}
        self.rates: dict[tuple[int, int], float] = {}
        self.base = session.allocated()  # of these copies, which no row shall count
        session.add(what="weights", **{"million in the U-Net": parameters(self.unet) / 1e6})

    def settings(self, size: int, ensemble: int) -> StableDiffusionSettings:
        return StableDiffusionSettings(image_size=size, timestep=261, up_block=self.block, ensemble=ensemble)

    def ours(self, size: int, ensemble: int, attention: Any = None, **runtime: Any) -> StableDiffusionFeaturizer:
        unet, encoder = copy.deepcopy(self.unet), copy.deepcopy(self.vae)
        if attention is not None:
            unet.set_attn_processor(attention)
        return StableDiffusionFeaturizer(
            unet, encoder, scheduler(), self.settings(size, ensemble), model=ModelInfo(id="random"),
            runtime=Runtime(device=str(self.session.device), **runtime), prompt_embedding=self.prompt,
        )  # fmt: skip

    def released(self, image: de.Image, size: int, ensemble: int) -> torch.Tensor:
        """The released procedure for one picture."""
        device, noise_schedule = self.session.device, scheduler()
        generator = torch.Generator().manual_seed(image_seed(image.digest, 0))
        pixels = image.resized((size, size), exact=True) * 2 - 1
        copies = pixels.expand(ensemble, -1, -1, -1).contiguous().to(device)
        with torch.inference_mode():
            posterior = self.vae.encode(copies).latent_dist
            draw = torch.randn(posterior.mean.shape, generator=generator).to(device)
            latents = (posterior.mean + posterior.std * draw) * self.vae.config.scaling_factor
            noise = torch.randn(latents.shape, generator=generator).to(device)
            noisy = noise_schedule.add_noise(latents, noise, torch.tensor([261], device=device))
            states = self.prompt.tokens.expand(ensemble, -1, -1).to(device)
            more = {}
            if self.prompt.pooled is not None:
                ids = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32, device=device)
                pooled = self.prompt.pooled.to(device).expand(ensemble, -1)
                more["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids.expand(ensemble, -1)}
            name = f"up_blocks.{self.block}"
            run = lambda: self.unet(noisy, 261, encoder_hidden_states=states, **more)  # noqa: E731
            return run_until(self.unet, [name], run)[name].mean(0)

    def measure_released(self, size: int, ensemble: int) -> None:
        image, key = picture(size), (size, ensemble)
        with self.session.guarded(f"released, {size}², ensemble {ensemble}"):
            before = self.session.allocated()
            seconds, peak, data = self.session.timed(lambda: self.released(image, size, ensemble), repeat=2)
            weights = 4 * parameters(self.unet, self.vae) / 2**30
            self.rates[key] = 1 / seconds
            found = agreement(data, self.references[key]) if key in self.references else {}
            self.session.add(
                what="released", size=size, ensemble=ensemble, pictures=1, dtype="float32", **{"images/s": 1 / seconds},
                **{"× released": 1.0, "peak GiB": None if peak is None else peak - before + weights}, **found,
            )  # fmt: skip

    def measure(
        self, what: str, size: int, ensemble: int, pictures: Sequence[int] = (1,), *, points: bool = False,
        context: Any = None, repeat: int = 3, **runtime: Any,
    ) -> None:  # fmt: skip
        """One row for each number of pictures at a time."""
        session, key = self.session, (size, ensemble)
        dtype = runtime.get("dtype", "float32")
        with session.guarded(f"{what}, {size}², ensemble {ensemble}, {dtype}"), context or nullcontext():
            start, before = time.perf_counter(), session.allocated()
            featurizer = self.ours(size, ensemble, **runtime)
            for count in pictures:
                images = [picture(size, seed) for seed in range(count)]
                with session.guarded(f"{what}, {size}², ensemble {ensemble}, {dtype}, {count} pictures"):
                    first = time.perf_counter()
                    featurizer.batch(images)
                    session.synchronise()
                    first = time.perf_counter() - first
                    seconds, peak, maps = session.timed(lambda i=images: featurizer.batch(i), repeat=repeat)
                    row: Row = {
                        "what": what, "size": size, "ensemble": ensemble, "pictures": count, "dtype": dtype,
                        "images/s": count / seconds,
                        "× released": count / seconds / self.rates[key] if key in self.rates else None,
                        "peak GiB": None if peak is None else peak - before,
                    }  # fmt: skip
                    if runtime.get("max_batch"):
                        row["most at once"] = featurizer.runtime.max_batch
                    if runtime.get("compile"):
                        row["first call s"] = first
                    if dtype == "float32" and key not in self.references and count == 1:
                        self.references[key] = maps[0].data.cpu()
                    elif key in self.references:
                        row |= agreement(maps[0].data, self.references[key])
                    if points and count == 1:
                        moved, matrix = warped(images[0])
                        row["PCK@0.05 of a warp"] = pck(maps[0], featurizer(moved), matrix)
                    row["all s"] = time.perf_counter() - start
                    session.add(**row)


def sizes_of(session: Session, *real: int) -> tuple[int, ...]:
    return (64, 96)[: len(real)] if session.smoke else real


def section_sd21(session: Session) -> None:
    """Stable Diffusion 2.1's size: the procedure, number formats, layouts, attention, batches."""
    if not session.can("networks of Stable Diffusion 2.1", 30):
        return
    model = Latent(session, sd21, block=1)
    (size,) = sizes_of(session, 768)
    small = sizes_of(session, 768, 512)[-1]
    ensemble = 2 if session.smoke else 8
    model.measure("ours", size, ensemble, points=True)
    model.measure_released(size, ensemble)
    for name in FORMATS[1:]:
        model.measure("ours", size, ensemble, (1, 4) if name == "float16" else (1,), points=True, dtype=name)
    half = {"dtype": "float16"}
    if session.can("layout and choice of algorithms", 12):
        model.measure("ours, cuDNN tries its algorithms", size, ensemble, context=tried_algorithms(), **half)
        model.measure(
            "ours, not channels last", size, ensemble, (1, 2) if session.smoke else (1, 4), channels_last=False, **half
        )
    for side, draws in ((size, 1), (small, ensemble), (small, 1)):
        if session.can(f"{side}², ensemble {draws}", 15):
            model.measure("ours", side, draws, dtype="float32")
            model.measure_released(side, draws)
            model.measure("ours", side, draws, (1, 2) if session.smoke else (1, 16), dtype="float16")
    if session.can("batches", 25):
        model.measure("ours", size, ensemble, (2,) if session.smoke else (2, 8), repeat=1, **half)
    for most in (2,) if session.smoke else (8, 16, 32):
        if session.can(f"at most {most} samples at once", 10):
            model.measure("ours", size, ensemble, (2,) if session.smoke else (8,), repeat=1, max_batch=most, **half)
    if not session.smoke and session.can("16 pictures", 12):
        model.measure("ours", size, ensemble, (16,), repeat=1, max_batch=32, **half)
    if session.can("bfloat16 and tf32 in batches", 15):
        for name in ("bfloat16", "tf32"):
            model.measure("ours", size, ensemble, (2,) if session.smoke else (8,), repeat=1, dtype=name)
    attention(session, model, size, ensemble)


@contextmanager
def tried_algorithms() -> Iterator[None]:
    """Let cuDNN time its algorithms instead of choosing one by rule: which one it takes may change from run to run."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def attention(session: Session, model: Latent, size: int, ensemble: int) -> None:
    """Which kernel attention runs in."""
    from diffusers.models.attention_processor import AttnProcessor
    from torch.nn.attention import SDPBackend, sdpa_kernel

    half = {"dtype": "float16"}
    if session.can("attention without SDPA", 10):
        # Its table for 9216 cells and all 8 samples would be too large for 32-bit indices.
        what = "ours, attention as matrix products"
        model.measure(what, size, ensemble, repeat=1, max_batch=2, attention=AttnProcessor(), **half)
    if not session.cuda:
        return
    for kind in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
        if session.can(kind, 8):
            # The VAE's float32 attention has heads of 512: it may need the plain kernel.
            kernels = [getattr(SDPBackend, kind), SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
            chosen = sdpa_kernel(kernels, set_priority=True)
            model.measure(f"ours, {kind.lower().replace('_', ' ')} first", size, ensemble, context=chosen, **half)


def section_sdxl(session: Session) -> None:
    """SDXL's size: the same procedure at its own size."""
    if not session.can("networks of SDXL", 30):
        return
    model = Latent(session, sdxl, block=0)
    (size,), ensemble = sizes_of(session, 1024), 2 if session.smoke else 8
    model.measure("ours", size, ensemble, repeat=1)
    model.measure_released(size, ensemble)
    for name in ("float16", "bfloat16", "tf32"):
        if session.can(name, 8):
            model.measure("ours", size, ensemble, (1, 4) if name == "float16" else (1,), repeat=1, dtype=name)


def section_adm(session: Session) -> None:
    """ADM's size: the released code runs the ensemble in one batch of float32 as well, up to the block."""
    if not session.can("network of ADM", 25):
        return
    unet, noise_schedule = adm(session)
    session.add(what="weights", **{"million in the U-Net": parameters(unet) / 1e6})
    (size,), ensemble = sizes_of(session, 512), 2 if session.smoke else 8
    settings = PixelDiffusionSettings(
        short_sides=(size,), square=True, timestep=101, layers=("output_blocks.4",), ensemble=ensemble, normalize=False
    )
    reference: torch.Tensor | None = None
    rate: float | None = None

    def build(**runtime: Any) -> PixelDiffusionFeaturizer:
        return PixelDiffusionFeaturizer(
            copy.deepcopy(unet), noise_schedule, settings, model=ModelInfo(id="random"),
            runtime=Runtime(device=str(session.device), **runtime),
        )  # fmt: skip

    class TorchsOwn(Runtime):
        """float32 with torch's own settings, as the released code runs."""

        def arithmetic(self, network: torch.nn.Module) -> Any:
            return nullcontext()

    cases: list[tuple[str, Any, tuple[int, ...]]] = [("ours", {"dtype": "float32"}, (1,)), ("released", None, (1,))]
    cases += [("ours", {"dtype": "float16", "max_batch": 16}, (1, 2) if session.smoke else (1, 2, 4))]
    cases += [("ours", {"dtype": "bfloat16"}, (1,)), ("ours", {"dtype": "tf32"}, (1,))]
    for what, runtime, counts in cases:
        if not session.can(f"{what} {runtime}", 8):
            continue
        with session.guarded(f"{what}, {runtime}"):
            before = session.allocated()
            featurizer = build(**(runtime or {"channels_last": False}))
            if runtime is None:
                featurizer.runtime = TorchsOwn(device=str(session.device), channels_last=False)
            for count in counts:
                images = [picture(size, seed) for seed in range(count)]
                seconds, peak, maps = session.timed(lambda f=featurizer, i=images: f.batch(i), repeat=2)
                if what == "released":
                    rate = 1 / seconds
                row: Row = {
                    "what": what, "size": size, "ensemble": ensemble, "pictures": count,
                    "dtype": featurizer.runtime.dtype, "images/s": count / seconds,
                    "× released": count / seconds / rate if rate else None,
                    "peak GiB": None if peak is None else peak - before,
                }  # fmt: skip
                if reference is None:
                    reference = maps[0].data.cpu()
                else:
                    row |= agreement(maps[0].data, reference)
                session.add(**row)


EMBEDDED = ("lite", "dift-mini", "mini")
"""The networks that are part of the package, and both together."""


def section_mini(session: Session) -> None:
    """Photos per second of the embedded networks, by batch, and how number formats change them."""
    photos = [de.as_image(photo(seed, session)) for seed in range(2 if session.smoke else 32)]
    moved, matrix = warped(photos[0])
    for model in EMBEDDED[:1] if session.smoke else EMBEDDED:
        reference: torch.Tensor | None = None
        for name in session.formats:
            if not session.can(f"{model} in {name}", 5):
                continue
            with session.guarded(f"{model} in {name}"):
                featurizer = None
                gc.collect()
                before = session.allocated()
                short = {"image_size": 96} if session.smoke else {}
                featurizer = de.load_featurizer(model, device=session.device, dtype=name, **short)
                for count in (1, 2) if session.smoke else (1, 2, 8, 32):
                    seconds, peak, maps = session.timed(lambda f=featurizer, n=count: f.batch(photos[:n]))  # type: ignore[attr-defined]
                    row: Row = {
                        "what": model, "device": session.device.type, "dtype": name, "pictures": count,
                        "photos/s": count / seconds, "peak GiB": None if peak is None else peak - before,
                    }  # fmt: skip
                    if count == 1:
                        if reference is None:
                            reference = maps[0].data.cpu()
                        else:
                            row |= agreement(maps[0].data, reference)
                        row["PCK@0.05 of a warp"] = pck(maps[0], featurizer(moved), matrix)
                    session.add(**row)
        if session.cuda and session.can(f"{model} on the CPU", 5):
            with session.guarded(f"{model} on the CPU"):
                featurizer = de.load_featurizer(model)
                seconds, _, _ = session.timed(lambda f=featurizer: f(photos[0]))
                session.add(
                    what=model, device="cpu", dtype="float32", pictures=1,
                    **{"photos/s": 1 / seconds, "threads": torch.get_num_threads()},
                )  # fmt: skip


def smooth_maps(session: Session, size: tuple[int, int], channels: int, grid: tuple[int, int]) -> list[FeatureMap]:
    """Two maps as smooth as a network's that show the same content, moved by some cells and changed by noise."""
    common = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, channels, grid[0] // 3 + 2, grid[1] // 3 + 2, generator=common)
    data = F.interpolate(coarse, size=grid, mode="bicubic", align_corners=False)[0]
    data += 0.3 * torch.randn(data.shape, generator=common) + 0.5 * torch.randn(channels, 1, 1, generator=common)
    maps = []
    for seed in range(2):
        own = torch.Generator().manual_seed(seed + 1)
        moved = data.roll((3 * seed, 5 * seed), (1, 2)) + 0.3 * torch.randn(data.shape, generator=own)
        maps.append(FeatureMap(F.normalize(moved, dim=0).to(session.device), size))
    return maps


def notebook(source: FeatureMap, target: FeatureMap, where: np.ndarray, *, at_once: int = 0) -> np.ndarray:
    """The released notebook's way: upsample the target to every pixel, and take all distances.

    With `at_once`, that many rows of pixels at a time, which the notebook does not do.
    """
    width, height = target.image_size
    edges = np.array(source.image_size) - 1.0
    grid = torch.from_numpy(where / edges * 2 - 1).float()[None, None].to(source.data.device)
    queries = F.grid_sample(source.data[None], grid, align_corners=True)[0, :, 0].T
    if not at_once:
        full = F.interpolate(target.data[None], size=(height, width), mode="bilinear", align_corners=True)
        best = torch.cdist(queries, full[0].flatten(1).T).argmin(1).cpu().numpy()
        return np.stack([best % width, best // width], 1)
    least = torch.full((len(queries),), torch.inf, device=queries.device)
    best = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    x = torch.linspace(-1, 1, width, device=queries.device)
    for top in range(0, height, at_once):
        rows = torch.arange(top, min(top + at_once, height), device=queries.device)
        y = rows / max(height - 1, 1) * 2 - 1
        places = torch.stack(torch.broadcast_tensors(x[None], y[:, None]), -1)[None]
        strip = F.grid_sample(target.data[None], places, align_corners=True)[0].flatten(1).T
        value, index = torch.cdist(queries, strip).min(1)
        better = value < least
        least, best = torch.where(better, value, least), torch.where(better, index + top * width, best)
    found = best.cpu().numpy()
    return np.stack([found % width, found // width], 1)


def memory_of(session: Session) -> float | None:
    """GiB of the device."""
    return torch.cuda.get_device_properties(session.device).total_memory / 2**30 if session.cuda else None


def section_matching(session: Session) -> None:
    """Matching at full resolution against the notebook's distance matrix."""
    nearest = vars(sys.modules[de.match_points.__module__])["_nearest"]  # without round trip and confidence
    channels, cells, count = (32, 12, 50) if session.smoke else (1280, 48, 1000)
    places = {"768²": (768, 768), "12 megapixels": (4000, 3000)}
    if session.smoke:
        places = {"96²": (96, 96), "160 × 120": (160, 120)}
    released = de.matching.MatchSettings(metric="l2", align_corners=True)
    for number, (name, size) in enumerate(places.items()):
        if not session.can(name, 10):
            continue
        with session.guarded(f"matching at {name}"):
            source, target = smooth_maps(session, size, channels, (cells, cells))
            where = np.random.default_rng(0).integers(0, size, (count, 2)).astype(np.float64)
            step = 4 if number == 0 else 64  # at 12 megapixels the notebook's way takes half a minute at 16
            dense = np.stack(np.meshgrid(np.arange(0, size[0], step), np.arange(0, size[1], step)), -1)
            dense = dense.reshape(-1, 2).astype(np.float64)
            for what, queries in (("points", where), ("dense field", dense)):
                expected: np.ndarray | None = None
                theirs: float | None = None
                # All distances of a dense field fit into no memory, so that one is taken a strip at a time.
                rows = max(1, min(1 << 20, int(1e9 / len(queries))) // size[0])
                ways = {"notebook, in strips": rows}
                if what == "points":
                    ways = {"notebook": 0, **ways}
                if what == "points" and (most := memory_of(session)):
                    # Twice the upsampled features (they are laid out anew), and the distances.
                    needed = 4 * size[0] * size[1] * (2 * channels + len(queries)) / 2**30
                    if needed > most:
                        del ways["notebook"]
                        session.add(what=f"{what}, {name}", way="notebook", failed=f"needs {needed:.0f} GiB")
                for way, rows in ways.items():
                    if expected is not None or not session.can(f"{way}, {what} at {name}", 20):
                        continue
                    with session.guarded(f"{way}, {what} at {name}"):
                        before = session.allocated()
                        run = lambda q=queries, r=rows: notebook(source, target, q, at_once=r)  # noqa: E731, B023
                        theirs, peak, expected = session.timed(run, repeat=1)
                        session.add(
                            what=f"{what}, {name}", way=way, queries=len(queries), seconds=theirs,
                            **{"peak GiB": None if peak is None else peak - before},
                        )  # fmt: skip
                before = session.allocated()
                run = lambda q=queries: nearest(source, target, q, released)  # noqa: E731, B023
                seconds, peak, (found, _) = session.timed(run)
                same = None if expected is None else float((np.abs(found - expected).max(1) <= 1).mean())
                session.add(
                    what=f"{what}, {name}", way="dift-edit, the same minimum", queries=len(queries), seconds=seconds,
                    **{"× notebook": theirs / seconds if theirs else None},
                    **{"peak GiB": None if peak is None else peak - before, "same within a pixel": same},
                )  # fmt: skip
            before = session.allocated()
            for way, call in (
                ("match_points, with round trip and confidence", lambda: de.match_points(source, where, target)),  # noqa: B023
                ("match_dense, a point a cell", lambda: de.matching.match_dense(source, target)),  # noqa: B023
                ("match_dense, a point every 16 pixels", lambda: de.matching.match_dense(source, target, step=16)),  # noqa: B023
            ):
                seconds, peak, found = session.timed(call)
                held = found.similarity.size
                session.add(
                    what=name, way=way, queries=held, seconds=seconds,
                    **{"peak GiB": None if peak is None else peak - before},
                )  # fmt: skip


def photo(seed: int, session: Session) -> np.ndarray:
    """A drawn picture: a textured ground, and one patterned disc that is moved, scaled and turned."""
    import cv2

    width, height = (96, 64) if session.smoke else (640, 480)
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 200, (height // 32, width // 32, 3), dtype=np.uint8)
    canvas = cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC)
    side = height // 2
    pattern = np.random.default_rng(99).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    thing = cv2.resize(pattern, (side, side), interpolation=cv2.INTER_CUBIC)
    angle, scale = (0.0, 1.0) if seed == 0 else (rng.uniform(-20, 20), rng.uniform(0.7, 1.2))
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, scale)
    centre = np.array([width, height]) * ((0.5, 0.5) if seed == 0 else rng.uniform(0.35, 0.65, 2))
    matrix[:, 2] += centre - side / 2
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (side // 2, side // 2), side // 2 - 2, 255, -1)
    moved, alpha = (cv2.warpAffine(layer, matrix, (width, height)) for layer in (thing, mask))
    share = alpha[..., None] / 255.0
    return np.clip(moved * share + canvas * (1 - share), 0, 255).astype(np.uint8)


def section_propagate(session: Session) -> None:
    """`dift-edit propagate` on a set of drawn pictures, end to end, on the device and on the CPU."""
    several, cores = min(8, available_cores()), available_cores()
    propagate(session, [("cuda", 1), ("cuda", several), ("cpu", cores)] if session.cuda else [("cpu", 1)])


def section_propagate_more(session: Session) -> None:
    """The same with other numbers of processes."""
    if session.cuda:
        propagate(session, [("cuda", 4), ("cuda", available_cores()), ("cpu", 1)])


def propagate(session: Session, runs: Sequence[tuple[str, int]]) -> None:
    """Run it for each device and number of processes."""
    import PIL.Image

    count = 3 if session.smoke else 200
    model = "mini"
    with tempfile.TemporaryDirectory(prefix="dift-edit-gpu-") as temporary, session.guarded("propagate"):
        folder = Path(temporary)
        (folder / "photos").mkdir()
        PIL.Image.fromarray(photo(0, session)).save(folder / "source.png")
        for seed in range(1, count + 1):
            PIL.Image.fromarray(photo(seed, session)).save(folder / "photos" / f"{seed:04d}.jpg", quality=90)
        height, width = photo(0, session).shape[:2]
        sticker = np.zeros((height // 6, height // 6, 4), np.uint8)
        sticker[...] = (220, 20, 60, 255)
        PIL.Image.fromarray(sticker).save(folder / "sticker.png")
        if session.smoke:
            sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
            from batch_data import save_tiny_model

            model = str(save_tiny_model(folder / "model"))
        place = f"{width // 2 - height // 12},{height // 2 - height // 12},{height // 6},{height // 6}"
        placed: dict[str, np.ndarray] = {}
        for number, (device, workers) in enumerate(runs):
            if not session.can(f"{device}, {workers} processes", 45 if number else 30):
                continue
            with session.guarded(f"{device}, {workers} processes"):
                output = folder / f"out-{number}"
                command = [
                    sys.executable, "-c", "from dift_edit.cli import main; raise SystemExit(main())", "propagate",
                    str(folder / "source.png"), str(folder / "photos"), "--sticker", str(folder / "sticker.png"),
                    "--at", place, "-o", str(output), "--device", device, "--workers", str(workers), "--log-json",
                    "--model", model,
                ]  # fmt: skip
                start = time.perf_counter()
                limit = 600 if session.smoke else max(session.left, 20)
                done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
                seconds = time.perf_counter() - start
                events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"time"')]
                times = [event["time"] for event in events if event["event"] == "row"]
                summary = next((event for event in events if event["event"] == "summary"), None)
                if summary is None:
                    raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no summary")
                quads = {
                    event["row"]["id"]: event["row"].get("quad") for event in events if event["event"] == "row"
                }  # fmt: skip
                values = np.array([quads[key] for key in sorted(quads) if quads[key]], dtype=np.float64)
                # After the first rows: the processes have started and loaded their networks.
                warm = times[min(2 * workers, len(times) - 2) :]
                done_well = {event["row"]["status"] for event in events if event["event"] == "row"}
                if "failed" in done_well:
                    raise RuntimeError(next(e["row"]["reason"] for e in events if e.get("row", {}).get("reason")))
                row: Row = {
                    "what": f"{count} pictures of {width} × {height}", "device": device, "processes": workers,
                    "seconds": seconds, "photos/s": count / seconds,
                    "photos/s once started": (len(warm) - 1) / max(warm[-1] - warm[0], 1e-3),
                    "applied": summary["counts"]["applied"],
                    "time by stage": ", ".join(f"{name} {value:.1f} s" for name, value in summary["times"].items()),
                }  # fmt: skip
                other = placed.setdefault("first", values)
                if other is not values and other.shape == values.shape:
                    row["corners differ by px (median, most)"] = "{:.3f}, {:.2f}".format(
                        *(float(f(np.abs(values - other))) for f in (np.median, np.max))
                    )
                session.add(**row)


def section_compiled(session: Session) -> None:
    """`torch.compile` of the blocks: what the first call costs, and what it brings."""
    if not session.can("compiled mini", 40):
        return
    if session.device.type == "cpu" and session.args.smoke:
        torch.compiler.set_stance("force_eager")  # the compiler itself takes half a minute
    try:
        photos = [de.as_image(photo(seed, session)) for seed in range(1)]
        short = {"short_sides": (48,), "image_size": 96} if session.smoke else {}
        with session.guarded("mini, compiled"):
            for flag in (False, True):
                featurizer = de.load_featurizer("mini", device=session.device, compile=flag, **short)
                start = time.perf_counter()
                featurizer(photos[0])
                session.synchronise()
                first = time.perf_counter() - start
                seconds, peak, _ = session.timed(lambda f=featurizer: f(photos[0]), repeat=10)
                session.add(
                    what="mini", compiled=flag, dtype="float32", **{"images/s": 1 / seconds, "first call s": first},
                    **{"peak GiB": peak},
                )  # fmt: skip
        if session.can("compiled Stable Diffusion 2.1", 90):
            with session.guarded("Stable Diffusion 2.1, compiled"):
                model = Latent(session, sd21, block=1)
                (size,), ensemble = sizes_of(session, 768), 2 if session.smoke else 8
                model.measure("Stable Diffusion 2.1", size, ensemble, dtype="float16")
                model.measure("Stable Diffusion 2.1, compiled", size, ensemble, dtype="float16", compile=True)
    finally:
        if session.device.type == "cpu" and session.args.smoke:
            torch.compiler.set_stance("default")


SECTIONS: dict[str, Callable[[Session], None]] = {
    "card": card,
    "check": check,
    "sd21": section_sd21,
    "mini": section_mini,
    "matching": section_matching,
    "propagate": section_propagate,
    "adm": section_adm,
    "sdxl": section_sdxl,
    "compiled": section_compiled,
    "propagate_more": section_propagate_more,
}
"""Name → section, the most important first."""

TITLES = {
    "card": "The machine",
    "check": "The same results as on the CPU",
    "sd21": "Stable Diffusion 2.1's size",
    "mini": "The embedded networks",
    "matching": "Matching against the notebook's distance matrix",
    "propagate": "A set of photos, end to end",
    "adm": "ADM's size",
    "sdxl": "SDXL's size",
    "compiled": "Compiled",
    "propagate_more": "A set of photos, with other numbers of processes",
}


def markdown(session: Session) -> str:
    """All rows as tables."""
    card_row = next((row for row in session.rows.get("card", []) if row.get("what") == "card"), {})
    lines = [
        "# Performance on a GPU", "", f"Measured on: **{card_row.get('name', 'unknown')}**, torch {torch.__version__}.",
        "", f"    {command_line(session.args)}", "",
    ]  # fmt: skip
    for name, title in TITLES.items():
        rows = session.rows.get(name)
        if not rows:
            continue
        took = f" ({session.seconds[name]:.0f} s)" if name in session.seconds else ""
        lines += [f"## {title}{took}", ""]
        for columns, group in grouped(rows):
            lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
            lines += ["| " + " | ".join(cell(row.get(column)) for column in columns) + " |" for row in group]
            lines += [""]
    if session.skipped:
        lines += ["## Left out", "", "The budget was spent before these:", ""]
        lines += [f"- {what}" for what in session.skipped] + [""]
    return "\n".join(lines)


def grouped(rows: Sequence[Row]) -> Iterator[tuple[list[str], list[Row]]]:
    """Rows in tables: a row that shares nothing but its name with the one before starts a new one."""
    groups: list[list[Row]] = []
    for row in rows:
        common = groups and set(groups[-1][-1]) & set(row) - {"what", "dtype"}
        if groups and (common or groups[-1][-1].keys() == row.keys() or "failed" in row):
            groups[-1].append(row)
        else:
            groups.append([row])
    for group in groups:
        columns = list(dict.fromkeys(key for row in group for key, value in row.items() if value is not None))
        yield columns, group


def cell(value: Any) -> str:
    text = "" if value is None else ("yes" if value else "no") if isinstance(value, bool) else shown(value)
    return text.replace("|", "\\|")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for gpu.json and performance-gpu.md")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--budget", type=float, default=360, help="seconds in all (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="toy sizes, to try the script itself")
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=list(SECTIONS), help="default: all")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    session = Session(args)
    session.write()
    for name, run in SECTIONS.items():
        if name not in args.sections:
            continue
        session.section = name
        if session.left <= 0:
            session.skipped.append(f"{name}: all of it")
            continue
        start = time.perf_counter()
        with session.guarded(name):
            run(session)
        session.seconds[name] = time.perf_counter() - start
        session.write()
    session.write()
    print(
        f"{time.perf_counter() - session.start:.0f} s; " + ", ".join(f"{k} {v:.0f}" for k, v in session.seconds.items())
    )
    for what in session.skipped:
        print(f"left out: {what}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
