"""A mock-up job on drawn products: one run finds the print on posters, T-shirts and mugs, then designs are rendered.

    python benchmarks/mockups.py --targets 20 -o /tmp/mockups

The source is a poster with a placeholder print, seen from the front; the targets show the same print in perspective, in
folds of cloth and round a mug. Printed are the processor time of both steps for each target, how far the found corners
are from the true ones, and the comparison outside the edit.
"""

import argparse
import json
import resource
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw

from dift_edit.cli import main

PRINT = (240, 300)
"""Width and height of the placeholder in its own pixels."""
AT = (200, 130, *PRINT)
"""Where it lies in the source."""
KINDS = ("poster", "shirt", "mug")
SIZE = (640, 560)


def placeholder() -> np.ndarray:
    """The print that every product shows: blobs, bars and words, (300, 240, 3) in [0, 255]."""
    rng = np.random.default_rng(5)
    small = PIL.Image.fromarray(rng.integers(40, 230, (9, 7, 3), dtype=np.uint8))
    picture = small.resize(PRINT, PIL.Image.Resampling.BICUBIC)
    draw = PIL.ImageDraw.Draw(picture)
    for _ in range(14):
        x, y, r = rng.integers(10, 230), rng.integers(10, 290), rng.integers(6, 26)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 255, 3).tolist()))
    for k, words in enumerate(("YOUR", "DESIGN", "HERE")):
        draw.text((30, 60 + 66 * k), words, fill="white", font_size=52, stroke_width=3, stroke_fill="black")
    draw.rectangle((2, 2, PRINT[0] - 3, PRINT[1] - 3), outline="black", width=4)
    return np.asarray(picture, np.float32)


def design(number: int) -> PIL.Image.Image:
    """One of three opaque designs: rings, stripes, words; of different shapes."""
    size = [(400, 500), (500, 400), (420, 420)][number % 3]
    picture = PIL.Image.new("RGBA", size, (0, 0, 0, 0))
    draw = PIL.ImageDraw.Draw(picture)
    draw.rectangle((0, 0, *size), fill=("#f7f3e8", "#e8f1f2", "#fffd82")[number % 3])
    if number % 3 == 0:
        for k, colour in enumerate(("#e4572e", "#f3a712", "#29335c", "#669bbc", "#f0f0f0")):
            draw.ellipse((20 + 36 * k, 70 + 36 * k, 380 - 36 * k, 430 - 36 * k), fill=colour)
    elif number % 3 == 1:
        for k in range(10):
            draw.rectangle((50 * k, 0, 50 * k + 24, 400), fill=("#1b998b", "#2d3047")[k % 2])
        draw.rectangle((0, 0, 499, 399), outline="#2d3047", width=8)
    else:
        for k, word in enumerate(("Good", "morning")):
            draw.text((24, 110 + 100 * k), word, fill="#ff5d73", font_size=92)
    return picture


def backdrop(rng: np.random.Generator) -> np.ndarray:
    """A soft background with grain."""
    small = rng.integers(90, 220, (4, 5, 3), dtype=np.uint8)
    smooth = PIL.Image.fromarray(small).resize(SIZE, PIL.Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) + rng.normal(0, 3, (SIZE[1], SIZE[0], 1)).astype(np.float32)


def source() -> np.ndarray:
    """The poster from the front."""
    picture = backdrop(np.random.default_rng(1))
    x, y, width, height = AT
    picture[y - 14 : y + height + 14, x - 14 : x + width + 14] = 245
    picture[y : y + height, x : x + width] = placeholder()
    return picture


