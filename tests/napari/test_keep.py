"""What is kept: pictures, recipe, session; and what goes along: annotations."""

import contextlib
import json
import shlex

import cv2
import numpy as np
import PIL.Image
import pytest
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QMenu

from conftest import EYES
from dift_edit import as_image
from dift_edit.errors import DiftEditError
from dift_edit.geometry.base import MatrixTransform
from napari_dift_edit.carry import carry_layer
from napari_dift_edit.colours import COLOURS, colour_of
from napari_dift_edit.keep import Keeper
from napari_dift_edit.outputs import export, export_frame
from napari_dift_edit.sessions import open_session, save_session
from napari_dift_edit.state import Crop, Instance, Result, stack_crops
from napari_dift_edit.store import Store
from napari_dift_edit.table import state_words
from napari_dift_edit.tasks import _crop as changed_crop


@pytest.fixture
def folder(tmp_path, pictures, sticker):
    """The pictures and the sticker as files."""
    for name, pixels in pictures.items():
        PIL.Image.fromarray(pixels).save(tmp_path / f"{name}.png", dpi=(300, 300))
    PIL.Image.fromarray(sticker).save(tmp_path / "sign.png")
    return tmp_path


@pytest.mark.slow
def test_sticker_from_file_clipboard_and_layer(open_bench, folder, sticker):
    bench = open_bench()
    bench.viewer.open(folder / "cat.png")
    bench.wait(lambda: bench.editor.session.source, 5)
    bench.dock.choose.edit.sticker_file(str(folder / "sign.png"))
    edit = bench.editor.session.edit
    assert edit.path.endswith("sign.png")
    assert np.array_equal(bench.editor.pictures.pixels(edit.picture), sticker)
    centre = np.array(edit.quad).mean(0)
    assert np.allclose(centre, (179.5, 129.5))

    QApplication.clipboard().setImage(QImage(str(folder / "sign.png")))
    bench.dock.choose.edit.from_clipboard()
    assert bench.editor.session.edit.name == "clipboard"

    layer = bench.viewer.add_image(sticker, name="sign", translate=(50, 80), scale=(0.5, 0.5))
    bench.idle()
    bench.dock.choose.edit.use_layer(layer)
    quad = np.array(bench.editor.session.edit.quad)
    assert np.allclose(quad[0], (79.75, 49.75)) and np.allclose(quad[2], (139.75, 79.75))
    assert bench.key("sign") not in bench.editor.session.targets
    bench.idle()


