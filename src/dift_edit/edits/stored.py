"""Edits as plain data: a JSON object, with its images and tables in files beside it or inside.

It is ``{"format": "dift-edit/edit", "version": 1, "type": …, …}``. Arrays in it are written as
``{"array": "png" | "npy", "data": base64}`` or, in a file, ``{…, "file": name, "sha256": digest}``.
"""

import base64
import binascii
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.atomic_files import parse_json, write_atomic, write_text
from dift_edit.edits.adjust import ColorAdjust
from dift_edit.edits.base import Edit
from dift_edit.edits.erase import Erase
from dift_edit.edits.example import PaintLayer
from dift_edit.edits.labels import LabelLayer
from dift_edit.edits.layers import Layers
from dift_edit.edits.lut import CubeLut
from dift_edit.edits.redaction import Redaction
from dift_edit.edits.region import Region
from dift_edit.edits.sticker import Sticker
from dift_edit.errors import EditError
from dift_edit.geometry.quad import as_quad
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing

__all__ = ["FORMAT", "VERSION", "edit_from_dict", "edit_to_dict", "load_edit", "save_edit"]

Array = npt.NDArray[Any]
Plain = dict[str, Any]
FORMAT, VERSION = "dift-edit/edit", 1


def edit_to_dict(edit: Edit) -> Plain:
    """An edit as JSON-ready data that holds everything, arrays included.

    Parameters
    ----------
    edit : Edit
        Any edit of this package.

    Returns
    -------
    dict
        Only dicts, lists, strings, numbers, booleans and None.
    """
    return {"format": FORMAT, "version": VERSION, **_plain(edit.to_dict(), _inline)}


