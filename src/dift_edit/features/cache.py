"""Features on disk, so that a picture is run through a network once.

The name of a file follows from the picture's content, the featurizer's fingerprint (weights and all settings), the
seed and the way of storing: a map made with other settings can never be found under it. Files appear whole or not at
all (`write_atomic`), and reading, writing and evicting need no lock: several processes may share a folder.
"""

import contextlib
import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dift_edit.atomic_files import write_atomic
from dift_edit.errors import ModelError, OutputError
from dift_edit.features.base import FeatureMap, Featurizer, ModelInfo
from dift_edit.imaging.files import as_image
from dift_edit.settings import fingerprint
from dift_edit.types import ImageLike

__all__ = ["CachedFeaturizer", "FeatureCache", "Pca", "default_cache_folder", "fit_pca"]

_log = logging.getLogger(__name__)

FORMAT = "3"
"""Part of every key: raise it when files would be read differently, or pictures are resampled differently."""
STALE_SECONDS = 3600
"""Temporary files of a killed writer are removed after this time."""


def default_cache_folder() -> Path:
    """Where features are kept when no folder is named: ``$DIFT_EDIT_CACHE`` or the user's cache folder."""
    if chosen := os.environ.get("DIFT_EDIT_CACHE"):
        return Path(chosen) / "features"
    import platformdirs

    return platformdirs.user_cache_path("dift-edit") / "features"


