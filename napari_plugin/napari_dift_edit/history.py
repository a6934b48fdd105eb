"""Undo and redo: a list of sessions and where we are in it."""

from collections.abc import Callable
from dataclasses import dataclass

from napari_dift_edit.state import Session

__all__ = ["History"]


@dataclass
class _Step:
    number: int
    label: str
    session: Session


class History:
    """The sessions so far, and the one that holds.

    Parameters
    ----------
    session : Session
        The first one.
    limit : int
        How many steps are kept.
    """

    def __init__(self, session: Session, limit: int = 100) -> None:
        self._steps = [_Step(0, "", session)]
        self._at = 0
        self._limit = limit

    @property
    def session(self) -> Session:
        """The one that holds."""
        return self._steps[self._at].session

    @property
    def number(self) -> int:
        """Of the present step; later ones have higher numbers."""
        return self._steps[self._at].number

    def do(self, label: str, session: Session) -> int:
        """Go to another session as one undoable step that the user reads as `label`; returns its number."""
        number = self._steps[-1].number + 1
        del self._steps[self._at + 1 :]
        self._steps.append(_Step(number, label, session))
        del self._steps[: -self._limit - 1]
        self._at = len(self._steps) - 1
        return number

    def amend(self, change: Callable[[Session], Session], since: int) -> bool:
        """Add what the machine found to the step that asked for it and to all after it.

        Parameters
        ----------
        change : callable
            Session to session.
        since : int
            Number of the step that asked; when the user went back before it, the present stays as it is.

        Returns
        -------
        bool
            Whether the present session changed.
        """
        for step in self._steps:
            if step.number >= since:
                step.session = change(step.session)
        return self.number >= since

    def undo(self) -> str:
        """Go back one step; returns its label, or an empty string when there is none."""
        if not self._at:
            return ""
        self._at -= 1
        return self._steps[self._at + 1].label

    def redo(self) -> str:
        """Go forward one step; returns its label, or an empty string when there is none."""
        if self._at + 1 == len(self._steps):
            return ""
        self._at += 1
        return self._steps[self._at].label

    @property
    def undo_label(self) -> str:
        """What undo would take back, or an empty string."""
        return self._steps[self._at].label

    @property
    def redo_label(self) -> str:
        """What redo would do again, or an empty string."""
        return self._steps[self._at + 1].label if self._at + 1 < len(self._steps) else ""
