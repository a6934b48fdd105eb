import math

import numpy as np
import pytest

from dift_edit.errors import DatasetError, GeometryError, ImageError
from dift_edit.evaluation import (
    bootstrap_difference,
    contour_accuracy,
    corner_error,
    format_table,
    homography_accuracy,
    matching_accuracy,
    mean_jf,
    pck,
    region_similarity,
    transfer_iou,
)
from dift_edit.evaluation.metrics import auroc
from dift_edit.evaluation.segmentation import boundary, statistics


def brute_region(a: np.ndarray, b: np.ndarray) -> float:
    both = sum(bool(p) and bool(q) for p, q in zip(a.ravel(), b.ravel(), strict=True))
    some = sum(bool(p) or bool(q) for p, q in zip(a.ravel(), b.ravel(), strict=True))
    return both / some if some else 1.0


def brute_boundary(mask: np.ndarray) -> set[tuple[int, int]]:
    """Pixel by pixel: a contour lies where the pixel to the right, below or diagonally below differs."""
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            others = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if any(j < height and i < width and mask[j, i] != mask[y, x] for j, i in others):
                found.add((y, x))
    return found


def brute_contour(a: np.ndarray, b: np.ndarray) -> float:
    radius = math.ceil(0.008 * math.hypot(*a.shape))
    first, second = brute_boundary(a), brute_boundary(b)
    if not first and not second:
        return 1.0
    if not first or not second:
        return 0.0

    def share(mine: set[tuple[int, int]], other: set[tuple[int, int]]) -> float:
        gaps = np.array(sorted(mine))[:, None] - np.array(sorted(other))  # every pixel with every pixel
        return float(((gaps**2).sum(2).min(1) <= radius**2).mean())

    precision, recall = share(first, second), share(second, first)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(12))
def test_j_and_f_equal_brute_force_on_random_masks(seed: int) -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(5, 16)), int(rng.integers(130, 150)))  # a tolerance of two pixels
    smooth = seed % 3
    masks = [gaussian_filter(rng.random(shape), smooth) > 0.5 for _ in range(2)]
    if seed == 3:
        masks[0] = masks[1] | masks[0]
    assert region_similarity(*masks) == pytest.approx(brute_region(*masks), abs=1e-12)
    assert {tuple(p) for p in np.argwhere(boundary(masks[0]))} == brute_boundary(masks[0])
    assert contour_accuracy(*masks) == pytest.approx(brute_contour(*masks), abs=1e-12)


def test_empty_masks_follow_the_official_rules() -> None:
    none, some = np.zeros((20, 20), bool), np.pad(np.ones((4, 4), bool), 8)
    assert region_similarity(none, none) == contour_accuracy(none, none) == 1
    assert region_similarity(none, some) == contour_accuracy(some, none) == contour_accuracy(none, some) == 0
    with pytest.raises(ImageError, match="shape"):
        region_similarity(none, some[:5])


def test_statistics_by_hand() -> None:
    # Nine frames: borders of the quarters at 1, 3, 5, 7, 9; the first part is frames 1–3, the last one 7–9.
    result = statistics([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.2, 0.1])
    assert result.mean == pytest.approx(5.1 / 9)
    assert result.recall == pytest.approx(5 / 9)  # 0.5 itself does not count
    assert result.decay == pytest.approx(0.9 - 0.2)
    # Six frames: borders 1, 2.25, 3.5, 4.75, 6 → 1, 2, 4, 5, 6 (halves to even, as numpy rounds 3.5 + 1e-10 up).
    assert statistics([1, 0.8, 0.5, 0.5, 0.4, 0.2]).decay == pytest.approx(0.9 - 0.3)
    assert math.isnan(statistics([]).mean)


