import numpy as np
import pytest
import torch
import torch.nn.functional as F

import dift_edit as de
from dift_edit.errors import GeometryError, SettingsError
from dift_edit.features.base import FeatureMap
from dift_edit.matching import points as matching
from dift_edit.matching import search as nearest
from dift_edit.matching.search import FullResolutionSearch


def smooth(channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Random features that vary slowly, as a network's do."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, height // 3 + 2, width // 3 + 2, generator=generator)
    fine = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[0]
    return fine + 0.2 * torch.randn(channels, height, width, generator=generator)


def naive(data: torch.Tensor, size: tuple[int, int], queries: torch.Tensor, metric: str, align: bool) -> torch.Tensor:
    """(N, H·W) similarity with features that are upsampled, in double precision."""
    up = F.interpolate(data[None].double(), size=(size[1], size[0]), mode="bilinear", align_corners=align)[0]
    up, queries = up.flatten(1), queries.double()
    if metric == "cosine":
        return F.normalize(queries, dim=1) @ F.normalize(up, dim=0)
    return 1 - torch.cdist(queries, up.T).square() / 2


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize(
    ("grid", "size"), [((7, 9), (61, 47)), ((20, 24), (17, 33)), ((12, 12), (100, 96)), ((2, 2), (31, 40))]
)
def test_the_search_finds_the_pixel_of_the_naive_method(grid, size, metric: str, align: bool) -> None:
    data = smooth(16, *grid)
    if metric == "l2":
        data = F.normalize(data, dim=0)
    generator = torch.Generator().manual_seed(1)
    chosen = torch.randint(grid[0] * grid[1], (60,), generator=generator)
    queries = data.flatten(1).T[chosen] + 0.5 * torch.randn(60, 16, generator=generator)
    table = naive(data, size, queries, metric, align)
    points, similarity = FullResolutionSearch(data, size, metric=metric, align_corners=align)(queries)
    pixel = torch.from_numpy(points[:, 1] * size[0] + points[:, 0]).long()
    # Pixels beyond the outermost cells' centres repeat the border: only there may another pixel be as good.
    same = pixel == table.argmax(1)
    assert (table.amax(1) - table.gather(1, pixel[:, None])[:, 0]).max() < 1e-12
    assert align is False or same.all()
    np.testing.assert_allclose(similarity, table.amax(1).numpy(), atol=2e-6)


def test_bounds_hold_for_features_without_any_smoothness() -> None:
    data = torch.randn(3, 9, 8, generator=torch.Generator().manual_seed(0))
    data[:, 4, 4] = -data[:, 4, 5]
    queries = torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
    best = naive(data, (50, 60), queries, "cosine", False).max(1).values
    _, similarity = FullResolutionSearch(data, (50, 60))(queries)
    np.testing.assert_allclose(similarity, best.numpy(), atol=1e-5)


def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data, queries = smooth(8, 10, 11), torch.randn(70, 8, generator=torch.Generator().manual_seed(0))
    whole = FullResolutionSearch(data, (64, 90))(queries)
    monkeypatch.setattr(nearest, "BUDGET", 500)
    sliced = FullResolutionSearch(data, (64, 90))(queries)
    assert np.array_equal(whole[0], sliced[0])
    np.testing.assert_allclose(whole[1], sliced[1], atol=1e-6)


def test_degenerate_inputs() -> None:
    points, similarity = FullResolutionSearch(torch.ones(4, 3, 3), (20, 20))(torch.ones(2, 4))
    assert ((points >= 0) & (points < 20)).all()
    np.testing.assert_allclose(similarity, 1, atol=1e-6)
    assert len(FullResolutionSearch(torch.ones(4, 3, 3), (20, 20))(torch.ones(0, 4))[0]) == 0
    assert np.array_equal(FullResolutionSearch(torch.ones(4, 1, 1), (1, 1))(torch.ones(1, 4))[0], [[0, 0]])


@pytest.fixture
def rolled() -> tuple[FeatureMap, FeatureMap]:
    """Two maps of 8 pixels a cell; the second shows the first's content 3 cells further right and 2 further down."""
    data = smooth(24, 16, 20)
    return FeatureMap(data, (160, 128), "f"), FeatureMap(torch.roll(data, (2, 3), (1, 2)), (160, 128), "f")


def test_points_follow_a_rolled_map(rolled) -> None:
    source, target = rolled
    points = np.array([[35.5, 27.5], [43.5, 51.5], [100.0, 60.0]])
    matches = matching.match_points(source, points, target)
    np.testing.assert_allclose(matches.points, points + np.array([24, 16]), atol=1)
    assert (matches.similarity > 0.99).all() and (matches.cycle_error <= 1.5).all()
    assert (matches.confidence > 0).all() and (matches.confidence < 1).all()
    soft = matching.match_points(source, points, target, soft_argmax=True, temperature=1e-3, window=1)
    np.testing.assert_allclose(soft.points[:2], points[:2] + np.array([24, 16]), atol=1e-2)


@pytest.fixture(scope="module")
def cats(mini) -> tuple[FeatureMap, FeatureMap]:
    """A cat, and the same cat moved and darkened."""
    cat = pytest.importorskip("skimage.data").chelsea()
    return mini(cat), mini((np.roll(cat, (12, -18), (0, 1)) * 0.7).astype(np.uint8))


@pytest.fixture(scope="module")
def coffee(mini) -> FeatureMap:
    return mini(pytest.importorskip("skimage.data").coffee())


@pytest.mark.parametrize("consensus", [None, 0.0])
def test_confidence_is_low_on_a_picture_of_something_else(cats, coffee, consensus) -> None:
    points = [[195, 110], [270, 110], [230, 180]]  # the eyes, the nose
    same, other = (matching.match_points(cats[0], points, target, consensus=consensus) for target in (cats[1], coffee))
    assert same.confidence.min() > 0.4 and other.confidence.max() < 0.15


def test_confidence_falls_where_the_content_is_gone(rolled) -> None:
    source, target = rolled
    foreign = FeatureMap(smooth(24, 16, 20, seed=9), (160, 128), "f")
    points = np.stack(np.meshgrid(np.arange(20, 120, 10), np.arange(20, 100, 10)), -1).reshape(-1, 2)
    right, wrong = (matching.match_points(source, points, other) for other in (target, foreign))
    assert right.confidence.min() > wrong.confidence.mean()
    assert matching.cycle_error(source, points, target).max() < wrong.cycle_error.mean()


def test_dense_field_and_lattice(rolled) -> None:
    source, target = rolled
    field = matching.match_dense(source, target)
    assert field.points.shape == (16, 20, 2) and field.similarity.shape == (16, 20)
    inner = (field.points - field.source_points)[:-2, :-3]
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), (24, 16), atol=1)
    lattice = matching.match_dense(source, target, step=32)
    assert lattice.points.shape == (4, 5, 2)
    np.testing.assert_allclose(lattice.source_points[0, 0], (15.5, 15.5))


