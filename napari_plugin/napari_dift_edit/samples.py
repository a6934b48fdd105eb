"""File ▸ Open Sample ▸ dift-edit."""

import json
from importlib.resources import files
from typing import Any

import numpy as np

__all__ = ["open_cat"]


def open_cat() -> list[tuple[Any, ...]]:
    """The bundled pictures: the source, the sticker where it belongs on it, and the targets, side by side.

    Returns
    -------
    list of (data, attributes, type)
        Layers for napari.
    """
    import PIL.Image

    folder = files("dift_edit") / "samples"
    table = json.loads((folder / "samples.json").read_text(encoding="utf-8"))

    def pixels(name: str) -> Any:
        with (folder / name).open("rb") as file, PIL.Image.open(file) as picture:
            return np.asarray(picture.convert("RGBA" if name.endswith(".png") and "A" in picture.getbands() else "RGB"))

    layers: list[tuple[Any, ...]] = []
    for entry in (table["source"], *table["targets"]):
        name = entry.get("name", "cat (source)")
        metadata = {"dift-edit": {"sample": entry["file"]}}
        layers.append((pixels(entry["file"]), {"name": name, "metadata": metadata}, "image"))
    sticker = table["sticker"]
    left, top = sticker["at"][:2]
    layers.append(
        (pixels(sticker["file"]), {"name": "sticker", "translate": (top, left),
                                   "metadata": {"dift-edit": {"sample": sticker["file"], "used": True}}}, "image")
    )  # fmt: skip
    return layers
