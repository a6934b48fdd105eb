"""Settings of model and placement, made from the same fields that the command line's flags are made from."""

import contextlib
from dataclasses import Field, fields
from functools import partial
from typing import Any, Literal, get_args, get_origin, get_type_hints

from magicgui.widgets import Widget, create_widget
from qtpy.QtWidgets import QComboBox, QFormLayout, QWidget
from superqt import QCollapsible

from dift_edit.settings import TransferSettings
from napari_dift_edit.editor import Editor
from napari_dift_edit.model_list import ModelBox, ModelList
from napari_dift_edit.widgets import button, quiet

__all__ = ["OptionsPanel"]


class OptionsPanel(QCollapsible):
    """Model, device, and the fields of `dift_edit.settings.TransferSettings`.

    Parameters
    ----------
    editor : Editor
        Gets the choices.
    """

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__("Settings", parent)
        self.editor = editor
        self.toggleButton().setToolTip("The model, its device, and how places are found.")
        self.model = ModelBox(editor)
        self.models = ModelList(editor, self.model, self)
        self.all_models = button(
            "Models …", "All models: size, licence, speed, and how to get those that are missing.",
            self.models.open_list,
        )  # fmt: skip
        self.device = QComboBox()
        self.device.addItems(["cpu", "cuda", "mps"])
        self.device.setToolTip("Where the network runs.")
        self.device.currentTextChanged.connect(self._device_chosen)
        content = QWidget()
        form = QFormLayout(content)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("model", self.model)
        form.addRow("", self.all_models)
        form.addRow("device", self.device)
        hints = get_type_hints(TransferSettings)
        self.fields: dict[str, Widget] = {}
        for item in fields(TransferSettings):
            if "help" in item.metadata:
                widget = _widget_for(item, hints[item.name])
                widget.changed.connect(partial(self._set, item.name))
                self.fields[item.name] = widget
                form.addRow(item.name.replace("_", " "), widget.native)
        self.setContent(content)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.layout().setSpacing(0)  # above and below what is collapsed
        self.collapse(animate=False)
        self.toggled.connect(lambda open_: self.model.ask() if open_ else None)

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the arrow again, in the colour that napari's theme has for text."""
        super().showEvent(event)
        self.setCollapsedIcon("▸")
        self.setExpandedIcon("▾")

    def show_settings(self) -> None:
        """Follow the settings, which a session may bring with it."""
        settings = self.editor.settings
        self.model.show_model()
        with quiet(self.device):
            self.device.setCurrentText(settings.device)
        for item in fields(TransferSettings):
            widget = self.fields.get(item.name)
            if widget is not None and not widget.native.hasFocus():
                with widget.changed.blocked(), contextlib.suppress(ValueError):  # a session may hold anything
                    widget.value = settings.transfer.get(item.name, item.default)

    def _device_chosen(self, name: str) -> None:
        self.editor.choose_settings(device=name)

    def _set(self, name: str, value: Any) -> None:
        self.editor.choose_settings(**{name: value})


_FEW = 9
"""Numbers to choose from where a word would do, too (chosen)."""


def _widget_for(item: Field[Any], kind: Any) -> Widget:
    """An input for one field of a settings dataclass, from the metadata that the command line's flags are made of."""
    options: dict[str, Any] = {}
    choices = item.metadata.get("choices") or (get_args(kind) if get_origin(kind) is Literal else ())
    low, high = item.metadata.get("limits") or (None, None)
    if words := item.metadata.get("words"):  # a number, or a word that stands for one
        choices = (*range(low or 0, (low or 0) + _FEW), *words)
    if choices:
        options["choices"] = list(choices)
    elif kind is float:
        options = {"min": low or 0.0, "max": 1.0 if high is None else high, "step": 0.05}
    elif kind is int:
        options = {"min": low or 0, "max": 2**31 - 1 if high is None else high}
    made = create_widget(value=item.default, annotation=kind, name=item.name, options=options)
    made.tooltip = str(item.metadata["help"])
    return made
