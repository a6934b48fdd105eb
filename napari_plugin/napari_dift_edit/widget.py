"""The dock: choose a photo, an edit and targets; propagate; look through the results."""

import contextlib
import importlib
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from dift_edit.errors import DiftEditError
from napari_dift_edit import layers as glue
from napari_dift_edit.carry import Unsure, carry_landmarks
from napari_dift_edit.choose import ChoosePanel
from napari_dift_edit.editor import Editor
from napari_dift_edit.explore import Explorer
from napari_dift_edit.help import Help
from napari_dift_edit.keep import Keeper
from napari_dift_edit.keys import add_question_mark, bind_keys, unbind_keys
from napari_dift_edit.landmark_list import LandmarkList
from napari_dift_edit.layer_list import LayerList, is_own
from napari_dift_edit.options import OptionsPanel
from napari_dift_edit.preferences import follow_preferences, preferred
from napari_dift_edit.results import ResultsPanel
from napari_dift_edit.scene import Scene
from napari_dift_edit.sessions import Autosave, open_session
from napari_dift_edit.stage import Stage

__all__ = ["DiftEditWidget"]


class DiftEditWidget(QWidget):
    """Carry an edit of one photo to others.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer", parent: QWidget | None = None) -> None:  # type: ignore[name-defined]  # noqa: F821
        super().__init__(parent)
        self.viewer = napari_viewer
        self.editor = Editor()
        self.scene = Scene(napari_viewer, self.editor)
        self.explorer = Explorer(napari_viewer, self.editor, self.scene)
        self.keeper = Keeper(self.editor, self.scene)
        self.autosave = Autosave(self.editor, self.keeper.roots)
        self.stage = Stage(napari_viewer, self.editor, self.scene)
        self.help = Help(self)
        self.choose = ChoosePanel(self)
        self.options = OptionsPanel(self.editor)
        self.results = ResultsPanel(self)
        self.unsure = Unsure(self.editor, self.scene, self.results.table.visit)
        self.landmarks = LandmarkList(self.unsure, self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.setSpacing(6)
        layout.addWidget(self.help)
        layout.addWidget(self.choose)
        layout.addWidget(self.options)
        layout.addWidget(self.results, 1)
        self.setMinimumWidth(370)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)  # or napari adds empty space
        self.setAcceptDrops(True)
        self._layers_changed = QTimer(self)
        self._layers_changed.setSingleShot(True)
        self._layers_changed.setInterval(0)
        self._layers_changed.timeout.connect(self.follow_layers)
        layers, editor = napari_viewer.layers.events, self.editor
        self.scene.handles.chosen = self.results.table.mark
        self.list = LayerList(napari_viewer, self)
        self._ending = _Ending(self, [
            *((layers[name], self._later) for name in ("inserted", "removed", "reordered")),
            (editor.changed, self._show), (editor.changed, self.landmarks.fill),
            (editor.working, self._show), (editor.placed, self.scene.select_soon),
            (self.explorer.progressed, self.results.show_progress), (editor.said, self._say),
            (editor.result_changed, self.results.show_result),
        ])  # fmt: skip
        self.destroyed.connect(self._ending)
        bind_keys(self)
        add_question_mark(self)
        threading.Thread(
            target=importlib.import_module, args=("pandas",), daemon=True
        ).start()  # napari's first Shapes need it
        self._ending.also(self.help.join_menu())
        self._ending.also(follow_preferences(self.prefer))
        self.prefer()
        self.follow_layers()

    def prefer(self) -> None:
        """Start with, or change to, what napari's preferences say."""
        wanted = preferred()
        del wanted["output"]
        self.editor.choose_settings(**wanted)

    @property
    def busy(self) -> bool:
        """Whether anything runs, or is not on the canvas yet."""
        waiting = self.explorer.busy or self.stage.busy or self._layers_changed.isActive()
        return waiting or self.editor.busy or not self.scene.settled

    def offer_resume(self, root: Path, folder: Path) -> None:
        """Ask whether the work goes on that was kept in `folder`, with results in `root`."""
        self.help.offer(
            f"There is unfinished work on these photos in {folder}.",
            ("Go on with it", "Bring source, edit, results and decisions back.", lambda: self.resume(root, folder)),
            ("Begin anew", "The unfinished work is kept in the folder session-1 beside the new one.", lambda: None),
        )

    def resume(self, root: Path, folder: Path) -> None:
        """Go on with a session that was kept."""
        if str(root) not in self.keeper.roots:
            self.keeper.roots.append(str(root))
        self.autosave.adopt(folder)
        open_session(self.editor, folder, self.add_picture, self.choose.take_files)

    def carry_active_layer(self) -> None:
        """Carry the annotations of the layer that is chosen in napari's list."""
        layer = self.viewer.layers.selection.active
        if layer not in self.annotation_layers() or is_own(layer):
            raise DiftEditError("Choose points, shapes or labels on the source first; they go to every target.")
        carry_landmarks(self.editor, self.scene, layer)

    # pictures in the viewer

    def picture_layers(self) -> list[Any]:
        """The viewer's layers that are photos, not something that the plugin made; of channels the lowest one."""
        layers = [
            layer for layer in self.viewer.layers if (glue.is_picture(layer) and "dift-edit" not in layer.metadata)
            or (glue.is_picture(layer) and "sample" in layer.metadata.get("dift-edit", {}))
        ]  # fmt: skip
        groups = glue.channel_groups(layers)
        self.editor.pictures.group(groups)
        return [channels[0] for channels in groups]

    def annotation_layers(self) -> list[Any]:
        """Labels, points and shapes that the user has."""
        from napari.layers import Labels, Points, Shapes

        return [
            layer for layer in self.viewer.layers
            if isinstance(layer, Labels | Points | Shapes) and "dift-edit" not in layer.metadata
        ]  # fmt: skip

    def add_picture(self, pixels: Any, name: str, *, file: str = "", world: Any = None) -> Any:
        """Open pixels as a layer, with the file that they come from and a matrix to the world."""
        from napari.layers import Image

        layer = Image(pixels, name=name, affine=world, rgb=pixels.shape[-1] in (3, 4))  # add_image returns a proxy here
        if file:
            layer.metadata["dift-edit"] = {"sample": True, "file": file}
        self.viewer.add_layer(layer)
        return layer

    def open_file(self, key: str) -> None:
        """Open a target that was only a file, so that it can be seen and corrected."""
        path = Path(key.removeprefix("file:"))

        def opened(pixels: Any) -> None:
            layer = self.add_picture(pixels, path.name, file=str(path))
            self.editor.replace_target(key, self.editor.pictures.key(layer))
            self.choose.forget_file(key)

        self.editor.read_file(path, opened)

    def _later(self, _: Any = None) -> None:
        self._layers_changed.start()

    def follow_layers(self) -> None:
        """Offer the pictures that are open now."""
        source = self.editor.session.source
        if source and not self.editor.pictures.here(source):
            self.editor.drop_source()
        self.choose.follow(self.picture_layers())
        self.choose.table.follow()
        self._show()

    def _show(self, _: Any = None) -> None:
        self.choose.show_session()
        self.options.show_settings()
        self.results.show_session()

    def _say(self, sentence: str) -> None:
        self.viewer.status = sentence
        self.results.say(sentence)

    def attempt(self, action: Any, *arguments: Any) -> None:
        """Do something for the user; what is wrong is said, not raised."""
        try:
            action(*arguments)
        except DiftEditError as error:
            from napari.utils.notifications import show_warning

            show_warning(str(error))

    def sizeHint(self) -> QSize:  # noqa: N802
        """Leave most of a small window to the pictures."""
        return QSize(max(400, self.minimumSizeHint().width()), super().sizeHint().height())

    # drag and drop, closing

    def dragEnterEvent(self, event: Any) -> None:  # noqa: N802
        """Take picture files."""
        if event.mimeData().hasUrls() or event.mimeData().hasImage():
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:  # noqa: N802
        """A picture that is dropped on the dock is the sticker."""
        urls = event.mimeData().urls()
        if urls:
            self.attempt(self.choose.edit.sticker_file, urls[0].toLocalFile())
            event.acceptProposedAction()

    def shut(self) -> None:
        """End all work; take the helper layers and keys away."""
        self._ending()

    def closeEvent(self, event: Any) -> None:  # noqa: N802
        """The dock or the window is closed."""
        self.shut()
        super().closeEvent(event)


