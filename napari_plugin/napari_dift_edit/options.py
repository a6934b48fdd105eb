"""Settings of model and placement, made from the same fields that the command line's flags are made from."""

from dataclasses import fields
from typing import Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QSpinBox, QWidget
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
        self.fields: dict[str, QWidget] = {}
        for item in fields(TransferSettings):
            widget = _widget_for(item, lambda value, name=item.name: self._set(name, value))
            if widget is not None:
                widget.setToolTip(str(item.metadata["help"]))
                self.fields[item.name] = widget
                form.addRow(item.name.replace("_", " "), widget)
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
            if widget is not None:
                with quiet(widget):
                    _set_value(widget, settings.transfer.get(item.name, item.default))

    def _device_chosen(self, name: str) -> None:
        self.editor.choose_settings(device=name)

    def _set(self, name: str, value: Any) -> None:
        self.editor.choose_settings(**{name: value})


def _widget_for(item: Any, changed: Any) -> QWidget | None:
    """An input for one field; None for a field that is no plain value."""
    default, metadata = item.default, item.metadata
    if "help" not in metadata:
        return None
    if metadata.get("choices"):
        box = QComboBox()
        box.addItems([str(choice) for choice in metadata["choices"]])
        box.setCurrentText(str(default))
        box.currentTextChanged.connect(changed)
        return box
    if isinstance(default, bool):
        tick = QCheckBox()
        tick.setChecked(default)
        tick.toggled.connect(changed)
        return tick
    if isinstance(default, int | float):
        number = QSpinBox() if isinstance(default, int) else QDoubleSpinBox()
        number.setRange(0, 2**31 - 1 if isinstance(default, int) else 1)
        if isinstance(default, float):
            number.setSingleStep(0.05)
        number.setValue(default)
        number.valueChanged.connect(changed)
        return number
    return None


def _set_value(widget: QWidget, value: Any) -> None:
    if isinstance(widget, QComboBox):
        widget.setCurrentText(str(value))
    elif isinstance(widget, QCheckBox):
        widget.setChecked(bool(value))
    elif isinstance(widget, QSpinBox | QDoubleSpinBox) and not widget.hasFocus():
        widget.setValue(value)
