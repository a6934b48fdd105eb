"""A target's result and what lies beside it: layers, masks, and the comparison with the target."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256

from dift_edit.edits.base import Edit
from dift_edit.edits.stack import layered, part_names
from dift_edit.geometry.base import Transform
from dift_edit.imaging.compare import compare_outside
from dift_edit.imaging.image import Image
from dift_edit.imaging.layered import LayeredImage, encoded_mask
from dift_edit.rendering.compositing import Compositing
from dift_edit.results.folder import REJECTED, OutputFolder
from dift_edit.results.manifest import Row
from dift_edit.settings import BatchSettings
from dift_edit.targets.storage import read_image

__all__ = ["move_files", "possible_files", "remove_files", "save_result"]


def save_result(
    folder: OutputFolder,
    row: Row,
    name: str,
    result: Image,
    *,
    target: Image,
    edit: Edit,
    transforms: Sequence[Transform],
    source: Image | None,
    compositing: Compositing | None,
    batch: BatchSettings,
) -> Row:
    """Write what a run shall write of one result.

    Parameters
    ----------
    folder : OutputFolder
        Where to.
    row : Row
        Of the target, with a placement.
    name : str
        Of the flattened result.
    result : Image
        The target with the edit.
    target, edit, transforms, source, compositing
        What it was made of, see `dift_edit.edits.layered`.
    batch : BatchSettings
        Which files are wanted.

    Returns
    -------
    Row
        With the names and digests of the files.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    row = replace(row, output=None, output_sha256=None, files={}, baked="", untouched={})
    if batch.flattened:
        row = replace(row, output=name, output_sha256=folder.save_image(result, name))
    if not (batch.layers or batch.masks or batch.verify):
        return row
    made = layered(edit, target, transforms, source=source, compositing=compositing)
    contents = _contents(made, name, batch)
    for file, data in contents.items():
        folder.write(file, data)
    row = replace(row, files={file: sha256(data).hexdigest() for file, data in contents.items()})
    if batch.layers:
        row = replace(row, baked="; ".join(made.notes(batch.layers)))
    if batch.verify:
        address = f"{folder}/{name}" if folder.local is None else str(folder.path(name))
        written, _ = read_image(address, max_pixels=batch.max_pixels, links=False)
        row = replace(row, untouched=asdict(compare_outside(target, written, made.reach)))
    return row


def _contents(made: LayeredImage, name: str, batch: BatchSettings) -> dict[str, bytes]:
    """Name → bytes of a result's layers and masks."""
    files = (
        {f"layers/{name}{ending}": data for ending, data in made.encoded(batch.layers).items()} if batch.layers else {}
    )
    if batch.masks:
        files |= {f"masks/{name}/{key.replace(' ', '-')}.png": encoded_mask(mask) for key, mask in made.masks.items()}
    return files


def possible_files(edit: Edit, name: str) -> set[str]:
    """Every layer and mask that a run may have written beside a result, whatever it says of it."""
    parts = [part.replace(" ", "-") for part in part_names(edit)]  # of the first instance
    layers = {f"layers/{name}{ending}" for ending in (".psd", ".ora", "/0-target.png")}
    return layers | {f"{folder}/{name}/{part}.png" for folder in ("layers", "masks") for part in parts}


def move_files(folder: OutputFolder, row: Row, *, rejected: bool) -> Row:
    """Move a result's layers and masks to, or back from, the folder of rejected ones."""
    moved = {}
    for name, digest in row.files.items():
        wanted = f"{REJECTED}{name.removeprefix(REJECTED)}" if rejected else name.removeprefix(REJECTED)
        if name != wanted and folder.keeps(name) and folder.exists(name):
            folder.move(name, wanted)
        moved[wanted] = digest
    return replace(row, files=moved)


def remove_files(folder: OutputFolder, names: set[str]) -> None:
    """Remove layers and masks."""
    for name in names:
        if folder.keeps(name):
            folder.remove(name)
