"""Make the pictures of docs/how-it-works.md from the bundled samples: ``python tools/make_docs_pictures.py``."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

import dift_edit as de
from dift_edit.geometry.base import MatrixTransform
from dift_edit.samples import FOLDER as SAMPLES
from dift_edit.samples import sample_job

OUT = Path(__file__).parents[1] / "docs" / "images"
TARGETS = ["watercolour", "kitten", "tuxedo"]


def write(picture, name, width=900):
    """A small JPEG."""
    picture = picture.to_pil() if isinstance(picture, de.Image) else picture
    height = round(picture.height * width / picture.width)
    picture.convert("RGB").resize((width, height)).save(OUT / f"{name}.jpg", quality=82, optimize=True)


def in_colours(features):
    """The three strongest directions of a map's features as red, green and blue."""
    unit = features.unit.flatten(1).numpy().astype(np.float64)
    unit -= unit.mean(1, keepdims=True)
    vectors, _, _ = np.linalg.svd(unit, full_matrices=False)
    three = (vectors[:, :3].T @ unit).reshape(3, *features.data.shape[1:])
    low, high = np.quantile(three, [0.02, 0.98], axis=(1, 2), keepdims=True)
    return PIL.Image.fromarray((np.clip((three - low) / (high - low), 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def side_by_side(pictures, height=300):
    """Pictures of one height in a row."""
    scaled = [p.convert("RGB").resize((round(p.width * height / p.height), height)) for p in pictures]
    row = PIL.Image.new("RGB", (sum(p.width for p in scaled) + 8 * (len(scaled) - 1), height), "white")
    x = 0
    for picture in scaled:
        row.paste(picture, (x, 0))
        x += picture.width + 8
    return row


def main():
    """Write them all."""
    OUT.mkdir(parents=True, exist_ok=True)
    featurizer = de.load_featurizer("mini")
    source = de.load_image(SAMPLES / "cat.jpg")
    sticker = sample_job("unused").load_edit(source)
    targets = [de.load_image(SAMPLES / f"{name}.jpg") for name in TARGETS]

    features = featurizer(source)
    size = source.size
    coloured = in_colours(features).resize(size, PIL.Image.Resampling.NEAREST)
    edited = sticker.apply(source, MatrixTransform(np.eye(3)), source=source)
    write(side_by_side([source.to_pil(), edited.to_pil(), coloured]), "source-and-features")

    low, high = sticker.quad.min(0), sticker.quad.max(0)
    grid = np.stack(np.meshgrid(np.linspace(low[0], high[0], 5), np.linspace(low[1], high[1], 4)), -1).reshape(-1, 2)
    matches = de.match_points(features, grid, featurizer(targets[0]))
    write(de.viz.draw_matches(source, targets[0], grid, matches.points), "matches")

    centre = sticker.quad.mean(0)
    heat = de.matching.similarity_map(features, centre, featurizer(targets[1]))
    write(de.viz.draw_heatmap(targets[1], heat.numpy()), "similarity", 420)

    results = [de.transfer(source, sticker, target, featurizer=featurizer, min_confidence=0.0) for target in targets]
    outlined = []
    for target, result in zip(targets, results, strict=True):
        picture = target.to_pil().convert("RGB")
        corners = [tuple(corner) for corner in result.placement.quad]
        PIL.ImageDraw.Draw(picture).line([*corners, corners[0]], fill=(255, 40, 40), width=max(target.size) // 150)
        outlined.append(picture)
    write(side_by_side(outlined), "placements")
    write(side_by_side([result.image.to_pil() for result in results]), "results")
    for name, result in zip(TARGETS, results, strict=True):
        print(f"{name}: confidence {result.placement.confidence:.2f}, mirrored {result.placement.mirrored}")
    print(f"{sum(path.stat().st_size for path in OUT.glob('*')) / 1e6:.2f} MB in {OUT}")


if __name__ == "__main__":
    main()