def product(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A target, and the (4, 2) true corners of the print in it."""
    rng = np.random.default_rng(100 + number)
    picture = backdrop(rng)
    centre = np.array([320, 280]) + rng.uniform(-30, 30, 2)
    scale, turn = rng.uniform(0.75, 1.05), np.radians(rng.uniform(-12, 12))
    kind = KINDS[number % 3]
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * np.array(PRINT) / 2
    turned = corners @ np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    quad = centre + scale * turned
    if kind == "poster":
        quad = quad + rng.uniform(-34, 34, (4, 2))
        frame = centre + (quad - centre) * 1.12
        cv2.fillConvexPoly(picture, np.rint(frame).astype(np.int32), (245, 245, 245))
    elif kind == "shirt":
        colour = rng.uniform(60, 230, 3)
        body = [(-150, -190), (-60, -215), (60, -215), (150, -190), (250, -90), (190, -40), (160, -80), (160, 250),
                (-160, 250), (-160, -80), (-190, -40), (-250, -90)]  # fmt: skip
        cv2.fillPoly(picture, [np.rint(centre + np.array(body) * scale).astype(np.int32)], colour.tolist())
        quad = centre + (quad - centre) * 0.8
    else:
        colour = rng.uniform(140, 240, 3).tolist()
        half = scale * np.array([150, 185])
        cv2.ellipse(picture, (np.rint(centre + half * (1.05, 0)).astype(int)).tolist(), (60, 90), 0, 0, 360, colour, 26)
        low, high = np.rint(centre - half).astype(int), np.rint(centre + half).astype(int)
        cv2.rectangle(picture, low.tolist(), high.tolist(), colour, -1)
        quad = centre + scale * corners
    bent = 0.55 if kind == "mug" else 0.0
    grid, alpha = _where(quad, bent)
    printed = cv2.remap(placeholder(), grid[..., 0], grid[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    picture = np.where(alpha[..., None], printed, picture)
    folds = cv2.resize(rng.normal(0, 1, (9, 9)).astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
    across = np.linspace(-1, 1, SIZE[0], dtype=np.float32)
    light = 1 + (0.06 * folds if kind == "shirt" else 0) - (0.25 * across**2 if kind == "mug" else 0.1 * across)
    return np.clip(picture * light[..., None] if light.ndim == 2 else picture * light[:, None], 0, 255), quad


def _where(quad: np.ndarray, bent: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the print (H, W, 2) at the target's pixels, and where it is; `bent` winds it round a cylinder."""
    width, height = PRINT
    box = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], np.float32)
    matrix = cv2.getPerspectiveTransform(quad.astype(np.float32), box)
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    mapped = np.dstack([x, y, np.ones_like(x)]).astype(np.float64) @ matrix.T
    found = mapped[..., :2] / mapped[..., 2:]
    if bent:
        across = (2 * found[..., 0] / (width - 1) - 1) * np.sin(np.pi / 2 * bent)
        found[..., 0] = (np.arcsin(np.clip(across, -1, 1)) / (np.pi / 2 * bent) + 1) / 2 * (width - 1)
    inside = ((found >= 0) & (found <= (width - 1, height - 1))).all(axis=2) & (mapped[..., 2] > 0)
    return found.astype(np.float32), inside


def draw(folder: Path, count: int) -> list[np.ndarray]:
    """Write source, designs and targets; the true corners of the print in each target."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.rint(np.clip(source(), 0, 255)).astype(np.uint8)).save(folder / "source.png")
    PIL.Image.fromarray(placeholder().astype(np.uint8)).save(folder / "placeholder.png")
    for number in range(3):
        design(number).save(folder / f"design{number}.png")
    quads = []
    for number in range(count):
        picture, quad = product(number)
        suffix = "jpg" if number % 2 else "png"
        name = f"{number:02d}-{KINDS[number % 3]}.{suffix}"
        PIL.Image.fromarray(np.rint(picture).astype(np.uint8)).save(folder / "photos" / name, quality=92)
        quads.append(quad)
    return quads


def rows_of(folder: Path) -> list[dict]:
    """The rows of a manifest."""
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def cpu() -> float:
    """Processor seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run() -> None:
    """Both steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=20)
    parser.add_argument("--model", default="mini")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    folder = args.output
    quads = draw(folder, args.targets)
    at = ",".join(map(str, AT))
    begun = cpu()
    main(["propagate", f"{folder}/source.png", f"{folder}/photos", "--sticker", f"{folder}/placeholder.png", "--at", at,
          "--model", args.model, "--mirror", "never", "-o", f"{folder}/placed", "--quiet"])  # fmt: skip
    placed = cpu() - begun
    designs = [word for number in range(3) for word in ("--sticker", f"{folder}/design{number}.png")]
    begun = cpu()
    main(
        [
            "render",
            f"{folder}/placed",
            *designs,
            "--fit",
            "stretch",
            "--shading",
            "1",
            "--verify",
            "-o",
            f"{folder}/rendered",
            "--quiet",
        ]
    )
    rendered = cpu() - begun
    begun = cpu()
    main(
        ["render", f"{folder}/placed", *designs, "--fit", "stretch", "--no-report", "-o", f"{folder}/plain", "--quiet"]
    )
    plain = cpu() - begun
    rows = rows_of(folder / "placed")
    misses = [
        float(np.linalg.norm(np.array(row["quad"]) - quad, axis=1).mean())
        for row, quad in zip(rows, quads, strict=True)
        if row["status"] == "applied"
    ]
    outputs = [row for number in range(3) for row in rows_of(folder / "rendered" / f"design{number}")]
    done = sum(row["status"] == "applied" for row in outputs)
    print(f"placed {len(misses)} of {len(rows)}: corners off by {np.median(misses):.1f} px, {max(misses):.1f} at most")
    print(f"placing: {placed:.1f} CPU s, {placed / len(rows):.2f} a target")
    said = "with shading, previews and --verify"
    print(f"rendering {done} results {said}: {rendered:.1f} CPU s, {60 * done / rendered:.0f} a CPU minute")
    print(f"plain, without previews: {plain:.1f} CPU s, {60 * done / plain:.0f} a CPU minute")
    for unit in ("pixels", "blocks"):
        found = [row["untouched"] for row in outputs if row["untouched"].get("unit") == unit]
        changed, compared = sum(each["changed"] for each in found), sum(each["compared"] for each in found)
        largest = max((each["largest"] for each in found), default=0)
        print(f"outside the edit: {changed} of {compared} {unit} changed, by {largest:.0f}/255 at most")


if __name__ == "__main__":
    run()
