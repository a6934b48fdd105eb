"""``dift-edit apply-review``: carry out the decisions that the review page saved."""

import argparse
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

HELP = "carry out the decisions made on the review page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the decisions."""
    parser.add_argument("output", metavar="OUT", help="output folder that was reviewed")
    parser.add_argument("decisions", metavar="DECISIONS.JSON", help="the file that the page saved")
    parser.add_argument(
        "--learn",
        action="store_true",
        help="then place again the targets that are unsure and undecided, with the accepted and corrected ones as "
        "further views of the edit",
    )


def run(args: argparse.Namespace) -> int:
    """Carry out the decisions one by one, and write the manifest and the page anew."""
    from dift_edit.batch.annotation_file import AllAnnotations
    from dift_edit.batch.finish import journal_path, write_manifest, write_review
    from dift_edit.cli._batch import shown, unredacted_lines
    from dift_edit.report.decisions import apply_decisions, read_decisions
    from dift_edit.results.folder import open_existing
    from dift_edit.results.journal import Journal
    from dift_edit.results.manifest import Row

    folder = open_existing(args.output)
    counts: Counter[str] = Counter()
    with Journal(journal_path(folder, create=False)) as journal:
        folder.hides_content = bool(journal.job.get("redaction"))
        decisions = read_decisions(args.decisions, journal.job.get("fingerprint", ""))
        undone = {key for key, row in journal.rows.items() if row["status"] == "abstained"}
        needed = not journal.job.get("annotations") and any(
            made.pins or made.instances or (made.decision == "accepted" and made.id in undone) for made in decisions
        )
        remake = _remake(folder, journal.job) if needed else None
        for row, action in apply_decisions(folder, journal, decisions, remake):
            kind, _, reason = action.partition(": ")
            counts[kind] += 1
            if reason:
                print(f"{shown(row.target)}: {shown(action)}", file=sys.stderr)
        if args.learn:
            _learn(folder, journal)
        write_manifest(folder, journal)
        write_review(folder, journal)
        if journal.job.get("annotations"):
            AllAnnotations.load(folder).write(folder, {key: Row.from_dict(row) for key, row in journal.rows.items()})
        rows = [Row.from_dict(row) for row in journal.rows.values()]
        exposed = [row for row in rows if row.status != "applied"] if journal.job.get("redaction") else []
    for line in unredacted_lines(exposed, [row for row in rows if row.warning], len(rows)):
        print(line, file=sys.stderr)
    print(", ".join(f"{number} {kind}" for kind, number in counts.items()) or "no decisions")
    return 1 if any(kind.startswith("not ") for kind in counts) else 0


def _learn(folder: Any, journal: Any) -> None:
    """Improve the others, and say which targets changed and by how much."""
    from dift_edit.batch.run import learn_from_review
    from dift_edit.cli._batch import shown
    from dift_edit.errors import OutputError
    from dift_edit.geometry.quad import quad_iou

    job = _recipe(folder)
    if job is None:
        raise OutputError(f"{folder}/job.toml is not there to place targets again: put it back, or run the job again.")
    changed = learn_from_review(job, folder, journal)
    for before, after in changed:
        overlap = (
            f"{quad_iou(before.quad, after.quad):.0%} overlap with before" if before.quad and after.quad else "placed"
        )
        print(
            f"improved  {shown(after.target)}: confidence {before.confidence:.2f} → {after.confidence:.2f}, {overlap}",
            file=sys.stderr,
        )
    print(f"{len(changed)} improved")


def _recipe(folder: Any) -> Any:
    """The folder's recipe; None where there is none."""
    from dift_edit.atomic_files import open_regular
    from dift_edit.job.recipe import load_job

    if folder.local is None or not folder.exists("job.toml"):
        return None
    path = folder.path("job.toml")
    with open_regular(path):  # a link or a pipe in its place is refused
        return load_job(path)


def _remake(folder: Any, made_by: dict[str, Any]) -> Any:
    """Source and edit of the folder's recipe; None where there is none."""
    from dift_edit.batch.identity import load_as_made
    from dift_edit.batch.model import ModelSpec
    from dift_edit.placement.placement import Placement, locate
    from dift_edit.report.decisions import Remake

    job = _recipe(folder)
    if job is None:
        return None
    source, edit, _ = load_as_made(job, made_by, str(folder))
    featurizer = cache(ModelSpec.of_job(replace(job, placed=None)).load)  # when it is needed, once
    transfer = job.transfer

    def search(image: Any, pins: Any) -> Placement:
        return locate(
            source,
            edit.quad,
            image,
            featurizer=featurizer(),
            engine=transfer.engine,
            mirror=transfer.mirror,
            seed=transfer.seed,
            pins=pins,
        )

    return Remake(
        source=source,
        edit=edit,
        compositing=job.compositing,
        locate=search,
        batch=job.batch,
    )
