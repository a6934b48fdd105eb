import numpy as np

from dift_edit.imaging.texture import local_moments, ratio_matches


def test_moments_are_those_of_each_window(rng):
    a, b = rng.random((2, 24, 31), dtype=np.float32)
    covariance, variance_a, variance_b = local_moments(a, b, 5)
    for y, x in ((2, 2), (10, 17), (21, 28)):
        one, two = (field[y - 2 : y + 3, x - 2 : x + 3].ravel().astype(np.float64) for field in (a, b))
        expected = np.cov(one, two, bias=True)
        found = [[variance_a[y, x], covariance[y, x]], [covariance[y, x], variance_b[y, x]]]
        assert np.allclose(found, expected, atol=1e-5)


def test_only_clear_matches_pass_the_ratio_test():
    second = np.array([[0, 0], [10, 0], [10.5, 0], [0, 10]], np.float32)
    first = np.array([[0.1, 0], [10.25, 0], [0, 9]], np.float32)
    assert ratio_matches(first, second).tolist() == [[0, 0], [2, 3]]
    assert ratio_matches(first, second[:1]).shape == (0, 2)
