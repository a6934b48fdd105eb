"""What the commands that run a batch share: progress on a terminal, plain lines or JSON lines elsewhere."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dift_edit.errors import OutputError

_MOST_SKIPPED = 20


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how a run talks."""
    parser.add_argument(
        "--log-json", action="store_true", help="write one JSON object per line to standard error instead of words"
    )
    parser.add_argument("--quiet", action="store_true", help="say only what went wrong, and the summary")


def run_told(args: argparse.Namespace, run: Any) -> int:
    """Call ``run(on_event)`` and turn its summary into an exit status; a full disk is 1, not a bad argument."""
    teller = JsonTeller() if args.log_json else Teller(quiet=args.quiet)
    try:
        with notes_told(lambda text: teller("note", text=text), quiet=args.quiet):
            return int(run(teller).exit_status)
    except OutputError as error:
        teller.close()
        if not teller.started:
            raise
        teller("error", text=str(error))
        return 1
    finally:
        teller.close()


@contextmanager
def notes_told(on_event: Callable[[str], object], *, quiet: bool) -> Iterator[None]:
    """Hand on what the library logs: what it found in an edit, and warnings; those alone with `quiet`."""
    handler = _Notes(on_event)
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    logger = logging.getLogger("dift_edit")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(handler.level)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


class _Notes(logging.Handler):
    def __init__(self, on_event: Callable[[str], object]) -> None:
        super().__init__()
        self._on_event = on_event

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one message on; a warning is called one."""
        text = record.getMessage()
        self._on_event(f"warning: {text}" if record.levelno >= logging.WARNING else text)


def say(text: str) -> None:
    """A line on standard error."""
    print(shown(text), file=sys.stderr, flush=True)


class Teller:
    """Events as lines for people; a progress bar where standard error is a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.started = False
        self._quiet = quiet
        self._skipped = 0
        self._done = 0
        self._bar: Any = None

    def __call__(self, event: str, **data: Any) -> None:
        """OnEvent one event."""
        actions: dict[str, Callable[..., None]] = {
            "skipped": self._skipped_file,
            "planned": self._planned,
            "row": self._row,
            "learning": self._learning,
            "summary": self._summary,
        }
        actions.get(event, self._note)(**data)

    def close(self) -> None:
        """End the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def _skipped_file(self, path: str, reason: str) -> None:
        self._skipped += 1
        if self._skipped <= _MOST_SKIPPED and not self._quiet:
            self._say(f"skipped {shown(path)}: {reason}")

    def _planned(self, total: int, kept: int, todo: int, **_more: Any) -> None:
        self.started = True
        if self._skipped > _MOST_SKIPPED and not self._quiet:
            self._say(f"… and {self._skipped - _MOST_SKIPPED} more files were skipped")
        if kept:
            self._say(f"{kept} of {total} targets were done before; {todo} to do")
        if todo and sys.stderr.isatty() and not self._quiet:
            from tqdm import tqdm

            self._bar = tqdm(total=todo, unit="photo", smoothing=0.1, dynamic_ncols=True)

    def _row(self, row: Any, total: int) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        if row.status == "failed":
            self._say(f"failed  {shown(row.reason)}")
        elif self._bar is None and not self._quiet:
            result = row.output or next(iter(row.files), None)
            rest = f"→ {shown(result)}" if result else f"({row.reason})"
            self._say(f"[{self._done}/{total}] {row.status:9} {row.confidence:4.2f}  {shown(row.target)} {rest}")

    def _learning(self, views: list[str], todo: int) -> None:
        from dift_edit.batch.forecast import plural

        self.close()
        self._done = 0
        self._say(f"learning from {plural(len(views), 'result')}: {plural(todo, 'target')} placed again")

    def _note(self, text: str) -> None:
        self._say(text)

    def _summary(self, summary: Any) -> None:
        self.close()
        from dift_edit.batch.forecast import plural

        counts = summary.counts
        line = f"{counts['applied']} applied, {counts['abstained']} abstained, {counts['failed']} failed"
        if summary.skipped:
            line += f", {plural(len(summary.skipped), 'file')} skipped"
        done = len(summary.rows) - summary.kept
        if done:
            line += f"; {done} in {summary.seconds:.1f} s ({done / summary.seconds:.2f} photos/s)"
            total = sum(summary.times.values()) or 1.0
            line += "; time: " + ", ".join(f"{stage} {seconds / total:.0%}" for stage, seconds in summary.times.items())
        self._say(line)
        for line in verified_lines(summary):
            self._say(line)
        for line in unredacted_lines(summary.unredacted, summary.warned, len(summary.rows)):
            self._say(line)
        if summary.unredacted_folder:
            self._say(unredacted_folder_line(summary.unredacted_folder))
        self._say(f"Results are in {shown(summary.output)}; review them with {shown(summary.output)}/review.html")


class JsonTeller(Teller):
    """The same events as JSON lines."""

    def __call__(self, event: str, **data: Any) -> None:
        """Write one event."""
        self.started = self.started or event == "planned"
        if event == "row":
            data = {**data, "row": data["row"].to_dict()}
        if event == "summary":
            done = data["summary"]
            data = {
                "counts": done.counts,
                "kept": done.kept,
                "skipped": len(done.skipped),
                "seconds": round(done.seconds, 3),
                "times": done.times,
                "output": done.output,
                "exit_status": done.exit_status,
                "verified": len(done.verified),
                "differing": [row.target for row in done.differing],
                "unredacted": [row.target for row in done.unredacted],
                "warned": [row.target for row in done.warned],
                "unredacted_folder": done.unredacted_folder,
            }
        print(json.dumps({"time": round(time.time(), 3), "event": event, **data}), file=sys.stderr, flush=True)


def shown(text: str) -> str:
    """A name fit for a terminal: control characters and bytes that are not text are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def unredacted_lines(exposed: list[Any], warned: list[Any], total: int) -> list[str]:
    """What is said about rows that a redaction left as they were, or in part; nothing when there are none."""
    lines = []
    for rows, what, said in (
        (
            exposed,
            "were NOT redacted, and have no result",
            [f"NOT redacted: {row.target} ({row.reason})" for row in exposed],
        ),
        (warned, "are redacted only IN PART", [f"only in part: {row.target} ({row.warning})" for row in warned]),
    ):
        if rows:
            lines.append(f"WARNING: {len(rows)} of {total} targets {what}:")
            lines += [f"  {shown(line)}" for line in said[:_MOST_SKIPPED]]
        if len(rows) > _MOST_SKIPPED:
            lines.append(f"  … and {len(rows) - _MOST_SKIPPED} more, see manifest.jsonl")
    return lines


