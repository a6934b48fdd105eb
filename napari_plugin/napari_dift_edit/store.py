"""What the engine process remembers between questions: pictures, models, features, edits."""

import contextlib
import inspect
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from napari_dift_edit.channel import Missing

__all__ = ["Store"]

_PICTURE_BYTES = 1 << 30
_MAPS = 64
_PAIRS = 20
_PAIR_BYTES = 30 << 20


class Store:
    """What the engine remembers between questions: pictures, models, features, edits.

    Parameters
    ----------
    loading : callable
        Makes a context in which work is not cancelled.
    tell : callable
        Sends something to the asker in the middle of a step.
    note : callable
        Says a sentence to the user.
    """

    def __init__(
        self,
        loading: Callable[[], AbstractContextManager[None]],
        tell: Callable[[Any], None],
        note: Callable[[str], None],
    ) -> None:
        self.loading = loading
        self.tell = tell
        self.note = note
        self._pictures: OrderedDict[str, Any] = OrderedDict()
        self._edit: tuple[Any, Any] | None = None
        self._featurizers: dict[tuple[str, str], Any] = {}
        self._maps: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._matchers: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
        self._landmarks: OrderedDict[tuple[str, str, str, bytes], Any] = OrderedDict()
        self.pairs = _PAIRS

    def expect_pairs(self, count: int) -> None:
        """Make room for the `PointMatcher`s of one question to `count` targets, in a third of the memory that is free.

        With room for fewer pairs than there are targets, each question would throw away what the next one needs.
        """
        import psutil

        room = (psutil.virtual_memory().available // 3) // _PAIR_BYTES + len(self._matchers)
        self.pairs = max(_PAIRS, min(count, room))

    def put(self, key: str, pixels: Any) -> None:
        """Remember a picture."""
        with self.loading():
            import dift_edit as de

            self._pictures[key] = de.as_image(pixels)

    def trim(self) -> None:
        """Forget the pictures that were not used for longest, when there are too many."""
        held = sum(image.pixels.nbytes for image in self._pictures.values())
        while held > _PICTURE_BYTES and len(self._pictures) > 4:
            _, old = self._pictures.popitem(last=False)
            held -= old.pixels.nbytes

    def need(self, *keys: str) -> list[Any]:
        """Pictures by key; a key that starts with ``file:`` is read from the disk."""
        with self.loading():
            import dift_edit as de
        for key in keys:
            if key.startswith("file:"):  # read again each time: it may have changed
                self._pictures[key] = de.load_image(key.removeprefix("file:"))
        missing = [key for key in keys if key not in self._pictures]
        if missing:
            raise Missing(missing)
        for key in keys:
            self._pictures.move_to_end(key)
        return [self._pictures[key] for key in keys]

    def edit(self, edit: dict[str, Any], source: Any) -> Any:
        """The dift_edit edit of a message, made on a source; the latest one is kept."""
        parts = [part for part, _ in edit["parts"]]
        pictures = self.need(*(part["picture"] for part in parts or [edit]))
        known = (repr(edit), source.digest)
        if self._edit is None or self._edit[0] != known:
            if parts:
                made: Any = _stacked(
                    [_make_edit(part, picture, source) for part, picture in zip(parts, pictures, strict=True)],
                    [_settings(part, opacity) for part, opacity in edit["parts"]],
                )
            else:
                made = _make_edit(edit, pictures[0], source)
                settings = _settings(edit)
                made = made if settings is None else _stacked([made], [settings])
            self._edit = (known, made)
        return self._edit[1]

    def name(self, model: dict[str, str]) -> str:
        """The name of ``{"name": …, "device": …}``; an empty one stands for the library's default."""
        with self.loading():
            from dift_edit.features.registry import load_featurizer
        return model["name"] or str(inspect.signature(load_featurizer).parameters["name"].default)

    def featurizer(self, model: dict[str, str]) -> Any:
        """The featurizer of ``{"name": …, "device": …}``, loaded at its first use; never downloaded."""
        name, device = self.name(model), model["device"]
        if (name, device) not in self._featurizers:
            self.note(f"Loading the model {name} …")
            with self.loading(), _offline():
                import dift_edit as de

                self._featurizers[name, device] = _Remembering(de.load_featurizer(name, device=device), self._maps)
        return self._featurizers[name, device]

    def landmarks(self, model: dict[str, str], source: Any, thing: dict[str, Any], mirror: Any) -> Any:
        """The `LandmarkMatcher` of what is annotated in a source; the latest ones are kept."""
        with self.loading():
            from dift_edit.landmarks.carry import landmarks_of, outline_points
            from dift_edit.landmarks.matcher import LandmarkMatcher

        featurizer = self.featurizer(model)
        key = (featurizer.fingerprint, source.digest, mirror, pickle.dumps(thing))
        if key not in self._landmarks:
            own = thing.get("object")
            points, around = (thing["points"], ()) if own is None else (landmarks_of(own), outline_points(own))
            self._landmarks[key] = LandmarkMatcher(source, points, around=around, featurizer=featurizer, mirror=mirror)
            while len(self._landmarks) > _MAPS:
                self._landmarks.popitem(last=False)
        self._landmarks.move_to_end(key)
        return self._landmarks[key]

    def matcher(self, model: dict[str, str], source: str, target: str) -> Any:
        """The `PointMatcher` of two pictures; the latest ones are kept, some 30 MB each (see `expect_pairs`)."""
        with self.loading():
            from dift_edit.matching.points import PointMatcher

        featurizer = self.featurizer(model)
        first, second = self.need(source, target)
        key = (featurizer.fingerprint, first.digest, second.digest)
        if key not in self._matchers:
            self._matchers[key] = PointMatcher(featurizer(first), featurizer(second))
            while len(self._matchers) > self.pairs:
                self._matchers.popitem(last=False)
        self._matchers.move_to_end(key)
        return self._matchers[key]


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Round loading a model: the plugin never downloads one by itself."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def _stacked(edits: list[Any], settings: list[Any]) -> Any:
    """Several edits as one, each with its settings."""
    import dift_edit as de

    return de.edits.Layers(edits, settings)


def _settings(edit: dict[str, Any], opacity: float = 1.0) -> Any:
    """How an edit is put on, where that is not the default."""
    import dift_edit as de

    settings = de.Compositing(opacity=opacity, artwork=edit["options"].get("artwork", "auto"))
    return None if settings == de.Compositing() else settings


def _make_edit(edit: dict[str, Any], picture: Any, source: Any) -> Any:
    import dift_edit as de

    kind, options = edit["kind"], edit["options"]
    if kind == "sticker":
        return de.Sticker(picture, edit["quad"])
    if kind == "difference":
        return de.edits.edit_from_difference(source, picture, **options)
    if kind == "recolour":
        return de.ColorAdjust(region=de.edits.Region.mask(picture), **options)
    if kind == "redact":
        return de.Redaction(region=de.edits.Region.mask(picture), **options)
    if kind == "erase":
        return de.Erase(region=de.edits.Region.mask(picture))
    return de.edits.PaintLayer(picture)


class _Remembering:
    """A featurizer that keeps the latest maps, by content of the picture."""

    def __init__(self, inner: Any, maps: OrderedDict[tuple[str, str], Any]) -> None:
        self._inner = inner
        self._maps = maps
        self.fingerprint: str = inner.fingerprint
        self.model: Any = inner.model

    @property
    def screening(self) -> "_Remembering":
        """As the featurizer's."""
        quicker = self._inner.screening
        return self if quicker is self._inner else _Remembering(quicker, self._maps)

    def __call__(self, image: Any, *, seed: int = 0) -> Any:
        import dift_edit as de

        picture = de.as_image(image)
        key = (f"{self.fingerprint} {seed}", picture.digest)
        if key not in self._maps:
            self._maps[key] = self._inner(picture, seed=seed)
            while len(self._maps) > _MAPS:
                self._maps.popitem(last=False)
        self._maps.move_to_end(key)
        return self._maps[key]