class _Ending:
    """Lets go of everything that outlives the dock; called once, also where Qt destroys the dock with its window.

    Parameters
    ----------
    dock : DiftEditWidget
        What ends; only its parts without widgets are touched.
    links : list of (signal, slot)
        Are connected now and disconnected at the end.
    """

    def __init__(self, dock: DiftEditWidget, links: list[tuple[Any, Any]]) -> None:
        self._parts: tuple[Any, ...] | None = (
            dock.viewer, dock.list, dock.autosave, dock.stage, dock.explorer, dock.scene, dock.editor,
        )  # fmt: skip
        self._thumbnails = dock.results.table.thumbnails
        self._links = links
        self._also: list[Callable[[], None]] = []
        for signal, slot in links:
            signal.connect(slot)

    def also(self, end: Callable[[], None]) -> None:
        """Call this, too."""
        self._also.append(end)

    def __call__(self, _: Any = None) -> None:
        if self._parts is None:
            return
        (viewer, rows, autosave, stage, explorer, scene, editor), self._parts = self._parts, None
        ends = [
            autosave.close, *self._also, rows.close, self._thumbnails.close, stage.close,
            *(partial(signal.disconnect, slot) for signal, slot in self._links), partial(explorer.turn, False),
            partial(unbind_keys, viewer), scene.close, editor.close,
        ]  # fmt: skip
        self._links, self._also = [], []
        for end in ends:
            with contextlib.suppress(RuntimeError):  # at the end of the program Qt has deleted timers and menus already
                end()
