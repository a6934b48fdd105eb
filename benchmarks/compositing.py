"""How long it takes to put an edit on a large picture, and how much memory.

    python benchmarks/compositing.py [--megapixels 24] [--threads 2]

The sticker covers a share of the target; the transform is a similarity, or the same as a dense map (as a mesh has no
matrix). Each row is the median of three runs after a warm-up, in a process of its own; memory is its peak. CPU seconds
are those of all threads together; on a machine with other work they say more than the clock does.
"""

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

CASES = [
    ("over", 0.01, "matrix", {}),
    ("over", 0.1, "matrix", {}),
    ("over", 0.1, "dense", {}),
    ("over", 1.0, "matrix", {}),
    ("over", 1.0, "dense", {}),
    ("over, linear light", 0.1, "matrix", {"linear_light": True}),
    ("over, feather", 0.1, "matrix", {"feather": 20}),
    ("over, bicubic", 0.1, "matrix", {"resampling": "bicubic"}),
    ("colour match and shading", 0.1, "matrix", {"match_color": 1, "shading": 1}),
    ("palette and texture", 0.1, "matrix", {"palette": 1, "texture": 1}),
    ("laplacian", 0.1, "matrix", {"blend": "laplacian"}),
    ("poisson", 0.1, "matrix", {"blend": "poisson"}),
    ("poisson-mixed", 0.1, "matrix", {"blend": "poisson-mixed"}),
    ("hue and exposure under a mask", 0.1, "matrix", "adjust"),
    ("pixelate", 0.1, "matrix", "redact"),
]
SOURCE = (1500, 1000)


@dataclass
class Dense:
    """A transform that hides its matrix."""

    inner: object
    matrix: None = None

    def __call__(self, points):
        return self.inner(points)

    def inverse(self):
        return Dense(self.inner.inverse())


def run(number: int, megapixels: float) -> None:
    """One case."""
    from dift_edit.edits import ColorAdjust, Redaction, Region, Sticker
    from dift_edit.geometry.base import MatrixTransform
    from dift_edit.imaging.files import as_image
    from dift_edit.rendering.compositing import Compositing

    _name, share, kind, settings = CASES[number]
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(height * 1.5)
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    target = as_image(np.tile(tile, (height // 64 + 1, width // 64 + 1, 1))[:height, :width].copy())
    scale = share**0.5 * (1 if share < 1 else 1.05)
    zoom, x, y = scale * width / SOURCE[0], 0.5 * width * (1 - scale), 0.5 * height * (1 - scale)
    transform = MatrixTransform(np.array([(zoom, -0.02 * zoom, x), (0.02 * zoom, zoom, y), (0, 0, 1)]))
    if kind == "dense":
        transform = Dense(transform)
    compositing = Compositing(**settings) if isinstance(settings, dict) else Compositing()
    if settings == "adjust":
        edit = ColorAdjust(region=Region.box(0, 0, *SOURCE), hue=40, exposure=0.3)
    elif settings == "redact":
        edit = Redaction(region=Region.box(0, 0, *SOURCE))
    else:
        edit = Sticker(rng.integers(0, 256, (SOURCE[1], SOURCE[0], 3), dtype=np.uint8), at=(0, 0, *SOURCE))
    edit.apply(as_image(target.pixels[:500, :500].copy()), transform, compositing=compositing)
    seconds, work = [], []
    for _ in range(3):
        start, busy = time.perf_counter(), time.process_time()
        edit.apply(target, transform, compositing=compositing)
        seconds.append(time.perf_counter() - start)
        work.append(time.process_time() - busy)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{np.median(seconds):.2f} {np.median(work):.2f} {peak:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of compositing.")
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case is not None:
        import torch

        torch.set_num_threads(args.threads)
        run(args.case, args.megapixels)
        return
    print(f"| what ({args.megapixels:g} Mpx target) | covers | transform | seconds | CPU seconds | peak MiB |")
    print("|---|---|---|---|---|---|")
    for number, (name, share, kind, _settings) in enumerate(CASES):
        command = [sys.executable, __file__, "--case", str(number), "--megapixels", str(args.megapixels)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"| {name} | {share:.0%} | {kind} | {output[0]} | {output[1]} | {output[2]} |", flush=True)


if __name__ == "__main__":
    main()
