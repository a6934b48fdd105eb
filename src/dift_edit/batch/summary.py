"""Events of a run, and its summary."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from dift_edit.imaging.compare import Untouched
from dift_edit.results.manifest import Row

__all__ = ["OnEvent", "Summary"]


class OnEvent(Protocol):
    """Gets the events of a run while it goes on, in the process that started it.

    ==========  =========================================  ======================================================
    event       data                                       when
    ==========  =========================================  ======================================================
    "skipped"   ``path`` and ``reason`` (str)              a file in a folder is not an image
    "planned"   ``total``, ``kept``, ``todo`` (int) and    before the first target; ``kept`` targets were done by
                ``job`` (dict of digests)                  an earlier run
    "row"       ``row`` (`Row`) and ``total`` (int)        a target was handled
    "learning"  ``views`` (list of str), ``todo`` (int)    targets are placed again, with the results of those targets
                                                           as further views; "row" follows for each
    "note"      ``text`` (str)                             something to know about the run
    "summary"   ``summary`` (`Summary`)                    at the end
    ==========  =========================================  ======================================================
    """

    # Any: the data are those of the table, another set for each event.
    def __call__(self, event: str, /, **data: Any) -> None:
        """Take one event."""


@dataclass
class Summary:
    """Results of a run.

    Attributes
    ----------
    rows : list of Row
        Of the targets of this run, in their order, including those that were done before.
    kept : int
        How many of them were done before.
    skipped : list of (path, reason)
        Files that are not images.
    seconds : float
        Wall time of the run.
    times : dict
        Stage → seconds over all targets; stages overlap.
    output : str
        The output folder.
    redaction : bool
        Whether the edit hides something, so that a target without it still shows what should be hidden.
    unredacted_folder : str
        Folder beside the output folder with the images that may show it; "" where there is none.
    """

    output: str
    redaction: bool = False
    unredacted_folder: str = ""
    rows: list[Row] = field(default_factory=list)
    kept: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    times: dict[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Status → number of targets."""
        found = Counter(row.status for row in self.rows)
        return {status: found[status] for status in ("applied", "abstained", "failed")}

    @property
    def unredacted(self) -> list[Row]:
        """Targets that a redaction was not put on: nothing is hidden in them."""
        return [row for row in self.rows if row.status != "applied"] if self.redaction else []

    @property
    def warned(self) -> list[Row]:
        """Targets with a result that a redaction is not done with: other instances of the object are still seen."""
        return [row for row in self.rows if row.warning]

    @property
    def verified(self) -> list[Row]:
        """Rows whose output was compared with the target."""
        return [row for row in self.rows if row.untouched]

    @property
    def differing(self) -> list[Row]:
        """Those of a lossless format that differ from the target outside the edit."""
        return [row for row in self.verified if not Untouched(**row.untouched).proven]

    @property
    def exit_status(self) -> int:
        """0 when every target was handled; 1 when some failed, differ where they must not, or still show something."""
        return 1 if self.counts["failed"] or self.unredacted or self.warned or self.differing else 0
