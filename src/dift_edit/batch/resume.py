"""Which results of an earlier run still hold, and which names are free."""

import os

from dift_edit.errors import OutputError
from dift_edit.results.folder import OutputFolder
from dift_edit.results.manifest import Row
from dift_edit.targets.collect import Target, Targets
from dift_edit.targets.storage import input_sha256, is_url, local_path

__all__ = ["check_free", "still_valid"]


def still_valid(row: Row, target: Target, folder: OutputFolder, *, retry_failed: bool) -> bool:
    """Whether a row of an earlier run needs no work: its target, its hints and its output are those that it names.

    Parameters
    ----------
    row : Row
        What the journal says.
    target : Target
        What it is now.
    folder : OutputFolder
        Where its output lies.
    retry_failed : bool
        A failed row is never valid then.

    Returns
    -------
    bool
    """
    if row.status == "failed" and retry_failed:
        return False
    if row.hints != target.hints.digest:
        return False
    if not is_url(row.target) and input_sha256(row.target) != row.target_sha256:
        return False
    return row.output is None or folder.sha256(row.output) == row.output_sha256


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
