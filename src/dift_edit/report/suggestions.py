"""Which targets a person should look at first: those whose correction would help the others most."""

from collections.abc import Sequence

import numpy as np

from dift_edit.results.looks import looks_array
from dift_edit.results.manifest import Row
from dift_edit.settings import SURE

__all__ = ["suggest"]

COUNT = 3
"""Suggestions at a time (chosen)."""
MOST = 2000
"""Targets that are compared with each other, the least sure ones (chosen, for time)."""
ALIKE = 0.5
"""Likeness from which a target is called like another (chosen)."""


def suggest(rows: Sequence[Row], count: int = COUNT) -> dict[str, str]:
    """The undecided targets whose correction would help most, and why.

    A correction helps targets that look alike, as far as they are not sure, and as far as the place was not right
    before: each target counts by how unsure it is, times how much those are like it that are not sure. When one is
    suggested, those like it need less, and the next is found in the same way. Targets like those that are decided
    already need less from the start, unless they were placed again with these: then their confidence says what they
    need.

    Parameters
    ----------
    rows : sequence of Row
        The results.
    count : int
        At most so many.

    Returns
    -------
    dict
        Id of the target → the reason, in words; the most helpful first. Empty where fewer than two are not sure.
    """
    placed = [row for row in rows if row.status != "failed" and row.look]
    placed = sorted(placed, key=lambda row: (not row.decided, row.confidence or 0.0, row.id))[:MOST]
    need = np.array([0.0 if row.decided else 1 - (row.confidence or 0.0) for row in placed])
    need[need <= 1 - SURE] = 0
    unsure = need > 0
    if np.count_nonzero(unsure) < 2:
        return {}
    looks = looks_array([row.look for row in placed])
    alike = np.clip(looks @ looks.T, 0, 1)
    np.fill_diagonal(alike, 1)
    for number, row in enumerate(placed):
        if row.decided:
            need *= [1.0 if row.id in other.views else 1 - alike[number, k] for k, other in enumerate(placed)]
    found: dict[str, str] = {}
    while len(found) < count and (need > 0).any():
        helped = np.where(need > 0, need * ((alike - np.eye(len(placed))) @ need), -1)
        best = int(helped.argmax())
        like = int(np.count_nonzero(unsure & (alike[best] >= ALIKE))) - 1
        others = f", and like {like} other{'s' * (like > 1)} that {'are' if like > 1 else 'is'} not sure"
        found[placed[best].id] = "not sure" + (others if like > 0 else "")
        need = need * (1 - alike[best])
    return found
