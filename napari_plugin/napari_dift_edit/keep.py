"""What is kept: exported pictures, the recipe that the command line runs, the session."""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from dift_edit.errors import DiftEditError
from dift_edit.files import write_text
from napari_dift_edit.editor import Editor
from napari_dift_edit.jobs import Job
from napari_dift_edit.state import Crop, EditSpec, Pin, Result, Session

__all__ = ["Keeper"]

VERSION = 1
_PLAIN = (
    "status", "reason", "confidence", "quad", "mirrored", "engine", "seconds", "by_hand", "stale", "review", "output"
)  # fmt: skip


class Keeper:
    """Writes files from a session, and reads sessions.

    Parameters
    ----------
    editor : Editor
        Has the session.
    """

    def __init__(self, editor: Editor) -> None:
        self.editor = editor

    def _run(self, title: str, steps: Sequence[tuple[str, dict[str, Any]]], then: Callable[[], None]) -> None:
        """Ask the engine one thing after the other, with a bar."""
        editor = self.editor
        if editor.job is not None:
            raise DiftEditError("Something is still running: wait for it, or cancel it.")

        def work(cancelled: Callable[[], bool]) -> Iterator[Any]:
            for name, arguments in steps:
                yield from editor.ask(name, cancelled=cancelled, **arguments)

        def end(outcome: str) -> None:
            editor.job = None
            if outcome == "done":
                then()
            editor.working.emit(False)

        editor.job = Job(work, on_item=lambda _: True, on_end=end, title=title, total=len(steps))
        editor.job.start()
        editor.working.emit(True)

    # pictures

    def export(self, folder: Path) -> int:
        """Write every picture that has the edit, in full resolution, under its own name; returns how many."""
        editor, session = self.editor, self.editor.session
        names: set[str] = set()
        steps = []
        for key in session.targets:
            result = session.results.get(key)
            if result is None or not result.shown or result.quad is None or result.frames:
                continue
            question = editor.question(session, key)
            steps.append(("export", {
                **question, "quad": result.quad, "transform": result.transform, "by_hand": result.by_hand,
                "file": editor.pictures.file(key), "output": str(folder / self._name(key, names)),
            }))  # fmt: skip
        if not steps:
            raise DiftEditError("There is nothing to export yet: propagate first, or accept a result.")
        self._run("dift-edit: export", steps, lambda: editor.said.emit(f"{len(steps)} pictures written to {folder}"))
        return len(steps)

    def _name(self, key: str, taken: set[str]) -> str:
        """A free file name for a picture."""
        file = self.editor.pictures.file(key)
        path = Path(file or "".join(c if c.isalnum() or c in " -_." else "_" for c in self.editor.pictures.name(key)))
        suffix = path.suffix if file else ".png"
        name, number = path.stem + suffix, 2
        while name.lower() in taken:
            name, number = f"{path.stem}-{number}{suffix}", number + 1
        taken.add(name.lower())
        return name

    # the recipe

    def job(self, folder: Path) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
        """The recipe as plain data, and what has to be written beside it because it has no file."""
        editor, session = self.editor, self.editor.session
        if session.edit is None or not session.source or not session.targets:
            raise DiftEditError("A recipe needs a source, an edit and targets: choose them first.")
        taken: set[str] = set()
        saves: list[tuple[str, dict[str, Any]]] = []

        def file_of(key: str, name: str = "") -> str:
            file = editor.pictures.file(key)
            if file:
                return file
            output = str(folder / (name or self._name(key, taken)))
            saves.append(("save_picture", {"picture": editor.pictures.content(key), "output": output}))
            return output

        edit = session.edit
        if edit.kind not in ("sticker", "paint", "difference"):
            raise DiftEditError("A recipe holds a sticker, a painting or an edited copy: export the pictures instead.")
        job: dict[str, Any] = {
            "source": file_of(session.source, "source.png"), "targets": tuple(file_of(key) for key in session.targets),
            "output": str(folder / "edited"), "model": editor.settings.model, "device": editor.settings.device,
            "transfer": dict(editor.settings.transfer),
        }  # fmt: skip
        if edit.kind == "difference":
            job["edited"] = file_of(edit.picture, "edit.png")
        else:
            job["sticker"] = edit.path or file_of(edit.picture, "edit.png")
            if edit.kind == "sticker":
                job["quad"] = edit.quad
        return job, saves

    def save_job(self, path: Path) -> None:
        """Write ``job.toml`` for ``dift-edit run``; pictures without a file are written beside it."""
        job, saves = self.job(path.parent / f"{path.stem}-pictures")
        job["output"] = str(path.parent / "edited")
        self._run("dift-edit: recipe", [*saves, ("write_job", {"path": str(path), "job": job})],
                  lambda: self.editor.said.emit(f"Run it with:  dift-edit run {shlex.quote(str(path))}"))  # fmt: skip

    def command(self) -> str:
        """The command line that does the same.

        Raises
        ------
        DiftEditError
            If a picture has no file.
        """
        job, saves = self.job(Path.cwd())
        if saves:
            missing = Path(saves[0][1]["output"]).stem
            raise DiftEditError(f"{missing!r} has no file, so no command can name it: save the recipe instead.")
        words = ["dift-edit", "propagate", job["source"]]
        if "edited" in job:
            words += ["--edited", job["edited"]]
        else:
            words += ["--sticker", job["sticker"]]
            if "quad" in job:
                words.append("--quad=" + ",".join(f"{value:.2f}" for point in job["quad"] for value in point))
        words += [*job["targets"], "-o", job["output"], "--model", job["model"], "--device", job["device"]]
        for name, value in job["transfer"].items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)

    # sessions

    def save_session(self, folder: Path) -> None:
        """Write the session as a folder: ``session.json`` and pictures."""
        editor, session = self.editor, self.editor.session
        saves: list[tuple[str, dict[str, Any]]] = []
        taken: set[str] = {"edit.png"}

        def entry(key: str) -> dict[str, Any]:
            file, layer = editor.pictures.file(key), editor.pictures.layer(key)
            if not file:
                file = "pictures/" + self._name(key, taken)
                saves.append(("save_picture", {"picture": editor.pictures.content(key), "output": str(folder / file)}))
            affine = None if layer is None else np.asarray(layer.affine.affine_matrix)[-3:, -3:].tolist()
            return {"name": editor.pictures.name(key), "file": file, "affine": affine}

        targets = []
        for number, key in enumerate(session.targets):
            result = session.results.get(key)
            row = entry(key)
            row["pins"] = [[pin.source, pin.target] for pin in session.pins.get(key, ())]
            if result is not None and not result.frames:
                row["result"] = {name: getattr(result, name) for name in _PLAIN}
                if result.crops:
                    crop = result.crops[0]
                    row["crop"] = {"x": crop.x, "y": crop.y, "file": f"crops/{number}.png"}
                    shown = editor.pictures.add(crop.pixels, f"crop {number}")
                    saves.append(("save_picture", {"picture": shown, "output": str(folder / row["crop"]["file"])}))
            targets.append(row)
        data: dict[str, Any] = {
            "version": VERSION, "source": entry(session.source) if session.source else None, "edit": None,
            "targets": targets, "transfer": editor.settings.transfer, "model": editor.settings.message(),
        }  # fmt: skip
        if session.edit is not None:
            edit = session.edit
            data["edit"] = {"kind": edit.kind, "name": edit.name, "path": edit.path, "quad": edit.quad,
                            "options": dict(edit.options), "file": "edit.png"}  # fmt: skip
            saves.append(("save_picture", {"picture": edit.picture, "output": str(folder / "edit.png")}))
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(data, indent=1)

        def finish() -> None:
            write_text(folder / "session.json", text)
            editor.said.emit(f"Session saved in {folder}")

        self._run("dift-edit: save session", saves or [("models", {})], finish)

    def open_session(self, folder: Path, add_layer: Callable[[Any, dict[str, Any]], Any]) -> None:
        """Read a session; its pictures become layers.

        Parameters
        ----------
        folder : Path
            Made by `save_session`.
        add_layer : callable
            Puts pixels into the viewer, given a target's entry, and returns the layer.

        Raises
        ------
        DiftEditError
            If the folder holds no session that can be read.
        """
        data = _read(folder)
        editor = self.editor
        files = {row["file"]: str(folder / row["file"]) for row in (data["source"], *data["targets"]) if row}
        edit = data["edit"]
        if edit:
            files[edit["file"]] = str(folder / edit["file"])
        files |= {row["crop"]["file"]: str(folder / row["crop"]["file"]) for row in data["targets"] if row.get("crop")}
        pixels: dict[str, Any] = {}

        def work(cancelled: Callable[[], bool]) -> Iterator[Any]:
            for name, path in files.items():
                for answer in editor.ask("read", cancelled=cancelled, path=path):
                    yield name, answer

        def hear(item: Any) -> bool:
            pixels[item[0]] = item[1]
            return True

        def end(outcome: str) -> None:
            editor.job = None
            if outcome == "done":
                self._restore(data, pixels, add_layer)
            editor.working.emit(False)

        editor.job = Job(work, on_item=hear, on_end=end, title="dift-edit: open session", total=len(files))
        editor.job.start()
        editor.working.emit(True)

    def _restore(self, data: dict[str, Any], pixels: dict[str, Any], add_layer: Callable[..., Any]) -> None:
        editor = self.editor

        def open_entry(row: dict[str, Any]) -> str:
            return editor.pictures.key(add_layer(pixels[row["file"]], row))

        session = Session(source=open_entry(data["source"]) if data["source"] else "")
        results, pins, targets = {}, {}, []
        for row in data["targets"]:
            key = open_entry(row)
            targets.append(key)
            pins[key] = tuple(Pin(tuple(a), tuple(b)) for a, b in row["pins"])
            if row.get("result"):
                kept = {**row["result"], "quad": _quad(row["result"]["quad"])}
                crop = row.get("crop")
                crops = (Crop(crop["x"], crop["y"], pixels[crop["file"]]),) if crop else ()
                results[key] = Result(**kept, crops=crops)
        edit = data["edit"]
        if edit:
            picture = editor.pictures.add(pixels[edit["file"]], edit["name"])
            spec = EditSpec(kind=edit["kind"], picture=picture, quad=_quad(edit["quad"]) or (), name=edit["name"],
                            path=edit["path"], options=edit["options"])  # fmt: skip
            session = replace(session, edit=spec)
        editor.settings.transfer = dict(data["transfer"])
        session = replace(
            session, targets=tuple(targets), results=MappingProxyType(results), pins=MappingProxyType(pins)
        )
        editor.restore(session)


def _quad(value: Any) -> Any:
    return None if value is None else tuple((float(x), float(y)) for x, y in value)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "session.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DiftEditError(f"{folder} holds no dift-edit session: choose a folder with a session.json.") from error
    except ValueError as error:
        raise DiftEditError(f"{path} is damaged ({error}): restore it from a copy.") from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise DiftEditError(f"{path} is not a session that this version reads: save it again with this version.")
    return data
