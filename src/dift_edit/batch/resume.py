"""Which results of an earlier run still hold, and which names are free."""

import os

from dift_edit.errors import OutputError
from dift_edit.results.folder import REJECTED, OutputFolder
from dift_edit.results.manifest import Row
from dift_edit.settings import BatchSettings
from dift_edit.targets.collect import Target, Targets
from dift_edit.targets.storage import input_sha256, is_url, local_path

__all__ = ["check_free", "still_valid"]


def still_valid(row: Row, target: Target, folder: OutputFolder, batch: BatchSettings) -> bool:
    """Whether a row of an earlier run needs no work.

    Its target, its hints, its place and its files are those that it names, and it has all the files that are wanted.

    Parameters
    ----------
    row : Row
        What the journal says.
    target : Target
        What it is now.
    folder : OutputFolder
        Where its output lies.
    batch : BatchSettings
        What is wanted; with `retry_failed` a failed row is never valid.

    Returns
    -------
    bool
    """
    if row.status == "failed" and batch.retry_failed:
        return False
    if row.hints != target.hints.digest:
        return False
    if not is_url(row.target) and input_sha256(row.target) != row.target_sha256:
        return False
    if row.status == "applied" and not _has_all(row, batch):
        return False
    if any(folder.sha256(name) != digest for name, digest in row.files.items()):
        return False
    return row.output is None or folder.sha256(row.output) == row.output_sha256


def _has_all(row: Row, batch: BatchSettings) -> bool:
    """Whether an applied row has the result, layers, masks and comparison that are wanted."""
    names = [name.removeprefix(REJECTED) for name in row.files]
    return (
        (row.output is not None or not batch.flattened)
        and (
            batch.layers is None
            or any(name.startswith("layers/") and name.endswith(f".{batch.layers}") for name in names)
        )
        and (not batch.masks or any(name.startswith("masks/") for name in names))
        and (not batch.verify or bool(row.untouched))
    )


def check_free(
    folder: OutputFolder, targets: Targets, names: dict[str, str], planned: dict[str, str], *, overwrite: bool
) -> None:
    """Refuse to write over a target, and over files that no earlier run of this folder made.

    Raises
    ------
    OutputError
        If a result would do so.
    """
    if folder.local is not None:
        originals = {os.path.realpath(path) for target in targets if (path := local_path(target.path)) is not None}
        for name in names.values():
            if os.path.realpath(folder.path(name)) in originals:
                raise OutputError(
                    f"The result {name} would replace a target in {folder}: choose an output folder of its own (-o)."
                )
    if overwrite:
        return
    for key, name in names.items():
        if key not in planned and folder.exists(name):
            raise OutputError(
                f"{name} is in {folder} already and was not made by this job: choose another output folder, or "
                "--overwrite."
            )