def test_mean_jf_is_the_mean_of_both() -> None:
    square = np.zeros((60, 80), bool)
    square[20:40, 20:40] = True
    moved = np.roll(square, 10, 1)
    result = mean_jf([square, moved], [square, square])
    assert result["J-mean"] == pytest.approx((1 + 200 / 600) / 2)
    assert result["J&F"] == pytest.approx((result["J-mean"] + result["F-mean"]) / 2)
    assert result["F-mean"] == pytest.approx((1 + brute_contour(moved, square)) / 2)
    with pytest.raises(ImageError, match="annotated"):
        mean_jf([square], [])


def test_pck_counts_the_border() -> None:
    truth = np.array([[10, 10], [20, 20], [30, 30], [40, 40]], float)
    found = truth + np.array([[0, 0], [10, 0], [0, 10.01], [6, 8]])
    assert pck(found, truth, size=100, alpha=0.1) == 0.75
    assert math.isnan(pck(np.zeros((0, 2)), np.zeros((0, 2)), size=1))
    with pytest.raises(GeometryError, match="annotated"):
        pck(found, truth[:2], size=100)
    with pytest.raises(GeometryError, match="above 0"):
        pck(found, truth, size=0)


def test_corner_error_by_hand() -> None:
    moved = np.array([[1, 0, 3], [0, 1, 4], [0, 0, 1]], float)
    assert corner_error(moved, np.eye(3), (11, 21)) == pytest.approx(5)
    assert corner_error(2 * moved, np.eye(3), (11, 21)) == pytest.approx(5)  # the scale of a homography is free
    larger = np.diag([1.1, 1, 1])  # corners at x = 0 stay, those at x = 10 move by 1
    assert corner_error(larger, np.eye(3), (11, 21)) == pytest.approx(0.5)
    assert corner_error(None, np.eye(3), (11, 21)) == math.inf
    assert homography_accuracy([0.5, 2, 5, math.inf]) == {1: 0.25, 3: 0.5, 5: 0.75}


def test_matching_accuracy_by_hand() -> None:
    moved = np.array([[1, 0, 3], [0, 1, 0], [0, 0, 1]], float)
    source = np.array([[0, 0], [5, 5], [9, 1], [2, 2]], float)
    target = source + [[3, 0], [3, 1], [5, 0], [3, 40]]
    assert matching_accuracy(source, target, moved) == {1: 0.5, 3: 0.75, 5: 0.75}
    assert matching_accuracy([], [], moved) == {1: 0, 3: 0, 5: 0}


def test_transfer_iou_and_auroc_by_hand() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], float)
    assert transfer_iou(square + [5, 0], square) == pytest.approx(50 / 150)
    assert transfer_iou(square[::-1], square) == pytest.approx(1)
    assert auroc([0.9, 0.8, 0.3, 0.3], [True, False, True, False]) == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert math.isnan(auroc([1, 2], [True, True]))


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(800)
    gain = rng.normal(0.03, 0.2, 800)
    result = bootstrap_difference(base + gain, base)
    error = gain.std() / 800**0.5
    assert result.mean == pytest.approx(gain.mean())
    assert result.low == pytest.approx(gain.mean() - 1.96 * error, abs=0.15 * error)
    assert result.high == pytest.approx(gain.mean() + 1.96 * error, abs=0.15 * error)
    assert result == bootstrap_difference(base + gain, base)
    assert bootstrap_difference(base, base).p == 1.0
    assert bootstrap_difference(base + 1, base).p < 0.001
    with pytest.raises(DatasetError, match="same items"):
        bootstrap_difference([1.0], [])


def test_tables() -> None:
    table = [["", "a|b"], ["x", "1.0"], ["all", "12.5"]]
    assert format_table(table, "markdown") == "|  | a\\|b |\n| --- | ---: |\n| x | 1.0 |\n| all | 12.5 |\n"
    assert format_table(table, "csv") == ",a|b\nx,1.0\nall,12.5\n"
    assert format_table(table) == "      a|b\nx     1.0\nall  12.5\n"
    with pytest.raises(DatasetError, match="format"):
        format_table(table, "pdf")
