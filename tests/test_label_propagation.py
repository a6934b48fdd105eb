import gc
import weakref

import numpy as np
import pytest
import torch

from dift_edit.clips.labels.carry import propagate_keypoints, propagate_labels
from dift_edit.clips.labels.coding import sharpness
from dift_edit.clips.labels.propagator import LabelPropagator
from dift_edit.clips.labels.settings import PropagationSettings
from dift_edit.errors import GeometryError, SettingsError
from dift_edit.features.base import FeatureMap
from dift_edit.matching.nearby import average_nearby


def random_maps(count: int, grid=(9, 7), stride=8, channels=24, seed=0) -> list[FeatureMap]:
    generator = torch.Generator().manual_seed(seed)
    width, height = grid
    return [
        FeatureMap(torch.randn(channels, height, width, generator=generator), (width * stride, height * stride))
        for _ in range(count)
    ]


def oracle(frames, first, settings):
    """The released algorithm, written with whole affinity matrices: exp, mask by multiplication, top k with ties."""
    height, width = first.shape[1:]
    y, x = np.divmod(np.arange(height * width), width)
    near = (abs(y[:, None] - y) <= settings.radius) & (abs(x[:, None] - x) <= settings.radius)
    kept, results = [(frames[0], first)], []
    for frame in frames[1:]:
        query = (frame.data / frame.data.norm(dim=0)).flatten(1).double().numpy()
        blocks = []
        for source, _ in kept:
            key = (source.data / source.data.norm(dim=0)).flatten(1).double().numpy()
            blocks.append(np.exp(key.T @ query / settings.temperature) * near)
        affinity = np.concatenate(blocks)
        smallest = np.sort(affinity, 0)[-settings.top_k]
        affinity[affinity < smallest] = 0
        affinity /= affinity.sum(0)
        labels = np.concatenate([soft.reshape(len(first), -1) for _, soft in kept], 1)
        result = (labels @ affinity).reshape(first.shape)
        results.append(result)
        kept = [kept[0], *kept[1:], (frame, result)]
        if len(kept) > settings.last_frames + 1:
            kept.pop(1)
    return results


@pytest.mark.parametrize("grid", [(9, 7), (35, 18)])
def test_equals_whole_affinity_matrices(grid, rng) -> None:
    settings = PropagationSettings(temperature=0.1, top_k=4, last_frames=2, radius=3, channels=0)
    maps = random_maps(5, grid)
    first = rng.random((3, grid[1], grid[0]))
    propagator = LabelPropagator(maps[0], torch.from_numpy(first), settings)
    for frame, expected in zip(maps[1:], oracle(maps, first, settings), strict=True):
        np.testing.assert_allclose(propagator(frame).numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(("maps", "radius"), [(1, 0), (3, 2), (2, 5), (4, 0)])
def test_local_affinities_equal_dense_ones_with_a_window(maps: int, radius: int, rng) -> None:
    height, width, top = 19, 27, 6
    queries, keys = (
        torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(*many, height, width, 12))), dim=-1)
        for many in ((), (maps,))
    )
    values = torch.from_numpy(rng.random((maps, height, width, 2)))
    means, likeness = average_nearby(queries, keys, values, radius=radius, top_k=top, temperature=0.1)

    y, x = np.divmod(np.arange(height * width), width)
    near = np.maximum(abs(y[:, None] - y), abs(x[:, None] - x)) <= (radius or max(height, width))
    dense = queries.reshape(-1, 12).numpy() @ keys.reshape(-1, 12).numpy().T
    dense[~np.tile(near, maps)] = -np.inf
    order = np.argsort(-dense, 1)[:, :top]
    weight = np.exp(np.take_along_axis(dense, order, 1) / 0.1)
    expected = ((weight / weight.sum(1, keepdims=True))[..., None] * values.reshape(-1, 2).numpy()[order]).sum(1)
    np.testing.assert_allclose(means.reshape(-1, 2), expected, atol=1e-12)
    np.testing.assert_allclose(likeness.flatten(), dense.max(1), atol=1e-12)


def test_without_a_radius_the_grids_may_differ() -> None:
    query, source = (one.unit.permute(1, 2, 0) for one in (random_maps(1)[0], random_maps(1, (5, 4), seed=1)[0]))
    values = torch.rand(1, 4, 5, 3)
    means, _ = average_nearby(query, source[None], values, top_k=1)
    nearest = (query.reshape(-1, 24) @ source.reshape(-1, 24).T).argmax(1)
    assert torch.equal(means.reshape(-1, 3), values.reshape(-1, 3)[nearest])
    with pytest.raises(GeometryError, match="radius 0"):
        average_nearby(query, source[None], values, radius=3)


def test_principal_directions_keep_what_varies(rng) -> None:
    base, first = random_maps(3, channels=6), rng.random((2, 7, 9))
    mixing = torch.from_numpy(rng.normal(size=(40, 6))).float()
    wide = [FeatureMap(torch.einsum("cd,dhw->chw", mixing, one.data), one.image_size) for one in base]
    scores = []
    for channels in (0, 6, 40, 3):
        propagator = LabelPropagator(wide[0], torch.from_numpy(first), PropagationSettings(channels=channels))
        scores.append([propagator(one) for one in wide[1:]][-1].numpy())
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4, err_msg="six directions hold all of it")
    np.testing.assert_array_equal(scores[2], scores[0])
    assert abs(scores[3] - scores[0]).max() > 1e-3