def test_export_keeps_untouched_pixels_and_metadata(open_bench, folder, pictures, sticker, tmp_path):
    bench = open_bench()
    bench.viewer.open([folder / f"{name}.png" for name in ("cat", "mirror", "coffee")], stack=False)
    bench.wait(lambda: len(bench.editor.session.targets) == 2, 5)
    with pytest.raises(DiftEditError, match="propagate first"):
        bench.dock.keeper.export(tmp_path / "out")
    bench.use(sticker)
    bench.propagate()
    assert bench.dock.keeper.export(tmp_path / "out") == 1
    bench.wait(lambda: bench.editor.job is None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mirror.png"], "the unsure one is left out"
    with PIL.Image.open(tmp_path / "out" / "mirror.png") as written:
        assert written.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        pixels = np.asarray(written)
    crop = bench.result("mirror").crops[0]
    height, width = crop.pixels.shape[:2]
    changed = (pixels != pictures["mirror"]).any(2)
    assert changed.any() and not changed[: crop.y].any() and not changed[crop.y + height :].any()
    window = pixels[crop.y : crop.y + height, crop.x : crop.x + width]
    assert np.array_equal(window[crop.pixels[..., 3] > 0], crop.pixels[crop.pixels[..., 3] > 0][:, :3])


SMALL_QUAD = ((5.0, 5.0), (25.0, 5.0), (25.0, 20.0), (5.0, 20.0))


def test_exporting_again_leaves_nothing_behind_and_names_what_failed(windowless, rng, sticker, tmp_path):
    editor, viewer, idle = windowless
    keeper, said = Keeper(editor, None), []
    editor.said.connect(said.append)
    quad = SMALL_QUAD
    viewer.add_image(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8), name="source")
    editor.set_source(editor.pictures.key(viewer.layers[0]))
    editor.use_picture("sticker", sticker, "sign", quad=quad)
    edited, keys = tmp_path / "edited", {}
    keeper.roots.append(str(edited))
    for name in ("a.png", "b.png", "c.png", "gone.png"):
        PIL.Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / name)
        keys[name] = f"file:{tmp_path / name}"
        editor.asker.outputs[keys[name]] = str(edited / name)
    editor.set_targets(list(keys.values()))
    session = editor.session
    for key in keys.values():
        pending = (Instance(quad=quad, confidence=0.9, by_hand=True),) if key == keys["c.png"] else ()
        found = Result(status="applied", quad=quad, confidence=1.0, by_hand=not pending, instances=pending)
        session = session.with_result(key, found)
    editor.restore(session)
    (tmp_path / "gone.png").unlink()

    def export(**decisions):
        for name, verdict in decisions.items():
            editor.review(keys[f"{name}.png"], verdict)
        keeper.export(None)
        idle()
        rows = [json.loads(line) for line in (edited / "manifest.jsonl").read_text().splitlines()]
        files = {path.relative_to(edited).as_posix() for path in edited.rglob("*.png")}
        return files, {row["target"].rpartition("/")[2]: (row["status"], row["output"]) for row in rows}

    files, rows = export()
    assert keeper.written == 3 and files == {"a.png", "b.png", "unreviewed/c.png"}
    assert rows["gone.png"] == ("failed", None) and rows["c.png"] == ("applied", "unreviewed/c.png")
    assert "1 picture could not be written: gone.png" in said[-1] and "does not exist" in said[-1]

    (edited / "gone.png").write_bytes(b"the user's own")
    files, rows = export(a="rejected", c="accepted")
    assert files == {"b.png", "c.png", "gone.png"} and "2 pictures of an earlier export removed" in said[-1]
    assert rows["a.png"] == ("applied", None) and rows["c.png"] == ("applied", "c.png")

    (tmp_path / "b.png").unlink()
    files, rows = export()
    assert files == {"b.png", "c.png", "gone.png"} and rows["b.png"] == ("failed", "b.png"), "an earlier one is left"
    files, rows = export(b="rejected", c="rejected", gone="rejected")
    assert files == {"gone.png"} and keeper.written == 0 and {output for _, output in rows.values()} == {None}
    with pytest.raises(DiftEditError, match="propagate first"):
        (edited / "manifest.jsonl").unlink()
        keeper.export(None)


def test_what_may_show_the_hidden_goes_when_it_cannot_be_replaced(windowless, rng, tmp_path):
    editor, viewer, idle = windowless
    keeper, edited = Keeper(editor, None), tmp_path / "edited"
    viewer.add_image(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8), name="source")
    editor.set_source(editor.pictures.key(viewer.layers[0]))
    mask = np.zeros((30, 40, 4), np.uint8)
    mask[5:20, 5:25] = 255
    editor.use_picture("redact", mask, "sign", options={"mode": "fill"})
    idle()
    assert editor.session.hides
    keeper.roots.append(str(edited))
    key = f"file:{tmp_path / 'a.png'}"
    PIL.Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    editor.asker.outputs[key] = str(edited / "a.png")
    editor.set_targets([key])
    found = Result(status="applied", quad=SMALL_QUAD, confidence=1.0, by_hand=True)
    editor.restore(editor.session.with_result(key, found))
    for names in ({"a.png"}, set()):
        keeper.export(None)
        idle()
        assert {path.name for path in edited.rglob("*.png")} == names
        (tmp_path / "a.png").unlink(missing_ok=True)
    (row,) = map(json.loads, (edited / "manifest.jsonl").read_text().splitlines())
    assert row["status"] == "failed" and row["output"] is None and "left" not in row["reason"]


