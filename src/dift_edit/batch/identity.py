"""What decides the results of a job, as digests."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dift_edit.edits.base import Edit
from dift_edit.errors import OutputError
from dift_edit.features.base import Featurizer
from dift_edit.imaging.files import as_image, load_image
from dift_edit.imaging.image import Image
from dift_edit.job.recipe import Job
from dift_edit.placement.views import View
from dift_edit.rendering.compositing import Compositing
from dift_edit.settings import TransferSettings
from dift_edit.settings import fingerprint as digest_of

__all__ = ["describe", "edit_fingerprint", "load_as_made"]


def describe(
    source: Image,
    edit: Edit,
    featurizer: Featurizer,
    settings: TransferSettings,
    compositing: Compositing | None,
    views: Sequence[View] = (),
) -> dict[str, str]:
    """What decides a job's results: digests of the source and its further views, the edit, the model, the settings."""
    return {
        "source": _source_fingerprint(source, views),
        "edit": edit_fingerprint(edit),
        "model": featurizer.fingerprint,
        "settings": digest_of(settings, compositing),
    }


def load_as_made(job: Job, made_by: Mapping[str, Any], folder: str) -> tuple[Image, Edit, tuple[View, ...]]:
    """Source, edit and further views of the recipe that is in a folder of results, if they are those of the results.

    Parameters
    ----------
    job : Job
        The recipe.
    made_by : mapping
        What the folder's journal says of its job, see `describe`.
    folder : str
        The output folder, for the message.

    Raises
    ------
    OutputError
        If the source, a view or the edit is another one.
    """
    source = load_image(job.source)
    edit = job.load_edit(source)
    views = tuple(view.load().facing(edit.quad) for view in job.views)
    now = {"source": _source_fingerprint(source, views), "edit": edit_fingerprint(edit)}
    for name, digest in now.items():
        if made_by.get(name) != digest:
            raise OutputError(
                f"The {name} that {folder}/job.toml gives is not the one that the results in {folder} were made with: "
                "put back the files that it names, or run the job again."
            )
    return source, edit, views


def _source_fingerprint(source: Image, views: Sequence[View]) -> str:
    further = [(as_image(view.image).digest, np.asarray(view.quad).tolist(), view.weight) for view in views]
    return digest_of(source.digest, further) if further else source.digest


def edit_fingerprint(edit: Edit) -> str:
    """Digest of an edit's plain data, pictures by their content."""
    digest = hashlib.sha256()

    def take(value: Any) -> None:
        if isinstance(value, Image):
            digest.update(value.digest.encode())
        elif isinstance(value, dict):
            for key in sorted(value):
                digest.update(f"{{{key}:".encode())
                take(value[key])
        elif isinstance(value, list | tuple):
            digest.update(f"[{len(value)}".encode())
            for each in value:
                take(each)
        elif hasattr(value, "tobytes"):
            digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        else:
            digest.update(repr(value).encode())

    take(edit.to_dict())
    return digest.hexdigest()[:16]
