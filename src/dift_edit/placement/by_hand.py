"""A placement that was given, not found."""

import numpy as np

from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.quad import as_quad, quad_matrix
from dift_edit.placement.placement import Placement
from dift_edit.types import QuadLike

__all__ = ["place_by_hand"]


def place_by_hand(quad: QuadLike, target_quad: QuadLike) -> Placement:
    """Where an edit lies whose corners were put onto a target by hand.

    Parameters
    ----------
    quad : array_like
        (4, 2) corners of the edit in source pixels.
    target_quad : array_like
        (4, 2) where they belong, in target pixels.

    Returns
    -------
    Placement
        A homography of confidence 1.

    Raises
    ------
    EditError
        If one of the quads is not convex.
    """
    corners = as_quad(target_quad, "The quad in the target")
    matrix = quad_matrix(as_quad(quad, "The quad of the edit"), corners)
    return Placement(
        quad=corners,
        transform=MatrixTransform(matrix),
        confidence=1.0,
        confidence_source="pins",
        mirrored=bool(np.linalg.det(matrix[:2, :2]) < 0),
        reason="",
        engine="pins",
    )
