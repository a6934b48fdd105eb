"""What a run tells while it goes on, and at its end."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from dift_edit.results.manifest import Row

__all__ = ["Summary", "OnEvent"]

OnEvent = Callable[..., None]
"""Called as ``on_event(event, **data)``: "skipped", "planned", "row", "note", "summary"."""


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    rows : list of Row
        Of the targets of this run, in their order, including those that were done before.
    kept : int
        How many of them were done before.
    skipped : list of (path, reason)
        Files that are not pictures.
    seconds : float
        Wall time of the run.
    times : dict
        Stage → seconds over all targets; stages overlap.
    output : str
        The output folder.
    redaction : bool
        Whether the edit hides something, so that a target without it still shows what should be hidden.
    unredacted_folder : str
        Folder beside the output folder with the pictures that may show it; "" where there is none.
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
    def exit_status(self) -> int:
        """0 when every target was handled; 1 when some failed, or were left as they are by a redaction."""
        return 1 if self.counts["failed"] or self.unredacted else 0
