"""Sessions as folders: ``session.json``, and pictures beside it."""

import contextlib
import errno
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer

from dift_edit.atomic_files import parse_json, write_text
from dift_edit.errors import DiftEditError
from napari_dift_edit import layers as glue
from napari_dift_edit.editor import Editor
from napari_dift_edit.keep import MANIFEST, Step, free_name, run_steps
from napari_dift_edit.state import EDIT_KINDS, Crop, EditSpec, Instance, Part, Pin, Quad, Result, Session, stack_crops

__all__ = ["Autosave", "open_session", "save_session"]

VERSION = 3
_SESSION = ".dift-edit/session"
"""Where the session lies in a folder of results."""
_PLAIN = {
    "status": str, "reason": str, "confidence": float, "mirrored": bool, "engine": str, "seconds": float,
    "by_hand": bool, "made_with": str, "edit_changed": bool, "model_changed": bool, "review": str,
    "hides": bool, "look": str,
}  # fmt: skip


_INSTANCE = {"confidence": float, "mirrored": bool, "by_hand": bool, "review": str, "missed": bool}


def save_session(editor: Editor, folder: Path, roots: Sequence[str] = ()) -> None:
    """Write the session as a folder.

    Parameters
    ----------
    editor : Editor
        Has the session.
    folder : Path
        Is made if it does not exist.
    roots : sequence of str
        Folders that results will go to, whether or not something was exported yet.

    Raises
    ------
    DiftEditError
        If something else is running, the folder cannot be made, or it lies among results that are to hide what the
        session shows.
    """
    where, outputs = folder.resolve(), (Path(output).parent for output in editor.asker.outputs.values())
    results = {each.resolve() for each in (*map(Path, roots), *outputs)}
    among_results = any(each in results or (each / MANIFEST).is_file() for each in (where, *where.parents))
    if among_results and editor.session.hides is not False:
        raise DiftEditError(
            f"The session would show what the edit hides, and {folder} is in a folder of results: choose another one."
        )
    data, steps = _described(editor, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiftEditError(f"The folder {folder} cannot be made ({error.strerror}): choose another one.") from error
    text = json.dumps(data, indent=1)

    def finish(_: list[Any]) -> None:
        write_text(folder / "session.json", text)
        editor.said.emit(f"Session saved in {folder}")

    run_steps(editor, "dift-edit: save session", steps, finish)


def _described(editor: Editor, folder: Path) -> tuple[dict[str, Any], list[Step]]:
    """What ``session.json`` says, and the pictures that have to be written beside it."""
    session, steps = editor.session, list[Step]()
    taken = {"edit.png"}

    def save(picture: str, file: str) -> str:
        steps.append(("save_picture", {"picture": picture, "output": str(folder / file)}))
        return file

    def picture(key: str) -> dict[str, Any]:
        """A picture, or a stack as one file for each frame; a file of a folder as its path."""
        if key.startswith("file:"):
            path = key.removeprefix("file:")
            return {"name": Path(path).name, "world": None, "file": path, "folder": editor.asker.outputs.get(key, "")}
        layer, frames = editor.pictures.layer(key), editor.pictures.frames(key)
        entry = {"name": editor.pictures.name(key), "world": None}
        if layer is not None:
            entry["world"] = (glue.stack_matrix(layer) if frames else glue.matrix(layer)).tolist()
        if frames:
            name = free_name(editor, key, taken)
            stem, content = Path(name).stem, map(editor.pictures.content, frames)
            return {**entry, "frames": [save(frame, f"pictures/{stem}/{n:05d}.png") for n, frame in enumerate(content)]}
        file = editor.pictures.file(key)
        return {
            **entry,
            "file": file or save(editor.pictures.content(key), "pictures/" + free_name(editor, key, taken)),
        }

    def result(key: str, number: int) -> dict[str, Any] | None:
        found = session.results.get(key)
        if found is None:
            return None
        crops = [
            {
                "x": crop.x, "y": crop.y, "frame": crop.frame,
                "file": save(editor.pictures.add(crop.pixels, "crop"), f"crops/{number}-{n:05d}.png"),
            }
            for n, crop in enumerate(found.crops)
        ]  # fmt: skip
        plain = {name: getattr(found, name) for name in _PLAIN}
        instances = [
            {**{name: getattr(each, name) for name in _INSTANCE}, "quad": each.quad} for each in found.instances
        ]
        return {**plain, "quad": found.quad, "track": found.track, "crops": crops, "instances": instances}

    def spec(edit: EditSpec, file: str) -> dict[str, Any]:
        return {"kind": edit.kind, "name": edit.name, "path": edit.path, "quad": edit.quad,
                "options": dict(edit.options), "file": save(edit.picture, file)}  # fmt: skip

    base, _, frame = session.source.partition("#")
    data: dict[str, Any] = {
        "version": VERSION, "edit": None, "model": editor.settings.message(), "transfer": editor.settings.transfer,
        "source": None if not base or base in session.targets else picture(base),
        "source target": session.targets.index(base) if base in session.targets else None,
        "source frame": int(frame) if frame else None,
        "views": [{**picture(key), "quad": quad} for key, quad in session.views.items()],
        "targets": [
            {
                **picture(key), "result": result(key, number),
                "pins": [[pin.source, pin.target] for pin in session.pins.get(key, ())],
                "keyframes": list(session.keyframes.get(key, {}).items()),
            }
            for number, key in enumerate(session.targets)
        ],
    }  # fmt: skip
    if session.edit is not None:
        parts = [
            {**spec(part.edit, f"edit-{number}.png"), "opacity": part.opacity, "visible": part.visible}
            for number, part in enumerate(session.edit.parts)
        ]
        data["edit"] = {**spec(session.edit, "edit.png"), "parts": parts, "active": session.edit.active}
    return data, steps


class Autosave:
    """Keeps the work on a folder of photos as a session beside its results, so that a closed window costs nothing.

    A session holds source and views as they are. Where the edit hides something it therefore lies outside the folder of
    results, so that this one can be given away.

    Parameters
    ----------
    editor : Editor
        Has the session; it is written a moment after each change.
    roots : list of str
        Folders of results; the session belongs to the first one.
    """

    def __init__(self, editor: Editor, roots: list[str]) -> None:
        self.editor = editor
        self.roots = roots
        self._saved: dict[str, str] = {}
        self._mine: set[Path] = set()
        self._folder = Path()
        self._turn = QTimer()
        self._turn.setSingleShot(True)
        self._turn.setInterval(1500)
        self._turn.timeout.connect(self.write)
        editor.changed.connect(self._later)
        editor.result_changed.connect(self._later)

    @staticmethod
    def find(root: Path) -> Path | None:
        """The session of a folder of results, where there is one."""
        from dift_edit.results.folder import unredacted_folder

        beside = unredacted_folder(root)
        places = [root / _SESSION, *([] if beside is None else [beside / "session"])]
        return next((place for place in reversed(places) if (place / "session.json").is_file()), None)

    def adopt(self, folder: Path) -> None:
        """Go on with the session of a folder; one that was not adopted is kept beside the new one."""
        self._mine.add(folder)

    def close(self) -> None:
        """Write what is not written yet, and follow no longer."""
        self.editor.changed.disconnect(self._later)
        self.editor.result_changed.disconnect(self._later)
        if self._turn.isActive():
            self._turn.stop()
            self.write()

    def _later(self, _: Any = None) -> None:
        if self.roots and self.editor.session.results and not self._turn.isActive():
            self._turn.start()

    def _settle(self) -> Path:
        """Where the session goes. Once something was hidden in a folder of results, no session stays or comes there."""
        from dift_edit.results.folder import unredacted_folder

        root, beside = Path(self.roots[0]), unredacted_folder(self.roots[0])
        if not self.editor.session.hides and not (beside is not None and beside.is_dir()):
            return root / _SESSION
        if beside is None:
            raise OSError(errno.EINVAL, "there is no folder beside it")
        if beside.is_symlink():
            raise OSError(errno.ELOOP, f"{beside} is a link")
        beside.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in [old for each in self.roots for old in sorted(Path(each).glob(f"{_SESSION}*"))]:
            new = _free(beside / "session")
            shutil.move(old, new)
            with contextlib.suppress(OSError):
                old.parent.rmdir()
            if old in self._mine:
                self._mine.add(new)
        return beside / "session"

    def write(self) -> None:
        """Write the session now; pictures that were written already are not written again."""
        if self.editor.session.hides is None:  # it is written when that is known
            return
        try:
            folder = self._folder = self._settle()
            if folder not in self._mine and (folder / "session.json").exists():
                folder.rename(_free(folder))
            self._mine.add(folder)
            data, steps = _described(self.editor, folder)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "session.json", json.dumps(data))
        except (OSError, shutil.Error, DiftEditError) as error:
            why = getattr(error, "strerror", None) or error
            self.editor.said.emit(f"The work on {self.roots[0]} cannot be kept ({why}): save the session elsewhere")
            return

        def written(file: str) -> None:
            if folder != self._folder:  # it was moved meanwhile
                Path(file).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    for parent in Path(file).parents[: len(Path(file).relative_to(folder).parts)]:
                        parent.rmdir()

        for name, arguments in steps:
            output = arguments["output"]
            if self._saved.get(output) != arguments["picture"]:
                self._saved[output] = arguments["picture"]
                self.editor.ask_aside(name, written, **arguments)