def save_edit(edit: Edit, path: Path | str) -> Path:
    """Write an edit as a JSON file, with a folder ``NAME_files`` beside it for its images and tables.

    Parameters
    ----------
    edit : Edit
        The edit.
    path : path
        Name of the JSON file.

    Returns
    -------
    Path
        The JSON file.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    path = Path(path)
    folder = path.with_name(f"{path.stem}_files")

    def store(kind: str, data: bytes) -> Plain:
        digest = hashlib.sha256(data).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{digest[:16]}.{kind}"
        if not file.exists():
            write_atomic(file, lambda stream: stream.write(data))
        return {"array": kind, "file": f"{folder.name}/{file.name}", "sha256": digest}

    stored = {"format": FORMAT, "version": VERSION, **_plain(edit.to_dict(), store)}
    write_text(path, json.dumps(stored, indent=1) + "\n")
    return path


def load_edit(path: Path | str) -> Edit:
    """Read what `save_edit` or `edit_to_dict` wrote.

    Parameters
    ----------
    path : path
        The JSON file; its arrays lie beside it.

    Returns
    -------
    Edit

    Raises
    ------
    EditError
        If the file is missing, is no stored edit, or a file beside it is missing or was changed.
    """
    path = Path(path)
    try:
        stored = parse_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise EditError(f"{path} does not exist: check the path of the edit.") from error
    except (OSError, ValueError) as error:
        raise EditError(f"{path} is not a JSON file that can be read: give one that save_edit wrote.") from error
    return edit_from_dict(stored, folder=path.parent, name=str(path))


def edit_from_dict(stored: Any, *, folder: Path | None = None, name: str = "The edit") -> Edit:
    """The edit that plain data describes.

    Parameters
    ----------
    stored : dict
        As `edit_to_dict` gives.
    folder : Path, optional
        Where its files are, if it refers to files; it may not refer to files outside.
    name : str
        How an error names it.

    Raises
    ------
    EditError
        If it is no stored edit, of a newer version, or incomplete.
    """
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise EditError(f"{name} is not a dift-edit edit (its format must be {FORMAT!r}): give one that it wrote.")
    if stored.get("version") != VERSION:
        raise EditError(f"{name} has version {stored.get('version')!r}, but this program reads {VERSION}: update it.")
    try:
        return _built(stored, folder)
    except EditError as error:
        raise EditError(f"{name}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EditError(f"{name} is incomplete or has a wrong value ({error!r}): write the edit again.") from error


def _plain(value: Any, store: Callable[[str, bytes], Plain]) -> Any:
    """Replace all objects by plain data."""
    if isinstance(value, dict):
        return {key: _plain(item, store) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, store) for item in value]
    if isinstance(value, Image):
        pixels = value.pixels if value.alpha is None else np.dstack([value.pixels, value.alpha])
        return _plain(pixels, store)
    if isinstance(value, Region):
        return {
            "weight": _plain(_compact(value.weight), store), "origin": list(value.origin),
            "quad": value.quad.tolist(), "everywhere": value.everywhere,
        }  # fmt: skip
    if isinstance(value, CubeLut):
        return {"table": _plain(value.table, store), "domain": _plain(value.domain, store), "title": value.title}
    if isinstance(value, Compositing):
        return asdict(value)
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= 64 and value.ndim < 3 else store(*_encoded(value))
    return value.item() if isinstance(value, np.generic) else value


def _compact(weight: Array) -> Array:
    eight = np.rint(weight * 255)
    return eight.astype(np.uint8) if np.array_equal(eight / np.float32(255), weight) else weight


def _encoded(array: Array) -> tuple[str, bytes]:
    if array.dtype in (np.uint8, np.uint16) and array.ndim in (2, 3):
        order = array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]
        done, data = cv2.imencode(".png", np.ascontiguousarray(order))
        if done:
            return "png", data.tobytes()
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return "npy", buffer.getvalue()


def _inline(kind: str, data: bytes) -> Plain:
    return {"array": kind, "data": base64.b64encode(data).decode()}


def _array(value: Any, folder: Path | None) -> Array:
    if not isinstance(value, dict):
        return np.asarray(value)
    if "file" in value:
        if folder is None:
            raise EditError(f"it refers to the file {value['file']}: load it with load_edit.")
        file = (folder / value["file"]).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise EditError(f"it refers to {value['file']} outside its folder: put the file beside the edit.")
        try:
            data = file.read_bytes()
        except OSError as error:
            raise EditError(f"its file {file} cannot be read: put it back beside the edit.") from error
        if hashlib.sha256(data).hexdigest() != value.get("sha256"):
            raise EditError(f"its file {file} was changed since the edit was written: write the edit again.")
    else:
        try:
            data = base64.b64decode(value["data"], validate=True)
        except binascii.Error as error:
            raise EditError("its array data is damaged: write the edit again.") from error
    if value["array"] == "npy":
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise EditError("its picture data is damaged: write the edit again.")
    found: Array = np.asarray(array)
    return found if found.ndim == 2 else np.ascontiguousarray(found[..., [2, 1, 0, 3][: found.shape[2]]])


def _region(value: Plain, folder: Path | None) -> Region:
    weight = _array(value["weight"], folder)
    full = 255 if weight.dtype.kind in "iu" else 1  # small masks are lists of whole numbers
    x, y = value["origin"]
    quad = as_quad(value["quad"], "The quad of the region")
    weight = weight.astype(np.float32) / np.float32(full)
    if weight.ndim != 2 or not np.isfinite(weight).all() or weight.min(initial=0) < 0 or weight.max(initial=0) > 1:
        raise EditError("the mask of its region must be (h, w) numbers from 0 to 1: write the edit again.")
    everywhere = bool(value["everywhere"])
    if not everywhere and not _lies_in(weight, (int(x), int(y)), quad):
        raise EditError("the mask of its region does not lie where its quad does: write the edit again.")
    return Region(weight, (int(x), int(y)), quad, everywhere)


def _lies_in(weight: Array, origin: tuple[int, int], quad: Array) -> bool:
    """Whether a mask and its quad cover the same place, to two pixels."""
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    if len(rows) == 0:
        return False
    low, high = quad.min(axis=0) - origin, quad.max(axis=0) - origin
    differences = (low[0] - columns[0], low[1] - rows[0], high[0] - columns[-1], high[1] - rows[-1])
    return float(np.abs(differences).max()) <= 2


def _lut(value: Plain, folder: Path | None) -> CubeLut:
    low, high = value["domain"]
    return CubeLut(_array(value["table"], folder).astype(np.float32), (tuple(low), tuple(high)), value.get("title", ""))


def _built(stored: Plain, folder: Path | None) -> Edit:
    kind = stored.get("type")
    if kind not in _BUILDERS:
        raise EditError(f"the type {kind!r} is not known: use one of {', '.join(_BUILDERS)}.")
    return _BUILDERS[kind](stored, folder)


def _build_adjust(stored: Plain, folder: Path | None) -> Edit:
    given = {item.name: stored[item.name] for item in fields(ColorAdjust) if item.name in stored}
    given["region"] = _region(stored["region"], folder)
    if "matrix" in given:
        given["matrix"] = np.asarray(given["matrix"], dtype=np.float64)
    if "lut" in given:
        given["lut"] = _lut(given["lut"], folder)
    return ColorAdjust(**given)


def _build_redaction(stored: Plain, folder: Path | None) -> Edit:
    given = {item.name: stored[item.name] for item in fields(Redaction) if item.name in stored}
    return Redaction(**{**given, "region": _region(stored["region"], folder)})


def _build_layers(stored: Plain, folder: Path | None) -> Edit:
    settings = [None if given is None else Compositing(**given) for given in stored["settings"]]
    return Layers([_built(part, folder) for part in stored["edits"]], settings)


def _build_labels(stored: Plain, folder: Path | None) -> Edit:
    label_map = stored.get("label_map")
    return LabelLayer.from_plain(stored, None if label_map is None else _array(label_map, folder))


_BUILDERS: dict[str, Callable[[Plain, Path | None], Edit]] = {
    "sticker": lambda stored, folder: Sticker(as_image(_array(stored["image"], folder)), stored["quad"]),
    "paint": lambda stored, folder: PaintLayer(as_image(_array(stored["image"], folder))),
    "adjust": _build_adjust,
    "redaction": _build_redaction,
    "erase": lambda stored, folder: Erase(_region(stored["region"], folder)),
    "labels": _build_labels,
    "layers": _build_layers,
}
