"""Sets of photos: `propagate` and `annotate` in memory, `run_batch`, `run_job` and `annotate_batch` on files."""

from dift_edit.batch.annotate import annotate, annotate_batch
from dift_edit.batch.model import ModelSpec
from dift_edit.batch.placed import placed_targets
from dift_edit.batch.run import run_batch, run_job
from dift_edit.batch.stream import propagate
from dift_edit.batch.summary import Summary

__all__ = [
    "ModelSpec",
    "Summary",
    "annotate",
    "annotate_batch",
    "placed_targets",
    "propagate",
    "run_batch",
    "run_job",
]
