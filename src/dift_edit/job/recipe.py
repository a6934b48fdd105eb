"""A job: what is put on many targets, and how it is done. The command line, the library and the plugin share it."""

import os
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from dift_edit.atomic_files import parse_toml, write_text
from dift_edit.errors import DiftEditError, EditError
from dift_edit.geometry.quad import box_quad
from dift_edit.job.defaults import TABLES, Default, user_defaults
from dift_edit.job.toml_values import (
    check_keys,
    corners_of,
    numbers_of,
    settings_of,
    table_of,
    text_of,
    texts_of,
    toml_value,
)
from dift_edit.results.folder import unredacted_folder
from dift_edit.settings import BatchSettings, Compositing, TransferSettings
from dift_edit.targets.hints import HINT_COLUMNS
from dift_edit.targets.storage import is_url
from dift_edit.types import DifferenceKind

if TYPE_CHECKING:
    from dift_edit.edits.base import Edit
    from dift_edit.imaging.image import Image
    from dift_edit.placement.views import View

__all__ = ["REGION_EDITS", "EditFile", "Job", "RegionEdit", "ViewFile", "load_job", "save_job"]

VERSION = 1
_PATHS = ("path", "mask")
DIFFERENCE_KINDS = get_args(DifferenceKind)
"""What an edited source may be taken for, see `dift_edit.edits.edit_from_difference`."""


@dataclass(frozen=True)
class EditFile:
    """An edit in a file, as a layer of a job.

    Attributes
    ----------
    file : str
        The JSON file of `save_edit`.
    compositing : Compositing or None
        How this layer is blended; None takes the job's.
    """

    file: str
    compositing: Compositing | None = None


REGION_EDITS: dict[str, dict[str, type]] = {
    "redact": {"mode": str, "cells": int, "color": str, "margin": float},
    "recolour": {"exposure": float, "contrast": float, "saturation": float, "hue": float, "recolor": str},
    "erase": {},
}
"""What can be done to a region, and what can be said about it: fields of `Redaction`, `ColorAdjust` and `Erase`."""


@dataclass(frozen=True)
class RegionEdit:
    """A region of the source that is hidden, recoloured or taken out, as a layer of a job.

    Attributes
    ----------
    kind : {"redact", "recolour", "erase"}
    region : str
        A box, the file of a polygon or of a mask, see `dift_edit.edits.load_region`.
    values : dict
        Fields of the edit, see `REGION_EDITS`.
    compositing : Compositing or None
        How this layer is blended; None takes the job's.
    """

    kind: str
    region: str
    values: dict[str, Any] = field(default_factory=dict)
    compositing: Compositing | None = None

    def load(self, source: "Image") -> "Edit":
        """The edit; raises `EditError` or `ImageError`."""
        from dift_edit.edits import ColorAdjust, Erase, Redaction, load_region

        region = load_region(self.region, source.size)
        made: dict[str, Any] = {"redact": Redaction, "recolour": ColorAdjust, "erase": Erase}
        return cast("Edit", made[self.kind](region=region, **self.values))


@dataclass(frozen=True)
class ViewFile:
    """A further image that carries the edit, as a file of a job.

    Attributes
    ----------
    image : str
        The image, without the edit.
    at : tuple (x, y, w, h) or None
        Where the edit lies on it, in its pixels.
    quad : tuple of four (x, y) or None
        The same as four corners: top left, top right, bottom right, bottom left of the edit; clockwise the other way
        round where the image shows the object mirrored.

    Raises
    ------
    EditError
        If it has no place, or two.
    """

    image: str
    at: tuple[float, ...] | None = None
    quad: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if (self.at is None) == (self.quad is None):
            raise EditError(f"The view {self.image} must have one place of the edit: give at or quad.")

    def load(self) -> "View":
        """The view."""
        from dift_edit.placement.views import View

        if self.quad is not None:
            return View(image=self.image, quad=self.quad)
        x, y, width, height = self.at or ()
        return View(image=self.image, quad=box_quad((x, y, x + width, y + height)))


