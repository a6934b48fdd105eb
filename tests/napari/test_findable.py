"""What napari shows of the plugin: palette, menus, preferences, icon; and what the package says of itself."""

import tomllib
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import get_args, get_type_hints

import npe2
import pytest
import yaml
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from dift_edit.settings import TransferSettings
from napari_dift_edit.actions import ACTIONS
from napari_dift_edit.api import open_dock

MANIFEST = files("napari_dift_edit") / "napari.yaml"


def test_manifest_names_what_is_there():
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert {"Annotation", "Registration", "Transformations"} <= {str(each) for each in manifest.categories}
    package, name = manifest.icon.split(":")
    assert (files(package) / name).read_bytes().startswith(b"<svg")
    assert {"napari/layers/annotate", "napari/layers/register", "napari/layers/transform"} <= set(
        manifest.contributions.menus
    )
    commands = {command.id.removeprefix("dift-edit.") for command in manifest.contributions.commands}
    files_only = {"open", "sample_cat", "read_annotations", "write_annotations"}
    assert commands - files_only == set(ACTIONS) - {"undo", "redo", "unsure"}, "each action is a command"


@pytest.mark.slow
def test_commands_open_the_dock_and_do_it(make_napari_viewer, qtbot, cat):
    from napari._app_model import get_app_model

    viewer = make_napari_viewer(show=True)
    viewer.add_image(cat, name="cat")
    commands = get_app_model().commands
    commands.execute_command("dift-edit.keys").result()
    dock = open_dock(viewer)
    assert dock.help.keys_shown
    commands.execute_command("dift-edit.next").result()
    assert open_dock(viewer) is dock, "it is opened once"
    commands.execute_command("dift-edit.propagate").result()  # nothing to carry yet: said, not raised
    dock.shut()


@pytest.mark.slow
def test_preferences_set_a_new_window(open_bench, cat):
    settings = pytest.importorskip("napari.settings")
    if not hasattr(settings, "get_plugin_settings"):
        pytest.skip("napari before 0.9 has no preferences for plugins")
    placing = settings.get_plugin_settings("dift-edit").placing
    try:
        placing.model, placing.min_confidence = "some-model", 0.6
        bench = open_bench({"cat": cat}, model=None)
        assert bench.editor.settings.model == "some-model"
        assert bench.editor.settings.transfer == {"min_confidence": 0.6}
        placing.mirror = "never"
        assert bench.editor.settings.transfer["mirror"] == "never", "an open window follows"
    finally:
        placing.model, placing.min_confidence, placing.mirror = "", 0.3, "auto"


def test_preferences_have_the_librarys_defaults():
    placing = yaml.safe_load(MANIFEST.read_text())["contributions"]["configurations"]["placing"]["properties"]
    hints = get_type_hints(TransferSettings)
    for item in fields(TransferSettings):
        if item.name in placing:
            assert placing[item.name]["default"] == item.default
            choices = item.metadata.get("choices") or get_args(hints[item.name])
            assert tuple(placing[item.name].get("enum", ())) == tuple(choices)


def test_package_says_what_the_hub_shows():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["authors"] == [{"name": "dift-edit contributors"}]
    assert "Framework :: napari" in project["classifiers"]
    assert any(each.startswith("Programming Language :: Python :: 3.") for each in project["classifiers"])


@pytest.mark.slow
def test_keys_are_shown_by_their_key(open_bench, cat):
    bench = open_bench({"cat": cat})
    bench.press("F1")
    assert bench.dock.help.keys_shown
    for place in (bench.dock.results.table, bench.canvas):
        bench.dock.help._dialog.close()
        bench.viewer.window._qt_window.activateWindow()
        bench.wait(lambda: QApplication.activeWindow() is bench.viewer.window._qt_window, 10)
        bench.qtbot.keyClick(place, Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier)
        assert bench.dock.help.keys_shown
    bench.dock.help._dialog.close()
    bench.dock.results.words.setFocus()
    bench.qtbot.keyClick(bench.dock.results.words, Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier)
    assert bench.dock.results.words.text() == "?" and not bench.dock.help.keys_shown, "a name may be typed"
