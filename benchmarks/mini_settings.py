"""How size, timestep, blocks and ensemble of dift-mini move its correspondence: PCK on PF-WILLOW.

    python benchmarks/mini_settings.py ROOT [--pairs 150] [--full] [-o docs/mini_settings.md]

Every row is plain nearest neighbour but the last ones, which match by neighbourhood consensus, the default of
``match_points``. The random row is the same network with random weights.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import dift_edit as de
from dift_edit.atomic_files import write_text
from dift_edit.evaluation.keypoint_sets import pf_willow
from dift_edit.evaluation.metrics import pck_flags
from dift_edit.features.base import FeatureMap

BASE = {"short_sides": (144,), "timestep": 5, "layers": ("up_blocks.0", "up_blocks.1"), "ensemble": 1}


def variants() -> Iterator[tuple[str, dict]]:
    """Name and settings of each row."""
    yield "short side 144, t 5, both blocks, ensemble 1", {}
    for side in (112, 176, 208):
        yield f"short side {side}", {"short_sides": (side,)}
    yield "short sides 112 + 144 + 192", {"short_sides": (112, 144, 192)}
    for timestep in (50, 300):
        yield f"t {timestep}", {"timestep": timestep}
    for block in (0, 1):
        yield f"up block {block} alone", {"layers": (f"up_blocks.{block}",)}
    yield "ensemble 4", {"ensemble": 4}
    yield "averaged with the mirrored picture's features", {"flip": True}


def random_weights(featurizer: de.Featurizer) -> de.Featurizer:
    """The same network with random weights."""
    torch.manual_seed(0)
    for module in featurizer.unet.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return featurizer


def measure(featurizer: de.Featurizer, items: list, consensus: float) -> tuple[float, float, float]:
    """PCK@0.1 and PCK@0.05 over all keypoints in per cent, and seconds a picture."""
    maps: dict[Path, FeatureMap] = {}
    seconds = 0.0

    def features(path: Path) -> FeatureMap:
        nonlocal seconds
        if path not in maps:
            start = time.perf_counter()
            maps[path] = featurizer(path)
            seconds += time.perf_counter() - start
        return maps[path]

    flags: dict[float, list] = {0.1: [], 0.05: []}
    for item in items:
        pair = item.data
        source, target = features(pair.source), features(pair.target)
        points = np.clip(pair.source_points, 0, np.asarray(source.image_size) - 1)
        found = de.match_points(source, points, target, consensus=consensus)
        size = float(max(pair.target_box[2:] - pair.target_box[:2]))
        for alpha, kept in flags.items():
            kept.append(pck_flags(found.points, pair.target_points, size=size, alpha=alpha))
    wide, narrow = (100 * float(np.concatenate(kept).mean()) for kept in flags.values())
    return wide, narrow, seconds / len(maps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--pairs", type=int, default=150, help="pairs for the grid of settings")
    parser.add_argument("--full", action="store_true", help="measure the plain and the default matching on all pairs")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    everything = pf_willow(args.root, "", 0, 0)
    chosen = np.random.default_rng(0).permutation(len(everything))[: args.pairs]
    sample = [everything[k] for k in sorted(chosen)]
    lines = [
        "# Settings of dift-mini",
        "",
        f"PCK in per cent of the keypoints (threshold relative to the keypoints' box), on {len(sample)} of the "
        f"{len(everything)} ordered pairs of PF-WILLOW. Made by",
        "",
        f"    python benchmarks/mini_settings.py PF_WILLOW --pairs {args.pairs}{' --full' if args.full else ''}",
        "",
        "| settings | matching | pairs | PCK@0.1 | PCK@0.05 | s a picture |",
        "|---|---|---|---|---|---|",
    ]

    def row(name: str, featurizer: de.Featurizer, items: list, consensus: float) -> None:
        wide, narrow, seconds = measure(featurizer, items, consensus)
        how = f"consensus {consensus:g}" if consensus else "nearest neighbour"
        lines.append(f"| {name} | {how} | {len(items)} | {wide:.1f} | {narrow:.1f} | {seconds:.2f} |")
        print(lines[-1], flush=True)

    make: Callable[..., de.Featurizer] = lambda **more: de.load_featurizer("dift-mini", **{**BASE, **more})  # noqa: E731
    for name, settings in variants():
        row(name, make(**settings), sample, 0)
    row("random weights", random_weights(make()), sample, 0)
    for sigma in (0.04, 0.08, 0.12):
        row("short side 144, t 5, both blocks, ensemble 1", make(), sample, sigma)
    row("random weights", random_weights(make()), sample, 0.08)
    if args.full:
        row("**the default**", de.load_featurizer("dift-mini"), everything, 0)
        row("**the default**", de.load_featurizer("dift-mini"), everything, 0.08)
        row("random weights", random_weights(make()), everything, 0.08)
    if args.output:
        write_text(args.output, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