@pytest.mark.parametrize("options", [{}, {"consensus": 0.0}, {"soft_argmax": True}, {"metric": "l2"}])
def test_one_answer_to_one_question(cats, options: dict) -> None:
    """Points, lattices and round trips agree, with consensus and without."""
    source, target = cats
    settings = matching.MatchSettings(**options)
    field = matching.match_dense(source, target, step=40, settings=settings)
    points = field.source_points.reshape(-1, 2)
    found = matching.match_points(source, points, target, settings=settings)
    np.testing.assert_array_equal(field.points.reshape(-1, 2), found.points)
    np.testing.assert_array_equal(field.similarity.ravel(), found.similarity)
    np.testing.assert_array_equal(matching.cycle_error(source, points, target, settings=settings), found.cycle_error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "l2"}, "metric='l2'"),
        ({"features": "raw"}, "features='raw'"),
        ({"align_corners": True}, "align_corners=True"),
        ({"soft_argmax": True}, "soft_argmax=True"),
    ],
)
def test_what_consensus_cannot_follow_is_refused(rolled, options: dict, words: str) -> None:
    source, target = rolled
    with pytest.raises(SettingsError, match=words):
        matching.match_points(source, [(10, 10)], target, consensus=0.08, **options)
    assert len(matching.match_points(source, [(10, 10)], target, consensus=0.0, **options)) == 1
    for unused in ({"consensus": 0.08}, {"soft_argmax": True}):
        with pytest.raises(GeometryError, match="one by one"):
            matching.match_mutual(source, target, settings=matching.MatchSettings(**unused))