def verified_lines(summary: Any) -> list[str]:
    """What the comparison of outputs and targets says; nothing where there was none."""
    if not summary.verified:
        return []
    count, wrong = len(summary.verified), summary.differing
    lossy = [row.untouched for row in summary.verified if row.untouched["unit"] == "blocks"]
    lines = [f"{len(wrong)} of {count} outputs differ from their targets outside the edit" + (":" if wrong else "")]
    lines += [f"  {shown(row.target)}: {row.untouched['changed']} pixels" for row in wrong[:_MOST_SKIPPED]]
    compared = sum(each["compared"] for each in lossy)
    if compared:
        share = sum(each["changed"] for each in lossy) / compared
        largest = max(each["largest"] for each in lossy)
        lines.append(f"  lossy formats: encoding again changed {share:.2%} of the blocks, by {largest:.0f}/255 at most")
    return lines


def unredacted_folder_line(folder: str) -> str:
    """Where the pictures are that must not be given away with the results."""
    return (
        f"Pictures before the redaction, for the review page alone, are in {shown(folder)}: never publish that folder"
    )


def dry_run(job: Any, *, quiet: bool) -> int:
    """Print what a job would do."""
    from dift_edit.batch.forecast import forecast

    with notes_told(say, quiet=quiet):
        print(forecast(job).text())
    return 0
