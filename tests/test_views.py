"""Several views of an edit: their evidence is added up in the edit's frame; mirrored ones; the very same surface."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from dift_edit import View
from dift_edit.errors import EditError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.estimate import Correspondences, fit_affine
from dift_edit.geometry.quad import quad_iou
from dift_edit.imaging.image import Image
from dift_edit.placement.placement import locate
from dift_edit.placement.votes import WIDE, gather_evidence
from dift_edit.rendering.warp import warp_image
from trials import trials

QUAD = np.array([(180.0, 60), (300, 60), (300, 200), (180, 200)])


@pytest.fixture(scope="module")
def astronaut():
    return Image(data.astronaut())


@pytest.fixture(scope="module")
def coffee():
    return Image(np.ascontiguousarray(data.coffee()[:, 50:450]))


@pytest.fixture(scope="module")
def maps(lite, astronaut):
    moved = MatrixTransform(np.array([[0.9, 0, 30], [0, 0.9, 20], [0, 0, 1]]))
    target = Image(warp_image(astronaut, moved, astronaut.size).pixels)
    return lite(astronaut), lite(target), moved


def test_a_view_that_is_the_source_again_changes_no_score(maps):
    source, target, moved = maps
    alone = gather_evidence(source, QUAD, target, reach=WIDE)
    same = fit_affine(Correspondences(QUAD, QUAD, np.ones(4)))
    for weight in (0.3, 1.0):
        both = alone.joined([alone.moved(same, QUAD, weight)], WIDE)
        poses = np.stack([moved.matrix[:2], np.eye(3)[:2], [[1, 0.2, 5], [-0.2, 1, 9]]])
        assert np.allclose(both.score(poses), alone.score(poses), atol=1e-5)
        assert both.expected_scale == pytest.approx(alone.expected_scale)


@trials(15)
@given(
    turn=st.floats(-0.6, 0.6), scale=st.floats(0.6, 1.6), x=st.floats(-40, 40), y=st.floats(-40, 40)
)  # fmt: skip
def test_the_frame_of_a_view_does_not_matter(maps, turn, scale, x, y):
    """The same votes, given by a picture in which everything lies elsewhere, support the same poses of the edit."""
    source, target, moved = maps
    alone = gather_evidence(source, QUAD, target, reach=WIDE)
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    elsewhere = MatrixTransform(np.array([[c, -s, x], [s, c, y], [0, 0, 1]]))
    there = alone.moved(elsewhere, elsewhere(QUAD), 1.0)
    back = there.moved(fit_affine(Correspondences(elsewhere(QUAD), QUAD, np.ones(4))), QUAD, 1.0)
    assert np.allclose(back.points, alone.points, atol=1e-6)
    assert np.allclose(back.mass, alone.mass) and np.allclose(back.distance, alone.distance)
    assert back.expected_scale == pytest.approx(alone.expected_scale)
    pose = moved.matrix[None, :2]
    assert np.allclose(alone.joined([back], WIDE).score(pose), alone.score(pose), atol=1e-5)


def test_a_view_finds_what_the_source_does_not(lite, astronaut, coffee):
    view = View(image=astronaut, quad=QUAD)
    alone = locate(coffee, QUAD - [100, 0], astronaut, featurizer=lite, mirror="never", surface=False)
    placement = locate(
        coffee, QUAD - [100, 0], astronaut, featurizer=lite, mirror="never", surface=False, views=[view, view]
    )
    assert quad_iou(placement.quad, QUAD) > max(0.6, quad_iou(alone.quad, QUAD))


def test_a_surface_is_recognised_against_any_view(lite, astronaut, coffee):
    moved = MatrixTransform(np.array([[0.95, 0.05, 12], [-0.05, 0.95, 30], [0, 0, 1]]))
    target = Image(warp_image(astronaut, moved, astronaut.size).pixels)
    for weight, trust in ((1.0, 0.97), (0.5, 0.485)):
        views = [View(image=astronaut, quad=QUAD, weight=weight)]
        found = locate(coffee, QUAD - [100, 0], target, featurizer=lite, mirror="never", views=views)
        assert found.on_surface and np.abs(found.quad - moved(QUAD)).max() < 0.7
        assert found.confidence == pytest.approx(trust)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "1", None])
def test_a_view_weighs_a_number_above_0(weight):
    with pytest.raises(EditError, match="give a number above 0"):
        View(image="any.png", quad=QUAD, weight=weight)


def test_a_mirrored_view_counts_as_it_is_meant(lite, astronaut):
    turned = astronaut.mirrored()
    flipped = QUAD * (-1, 1) + (astronaut.size[0] - 1, 0)
    facing = View(image=turned, quad=flipped).facing(QUAD)
    assert facing.image.digest == astronaut.digest and np.allclose(facing.quad, QUAD)
    plain = View(image=astronaut, quad=QUAD)
    one, other = (
        locate(astronaut, QUAD, turned, featurizer=lite, surface=False, views=[view])
        for view in (plain, View(image=turned, quad=flipped))
    )
    assert one.mirrored and other.mirrored and np.array_equal(one.quad, other.quad)


def test_bad_views_are_one_sentence(lite, astronaut):
    with pytest.raises(EditError, match="The edit on a view lies outside"):
        locate(astronaut, QUAD, astronaut, featurizer=lite, views=[View(image=astronaut, quad=QUAD + 9000)])