def test_frames_without_the_redaction_are_named(windowless, pictures, tmp_path):
    editor, viewer, idle = windowless
    keeper, said = Keeper(editor, None), []
    editor.said.connect(said.append)
    cat, coffee = (pictures[name][::2, ::2] for name in ("cat", "coffee"))
    viewer.add_image(np.stack([cat, np.roll(cat, 2, 1), coffee]), name="clip", rgb=True)
    key = editor.pictures.key(viewer.layers[0])
    editor.choose_settings(model="lite")
    editor.set_source(f"{key}#0")
    editor.set_targets([key])
    mask = np.zeros((*cat.shape[:2], 4), np.uint8)
    mask[30:65, 30:120] = 255
    editor.use_picture("redact", mask, "eyes", options={"mode": "fill"})
    idle()
    editor.propagate()
    idle()
    result = editor.session.results[key]
    assert result.hides and result.unhidden == (2,) and "NOT redacted in 1 of 3 frames" in result.reason
    assert state_words(result, running=False) == "2 of 3 hidden" and colour_of(result) == COLOURS["wrong"]
    keeper.export(tmp_path)
    idle()
    assert "1 of 3 frames of clip were NOT redacted and are written as they were: 2" in said[-1]
    with PIL.Image.open(tmp_path / "clip frames" / "00002.png") as frame:
        assert np.array_equal(np.asarray(frame), coffee)


@pytest.mark.slow
def test_recipe_and_command_are_the_command_lines_own(open_bench, folder, sticker, tmp_path):
    from dift_edit.cli import build_parser
    from dift_edit.job.recipe import load_job

    bench = open_bench()
    bench.viewer.open([folder / f"{name}.png" for name in ("cat", "mirror")], stack=False)
    bench.wait(lambda: len(bench.editor.session.targets) == 1, 5)
    bench.dock.choose.edit.sticker_file(str(folder / "sign.png"))
    bench.idle()
    bench.editor.settings.transfer["min_confidence"] = 0.5
    bench.dock.keeper.save_job(tmp_path / "job" / "job.toml")
    bench.wait(lambda: bench.editor.job is None)
    job = load_job(tmp_path / "job" / "job.toml")
    assert job.source == str(folder / "cat.png") and job.targets == (str(folder / "mirror.png"),)
    assert np.allclose(job.quad, bench.editor.session.edit.quad) and job.transfer.min_confidence == 0.5
    words = shlex.split(bench.dock.keeper.command())
    args = build_parser("propagate").parse_args(words[1:])
    assert args.source == str(folder / "cat.png") and args.min_confidence == 0.5


@pytest.mark.slow
def test_session_comes_back(bench, open_bench, sticker, tmp_path):
    bench.use(sticker)
    bench.propagate()
    bench.editor.review(bench.key("mirror"), "accepted")
    bench.editor.correct(bench.key("coffee"), ((50.0, 50.0), (150.0, 60.0), (150.0, 120.0), (50.0, 110.0)))
    bench.idle()
    save_session(bench.editor, tmp_path / "kept")
    bench.wait(lambda: bench.editor.job is None)
    before = {name: bench.result(name) for name in ("mirror", "dark", "coffee")}
    edit, extent = bench.editor.session.edit, bench.viewer.layers["mirror"].extent.world
    other = open_bench()  # the window opened again
    open_session(other.editor, tmp_path / "kept", other.dock.add_picture)
    other.wait(lambda: other.editor.job is None and other.editor.session.results)
    other.idle()
    for name, old in before.items():
        new = other.result(name)
        assert new.quad == old.quad and new.review == old.review and new.by_hand == old.by_hand
        assert new.confidence == old.confidence and new.status == old.status
        assert np.array_equal(new.crops[0].pixels[..., :3], old.crops[0].pixels[..., :3])
    assert other.editor.session.edit.quad == edit.quad
    assert "mirror · edited" in other.viewer.layers
    low, high = other.viewer.layers["mirror"].extent.world
    assert np.allclose([low, high], extent)
    with pytest.raises(DiftEditError, match="no dift-edit session"):
        open_session(other.editor, tmp_path, other.dock.add_picture)


def _drop(data):
    del data["targets"][0]["result"]["quad"]


def _short(data):
    data["edit"]["quad"] = data["edit"]["quad"][:3]


def _index(data):
    data["source target"] = 7


def _text(data):
    data["targets"] = "none"