def _free(folder: Path) -> Path:
    """The folder's own name where nothing has it, else one with a number."""
    others = (folder.with_name(f"{folder.name}-{number}") for number in range(1, 10_000))
    return next(each for each in itertools.chain([folder], others) if not each.exists())


def open_session(
    editor: Editor, folder: Path, add_layer: Callable[..., Any], then: Callable[[], None] = lambda: None
) -> None:
    """Read a session; its pictures become layers.

    Parameters
    ----------
    editor : Editor
        Gets the session as one step.
    folder : Path
        Made by `save_session`.
    add_layer : callable
        Puts pixels into the viewer, given a name, a file or an empty string, and a matrix to the world or None;
        returns the layer.
    then : callable
        Called when the session is there.

    Raises
    ------
    DiftEditError
        If the folder holds no session that can be read.
    """
    kept = _read(folder)
    files = list(dict.fromkeys(kept.files))
    steps: list[Step] = [("read", {"path": str(folder / file)}) for file in files]

    def finish(answers: list[Any]) -> None:
        kept.restore(editor, dict(zip(files, answers, strict=True)), add_layer)
        then()

    run_steps(editor, "dift-edit: open session", steps, finish)


@dataclass
class _Picture:
    name: str
    files: list[str]
    world: Any
    stack: bool
    folder: str | None = None

    @classmethod
    def parsed(cls, row: dict[str, Any]) -> "_Picture":
        """`folder` is where the result of a file goes that is no layer; None for layers."""
        world = None if row["world"] is None else np.array(row["world"], dtype=np.float64)
        stack = "frames" in row
        size = 4 if stack else 3
        if world is not None and (world.shape != (size, size) or not np.isfinite(world).all()):
            raise ValueError("world is no matrix")
        files = list(map(str, row["frames"] if stack else [row["file"]]))
        return cls(str(row["name"]), files, world, stack, None if "folder" not in row else str(row["folder"]))

    def open(self, pixels: dict[str, Any], add_layer: Callable[..., Any]) -> Any:
        content = np.stack([pixels[file] for file in self.files]) if self.stack else pixels[self.files[0]]
        file = self.files[0] if not self.stack and Path(self.files[0]).is_absolute() else ""
        return add_layer(content, self.name, file=file, world=self.world)


