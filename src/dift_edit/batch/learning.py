"""A set teaches: placements that others confirm, and those that a person decided, become further views of the edit."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dift_edit.errors import EditError
from dift_edit.features.base import Featurizer
from dift_edit.geometry.quad import check_quad, quad_iou
from dift_edit.placement.placement import Placement, locate_features
from dift_edit.placement.views import SeenView, View
from dift_edit.results.manifest import Row
from dift_edit.types import QuadLike

__all__ = ["MOST_VIEWS", "TEACHES", "KnownPlace", "choose_views", "improves", "is_usable", "known_places"]

TEACHES = 0.7
"""Confidence from which a placement may become a view, where others confirm it (chosen; as below)."""
MOST_VIEWS = 5
"""Views that a target is placed again with, at most (chosen; see docs/learning.md)."""
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
    """

    id: str
    quad: tuple[tuple[float, ...], ...]
    weight: float
    decided: bool = False


def known_places(rows: Iterable[Row]) -> list[KnownPlace]:
    """The rows that may teach others: those decided by a person first, then the most confident ones.

    Of a row that nobody decided counts what was found without further views. So which targets teach does not depend on
    how far an interrupted run came.
    """
    found = []
    for row in rows:
        corners, confidence = (row.quad, 1.0) if row.decided else row.alone
        if row.status != "applied" or corners is None or row.size is None or row.review == "rejected":
            continue
        trusted = row.decided or (confidence >= TEACHES and not row.reason)
        if trusted and is_usable(corners, (row.size[0], row.size[1])):
            quad = tuple(tuple(corner) for corner in corners)
            found.append(KnownPlace(id=row.id, quad=quad, weight=confidence, decided=row.decided))
    return sorted(found, key=lambda place: (not place.decided, -place.weight, place.id))


def is_usable(quad: QuadLike, size: tuple[int, int]) -> bool:
    """Whether a quad can be the edit's place on a view of a size: a bent placement's corners may fold."""
    try:
        check_quad(quad, size)
    except EditError:
        return False
    return True


def improves(placement: Placement, earlier: float, least: float, *, decided: bool = False) -> bool:
    """Whether a placement with further views takes the place of the earlier one.

    Parameters
    ----------
    placement : Placement
        The new one.
    earlier : float
        Confidence of the earlier one.
    least : float
        Confidence from which placements are trusted, 0 to 1.
    decided : bool
        Whether a person decided some of the views. Then one that is trusted replaces another one that is, also where
        it is less confident: it is better on average (see docs/learning.md).
    """
    if placement.reason:
        return False
    return earlier < least or placement.confidence > earlier or (decided and placement.confidence >= least)


def choose_views(
    places: Sequence[KnownPlace], look: Callable[[KnownPlace], View], *, featurizer: Featurizer, seed: int = 0
) -> list[KnownPlace]:
    """The places that teach the other targets of a set.

    What a person decided is believed. Any other place has to be found from others as well: the edit is looked for in
    its picture from the next three places, and two of them have to agree with it. So one wrong place, however
    confident, teaches nothing.

    Parameters
    ----------
    places : sequence of KnownPlace
        The most trusted first.
    look : callable
        Gives a place as a view that faces as the source does.
    featurizer : Featurizer
        Gives the features; one that keeps them saves work here.
    seed : int
        Of features and samples.

    Returns
    -------
    list of KnownPlace
        At most `MOST_VIEWS`, in the same order.
    """
    seen: dict[str, SeenView] = {}

    def view(place: KnownPlace) -> SeenView:
        if place.id not in seen:
            seen[place.id] = look(place).seen(featurizer, seed=seed)
        return seen[place.id]

    def finds(witness: KnownPlace, place: KnownPlace) -> bool:
        near, far = view(witness), view(place)
        found = locate_features(near.features, near.quad, far.features, engine="similarity", seed=seed)
        return quad_iou(found.quad, far.quad) >= _OVERLAP

    chosen: list[KnownPlace] = []
    for number, place in enumerate(places[: 2 * MOST_VIEWS]):
        if len(chosen) == MOST_VIEWS:
            break
        others = [*places[number + 1 : 2 * MOST_VIEWS], *places[:number][::-1]][:_WITNESSES]
        if place.decided or sum(finds(each, place) for each in others) >= _AGREEING:
            chosen.append(place)
    return chosen
