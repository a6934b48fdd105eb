"""To which size a picture is brought for a network, so that the grid of features covers it exactly."""

from collections.abc import Sequence

__all__ = ["SIZE_MODES", "network_size"]

SIZE_MODES = ("square", "short", "none")

_LONGEST = 6  # times the short side: a picture of 4000×2 pixels must not become one of 288,000×144


def network_size(size: Sequence[int], *, side: int, mode: str, stride: int, floor_to: int = 0) -> tuple[int, int]:
    """The size in pixels that a network shall see.

    Parameters
    ----------
    size : (W, H)
        The picture's size.
    side : int
        Side of the square, or length of the short side; without meaning for the mode "none".
    mode : str
        "square": a square whatever the aspect ratio (as the released DIFT code). "short": the short side has this
        length; pictures longer than 6:1 are compressed to that. "none": as the picture is.
    stride : int
        Pixels a cell of the features: both edges become whole multiples, the nearest ones, so that the cells cover
        the picture and nothing else. Sizes that are multiples already stay as they are.
    floor_to : int
        If not 0: edges become multiples of this number instead, rounded down (DIFT's video protocol uses 32).

    Returns
    -------
    (width, height)
    """
    scale = 1.0 if mode == "none" else side / min(size)
    edges = (side, side) if mode == "square" else tuple(edge * scale for edge in size)
    if mode == "short":
        edges = tuple(min(edge, _LONGEST * side) for edge in edges)
    if floor_to:
        width, height = (max(floor_to, int(edge + 1e-6) // floor_to * floor_to) for edge in edges)
    else:
        width, height = (max(stride, round(edge / stride) * stride) for edge in edges)
    return width, height