@pytest.mark.slow
def test_damaged_session_is_one_sentence(open_bench, pictures, sticker, tmp_path):
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")})
    bench.use(sticker)
    bench.editor.correct(bench.key("dark"), EYES)
    bench.idle()
    save_session(bench.editor, tmp_path)
    bench.wait(lambda: bench.editor.job is None)
    path = tmp_path / "session.json"
    sound, before = path.read_text(), bench.editor.session
    for harm in (_drop, _short, _index, _text):
        data = json.loads(sound)
        harm(data)
        path.write_text(json.dumps(data))
        with pytest.raises(DiftEditError, match=r"session\.json is damaged") as found:
            open_session(bench.editor, tmp_path, bench.dock.add_picture)
        assert str(found.value).count("\n") == 0, harm
        assert bench.editor.session is before, harm
    path.write_text(sound[:100])
    with pytest.raises(DiftEditError, match="restore it from a copy"):
        open_session(bench.editor, tmp_path, bench.dock.add_picture)
    assert bench.editor.session is before


@pytest.mark.slow
def test_recipe_holds_every_kind_of_edit_and_annotations(open_bench, pictures, tmp_path):
    from dift_edit.edits import ColorAdjust, LabelLayer
    from dift_edit.imaging.files import load_image
    from dift_edit.job.recipe import load_job

    bench = open_bench({name: pictures[name] for name in ("cat", "dark")})
    mask = np.zeros((260, 360), np.uint8)
    mask[60:130, 60:240] = 1
    layer = bench.viewer.add_labels(mask, name="face")
    bench.dock.choose.edit.use_layer(layer, "recolour", {"saturation": 0.0})
    bench.idle()
    bench.propagate()
    if not bench.result("dark").shown:
        bench.editor.review(bench.key("dark"), "accepted")
    marks = bench.viewer.add_points([(80.0, 90.0), (110, 200)], name="marks")
    corners = [(70, 80), (70, 220), (120, 220), (120, 80)]
    shape = bench.viewer.add_shapes([corners], shape_type="ellipse", name="shape")
    for carried in (layer, marks, shape):
        carry_layer(bench.editor, bench.dock.scene, carried)
        bench.wait(lambda: bench.editor.job is None)
    assert bench.dock.keeper.command() == "", "there is no file that a command could name"
    told = []
    bench.dock.keeper.save_job(tmp_path / "job.toml", told.append)
    bench.wait(lambda: bench.editor.job is None)
    assert told == [f"dift-edit run {tmp_path / 'job.toml'}"]
    job = load_job(tmp_path / "job.toml")
    edit, face, points, ellipse = job.load_edit(load_image(job.source)).edits
    assert isinstance(edit, ColorAdjust) and edit.saturation == 0 and edit.region.weight.max() == 1
    assert all(isinstance(each, LabelLayer) for each in (face, points, ellipse))
    assert np.array_equal(face.label_map, mask)
    assert np.allclose(points.keypoints[0].points, [(90, 80), (200, 110)])
    outline = ellipse.polygons[0].points
    assert np.allclose([outline.min(0), outline.max(0)], [(80, 70), (220, 120)], atol=0.5)


@pytest.mark.slow
def test_annotations_go_along(bench, sticker):
    bench.use(sticker)
    bench.propagate()
    affine = bench.viewer.layers["cat"].affine
    mask = np.zeros((260, 360), np.uint8)
    mask[70:120, 80:220] = 3
    labels = bench.viewer.add_labels(mask, name="mask", affine=affine)
    points = bench.viewer.add_points([(80.0, 90.0), (110, 200)], name="marks", affine=affine, face_color="red")
    triangle = [[(70, 80), (120, 80), (120, 220)]]
    shapes = bench.viewer.add_shapes(triangle, shape_type="polygon", name="shape", affine=affine)
    for layer in (labels, points, shapes):
        assert carry_layer(bench.editor, bench.dock.scene, layer) == 2
        bench.wait(lambda: bench.editor.job is None)
    dark = bench.viewer.layers["dark"]
    carried = bench.viewer.layers["dark · mask"]
    inside = carried.world_to_data(dark.data_to_world((95 + 12, 150 - 18)))
    assert carried.data[tuple(np.round(inside).astype(int))] == 3 and set(np.unique(carried.data)) <= {0, 3}
    marks = bench.viewer.layers["dark · marks"]
    rows = np.array([dark.world_to_data(marks.data_to_world(point)) for point in marks.data])
    assert np.abs(rows - np.array([(92, 72), (122, 182)])).max() < 8
    assert np.allclose(marks.face_color[0], (1, 0, 0, 1))
    assert "mirror · shape" in bench.viewer.layers and "coffee · mask" not in bench.viewer.layers