@dataclass(frozen=True, kw_only=True)
class Job:
    """What ``job.toml`` holds. Paths may be relative to the file; `load_job` makes them usable from here.

    Attributes
    ----------
    source : str
        The image that the edit was made on.
    sticker, edited : str or None
        The edit: an image with transparency, or the source after editing. At most one of them.
    edited_as : {"auto", "paint", "recolour", "redact", "erase"}
        What was done to the edited source.
    edits : tuple of EditFile and RegionEdit
        For every other kind of edit; put on above it in this order, see `Layers`. A plain path stands for an
        `EditFile` that is blended as the job says.
    at : tuple (x, y, w, h) or None
        Where the sticker lies in the source.
    quad : tuple of four (x, y) or None
        The same as four corners: top left, top right, bottom right, bottom left.
    views : tuple of ViewFile
        Further images that carry the edit.
    targets : tuple of str
        Files, folders, patterns, URLs.
    lists : tuple of str
        Files that name targets, see `dift_edit.targets.collect.collect_targets`.
    entries : tuple of dict
        Targets with what is known of each: ``path`` and columns of a list, see `dift_edit.targets.hints.Hints`.
    placed : str or None
        Output folder of an earlier run on the same source: its placements are used, and nothing is searched. Of its
        targets those in `targets` are done, all where there are none.
    output : str
        Folder or URL for the results.
    model, device : str
        Arguments of `load_featurizer`; several devices may be given with commas, one process each.
    model_settings : dict
        Further arguments of `load_featurizer`.
    transfer : TransferSettings
    compositing : Compositing
    batch : BatchSettings

    Raises
    ------
    EditError
        If there is no edit, a sticker and an edited source, or a sticker with two places.
    """

    source: str
    sticker: str | None = None
    edited: str | None = None
    edited_as: DifferenceKind = "auto"
    edits: tuple[EditFile | RegionEdit, ...] = ()
    at: tuple[float, ...] | None = None
    quad: tuple[tuple[float, float], ...] | None = None
    views: tuple[ViewFile, ...] = ()
    targets: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    entries: tuple[dict[str, Any], ...] = ()
    placed: str | None = None
    output: str
    model: str = "mini"
    device: str = "cpu"
    model_settings: dict[str, Any] = field(default_factory=dict)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    compositing: Compositing = field(default_factory=Compositing)
    batch: BatchSettings = field(default_factory=BatchSettings)

    def __post_init__(self) -> None:
        layers = tuple(each if isinstance(each, EditFile | RegionEdit) else EditFile(each) for each in self.edits)
        object.__setattr__(self, "edits", layers)
        if self.sticker is not None and self.edited is not None:
            raise EditError("A job has a sticker or an edited source (--sticker, --edited), not both.")
        if self.sticker is None and self.edited is None and not self.edits:
            raise EditError(
                "A job needs one edit: give a sticker, an edited source, a file or a region "
                "(--sticker, --edited, --edit, --redact, --recolour, --erase)."
            )
        if self.edited_as not in DIFFERENCE_KINDS:
            raise EditError(f"edited_as is {self.edited_as!r}: use one of {', '.join(DIFFERENCE_KINDS)}.")
        if self.edited is None and self.edited_as != "auto":
            raise EditError("Only an edited source is taken for something: --edited-as goes with --edited.")
        if self.sticker is None and (self.at is not None or self.quad is not None):
            raise EditError("Only a sticker needs a place: --at and --quad go with --sticker.")
        if self.at is not None and self.quad is not None:
            raise EditError("A sticker has one place: give at or quad (--at, --quad), not both.")

    @property
    def needs_model(self) -> bool:
        """Whether a network has to find the places of the edit."""
        return self.transfer.engine != "fixed" and self.placed is None

    def load_edit(self, source: "Image") -> "Edit":
        """The edit, several as layers, checked against the loaded source.

        Raises
        ------
        DiftEditError
            If it cannot be read or does not fit the source.
        """
        from dift_edit.edits import Layers, Sticker, edit_from_difference, load_edit
        from dift_edit.imaging.files import load_image

        layers: list[Edit] = [
            each.load(source) if isinstance(each, RegionEdit) else load_edit(each.file) for each in self.edits
        ]
        settings = [each.compositing for each in self.edits]
        if self.edited is not None:
            layers.insert(0, edit_from_difference(source, load_image(self.edited), kind=self.edited_as))
        if self.sticker is not None:
            layers.insert(0, Sticker.from_file(self.sticker, at=self.at, quad=self.quad, source_size=source.size))
        settings = [*[None] * (len(layers) - len(settings)), *settings]
        return layers[0] if len(layers) == 1 and settings == [None] else Layers(layers, settings)

    def not_targets(self) -> list[str | Path]:
        """Files and folders of the job that are no targets, also where a folder of targets contains them."""
        views = (view.image for view in self.views)
        named = (self.output, unredacted_folder(self.output), self.edited, self.sticker, *views)
        return [path for path in named if path]

    def moved(self, change: Callable[[str], str]) -> "Job":
        """The job with every path changed by a function."""
        return replace(
            self,
            source=change(self.source),
            sticker=self.sticker and change(self.sticker),
            edited=self.edited and change(self.edited),
            edits=tuple(_moved(each, change) for each in self.edits),
            views=tuple(replace(each, image=change(each.image)) for each in self.views),
            targets=tuple(map(change, self.targets)),
            placed=self.placed and change(self.placed),
            lists=tuple(path if path == "-" else change(path) for path in self.lists),
            entries=tuple(
                {
                    key: change(value) if key in _PATHS and isinstance(value, str) else value
                    for key, value in each.items()
                }
                for each in self.entries
            ),
            output=change(self.output),
        )


