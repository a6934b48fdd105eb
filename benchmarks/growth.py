"""How processor time and memory grow with the number of targets, megapixels, edits and frames.

    python benchmarks/growth.py [--quick] [--only SERIES ...] [--markdown docs/growth.md]

Prints Markdown. Each row is measured in a process of its own, without its start and without making its input. The
exponent k of a series is that of time − time₀ ∝ (n − n₀)ᵏ, where n₀ is the smallest size, fitted by least squares in
logarithms: 1 is proportional, more than 1 superlinear. What a run costs once does not count in it. The exponent of
memory is that of the whole process, so it is near 0 where memory does not grow.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import batch
import numpy as np
import torch

import dift_edit as de
from dift_edit.atomic_files import write_text
from dift_edit.imaging import save_image
from dift_edit.samples import FOLDER, sample_job

INTRODUCTION = """# How time and memory grow

Written by the command below, on an otherwise idle machine. Time is processor time of all threads; memory is the peak of
the whole process, with torch and the network. An exponent of 1 is proportional; how it is fitted stands in
`benchmarks/growth.py`. It is above 1 where small sizes cost little, as with megapixels: there the cost of one more (the
third column) no longer rises from 10 on. Ratios to the straightforward way: [performance.md](performance.md).

"""


@dataclass
class Cost:
    """What one size took: processor seconds, and the peak memory of its process in MiB."""

    seconds: float = 0.0
    memory: float = 0.0


@contextmanager
def measured() -> Iterator[Cost]:
    """Processor time of what is in it, and the highest memory of the process until its end."""
    cost, start = Cost(), time.process_time()
    yield cost
    cost.seconds = time.process_time() - start
    # not ru_maxrss: a child inherits its parent's
    cost.memory = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]


def targets(count: int, folder: Path, *, model: str, size: tuple[int, int], **transfer: Any) -> Cost:
    """A batch in one process, with its manifest, previews and page."""
    options = argparse.Namespace(
        size=size, model=model, mirror="never", different=False, learn=False, layers=False, annotations=False,
        photos=None, short_side=64 if model == "tiny" else 0,
    )  # fmt: skip
    name = batch.make_scene(folder, count, options)
    batch.command(folder, name, "out", options)
    job = de.load_job(folder / "out.toml")
    job = replace(job, transfer=replace(job.transfer, **transfer))
    with measured() as cost:
        done = de.run_job(job)
    assert {row.status for row in done.rows} == {"applied"} and len(done.rows) == count, done
    return cost


def megapixels(count: int, folder: Path) -> Cost:
    """One target of this size: read from a JPEG file, placed, and written."""
    featurizer, source = de.load_featurizer("mini"), de.load_image(FOLDER / "cat.jpg")
    sticker = sample_job("unused").load_edit(source)
    width = round((count * 1e6 * 4 / 3) ** 0.5)
    large = de.load_image(FOLDER / "kitten.jpg").to_pil().resize((width, width * 3 // 4))
    large.save(folder / "large.jpg")
    del large
    with measured() as cost:
        done = de.transfer(
            source, sticker, de.load_image(folder / "large.jpg"), featurizer=featurizer, min_confidence=0.0
        )
        save_image(done.image, folder / "done.jpg")
    return cost


def edits(count: int, folder: Path) -> Cost:
    """Stickers in one edit, put on the bundled target of 12 megapixels."""
    del folder
    featurizer, source = de.load_featurizer("mini"), de.load_image(FOLDER / "cat.jpg")
    sticker = sample_job("unused").load_edit(source)
    target = de.as_image(de.load_image(FOLDER / "kitten.jpg").to_pil().resize((4000, 3000)))
    with measured() as cost:
        de.transfer(source, de.edits.Layers([sticker] * count), target, featurizer=featurizer, min_confidence=0.0)
    return cost


def ensemble(count: int, folder: Path) -> Cost:
    """Features of one image, averaged over so many noises."""
    del folder
    featurizer, image = de.load_featurizer("mini", ensemble=count), de.load_image(FOLDER / "kitten.jpg")
    featurizer(image)
    with measured() as cost:
        featurizer(image)
    return cost


def frames(count: int, folder: Path) -> Cost:
    """A clip of 320 × 180: read, tracked, drawn on and written as a video."""
    from sequence import SyntheticClip, make_video, sticker

    featurizer, clip = de.load_featurizer("lite"), SyntheticClip.drawn(count, seed=3, size=(320, 180))
    make_video(folder / "in.mp4", clip, sound=False)
    edit = de.Sticker(sticker(), quad=clip.quad(0))
    with measured() as cost:
        de.process_clip(folder / "in.mp4", edit, folder / "out.mp4", featurizer=featurizer)
    return cost


def targets_fixed(count: int, folder: Path) -> Cost:
    """Drawn targets of 64 × 48, and the same place in each."""
    return targets(count, folder, model="tiny", size=(64, 48), engine="fixed")


def targets_tiny(count: int, folder: Path) -> Cost:
    """Drawn targets of 64 × 48 with the smallest network."""
    return targets(count, folder, model="tiny", size=(64, 48))


def targets_mini(count: int, folder: Path) -> Cost:
    """Drawn targets of 240 × 180 with `mini`."""
    return targets(count, folder, model="mini", size=(240, 180))


SERIES: dict[str, tuple[Callable[[int, Path], Cost], list[int], list[int], str]] = {
    "targets": (targets_fixed, [10, 100, 1000, 10_000], [4, 16, 64], "targets of 64 × 48, no search"),
    "targets-tiny": (targets_tiny, [10, 100, 1000], [3, 6, 12], "targets of 64 × 48, a network of random weights"),
    "targets-mini": (targets_mini, [10, 50, 200], [2, 4, 6], "targets of 240 × 180, `mini`"),
    "megapixels": (megapixels, [1, 3, 10, 30, 100], [1, 2, 3], "megapixels of one target, read and written as JPEG"),
    "edits": (edits, [1, 2, 4, 8, 16], [1, 2, 3], "edits on a target of 12 megapixels"),
    "ensemble": (ensemble, [1, 2, 4, 8], [1, 2, 3], "noises in the features of one image, `mini`"),
    "frames": (frames, [50, 200, 800], [8, 16, 24], "frames of a clip of 320 × 180, `lite`"),
}
"""Name → what is measured, its sizes, those of a quick run, and what it is."""


def exponent(sizes: list[int], values: list[float]) -> float:
    """The slope of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def point(name: str, count: int) -> None:
    """Measure one size, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        cost = SERIES[name][0](count, Path(folder))
    print(json.dumps([cost.seconds, cost.memory]))


def measure(name: str, count: int) -> Cost:
    """Measure one size, in a process of its own."""
    words = [sys.executable, __file__, "--point", name, str(count)]
    out = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Cost(*json.loads(out.splitlines()[-1]))


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=list(SERIES), default=list(SERIES), metavar="SERIES")
    parser.add_argument("--markdown", type=Path, help="write the page too")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        point(args.point[0], int(args.point[1]))
        return
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(f"`python {shlex.join(sys.argv)}`, {torch.get_num_threads()} threads, torch {torch.__version__}.")
    found: dict[str, Any] = {}
    for name in args.only:
        _, sizes, quick, what = SERIES[name]
        sizes = quick if args.quick else sizes
        say(f"\n| {what} | time | of one more | peak memory |\n|---|---|---|---|")
        costs: list[Cost] = []
        for number, size in enumerate(sizes):
            costs.append(measure(name, size))
            more = "" if not number else (
                f"{1000 * (costs[-1].seconds - costs[-2].seconds) / (size - sizes[number - 1]):.1f} ms"
            )  # fmt: skip
            say(f"| {size} | {costs[-1].seconds:.2f} s | {more} | {costs[-1].memory:.0f} MiB |")
        steps = [max(cost.seconds - costs[0].seconds, 1e-9) for cost in costs[1:]]
        found[what] = (
            exponent([size - sizes[0] for size in sizes[1:]], steps), exponent(sizes, [cost.memory for cost in costs])
        )  # fmt: skip
    say("\n| growing | exponent of time | exponent of memory |\n|---|---|---|")
    for what, (seconds, memory) in found.items():
        say(f"| {what} | {seconds:.2f} | {memory:.2f} |")
    if args.markdown:
        write_text(args.markdown, INTRODUCTION + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
