import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import dift_edit as de
from dift_edit.errors import ModelError, OutputError
from dift_edit.features.base import FeatureMap
from dift_edit.features.cache import CachedFeaturizer, FeatureCache, fit_pca


def feature_map(seed: int = 0, channels: int = 8, fingerprint: str = "f", digest: str = "d") -> FeatureMap:
    data = torch.randn(channels, 5, 7, generator=torch.Generator().manual_seed(seed))
    return FeatureMap(data, (70, 50), fingerprint, digest)


def picture(seed: int, size: tuple[int, int] = (40, 32)) -> de.Image:
    return de.as_image(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def test_a_map_comes_back_as_it_was(tmp_path: Path) -> None:
    cache, made = FeatureCache(tmp_path), feature_map()
    cache.put(made, seed=3)
    found = FeatureCache(tmp_path).get("d", "f", 3)
    assert found is not None
    assert torch.equal(found.data, made.data)
    assert (found.image_size, found.fingerprint, found.digest) == ((70, 50), "f", "d")


@pytest.mark.parametrize("other", [("d", "g", 3), ("e", "f", 3), ("d", "f", 4)])
def test_other_settings_pictures_and_seeds_are_not_found(tmp_path: Path, other: tuple[str, str, int]) -> None:
    cache = FeatureCache(tmp_path)
    cache.put(feature_map(), seed=3)
    assert cache.get(*other) is None
    # Even a file that was moved to the name of other settings is refused: its own metadata are compared.
    cache.path("d", "f", 3, "float32").rename(cache.path(*other, "float32"))
    assert cache.get(*other) is None or other == ("d", "f", 4)


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.put(feature_map())
    path = cache.path("d", "f", 0, "float32")
    for content in (b"", b"\xff" * 100, path.read_bytes()[:-20]):
        path.write_bytes(content)
        assert cache.get("d", "f") is None
        assert not path.exists()
    cache.put(feature_map())
    assert cache.get("d", "f") is not None


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    one = 8 * 5 * 7 * 4 + 400
    cache = FeatureCache(tmp_path, max_bytes=5 * one)
    for index in range(4):
        cache.put(feature_map(digest=str(index)))
        os.utime(cache.path(str(index), "f", 0, "float32"), ns=(0, 1_000_000_000 * (index + 1)))
    assert cache.get("0", "f") is not None
    for index in range(4, 7):
        cache.put(feature_map(digest=str(index)))
    assert cache.size() <= cache.max_bytes
    assert cache.get("0", "f") is not None, "it was read last"
    assert cache.get("1", "f") is None
    assert cache.get("6", "f") is not None


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    old, new = tmp_path / ".dift-edit-a.tmp", tmp_path / ".dift-edit-b.tmp"
    for path in (old, new):
        path.write_bytes(b"part")
    os.utime(old, (0, 0))
    cache.evict()
    assert not old.exists() and new.exists()


def _write_for_ever(folder: str, start: int) -> None:
    cache = FeatureCache(folder, max_bytes=300_000)
    index = start
    while True:
        cache.put(feature_map(index % 10, channels=64, digest=str(index % 10)))
        cache.get(str((index + 5) % 10), "f")
        index += 1


def test_two_writers_and_a_kill(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_for_ever, args=(str(tmp_path), start), daemon=True) for start in (0, 3)]
    for writer in writers:
        writer.start()
    cache, read, end = FeatureCache(tmp_path), 0, time.monotonic() + 1.5
    while time.monotonic() < end:
        for index in range(10):
            found = cache.get(str(index), "f")
            if found is not None:
                read += 1
                assert torch.equal(found.data, feature_map(index, channels=64).data)
    alive = [writer.is_alive() for writer in writers]
    for writer in writers:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    assert alive == [True, True] and read > 20
    for index in range(10):
        found = cache.get(str(index), "f")
        assert found is None or torch.equal(found.data, feature_map(index, channels=64).data)


def test_cached_features_equal_fresh_ones(mini, tmp_path: Path) -> None:
    cached = CachedFeaturizer(mini, FeatureCache(tmp_path))
    image = picture(0)
    fresh, again = cached(image, seed=1), cached(image, seed=1)
    assert (cached.hits, cached.misses) == (1, 1)
    assert torch.equal(fresh.data, mini(image, seed=1).data) and torch.equal(again.data, fresh.data)
    assert cached.fingerprint == mini.fingerprint == again.fingerprint
    assert cached.model == mini.model
    assert isinstance(cached, de.Featurizer)


@pytest.mark.slow
def test_reduced_features_do_not_depend_on_the_cache(mini, tmp_path: Path) -> None:
    pca = fit_pca([mini(picture(seed)) for seed in range(3)], 32)
    cached = CachedFeaturizer(mini, FeatureCache(tmp_path), dtype="float16", pca=pca)
    image = picture(5)
    fresh, again = cached(image), cached(image)
    assert torch.equal(fresh.data, again.data) and fresh.data.shape[0] == 32
    assert cached.fingerprint == fresh.fingerprint != mini.fingerprint
    # With as many components as directions in the data, cosines are kept.
    full = mini(image)
    exact = fit_pca([full], min(full.data[0].numel(), full.data.shape[0]))(full)
    expected = full.unit.flatten(1).T @ full.unit.flatten(1)
    assert torch.allclose(exact.unit.flatten(1).T @ exact.unit.flatten(1), expected, atol=1e-4)


def test_a_batch_mixes_cached_and_new(mini, tmp_path: Path) -> None:
    cached = CachedFeaturizer(mini, FeatureCache(tmp_path))
    images = [picture(seed) for seed in range(3)]
    cached(images[1])
    maps = cached.batch(images)
    assert [m.digest for m in maps] == [image.digest for image in images]
    assert (cached.hits, cached.misses) == (1, 3)


def test_errors_are_sentences(mini, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="choose another"):
        FeatureCache(file / "below")
    with pytest.raises(ModelError, match="float16"):
        CachedFeaturizer(mini, FeatureCache(tmp_path), dtype="int8")
    with pytest.raises(ModelError, match="components"):
        fit_pca([], 3)
    with pytest.raises(ModelError, match="channels"):
        fit_pca([feature_map()], 3)(feature_map(channels=9))
