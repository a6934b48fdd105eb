"""Layers of every kind as source and target."""

import dask.array
import numpy as np
import pytest

from napari_dift_edit import layers as glue
from napari_dift_edit.arrange import side_by_side


def _grey(cat):
    return cat.mean(2).astype(np.uint8)


def _odd(cat):
    """Pictures of the cat in all forms that napari shows."""
    rgba = np.dstack([cat, np.full(cat.shape[:2], 255, np.uint8)])
    pyramid = [cat, cat[::2, ::2], cat[::4, ::4]]
    return {
        "grey": (_grey(cat), {}),
        "rgba": (rgba, {}),
        "deep": (_grey(cat).astype(np.uint16) * 16, {"contrast_limits": (0, 4080)}),
        "float": (_grey(cat).astype(np.float32) / 10, {}),
        "lazy": (dask.array.from_array(cat, chunks=(100, 100, 3)), {"rgb": True}),
        "pyramid": (pyramid, {"multiscale": True, "rgb": True}),
        "moved": (cat, {"scale": (0.5, 0.5), "translate": (400, -300)}),
        "turned": (cat, {"rotate": 30, "translate": (800, 0)}),
    }


def test_read_pixels(viewer_model, cat):
    viewer = viewer_model
    for name, (data, options) in _odd(cat).items():
        layer = viewer.add_image(data, name=name, **options)
        assert glue.is_picture(layer) and glue.picture_size(layer) == (360, 260), name
        pixels = glue.to_rgba(glue.read_pixels(layer))
        assert pixels.shape == (260, 360, 4) and pixels.dtype == np.uint8
        expected = cat if layer.rgb else np.repeat(_grey(cat)[..., None], 3, 2)
        if name != "float":
            assert np.abs(pixels[..., :3].astype(int) - expected).max() <= 1, name
        points = np.array([(0.0, 0.0), (359, 0), (17.5, 200)])
        assert np.allclose(glue.to_picture(layer, glue.to_world(layer, points)), points)


def test_patch_lies_on_its_pixels(viewer_model, cat):
    viewer = viewer_model
    layer = viewer.add_image(cat, scale=(2, 0.5), translate=(10, 20), rotate=25, shear=[0.2])
    patch = viewer.add_image(cat[40:90, 70:200], affine=glue.patch_affine(layer, 70, 40))
    for row, column in ((0, 0), (49, 129), (13, 77)):
        assert np.allclose(patch.data_to_world((row, column)), layer.data_to_world((40 + row, 70 + column)))
    coarse = viewer.add_image(cat[::4, ::4], affine=glue.patch_affine(layer, 1.5, 1.5, (4, 4)))
    assert np.allclose(coarse.data_to_world((-0.5, -0.5)), layer.data_to_world((-0.5, -0.5)))
    corners = [(-0.5, -0.5), (359.5, -0.5), (359.5, 259.5), (-0.5, 259.5)]
    whole = viewer.add_image(cat[::2, ::2], affine=glue.quad_affine(layer, corners, (180, 130)))
    assert np.allclose(whole.data_to_world((-0.5, 179.5)), layer.data_to_world((-0.5, 359.5)))


def test_side_by_side_keeps_scale_and_separates(viewer_model, cat):
    viewer = viewer_model
    made = [viewer.add_image(data, **options) for data, options in _odd(cat).values()]
    scales = [np.array(layer.scale) for layer in made]
    for layer, affine in zip(made, side_by_side(made), strict=True):
        layer.affine = affine
    assert all(np.array_equal(layer.scale, scale) for layer, scale in zip(made, scales, strict=True))
    boxes = [glue.world_box(layer) for layer in made]
    for index, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[index + 1 :]:
            assert (high <= other_low + 1e-6).any() or (other_high <= low + 1e-6).any()


