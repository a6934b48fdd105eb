"""What is kept: exported pictures, and the recipe that the command line runs."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error

from dift_edit.errors import DiftEditError
from napari_dift_edit import layers as glue
from napari_dift_edit.annotations import annotated_image, parts_of_carried, parts_of_layer
from napari_dift_edit.carry import recipe_annotations
from napari_dift_edit.client import EngineError
from napari_dift_edit.editor import Editor
from napari_dift_edit.jobs import Job
from napari_dift_edit.scene import Scene
from napari_dift_edit.state import Pin, Result, Session

if TYPE_CHECKING:
    from dift_edit.annotations import AnnotatedImage

__all__ = ["FORMATS", "MANIFEST", "Keeper", "free_name", "run_steps"]

FORMATS: dict[str, tuple[str, str, bool]] = {
    "coco": ("COCO", "*.json", False),
    "cvat": ("CVAT for images", "*.xml", False),
    "tps": ("TPS of landmarks", "*.tps", False),
    "deeplabcut": ("DeepLabCut", "*.csv *.h5", False),
    "yolo": ("YOLO, a folder", "*", True),
    "labelme": ("LabelMe, a folder", "*", True),
    "napari": ("napari CSV, a folder", "*", True),
}
"""Format of annotations → how the user knows it, names of its files, and whether it is a folder."""

MANIFEST = "manifest.jsonl"
"""What lies in each folder of results."""

Step = tuple[str, dict[str, Any]]
"""A function of the engine and its arguments."""


def run_steps(
    editor: Editor,
    title: str,
    steps: Sequence[Step],
    then: Callable[[list[Any]], None],
    *,
    last: Callable[[list[Any]], Sequence[Step]] | None = None,
) -> None:
    """Ask the engine one thing after the other, with a bar; `then` gets all answers.

    With `last`, which makes the last steps of the answers to the others, a step that fails does not stop the others:
    its answer is the `DiftEditError`. After two crashes of the engine in a row, the last steps follow at once.

    Raises
    ------
    DiftEditError
        If something else is running.
    """
    if editor.job is not None:
        raise DiftEditError("Something is still running: wait for it, or cancel it.")
    answers: list[Any] = []

    def work(cancelled: Callable[[], bool]) -> Iterator[Any]:
        def ask(step: Step) -> Any:
            name, arguments = step
            try:
                (answer,) = editor.ask(name, cancelled=cancelled, **arguments)
            except DiftEditError as error:
                if last is None:
                    raise
                return error
            return answer

        for step in steps:
            crashes = [answer for answer in answers[-2:] if isinstance(answer, EngineError)]
            answers.append(crashes[1] if len(crashes) > 1 else ask(step))
            yield step
        for step in last(list(answers)) if last is not None else ():
            answers.append(ask(step))
            yield step

    def end(outcome: str) -> None:
        editor.job = None
        if outcome == "done":
            try:
                then(answers)
            except DiftEditError as error:
                show_error(str(error))
        editor.working.emit(False)

    editor.job = Job(work, on_item=lambda _: True, on_end=end, title=title, total=len(steps))
    editor.job.start()
    editor.working.emit(True)


def free_name(editor: Editor, key: str, taken: set[str], *, suffix: str = "") -> str:
    """A file name for a picture that is not taken yet; it is taken then."""
    file = editor.pictures.file(key)
    path = Path(file or "".join(c if c.isalnum() or c in " -_." else "_" for c in editor.pictures.name(key)))
    suffix = suffix or (path.suffix if file else ".png")
    stem = path.stem if file else path.name
    name, number = stem + suffix, 2
    while name.lower() in taken:
        name, number = f"{stem}-{number}{suffix}", number + 1
    taken.add(name.lower())
    return name


class Keeper:
    """Writes pictures and recipes.

    Parameters
    ----------
    editor : Editor
        Has the session.
    scene : Scene
        Knows which layers are shown.

    Attributes
    ----------
    roots : list of str
        Folders that results of added folders go to.
    written : int
        How many pictures the latest export wrote.
    """

    def __init__(self, editor: Editor, scene: Scene) -> None:
        self.editor = editor
        self.scene = scene
        self.roots: list[str] = []
        self.written = 0

    # pictures

    def export(self, folder: Path | None, *, unreviewed: bool = True) -> int:
        """Write every picture that has the edit, in full resolution, under its own name; returns how many it tries.

        A stack becomes a folder of its frames. Pictures of a folder go to the place that was chosen with the folder,
        with a ``manifest.jsonl`` that says what was decided; those that nobody accepted go into its sub-folder
        ``unreviewed``. What an earlier export wrote there of these pictures, and this one does not write, is removed. A
        picture that cannot be written is named at the end, and the others are written.

        Parameters
        ----------
        folder : Path or None
            For pictures of layers.
        unreviewed : bool
            Whether pictures of a folder that nobody accepted are written.
        """
        editor, session = self.editor, self.editor.session
        names, asked, steps = set[str](), list[str](), list[Step]()
        outputs: dict[str, str] = {}
        marked = 0
        for key in session.targets:
            result, output = session.results.get(key), editor.asker.outputs.get(key)
            if result is None or not result.shown or result.quad is None:
                continue
            if output is not None:
                if not (result.review or result.by_hand):
                    if not unreviewed:
                        continue
                    output, marked = self._unreviewed(output), marked + 1
                outputs[key] = output
            elif folder is None:
                raise DiftEditError("Choose a folder for the pictures that are open as layers.")
            if result.frames and folder is not None:
                made = self._frames(key, result, folder / free_name(editor, key, names, suffix=" frames"))
            else:
                question = editor.question(session, key)
                layer = editor.pictures.layer(key)
                limits = None if layer is None or editor.pictures.channels(key) else glue.stretched(layer)
                values = "" if limits is None else editor.pictures.content(key) + "!values"
                made = [("export", {
                    **question, "values": values, "limits": limits, "places": result.places,
                    "file": editor.pictures.file(key),
                    "output": output or str(folder / free_name(editor, key, names)),  # type: ignore[operator]
                })]  # fmt: skip
            asked += [key] * len(made)
            steps += made
        if not steps and not self.exported:
            raise DiftEditError("There is nothing to export yet: propagate first, or accept a result.")
        where = folder or (self._root(next(iter(outputs.values()))) if outputs else self.exported[0])
        self.written = 0

        def failures(answers: list[Any]) -> dict[str, DiftEditError]:
            return {
                key: answer for key, answer in reversed(list(zip(asked, answers, strict=False)))
                if isinstance(answer, DiftEditError)
            }  # fmt: skip

        def last(answers: list[Any]) -> list[Step]:
            return self._manifests(session, outputs, failures(answers))

        def end(answers: list[Any]) -> None:
            failed, manifests = failures(answers), answers[len(steps) :]
            wrong = [answer for answer in manifests if isinstance(answer, DiftEditError)]
            removed = sum(answer for answer in manifests if answer not in wrong)
            self.written = len(set(asked)) - len(failed)
            words = f"{_many(self.written)} written to {where}"
            words += f", {marked} of them to 'unreviewed'" if marked and not failed else ""
            words += f"; {_many(removed)} of an earlier export removed" if removed else ""
            words += "".join(f". {line}" for line in _warnings(editor, session, set(asked) - failed.keys()))
            if failed or wrong:
                named = [f"{editor.pictures.name(key)} ({error})" for key, error in list(failed.items())[:3]]
                more = ["…"] * (len(failed) > 3)
                missing = [f"{_many(len(failed))} could not be written: {', '.join(named + more)}"] * bool(failed)
                words += "".join(f". {line}" for line in (*missing, *wrong))
                show_error(words)
            editor.said.emit(words)

        run_steps(editor, "dift-edit: export", steps, end, last=last)
        return len(set(asked))

    @property
    def exported(self) -> list[str]:
        """Folders of results of the targets in which there is a manifest, as an earlier export leaves it."""
        outputs = self.editor.asker.outputs
        roots = {self._root(outputs[key]): None for key in self.editor.session.targets if key in outputs}
        return [root for root in roots if (Path(root) / MANIFEST).is_file()]

    def _root(self, output: str) -> str:
        """The folder of results that a file goes to."""
        return next((root for root in self.roots if Path(output).is_relative_to(root)), str(Path(output).parent))

    def _unreviewed(self, output: str) -> str:
        """Where a file goes that nobody accepted."""
        root = self._root(output)
        return str(Path(root) / "unreviewed" / Path(output).relative_to(root))

    def _manifests(
        self, session: Session, written: Mapping[str, str], failed: Mapping[str, DiftEditError]
    ) -> list[Step]:
        """The manifest of each folder of results: what was found and decided for each of its targets."""
        rows: dict[str, list[dict[str, Any]]] = {root: [] for root in self.exported}
        places: dict[str, list[str]] = {}
        for key in session.targets:
            output, result = self.editor.asker.outputs.get(key), session.results.get(key)
            if output is None:
                continue
            root = self._root(output)
            here = [Path(file).relative_to(root).as_posix() for file in (output, self._unreviewed(output))]
            places.setdefault(root, []).extend(here)
            if result is None:
                continue
            file, error = written.get(key), failed.get(key)
            rows.setdefault(root, []).append({
                "id": key.removeprefix("file:"), "target": key.removeprefix("file:"),
                "output": None if file is None or error else Path(file).relative_to(root).as_posix(),
                "status": "failed" if error else result.status, "reason": str(error or result.reason),
                "confidence": result.confidence,
                "quad": result.quad and [list(point) for point in result.quad], "mirrored": result.mirrored,
                "engine": result.engine, "seconds": result.seconds, "review": result.review,
                "instances": max(1, len(result.instances)),
                "warning": _warning(result),
                "pins": _pins(session.pins.get(key, ())),
                **({"left": here} if error and session.hides is False else {}),
            })  # fmt: skip
        return [
            ("write_manifest", {"path": str(Path(root) / MANIFEST), "rows": each, "places": places.get(root, [])})
            for root, each in rows.items()
        ]

    def _frames(self, key: str, result: Result, folder: Path) -> list[Step]:
        """The frames of a stack."""
        crops = {crop.frame: (crop.x, crop.y, crop.pixels) for crop in result.crops}
        return [
            ("export_frame", {
                "picture": self.editor.pictures.content(frame), "crop": crops.get(number),
                "output": str(folder / f"{number:05d}.png"),
            }) for number, frame in enumerate(self.editor.pictures.frames(key))
        ]  # fmt: skip

    # annotations

    def export_annotations(self, path: Path, format_: str = "") -> int:
        """Write the annotations of the source and of every target that they were carried to; returns how many pictures.

        Parameters
        ----------
        path : Path
            A file, or a folder for the formats that are one (YOLO, LabelMe, napari).
        format_ : str
            One of `FORMATS`; by default what the name says.
        """
        images = self._annotated()
        if len(images) < 2:
            raise DiftEditError("No annotations were carried yet: carry some first.")

        def written(answers: list[Any]) -> None:
            lost = f"; it cannot hold {', '.join(answers[0])}" if answers[0] else ""
            self.editor.said.emit(f"The annotations of {_many(len(images))} are in {path}{lost}")

        step = ("write_annotations", {"path": str(path), "format": format_ or None, "images": images})
        run_steps(self.editor, "dift-edit: annotations", [step], written)
        return len(images)

    def _annotated(self) -> "list[AnnotatedImage]":
        """Source and targets with what was carried, as it is on the canvas where it is there."""
        editor, scene = self.editor, self.scene
        source, parts = scene.layer(editor.session.source), dict[str, list[Any]]()
        sizes: dict[str, tuple[int, int] | None] = {}
        for carried in editor.session.carried:
            layer = scene.layer(carried.layer)
            name = carried.name.rpartition(" · ")[2]
            if layer is not None and source is not None and editor.session.source not in parts:
                parts[editor.session.source] = []
            shown, target = scene.annotations.get(carried.slot), scene.layer(carried.target)
            found = (
                parts_of_carried(carried, name)
                if shown is None or target is None or carried.kind == "labels"
                else parts_of_layer(shown, target, name)
            )
            parts.setdefault(carried.target, []).extend(found)
            sizes[carried.target] = carried.size or (None if target is None else glue.picture_size(target))
        if source is not None and editor.session.source in parts:
            sizes[editor.session.source] = glue.picture_size(source)
            for key in dict.fromkeys(carried.layer for carried in editor.session.carried):
                if (layer := scene.layer(key)) is not None:
                    parts[editor.session.source].extend(parts_of_layer(layer, source))
        taken: set[str] = set()
        return [annotated_image(free_name(editor, key, taken), sizes[key], rows) for key, rows in parts.items()]

    def export_pairs(self, folder: Path, format_: str) -> int:
        """Write the landmarks of source and target as pairs, a file for each target; returns how many targets.

        The target is the moving picture, which is laid onto the source, the fixed one. The source's points are those
        that were carried, wherever they are now.

        Parameters
        ----------
        folder : Path
            Gets NAME.csv for BigWarp, or NAME.moving.txt and NAME.fixed.txt for elastix.
        format_ : {"bigwarp", "elastix"}
            Whose files.
        """
        editor, steps = self.editor, list[Step]()
        taken = set[str]()
        for carried in editor.session.carried:
            if carried.origins is None or carried.rows is None:
                continue
            rows, features = list(carried.rows), carried.looks["features"]
            stem = Path(free_name(editor, carried.target, taken)).stem
            steps.append(("write_pairs", {
                "path": str(folder / f"{stem}.{'csv' if format_ == 'bigwarp' else 'txt'}"), "format": format_,
                "moving": carried.data[0], "fixed": carried.origins[rows],
                "names": features["name"].iloc[rows].astype(str).tolist() if "name" in features else None,
            }))  # fmt: skip
        if not steps:
            raise DiftEditError("There are no pairs: carry points first; added or deleted ones belong to no pair.")
        words = f"Pairs of landmarks of {_many(len(steps))} are in {folder}"
        run_steps(editor, "dift-edit: landmark pairs", steps, lambda _: editor.said.emit(words))
        return len(steps)

    # the recipe

    def job(self, folder: Path) -> tuple[dict[str, Any], list[Step]]:
        """The recipe as plain data, and what has to be written to `folder` because it has no file."""
        editor, session = self.editor, self.editor.session
        if session.edit is None or not session.source or not session.targets:
            raise DiftEditError("A recipe needs a source, an edit and targets: choose them first.")
        if "#" in session.source:
            raise DiftEditError("A recipe holds pictures, not a stack: export the stack, or save the session instead.")
        taken: set[str] = {"edit.json"}
        steps: list[Step] = []

        def file_of(key: str, name: str = "") -> str:
            file = editor.pictures.file(key)
            if file:
                return file
            output = str(folder / (name or free_name(editor, key, taken)))
            steps.append(("save_picture", {"picture": editor.pictures.content(key), "output": output}))
            return output

        edit, files = session.edit, []
        job: dict[str, Any] = {
            "source": file_of(session.source, "source.png"), "targets": tuple(file_of(key) for key in session.targets),
            "output": str(folder / "edited"), "device": editor.settings.device,
            "transfer": dict(editor.settings.transfer),
        }  # fmt: skip
        if editor.settings.model:
            job["model"] = editor.settings.model
        if session.views:
            job["views"] = tuple({"image": file_of(key), "quad": quad} for key, quad in session.views.items())
        if edit.kind == "difference":
            job["edited"] = file_of(edit.picture, "edit.png")
            if "kind" in edit.options:
                job["edited_as"] = edit.options["kind"]
        elif edit.kind == "sticker":
            job["sticker"], job["quad"] = edit.path or file_of(edit.picture, "edit.png"), edit.quad
            if edit.artwork != "auto":
                job["artwork"] = edit.artwork
        else:
            files.append(str(folder / "edit.json"))
            source = editor.pictures.content(session.source)
            steps.append(("save_edit", {"source": source, "edit": edit.message(), "output": files[0]}))
        for number, layer in enumerate(recipe_annotations(editor, self.scene)):
            files.append(str(folder / f"annotations-{number}.json"))
            steps.append(("save_annotations", {**layer, "output": files[-1]}))
        if files:
            job["edits"] = tuple(files)
        return job, steps

    def save_job(self, path: Path, then: Callable[[str], None] = lambda command: None) -> None:
        """Write ``job.toml`` for ``dift-edit run``; what has no file is written beside it. `then` gets the command."""
        job, steps = self.job(path.parent / f"{path.stem}-pictures")
        job["output"] = str(path.parent / "edited")
        command = shlex.join(["dift-edit", "run", str(path)])

        def written(_: list[Any]) -> None:
            self.editor.said.emit(f"Run it with:  {command}")
            then(command)

        run_steps(self.editor, "dift-edit: recipe", [*steps, ("write_job", {"path": str(path), "job": job})], written)

    def command(self) -> str:
        """The command line that does the same; empty where something has no file that it could name."""
        job, steps = self.job(Path.cwd())
        if steps:
            return ""
        words = ["dift-edit", "propagate", job["source"]]
        if "edited" in job:
            words += ["--edited", job["edited"]]
            if "edited_as" in job:
                words += ["--edited-as", job["edited_as"]]
        else:
            words += ["--sticker", job["sticker"]]
            words.append("--quad=" + ",".join(f"{value:.2f}" for point in job["quad"] for value in point))
        if "artwork" in job:
            words += ["--artwork", job["artwork"]]
        words += [*job["targets"], "-o", job["output"], "--device", job["device"]]
        if "model" in job:
            words += ["--model", job["model"]]
        for view in job.get("views", ()):
            words += ["--view", ",".join([view["image"], *(f"{x:.2f}" for point in view["quad"] for x in point)])]
        for name, value in job["transfer"].items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)


def _warning(result: Result) -> str:
    """What a redaction leaves to be seen, in words."""
    return f"{result.visible} of {result.count} instances are not hidden" if result.visible else ""


def _warnings(editor: Editor, session: Session, written: set[str]) -> Iterator[str]:
    """What a redaction leaves to be seen in all pictures, and in the frames of stacks that were written."""
    results = {key: session.results[key] for key in session.targets if key in session.results}
    for key, result in results.items():
        if result.unhidden and key in written:
            shown = ", ".join(map(str, result.unhidden[:20])) + "…" * (len(result.unhidden) > 20)
            yield (
                f"WARNING: {result.visible} of {result.count} frames of {editor.pictures.name(key)} were NOT redacted "
                f"and are written as they were: {shown}"
            )
    left = sum(bool(result.visible) and not result.unhidden for result in results.values())
    if left:
        yield f"{_many(left)} still show what the redaction hides, see the list"


def _pins(pins: Sequence[Pin]) -> list[list[list[float]]]:
    """The pins of a row; the review page reads four as corners, and no more."""
    return [[list(pin.source), list(pin.target)] for pin in pins] if len(pins) < 4 else []


def _many(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