@pytest.mark.slow
def test_painted_region_becomes_an_edit(open_bench, pictures):
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")}, arrange=True)
    bench.dock.choose.edit.brush.setChecked(True)
    painting = bench.viewer.layers["painting on cat"]
    painting.brush_size = 30
    bench.drag("cat", (110, 90), (190, 90), steps=8)
    assert painting.data.any(), "the brush paints"
    for kind in ("paint", "recolour", "redact", "erase"):
        options = {"recolour": {"recolor": ""}, "redact": {"mode": "pixelate"}}.get(kind, {})
        bench.dock.choose.edit.use_layer(painting, kind, options)
        bench.idle()
        assert bench.editor.session.edit.kind == kind and bench.editor.session.edit.quad
        assert bench.editor.session.preview is not None, kind
        bench.propagate()
        result = bench.result("dark")
        assert result.quad is not None and not result.stale, kind
        if result.status != "applied":
            bench.editor.review(bench.key("dark"), "accepted")
            bench.idle()
        assert bench.result("dark").crops[0].pixels[..., 3].any(), kind
        bench.editor.review(bench.key("dark"), "")  # it is left to the next edit


@pytest.mark.slow
def test_drawn_shapes_become_an_edit(open_bench, pictures):
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")})
    corners = [(60, 90), (60, 210), (125, 210), (125, 90)]
    layer = bench.viewer.add_shapes([corners], shape_type="polygon", face_color="red", name="drawn")
    bench.dock.choose.edit.use_layer(layer)
    bench.idle()
    preview = bench.editor.session.preview
    assert bench.editor.session.edit.kind == "paint"
    assert abs(preview.x - 90) < 4 and abs(preview.y - 60) < 4 and abs(preview.pixels.shape[1] - 120) < 7
    middle = preview.pixels[preview.pixels.shape[0] // 2, preview.pixels.shape[1] // 2]
    assert tuple(middle) == (255, 0, 0, 255)
    bench.propagate()
    assert bench.result("dark").quad is not None


@pytest.mark.slow
def test_edited_copy_becomes_an_edit(open_bench, pictures, tmp_path):
    edited = pictures["cat"].copy()
    edited[80:110, 100:200] = (0, 90, 200)
    bench = open_bench({"cat": pictures["cat"], "edited copy": edited, "dark": pictures["dark"]}, arrange=False)
    bench.dock.choose.edit.use_layer(bench.viewer.layers["edited copy"])
    bench.idle()
    edit = bench.editor.session.edit
    assert edit.kind == "difference" and np.abs(np.array(edit.quad).min(0) - (100, 80)).max() < 4
    assert bench.editor.session.targets == (bench.key("dark"),)
    assert "edited_as" not in bench.dock.keeper.job(tmp_path)[0]
    menu = QMenu()
    bench.dock.choose.edit._fill_menu(menu)
    (copy,) = [action for action in menu.actions() if action.text().startswith("edited copy")]
    kinds = {action.text(): action for action in copy.menu().actions()}
    kinds["As a recolouring"].trigger()
    bench.idle()
    assert bench.editor.session.edit.options == {"kind": "recolour"}
    assert bench.dock.keeper.job(tmp_path)[0]["edited_as"] == "recolour"


@pytest.mark.parametrize(
    ("kind", "options"),
    [("redact", {"mode": "fill", "color": "#000000"}), ("redact", {"mode": "pixelate"}), ("erase", {})],
)
def test_a_redaction_holds_in_values_beyond_the_contrast_limits(tmp_path, kind, options):
    """Text and ground are both black as the layer is shown, so the edit's values equal what was there."""
    own = np.full((60, 80), 100, np.uint16)
    own[25:35, 30:50] = 700
    own[:, :5] = 1500
    shown = np.round(np.clip((own - 1000.0) / 1000, 0, 1) * 65535).astype(np.uint16)
    mask = np.zeros((60, 80, 4), np.uint8)
    mask[20:40, 20:60] = 255
    store = Store(contextlib.nullcontext, lambda _item: None, lambda _text: None)
    for key, pixels in (("source", shown), ("mask", mask), ("target", shown), ("target!values", own)):
        store.put(key, pixels)
    edit = {"kind": kind, "picture": "mask", "quad": (), "options": options, "parts": []}
    quad = store.edit(edit, store.need("source")[0]).quad
    (written,) = export(
        store, source="source", edit=edit, target="target", places=[(quad, b"", True)], views=[],
        model={"name": "", "device": "cpu"}, settings={}, pins=[], file="", output=str(tmp_path / "out.png"),
        values="target!values", limits=(1000.0, 2000.0),
    )  # fmt: skip
    values = cv2.imread(written, cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16 and not (values[20:40, 20:60] == 700).any()
    assert (values[:, :5] == 1500).all() and (values[50:, 10:] == 100).all(), "outside, the values are the layer's own"


def test_what_is_erased_into_transparency_is_not_in_a_written_frame(tmp_path):
    """Neither as colour under the transparency nor, in a stack, as the frame's own pixel."""
    before = np.full((20, 30, 4), (200, 30, 40, 255), np.uint8)
    after = before.copy()
    after[5:10, 5:15] = (200, 30, 40, 0)
    after[12, 20] = (1, 2, 3, 255)
    crop = changed_crop(as_image(before), as_image(after))
    stack = stack_crops([Crop(crop["x"], crop["y"], crop["pixels"], frame=1)], 2)
    store = Store(contextlib.nullcontext, lambda _item: None, lambda _text: None)
    store.put("frame", before)
    (written,) = export_frame(
        store, picture="frame", crop=(stack.x, stack.y, stack.pixels[1]), output=str(tmp_path / "a.png")
    )
    pixels = np.asarray(PIL.Image.open(written))
    assert (pixels[5:10, 5:15, 3] == 0).all() and not (pixels[5:10, 5:15, 1] == 30).any()
    assert tuple(pixels[12, 20]) == (1, 2, 3, 255)
    pixels = np.delete(pixels.reshape(-1, 4), np.flatnonzero((before != after).any(axis=2)), axis=0)
    assert (pixels == before[0, 0]).all()


@pytest.mark.slow
def test_artwork_on_mirrored_pictures_is_chosen_kept_and_undone(open_bench, folder):
    bench = open_bench()
    bench.viewer.open(folder / "cat.png")
    bench.wait(lambda: bench.editor.session.source, 5)
    bench.viewer.open(folder / "dark.png")
    bench.wait(lambda: bench.editor.session.targets, 5)
    panel = bench.dock.choose.edit
    panel.sticker_file(str(folder / "sign.png"))
    bench.idle()
    for artwork in ("flip", "keep"):
        panel.artwork.setCurrentIndex(panel.artwork.findData(artwork))
        panel.artwork.activated.emit(panel.artwork.currentIndex())
        bench.idle()
        assert bench.editor.session.edit.artwork == artwork
        assert bench.dock.keeper.job(folder)[0]["artwork"] == artwork
    bench.editor.undo()
    bench.idle()
    assert panel.artwork.currentData() == "flip" and bench.editor.session.edit.artwork == "flip"


def test_artwork_is_followed(sticker):
    """On a mirrored picture: mirrored, and as on the source."""
    store = Store(contextlib.nullcontext, lambda _item: None, lambda _text: None)
    source = np.full((120, 160, 3), 90, np.uint8)
    for key, pixels in (("source", source), ("sticker", sticker)):
        store.put(key, pixels)
    (image,) = store.need("source")
    mirror = MatrixTransform(np.array([(-1, 0, 159), (0, 1, 0), (0, 0, 1)], float))
    quad = ((39.5, 30), (119.5, 30), (119.5, 90), (39.5, 90))  # in the middle
    shown = {}
    for artwork in ("flip", "keep"):
        edit = {"kind": "sticker", "picture": "sticker", "quad": quad, "options": {"artwork": artwork}, "parts": []}
        shown[artwork] = store.edit(edit, image).apply(image, mirror, source=image).pixels.astype(int)
    assert np.abs(shown["flip"] - shown["keep"]).max() > 20
    assert np.abs(shown["flip"] - shown["keep"][:, ::-1]).max() <= 2
