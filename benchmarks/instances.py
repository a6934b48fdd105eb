"""How many instances of an object are found in drawn pictures that show it several times, and how many false ones.

    python benchmarks/instances.py [--kinds guitar,face] [--counts 0,1,2,3,4,5,6] [--seeds 2] [--model mini]

Each picture shows one kind of object (`instance_scenes`) in several colours and turns, the largest up to six times as
large as the smallest. An instance is found where a placement has an IoU of at least 0.5 with its truth (0.3: hidden in
the main); a false one has less than 0.1 with all. Columns: instances, found, found roughly, small ones (below 0.2 of
the width) found, false ones, greatest share of two placements, processor seconds per picture.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from dift_edit.features.registry import load_featurizer
from dift_edit.geometry.quad import quad_iou
from dift_edit.placement.instances import locate_instances, quads_overlap

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from instance_scenes import KINDS, draw_scene, draw_source


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--counts", default="0,1,2,3,4,5,6")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--min-confidence", type=float, default=0.3)
    args = parser.parse_args()
    featurizer = load_featurizer(args.model)
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(6))
    print(f"{'kind':8} {'n':>2} {'found':>5} {'rough':>5} {'small':>7} {'false':>5} {'share':>5} {'s':>6}")
    for kind in args.kinds.split(","):
        source = draw_source(kind)
        for count in map(int, args.counts.split(",")):
            for seed in range(args.first_seed, args.first_seed + args.seeds):
                scene = draw_scene(kind, count, seed)
                start = time.process_time()
                found = locate_instances(
                    source.image, source.quads[0], scene.image, featurizer=featurizer,
                    min_confidence=args.min_confidence,
                )  # fmt: skip
                spent = time.process_time() - start
                table = np.array([[quad_iou(each.quad, truth) for each in found] or [0.0] for truth in scene.quads])
                best = table.max(1) if count else np.zeros(0)
                small = np.array(scene.sizes) < 0.2 * scene.image.size[0]
                false = sum(all(quad_iou(each.quad, truth) < 0.1 for truth in scene.quads) for each in found)
                share = max(
                    (quads_overlap(a.quad, b.quad) for k, a in enumerate(found) for b in found[:k]), default=0.0
                )
                row = np.array([count, (best >= 0.5).sum(), (best >= 0.3).sum(), small.sum(),
                                (best[small] >= 0.3).sum() if count else 0, false])  # fmt: skip
                totals[kind] += row
                print(
                    f"{kind:8} {count:2} {row[1]:5.0f} {row[2]:5.0f} {row[4]:3.0f}/{row[3]:<3.0f} {false:5} "
                    f"{share:5.2f} {spent:6.1f}  {[round(each.confidence, 2) for each in found]}",
                    flush=True,
                )
    for kind, total in [*totals.items(), ("all", sum(totals.values(), np.zeros(6)))]:
        print(
            f"{kind:8} {total[0]:.0f} instances: {total[1] / max(total[0], 1):.3f} found, "
            f"{total[2] / max(total[0], 1):.3f} roughly; small {total[4]:.0f} of {total[3]:.0f}; {total[5]:.0f} false"
        )


if __name__ == "__main__":
    main()
