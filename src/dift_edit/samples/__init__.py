"""Sample images that ship with the package: one cat, a sticker, and targets (see README.md and LICENSE.md here)."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dift_edit.job.recipe import Job

__all__ = ["FOLDER", "copy_samples", "sample_job", "samples"]

FOLDER = Path(__file__).parent
"""Where the pictures are."""


def samples() -> dict[str, Any]:
    """What is known about the sample images.

    Returns
    -------
    dict
        ``source``, ``sticker`` and ``targets``, with file names, captions, sizes and, where it is known, the true
        place of the sticker.
    """
    content: dict[str, Any] = json.loads((FOLDER / "samples.json").read_text())
    return content


def copy_samples(folder: Path | str) -> Path:
    """Copy the sample images into a folder, to try things on.

    Parameters
    ----------
    folder : path
        It is made where it does not exist. It gets ``cat.jpg`` (the source), ``glasses.png`` (the sticker),
        ``cat-edited.jpg`` (the source with the sticker on it) and ``photos/`` (the targets).

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import numpy as np

    from dift_edit.errors import OutputError
    from dift_edit.geometry.base import MatrixTransform
    from dift_edit.imaging.files import load_image
    from dift_edit.imaging.writing import save_image

    known, folder = samples(), Path(folder)
    source, sticker = known["source"]["file"], known["sticker"]["file"]
    try:
        (folder / "photos").mkdir(parents=True, exist_ok=True)
        for name in (source, sticker):
            shutil.copy(FOLDER / name, folder / name)
        for target in known["targets"]:
            shutil.copy(FOLDER / target["file"], folder / "photos" / target["file"])
    except OSError as error:
        raise OutputError(
            f"The samples cannot be copied to {folder} ({error.strerror}): choose another folder."
        ) from error
    before = load_image(folder / source)
    edit = sample_job(folder).load_edit(before)
    save_image(edit.apply(before, MatrixTransform(np.eye(3)), source=before), folder / "cat-edited.jpg")
    return folder


def sample_job(output: Path | str) -> "Job":
    """The job that puts the sample sticker on all sample targets.

    Parameters
    ----------
    output : path
        Folder for the results.

    Returns
    -------
    Job
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