def test_a_fine_lattice_is_matched_in_slices(monkeypatch: pytest.MonkeyPatch, rolled) -> None:
    source, target = rolled
    whole = matching.match_dense(source, target, step=4)
    monkeypatch.setattr("dift_edit.matching.consensus.BUDGET", 5000)
    sliced = matching.match_dense(source, target, step=4)
    np.testing.assert_array_equal(whole.points, sliced.points)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_mutual_neighbours_equal_the_full_table(monkeypatch: pytest.MonkeyPatch, rolled, metric: str) -> None:
    monkeypatch.setattr(matching, "BUDGET", 1000)
    source, target = rolled
    settings = matching.MatchSettings(metric=metric, features="raw")
    rng = np.random.default_rng(0)
    points_a, points_b = rng.uniform(0, 120, (50, 2)), rng.uniform(0, 120, (70, 2))
    found = matching.match_mutual(source, target, points_a, points_b, settings=settings)
    a, b = (matching._sample(m, p, settings).double() for m, p in ((source, points_a), (target, points_b)))
    table = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T if metric == "cosine" else 1 - torch.cdist(a, b) ** 2 / 2
    pairs = [(i, int(j)) for i, j in enumerate(table.argmax(1)) if table[:, j].argmax() == i]
    assert list(zip(found.source_index.tolist(), found.target_index.tolist(), strict=True)) == pairs
    np.testing.assert_allclose(found.similarity, [table[i, j] for i, j in pairs], atol=1e-4)
    np.testing.assert_array_equal(found.target_points, points_b[found.target_index])
    assert len(matching.match_mutual(source, target)) > 100
    assert len(matching.match_mutual(source, target, np.zeros((0, 2)))) == 0


def test_similarity_map(rolled) -> None:
    source, target = rolled
    heat = matching.similarity_map(source, (35.5, 27.5), target)
    assert heat.shape == (16, 20)
    assert divmod(int(heat.argmax()), 20) == (5, 7)


def test_the_notebook_settings_equal_the_notebook(rolled) -> None:
    """Unit features on the grid, sampled with align_corners=True, least Euclidean distance to every pixel."""
    source, target = rolled
    pixels = np.random.default_rng(0).integers(0, 100, (40, 2))
    grid = torch.from_numpy(pixels / np.array([159, 127]) * 2 - 1).float()[None, None]
    queries = F.grid_sample(F.normalize(source.data, dim=0)[None], grid, align_corners=True)[0, :, 0].T
    distance = -naive(F.normalize(target.data, dim=0), (160, 128), queries, "l2", True)
    best = distance.argmin(1).numpy()
    matches = matching.match_points(source, pixels, target, metric="l2", align_corners=True)
    assert np.array_equal(matches.points, np.stack([best % 160, best // 160], 1))


def test_pictures_need_a_featurizer(mini, rng: np.random.Generator) -> None:
    image = de.as_image(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    matches = matching.match_points(image, [(10, 10), (30, 20)], image, featurizer=mini)
    np.testing.assert_allclose(matches.points, [(10, 10), (30, 20)], atol=1)
    with pytest.raises(GeometryError, match="featurizer"):
        matching.match_points(image, [(10, 10)], image)


def test_errors_are_sentences(rolled) -> None:
    source, target = rolled
    with pytest.raises(GeometryError, match="outside"):
        matching.match_points(source, [(10, 10), (170, 10)], target)
    with pytest.raises(GeometryError, match="finite"):
        matching.match_points(source, [(10, float("nan"))], target)
    with pytest.raises(GeometryError, match="different featurizers"):
        matching.match_points(source, [(10, 10)], FeatureMap(target.data, target.image_size, "g"))
    with pytest.raises(SettingsError, match="cosine, l2"):
        matching.MatchSettings(metric="dot")
    with pytest.raises(GeometryError, match="positive"):
        matching.match_dense(source, target, step=0)
