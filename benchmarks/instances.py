"""How many instances of an object are found in pictures that show it several times, and how many false ones.

    python benchmarks/instances.py [--kinds guitar,face] [--counts 0,1,2,3,4,5,6] [--seeds 2] [--model mini]
    python benchmarks/instances.py --photos ../shared/data/pf_willow --seeds 2

Each drawn picture shows one kind of object (tests/instance_scenes.py) in several colours and turns, small and large
ones together. With --photos four photographs of different individuals (PF-WILLOW: ``*.png`` with ``*.mat``) are put
together, the largest nearly three times as large as the smallest; the truth is the box moved by the similarity of the
annotated points. An instance is found where a placement has an IoU of at least 0.5 with its truth, roughly from 0.3; a
false one has less than 0.1 with all. Columns: instances, found, roughly found, small ones (below 0.2 of the width)
roughly found, false ones, greatest share of two placements, processor seconds, confidences.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import scipy.io

from dift_edit.features.registry import load_featurizer
from dift_edit.geometry.estimate import Correspondences, fit_similarity
from dift_edit.geometry.quad import box_quad, quad_extent, quad_iou
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image
from dift_edit.placement.instances import locate_instances, quads_overlap

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from instance_scenes import KINDS, Scene, draw_scene, draw_source

CELLS = ((0, 0, 700, 800), (700, 0, 500, 400), (700, 400, 250, 400), (950, 400, 250, 400))


def collages(folder: Path, seeds: int) -> Iterator[tuple[str, Scene, Scene]]:
    """Name of each set in a folder, a source and four other photographs of the set as one picture."""
    for group in sorted(path for path in folder.iterdir() if any(path.glob("*.mat"))):
        names = sorted(group.glob("*.png"))
        points = {name: scipy.io.loadmat(name.with_suffix(".mat"))["pts_coord"].T - 1.0 for name in names}
        for seed in range(seeds):
            source, *others = (names[k] for k in np.random.default_rng(seed).permutation(len(names))[:5])
            quad = box_quad((*points[source].min(0), *points[source].max(0)))
            canvas, quads = PIL.Image.new("RGB", (1200, 800), (128, 128, 128)), []
            for name, (x, y, width, height) in zip(others, CELLS, strict=True):
                picture = PIL.Image.open(name).convert("RGB")
                scale = min(width / picture.width, height / picture.height)
                canvas.paste(picture.resize((int(picture.width * scale), int(picture.height * scale))), (x, y))
                moved = fit_similarity(Correspondences(points[source], points[name], np.ones(len(points[name]))))
                quads.append(moved(quad) * scale + (x, y))
            shown = Scene(Image(np.asarray(canvas)), quads, [quad_extent(each) for each in quads])
            yield group.name, Scene(load_image(source), [quad], [quad_extent(quad)]), shown


def drawn(kinds: list[str], counts: list[int], seeds: range) -> Iterator[tuple[str, Scene, Scene]]:
    """The same of drawn objects."""
    for kind in kinds:
        for count in counts:
            for seed in seeds:
                yield kind, draw_source(kind), draw_scene(kind, count, seed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--counts", default="0,1,2,3,4,5,6")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--min-confidence", type=float, default=0.3)
    args = parser.parse_args()
    featurizer = load_featurizer(args.model)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    counts = list(map(int, args.counts.split(",")))
    scenes = collages(args.photos, args.seeds) if args.photos else drawn(args.kinds.split(","), counts, seeds)
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(6))
    print(f"{'kind':14} {'n':>2} {'found':>5} {'rough':>5} {'small':>7} {'false':>5} {'share':>5} {'s':>6}")
    for kind, source, scene in scenes:
        start = time.process_time()
        found = locate_instances(
            source.image, source.quads[0], scene.image, featurizer=featurizer, min_confidence=args.min_confidence
        )
        spent = time.process_time() - start
        count = len(scene.quads)
        overlaps = np.array([[quad_iou(each.quad, truth) for each in found] or [0.0] for truth in scene.quads])
        best = overlaps.max(1) if count else np.zeros(0)
        small = np.array(scene.sizes, dtype=float) < 0.2 * scene.image.size[0]
        false = sum(all(quad_iou(each.quad, truth) < 0.1 for truth in scene.quads) for each in found)
        share = max((quads_overlap(a.quad, b.quad) for k, a in enumerate(found) for b in found[:k]), default=0.0)
        row = count, (best >= 0.5).sum(), (best >= 0.3).sum(), small.sum(), (best[small] >= 0.3).sum(), false
        totals[kind] += row
        print(
            f"{kind:14} {count:2} {row[1]:5} {row[2]:5} {row[4]:3}/{row[3]:<3} {false:5} {share:5.2f} {spent:6.1f}"
            f"  {[round(each.confidence, 2) for each in found]}",
            flush=True,
        )
    for kind, total in [*totals.items(), ("all", sum(totals.values(), np.zeros(6)))]:
        print(
            f"{kind:14} {total[0]:.0f} instances: {total[1] / max(total[0], 1):.3f} found, "
            f"{total[2] / max(total[0], 1):.3f} roughly; small {total[4]:.0f} of {total[3]:.0f}; {total[5]:.0f} false"
        )


if __name__ == "__main__":
    main()
