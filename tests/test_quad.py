"""Quads: the map between four corners, lattices, convexity, areas and overlap, on any quads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dift_edit.errors import EditError, GeometryError
from dift_edit.geometry.quad import (
    apply_homography,
    as_quad,
    bounds,
    box_quad,
    quad_extent,
    quad_folds,
    quad_iou,
    quad_lattice,
    quad_matrices,
    quad_matrix,
    quad_side,
    signed_area,
)
from trials import trials

UNIT = np.array([(0.0, 0), (1, 0), (1, 1), (0, 1)])


@st.composite
def convex_quads(draw) -> np.ndarray:
    """Corners on four separate arcs of an ellipse that is turned and moved: always convex, never degenerate."""
    start = draw(st.floats(0, 2 * np.pi))
    angles = start + np.arange(4) * np.pi / 2 + np.array(draw(st.tuples(*[st.floats(-0.6, 0.6)] * 4)))
    size = np.array(draw(st.tuples(st.floats(5, 500), st.floats(5, 500))))
    middle = np.array(draw(st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000))))
    return middle + size * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@given(convex_quads(), convex_quads())
def test_the_map_between_two_quads_takes_corner_to_corner_and_back(first, second) -> None:
    scale = np.abs([first, second]).max()
    there, back = quad_matrix(first, second), quad_matrix(second, first)
    np.testing.assert_allclose(apply_homography(there, first), second, atol=1e-5 * scale)
    inside = quad_lattice(first, across=5)
    np.testing.assert_allclose(apply_homography(back, apply_homography(there, inside)), inside, atol=1e-4 * scale)
    several = quad_matrices(first, np.stack([second, first]))
    np.testing.assert_allclose(several[0], there)
    assert apply_homography(several, inside).shape == (2, 25, 2)


@given(convex_quads(), st.integers(0, 3), st.booleans())
def test_a_convex_quad_stays_one_from_whichever_corner_it_is_read(quad, first, backward) -> None:
    other = np.roll(quad, first, axis=0)[:: -1 if backward else 1]
    assert not quad_folds(other) and quad_folds(other[[0, 2, 1, 3]])
    np.testing.assert_allclose(as_quad(other), other)
    with pytest.raises(EditError, match="crosses itself"):
        as_quad(other[[0, 2, 1, 3]])
    assert signed_area(other) == pytest.approx(signed_area(quad) * (-1 if backward else 1), rel=1e-6)
    assert quad_side(other) == pytest.approx(np.sqrt(abs(signed_area(quad))), rel=1e-6)
    assert quad_iou(quad, other) == pytest.approx(1, abs=1e-9)


@given(convex_quads(), st.floats(0, 2), st.floats(0.2, 3))
@trials(40)
def test_overlap_is_symmetric_and_follows_neither_shift_nor_scale(quad, shift, scale) -> None:
    other = quad + shift * np.ptp(quad, axis=0)
    overlap = quad_iou(quad, other)
    assert 0 <= overlap <= 1 and overlap == pytest.approx(quad_iou(other, quad), abs=1e-9)
    moved = [corners * scale + (7, -3) for corners in (quad, other)]
    assert overlap == pytest.approx(quad_iou(*moved), abs=1e-6)
    if shift >= 1.01:
        assert overlap == 0


@given(convex_quads(), st.integers(2, 9), st.floats(0, 2))
def test_a_lattice_has_the_corners_of_its_quad_and_lies_in_its_box(quad, across, margin) -> None:
    lattice = quad_lattice(quad, across=across)
    np.testing.assert_allclose(lattice[[0, across - 1, -1, -across]], quad, atol=1e-9 * np.abs(quad).max())
    (low, high), slack = bounds(quad), 1e-9 * np.abs(quad).max()
    assert (lattice >= low - slack).all() and (lattice <= high + slack).all() and len(lattice) == across**2
    np.testing.assert_allclose(
        quad_lattice(UNIT, across=across, margin=margin)[[0, -1]], [(-margin, -margin), (1 + margin, 1 + margin)]
    )


@given(*[st.integers(-500, 500)] * 2, *[st.integers(1, 500)] * 2)
def test_the_quad_of_a_box_goes_round_its_pixels(left, top, width, height) -> None:
    quad = box_quad((left, top, left + width, top + height))
    assert signed_area(quad) == width * height and quad_extent(quad) == pytest.approx(np.sqrt(width * height))
    np.testing.assert_array_equal(bounds(quad), [(left - 0.5, top - 0.5), (left + width - 0.5, top + height - 0.5)])


def test_degenerate_quads_are_named_and_horizons_are_not_finite() -> None:
    line = np.array([(0.0, 0), (1, 0), (2, 0), (0, 1)])
    with pytest.raises(GeometryError, match="on a line"):
        quad_matrix(line, UNIT)
    horizon = np.array([(1.0, 0, 0), (0, 1, 0), (1, 0, -1)])
    mapped = apply_homography(horizon, np.array([(1.0, 5), (3, 5)]))
    assert not np.isfinite(mapped[0]).any() and np.isfinite(mapped[1]).all()
