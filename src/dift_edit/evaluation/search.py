"""The DIFT paper's grid search: which timestep and which block of the network suit a task.

All blocks of one timestep come from one pass: the network is run once for an input, and the outputs of its blocks
are replayed to the featurizers of the single blocks.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dift_edit.atomic_files import parse_object, write_text
from dift_edit.errors import DatasetError, ModelError
from dift_edit.evaluation.base import BenchmarkOptions, Maps
from dift_edit.evaluation.runner import load_benchmark, spread, tabulate
from dift_edit.features.hooks import run_until
from dift_edit.features.pixel_diffusion import PixelDiffusionFeaturizer
from dift_edit.features.stable_diffusion import StableDiffusionFeaturizer
from dift_edit.imaging.image import Image

__all__ = ["GridPoint", "ReplayNetwork", "grid_picture", "grid_search", "recommend"]


@dataclass(frozen=True, kw_only=True)
class GridPoint:
    """One setting and what it scored.

    Attributes
    ----------
    size, ensemble, timestep, block : int
        The setting; `block` counts the blocks of the way up.
    numbers : dict
        The benchmark's numbers over everything.
    """

    size: int
    ensemble: int
    timestep: int
    block: int
    numbers: dict[str, float]


class ReplayNetwork(torch.nn.Module):
    """Stands in for a U-Net: runs it once for an input and gives the outputs of its blocks again afterwards.

    Parameters
    ----------
    network : torch.nn.Module
        The U-Net; it is not changed.
    blocks : sequence of int
        Blocks of the way up whose outputs are wanted.
    keep : int
        Number of last inputs whose outputs are kept.
    """

    def __init__(self, network: Any, blocks: Sequence[int], keep: int = 4) -> None:
        super().__init__()
        self.network = [network]  # in a list, so that it does not count as a part of this module
        self.config = network.config
        self.names = [f"up_blocks.{block}" for block in sorted(set(blocks))]
        self.up_blocks = torch.nn.ModuleList(torch.nn.Identity() for _ in range(max(blocks) + 1))
        self.passes = 0
        self._keep = keep
        self._seen: OrderedDict[bytes, dict[str, torch.Tensor]] = OrderedDict()

    def forward(self, sample: torch.Tensor, timestep: Any, **more: Any) -> None:
        """Replay the outputs of an input that was seen; else run the network as far as the last block."""
        import hashlib

        states = more.get("encoder_hidden_states")
        digest = hashlib.sha256(sample.detach().float().cpu().numpy().tobytes())
        digest.update(str((tuple(sample.shape), torch.as_tensor(timestep).flatten()[0].item())).encode())
        if states is not None:
            digest.update(states.detach().float().cpu().numpy().tobytes())
        key = digest.digest()
        if key not in self._seen:
            self.passes += 1
            self._seen[key] = run_until(self.network[0], self.names, lambda: self.network[0](sample, timestep, **more))
            while len(self._seen) > self._keep:
                self._seen.popitem(last=False)
        for name in self.names:
            self.get_submodule(name)(self._seen[key][name])


def _changes(featurizer: Any, blocks: Sequence[int], size: int, ensemble: int, timestep: int) -> dict[int, Any]:
    """Block → featurizer; all share one network and see inputs of one size."""
    if not isinstance(featurizer, PixelDiffusionFeaturizer | StableDiffusionFeaturizer):
        raise ModelError("A grid search needs a diffusion model, such as dift-mini, adm or sd21.")
    count = len(featurizer.unet.up_blocks)
    if bad := [block for block in blocks if not 0 <= block < count]:
        raise ModelError(f"The up blocks {bad} do not exist in this model: use 0 to {count - 1}.")
    vae = featurizer.vae if isinstance(featurizer, StableDiffusionFeaturizer) else None
    latent = vae is not None
    replay = ReplayNetwork(featurizer.unet, blocks)
    featurizers = {}
    for block in blocks:
        changes: dict[str, Any] = {"timestep": timestep}
        if ensemble:
            changes["ensemble"] = ensemble
        if latent:
            changes["up_block"] = block
        else:
            changes["layers"] = (f"up_blocks.{block}",)
        if size:
            changes["image_size" if latent else "short_sides"] = size if latent else (size,)
        # Sides that suit the coarsest block suit all of them: then one pass serves them all.
        patch = 2 ** (len(vae.config.block_out_channels) - 1) if vae is not None else 1
        unshuffle = 1 if latent else math.isqrt(max(featurizer.unet.config.in_channels // 3, 1))
        coarsest = patch * unshuffle * 2 ** (count - 1)
        if featurizer.settings.floor_to % coarsest or not featurizer.settings.floor_to:
            changes["floor_to"] = coarsest
        chosen = featurizer.with_settings(**changes)
        chosen.unet = replay
        featurizers[block] = chosen
    return featurizers


def grid_search(
    name: str,
    root: Path | str,
    featurizer: Any,
    *,
    timesteps: Sequence[int],
    blocks: Sequence[int],
    sizes: Sequence[int] = (0,),
    ensembles: Sequence[int] = (0,),
    options: BenchmarkOptions | None = None,
    folder: Path | str,
    limit: int = 0,
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Any] = iter,
) -> list[GridPoint]:
    """Score every combination; a combination that is in the folder already is not run again.

    Parameters
    ----------
    name, root, options, limit, seed
        As for `run_benchmark`.
    featurizer : Featurizer
        A diffusion model; its other settings stay as they are, but sides are rounded down so that they suit the
        coarsest block.
    timesteps, blocks : sequence of int
        The grid.
    sizes, ensembles : sequence of int
        Further axes; 0 leaves the featurizer's own.
    folder : path
        Where results are kept.
    progress : callable
        Wraps the list of passes, as ``tqdm`` does.

    Returns
    -------
    list of GridPoint

    Raises
    ------
    DatasetError
        If files are missing, or the folder holds a search with other settings.
    ModelError
        If the featurizer is no diffusion model, or a block or timestep does not exist.
    """
    options = options or BenchmarkOptions()
    benchmark = load_benchmark(name, root, options, seed)
    if not timesteps or not blocks:
        raise DatasetError("A grid search needs at least one timestep and one block.")
    items = spread(benchmark.items(), limit)
    store = _Store(
        Path(folder),
        {
            "benchmark": name, "root": str(Path(root).resolve()), "fingerprint": featurizer.fingerprint,
            "options": asdict(options), "limit": limit, "seed": seed,
        },
    )  # fmt: skip
    passes = [(size, ensemble, t) for size in sizes for ensemble in ensembles for t in timesteps]
    for size, ensemble, t in progress(passes):
        wanted = [block for block in blocks if store.key(size, ensemble, t, block) not in store.points]
        if not wanted:
            continue
        maps = {
            block: Maps(one, seed=seed, max_bytes=(1 << 30) // len(wanted))
            for block, one in _changes(featurizer, wanted, size, ensemble, t).items()
        }
        scores: dict[int, dict[str, Any]] = {block: {} for block in wanted}
        for item in items:
            for block in wanted:
                place = store.folder / f"{size}-{ensemble}-{t}-{block}"
                prediction = benchmark.predict(item, maps[block], place)
                scores[block][item.key] = benchmark.score(item, prediction, place)
        for block in wanted:
            numbers = tabulate(benchmark, items, scores[block])["all"]
            store.add(GridPoint(size=size, ensemble=ensemble, timestep=t, block=block, numbers=numbers))
    keys = [store.key(*part, block) for part in passes for block in blocks]
    return [store.points[key] for key in keys]


class _Store:
    """Finished points in one JSON file."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.points: dict[str, GridPoint] = {}
        self._settings = json.loads(json.dumps(settings))
        self._path = folder / "search.json"
        folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            try:
                record = parse_object(self._path.read_text())
                different = [key for key in self._settings if record["settings"].get(key) != self._settings[key]]
                points = {key: GridPoint(**point) for key, point in record["points"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise DatasetError(f"{self._path} is damaged: remove it, or choose another output folder.") from error
            if different:
                raise DatasetError(
                    f"{self._path} holds a search with another {', '.join(different)}: choose another output folder."
                )
            self.points = points

    @staticmethod
    def key(size: int, ensemble: int, timestep: int, block: int) -> str:
        """Name of a combination."""
        return f"{size}-{ensemble}-{timestep}-{block}"

    def add(self, point: GridPoint) -> None:
        """Keep a point on the disk."""
        self.points[self.key(point.size, point.ensemble, point.timestep, point.block)] = point
        record = {"settings": self._settings, "points": {key: asdict(value) for key, value in self.points.items()}}
        write_text(self._path, json.dumps(record, indent=1))


def recommend(points: Sequence[GridPoint], headline: str) -> str:
    """One line that says which setting is best, and by how much."""
    ranked = sorted(points, key=lambda point: -_finite(point.numbers[headline]))
    best = ranked[0]
    line = f"recommended: timestep={best.timestep} block={best.block}"
    line += f" size={best.size}" * bool(best.size) + f" ensemble={best.ensemble}" * bool(best.ensemble)
    line += f" ({headline} {best.numbers[headline]:.1f}"
    if len(ranked) > 1:
        second = ranked[1]
        line += f"; next: timestep={second.timestep} block={second.block} {second.numbers[headline]:.1f}"
    return line + ")"


def _finite(value: float) -> float:
    return -math.inf if value is None or math.isnan(value) else value


def grid_picture(points: Sequence[GridPoint], headline: str, *, cell: int = 72) -> Image:
    """A heat map with a column a timestep and a row a block (and size and ensemble), the best framed.

    Parameters
    ----------
    points : sequence of GridPoint
        Of `grid_search`.
    headline : str
        The number that is shown.
    cell : int
        Side of a cell in pixels.

    Returns
    -------
    Image
    """
    import numpy as np
    import PIL.Image
    from PIL import ImageDraw, ImageFont

    columns = sorted({point.timestep for point in points})
    rows = sorted({(point.size, point.ensemble, point.block) for point in points})
    values = {(p.size, p.ensemble, p.block, p.timestep): _finite(p.numbers[headline]) for p in points}
    known = [value for value in values.values() if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    left, top = 190, 56
    picture = PIL.Image.new("RGB", (left + cell * len(columns) + 16, top + cell * len(rows) + 16), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    draw.text((12, 8), f"{headline} by timestep and block", fill="black", font=font)
    for j, t in enumerate(columns):
        draw.text((left + cell * (j + 0.5), top - 6), f"t={t}", fill="black", font=font, anchor="ms")
    for i, (size, ensemble, block) in enumerate(rows):
        label = f"block {block}" + f", {size} px" * bool(size) + f", ×{ensemble}" * bool(ensemble)
        draw.text((left - 8, top + cell * (i + 0.5)), label, fill="black", font=font, anchor="rm")
        for j, t in enumerate(columns):
            value = values.get((size, ensemble, block, t), -math.inf)
            share = (value - low) / (high - low) if math.isfinite(value) and high > low else 0.5
            # From dark violet to yellow, with rising lightness, so that it reads in gray as well.
            color = np.array([68, 1, 84]) * (1 - share) + np.array([253, 231, 37]) * share
            box = [left + cell * j, top + cell * i, left + cell * (j + 1) - 2, top + cell * (i + 1) - 2]
            draw.rectangle(box, fill=tuple(int(part) for part in color))
            if value == high:
                draw.rectangle(box, outline="#d00000", width=3)
            text = f"{value:.1f}" if math.isfinite(value) else "–"
            ink = "black" if share > 0.55 else "white"
            draw.text((box[0] + cell / 2, box[1] + cell / 2), text, fill=ink, font=font, anchor="mm")
    return Image(np.asarray(picture).copy())