@dataclass
class _Target:
    picture: _Picture
    pins: tuple[Pin, ...]
    keyframes: dict[int, Quad]
    result: Result | None
    crops: list[tuple[int, int, int | None, str]]

    @classmethod
    def parsed(cls, row: dict[str, Any]) -> "_Target":
        pins = tuple(Pin(_point(a), _point(b)) for a, b in row["pins"])
        keyframes = {int(frame): _quad(quad) for frame, quad in row["keyframes"]}
        plain, result, crops = row["result"], None, []
        if plain is not None:
            track = tuple((_quad(quad), float(confidence)) for quad, confidence in plain["track"])
            quad = None if plain["quad"] is None else _quad(plain["quad"])
            instances = tuple(
                Instance(**{name: kind(each[name]) for name, kind in _INSTANCE.items()}, quad=_quad(each["quad"]))
                for each in plain["instances"]
            )
            found = {name: kind(plain[name]) for name, kind in _PLAIN.items()}
            result = Result(**found, quad=quad, track=track, instances=instances)
            crops = [
                (int(c["x"]), int(c["y"]), None if c["frame"] is None else int(c["frame"]), str(c["file"]))
                for c in plain["crops"]
            ]
        return cls(_Picture.parsed(row), pins, keyframes, result, crops)

    def found(self, pixels: dict[str, Any]) -> Result | None:
        if self.result is None:
            return None
        crops = tuple(Crop(x, y, glue.to_rgba(pixels[file]), frame) for x, y, frame, file in self.crops)
        stack = stack_crops(crops, len(self.result.track)) if self.result.frames else None
        return replace(self.result, crops=crops, stack=stack)


