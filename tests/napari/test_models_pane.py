"""Models in the window: those that are here, those that are missing, what switching does."""

import os
from pathlib import Path

import pytest

from dift_edit.features.catalog import MODELS
from dift_edit.features.presets import PRESETS


@pytest.fixture
def panel(open_bench, pictures, tiny_model, tmp_path, monkeypatch):
    """A window whose engine, started anew, knows one model folder of the user's."""
    from napari_dift_edit import client

    models = tmp_path / "models"
    models.mkdir()
    (models / "my-own").symlink_to(tiny_model)
    monkeypatch.setenv("DIFT_EDIT_MODELS", str(models))
    monkeypatch.setattr(client, "_shared", {})
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")})
    yield bench
    for engine in client._shared.values():
        engine.close()


@pytest.mark.slow
def test_box_offers_what_is_here_and_the_list_all(panel, sticker):
    bench, options = panel, panel.dock.options
    assert bench.editor.asker.engine.pid is None, "opening the dock starts no engine"
    options.expand(animate=False)
    bench.wait(lambda: options.model.rows)
    rows = {row["name"]: row for row in options.model.rows}
    assert set(MODELS) | set(PRESETS) <= set(rows)
    offered = [options.model.itemData(index) for index in range(options.model.count())]
    assert offered == [name for name, row in rows.items() if row["here"]]
    own = next(name for name in offered if name.endswith("my-own"))
    embedded = [name for name, entry in MODELS.items() if not entry.ids and not entry.required]
    assert options.model.default in embedded and set(embedded) <= set(offered)
    missing = next(name for name in rows if not rows[name]["here"] and rows[name]["kind"] == "model")
    assert rows[missing]["missing"] and rows[missing]["bytes"] > 1e6

    options.models.open_list()
    bench.wait(lambda: options.models.tree.topLevelItemCount() == len(rows))
    bench.wait(lambda: not options.models._wait.isActive())
    options.models.choose(missing)
    assert not options.models.use.isEnabled() and "not on this machine" in options.models.use.toolTip()
    assert rows[missing]["missing"].split("  ")[0] in options.models.about.text()
    bench.use(sticker)
    bench.editor.correct(bench.key("dark"), ((60.0, 60.0), (240.0, 60.0), (240.0, 130.0), (60.0, 130.0)))
    bench.idle()
    options.models.choose(own)
    assert options.models.use.isEnabled()
    options.models.measure.click()
    bench.wait(lambda: options.models.chosen["seconds"] is not None)
    assert options.models.chosen["seconds"] > 0
    assert list((Path(os.environ["XDG_STATE_HOME"]) / "dift-edit").glob("napari-seconds.json"))
    options.models.use.click()
    assert bench.editor.settings.model == own and options.model.currentData() == own
    assert bench.result("dark").by_hand and not bench.result("dark").stale, "what was placed by hand stays good"


@pytest.mark.slow
def test_model_that_is_missing_is_never_downloaded(panel, sticker):
    from napari.utils.notifications import notification_manager

    bench = panel
    missing = next(name for name, entry in MODELS.items() if entry.ids)
    bench.use(sticker)
    bench.editor.choose_settings(model=missing)
    notification_manager.records.clear()
    bench.propagate()
    assert any("the network is switched off" in record.message for record in notification_manager.records)
    assert not bench.editor.session.results
