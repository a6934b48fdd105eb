"""``dift-edit render``: other designs at the places that an earlier run found."""

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

HELP = "put other designs at the places that an earlier run found"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run that placed, the designs, and what may differ from it."""
    from dift_edit.cli._batch import add_log_arguments
    from dift_edit.cli._edits import add_layer_arguments, numbers
    from dift_edit.settings import BatchSettings, Compositing, add_settings_arguments

    parser.add_argument("run_folder", metavar="OUT", help="output folder of the run that found the places")
    parser.add_argument("targets", metavar="TARGET", nargs="*", help="targets of that run; all of them by default")
    design = parser.add_argument_group("the designs")
    design.add_argument(
        "--sticker",
        metavar="PNG",
        action="append",
        default=[],
        help="an image; may be repeated: each one gets a folder of its own in OUT2",
    )
    design.add_argument(
        "--designs",
        metavar="CSV",
        help="a table of which design goes on which target: columns 'design' and 'target', with paths relative to it",
    )
    design.add_argument("--at", metavar="X,Y,W,H", type=numbers(4), help="where the designs lie in the source (pixels)")
    design.add_argument(
        "--quad",
        metavar="X,Y,X,Y,X,Y,X,Y",
        type=numbers(8),
        help="the same as four corners, from the top left clockwise",
    )
    design.add_argument(
        "--fit",
        choices=("contain", "cover", "stretch"),
        default="contain",
        help="without --at or --quad: how a design fills the place of that run's edit; a transparent image of the "
        "source's size is a canvas and lies where it is drawn (default: %(default)s)",
    )
    add_layer_arguments(design)
    parser.add_argument("-o", "--output", metavar="OUT2", required=True, help="folder or URL for the results")
    parser.add_argument(
        "--source", metavar="SOURCE", help="the source of that run, where its job.toml does not name it"
    )
    blending = parser.add_argument_group("blending (by default as in that run)")
    add_settings_arguments(blending, Compositing)
    for action in blending._group_actions:
        action.default = None
        action.help = str(action.help).replace(" (default: %(default)s)", "")
    add_settings_arguments(parser.add_argument_group("the run"), BatchSettings)
    add_log_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Render each design; the worst exit status is returned."""
    from dift_edit.batch import run_job
    from dift_edit.cli._batch import run_told

    jobs = jobs_from(args)
    return max(run_told(args, lambda on_event, job=job: run_job(job, on_event=on_event)) for job in jobs)


def jobs_from(args: argparse.Namespace) -> list[Any]:
    """One job a design."""
    from dift_edit.batch.placed import placed_quad
    from dift_edit.cli._edits import layers_from
    from dift_edit.errors import SettingsError
    from dift_edit.imaging.files import load_image
    from dift_edit.job.recipe import Job, load_job
    from dift_edit.settings import BatchSettings, Compositing, TransferSettings, override, settings_from_arguments

    recipe = Path(args.run_folder) / "job.toml"
    made = load_job(recipe) if recipe.is_file() else None
    source: str | None = args.source or (made.source if made else None)
    if source is None:
        raise SettingsError(f"{recipe} does not exist, so the source is not known: give it (--source).")
    if os.path.realpath(args.output) == os.path.realpath(args.run_folder):
        raise SettingsError(f"The results would lie in {args.run_folder} itself: choose another output folder (-o).")
    if args.designs and (args.sticker or args.targets):
        raise SettingsError("A table names designs and targets: --designs goes without --sticker and TARGET.")
    changes = {item.name: getattr(args, item.name) for item in fields(Compositing)}
    common: dict[str, Any] = {
        "source": source,
        "edits": layers_from(args),
        "placed": args.run_folder,
        "model": made.model if made else "mini",
        "device": made.device if made else "cpu",
        "model_settings": made.model_settings if made else {},
        "transfer": made.transfer if made else TransferSettings(),
        "compositing": override(made.compositing if made else Compositing(), **changes),
        "batch": settings_from_arguments(args, BatchSettings),
    }
    designs = _table(args.designs) if args.designs else dict.fromkeys(args.sticker, tuple(args.targets))
    if not designs:
        return [Job(**common, targets=tuple(args.targets), output=args.output)]
    size, quad = load_image(source).size, placed_quad(args.run_folder)
    given = args.quad and tuple((args.quad[i], args.quad[i + 1]) for i in range(0, 8, 2))
    names = _names(list(designs))
    jobs = []
    for path, targets in designs.items():
        place = given if given or args.at else _place(load_image(path), size, quad, args.fit)
        output = args.output if len(designs) == 1 and not args.designs else f"{args.output}/{names[path]}"
        jobs.append(Job(**common, sticker=path, at=args.at, quad=place, targets=targets, output=output))
    return jobs


def _table(path: str) -> dict[str, tuple[str, ...]]:
    """Design → targets, from the rows of a CSV file."""
    import csv

    from dift_edit.errors import DiftEditError
    from dift_edit.targets.storage import is_url

    folder = Path(path).parent
    found: dict[str, list[str]] = {}
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                design, target = row.get("design"), row.get("target")
                if not design or not target:
                    raise DiftEditError(f"{path} has a row without 'design' or 'target': give both in each row.")
                here = [text if is_url(text) else os.path.normpath(folder / text) for text in (design, target)]
                found.setdefault(here[0], []).append(here[1])
    except OSError as error:
        raise DiftEditError(f"The table {path} cannot be read ({error.strerror}): check the path.") from error
    except (ValueError, csv.Error) as error:
        raise DiftEditError(f"The table {path} is no CSV in UTF-8: save it as one.") from error
    if not found:
        raise DiftEditError(f"The table {path} has no rows: give the columns 'design' and 'target'.")
    return {design: tuple(dict.fromkeys(targets)) for design, targets in found.items()}


def _names(paths: list[str]) -> dict[str, str]:
    """A folder of its own for each design, by the design's name."""
    from dift_edit.results.names import name_outputs
    from dift_edit.targets.collect import Target

    named = [Target(id=path, path=path, name=f"{Path(path).stem}.png", group=Path(path).parent.name) for path in paths]
    return {path: name.removesuffix(".png") for path, name in name_outputs(named).items()}


def _place(design: Any, source_size: tuple[int, int], quad: Any, fit: str) -> Any:
    """Four corners in the source for a design that is fitted into a place there; None for a canvas."""
    import numpy as np

    from dift_edit.geometry.quad import as_quad, box_quad, quad_matrix

    if design.size == source_size and design.alpha is not None:
        return None
    corners = as_quad(quad)
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    wide, high = (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2
    scales = np.array([wide, high]) / design.size
    factor = {"contain": scales.min(), "cover": scales.max()}.get(fit)
    used = np.array([wide, high]) if factor is None else factor * np.array(design.size)
    left, top = (np.array([wide, high]) - used) / 2
    box = box_quad((left, top, left + used[0], top + used[1]))
    matrix = quad_matrix(box_quad((0, 0, wide, high)), corners)
    mapped = np.c_[box, np.ones(4)] @ matrix.T
    return tuple((float(x), float(y)) for x, y in mapped[:, :2] / mapped[:, 2:])