def test_a_blurred_label_is_less_sure() -> None:
    sharp = torch.zeros(2, 6, 8)
    sharp[1, 1:5, 2:6] = 1
    sharp[0] = 1 - sharp[1]
    blurred = 0.3 + 0.4 * sharp
    assert sharpness(sharp) == 1.0 and sharpness(blurred) == pytest.approx(0.7 * 16 / (16 + 0.3 * 32))
    assert sharpness(torch.stack([sharp[0], sharp[1], 0 * sharp[0]])) == 0.0, "one object is nowhere"
    assert sharpness(sharp[:1]) == 1.0


def test_zeros_that_enter_the_top_k_weigh_nothing(rng) -> None:
    settings = PropagationSettings(temperature=0.1, top_k=40, last_frames=0, radius=1)  # at most nine cells are near
    maps = random_maps(2)
    first = rng.random((2, 7, 9))
    got = LabelPropagator(maps[0], torch.from_numpy(first), settings)(maps[1])
    np.testing.assert_allclose(got.numpy(), oracle(maps, first, settings)[0], atol=2e-5)


@pytest.mark.parametrize("protocol", ["released", "corrected"])
def test_a_moving_picture_carries_its_labels(protocol: str, rng) -> None:
    base = random_maps(1, (30, 20), stride=4)[0]
    labels = np.zeros((80, 120), np.uint8)
    labels[24:48, 40:80] = 7
    labels[48:60, 20:32] = 200
    shifts = [0, 1, 2, 3]
    frames = [FeatureMap(torch.roll(base.data, shift, 2), base.image_size) for shift in shifts]
    results = list(propagate_labels(frames, labels, top_k=1, radius=0, last_frames=1, protocol=protocol))
    assert len(results) == 4 and results[0].labels is not None
    for shift, result in zip(shifts, results, strict=True):
        assert result.classes == (0, 7, 200) and result.labels.dtype == np.uint8
        inner = (slice(1, None, 4), slice(1, None, 4))  # corners of areas are rounded off between cells
        np.testing.assert_array_equal(result.labels[inner], np.roll(labels, 4 * shift, 1)[inner])


def test_keypoints_follow_a_moving_picture() -> None:
    base = random_maps(1, (30, 20), stride=4)[0]
    points = np.array([[49.5, 33.5], [61.5, 41.5]])  # centres of cells
    frames = [FeatureMap(torch.roll(base.data, (shift, 2 * shift), (1, 2)), base.image_size) for shift in range(3)]
    found = list(propagate_keypoints(frames, points, top_k=1, radius=0))
    for shift, result in enumerate(found):
        np.testing.assert_allclose(result, points + [8 * shift, 4 * shift], atol=1e-4)


def test_a_long_sequence_keeps_only_the_last_frames() -> None:
    maps = random_maps(1, (6, 5))
    propagator = LabelPropagator(maps[0], torch.ones(1, 5, 6), PropagationSettings(last_frames=3))
    for _ in range(10):
        propagator(maps[0])
        assert len(propagator._keys) == len(propagator._values) == 4


@pytest.mark.slow
def test_only_a_few_frames_are_alive_at_a_time() -> None:
    alive: set[int] = set()
    most = 0

    def frames():
        for number in range(10):
            one = random_maps(1, seed=number)[0]
            alive.add(number)
            weakref.finalize(one, alive.discard, number)
            yield one
            del one

    for _ in propagate_labels(frames(), np.eye(56, 72, dtype=int), last_frames=3):
        gc.collect()
        most = max(most, len(alive))
    assert most <= 2, "features are reduced and kept in a memory of fixed size"


def test_the_same_every_time(rng) -> None:
    labels = (rng.random((56, 72)) > 0.5).astype(int)
    first, second = (list(propagate_labels(random_maps(6), labels, channels=8)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.scores, other.scores) and np.array_equal(one.labels, other.labels)
        assert one.confidence == other.confidence


def test_wrong_input_is_named() -> None:
    maps = random_maps(2)
    with pytest.raises(GeometryError, match="the frame is 72×56"):
        next(propagate_labels(maps, np.zeros((5, 5), int)))
    with pytest.raises(GeometryError, match="whole numbers"):
        next(propagate_labels(maps, np.zeros((56, 72))))
    with pytest.raises(GeometryError, match="featurizer"):
        next(propagate_labels([np.zeros((8, 8, 3), np.uint8)], np.zeros((8, 8), int)))
    with pytest.raises(GeometryError, match="one size"):
        list(propagate_labels([maps[0], random_maps(1, (5, 5))[0]], np.zeros((56, 72), int)))
    with pytest.raises(SettingsError, match="top_k"):
        PropagationSettings(top_k=0)
    with pytest.raises(SettingsError, match="protocol"):
        PropagationSettings(protocol="other")
