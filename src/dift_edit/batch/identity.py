"""What decides the results of a job, as digests."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dift_edit.edits.base import Edit
from dift_edit.features.base import Featurizer
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.placement.views import View
from dift_edit.rendering.compositing import Compositing
from dift_edit.settings import TransferSettings
from dift_edit.settings import fingerprint as digest_of

__all__ = ["describe", "edit_fingerprint"]


def describe(
    source: Image,
    edit: Edit,
    featurizer: Featurizer,
    settings: TransferSettings,
    compositing: Compositing | None,
    views: Sequence[View] = (),
) -> dict[str, str]:
    """What decides a job's results: digests of the source and its further views, the edit, the model, the settings."""
    further = [(as_image(view.image).digest, np.asarray(view.quad).tolist(), view.weight) for view in views]
    return {
        "source": digest_of(source.digest, further) if further else source.digest,
        "edit": edit_fingerprint(edit),
        "model": featurizer.fingerprint,
        "settings": digest_of(settings, compositing),
    }


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
