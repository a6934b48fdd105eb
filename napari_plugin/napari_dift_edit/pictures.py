"""The pictures that the plugin knows, by key: layers of the viewer, frames of stacks, arrays, files."""

import itertools
import weakref
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dift_edit.errors import DiftEditError
from napari_dift_edit import layers as glue

__all__ = ["Pictures"]

_numbers = itertools.count(1)


class Pictures:
    """Keys for pictures.

    A key is ``layer-3`` (a layer), ``layer-3#7`` (a frame of a stack), ``array-4`` or ``file:/path``. A *content key*
    has the layer's revision at its end, ``layer-3@2`` or ``layer-3#7@2``, so that the engine never mixes up an old
    picture with a new one. Layers are held weakly.
    """

    def __init__(self) -> None:
        self.shown: Callable[[Any], bool] = lambda _: True
        self._staged: tuple[str, Any] = ("", None)
        self._layers: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._keys: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._revisions: dict[str, int] = {}
        self._arrays: dict[str, tuple[str, npt.NDArray[Any]]] = {}
        self._array_keys: dict[int, str] = {}
        self._groups: dict[str, list[Any]] = {}
        self._thumbnails: dict[str, npt.NDArray[np.uint8]] = {}

    def key(self, layer: Any, frame: int | None = None) -> str:
        """The key of a layer, or of one frame of it."""
        if layer is self._staged[1]:
            return self._staged[0]
        known = self._keys.get(layer)
        if known is None:
            known = f"layer-{next(_numbers)}"
            self._keys[layer] = known
            self._layers[known] = layer
            self._revisions[known] = 0
            heard = {"data": True, "contrast_limits": True, "colormap": True}
            for name, alone in {**heard, "visible": False, "opacity": False, "gamma": False}.items():
                if name in layer.events:
                    layer.events[name].connect(lambda _=None, key=known, alone=alone: self._changed(key, alone=alone))
        return known if frame is None else f"{known}#{frame}"

    def _changed(self, key: str, *, alone: bool = True) -> None:
        """A layer has other pixels, or is shown otherwise, which counts only for channels of a picture."""
        self._revisions[key] += alone
        for base, channels in self._groups.items():
            if any(self._keys.get(channel) == key for channel in channels):
                self._revisions[base] += 1

    def group(self, groups: list[list[Any]]) -> None:
        """Say which layers are channels of one picture, which has the key of the first of them."""
        made = {self.key(channels[0]): channels for channels in groups if len(channels) > 1}
        for channels in groups:
            for channel in channels:
                self.key(channel)  # so that its changes are heard
        for base in made.keys() | self._groups.keys():
            if made.get(base) != self._groups.get(base):
                self._revisions[base] += 1
        self._groups = made

    def channels(self, key: str) -> list[Any]:
        """The layers of a picture that are its channels; empty for one that is a layer of its own."""
        return self._groups.get(key.split("#", maxsplit=1)[0], [])

    def choose_axis(self, key: str, axis: int, point: Any) -> bool:
        """Let the frames of a stack lie along another axis; returns whether it has other frames then."""
        key = key.split("#", maxsplit=1)[0]
        layers = self.channels(key) or [self.layer(key)]
        changed = [glue.choose_axis(layer, axis, point) for layer in layers]
        self._revisions[key] += any(changed)
        return any(changed)

    def add(self, pixels: npt.NDArray[Any], name: str) -> str:
        """Keep an array; returns its key, the same one for the same array."""
        known = self._array_keys.get(id(pixels))
        if known is not None:
            return known
        key = f"array-{next(_numbers)}"
        self._arrays[key] = (name, pixels)
        self._array_keys[id(pixels)] = key  # the array is kept, so that no other one gets its id
        return key

    def layer(self, key: str) -> Any:
        """The layer of a key, or None when it is no layer or the layer is gone; of a file the one that shows it now."""
        if key.startswith("file:"):
            return self._staged[1] if key == self._staged[0] else None
        return self._layers.get(key.split("#", maxsplit=1)[0])

    def stage(self, key: str, layer: Any) -> None:
        """A file is shown in a layer now; an empty key for none."""
        self._staged = (key, layer)

    def here(self, key: str) -> bool:
        """Whether a picture can be read: a layer that is in the viewer, an array, or a file."""
        if key.startswith("file:") or key in self._arrays:
            return True
        layer = self.layer(key)
        return layer is not None and self.shown(layer)

    def frames(self, key: str) -> list[str]:
        """Keys of the frames of a stack; empty for a single picture."""
        layer = self.layer(key)
        count = None if layer is None or "#" in key else glue.frame_count(layer)
        return [f"{key}#{frame}" for frame in range(count or 0)]

    def name(self, key: str) -> str:
        """How the user knows a picture."""
        if key.startswith("file:"):
            return key.rsplit("/", 1)[-1]
        if key in self._arrays:
            return self._arrays[key][0]
        layer = self.layer(key)
        if layer is None:
            return "(removed layer)"
        return str(layer.name) + (f" · frame {key.split('#')[1]}" if "#" in key else "")

    def file(self, key: str) -> str:
        """The file of a picture; empty when it has none, or more than one picture comes from it."""
        if key.startswith("file:"):
            return key.removeprefix("file:")
        layer = self.layer(key)
        if layer is None or "#" in key or layer.ndim != 2 or self.channels(key):
            return ""
        path = layer.metadata.get("dift-edit", {}).get("file") or layer.source.path
        if not path or self._revisions[key] or not _same_frame(str(path), glue.picture_size(layer)):
            return ""
        return str(Path(path).resolve())

    def thumbnail(self, key: str, side: int = 1024) -> npt.NDArray[np.uint8]:
        """An array kept by `add`, as RGBA of at most about `side` pixels, for quick display."""
        if key not in self._thumbnails:
            pixels = glue.to_rgba(self._arrays[key][1])
            step = max(1, -(-max(pixels.shape[:2]) // side))
            self._thumbnails[key] = np.ascontiguousarray(pixels[::step, ::step])
        return self._thumbnails[key]

    def content(self, key: str) -> str:
        """The content key of a picture."""
        base = key.split("#", maxsplit=1)[0]
        return f"{key}@{self._revisions[base]}" if base in self._revisions else key

    def pixels(self, content: str) -> npt.NDArray[Any]:
        """The pixels of a key or content key; for worker threads, as lazy layers are computed here.

        A content key with ``!values`` at its end means the layer's own values, not stretched by its contrast limits.

        Raises
        ------
        DiftEditError
            If the layer is gone.
        """
        content, _, own = content.partition("!")
        key = content if content.startswith("file:") else content.split("@", maxsplit=1)[0]
        if key in self._arrays:
            return self._arrays[key][1]
        layer = self.layer(key)
        if layer is None:
            raise DiftEditError("A layer that is needed was removed from the viewer: choose another one.")
        frame = int(key.split("#")[1]) if "#" in key else None
        if (channels := self.channels(key)) and not own:
            return glue.composite(channels, frame)
        return glue.read_values(layer, frame) if own else np.asarray(glue.read_pixels(layer, frame))


@lru_cache(maxsize=4096)
def _same_frame(path: str, size: tuple[int, int]) -> bool:
    """Whether a file's pixels lie as the layer's do: a reader may have ignored that the file says it is turned."""
    import PIL.Image

    try:
        with PIL.Image.open(path) as picture:
            turned = int(picture.getexif().get(0x0112, 1)) != 1
            return picture.size == size and not turned
    except (OSError, ValueError, SyntaxError):
        return False
