"""A set teaches: placements that others confirm, and those that a person decided, become further views of the edit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from dift_edit.errors import EditError, OutputError
from dift_edit.features.base import Featurizer
from dift_edit.geometry.quad import check_quad
from dift_edit.placement.placement import Placement
from dift_edit.placement.views import SeenView, View
from dift_edit.results.looks import looks_array
from dift_edit.results.manifest import Row
from dift_edit.settings import SURE
from dift_edit.targets.storage import read_image
from dift_edit.types import QuadLike

__all__ = [
    "MOST_TEACHERS",
    "MOST_VIEWS",
    "ROUNDS",
    "TEACHES",
    "KnownPlace",
    "Teachers",
    "improves",
    "is_usable",
    "known_places",
    "least_sure",
]

TEACHES = 0.7
"""Confidence from which a placement may become a view, where others confirm it (chosen; as below)."""
MOST_TEACHERS = 8
"""Results that teach in one round, at most (chosen; see docs/learning.md)."""
MOST_VIEWS = 3
"""Of these, results that a target is placed again with, at most (chosen; see docs/learning.md)."""
AGREEING = 3
"""Of the source and its views, those that have to find a new place by themselves; as many as there are views where
these are fewer (chosen; as above)."""
ROUNDS = 2
"""Rounds after a review, at most; without one there is a single round (chosen; see docs/learning.md)."""
SHARE = 0.5
"""Of the targets, those that are placed again in that round at most, which bounds its time (chosen; as above)."""
_WITNESSES, _AGREEING, _OVERLAP = 3, 2, 0.5
"""A machine-made view is looked for from so many others; so many have to find it, with such an IoU (chosen)."""


@dataclass(frozen=True, kw_only=True)
class KnownPlace:
    """A target whose placement is trusted enough to teach others.

    Attributes
    ----------
    id : str
        Of the target.
    quad : tuple of four (x, y)
        Corners of the edit in its pixels.
    weight : float
        1 where a person decided, else the confidence.
    decided : bool
        Whether a person accepted or corrected it.
    path, sha256 : str
        Of the target's file; empty where it is none.
    """

    id: str
    quad: tuple[tuple[float, ...], ...]
    weight: float
    decided: bool = False
    path: str = ""
    sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the journal, where paths are not kept."""
        return {**asdict(self), "quad": [list(corner) for corner in self.quad], "path": ""}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "KnownPlace":
        """The place again."""
        return cls(**{**values, "quad": tuple(tuple(corner) for corner in values["quad"])})

    def view(self, quad: QuadLike, *, max_pixels: int) -> View:
        """The target's picture as a view that faces as the source does.

        Parameters
        ----------
        quad : array_like
            (4, 2) corners of the edit on the source.
        max_pixels : int
            Of the largest picture that is read.

        Raises
        ------
        OutputError
            If the file is not the one that was placed.
        """
        image, sha256 = read_image(self.path, max_pixels=max_pixels)
        if sha256 != self.sha256:
            raise OutputError(f"{self.path} was changed during the run: run the same command again.")
        return View(image=image, quad=self.quad, weight=self.weight).facing(quad)


def known_places(rows: Iterable[Row]) -> list[KnownPlace]:
    """The rows that may teach others: those decided by a person first, then the most confident ones."""
    found = []
    for row in rows:
        confidence = 1.0 if row.decided else row.confidence or 0.0
        if row.status != "applied" or row.quad is None or row.size is None or row.review == "rejected":
            continue
        trusted = row.decided or (confidence >= TEACHES and not row.reason)
        if trusted and is_usable(row.quad, (row.size[0], row.size[1])):
            found.append(
                KnownPlace(
                    id=row.id, quad=tuple(tuple(corner) for corner in row.quad), weight=confidence,
                    decided=row.decided, sha256=row.target_sha256 or "",
                )
            )  # fmt: skip
    return sorted(found, key=lambda place: (not place.decided, -place.weight, place.id))


def is_usable(quad: QuadLike, size: tuple[int, int]) -> bool:
    """Whether a quad can be the edit's place on a view of a size: a bent placement's corners may fold."""
    try:
        check_quad(quad, size)
    except EditError:
        return False
    return True


