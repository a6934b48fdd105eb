"""Sample pictures that ship with the package: one cat, a sticker, and targets (see README.md and LICENSE.md here)."""

import json
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "sample_job", "samples"]

FOLDER = Path(__file__).parent
"""Where the pictures are."""


def samples() -> dict[str, Any]:
    """What is known about the sample pictures.

    Returns
    -------
    dict
        ``source``, ``sticker`` and ``targets``, with file names, captions, sizes and, where it is known, the true
        place of the sticker.
    """
    content: dict[str, Any] = json.loads((FOLDER / "samples.json").read_text())
    return content


def sample_job(output: Path | str) -> Any:
    """The job that puts the sample sticker on all sample targets.

    Parameters
    ----------
    output : path
        Folder for the results.

    Returns
    -------
    dift_edit.job.recipe.Job
    """
    from dift_edit.job.recipe import Job

    known = samples()
    return Job(
        source=str(FOLDER / known["source"]["file"]),
        sticker=str(FOLDER / known["sticker"]["file"]),
        at=tuple(known["sticker"]["at"]),
        targets=tuple(str(FOLDER / target["file"]) for target in known["targets"]),
        output=str(output),
    )
