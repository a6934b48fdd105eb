"""Make the pictures of docs/napari.md: the whole napari window, with the bundled samples.

Run it where there is a screen, or under a virtual one:

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/napari_screenshots.py docs/images
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from qtpy.QtWidgets import QApplication

import napari

SHOWN = ("cat (source)", "kitten", "night", "watercolour", "tuxedo", "coffee")


def wait(until: Callable[[], bool] = lambda: False, seconds: float = 300) -> None:
    """Let the window live until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.01)


def main(folder: Path) -> None:
    """Go through explore, edit, propagate, correct; save a picture of each."""
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer()
    viewer.window.resize(1560, 960)
    viewer.open_sample("dift-edit", "cat")
    for layer in list(viewer.layers):
        if layer.name not in (*SHOWN, "sticker"):
            viewer.layers.remove(layer)
    _, dock = viewer.window.add_plugin_dock_widget("dift-edit")
    wait(seconds=1)
    viewer.layers["sticker"].visible = False
    editor, pictures = dock.editor, dock.editor.pictures
    dock.choose.arrange.setChecked(True)
    wait(seconds=1)

    def save(name: str) -> None:
        wait(lambda: dock.scene.settled and not editor.busy and not dock.explorer.busy)
        wait(seconds=0.6)
        pixels = viewer.screenshot(canvas_only=False, flash=False)
        PIL.Image.fromarray(pixels[..., :3]).save(folder / f"napari-{name}.jpg", quality=90, optimize=True)

    dock.results.explore.setChecked(True)
    dock.explorer.ask(editor.session.source, (341.0, 233.0))
    wait(lambda: len(dock.explorer.found) == len(SHOWN) - 1 and not dock.explorer.lane.busy)
    save("explore")
    dock.results.explore.setChecked(False)

    dock.choose.arrange.setChecked(False)
    dock.choose.edit.use_layer(viewer.layers["sticker"])
    dock.choose.arrange.setChecked(True)
    wait(lambda: editor.session.preview is not None)
    dock.scene.select(editor.session.source)
    save("edit")

    dock.results.run.click()
    wait(lambda: editor.job is None)
    save("propagate")

    key = pictures.key(viewer.layers["watercolour"])
    quad = np.array(editor.session.results[key].quad)
    centre = quad.mean(0)
    editor.correct(key, tuple(map(tuple, (centre + (quad - centre) * 1.12).tolist())))
    wait(lambda: not editor.busy)
    for name in ("kitten", "night"):
        editor.review(pictures.key(viewer.layers[name]), "accepted")
    dock.results.table.go_to(key)
    low, high = viewer.layers["watercolour"].extent.world
    viewer.camera.center = tuple((low + high) / 2)
    viewer.camera.zoom *= 1.6
    save("correct")
    dock.shut()
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images"))