def least_sure(alone: Mapping[str, float]) -> set[str]:
    """The targets that may be placed again where nobody reviewed them: the `SHARE` of them that were least sure alone.

    Parameters
    ----------
    alone : mapping
        Id of every target → the confidence that was found without further views, which no round changes.
    """
    ordered = sorted((confidence, key) for key, confidence in alone.items())
    return {key for confidence, key in ordered[: max(1, int(SHARE * len(ordered)))] if confidence < SURE}


def improves(placement: Placement, earlier: float, least: float, views: Sequence[KnownPlace]) -> bool:
    """Whether a placement with further views takes the place of the earlier one.

    Parameters
    ----------
    placement : Placement
        The new one.
    earlier : float
        Confidence of the earlier one.
    least : float
        Confidence from which placements are trusted, 0 to 1.
    views : sequence of KnownPlace
        The results that served as views.
    """
    if placement.reason or (placement.agreeing < min(AGREEING, len(views)) and not placement.on_surface):
        return False
    return earlier < least or placement.confidence > earlier


def most_alike(places: Sequence[KnownPlace], looks: Mapping[str, str], target: str) -> tuple[KnownPlace, ...]:
    """The places that a target is placed again with: the `MOST_VIEWS` most like it but its own, in their order.

    Parameters
    ----------
    places : sequence of KnownPlace
        Those that teach.
    looks : mapping
        Id of a target → its look, see `dift_edit.results.looks`. Where looks are not known, the first places are taken.
    target : str
        Id of the target.
    """
    others = [place for place in places if place.id != target]
    array = looks_array([looks[target], *(looks[place.id] for place in others)])
    best = np.argsort(-(array[1:] @ array[0]), kind="stable")[:MOST_VIEWS]
    return tuple(others[number] for number in sorted(best))


class Teachers:
    """Chooses which results of a set teach the others.

    A place has to be found from others as well: the edit is looked for in its picture from the next three places, and
    two of them have to agree with it. So one wrong place, however confident, teaches nothing. A place that a person
    decided is believed, unless it agrees with none of them, neither from there nor back.

    Parameters
    ----------
    look : callable
        Gives a place as a view that faces as the source does.
    featurizer : Featurizer
        Gives the features; one that keeps them saves work here.
    seed : int
        Of features and samples.
    """

    def __init__(self, look: Callable[[KnownPlace], View], featurizer: Featurizer, *, seed: int = 0) -> None:
        self._look, self._featurizer, self._seed = look, featurizer, seed
        self._seen: dict[KnownPlace, SeenView] = {}
        self._found: dict[tuple[KnownPlace, KnownPlace], bool] = {}

    def choose(self, places: Sequence[KnownPlace]) -> list[KnownPlace]:
        """Those that teach: at most `MOST_TEACHERS` of the first of them, in the same order.

        Parameters
        ----------
        places : sequence of KnownPlace
            The most trusted first.
        """
        chosen: list[KnownPlace] = []
        known = places[: 2 * MOST_TEACHERS]
        for number, place in enumerate(known):
            if len(chosen) == MOST_TEACHERS:
                break
            others = [*known[number + 1 :], *known[:number][::-1]][:_WITNESSES]
            if self._believes(place, others):
                chosen.append(place)
        return chosen

    def _believes(self, place: KnownPlace, others: Sequence[KnownPlace]) -> bool:
        if not place.decided:
            return _at_least(_AGREEING, (self._finds(each, place) for each in others))
        if len(others) < _AGREEING:
            return True
        return any(self._finds(each, place) or self._finds(place, each) for each in others)

    def _finds(self, near: KnownPlace, far: KnownPlace) -> bool:
        if (near, far) not in self._found:
            overlap = self._view(near).overlap(self._view(far), seed=self._seed)
            self._found[near, far] = overlap >= _OVERLAP
        return self._found[near, far]

    def _view(self, place: KnownPlace) -> SeenView:
        if place not in self._seen:
            self._seen[place] = self._look(place).seen(self._featurizer, seed=self._seed)
        return self._seen[place]


def _at_least(count: int, votes: Iterator[bool]) -> bool:
    """Whether so many hold; no more are looked at than it takes."""
    return len(list(islice(filter(None, votes), count))) == count
