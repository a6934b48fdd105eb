"""The batch job on a dask cluster of this machine; give a scheduler address to use a real one."""

import sys
from dataclasses import replace
from pathlib import Path

import dift_edit as de
from dift_edit.samples import sample_job

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "cluster-out")
OUT.mkdir(parents=True, exist_ok=True)


def main():
    """Run it; a cluster's workers import this file, so nothing may happen at import time."""
    job = sample_job(OUT)
    address = sys.argv[2] if len(sys.argv) > 2 else "local"
    batch = replace(job.batch, cluster=address, workers=2)
    summary = de.run_job(replace(job, targets=job.targets[:4], batch=batch))
    print(summary.counts)


if __name__ == "__main__":
    main()
