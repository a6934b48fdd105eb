"""Exceptions. Each message is one sentence that says what is wrong with which input, and what to do.

::

    DiftEditError
    ├── ImageError               an image cannot be read
    ├── AnnotationError          annotations cannot be read, do not fit the image, or have no place in a format
    ├── EditError                an edit is not usable as given
    ├── SettingsError            a setting is not one of its choices or out of its range
    ├── GeometryError            points or transforms are degenerate
    │   └── IncomparableError    feature maps come from different featurizers or settings
    ├── ModelError               a model cannot be found, read, verified or run
    ├── DatasetError             a data set of a benchmark is incomplete
    ├── OutputError              a result cannot be written
    └── MissingDependencyError   an optional package is needed
"""

__all__ = [
    "AnnotationError",
    "DatasetError",
    "DiftEditError",
    "EditError",
    "GeometryError",
    "ImageError",
    "IncomparableError",
    "MissingDependencyError",
    "ModelError",
    "OutputError",
    "SettingsError",
]


class DiftEditError(Exception):
    """Base of all errors that dift-edit raises on purpose; its message is fit to be shown to a user."""


class ImageError(DiftEditError):
    """An image cannot be read or has unusable content."""


class AnnotationError(DiftEditError):
    """Annotations cannot be read, do not fit their image, or have no place in the format asked for."""


class EditError(DiftEditError):
    """An edit (sticker, quad, stored edit, mask) is not usable as given."""


class SettingsError(DiftEditError):
    """A setting is not one of its choices or out of its range."""


class GeometryError(DiftEditError):
    """Points or transforms are degenerate: too few, collinear, not finite, not invertible."""


class IncomparableError(GeometryError):
    """Two feature maps come from different featurizers or settings."""


class ModelError(DiftEditError):
    """A model cannot be found, read, verified or run."""


class DatasetError(DiftEditError):
    """A data set is incomplete or not in its official layout."""


class OutputError(DiftEditError):
    """A result cannot be written."""


class MissingDependencyError(DiftEditError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: run  pip install 'dift-edit[{extra}]'."
        )


def first_line(error: BaseException) -> str:
    """What an exception of a library says, in one line without its full stop; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
