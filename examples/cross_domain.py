"""From a photograph to drawings: the same parts, another look; the sticker takes on some of the drawing."""

import sys
from pathlib import Path

import dift_edit as de
from dift_edit.samples import FOLDER, sample_job

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "cross_domain-out")
OUT.mkdir(parents=True, exist_ok=True)

featurizer = de.load_featurizer("mini")
source = de.load_image(FOLDER / "cat.jpg")
sticker = sample_job(OUT).load_edit(source)
for name in ("watercolour", "tuxedo"):
    result = de.transfer(
        source, sticker, FOLDER / f"{name}.jpg", featurizer=featurizer,
        compositing=de.Compositing(match_color=0.5, texture=0.5),
    )  # fmt: skip
    print(f"{name}: {result.status}, confidence {result.placement.confidence:.2f} {result.reason}")
    result.image.save(OUT / f"{name}.jpg")
