"""The embedded networks by several runtimes on a CPU: processor time of one image, in one run, on the same weights.

    python benchmarks/runtimes.py --threads 1 2 -o docs/performance-runtimes.md

"ours" is how dift-edit runs them (channels_last, and Winograd's method where it pays). ONNX Runtime and OpenVINO run
the files that `dift-edit models export` writes; OpenVINO needs ``pip install openvino``, and is left out without. All
are timed in turn, several passes of each; the least counts. A second table times the convolutions of `lite`, each by
itself, on the inputs that they get; those of 1 × 1 are matrix products. The share of the peak is that of a matrix
product of 2048 × 2048 in float32 with as many threads, in the same run, with the multiplications of plain convolutions.
"""

import argparse
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch.utils.flop_counter import FlopCounterMode

import dift_edit as de
from dift_edit.atomic_files import write_text
from dift_edit.features.base import make_noise
from dift_edit.features.export import ExportedNetwork, export_onnx

Run = Callable[[], Any]


def processor() -> str:
    """The processor's name, where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def by_torch(name: str, made: ExportedNetwork, **options: Any) -> Run:
    """A network as a featurizer runs it."""
    featurizer = de.load_featurizer(name, **options)
    pixels, noise = inputs(made)
    if noise is None:
        return lambda: featurizer.from_pixels(pixels)
    return lambda: featurizer.from_pixels(pixels[0], noise)


def inputs(made: ExportedNetwork) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Pixels and noise that suit the file."""
    pixels = torch.rand((1, 3, made.size[1], made.size[0]), generator=torch.Generator().manual_seed(0))
    return pixels, make_noise(made.noise_shape, 1) if made.noise_shape else None


def by_onnxruntime(made: ExportedNetwork, threads: int) -> Run:
    """The file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning is not work
    session = onnxruntime.InferenceSession(made.path, options, providers=["CPUExecutionProvider"])
    given = {name: one.numpy() for name, one in zip(("pixels", "noise"), inputs(made), strict=True) if one is not None}
    return lambda: session.run(None, given)


def by_openvino(made: ExportedNetwork, threads: int, precision: str) -> Run:
    """The file in OpenVINO."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(str(made.path), "CPU", settings)
    given = {name: one.numpy() for name, one in zip(("pixels", "noise"), inputs(made), strict=True) if one is not None}
    request = model.create_infer_request()
    return lambda: request.infer(given)


SIDE = 2048
"""Of the matrices whose product is the measure."""


def matrix_product() -> Run:
    """A large one."""
    a, b = (torch.rand(SIDE, SIDE) for _ in range(2))
    return lambda: a @ b


def peak(seconds: float) -> float:
    """Operations per second of a matrix product that took so long."""
    return 2 * SIDE**3 / seconds


def least(runs: list[Run], passes: int) -> list[float]:
    """Least processor seconds of each, all timed in turn after one pass that does not count."""
    found = [float("inf")] * len(runs)
    with torch.inference_mode():
        for number in range(passes + 1):
            for index, run in enumerate(runs):
                start = time.process_time()
                run()
                if number:
                    found[index] = min(found[index], time.process_time() - start)
    return found


def table(name: str, threads: int, passes: int, folder: Path) -> list[str]:
    """The rows of one network."""
    made = export_onnx(de.load_featurizer(name, channels_last=False), folder / f"{name}.onnx")
    plain = by_torch(name, made, channels_last=False)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        plain()
    operations = counter.get_total_flops() / 1e9
    rows: dict[str, Run] = {
        "ours": by_torch(name, made),
        "eager, plain layout": plain,
        "torch.compile, channels_last": by_torch(name, made, compile=True),
        "bfloat16": by_torch(name, made, dtype="bfloat16"),
        "ONNX Runtime": by_onnxruntime(made, threads),
    }
    try:
        rows["OpenVINO, float32"] = by_openvino(made, threads, "f32")
        rows["OpenVINO, bfloat16"] = by_openvino(made, threads, "bf16")
    except ImportError:
        pass
    torch.set_num_threads(threads)
    top = peak(least([matrix_product()], passes)[0]) / 1e9
    times = least(list(rows.values()), passes)
    size = f"{made.size[0]} × {made.size[1]} px"
    return [
        f"| {name}, {size} | {threads} | {label} | {seconds:.3f} | {seconds / times[0]:.2f} "
        f"| {100 * operations / seconds / top:.0f} % |"
        for label, seconds in zip(rows, times, strict=True)
    ]


def convolutions(passes: int) -> list[str]:
    """The rows of `lite`'s convolutions by sort, on one thread."""
    torch.set_num_threads(1)
    featurizer = de.load_featurizer("lite")
    seen: list[tuple[torch.nn.Conv2d, torch.Tensor]] = []
    found = [one for one in featurizer.network.modules() if isinstance(one, torch.nn.Conv2d)]
    hooks = [one.register_forward_pre_hook(lambda one, given: seen.append((one, given[0].clone()))) for one in found]
    featurizer(PIL.Image.new("RGB", (640, 480)))
    for hook in hooks:
        hook.remove()
    product, *each = least([matrix_product(), *(partial(one, given) for one, given in seen)], passes)
    times: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    for (one, given), seconds in zip(seen, each, strict=True):
        sort = "1 × 1" if one.kernel_size == (1, 1) else "depthwise" if one.groups > 1 else "the first, 3 × 3"
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            one(given)
        operations[sort] += counter.get_total_flops()
        times[sort] += seconds
    return [
        f"| {sort} | {operations[sort] / 1e9:.2f} | {seconds:.3f} "
        f"| {100 * operations[sort] / seconds / peak(product):.0f} % |"
        for sort, seconds in times.most_common()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--models", nargs="+", default=["lite", "dift-mini"])
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    lines = [
        "# Runtimes on a CPU",
        "",
        f"Written by `python benchmarks/runtimes.py --threads {' '.join(map(str, args.threads))}` in one run: "
        f"{processor()}, torch {torch.__version__}. Processor seconds of one image of 640 × 480, without decoding.",
        "",
        "| network | threads | runtime | processor s | relative | of the matrix product's peak |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models:
            for threads in args.threads:
                torch.set_num_threads(threads)
                lines += table(name, threads, args.passes, Path(folder))
                torch._dynamo.reset()
    lines += [
        "",
        "The convolutions of `lite`, each by itself, on one thread:",
        "",
        "| convolutions | GFLOP | processor s | of the matrix product's peak |",
        "|---|---|---|---|",
        *convolutions(args.passes),
    ]
    print("\n".join(lines))
    if args.output:
        write_text(args.output, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
