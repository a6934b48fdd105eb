"""``dift-edit match``: where points of one image lie in another."""

import argparse
import json
import sys
from pathlib import Path

HELP = "find where points of one image lie in another"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the pictures, the points and the ways to show the answer."""
    parser.add_argument("source", metavar="SOURCE", help="the image that the points are in")
    parser.add_argument("target", metavar="TARGET", help="the image to search")
    parser.add_argument(
        "--points", metavar='"X,Y X,Y …"', type=_points, required=True, help="points in pixels of the source"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.add_argument("-o", "--output", metavar="IMAGE", help="also draw both images with the matches")
    parser.add_argument("--model", default="mini", help="name of a model, or a folder (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")


def _points(text: str) -> list[tuple[float, float]]:
    """Points from ``"X,Y X,Y"``."""
    try:
        points = [tuple(float(part) for part in pair.split(",")) for pair in text.replace(";", " ").split()]
    except ValueError:
        points = []
    if not points or any(len(point) != 2 for point in points):
        raise argparse.ArgumentTypeError(f'{text!r} is not a list of points such as "12,40 100.5,80"')
    return [(point[0], point[1]) for point in points]


def run(args: argparse.Namespace) -> int:
    """Match and print."""
    import dift_edit as de

    source, target = de.load_image(args.source), de.load_image(args.target)
    featurizer = de.load_featurizer(args.model, device=args.device)
    matches = de.match_points(source, args.points, target, featurizer=featurizer, seed=args.seed)
    if args.json:
        found = zip(args.points, matches.points, matches.similarity, matches.confidence, strict=True)
        rows = [
            {
                "source": list(a),
                "target": [round(float(v), 2) for v in b],
                "similarity": float(s),
                "confidence": float(c),
            }
            for a, b, s, c in found
        ]
        print(json.dumps(rows, indent=1))
    else:
        for k, (x, y) in enumerate(args.points):
            to_x, to_y = matches.points[k]
            print(
                f"{x:g},{y:g} → {to_x:.1f},{to_y:.1f}  "
                f"similarity {matches.similarity[k]:.2f}  confidence {matches.confidence[k]:.2f}"
            )
    if args.output:
        picture = de.viz.draw_matches(source, target, args.points, matches.points)
        written = picture.save(Path(args.output))
        print(f"Picture: {written}", file=sys.stderr)
    return 0
