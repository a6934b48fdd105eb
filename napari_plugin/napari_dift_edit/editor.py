"""What the user can do: each action is one undoable step from one session to the next."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from dift_edit.errors import DiftEditError
from dift_edit.settings import SURE, TransferSettings
from napari_dift_edit import layers as glue
from napari_dift_edit.asker import Asker, Settings
from napari_dift_edit.history import History
from napari_dift_edit.jobs import Job, Lane
from napari_dift_edit.pictures import Pictures
from napari_dift_edit.state import Carried, Crop, EditSpec, Instance, Part, Pin, Quad, Result, Session

__all__ = ["Editor"]

_VIEWS = 5
"""Decided results that help the others at a time (chosen)."""
_CROPS = 6
"""Edited parts of files that are kept; those of layers belong to their results."""


class Editor:
    """The session of one viewer, and what can be done with it."""

    changed = Signal(object)
    """The session is another one now."""
    result_changed = Signal(str)
    """The result of one target is another one now."""
    working = Signal(bool)
    """A propagation began or ended."""
    placed = Signal(str)
    """A sticker was put on this picture, the source, and can be moved there."""
    said = Signal(str)
    """A sentence for the status line."""

    def __init__(self) -> None:
        self.pictures = Pictures()
        self.settings = Settings()
        self.asker = Asker(self.pictures, self.settings)
        self.ask, self.question = self.asker.ask, self.asker.question
        self.asker.engine.voice.said.connect(self._hear_engine)
        self.history = History(Session())
        self.job: Job | None = None
        self.running: str = ""
        self._crops: OrderedDict[str, tuple[Any, Crop]] = OrderedDict()
        self.suggestions: dict[str, str] = {}
        self._asked: tuple[str, ...] = ()
        self._made_with = ""
        self._closed = False
        self._applying: dict[str, Lane] = {}

    @property
    def session(self) -> Session:
        """What holds now."""
        return self.history.session

    def _do(self, label: str, session: Session) -> int:
        number = self.history.do(label, session)
        self.changed.emit(session)
        self.said.emit(label)
        return number

    def _amend(self, change: Callable[[Session], Session], since: int) -> None:
        if self.history.amend(change, since):
            self.changed.emit(self.session)

    # choosing

    def set_source(self, key: str, *, again: bool = False) -> None:
        """Choose the picture on which the edit is made; `again` where a stack has other frames now."""
        if key == self.session.source and not again:
            return
        targets = tuple(target for target in self.session.targets if target != key)
        session = replace(self.session.with_view(key, None), source=key, targets=targets, preview=None).stale()
        if again:
            session = session.with_result(key.split("#", maxsplit=1)[0], None)
        number = self._do(f"Source: {self.pictures.name(key)}", session)
        if session.edit:
            self._prepare(session, number)

    def drop_source(self) -> None:
        """The source picture is gone: stop, and wait for another one."""
        self.cancel()
        self._do("The source picture was removed: choose another one as the source", replace(
            self.session, source="", preview=None
        ).stale())  # fmt: skip

    def set_targets(self, keys: Sequence[str]) -> None:
        """Choose the pictures that get the edit."""
        session = self.session
        targets = tuple(key for key in dict.fromkeys(keys) if key != session.source and key not in session.views)
        if targets != self.session.targets:
            self._do(f"{len(targets)} targets", replace(self.session, targets=targets))

    def add_view(self, key: str, quad: Quad | None = None) -> None:
        """Make a picture a further view of the edit: it shows the object, and says where the edit lies on it.

        Parameters
        ----------
        key : str
            The picture; it is no target then.
        quad : Quad, optional
            Where the edit lies on it; by default where it was placed there, else in the middle, to be dragged.

        Raises
        ------
        DiftEditError
            If there is no edit yet, or the picture is the source or a stack.
        """
        session = self.session
        if session.edit is None or (not session.edit.quad and not session.edit.handled.quad):
            raise DiftEditError(
                "There is no edit yet: put one on the source, then say where it lies on other pictures."
            )
        if key == session.source or self.pictures.frames(key):
            raise DiftEditError(f"{self.pictures.name(key)} cannot be a further view: choose another single picture.")
        known = session.results.get(key)
        if quad is None and known is not None and known.quad is not None:
            quad = known.quad
        if quad is None:
            edges = session.edit.quad or session.edit.handled.quad
            wide, high = (max(p[k] for p in edges) - min(p[k] for p in edges) for k in (0, 1))
            quad = self._middle(wide, high, key)
        self._do(f"{self.pictures.name(key)} is a further view of the edit", session.with_view(key, quad))

    def move_view(self, key: str, quad: Quad) -> None:
        """Say where the edit lies on a further view."""
        self._do(f"Move the edit on {self.pictures.name(key)}", self.session.with_view(key, quad))

    def drop_view(self, key: str) -> None:
        """Make a further view a target again."""
        session = self.session.with_view(key, None)
        self._do(f"{self.pictures.name(key)} is a target again", replace(session, targets=(*session.targets, key)))

    def use_picture(
        self,
        kind: str,
        pixels: npt.NDArray[Any],
        name: str,
        *,
        quad: Quad | None = None,
        path: str = "",
        options: Mapping[str, Any] | None = None,
        add: bool = False,
    ) -> None:
        """Choose the edit: a sticker (with a quad), or a painting, mask or edited copy of the source's size.

        With `add` it is laid over the present edit instead of replacing it.
        """
        if not self.session.source:
            raise DiftEditError("There is no source picture yet: choose the photo that the edit is made on.")
        key = self.pictures.add(pixels, name)
        if quad is None and kind == "sticker":
            quad = self._middle(pixels.shape[1], pixels.shape[0])
        edit = EditSpec(kind=kind, picture=key, quad=quad or (), name=name, path=path, options=dict(options or {}))
        if add and self.session.edit is not None:
            parts = (*self.session.edit.as_parts, Part(edit))
            self.set_parts(parts, active=len(parts) - 1, label=f"Add {name}")
        else:
            session = replace(self.session, edit=edit, preview=None).stale()
            self._prepare(session, self._do(f"Edit: {name}", session))
        if kind == "sticker":
            self.placed.emit(session.source)
            self.said.emit(f"{name} is on the source: drag it, its corners or the round handle; then propagate")

    def _middle(self, width: float, height: float, key: str = "") -> Quad:
        """A place for a new sticker: the middle of the source, or another picture, at most half its size."""
        layer = self.pictures.layer(key or self.session.source)
        size = glue.picture_size(layer) if layer is not None else (width * 2, height * 2)
        scale = min(0.5 * size[0] / width, 0.5 * size[1] / height)
        half = (scale * width / 2, scale * height / 2)
        x, y = (size[0] - 1) / 2, (size[1] - 1) / 2
        return tuple((x + sx * half[0], y + sy * half[1]) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1)))

    def move_edit(self, quad: Quad) -> None:
        """Put the sticker elsewhere on the source."""
        edit = self.session.edit
        if edit is None or edit.handled.kind != "sticker":
            return
        if edit.parts:
            parts, active = list(edit.parts), min(edit.active, len(edit.parts) - 1)
            parts[active] = replace(parts[active], edit=replace(edit.handled, quad=quad))
            self.set_parts(parts, active=active, label=f"Move {edit.handled.name}")
            return
        session = replace(self.session, edit=replace(edit, quad=quad), preview=None).stale()
        self._prepare(session, self._do("Move the edit", session))

    def set_parts(self, parts: Sequence[Part], *, active: int = 0, label: str = "Change the edits") -> None:
        """Make several edits, the lowest first, the edit; the handles are those of the active one.

        Raises
        ------
        DiftEditError
            If there is no part, or none is visible.
        """
        if not any(part.visible for part in parts):
            raise DiftEditError("At least one of the edits has to be visible: show one, or choose another edit.")
        first = parts[0].edit
        edit = EditSpec(
            kind="layers", picture=first.picture, quad=(), name=" + ".join(part.edit.name for part in parts),
            parts=tuple(parts), active=active,
        )  # fmt: skip
        session = replace(self.session, edit=edit).stale()
        self._prepare(session, self._do(label, session))

    def set_artwork(self, artwork: str) -> None:
        """Say what becomes of the sticker on a mirrored picture: "auto", "keep" or "flip"."""
        edit = self.session.edit
        if edit is None or edit.handled.kind != "sticker" or edit.handled.artwork == artwork:
            return
        handled = replace(edit.handled, options={**edit.handled.options, "artwork": artwork})
        if edit.parts:
            parts, active = list(edit.parts), min(edit.active, len(edit.parts) - 1)
            parts[active] = replace(parts[active], edit=handled)
            self.set_parts(parts, active=active, label=f"Artwork of {handled.name}")
            return
        session = replace(self.session, edit=handled).stale()
        self._prepare(session, self._do(f"Artwork of {handled.name}", session))

    def choose_part(self, active: int) -> None:
        """Put the handles on one of several edits; nothing is made again."""
        edit = self.session.edit
        if edit is not None and edit.parts and active != edit.active:
            self._do(f"Choose {edit.parts[active].edit.name}", replace(self.session, edit=replace(edit, active=active)))

    def _prepare(self, session: Session, number: int) -> None:
        """Find out where the edit lies on the source and how it looks there."""
        edit, source = session.edit, self.pictures.content(session.source)
        assert edit is not None
        asked = edit.message()

        def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
            yield from self.ask("prepare", cancelled=cancelled, urgency=0, source=source, edit=asked)

        def hear(answer: dict[str, Any]) -> None:
            def add(later: Session) -> Session:
                if later.edit is None or later.edit.message() != asked:
                    return later
                now = later.edit
                if not now.quad or now.hides is None:
                    now = replace(now, quad=now.quad or answer["quad"], redacts=answer["hides"])
                return replace(later, edit=now, preview=Crop(**answer["crop"]))

            self._amend(add, number)

        self._lane("source").submit(steps, hear)

    def restore(self, session: Session) -> None:
        """Go to a session that was read from a file, as one step."""
        number = self._do("Open session", session)
        if session.edit is not None:
            self._prepare(session, number)

    # propagating

    def todo(self, keys: Sequence[str] | None = None) -> tuple[str, ...]:
        """The targets that a propagation would place: those without a good result, else all but the decided ones."""
        session = self.session
        free = tuple(key for key in (session.targets if keys is None else keys) if not session.kept(key))
        results = {key: session.results.get(key) for key in free}
        left = tuple(key for key, found in results.items() if found is None or found.stale or found.status == "failed")
        return left or free

    def propagate(self, keys: Sequence[str] | None = None, *, again: bool = False) -> None:
        """Carry the edit to the targets, or to some of them; results come one by one.

        Parameters
        ----------
        keys : sequence of str, optional
            The targets; all by default.
        again : bool
            Whether results that the user accepted, rejected, pinned or placed by hand are replaced, too. Otherwise
            they stay; a sticker that changed is put on again where it was placed by hand.

        Raises
        ------
        DiftEditError
            If there is nothing to carry, or nowhere.

        Notes
        -----
        Targets that have a good result already are placed again only when all of them have one.
        """
        session = self.session
        if self.job is not None:
            raise DiftEditError("A propagation is still running: cancel it first.")
        if session.edit is None or not session.source:
            raise DiftEditError("There is nothing to carry yet: choose a source picture and an edit.")
        if not self.pictures.here(session.source):
            raise DiftEditError("The source picture is no longer open: choose another source.")
        chosen = tuple(session.targets if keys is None else keys)
        if not chosen:
            raise DiftEditError("There are no targets yet: choose the pictures that shall get the edit.")
        if not session.edit.quad:
            raise DiftEditError("The edit is still being prepared: try again in a moment.")
        targets = chosen if again else self.todo(chosen)
        if not targets:
            raise DiftEditError(
                f"All {len(chosen)} pictures are decided and stay as they are: to place them once more, choose "
                "More ▸ Place decided pictures again."
            )
        number = self.history.do(f"Propagate to {len(targets)}", session)
        self._asked, self._made_with = targets, self.settings.fingerprint()
        for key in set(chosen) - set(targets):
            self._put_on_again(key, number)
        self.job = Job(
            self.asker.propagation(session, targets),
            on_item=lambda item: self._hear(item, number),
            on_end=self._ended,
            title=f"dift-edit: {session.edit.name}",
            total=len(targets),
        )
        self.job.start()
        self.changed.emit(self.session)
        self.working.emit(True)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The targets whose results can help the others: those accepted, pinned or placed by hand; the latest five."""
        session = self.session
        found = [
            key for key, result in session.results.items()
            if session.kept(key) and result.shown and result.quad and not result.stale and not result.frames
            and self.pictures.here(key)
        ]  # fmt: skip
        return tuple(found[-_VIEWS:])

    def improvable(self, keys: Sequence[str] | None = None) -> tuple[str, ...]:
        """The targets that others can help: placed, not sure, and not decided."""
        session, found = self.session, []
        for key in session.targets if keys is None else keys:
            result = session.results.get(key)
            placed = result is not None and result.quad is not None and not result.stale and not result.frames
            if result is not None and placed and not session.kept(key) and result.confidence < SURE:
                found.append(key)
        return tuple(found)

    def improve(self, keys: Sequence[str] | None = None) -> None:
        """Place the targets that are not sure again, with what the user decided as further views of the edit; one step.

        A target gets a new place only where that is better, as `dift_edit.batch.learning.improves` says.

        Raises
        ------
        DiftEditError
            If nothing was decided yet, nothing is left to improve, or something is running.
        """
        session = self.session
        if self.job is not None:
            raise DiftEditError("A propagation is still running: cancel it first.")
        teachers, targets = self.teachers, self.improvable(keys)
        if not teachers:
            raise DiftEditError("Nothing is decided yet: accept a result, or drag one to where it belongs.")
        if not targets:
            raise DiftEditError("There is nothing to improve: every other picture is sure or decided.")
        number = self.history.do(f"Improve {len(targets)} others", session)
        self._asked, self._made_with = targets, self.settings.fingerprint()
        improved: list[str] = []

        def hear(item: tuple[Any, ...]) -> bool:
            kind, key, *content = item
            if kind == "begin":
                return self._hear(item, number)
            answer = dict(content[0]) if kind == "result" else {}
            if answer.pop("improves", False):
                improved.append(key)
                by = "1 decided picture" if len(teachers) == 1 else f"{len(teachers)} decided pictures"
                words = f"improved by {by} (before: {self.session.results[key].confidence:.0%})"
                reason = "; ".join(filter(None, (answer["reason"], words)))
                self._take(key, {**answer, "reason": reason}, number, self._made_with)
            return True

        def end(outcome: str) -> None:
            self._ended(outcome)
            self.said.emit(f"{len(improved)} of {len(targets)} others improved; Undo takes it back")

        self.job = Job(
            self.asker.propagation(session, targets, teachers), on_item=hear, on_end=end,
            title="dift-edit: improve the others", total=len(targets),
        )  # fmt: skip
        self.job.start()
        self.changed.emit(self.session)
        self.working.emit(True)

    def _put_on_again(self, key: str, number: int) -> None:
        """Give a picture that was placed by hand the sticker of now."""
        result = self.session.results[key]
        if result.by_hand and result.edit_changed and not result.frames and self.session.edit.kind == "sticker":  # type: ignore[union-attr]
            new = replace(result, edit_changed=False)
            self._amend(lambda session: session.with_result(key, new), number)
            self._apply(key, new, number)

    def _hear(self, item: tuple[Any, ...], number: int) -> bool:
        kind, key, *content = item
        if kind == "begin":
            self.running = key
            self.said.emit(f"Placing in {self.pictures.name(key)} …")
            self.result_changed.emit(key)
            return False
        if kind == "track":
            self.said.emit(f"Following through {self.pictures.name(key)}: {content[0]} of {content[1]} frames")
            return False
        if kind == "stack":
            self._keep(key, content[0], number)
            return True
        if kind == "crash":
            from napari.utils.notifications import show_error

            show_error(content[0])
            answer = {"status": "failed", "reason": content[0]}
        else:
            answer = content[0]
        self._take(key, answer, number, self._made_with)
        return True

    def _take(self, key: str, answer: dict[str, Any], number: int, made_with: str) -> None:
        """Keep what the engine found for one target."""
        answer = dict(answer)
        crop = answer.pop("crop", None)
        instances = tuple(Instance(**each) for each in answer.pop("instances", ()))
        found = Result(**answer, instances=instances, crops=(Crop(**crop),) if crop else ())
        self._keep(key, replace(found, made_with=made_with), number)

    def _keep(self, key: str, result: Result, number: int) -> None:
        self._amend(lambda session: session.taking(key, result), number)
        self.result_changed.emit(key)

    def _ended(self, outcome: str) -> None:
        last, self.job, self.running = self.running, None, ""
        words = {"done": "Done", "cancelled": "Cancelled", "failed": "Stopped by an error"}[outcome]
        self.said.emit(f"{words}: {self._count()}")
        self.working.emit(False)
        self.changed.emit(self.session)
        self.result_changed.emit(last)
        self.suggest()

    def suggest(self) -> None:
        """Find the few targets whose correction would help the others most; `suggestions` follow a moment later."""
        session = self.session
        rows: list[dict[str, Any]] = [
            {
                "id": key, "target": key, "status": result.status, "confidence": result.confidence, "look": result.look,
                "review": result.review or ("accepted" if session.kept(key) else ""),
            }
            for key, result in session.results.items()
            if key in session.targets and result.look and not result.stale
        ]  # fmt: skip

        def hear(found: dict[str, str]) -> None:
            if found != self.suggestions:
                self.suggestions = found
                self.changed.emit(self.session)

        if sum(not row["review"] and row["confidence"] < SURE for row in rows) < 2:
            hear({})
        elif not self._closed:
            self._lane("suggest").submit(
                lambda cancelled: self.ask("suggest", cancelled=cancelled, urgency=1, rows=rows), hear
            )

    def _count(self) -> str:
        """How the targets of the latest propagation went, in words."""
        found = [self.session.results.get(key) for key in self._asked]
        done = [result for result in found if result is not None and not result.stale]
        placed = sum(result.status == "applied" for result in done)
        unsure = sum(result.status == "abstained" for result in done)
        failed = len(done) - placed - unsure
        kept = sum(self.session.kept(key) for key in self.session.targets if key not in self._asked)
        words = [f"{placed} of {len(self._asked)} placed"]
        words += [f"{unsure} not sure"] * bool(unsure) + [f"{failed} failed"] * bool(failed)
        words += [f"{kept} decided before and kept"] * bool(kept)
        return ", ".join(words) + (
            ". Look through them with . and , and decide with K or J" if placed or unsure else ""
        )

    # settings

    def choose_settings(self, *, model: str | None = None, device: str | None = None, **transfer: Any) -> None:
        """Change the model, its device, or fields of `dift_edit.settings.TransferSettings`.

        Results that other settings made stay and are marked as out of date; going back to the old settings makes
        them good again.

        Raises
        ------
        DiftEditError
            If there is no such field.
        """
        defaults = {item.name: item.default for item in fields(TransferSettings)}
        for name in transfer.keys() - defaults.keys():
            raise DiftEditError(f"There is no setting {name!r}: use one of {', '.join(defaults)}.")
        before = self.settings.fingerprint()
        self.settings.model = self.settings.model if model is None else model.strip()
        self.settings.device = device or self.settings.device
        for name, value in transfer.items():
            if value == defaults[name]:
                self.settings.transfer.pop(name, None)
            else:
                self.settings.transfer[name] = value
        if self.settings.fingerprint() != before:
            self.settings_changed()

    def settings_changed(self) -> None:
        """Mark the results that other settings made."""
        fingerprint, known = self.settings.fingerprint(), dict[int, tuple[Result, Result]]()
        self.history.amend(lambda session: session.judged(fingerprint, known), 0)
        self.changed.emit(self.session)
        stale = [key for key, result in self.session.results.items() if result.model_changed]
        again = [key for key in stale if not self.session.kept(key)]
        if stale:
            kept = f" ({len(stale) - len(again)} decided ones stay)" if len(again) < len(stale) else ""
            self.said.emit(f"{len(stale)} results were made with other settings: Update makes {len(again)} again{kept}")

    def cancel(self) -> None:
        """Stop the propagation; what is done stays."""
        if self.job is not None:
            self.job.cancel()

    # correcting

    def correct(self, key: str, quad: Quad, frame: int | None = None, instance: int = 0) -> None:
        """Put the edit of one target, one of its instances, or one frame of a stack, where the user dragged it."""
        before = self.session.results.get(key)
        if before is not None and before.instances:
            moved = list(before.instances)
            moved[instance] = Instance(quad=quad, confidence=1.0, by_hand=True)
            result = before.with_instances(moved)
            label = f"Correct instance {instance + 1} of {self.pictures.name(key)}"
            self._apply(key, result, self._do(label, self.session.with_result(key, result)))
            return
        if frame is not None:
            session = self.session.with_keyframe(key, frame, quad)
            self._follow_again(key, self._do(f"Correct frame {frame} of {self.pictures.name(key)}", session))
            return
        result = replace(
            before or Result(status="applied"), status="applied", quad=quad, by_hand=True, confidence=1.0, reason="",
            transform=b"", review="", made_with="", edit_changed=False, model_changed=False, engine="by hand",
        )  # fmt: skip
        number = self._do(f"Correct {self.pictures.name(key)}", self.session.with_result(key, result))
        self._apply(key, result, number)
        self.suggest()

    def _follow_again(self, key: str, number: int) -> None:
        """Carry the edit through a stack again, with its keyframes."""
        _, request = self.asker.request(self.session, key)

        def hear(item: tuple[Any, ...]) -> None:
            if item[0] == "stack":
                self._keep(key, item[2], number)
            else:
                self.said.emit(f"Following through {self.pictures.name(key)}: {item[2]} of {item[3]} frames")

        self._lane(key).submit(lambda cancelled: self.asker.follow(key, request, cancelled), hear)

    def _apply(self, key: str, result: Result, number: int) -> None:
        """Make the picture of a placement that is already known; of a file only while it is looked at."""
        self.result_changed.emit(key)
        if key.startswith("file:"):
            return
        if not result.places:
            self._amend(lambda later: later.with_result(key, replace(later.results[key], crops=())), number)
            return
        session = self.session
        assert session.edit is not None
        question = {name: value for name, value in self.question(session, key).items()
                    if name in ("source", "edit", "target")}  # fmt: skip

        def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
            yield from self.ask("apply", cancelled=cancelled, urgency=0, places=result.places, **question)

        def hear(answer: dict[str, Any]) -> None:
            def add(later: Session) -> Session:
                now = later.results.get(key)
                if now is None or now.places != result.places:
                    return later
                return later.with_result(key, replace(now, crops=(Crop(**answer),)))

            self._amend(add, number)
            self.result_changed.emit(key)

        self._lane(key).submit(steps, hear)

    def pin_pairs(self, key: str, pairs: Sequence[tuple[Any, Any]]) -> None:
        """Fix where several points of the source lie in one target, as one step, instead of the pins that it has."""
        pins = tuple(Pin(*((float(x), float(y)) for x, y in pair)) for pair in pairs)
        self._repin(key, pins, f"Pin {len(pins)} points in {self.pictures.name(key)}")

    def pin(self, key: str, source: tuple[float, float], target: tuple[float, float]) -> None:
        """Fix where a point of the source lies in one target, and place the edit there again."""
        others = tuple(pin for pin in self.session.pins.get(key, ()) if pin.source != source)
        self._repin(key, (*others, Pin(source, target)), f"Pin a point in {self.pictures.name(key)}")

    def unpin(self, key: str) -> None:
        """Drop all pins of one target."""
        if self.session.pins.get(key):
            self._repin(key, (), f"Drop the pins of {self.pictures.name(key)}")

    def _repin(self, key: str, pins: tuple[Pin, ...], label: str) -> None:
        number = self._do(label, self.session.with_pins(key, pins))
        self.place_again(key, number)

    def place_again(self, key: str, number: int | None = None) -> None:
        """Look for the place in one target again, with its pins."""
        session = self.session
        if session.edit is None or not session.edit.quad:
            return
        if number is None:
            number = self._do(f"Place again in {self.pictures.name(key)}", session)
        question = {**self.question(session, key), "show": not key.startswith("file:")}
        made_with = self.settings.fingerprint()

        def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
            yield from self.ask("place", cancelled=cancelled, urgency=0, **question)

        self._lane(key).submit(steps, lambda answer: self._take(key, answer, number, made_with))

    def review(self, keys: str | Sequence[str], verdict: str, instance: int | None = None) -> None:
        """Accept or reject the edit in targets ("accepted", "rejected", or "" for undecided), as one step.

        Where several instances were found, all of them are decided, or the one with a number.
        """
        session, changed = self.session, []
        for key in [keys] if isinstance(keys, str) else keys:
            result = session.results.get(key)
            if result is not None and result.instances:
                chosen = range(len(result.instances)) if instance is None else (instance,)
                new = result.with_instances([
                    replace(each, review=verdict) if number in chosen else each
                    for number, each in enumerate(result.instances)
                ])  # fmt: skip
                if new.instances != result.instances:
                    changed.append(key)
                    session = session.with_result(key, new)
            elif result is not None and result.review != verdict and (result.quad is not None or verdict != "accepted"):
                changed.append(key)
                session = session.with_result(key, replace(result, review=verdict))
        if not changed:
            return
        label = {"accepted": "Accept", "rejected": "Reject", "": "Undecide"}[verdict]
        what = self.pictures.name(changed[0]) if len(changed) == 1 else f"{len(changed)} pictures"
        what = what if instance is None else f"instance {instance + 1} of {what}"
        number = self._do(f"{label} {what}", session)
        for key in changed:
            new = session.results[key]
            if new.instances or (verdict == "accepted" and not new.crops and not new.frames):
                self._apply(key, new, number)
        self.suggest()

    def replace_target(self, old: str, new: str) -> None:
        """A target is another picture now: a file that was opened as a layer."""
        session = self.session
        targets = tuple(new if key == old else key for key in session.targets if key != new)
        result = session.results.get(old)
        session = replace(session, targets=targets).with_result(old, None)
        if result is not None:
            session = session.with_result(new, result)
        number = self._do(f"Open {self.pictures.name(old)}", session)
        if result is not None and result.shown and result.quad is not None:
            self._apply(new, result, number)

    # annotations

    def begin(self, label: str) -> int:
        """Start a step whose content comes later; returns its number."""
        return self.history.do(label, self.session)

    def add_carried(self, carried: Carried, number: int) -> None:
        """Add annotations on one target to the step that asked for them."""
        self._amend(lambda session: session.with_carried(carried), number)

    def change_carried(self, carried: Carried) -> None:
        """The user moved, added or deleted annotations on one target; the other landmarks there are fitted to them."""
        number = self._do(f"Correct {carried.name}", self.session.with_carried(carried))
        if carried.rows is not None and carried.kind == "points" and carried.things:
            self._fit_again(carried, number)

    def _fit_again(self, carried: Carried, number: int) -> None:
        """Fit the landmarks of one target to those that the user put right."""
        session, rows = self.session, carried.rows or ()
        if not self.pictures.here(session.source) or not self.pictures.here(carried.target):
            return
        known = {rows[at]: tuple(map(float, carried.data[0][at])) for at in carried.by_hand}
        question = {
            "source": self.pictures.content(session.source), "target": self.pictures.content(carried.target),
            "things": carried.things, "model": self.settings.message(), "known": known,
            "mirror": self.settings.transfer.get("mirror", "auto"),
        }  # fmt: skip

        def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
            yield from self.ask("annotate", cancelled=cancelled, urgency=0, **question)

        def hear(answer: dict[str, Any]) -> None:
            def add(later: Session) -> Session:
                now = later.carried_at(carried.slot)
                if now is None or now.by_hand != carried.by_hand or now.rows != carried.rows:
                    return later
                points = np.array(now.data[0])
                free = [at for at in range(len(points)) if at not in now.by_hand]
                points[free] = [answer["points"][rows[at]] for at in free]
                sure = [1.0 if at in now.by_hand else answer["confidence"][row] for at, row in enumerate(rows)]
                return later.with_carried(replace(now, data=(points,), confidence=tuple(sure)))

            self._amend(add, number)
            self.said.emit(f"{carried.name}: the other landmarks are fitted to {len(known)} put right by hand")

        self._lane(f"landmarks {carried.slot}").submit(steps, hear)

    def drop_carried(self, carried: Carried) -> None:
        """Take annotations off a target."""
        others = tuple(each for each in self.session.carried if each.slot != carried.slot)
        self._do(f"Remove {carried.name}", replace(self.session, carried=others))

    # files of a folder: what is seen is made when it is looked at, and forgotten

    def mark(self, key: str) -> Any:
        """What the look of a target's edit depends on."""
        session = self.session
        result = session.results.get(key)
        return None if result is None else (session.source, session.edit, result.places)

    def keep_crop(self, key: str, mark: Any, crop: Crop) -> None:
        """Keep how the edit looks in a file, if edit and place are still the same; the latest few are kept."""
        if mark == self.mark(key):
            self._crops[key] = (mark, crop)
            self._crops.move_to_end(key)
            while len(self._crops) > _CROPS:
                self._crops.popitem(last=False)

    def crop(self, key: str) -> Crop | None:
        """How the edit looks in a file, if that was made lately."""
        mark, crop = self._crops.get(key, (None, None))
        return crop if crop is not None and mark == self.mark(key) else None

    # undo

    def undo(self) -> None:
        """Take the latest step back."""
        label = self.history.undo()
        self.said.emit(f"Undone: {label}" if label else "There is nothing to undo")
        self.changed.emit(self.session)

    def redo(self) -> None:
        """Do what was taken back again."""
        label = self.history.redo()
        self.said.emit(f"Done again: {label}" if label else "There is nothing to redo")
        self.changed.emit(self.session)

    # housekeeping

    def _lane(self, key: str) -> Lane:
        lane = self._applying.setdefault(key, Lane())
        if self._closed:
            lane.stop()  # nobody is there any more to hear an answer
        return lane

    @property
    def busy(self) -> bool:
        """Whether anything runs beside the viewer."""
        return self.job is not None or any(lane.busy for lane in self._applying.values())

    def read_file(self, path: Path, then: Callable[[npt.NDArray[Any]], None]) -> None:
        """Read a picture file in the engine and hand its pixels on."""
        self.ask_aside("read", then, path=str(path))

    def ask_aside(self, name: str, then: Callable[[Any], None], **arguments: Any) -> None:
        """Ask the engine something small, beside a propagation."""
        self._lane(f"{name} {arguments}").submit(
            lambda cancelled: self.ask(name, cancelled=cancelled, urgency=0, **arguments), then
        )

    def _hear_engine(self, sentence: str) -> None:
        if self.busy:
            self.said.emit(sentence)

    def close(self) -> None:
        """End all work; the engine stays for other windows, and ends by itself when it is idle."""
        self._closed = True
        self.asker.engine.voice.said.disconnect(self._hear_engine)
        self.cancel()
        for lane in self._applying.values():
            lane.stop()
