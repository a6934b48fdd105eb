"""Carry a sticker through a short clip: here a slow zoom into the sample picture."""

import sys
from pathlib import Path

import dift_edit as de
from dift_edit.clips.sequence import propagate_sequence
from dift_edit.samples import FOLDER, sample_job

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "sequence-out")
OUT.mkdir(parents=True, exist_ok=True)

featurizer = de.load_featurizer("mini")
source = de.load_image(FOLDER / "cat.jpg")
sticker = sample_job(OUT).load_edit(source)
picture = source.to_pil()
width, height = picture.size
frames = []
for step in range(6):
    shift = 4 * step
    box = (shift, shift * height / width, width - shift, height - shift * height / width)
    frames.append(picture.resize((width, height), box=box))
for number, result in enumerate(propagate_sequence(frames, sticker, featurizer=featurizer)):
    print(f"frame {number}: {result.status} {result.reason}")
    if result.image is not None:
        result.image.save(OUT / f"{number:04d}.jpg")