@pytest.mark.slow
def test_propagate_to_all_kinds(open_bench, cat, sticker):
    bench = open_bench()
    bench.viewer.add_image(cat, name="source", scale=(3, 3), translate=(-50, 1000))
    for name, (data, options) in _odd(cat).items():
        bench.viewer.add_image(data, name=name, **options)
    bench.wait(lambda: len(bench.editor.session.targets) == 8, 5)
    bench.use(sticker)
    bench.propagate()
    for name in _odd(cat):
        result = bench.result(name)
        assert result.status == "applied", (name, result.reason)
        expected = np.array([(60, 60), (240, 60), (240, 130), (60, 130)])
        assert np.abs(np.array(result.quad) - expected).max() < 10, name
        shown, layer = bench.viewer.layers[f"{name} · edited"], bench.viewer.layers[name]
        middle = shown.world_to_data(layer.data_to_world((110, 150)))
        pixel = shown.data[tuple(np.round(middle).astype(int))]
        assert pixel[0] > 180 and pixel[1] < 80, name


def test_wrong_layers_are_not_offered(open_bench, cat):
    bench = open_bench({"cat": cat})
    bench.viewer.add_labels(np.zeros((10, 10), int))
    bench.viewer.add_points(np.zeros((3, 2)))
    bench.idle()
    assert [layer.name for layer in bench.dock.picture_layers()] == ["cat"]
    assert bench.editor.session.targets == ()


def _write_ome_zarr(folder, levels):
    """A group in the layout of OME-Zarr 0.4: one array for each level, and what they are."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(folder), mode="w", zarr_format=2)
    for number, level in enumerate(levels):
        array = group.create_array(str(number), shape=level.shape, chunks=(65, 90), dtype=level.dtype)
        array[...] = level
    datasets = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [2**n, 2**n]}]}
        for n in range(len(levels))
    ]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


def test_of_ome_zarr_only_the_level_that_is_needed_is_read(viewer_model, cat, monkeypatch, tmp_path):
    """A pyramid on the disk, opened by napari's own reader: larger levels than a picture may be are never read."""
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(glue, "LONGEST_SIDE", 400)
    grey = _grey(cat)
    fine = np.kron(grey, np.ones((4, 4), np.uint8))
    levels = [fine, fine[::2, ::2], grey, grey[::2, ::2]]
    _write_ome_zarr(tmp_path / "cat.zarr", levels)
    read = []
    get = zarr.storage.LocalStore.get

    async def counted(store, key, *arguments, **options):
        read.append(f"{store.root}/{key}".removeprefix(f"{tmp_path}/cat.zarr/"))
        return await get(store, key, *arguments, **options)

    monkeypatch.setattr(zarr.storage.LocalStore, "get", counted)
    viewer = viewer_model
    (layer,) = viewer.open(tmp_path / "cat.zarr", plugin="napari")
    layer.contrast_limits, layer.scale, layer.units = (0, 255), (0.25, 0.25), ("um", "um")
    assert layer.multiscale and glue.level_read(layer) == 2 and glue.picture_size(layer) == (360, 260)
    read.clear()
    assert np.array_equal(glue.read_pixels(layer), grey)
    chunks = {key for key in read if not key.split("/")[-1].startswith((".", "zarr"))}
    assert len(chunks) == 16 and all(key.startswith("2/") for key in chunks), "each chunk of one level"
    # its pixels lie where those of the finest level do
    assert np.allclose(glue.to_world(layer, [(-0.5, -0.5)])[0], layer.data_to_world((-0.5, -0.5)))
    assert np.allclose(glue.to_world(layer, [(359.5, 259.5)])[0], layer.data_to_world((1039.5, 1439.5)))
    assert np.allclose(glue.to_picture(layer, glue.to_world(layer, [(17, 200)])), [(17, 200)])


@pytest.mark.slow
def test_channels_are_one_picture_in_their_colours(open_bench, cat, sticker):
    """Three grey layers, as napari shows a picture's channels: one source, as it is seen; a hidden one is left out."""
    bench = open_bench()
    bench.editor.choose_settings(mirror="never")
    bench.viewer.add_image(cat, channel_axis=2, name=["r", "g", "b"], colormap=["red", "green", "blue"],
                           contrast_limits=[(0, 255)] * 3)  # fmt: skip
    bench.viewer.add_image(np.roll(cat, (12, -18), (0, 1)), name="target")
    bench.wait(lambda: len(bench.editor.session.targets) == 1, 5)
    session, pictures = bench.editor.session, bench.editor.pictures
    assert session.source == bench.key("r") and session.targets == (bench.key("target"),)
    seen = pictures.pixels(pictures.content(session.source))
    assert np.abs(seen.astype(int) - cat).max() <= 1
    before = pictures.content(session.source)
    bench.viewer.layers["g"].visible = False
    assert pictures.content(session.source) != before and not pictures.pixels(session.source)[..., 1].any()
    bench.viewer.layers["g"].visible = True
    bench.use(sticker)
    bench.propagate()
    expected = np.array([(42, 72), (222, 72), (222, 142), (42, 142)])
    assert np.abs(np.array(bench.result("target").quad) - expected).max() < 5


