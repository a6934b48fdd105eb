"""Make the pictures of docs/edits.md from the bundled samples, whose places are known (no model is needed).

python tools/make_edit_pictures.py [docs/images]
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np

from dift_edit import viz
from dift_edit.edits import (
    ColorAdjust,
    Erase,
    Keypoints,
    LabelLayer,
    Polygon,
    Redaction,
    Region,
    Sticker,
    edit_from_difference,
)
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.quad import quad_matrix
from dift_edit.imaging.files import load_image
from dift_edit.rendering.compositing import Compositing

SAMPLES = Path(str(files("dift_edit") / "samples"))
TARGETS = ("watercolour", "night", "framed")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = json.loads((SAMPLES / "samples.json").read_text("utf-8"))
    source = load_image(SAMPLES / told["source"]["file"])
    sticker = Sticker.from_file(SAMPLES / told["sticker"]["file"], at=told["sticker"]["at"], source_size=source.size)
    corners = np.array(told["sticker"]["quad"])
    targets = {item["name"]: item for item in told["targets"]}
    pictures = {name: load_image(SAMPLES / targets[name]["file"]) for name in TARGETS}
    places = {name: MatrixTransform(quad_matrix(corners, np.array(targets[name]["truth"]["quad"]))) for name in TARGETS}
    same = MatrixTransform(np.eye(3))
    marks = {name: np.array(point) for name, point in told["source"]["landmarks"].items()}
    face = Region.ellipse(230, 130, 480, 440)
    eye = Region.ellipse(*(marks["left_eye"] - (75, 65)), 150, 130)
    left, right, nose = marks["left_eye"], marks["right_eye"], marks["nose"]
    labels = LabelLayer(
        polygons=[Polygon(np.array([left + (-60, -40), right + (50, -30), nose + (60, 40), nose + (-90, 40)]), "face")],
        keypoints=[Keypoints(np.array(list(marks.values())), tuple(marks))],
    )
    edits = {
        "Sticker": (sticker, {}),
        "ColorAdjust: hue": (ColorAdjust(region=face, hue=150, saturation=1.5), {"feather": 60}),
        "ColorAdjust: recolor": (ColorAdjust(region=eye, recolor="#2f7fe0"), {"feather": 25}),
        "Redaction: pixelate": (Redaction(region=face, margin=0), {}),
        "Erase": (Erase(Region.ellipse(*(marks["nose"] - (70, 50)), 130, 110)), {"feather": 12}),
        "LabelLayer": (labels, {}),
    }
    images, captions = [], []
    for name, (edit, settings) in edits.items():
        for place, transform, picture in (("source", same, source), *((n, places[n], pictures[n]) for n in TARGETS)):
            images.append(edit.apply(picture, transform, source=source, compositing=Compositing(**settings)))
            captions.append(name if place == "source" else place)
    viz.contact_sheet(images, captions, cell=230, columns=4).save(folder / "edits-kinds.jpg")

    modes = [
        {}, {"feather": 12}, {"opacity": 0.6}, {"linear_light": True, "opacity": 0.6}, {"match_color": 1.0},
        {"shading": 1.0}, {"palette": 0.8}, {"texture": 1.0}, {"palette": 0.7, "texture": 0.8}, {"blend": "laplacian"},
        {"blend": "poisson"}, {"blend": "poisson-mixed"},
    ]  # fmt: skip
    for name in ("watercolour", "night"):
        images = [
            sticker.apply(pictures[name], places[name], source=source, compositing=Compositing(**mode))
            for mode in modes
        ]
        captions = [" ".join(f"{k}={v}" for k, v in mode.items()) or "as it is" for mode in modes]
        viz.contact_sheet(images, captions, cell=230, columns=4).save(folder / f"edits-compositing-{name}.jpg")

    images, captions = [], []
    for name in ("Sticker", "ColorAdjust: hue", "Redaction: pixelate"):
        after = edits[name][0].apply(source, same, compositing=Compositing(**edits[name][1]))
        found = edit_from_difference(source, after)
        images += [source, after, found.apply(pictures["framed"], places["framed"], source=source)]
        captions += ["before", "after", f"found: {type(found).__name__}"]
    viz.contact_sheet(images, captions, cell=230, columns=3).save(folder / "edits-example.jpg")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
