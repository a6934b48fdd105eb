"""Make the eyes unrecognisable on every picture of a set; a doubtful one is left alone and named."""

import sys
from pathlib import Path

import dift_edit as de
from dift_edit.edits import Redaction, Region
from dift_edit.samples import FOLDER, sample_job

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "redaction-out")
OUT.mkdir(parents=True, exist_ok=True)

featurizer = de.load_featurizer("mini")
source = de.load_image(FOLDER / "cat.jpg")
left, top, width, height = sample_job(OUT).at
eyes = Region.box(left, top, width, 0.5 * height)
redaction = Redaction(region=eyes, mode="pixelate")
targets = [FOLDER / f"{name}.jpg" for name in ("night", "bent", "lamp")]
for target, result in zip(targets, de.propagate(source, redaction, targets, featurizer=featurizer), strict=True):
    print(f"{target.stem}: {result.status} {result.placement.confidence:.2f} {result.reason}")
    if result.status == "applied":
        result.image.save(OUT / target.name)
