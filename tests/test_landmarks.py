"""Landmarks: points that predict each other, votes, frames, deformation, confidence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dift_edit as de
from dift_edit.errors import GeometryError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.landmarks.frame import Frames, TargetMaps
from dift_edit.landmarks.matcher import LandmarkMatcher
from dift_edit.landmarks.settle import settle
from dift_edit.landmarks.smooth import BENDS, covariance, predict_each_other, stiffness
from dift_edit.landmarks.view import View, view_box
from dift_edit.landmarks.votes import Votes
from dift_edit.rendering.warp import warp_image
from dift_edit.samples import FOLDER
from trials import trials

CAT = [(341, 233), (629, 273), (470, 400), (160, 60), (700, 110), (460, 470)]


@trials(25)
@given(st.integers(0, 10_000), st.integers(3, 20), st.sampled_from(BENDS))
def test_points_predict_each_other_as_if_each_were_left_out(seed, count, bend):
    rng = np.random.default_rng(seed)
    prior = covariance(rng.uniform(0, 1, (count, 2)), bend)
    found, noise = rng.normal(0, 0.05, (count, 2)), rng.uniform(1e-4, 1e-2, count)
    said = predict_each_other(prior, found, noise)
    for k in range(count):
        rest = np.delete(np.arange(count), k)
        gain = prior[k, rest] @ np.linalg.inv(prior[np.ix_(rest, rest)] + np.diag(noise[rest]))
        np.testing.assert_allclose(said.mean[k], gain @ found[rest], atol=1e-9)
        np.testing.assert_allclose(said.variance[k], prior[k, k] - gain @ prior[rest, k], rtol=1e-4, atol=1e-10)


def test_points_that_moved_alike_are_stiff_and_bent_ones_soft(rng):
    points, noise = rng.uniform(0, 1, (40, 2)), np.full(40, 0.004**2)
    affine = points @ np.array([[0.05, -0.03], [0.02, 0.04]]) + 0.01
    bent = affine + 0.1 * np.sin(4 * points[:, ::-1])
    noisy = [moved + rng.normal(0, 0.004, moved.shape) for moved in (affine, bent)]
    chosen = [stiffness(points, moved, noise, np.ones(40)) for moved in noisy]
    assert chosen[0] <= 0.01 and chosen[1] >= 0.04


def lumps(places, size, cells, spread=1.2):
    """Votes round places of a view."""
    x, y = (np.arange(cell) * size[k] / cell for k, cell in enumerate(cells))
    scale = size[0] / cells[0]
    distance = (x[None, None] - places[:, 0, None, None]) ** 2 + (y[None, :, None] - places[:, 1, None, None]) ** 2
    votes = np.exp(-distance / (2 * (spread * scale) ** 2))
    return torch.from_numpy((votes / votes.sum((1, 2), keepdims=True)).astype(np.float32))


def test_votes_are_read_between_cells(rng):
    places = rng.uniform(60, 260, (30, 2))
    x = lumps(places - 4.5, (320, 320), (32, 32))  # cell k of the lumps lies at 10 k, its middle at 10 k + 4.5
    seen = Votes.of(x, (320, 320)).near(places + rng.normal(0, 4, places.shape), np.full(30, 30.0**2))
    assert np.abs(seen.mean - places).max() < 2.5 and (seen.gain > 1).all()


def test_votes_in_another_picture_decide_between_two_places(rng):
    places, others = rng.uniform(40, 130, (20, 2)), rng.uniform(190, 280, (20, 2))
    both = Votes.of(lumps(places - 4.5, (320, 320), (32, 32)) + lumps(others - 4.5, (320, 320), (32, 32)), (320, 320))
    twice = MatrixTransform(np.diag([2.0, 2.0, 1.0]))
    finer = Votes.of(lumps(twice(places) - 4.5, (640, 640), (64, 64)), (640, 640))
    seen = both.joined(finer, twice, 0.5)
    assert np.abs(seen.near(places, np.full(20, 200.0**2)).mean - places).max() < 5
    np.testing.assert_allclose(seen.share.sum((1, 2)), 1, rtol=1e-4)


def test_points_whose_votes_are_wrong_go_where_the_others_say(rng):
    points = np.stack(np.meshgrid(np.linspace(60, 260, 6), np.linspace(60, 260, 6)), -1).reshape(-1, 2)
    truth = points @ np.array([[1.04, 0.03], [-0.02, 0.97]]) + 4 * np.sin(points[:, ::-1] / 60)
    shown = truth.copy()
    wrong = np.array([7, 20, 28])
    shown[wrong] += [[38, 0], [0, -38], [-30, 30]]
    votes = Votes.of(lumps(shown - 4.5, (320, 320), (32, 32)), (320, 320))
    found = settle(votes, points, points, base=points, extent=200.0, window=0.12, least=0.01, rounds=6)
    error = np.linalg.norm(found.points - truth, axis=1) / 200
    assert np.median(error) < 0.01 and error[wrong].max() < 0.06


def test_a_view_shows_what_its_map_says():
    cat = de.load_image(FOLDER / "cat.jpg")
    to_picture, size = view_box(np.array(CAT, float))
    seen = View.of(cat, to_picture, size)
    for x, y in ((200, 150), (321, 222), (500, 90)):
        (place,) = np.rint(to_picture([(x, y)])).astype(int)
        if (place >= 0).all() and (place < cat.size).all():
            there = cat.pixels[place[1] - 3 : place[1] + 4, place[0] - 3 : place[0] + 4].mean((0, 1))
            here = seen.image.pixels[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
            assert np.abs(there - here).max() < 25
    assert seen.is_inside(to_picture.inverse()(np.array(CAT, float))).all()


def turned(cat, degrees, scale, mirrored):
    """A target that shows the cat turned, smaller and perhaps mirrored; and the map."""
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([-1.0, 1.0]) if mirrored else turn
    size = (900, 860)
    shift = np.array(size) / 2 - turn @ (np.array(cat.size) / 2)
    there = MatrixTransform(np.array([[*turn[0], shift[0]], [*turn[1], shift[1]], [0, 0, 1]]))
    layer = warp_image(cat, there, size)
    pixels = np.where(layer.alpha[..., None] > 127, layer.pixels, 120).astype(np.uint8)
    return de.as_image(pixels), there


@pytest.mark.parametrize(("degrees", "scale", "mirrored"), [(8, 0.8, False), (135, 0.7, False), (20, 0.8, True)])
def test_landmarks_are_found_turned_scaled_and_mirrored(lite, degrees, scale, mirrored):
    cat = de.load_image(FOLDER / "cat.jpg")
    target, there = turned(cat, degrees, scale, mirrored)
    found = LandmarkMatcher(cat, CAT, featurizer=lite)(target)
    truth = there(CAT)
    error = np.linalg.norm(found.points - truth, axis=1) / np.ptp(truth, axis=0).max()
    assert found.mirrored == mirrored
    assert np.median(error) < 0.03 and error.max() < 0.08
    assert found.confidence.shape == (6,) and ((found.confidence >= 0) & (found.confidence <= 1)).all()
    assert np.abs(found.transform(CAT) - found.points).max() < 1
    lattice = np.stack(np.meshgrid(np.linspace(200, 650, 5), np.linspace(100, 450, 5)), -1).reshape(-1, 2)
    assert np.median(np.linalg.norm(found.transform(lattice) - there(lattice), axis=1)) < 25


def test_a_wrong_placement_gives_way_to_the_matches_and_a_right_one_stays(lite):
    cat = de.load_image(FOLDER / "cat.jpg")
    target, there = turned(cat, 8, 0.8, mirrored=False)
    matcher, maps = LandmarkMatcher(cat, CAT, featurizer=lite), TargetMaps(target, lite, 0)
    over = there.then(MatrixTransform(np.array([[-1.0, 0, target.size[0] - 1], [0, 1, 0], [0, 0, 1]])))
    right, wrong = (matcher._search.look(target, each, mirrored=each is over) for each in (there, over))
    for frames in (Frames(wrong, right), Frames(right, wrong)):
        assert matcher._best(frames, maps, {}).frame is right


def test_landmarks_of_another_thing_are_less_sure(lite):
    cat = de.load_image(FOLDER / "cat.jpg")
    matcher = LandmarkMatcher(cat, CAT, featurizer=lite)
    same, other = matcher(turned(cat, 8, 0.8, mirrored=False)[0]), matcher(de.load_image(FOLDER / "coffee.jpg"))
    assert same.object_confidence > other.object_confidence + 0.2
    assert np.median(same.confidence) > np.median(other.confidence) + 0.2


def test_one_landmark_is_enough_and_none_is_refused(lite):
    cat = de.load_image(FOLDER / "cat.jpg")
    found = LandmarkMatcher(cat, CAT[:1], featurizer=lite)(cat)
    assert np.linalg.norm(found.points - CAT[0]) < 12
    with pytest.raises(GeometryError, match="There are no landmarks"):
        LandmarkMatcher(cat, [], featurizer=lite)


@pytest.mark.slow
def test_landmarks_do_not_depend_on_what_was_looked_for_before(lite):
    cat, kitten = (de.load_image(FOLDER / name) for name in ("cat.jpg", "kitten.jpg"))
    again = LandmarkMatcher(cat, CAT, featurizer=lite)
    again(de.load_image(FOLDER / "siamese.jpg"))
    np.testing.assert_array_equal(again(kitten).points, LandmarkMatcher(cat, CAT, featurizer=lite)(kitten).points)


@pytest.mark.slow
def test_known_landmarks_stay_and_take_the_others_along(lite):
    """Two cats in one target: the one on which a person puts a landmark gets all of them."""
    cat = de.load_image(FOLDER / "cat.jpg")
    half = de.as_image(np.ascontiguousarray(cat.pixels[::2, ::2]))
    both = de.as_image(np.concatenate([half.pixels, half.pixels], 1))
    matcher = LandmarkMatcher(cat, CAT, featurizer=lite, mirror="never")
    places = [np.array(CAT) / 2 + (shift, 0) for shift in (0, half.size[0])]
    first = matcher(both)
    here, there = sorted(places, key=lambda place: np.linalg.norm(first.points - place))
    assert np.linalg.norm(first.points - here, axis=1).max() < 4
    moved = matcher(both, known={2: tuple(there[2])})
    assert np.linalg.norm(moved.points - there, axis=1).max() < 4
    np.testing.assert_allclose(moved.points[2], there[2], atol=1e-9)
    assert moved.confidence[2] == 1 and (moved.confidence[:2] < 1).all()
    with pytest.raises(GeometryError, match="not numbers of known ones"):
        matcher(both, known={6: (1.0, 2.0)})
