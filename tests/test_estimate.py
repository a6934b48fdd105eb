"""Fits, quads and chains of maps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dift_edit as de
from dift_edit.errors import EditError, GeometryError
from dift_edit.geometry.base import Chain, MatrixTransform
from dift_edit.geometry.estimate import Correspondences, constrained, fit_affine, fit_similarity, hold_pairs, reweighted
from dift_edit.geometry.quad import check_quad, quad_folds, quad_iou
from trials import trials

SQUARE = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])


def similarity(scale: float, turn: float, x: float, y: float) -> MatrixTransform:
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    return MatrixTransform(np.array([[c, -s, x], [s, c, y], [0, 0, 1]]))


@given(st.floats(0.3, 3), st.floats(-3, 3), st.floats(-500, 500), st.floats(-500, 500))
@trials(50)
def test_fit_recovers_any_similarity_and_inverse_undoes_it(scale: float, turn: float, x: float, y: float) -> None:
    truth = similarity(scale, turn, x, y)
    points = np.random.default_rng(0).uniform(0, 100, (12, 2))
    fitted = fit_similarity(Correspondences(points, truth(points), np.ones(12)))
    assert np.allclose(fitted.matrix, truth.matrix, atol=1e-6)
    assert np.allclose(fitted.inverse()(fitted(points)), points, atol=1e-6)


def test_a_third_of_the_matches_may_be_wrong() -> None:
    rng = np.random.default_rng(0)
    truth = similarity(1.2, 0.4, 30, 60)
    source = rng.uniform(0, 200, (99, 2))
    target = truth(source) + rng.normal(0, 1, (99, 2))
    target[:33] = rng.uniform(0, 400, (33, 2))
    start = similarity(1.1, 0.35, 40, 60)
    fitted, trust = reweighted(Correspondences(source, target, np.ones(99)), start, threshold=15, fit=fit_similarity)
    assert np.linalg.norm(fitted(source) - truth(source), axis=1).max() < 1
    assert np.median(trust[:33]) < 0.1 and trust[33:].min() > 0.7


def test_degenerate_pairs_are_refused() -> None:
    same = np.ones((5, 2))
    with pytest.raises(GeometryError):
        fit_similarity(Correspondences(same, same, np.ones(5)))
    with pytest.raises(GeometryError, match="singular"):
        MatrixTransform(np.diag([1.0, 0, 1]))


FAMILIES = {
    4: [[1.1, -0.3, 20], [0.3, 1.1, -5], [0, 0, 1]],
    6: [[1.1, -0.2, 20], [0.4, 0.9, -5], [0, 0, 1]],
    8: [[1.1, -0.2, 20], [0.4, 0.9, -5], [9e-4, -7e-4, 1]],
}


@pytest.mark.parametrize("freedom", [4, 6, 8])
@given(seed=st.integers(0, 10_000), count=st.integers(1, 5))
@trials(25)
def test_a_matrix_of_each_freedom_holds_pairs(freedom: int, seed: int, count: int) -> None:
    truth = MatrixTransform(np.array(FAMILIES[freedom]))
    rng = np.random.default_rng(seed)
    near = truth.then(similarity(1 + rng.normal(0, 0.02), rng.normal(0, 0.02), *rng.normal(0, 3, 2)))
    corners = np.array([[10.0, 20], [110, 20], [110, 90], [10, 90], [60, 55]])
    source = corners[:count] + rng.uniform(-8, 8, (count, 2))
    lattice = np.stack(np.meshgrid(np.linspace(10, 110, 4), np.linspace(20, 90, 4)), -1).reshape(-1, 2)
    held = hold_pairs(near, Correspondences(source, truth(source), np.ones(count)), lattice, freedom)
    assert np.abs(held(source) - truth(source)).max() < 1e-6
    if 2 * count >= freedom:
        assert np.abs(held(lattice) - truth(lattice)).max() < 1e-5
    if freedom < 8:
        assert np.allclose(held.matrix[2], [0, 0, 1])
    if freedom == 4:
        assert np.allclose([held.matrix[0, 0], held.matrix[0, 1]], [held.matrix[1, 1], -held.matrix[1, 0]])


def test_too_many_pairs_are_held_in_the_least_squares_sense() -> None:
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 100, (6, 2))
    pairs = Correspondences(source, similarity(1.2, 0.3, 5, 5)(source) + rng.normal(0, 1, (6, 2)), np.ones(6))
    start = MatrixTransform(np.eye(3))
    assert np.allclose(hold_pairs(start, pairs, SQUARE, 4).matrix, fit_similarity(pairs).matrix, atol=1e-6)
    assert np.allclose(hold_pairs(start, pairs, SQUARE, 6).matrix, fit_affine(pairs).matrix, atol=1e-6)


def test_constraints_are_met_and_the_rest_is_least_squares() -> None:
    normal, right = np.diag([1.0, 2, 3]), np.array([1.0, 2, 3])
    assert np.allclose(constrained(normal, right, np.array([[1.0, 1, 0]]), np.array([5.0])), [3, 2, 1])
    assert np.allclose(constrained(normal, right, np.zeros((0, 3)), np.zeros(0)), 1)


def test_iou_of_quads() -> None:
    assert quad_iou(SQUARE, SQUARE) == pytest.approx(1)
    assert quad_iou(SQUARE, SQUARE + [5, 0]) == pytest.approx(1 / 3)
    assert quad_iou(SQUARE, SQUARE[::-1] + [20, 0]) == 0
    assert not quad_folds(SQUARE) and not quad_folds(SQUARE[::-1]) and quad_folds(SQUARE[[0, 2, 1, 3]])


BAD_QUADS = [
    (SQUARE[:3], "3 corners"),
    (SQUARE * [1, 0], "no area"),
    (SQUARE * [1, 0.05], "covers only"),
    (SQUARE + 500, "outside the source"),
    (SQUARE - [10.5, 0], "outside the source"),
    (SQUARE * np.nan, "finite"),
    (SQUARE[[0, 2, 1, 3]], "crosses itself"),
]


@pytest.mark.parametrize(("quad", "words"), BAD_QUADS)
def test_locate_and_transfer_check_a_quad_by_one_rule(tiny, quad: np.ndarray, words: str) -> None:
    class Frame:
        def __init__(self) -> None:
            self.quad = quad

        def apply(self, target, transform, *, source=None, compositing=None):
            return target

        def to_dict(self) -> dict:
            return {}

    image = np.full((100, 100, 3), 90, np.uint8)
    said = set()
    for call in (
        lambda: check_quad(quad, (100, 100)),
        lambda: de.locate(image, quad, image, featurizer=tiny),
        lambda: de.placement.locate_instances(image, quad, image, featurizer=tiny),
        lambda: de.transfer(image, Frame(), image, featurizer=tiny),
        lambda: de.propagate(image, Frame(), [image], featurizer=tiny),
    ):
        with pytest.raises(EditError, match=words) as caught:
            call()
        said.add(str(caught.value))
    assert len(said) == 1


def test_a_chain_of_maps_equals_its_matrix() -> None:
    parts = similarity(1.3, 0.2, 5, -8), MatrixTransform(np.array([[1, 0.1, 0], [0, 1, 3], [1e-3, 0, 1]]))
    chain = Chain((Chain(parts[:1]), parts[1])).then(similarity(0.7, 1.0, 0, 9))
    whole = parts[0].then(parts[1]).then(similarity(0.7, 1.0, 0, 9))
    assert np.allclose(chain(SQUARE), whole(SQUARE)) and np.allclose(chain.matrix, whole.matrix)
    assert np.allclose(chain.inverse()(chain(SQUARE)), SQUARE)
