"""Make the pictures of docs/napari.md: the whole napari window, with the bundled samples, by the plugin's own API.

Run it where there is a screen, or under a virtual one; names choose some of the pictures:

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/napari_screenshots.py docs/images [explore edit folder …]
"""

import json
import shutil
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import PIL.Image
from qtpy.QtWidgets import QApplication

import napari
from napari_dift_edit.api import DiftEdit

SHOWN = ("cat (source)", "kitten", "night", "watercolour", "tuxedo", "coffee")
EYES = [(341.0, 233.0), (610.0, 260.0), (505.0, 480.0)]
"""(x, y) of eyes and nose of the source."""
SAMPLES = Path(str(files("dift_edit") / "samples"))


def rest(seconds: float) -> None:
    """Let the window live."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


class Camera:
    """Takes the pictures.

    Parameters
    ----------
    folder : Path
        Where they go.
    names : set of str
        Which are wanted; empty for all.
    """

    def __init__(self, folder: Path, names: set[str]) -> None:
        self.folder, self.names = folder, names
        folder.mkdir(parents=True, exist_ok=True)

    def wants(self, *names: str) -> bool:
        """Whether one of these pictures is wanted."""
        return not self.names or bool(self.names & set(names))

    def take(self, edit: DiftEdit, name: str) -> None:
        """Take the window."""
        if self.wants(name):
            edit.wait()
            rest(0.6)
            self.save(edit.viewer.screenshot(canvas_only=False, flash=False), name)

    def take_screen(self, name: str) -> None:
        """Take everything that is on the screen, with other windows than napari's."""
        rest(0.8)
        shot = QApplication.primaryScreen().grabWindow(0).toImage()
        from napari_dift_edit.widgets import array_of

        self.save(array_of(shot), name)

    def save(self, pixels: np.ndarray, name: str) -> None:
        """Write it."""
        path = self.folder / f"napari-{name}.jpg"
        PIL.Image.fromarray(pixels[..., :3]).save(path, quality=90, optimize=True)
        print(path)


def window() -> DiftEdit:
    """A napari of the pictures' size with the dock."""
    viewer = napari.Viewer()
    viewer.window.resize(1560, 960)
    edit = DiftEdit(viewer)
    edit.dock.help.leave()
    return edit


def table(camera: Camera) -> None:
    """Pictures that are open side by side: explore, edit, propagate, correct, landmarks."""
    edit = window()
    viewer, dock = edit.viewer, edit.dock
    viewer.open_sample("dift-edit", "cat")
    for layer in list(viewer.layers):
        if layer.name not in (*SHOWN, "sticker"):
            viewer.layers.remove(layer)
    viewer.layers["sticker"].visible = False
    edit.wait()
    dock.choose.arrange.setChecked(True)
    if camera.wants("explore"):
        edit.find(EYES[0])
        camera.take(edit, "explore")
        edit.stop_exploring()
    if camera.wants("landmarks"):
        cat = viewer.layers["cat (source)"]
        marks = viewer.add_points(
            [(y, x) for x, y in EYES], name="landmarks", affine=cat.affine, size=26, face_color="#4cc9f0",
        )  # fmt: skip
        edit.carry_landmarks(marks)
        listed = dock.landmarks
        listed.only.setChecked(False)
        listed.open_list()
        corner = dock.mapToGlobal(dock.rect().topLeft())
        listed.move(corner.x() - listed.width() - 20, corner.y() + 480)
        camera.take_screen("landmarks")
        listed.close()
        edit.undo()
        viewer.layers.remove(marks)
    dock.choose.arrange.setChecked(False)
    edit.use_layer("sticker")
    dock.choose.arrange.setChecked(True)
    camera.take(edit, "edit")
    if camera.wants("propagate", "correct"):
        results = edit.propagate()
        camera.take(edit, "propagate")
        quad = np.array(results["watercolour"].quad)
        edit.correct("watercolour", (quad.mean(0) + (quad - quad.mean(0)) * 1.12).tolist())
        edit.accept("kitten", "night")
        edit.show("watercolour")
        camera.take(edit, "correct")
    dock.shut()
    viewer.close()


def folder(camera: Camera) -> None:
    """A folder of photos: a list with thumbnails, one of them on the canvas."""
    entries = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        photos.mkdir()
        for entry in entries["targets"]:
            shutil.copy(SAMPLES / entry["file"], photos)
        edit = window()
        edit.open([SAMPLES / entries["source"]["file"]])
        edit.sticker(SAMPLES / entries["sticker"]["file"], quad=entries["sticker"]["quad"])
        edit.add_folder(photos)
        edit.propagate()
        placed = [name for name, result in edit.results.items() if result.status == "applied"]
        edit.accept(*placed[:2])
        edit.show(placed[2])
        rest(1)
        camera.take(edit, "folder")
        edit.dock.shut()
        edit.viewer.close()


def tour(camera: Camera) -> None:
    """The second step of the tour."""
    edit = window()
    help_ = edit.dock.help
    help_.start_tour()
    help_.choices["Do it for me"].click()
    edit.wait()
    rest(1)
    camera.take(edit, "tour")
    help_.leave()
    edit.dock.shut()
    edit.viewer.close()


def dialogs(camera: Camera) -> None:
    """The list of models; napari's preferences."""
    edit = window()
    edit.open([SAMPLES / "cat.jpg"] if (SAMPLES / "cat.jpg").exists() else [next(SAMPLES.glob("*.jpg"))])
    options = edit.dock.options
    if camera.wants("models"):
        options.expand(animate=False)
        options.models.open_list()
        edit.models()
        edit.wait()
        options.models.choose("sd21")
        camera.take_screen("models")
        options.models.close()
    if camera.wants("preferences"):
        dialog = edit.viewer.window._open_preferences_dialog()
        texts = [dialog._list.item(row).text() for row in range(dialog._list.count())]
        dialog._list.setCurrentRow(next(row for row, text in enumerate(texts) if "dift" in text.lower()))
        camera.take_screen("preferences")
        dialog.close()
    edit.dock.shut()
    edit.viewer.close()


def main(place: Path, names: set[str]) -> None:
    """Take all pictures, or those of some names."""
    camera = Camera(place, names)
    if camera.wants("explore", "landmarks", "edit", "propagate", "correct"):
        table(camera)
    if camera.wants("folder"):
        folder(camera)
    if camera.wants("tour"):
        tour(camera)
    if camera.wants("models", "preferences"):
        dialogs(camera)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images"), set(sys.argv[2:]))
