import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dift_edit.errors import EditError, GeometryError
from dift_edit.geometry.base import MatrixTransform, quad_folds, quad_iou
from dift_edit.geometry.estimate import Correspondences, estimate_similarity, fit_similarity
from dift_edit.placement.placement import check_quad

SQUARE = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])


def similarity(scale: float, turn: float, x: float, y: float) -> MatrixTransform:
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    return MatrixTransform(np.array([[c, -s, x], [s, c, y], [0, 0, 1]]))


@given(st.floats(0.3, 3), st.floats(-3, 3), st.floats(-500, 500), st.floats(-500, 500))
@settings(max_examples=50, deadline=None)
def test_fit_recovers_any_similarity_and_inverse_undoes_it(scale: float, turn: float, x: float, y: float) -> None:
    truth = similarity(scale, turn, x, y)
    points = np.random.default_rng(0).uniform(0, 100, (12, 2))
    fitted = fit_similarity(Correspondences(points, truth(points), np.ones(12)))
    assert np.allclose(fitted.matrix, truth.matrix, atol=1e-6)
    assert np.allclose(fitted.inverse()(fitted(points)), points, atol=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_half_of_the_matches_may_be_wrong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = similarity(rng.uniform(0.6, 1.6), rng.uniform(-0.6, 0.6), *rng.uniform(0, 100, 2))
    source = rng.uniform(0, 200, (100, 2))
    target = truth(source) + rng.normal(0, 1, (100, 2))
    target[:50] = rng.uniform(0, 400, (50, 2))
    fitted, score = estimate_similarity(Correspondences(source, target, np.ones(100)), threshold=15, seed=seed)
    assert np.linalg.norm(fitted(source) - truth(source), axis=1).max() < 8
    assert score > 0.3


def test_degenerate_pairs_are_refused() -> None:
    same = np.ones((5, 2))
    with pytest.raises(GeometryError):
        fit_similarity(Correspondences(same, same, np.ones(5)))
    with pytest.raises(GeometryError):
        estimate_similarity(Correspondences(same, same, np.ones(5)), threshold=1)
    with pytest.raises(GeometryError, match="singular"):
        MatrixTransform(np.diag([1.0, 0, 1]))


def test_iou_of_quads() -> None:
    assert quad_iou(SQUARE, SQUARE) == pytest.approx(1)
    assert quad_iou(SQUARE, SQUARE + [5, 0]) == pytest.approx(1 / 3)
    assert quad_iou(SQUARE, SQUARE[::-1] + [20, 0]) == 0
    assert not quad_folds(SQUARE) and not quad_folds(SQUARE[::-1]) and quad_folds(SQUARE[[0, 2, 1, 3]])


@pytest.mark.parametrize(
    ("quad", "words"),
    [(SQUARE[:3], "four corners"), (SQUARE * [1, 0], "covers only"), (SQUARE + 500, "outside the source")],
)
def test_bad_quads_are_refused(quad: np.ndarray, words: str) -> None:
    with pytest.raises(EditError, match=words):
        check_quad(quad, (100, 100))
    with pytest.raises(GeometryError, match="finite"):
        check_quad(SQUARE * np.nan, (100, 100))
