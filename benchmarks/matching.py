"""Matching at full resolution against the notebook's distance matrix: ratios of time and memory from one run.

    python benchmarks/matching.py                      # 1000 points, 768², 1280 channels; the notebook needs 12 GB
    python benchmarks/matching.py --channels 320 --size 512
    python benchmarks/matching.py --megapixels 12      # ours alone, its memory beyond that of the two maps

"notebook": features of unit norm are upsampled to every pixel of the target (align_corners=True) and the Euclidean
distance of each point's feature to all of them is taken. "ours": the same minimum by `dift_edit.matching.search`. Each
runs in a process of its own; the pixels that they find are compared.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from dift_edit.features.base import FeatureMap


def features(channels: int, stride: int, size: tuple[int, int], seed: int) -> FeatureMap:
    """A random map as smooth as a network's: neighbouring cells have a cosine of about 0.8.

    Maps of different seeds show the same content, moved by some cells and changed by noise (cosine about 0.8 again).
    """
    grid = max(2, size[1] // stride), max(2, size[0] // stride)
    common, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed + 1)
    coarse = torch.randn(1, channels, grid[0] // 3 + 2, grid[1] // 3 + 2, generator=common)
    data = F.interpolate(coarse, size=grid, mode="bicubic", align_corners=False)[0]
    data += 0.3 * torch.randn(data.shape, generator=common) + 0.5 * torch.randn(channels, 1, 1, generator=common)
    data = data.roll((3 * seed, 5 * seed), (1, 2)) + 0.3 * torch.randn(data.shape, generator=own)
    return FeatureMap(F.normalize(data, dim=0), size)


def points(count: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, size, (count, 2)).astype(np.float64)


class PeakMemory:
    """The process's largest resident memory while the block runs, beyond that before it."""

    def __enter__(self) -> "PeakMemory":
        self._stop = threading.Event()
        self._before = self._peak = self._now()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.mebibytes = (self._peak - self._before) / 2**20

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self._peak = max(self._peak, self._now())

    @staticmethod
    def _now() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def notebook(source: FeatureMap, target: FeatureMap, where: np.ndarray) -> np.ndarray:
    """The released notebook's way."""
    width, height = target.image_size
    edges = np.array(source.image_size) - 1.0
    grid = torch.from_numpy(where / edges * 2 - 1).float()[None, None]
    queries = F.grid_sample(source.data[None], grid, align_corners=True)[0, :, 0].T
    pixels = F.interpolate(target.data[None], size=(height, width), mode="bilinear", align_corners=True)[0].flatten(1).T
    best = torch.cdist(queries, pixels).argmin(1).numpy()
    return np.stack([best % width, best // width], 1)


def ours(source: FeatureMap, target: FeatureMap, where: np.ndarray) -> np.ndarray:
    """The same minimum, without upsampling."""
    from dift_edit.matching.points import MatchSettings, _nearest

    return _nearest(source, target, where, MatchSettings(metric="l2", align_corners=True))[0]


def measure(args: argparse.Namespace) -> None:
    """One of the two, in this process."""
    source, target = (features(args.channels, args.stride, (args.size, args.size), seed) for seed in (0, 1))
    where = points(args.points, source.image_size)
    run = {"notebook": notebook, "ours": ours}[args.role]
    seconds = []
    for _ in range(args.repeat if args.role == "ours" else 1):
        with PeakMemory() as memory:
            start, processor = time.perf_counter(), time.process_time()
            found = run(source, target, where)
            seconds.append((time.perf_counter() - start, time.process_time() - processor))
    torch.save((min(seconds), memory.mebibytes, found), args.result)


def large(args: argparse.Namespace) -> None:
    """A target of many megapixels: time and memory of `match_points` with round trip and confidence."""
    from dift_edit.matching.points import match_points

    height = round((args.megapixels * 1e6 * 3 / 4) ** 0.5)
    size = (round(height * 4 / 3), height)
    for name, channels, grid in (("dift-mini", 512, 40), ("SD 2.1 block 1 at 768²", 1280, 48)):
        maps = [FeatureMap(features(channels, 1, (grid, grid), seed).data, size) for seed in (0, 1)]
        with PeakMemory() as memory:
            start = time.perf_counter()
            match_points(maps[0], points(args.points, size), maps[1])
            seconds = time.perf_counter() - start
        print(
            f"{size[0]}×{size[1]}, {args.points} points, {name} ({channels} channels): {seconds:.2f} s, "
            f"{memory.mebibytes:.0f} MiB, {torch.get_num_threads()} threads"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=1280)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--megapixels", type=float, default=0)
    parser.add_argument("--role", choices=("notebook", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.megapixels:
        large(args)
        return
    if args.role:
        measure(args)
        return
    results = {}
    for role in ("notebook", "ours"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "result.pt"
            command = [sys.executable, __file__, *sys.argv[1:], "--role", role, "--result", str(path)]
            subprocess.run(command, check=True)
            results[role] = torch.load(path, weights_only=False)
    (theirs, memory, expected), (mine, own_memory, found) = results["notebook"], results["ours"]
    # Processor time as well: it does not depend on what else the machine does.
    same = float((expected == found).all(1).mean())
    keys = ("s", "processor s", "MiB")
    rows = {"notebook": (*theirs, memory), "ours": (*mine, own_memory)}
    print(json.dumps({name: dict(zip(keys, row, strict=True)) for name, row in rows.items()}))
    print(
        f"{theirs[0] / mine[0]:.0f}× faster ({theirs[1] / mine[1]:.0f}× in processor time), "
        f"{memory / max(own_memory, 1):.0f}× less memory, {same:.1%} of the pixels equal; "
        f"{args.points} points, {args.size}², {args.channels} channels, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