class FeatureCache:
    """A folder of feature maps, bounded in size; what was not used for longest goes first.

    Parameters
    ----------
    folder : path, optional
        Made when it does not exist; `default_cache_folder()` by default.
    max_bytes : int
        The folder's files are kept below this size, up to what writers add at the same moment.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path | str | None = None, *, max_bytes: int = 4 << 30) -> None:
        self.folder = Path(folder) if folder is not None else default_cache_folder()
        self.max_bytes = max_bytes
        self._unchecked = max_bytes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The cache folder {self.folder} cannot be made ({error.strerror}): choose another one."
            ) from error

    def path(self, digest: str, fingerprint: str, seed: int, storage: str) -> Path:
        """The file of a map."""
        key = json.dumps([FORMAT, digest, fingerprint, seed, storage])
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"

    def get(self, digest: str, fingerprint: str, seed: int = 0, storage: str = "float32") -> FeatureMap | None:
        """The map of a picture, or None.

        Parameters
        ----------
        digest : str
            Of the picture's content.
        fingerprint : str
            Of the featurizer that would make it.
        seed : int
            Of its noise.
        storage : str
            How it is stored.

        Returns
        -------
        FeatureMap or None
            A damaged file is removed and counts as none.
        """
        from safetensors import safe_open

        path = self.path(digest, fingerprint, seed, storage)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                data = file.get_tensor("features")
        except FileNotFoundError:
            return None
        except Exception:  # noqa: BLE001 - whatever is wrong with a cached file, the map can be made again
            _log.warning("%s in the feature cache cannot be read: its features are computed again.", path)
            path.unlink(missing_ok=True)
            return None
        whole = metadata.get("crc32") == _checksum(data, metadata.get("image_size", ""))
        if not whole or metadata.get("digest") != digest or metadata.get("fingerprint") != fingerprint:
            _log.warning("%s in the feature cache is damaged: its features are computed again.", path)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        width, height = json.loads(metadata["image_size"])
        return FeatureMap(data, (width, height), fingerprint, digest)

    def put(self, features: FeatureMap, seed: int = 0, storage: str = "float32") -> None:
        """Store a map under its digest and fingerprint; then evict old ones if the folder has grown too large.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        from safetensors.torch import save

        data = features.data.detach().cpu().contiguous()
        metadata = {
            "crc32": _checksum(data, json.dumps(features.image_size)),
            "digest": features.digest,
            "fingerprint": features.fingerprint,
            "image_size": json.dumps(features.image_size),
            "seed": str(seed),
            "storage": storage,
        }
        raw = save({"features": data}, metadata)
        path = self.path(features.digest, features.fingerprint, seed, storage)
        write_atomic(path, lambda file: file.write(raw))
        # Looking through the folder costs time, so do it after each sixteenth part of the bound.
        self._unchecked += len(raw)
        if self._unchecked >= self.max_bytes / 16:
            self.evict()

    def size(self) -> int:
        """Bytes of all maps."""
        return sum(size for _, size, _ in self._entries())

    def evict(self) -> int:
        """Remove what was used longest ago until the folder is within its bound.

        Returns
        -------
        int
            Number of maps that were removed.
        """
        for leftover in self.folder.glob(".dift-edit-*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                    leftover.unlink()
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        # Leave room for what comes before the next look, but keep the newest map in any case.
        bound, removed = self.max_bytes * 15 / 16, 0
        for _, size, path in entries[:-1]:
            if total <= bound:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                removed += 1
            total -= size
        self._unchecked = 0
        return removed

    def clear(self) -> int:
        """Remove all maps; returns how many."""
        entries = self._entries()
        for _, _, path in entries:
            path.unlink(missing_ok=True)
        return len(entries)

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(time of last use in ns, bytes, path) of each map."""
        entries = []
        for path in self.folder.glob("*.safetensors"):
            with contextlib.suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        return entries


def _checksum(data: torch.Tensor, image_size: str) -> str:
    """Of a map's numbers, shape, type and picture size: tells a fault of the disk from what was stored."""
    content = zlib.crc32(data.flatten().view(torch.uint8).numpy().data)
    return f"{zlib.crc32(f'{tuple(data.shape)} {data.dtype} {image_size}'.encode(), content):08x}"


@dataclass(frozen=True, eq=False)
class Pca:
    """Principal components of features, made by `fit_pca`.

    Attributes
    ----------
    mean : torch.Tensor
        (C,) float32.
    basis : torch.Tensor
        (C, K) float32 with orthonormal columns.
    """

    mean: torch.Tensor
    basis: torch.Tensor

    def fingerprint(self) -> str:
        """Digest of the numbers."""
        content = self.mean.numpy().tobytes() + self.basis.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    def __call__(self, features: FeatureMap) -> FeatureMap:
        """The map with K channels instead of C: coordinates of the centred unit features.

        Raises
        ------
        ModelError
            If the map has another number of channels.
        """
        if features.data.shape[0] != len(self.mean):
            raise ModelError(
                f"The reduction was fitted to {len(self.mean)} channels, but the map has {features.data.shape[0]}: "
                "fit it to maps of the same featurizer."
            )
        unit = features.unit
        centred = unit - self.mean.to(unit.device)[:, None, None]
        reduced = torch.einsum("chw,ck->khw", centred, self.basis.to(unit.device))
        return replace(features, data=reduced, fingerprint=fingerprint(features.fingerprint, self.fingerprint()))


def fit_pca(maps: Iterable[FeatureMap], components: int, *, center: bool = False) -> Pca:
    """The directions in which the features of some typical pictures vary most.

    Parameters
    ----------
    maps : iterable of FeatureMap
        Maps of one featurizer; their cells are the samples.
    components : int
        Number of directions.
    center : bool
        Subtract the mean first. Without, cosines of the reduced features approximate those of the full ones.

    Returns
    -------
    Pca

    Raises
    ------
    ModelError
        If there are no maps, or fewer channels than components.
    """
    total, square, count = None, None, 0
    for features in maps:
        cells = features.unit.flatten(1).double().cpu()
        total = cells.sum(1) if total is None else total + cells.sum(1)
        square = cells @ cells.T if square is None else square + cells @ cells.T
        count += cells.shape[1]
    if total is None or square is None or not 1 <= components <= len(total):
        raise ModelError(
            f"A reduction to {components} components needs at least one map with as many channels: give some maps."
        )
    mean = total / count if center else torch.zeros_like(total)
    _, vectors = torch.linalg.eigh(square / count - torch.outer(mean, mean))
    return Pca(mean.float(), vectors.flip(1)[:, :components].float().contiguous())


class CachedFeaturizer(Featurizer):
    """A featurizer that looks into a `FeatureCache` first. What it returns does not depend on what was cached.

    Parameters
    ----------
    featurizer : Featurizer
        Makes what is missing.
    cache : FeatureCache
        Where maps are kept.
    dtype : str
        "float32", or "float16" for half the size (relative rounding error 5e-4; the fingerprint changes).
    pca : Pca, optional
        Reduce the channels before storing (the fingerprint changes).

    Raises
    ------
    ModelError
        If the type is neither.
    """

    def __init__(
        self, featurizer: Featurizer, cache: FeatureCache, *, dtype: str = "float32", pca: Pca | None = None
    ) -> None:
        if dtype not in ("float32", "float16"):
            raise ModelError(f"Features cannot be cached as {dtype!r}: use float32 or float16.")
        self.featurizer = featurizer
        self.cache = cache
        self.hits = 0
        self.misses = 0
        self._dtype = getattr(torch, dtype)
        self._storage = dtype
        self._pca = pca

    @property
    def fingerprint(self) -> str:
        """Of the featurizer, and of the reduction where it is not exact."""
        inner = self.featurizer.fingerprint
        if self._pca is not None:
            inner = fingerprint(inner, self._pca.fingerprint())
        return inner if self._storage == "float32" else fingerprint(inner, self._storage)

    @property
    def model(self) -> ModelInfo:
        """The weights' identity."""
        return self.featurizer.model

    @property
    def parallel(self) -> int:
        """As the featurizer's."""
        return self.featurizer.parallel

    @property
    def screening(self) -> Featurizer:
        """The featurizer's; without the cache where it is another one: what is screened is rarely seen again."""
        quicker = self.featurizer.screening
        return self if quicker is self.featurizer else quicker

    def for_category(self, category: str) -> "CachedFeaturizer":
        """With the category in the featurizer's prompt; the cache is shared."""
        chosen = self.featurizer.for_category(category)
        return CachedFeaturizer(chosen, self.cache, dtype=self._storage, pca=self._pca)

    def __call__(self, image: ImageLike, *, seed: int = 0) -> FeatureMap:
        """Features of a picture: from the disk, or made and kept."""
        picture = as_image(image)
        found = self._look_up(picture.digest, seed)
        return found if found is not None else self._keep(self.featurizer(picture, seed=seed), seed)

    def batch(self, images: Sequence[ImageLike], *, seed: int = 0) -> list[FeatureMap]:
        """Features of several pictures; the missing ones are made together."""
        pictures = [as_image(image) for image in images]
        found = [self._look_up(picture.digest, seed) for picture in pictures]
        missing = [picture for picture, features in zip(pictures, found, strict=True) if features is None]
        made = self.featurizer.batch(missing, seed=seed) if missing else []
        fresh = iter([self._keep(features, seed) for features in made])
        return [features if features is not None else next(fresh) for features in found]

    def _look_up(self, digest: str, seed: int) -> FeatureMap | None:
        found = self.cache.get(digest, self.fingerprint, seed, self._storage)
        self.hits += found is not None
        self.misses += found is None
        return replace(found, data=found.data.float()) if found is not None else None

    def _keep(self, features: FeatureMap, seed: int) -> FeatureMap:
        if self._pca is not None:
            features = self._pca(features)
        stored = replace(features, data=features.data.to("cpu", self._dtype), fingerprint=self.fingerprint)
        self.cache.put(stored, seed, self._storage)
        return replace(stored, data=stored.data.float())
