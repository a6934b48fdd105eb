"""Learn the edit from a picture before and after, keep it as a recipe, and put it on another picture."""

import sys
from pathlib import Path

import numpy as np

import dift_edit as de
from dift_edit.edits import load_edit, save_edit
from dift_edit.geometry.base import MatrixTransform
from dift_edit.samples import FOLDER, sample_job

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "before_after-out")
OUT.mkdir(parents=True, exist_ok=True)

featurizer = de.load_featurizer("mini")
before = de.load_image(FOLDER / "cat.jpg")
after = sample_job(OUT).load_edit(before).apply(before, MatrixTransform(np.eye(3)), source=before)
edit = de.edit_from_difference(before, after)
recipe = save_edit(edit, OUT / "edit.json")
result = de.transfer(before, load_edit(recipe), FOLDER / "kitten.jpg", featurizer=featurizer)
print(f"{type(edit).__name__}: {result.status} {result.placement.confidence:.2f} {result.reason}")
result.image.save(OUT / "kitten.jpg")