@dataclass
class _Kept:
    """What a ``session.json`` says, checked."""

    source: _Picture | None
    source_target: int | None
    source_frame: int | None
    targets: list[_Target]
    views: list[tuple[_Picture, Quad]]
    edit: dict[str, Any] | None
    model: dict[str, str]
    transfer: dict[str, Any]

    @classmethod
    def parsed(cls, data: dict[str, Any]) -> "_Kept":
        targets = [_Target.parsed(row) for row in data["targets"]]
        edit, number, frame = data["edit"], data["source target"], data["source frame"]
        if edit is not None:
            parts = [(_spec(part), float(part["opacity"]), bool(part["visible"])) for part in edit["parts"]]
            edit = {**_spec(edit), "parts": parts, "active": int(edit["active"])}
        if number is not None:
            targets[int(number)]
        source = None if data["source"] is None else _Picture.parsed(data["source"])
        model = {"name": str(data["model"]["name"]), "device": str(data["model"]["device"])}
        views = [(_Picture.parsed(row), _quad(row["quad"])) for row in data["views"]]
        return cls(source, number, frame, targets, views, edit, model, dict(data["transfer"]))

    @property
    def files(self) -> list[str]:
        pictures = [target.picture for target in self.targets] + [picture for picture, _ in self.views]
        pictures += [self.source] if self.source else []
        files = [file for picture in pictures if picture.folder is None for file in picture.files]
        files += [file for target in self.targets for *_, file in target.crops]
        if self.edit:
            files += [self.edit["file"], *(part["file"] for part, _, _ in self.edit["parts"])]
        return files

    def _open_source(self, editor: Editor, pixels: dict[str, Any], add_layer: Callable[..., Any]) -> Any:
        """The source's layer: the one that is open, where it shows the same picture."""
        if self.source is None:
            return None
        now = editor.pictures.layer(editor.session.source)
        same = now is not None and editor.pictures.here(editor.session.source) and not self.source.stack
        if same and np.array_equal(glue.read_values(now), pixels[self.source.files[0]]):
            return now
        return self.source.open(pixels, add_layer)

    def restore(self, editor: Editor, pixels: dict[str, Any], add_layer: Callable[..., Any]) -> None:
        layer = self._open_source(editor, pixels, add_layer)
        opened = [
            None if target.picture.folder is not None else target.picture.open(pixels, add_layer)
            for target in self.targets
        ]
        keys = []
        for target, each in zip(self.targets, opened, strict=True):
            keys.append(f"file:{target.picture.files[0]}" if each is None else editor.pictures.key(each))
            if target.picture.folder:
                editor.asker.outputs[keys[-1]] = target.picture.folder
        views = {}
        for picture, quad in self.views:
            there = picture.folder is not None
            views[f"file:{picture.files[0]}" if there else editor.pictures.key(picture.open(pixels, add_layer))] = quad
        if self.source_target is not None:
            layer = opened[self.source_target]
        source = "" if layer is None else editor.pictures.key(layer, self.source_frame)
        rows = list(zip(keys, self.targets, strict=True))
        results = {key: found for key, target in rows if (found := target.found(pixels)) is not None}
        edit = None
        if self.edit is not None:

            def made(given: dict[str, Any], **more: Any) -> EditSpec:
                plain = {name: value for name, value in given.items() if name not in ("file", "parts", "active")}
                return EditSpec(picture=editor.pictures.add(pixels[given["file"]], given["name"]), **plain, **more)

            parts = tuple(Part(made(given), opacity, visible) for given, opacity, visible in self.edit["parts"])
            edit = made(self.edit, parts=parts, active=self.edit["active"])
        editor.settings.transfer = dict(self.transfer)
        editor.settings.model, editor.settings.device = self.model["name"], self.model["device"]
        editor.restore(Session(
            source=source, edit=edit, targets=tuple(keys), results=MappingProxyType(results),
            pins=MappingProxyType({key: target.pins for key, target in rows}),
            keyframes=MappingProxyType({key: target.keyframes for key, target in rows if target.keyframes}),
            views=MappingProxyType(views),
        ))  # fmt: skip
        editor.settings_changed()


def _spec(value: dict[str, Any]) -> dict[str, Any]:
    if value["kind"] not in EDIT_KINDS:
        raise ValueError(f"unknown kind of edit {value['kind']!r}")
    return {
        "kind": str(value["kind"]), "name": str(value["name"]), "path": str(value["path"]),
        "quad": _quad(value["quad"]) if value["quad"] else (), "options": dict(value["options"]),
        "file": str(value["file"]),
    }  # fmt: skip


def _point(value: Any) -> tuple[float, float]:
    x, y = value
    return float(x), float(y)


def _quad(value: Any) -> Quad:
    quad = tuple(map(_point, value))
    if len(quad) != 4 or not np.isfinite(quad).all():
        raise ValueError("a place is not four corners")
    return quad


def _read(folder: Path) -> _Kept:
    path = folder / "session.json"
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DiftEditError(f"{folder} holds no dift-edit session: choose a folder with a session.json.") from error
    except ValueError as error:
        raise DiftEditError(f"{path} is damaged ({error}): restore it from a copy.") from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise DiftEditError(f"{path} is not a session that this version reads: save it again with this version.")
    try:
        return _Kept.parsed(data)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DiftEditError(f"{path} is damaged ({type(error).__name__}: {error}): restore it from a copy.") from error
