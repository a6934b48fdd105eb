"""Labels through clips: what a frame costs, and joints of animals through time.

    python benchmarks/clip_labels.py speed CLIP       # processor seconds per frame, coarse and fine
    python benchmarks/clip_labels.py joints FOLDER    # a set of keypoint pairs with several pictures of each clip

Masks are scored by ``dift-edit evaluate davis``.
"""

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dift_edit.clips.io import open_clip
from dift_edit.clips.labels.carry import propagate_keypoints
from dift_edit.clips.labels.propagator import LabelPropagator
from dift_edit.clips.labels.settings import PropagationSettings
from dift_edit.evaluation.metrics import pck_flags
from dift_edit.features.registry import load_featurizer
from dift_edit.imaging.edges import labels_at_edges

DENSE: dict[str, Any] = {"channels": 0, "last_frames": 28}
"""As the released evaluation of DIFT."""
WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "dift-mini 144, all channels, 28 frames": (144, DENSE),
    "dift-mini 160, all channels, 28 frames": (160, DENSE),
    "dift-mini 256, all channels, 28 frames": (256, DENSE),
    "dift-mini 256, as --preset clips": (256, {}),
}
COMPARED = ("dift-mini 144, all channels, 28 frames", "dift-mini 256, as --preset clips")
ALPHAS = (0.05, 0.1, 0.2)


def speed(path: Path) -> None:
    """Processor time of one frame when the memory is full."""
    clip = open_clip(path)
    image = next(clip.read(0, 1))
    print("processor seconds per frame    features    labels    edges")
    for name, (short, chosen) in WAYS.items():
        featurizer = load_featurizer("dift-mini", short_sides=(short,))
        features = featurizer(image)
        scores = torch.rand(2, *features.data.shape[1:])
        propagator = LabelPropagator(features, scores, PropagationSettings(**chosen))
        for _ in range(propagator.settings.last_frames):
            propagator.remember(features, scores)
        times = (
            _processor(featurizer, image),
            _processor(propagator, features),
            _processor(labels_at_edges, scores, image),
        )
        print(f"{name:42}", *(f"{seconds:.2f}" for seconds in times), flush=True)


def _processor(step: Callable[..., Any], *values: Any) -> float:
    step(*values)
    begun = time.process_time()
    step(*values)
    return time.process_time() - begun


def joints(folder: Path) -> None:
    """PCK of the joints of a clip's first picture, carried through all of its pictures in order."""
    known = _named_points(folder)
    clips: dict[str, list[str]] = defaultdict(list)
    for name in sorted(known):
        clips[re.sub(r"_\d+\.\w+$", "", name)].append(name)
    for way in COMPARED:
        short, chosen = WAYS[way]
        featurizer = load_featurizer("dift-mini", short_sides=(short,))
        total = np.zeros(len(ALPHAS) + 1, int)
        for clip, names in clips.items():
            given = known[names[0]]
            pictures = (folder / name for name in names)
            carried = propagate_keypoints(pictures, list(given.values()), featurizer=featurizer, **chosen)
            counts = np.zeros_like(total)
            for name, points in zip(names, carried, strict=True):
                truth = np.array(list(known[name].values()))
                both = [joint for joint in given if joint in known[name]]
                if name == names[0] or not both:
                    continue
                size = float(np.ptp(truth, 0).max())
                found = dict(zip(given, points, strict=True))
                ends = np.array([[found[joint], known[name][joint]] for joint in both])
                flags = [pck_flags(ends[:, 0], ends[:, 1], size=size, alpha=alpha).sum() for alpha in ALPHAS]
                counts += np.array([len(both), *flags])
            total += counts
            _tell(way, f"{clip}, {len(names)} pictures", counts)
        _tell(way, "all", total)


def _tell(way: str, what: str, counts: np.ndarray) -> None:
    shares = [f"PCK@{alpha} {100 * found / counts[0]:.1f}" for alpha, found in zip(ALPHAS, counts[1:], strict=True)]
    print(f"{way:40} {what:30} {counts[0]} joints ", *shares, flush=True)


def _named_points(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Of every picture of a set of pairs: joint → place."""
    known: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for line in (folder / "pairs.jsonl").read_text().splitlines():
        pair = json.loads(line)
        for end in ("source", "target"):
            known[pair[end]].update(zip(pair["names"], pair[f"{end}_points"], strict=True))
    return known


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "joints"))
    parser.add_argument("path", type=Path)
    args = parser.parse_args()
    {"speed": speed, "joints": joints}[args.part](args.path)


if __name__ == "__main__":
    main()
