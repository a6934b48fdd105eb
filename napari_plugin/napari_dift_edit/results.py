"""The dock's lower half: propagate, the list of targets, and what to do with each."""

from itertools import permutations
from pathlib import Path
from typing import Any

from napari.layers import Points
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QMenu,
    QProgressBar,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_dift_edit.carry import carry_landmarks, carry_layer, pin_layers
from napari_dift_edit.keep import FORMATS
from napari_dift_edit.keys import press
from napari_dift_edit.sessions import open_session, save_session
from napari_dift_edit.table import FILTERS, TargetTable
from napari_dift_edit.widgets import allow, button, menu_button, row, toggle, wrapped

__all__ = ["ResultsPanel"]


class ResultsPanel(QWidget):
    """Propagate, look through the results, decide.

    Parameters
    ----------
    dock : DiftEditWidget
        The whole.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__(dock)
        self.dock = dock
        self.editor = dock.editor
        self.run = button(
            "Propagate", "Find the edit's place in every ticked picture and put it there.",
            lambda: dock.attempt(self.run_or_cancel), big=True,
        )  # fmt: skip
        self.explore = toggle(
            "Explore",
            "Click a point of the source to see where it lies in every target; hold Shift and move for a live view. "
            "Drag a found point to where it should be to pin it.",
            dock.explorer.turn,
            big=True,
        )
        self.bar = QProgressBar()
        self.bar.setMaximumHeight(6)
        self.bar.setTextVisible(False)
        policy = self.bar.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.bar.setSizePolicy(policy)
        self.table = TargetTable(self.editor)
        self.state = QComboBox()
        self.state.addItems(list(FILTERS))
        self.state.setToolTip("List only pictures in this state.")
        self.state.currentTextChanged.connect(self._narrow)
        self.words = QLineEdit()
        self.words.setPlaceholderText("Find by name")
        self.words.setToolTip("List only pictures whose names contain this.")
        self.words.setClearButtonEnabled(True)
        self.words.textChanged.connect(self._narrow)
        self.count = QLabel()
        self.table.chosen.connect(self._go_to)
        self.table.ticks_changed.connect(self.show_session)
        self.table.key_pressed.connect(lambda key: press(dock, key))
        self.reason = wrapped(lines=2)
        self.previous = button("◀", "Previous picture (,)", lambda: self.step(-1))
        self.reject = button("✗ Reject  J", "Leave this picture as it was.", lambda: self.decide("rejected"))
        self.accept = button("✓ Accept  K", "Keep the edit in this picture.", lambda: self.decide("accepted"))
        self.next = button("▶", "Next picture (.)", lambda: self.step(1))
        self.after = button("After  H", "Switch between the pictures before and after the edit.", self.toggle_after)
        self.after.setCheckable(True)
        self.after.setChecked(True)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(100)
        self.opacity.setToolTip("Opacity of the edited parts on the canvas; exported pictures are not changed by it.")
        self.opacity.valueChanged.connect(lambda value: dock.scene.set_opacity(value / 100))
        self.improve = button(
            "Improve the others",
            "Place the pictures that are not sure again, with those that you decided as further examples.",
            lambda: dock.attempt(self.editor.improve, self.table.ticked),
        )
        self.undo = button("Undo", "Nothing to undo", self.editor.undo)
        self.redo = button("Redo", "Nothing to redo", self.editor.redo)
        self.export = button("Export …", "Write the edited pictures, in full resolution.", self.ask_export)
        self.more = menu_button("More", "Pins, recipe, session, annotations.", self._fill_menu)
        self._lay()

    def _lay(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(row(self.run, self.explore))
        layout.addWidget(self.bar)
        narrow = row(self.state, self.count, fill=True)
        narrow.insertWidget(1, self.words, 1)
        self.state.setMaximumWidth(120)
        self.words.setMinimumWidth(90)
        layout.addLayout(narrow)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.reason)
        layout.addLayout(row(self.previous, self.reject, self.accept, self.next, fill=True))
        layout.addLayout(row(self.improve, self.after, self.opacity))
        layout.addLayout(row(self.undo, self.redo, self.export, self.more, fill=True))

    def run_or_cancel(self) -> None:
        """The big button."""
        if self.editor.job is not None:
            self.editor.cancel()
        else:
            self.editor.propagate(self.table.ticked)

    def run_again(self) -> None:
        """Place the decided pictures, too."""
        self.editor.propagate([key for key in self.table.ticked if self.editor.session.kept(key)], again=True)

    def _narrow(self, _: Any = None) -> None:
        self.table.narrow(self.state.currentText(), self.words.text())
        self._show_count()

    def _show_count(self) -> None:
        """How many are listed, and how many of all are decided."""
        session = self.editor.session
        listed, total = self.table.model().rowCount(), len(session.targets)
        rows = [result for key, result in session.results.items() if key in self.table.rows]
        decided = sum(bool(result.review) and not result.visible for result in rows)
        self.count.setText(f"{listed} of {total}" if listed < total else f"{decided} of {total} ✓" * bool(total))
        self.count.setToolTip(f"{listed} of {total} pictures are listed; {decided} of {total} are decided.")

    def step(self, by: int) -> None:
        """Go to the next or previous picture of the list."""
        self.table.step(by)

    def decide(self, verdict: str) -> None:
        """Accept or reject the current picture, and go on to the next that is undecided."""
        key = self.table.current()
        keys = self.table.chosen_keys if len(self.table.chosen_keys) > 1 else [key]
        session = self.editor.session
        if not key:
            self.editor.said.emit("No picture is chosen: click one in the list, or press . for the next one")
        elif not any(each in session.results for each in keys):
            self.editor.said.emit(f"{self.editor.pictures.name(key)} has no result yet: propagate first")
        elif verdict == "accepted" and not any(each in session.results and session.results[each].quad for each in keys):
            self.editor.said.emit("There is nothing to accept: no place was found. Drag the outline, or pin a point")
        elif len(keys) == 1 and (number := self._instance_to_decide(key)) is not None:
            self.editor.review(key, verdict, number)
            if self._undecided(key):
                self.dock.scene.select(key)
            else:
                self.table.visit(self.table.following(key, 1, self._undecided) or key)
        else:
            chosen = set(keys)
            following = self.table.following(keys[-1], 1, lambda each: each not in chosen and self._undecided(each))
            self.editor.review(keys, verdict)
            self.table.visit(following or keys[-1])
            if not following:
                self.editor.said.emit("Every listed picture is decided. Export writes them")

    def _instance_to_decide(self, key: str) -> int | None:
        """Which of several instances is chosen by its outline; None when all are decided at once."""
        result = self.editor.session.results.get(key)
        return None if result is None or not result.instances else self.dock.scene.handles.instance(key)

    def _undecided(self, key: str) -> bool:
        result = self.editor.session.results.get(key)
        return result is not None and not result.review

    def toggle_after(self) -> None:
        """Before ⇄ after."""
        after = not self.dock.scene.after
        self.dock.scene.set_after(after)
        self.after.setChecked(after)
        self.after.setText("After  H" if after else "Before  H")

    # files

    def ask_export(self) -> None:
        """Ask where to, and export; pictures of a folder have their place already."""
        session = self.editor.session
        shown = [key for key, result in session.results.items() if result.shown]
        folder = None
        if not all(key in self.editor.asker.outputs for key in shown):
            folder = QFileDialog.getExistingDirectory(self, "Folder for the edited pictures")
            if not folder:
                return
        self.dock.attempt(self.dock.keeper.export, Path(folder) if folder else None)

    def _fill_menu(self, menu: QMenu) -> None:
        """What can be done now, beside the buttons."""
        dock, key = self.dock, self.table.current()
        result = self.editor.session.results.get(key)

        def add(words: str, action: Any, *arguments: Any, enabled: bool = True) -> None:
            made = menu.addAction(words)
            made.setEnabled(enabled)
            made.triggered.connect(lambda _=False: dock.attempt(action, *arguments))

        add("Place again in this picture", self.editor.place_again, key, enabled=result is not None)
        decided = sum(self.editor.session.kept(each) for each in self.table.ticked)
        add(f"Place decided pictures again ({decided})", self.run_again, enabled=bool(decided))
        add("Drop the pins of this picture", self.editor.unpin, key, enabled=bool(self.editor.session.pins.get(key)))
        add("Undecide", self.editor.review, key, "", enabled=bool(result and result.review))
        add("Open this file as a layer", dock.open_file, key, enabled=key.startswith("file:"))
        self._fill_carry(menu)
        self._fill_pins(menu, key)
        carried = self.editor.session.carried
        add("Landmarks, the least sure first …", dock.landmarks.open_list, enabled=bool(dock.unsure.all()))
        add("Next unsure landmark  U", dock.unsure.next, enabled=bool(dock.unsure.points()))
        add("Export annotations …", self._ask_annotations, enabled=bool(carried))
        pairs = any(each.kind == "points" for each in carried)
        for format_, words in (("bigwarp", "BigWarp"), ("elastix", "elastix and ITK")):
            add(f"Export landmark pairs for {words} …", self._ask_pairs, format_, enabled=pairs)
        menu.addSeparator()
        add("Save as recipe (job.toml) …", self._ask_job)
        add("Copy as command", self._copy_command)
        own = menu.addAction("Show dift-edit's own layers in the layer list")
        own.setCheckable(True)
        own.setChecked(not dock.list.hidden)
        own.toggled.connect(lambda shown: dock.list.hide(not shown))
        menu.addSeparator()
        add("Save session …", self._ask_save)
        add("Open session …", self._ask_open)

    def _fill_carry(self, menu: QMenu) -> None:
        """Annotations along with the edit, or by themselves."""
        along = menu.addMenu("Carry annotations along with the edit")
        alone = menu.addMenu("Carry annotations by themselves")
        along.setToolTip("Labels, points and shapes follow the place of the edit in each target.")
        alone.setToolTip("The landmark engine finds each in every target, with a confidence; no edit is needed.")
        for carry, made in ((carry_layer, along), (carry_landmarks, alone)):
            for layer in self.dock.annotation_layers():
                made.addAction(str(layer.name)).triggered.connect(
                    lambda _=False, layer=layer, carry=carry: self.dock.attempt(
                        carry, self.editor, self.dock.scene, layer
                    )
                )
            made.setEnabled(bool(self.dock.annotation_layers()))

    def _fill_pins(self, menu: QMenu, key: str) -> None:
        """Two layers of points, one on the source and one on this picture, whose points belong together in order."""
        made = menu.addMenu("Pin this picture by two layers of points")
        made.setToolTip("The first point of the one belongs to the first point of the other, and so on.")
        points = [layer for layer in self.dock.annotation_layers() if isinstance(layer, Points) and len(layer.data)]
        for first, second in permutations(points, 2):
            if len(first.data) == len(second.data):
                made.addAction(f"{first.name} on the source → {second.name}").triggered.connect(
                    lambda _=False, first=first, second=second: self.dock.attempt(
                        pin_layers, self.editor, self.dock.scene, key, first, second
                    )
                )
        made.setEnabled(bool(made.actions()) and self.dock.scene.layer(key) is not None)

    def _ask_annotations(self) -> None:
        """Ask for a file, or for a folder where the format is one."""
        kinds = {f"{words} ({pattern})": name for name, (words, pattern, _) in FORMATS.items()}
        path, kind = QFileDialog.getSaveFileName(self, "Annotations", "annotations.json", ";;".join(kinds))
        if path:
            self.dock.keeper.export_annotations(Path(path), kinds.get(kind, ""))

    def _ask_pairs(self, format_: str) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the pairs of landmarks")
        if folder:
            self.dock.keeper.export_pairs(Path(folder), format_)

    def _ask_job(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Recipe", "job.toml", "Recipe (*.toml)")
        if path:
            self.dock.keeper.save_job(Path(path), self._copy)

    def _copy_command(self) -> None:
        """Copy one line that does the same; what has no file yet is saved as a recipe first, which the line runs."""
        command = self.dock.keeper.command()
        if command:
            self._copy(command)
        else:
            self._ask_job()

    def _copy(self, command: str) -> None:
        QApplication.clipboard().setText(command)
        self.editor.said.emit(f"On the clipboard:  {command}")

    def _ask_save(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the session")
        if folder:
            self.dock.attempt(save_session, self.editor, Path(folder), self.dock.keeper.roots)

    def _ask_open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a session")
        if folder:
            self.dock.attempt(open_session, self.editor, Path(folder), self.dock.add_picture)

    def _go_to(self, key: str) -> None:
        if key.startswith("file:"):
            ahead = [each for each in self.table.after(key, 2) if each.startswith("file:")]
            self.dock.stage.show(key, ahead)
        self.dock.scene.look_at(key)
        if not self.explore.isChecked():
            self.dock.scene.select(key)
        self._show_reason()

    def _show_reason(self) -> None:
        result = self.editor.session.results.get(self.table.current())
        words = "" if result is None else result.reason or f"{result.seconds:.1f} s, {result.engine}"
        why = self.editor.suggestions.get(self.table.current())
        self.reason.setText(f"★ Put this one right first: {why}. Then Improve the others" if why else words)

    def say(self, sentence: str) -> None:
        """A sentence about what happened."""
        self.reason.setText(sentence)

    def _why_not_run(self, count: int) -> str:
        session = self.editor.session
        if not self.editor.pictures.here(session.source):
            return "choose the source picture first." if session.edit else "open a photo first."
        if session.edit is None:
            return "there is no edit yet; put a sticker on the source, or paint on it."
        if count:
            return ""
        if self.table.ticked:
            return "every ticked picture is decided; More ▸ Place decided pictures again replaces those results."
        return "tick a target in the list." if session.targets else "open more photos, or add a folder."

    def show_progress(self, done: int, total: int) -> None:
        """Of something that is no job: the bar goes away when it is done."""
        if self.editor.job is None:
            self.bar.setRange(0, max(total, 1))
            self.bar.setValue(done)
            self.bar.setVisible(done < total)

    def show_result(self, key: str) -> None:
        """The result of one target is another one."""
        self.table.touch(key)
        self._show_buttons()

    def show_session(self) -> None:
        """Follow the session."""
        self.table.refresh()
        self._show_buttons()

    def _show_buttons(self) -> None:
        session, job = self.editor.session, self.editor.job
        self._show_count()
        count = len(self.editor.todo(self.table.ticked))
        self.bar.setVisible(job is not None)
        if job is not None:
            self.run.setText("Cancel")
            self.bar.setRange(0, job.bar.total or 1)
            self.bar.setValue(int(job.bar.n))
        else:
            stale = any(result.stale for key, result in session.results.items() if not session.kept(key))
            done = all(key in session.results for key in self.editor.todo(self.table.ticked)) and count
            verb = "Update" if stale else "Place again in" if done else "Propagate to"
            self.run.setText(f"{verb} {count} picture{'' if count == 1 else 's'}")
        allow(self.run, "" if job is not None else self._why_not_run(count))
        history = self.editor.history
        self.undo.setProperty("tip", f"Undo: {history.undo_label} (Ctrl-Z)" if history.undo_label else "Undo (Ctrl-Z)")
        allow(self.undo, "" if history.undo_label else "nothing was done yet.")
        self.redo.setProperty("tip", f"Redo: {history.redo_label}" if history.redo_label else "Redo (Ctrl-Shift-Z)")
        allow(self.redo, "" if history.redo_label else "nothing was undone.")
        why = "" if session.results else "there is no result yet; propagate first."
        for each in (self.accept, self.reject):
            allow(each, why)
        others = len(self.editor.improvable(self.table.ticked))
        self.improve.setText(f"Improve {others} others" if others > 1 else "Improve the others")
        allow(
            self.improve,
            "something is running."
            if job is not None
            else "accept a result first, or drag one to where it belongs."
            if not self.editor.teachers
            else ""
            if others
            else "every other picture is sure or decided.",
        )
        shown = any(result.shown for result in session.results.values())
        withdrawn = not shown and self.dock.keeper.exported
        allow(self.export, "" if shown or withdrawn else why or "no picture has the edit; accept some.")
        listed = "" if session.targets else "there are no targets yet; open more photos, or add a folder."
        for each in (self.previous, self.next):
            allow(each, listed)
        open_targets = any(self.dock.scene.layer(key) is not None for key in session.targets)
        explored = self.explore.isChecked() or (self.editor.pictures.here(session.source) and open_targets)
        allow(self.explore, "" if explored else "open at least two photos.")
        allow(self.after, "" if session.edit else "there is no edit yet.")
