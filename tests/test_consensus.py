import numpy as np
import torch

import dift_edit as de
from dift_edit.features.base import FeatureMap
from dift_edit.matching.consensus import consensus


def smooth_map(rng: np.random.Generator, height: int = 20, width: int = 26) -> torch.Tensor:
    noise = torch.from_numpy(rng.normal(size=(1, 32, height + 8, width + 8)).astype(np.float32))
    return torch.nn.functional.avg_pool2d(noise, 3, 1)[0, :, 3:-3, 3:-3]


def test_a_shifted_map_is_followed(rng: np.random.Generator) -> None:
    wide = smooth_map(rng, 30, 40)
    source = FeatureMap(wide[:, 2:22, 3:29].contiguous(), (260, 200))
    target = FeatureMap(wide[:, 5:25, 7:33].contiguous(), (260, 200))
    points = np.array([[100.0, 100], [150, 60], [180, 140]])
    matches = de.match_points(source, points, target)
    assert np.abs(matches.points - (points - [40, 30])).max() < 5
    assert (matches.confidence > 0.8).all() and (matches.cycle_error < 5).all()


def test_neighbours_outvote_a_wrong_twin(rng: np.random.Generator) -> None:
    wide = smooth_map(rng)
    height, width = wide.shape[1:]
    scene = wide.clone()
    scene[:, 4, 20] = wide[:, 10, 8] * 1.5  # a lone copy of one cell, somewhere else
    scene[:, 10, 8] += 0.35 * torch.from_numpy(rng.normal(size=32).astype(np.float32))
    source, target = (FeatureMap(data, (width * 10, height * 10)) for data in (wide, scene))
    point = np.array([[84.5, 104.5]])
    alone = de.match_points(source, point, target, consensus=0).points
    together = de.match_points(source, point, target).points
    assert np.linalg.norm(alone - [204.5, 44.5]) < 12, "without neighbours the copy wins"
    assert np.linalg.norm(together - point) < 12


def test_scales_find_an_object_of_another_size(rng: np.random.Generator) -> None:
    wide = smooth_map(rng, 24, 24)
    small = torch.nn.functional.interpolate(wide[None], size=(14, 14), mode="bilinear", antialias=True)[0]
    scene = smooth_map(np.random.default_rng(1), 24, 24)
    scene[:, 5:19, 8:22] = small
    source, target = FeatureMap(wide, (240, 240)), FeatureMap(scene, (240, 240))
    points = np.stack(np.meshgrid(np.arange(40.0, 210, 20), np.arange(40.0, 210, 20)), -1).reshape(-1, 2)
    expected = (points + 0.5) * 14 / 24 - 0.5 + [80, 50]
    matched, _ = consensus(source, target, scales=(0.6, 1.0, 1.6)).match(points)
    assert np.median(np.linalg.norm(matched - expected, axis=1)) < 8


def test_reversed_exchanges_the_pictures(rng: np.random.Generator) -> None:
    first, second = FeatureMap(smooth_map(rng), (260, 200)), FeatureMap(smooth_map(rng, 12, 15), (90, 72))
    scores = consensus(first, second)
    assert scores.scores.shape == (20, 26, 12, 15) and scores.reversed.scores.shape == (12, 15, 20, 26)
    assert torch.isfinite(scores.scores).all() and scores.reversed.target_size == (260, 200)