@pytest.mark.slow
def test_frames_of_more_axes_lie_along_the_one_that_is_chosen(open_bench, cat, sticker):
    """(T, Z, Y, X) grey: the edit goes through the slices at the time that is seen, or through time at one slice."""
    bench = open_bench()
    small = _grey(cat)[::2, ::2]
    movie = np.stack([[np.roll(small, (2 * z, 3 * t), (0, 1)) for z in range(2)] for t in range(3)])
    layer = bench.viewer.add_image(movie, name="movie", scale=(1, 2, 1, 1), contrast_limits=(0, 255))
    bench.wait(lambda: bench.editor.session.source, 5)
    bench.viewer.dims.current_step = (2, 1, 0, 0)
    choose, key = bench.dock.choose, bench.key("movie")
    choose.choose_source(key)
    assert choose.axis.isVisible() and choose.axis.count() == 2 and bench.editor.session.source == f"{key}#2"
    assert np.array_equal(bench.editor.pictures.pixels(f"{key}#0"), movie[0, 1])
    choose.axis.setCurrentIndex(1)
    choose.axis.activated.emit(1)
    bench.idle()
    assert bench.editor.session.source == f"{key}#1" and len(bench.editor.pictures.frames(key)) == 2
    assert np.array_equal(bench.editor.pictures.pixels(f"{key}#0"), movie[2, 0])
    bench.use(sticker, quad=((36.0, 32.0), (126.0, 32.0), (126.0, 67.0), (36.0, 67.0)))
    bench.propagate()
    result = bench.result("movie")
    assert len(result.track) == 2 and result.status == "applied", result.reason
    assert np.abs(np.array(result.track[0][0])[0] - (36, 30)).max() < 2
    shown = bench.viewer.layers["movie · edited"]
    assert shown.data.shape[:2] == (1, 2)
    for z in range(2):
        x, y = np.mean(result.track[z][0], 0)
        middle = shown.world_to_data(layer.data_to_world((2, z, y + 8, x)))
        assert tuple(shown.data[tuple(np.round(middle).astype(int))][:3]) == (220, 30, 30)


@pytest.mark.slow
def test_result_has_the_units_and_the_place_of_its_picture(open_bench, cat, sticker):
    """Scaled, moved and turned, in micrometres: result and landmarks lie on it in the world, with its units."""
    from napari_dift_edit.carry import carry_landmarks

    bench = open_bench({"cat": cat})
    options = {"scale": (0.5, 0.5), "translate": (300, -100), "rotate": 20}
    picture = bench.viewer.add_image(np.roll(cat, (12, -18), (0, 1)), name="micro", units=("um", "um"), **options)
    bench.wait(lambda: len(bench.editor.session.targets) == 1, 5)
    bench.use(sticker)
    quad = ((42.0, 72.0), (222.0, 72.0), (222.0, 142.0), (42.0, 142.0))
    bench.editor.correct(bench.key("micro"), quad)
    bench.idle()
    shown = bench.viewer.layers["micro · edited"]
    assert [str(unit) for unit in shown.units] == [str(unit) for unit in picture.units]
    middle = shown.world_to_data(picture.data_to_world((107, 132)))
    assert tuple(shown.data[tuple(np.round(middle).astype(int))][:3]) == (220, 30, 30)
    marks = bench.viewer.add_points([(80.0, 90.0)], name="eye")
    carry_landmarks(bench.editor, bench.dock.scene, marks)
    bench.wait(lambda: bench.editor.job is None and bench.dock.scene.settled)
    carried = bench.viewer.layers["micro · eye"]
    assert np.abs(carried.data[0] - (92, 72)).max() < 8
    assert np.allclose(picture.world_to_data(carried.data_to_world(carried.data[0])), carried.data[0])
