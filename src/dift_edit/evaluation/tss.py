"""TSS: dense semantic flow on foreground pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dift_edit.evaluation.base import BenchmarkOptions, Dataset, Item, Maps, Prediction, Score, mean
from dift_edit.imaging.files import as_image

__all__ = ["TSS", "TssBenchmark", "read_flow"]

TSS = Dataset(
    name="TSS",
    page="https://taniai.space/projects/cvpr16_dccs/",
    layout="{FG3DCar,JODS,PASCAL}/PAIR/{image1.png,image2.png,flow1.flo,flow2.flo,mask1.png,mask2.png,flip_gt.txt}",
)
SUBSETS = ("FG3DCar", "JODS", "PASCAL")
_UNKNOWN = 1e9
"""Flow of pixels without a truth, in Middlebury's ``.flo`` format (Baker et al., 2011)."""


def read_flow(path: Path) -> npt.NDArray[np.float32]:
    """(H, W, 2) flow of a Middlebury ``.flo`` file; a pixel is unknown where a value is above 1e9 in size.

    Raises
    ------
    DatasetError
        If the file is no flow file or cut short.
    """
    raw = path.read_bytes()
    header = np.frombuffer(raw[:4], "<f4")
    width, height = np.frombuffer(raw[4:12], "<i4") if len(raw) >= 12 else (0, 0)
    if not len(header) or header[0] != np.float32(202021.25) or len(raw) < 12 + 8 * int(width) * int(height):
        raise TSS.error(f"{path} is not a flow file or is cut short")
    data = np.frombuffer(raw, "<f4", 2 * int(width) * int(height), 12)
    return data.reshape(int(height), int(width), 2)


class TssBenchmark:
    """Flow accuracy: share of foreground pixels whose flow is right within alpha times the image's longer side.

    Both directions of every pair are scored. Where ``flip_gt.txt`` says 1 the objects face opposite ways, and the
    annotated flow points into the mirrored other image: it is mirrored before it is matched.

    References
    ----------
    Taniai et al., Joint Recovery of Dense Correspondence and Cosegmentation in Two Images, CVPR 2016, section 6
    (5 pixels at a longer side of 100 pixels).
    """

    name = "tss"
    dataset = TSS
    headline = "accuracy@0.05"

    def __init__(self, root: Path, options: BenchmarkOptions, seed: int = 0) -> None:
        self.root = root / "TSS_CVPR2016" if (root / "TSS_CVPR2016").is_dir() else root
        self.options = options

    def items(self) -> list[Item]:
        """Both directions of all pairs."""
        subsets = [self.options.split] if self.options.split else list(SUBSETS)
        TSS.require(self.root / subset for subset in subsets)
        items, files = [], []
        for subset in subsets:
            for folder in sorted(path for path in (self.root / subset).iterdir() if path.is_dir()):
                for first, second in ((1, 2), (2, 1)):
                    names = (f"image{first}.png", f"image{second}.png", f"flow{first}.flo", f"mask{first}.png")
                    paths = [folder / name for name in names]
                    files += [*paths, folder / "flip_gt.txt"]
                    items.append(Item(f"{subset}/{folder.name}/{first}", subset, tuple(paths)))
        TSS.require(files)
        return items

    def predict(self, item: Item, maps: Maps, folder: Path) -> Prediction:
        """Matches of a lattice of the foreground's pixels."""
        source_path, target_path, _, mask_path = item.data
        flip = source_path.with_name("flip_gt.txt").read_text().split()[:1] == ["1"]
        source = maps(source_path)
        points = _lattice(mask_path, self.options.step)
        inside = (points <= np.asarray(source.image_size) - 1).all(1)
        found = maps.nearest(source, points[inside], target_path, self.options, mirrored=flip)
        return {"from": points[inside].astype(int).tolist(), "to": found.astype(int).tolist()}

    def score(self, item: Item, prediction: Prediction, folder: Path) -> Score:
        """Share of the lattice's known pixels with the right flow."""
        flow = read_flow(item.data[2])
        start = np.asarray(prediction["from"], dtype=np.int64).reshape(-1, 2)
        truth = flow[start[:, 1], start[:, 0]].astype(np.float64)
        known = (np.abs(truth) < _UNKNOWN).all(1)
        if not known.any():
            return {"value": None, "shares": {}}
        error = np.linalg.norm(np.asarray(prediction["to"]).reshape(-1, 2)[known] - start[known] - truth[known], axis=1)
        size = max(flow.shape[:2])
        shares = {str(alpha): float((error <= alpha * size).mean()) for alpha in (0.05, 0.1)}
        return {"value": shares["0.05"], "shares": shares}

    def summarise(self, scores: Sequence[Score]) -> dict[str, float]:
        """Mean over pairs, in per cent."""
        counted = [score["shares"] for score in scores if score["shares"]]
        return {f"accuracy@{alpha}": 100 * mean(part[alpha] for part in counted) for alpha in ("0.05", "0.1")}


def _lattice(mask_path: Path, step: int) -> npt.NDArray[Any]:
    mask = as_image(mask_path).pixels[..., 0] > 0
    y, x = np.nonzero(mask[::step, ::step])
    return np.stack([x, y], 1).astype(np.float64) * step