def _moved(layer: EditFile | RegionEdit, change: Callable[[str], str]) -> EditFile | RegionEdit:
    if isinstance(layer, EditFile):
        return replace(layer, file=change(layer.file))
    from dift_edit.edits.region_files import box_of

    return layer if box_of(layer.region) else replace(layer, region=change(layer.region))


def load_job(path: Path | str, defaults: Mapping[str, Default] | None = None) -> Job:
    """Read a recipe file.

    Parameters
    ----------
    path : path
        A TOML file; its relative paths are relative to its folder.
    defaults : mapping, optional
        What holds where the recipe says nothing, see `dift_edit.job.defaults.user_defaults`; the built-in defaults by
        default.

    Returns
    -------
    Job
        With paths that can be used from the current folder.

    Raises
    ------
    DiftEditError
        If it cannot be read, is not TOML, or has an unknown or missing key; the sentence names it.
    """
    path = Path(path)
    try:
        data = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DiftEditError(f"The recipe {path} cannot be read ({error.strerror}): check the path.") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise DiftEditError(f"The recipe {path} is not valid TOML ({error}): correct that line.") from error
    folder = path.parent

    def here(text: str) -> str:
        return text if is_url(text) or os.path.isabs(text) else os.path.normpath(folder / text)

    try:
        job = _job_from(data)
        given = {f"{table}.{key}" for table in ("model", *TABLES) for key in data.get(table, {})}
        return with_defaults(job, defaults or {}, given).moved(here)
    except DiftEditError as error:
        raise DiftEditError(f"The recipe {path} cannot be used: {error}") from error


