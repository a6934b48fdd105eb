"""Landmarks on drawn leaves: one is annotated, the others get theirs. Usage: landmarks_on_specimens.py OUT [COUNT]"""

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

import dift_edit as de
from dift_edit.annotations import AnnotatedImage, AnnotatedObject, Annotations, Keypoint, write_annotations

SIZE, FINER = 360, 3
NAMES = ("base", "tip", "left", "right", "vein 1 left", "vein 1 right", "vein 2 left", "vein 2 right")


def leaf(number: int) -> tuple[PIL.Image.Image, np.ndarray]:
    """A picture of a leaf of its own shape, turn, place and colour, and its (8, 2) landmarks."""
    rng = np.random.default_rng(number)
    width, bend, shift = rng.uniform(0.26, 0.4), rng.uniform(-0.12, 0.12), rng.uniform(-0.06, 0.06, 2)
    angle, scale = rng.uniform(-0.4, 0.4), rng.uniform(0.75, 1.0) * SIZE

    def place(points: np.ndarray) -> np.ndarray:
        """From the leaf's own frame (x to the right, y from the base at 0 up to the tip at 1) to pixels."""
        x, y = points[:, 0] + bend * np.sin(np.pi * points[:, 1]), 0.5 - points[:, 1]
        turned = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1)
        return (0.85 * turned * scale) + SIZE * (0.5 + shift)

    y = np.linspace(0, 1, 60)
    half = width * np.sin(np.pi * y**0.8) ** 0.8
    rim = place(np.concatenate([np.stack([half, y], 1), np.stack([-half, y], 1)[::-1]]))
    veins = [np.array([(0, low), (side * 0.8 * width, low + 0.2)]) for low in (0.2, 0.45) for side in (-1, 1)]
    widest = y[half.argmax()]
    marks = place(np.array([
        (0, 0), (0, 1), (-half.max(), widest), (half.max(), widest), *(vein[1] for vein in veins),
    ]))  # fmt: skip

    paper = tuple(rng.integers(215, 250, 3).tolist())
    green = tuple((np.array([70, 130, 50]) + rng.integers(-30, 30, 3)).tolist())
    canvas = PIL.Image.new("RGB", (SIZE * FINER, SIZE * FINER), paper)
    draw = PIL.ImageDraw.Draw(canvas)

    def line(points: np.ndarray) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in (points + 0.5) * FINER - 0.5]

    draw.polygon(line(rim), fill=green)
    middle = place(np.stack([np.zeros(30), np.linspace(-0.12, 1, 30)], 1))
    for each, thick in ((middle, 10), *((place(vein), 6) for vein in veins)):
        draw.line(line(each), fill=(200, 215, 150), width=thick, joint="curve")
    return canvas.resize((SIZE, SIZE), PIL.Image.Resampling.BOX), marks


def main() -> None:
    out, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 6
    specimens = out / "specimens"
    specimens.mkdir(parents=True, exist_ok=True)
    truth = {}
    for number in range(count + 1):
        picture, truth[f"leaf{number:03}.png"] = leaf(number)
        picture.save((out if number == 0 else specimens) / f"leaf{number:03}.png")
    marks = [Keypoint(name, *place) for name, place in zip(NAMES, truth["leaf000.png"].tolist(), strict=True)]
    annotated = AnnotatedImage(path="leaf000.png", size=(SIZE, SIZE), objects=[
        AnnotatedObject(category="leaf", keypoints=marks)
    ])  # fmt: skip
    write_annotations(Annotations([annotated]), out / "landmarks.json", format="coco")

    errors = []
    featurizer = de.load_featurizer("lite")
    for result in de.annotate(out / "leaf000.png", annotated, specimens, featurizer=featurizer, mirror="never"):
        assert result.image is not None, result.reason
        result.image.save(out / f"drawn-{Path(result.target).stem}.jpg")
        if result.annotated is not None and result.annotated.objects:
            right = truth[Path(result.target).name]
            found = np.array([(k.x, k.y) for k in result.annotated.objects[0].keypoints])
            errors.append(np.linalg.norm(found - right, axis=1) / np.ptp(right, axis=0).max())
    error = np.concatenate(errors)
    error = error[np.isfinite(error)]
    print(f"{len(errors)} of {count} leaves; median error of a landmark {100 * np.median(error):.2f} % of the leaf")


if __name__ == "__main__":
    main()
