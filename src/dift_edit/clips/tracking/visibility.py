"""When the edit is shown: it fades out where the patch is hidden or lost, and comes back."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["opacities"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def opacities(shown: Flags, breaks: Flags, *, fade: int = 4, shortest: int = 3) -> Floats:
    """How strongly the edit is put on each frame.

    Parameters
    ----------
    shown : ndarray
        (n,) bool: the patch is seen well enough.
    breaks : ndarray
        (n,) bool: a new shot begins with this frame.
    fade : int
        Frames that a fade takes.
    shortest : int
        Shorter gaps are filled, and shorter appearances left out, so that nothing blinks.

    Returns
    -------
    ndarray
        (n,) in [0, 1]: 0 wherever the patch is hidden; the fades lie in the frames in which it is still seen. At a
        break nothing fades: the edit goes and comes with the shot.
    """
    result = np.zeros(len(shown))
    edges = [0, *np.flatnonzero(breaks).tolist(), len(shown)]
    for start, stop in pairwise(edges):
        if start < stop:
            part = _without_short(_without_short(shown[start:stop], False, shortest), True, shortest)
            result[start:stop] = _ramps(part, fade)
    return result


def _without_short(flags: Flags, kind: bool, shortest: int) -> Flags:
    """Turn runs of `kind` that are too short into the other kind; runs at the ends stay."""
    result = flags.copy()
    changes = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), len(flags)]
    for start, stop in pairwise(changes):
        if flags[start] == kind and stop - start < shortest and start > 0 and stop < len(flags):
            result[start:stop] = not kind
    return result


def _ramps(flags: Flags, fade: int) -> Floats:
    """Distance to the nearest hidden frame, in units of the fade."""
    distance = np.full(len(flags), np.inf)
    for order in (range(len(flags)), range(len(flags) - 1, -1, -1)):
        last = np.inf
        for index in order:
            last = 0.0 if not flags[index] else last + 1
            distance[index] = min(distance[index], last)
    return np.minimum(distance / (fade + 1), 1.0)
