"""One sticker on a set of pictures, with journal, manifest, contact sheet and review page."""

import sys
from pathlib import Path

import dift_edit as de
from dift_edit.samples import sample_job

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "batch_sticker-out")
OUT.mkdir(parents=True, exist_ok=True)

job = sample_job(OUT)
summary = de.run_job(job)
print(summary.counts)
for row in summary.rows:
    print(f"{row.status:9} {row.confidence:.2f}  {Path(row.target).name}  {row.reason}")
