"""Questions for the engine, made from a session; and what its answers say."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dift_edit.errors import DiftEditError
from napari_dift_edit.client import EngineError, shared_engine
from napari_dift_edit.pictures import Pictures
from napari_dift_edit.state import Crop, Result, Session, stack_crops

__all__ = ["Asker", "Settings"]


@dataclass
class Settings:
    """Choices that are no part of undo; what is empty leaves dift-edit's own default."""

    model: str = ""
    device: str = "cpu"
    transfer: dict[str, Any] = field(default_factory=dict)

    def message(self) -> dict[str, str]:
        """The model as the engine reads it."""
        return {"name": self.model, "device": self.device}

    def fingerprint(self) -> str:
        """What a result depends on beside pictures and edit; the device is not part of it."""
        return json.dumps([self.model, sorted(self.transfer.items())])


class Asker:
    """Asks the engine on behalf of one editor.

    Parameters
    ----------
    pictures : Pictures
        The pictures that are asked about.
    settings : Settings
        How they are compared.

    Attributes
    ----------
    outputs : dict
        By target: the file that the result is written to, for pictures of a folder.
    """

    def __init__(self, pictures: Pictures, settings: Settings) -> None:
        self.pictures = pictures
        self.settings = settings
        self.engine = shared_engine()
        self.viewing = shared_engine("viewing")
        self.outputs: dict[str, str] = {}

    def ask(self, name: str, **arguments: Any) -> Iterator[Any]:
        """Ask the engine, with the pictures of this editor; for worker threads (see `Engine.ask`)."""
        return self.engine.ask(name, read=self.pictures.pixels, **arguments)

    def ask_viewing(self, name: str, **arguments: Any) -> Iterator[Any]:
        """Ask the engine that does nothing else but show files."""
        return self.viewing.ask(name, read=self.pictures.pixels, **arguments)

    def propagation(
        self, session: Session, targets: Sequence[str], teachers: Sequence[str] = ()
    ) -> Callable[..., Iterator[Any]]:
        """The steps of a `Job` that places the edit in targets, one after the other; survives a crash of the engine.

        The results of `teachers`, which are targets too, serve as further views of the edit; the answers then say
        whether they improve what was found before. What is wrong with the model or the settings ends it before the
        first target.

        They yield ("begin", key), ("track", key, done, total), ("result", key, answer), ("stack", key, Result) and
        ("crash", key, sentence).
        """
        asked = [(key, *self.request(session, key)) for key in targets]
        if teachers:
            known = [(self.pictures.content(key), session.results[key].quad) for key in teachers]
            asked = [
                (key, name, {**request, "teachers": known, "earlier": session.results[key].confidence})
                for key, name, request in asked
            ]

        def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
            crashes = 0
            model, settings = self.settings.message(), dict(self.settings.transfer)
            yield from self.ask("ready", cancelled=cancelled, urgency=1, model=model, settings=settings)
            for key, name, request in asked:
                yield "begin", key
                try:
                    if name == "sequence":
                        yield from self.follow(key, request, cancelled)
                    else:
                        for answer in self.ask(name, cancelled=cancelled, urgency=1, **request):
                            yield "result", key, answer
                    crashes = 0
                except EngineError as error:
                    crashes += 1
                    if crashes > 1:
                        raise
                    yield "crash", key, str(error)
                except DiftEditError as error:
                    yield "result", key, {"status": "failed", "reason": str(error)}

        return steps

    def request(self, session: Session, key: str) -> tuple[str, dict[str, Any]]:
        """The engine's function for one target, and what it needs."""
        question = self.question(session, key)
        frames = self.pictures.frames(key)
        if not frames:
            return "place", {**question, "show": not key.startswith("file:")}
        number = int(session.source.split("#")[1])
        keyframes = {number: None, **session.keyframes.get(key, {})}
        return "sequence", {
            "source": question["source"], "edit": question["edit"], "model": question["model"],
            "frames": [self.pictures.content(frame) for frame in frames], "keyframes": keyframes,
        }  # fmt: skip

    def follow(self, key: str, request: dict[str, Any], cancelled: Callable[[], bool]) -> Iterator[Any]:
        """The edit through a stack of frames: progress, then one result."""
        found: list[dict[str, Any]] = []
        for answer in self.ask("sequence", cancelled=cancelled, urgency=1, **request):
            if isinstance(answer, tuple):
                yield "track", key, answer[1], answer[2]
            else:
                found.append(answer)
        worst = min(found, key=lambda frame: frame["confidence"])
        crops = tuple(Crop(**frame["crop"], frame=frame["frame"]) for frame in found if frame["crop"])
        hides, without = any(frame["hides"] for frame in found), len(found) - len(crops)
        reason = f"least sure in frame {worst['frame']} ({worst['confidence']:.0%})"
        if without:
            reason += f"; {'NOT redacted' if hides else 'hidden'} in {without} of {len(found)} frames"
        yield "stack", key, Result(
            status="applied" if crops else "abstained", reason=reason, engine="sequence", crops=crops, hides=hides,
            stack=stack_crops(crops, len(found)),
            confidence=float(np.mean([frame["confidence"] for frame in found])), quad=found[0]["quad"],
            track=tuple((frame["quad"], frame["confidence"]) for frame in found),
        )  # fmt: skip

    def question(self, session: Session, key: str) -> dict[str, Any]:
        """What the engine needs to place the edit in one target."""
        assert session.edit is not None
        return {
            "source": self.pictures.content(session.source), "edit": session.edit.message(),
            "target": self.pictures.content(key), "model": self.settings.message(),
            "settings": dict(self.settings.transfer),
            "pins": [(pin.source, pin.target) for pin in session.pins.get(key, ())],
            "views": [
                (self.pictures.content(view), quad) for view, quad in session.views.items() if self.pictures.here(view)
            ],
        }  # fmt: skip