def _job_from(data: dict[str, Any]) -> Job:
    check_keys(
        data,
        {"version", "source", "output", "edit", "targets", "model", "transfer", "compositing", "batch", "views"},
        "the recipe",
    )
    if data.get("version", VERSION) != VERSION:
        raise DiftEditError(f"it has version {data['version']!r}, but this dift-edit reads version {VERSION}.")
    edit, targets, model = (table_of(data, name) for name in ("edit", "targets", "model"))
    check_keys(edit, {"sticker", "edited", "edited_as", "files", "layers", "at", "quad"}, "[edit]")
    check_keys(targets, {"paths", "lists", "each", "placed"}, "[targets]")
    check_keys(model, {"name", "device", "settings"}, "[model]")
    for name in ("source", "output"):
        if not isinstance(data.get(name), str):
            raise DiftEditError(f'it must have  {name} = "…".')
    settings = {
        str(key): tuple(value) if isinstance(value, list) else value
        for key, value in table_of(model, "settings").items()
    }
    return Job(
        source=data["source"],
        output=data["output"],
        sticker=text_of(edit, "sticker"),
        edited=text_of(edit, "edited"),
        edited_as=cast("DifferenceKind", text_of(edit, "edited_as") or "auto"),
        edits=_edit_files(edit),
        at=numbers_of(edit.get("at"), 4, "at"),
        quad=corners_of(edit.get("quad")),
        views=_views(data.get("views", [])),
        targets=texts_of(targets, "paths"),
        lists=texts_of(targets, "lists"),
        entries=_entries(targets),
        placed=text_of(targets, "placed"),
        model=text_of(model, "name") or "mini",
        device=text_of(model, "device") or "cpu",
        model_settings=settings,
        transfer=settings_of(TransferSettings, table_of(data, "transfer"), "[transfer]"),
        compositing=settings_of(Compositing, table_of(data, "compositing"), "[compositing]"),
        batch=settings_of(BatchSettings, table_of(data, "batch"), "[batch]"),
    )


def with_defaults(job: Job, defaults: Mapping[str, Default], given: Set[str]) -> Job:
    """The job with defaults of one's own for what was not given.

    Parameters
    ----------
    job : Job
        With built-in defaults.
    defaults : mapping
        Of `dift_edit.job.defaults.user_defaults`.
    given : set of str
        "table.key" of what stays.
    """
    changes: dict[str, Any] = {}
    for name, default in defaults.items():
        if f"{default.table}.{default.key}" in given:
            continue
        if default.table == "model":
            changes[name] = default.value
        else:
            settings = changes.get(default.table, getattr(job, default.table))
            changes[default.table] = replace(settings, **{default.key: default.value})
    return replace(job, **changes)


