"""The review page."""

from dift_edit.manifest import Row
from dift_edit.storage import OutputFolder

__all__ = ["write_page"]


def write_page(folder: OutputFolder, rows: list[Row]) -> None:
    """Write ``review.html``."""
