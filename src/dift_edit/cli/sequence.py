"""``dift-edit sequence``: one edit, a whole clip; or a mask, or keypoints."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

HELP = "carry an edit, a mask or keypoints of one frame, or edits of a few, through a clip"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments; the flags of the settings come from their fields."""
    from dift_edit.clips.labels.settings import PropagationSettings
    from dift_edit.clips.tracking.settings import SequenceSettings
    from dift_edit.job.recipe import DIFFERENCE_KINDS
    from dift_edit.settings import Compositing, add_settings_arguments

    parser.add_argument("clip", metavar="CLIP", help="a folder of frames, a video, a GIF, or an animated WebP or PNG")
    edit = parser.add_argument_group("the edit (--sticker or --edited; repeat it for several keyframes)")
    edit.add_argument("--sticker", metavar="PNG", action="append", default=[], help="an image with transparency")
    edit.add_argument(
        "--at", metavar="X,Y,W,H", type=_numbers(4), help="where the sticker lies in its frame, in pixels"
    )
    edit.add_argument(
        "--quad", metavar="X,Y,…", type=_numbers(8), help="the same as four corners, from the top left clockwise"
    )
    edit.add_argument(
        "--edited",
        metavar="EDITED",
        action="append",
        default=[],
        help="the frame after editing: what changed is the edit",
    )
    edit.add_argument(
        "--edited-as",
        choices=DIFFERENCE_KINDS,
        default="auto",
        help="what was done to EDITED; auto looks at each changed part and says what it found (default: %(default)s)",
    )
    edit.add_argument(
        "--frame",
        metavar="K",
        type=int,
        action="append",
        default=[],
        help="frame that the edit, the mask or the points belong to, counted from 0; -1 is the last (default: 0)",
    )
    edit.add_argument(
        "--correct",
        metavar="K:X,Y,…",
        type=_correction,
        action="append",
        default=[],
        help="where the four corners of the edit lie in another frame; may be repeated",
    )
    labels = parser.add_argument_group("labels (instead of an edit)")
    labels.add_argument(
        "--mask",
        metavar="PNG",
        default="",
        help="object numbers in the frame, as a palette or grey image; a folder OUT gets a mask for each frame",
    )
    labels.add_argument(
        "--points", metavar="X,Y,…", type=_points, help="keypoints of the frame, in pixels; OUT may be a .json file"
    )
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="a video, GIF or WebP, or a folder")
    parser.add_argument(
        "--fps", type=float, default=25.0, help="frames per second of a folder of frames (default: %(default)s)"
    )
    parser.add_argument(
        "--model",
        default="",
        help="name of a model, or a folder (default: mini; --mask: clips, --points: dift-mini)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    parser.add_argument("--no-report", action="store_true", help="write no OUT.sequence.json and OUT.sequence.svg")
    parser.add_argument("--quiet", action="store_true", help="say only what went wrong")
    add_settings_arguments(parser.add_argument_group("following"), SequenceSettings)
    add_settings_arguments(parser.add_argument_group("blending"), Compositing)
    add_settings_arguments(parser.add_argument_group("labels"), PropagationSettings)


def run(args: argparse.Namespace) -> int:
    """Track, render, write; what was tracked stays on the disk until the output is whole."""
    if args.mask or args.points is not None:
        return _run_labels(args)
    from dift_edit.cli._batch import notes_told, say
    from dift_edit.clips.io import open_clip
    from dift_edit.clips.job import process_clip
    from dift_edit.clips.tracking.settings import SequenceSettings
    from dift_edit.edits.layers import cautions
    from dift_edit.features.registry import load_featurizer
    from dift_edit.settings import Compositing, settings_from_arguments

    clip = open_clip(args.clip, fps=args.fps)
    with notes_told(say, quiet=args.quiet):
        edit, keyframes = _edits(args, clip)
    if not args.quiet:
        for part in edit.values() if isinstance(edit, dict) else [edit]:
            for text in cautions(part):
                print(text, file=sys.stderr)
    report = process_clip(
        clip,
        edit,
        args.output,
        featurizer=load_featurizer(args.model or "mini", device=args.device),
        keyframes=keyframes,
        settings=settings_from_arguments(args, SequenceSettings),
        compositing=settings_from_arguments(args, Compositing),
        progress=_bar(quiet=args.quiet),
        report=not args.no_report,
    )
    if not args.quiet:
        print(report.summary(), file=sys.stderr)
    if report.unredacted:
        print(report.warning(), file=sys.stderr)
        return 1
    return 0


def _run_labels(args: argparse.Namespace) -> int:
    """Carry a mask or keypoints."""
    from pathlib import Path

    from dift_edit.clips.io import open_clip
    from dift_edit.clips.labels.masks import read_mask
    from dift_edit.clips.labels.settings import PropagationSettings
    from dift_edit.clips.labels_job import process_keypoints, process_labels
    from dift_edit.errors import EditError
    from dift_edit.features.registry import load_featurizer
    from dift_edit.settings import settings_from_arguments

    if bool(args.mask) + (args.points is not None) + bool(args.sticker or args.edited) > 1:
        raise EditError("Give one of --mask, --points, --sticker and --edited: each is carried by itself.")
    if len(args.frame) > 1 or args.correct:
        raise EditError("A mask and points are carried from one frame: give --frame once, and no --correct.")
    options: dict[str, Any] = {
        "frame": args.frame[0] if args.frame else 0,
        "settings": settings_from_arguments(args, PropagationSettings),
        "seed": args.seed,
        "progress": _bar(quiet=args.quiet),
    }
    clip = open_clip(args.clip, fps=args.fps)
    labels = read_mask(Path(args.mask)) if args.mask else None
    options["featurizer"] = load_featurizer(args.model or ("clips" if args.mask else "dift-mini"), device=args.device)
    if labels is not None:
        said = process_labels(clip, labels, args.output, **options).summary()
    else:
        said = f"The points are in {process_keypoints(clip, args.points, args.output, **options)}."
    if not args.quiet:
        print(said, file=sys.stderr)
    return 0


def _edits(args: argparse.Namespace, clip: Any) -> tuple[Any, Any]:
    """The edit or edits, and the keyframes, as `propagate_sequence` takes them."""
    from dift_edit.edits import Sticker, edit_from_difference
    from dift_edit.errors import EditError
    from dift_edit.imaging.files import load_image

    given = [*args.sticker, *args.edited]
    if not given or (args.sticker and args.edited):
        raise EditError(
            "Say what the edit is with --sticker or with --edited (one of the two), or give --mask or --points."
        )
    frames = args.frame or [0]
    if len(frames) != len(given):
        raise EditError(f"There are {len(given)} edits and {len(frames)} times --frame: give one frame for each edit.")
    count = len(clip)
    for frame in [*frames, *(frame for frame, _ in args.correct)]:
        if not -count <= frame < count:
            raise EditError(f"The keyframe {frame} is not in {clip.name}: it has the frames 0 to {count - 1}.")
    quad = args.quad and [args.quad[i : i + 2] for i in range(0, 8, 2)]

    def make(path: str, frame: int) -> Any:
        if args.sticker:
            return Sticker.from_file(path, at=args.at, quad=quad, source_size=clip.size)
        frame %= count
        return edit_from_difference(next(clip.read(frame, frame + 1)), load_image(path), kind=args.edited_as)

    edits = {frame % count: make(path, frame) for path, frame in zip(given, frames, strict=True)}
    if len(edits) > 1:
        if args.correct:
            raise EditError(
                "With several edits --correct is not known: give the corrected frame as a further --edited."
            )
        return edits, 0
    ((frame, edit),) = edits.items()
    return edit, {frame: None, **{other % count: corners for other, corners in args.correct}}


def _bar(*, quiet: bool) -> Callable[[str, int, int], None]:
    """A progress bar on a terminal, a few lines elsewhere."""
    if quiet:
        return lambda stage, done, total: None
    bars: dict[str, Any] = {}

    def show(stage: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            from tqdm import tqdm

            if stage not in bars:
                bars[stage] = tqdm(total=total, unit="frame", desc=stage, dynamic_ncols=True)
            bars[stage].update(done - bars[stage].n)
            if done == total:
                bars[stage].close()
        elif done == total or done * 10 // total != (done - 1) * 10 // total:
            print(f"{stage}: {done} of {total} frames", file=sys.stderr, flush=True)

    return show


def _numbers(count: int) -> Callable[[str], list[float]]:
    """A parser of `count` numbers with commas between them."""

    def parse(text: str) -> list[float]:
        try:
            values = [float(part) for part in text.replace(" ", ",").split(",") if part]
        except ValueError:
            values = []
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers with commas between them")
        return values

    return parse


def _points(text: str) -> list[list[float]]:
    """Pairs of numbers."""
    values = _numbers(2 * max(1, len(text.replace(" ", ",").split(",")) // 2))(text)
    return [values[i : i + 2] for i in range(0, len(values), 2)]


def _correction(text: str) -> tuple[int, list[list[float]]]:
    """``K:x,y,x,y,x,y,x,y``."""
    frame, _, rest = text.partition(":")
    values = _numbers(8)(rest)
    try:
        return int(frame), [values[i : i + 2] for i in range(0, 8, 2)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with a frame number and a colon") from error