def _entries(targets: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The tables of ``[[targets.each]]``."""
    entries = targets.get("each", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DiftEditError("each must be tables, each under its own [[targets.each]].")
    for entry in entries:
        check_keys(entry, {"path", "id", "output", "skip", *HINT_COLUMNS}, "[[targets.each]]")
        if text_of(entry, "path") is None:
            raise DiftEditError('[[targets.each]] must have  path = "…".')
    return tuple(entries)


def _edit_files(edit: dict[str, Any]) -> tuple[EditFile | RegionEdit, ...]:
    """The layers of ``files = […]`` or of ``[[edit.layers]]``."""
    layers = edit.get("layers", [])
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise DiftEditError("layers must be tables, each under its own [[edit.layers]].")
    if layers and "files" in edit:
        raise DiftEditError("[edit] has files and [[edit.layers]]: name all of them in one of the two.")
    made = [_layer_of(layer) for layer in layers]
    return tuple(made) or tuple(map(EditFile, texts_of(edit, "files")))


def _layer_of(layer: dict[str, Any]) -> EditFile | RegionEdit:
    """One table of ``[[edit.layers]]``."""
    where = "[[edit.layers]]"
    kinds = [kind for kind in ("file", *REGION_EDITS) if kind in layer]
    if len(kinds) != 1:
        raise DiftEditError(f'{where} must have  file = "…"  or one of {", ".join(REGION_EDITS)}, and no two of them.')
    kind = kinds[0]
    own = REGION_EDITS.get(kind, {})
    values = {key: layer[key] for key in own if key in layer}
    for key, value in values.items():
        if not isinstance(value, (int, float) if own[key] is float else own[key]) or isinstance(value, bool):
            raise DiftEditError(f"{key} in {where} must be of the kind {own[key].__name__}, but is {value!r}.")
    blending = {key: value for key, value in layer.items() if key not in (kind, *own)}
    compositing = settings_of(Compositing, blending, where) if blending else None
    if kind == "file":
        return EditFile(text_of(layer, "file") or "", compositing)
    place = layer[kind]
    region = text_of(layer, kind) if isinstance(place, str) else ",".join(map(repr, numbers_of(place, 4, kind) or ()))
    return RegionEdit(kind, region or "", values, compositing)


def _views(tables: Any) -> tuple[ViewFile, ...]:
    """The further views of ``[[views]]``."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise DiftEditError("views must be tables, each under its own [[views]].")
    made = []
    for table in tables:
        check_keys(table, {"image", "at", "quad"}, "[[views]]")
        image = text_of(table, "image")
        if image is None:
            raise DiftEditError('[[views]] must have  image = "…".')
        made.append(ViewFile(image, numbers_of(table.get("at"), 4, "at"), corners_of(table.get("quad"))))
    return tuple(made)


def save_job(job: Job, path: Path | str) -> None:
    """Write a recipe file; local paths become relative to its folder where they lie below it.

    Parameters
    ----------
    job : Job
        What to write.
    path : path
        The TOML file.

    Raises
    ------
    OutputError
        If it cannot be written.
    DiftEditError
        If a path is not valid Unicode, which TOML cannot hold.
    """
    path = Path(path)
    folder = os.path.abspath(path.parent)

    def there(text: str) -> str:
        if is_url(text):
            return text
        relative = os.path.relpath(os.path.abspath(text), folder)
        return os.path.abspath(text) if relative.startswith("..") else relative

    write_text(path, format_job(job.moved(there)))


def format_job(job: Job) -> str:
    """The text of a recipe file, with the paths as they are; settings at their defaults are left out."""
    plain = [each.file for each in job.edits if isinstance(each, EditFile) and each.compositing is None]
    layered = len(plain) < len(job.edits)
    files = None if layered or not job.edits else plain
    edit: dict[str, Any] = {
        "sticker": job.sticker, "edited": job.edited,
        "edited_as": None if job.edited_as == "auto" else job.edited_as,
        "files": files, "at": job.at, "quad": job.quad,
    }  # fmt: skip
    own = {f"{each.table}.{each.key}" for each in user_defaults().values()}
    tables = {
        "edit": edit,
        "targets": {"paths": job.targets or None, "lists": job.lists or None, "placed": job.placed},
        "model": {"name": job.model, "device": job.device},
        "model.settings": job.model_settings,
        **{table: _changed(getattr(job, table), table, own) for table in TABLES},
    }
    lines = [f"version = {VERSION}", f"source = {toml_value(job.source)}", f"output = {toml_value(job.output)}"]
    for name, table in tables.items():
        pairs = [f"{key} = {toml_value(value)}" for key, value in table.items() if value is not None]
        if pairs:
            lines += ["", f"[{name}]", *pairs]
        for layer in job.edits if layered and name == "edit" else ():
            # all of them, also those at their defaults: a layer without any is blended as the job says
            blending = {} if layer.compositing is None else _plain_settings(layer.compositing)
            given = {"file": layer.file} if isinstance(layer, EditFile) else {layer.kind: layer.region, **layer.values}
            lines += ["", "[[edit.layers]]"]
            lines += [f"{key} = {toml_value(value)}" for key, value in (given | blending).items()]
        for entry in job.entries if name == "targets" else ():
            lines += ["", "[[targets.each]]", *(f"{key} = {toml_value(value)}" for key, value in entry.items())]
    for view in job.views:
        place = ("at", view.at) if view.at is not None else ("quad", view.quad)
        lines += ["", "[[views]]", f"image = {toml_value(view.image)}", f"{place[0]} = {toml_value(place[1])}"]
    return "\n".join(lines) + "\n"


def _changed(settings: Any, table: str, own: Set[str]) -> dict[str, Any]:
    """Values beside the built-in defaults, and those that a default of one's own would change."""
    return {
        item.name: getattr(settings, item.name)
        for item in fields(settings)
        if getattr(settings, item.name) != item.default or f"{table}.{item.name}" in own
    }


def _plain_settings(settings: Any) -> dict[str, Any]:
    return {item.name: getattr(settings, item.name) for item in fields(settings)}
