"""What is left of a hidden text: over formats, modes and profiles, and against somebody who tries out guesses.

    PYTHONPATH=tests python benchmarks/redaction_leaks.py [--draws 10] [--candidates 1000]

prints the two tables of docs/security.md. The pictures and the search for leaks are those of the tests
(tests/leak_cases.py). The second table is the attack on known averages: the attacker knows font, size, place and
settings, redacts every candidate himself, and takes the one that is nearest to what he sees.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from dift_edit.edits import Redaction, Region
from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging.files import as_image
from leak_cases import EDITS, INPUTS, LOSSY, drawn, leaks, profiles_of

STRENGTHS = (1, 2, 3, 5, 8)
NOISE = 4.0
"""Standard deviation, in levels of 255, of the noise of a camera."""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10, help="pictures for every format, mode and profile")
    parser.add_argument("--input", choices=INPUTS + LOSSY, help="only the first table, of one kind of input")
    parser.add_argument("--candidates", type=int, default=1000, help="texts that the attacker tries")
    args = parser.parse_args()
    formats(args.draws, (args.input,) if args.input else INPUTS + LOSSY)
    if not args.input:
        guesses(args.candidates)


def formats(draws: int, kinds: tuple[str, ...]) -> None:
    """Pictures tried and leaks found for every format, profile and mode."""
    print(f"| input | profile | {' | '.join(EDITS)} | leaks |\n|---|---|{'---:|' * (len(EDITS) + 1)}")
    total = found = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            for profile in profiles_of(kind):
                bad = [
                    (case, leak)
                    for edit in EDITS
                    for case in (drawn(kind, edit, profile, seed) for seed in range(draws))
                    for leak in leaks(case, Path(folder))
                ]
                for case, leak in bad:
                    print(f"LEAK: {leak}: {case}")
                print(f"| {kind} | {profile} | {' | '.join([str(draws)] * len(EDITS))} | {len(bad)} |", flush=True)
                total, found = total + draws * len(EDITS), found + len(bad)
    print(f"\n{total} pictures tried, {found} leaks\n")


def guesses(candidates: int) -> None:
    """How often four digits are found among candidates, without and with noise in the picture."""
    rng = np.random.default_rng(0)
    texts = [f"{number:04d}" for number in rng.choice(10_000, candidates, replace=False)]
    print(f"chance: {1 / candidates:.1%}\n")
    print("| mode | cells | 12 px letters | 24 px | 48 px | 24 px, with noise |\n|---|---:|---:|---:|---:|---:|")
    for mode in ("pixelate", "blur", "fill"):
        for cells in STRENGTHS if mode != "fill" else (1,):
            rates = [_found(texts, size, mode, cells, noise, rng) for size, noise in _TRIALS]
            print(f"| {mode} | {cells} | {' | '.join(f'{rate:.1%}' for rate in rates)} |", flush=True)


_TRIALS = ((12, 0.0), (24, 0.0), (48, 0.0), (24, NOISE))


def _found(texts: list[str], size: int, mode: str, cells: int, noise: float, rng: np.random.Generator) -> float:
    """The chance that the nearest candidate is the right one; equally near ones are chosen among by lot."""
    font = PIL.ImageFont.load_default(size)
    width, height = int(font.getlength("0000")) + 8, int(1.3 * size) + 4
    edit = Redaction(region=Region.box(20, 20, width, height), mode=mode, cells=cells, margin=0)
    same = MatrixTransform(np.eye(3))

    def seen(text: str, noise: float) -> np.ndarray:
        picture = PIL.Image.new("RGB", (width + 40, height + 40), "#e0e0e0")
        PIL.ImageDraw.Draw(picture).text((24, 22), text, font=font, fill="#202020")
        pixels = np.asarray(picture).astype(float)
        pixels = np.clip(np.rint(pixels + rng.normal(0, noise, pixels.shape)), 0, 255) if noise else pixels
        hidden = edit.apply(as_image(pixels.astype(np.uint8)), same).pixels
        return hidden[20 : 20 + height, 20 : 20 + width].reshape(-1, 3).astype(np.float32).ravel()

    known = np.array([seen(text, 0.0) for text in texts])
    rates = []
    for number, text in enumerate(texts[:200]):
        distance = ((known - (seen(text, noise) if noise else known[number])) ** 2).sum(axis=1)
        nearest = np.flatnonzero(distance == distance.min())
        rates.append((number in nearest) / len(nearest))
    return float(np.mean(rates))


if __name__ == "__main__":
    main()
