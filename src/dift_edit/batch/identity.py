"""What decides the results of a job, as digests."""

import hashlib
from typing import Any

from dift_edit.edits.base import Edit
from dift_edit.features.base import Featurizer
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing
from dift_edit.settings import TransferSettings
from dift_edit.settings import fingerprint as digest_of

__all__ = ["describe", "edit_fingerprint"]


def describe(
    source: Image, edit: Edit, featurizer: Featurizer, settings: TransferSettings, compositing: Compositing | None
) -> dict[str, str]:
    """What decides a job's results: digests of the source, the edit, the model and the settings."""
    return {
        "source": source.digest,
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
